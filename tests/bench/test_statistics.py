"""Percentiles, settling and the interval of a ratio, against numbers worked out by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hgrt.bench.statistics import RUNS_DIFFER, STUDENT, WINDOW, ratio, settled, spread


def test_spread_of_known_times() -> None:
    found = spread(range(1, 102))
    assert (found.runs, found.mean, found.p50, found.p90, found.p99, found.max) == (101, 51, 51, 91, 100, 101)


def test_no_times_have_no_spread() -> None:
    with pytest.raises(ValueError, match="no times"):
        spread([])


def test_times_settle_once_two_windows_agree() -> None:
    falling = [30.0 - k for k in range(20)]
    assert not settled(falling)
    assert not settled([10.0] * (2 * WINDOW - 1))
    assert settled([*falling, *[10.0] * 2 * WINDOW])
    assert settled([*[10.0] * WINDOW, *[10.2] * WINDOW])
    assert not settled([*[10.0] * WINDOW, *[10.4] * WINDOW])


def test_a_drift_that_hits_both_leaves_the_ratio_alone() -> None:
    drift = np.linspace(1, 3, 8)
    ours, theirs = [5 * drift] * 3, [10 * drift] * 3
    found = ratio(ours, theirs)
    assert found.value == pytest.approx(0.5)
    least = math.exp(1.96 * math.sqrt(2) * RUNS_DIFFER)
    assert (found.low, found.high) == pytest.approx((0.5 / least, 0.5 * least))


def test_the_interval_by_hand() -> None:
    found = ratio([[math.exp(0.1)], [math.exp(0.3)]], [[1.0], [1.0]])
    # Deviation of the two 0.1414, of their mean 0.1; Student's quantile for one degree of freedom is 12.706.
    half = math.sqrt(2) * math.hypot(12.706 * 0.1, 1.96 * RUNS_DIFFER)
    assert found.value == pytest.approx(math.exp(0.2))
    assert found.high == pytest.approx(math.exp(0.2 + half))
    assert found.low == pytest.approx(math.exp(0.2 - half))


def test_one_process_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two processes"):
        ratio([[1.0, 2.0]], [[1.0, 2.0]])


def test_repeats_land_in_the_interval_as_often_as_it_says() -> None:
    """4,000 benchmarks of four processes that each have their own luck, and the next benchmark after each."""
    rng = np.random.default_rng(0)
    landed = 0
    for _ in range(4000):
        mood = rng.normal(0, RUNS_DIFFER, size=(2, 1, 1))
        luck = rng.normal(0, 0.05, size=(2, 4, 1))
        noise = rng.normal(0, 0.02, size=(2, 4, 6))
        first, second = np.exp(mood + luck + noise)
        found = ratio(first, np.ones((4, 6)))
        landed += found.low <= ratio(second, np.ones((4, 6))).value <= found.high
    assert 0.94 < landed / 4000 < 0.985


def test_students_quantiles_fall_towards_the_normal_one() -> None:
    assert list(STUDENT) == sorted(STUDENT, reverse=True)
    assert STUDENT[-1] > 1.96
