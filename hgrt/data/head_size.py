"""Head sizes, the unit of PCKh, of people whose annotation gives none: from the head's own joints or from the body.

The body's proportions were measured on MPII. This module knows arrays of joints and no file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array
from hgrt.pose.skeleton import MPII

HEAD = 0.75  # MPII's head size, 0.6 x the diagonal of its head box, in units of |head_top - upper_neck|

# Lengths in head sizes: the 65th percentile of length / `normalize` over the 17,372 people of MPII's poses.npz, left
# and right together. Foreshortening only shortens, so what lies in the picture plane is longer than the median; at 65
# the estimate below errs least on them, by 10 % in the median. tests/data/test_coco.py measures all this again.
SEGMENTS: tuple[tuple[tuple[str, ...], tuple[str, ...], float], ...] = (
    (("l_shoulder", "r_shoulder"), ("l_hip", "r_hip"), 2.451),
    (("l_shoulder",), ("r_shoulder",), 1.597),
    (("l_shoulder",), ("l_elbow",), 1.378),
    (("r_shoulder",), ("r_elbow",), 1.378),
    (("l_elbow",), ("l_wrist",), 1.134),
    (("r_elbow",), ("r_wrist",), 1.134),
    (("l_hip",), ("l_knee",), 1.966),
    (("r_hip",), ("r_knee",), 1.966),
    (("l_knee",), ("l_ankle",), 1.891),
    (("r_knee",), ("r_ankle",), 1.891),
)
SHARPNESS = 6  # of the power mean over the segments: nearly their maximum, but less at the mercy of one misplaced joint

# Longer side of a person's box in head sizes: the median of 386 people of COCO (by this very estimate), and what 99 in
# 100 people of MPII stay below with all their joints. The one serves where no segment is known, the other is a floor
# for people seen end on.
BOX_TYPICAL, BOX_MOST = 7.4, 10.0


def from_head(joints: Array, labelled: NDArray[np.bool_]) -> Array:
    """Head sizes (N,) in pixels from upper neck and head top; NaN where one is not labelled or both are one point.

    `joints` is (N, 16, 2) in pixels, `labelled` (N, 16).
    """
    ends = MPII.indices(("upper_neck", "head_top"))
    length = np.linalg.norm(joints[:, ends[0]] - joints[:, ends[1]], axis=-1)
    return np.where(labelled[:, ends].all(axis=1) & (length > 0), HEAD * length, np.nan)


def from_body(joints: Array, labelled: NDArray[np.bool_], longer: Array) -> Array:
    """Head sizes (N,) in pixels from the limbs and the trunk; without any, from the box. Always positive.

    `joints` is (N, 16, 2) in pixels, `labelled` (N, 16), `longer` (N,) the longer side of the person's box in pixels.
    """
    guesses = np.full((len(joints), len(SEGMENTS)), np.nan)
    for column, (start, end, length) in enumerate(SEGMENTS):
        a, b = MPII.indices(start), MPII.indices(end)
        span = np.linalg.norm(joints[:, a].mean(axis=1) - joints[:, b].mean(axis=1), axis=-1)
        guesses[:, column] = np.where(labelled[:, a + b].all(axis=1), span / length, np.nan)
    count = np.isfinite(guesses).sum(axis=1)
    mean = np.nansum(guesses**SHARPNESS, axis=1) / np.maximum(count, 1)
    size = np.where(count > 0, mean ** (1 / SHARPNESS), longer / BOX_TYPICAL)
    return np.asarray(np.maximum(size, longer / BOX_MOST))
