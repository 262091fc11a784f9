"""A camera acted from pictures in memory, so that what only a camera shows can be measured without one: the age of
frames, and how many are dropped.

It keeps a camera's hours, whoever fetches: each picture has a due time, and one that nobody took is replaced by the
next. It knows nothing of where the pictures are from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from hgrt.live.clock import Clock
from hgrt.live.grab import Newest
from hgrt.live.source import Frame
from hgrt.pose.geometry import Image


class ActedCamera(Newest):
    """Gives picture k of `frames`, each (H, W, 3) uint8 BGR, k / `fps` seconds after somebody began to iterate; ends
    after the last. Frames that were handed out and those in `dropped` come to all of them.

    `t_capture` is the due time, when a shutter would have closed, not when the thread woke up. Pictures are copied: the
    loop draws on them. `clock` and `sleep` are those of `time`, in seconds.
    """

    def __init__(
        self,
        frames: Sequence[Image],
        fps: float,
        name: str = "acted camera",
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(name)
        self.fps, self.frames = fps, len(frames)
        self._pictures, self._clock, self._sleep = frames, clock, sleep
        self._begin = 0.0
        self._given = 0

    def __iter__(self) -> Iterator[Frame]:
        self._begin = self._clock()
        self._start()
        return super().__iter__()

    def _next(self) -> tuple[Image, float] | None:
        if self._given == len(self._pictures):
            return None
        image = self._pictures[self._given].copy()
        due = self._begin + self._given / self.fps
        self._given += 1
        early = due - self._clock()
        if early > 0:
            self._sleep(early)
        return image, due
