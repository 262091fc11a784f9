"""PCKh: the share of joints found within a fraction of the head size. Several protocols share that name; each has one
here.

    reference   the published hourglass code: all 16 joints that have x != 0, pooled, error strictly below the bound
    standard    the MPII evaluation as HRNet and mmpose report it: 14 joints (no pelvis, no thorax), pooled by count,
                error up to and including the bound
    limbs       the same for the 12 joints from shoulders to wrists and from hips to ankles, which networks with another
                idea of a head find as well

All positions are in image pixels and `normalize` is MPII's head size, 0.6 x the diagonal of the head box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array
from hgrt.pose.skeleton import MPII, Skeleton

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which joints count, and whether an error equal to the bound does."""

    name: str
    left_out: tuple[str, ...]
    inclusive: bool


PROTOCOLS: dict[str, Protocol] = {
    "reference": Protocol("reference", (), inclusive=False),
    "standard": Protocol("standard", ("pelvis", "thorax"), inclusive=True),
    "limbs": Protocol("limbs", ("pelvis", "thorax", "upper_neck", "head_top"), inclusive=True),
}

GROUPS: dict[str, tuple[str, ...]] = {
    "ankle": ("r_ankle", "l_ankle"),
    "knee": ("r_knee", "l_knee"),
    "hip": ("r_hip", "l_hip"),
    "pelvis": ("pelvis",),
    "thorax": ("thorax",),
    "neck": ("upper_neck",),
    "head": ("head_top",),
    "wrist": ("r_wrist", "l_wrist"),
    "elbow": ("r_elbow", "l_elbow"),
    "shoulder": ("r_shoulder", "l_shoulder"),
}
"""The rows of the published table."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Joints found (`correct`) among those looked for (`count`)."""

    correct: int
    count: int

    @property
    def rate(self) -> float:
        """Share found; NaN where nothing was looked for."""
        return self.correct / self.count if self.count else float("nan")

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.correct + other.correct, self.count + other.count)


@dataclass(frozen=True, slots=True)
class Result:
    """PCKh at one bound: a tally per joint name, in the skeleton's order, of the joints the protocol counts.

    `left_out` has the tallies of the others, judged alike; they are in no total and no group.
    """

    protocol: str
    bound: float
    joints: Mapping[str, Tally]
    left_out: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def total(self) -> Tally:
        """All joints pooled."""
        return sum(self.joints.values(), Tally(0, 0))

    def group(self, names: Sequence[str]) -> Tally:
        """Several joints pooled."""
        return sum((self.joints[name] for name in names if name in self.joints), Tally(0, 0))


def errors(predicted: NDArray[Any], truth: NDArray[Any], normalize: NDArray[Any]) -> Array:
    """Distances (N, J) in head sizes between (N, J, 2) positions; inf or NaN where `normalize` (N,) is zero."""
    distance = np.linalg.norm(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(distance / np.asarray(normalize, np.float64)[:, None])


def annotated(truth: NDArray[Any]) -> Mask:
    """Joints (N, J) that the published h5 files annotate: those with x != 0."""
    return np.asarray(np.asarray(truth)[..., 0] != 0)


def pckh(
    predicted: NDArray[Any],
    truth: NDArray[Any],
    normalize: NDArray[Any],
    counted: NDArray[Any],
    protocol: str = "standard",
    bound: float = 0.5,
    skeleton: Skeleton = MPII,
) -> Result:
    """PCKh of predictions (N, J, 2) against `truth` (N, J, 2), image pixels, over the joints in `counted` (N, J).

    A person without a head size is counted and never correct. ValueError for an unknown protocol or a wrong shape.
    """
    hit = hits(predicted, truth, normalize, counted, protocol, bound, skeleton)
    tallies = {
        name: Tally(int(hit[:, j].sum()), int(np.asarray(counted, dtype=bool)[:, j].sum()))
        for j, name in enumerate(skeleton.joints)
    }
    left_out = {name: tallies.pop(name) for name in PROTOCOLS[protocol].left_out if name in tallies}
    return Result(protocol, bound, tallies, left_out)


def hits(
    predicted: NDArray[Any],
    truth: NDArray[Any],
    normalize: NDArray[Any],
    counted: NDArray[Any],
    protocol: str = "standard",
    bound: float = 0.5,
    skeleton: Skeleton = MPII,
) -> Mask:
    """The joints (N, J) that are in `counted` and found; those that the protocol leaves out are judged like the rest.

    Arguments and errors as for `pckh`.
    """
    rule = PROTOCOLS.get(protocol)
    if rule is None:
        raise ValueError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    shape = (len(normalize), len(skeleton))
    if np.shape(predicted) != (*shape, 2) or np.shape(truth) != (*shape, 2) or np.shape(counted) != shape:
        raise ValueError(f"expected positions {(*shape, 2)} and counted {shape}")
    error = errors(predicted, truth, normalize)
    found = (error <= bound) if rule.inclusive else (error < bound)
    return np.asarray(np.asarray(counted, dtype=bool) & found)


def in_total(protocol: str, skeleton: Skeleton = MPII) -> Mask:
    """Which joints (J,) the protocol counts in its total."""
    return np.array([name not in PROTOCOLS[protocol].left_out for name in skeleton.joints])


def auc(
    predicted: NDArray[Any],
    truth: NDArray[Any],
    normalize: NDArray[Any],
    counted: NDArray[Any],
    protocol: str = "standard",
    upto: float = 0.5,
    steps: int = 51,
) -> float:
    """Area under PCKh as a function of the bound, 0 to `upto` on `steps` points (trapezoid), scaled to 0..1."""
    bounds = np.linspace(0.0, upto, steps)
    rates = [pckh(predicted, truth, normalize, counted, protocol, float(b)).total.rate for b in bounds]
    return float(np.trapezoid(rates, bounds) / upto)


def bootstrap(
    correct: NDArray[Any], count: NDArray[Any], rng: np.random.Generator, rounds: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the pooled rate when people are drawn again with replacement (percentile bootstrap).

    `correct` and `count` are joints per person, (N,). People are drawn, not joints: a person's joints err together.
    """
    draws = rng.integers(0, len(count), size=(rounds, len(count)))
    totals = np.asarray(count, np.float64)[draws].sum(axis=1)
    rates = np.asarray(correct, np.float64)[draws].sum(axis=1) / np.maximum(totals, 1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
