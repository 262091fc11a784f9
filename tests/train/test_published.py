"""The published examples: crop, turn, mirror and colours as published, but for the one label that is put right."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import golden
from hgrt.data.sample import Sample
from hgrt.pose import reference
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII
from hgrt.train.published import PublishedAugmentation, published_example, published_view

SIZE = 256
STILL = PublishedAugmentation(rotation=0.0, scale=(1.0, 1.0), flip_p=0.0)
SAME_COLOURS: dict[str, Any] = {"hue": 0.0, "saturation": (1.0, 1.0), "brightness": 0.0, "contrast": (1.0, 1.0)}
LEFT, RIGHT = MPII.index("l_ankle"), MPII.index("r_ankle")
PICTURE = golden.crop_image()


class AtShare(np.random.Generator):
    """A generator whose uniform numbers all lie at one share of their range."""

    def __init__(self, share: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.share = share

    def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
        return low + self.share * (high - low)


def sample(image: NDArray[np.uint8], joints: NDArray[Any], box: Box, missing: tuple[int, ...] = ()) -> Sample:
    """A person whose missing joints hold nonsense."""
    known = np.ones(16, bool)
    known[list(missing)] = False
    return Sample("x", image, np.where(known[:, None], joints, np.nan), known, known, known, box, 20.0)


def spread_out(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform([130, 70], [350, 290], (16, 2))


PERSON = sample(PICTURE, spread_out(), Box(240.3, 180.7, 260.0))


def peaks_xy(targets: NDArray[np.float32]) -> NDArray[np.int64]:
    cells = targets.shape[-1]
    where = targets.reshape(len(targets), -1).argmax(axis=1)
    return np.stack([where % cells, where // cells], axis=1)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("size", [64, 192, 256])
def test_with_nothing_random_it_is_the_published_crop_and_targets(size: int, legacy: bool) -> None:
    person = sample(PICTURE, spread_out(), Box(240.3, 180.7, 260.0), missing=(3, 9))
    example = published_example(person, size, replace(STILL, legacy=legacy), np.random.default_rng(0))
    crop = reference.crop(PICTURE, person.box, size, legacy).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(example.image, crop)
    assert np.ptp(crop) > 0.6
    joints = np.where(person.labelled[:, None], person.joints, 0)
    xy_crop = np.trunc(reference.move(reference.transform(person.box, size), joints))
    expected = reference.encode(xy_crop / 4, size // 4)
    expected[[3, 9]] = 0
    np.testing.assert_array_equal(example.targets, expected)
    assert (example.targets.max(axis=(1, 2)) == 1).sum() == 14
    assert example.known.tolist() == [1.0] * 16
    assert example.image.dtype == example.targets.dtype == example.known.dtype == np.float32
    assert example.image.shape == (size, size, 3) and example.targets.shape == (16, size // 4, size // 4)


def test_targets_are_those_of_the_published_code(fixtures: Path) -> None:
    with np.load(fixtures / "targets.npz") as file:
        keypoints, heatmaps = file["keypoints"], file["heatmaps"]
    picture, whole = np.zeros((SIZE, SIZE, 3), np.uint8), Box(128, 128, 256)  # crop pixels are image pixels
    compared = 0
    for xy_hm, expected in zip(keypoints, heatmaps, strict=True):
        absent = (xy_hm == 0).all(axis=1)
        person = sample(picture, 4 * xy_hm, whole, missing=tuple(np.flatnonzero(absent)))
        targets = published_example(person, SIZE, STILL, np.random.default_rng(0)).targets
        # Between 0 and a quarter of a cell the truncation in the crop, which comes first, makes x 0: not drawn.
        same = (xy_hm[:, 0] <= 0) | (xy_hm[:, 0] >= 0.25)
        np.testing.assert_array_equal(targets[same], expected[same])
        compared += int(expected[same].any(axis=(1, 2)).sum())
    assert compared > 60


def test_rotations_turn_picture_and_joints_as_the_published_ones(fixtures: Path) -> None:
    """A turn inside the crop is the published transform with that turn, for crops and for heatmaps alike."""
    with np.load(fixtures / "transforms.npz") as file:
        cases = list(zip(file["center_scale_res_rot"], file["matrix"], strict=True))
    turned = [(row, matrix) for row, matrix in cases if row[4] != 0]
    for (cx, cy, scale, resolution, degrees), matrix in turned:
        box = Box.from_mpii([cx, cy], scale)
        cells = np.random.default_rng(0).integers(20, 44, (16, 2))
        joints = reference.move(np.linalg.inv(matrix), (cells + 0.5) * resolution / 64)
        picture = np.zeros((900, 900, 3), np.uint8)
        cv2.circle(picture, (round(joints[0, 0]), round(joints[0, 1])), round(box.side / 50), (255, 255, 255), -1)
        how = replace(STILL, rotation=float(degrees))
        example = published_example(sample(picture, joints, box), SIZE, how, AtShare(1.0))
        np.testing.assert_array_equal(peaks_xy(example.targets), cells)
        rows, columns = np.indices((SIZE, SIZE))
        light = example.image[..., 0]
        middle = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        np.testing.assert_allclose(middle / 4, cells[0] + 0.5, atol=0.4)
    assert len(turned) == 8


@given(
    box=st.builds(Box, st.floats(100, 380), st.floats(80, 280), st.floats(60, 900)),
    joints=st.integers(0, 1000),
    seed=st.integers(0, 1000),
    mirror=st.booleans(),
)
def test_the_peak_lies_within_a_cell_of_the_joint(box: Box, joints: int, seed: int, mirror: bool) -> None:
    person = sample(PICTURE, np.random.default_rng(joints).uniform(0, [480, 360], (16, 2)), box)
    how = replace(PublishedAugmentation(), flip_p=float(mirror))
    example = published_example(person, SIZE, how, np.random.default_rng(seed))
    view, degrees = published_view(SIZE, how, np.random.default_rng(seed))
    in_crop = reference.move(reference.transform(box, SIZE), person.joints)
    to_cells = reference.transform(view, 64, degrees)
    moved, stored = reference.move(to_cells, in_crop), reference.move(to_cells, np.trunc(in_crop))
    if mirror:
        moved, stored = ((xy * [-1, 1] + [64, 0])[golden.PAIR] for xy in (moved, stored))
    np.testing.assert_array_equal(example.targets, reference.encode(stored))  # positions were truncated in the crop
    well_inside = ((moved > 1) & (moved < 63)).all(axis=1)
    assert (example.targets[well_inside].max(axis=(1, 2)) == 1).all()
    far_outside = ((moved < -2) | (moved > 66)).any(axis=1)
    assert not example.targets[far_outside].any()
    apart = np.abs(peaks_xy(example.targets) + 0.5 - moved)[well_inside]
    assert (apart < 1).all()


@pytest.mark.parametrize(("there", "absent"), [(RIGHT, LEFT), (LEFT, RIGHT)])
def test_a_missing_joint_changes_sides_in_the_mirror(there: int, absent: int) -> None:
    """The published code forgets to: it erases the joint that is there and draws one that is not."""
    whole = published_example(PERSON, SIZE, replace(STILL, flip_p=1.0), np.random.default_rng(0))
    person = replace(PERSON, labelled=np.arange(16) != absent)
    example = published_example(person, SIZE, replace(STILL, flip_p=1.0), np.random.default_rng(0))
    assert whole.targets.any(axis=(1, 2)).all()
    assert example.targets[absent].max() == 1  # the ankle that is there has become the one of the other side
    np.testing.assert_array_equal(example.targets[absent], whole.targets[absent])
    assert not example.targets[there].any()
    others = [i for i in range(16) if i not in (LEFT, RIGHT)]
    np.testing.assert_array_equal(example.targets[others], whole.targets[others])
    plain = published_example(person, SIZE, STILL, np.random.default_rng(0))
    assert plain.targets[there].max() == 1 and not plain.targets[absent].any()


def test_unlabelled_joints_have_empty_maps_whatever_they_hold() -> None:
    everywhere = [(np.nan, np.nan), (0.0, 0.0), (50.0, 50.0), (1e300, -1e300)] * 4
    person = sample(PICTURE, np.array(everywhere), Box(50, 50, 200), missing=tuple(range(16)))
    for seed in range(8):
        nobody = replace(person, joints=np.array(everywhere), empty=seed % 2 == 0)
        example = published_example(nobody, SIZE, PublishedAugmentation(), np.random.default_rng(seed))
        assert not example.targets.any() and (example.known == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_mirrored_example_is_the_mirror_image(seed: int) -> None:
    how = replace(PublishedAugmentation(), **SAME_COLOURS)
    plain = published_example(PERSON, SIZE, replace(how, flip_p=0.0), np.random.default_rng(seed))
    mirrored = published_example(PERSON, SIZE, replace(how, flip_p=1.0), np.random.default_rng(seed))
    np.testing.assert_allclose(mirrored.image, plain.image[:, ::-1], atol=2e-6)
    np.testing.assert_array_equal(mirrored.targets, plain.targets[golden.PAIR][:, :, ::-1])
    assert plain.targets.any(axis=(1, 2)).sum() > 10
    torch.from_numpy(mirrored.image)  # refuses a view that runs backwards


def test_the_published_mirror_moves_a_joint_on_a_cell_edge_by_one_cell() -> None:
    """x becomes 64 - x, and cells are numbered by truncation: only between two edges is that the mirrored cell."""
    joints = np.full((16, 2), 42.0)
    joints[0], joints[1] = (40.0, 80.0), (42.0, 80.0)
    person = sample(np.zeros((SIZE, SIZE, 3), np.uint8), joints, Box(128, 128, 256))
    targets = published_example(person, SIZE, replace(STILL, flip_p=1.0), np.random.default_rng(0)).targets
    assert peaks_xy(targets)[golden.PAIR[0]].tolist() == [64 - 10, 20]
    assert peaks_xy(targets)[golden.PAIR[1]].tolist() == [63 - 10, 20]


def jittered(colours: NDArray[np.uint8], how: PublishedAugmentation, rng: np.random.Generator) -> NDArray[Any]:
    """What becomes of (N, 3) BGR colours, in 0..1."""
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[0, : len(colours)] = colours
    person = sample(picture, spread_out(), Box(128, 128, 256))
    example = published_example(person, SIZE, replace(how, rotation=0, scale=(1, 1), flip_p=1.0), rng)
    return np.asarray(example.image[0, ::-1][: len(colours)], dtype=np.float64)


COLOURS = np.random.default_rng(5).integers(0, 256, (200, 3), dtype=np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_colours_change_as_described(share: float) -> None:
    """Every step of the jitter, one pixel after the other."""
    how = PublishedAugmentation()
    expected = []
    for b, g, r in COLOURS / 255:
        hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
        hue = (hue + how.hue / 360 * (2 * share - 1)) % 1
        rgb = np.array(colorsys.hsv_to_rgb(hue, min(1, saturation * (0.5 + share)), value))
        rgb += how.brightness * (2 * share - 1)
        expected.append(np.clip(rgb.mean() + (0.5 + share) * (rgb - rgb.mean()), 0, 1)[::-1])
    np.testing.assert_allclose(jittered(COLOURS, how, AtShare(share)), expected, atol=1e-5)


def test_the_hue_goes_both_ways_and_nothing_else_with_it() -> None:
    how = PublishedAugmentation(**{**SAME_COLOURS, "hue": 72.0})
    before = np.array([colorsys.rgb_to_hsv(*bgr[::-1] / 255) for bgr in COLOURS])
    firm = before[:, 1] > 0.2  # nearly grey pixels have no hue to speak of
    turns = []
    for seed in range(300):
        colours = jittered(COLOURS[:20] if seed else COLOURS, how, np.random.default_rng(seed))
        after = np.array([colorsys.rgb_to_hsv(*bgr[::-1]) for bgr in colours])
        was, clear = before[: len(after)], firm[: len(after)]
        np.testing.assert_allclose(after[:, 1:], was[:, 1:], atol=1e-5)
        turned = (360 * (after[clear, 0] - was[clear, 0]) + 180) % 360 - 180
        assert np.ptp(turned) < 0.01
        turns.append(turned[0])
    assert -72 <= min(turns) < -68 and 68 < max(turns) <= 72
    assert abs(np.mean(turns)) < 6 and abs(np.std(turns) - 72 / np.sqrt(3)) < 4


@pytest.mark.parametrize("share", [0.0, 1.0, None])
def test_colours_stay_between_black_and_white(share: float | None) -> None:
    noise = np.random.default_rng(1).choice(np.array([0, 1, 128, 254, 255], np.uint8), (200, 200, 3))
    person = sample(noise, spread_out(), Box(100, 100, 160))
    for seed in range(8):
        rng = np.random.default_rng(seed) if share is None else AtShare(share)
        image = published_example(person, 128, PublishedAugmentation(flip_p=1.0), rng).image
        assert image.min() >= 0 and image.max() <= 1 and np.ptp(image) > 0.5


def test_only_mirrored_pictures_are_recoloured_and_half_are() -> None:
    how = replace(STILL, flip_p=0.5)
    plain = published_example(PERSON, 64, STILL, np.random.default_rng(0)).image
    kept = 0
    for seed in range(400):
        image = published_example(PERSON, 64, how, np.random.default_rng(seed)).image
        kept += np.array_equal(image, plain)
        if not np.array_equal(image, plain):
            assert np.abs(image.mean(axis=2) - plain[:, ::-1].mean(axis=2)).mean() > 0.002
    assert 160 < kept < 240


def test_the_seed_decides_everything() -> None:
    looks = set()
    before = PERSON.image.copy()
    for seed in range(12):
        generators = (np.random.default_rng(seed) for _ in range(2))
        one, again = (published_example(PERSON, 128, PublishedAugmentation(), rng) for rng in generators)
        assert np.array_equal(one.image, again.image) and np.array_equal(one.targets, again.targets)
        looks.add(one.image.tobytes())
    assert len(looks) == 12
    np.testing.assert_array_equal(PERSON.image, before)


def test_rotation_and_size_are_uniform() -> None:
    rng = np.random.default_rng(0)
    views = [published_view(SIZE, PublishedAugmentation(), rng) for _ in range(4000)]
    assert {(view.cx, view.cy) for view, _ in views} == {(128.0, 128.0)}
    shares = {
        "rotation": (np.array([degrees for _, degrees in views]) + 30) / 60,
        "scale": (np.array([view.side for view, _ in views]) / SIZE - 0.75) / 0.5,
    }
    for name, share in shares.items():
        assert 0 <= share.min() < 0.005 and 0.995 < share.max() <= 1, name
        counts = np.histogram(share, bins=10, range=(0, 1))[0]
        assert abs(share.mean() - 0.5) < 0.02 and counts.min() > 330 and counts.max() < 470, name
    assert abs(np.corrcoef(shares["rotation"], shares["scale"])[0, 1]) < 0.05


def test_a_factor_above_one_shows_the_person_smaller_on_black() -> None:
    picture = np.full((300, 300, 3), 200, np.uint8)
    person = sample(picture, np.full((16, 2), 150.0), Box(150, 150, 200))
    small = published_example(person, SIZE, replace(STILL, scale=(1.25, 1.25)), np.random.default_rng(0)).image
    border = round((SIZE - SIZE / 1.25) / 2)
    assert not small[: border - 1].any() and not small[:, : border - 1].any()
    np.testing.assert_allclose(small[border + 1 : -border - 1, border + 1 : -border - 1], 200 / 255, atol=1e-6)
    near = published_example(person, SIZE, replace(STILL, scale=(0.75, 0.75)), np.random.default_rng(0)).image
    np.testing.assert_allclose(near, 200 / 255, atol=1e-6)
