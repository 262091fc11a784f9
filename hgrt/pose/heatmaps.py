"""Heatmaps and keypoints: Gaussian targets for training, and sub-pixel keypoints back out of a network's maps.

Positions here are in heatmap cells (`_hm`), the centre of the first cell at (0, 0). How cells relate to crop pixels is
the business of `geometry`; what the published evaluation did is in `reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array

Maps = NDArray[np.float32]
Decode = Literal["dark", "argmax"]

PATCH = 2  # cells on each side of the peak that take part in the sub-pixel estimate
_TAPS = np.array([0.25, 0.5, 0.25])  # binomial smoothing of the patch before its logarithm is differentiated


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Decoded joints.

    `xy_hm` (N, J, 2) float64 in cells; `score` (N, J) peak value clipped to 0..1; `spread` (N, J) standard deviation in
    cells of the Gaussian that has the peak's curvature, inf where there is no peak.
    """

    xy_hm: Array
    score: Array
    spread: Array


def encode(xy_hm: NDArray[Any], present: NDArray[Any], cells: int, sigma: float) -> Maps:
    """Gaussian targets with peak 1 at the exact sub-cell positions.

    `xy_hm` (J, 2) in cells, `present` (J,) truthy where the joint is known -> (J, cells, cells) float32, all zero for a
    joint that is absent or lies outside the grid.
    """
    xy = np.asarray(xy_hm, dtype=np.float64)
    inside = np.asarray(present, dtype=bool) & (xy > -0.5).all(axis=1) & (xy < cells - 0.5).all(axis=1)
    grid = np.arange(cells)
    x = np.exp(-((grid - xy[:, :1]) ** 2) / (2 * sigma**2))
    y = np.exp(-((grid - xy[:, 1:]) ** 2) / (2 * sigma**2))
    return (y[:, :, None] * x[:, None, :] * inside[:, None, None]).astype(np.float32)


def peaks(heatmaps: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Column and row (N, J) of the largest value of each map (N, J, S, S); the first one where several are equal."""
    n, joints, height, width = heatmaps.shape
    best = heatmaps.reshape(n, joints, height * width).argmax(axis=2)
    return best % width, best // width


def decode(heatmaps: NDArray[Any], method: Decode = "dark") -> Keypoints:
    """Keypoints of (N, J, S, S) heatmaps.

    "dark": the peak of a Gaussian through the neighbourhood of the largest cell, by one Newton step on the logarithm of
    the smoothed map (Zhang et al., "Distribution-Aware Coordinate Representation", CVPR 2020, eq. 6-9).
    "argmax": the largest cell moved a quarter of a cell towards its larger neighbour, per axis.
    """
    column, row = peaks(heatmaps)
    n, joints = column.shape
    i, j = np.ogrid[:n, :joints]
    score = np.clip(heatmaps[i, j, row, column].astype(np.float64), 0.0, 1.0)
    xy = np.stack([column, row], axis=-1).astype(np.float64)
    log_patch = _log_patches(heatmaps, column, row)
    c = log_patch.shape[-1] // 2
    gx = (log_patch[..., c, c + 1] - log_patch[..., c, c - 1]) / 2
    gy = (log_patch[..., c + 1, c] - log_patch[..., c - 1, c]) / 2
    centre = log_patch[..., c, c]
    xx = log_patch[..., c, c + 1] + log_patch[..., c, c - 1] - 2 * centre
    yy = log_patch[..., c + 1, c] + log_patch[..., c - 1, c] - 2 * centre
    xy_ = log_patch[..., c + 1, c + 1] + log_patch[..., c - 1, c - 1]
    xy_ = (xy_ - log_patch[..., c + 1, c - 1] - log_patch[..., c - 1, c + 1]) / 4
    determinant = xx * yy - xy_**2
    peaked = (score > 0) & (determinant > 1e-9) & (xx < 0) & (yy < 0)
    safe = np.where(peaked, determinant, 1.0)
    spread = np.where(peaked, np.sqrt(np.sqrt(1.0 / safe)), np.inf)
    if method == "argmax":
        offset = 0.25 * np.stack([np.sign(gx), np.sign(gy)], axis=-1)
    else:
        newton = np.stack([xy_ * gy - yy * gx, xy_ * gx - xx * gy], axis=-1) / safe[..., None]
        # The true peak is nearer to this cell than to any other; a flat or noisy map must not throw it further.
        offset = np.clip(newton, -0.75, 0.75) * peaked[..., None]
    return Keypoints(xy + offset * (score > 0)[..., None], score, spread)


def _log_patches(heatmaps: NDArray[Any], column: NDArray[np.intp], row: NDArray[np.intp]) -> Array:
    """Logarithm of the smoothed (2*PATCH-1)^2 cells around each peak, (N, J, P, P); edges repeat the border."""
    n, joints, height, width = heatmaps.shape
    reach = np.arange(-PATCH, PATCH + 1)
    rows = np.clip(row[..., None] + reach, 0, height - 1)[..., :, None]
    columns = np.clip(column[..., None] + reach, 0, width - 1)[..., None, :]
    i, j = np.ogrid[:n, :joints]
    patch = heatmaps[i[..., None, None], j[..., None, None], rows, columns].astype(np.float64)
    smooth = _TAPS[0] * patch[..., :-2, :] + _TAPS[1] * patch[..., 1:-1, :] + _TAPS[2] * patch[..., 2:, :]
    smooth = _TAPS[0] * smooth[..., :-2] + _TAPS[1] * smooth[..., 1:-1] + _TAPS[2] * smooth[..., 2:]
    # A floor relative to the peak keeps noise around zero from dominating the curvature.
    floor = np.maximum(smooth.max(axis=(-2, -1), keepdims=True) * 1e-2, 1e-9)
    return np.asarray(np.log(np.maximum(smooth, floor)))
