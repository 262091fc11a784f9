"""CUDA over pycuda, and over the driver's library itself for the two things that pycuda cannot do.

pycuda has no graphs, and its `register_host_memory` fails with every numpy since 2024 (inducer/pycuda#459). Both are a
few plain calls of libcuda. The primary context is pushed for each call and popped after it, so any thread may call and
nobody else's context is disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from hgrt.runtime.cuda import Buffer, Cuda, Graph, Thing, failure, final
from hgrt.runtime.library import declare, error_name, libcuda

CALLS: dict[str, list[Any]] = {
    "cuCtxGetCurrent": [POINTER(c_void_p)],
    "cuCtxPopCurrent_v2": [POINTER(c_void_p)],
    "cuMemHostRegister_v2": [c_void_p, c_size_t, c_uint],
    "cuMemHostUnregister": [c_void_p],
    "cuStreamBeginCapture_v2": [c_void_p, c_int],
    "cuStreamEndCapture": [c_void_p, POINTER(c_void_p)],
    "cuGraphInstantiateWithFlags": [POINTER(c_void_p), c_void_p, c_ulonglong],
    "cuGraphLaunch": [c_void_p, c_void_p],
    "cuGraphExecDestroy": [c_void_p],
    "cuGraphDestroy": [c_void_p],
}
"""The driver's calls made by ctypes, and their argument types. Handles are pointers; all answer with a CUresult."""

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no hidden waiting for the legacy stream, on which no capture may be
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do with CUDA does not spoil a capture
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


class PyCuda(Cuda):
    """`driver` is the module pycuda.driver. Never through pycuda.autoinit: that makes a context of its own."""

    name = "pycuda"

    def __init__(self, driver: Any) -> None:
        super().__init__()
        self.version = version("pycuda")
        self._driver = driver
        self._lib = libcuda()
        for name, arguments in CALLS.items():
            declare(self._lib, name, arguments)
        with self._errors():
            driver.init()
            self._primary = driver.Device(0).retain_primary_context()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            call, _, reason = str(error).partition(" failed: ")
            raise failure(call, reason or str(error), isinstance(error, self._driver.MemoryError)) from error

    @contextmanager
    def _context(self) -> Iterator[None]:
        with self._errors():
            self._primary.push()
            try:
                yield
            finally:
                self._driver.Context.pop()

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._lib, name)(*arguments)
        if code:
            raise failure(name, error_name(self._lib, code), code == _OUT_OF_MEMORY)

    def _pin(self, address: int, nbytes: int) -> None:
        self._call("cuMemHostRegister_v2", address, nbytes, 0)

    def _unpin(self, address: int) -> None:
        self._call("cuMemHostUnregister", address)

    def _new_buffer(self, nbytes: int) -> tuple[Any, int]:
        allocation = self._driver.mem_alloc(nbytes)
        return allocation, int(allocation)

    def _new_stream(self) -> tuple[Any, int]:
        stream = self._driver.Stream(_NON_BLOCKING)
        return stream, int(stream.handle)

    def _new_event(self) -> Any:
        return self._driver.Event()

    def _copy_in(self, address: int, array: NDArray[Any], stream: Any) -> None:
        self._driver.memcpy_htod_async(address, array, stream)

    def _copy_out(self, array: NDArray[Any], address: int, stream: Any) -> None:
        self._driver.memcpy_dtoh_async(array, address, stream)

    def _record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def _wait(self, stream: Any, event: Any) -> None:
        stream.wait_for_event(event)

    def _finish_stream(self, stream: Any) -> None:
        stream.synchronize()

    def _finish_event(self, event: Any) -> None:
        event.synchronize()

    def _elapsed(self, start: Any, end: Any) -> float:
        return float(start.time_till(end))

    def _begin(self, stream: Any) -> None:
        self._call("cuStreamBeginCapture_v2", int(stream.handle), _THREAD_LOCAL)

    def _end(self, stream: Any) -> Any:
        recorded, ready = c_void_p(), c_void_p()
        self._call("cuStreamEndCapture", int(stream.handle), byref(recorded))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(ready), recorded, 0)
        finally:
            self._call("cuGraphDestroy", recorded)
        return ready

    def _launch(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", graph, int(stream.handle))

    def _free(self, thing: Thing, own: Any) -> None:
        if isinstance(thing, Graph):
            self._call("cuGraphExecDestroy", own)
        elif isinstance(thing, Buffer):
            own.free()
        # pycuda gives streams and events back when the last reference to them goes.

    def _release(self) -> None:
        # Left to go by itself, pycuda's context object calls cuCtxDetach, which is not for primary contexts, and
        # complains. Its `detach` releases, if the context is current, and then leaves it current in the driver.
        before = self._current()
        with final(), self._errors():
            self._primary.push()
            self._primary.detach()
        if self._current() != before:
            self._lib.cuCtxPopCurrent_v2(byref(c_void_p()))

    def _current(self) -> int | None:
        context = c_void_p()
        self._lib.cuCtxGetCurrent(byref(context))
        return context.value
