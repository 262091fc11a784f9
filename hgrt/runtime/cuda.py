"""The few CUDA calls that running an engine takes, over pycuda or cuda-python.

A `Cuda` hands out memory, streams, events and graphs, checks what it is given, and frees all of it when closed. It
always works in the primary context of the first device, where TensorRT and torch live too. Knows nothing of engines.
"""

from __future__ import annotations

import importlib
import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.runtime.library import no_gpu, probe


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Device memory: `address` is what to give `set_tensor_address`, `nbytes` its size."""

    address: int
    nbytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A queue of work that does not wait for the legacy stream: `handle` is what to give `execute_async_v3`."""

    handle: int


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """A mark in a stream that keeps its time. Reusable."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A recorded piece of a stream, ready to be launched as one."""


class Capture:
    """What `Cuda.capture` yields; `graph` is there once the block has ended."""

    _graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The recorded graph. RuntimeError while the block is still being recorded."""
        if self._graph is None:
            raise RuntimeError("the graph is there only after the capture block has ended")
        return self._graph


Thing = Buffer | Stream | Event | Graph
T = TypeVar("T", Buffer, Stream, Event, Graph)


class Cuda(Closing, ABC):
    """CUDA on the first device. Everything it handed out is dead once it is closed. Use it from one thread at a time.

    Every call raises RuntimeError once closed, ValueError for a thing that is not (or no longer) its own, HgrtError
    where the device has no memory left, and RuntimeError that names the call for any other error of the driver.
    """

    name: str
    version: str

    def __init__(self) -> None:
        self._own: dict[Thing, Any] = {}  # what was handed out, and what the layer below calls it
        self._pins: dict[int, NDArray[np.uint8]] = {}  # whole pages by their address
        self._recording: Stream | None = None
        self._closed = False

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A zeroed page-locked host array. It stays readable after `close`, only no longer page-locked."""
        self._not_recording("page-locking memory")
        kind = np.dtype(dtype)
        nbytes = math.prod(shape) * kind.itemsize
        if nbytes < 1:
            raise ValueError(f"an array of shape {shape} holds nothing")
        # Pages of our own, locked by address: arrays of the driver's own memory would crash who reads them after close.
        pages = np.frombuffer(mmap.mmap(-1, -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE), np.uint8)
        with self._inside():
            self._pin(_address(pages), pages.nbytes)
        self._pins[_address(pages)] = pages
        return pages[:nbytes].view(kind).reshape(shape)

    def device(self, nbytes: int) -> Buffer:
        """Device memory of `nbytes` bytes, contents undefined. ValueError for less than one."""
        self._not_recording("making device memory")
        if nbytes < 1:
            raise ValueError(f"a buffer has at least one byte, not {nbytes}")
        with self._inside():
            own, address = self._new_buffer(nbytes)
        return self._keep(Buffer(address, nbytes), own)

    def stream(self) -> Stream:
        """A new stream, independent of all others."""
        with self._inside():
            own, handle = self._new_stream()
        return self._keep(Stream(handle), own)

    def event(self) -> Event:
        """A new event, not yet recorded."""
        with self._inside():
            own = self._new_event()
        return self._keep(Event(), own)

    def free(self, what: Buffer | Graph | NDArray[Any]) -> None:
        """Give back one buffer, graph or `pinned` array before `close` does. The device must be done with it."""
        self._not_recording("freeing")
        with self._inside():
            if isinstance(what, np.ndarray):
                if self._pins.pop(_address(what), None) is None:
                    raise ValueError("this array did not come from `pinned`, or is freed already")
                self._unpin(_address(what))
            else:
                own = self._of(what)
                del self._own[what]
                self._free(what, own)

    def upload(self, buffer: Buffer, array: NDArray[Any], stream: Stream) -> None:
        """Queue a copy of `array` to the start of `buffer`; leave the array alone until the stream is past it.

        `array` is C-contiguous and lies in a `pinned` array; ValueError otherwise, or where it does not fit.
        """
        with self._inside():
            self._check_copy(buffer, array)
            self._copy_in(buffer.address, array, self._of(stream))

    def download(self, array: NDArray[Any], buffer: Buffer, stream: Stream) -> None:
        """Queue a copy of the first `array.nbytes` bytes of `buffer` to `array`; the same rules as `upload`."""
        with self._inside():
            self._check_copy(buffer, array)
            self._copy_out(array, buffer.address, self._of(stream))

    def record(self, event: Event, stream: Stream) -> None:
        """Queue the mark `event`. Inside a capture it only orders streams: such a mark has no time."""
        with self._inside():
            self._record(self._of(event), self._of(stream))

    def wait(self, stream: Stream, event: Event) -> None:
        """Queue: `stream` goes on only when `event`, as recorded last, has been reached."""
        with self._inside():
            self._wait(self._of(stream), self._of(event))

    def synchronize(self, what: Stream | Event) -> None:
        """Wait here until the stream is empty or the event reached; an event never recorded is. Lets threads run."""
        self._not_recording("waiting")
        with self._inside():
            if isinstance(what, Stream):
                self._finish_stream(self._of(what))
            else:
                self._finish_event(self._of(what))

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two events that have both been recorded and reached; RuntimeError otherwise."""
        with self._inside():
            return self._elapsed(self._of(start), self._of(end))

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Capture]:
        """Record what is queued on `stream` inside the block instead of doing it.

        with cuda.capture(stream) as captured: ...
        cuda.launch(captured.graph, stream)

        No memory may be made or freed inside and nothing waited for: RuntimeError. What the block raises ends the
        recording and goes on up; a recording that the driver found fault with raises RuntimeError at the end.
        """
        self._not_recording("a second capture")
        with self._inside():
            self._begin(self._of(stream))
        self._recording = stream
        captured = Capture()
        try:
            yield captured
        except BaseException:
            self._recording = None
            with final(), self._inside():
                self._free(Graph(), self._end(self._of(stream)))
            raise
        self._recording = None
        with self._inside():
            own = self._end(self._of(stream))
        captured._graph = self._keep(Graph(), own)

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Queue the whole graph on `stream`. It uses the addresses it was recorded with."""
        with self._inside():
            self._launch(self._of(graph), self._of(stream))

    def close(self) -> None:
        """Wait for all streams and free everything; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for stream in [thing for thing in self._own if isinstance(thing, Stream)]:
            with final(), self._context():
                self._finish_stream(self._own[stream])
        for address in self._pins:
            with final(), self._context():
                self._unpin(address)
        self._pins.clear()
        for kind in (Graph, Buffer, Event, Stream):
            for thing in [thing for thing in self._own if isinstance(thing, kind)]:
                with final(), self._context():
                    self._free(thing, self._own.pop(thing))
        self._release()

    def _not_recording(self, doing: str) -> None:
        if self._recording is not None:
            raise RuntimeError(f"{doing} is not allowed inside a capture")

    @contextmanager
    def _inside(self) -> Iterator[None]:
        if self._closed:
            raise RuntimeError("this CUDA is closed")
        with self._context():
            yield

    def _keep(self, thing: T, own: Any) -> T:
        self._own[thing] = own
        return thing

    def _of(self, thing: Thing) -> Any:
        try:
            return self._own[thing]
        except KeyError:
            raise ValueError(f"this {type(thing).__name__} belongs to another CUDA or is freed") from None

    def _check_copy(self, buffer: Buffer, array: NDArray[Any]) -> None:
        self._of(buffer)
        if not array.flags.c_contiguous:
            raise ValueError("only a C-contiguous array can be copied")
        if array.nbytes > buffer.nbytes:
            raise ValueError(f"{array.nbytes} bytes do not fit a buffer of {buffer.nbytes}")
        first = _address(array)
        if not any(page <= first and first + array.nbytes <= page + len(at) for page, at in self._pins.items()):
            raise ValueError("only a `pinned` array can be copied: others are copied late, or slowly")

    # What a layer writes. All but `_context` and `_release` are called inside `_context`.

    @abstractmethod
    def _context(self) -> AbstractContextManager[None]:
        """Makes the primary context current and turns the layer's errors into ours."""

    @abstractmethod
    def _pin(self, address: int, nbytes: int) -> None: ...

    @abstractmethod
    def _unpin(self, address: int) -> None: ...

    @abstractmethod
    def _new_buffer(self, nbytes: int) -> tuple[Any, int]: ...

    @abstractmethod
    def _new_stream(self) -> tuple[Any, int]: ...

    @abstractmethod
    def _new_event(self) -> Any: ...

    @abstractmethod
    def _copy_in(self, address: int, array: NDArray[Any], stream: Any) -> None: ...

    @abstractmethod
    def _copy_out(self, array: NDArray[Any], address: int, stream: Any) -> None: ...

    @abstractmethod
    def _record(self, event: Any, stream: Any) -> None: ...

    @abstractmethod
    def _wait(self, stream: Any, event: Any) -> None: ...

    @abstractmethod
    def _finish_stream(self, stream: Any) -> None: ...

    @abstractmethod
    def _finish_event(self, event: Any) -> None: ...

    @abstractmethod
    def _elapsed(self, start: Any, end: Any) -> float: ...

    @abstractmethod
    def _begin(self, stream: Any) -> None: ...

    @abstractmethod
    def _end(self, stream: Any) -> Any: ...

    @abstractmethod
    def _launch(self, graph: Any, stream: Any) -> None: ...

    @abstractmethod
    def _free(self, thing: Thing, own: Any) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...


def final() -> AbstractContextManager[None]:
    """For what is done after a failure: the driver then often refuses it too, and the first error says more."""
    return suppress(RuntimeError, HgrtError)


def failure(call: str, reason: str, memory: bool = False) -> Exception:
    """The error for a call of CUDA that failed: HgrtError where the device has no memory left, else RuntimeError."""
    if memory:
        return HgrtError(
            "The GPU has no memory left.",
            f"{call}: {reason}.",
            "Close other programs that use the GPU, or ask for fewer people at once.",
        )
    return RuntimeError(f"{call} failed: {reason}")


def open_cuda() -> Cuda:
    """CUDA by pycuda where that loads, else by cuda-python.

    HgrtError where there is no GPU, or neither package: with the reasons and the pip line.
    """
    gpu = probe()
    if isinstance(gpu, str):
        raise no_gpu("CUDA", gpu)
    driver = _import("pycuda.driver")
    if isinstance(driver, ModuleType):
        from hgrt.runtime.cuda_pycuda import PyCuda

        return PyCuda(driver)
    runtime = _import("cuda.bindings.runtime")
    if isinstance(runtime, ModuleType):
        from hgrt.runtime.cuda_python import CudaPython

        return CudaPython(runtime)
    raise HgrtError(
        "Running an engine needs the Python package 'pycuda' or 'cuda-python'.",
        f"pycuda: {driver}. cuda-python: {runtime}.",
        'Install one with: pip install "hgrt[cuda]"   (in a checkout: pip install -e ".[cuda]")',
    )


def _import(module: str) -> ModuleType | str:
    """The module, or why there is none."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        return "not installed" if module.startswith(f"{error.name}") else f"installed but does not load ({error})"
    except ImportError as error:
        return f"installed but does not load ({error})"


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
