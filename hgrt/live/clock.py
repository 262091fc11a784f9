"""Where the time of a frame goes: stages marked as they end, kept for percentiles."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

import numpy as np

Clock = Callable[[], float]

RECENT = 30  # frames that `Stopwatch.recent` looks back on


class Stopwatch:
    """Adds up the time between marks by stage, frame after frame. Milliseconds out, any clock in."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()
        self._now: dict[str, float] = defaultdict(float)
        self.stages: dict[str, list[float]] = defaultdict(list)
        self.finished: deque[float] = deque(maxlen=60)
        self._recent: deque[Mapping[str, float]] = deque(maxlen=RECENT)
        self._elsewhere: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._lock = threading.Lock()  # reading and writing are timed on threads of their own

    def start(self) -> None:
        """Time from here belongs to the next mark."""
        self._last = self._clock()

    def mark(self, stage: str) -> None:
        """The time since the last mark belongs to `stage`; a stage may come several times in a frame."""
        now = self._clock()
        self._now[stage] += 1000 * (now - self._last)
        self._last = now

    def end_frame(self) -> None:
        """Close the books on this frame."""
        with self._lock:
            for stage, spent in self._now.items():
                self.stages[stage].append(spent)
            self._recent.append(dict(self._now))
        self._now.clear()
        self.finished.append(self._clock())

    def add(self, stage: str, spent_ms: float) -> None:
        """A measurement made elsewhere, on another thread say."""
        with self._lock:
            self.stages[stage].append(spent_ms)
            self._elsewhere[stage].append(spent_ms)

    def age_ms(self, t_capture: float) -> float:
        """Milliseconds since `t_capture`, a reading of the monotonic clock."""
        return 1000 * (time.monotonic() - t_capture)

    @property
    def fps(self) -> float:
        """Frames a second over the last frames; 0 before there are two."""
        if len(self.finished) < 2:
            return 0.0
        return (len(self.finished) - 1) / max(1e-9, self.finished[-1] - self.finished[0])

    def recent(self) -> Mapping[str, float]:
        """Median by stage over the last frames, of those that have the stage."""
        with self._lock:
            latest = {stage: list(values) for stage, values in self._elsewhere.items()}
            for frame in self._recent:
                for stage, spent in frame.items():
                    latest.setdefault(stage, []).append(spent)
        return {stage: float(np.median(values)) for stage, values in latest.items()}

    def percentiles(self, *levels: float) -> Mapping[str, tuple[float, ...]]:
        """Percentiles over all frames, by stage."""
        with self._lock:
            every = {stage: list(values) for stage, values in self.stages.items() if values}
        return {stage: tuple(float(p) for p in np.percentile(v, levels)) for stage, v in every.items()}
