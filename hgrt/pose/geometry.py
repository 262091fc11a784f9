"""Where things are: boxes in the image, the crop the network sees, and the one affine between them.

The only file that knows where pixel centres lie. Coordinates are (x, y), x right, y down, and the *centre* of the
top-left pixel is (0, 0); so an image W pixels wide spans -0.5 .. W - 0.5. Names carry their frame: `_img`, `_crop`,
`_hm`. An affine is a 2x3 float64 matrix applied to column vectors (x, y, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

MARGIN = 1.4  # side of a person's box over the extent of the joints, for which networks are trained


@dataclass(frozen=True, slots=True)
class Box:
    """A square in the image: centre (cx, cy) and side length, in pixels."""

    cx: float
    cy: float
    side: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.cx, self.cy, self.side]).all() and self.side > 0):
            raise ValueError(f"a box needs finite numbers and a positive side, not {self}")

    @classmethod
    def from_xywh(cls, x: float, y: float, w: float, h: float, margin: float = 1.25) -> Box:
        """The square around a person box: x, y its left and top edge in pixels; `margin` enlarges its longer side.

        ValueError unless width and height are positive.
        """
        if not (w > 0 and h > 0):
            raise ValueError(f"a box has a positive width and height, not {w} x {h}")
        return cls(x - 0.5 + w / 2, y - 0.5 + h / 2, max(w, h) * margin)

    @classmethod
    def from_mpii(cls, center: Sequence[float] | Array, scale: float) -> Box:
        """From the `center` and `scale` of the hourglass annotation files (side = 200 x scale, margin included)."""
        return cls(float(center[0]), float(center[1]), 200.0 * float(scale))

    @classmethod
    def around(cls, points: Array, margin: float) -> Box:
        """The square around (N, 2) points, its side `margin` times their larger extent."""
        low, high = points.min(axis=0), points.max(axis=0)
        cx, cy = (low + high) / 2
        return cls(float(cx), float(cy), max(1.0, float((high - low).max())) * margin)

    @classmethod
    def whole(cls, width: int, height: int) -> Box:
        """The square that holds a whole image."""
        return cls((width - 1) / 2, (height - 1) / 2, float(max(width, height)))

    def scaled(self, factor: float) -> Box:
        """The square about the same middle with `factor` times the side."""
        return Box(self.cx, self.cy, self.side * factor)

    def to_crop(self, size: int) -> Array:
        """The affine from image pixels to the pixels of a `size` x `size` crop of this box.

        The box's edges become the crop's edges (not its pixel centres), so it is free of the half-pixel shift.
        """
        s = size / self.side
        middle = (size - 1) / 2
        return np.array([[s, 0.0, middle - s * self.cx], [0.0, s, middle - s * self.cy]])

    def to_image(self, size: int) -> Array:
        """The inverse of `to_crop`."""
        return invert(self.to_crop(size))


@dataclass(frozen=True, slots=True)
class Crop:
    """What the network sees: `pixels` (S, S, 3) uint8 BGR, and `to_image`, the 2x3 affine back to image pixels."""

    pixels: Image
    to_image: Array

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.to_image.shape != (2, 3):
            raise ValueError("a crop is (S, S, 3) uint8 with a 2x3 affine")


def apply(affine: NDArray[Any], points: NDArray[Any]) -> Array:
    """Move (..., 2) points by a 2x3 affine, in float64 and without rounding."""
    points = np.asarray(points, dtype=np.float64)
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])


def inside(points: Array, image: Image) -> NDArray[np.bool_]:
    """Which of the (N, 2) points lie on a (H, W, ...) image, to the outer edge of its pixels."""
    height, width = image.shape[:2]
    return np.asarray(((points > -0.5) & (points < [width - 0.5, height - 0.5])).all(axis=1))


def compose(outer: Array, inner: Array) -> Array:
    """The affine that does `inner` first and `outer` after it."""
    return np.hstack([outer[:, :2] @ inner[:, :2], (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]])


def invert(affine: Array) -> Array:
    """The inverse affine; ValueError if there is none."""
    linear = affine[:, :2]
    if abs(np.linalg.det(linear)) < 1e-12:
        raise ValueError("the affine has no inverse")
    inverse = np.linalg.inv(linear)
    return np.hstack([inverse, -(inverse @ affine[:, 2])[:, None]])


def similarity(box: Box, size: int, degrees: float = 0.0, mirror: bool = False) -> Array:
    """The affine from image pixels to a crop of `box` turned by `degrees` (clockwise as seen) and perhaps mirrored."""
    s = size / box.side
    turn = np.deg2rad(degrees)
    linear = s * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.full(2, (size - 1) / 2)
    affine = np.hstack([linear, (middle - linear @ np.array([box.cx, box.cy]))[:, None]])
    if mirror:
        affine = compose(np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]]), affine)
    return affine


def warp(image: Image, affine: Array, size: int) -> Image:
    """Resample an image into a `size` x `size` crop through `affine` (image -> crop), bilinear, black outside.

    Bilinear sampling alone skips pixels when it shrinks, so a strong reduction first halves the part that the crop
    covers, as often as needed, by the mean of 2x2 pixels.
    """
    shrink = 1.0 / np.sqrt(abs(np.linalg.det(affine[:, :2])))
    halvings = max(0, int(np.log2(shrink))) if shrink >= 2.0 else 0
    if halvings:
        step = 1 << halvings
        height, width = image.shape[:2]
        corners = apply(invert(affine), np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5)
        x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - step, 0, [width, height])
        x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + step, 0, [width, height])
        if x1 > x0 and y1 > y0:
            # Whole groups of pixels; where the picture ends inside one, the rest of it is black like all beyond.
            extra_x, extra_y = -(x1 - x0) % step, -(y1 - y0) % step
            image = image[y0 : y1 + extra_y, x0 : x1 + extra_x]
            missing = (y1 + extra_y - y0 - image.shape[0], x1 + extra_x - x0 - image.shape[1])
            if any(missing):
                image = _as_image(cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT))
            for _ in range(halvings):
                image = _as_image(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
            # Small pixel i is the mean of `step` pixels: its centre lies at step * i + (step - 1) / 2 of the part.
            middle = (step - 1) / 2
            affine = compose(affine, np.array([[step, 0.0, x0 + middle], [0.0, step, y0 + middle]]))
    return _as_image(cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR))


def crop(image: Image, box: Box, size: int) -> Crop:
    """Cut `box` out of a (H, W, 3) uint8 image and resample it to `size` x `size`; black outside the image."""
    return Crop(warp(image, box.to_crop(size), size), box.to_image(size))


def heatmap_to_crop(cells: int, size: int) -> Array:
    """The affine from heatmap cells (centre of the first cell at 0) to crop pixels; the two grids share their edges."""
    s = size / cells
    return np.array([[s, 0.0, (s - 1) / 2], [0.0, s, (s - 1) / 2]])


def heatmap_to_image(box: Box, cells: int, size: int) -> Array:
    """The affine from heatmap cells straight to image pixels, for a `size` x `size` crop of `box`."""
    return compose(box.to_image(size), heatmap_to_crop(cells, size))


def _as_image(array: Any) -> Image:
    return np.asarray(array, dtype=np.uint8)
