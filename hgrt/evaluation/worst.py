"""The largest errors, to be looked at: which they are, and a sheet of them. Often they are wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hgrt.data.sample import People
from hgrt.draw import SURE, shown
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.sheet import contact_sheet, tile
from hgrt.pose.geometry import Box, Image
from hgrt.pose.pckh import errors, in_total
from hgrt.pose.skeleton import MPII

PEOPLE = 32
COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Miss:
    """A joint in the wrong place: number of the data set, of the person in its predictions, of the joint; the error in
    head sizes."""

    set: int
    person: int
    joint: int
    error: float


def worst(found: Sequence[Predictions], protocol: str = "standard", count: int = PEOPLE) -> list[Miss]:
    """The largest errors of joints that count, largest first: one a person, theirs, and at most `count`.

    People without a head size are left out: their errors have no unit.
    """
    misses = []
    for k, one in enumerate(found):
        error = errors(one.xy, one.truth, one.normalize)
        error = np.where(one.evaluate & in_total(protocol) & np.isfinite(error), error, -1.0)
        for person, joint in enumerate(error.argmax(axis=1)):
            misses.append(Miss(k, person, int(joint), float(error[person, joint])))
    misses = [miss for miss in misses if miss.error >= 0]
    return sorted(misses, key=lambda miss: -miss.error)[:count]


def worst_sheet(sets: Sequence[People], found: Sequence[Predictions], protocol: str = "standard") -> Image:
    """A sheet (H, W, 3) uint8 BGR of the worst misses: predicted joints bold, labels thin, a line to the true place.

    Their pictures are read once more. HgrtError where no joint counts.
    """
    misses = worst(found, protocol)
    if not misses:
        raise HgrtError("There is no sheet of errors to draw.", "Nobody in these data has a joint that counts.")
    tiles = [_tile(sets[miss.set], found[miss.set], miss) for miss in misses]
    captions = [_caption(found[miss.set], miss, several=len(found) > 1) for miss in misses]
    return contact_sheet(tiles, COLUMNS, captions)


def _tile(people: People, found: Predictions, miss: Miss) -> Image:
    k = miss.person
    cx, cy, side = found.boxes[k]
    image = people.get(int(found.rows[k])).image
    truth = np.where(found.labelled[k][:, None], found.truth[k], np.nan)
    score = found.score[k]
    drawn = shown(found.xy[k], score) | (np.arange(len(score)) == miss.joint)
    return tile(image, Box(cx, cy, side), found.xy[k], drawn, score >= SURE, truth, miss.joint)


def _caption(found: Predictions, miss: Miss, several: bool) -> str:
    name = found.names[miss.person]
    where = f"{found.set.partition('/')[0]} {name}" if several else name
    return f"{where}\n{MPII.joints[miss.joint]}, off by {miss.error:.1f} heads"
