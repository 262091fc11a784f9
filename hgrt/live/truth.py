"""How right the demo is where the truth is known: a clip's own joints, kept in a JSON file beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hgrt.data.film import read_truth
from hgrt.live.sink import Sink
from hgrt.live.source import Frame
from hgrt.pose.geometry import Image
from hgrt.pose.pckh import Result, pckh
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII


class TruthSink(Sink):
    """Compares each pose with the joints that `path` knows for that frame; a person who is not found is missed."""

    def __init__(self, path: Path) -> None:
        self._joints, self._normalize = read_truth(path)
        self._predicted: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
        self._rows: list[int] = []

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        if frame.index < len(self._joints):
            self._rows.append(frame.index)
            self._predicted.append(np.full((len(MPII), 2), np.inf) if pose is None else pose.xy)

    def result(self, bound: float = 0.5) -> Result | None:
        """PCKh (protocol "standard") so far; None before the first frame."""
        if not self._rows:
            return None
        truth = self._joints[self._rows]
        return pckh(
            np.stack(self._predicted), truth, self._normalize[self._rows], np.ones(truth.shape[:2]), "standard", bound
        )
