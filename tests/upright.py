"""A made-up person who stands upright, for what needs joints and no network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII

MIDDLE = (150.0, 150.0)
GREY = 140
PLACES = {
    "head_top": (0, -80), "upper_neck": (0, -55), "thorax": (0, -45), "pelvis": (0, 15),
    "shoulder": (20, -45), "elbow": (48, -20), "wrist": (75, 0),
    "hip": (11, 15), "knee": (13, 55), "ankle": (15, 90),
}  # fmt: skip
"""An upright person, arms away from the trunk, which is 60 pixels long; their right is on the picture's left."""


def upright(places: Mapping[str, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """All sixteen joints about `MIDDLE` by number, x and y in pixels; their right is on the picture's left.

    `places` gives each joint's offset from there by its name, those of both sides by that of the left one without `l_`.
    """
    joints = {}
    for i, name in enumerate(MPII.joints):
        x, y = places[name] if name in places else places[name[2:]]
        joints[i] = (MIDDLE[0] + (-x if name.startswith("r_") else x), MIDDLE[1] + y)
    return joints


def somebody(image: NDArray[np.uint8] | None = None, **moved: tuple[float, float]) -> Sample:
    """The person of `PLACES` in a picture, all `GREY` if left out; a joint may be `moved` to another place."""
    joints = np.array([moved.get(MPII.joints[i], place) for i, place in upright(PLACES).items()], float)
    all_there = np.ones(len(joints), bool)
    picture = np.full((300, 300, 3), GREY, np.uint8) if image is None else image
    return Sample("somebody", picture, joints, all_there, all_there, all_there, Box(*MIDDLE, 240), 20.0)
