"""Coordinates survive the way into the crop and back, and pixels move exactly as coordinates do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hgrt.pose.geometry import Box, Crop, apply, compose, crop, heatmap_to_crop, invert, similarity, warp

coordinate = st.floats(-2000, 2000)
boxes = st.builds(Box, coordinate, coordinate, st.floats(4, 3000))
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=8).map(np.array)
sizes = st.sampled_from([64, 128, 256, 320])
turns = st.floats(-180, 180)
affines = st.builds(similarity, boxes, sizes, turns, st.booleans())
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@given(boxes, sizes, points)
def test_to_the_crop_and_back(box: Box, size: int, points_img: NDArray[Any]) -> None:
    there = apply(box.to_crop(size), points_img)
    np.testing.assert_allclose(apply(box.to_image(size), there), points_img, atol=1e-6)
    np.testing.assert_allclose(compose(box.to_image(size), box.to_crop(size)), IDENTITY, atol=1e-6)


@given(boxes, sizes)
def test_edges_become_edges(box: Box, size: int) -> None:
    half = box.side / 2
    corners = np.array([[box.cx - half, box.cy - half], [box.cx + half, box.cy + half]])
    np.testing.assert_allclose(apply(box.to_crop(size), corners), [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-6)


@given(affines, affines, points)
def test_compose_is_one_after_the_other(outer: NDArray[Any], inner: NDArray[Any], xy: NDArray[Any]) -> None:
    expected = apply(outer, apply(inner, xy))
    np.testing.assert_allclose(apply(compose(outer, inner), xy), expected, rtol=1e-9, atol=1e-4)


@given(affines, points)
def test_invert(affine: NDArray[Any], xy: NDArray[Any]) -> None:
    np.testing.assert_allclose(apply(invert(affine), apply(affine, xy)), xy, atol=1e-5)


def test_what_has_no_inverse_is_refused() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        invert(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]))


@given(boxes, sizes)
def test_similarity_without_a_turn_is_the_plain_crop(box: Box, size: int) -> None:
    np.testing.assert_allclose(similarity(box, size), box.to_crop(size), atol=1e-6)


@given(boxes, sizes, turns, points)
def test_mirrored_twice_is_not_mirrored(box: Box, size: int, degrees: float, xy: NDArray[Any]) -> None:
    plain, mirrored = (apply(similarity(box, size, degrees, mirror), xy) for mirror in (False, True))
    np.testing.assert_allclose(mirrored, [size - 1, 0] + plain * [-1, 1], atol=1e-6)
    mirror = np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(compose(mirror, mirror), IDENTITY, atol=0)


@pytest.mark.parametrize(
    ("degrees", "mirror", "expected"),
    [
        (0, False, (31.5, 11.5)),  # the point above the middle
        (90, False, (51.5, 31.5)),  # a quarter turn clockwise: to the right
        (-90, False, (11.5, 31.5)),
        (180, False, (31.5, 51.5)),
        (90, True, (11.5, 31.5)),  # turned, then mirrored
    ],
)
def test_a_turn_is_clockwise(degrees: float, mirror: bool, expected: tuple[float, float]) -> None:
    moved = apply(similarity(Box(100, 200, 64), 64, degrees, mirror), np.array([100.0, 180.0]))
    np.testing.assert_allclose(moved, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box.from_xywh(0, 0, 10, 10, margin=1.0), Box(4.5, 4.5, 10)),  # pixels 0..9: the middle is 4.5
        (Box.from_xywh(20, 30, 10, 40), Box(24.5, 49.5, 50)),
        (Box.from_xywh(20, 30, 40, 10, margin=2.0), Box(39.5, 34.5, 80)),
        (Box.from_mpii(np.array([320.0, 240.0]), 1.5), Box(320, 240, 300)),
        (Box.around(np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 30.0]]), 1.5), Box(20, 40, 60)),
        (Box.around(np.array([[7.0, 8.0]]), 2.0), Box(7, 8, 2)),
        (Box.whole(640, 480), Box(319.5, 239.5, 640)),
        (Box.whole(1, 1), Box(0, 0, 1)),
    ],
)
def test_boxes(box: Box, expected: Box) -> None:
    assert box == expected


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0), (0, 0, -3), (np.nan, 0, 5), (0, np.inf, 5), (0, 0, np.inf), (0, 0, np.nan)]
)
def test_an_impossible_box_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="positive side"):
        Box(*numbers)


def test_a_crop_checks_its_parts() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    for bad in (pixels.astype(np.float32), pixels[..., 0]):
        with pytest.raises(ValueError, match="uint8"):
            Crop(bad, IDENTITY)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2x3"):
        Crop(pixels, np.eye(3))


@given(st.sampled_from([(16, 64), (32, 128), (64, 256)]), points)
def test_heatmap_cells_share_edges_with_the_crop(grid: tuple[int, int], xy: NDArray[Any]) -> None:
    cells, size = grid
    np.testing.assert_allclose(apply(heatmap_to_crop(cells, size), xy), 4 * xy + 1.5, atol=1e-9)
    edges = apply(heatmap_to_crop(cells, size), np.array([[-0.5, -0.5], [cells - 0.5, cells - 0.5]]))
    np.testing.assert_allclose(edges, [[-0.5, -0.5], [size - 0.5, size - 0.5]])


# Pixels


def scene(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [64, 256])
def test_the_box_of_the_whole_image_copies_it(size: int) -> None:
    image = scene(0, size, size)
    np.testing.assert_array_equal(crop(image, Box.whole(size, size), size).pixels, image)


def test_a_box_on_whole_pixels_copies_them() -> None:
    image = scene(1, 120, 90)
    cut = crop(image, Box.from_xywh(13, 27, 64, 64, margin=1.0), 64)
    np.testing.assert_array_equal(cut.pixels, image[27:91, 13:77])
    np.testing.assert_allclose(cut.to_image, [[1, 0, 13], [0, 1, 27]], atol=1e-12)


def test_a_mirrored_view_is_the_mirrored_picture() -> None:
    image = scene(2, 64, 64)
    mirrored = warp(image, similarity(Box.whole(64, 64), 64, mirror=True), 64)
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


def test_a_quarter_turn_is_exact() -> None:
    image = scene(3, 64, 64)
    turned = warp(image, similarity(Box.whole(64, 64), 64, 90), 64)
    np.testing.assert_array_equal(turned, np.rot90(image, -1))  # clockwise


@pytest.mark.parametrize("step", [2, 4, 8])
def test_a_whole_reduction_averages(step: int) -> None:
    image = scene(4, 64 * step, 64 * step)
    small = crop(image, Box.whole(64 * step, 64 * step), 64).pixels
    expected = image.reshape(64, step, 64, step, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 0.51 * np.log2(step)  # each halving rounds


def blob(xy: NDArray[Any], sigma: float, height: int, width: int) -> NDArray[np.uint8]:
    x = np.exp(-((np.arange(width) - xy[0]) ** 2) / (2 * sigma**2))
    y = np.exp(-((np.arange(height) - xy[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(250 * y[:, None] * x)[..., None], 3, axis=2).astype(np.uint8)


def centroid(pixels: NDArray[Any]) -> NDArray[Any]:
    weight = pixels[..., 0].astype(np.float64)
    rows, columns = np.indices(weight.shape)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@given(
    shrink=st.one_of(st.floats(0.6, 8.5), st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    beside=st.tuples(st.floats(-14, 14), st.floats(-14, 14)),
    degrees=st.one_of(st.just(0.0), turns),
    mirror=st.booleans(),
    extent=st.tuples(st.integers(300, 420), st.integers(300, 420)),
)
def test_pixels_move_as_coordinates_do(
    shrink: float,
    where: tuple[float, float],
    beside: tuple[float, float],
    degrees: float,
    mirror: bool,
    extent: tuple[int, int],
) -> None:
    """A blob anywhere in the picture, perhaps near its edge so that the view reaches outside, at any reduction."""
    size, (height, width) = 64, extent
    sigma = 2.5 * max(shrink, 1.0)
    room = 4.5 * sigma
    xy = room + np.array(where) * (np.array([width, height]) - 1 - 2 * room)
    box = Box(*(xy + np.array(beside) * shrink), size * shrink)
    affine = similarity(box, size, degrees, mirror)
    cut = warp(blob(xy, sigma, height, width), affine, size)
    np.testing.assert_allclose(centroid(cut), apply(affine, xy), atol=0.05)


@pytest.mark.parametrize("shrink", [0.5, 1.0, 1.7, 2.0, 2.9, 3.0, 4.5, 8.0])
@pytest.mark.parametrize("extent", [(192, 160), (193, 167)])
def test_black_outside_and_whole_inside(shrink: float, extent: tuple[int, int]) -> None:
    """A white picture seen from afar: its edges lie where they should, and there is nothing but black beyond."""
    width, height = extent
    size = 512 if shrink < 1.5 else 256
    white = np.full((height, width, 3), 255, np.uint8)
    box = Box((width - 1) / 2 + 3.3, (height - 1) / 2 - 1.8, size * shrink)
    seen = crop(white, box, size).pixels[..., 0].astype(np.float64) / 255
    (x0, y0), (x1, y1) = apply(box.to_crop(size), np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    x, y = np.arange(size), np.arange(size)
    beyond = (x < x0 - 1.5) | (x > x1 + 1.5)
    assert beyond.sum() > 20
    assert not seen[:, beyond].any() and not seen[(y < y0 - 1.5) | (y > y1 + 1.5)].any()
    inside = np.ix_((y > y0 + 1.5) & (y < y1 - 1.5), (x > x0 + 1.5) & (x < x1 - 1.5))
    assert seen[inside].size > 100 and (seen[inside] == 1).all()
    # No part of the picture is lost at its edges, however they fall between the pixels.
    assert seen[:, size // 2].sum() == pytest.approx(y1 - y0, abs=0.35)
    assert seen[size // 2].sum() == pytest.approx(x1 - x0, abs=0.35)


def test_a_box_beside_the_image_is_black() -> None:
    image = np.full((50, 60, 3), 255, np.uint8)
    for side in (40.0, 64.0, 640.0):
        assert not crop(image, Box(2000.0, -3000.0, side), 64).pixels.any()


def test_a_strong_reduction_does_not_skip_pixels() -> None:
    """A fine checkerboard becomes grey, not a pattern."""
    y, x = np.mgrid[:512, :512]
    board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = crop(board, Box(256.0, 255.0, 500.0), 64).pixels.astype(float)
    assert np.abs(small - 127.5).max() < 25


def test_a_small_box_in_a_large_frame_is_unaffected_by_the_rest() -> None:
    image = scene(5, 900, 1000)
    box = Box(411.3, 377.7, 64 * 3.2)
    changed = image.copy()
    changed[:250], changed[:, 560:] = 0, 255
    np.testing.assert_array_equal(crop(image, box, 64).pixels, crop(changed, box, 64).pixels)
