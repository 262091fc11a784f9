"""Predictions land on the joints, by a network that finds coloured dots: whatever the crop, the mirror or the scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import gaussians
from hgrt.data.sample import Sample
from hgrt.evaluation.predict import SCALES, View, predict
from hgrt.pose import reference
from hgrt.pose.geometry import Box, Image, apply, heatmap_to_image, warp
from hgrt.pose.heatmaps import Maps, decode
from hgrt.pose.pckh import Tally
from hgrt.pose.skeleton import MPII

FLIP = list(MPII.flip)
SIZE, CELLS, GRID = 128, 32, 36
PALETTE = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 255),
     (255, 110, 0), (0, 255, 110), (110, 0, 255)], dtype=float
)  # fmt: skip
"""A colour for each pair of joints and each middle one, told apart by their direction alone."""
PAIRS = [(k, FLIP[k]) for k, name in enumerate(MPII.joints) if name.startswith("r_")]
MIDDLE = [k for k in range(16) if FLIP[k] == k]
COLOUR = {k: i for i, pair in enumerate(PAIRS) for k in pair} | {k: len(PAIRS) + i for i, k in enumerate(MIDDLE)}


class Dots:
    """People of sixteen coloured dots; a pair of joints shares a colour, and the right one is to the left."""

    def __init__(self, count: int = 3, empty: tuple[int, ...] = ()) -> None:
        self.name, self._count, self._empty = "dots/val", count, empty

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        spots = [(column, row) for column in range(4) for row in range(4)]
        left, right = rng.permutation(8), 8 + rng.permutation(8)
        order = [*left[:6], *right[:6], left[6], left[7], right[6], right[7]]
        joints = np.zeros((16, 2))
        for joint, spot in zip([r for r, _ in PAIRS] + [k for _, k in PAIRS] + MIDDLE, order, strict=True):
            joints[joint] = (np.array(spots[spot]) + 0.8) * GRID + rng.uniform(-3, 3, 2)
        x, y = np.meshgrid(np.arange(170), np.arange(160))
        picture = np.zeros((160, 170, 3))
        for k, (jx, jy) in enumerate(joints):
            blob = np.exp(-((x - jx) ** 2 + (y - jy) ** 2) / (2 * 3.0**2))
            picture = np.maximum(picture, blob[..., None] * PALETTE[COLOUR[k]])
        known = np.full(16, index not in self._empty)
        return Sample(
            name=f"{index}.png",
            image=np.rint(picture).astype(np.uint8),
            joints=joints,
            labelled=known,
            visible=known & (np.arange(16) % 2 == 0),
            evaluate=known & (np.arange(16) != 3),
            box=Box(84.3 + index, 79.1, 170.0 + 7 * index),
            normalize=20.0,
            empty=index in self._empty,
        )


def dot(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle of what is bright."""
    rows, columns = np.nonzero(weight)
    bright = weight[rows, columns]
    return np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum()


def see(crop: Image) -> Maps:
    """A perfect network for `Dots`: a Gaussian at each joint of the crop."""
    length = np.linalg.norm(crop.astype(float), axis=2)
    direction = crop / np.maximum(length, 1)[..., None]
    alike = direction @ (PALETTE / np.linalg.norm(PALETTE, axis=1, keepdims=True)).T
    best = np.where((length > 50) & (alike.max(axis=2) > 0.985), alike.argmax(axis=2), -1)
    xy = np.zeros((16, 2))
    for k in MIDDLE:
        xy[k] = dot(length * (best == COLOUR[k]))
    for right, left in PAIRS:
        weight = length * (best == COLOUR[right])
        columns = np.nonzero(weight.any(axis=0))[0]
        parting = np.arange(crop.shape[1]) < columns[[0, -1]].mean()
        xy[right], xy[left] = dot(weight * parting), dot(weight * ~parting)
    return gaussians((xy + 0.5) * CELLS / len(crop) - 0.5, CELLS)


class Net:
    """Answers crops by `see`, in one buffer that every call overwrites, as a runtime may."""

    def __init__(self) -> None:
        self.buffer = np.zeros((16, 16, CELLS, CELLS), np.float32)
        self.seen: list[NDArray[np.uint8]] = []

    def __call__(self, crops: NDArray[np.uint8]) -> Maps:
        self.seen.append(crops.copy())
        self.buffer[:] = -1
        for k, crop in enumerate(crops):
            self.buffer[k] = see(crop)
        return self.buffer[: len(crops)]


@pytest.mark.parametrize(
    ("view", "calls"),
    [
        (View(), 1),
        (View(flip=True), 2),
        (View(scales=(1.25,)), 1),
        (View(scales=SCALES), 3),
        (View(flip=True, scales=SCALES), 6),
    ],
    ids=str,
)
def test_every_exact_view_finds_the_joints_to_a_fraction_of_a_pixel(view: View, calls: int) -> None:
    net = Net()
    found = predict(net, Dots(), SIZE, view)
    assert len(net.seen) == calls
    # A cell is 5 to 7 pixels wide here, a crop's pixel 1.3 to 1.8.
    error = found.xy - found.truth
    assert np.abs(error).max() < 0.5 and np.abs(error.mean(axis=(0, 1))).max() < 0.1
    assert found.score.min() > 0.75
    assert found.pckh().total == Tally(3 * 13, 3 * 13)


class Boxed(Dots):
    """The same people in boxes of so much of the side."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def get(self, index: int) -> Sample:
        sample = super().get(index)
        return replace(sample, box=Box(sample.box.cx, sample.box.cy, self._share * sample.box.side))


@pytest.mark.parametrize("view", [View(), View(flip=True, scales=SCALES), View("published"), View("legacy")], ids=str)
def test_looking_at_a_share_of_a_box_is_looking_at_a_smaller_box(view: View) -> None:
    """And the boxes that predictions come with stay the labelled ones."""
    nets = Net(), Net()
    found = predict(nets[0], Dots(), SIZE, replace(view, crop=0.9))
    expected = predict(nets[1], Boxed(0.9), SIZE, view)
    for one, other in zip(nets[0].seen, nets[1].seen, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.xy, expected.xy)
    assert np.abs(found.xy - found.truth).max() < 2.5
    np.testing.assert_array_equal(found.boxes, predict(Net(), Dots(), SIZE, view).boxes)


def test_a_device_that_decodes_is_shown_the_same_share() -> None:
    device, net = Net(), Net()
    found = predict(Net(), Dots(), SIZE, View(crop=0.9), locate=lambda crops: decode(device(crops)))
    expected = predict(net, Dots(), SIZE, View(crop=0.9))
    np.testing.assert_array_equal(device.seen[0], net.seen[0])
    np.testing.assert_array_equal(found.xy, expected.xy)


@pytest.mark.parametrize(("view", "decodes"), [(View(), True), (View(flip=True), False), (View("published"), False)])
def test_a_device_that_decodes_is_asked_for_joints_where_one_look_is_all(view: View, decodes: bool) -> None:
    net, heatmaps, device = Net(), Net(), Net()
    expected = predict(net, Dots(5, empty=(1,)), SIZE, view, 2)
    found = predict(heatmaps, Dots(5, empty=(1,)), SIZE, view, 2, locate=lambda crops: decode(device(crops)))
    assert (len(device.seen), len(heatmaps.seen)) == ((3, 0) if decodes else (0, len(net.seen)))
    np.testing.assert_array_equal(found.xy, expected.xy)
    np.testing.assert_array_equal(found.score, expected.score)


@pytest.mark.parametrize("cut", ["published", "legacy"])
@pytest.mark.parametrize("flip", [False, True])
def test_the_published_cuts_find_them_within_their_quarter_of_a_cell(cut: str, flip: bool) -> None:
    found = predict(Net(), Dots(), SIZE, View(cut=cut, flip=flip))  # type: ignore[arg-type]
    error = np.abs(found.xy - found.truth)
    assert 0.5 < error.max() < 5
    assert (found.xy == np.trunc(found.xy)).all()


def test_what_is_returned_belongs_to_its_person() -> None:
    people = Dots(5, empty=(0, 3))
    said: list[int] = []
    found = predict(Net(), people, SIZE, batch=2, done=said.append)
    assert said == [2, 4, 5]
    assert found.set == "dots/val" and len(found) == 3
    assert found.rows.tolist() == [1, 2, 4] and found.names == ("1.png", "2.png", "4.png")
    for i, row in enumerate(found.rows):
        sample = people.get(int(row))
        np.testing.assert_array_equal(found.truth[i], sample.joints)
        np.testing.assert_array_equal(found.labelled[i], sample.labelled)
        np.testing.assert_array_equal(found.visible[i], sample.visible)
        np.testing.assert_array_equal(found.evaluate[i], sample.evaluate)
        assert found.boxes[i].tolist() == [sample.box.cx, sample.box.cy, sample.box.side]
        assert found.normalize[i] == sample.normalize


@pytest.mark.parametrize("view", [View(flip=True, scales=SCALES), View(cut="published", flip=True)], ids=str)
def test_the_size_of_a_batch_changes_nothing(view: View) -> None:
    one, many = (predict(Net(), Dots(3), SIZE, view, batch=batch) for batch in (1, 3))
    np.testing.assert_allclose(one.xy, many.xy, atol=1e-9)
    np.testing.assert_allclose(one.score, many.score, atol=1e-9)


@pytest.mark.parametrize("people", [Dots(0), Dots(2, empty=(0, 1))], ids=["no pictures", "nobody in them"])
def test_nobody_gives_nothing(people: Dots) -> None:
    found = predict(Net(), people, SIZE)
    assert len(found) == 0 and found.xy.shape == (0, 16, 2) and found.boxes.shape == (0, 3)
    assert found.pckh().total == Tally(0, 0)


def noise(seed: int, people: int = 2, cells: int = CELLS) -> Maps:
    """Heatmaps of nothing, smooth enough to have peaks."""
    rng = np.random.default_rng(seed)
    return rng.random((people, 16, cells, cells), dtype=np.float32)


def test_the_mirrored_crop_is_asked_too_and_left_and_right_change_places() -> None:
    asked: list[NDArray[np.uint8]] = []

    def infer(crops: NDArray[np.uint8]) -> Maps:
        asked.append(crops.copy())
        return noise(len(asked))

    people = Dots(2)
    found = predict(infer, people, SIZE, View(flip=True))
    np.testing.assert_array_equal(asked[1], asked[0][:, :, ::-1])
    for i in range(2):
        sample = people.get(i)
        np.testing.assert_array_equal(asked[0][i], warp(sample.image, sample.box.to_crop(SIZE), SIZE))
        wanted = decode((noise(1) + noise(2)[:, FLIP, :, ::-1]) / 2)
        xy = apply(heatmap_to_image(sample.box, CELLS, SIZE), wanted.xy_hm[i])
        np.testing.assert_allclose(found.xy[i], xy, atol=1e-4)
        np.testing.assert_allclose(found.score[i], wanted.score[i], atol=1e-6)


@pytest.mark.parametrize("cut", ["published", "legacy"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [128, 256])
def test_the_published_cuts_are_the_published_steps(cut: str, flip: bool, size: int) -> None:
    asked: list[NDArray[np.uint8]] = []

    def infer(crops: NDArray[np.uint8]) -> Maps:
        asked.append(crops.copy())
        return 2 * noise(len(asked), cells=size // 4) - 0.5  # some are above the cap, some joints have no peak

    people = Dots(2)
    found = predict(infer, people, size, View(cut=cut, flip=flip))  # type: ignore[arg-type]
    for i in range(2):
        sample = people.get(i)
        crop = reference.crop(sample.image, sample.box, size, legacy=cut == "legacy")
        assert np.abs(asked[0][i] - crop).max() <= 0.5
        plain, mirrored = (2 * noise(k, cells=size // 4)[i] - 0.5 for k in (1, 2))
        xy_crop, score = reference.decode(plain, mirrored if flip else None)
        xy = reference.truncate(reference.to_image(xy_crop, sample.box, size))
        np.testing.assert_array_equal(found.xy[i], xy)
        np.testing.assert_allclose(found.score[i], score, atol=1e-9)
    if flip:
        np.testing.assert_array_equal(asked[1], asked[0][:, :, ::-1])


def test_several_scales_are_for_the_exact_cut() -> None:
    with pytest.raises(ValueError, match="exact cut"):
        View(cut="published", scales=(0.8, 1.0))
    assert str(View(flip=True, scales=(0.8, 1.0))) == "cut exact, mirrored too, boxes of 0.8, 1"
    assert str(View(crop=0.9)) == "cut exact, 0.9 of the box"
    assert str(replace(View(), cut="legacy")) == "cut legacy"
