"""What is drawn into a map comes back out of it, to a fraction of a cell, and odd maps do no harm."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hgrt.pose.heatmaps import Decode, decode, encode, peaks, smoothed

METHODS = get_args(Decode)
CELLS = 64
sigmas = st.floats(1.0, 2.0)


def drawn(xy: NDArray[Any], sigma: float, cells: int = CELLS) -> NDArray[np.float32]:
    return encode(xy, np.ones(len(xy)), cells, sigma)[None]


@settings(max_examples=200)
@given(st.floats(4, CELLS - 5), st.floats(4, CELLS - 5), sigmas)
def test_dark_finds_the_exact_position(x: float, y: float, sigma: float) -> None:
    found = decode(drawn(np.array([[x, y]]), sigma), "dark")
    np.testing.assert_allclose(found.xy_hm[0, 0], [x, y], atol=0.02)


@settings(max_examples=200)
@given(st.floats(-0.49, CELLS - 0.51), st.floats(-0.49, CELLS - 0.51), sigmas)
def test_dark_is_within_two_cells_up_to_the_border(x: float, y: float, sigma: float) -> None:
    """Where part of the peak is beyond the edge it is found further within, and never beyond."""
    found = decode(drawn(np.array([[x, y]]), sigma), "dark").xy_hm[0, 0]
    np.testing.assert_allclose(found, [x, y], atol=2.0)
    assert (np.abs(found - (CELLS - 1) / 2) <= CELLS / 2).all()


@given(st.floats(-0.49, CELLS - 0.51), st.floats(-0.49, CELLS - 0.51), sigmas)
def test_quarter_is_within_a_quarter_cell(x: float, y: float, sigma: float) -> None:
    """And within three quarters at the border, where it moves outwards as the published decoding does."""
    found = decode(drawn(np.array([[x, y]]), sigma), "quarter")
    xy = np.array([x, y])
    at_border = (xy < 0.501) | (xy > CELLS - 1.501)
    assert (np.abs(found.xy_hm[0, 0] - xy) <= np.where(at_border, 0.76, 0.26)).all()


@pytest.mark.parametrize(
    ("left", "right", "above", "below", "expected"),
    [
        (0.2, 0.6, 0.5, 0.1, (10.25, 19.75)),
        (0.6, 0.2, 0.1, 0.5, (9.75, 20.25)),
        (0.4, 0.4, 0.4, 0.4, (9.75, 19.75)),  # equal neighbours: towards the smaller index
    ],
)
def test_quarter_moves_a_quarter_to_the_larger_neighbour(
    left: float, right: float, above: float, below: float, expected: tuple[float, float]
) -> None:
    maps = np.zeros((1, 1, 64, 64), np.float32)
    maps[0, 0, 20, 9:12] = left, 0.9, right
    maps[0, 0, 19, 10], maps[0, 0, 21, 10] = above, below
    found = decode(maps, "quarter")
    assert tuple(found.xy_hm[0, 0]) == expected
    assert found.score[0, 0] == pytest.approx(0.9)


def test_every_joint_of_every_picture_is_its_own() -> None:
    xy = np.random.default_rng(0).uniform(3, 60, (3, 16, 2))
    maps = np.concatenate([drawn(one, 1.5) for one in xy])
    found = decode(maps)
    assert found.xy_hm.shape == (3, 16, 2) and found.score.shape == found.spread.shape == (3, 16)
    np.testing.assert_allclose(found.xy_hm, xy, atol=0.02)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_precision_of_the_map_hardly_matters(dtype: type) -> None:
    xy = np.random.default_rng(1).uniform(3, 60, (16, 2))
    found = decode(drawn(xy, 1.5).astype(dtype))
    np.testing.assert_allclose(found.xy_hm[0], xy, atol=0.03)
    assert found.xy_hm.dtype == found.score.dtype == np.float64


@given(st.floats(4, 26), st.floats(4, 11), sigmas)
def test_maps_need_not_be_square(x: float, y: float, sigma: float) -> None:
    square = drawn(np.array([[x, y]]), sigma, 32)
    np.testing.assert_allclose(decode(square[:, :, :16]).xy_hm[0, 0], [x, y], atol=0.02)


@given(st.floats(10, 50), st.floats(10, 50), sigmas, st.floats(0.05, 20))
def test_height_does_not_move_the_peak(x: float, y: float, sigma: float, height: float) -> None:
    maps = drawn(np.array([[x, y]]), sigma)
    plain, scaled = decode(maps), decode(maps * np.float32(height))
    np.testing.assert_allclose(scaled.xy_hm, plain.xy_hm, atol=1e-4)
    np.testing.assert_allclose(scaled.spread, plain.spread, rtol=1e-4)
    assert scaled.score[0, 0] == pytest.approx(min(1.0, float(maps.max()) * height), abs=1e-5)


@pytest.mark.parametrize(("value", "score"), [(-3.0, 0.0), (0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (7.5, 1.0)])
def test_flat_maps_have_the_score_of_their_height(value: float, score: float) -> None:
    found = decode(np.full((1, 2, 64, 64), value, np.float32))
    assert (found.score == score).all()
    if not score:
        assert np.isinf(found.spread).all() and not found.xy_hm.any()  # the first cell


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("column", "row"), [(0, 0), (63, 0), (0, 63), (63, 63), (0, 30), (30, 63), (17, 44)])
def test_a_single_cell_stays_where_it_is(column: int, row: int, method: Decode) -> None:
    maps = np.zeros((1, 1, 64, 64), np.float32)
    maps[0, 0, row, column] = 0.8
    found = decode(maps, method)
    assert np.abs(found.xy_hm[0, 0] - [column, row]).max() <= 0.75
    if 0 < column < 63 and 0 < row < 63:
        np.testing.assert_allclose(found.xy_hm[0, 0], [column, row], atol=0.25 if method == "quarter" else 0)
    assert found.score[0, 0] == pytest.approx(0.8)


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.floats(-1, 1))
def test_noise_gives_finite_positions_beside_the_largest_cell(seed: int, method: Decode, mean: float) -> None:
    maps = np.random.default_rng(seed).normal(mean, 1, (1, 4, 16, 16)).astype(np.float32)
    found, (column, row) = decode(maps, method), peaks(smoothed(maps) if method == "dark" else maps)
    assert np.abs(found.xy_hm - np.stack([column, row], axis=-1)).max() <= 0.75
    assert ((found.score >= 0) & (found.score <= 1)).all() and (found.spread > 0).all()


def test_the_first_of_equal_peaks_wins() -> None:
    maps = np.zeros((1, 1, 8, 8), np.float32)
    maps[0, 0, 2, 5] = maps[0, 0, 6, 1] = 1.0
    column, row = peaks(maps)
    assert (column[0, 0], row[0, 0]) == (5, 2)


def test_spread_follows_the_width() -> None:
    widths = np.linspace(1.0, 4.0, 16)
    spread = np.array([decode(drawn(np.array([[31.3, 30.6]]), sigma)).spread[0, 0] for sigma in widths])
    assert (np.diff(spread) > 0).all()
    # The map is smoothed by a kernel of variance 2.5 before it is measured.
    np.testing.assert_allclose(spread, np.sqrt(widths**2 + 2.5), rtol=0.07)


def test_a_broad_hill_wins_over_a_spike() -> None:
    maps = 0.7 * drawn(np.array([[40.3, 20.6]]), 2.5)
    maps[0, 0, 50, 10] = 0.9
    dark, quarter = decode(maps), decode(maps, "quarter")
    np.testing.assert_allclose(dark.xy_hm[0, 0], [40.3, 20.6], atol=0.02)
    assert dark.score[0, 0] == pytest.approx(0.7, abs=0.03)  # of the map itself, not of the smoothed one
    np.testing.assert_allclose(quarter.xy_hm[0, 0], [10, 50], atol=0.25)


@given(st.floats(-2, 2, width=32))
def test_smoothing_leaves_a_flat_map_as_it_is_within_and_no_sum_out(value: float) -> None:
    flat = smoothed(np.full((1, 1, 16, 12), value, np.float32))
    assert flat.shape == (1, 1, 16, 12) and (flat[..., 3:-3, 3:-3] == np.float32(value)).all()
    assert abs(flat[0, 0, 0, 0]) <= abs(value) / 2  # beyond the edge there is nothing
    one = np.zeros((1, 1, 16, 12), np.float32)
    one[0, 0, 7, 5] = 1
    taps = np.outer([1, 2, 3, 4, 3, 2, 1], [1, 2, 3, 4, 3, 2, 1]) / 256
    np.testing.assert_array_equal(smoothed(one)[0, 0, 4:11, 2:9], taps.astype(np.float32))
    assert smoothed(one).sum() == 1


def test_dark_is_nearer_than_quarter_under_noise() -> None:
    rng = np.random.default_rng(2)
    xy = rng.uniform(5, 58, (400, 2))
    maps = drawn(xy, 1.5) + rng.normal(0, 0.03, (1, 400, 64, 64)).astype(np.float32)
    dark, quarter = (np.linalg.norm(decode(maps, m).xy_hm[0] - xy, axis=1).mean() for m in ("dark", "quarter"))
    assert dark < 0.75 * quarter < 0.4


# Targets


@given(st.floats(-9, CELLS + 8), st.floats(-9, CELLS + 8), sigmas)
def test_target_is_a_gaussian_about_the_exact_position(x: float, y: float, sigma: float) -> None:
    """Also where that is beyond the grid."""
    one = encode(np.array([[x, y]]), np.array([True]), CELLS, sigma)
    assert one.shape == (1, CELLS, CELLS) and one.dtype == np.float32
    rows, columns = np.mgrid[:CELLS, :CELLS]
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(one[0], expected, atol=1e-6)


def test_target_on_a_cell_has_peak_one() -> None:
    one = encode(np.array([[7, 9]]), [1], 16, 1.5)[0]
    assert one[9, 7] == 1 and one.argmax() == 9 * 16 + 7


@pytest.mark.parametrize(
    ("x", "y", "present", "highest"),
    [
        (5, 5, True, 1.0),
        (5, 5, False, 0.0),
        (-1.5, 5, True, np.exp(-0.5)),
        (5, 15.5, True, np.exp(-0.5 / 9)),
        (5, -40, True, 0.0),
        (1e9, 5, True, 0.0),
        (np.nan, 5, False, 0.0),
    ],
)
def test_joints_that_are_absent_or_far_away_have_no_target(x: float, y: float, present: bool, highest: float) -> None:
    assert encode(np.array([[x, y]]), [present], 16, 1.5).max() == pytest.approx(highest, rel=1e-6)


@pytest.mark.parametrize("sigma", [1.5, 2.0])
@pytest.mark.parametrize("place", [1.0, 0.5, 0.0])
def test_doubt_about_the_edge_does_not_move_a_joint_away_from_it(place: float, sigma: float) -> None:
    """The mean of the targets of a joint that may lie to either side of `place`, in part beyond the grid, is highest at
    the cell nearest to it or nearer to the edge; without those beyond it would be further within."""
    spots = place + np.random.default_rng(0).normal(0, 3, 4000)
    targets = encode(np.stack([spots, np.full(4000, 20.0)], axis=1), np.ones(4000), CELLS, sigma)
    whole, part = (peaks(one.mean(axis=0)[None, None])[0].item() for one in (targets, targets[spots > -0.5]))
    assert whole <= place < part


def test_meaningless_positions_of_absent_joints_do_no_harm() -> None:
    xy = np.array([[np.nan, np.nan], [np.inf, 3.0], [1e200, 0.0], [5.0, 5.0]])
    maps = encode(xy, [False, False, False, True], 16, 1.5)
    assert not maps[:3].any() and maps[3].max() == 1
