"""A garment covers what clothes cover, keeps its folds, and moves no label."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import Box, apply, similarity
from hgrt.pose.skeleton import MPII
from hgrt.train import clothes
from hgrt.train.augment import STILL, make_example
from hgrt.train.clothes import clothe
from upright import GREY, somebody


def painted(person: Sample, seed: int) -> NDArray[np.bool_]:
    """Pixels (H, W) that the garment changed by more than its soft edge does."""
    dressed = clothe(person, np.random.default_rng(seed))
    assert dressed is not None
    return np.asarray(np.abs(dressed.image.astype(int) - person.image).max(axis=2) > 6)


def at(mask: NDArray[np.bool_], x: float, y: float) -> bool:
    return bool(mask[round(y), round(x)])


def test_it_covers_the_chest_and_neither_head_hands_nor_feet() -> None:
    hems, sleeves = set(), set()
    for seed in range(60):
        mask = painted(somebody(), seed)
        assert mask[115:138, 135:165].mean() > 0.95
        assert not mask[:95].any() and not mask[215:].any()  # head; from half of the shins on
        assert not mask[:, :60].any() and not mask[:, 240:].any()
        hems.add(int(np.flatnonzero(mask[:, 145:155].any(axis=1)).max()))
        sleeves.add((at(mask, 190, 122), at(mask, 207, 138), at(mask, 220, 146)))  # upper arm, forearm, wrist
    assert min(hems) < 155 and max(hems) > 195  # above the hips, at 165, and half way to the knees
    bare, short, half, long = (False, False, False), (True, False, False), (True, True, False), (True, True, True)
    assert sleeves == {bare, short, half, long}


def test_nothing_but_the_picture_changes() -> None:
    person = somebody()
    before = person.image.copy()
    dressed = clothe(person, np.random.default_rng(0))
    assert dressed is not None
    np.testing.assert_array_equal(person.image, before)
    for field in fields(Sample):
        if field.name != "image":
            assert getattr(dressed, field.name) is getattr(person, field.name)


def test_an_arm_before_the_trunk_stays_there_and_a_hidden_one_does_not() -> None:
    before = somebody(r_elbow=(118, 135), r_wrist=(150, 140))
    hidden = before.visible.copy()
    hidden[MPII.index("r_wrist")] = False
    crossed = covered = 0
    for seed in range(40):
        mask = painted(before, seed)
        crossed += not at(mask, 140, 138) and at(mask, 140, 125) and at(mask, 150, 152)
        covered += at(painted(replace(before, visible=hidden), seed), 140, 138)
    assert 8 < crossed < 32  # without a long sleeve
    assert covered == 40


def test_folds_stay() -> None:
    """A bright stripe in the clothes below is a bright stripe in those above."""
    image = np.full((300, 300, 3), 90, np.uint8)
    image[:, 147:154] = 180
    for seed in range(10):
        dressed = clothe(somebody(image), np.random.default_rng(seed))
        assert dressed is not None
        rows = dressed.image[118:132].astype(float).mean(axis=(0, 2))
        assert rows[150] > 1.1 * rows[138]


@pytest.mark.parametrize(
    "change",
    [
        {"labelled": np.arange(16) != MPII.index("l_hip")},
        {"suspect": np.arange(16) == MPII.index("r_shoulder")},
        {"joints": somebody().joints / 3},
    ],
    ids=["a hip is not labelled", "a shoulder is doubtful", "too small"],
)
def test_who_cannot_be_dressed_is_not(change: dict[str, NDArray[np.float64]]) -> None:
    assert clothe(replace(somebody(), **change), np.random.default_rng(0)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("degrees", [40, 90, 180, 250])
def test_it_turns_with_the_person(degrees: float) -> None:
    """Whoever lies or stands on their head wears the same garment, turned."""
    person = somebody()
    turn = similarity(Box(150, 150, 300), 300, degrees, False)
    turned = replace(person, joints=apply(turn, person.joints))
    for seed in range(8):
        upright, other = painted(person, seed), painted(turned, seed)
        ys, xs = np.nonzero(upright)
        there = np.rint(apply(turn, np.column_stack([xs, ys]).astype(float))).astype(int).clip(0, 299)
        assert other[there[:, 1], there[:, 0]].mean() > 0.93
        assert abs(int(other.sum()) - int(upright.sum())) < 0.06 * upright.sum()


def test_shoulders_behind_each_other_still_make_a_body() -> None:
    """From the side both shoulders, and both hips, lie at one place."""
    side = somebody(r_shoulder=(150, 105), l_shoulder=(150, 105), r_hip=(150, 165), l_hip=(150, 165))
    bare = replace(side, labelled=~np.isin(np.arange(16), clothes.WRISTS))  # no arm, no sleeve
    for seed in range(10):
        row = painted(bare, seed)[125]
        assert row[140:161].all() and row.sum() < 45


def test_a_person_partly_or_wholly_beyond_the_picture_is_no_error() -> None:
    for offset in (-140, 120, 500):
        person = somebody()
        moved = replace(person, joints=person.joints + offset)
        for seed in range(5):
            dressed = clothe(moved, np.random.default_rng(seed))
            assert dressed is not None and dressed.image.shape == person.image.shape


def test_views_are_clothed_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def views(share: float) -> int:
        how = replace(STILL, clothe_p=share)
        made = [make_example(somebody(), 64, 2.0, how, [], np.random.default_rng(seed)) for seed in range(200)]
        assert all((one.targets.max(axis=(1, 2)) > 0.5).all() for one in made)
        return sum(bool((np.abs(one.image.astype(int) - GREY)[16:32, 28:36] > 6).any()) for one in made)

    assert views(0.0) == 0 and 30 < views(0.25) < 70 and views(1.0) > 190
    monkeypatch.setattr(clothes, "SMALLEST", 1000.0)
    assert views(1.0) == 0
