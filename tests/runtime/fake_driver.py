"""Where a driver would be: a machine made here, and pycuda and cuda-python as far as we use them on top of it.

It is as strict about handles, contexts and argument types as the driver; its device memory is memory of this process.
That shows that our layers ask for the right things in the right order, with the types of cuda.h. It cannot show what a
GPU does with it.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

OUT_OF_MEMORY, INVALID_HANDLE, CAPTURE_INVALIDATED = 2, 400, 901


class Machine:
    """What a driver keeps: living things by handle, and what is queued in each stream.

    `fails` gives calls a code to answer with. Everything is done as it is queued, but for a stream being recorded.
    """

    def __init__(self) -> None:
        self.alive: dict[int, Any] = {}
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.fails: dict[str, int] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.clock = 0.0
        self.current = 0  # how deep the primary context is pushed
        self.retained = 0

    def ask(self, name: str, *arguments: Any) -> int:
        self.calls.append((name, *arguments))
        return self.fails.get(name, 0)

    def make(self, thing: Any) -> int:
        handle = 0x1000 + 16 * len(self.calls)
        self.alive[handle] = thing
        return handle

    def end(self, kind: type, handle: int) -> int:
        """Free a thing: pinned memory is an int, device memory an Array, streams str, events float, graphs list."""
        if not isinstance(self.alive.get(handle), kind):
            return INVALID_HANDLE
        del self.alive[handle]
        return 0

    def put(self, stream: int, run: Callable[[], None]) -> int:
        if stream not in self.alive:
            return INVALID_HANDLE
        if stream in self.recording:
            self.recording[stream].append(run)
        else:
            run()
        return 0

    def allocate(self, nbytes: int) -> int:
        memory = ctypes.create_string_buffer(nbytes)
        self.alive[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    def holds(self, kind: type, address: int, nbytes: int) -> bool:
        """Whether that is inside pinned memory (int: its size) or device memory (ctypes.Array)."""
        for start, one in self.alive.items():
            if isinstance(one, kind):
                size = one if isinstance(one, int) else len(one)
                if start <= address and address + nbytes <= start + size:
                    return True
        return False

    def copy(self, device: int, host: int, nbytes: int, up: bool, stream: int) -> int:
        if not self.holds(ctypes.Array, device, nbytes) or not self.holds(int, host, nbytes):
            return 1
        target, source = (device, host) if up else (host, device)
        return self.put(stream, lambda: ctypes.memmove(target, source, nbytes) and None)

    def stamp(self, event: int, stream: int) -> int:
        self.clock += 1.5
        return self.put(stream, lambda: self.alive.__setitem__(event, self.clock))

    def end_capture(self, stream: int) -> tuple[int, int]:
        recorded = self.recording.pop(stream, None)
        return (INVALID_HANDLE, 0) if recorded is None else (0, self.make(recorded))


# pycuda: its module, and libcuda for what it lacks. test_cuda.py compares the names with the real ones.


def stub_libcuda(machine: Machine) -> SimpleNamespace:
    """C functions with the signatures of cuda.h, written down apart from those in cuda_pycuda."""

    def begin(stream: int, mode: int) -> int:
        assert mode == 1  # thread-local
        machine.recording[stream] = []
        return 0 if stream in machine.alive else INVALID_HANDLE

    def end(stream: int, graph: Any) -> int:
        code, graph[0] = machine.end_capture(stream)
        return code

    def instantiate(ready: Any, graph: int, flags: int) -> int:
        assert flags == 0
        ready[0] = machine.make(machine.alive[graph])
        return 0

    def launch(graph: int, stream: int) -> int:
        for run in machine.alive[graph]:
            machine.put(stream, run)
        return 0

    def register(address: int, nbytes: int, flags: int) -> int:
        machine.alive[address] = nbytes
        return 0 if address % 4096 == 0 and nbytes % 4096 == 0 and flags == 0 else 1

    def name(code: int, text: Any) -> int:
        names = {
            OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY",
            CAPTURE_INVALIDATED: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        }
        text[0] = names.get(code)
        return 0

    def current(context: Any) -> int:
        context[0] = 0xC0 if machine.current else None
        return 0

    def pop(context: Any) -> int:
        machine.current -= 1
        return 0

    functions: dict[str, tuple[list[Any], Callable[..., int]]] = {
        "cuCtxGetCurrent": ([POINTER(c_void_p)], current),
        "cuCtxPopCurrent_v2": ([POINTER(c_void_p)], pop),
        "cuMemHostRegister_v2": ([c_void_p, c_size_t, c_uint], register),
        "cuMemHostUnregister": ([c_void_p], partial(machine.end, int)),
        "cuStreamBeginCapture_v2": ([c_void_p, c_int], begin),
        "cuStreamEndCapture": ([c_void_p, POINTER(c_void_p)], end),
        "cuGraphInstantiateWithFlags": ([POINTER(c_void_p), c_void_p, c_ulonglong], instantiate),
        "cuGraphLaunch": ([c_void_p, c_void_p], launch),
        "cuGraphExecDestroy": ([c_void_p], partial(machine.end, list)),
        "cuGraphDestroy": ([c_void_p], partial(machine.end, list)),
        "cuGetErrorName": ([c_int, POINTER(c_char_p)], name),
        **{  # only declared here, asked for in test_library.py
            other: ([], lambda: 0)
            for other in ("cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName")
            + ("cuDeviceGetAttribute", "cuDeviceTotalMem_v2")
        },
    }

    def guarded(call: str, run: Callable[..., int]) -> Callable[..., int]:
        def answer(*arguments: Any) -> int:
            assert machine.current or call in ("cuGetErrorName", "cuCtxGetCurrent"), f"{call} without a current context"
            if code := machine.ask(call, *arguments):
                return code
            return run(*arguments)

        return answer

    return SimpleNamespace(
        **{call: CFUNCTYPE(c_int, *types)(guarded(call, run)) for call, (types, run) in functions.items()}
    )


def stub_pycuda(machine: Machine) -> ModuleType:
    """pycuda.driver, as far as its documentation describes what we use."""
    module = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class FullError(Error):
        pass

    def check(name: str, code: int = 0) -> None:
        assert machine.current or name == "cuDevicePrimaryCtxRetain", f"{name} without a current context"
        if code := code or machine.ask(name):
            raise (FullError if code == OUT_OF_MEMORY else Error)(f"{name} failed: error {code}")

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            assert flags == 1  # non-blocking
            self.handle = 0
            check("cuStreamCreate")
            self.handle = machine.make("stream")

        def __del__(self) -> None:
            machine.end(str, self.handle)

        def synchronize(self) -> None:
            check("cuStreamSynchronize")

        def wait_for_event(self, event: Event) -> None:
            check("cuStreamWaitEvent", 0 if event.handle_ in machine.alive else INVALID_HANDLE)

    class Event:
        def __init__(self) -> None:
            check("cuEventCreate")
            self.handle_ = machine.make(0.0)  # the real one has no public handle

        def __del__(self) -> None:
            machine.end(float, self.handle_)

        def record(self, stream: Stream) -> Event:
            check("cuEventRecord", machine.stamp(self.handle_, stream.handle))
            return self

        def synchronize(self) -> Event:
            check("cuEventSynchronize")
            return self

        def time_till(self, event: Event) -> float:
            check("cuEventElapsedTime")
            return float(machine.alive[event.handle_] - machine.alive[self.handle_])

    class DeviceAllocation:
        def __init__(self, address: int) -> None:
            self._address = address

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            check("cuMemFree", machine.end(ctypes.Array, self._address))

    def mem_alloc(nbytes: int) -> DeviceAllocation:
        check("cuMemAlloc")
        return DeviceAllocation(machine.allocate(nbytes))

    def memcpy_htod_async(dest: int, src: Any, stream: Stream) -> None:
        check("cuMemcpyHtoDAsync", machine.copy(dest, src.ctypes.data, src.nbytes, True, stream.handle))

    def memcpy_dtoh_async(dest: Any, src: int, stream: Stream) -> None:
        check("cuMemcpyDtoHAsync", machine.copy(src, dest.ctypes.data, dest.nbytes, False, stream.handle))

    class Context:
        valid = True

        def push(self) -> None:
            assert self.valid
            machine.current += 1

        @staticmethod
        def pop() -> None:
            machine.current -= 1

        def detach(self) -> None:
            assert machine.current  # without, the real one does nothing in any other thread than its own
            machine.retained -= 1
            self.valid = False  # the driver still has it pushed

        def __del__(self) -> None:
            assert not self.valid  # the real one complains on stderr

    class Device:
        def __init__(self, ordinal: int) -> None:
            assert ordinal == 0

        def retain_primary_context(self) -> Context:
            check("cuDevicePrimaryCtxRetain")
            machine.retained += 1
            return Context()

    names = [Error, Stream, Event, Context, Device, mem_alloc, memcpy_htod_async, memcpy_dtoh_async]
    module.__dict__.update({one.__name__: one for one in names}, MemoryError=FullError, init=lambda: None)
    return module


# cuda-python


class Code(enum.IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorInvalidValue = 1  # noqa: N815
    cudaErrorMemoryAllocation = OUT_OF_MEMORY  # noqa: N815
    cudaErrorInsufficientDriver = 35  # noqa: N815
    cudaErrorInvalidResourceHandle = INVALID_HANDLE  # noqa: N815
    cudaErrorStreamCaptureInvalidated = CAPTURE_INVALIDATED  # noqa: N815


def stub_runtime(machine: Machine) -> ModuleType:
    """cuda.bindings.runtime, as far as we use it: every call answers with a tuple."""

    class Kind(enum.IntEnum):
        cudaMemcpyHostToDevice = 1  # noqa: N815
        cudaMemcpyDeviceToHost = 2  # noqa: N815

    class Mode(enum.IntEnum):
        cudaStreamCaptureModeThreadLocal = 1  # noqa: N815

    def register(address: int, nbytes: int, flags: int) -> tuple[int]:
        machine.alive[address] = nbytes
        return (0 if address % 4096 == 0 and nbytes % 4096 == 0 and flags == 0 else 1,)

    def stream(flags: int) -> tuple[int, int]:
        assert flags == 1
        return 0, machine.make("stream")

    def copy(target: int, source: int, nbytes: int, kind: Kind, stream: int) -> tuple[int]:
        if kind is Kind.cudaMemcpyHostToDevice:
            return (machine.copy(target, source, nbytes, True, stream),)
        assert kind is Kind.cudaMemcpyDeviceToHost
        return (machine.copy(source, target, nbytes, False, stream),)

    def begin(stream: int, mode: Mode) -> tuple[int]:
        assert mode is Mode.cudaStreamCaptureModeThreadLocal
        machine.recording[stream] = []
        return (0,)

    def launch(graph: int, stream: int) -> tuple[int]:
        for run in machine.alive[graph]:
            machine.put(stream, run)
        return (0,)

    calls: dict[str, Callable[..., tuple[Any, ...]]] = {
        "cudaSetDevice": lambda device: (device,),
        "cudaHostRegister": register,
        "cudaHostUnregister": lambda address: (machine.end(int, address),),
        "cudaMalloc": lambda nbytes: (0, machine.allocate(nbytes)),
        "cudaFree": lambda address: (machine.end(ctypes.Array, address),),
        "cudaStreamCreateWithFlags": stream,
        "cudaStreamDestroy": lambda stream: (machine.end(str, stream),),
        "cudaEventCreate": lambda: (0, machine.make(0.0)),
        "cudaEventDestroy": lambda event: (machine.end(float, event),),
        "cudaMemcpyAsync": copy,
        "cudaEventRecord": lambda event, stream: (machine.stamp(event, stream),),
        "cudaStreamWaitEvent": lambda stream, event, flags: (0 if event in machine.alive and not flags else 1,),
        "cudaStreamSynchronize": lambda stream: (0 if stream in machine.alive else INVALID_HANDLE,),
        "cudaEventSynchronize": lambda event: (0 if event in machine.alive else INVALID_HANDLE,),
        "cudaEventElapsedTime": lambda start, end: (0, machine.alive[end] - machine.alive[start]),
        "cudaStreamBeginCapture": begin,
        "cudaStreamEndCapture": lambda stream: machine.end_capture(stream),
        "cudaGraphInstantiate": lambda graph, flags: (flags, machine.make(machine.alive[graph])),
        "cudaGraphDestroy": lambda graph: (machine.end(list, graph),),
        "cudaGraphLaunch": launch,
        "cudaGraphExecDestroy": lambda graph: (machine.end(list, graph),),
    }

    def guarded(name: str, run: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        def answer(*arguments: Any) -> tuple[Any, ...]:
            if code := machine.ask(name, *arguments):
                return Code(code), None
            code, *given = run(*arguments)
            return Code(code), *given

        return answer

    module = ModuleType("cuda.bindings.runtime")
    module.__dict__.update({name: guarded(name, run) for name, run in calls.items()})
    module.__dict__.update(cudaError_t=Code, cudaMemcpyKind=Kind, cudaStreamCaptureMode=Mode, cudaStreamNonBlocking=1)
    return module
