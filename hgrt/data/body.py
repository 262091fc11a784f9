"""A human skeleton in space: bone lengths, joint angles within their limits, typical poses and repeating motions.

Joints are (16,3) in MPII order and metres: x right, y down, z to the camera, pelvis at the origin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Angles = dict[str, float]

MOTIONS = ("walk", "wave", "jacks", "squat", "sign")
_SIDES = (("r_", -1.0), ("l_", 1.0))
SHOULDER, ELBOW, WRIST, HIP, KNEE, ANKLE = (12, 13), (11, 14), (10, 15), (2, 3), (1, 4), (0, 5)
# Degrees a joint may reach, by the angle's name without its side.
_LIMITS = {
    "flex": (-45, 170),
    "abd": (-12, 172),
    "rot": (-95, 85),
    "elbow": (2, 148),
    "hip": (-25, 118),
    "spread": (-8, 55),
    "turn": (-40, 20),
    "knee": (2, 140),
    "lean": (-15, 75),
    "side": (-28, 28),
    "twist": (-35, 35),
    "pitch": (-35, 35),
    "roll": (-25, 25),
}
# Degrees of a relaxed stand, for all angles that are not zero in it.
RELAXED: Angles = {
    "r_abd": 9.0,
    "l_abd": 9.0,
    "r_elbow": 14.0,
    "l_elbow": 14.0,
    "r_rot": 15.0,
    "l_rot": 15.0,
    "r_spread": 3.0,
    "l_spread": 3.0,
    "r_turn": -8.0,
    "l_turn": -8.0,
    "r_knee": 4.0,
    "l_knee": 4.0,
}
# Typical poses in degrees; angles left out are those of a relaxed stand.
_POSES: dict[str, Angles] = {
    "stand": {},
    "hips": {
        "r_abd": 42,
        "r_rot": 60,
        "r_elbow": 95,
        "r_flex": -15,
        "l_abd": 42,
        "l_rot": 60,
        "l_elbow": 95,
        "l_flex": -15,
    },
    "wave": {"r_abd": 75, "r_rot": -85, "r_elbow": 85},
    "up": {"r_abd": 155, "l_abd": 155, "r_elbow": 20, "l_elbow": 20},
    "cactus": {"r_abd": 85, "r_rot": -85, "r_elbow": 90, "l_abd": 85, "l_rot": -85, "l_elbow": 90},
    "tee": {"r_abd": 88, "l_abd": 88, "r_elbow": 10, "l_elbow": 10},
    "reach": {"r_flex": 80, "r_elbow": 20, "l_flex": 20, "l_elbow": 40},
    "face": {"r_flex": 50, "r_elbow": 135, "r_rot": 25, "r_abd": 15, "l_flex": 15, "l_elbow": 70, "l_rot": 40},
    "sign": {"r_flex": 28, "r_elbow": 105, "r_rot": 25, "l_flex": 28, "l_elbow": 105, "l_rot": 25},
    "crossed": {"r_flex": 32, "r_elbow": 100, "r_rot": 68, "l_flex": 28, "l_elbow": 100, "l_rot": 68},
    "sit": {
        "r_hip": 86,
        "l_hip": 86,
        "r_knee": 86,
        "l_knee": 86,
        "r_spread": 10,
        "l_spread": 10,
        "r_flex": 22,
        "l_flex": 22,
        "r_elbow": 55,
        "l_elbow": 55,
    },
    "crouch": {
        "r_hip": 100,
        "l_hip": 100,
        "r_knee": 122,
        "l_knee": 122,
        "r_spread": 16,
        "l_spread": 16,
        "lean": 28,
        "r_flex": 50,
        "l_flex": 50,
        "r_elbow": 50,
        "l_elbow": 50,
        "pitch": -15,
    },
    "lunge": {
        "r_hip": 68,
        "r_knee": 72,
        "l_hip": -16,
        "l_knee": 35,
        "r_abd": 25,
        "l_abd": 25,
        "r_elbow": 45,
        "l_elbow": 45,
    },
    "side_lunge": {"r_spread": 45, "r_hip": 25, "r_knee": 60, "l_spread": 32, "lean": 20, "r_abd": 50, "l_abd": 60},
    "kick": {"r_hip": 65, "r_knee": 15, "lean": -8, "l_abd": 55, "r_abd": 40, "l_hip": -5},
    "bend": {
        "lean": 58,
        "r_hip": 15,
        "l_hip": 15,
        "r_flex": 45,
        "l_flex": 45,
        "pitch": -20,
        "r_knee": 15,
        "l_knee": 15,
    },
    "throw": {
        "r_abd": 100,
        "r_rot": -70,
        "r_elbow": 80,
        "l_flex": 60,
        "l_elbow": 25,
        "twist": -22,
        "l_hip": 25,
        "l_knee": 20,
        "r_hip": -12,
    },
}


@dataclass(frozen=True, slots=True)
class Body:
    """Bone lengths of one person in metres; `shoulder` and `hip` are half widths between the joints."""

    shin: float = 0.41
    thigh: float = 0.42
    hip: float = 0.105
    torso: float = 0.49
    shoulder: float = 0.182
    neck: float = 0.085
    head: float = 0.235
    upper_arm: float = 0.285
    forearm: float = 0.25


def rotation(axis: int, degrees: float) -> F64:
    """(3,3) rotation: axis 0 turns down to the camera, 1 turns the camera side to x+, 2 turns down to x+."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = ([[1, 0, 0], [0, c, -s], [0, s, c]], [[c, 0, s], [0, 1, 0], [-s, 0, c]], [[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return np.array(rows[axis], dtype=np.float64)


def joints_from_angles(angles: Mapping[str, float], body: Body) -> F64:
    """Forward kinematics: joint angles in degrees (missing ones relaxed) to (16,3) joints in metres, pelvis at 0."""
    a = RELAXED | dict(angles)
    out = np.zeros((16, 3))
    root = rotation(1, a.get("yaw", 0.0))
    lean = rotation(0, -a.get("lean", 0.0)) @ rotation(2, a.get("side", 0.0))
    spine = root @ lean @ rotation(1, a.get("twist", 0.0))
    skull = spine @ rotation(0, -a.get("pitch", 0.0)) @ rotation(2, a.get("roll", 0.0))
    chest = spine @ np.array([0.0, -body.torso, 0.0])
    for i, (p, s) in enumerate(_SIDES):
        out[HIP[i]] = root @ np.array([s * body.hip, 0.0, 0.0])
        leg = root @ rotation(0, a.get(p + "hip", 0.0)) @ rotation(2, s * a[p + "spread"])
        leg = leg @ rotation(1, -s * a[p + "turn"])
        out[KNEE[i]] = out[HIP[i]] + leg @ np.array([0.0, body.thigh, 0.0])
        k = math.radians(a[p + "knee"])
        out[ANKLE[i]] = out[KNEE[i]] + leg @ np.array([0.0, math.cos(k), -math.sin(k)]) * body.shin
        # A raised arm lifts the collar bone and pulls the shoulder inwards.
        raised = max(0.0, math.sin(math.radians(min(max(a[p + "abd"], a.get(p + "flex", 0.0)) - 60.0, 90.0))))
        out[SHOULDER[i]] = chest + spine @ np.array([s * (body.shoulder - 0.02 * raised), -0.045 * raised, 0.0])
        arm = spine @ rotation(0, a.get(p + "flex", 0.0)) @ rotation(2, s * a[p + "abd"])
        arm = arm @ rotation(1, -s * a[p + "rot"])
        out[ELBOW[i]] = out[SHOULDER[i]] + arm @ np.array([0.0, body.upper_arm, 0.0])
        e = math.radians(a[p + "elbow"])
        out[WRIST[i]] = out[ELBOW[i]] + arm @ np.array([0.0, math.cos(e), math.sin(e)]) * body.forearm
    out[7] = (out[12] + out[13]) / 2
    out[8] = chest + spine @ np.array([0.0, -body.neck, 0.015])
    out[9] = out[8] + skull @ np.array([0.0, -body.head, 0.0])
    return out


def motion_angles(motion: str, t: float) -> Angles:
    """Joint angles in degrees of a repeating motion `t` seconds after its start."""
    if motion not in MOTIONS:
        raise ValueError(f"unknown motion {motion!r}, expected one of {', '.join(MOTIONS)}")
    w = 2 * math.pi * t
    if motion == "walk":
        a: Angles = {"twist": 5 * math.sin(0.9 * w), "lean": 3.0}
        for p, phase in (("r_", 0.0), ("l_", math.pi)):
            swing = math.sin(0.9 * w + phase)
            bent = max(0.0, math.cos(0.9 * w + phase)) ** 2
            a |= {p + "hip": 5 + 22 * swing, p + "knee": 6 + 48 * bent}
            a |= {p + "flex": -22 * swing, p + "elbow": 24 - 8 * swing}
        return a
    if motion == "wave":
        return {"r_abd": 72.0, "r_rot": -85.0, "r_elbow": 80 + 28 * math.sin(1.3 * w), "side": 3 * math.sin(0.65 * w)}
    if motion == "sign":
        a = {"pitch": 4 * math.sin(0.4 * w), "roll": 4 * math.sin(0.3 * w)}
        for p, phase in (("r_", 0.0), ("l_", 1.9)):
            a |= {
                p + "flex": 30 + 18 * math.sin(0.55 * w + phase),
                p + "elbow": 108 + 22 * math.sin(0.8 * w + 2 * phase),
                p + "rot": 20 + 28 * math.sin(0.45 * w + phase),
                p + "abd": 14 + 8 * math.sin(0.35 * w + phase),
            }
        return a
    d = (1 - math.cos(w * (0.75 if motion == "jacks" else 0.5))) / 2
    if motion == "jacks":
        return {
            p + k: v
            for p in ("r_", "l_")
            for k, v in {
                "abd": 8 + 150 * d,
                "spread": 2 + 26 * d,
                "elbow": 12 + 10 * d,
                "knee": 6 + 12 * d * (1 - d),
            }.items()
        }
    return {"lean": 34 * d, "pitch": -18 * d} | {
        p + k: v
        for p in ("r_", "l_")
        for k, v in {
            "hip": 96 * d,
            "knee": 3 + 108 * d,
            "spread": 6 + 10 * d,
            "flex": 78 * d,
            "elbow": 12 + 8 * d,
        }.items()
    }


def pose_at(motion: str, t: float, body: Body | None = None) -> F64:
    """(16,3) joints in metres of the person facing the camera, `t` seconds into `motion` (one of MOTIONS)."""
    return joints_from_angles(motion_angles(motion, t), body or Body())


def random_pose(rng: np.random.Generator, body: Body | None = None) -> F64:
    """(16,3) joints in metres of a plausible pose, turned as people in photographs are: mostly towards the camera."""
    keys = list(_POSES)
    if rng.random() < 0.25:
        a = motion_angles(MOTIONS[rng.integers(len(MOTIONS))], float(rng.uniform(0, 8)))
    else:
        a = dict(_POSES[keys[rng.integers(len(keys))]])
    if rng.random() < 0.3:  # the arms of one pose on the legs of another
        arms = _POSES[keys[rng.integers(len(keys))]]
        a |= {k: v for k, v in arms.items() if k[2:] in ("abd", "rot", "flex", "elbow")}
    if rng.random() < 0.5:
        a = {{"r_": "l_", "l_": "r_"}.get(k[:2], k[:2]) + k[2:]: (-v if k == "twist" else v) for k, v in a.items()}
    names = ["lean", "side", "twist", "pitch", "roll"]
    names += [p + k for p, _ in _SIDES for k in ("abd", "flex", "rot", "elbow", "hip", "spread", "turn", "knee")]
    for k in names:
        name = k[2:] if k[:2] in ("r_", "l_") else k
        sigma = {"abd": 13, "flex": 14, "rot": 22, "elbow": 20}.get(name, 6)
        a[k] = float(np.clip(a.get(k, RELAXED.get(k, 0.0)) + rng.normal(0, sigma), *_LIMITS[name]))
    kind = rng.random()
    spread = rng.normal(0, 22) if kind < 0.6 else rng.choice([-1, 1]) * rng.uniform(25, 100)
    a["yaw"] = float(spread if kind < 0.88 else 180 + rng.normal(0, 35))
    return joints_from_angles(a, body or Body())
