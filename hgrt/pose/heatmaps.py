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
Decode = Literal["dark", "quarter"]

SMOOTHINGS = (1, 2)
"""How far apart cells are of which "dark" takes the binomial mean, one time after another, on each axis: variance 2.5.

A joint counts as found within half a head, two to four cells: so it is looked for where most of the chance lies
within some cells, which need not be where a single cell has most.
"""


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Decoded joints.

    `xy_hm` (N, J, 2) float64 in cells; `score` (N, J) the map's height there, clipped to 0..1; `spread` (N, J) standard
    deviation in cells of the Gaussian that has the peak's curvature, inf where there is no peak.
    """

    xy_hm: Array
    score: Array
    spread: Array


def encode(xy_hm: NDArray[Any], present: NDArray[Any], cells: int, sigma: float) -> Maps:
    """Gaussian targets with peak 1 at the exact sub-cell positions.

    `xy_hm` (J, 2) in cells, `present` (J,) truthy where the joint is known -> (J, cells, cells) float32, all zero for a
    joint that is absent. Of one outside the grid there is what reaches into it: were its map empty, a network that is
    in doubt whether a joint lies just within or just beyond the edge would have to find it too far within.
    """
    there: NDArray[np.bool_] = np.asarray(present, dtype=bool)
    # What is absent may hold anything.
    xy: Array = np.where(there[:, None], np.asarray(xy_hm, dtype=np.float64), 0.0)
    grid = np.arange(cells)
    x = np.exp(-((grid - xy[:, :1]) ** 2) / (2 * sigma**2)) * there[:, None]
    y = np.exp(-((grid - xy[:, 1:]) ** 2) / (2 * sigma**2))
    return y.astype(np.float32)[:, :, None] * x.astype(np.float32)[:, None, :]


def peaks(heatmaps: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Column and row (N, J) of the largest value of each map (N, J, S, S); the first one where several are equal."""
    n, joints, height, width = heatmaps.shape
    best = heatmaps.reshape(n, joints, height * width).argmax(axis=2)
    return best % width, best // width


def quarter_offset(heatmaps: NDArray[Any], column: NDArray[np.intp], row: NDArray[np.intp]) -> Array:
    """A quarter of a cell towards the larger neighbour, per axis (N, J, 2); towards the smaller index when equal.

    At the border the peak itself stands in for the neighbour that is not there, so peaks move outwards.
    """
    n, joints, height, width = heatmaps.shape
    i, j = np.ogrid[:n, :joints]
    right = heatmaps[i, j, row, np.minimum(column + 1, width - 1)] > heatmaps[i, j, row, np.maximum(column - 1, 0)]
    down = heatmaps[i, j, np.minimum(row + 1, height - 1), column] > heatmaps[i, j, np.maximum(row - 1, 0), column]
    return np.where(np.stack([right, down], axis=-1), 0.25, -0.25)


def decode(heatmaps: NDArray[Any], method: Decode = "dark") -> Keypoints:
    """Keypoints of (N, J, S, S) heatmaps.

    "dark": the largest cell of the `smoothed` map, and from there the peak of a Gaussian through its neighbourhood, by
    one Newton step on the logarithm (Zhang et al., "Distribution-Aware Coordinate Representation", CVPR 2020, eq. 6-9).
    So a broad hill, which holds more of the chance, wins over a thin spike. The score is the largest height that the
    map itself has within a cell of there, the spread is that of the smoothed map.
    "quarter": the largest cell moved by `quarter_offset`, as the published code decodes.
    """
    smooth = smoothed(heatmaps)
    column, row = peaks(heatmaps if method == "quarter" else smooth)
    n, joints = column.shape
    i, j = np.ogrid[:n, :joints]
    offset, spread = _newton(_logs(_around(smooth, column, row).astype(np.float64)))
    height = _around(heatmaps, column, row).max(axis=(-2, -1))
    if method == "quarter":
        offset, height = quarter_offset(heatmaps, column, row), heatmaps[i, j, row, column]
    score = np.clip(height.astype(np.float64), 0.0, 1.0)
    xy = np.stack([column, row], axis=-1).astype(np.float64)
    found = score > 0
    return Keypoints(xy + offset * found[..., None], score, np.where(found, spread, np.inf))


def smoothed(heatmaps: NDArray[Any]) -> NDArray[Any]:
    """(N, J, S, S) maps of which every cell is the binomial mean of those around it; beyond their edge maps are empty.

    The order of the sums leaves equal cells equal that lie within.
    """
    edge = sum(SMOOTHINGS)
    maps = np.pad(heatmaps, [(0, 0), (0, 0), (edge, edge), (edge, edge)])
    quarter, half = np.float32(0.25), np.float32(0.5)
    for reach in SMOOTHINGS:
        inner = slice(reach, -reach)
        maps = (maps[:, :, 2 * reach :] + maps[:, :, : -2 * reach]) * quarter + maps[:, :, inner] * half
        maps = (maps[..., 2 * reach :] + maps[..., : -2 * reach]) * quarter + maps[..., inner] * half
    return maps


def _newton(logs: Array) -> tuple[Array, Array]:
    """Step to the peak (N, J, 2) and its width (N, J) from the logarithms around the largest cell, (N, J, 3, 3)."""
    centre, left, right = logs[..., 1, 1], logs[..., 1, 0], logs[..., 1, 2]
    above, below = logs[..., 0, 1], logs[..., 2, 1]
    gx, gy = (right - left) / 2, (below - above) / 2
    xx, yy = right + left - 2 * centre, below + above - 2 * centre
    xy = (logs[..., 2, 2] + logs[..., 0, 0] - logs[..., 2, 0] - logs[..., 0, 2]) / 4
    determinant = xx * yy - xy**2
    peaked = (determinant > 1e-9) & (xx < 0) & (yy < 0)
    safe = np.where(peaked, determinant, 1.0)
    step = np.stack([xy * gy - yy * gx, xy * gx - xx * gy], axis=-1) / safe[..., None]
    # The true peak is nearer to this cell than to any other; a flat or noisy map must not throw it further.
    step = np.clip(step, -0.75, 0.75) * peaked[..., None]
    return step, np.where(peaked, safe**-0.25, np.inf)


def _around(maps: NDArray[Any], column: NDArray[np.intp], row: NDArray[np.intp]) -> NDArray[Any]:
    """The 3x3 cells around each place, (N, J, 3, 3); maps go on mirrored."""
    n, joints, height, width = maps.shape
    reach = np.arange(-1, 2)
    rows = _mirrored(row[..., None] + reach, height)[..., :, None]
    columns = _mirrored(column[..., None] + reach, width)[..., None, :]
    i, j = np.ogrid[:n, :joints]
    return np.asarray(maps[i[..., None, None], j[..., None, None], rows, columns])


def _logs(around: Array) -> Array:
    """Logarithms; a floor relative to the peak keeps noise around zero from dominating the curvature."""
    floor = np.maximum(around.max(axis=(-2, -1), keepdims=True) * 1e-2, 1e-9)
    return np.asarray(np.log(np.maximum(around, floor)))


def _mirrored(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Indices beyond either end reflected about the last cell: a peak on the border stays there."""
    index = np.abs(index)
    return np.minimum(index, 2 * (size - 1) - index)
