"""The MPII skeleton: sixteen joints, how they connect, and which ones change places in a mirror.

Everything is derived from the joint names, so that left and right are written down once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["left", "right", "middle"]


def side_of(name: str) -> Side:
    """Which side of the person a joint lies on: 'l_...' is the person's own left, 'r_...' the right."""
    if name.startswith("l_"):
        return "left"
    return "right" if name.startswith("r_") else "middle"


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Joint names in order and the limbs between them, as pairs of names."""

    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        unknown = {name for limb in self.limbs for name in limb} - set(self.joints)
        if unknown or len(set(self.joints)) != len(self.joints):
            raise ValueError(f"limbs name unknown joints {sorted(unknown)} or a joint is listed twice")

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, name: str) -> int:
        """Position of the joint `name`; ValueError if there is none."""
        return self.joints.index(name)

    def indices(self, names: Sequence[str]) -> list[int]:
        """Positions of several joints."""
        return [self.index(name) for name in names]

    @property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of joint positions."""
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)

    @property
    def flip(self) -> tuple[int, ...]:
        """`flip[i]` is the joint that joint i becomes in a mirrored picture; its own inverse."""
        swap = {"l_": "r_", "r_": "l_"}
        return tuple(self.index(swap.get(name[:2], name[:2]) + name[2:]) for name in self.joints)


MPII = Skeleton(
    joints=(
        "r_ankle",
        "r_knee",
        "r_hip",
        "l_hip",
        "l_knee",
        "l_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "r_wrist",
        "r_elbow",
        "r_shoulder",
        "l_shoulder",
        "l_elbow",
        "l_wrist",
    ),
    limbs=(
        ("r_ankle", "r_knee"),
        ("r_knee", "r_hip"),
        ("r_hip", "pelvis"),
        ("l_hip", "pelvis"),
        ("l_knee", "l_hip"),
        ("l_ankle", "l_knee"),
        ("pelvis", "thorax"),
        ("thorax", "upper_neck"),
        ("upper_neck", "head_top"),
        ("r_wrist", "r_elbow"),
        ("r_elbow", "r_shoulder"),
        ("r_shoulder", "thorax"),
        ("l_shoulder", "thorax"),
        ("l_elbow", "l_shoulder"),
        ("l_wrist", "l_elbow"),
    ),
)
"""The 16 joints of MPII Human Pose in the order of its annotation files."""

SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES = (
    MPII.indices([f"r_{joint}", f"l_{joint}"]) for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
"""Positions of MPII's paired joints, the right one first."""

FLIP = list(MPII.flip)
"""MPII's `flip` as an index into arrays and tensors, which take a tuple for one index an axis."""
