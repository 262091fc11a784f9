"""A pose drawn into a picture: limbs in the colour of their side, joints hollow where the network is unsure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Array, Box, Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import ANKLES, HIPS, KNEES, MPII, Side, side_of

COLOURS: dict[Side, tuple[int, int, int]] = {"left": (255, 160, 40), "right": (40, 110, 255), "middle": (80, 220, 120)}
"""BGR: the person's left blue, right orange, the middle green."""
SURE = 0.4  # a joint with a lower score is hollow, where there is no calibrated chance to go by
LIKELY = 0.5  # one with a lower chance is hollow
HIDDEN = 0.35  # one with a lower score is not drawn
LEGS = KNEES + ANKLES
COUNTED = (2, 2, 1, 1)  # what each counts towards whether there are legs: ankles are cut off more often
RAISED = 0.3  # of the torso that a knee lies above its hip, towards the head: without an ankle it is an arm
FRACTION = 4  # bits of sub-pixel position that OpenCV draws with


def _limb_side(a: str, b: str) -> Side:
    sides = {side_of(a), side_of(b)} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"


LIMBS = tuple((i, j, COLOURS[_limb_side(*names)]) for (i, j), names in zip(MPII.limb_indices, MPII.limbs, strict=True))
JOINTS = tuple(COLOURS[side_of(name)] for name in MPII.joints)


def shown(xy: Array, score: NDArray[np.floating], bound: float = HIDDEN) -> NDArray[np.bool_]:
    """Which joints are drawn at all, (16,): those whose score (16,) reaches the bound; legs where there are any.

    Where a picture ends at the hips one knee may be found by mistake, but seldom both, and no ankle: the legs' mean has
    to reach the bound, too, and without an ankle no knee lies at the chest (benchmarks/half_figures.py). `xy` (16, 2).
    """
    drawn = np.asarray(score >= bound)
    up = xy[MPII.index("thorax")] - xy[MPII.index("pelvis")]
    with np.errstate(invalid="ignore"):  # a network may give a joint no finite place
        raised = drawn[KNEES] & ((xy[KNEES] - xy[HIPS]) @ up > RAISED * (up @ up))
    if np.average(score[LEGS], weights=COUNTED) < bound or (raised.any() and not drawn[ANKLES].any()):
        drawn[LEGS] = False
    return drawn


def sure(pose: Pose) -> NDArray[np.bool_]:
    """The joints that are drawn solid, (16,): likely right or, where that is not known, of a high score."""
    return np.asarray(pose.score >= SURE if pose.chance is None else pose.chance >= LIKELY)


def draw_pose(image: Image, pose: Pose) -> None:
    """Draw into a (H, W, 3) uint8 BGR image the joints that are `shown`, hollow those that are not `sure`."""
    draw_joints(image, pose.xy, shown(pose.xy, pose.score), sure(pose), pose.box.side)


def draw_joints(image: Image, xy: Array, drawn: NDArray[np.bool_], solid: NDArray[np.bool_], side: float) -> None:
    """The joints `drawn` (16,) at `xy` (16, 2), and the limbs between them; hollow those that are not `solid` (16,).

    Line widths follow the size of the person, whose box has that `side`, and of the picture. All in image pixels.
    """
    thick = int(np.clip(side / 120, 1, max(2, min(image.shape[:2]) // 150)))
    fixed = np.clip(np.round(xy * (1 << FRACTION)), -(1 << 24), 1 << 24).astype(int)
    points = [(int(x), int(y)) for x, y in fixed]
    for i, j, colour in LIMBS:
        if drawn[i] and drawn[j]:
            width = thick + 1 if solid[i] and solid[j] else 1
            cv2.line(image, points[i], points[j], colour, width, cv2.LINE_AA, FRACTION)
    radius = (thick + 2) << FRACTION
    for k, colour in enumerate(JOINTS):
        if drawn[k]:
            filled = cv2.FILLED if solid[k] else 1
            cv2.circle(image, points[k], radius, colour, filled, cv2.LINE_AA, FRACTION)


def draw_box(image: Image, box: Box) -> None:
    """A thin grey square: where the network looked."""
    half = box.side / 2
    low, high = (round(box.cx - half), round(box.cy - half)), (round(box.cx + half), round(box.cy + half))
    cv2.rectangle(image, low, high, (160, 160, 160), 1, cv2.LINE_AA)
