"""A calibration rises, stays a probability, leaves what is calibrated alone, and mends what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hgrt.model.spec import ModelSpec
from hgrt.pose.confidence import BINS, FITTED, brier, chance, expected_calibration_error, fit, in_bins

Joints = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


@st.composite
def joints(draw: st.DrawFn) -> Joints:
    """Scores, often equal ones, whether they are right, and weights."""
    count = draw(st.integers(1, 50))
    score = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 1000).map(lambda n: n / 1000))
    scores, right = (draw(st.lists(each, min_size=count, max_size=count)) for each in (score, st.booleans()))
    weights = draw(st.lists(st.floats(0.01, 100), min_size=count, max_size=count))
    return np.array(scores), np.array(right), np.array(weights)


@given(joints())
def test_what_is_fitted_is_a_calibration_and_rises(made: Joints) -> None:
    score, right, weight = made
    knots = fit(score, right, weight)
    assert ModelSpec(calibration=knots).calibration == knots  # which checks that they rise, and lie in 0..1
    assert len(knots) <= FITTED + 1 and all(type(value) is float for knot in knots for value in knot)
    said = chance(np.linspace(0, 1, 101), knots)
    assert np.all(np.diff(said) >= 0) and said[0] == 0 and said[-1] < 1


@given(joints(), st.integers(0, 99))
def test_neither_the_order_of_joints_nor_the_unit_of_weights_matters(made: Joints, seed: int) -> None:
    score, right, _ = made
    order = np.random.default_rng(seed).permutation(len(score))
    again = fit(score[order], right[order], np.full(len(score), 2.0))
    np.testing.assert_allclose(again, fit(score, right), atol=1e-12)


@given(st.integers(0, 1000))
def test_calibrated_scores_are_left_about_as_they_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.random(20_000)
    grid = np.linspace(0, 0.95, 20)
    np.testing.assert_allclose(chance(grid, fit(score, rng.random(20_000) < score)), grid, atol=0.06)


@pytest.mark.parametrize("truth", [np.square, np.sqrt, lambda score: np.clip(2 * score - 0.5, 0, 1)])
def test_claims_that_are_wrong_are_mended(truth: np.ufunc) -> None:
    rng = np.random.default_rng(5)
    score, other = rng.random((2, 5000))
    right, right_other = rng.random(5000) < truth(score), rng.random(5000) < truth(other)
    mended = chance(other, fit(score, right))
    before, after = (expected_calibration_error(claim, right_other) for claim in (other, mended))
    assert after < 0.04 < before
    assert brier(mended, right_other) < brier(other, right_other)


def test_a_score_that_says_nothing_becomes_the_rate() -> None:
    rng = np.random.default_rng(6)
    score, right = 0.3 + 0.5 * rng.random(5000), rng.random(5000) < 0.7
    np.testing.assert_allclose(chance(np.linspace(0.4, 1, 9), fit(score, right)), 0.7, atol=0.05)


def test_a_heavy_joint_counts_as_many() -> None:
    score = np.repeat([0.2, 0.8], 40)
    right = np.tile([True, False], 40)
    heavy = np.where(right, 3.0, 1.0)
    said = chance(score, fit(score, right, heavy))
    np.testing.assert_allclose(said, 0.75, atol=0.01)
    np.testing.assert_allclose(chance(score, fit(score, right)), 0.5)


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_without_an_error_there_is_no_certainty_but_nearly(count: int) -> None:
    last = fit(np.full(count, 0.7), np.ones(count, bool))[-1]
    assert last == (pytest.approx(0.7), pytest.approx((count + 0.5) / (count + 1)))


def test_without_joints_there_is_nothing_to_fit_or_to_judge() -> None:
    nothing, nobody = np.empty(0), np.empty(0, bool)
    with pytest.raises(ValueError, match="no joints"):
        fit(nothing, nobody)
    assert math.isnan(expected_calibration_error(nothing, nobody)) and math.isnan(brier(nothing, nobody))


@pytest.mark.parametrize(
    ("claimed", "right", "weight", "error", "blame"),
    [
        ([1.0, 0.0], [True, False], None, 0.0, 0.0),
        ([1.0, 0.0], [False, True], None, 1.0, 1.0),
        ([0.5, 0.5], [True, False], None, 0.0, 0.25),  # true, and of no use
        ([0.5, 0.5], [True, False], [3, 1], 0.25, 0.25),
        ([0.9, 0.1], [True, True], [1, 3], 0.7, 0.61),
        ([0.31, 0.39], [False, True], None, 0.15, 0.2341),  # of one bin
        ([0.29, 0.31], [False, True], None, 0.49, 0.2801),  # of two
    ],
)
def test_errors_of_small_cases(
    claimed: list[float], right: list[bool], weight: list[float] | None, error: float, blame: float
) -> None:
    case = (np.array(claimed), np.array(right), None if weight is None else np.array(weight, float))
    assert expected_calibration_error(*case) == pytest.approx(error)
    assert brier(*case) == pytest.approx(blame)


@given(joints())
def test_bins_hold_every_joint_once(made: Joints) -> None:
    bins = in_bins(*made)
    assert bins.count.sum() == len(made[0]) and bins.weight.sum() == pytest.approx(1)
    full = bins.count > 0
    assert np.array_equal(np.isfinite(bins.claimed), full) and np.array_equal(np.isfinite(bins.right), full)
    edges = np.arange(BINS + 1) / BINS
    assert np.all((edges[:-1] - 1e-9 <= bins.claimed)[full] & (bins.claimed <= edges[1:] + 1e-9)[full])
