"""Packed data are read as they were written, and a set with a flaw is refused in words that name it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hgrt.data.cached import Cached
from hgrt.data.generated import GeneratedPeople
from hgrt.data.packed import FIELDS, PackedPeople, splits
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII
from packing import COUNT, jpeg, pack, tar


def test_values_are_those_in_the_files(tmp_path: Path) -> None:
    values = pack(tmp_path / "set")
    people = PackedPeople(tmp_path / "set", "train")
    assert len(people) == COUNT and people.name == "set/train"
    for i in range(COUNT):
        sample = people.get(i)
        assert sample.image.shape == (40 + i, 60, 3)
        assert np.abs(sample.image.astype(int) - (10 * i, 100, 200)).max() <= 3  # BGR, and the picture of this person
        np.testing.assert_array_equal(sample.joints, values["part"][i])
        np.testing.assert_array_equal(sample.labelled, values["label"][i] > 0)
        np.testing.assert_array_equal(sample.visible, values["visible"][i] == 1)
        np.testing.assert_array_equal(sample.evaluate, values["label"][i] == 1)
        assert sample.box == Box(*values["center"][i], 200 * values["scale"][i])
        assert sample.normalize == values["normalize"][i]
        assert sample.joints.dtype == np.float64 and not sample.empty and not sample.suspect.any()
        masks = (sample.labelled, sample.visible, sample.evaluate, sample.suspect)
        assert {mask.dtype for mask in masks} == {np.dtype(bool)}


def test_the_tars_are_needed_only_once(tmp_path: Path) -> None:
    pack(tmp_path)
    people = PackedPeople(tmp_path, "train")
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    assert people.get(3).image.shape == (43, 60, 3)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def drop_field(field: str) -> Callable[[Path], object]:
    def drop(folder: Path) -> None:
        with h5py.File(folder / "train.h5", "a") as file:
            del file[field]

    return drop


def set_field(field: str, values: np.ndarray) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with h5py.File(folder / "train.h5", "a") as file:
            if field in file:
                del file[field]
            file[field] = values

    return change


def set_attribute(name: str, value: str | None) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with h5py.File(folder / "train.h5", "a") as file:
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "train.h5").unlink(), "no train split"),
        (lambda folder: (folder / "train.h5").write_text("no HDF5"), "cannot be read as HDF5"),
        (lambda folder: cut(folder / "train.h5", 900), "cannot be read as HDF5"),
        *((drop_field(field), f"It lacks {field}") for field in FIELDS),
        (set_attribute("joint_names", None), "joint_names"),
        (set_attribute("tars", None), "tars"),
        (set_attribute("joint_names", ",".join(MPII.joints[::-1])), "another skeleton"),
        (set_attribute("joint_names", "nose,left_eye"), "Its joints: nose,left_eye"),
        (set_attribute("tars", "train_0.tar"), "2 pictures"),
        (set_field("part", np.zeros((COUNT, 14, 2))), r"part has the shape \(5, 14, 2\)"),
        (set_field("suspect", np.zeros((COUNT, 16))), r"suspect has the shape \(5, 16\)"),
        (set_field("suspect", np.zeros(COUNT - 1)), r"suspect has the shape \(4,\)"),
        (set_field("imgname", np.arange(COUNT)), "cannot be read"),
        (set_field("scale", np.array([0.2, 0.2, 0, np.nan, 0.2])), "2 people of .* have no box"),
        (lambda folder: (folder / "train_1.tar").unlink(), r"train_1\.tar cannot be read"),
        (lambda folder: (folder / "train_1.tar").write_bytes(b"junk" * 999), r"train_1\.tar cannot be read"),
        (lambda folder: cut(folder / "train_1.tar", 700), r"train_1\.tar cannot be read"),
        (lambda folder: tar(folder / "train_1.tar", {}), r"First: 1\.jpg"),
    ],
)
def test_a_flawed_set_is_refused(spoil: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    pack(tmp_path)
    spoil(tmp_path)
    with pytest.raises(HgrtError, match=said):
        PackedPeople(tmp_path, "train")


@pytest.mark.parametrize("content", [b"this is not a JPEG", b""], ids=["junk", "empty"])
def test_a_broken_picture_is_named(content: bytes, tmp_path: Path) -> None:
    pack(tmp_path)
    tar(tmp_path / "train_1.tar", {"1.jpg": content, "3.jpg": jpeg(3)})
    people = PackedPeople(tmp_path, "train")
    assert people.get(3).image.shape == (43, 60, 3)
    with pytest.raises(HgrtError, match=r"1\.jpg"):
        people.get(1)


def test_people_without_picture_can_be_left_out(tmp_path: Path) -> None:
    values = pack(tmp_path / "set")
    tar(tmp_path / "set" / "train_1.tar", {"3.jpg": jpeg(3)})
    people = PackedPeople(tmp_path / "set", "train", "skip")
    assert (len(people), people.absent) == (4, 1)
    assert people.note == "4 people of 4 images; left out: 1 people whose pictures (1) are not there"
    assert [people.get(i).name for i in range(4)] == ["0.jpg", "2.jpg", "3.jpg", "4.jpg"]
    np.testing.assert_array_equal(people.get(2).joints, values["part"][3])
    assert people.get(2).image.shape == (43, 60, 3)


def test_doubtful_people_are_told_from_others(tmp_path: Path) -> None:
    pack(tmp_path, suspect=np.array([0, 0, 1, 0, 1], np.uint8))
    everybody = PackedPeople(tmp_path, "train")
    tar(tmp_path / "train_1.tar", {"3.jpg": jpeg(3)})
    some = PackedPeople(tmp_path, "train", "skip")
    for people, expected in ((everybody, "00101"), (some, "0101"), (Cached(everybody, 100), "00101")):
        for i in range(len(people)):
            assert people.get(i).suspect.tolist() == [expected[i] == "1"] * 16


def test_splits_are_files_that_name_tars(tmp_path: Path) -> None:
    assert splits(tmp_path) == {}
    pack(tmp_path)
    pack(tmp_path, "spare", 3)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["part"] = np.zeros(3)
    found = splits(tmp_path)
    assert {split: len(there.open()) for split, there in found.items()} == {"spare": 3, "train": COUNT}
    (tmp_path / "train_0.tar").unlink()
    assert list(splits(tmp_path)) == ["spare", "train"], "nothing is opened yet"


def test_a_file_that_is_no_hdf5_is_listed_and_refused_when_opened(tmp_path: Path) -> None:
    (tmp_path / "train.h5").write_text("words")
    with pytest.raises(HgrtError, match="cannot be read as HDF5"):
        splits(tmp_path)["train"].open()
    (tmp_path / "images").mkdir()
    assert splits(tmp_path) == {}, "it is not ours among loose pictures"


# Generated people


def test_generated_people_are_drawn_once_and_sometimes_absent() -> None:
    people, again = GeneratedPeople(4, seed=5), GeneratedPeople(4, seed=5)
    samples = [people.get(i) for i in range(4)]
    assert [sample.empty for sample in samples] == [False, False, False, True]
    for i, sample in enumerate(samples):
        assert np.array_equal(sample.image, again.get(i).image) and np.array_equal(sample.joints, people.get(i).joints)
        assert (sample.labelled == (not sample.empty)).all() and (sample.evaluate == (not sample.empty)).all()
    assert not np.array_equal(samples[0].image, samples[1].image)
    assert not np.array_equal(samples[0].image, GeneratedPeople(4, seed=6).get(0).image)


# The real sets


@pytest.mark.parametrize(
    ("name", "split", "people", "pictures"),
    [
        ("lspet", "train", 9200, 9200),
        ("lspet", "val", 300, 300),
        ("coco", "train", 303, 303),
        ("coco", "val", 83, 48),
        ("webcam", "val", 14, 14),
        ("misc", "train", 30, 30),
    ],
)
def test_real_sets(name: str, split: str, people: int, pictures: int, shared: Path) -> None:
    loaded = PackedPeople(shared / "data" / name, split)
    assert len(loaded) == people
    assert len(set(loaded._names)) <= pictures
    rng = np.random.default_rng(0)
    for index in rng.integers(0, people, 10):
        sample = loaded.get(int(index))
        assert sample.labelled.sum() >= 6 and sample.normalize > 0
        height, width = sample.image.shape[:2]
        joints = sample.joints[sample.labelled]
        assert (joints > 0).all() and (joints < [width + 1, height + 1]).all()
        assert not sample.visible[~sample.labelled].any() and not sample.evaluate[~sample.labelled].any()
        half = 0.5 * sample.box.side
        assert (np.abs(joints - [sample.box.cx, sample.box.cy]) < 1.3 * half).all()
