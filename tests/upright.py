"""A made-up person who stands upright, for what needs joints and no network."""

from __future__ import annotations

from collections.abc import Mapping

from hgrt.pose.skeleton import MPII

MIDDLE = (150.0, 150.0)


def upright(places: Mapping[str, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """All sixteen joints about `MIDDLE` by number, x and y in pixels; their right is on the picture's left.

    `places` gives each joint's offset from there by its name, those of both sides by that of the left one without `l_`.
    """
    joints = {}
    for i, name in enumerate(MPII.joints):
        x, y = places[name] if name in places else places[name[2:]]
        joints[i] = (MIDDLE[0] + (-x if name.startswith("r_") else x), MIDDLE[1] + y)
    return joints
