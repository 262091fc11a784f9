"""The skeleton is MPII's, and everything derived from the names agrees with the published tables."""

from __future__ import annotations

import pytest

from golden import PAIR
from hgrt.pose.skeleton import MPII, Skeleton, side_of


def test_mirror_pairs_are_the_published_ones() -> None:
    assert list(MPII.flip) == PAIR


def test_mirror_changes_sides_and_undoes_itself() -> None:
    other = {"left": "right", "right": "left", "middle": "middle"}
    for i, j in enumerate(MPII.flip):
        assert MPII.flip[j] == i
        assert side_of(MPII.joints[j]) == other[side_of(MPII.joints[i])]


def test_joint_order() -> None:
    assert len(MPII) == 16
    order = [MPII.index(name) for name in ("r_ankle", "l_ankle", "pelvis", "head_top", "r_wrist", "l_wrist")]
    assert order == [0, 5, 6, 9, 10, 15]
    assert MPII.indices(["l_wrist", "r_knee"]) == [15, 1]


def test_limbs_connect_all_joints_in_one_tree() -> None:
    assert len(MPII.limbs) == len(MPII) - 1
    reached = {0}
    for _ in MPII.limbs:
        reached |= {j for limb in MPII.limb_indices if reached & set(limb) for j in limb}
    assert reached == set(range(16))


def test_limbs_are_symmetric() -> None:
    limbs = {frozenset(limb) for limb in MPII.limb_indices}
    assert {frozenset(MPII.flip[j] for j in limb) for limb in limbs} == limbs


@pytest.mark.parametrize(
    ("joints", "limbs"),
    [(("a", "b"), (("a", "c"),)), (("a", "a"), ()), (("a",), (("b", "b"),))],
)
def test_a_broken_skeleton_is_refused(joints: tuple[str, ...], limbs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match="unknown joints"):
        Skeleton(joints, limbs)


def test_an_unknown_joint_is_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        MPII.index("tail")


def test_a_one_sided_skeleton_has_no_mirror() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        _ = Skeleton(("l_hand",), ()).flip
