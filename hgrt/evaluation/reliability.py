"""How far a joint's score can be believed: a calibration fitted on labelled people, its proof, and a picture of both.

Every data set weighs the same, however many joints it has: nobody knows which of them a camera's world is like, and the
largest, sport from afar, should not decide alone what a score means before a webcam. Knows predictions and labels, not
where either came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from hgrt.draw import LIKELY
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.report import percent
from hgrt.pose.confidence import BINS, Knots, brier, chance, expected_calibration_error, fit, in_bins
from hgrt.pose.geometry import Array, Image
from hgrt.pose.pckh import hits

FOLDS = 5
SEED = 0  # of the folds: the same predictions have the same proof

SIDE, BARS = 700, 130  # pixels: of the square of claims and truth, and the height of the counts beneath
LEFT, TOP, GAP = 64, 24, 44
BLACK, GREY, PALE = (0, 0, 0), (110, 110, 110), (225, 225, 225)
COLOURS = ((0, 94, 213), (178, 114, 0))  # BGR, told apart by colour-blind eyes: score, chance


@dataclass(frozen=True, slots=True)
class Judged:
    """The joints that count, of several data sets; all but `names` are (M,).

    names   of the sets
    set     number of the joint's set among them
    person  number of the joint's person, each one's own
    fold    0 to `FOLDS` - 1, the same for all joints of a person
    score   0..1
    right   whether it lies within half a head size of the truth (PCKh@0.5)
    weight  such that the joints of each set sum to 1
    """

    names: tuple[str, ...]
    set: NDArray[np.intp]
    person: NDArray[np.intp]
    fold: NDArray[np.intp]
    score: Array
    right: NDArray[np.bool_]
    weight: Array


def judge(found: Sequence[Predictions]) -> Judged:
    """The joints marked `evaluate` of people with a head size; HgrtError with fewer people than `FOLDS`."""
    rng = np.random.default_rng(SEED)
    parts, people = [], 0
    for number, one in enumerate(found):
        counted = one.evaluate & (one.normalize > 0)[:, None]
        who = np.unique(np.nonzero(counted)[0], return_inverse=True)[1]
        count = int(who.max(initial=-1)) + 1
        fold = (people + rng.permutation(count)) % FOLDS  # goes on where the last set ended: no fold stays empty
        right = hits(one.xy, one.truth, one.normalize, counted)[counted]
        weight = np.full(len(who), 1 / max(1, len(who)))
        parts.append((np.full(len(who), number), people + who, fold[who], one.score[counted], right, weight))
        people += count
    if people < FOLDS:
        raise HgrtError(
            "There are too few people to calibrate on.", f"{people} have joints that count; it takes at least {FOLDS}."
        )
    return Judged(tuple(one.set for one in found), *(np.concatenate(column) for column in zip(*parts, strict=True)))


def calibration(joints: Judged) -> Knots:
    """Knots fitted on all of them."""
    return fit(joints.score, joints.right, joints.weight)


def held_out(joints: Judged) -> Array:
    """The chance of every joint (M,) by a calibration that never saw its person: fitted on the other folds."""
    claimed = np.empty(len(joints.score))
    for fold in range(FOLDS):
        out = joints.fold == fold
        knots = fit(joints.score[~out], joints.right[~out], joints.weight[~out])
        claimed[out] = chance(joints.score[out], knots)
    return claimed


def table(joints: Judged, claimed: Array) -> Table:
    """How far scores, and the chances `claimed` (M,), are from the truth, for each set and for all alike."""
    caption = "all: every set weighs the same" if len(joints.names) > 1 else None
    shown = Table("set", box=None, pad_edge=False, header_style="dim", caption=caption, caption_justify="left")
    for column in ("people", "joints", "right %", "ECE score", "ECE chance", "Brier score", "Brier chance"):
        shown.add_column(column, justify="right")
    for number, name in enumerate(joints.names):
        shown.add_row(name, *_cells(joints, claimed, joints.set == number))
    if len(joints.names) > 1:
        shown.add_row("all", *_cells(joints, claimed, np.ones(len(claimed), bool)), style="bold")
    return shown


def _cells(joints: Judged, claimed: Array, chosen: NDArray[np.bool_]) -> list[str]:
    right, weight = joints.right[chosen], joints.weight[chosen]
    rate = float(np.average(right, weights=weight)) if len(right) else float("nan")
    counts = [str(len(np.unique(joints.person[chosen]))), str(len(right)), percent(rate)]
    claims = (joints.score[chosen], claimed[chosen])
    errors = (expected_calibration_error, brier)
    return counts + [f"{error(claim, right, weight):.3f}" for error in errors for claim in claims]


def diagram(joints: Judged, claimed: Array) -> Image:
    """The reliability diagram, (H, W, 3) uint8 BGR: of the joints of which so much was said, how many are right?

    A circle for each bin of scores and of the chances `claimed` (M,), on the diagonal where the claim is true, its area
    by the weight of its joints; beneath, how many these are. A line marks the chance from which a joint is drawn solid.
    """
    picture = np.full((TOP + SIDE + GAP + BARS + GAP, LEFT + SIDE + LEFT // 2, 3), 255, np.uint8)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x, y = _at(share, share)
        cv2.line(picture, (x, TOP), (x, TOP + SIDE), PALE)
        cv2.line(picture, (LEFT, y), (LEFT + SIDE, y), PALE)
        _write(picture, f"{share:.1f}", x, TOP + SIDE + 18, GREY)
        _write(picture, f"{share:.1f}", LEFT - 22, y + 5, GREY)
    cv2.line(picture, _at(0, 0), _at(1, 1), GREY, 1, cv2.LINE_AA)
    cv2.line(picture, _at(LIKELY, 0), _at(LIKELY, 1), GREY, 2)
    _write(picture, f"drawn solid from a chance of {LIKELY:g}", LEFT + 3 * SIDE // 4, TOP + SIDE - 8, GREY)
    title = "share of joints that are right, over what was said of them; every set weighs the same"
    _write(picture, title, LEFT + SIDE // 2, TOP - 8, BLACK)
    bins = [in_bins(claim, joints.right, joints.weight) for claim in (joints.score, claimed)]
    most = max(int(one.count.max()) for one in bins)
    base = TOP + SIDE + GAP + BARS
    for n, (one, name, colour) in enumerate(zip(bins, ("score", "chance, cross-validated"), COLOURS, strict=True)):
        _write(picture, name, LEFT + 120, TOP + 24 + 22 * n, colour)
        for k, count in enumerate(one.count):
            if count:
                radius = 3 + round(12 * float(one.weight[k]) ** 0.5)
                cv2.circle(picture, _at(one.claimed[k], one.right[k]), radius, colour, 2, cv2.LINE_AA)
            left = LEFT + SIDE * k // BINS + 3 + 33 * n
            top = base - round((BARS - 18) * int(count) / most)
            cv2.rectangle(picture, (left, top), (left + 30, base), colour, cv2.FILLED)
            _write(picture, str(count), left + 15, top - 4, colour, 0.36)
    _write(picture, f"number of joints, {len(joints.score)} in all", LEFT + SIDE // 2, base + 24, BLACK)
    return picture


def _at(x: float, y: float) -> tuple[int, int]:
    return LEFT + round(x * SIDE), TOP + SIDE - round(y * SIDE)


def _write(picture: Image, text: str, x: int, y: int, colour: tuple[int, int, int], size: float = 0.46) -> None:
    """Text whose middle is at x and whose foot is at y."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    width = cv2.getTextSize(text, font, size, 1)[0][0]
    cv2.putText(picture, text, (x - width // 2, y), font, size, colour, 1, cv2.LINE_AA)
