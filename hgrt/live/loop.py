"""The real-time loop: frames in, poses out, each stage timed. Nothing is parsed or drawn here."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hgrt.live.clock import Clock, Stopwatch
from hgrt.live.person import Tracker
from hgrt.live.sink import Sink
from hgrt.live.smooth import OneEuro
from hgrt.live.source import Frame, Source
from hgrt.pose.pose import Pose

AHEAD = 4  # frames of a file that are decoded before they are needed


@dataclass(slots=True)
class Summary:
    """What a run came to. `seconds` counts from the start of the loop to the last frame handed on."""

    frames: int = 0
    found: int = 0
    seconds: float = 0.0
    dropped: int = 0
    ages_ms: list[float] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames a second, end to end."""
        return self.frames / self.seconds if self.seconds else 0.0


Draw = Callable[[Frame, Pose | None, Stopwatch, Source], None]
"""Draws on the frame's own picture."""


def run(
    source: Source,
    tracker: Tracker,
    sinks: Sequence[Sink],
    draw: Draw,
    watch: Stopwatch,
    smooth: OneEuro | None = None,
    max_frames: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    clock: Clock = time.monotonic,
) -> Summary:
    """Follow one person through `source` until it ends, `max_frames` are done, or `stopped()` says so."""
    summary, begin = Summary(), clock()
    frames = iter(source) if source.live else ahead(source, watch)
    try:
        while max_frames is None or summary.frames < max_frames:
            watch.start()
            frame = next(frames, None)
            watch.mark("wait")
            if frame is None:
                break
            if not source.continuous:
                tracker.reset()
            pose = tracker(frame.bgr, watch.mark)
            if smooth is not None and source.continuous:
                if pose is None:
                    smooth.reset()
                else:
                    pose = smooth(pose, frame.t)
            watch.mark("decode")
            draw(frame, pose, watch, source)
            watch.mark("draw")
            for sink in sinks:
                sink.write(frame, pose, frame.bgr)
            watch.mark("hand on")
            watch.end_frame()
            summary.frames += 1
            summary.found += pose is not None
            summary.seconds = clock() - begin
            if source.live:
                summary.ages_ms.append(1000 * (clock() - frame.t_capture))
            if stopped():
                break
    finally:
        if isinstance(frames, _Ahead):
            frames.close()
    summary.dropped = source.dropped
    return summary


def ahead(source: Source, watch: Stopwatch) -> Iterator[Frame]:
    """The frames of a file, decoded on a thread a few frames ahead; none is dropped."""
    return _Ahead(source, watch)


class _Ahead(Iterator[Frame]):
    def __init__(self, source: Source, watch: Stopwatch) -> None:
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(maxsize=AHEAD)
        self._source, self._watch = source, watch
        self._over = False
        self._thread = threading.Thread(target=self._read, name="decode", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        frames = iter(self._source)
        try:
            while not self._over:
                start = time.perf_counter()
                frame = next(frames, None)
                if frame is not None:
                    self._watch.add("read", 1000 * (time.perf_counter() - start))
                self._put(frame)
                if frame is None:
                    return
        except BaseException as error:  # handed to the thread that asks for frames
            self._put(error)

    def _put(self, item: Frame | BaseException | None) -> None:
        while not self._over:
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def __next__(self) -> Frame:
        item = None if self._over else self._queue.get()
        if isinstance(item, BaseException):
            self._over = True
            raise item
        if item is None:
            self._over = True
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop reading, wherever the thread is."""
        self._over = True
        self._thread.join()
