"""Who is kept in memory trains the network as who is read from files: the same views, targets and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.data import cached
from hgrt.data.cached import REACH, WHOLE, Cached
from hgrt.data.generated import GeneratedPeople
from hgrt.data.packed import PackedPeople
from hgrt.data.sample import JOINTS, Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box, Image, inside
from hgrt.train.augment import Augmentation, make_example

COMMON = Augmentation(far_p=0, stray_p=0, jpeg_p=0)  # what is kept is meant for these; JPEG makes roundings large


class Given:
    """People at hand."""

    name = "given/train"

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int) -> Sample:
        return self._samples[index]


def picture(width: int, height: int, soft: float = 0.0) -> Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), soft), np.uint8) if soft else noise


def person(image: Image, box: Box, seed: int = 0) -> Sample:
    """Joints anywhere in the middle of the box, beyond the picture where the box is."""
    rng = np.random.default_rng(seed)
    joints = np.array([box.cx, box.cy]) + rng.uniform(-0.36, 0.36, (JOINTS, 2)) * box.side
    labelled = rng.random(JOINTS) < 0.8
    return Sample("a", image, joints, labelled, labelled, labelled, box, box.side / 10)


def kept(sample: Sample, limit: float) -> Sample:
    return Cached(Given([sample]), limit).get(0)


def differences(one: Sample, limit: float, views: int = 25, size: int = 64) -> list[float]:
    """The mean differences of pixels of so many views; all else is held to be the same."""
    other, found = kept(one, limit), []
    for seed in range(views):
        a, b = (make_example(s, size, 1.0, COMMON, [], np.random.default_rng(seed)) for s in (one, other))
        np.testing.assert_allclose(a.targets, b.targets, atol=1e-6)
        np.testing.assert_array_equal(a.known, b.known)
        found.append(float(np.abs(a.image.astype(float) - b.image).mean()))
    return found


# The same examples


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (300, 200, Box(140, 90, 120)),  # small: the whole picture
        (1400, 900, Box(650.5, 420.25, 150)),  # a part from the middle
        (1400, 900, Box(60, 830, 170)),  # a part from a corner
    ],
    ids=["whole", "middle", "corner"],
)
def test_without_reduction_the_pixels_are_the_same(width: int, height: int, box: Box) -> None:
    sample = person(picture(width, height), box)
    other = kept(sample, limit=100)
    assert other.box.side == box.side and other.normalize == sample.normalize
    assert (other.image.size < sample.image.size) == (width * height > WHOLE)
    # Views are not halved either: that begins where the picture does, and so the cut would show in noise like this.
    # Where a view falls between pixels is rounded to 1/32 of a pixel, now and then the other way.
    assert max(differences(sample, limit=100, size=128)) < 0.1


@pytest.mark.parametrize(
    ("width", "height", "box", "halvings"),
    [
        (1200, 900, Box(600, 400, 500), 2),
        (1201, 903, Box(600.3, 401.7, 700), 2),  # ends within a group of pixels
        (2501, 1403, Box(200, 1300, 530), 2),
        (641, 479, Box(300, 230, 256), 1),
    ],
)
def test_reduced_pictures_give_the_same_views_but_for_their_smoothing(
    width: int, height: int, box: Box, halvings: int
) -> None:
    sample = person(picture(width, height, soft=6), box)
    other = kept(sample, limit=120)
    assert other.box.side == box.side / 2**halvings >= 120
    assert other.normalize == sample.normalize / 2**halvings
    assert max(differences(sample, limit=120)) < 1


def test_noise_shows_that_reduced_pixels_lie_where_they_should() -> None:
    """On the finest detail there is, a quarter of a pixel off would show."""
    sample = person(picture(640, 480), Box(320, 240, 256))
    small = kept(sample, limit=128)
    mean = sample.image.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    assert np.abs(small.image - mean).max() <= 0.5
    np.testing.assert_allclose(small.joints, (sample.joints - 0.5) / 2)
    assert small.box == Box((320 - 0.5) / 2, (240 - 0.5) / 2, 128)


@given(
    width=st.integers(40, 900),
    height=st.integers(40, 900),
    x=st.floats(-0.2, 1.2),
    y=st.floats(-0.2, 1.2),
    side=st.floats(20, 1000),
    limit=st.floats(16, 300),
    seed=st.integers(0, 1000),
)
def test_what_is_kept_is_the_person_and_holds_what_the_picture_held(
    width: int, height: int, x: float, y: float, side: float, limit: float, seed: int
) -> None:
    sample = person(np.zeros((height, width, 3), np.uint8), Box(x * width, y * height, side), seed)
    small = kept(sample, limit)
    halved = np.log2(side / small.box.side)
    assert halved == pytest.approx(round(halved)) and halved >= 0
    assert small.box.side >= min(limit, side)
    known = sample.labelled
    np.testing.assert_array_equal(*(inside(one.joints, one.image)[known] for one in (small, sample)))
    # Distances between joints, box and head shrink alike.
    np.testing.assert_allclose(
        (small.joints - [small.box.cx, small.box.cy]) / small.box.side,
        (sample.joints - [sample.box.cx, sample.box.cy]) / side,
        atol=1e-9,
    )
    assert small.normalize / small.box.side == pytest.approx(sample.normalize / side)
    # Every pixel of the picture within reach is there.
    step = round(2**halved)
    reach = REACH * side / 2
    for middle, extent, has in ((x * width, width, small.image.shape[1]), (y * height, height, small.image.shape[0])):
        wanted = min(middle + reach, extent - 0.5) - max(middle - reach, -0.5)
        assert has * step >= min(wanted, extent)


def test_halving_stops_before_a_joint_beyond_the_edge_would_seem_inside() -> None:
    sample = person(np.zeros((401, 401, 3), np.uint8), Box(200, 200, 400))
    inside = replace(sample, joints=np.full((JOINTS, 2), 200.0), labelled=np.ones(JOINTS, bool))
    assert kept(inside, 100).image.shape == (101, 101, 3)
    joints = inside.joints.copy()
    joints[3] = (401.2, 100)  # where the last group of four is filled up
    assert kept(replace(inside, joints=joints), 100).image.shape == (401, 401, 3)


# Sets


def test_a_set_is_kept_as_it_is_and_let_go() -> None:
    people = GeneratedPeople(4, seed=2)
    heard: list[tuple[int, int]] = []
    kept = Cached(people, 1000, lambda done, total: heard.append((done, total)))
    assert (kept.name, len(kept)) == ("synthetic", 4) and heard == [(i, 4) for i in range(1, 5)]
    assert kept.nbytes == 4 * 384 * 384 * 3
    for i in range(4):
        one, other = people.get(i), kept.get(i)
        assert (one.name, one.empty, one.box) == (other.name, other.empty, other.box)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.joints, other.joints)
        with pytest.raises(ValueError, match="read-only"):
            other.image[0, 0] = 0
    assert people not in vars(kept).values()


def test_a_cut_picture_does_not_keep_the_whole_alive() -> None:
    other = kept(person(picture(2000, 1500), Box(1000, 700, 100)), limit=64)
    base = other.image
    while base.base is not None:
        base = base.base
    assert base.nbytes == other.image.nbytes < 310 * 310 * 3


def test_a_set_that_does_not_fit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(Given):
        read = 0

        def __len__(self) -> int:
            return 100_000

        def get(self, index: int) -> Sample:
            self.read += 1
            return super().get(0)

    people = Large([person(np.zeros((500, 500, 3), np.uint8), Box(250, 250, 300))])
    monkeypatch.setattr(cached, "_free_memory", lambda: 10_000_000_000)
    with pytest.raises(HgrtError, match=r"given/train do not fit in memory") as refused:
        Cached(people, 200)
    assert refused.value.why == "100000 people need about 75.0 GB; 10.0 GB are free."
    assert people.read == cached.PROBED


def test_where_the_free_memory_is_unknown_nothing_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "_free_memory", lambda: None)
    assert len(Cached(GeneratedPeople(1, seed=1), 200)) == 1
    assert len(Cached(Given([]), 200)) == 0


def test_the_free_memory_is_read_where_the_system_tells_it() -> None:
    free = cached._free_memory()
    assert free is None if not Path("/proc/meminfo").exists() else 1e6 < (free or 0) < 1e15


def test_a_picture_that_cannot_be_read_is_named() -> None:
    class Broken(Given):
        def get(self, index: int) -> Sample:
            if index == 40:
                raise HgrtError("The picture x.jpg cannot be decoded.")
            return super().get(0)

    one = person(np.zeros((50, 50, 3), np.uint8), Box(25, 25, 30))
    with pytest.raises(HgrtError, match=r"x\.jpg"):
        Cached(Broken([one] * 41), 200)


@pytest.mark.parametrize(("name", "split"), [("lspet", "val"), ("coco", "val")])
def test_real_people_look_the_same(name: str, split: str, shared: Path) -> None:
    people = PackedPeople(shared / "data" / name, split)
    for index in np.linspace(0, len(people) - 1, 5).astype(int):
        sample = people.get(int(index))
        assert max(differences(sample, limit=sample.box.side, views=4, size=256)) < 0.5
