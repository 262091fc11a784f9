"""The published conventions, to the bit: crop, targets, decoding and score of the reference implementation.

They differ from `geometry` and `heatmaps` by half a pixel here and a truncation there, and exist so that the published
numbers can be reproduced. Pixels are counted so that a box of side 200 x scale about the centre (`Box.from_mpii`) maps
to 0 .. size, and rounding is what C does: towards zero.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array, Box
from hgrt.pose.heatmaps import Maps, peaks, quarter_offset
from hgrt.pose.skeleton import FLIP

WINDOW = 4  # targets are cut off this many cells from their centre
SIGMA = 1.0


def transform(box: Box, size: int, degrees: float = 0.0) -> Array:
    """The 3x3 matrix from image pixels to a crop of `box`, `size` pixels wide, turned about the crop's middle."""
    s = size / box.side
    matrix = np.array(
        [[s, 0.0, size * (-box.cx / box.side + 0.5)], [0.0, s, size * (-box.cy / box.side + 0.5)], [0.0, 0.0, 1.0]]
    )
    if degrees:
        turn = np.deg2rad(-degrees)
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
        to_middle = np.array([[1.0, 0.0, -size / 2], [0.0, 1.0, -size / 2], [0.0, 0.0, 1.0]])
        back = np.array([[1.0, 0.0, size / 2], [0.0, 1.0, size / 2], [0.0, 0.0, 1.0]])
        matrix = back @ rotation @ to_middle @ matrix
    return matrix


def move(matrix: NDArray[Any], points: NDArray[Any]) -> Array:
    """(..., 2) points through a 3x3 matrix, not rounded."""
    return np.asarray(np.asarray(points, np.float64) @ matrix[:2, :2].T + matrix[:2, 2])


def truncate(points: Array) -> NDArray[np.int64]:
    """Towards zero, as the published code stores every position."""
    return np.trunc(points).astype(np.int64)


def crop(image: NDArray[Any], box: Box, size: int = 256, legacy: bool = False) -> NDArray[Any]:
    """The published crop of an (H, W, 3) image, colour order kept.

    float32 by bilinear sampling without anti-aliasing (the code since 2020), or with `legacy` the uint8 crop of 2019,
    stretched to 0..255 and then anti-aliased, which the published weights were trained on.
    """
    inverse = np.linalg.inv(transform(box, size))
    (x0, y0), (x1, y1) = truncate(move(inverse, np.array([[0, 0], [size, size]])))
    height, width = image.shape[:2]
    window = np.zeros((y1 - y0, x1 - x0, image.shape[2]), dtype=np.float32)
    top, bottom, left, right = max(0, y0), min(height, y1), max(0, x0), min(width, x1)
    if bottom > top and right > left:
        window[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    if not legacy:
        return np.asarray(cv2.resize(window, (size, size)), dtype=np.float32)
    low, high = float(window.min()), float(window.max())
    stretched = np.floor((window - low) * (255.0 / max(high - low, 1e-9)) + 0.5)
    rows, columns = _triangle(window.shape[0], size), _triangle(window.shape[1], size)
    half = np.rint(
        np.einsum("ow,hwc->hoc", columns, stretched, optimize=True)
    )  # each of the two passes rounds to 8 bits
    return np.asarray(np.rint(np.einsum("oh,hwc->owc", rows, half, optimize=True)).clip(0, 255), dtype=np.uint8)


def _triangle(old: int, new: int) -> Array:
    """Weights (new, old) of an anti-aliased linear resize: a triangle as wide as the reduction, like Pillow's."""
    ratio = old / new
    width = max(ratio, 1.0)
    centre = (np.arange(new)[:, None] + 0.5) * ratio
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(old)[None] + 0.5 - centre) / width)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def encode(xy_hm: NDArray[Any], cells: int = 64) -> Maps:
    """Targets (J, cells, cells) float32 of keypoints (J, 2) in heatmap pixels, drawn about the truncated position."""
    maps = np.zeros((len(xy_hm), cells, cells), dtype=np.float32)
    reach = np.arange(-WINDOW, WINDOW + 1)
    line = np.exp(-(reach**2) / (2 * SIGMA**2))
    for one, (x_raw, y_raw) in zip(maps, xy_hm, strict=True):
        x, y = int(x_raw), int(y_raw)
        if x_raw <= 0 or not (0 <= x < cells and 0 <= y < cells):
            continue
        columns, rows = x + reach, y + reach
        ok_x, ok_y = (columns >= 0) & (columns < cells), (rows >= 0) & (rows < cells)
        one[np.ix_(rows[ok_y], columns[ok_x])] = np.outer(line[ok_y], line[ok_x])
    return maps


def decode(plain: NDArray[Any], flipped: NDArray[Any] | None = None) -> tuple[Array, Array]:
    """Crop pixels (J, 2) of a 256 crop and scores (J,) from the maps (J, 64, 64) of the crop and of its mirror image.

    Mean of both, capped at 1; the largest cell, a quarter of a cell towards the larger neighbour (towards the smaller
    index when they are equal), half a cell, four pixels a cell. Joints with no positive value stay at their raw cell.
    """
    maps = np.asarray(plain, dtype=np.float64)
    if flipped is not None:
        maps = (maps + np.asarray(flipped, dtype=np.float64)[FLIP, :, ::-1]) / 2
    maps = np.minimum(maps, 1.0)
    column, row = peaks(maps[None])
    score = maps[np.arange(len(maps)), row[0], column[0]]
    offset = quarter_offset(maps[None], column, row)[0] + 0.5
    xy = np.stack([column[0], row[0]], axis=1) + offset * (score > 0)[:, None]
    return xy * 4.0, score


def to_image(xy_crop: NDArray[Any], box: Box, size: int = 256) -> Array:
    """Crop pixels back to image pixels, before the truncation that the published code ends with."""
    return move(np.linalg.inv(transform(box, size)), xy_crop)
