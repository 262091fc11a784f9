"""What there is to say about a data set before anybody trains on it: every picture is decoded, every label looked at.

It counts and names; how that is shown is for others to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import JOINTS, People, Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Array, Image
from hgrt.pose.skeleton import HIPS, SHOULDERS

FACING = 0.55  # of the trunk: shoulders at least so far apart are seen from the front or the back
FAR = 3.0  # sides of a person's box: a joint further from the middle of the box hardly belongs to them

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Checked:
    """The N people of a set whose picture could be read, empty scenery left out, and what is odd about them.

    people      how many the set has, readable or not
    indices     (N,) their numbers in the set; `names` (N,) of the samples
    pictures    (N,) digests of the decoded pictures: equal where the pictures are
    labelled    (N, 16) bool, and so are `visible` and `evaluate`
    outside     (N, 16) bool, labelled and beyond the picture's edge
    far         (N, 16) bool, labelled and more than `FAR` sides of the box from its middle
    sides       (N,) sides of the boxes, `heads` (N,) head sizes, both in pixels
    hips        (N,) how far apart the hips are labelled, over that of the shoulders; NaN where one of the four is not
                labelled, or the person not seen from the front or the back. In this those who label differ most
    cut         (N,) bool, the box reaches beyond the picture
    again       (N,) bool, the same picture with the same joints stood in the set before
    unreadable  what was said of each person whose picture could not be read
    """

    people: int
    indices: NDArray[np.int64]
    names: tuple[str, ...]
    pictures: tuple[bytes, ...]
    labelled: Mask
    visible: Mask
    evaluate: Mask
    outside: Mask
    far: Mask
    sides: Array
    heads: Array
    hips: Array
    cut: Mask
    again: Mask
    unreadable: tuple[str, ...]

    def spread(self, count: int) -> list[int]:
        """The numbers in the set of `count` people spread evenly over it, or of all where there are no more."""
        at = np.linspace(0, len(self.indices) - 1, min(count, len(self.indices))).round().astype(int)
        return [int(index) for index in self.indices[at]]


def check(people: People, done: Callable[[int], None] = lambda count: None) -> Checked:
    """Read every person of a set, pictures included; `done` hears how many were seen."""
    kept: list[tuple[int, Sample, tuple[int, int], bytes]] = []
    unreadable = []
    for index in range(len(people)):
        try:
            sample = people.get(index)
        except HgrtError as error:
            unreadable.append(f"{error.what} {error.why}".strip())
        else:
            if not sample.empty:
                nothing: Image = np.zeros((1, 1, 3), np.uint8)
                height, width = sample.image.shape[:2]
                kept.append((index, replace(sample, image=nothing), (width, height), _digest(sample.image)))
        done(index + 1)
    samples = [sample for _, sample, _, _ in kept]
    joints = np.array([sample.joints for sample in samples]).reshape(-1, JOINTS, 2)
    labelled = _masks([sample.labelled for sample in samples])
    sizes = np.array([size for _, _, size, _ in kept]).reshape(-1, 2)
    middles = np.array([(sample.box.cx, sample.box.cy) for sample in samples]).reshape(-1, 2)
    sides = np.array([sample.box.side for sample in samples])
    beyond = np.abs(middles - (sizes - 1) / 2) + sides[:, None] / 2 > sizes / 2
    outside = ((joints < -0.5) | (joints > sizes[:, None] - 0.5)).any(axis=2)
    distance = np.linalg.norm(joints - middles[:, None], axis=2)
    return Checked(
        people=len(people),
        indices=np.array([index for index, _, _, _ in kept], np.int64),
        names=tuple(sample.name for sample in samples),
        pictures=tuple(digest for _, _, _, digest in kept),
        labelled=labelled,
        visible=_masks([sample.visible for sample in samples]),
        evaluate=_masks([sample.evaluate for sample in samples]),
        outside=labelled & outside,
        far=labelled & (distance > FAR * sides[:, None]),
        sides=sides,
        heads=np.array([sample.normalize for sample in samples], np.float64),
        hips=_hips(joints, labelled),
        cut=np.asarray(beyond.any(axis=1)),
        again=_again([digest for _, _, _, digest in kept], joints, labelled),
        unreadable=tuple(unreadable),
    )


def _digest(image: Image) -> bytes:
    """The same for the same pixels in the same shape, whatever the file was called."""
    return blake2b(image.tobytes(), digest_size=16, salt=f"{image.shape[0]}x{image.shape[1]}".encode()).digest()


def _hips(joints: Array, labelled: Mask) -> Array:
    """See `Checked.hips`; joints (N, 16, 2)."""
    hips, shoulders = joints[:, HIPS], joints[:, SHOULDERS]
    apart, wide = (np.linalg.norm(pair[:, 0] - pair[:, 1], axis=1) for pair in (hips, shoulders))
    trunk = np.linalg.norm(hips.mean(axis=1) - shoulders.mean(axis=1), axis=1)
    known = labelled[:, HIPS + SHOULDERS].all(axis=1) & (wide > FACING * trunk)
    return np.where(known, apart / np.where(known, wide, 1.0), np.nan)


def _masks(rows: Sequence[Mask]) -> Mask:
    return np.array(rows, dtype=bool).reshape(-1, JOINTS)


def _again(pictures: Sequence[bytes], joints: Array, labelled: Mask) -> Mask:
    seen: set[tuple[bytes, bytes]] = set()
    again = []
    for picture, points, known in zip(pictures, joints, labelled, strict=True):
        key = (picture, np.where(known[:, None], points, -1e9).tobytes())
        again.append(key in seen)
        seen.add(key)
    return np.array(again, dtype=bool)
