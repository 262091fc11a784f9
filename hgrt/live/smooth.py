"""The One-Euro filter: still joints stand still, fast joints do not lag.

Casiez, Roussel, Vogel, "1 EUR Filter" (CHI 2012). Positions are filtered in units of the person's size, so that the
same settings fit a face before a webcam and a figure across the street.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hgrt.pose.geometry import Array
from hgrt.pose.pose import Pose


@dataclass(slots=True)
class OneEuro:
    """Filter for one person's joints. Cut-off frequencies in Hz; `beta` in Hz per person-side a second."""

    min_cutoff: float = 1.0
    beta: float = 30.0
    speed_cutoff: float = 2.0
    _xy: Array | None = None
    _speed: Array | None = None
    _t: float = 0.0

    def reset(self) -> None:
        """Forget the past: the next pose passes unchanged."""
        self._xy = None

    def __call__(self, pose: Pose, t: float) -> Pose:
        """The smoothed pose at time `t` in seconds; times must not go back."""
        elapsed = t - self._t
        self._t = t
        if self._xy is None or self._speed is None or elapsed <= 0:
            self._xy, self._speed = pose.xy.copy(), np.zeros_like(pose.xy)
            return pose
        speed = (pose.xy - self._xy) / (elapsed * pose.box.side)
        self._speed += _weight(elapsed, self.speed_cutoff) * (speed - self._speed)
        cutoff = self.min_cutoff + self.beta * np.linalg.norm(self._speed, axis=1, keepdims=True)
        self._xy = self._xy + _weight(elapsed, cutoff) * (pose.xy - self._xy)
        return replace(pose, xy=self._xy.copy())


def _weight(elapsed: float, cutoff: float | Array) -> float | Array:
    """Share of the new value in a first-order low-pass of that cut-off."""
    return 1.0 / (1.0 + 1.0 / (2 * np.pi * cutoff * elapsed))
