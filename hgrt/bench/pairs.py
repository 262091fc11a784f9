"""The people whom a runtime saw most differently from the reference, as pictures side by side, the reference first.

Also for a runtime that passes, since they show how small its worst is. Which difference is allowed is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgrt.bench.figures import number
from hgrt.bench.parity import shifts
from hgrt.data.sample import People
from hgrt.draw import SURE, shown
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.sheet import tile
from hgrt.pose.geometry import Array, Box, Image
from hgrt.pose.skeleton import MPII

COUNT = 6


@dataclass(frozen=True, slots=True)
class Pair:
    """One person as the reference saw them and as a runtime did: (S, S, 3) uint8 BGR each."""

    caption: str
    left: Image
    right: Image


@dataclass(frozen=True, slots=True)
class _Shift:
    """Number of the set, of the person in its predictions, of the joint that moved most, by how many crop pixels."""

    set: int
    person: int
    joint: int
    pixels: float


def pairs(
    people: Sequence[People],
    reference: Sequence[Predictions],
    found: Sequence[Predictions],
    size: float,
    count: int = COUNT,
) -> list[Pair]:
    """The people one of whose joints moved most between `reference` and `found`, largest first, at most `count`;
    none who is the same in both.

    One set of people after another, each with its predictions; shifts are in crop pixels, of which a box has `size`. A
    joint that neither sees (score 0) is left out; one whose place is not finite moved infinitely. Pictures are read
    once more. ValueError unless both are of the same people.
    """
    moved = []
    for k, (theirs, ours) in enumerate(zip(reference, found, strict=True)):
        pixels = _pixels(theirs, ours, size)
        moved += [
            _Shift(k, person, int(joint), float(pixels[person, joint]))
            for person, joint in enumerate(pixels.argmax(axis=1))
            if pixels[person, joint] > 0
        ]
    worst = sorted(moved, key=lambda shift: -shift.pixels)[:count]
    return [_pair(people[shift.set], reference[shift.set], found[shift.set], shift) for shift in worst]


def _pixels(reference: Predictions, found: Predictions, size: float) -> Array:
    """How far each joint moved (N, 16), crop pixels; -1 where neither sees it."""
    if reference.names != found.names:
        raise ValueError(f"the predictions for {found.set} are not of the same people")
    unseen = (reference.score <= 0) & (found.score <= 0)
    return np.where(unseen, -1.0, np.linalg.norm(shifts(reference, found, size), axis=-1))


def _pair(people: People, reference: Predictions, found: Predictions, shift: _Shift) -> Pair:
    name, joint = found.names[shift.person], MPII.joints[shift.joint]
    moved = f"moved by {number(shift.pixels)} px" if np.isfinite(shift.pixels) else "has no finite place"
    image = people.get(int(found.rows[shift.person])).image
    drawn = _drawn(reference, shift)
    there = np.where(drawn[:, None], reference.xy[shift.person], np.nan)
    return Pair(
        f"{found.set} {name}: {joint} {moved}",
        _tile(image, reference, shift, None),
        _tile(image, found, shift, there),
    )


def _tile(image: Image, found: Predictions, shift: _Shift, beneath: Array | None) -> Image:
    cx, cy, side = found.boxes[shift.person]
    solid = found.score[shift.person] >= SURE
    joined = shift.joint if np.isfinite(shift.pixels) else None
    xy = found.xy[shift.person]
    return tile(image, Box(cx, cy, side), xy, _drawn(found, shift), solid, beneath, joined)


def _drawn(found: Predictions, shift: _Shift) -> NDArray[np.bool_]:
    """The joints that are sure enough, and the one it is about; never one that has no place."""
    xy = found.xy[shift.person]
    enough = shown(xy, found.score[shift.person]) | (np.arange(len(MPII)) == shift.joint)
    return np.asarray(enough & np.isfinite(xy).all(axis=1))
