"""What a pile of times says: percentiles, whether they have settled, and a ratio with the interval a repeat lands in.

Numbers in, numbers out; nothing here knows what was timed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hgrt.bench.results import Interval, Spread

SETTLED = 0.03  # two successive medians that differ by less count as the same
WINDOW = 5  # runs in each of them
RUNS_DIFFER = 0.03
"""Standard deviation, as a share, of what differs between two benchmarks and not between the processes of one: the
machine's slow moods. Measured on two cores of a virtual machine: four benchmarks in a row, ratios of onnxruntime and
openvino to torch at batch 1."""

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131)
"""97.5 % quantiles of Student's t for 1, 2, 3, ... degrees of freedom; more are taken as the last."""

NORMAL = 1.96
"""The same of the normal distribution."""


def spread(samples: ArrayLike) -> Spread:
    """Percentiles of at least one time, linearly interpolated."""
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("there are no times")
    p50, p90, p99 = (float(value) for value in np.percentile(values, (50, 90, 99)))
    return Spread(values.size, float(values.mean()), p50, p90, p99, float(values.max()))


def settled(times: Sequence[float]) -> bool:
    """Whether the last `WINDOW` times are as long as those before them, by their medians."""
    if len(times) < 2 * WINDOW:
        return False
    before, after = np.median(times[-2 * WINDOW : -WINDOW]), np.median(times[-WINDOW:])
    return bool(abs(after - before) <= SETTLED * before)


def ratio(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Interval:
    """How many times as long ours take as theirs, by pairs: `ours[p][b]` and `theirs[p][b]` were timed side by side.

    p counts processes, b the blocks in each. A process has its own luck (where its memory lies, which core it gets), so
    processes are the sample and not runs: the ratio is the geometric mean over processes of the median over blocks,
    and the interval is Student's for the next such mean, which is wider by the square root of 2 than the one for the
    true mean, with `RUNS_DIFFER` on top. A repeated benchmark lands in it at least 19 times of 20. ValueError below two
    processes.
    """
    if len(ours) < 2 or len(ours) != len(theirs):
        raise ValueError("a ratio with an interval takes at least two processes of each")
    logs = np.array(
        [np.median(np.log(np.divide(mine, other))) for mine, other in zip(ours, theirs, strict=True)],
    )
    degrees = len(logs) - 1
    within = STUDENT[min(degrees, len(STUDENT)) - 1] * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    half = math.sqrt(2) * math.hypot(within, NORMAL * RUNS_DIFFER)
    middle = float(logs.mean())
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))
