"""Another picture stands behind a person, whose body stays whole and whose labels stay where they are."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import Box, apply, similarity
from hgrt.pose.skeleton import MPII
from hgrt.train.augment import STILL, make_example
from hgrt.train.backdrop import transplant
from upright import GREY, somebody

BLACK = np.zeros((200, 260, 3), np.uint8)
TORSO = 60  # pixels of `somebody`


def kept(person: Sample, seed: int, other: NDArray[np.uint8] = BLACK) -> NDArray[np.float64]:
    """How much (0..1) of each pixel (H, W) of a grey picture is left before a black one."""
    moved = transplant(person, other, np.random.default_rng(seed))
    assert moved is not None
    return moved.image[..., 0] / GREY


def along(person: Sample, reach: float) -> NDArray[np.int64]:
    """Points (K, 2) on all limbs, and beside them by `reach` pixels in eight directions."""
    lines = [np.linspace(person.joints[a], person.joints[b], 9) for a, b in MPII.limb_indices]
    turns = np.linspace(0, 2 * np.pi, 9)[:-1]
    around = reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return np.rint((np.concatenate(lines)[:, None] + around).reshape(-1, 2)).astype(int)


def test_the_whole_body_stays_and_the_rest_goes() -> None:
    person, shares = somebody(), []
    columns, rows = along(person, 0.12 * TORSO).T
    for seed in range(40):
        left = kept(person, seed)
        assert left[rows, columns].min() > 0.85
        assert left[60:75, 150].min() > 0.9  # hair
        for wrist in ("r_wrist", "l_wrist"):  # a hand goes on from the forearm
            x, y = person.joints[MPII.index(wrist)] + 0.3 * TORSO * np.array([-0.8 if wrist[0] == "r" else 0.8, 0.6])
            assert left[round(y), round(x)] > 0.9
        for corner in (left[:40, :60], left[:40, -60:], left[-40:, :60], left[-40:, -60:]):
            assert corner.max() < 0.05
        shares.append(left.mean())
    assert 0.15 < min(shares) < 0.25 and 0.3 < max(shares) < 0.42  # sometimes close to the body, sometimes not


def test_nothing_but_the_picture_changes() -> None:
    person, other = somebody(), BLACK.copy()
    before = person.image.copy()
    moved = transplant(person, other, np.random.default_rng(0))
    assert moved is not None
    np.testing.assert_array_equal(person.image, before)
    np.testing.assert_array_equal(other, BLACK)
    for field in fields(Sample):
        if field.name != "image":
            assert getattr(moved, field.name) is getattr(person, field.name)


def test_what_is_behind_is_a_part_of_the_other_picture_in_its_proportions() -> None:
    """Its colours say which pixels of the other picture, 200 x 260, are seen in the corners of this one, 300 x 300."""
    rows, columns = np.mgrid[:200, :260]
    other = np.stack([rows, columns * 255 // 260, np.full_like(rows, 77)], axis=2).astype(np.uint8)
    sides, tops = [], []
    for seed in range(60):
        moved = transplant(somebody(), other, np.random.default_rng(seed))
        assert moved is not None
        top, bottom = moved.image[2, 2].astype(float), moved.image[-3, -3].astype(float)
        assert top[2] == bottom[2] == 77
        down, across = bottom[0] - top[0], (bottom[1] - top[1]) * 260 / 255
        assert abs(down - across) < 4
        sides.append(down)
        tops.append(top[0])
    assert 75 < min(sides) < 95 and 180 < max(sides) < 200
    assert min(tops) < 10 and max(tops) > 60


def test_a_body_that_is_foreshortened_is_as_wide() -> None:
    """Whoever bends towards the camera has hardly a trunk in the picture, and thighs as thick as ever."""
    flat = somebody(r_shoulder=(130.0, 160.0), l_shoulder=(170.0, 160.0))
    row = round(float(flat.joints[MPII.index("l_knee")][1]))
    for seed in range(20):
        upright, bent = kept(somebody(), seed)[row] > 0.5, kept(flat, seed)[row] > 0.5
        assert bent.sum() > 0.7 * upright.sum() > 20


def test_what_is_not_labelled_is_kept_nowhere_but_a_head() -> None:
    """Joints that nobody labelled hold anything; where shoulders are there is a head all the same."""
    far = somebody(r_wrist=(30.0, 30.0), head_top=(270.0, 30.0), upper_neck=(270.0, 60.0))
    missing = ~np.isin(np.arange(16), MPII.indices(["r_wrist", "head_top", "upper_neck"]))
    for seed in range(20):
        assert kept(far, seed)[30, 30] > 0.9 and kept(far, seed)[45, 270] > 0.9
        left = kept(replace(far, labelled=missing), seed)
        assert left[:25].max() < 0.05 and left[:100, :60].max() < 0.05 and left[:100, 240:].max() < 0.05
        assert left[72:100, 150].min() > 0.85


@pytest.mark.parametrize(
    "change",
    [{"labelled": np.arange(16) != MPII.index("l_hip")}, {"joints": somebody().joints / 5}],
    ids=["a hip is not labelled", "too small"],
)
def test_who_cannot_be_cut_out_is_not(change: dict[str, NDArray[np.float64]]) -> None:
    assert transplant(replace(somebody(), **change), BLACK, np.random.default_rng(0)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("degrees", [40, 90, 180, 250])
def test_it_turns_with_the_person(degrees: float) -> None:
    person = somebody()
    turned = replace(person, joints=apply(similarity(Box(150, 150, 300), 300, degrees, False), person.joints))
    columns, rows = along(turned, 0.12 * TORSO).T
    inside = (columns >= 0) & (columns < 300) & (rows >= 0) & (rows < 300)
    for seed in range(8):
        left = kept(turned, seed)
        assert left[rows[inside], columns[inside]].min() > 0.85
        assert left.mean() < 0.45


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (300, 2), (1000, 1000)])
def test_any_picture_will_do(shape: tuple[int, int]) -> None:
    other = np.full((*shape, 3), 33, np.uint8)
    for offset in (-140, 0, 500):  # wholly or partly beyond the picture, too
        person = somebody()
        moved = transplant(replace(person, joints=person.joints + offset), other, np.random.default_rng(0))
        assert moved is not None and moved.image.shape == person.image.shape
        assert (moved.image == 33).any()


def test_an_example_has_its_backdrop_and_a_picture_of_nobody_has_none() -> None:
    def view(person: Sample, backdrop: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        example = make_example(person, 64, 2.0, STILL, [], np.random.default_rng(0), backdrop=backdrop)
        return np.asarray(example.image)

    assert (view(somebody(), None) == GREY).all()
    before = view(somebody(), BLACK)
    assert before[32, 32, 0] == GREY and before[2, 2, 0] == 0
    assert (view(replace(somebody(), empty=True), BLACK) == GREY).all()
