"""How likely a joint is right, from the height of its heatmap peak; and how good such claims are.

A score is no probability: networks are surer, or less sure, than they are right. Its calibration is a line of knots
that rises from score to chance, fitted on people whose joints are known. Here are only numbers about joints; which
joints those are, what "right" means and where knots are kept is decided elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array

Knots = tuple[tuple[float, float], ...]
"""(score, chance) with rising scores and chances that do not fall, all 0..1."""

FITTED = 11  # bins that a calibration is fitted to: with fewer joints in each, luck would bend the line
BINS = 10  # in which claims are judged


def chance(score: NDArray[np.floating], knots: Knots) -> Array:
    """The chance that joints of these scores are right, in the shape of `score`: linear between the knots, level
    beyond them. ValueError where there are no knots."""
    scores, chances = zip(*knots, strict=True)
    return np.asarray(np.interp(score, scores, chances))


def fit(score: Array, right: NDArray[np.bool_], weight: Array | None = None) -> Knots:
    """Knots for joints (M,) of which it is known whether they are `right`; a joint counts `weight` times.

    Isotonic regression by its max-min formula (Barlow et al., "Statistical inference under order restrictions", 1972)
    over bins of equal weight, so that there are few knots and none rests on few joints. Each bin is drawn to 1/2 as if
    by one joint more: a small one without an error is no certainty. The line begins at (0, 0), where there is no peak
    and so no place. ValueError without joints.
    """
    if not len(score):
        raise ValueError("there are no joints to fit a calibration to")
    weight = np.ones(len(score)) if weight is None else weight * (len(score) / weight.sum())
    order = np.argsort(score)
    share = np.cumsum(weight[order]) / len(score)
    edges = np.unique(score[order][np.searchsorted(share, np.arange(1, FITTED) / FITTED)])
    which = np.searchsorted(edges, score, side="right")  # equal scores share a bin
    mass, hits, sums = (np.bincount(which, part * weight) for part in (np.ones(len(score)), right, score))
    mass, hits, sums = (part[mass > 0] for part in (mass, hits, sums))

    def rate(first: int, last: int) -> float:
        return float((hits[first : last + 1] + 0.5).sum() / (mass[first : last + 1] + 1).sum())

    bins = range(len(mass))
    rising = [max(min(rate(first, last) for last in bins[k:]) for first in bins[: k + 1]) for k in bins]
    knots = zip((sums / mass).tolist(), rising, strict=True)
    return ((0.0, 0.0), *(knot for knot in knots if knot[0] > 0))


@dataclass(frozen=True, slots=True)
class Bins:
    """Claims (M,) in `BINS` bins of equal width: `count` of joints, their share of all `weight`, the mean `claimed` and
    the share that is `right`; NaN where a bin is empty. Each (BINS,)."""

    count: NDArray[np.intp]
    weight: Array
    claimed: Array
    right: Array


def in_bins(claimed: Array, right: NDArray[np.bool_], weight: Array | None = None) -> Bins:
    """Joints by what is claimed of them, 0..1."""
    weight = np.ones(len(claimed)) if weight is None else weight
    which = np.minimum((claimed * BINS).astype(int), BINS - 1)
    mass, total, hits = (
        np.bincount(which, part * weight, minlength=BINS) for part in (np.ones(len(claimed)), claimed, right)
    )
    with np.errstate(invalid="ignore"):
        return Bins(np.bincount(which, minlength=BINS), mass / mass.sum(), total / mass, hits / mass)


def expected_calibration_error(claimed: Array, right: NDArray[np.bool_], weight: Array | None = None) -> float:
    """How far claim and truth lie apart, 0..1: the mean over bins of |claimed - right|, each as heavy as its joints
    (Guo et al., "On calibration of modern neural networks", 2017). NaN without joints."""
    if not len(claimed):
        return math.nan
    bins = in_bins(claimed, right, weight)
    return float(np.nansum(bins.weight * np.abs(bins.claimed - bins.right)))


def brier(claimed: Array, right: NDArray[np.bool_], weight: Array | None = None) -> float:
    """The mean squared difference between claim and truth, 0..1 (Brier, 1950): also blames claims that do not tell
    right from wrong. NaN without joints."""
    return float(np.average((claimed - right) ** 2, weights=weight)) if len(claimed) else math.nan
