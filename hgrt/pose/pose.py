"""The answer: one person's joints in one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgrt.pose.geometry import Array, Box
from hgrt.pose.skeleton import MPII

BEST = 8  # joints that vouch for a person: half of them may be out of view


@dataclass(frozen=True, slots=True)
class Pose:
    """One person.

    xy      (16, 2) float64, image pixels, x right, y down, the centre of the top-left pixel at (0, 0), MPII order
    score   (16,) 0..1, the height of each joint's heatmap peak; low where the joint is hidden, out of view or doubtful,
            0 where it would lie beyond the picture's edge
    spread  (16,) pixels, the width (standard deviation) of each peak; inf where there is none
    box     the person's square: as given, of which the network looks at `ModelSpec.crop`, or as followed, all of it
    chance  (16,) 0..1, how likely each joint lies within half a head size of the truth (PCKh@0.5), judged by `score`;
            None where the network is not calibrated
    """

    xy: Array
    score: Array
    spread: Array
    box: Box
    chance: Array | None = None

    def __post_init__(self) -> None:
        joints = len(MPII)
        by_joint = [one for one in (self.score, self.spread, self.chance) if one is not None]
        if self.xy.shape != (joints, 2) or any(one.shape != (joints,) for one in by_joint):
            raise ValueError(f"a pose has {joints} joints")

    @property
    def confidence(self) -> float:
        """How sure it is that there is a person: the mean score of the best half of the joints, 0..1."""
        return float(np.sort(self.score)[-BEST:].mean())
