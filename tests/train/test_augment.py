"""Whatever a view does to the picture, the targets do too."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import Box, apply, heatmap_to_crop, invert, warp
from hgrt.pose.heatmaps import decode, encode
from hgrt.pose.skeleton import MPII
from hgrt.train import camera
from hgrt.train.augment import LOWER, STILL, UPPER, Augmentation, beside, calmer, choose_view, cut, make_example, wider
from upright import upright

CAMERA = {"dark_p": 0, "motion_p": 0, "soft_p": 0, "noise_p": 0, "jpeg_p": 0}
PURE = replace(Augmentation(), nobody_p=0, colour=0, grey_p=0, occlude_p=0, scenery_p=0, **CAMERA)
SIZE, SIGMA = 128, 1.5
FLIP = np.array(MPII.flip)
SCENERY = [np.full((90, 120, 3), (0, 255, 0), np.uint8)]


def sample(image: NDArray[np.uint8], joints: dict[int, tuple[float, float]], **changes: object) -> Sample:
    """A person of whom only the given joints are labelled; the others hold nonsense."""
    xy, known = np.full((16, 2), -1234.5), np.zeros(16, bool)
    for joint, place in joints.items():
        xy[joint], known[joint] = place, True
    height, width = image.shape[:2]
    whole = Sample("somebody", image, xy, known, known, known, Box.whole(width, height), 20.0)
    return replace(whole, **changes)  # type: ignore[arg-type]


def standing() -> dict[int, tuple[float, float]]:
    """All sixteen joints of an upright person about (150, 150); their right is on the picture's left."""
    return upright(
        {
            "head_top": (0, -70), "upper_neck": (0, -50), "thorax": (0, -42), "pelvis": (0, 0),
            "shoulder": (18, -42), "elbow": (26, -20), "wrist": (28, 0),
            "hip": (10, 0), "knee": (12, 35), "ankle": (14, 70),
        }
    )  # fmt: skip


def blob_picture(x: float, y: float, extent: int = 300, sigma: float = 5.0) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:extent, :extent]
    blob = np.rint(250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)))
    return np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)


def centroid_hm(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    weight = image[..., 0].astype(np.float64)
    rows, columns = np.indices(weight.shape)
    xy = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    return apply(invert(heatmap_to_crop(len(weight) // 4, len(weight))), xy)


def test_targets_lie_on_the_joint_in_every_view() -> None:
    rng = np.random.default_rng(0)
    compared = mirrored = 0
    for _ in range(150):
        x, y = rng.uniform(60, 240, 2)
        joint = int(rng.choice([0, 4, 10, 13]))
        person = sample(blob_picture(x, y), {joint: (x, y)}, box=Box(x + rng.uniform(-40, 40), y, rng.uniform(80, 260)))
        example = make_example(person, SIZE, SIGMA, PURE, [], rng)
        (channel,) = np.flatnonzero(example.known)
        assert channel in (joint, FLIP[joint])
        others = np.delete(example.targets, channel, axis=0)
        assert not others.any()
        peak = np.array(np.unravel_index(example.targets[channel].argmax(), (SIZE // 4, SIZE // 4)))
        if example.targets[channel].max() < 0.5 or peak.min() < 8 or peak.max() > SIZE // 4 - 9:
            continue  # out of the view, or too near its edge for the whole blob to be seen
        found = decode(example.targets[None]).xy_hm[0, channel]
        np.testing.assert_allclose(found, centroid_hm(example.image), atol=0.15)
        compared += 1
        mirrored += channel != joint
    assert compared > 60 and 15 < mirrored < compared - 15


def test_a_mirrored_picture_swaps_sides_with_their_masks() -> None:
    """Left ankle labelled, right one not: mirrored, the picture has a right ankle and no left one."""
    left, right = MPII.index("l_ankle"), MPII.index("r_ankle")
    picture = blob_picture(200, 150)
    picture[:, :150, 2] = 200  # what tells a mirrored picture from a plain one
    seen = set()
    for seed in range(30):
        how = replace(STILL, flip_p=0.5)
        example = make_example(sample(picture, {left: (200, 150)}), SIZE, SIGMA, how, [], np.random.default_rng(seed))
        mirrored = example.image[:, : SIZE // 4, 2].mean() < 100
        seen.add(mirrored)
        channel, other = (right, left) if mirrored else (left, right)
        assert example.known[channel] == 1 and example.targets[channel].max() > 0.7
        assert example.known[other] == 0 and not example.targets[other].any()
        assert example.known.sum() == 1
        found = decode(example.targets[None]).xy_hm[0, channel]
        np.testing.assert_allclose(found, centroid_hm(example.image), atol=0.1)
    assert seen == {True, False}


def test_middle_joints_stay_in_their_channel() -> None:
    pelvis = MPII.index("pelvis")
    for seed in range(6):
        how, rng = replace(STILL, flip_p=1.0), np.random.default_rng(seed)
        example = make_example(sample(blob_picture(100, 150), {pelvis: (100, 150)}), SIZE, SIGMA, how, [], rng)
        assert np.flatnonzero(example.known).tolist() == [pelvis]
        assert decode(example.targets[None]).xy_hm[0, pelvis, 0] > SIZE / 8  # left of the middle, mirrored to its right


def test_calmer_views_stray_less_from_the_person() -> None:
    person = sample(blob_picture(150, 150), standing(), box=Box(150, 150, 220))

    def strays(how: Augmentation) -> NDArray[np.float64]:
        views = [choose_view(person, how, np.random.default_rng(seed)) for seed in range(600)]
        places = [(box.cx - 150, box.cy - 150, 100 * np.log(box.side / 220), turn) for box, turn in views]
        return np.abs(places).mean(axis=0)

    whole = replace(Augmentation(), half_body_p=0)
    assert (strays(calmer(whole)) < 0.8 * strays(whole)).all()
    assert (strays(calmer(STILL)) == 0).all()


def test_a_cut_picture_ends_across_the_person() -> None:
    person = sample(np.zeros((300, 300, 3), np.uint8), standing())
    ends = set()
    for seed in range(40):
        shorter = cut(person, np.random.default_rng(seed))
        assert shorter is not None
        end = len(shorter.image)
        ends.add(end)
        assert 108 + 0.3 * 42 < end < 108 + 2.1 * 42  # chest to knees
        inside = person.joints[:, 1] < end - 0.5
        assert inside[MPII.index("head_top")] and not inside[MPII.index("r_ankle")]
        low, high = person.joints[inside].min(axis=0), person.joints[inside].max(axis=0)
        assert shorter.box == Box(*(low + high) / 2, 1.4 * (high - low).max())
        example = make_example(shorter, SIZE, SIGMA, STILL, [], np.random.default_rng(0))
        assert (example.known == 1).all()  # where the feet are is known: beyond the edge
        for where in (shorter.box, person.box):
            seen = make_example(replace(shorter, box=where), SIZE, SIGMA, STILL, [], np.random.default_rng(0))
            uncut = make_example(replace(person, box=where), SIZE, SIGMA, STILL, [], np.random.default_rng(0))
            np.testing.assert_array_equal(seen.targets, uncut.targets)
    assert len(ends) > 20


def test_only_a_picture_of_somebody_upright_is_cut() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    lying = {i: (y, x) for i, (x, y) in standing().items()}
    few = {i: xy for i, xy in standing().items() if MPII.joints[i] in ("r_ankle", "l_ankle", "head_top", "r_wrist")}
    for person in (sample(picture, lying), sample(picture, few), sample(picture[:108], standing())):
        assert cut(person, np.random.default_rng(0)) is None


@pytest.mark.parametrize("lean", [150.0, -150.0, 180.0])
def test_people_upside_down_are_turned_upright(lean: float) -> None:
    turn = np.deg2rad(lean)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # clockwise, as y points down
    joints = {i: tuple(rotation @ (np.array(xy) - 150) + 150) for i, xy in standing().items()}
    person = sample(np.zeros((300, 300, 3), np.uint8), joints)  # type: ignore[arg-type]
    for how, turned in ((replace(STILL, upright_p=1.0), True), (STILL, False)):
        xy = decode(make_example(person, SIZE, SIGMA, how, [], np.random.default_rng(0)).targets[None]).xy_hm[0]
        up = xy[MPII.index("head_top")] - xy[MPII.index("pelvis")]
        angle = float(np.degrees(np.arctan2(up[0], -up[1])))
        assert abs(angle) < 3 if turned else abs(abs(angle) - abs(lean)) < 3


def test_leaning_people_are_left_alone() -> None:
    person = sample(np.zeros((300, 300, 3), np.uint8), standing())
    assert choose_view(person, replace(STILL, upright_p=1.0), np.random.default_rng(0)) == (person.box, 0.0)


def test_rotation_is_cut_at_twice_its_spread_and_goes_both_ways() -> None:
    person = sample(np.zeros((300, 300, 3), np.uint8), standing())
    how = replace(STILL, rotation_p=1.0, rotation=20.0)
    turns = np.array([choose_view(person, how, np.random.default_rng(seed))[1] for seed in range(800)])
    assert np.abs(turns).max() == 40 and turns.min() == -40
    assert abs(turns.mean()) < 3 and 16 < turns.std() < 22


def test_sizes_of_views() -> None:
    person = sample(np.zeros((300, 300, 3), np.uint8), standing())
    how = replace(STILL, scale=(0.5, 2.0))
    sides = np.array([choose_view(person, how, np.random.default_rng(s))[0].side for s in range(500)])
    assert 150 <= sides.min() < 160 and 570 < sides.max() <= 600
    assert 0.4 < (sides < 300).mean() < 0.6  # as often nearer as further
    how = replace(STILL, far_p=1.0, far=(2.0, 3.0))
    far = np.array([choose_view(person, how, np.random.default_rng(s))[0].side for s in range(100)])
    assert far.min() >= 600 and far.max() <= 900


@given(st.floats(-0.5, 0.5), st.floats(-100, 400), st.floats(-100, 400))
def test_who_is_wider_is_less_high_and_covers_as_much(stretch: float, cx: float, cy: float) -> None:
    affine = wider(Box(cx, cy, 100), stretch)
    corners = apply(affine, np.array([[cx, cy], [cx + 10, cy], [cx, cy + 10]]))
    np.testing.assert_allclose(corners[0], [cx, cy], atol=1e-9)  # the middle stays
    right, down = corners[1] - corners[0], corners[2] - corners[0]
    assert abs(right[1]) < 1e-9 and abs(down[0]) < 1e-9  # nothing leans
    np.testing.assert_allclose(right[0] / down[1], np.exp(stretch))
    np.testing.assert_allclose(right[0] * down[1], 100)


def test_people_are_drawn_out_both_ways_and_no_further() -> None:
    joints = {0: (100.0, 150.0), 1: (200.0, 150.0), 2: (150.0, 100.0), 3: (150.0, 200.0)}
    person, how = sample(np.zeros((300, 300, 3), np.uint8), joints), replace(STILL, stretch=0.3)
    ratios = []
    for seed in range(200):
        example = make_example(person, SIZE, SIGMA, how, [], np.random.default_rng(seed))
        found = decode(example.targets[None]).xy_hm[0]
        ratios.append(np.log((found[1, 0] - found[0, 0]) / (found[3, 1] - found[2, 1])))
    assert -0.31 < min(ratios) < -0.27 and 0.27 < max(ratios) < 0.31
    assert abs(np.mean(ratios)) < 0.05


def test_half_bodies_frame_their_half() -> None:
    joints = standing()
    person = sample(np.zeros((300, 300, 3), np.uint8), joints)
    halves = {"upper": np.array([joints[i] for i in UPPER]), "lower": np.array([joints[i] for i in LOWER])}
    assert sorted(UPPER + LOWER) == list(range(16))
    count = {"upper": 0, "lower": 0}
    for seed in range(300):
        box, _ = choose_view(person, replace(STILL, half_body_p=1.0), np.random.default_rng(seed))
        (half,) = [name for name, points in halves.items() if box == Box.around(points, 1.5)]
        count[half] += 1
        for name, points in halves.items():
            inside = (np.abs(points - [box.cx, box.cy]) < box.side / 2).all(axis=1)
            assert inside.all() if name == half else not inside.all()
    assert 200 < count["upper"] < 280


def test_too_few_joints_make_no_half_body() -> None:
    person = sample(np.zeros((300, 300, 3), np.uint8), {i: xy for i, xy in standing().items() if i in (8, 9, 0)})
    for seed in range(20):
        assert choose_view(person, replace(STILL, half_body_p=1.0), np.random.default_rng(seed))[0] == person.box


def test_nobody_is_known_to_be_nowhere() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    nobody = sample(picture, {}, empty=True)
    for seed in range(30):
        example = make_example(nobody, SIZE, SIGMA, Augmentation(), SCENERY, np.random.default_rng(seed))
        assert (example.known == 1).all() and not example.targets.any()
        assert example.image.shape == (SIZE, SIZE, 3)


def test_unlabelled_joints_are_not_supervised() -> None:
    joints = {i: xy for i, xy in standing().items() if i not in (0, 9, 13)}
    person = sample(np.zeros((300, 300, 3), np.uint8), joints)
    for flip_p, missing in ((0.0, [0, 9, 13]), (1.0, [5, 9, 12])):
        example = make_example(person, SIZE, SIGMA, replace(STILL, flip_p=flip_p), [], np.random.default_rng(0))
        assert np.flatnonzero(example.known == 0).tolist() == missing
        assert not example.targets[missing].any()
        assert (example.targets.max(axis=(1, 2))[example.known == 1] > 0.5).all()


def test_a_joint_outside_the_view_is_known_to_be_absent_from_it() -> None:
    person = sample(np.zeros((300, 300, 3), np.uint8), {0: (10.0, 10.0), 5: (150.0, 150.0)}, box=Box(150, 150, 100))
    example = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(0))
    assert example.known[0] == 1 and example.targets[0].max() < 1e-6
    assert example.known[5] == 1 and example.targets[5].any()


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_generator_decides_everything(size: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    person = sample(picture.copy(), standing())
    looks = []
    for seed in range(12):
        generators = (np.random.default_rng(seed) for _ in range(2))
        one, again = (make_example(person, size, SIGMA, Augmentation(), SCENERY, rng) for rng in generators)
        assert np.array_equal(one.image, again.image) and np.array_equal(one.targets, again.targets)
        assert np.array_equal(one.known, again.known)
        assert one.image.shape == (size, size, 3) and one.image.dtype == np.uint8
        assert one.targets.shape == (16, size // 4, size // 4) and one.targets.dtype == one.known.dtype == np.float32
        assert one.targets.min() >= 0 and one.targets.max() <= 1
        looks.append(one.image.tobytes())
    assert len(set(looks)) == 12
    assert np.array_equal(person.image, picture)  # the picture itself is never painted on


def test_appearance_leaves_the_targets_alone() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    person = sample(picture, standing())
    plain = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(9))
    camera = [{name: 1.0} for name in CAMERA]
    for change in ({"colour": 0.3}, {"grey_p": 1.0}, {"occlude_p": 1.0}, *camera):
        different = 0
        for seed in range(4):
            example = make_example(person, SIZE, SIGMA, replace(STILL, **change), [], np.random.default_rng(seed))  # type: ignore[arg-type]
            np.testing.assert_array_equal(example.targets, plain.targets)
            different += (example.image != plain.image).mean() > 0.004
        assert different >= 2, change  # a weak blur of a small view may round to nothing
    still = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(0))
    np.testing.assert_array_equal(still.image, plain.image)
    np.testing.assert_array_equal(still.known, plain.known)


@pytest.mark.parametrize(
    ("happens", "effects"),
    [
        ("dark_p", "dim grain"),
        ("motion_p", "smear"),
        ("soft_p", "soften"),
        ("noise_p", "roughen"),
        ("jpeg_p", "compress"),
        ("dark_p motion_p soft_p noise_p jpeg_p", "dim smear soften grain roughen compress"),
    ],
)
def test_a_camera_blurs_light_and_then_adds_noise(happens: str, effects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of physics: noise of the sensor is not blurred, and the file stores what the sensor saw."""
    done = []
    for name in ("dim", "smear", "soften", "grain", "roughen", "compress"):
        monkeypatch.setattr(camera, name, lambda image, *_, name=name: [done.append(name), image][1])
    person = sample(np.full((300, 300, 3), 99, np.uint8), standing())
    how = replace(STILL, **dict.fromkeys(happens.split(), 1.0))  # type: ignore[arg-type]
    make_example(person, SIZE, SIGMA, how, [], np.random.default_rng(0))
    assert " ".join(done) == effects


def test_grey_is_grey() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    example = make_example(sample(picture, {}), SIZE, SIGMA, replace(STILL, grey_p=1.0), [], np.random.default_rng(0))
    luma = picture @ [0.114, 0.587, 0.299]
    assert np.abs(example.image - luma[..., None]).max() <= 1


def test_scenery_stands_only_beyond_the_picture() -> None:
    picture = np.full((300, 300, 3), (200, 10, 90), np.uint8)
    person = sample(picture, {}, box=Box(0.0, 150.0, 400.0))
    example = make_example(person, SIZE, SIGMA, replace(STILL, scenery_p=1.0), SCENERY, np.random.default_rng(0))
    assert (example.image[30:98, : SIZE // 2 - 2] == (0, 255, 0)).all()
    assert (example.image[30:98, SIZE // 2 + 2 :] == (200, 10, 90)).all()
    bare = make_example(person, SIZE, SIGMA, STILL, SCENERY, np.random.default_rng(0))
    assert not bare.image[:, : SIZE // 2 - 2].any()


# Everybody as they are


@given(st.integers(0, 2**32), st.sampled_from([64, 128, 192]), st.floats(-50, 350), st.floats(20, 700))
def test_still_leaves_everybody_as_they_are(seed: int, size: int, cx: float, side: float) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    box, rng = Box(cx, 150.0, side), np.random.default_rng(seed)
    person = sample(picture, {i: xy for i, xy in standing().items() if i != 3}, box=box)
    example = make_example(person, size, SIGMA, STILL, SCENERY, rng)
    np.testing.assert_array_equal(example.image, warp(picture, box.to_crop(size), size))
    xy_hm = apply(invert(heatmap_to_crop(size // 4, size)), apply(box.to_crop(size), person.joints))
    np.testing.assert_allclose(example.targets, encode(xy_hm, person.labelled, size // 4, SIGMA), atol=1e-6)
    assert example.known.tolist() == [float(i != 3) for i in range(16)]


# Pieces of other pictures


@pytest.mark.parametrize("seed", range(25))
def test_a_pasted_piece_is_an_ellipse_of_the_other_picture(seed: int) -> None:
    picture = np.random.default_rng(5).integers(0, 200, (300, 300, 3), dtype=np.uint8)
    person, other = sample(picture, standing()), np.full((80, 400, 3), 255, np.uint8)
    plain = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(seed))
    pasted = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(seed), other)
    np.testing.assert_array_equal(pasted.targets, plain.targets)
    np.testing.assert_array_equal(pasted.known, plain.known)
    changed = (pasted.image != plain.image).any(axis=2)
    assert 0 < changed.sum() <= np.pi * (0.2 * SIZE + 1) ** 2
    rows, columns = np.nonzero(changed)
    points = np.stack([columns, rows], axis=1)
    assert cv2.contourArea(cv2.convexHull(points)) <= len(points)  # no holes, no second piece
    if changed[[0, -1]].any() or changed[:, [0, -1]].any() or len(points) < 200:
        return  # cut by the edge, or too small to tell its shape
    away = points - points.mean(axis=0)
    distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(away.T)), away)
    assert distance.max() < 4.6  # of a uniform ellipse 4, of a rectangle 6


def test_pieces_show_what_is_in_the_other_picture() -> None:
    """Where a piece reaches beyond the other picture it is black; elsewhere it has that picture's colours."""
    person = sample(np.full((300, 300, 3), 77, np.uint8), standing())
    other = np.zeros((100, 100, 3), np.uint8)
    other[:, :50], other[:, 50:] = (10, 200, 30), (200, 30, 10)
    seen = set()
    for seed in range(40):
        image = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(seed), other).image
        seen |= {tuple(colour) for colour in np.unique(image.reshape(-1, 3), axis=0).tolist()}
    assert {(10, 200, 30), (200, 30, 10), (77, 77, 77), (0, 0, 0)} <= seen


def test_a_covered_joint_is_still_wanted() -> None:
    """What is behind a piece must be guessed: its target stays."""
    person, white = sample(np.zeros((300, 300, 3), np.uint8), standing()), np.full((90, 90, 3), 255, np.uint8)
    xy = np.rint(apply(person.box.to_crop(SIZE), person.joints)).astype(int)
    covered = 0
    for seed in range(60):
        example = make_example(person, SIZE, SIGMA, STILL, [], np.random.default_rng(seed), white)
        covered += int((example.image[xy[:, 1], xy[:, 0]] == 255).all(axis=1).sum())
        assert (example.targets.max(axis=(1, 2)) > 0.7).all() and (example.known == 1).all()
    assert covered > 8


# How much a joint counts


@pytest.mark.parametrize("flip_p", [0.0, 1.0])
def test_hidden_joints_weigh_less(flip_p: float) -> None:
    """Right ankle seen, right knee hidden, right hip not labelled; all on the left are seen."""
    seen = np.array([i not in (1, 2) for i in range(16)])
    labelled = np.array([i != 2 for i in range(16)])
    person = sample(np.zeros((300, 300, 3), np.uint8), standing(), visible=seen, labelled=labelled)
    example = make_example(person, SIZE, SIGMA, replace(STILL, flip_p=flip_p), [], np.random.default_rng(0), None, 0.25)
    expected = np.ones(16, np.float32)
    expected[[4, 3] if flip_p else [1, 2]] = 0.25, 0.0
    np.testing.assert_array_equal(example.known, expected)
    assert example.targets[4 if flip_p else 1].max() > 0.7  # it counts less, but has its place


@pytest.mark.parametrize("flip_p", [0.0, 1.0])
@pytest.mark.parametrize("doubtful", [[], [1], [1, 2, 10], list(range(16))])
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_doubtful_labels_weigh_less(weight: float, doubtful: list[int], flip_p: float) -> None:
    """On top of what hidden joints weigh; the targets stay, and so does what is not labelled."""
    seen = np.array([i not in (1, 2) for i in range(16)])
    labelled = np.array([i != 2 for i in range(16)])
    suspect = np.array([i in doubtful for i in range(16)])
    how = replace(Augmentation(), flip_p=flip_p)
    person = sample(np.zeros((300, 300, 3), np.uint8), standing(), visible=seen, labelled=labelled)
    sure, doubted = (
        make_example(one, SIZE, SIGMA, how, [], np.random.default_rng(0), None, 0.5, weight)
        for one in (person, replace(person, suspect=suspect))
    )
    weights = np.where(suspect[FLIP] if flip_p else suspect, weight, 1)
    np.testing.assert_array_equal(doubted.known, sure.known * weights.astype(np.float32))
    np.testing.assert_array_equal(doubted.targets, sure.targets)
    np.testing.assert_array_equal(doubted.image, sure.image)
    assert sorted(sure.known) == [0.0, 0.5, *[1.0] * 14]


def test_nobody_is_nowhere_with_full_weight() -> None:
    nobody = sample(np.zeros((300, 300, 3), np.uint8), {}, empty=True)
    example = make_example(nobody, SIZE, SIGMA, STILL, [], np.random.default_rng(0), None, 0.25)
    assert (example.known == 1).all()


# Beside the person


def in_a_corner() -> Sample:
    """Red limbs, half a head size thick; grey elsewhere."""
    image, joints = (
        np.full((300, 400, 3), 128, np.uint8),
        np.random.default_rng(5).uniform([20, 40], [120, 280], (16, 2)),
    )
    for a, b in MPII.limb_indices:
        cv2.line(image, joints[a].astype(int).tolist(), joints[b].astype(int).tolist(), (0, 0, 255), 10)
    return sample(image, dict(enumerate(joints)))


def test_beside_the_person_there_is_nothing_of_them() -> None:
    person = in_a_corner()
    for seed in range(30):
        empty = beside(person, np.random.default_rng(seed))
        assert empty is not None and empty.empty and not empty.labelled.any() and not empty.visible.any()
        height, width = empty.image.shape[:2]
        assert 60 <= height == width <= 180 and np.shares_memory(empty.image, person.image)
        assert (empty.image == 128).all()


def test_there_may_be_no_room_beside_the_person() -> None:
    everywhere = np.random.default_rng(0).uniform(0, [400, 300], (16, 2))
    person = sample(np.zeros((300, 400, 3), np.uint8), dict(enumerate(everywhere)), normalize=150.0)
    assert all(beside(person, np.random.default_rng(seed)) is None for seed in range(10))


def test_what_is_not_labelled_may_be_anywhere() -> None:
    person = in_a_corner()
    known = person.labelled.copy()
    known[9] = False
    assert beside(replace(person, labelled=known), np.random.default_rng(0)) is None


def test_views_of_nobody_teach_empty_maps() -> None:
    how = replace(STILL, nobody_p=1.0)
    example = make_example(in_a_corner(), 64, 1.5, how, [], np.random.default_rng(0))
    assert not example.targets.any() and (example.known == 1).all()
