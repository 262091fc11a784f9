"""CUDA over cuda-python: NVIDIA's own bindings of the runtime, where every call answers with a tuple.

The runtime makes the primary context current by itself, in whichever thread calls.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.runtime.cuda import Buffer, Cuda, Event, Graph, Stream, Thing, failure

_DESTROY: dict[type[Thing], str] = {
    Buffer: "cudaFree",
    Stream: "cudaStreamDestroy",
    Event: "cudaEventDestroy",
    Graph: "cudaGraphExecDestroy",
}


class CudaPython(Cuda):
    """`runtime` is the module cuda.bindings.runtime."""

    name = "cuda-python"

    def __init__(self, runtime: Any) -> None:
        super().__init__()
        self.version = version("cuda-bindings")
        self._runtime = runtime
        try:
            self._call("cudaSetDevice", 0)
        except RuntimeError as error:
            raise HgrtError(
                "cuda-python cannot use the GPU.",
                f"{error}.",
                f"Install the cuda-python of the driver's CUDA version (here: {self.version}), or a newer driver.",
            ) from error

    def _context(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _call(self, name: str, *arguments: Any) -> Any:
        """What the call gives beside its code: nothing, or one thing."""
        code, *given = getattr(self._runtime, name)(*arguments)
        if code != self._runtime.cudaError_t.cudaSuccess:
            raise failure(name, code.name, code == self._runtime.cudaError_t.cudaErrorMemoryAllocation)
        return given[0] if given else None

    def _pin(self, address: int, nbytes: int) -> None:
        self._call("cudaHostRegister", address, nbytes, 0)

    def _unpin(self, address: int) -> None:
        self._call("cudaHostUnregister", address)

    def _new_buffer(self, nbytes: int) -> tuple[Any, int]:
        address = int(self._call("cudaMalloc", nbytes))
        return address, address

    def _new_stream(self) -> tuple[Any, int]:
        # No hidden waiting for the legacy stream, on which no capture may be.
        stream = self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)
        return stream, int(stream)

    def _new_event(self) -> Any:
        return self._call("cudaEventCreate")

    def _copy_in(self, address: int, array: NDArray[Any], stream: Any) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def _copy_out(self, array: NDArray[Any], address: int, stream: Any) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def _record(self, event: Any, stream: Any) -> None:
        self._call("cudaEventRecord", event, stream)

    def _wait(self, stream: Any, event: Any) -> None:
        self._call("cudaStreamWaitEvent", stream, event, 0)

    def _finish_stream(self, stream: Any) -> None:
        self._call("cudaStreamSynchronize", stream)

    def _finish_event(self, event: Any) -> None:
        self._call("cudaEventSynchronize", event)

    def _elapsed(self, start: Any, end: Any) -> float:
        return float(self._call("cudaEventElapsedTime", start, end))

    def _begin(self, stream: Any) -> None:
        # Thread-local: what other threads do with CUDA does not spoil the capture.
        self._call(
            "cudaStreamBeginCapture", stream, self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )

    def _end(self, stream: Any) -> Any:
        recorded = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", recorded, 0)
        finally:
            self._call("cudaGraphDestroy", recorded)

    def _launch(self, graph: Any, stream: Any) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def _free(self, thing: Thing, own: Any) -> None:
        self._call(_DESTROY[type(thing)], own)

    def _release(self) -> None:
        """The primary context is the process's own: TensorRT and torch may still live in it."""
