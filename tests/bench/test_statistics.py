"""Percentiles, settling and the interval of a ratio, against numbers worked out by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hgrt.bench.statistics import STUDENT, WINDOW, ratio, settled, spread


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
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_the_interval_by_hand() -> None:
    found = ratio([[math.exp(0.1)], [math.exp(0.3)]], [[1.0], [1.0]])
    half = 12.706 * math.sqrt(0.02) * math.sqrt(2 / 2)
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
        luck = rng.normal(0, 0.05, size=(2, 4, 1))
        noise = rng.normal(0, 0.02, size=(2, 4, 6))
        first, second = np.exp(luck + noise)
        found = ratio(first, np.ones((4, 6)))
        landed += found.low <= ratio(second, np.ones((4, 6))).value <= found.high
    assert landed / 4000 == pytest.approx(0.95, abs=0.015)


def test_students_quantiles_fall_towards_the_normal_one() -> None:
    assert list(STUDENT) == sorted(STUDENT, reverse=True)
    assert STUDENT[-1] > 1.96
