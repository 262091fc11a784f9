"""One person in one picture: the single form in which every data set reaches the training and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array, Box, Image
from hgrt.pose.skeleton import MPII

JOINTS = len(MPII)

Missing = Literal["refuse", "skip"]
"""What a reader does about pictures that are not there: refuse the set, or leave their people out and count them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled person.

    name       the picture's name in its set, and the person's where it shows several
    image      (H, W, 3) uint8 BGR
    joints     (16, 2) float64, image pixels; meaningless where not labelled
    labelled   (16,) bool, the position is known (a joint may lie outside the image)
    visible    (16,) bool, labelled and not hidden
    evaluate   (16,) bool, counts in an evaluation
    box        the person's square
    normalize  head size in pixels, the unit of PCKh
    empty      nobody is in the picture: all sixteen heatmaps are known to be zero
    suspect    (16,) bool, somebody or something judged the joint's label doubtful; none if left out
    """

    name: str
    image: Image
    joints: Array
    labelled: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    evaluate: NDArray[np.bool_]
    box: Box
    normalize: float
    empty: bool = False
    suspect: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(JOINTS, np.bool_))

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.joints.shape != (JOINTS, 2):
            raise ValueError("a sample is a (H, W, 3) uint8 image with (16, 2) joints")
        if any(mask.shape != (JOINTS,) for mask in (self.labelled, self.visible, self.evaluate, self.suspect)):
            raise ValueError("the masks of a sample have one entry a joint")


class People(Protocol):
    """A data set: people by number, always the same one for the same number. `name` is `set/split`."""

    name: str

    def __len__(self) -> int: ...

    def get(self, index: int) -> Sample:
        """Person `index`, counted from 0."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a data set that is there: its file of `labels`, and what opens it."""

    labels: Path
    open: Callable[[], People]


class Mixture:
    """Several data sets one after another, each repeated some whole number of times."""

    def __init__(self, parts: Sequence[tuple[People, int]]) -> None:
        self.name = "+".join(part.name for part, _ in parts)
        self._parts = [part for part, repeat in parts for _ in range(repeat)]
        self._starts = np.cumsum([0] + [len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def get(self, index: int) -> Sample:
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[which].get(index - int(self._starts[which]))
