"""Synthetic people as a data set, with some pictures of nobody among them.

Each is drawn once, when first asked for, from a seed of its own, and kept as a JPEG, as a photograph would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import JOINTS, Sample
from hgrt.data.synthetic import random_background, synthetic_background, synthetic_person
from hgrt.pose.geometry import Box, Image

EMPTY_EVERY = 4  # one picture in so many shows nobody


@dataclass(frozen=True, slots=True)
class _Drawn:
    jpeg: NDArray[np.uint8]
    joints: NDArray[np.float64]
    visible: NDArray[np.bool_]
    box: Box
    normalize: float
    empty: bool


class GeneratedPeople:
    """`count` pictures drawn from `seed`."""

    def __init__(self, count: int, seed: int) -> None:
        self.name = "synthetic"
        self._count, self._seed = count, seed
        self._drawn: dict[int, _Drawn] = {}

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Sample:
        if index not in self._drawn:
            self._drawn[index] = _draw(
                np.random.default_rng([self._seed, index]), index % EMPTY_EVERY == EMPTY_EVERY - 1
            )
        it = self._drawn[index]
        known = np.full(JOINTS, not it.empty)
        return Sample(
            name=f"{self._seed}-{index}",
            image=np.asarray(cv2.imdecode(it.jpeg, cv2.IMREAD_COLOR), dtype=np.uint8),
            joints=it.joints,
            labelled=known,
            visible=it.visible,
            evaluate=known,
            box=it.box,
            normalize=it.normalize,
            empty=it.empty,
        )


def scenery(count: int, seed: int) -> list[Image]:
    """Pictures of nobody, 256x256, to stand in for the world beyond a photograph's edge."""
    return [random_background(np.random.default_rng([seed, index]), 256, 256) for index in range(count)]


def _draw(rng: np.random.Generator, empty: bool) -> _Drawn:
    if empty:
        picture = synthetic_background(rng)
        height, width = picture.shape[:2]
        nowhere: Any = np.zeros((JOINTS, 2))
        return _Drawn(_jpeg(picture), nowhere, np.zeros(JOINTS, bool), Box.whole(width, height), 1.0, True)
    person = synthetic_person(rng)
    box = Box(float(person.center[0]), float(person.center[1]), person.side)
    return _Drawn(_jpeg(person.bgr), person.joints, person.visible, box, person.head_size, False)


def _jpeg(picture: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], dtype=np.uint8)
