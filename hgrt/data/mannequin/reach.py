"""Hands at the face, before the trunk or behind it: arms that reach for a place on the body they belong to.

Photographed athletes keep their hands away from themselves; whoever sits before a camera does not.
"""

from __future__ import annotations

import numpy as np

from hgrt.data.body import Body
from hgrt.data.mannequin.stance import ARMS, HEAD, SHOULDERS, TRUNK, arm_cost, frame, turned, unit
from hgrt.pose.geometry import Array

PALM = 0.09  # metres from a wrist to the middle of its palm
# Places in metres from half way between the shoulders: to the hand's own side, back, up. The head moves its own.
AT_HEAD = {
    "mouth": (0.02, -0.15, 0.15), "chin": (0.03, -0.13, 0.10), "cheek": (0.08, -0.10, 0.17),
    "eyes": (0.03, -0.14, 0.22), "forehead": (0.02, -0.13, 0.28), "ear": (0.11, -0.02, 0.19),
    "hair": (0.08, 0.03, 0.33), "nape": (0.04, 0.12, 0.14),
}  # fmt: skip
AT_TRUNK = {
    "throat": (0.0, -0.11, 0.04), "other shoulder": (-0.16, -0.11, 0.0), "other arm": (-0.21, -0.13, -0.22),
    "chest": (0.02, -0.2, -0.16), "belly": (0.0, -0.22, -0.34), "lap": (0.05, -0.26, -0.5), "hip": (0.19, 0.0, -0.42),
    "back": (-0.02, 0.16, -0.38),
}  # fmt: skip
SPREAD = 0.035  # metres, the standard deviation of a place on each axis
WAYS = 5  # elbows that are tried for each hand

_BODY = Body()


def reaching(stance: Array, rng: np.random.Generator) -> Array:
    """The stance (12,3) with one hand, or with both, at a place of its own body; both are mostly at the same."""
    out = stance.copy()
    with_head = rng.random() < 0.5
    places = list((AT_HEAD if with_head else AT_TRUNK).values())
    place = places[int(rng.integers(len(places)))]
    sides = (0, 1) if rng.random() < 0.45 else (int(rng.integers(2)),)
    for number, side in enumerate(sides):
        if number and rng.random() < 0.3:
            place = places[int(rng.integers(len(places)))]
        _reach(out, side, np.array(place) + rng.normal(0, SPREAD, 3), with_head, rng)
    return out


def _reach(stance: Array, side: int, place: Array, with_head: bool, rng: np.random.Generator) -> None:
    """Lay one arm (0 right, 1 left) so that its palm is at `place`, or as near as it comes; in `stance` itself.

    Two sides of the triangle of shoulder, elbow and palm are the arm's, the third is how far the place is; about that
    one the elbow may turn. It hangs, more or less, and of several ways that is taken which a shoulder allows best.
    """
    chest, sign = frame(stance[SHOULDERS], stance[TRUNK]), 2 * side - 1
    place = chest @ (place * [sign, 1, 1])
    if with_head:
        place = turned(chest[:, 2], stance[HEAD]) @ place
    way = place - chest[:, 0] * sign * _BODY.shoulder
    upper, lower = _BODY.upper_arm, _BODY.forearm + PALM
    far = float(np.clip(np.linalg.norm(way), 1.05 * abs(upper - lower), 0.98 * (upper + lower)))
    along = unit(way)
    cosine = (upper**2 + far**2 - lower**2) / (2 * upper * far)
    hanging = chest @ np.array([0.9 * sign, 0.15, -1])
    first = unit(hanging - (hanging @ along) * along)
    second = np.cross(along, first)
    best = np.inf
    for angle in np.radians(rng.normal(0, 25, WAYS)):
        arm = cosine * along + np.sqrt(1 - cosine**2) * (np.cos(angle) * first + np.sin(angle) * second)
        fore = unit(far * along - upper * arm)
        cost = arm_cost(arm, fore, sign, chest)
        if cost < best:
            best, stance[list(ARMS[side])] = cost, (arm, fore)
