"""From crop to heatmap and back into the picture: what the network finds must land where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import SPEC, FakeBackend, fake_estimator, gaussians, picture, pose
from hgrt.estimator import PoseEstimator
from hgrt.pose.geometry import Box, Image
from hgrt.pose.heatmaps import Maps
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII

IMAGE = picture(160, 120)
PEAKS = 4 + 40 * np.random.default_rng(3).random((16, 2))  # cells of 48, away from the edge


def boxes() -> st.SearchStrategy[Box]:
    """Also far larger and smaller than the picture, also partly and wholly outside it."""
    return st.builds(Box, st.floats(-150, 300), st.floats(-150, 300), st.floats(5, 900))


@given(boxes())
def test_a_peak_lands_where_its_cell_lies_in_the_box(box: Box) -> None:
    estimator = fake_estimator(FakeBackend(lambda crop: gaussians(PEAKS, SPEC.heatmap, 0.8)))
    found = estimator(IMAGE, box)
    # The grid of cells shares its edges with the box, so the middle of cell u is (u + 1/2) / cells of the way along.
    expected = np.array([box.cx, box.cy]) - box.side / 2 + (PEAKS + 0.5) / SPEC.heatmap * box.side
    cell = box.side / SPEC.heatmap
    np.testing.assert_allclose(found.xy, expected, atol=0.15 * cell)
    height, width = IMAGE.shape[:2]
    seen = ((found.xy > -0.5) & (found.xy < [width - 0.5, height - 0.5])).all(axis=1)
    np.testing.assert_allclose(found.score[seen], 0.8, atol=0.2)
    assert not found.score[~seen].any()  # a joint beyond the edge cannot be seen
    assert found.box == box
    # The peaks are 1.5 cells wide; smoothing before the estimate adds some.
    assert np.all((found.spread > 1.9 * cell) & (found.spread < 2.6 * cell))


def _darkness(crop: Image) -> Maps:
    """Heatmaps that are the crop itself, a quarter of the size."""
    cells = len(crop) // 4
    small = crop[..., 0].reshape(cells, 4, cells, 4).mean(axis=(1, 3)) / 255
    return np.repeat(small[None], len(MPII), axis=0).astype(np.float32)


@pytest.mark.parametrize("side", [48, 96.5, 192, 300, 777])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.38, 0.3)])
def test_a_dot_in_the_picture_is_found_where_it_is(side: float, shift: tuple[float, float]) -> None:
    width, height, dot = 400, 300, np.array([211.4, 133.7])
    sigma = 1.5 * side / SPEC.heatmap
    x, y = np.arange(width), np.arange(height)
    spot = np.exp(-((x - dot[0]) ** 2) / (2 * sigma**2)) * np.exp(-((y[:, None] - dot[1]) ** 2) / (2 * sigma**2))
    image = np.repeat(np.round(250 * spot).astype(np.uint8)[..., None], 3, axis=2)
    box = Box(dot[0] + shift[0] * side, dot[1] + shift[1] * side, side)
    found = fake_estimator(FakeBackend(_darkness))(image, box)
    # An error of half a crop pixel, the classic one, would show: tolerance is a quarter of one.
    np.testing.assert_allclose(found.xy, np.tile(dot, (16, 1)), atol=0.25 * side / SPEC.input)


def test_several_boxes_are_one_call_and_keep_their_order() -> None:
    backend = FakeBackend(lambda crop: gaussians(PEAKS, SPEC.heatmap))
    estimator = fake_estimator(backend)
    asked = [Box(10, 20, 30), Box(100, 50, 200), Box(0, 0, 60)]
    found = estimator.poses(IMAGE, asked)
    assert [one.box for one in found] == asked
    assert (backend.calls, backend.seen) == (1, 3)
    for one, box in zip(found, asked, strict=True):
        np.testing.assert_allclose(one.xy, estimator(IMAGE, box).xy)


@given(boxes(), st.floats(0.5, 1.5))
def test_a_network_looks_at_its_share_of_the_box(box: Box, crop: float) -> None:
    """What it finds is what any network finds that is given that square; the box stays the person's."""
    found, expected = (
        fake_estimator(FakeBackend(_darkness, replace(SPEC, crop=share)))(IMAGE, square)
        for share, square in ((crop, box), (1.0, Box(box.cx, box.cy, crop * box.side)))
    )
    assert found.box == box
    for name in ("xy", "score", "spread"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("crop", [1.0, 0.8, 1.25])
def test_without_a_box_the_network_looks_at_the_whole_picture(crop: float) -> None:
    backend = FakeBackend(lambda seen: gaussians(PEAKS, SPEC.heatmap), replace(SPEC, crop=crop))
    found, expected = fake_estimator(backend)(IMAGE), fake_estimator(backend)(IMAGE, Box(79.5, 59.5, 160 / crop))
    assert (found.box.cx, found.box.cy) == (79.5, 59.5) and found.box.side == pytest.approx(160 / crop)
    middle = (PEAKS + 0.5) / SPEC.heatmap * 160 - [0.5, 20.5]
    np.testing.assert_allclose(found.xy, middle, atol=0.5)
    np.testing.assert_allclose(found.xy, expected.xy)


def test_the_stages_are_marked_in_order() -> None:
    marks: list[str] = []
    fake_estimator().poses(IMAGE, [Box(10, 20, 30)], marks.append)
    assert marks == ["crop", "network", "decode"]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
        np.zeros((20, 30, 1), np.uint8),
        np.zeros((20, 30, 3), np.float32),
        np.zeros((1, 20, 30, 3), np.uint8),
    ],
)
def test_what_is_not_a_colour_picture_is_refused(image: Any) -> None:
    with pytest.raises(ValueError, match="uint8 BGR"):
        fake_estimator().poses(image, [Box(10, 10, 10)])


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a box|an image"):
        fake_estimator()(np.zeros((0, 0, 3), np.uint8))


def test_a_bad_picture_without_a_box_is_refused_as_a_value() -> None:
    with pytest.raises(ValueError, match="uint8 BGR"):
        fake_estimator()(np.zeros(5, np.uint8))


def test_closing_frees_the_runtime_once() -> None:
    backend = FakeBackend()
    with fake_estimator(backend) as estimator:
        assert isinstance(estimator, PoseEstimator)
        estimator.close()
    assert backend.released == 1


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0] * 16, 1.0),
        ([0.0] * 16, 0.0),
        ([0.8] * 8 + [0.0] * 8, 0.8),  # half a person, cut by the edge, is a person
        ([0.8] * 4 + [0.0] * 12, 0.4),
        (list(np.arange(16) / 16), 11.5 / 16),
    ],
)
def test_confidence_is_the_mean_of_the_best_half(scores: list[float], expected: float) -> None:
    base = pose()
    for order in (scores, scores[::-1]):
        assert Pose(base.xy, np.array(order), base.spread, base.box).confidence == pytest.approx(expected)


KNOTS = ((0.0, 0.0), (0.4, 0.2), (0.8, 1.0))


@pytest.mark.parametrize("crops_frames", [False, True])
def test_a_calibrated_network_gives_the_chance_of_each_joint(crops_frames: bool) -> None:
    heights = np.linspace(0.1, 0.95, 16)[:, None, None]
    backend = FakeBackend(lambda crop: gaussians(PEAKS, SPEC.heatmap) * heights, replace(SPEC, calibration=KNOTS))
    backend.info = replace(backend.info, crops_frames=crops_frames)
    found = fake_estimator(backend).poses(IMAGE, [Box(10, 20, 30), Box(80, 60, 100)])
    for one in found:
        assert one.chance is not None
        np.testing.assert_allclose(one.chance, np.interp(one.score, [0, 0.4, 0.8], [0, 0.2, 1]))
        assert one.chance.min() < 0.1 and one.chance.max() == 1


def test_without_a_calibration_there_is_no_chance_and_the_rest_is_the_same() -> None:
    answer = lambda crop: gaussians(PEAKS, SPEC.heatmap, 0.7)  # noqa: E731
    plain = fake_estimator(FakeBackend(answer))(IMAGE)
    calibrated = fake_estimator(FakeBackend(answer, replace(SPEC, calibration=KNOTS)))(IMAGE)
    assert plain.chance is None and calibrated.chance is not None
    for name in ("xy", "score", "spread"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(calibrated, name))
    assert plain.confidence == calibrated.confidence


@pytest.mark.parametrize(("xy", "score", "spread"), [(15, 16, 16), (16, 15, 16), (16, 16, 17)])
def test_a_pose_has_sixteen_joints(xy: int, score: int, spread: int) -> None:
    with pytest.raises(ValueError, match="16 joints"):
        Pose(np.zeros((xy, 2)), np.zeros(score), np.zeros(spread), Box(0, 0, 1))
    with pytest.raises(ValueError, match="16 joints"):
        replace(pose(), chance=np.zeros(xy if xy != 16 else 17))
