"""CUDA made of numpy, stricter than the real one: what is queued is done only when somebody waits for it.

Device memory starts as 0xFF bytes (NaN for floats) at addresses that are never used twice. A queued download fills its
array with 0xFF at once, and an upload whose array is changed before its turn is an error, so reading or writing too
early shows. A fake tests our bookkeeping, not CUDA.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.runtime.cuda import Buffer, Cuda, Thing, failure

GUARD = 1 << 12  # an unused gap between buffers, so that writing past one hits nothing


@dataclass(eq=False)
class Work:
    """One queued thing to do."""

    name: str
    run: Callable[[], None]
    ms: float
    done: bool = False


Prepare = Callable[[], Work]
"""Makes the work at the moment it is queued: at once, or each time a graph is launched."""


@dataclass(eq=False)
class Queue:
    """What the fake calls a stream."""

    handle: int
    waiting: deque[Work] = field(default_factory=deque)
    recording: list[Prepare] | None = None


@dataclass(eq=False)
class Mark:
    """What the fake calls an event."""

    queue: Queue | None = None
    work: Work | None = None
    time: float = 0.0
    captured: bool = False


class FakeCuda(Cuda):
    """`capacity`: bytes of device memory. `calls` counts what was asked for; `done` names all that was carried out.

    `refuse("copy_in", after=2)` lets the third such call fail as the driver would; `faults` keeps every misuse found,
    also those that `close` swallows. The clock goes on by 1 ms for each piece of work.
    """

    name = "fake"
    version = "0"

    def __init__(self, capacity: int = 1 << 30) -> None:
        super().__init__()
        self.capacity = capacity
        self.calls: Counter[str] = Counter()
        self.done: list[str] = []
        self.faults: list[str] = []
        self.clock = 0.0
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self._refused: dict[str, int] = {}
        self._next = 0x7F00_0000_0000

    def refuse(self, name: str, after: int = 0) -> None:
        """Let the call `name` (of a layer, without its underscore) fail from its `after`-th time on."""
        self._refused[name] = self.calls[name] + after

    def alive(self) -> Counter[str]:
        """How many things of each kind are handed out and not freed."""
        return Counter([type(thing).__name__ for thing in self._own] + ["pinned"] * len(self._pins))

    def recording(self, handle: int) -> bool:
        """Whether the stream with this handle is being captured."""
        return self._queue(handle).recording is not None

    def work(self, handle: int, name: str, run: Callable[[], None]) -> None:
        """Queue foreign work, as TensorRT does, on the stream with this handle."""
        self._count("work")
        self._put(self._queue(handle), lambda: Work(name, run, 1.0))

    def read(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """The bytes of device memory from `address` on; they may lie anywhere inside one buffer."""
        for start, bytes_ in self.memory.items():
            if start <= address and address + nbytes <= start + len(bytes_):
                return bytes_[address - start :][:nbytes]
        raise self._fault(f"{nbytes} bytes at {address:#x} are in no living buffer")

    def _fault(self, text: str) -> RuntimeError:
        self.faults.append(text)
        return RuntimeError(text)

    def _count(self, name: str) -> None:
        if self._closed and name not in ("unpin", "free", "finish_stream"):
            raise self._fault(f"{name} after close")
        if self.calls[name] >= self._refused.get(name, 1 << 60):
            raise failure(name, "refused by the test")
        self.calls[name] += 1

    def _queue(self, handle: int) -> Queue:
        for own in self._own.values():
            if isinstance(own, Queue) and own.handle == handle:
                return own
        raise self._fault(f"{handle:#x} is no living stream (0 is the legacy stream, which we never use)")

    def _unique(self, size: int) -> int:
        address, self._next = self._next, self._next + -(-size // GUARD) * GUARD + GUARD
        return address

    def _put(self, queue: Queue, prepare: Prepare) -> None:
        if queue.recording is not None:
            queue.recording.append(prepare)
        else:
            queue.waiting.append(prepare())

    def _drain(self, queue: Queue, until: Work | None = None) -> None:
        while queue.waiting and not (until and until.done):
            work = queue.waiting.popleft()
            self.clock += work.ms
            work.run()
            work.done = True
            self.done.append(work.name)

    # The layer

    def _context(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _pin(self, address: int, nbytes: int) -> None:
        self._count("pin")

    def _unpin(self, address: int) -> None:
        self._count("unpin")

    def _new_buffer(self, nbytes: int) -> tuple[Any, int]:
        self._count("new_buffer")
        if sum(map(len, self.memory.values())) + nbytes > self.capacity:
            raise failure("new_buffer", "out of memory", memory=True)
        address = self._unique(nbytes)
        self.memory[address] = np.full(nbytes, 0xFF, np.uint8)
        return address, address

    def _new_stream(self) -> tuple[Any, int]:
        self._count("new_stream")
        queue = Queue(self._unique(1))
        return queue, queue.handle

    def _new_event(self) -> Any:
        self._count("new_event")
        return Mark()

    def _copy_in(self, address: int, array: NDArray[Any], stream: Any) -> None:
        self._count("copy_in")
        self.read(address, array.nbytes)

        def prepare() -> Work:
            then = array.tobytes()

            def run() -> None:
                if array.tobytes() != then:
                    raise self._fault("an array was changed before its upload was done")
                self.read(address, len(then))[:] = np.frombuffer(then, np.uint8)

            return Work("upload", run, 1.0)

        self._put(stream, prepare)

    def _copy_out(self, array: NDArray[Any], address: int, stream: Any) -> None:
        self._count("copy_out")
        self.read(address, array.nbytes)
        host = array.reshape(-1).view(np.uint8)

        def prepare() -> Work:
            host[:] = 0xFF

            def run() -> None:
                host[:] = self.read(address, len(host))

            return Work("download", run, 1.0)

        self._put(stream, prepare)

    def _record(self, event: Any, stream: Any) -> None:
        self._count("record")
        event.captured = stream.recording is not None
        if event.captured:
            return

        def run() -> None:
            if event.work is work:
                event.time = self.clock

        event.queue, event.work = stream, (work := Work("record", run, 0.0))
        stream.waiting.append(work)

    def _wait(self, stream: Any, event: Any) -> None:
        self._count("wait")
        if event.captured != (stream.recording is not None):
            raise self._fault("a capture and what lies outside it cannot wait for each other")
        if event.captured or event.work is None:
            return
        queue, until = event.queue, event.work
        stream.waiting.append(Work("wait", lambda: self._drain(queue, until), 0.0))

    def _finish_stream(self, stream: Any) -> None:
        self._count("finish_stream")
        self._drain(stream)

    def _finish_event(self, event: Any) -> None:
        self._count("finish_event")
        if event.captured:
            raise self._fault("an event recorded in a capture cannot be waited for")
        if event.work is not None:
            self._drain(event.queue, event.work)

    def _elapsed(self, start: Any, end: Any) -> float:
        self._count("elapsed")
        for event in (start, end):
            if event.captured or event.work is None or not event.work.done:
                raise self._fault("elapsed_ms of an event that was not recorded, or not reached yet")
        return float(end.time - start.time)

    def _begin(self, stream: Any) -> None:
        self._count("begin")
        stream.recording = []

    def _end(self, stream: Any) -> Any:
        recorded, stream.recording = stream.recording, None
        self._count("end")
        return recorded

    def _launch(self, graph: Any, stream: Any) -> None:
        self._count("launch")
        for prepare in graph:
            self._put(stream, prepare)

    def _free(self, thing: Thing, own: Any) -> None:
        self._count("free")
        if isinstance(thing, Buffer):
            del self.memory[own]

    def _release(self) -> None:
        if self.memory or self._own or self._pins:
            raise self._fault("something outlived close")
