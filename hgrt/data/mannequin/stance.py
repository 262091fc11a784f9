"""Poses as the directions of a body's segments in space, and from joints in a picture to such directions.

A stance is (12,3): unit vectors of SEGMENTS. Axes: x to the left of somebody who faces the camera, y away from the
camera, z up; so somebody upright who faces it has hips along (1,0,0) and looks along (0,-1,0).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.data.body import Body
from hgrt.pose.geometry import Array
from hgrt.pose.skeleton import MPII

SEGMENTS = (
    ("pelvis", "thorax"), ("r_hip", "l_hip"), ("r_shoulder", "l_shoulder"), ("upper_neck", "head_top"),
    ("r_hip", "r_knee"), ("r_knee", "r_ankle"), ("l_hip", "l_knee"), ("l_knee", "l_ankle"),
    ("r_shoulder", "r_elbow"), ("r_elbow", "r_wrist"), ("l_shoulder", "l_elbow"), ("l_elbow", "l_wrist"),
)  # fmt: skip
TRUNK, HIPS, SHOULDERS, HEAD = range(4)
LEGS, ARMS = ((4, 5), (6, 7)), ((8, 9), (10, 11))  # right, left; upper, lower

_FROM = np.array([MPII.index(one) for one, _ in SEGMENTS])
_TO = np.array([MPII.index(other) for _, other in SEGMENTS])
_BODY = Body()
_LENGTHS = np.array(
    [_BODY.torso, 2 * _BODY.hip, 2 * _BODY.shoulder, _BODY.head]
    + [_BODY.thigh, _BODY.shin] * 2
    + [_BODY.upper_arm, _BODY.forearm] * 2
)
_LONG = [k for k in range(len(SEGMENTS)) if k not in (HIPS, SHOULDERS)]  # those whose length says how large a person is


def unit(vectors: NDArray[Any]) -> Array:
    """The same vectors (..., 3) of length 1."""
    return np.asarray(vectors / np.maximum(np.sqrt(np.einsum("...k,...k->...", vectors, vectors)), 1e-9)[..., None])


def of_joints(joints: Array) -> Array:
    """The stance of (16,3) joints in MPII order; x right, y down, z to the camera, as `hgrt.data.body` has them."""
    x, y, z = np.moveaxis(joints, -1, 0)
    points = np.stack([x, -z, -y], axis=-1)
    return unit(points[_TO] - points[_FROM])


def faces(stance: Array) -> bool:
    """Whether the camera sees the front of the trunk: hips and shoulders go to the right in its picture."""
    return bool(stance[[HIPS, SHOULDERS], 0].sum() > 0)


def lifted(joints: Array, known: NDArray[np.bool_], rng: np.random.Generator) -> Array | None:
    """A stance that looks like (16,2) joints of a picture from afar; None where too little is known.

    A segment that is seen shorter than it is points to the camera or away from it (C. Taylor, "Reconstruction of
    articulated objects from point correspondences in a single uncalibrated image", CVIU 2000). Of the signs, those are
    taken that joints allow best: knees and elbows bend one way, thighs and arms reach forward rather than back. Limbs
    that are not known are those of a relaxed stand.
    """
    seen = known[_FROM] & known[_TO]
    if not seen[: HEAD + 1].all() or not seen[[a for a, _ in ARMS]].all():
        return None
    flat = (joints[_TO] - joints[_FROM]) * np.array([1, -1])  # x, and z up
    shares = np.linalg.norm(flat, axis=1) / _LENGTHS
    sizes = np.sort(shares[_LONG][seen[_LONG]])
    size = float(sizes[-2])  # pixels of a metre: nothing looks longer than it is, save for one error
    if size <= 0:
        return None
    flat /= (size * _LENGTHS)[:, None]
    flat /= np.maximum(1, np.linalg.norm(flat, axis=1))[:, None]
    deep = np.sqrt(np.maximum(0, 1 - (flat**2).sum(axis=1)))

    def either(k: int) -> list[Array]:
        return [np.array([flat[k, 0], sign * deep[k], flat[k, 1]]) for sign in (-1, 1)]

    best: tuple[float, Array] | None = None
    for up, hips, shoulders in product(either(TRUNK), either(HIPS), either(SHOULDERS)):
        out = np.zeros((len(SEGMENTS), 3))
        out[TRUNK], out[HIPS], out[SHOULDERS] = up, hips, shoulders
        chest, pelvis = frame(shoulders, up), frame(hips, up)
        cost = _trunk_cost(up, hips, shoulders, chest, pelvis) + 0.02 * float(rng.random())
        price, out[HEAD] = min(((_head_cost(head, up, chest), head) for head in either(HEAD)), key=_price)
        cost += price
        for limbs, whole, limit in ((LEGS, pelvis, _leg_cost), (ARMS, chest, arm_cost)):
            for side, (upper, lower) in zip((-1, 1), limbs, strict=True):
                if not seen[upper]:
                    out[upper] = out[lower] = -whole[:, 2]
                    continue
                ways = product(either(upper), either(lower) if seen[lower] else [None])
                pairs = ((u, u if v is None else v) for u, v in ways)
                price, out[upper], out[lower] = min(((limit(u, v, side, whole), u, v) for u, v in pairs), key=_price)
                cost += price
        if best is None or cost < best[0]:
            best = cost, out
    assert best is not None
    return unit(best[1])


def _price(way: tuple[Any, ...]) -> float:
    return float(way[0])


def frame(left: Array, up: Array) -> Array:
    """(3,3) with columns left, back and up: `up` as given, `left` made square to it."""
    up = unit(up)
    left = unit(left - (left @ up) * up)
    return np.stack([left, np.cross(up, left), up], axis=1)


def _head_cost(head: Array, up: Array, chest: Array) -> float:
    return max(0.0, 0.5 - float(head @ up)) - 0.05 * float(head @ chest[:, 1])


def _trunk_cost(up: Array, hips: Array, shoulders: Array, chest: Array, pelvis: Array) -> float:
    twist = float(np.degrees(np.arccos(np.clip(chest[:, 0] @ pelvis[:, 0], -1, 1))))
    cost = (up @ unit(hips)) ** 2 + (up @ unit(shoulders)) ** 2 + (max(0.0, twist - 30) / 30) ** 2
    if up[2] > 0:  # who stands leans forward rather than back
        cost += max(0.0, -float(chest[2, 1])) ** 2
    return float(cost)


def _leg_cost(thigh: Array, shin: Array, side: int, pelvis: Array) -> float:
    left, back, up = pelvis.T
    flexed = np.degrees(np.arctan2(-(thigh @ back), -(thigh @ up)))
    spread = np.degrees(np.arcsin(np.clip(side * (thigh @ left), -1, 1)))
    cost = (max(0.0, -20 - flexed, flexed - 125) / 30) ** 2 + (max(0.0, -15 - spread, spread - 60) / 30) ** 2
    hinge = np.cross(thigh, shin)  # along `left` where the shin is folded back
    cost += 6 * max(0.0, 0.08 - float(hinge @ left)) ** 2 + 0.5 * float(((hinge - (hinge @ left) * left) ** 2).sum())
    return float(cost - 0.03 * flexed / 90)


def arm_cost(arm: Array, fore: Array, side: int, chest: Array) -> float:
    """How little a shoulder allows an arm and its forearm to lie so; `side` -1 right, 1 left, `chest` its `frame`."""
    left, back, up = chest.T
    cost = 2 * max(0.0, float(arm @ back) - 0.5) ** 2 + max(0.0, -side * float(arm @ left) - 0.5) ** 2
    hinge = np.cross(arm, fore)
    if np.linalg.norm(hinge) > 0.15:
        natural = turned(-up, arm) @ -left  # the elbow's axis were the arm only swung there
        hinge = unit(hinge)
        angle = np.degrees(np.arctan2(np.cross(natural, hinge) @ arm, natural @ hinge)) * side
        cost += (max(0.0, angle - 95, -70 - angle) / 40) ** 2
    return float(cost + 0.06 * (fore @ back) + 0.03 * (arm @ back))


def turned(one: Array, other: Array) -> Array:
    """(3,3) the smallest rotation that takes one unit vector to another."""
    axis, c = np.cross(one, other), float(one @ other)
    if c < -0.999:
        axis = np.cross(one, [1.0, 0, 0] if abs(one[0]) < 0.9 else [0, 1.0, 0])
        axis = unit(axis)
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1 + c))
