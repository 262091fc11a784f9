"""What is done inside the process of one runtime: open it, time it, let it answer, let it run the whole loop.

Runtimes disturb each other (their threads spin, their pools compete), so each has a process of its own, and only one of
them works at a time. This module knows nothing of processes: see `remote`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.bench.conditions import device_memory_mb, peak_memory_mb
from hgrt.bench.people import answers, bundled_film, first_crops, open_people
from hgrt.bench.results import Memory
from hgrt.bench.statistics import settled
from hgrt.data.sample import People, Sample
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.predict import Predictions, refuse_other_joints
from hgrt.live.acted import ActedCamera
from hgrt.live.clock import Stopwatch
from hgrt.live.hud import draw_overlay
from hgrt.live.loop import run
from hgrt.live.person import Tracker
from hgrt.live.sink import Sink
from hgrt.live.smooth import OneEuro
from hgrt.live.source import Frame, Video
from hgrt.pose.geometry import Image
from hgrt.pose.heatmaps import decode
from hgrt.pose.pose import Pose
from hgrt.runtime.base import Backend, BackendInfo, asset

WARM_UP_S = 4.0  # after so long without settling, the times are taken as they come
BLOCK_S = 0.06  # of a block of runs
FEWEST = 2  # runs in it
SETTLING = 1  # runs before each block that do not count: others have used the caches since

Run = tuple[float, dict[str, float]]
"""Milliseconds of one call, and of its stages."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A backend as it says it is, and the milliseconds that opening and the first answer took."""

    info: BackendInfo
    open: float
    first: float


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """A pass over the film, in milliseconds: of the first frame, of every other, and of the stages of all frames."""

    first: float
    frames: list[float]
    stages: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class CameraTimes:
    """Ages of the frames of an acted camera when they were drawn, in milliseconds; frames that it lost."""

    ages: list[float]
    dropped: int


class Worker:
    """One runtime in this process. `open` makes its backend; `data` and `split` name the people for `answers`."""

    def __init__(self, open: Callable[[], Backend], data: Sequence[Path] = (), split: str = "val") -> None:
        cv2.setNumThreads(1)  # as in the demo
        self._open, self._data, self._split = open, data, split
        self._estimator: PoseEstimator | None = None
        self._sets: list[People] = []
        self._crops: dict[int, NDArray[np.uint8]] = {}

    def begin(self) -> Opened:
        """Open the backend and ask it once."""
        start = time.perf_counter()
        estimator = self._estimator = PoseEstimator.over(self._open())
        opened = time.perf_counter()
        refuse_other_joints(estimator.backend.info)
        size = estimator.backend.info.spec.input
        estimator.backend.keypoints(np.zeros((1, size, size, 3), np.uint8))
        return Opened(estimator.backend.info, 1000 * (opened - start), 1000 * (time.perf_counter() - opened))

    def warm_up(self, batch: int) -> tuple[int, bool]:
        """Call until the time has settled; how many calls that took, and whether it did."""
        crops = self._batch(batch)
        begin, times = time.perf_counter(), list[float]()
        while time.perf_counter() - begin < WARM_UP_S:
            times.append(self._once(crops)[0])
            if settled(times):
                return len(times), True
        return len(times), False

    def block(self, batch: int) -> list[Run]:
        """A few runs in a row, as many as fit into a short time."""
        crops = self._batch(batch)
        for _ in range(SETTLING):
            self._once(crops)
        runs: list[Run] = []
        begin = time.perf_counter()
        while len(runs) < FEWEST or time.perf_counter() - begin < BLOCK_S:
            runs.append(self._once(crops))
        return runs

    def answers(self, swapped: bool = False, people: int | None = None) -> list[Predictions]:
        """Everybody's joints; of the first `people` only; from pictures whose red and blue are `swapped`."""
        sets = self._people()
        if people is not None or swapped:
            sets = [_Some(one, people, swapped) for one in sets]
        return answers(self._ready(), sets)

    def loop(self, frames: int) -> LoopTimes:
        """Run the loop of the demo over the beginning of the bundled clip; nothing is shown or written."""
        ends = _Ends()
        with Video(asset("clip.mp4")) as film:
            watch = Stopwatch()
            start = time.perf_counter()
            run(film, Tracker(self._ready()), [ends], draw_overlay, watch, OneEuro(), frames)
        times = 1000 * np.diff([start, *ends.times])
        return LoopTimes(float(times[0]), times[1:].tolist(), {name: list(each) for name, each in watch.stages.items()})

    def camera(self, fps: float, frames: int) -> CameraTimes:
        """Follow the bundled clip as if a camera filmed it at that pace, and see how old the frames get."""
        film = bundled_film()
        with ActedCamera([film.get(k).image for k in range(min(frames, len(film)))], fps) as camera:
            done = run(camera, Tracker(self._ready()), [], draw_overlay, Stopwatch(), OneEuro())
        return CameraTimes(done.ages_ms, done.dropped)

    def memory(self) -> Memory:
        """What this process has held at most, and what it holds on the device."""
        on_device = device_memory_mb(os.getpid()) if not self._ready().backend.info.threads else None
        return Memory(peak_memory_mb(), on_device)

    def close(self) -> None:
        """Free the backend."""
        if self._estimator is not None:
            self._estimator.close()

    def _ready(self) -> PoseEstimator:
        if self._estimator is None:
            raise RuntimeError("begin() comes first")
        return self._estimator

    def _people(self) -> list[People]:
        self._sets = self._sets or open_people(self._data, self._split)
        return self._sets

    def _batch(self, batch: int) -> NDArray[np.uint8]:
        if batch not in self._crops:
            self._crops[batch] = first_crops(self._people(), self._ready().backend.info.spec.input, batch)
        return self._crops[batch]

    def _once(self, crops: NDArray[np.uint8]) -> Run:
        backend = self._ready().backend
        start = time.perf_counter()
        if backend.info.decodes:
            backend.keypoints(crops)
            answered = end = time.perf_counter()
        else:
            maps = backend.infer(crops)
            answered = time.perf_counter()
            decode(maps)
            end = time.perf_counter()
        stages = {"network": 1000 * (answered - start)}
        parts = backend.timings()
        if parts is not None and parts.h2d is not None and parts.d2h is not None:
            stages = {"copy in": parts.h2d, "network": stages["network"] - parts.h2d - parts.d2h, "copy out": parts.d2h}
        if not backend.info.decodes:
            stages["decode"] = 1000 * (end - answered)
        return 1000 * (end - start), stages


class _Ends(Sink):
    """Notes when each frame is done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        self.times.append(time.perf_counter())

    def close(self) -> None: ...


class _Some:
    """The first people of a set, red and blue swapped if asked."""

    def __init__(self, people: People, count: int | None, swapped: bool) -> None:
        self.name, self._people, self._swapped = people.name, people, swapped
        self._count = len(people) if count is None else min(count, len(people))

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Sample:
        sample = self._people.get(index)
        return replace(sample, image=np.ascontiguousarray(sample.image[..., ::-1])) if self._swapped else sample
