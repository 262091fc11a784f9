"""Packed data are read as they were written, and a set with a flaw is refused in words that name it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII
from hgrt.train.data.find import find
from hgrt.train.data.generated import GeneratedPeople
from hgrt.train.data.packed import FIELDS, PackedPeople

COUNT = 5


def jpeg(index: int) -> bytes:
    picture = np.full((40 + index, 60, 3), (10 * index, 100, 200), np.uint8)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def rows(count: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(count)
    label = rng.integers(0, 3, (count, 16)).astype(np.uint8)
    return {
        "imgname": np.array([f"{i}.jpg".encode() for i in range(count)]),
        "part": rng.uniform(1, 40, (count, 16, 2)).astype(np.float32),
        "label": label,
        "visible": ((label > 0) & (rng.random((count, 16)) < 0.5)).astype(np.uint8),
        "evaluate": (label == 1).astype(np.uint8),
        "center": rng.uniform(10, 30, (count, 2)),
        "scale": rng.uniform(0.1, 0.4, count),
        "normalize": rng.uniform(5, 10, count),
    }


def tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def pack(folder: Path, split: str = "train", count: int = COUNT) -> dict[str, NDArray[Any]]:
    """A set in two tar files."""
    folder.mkdir(exist_ok=True, parents=True)
    values = rows(count)
    with h5py.File(folder / f"{split}.h5", "w") as file:
        for name, value in values.items():
            file[name] = value
        file.attrs["joint_names"] = ",".join(MPII.joints)
        file.attrs["tars"] = f"{split}_0.tar,{split}_1.tar"
    for part in (0, 1):
        tar(folder / f"{split}_{part}.tar", {f"{i}.jpg": jpeg(i) for i in range(part, count, 2)})
    return values


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
        assert sample.joints.dtype == np.float64 and not sample.empty
        assert {sample.labelled.dtype, sample.visible.dtype, sample.evaluate.dtype} == {np.dtype(bool)}


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


# Finding sets


def test_sets_are_found_and_small_ones_repeated(tmp_path: Path) -> None:
    pack(tmp_path / "all" / "big", "train", 18)
    pack(tmp_path / "all" / "big", "val", 4)
    pack(tmp_path / "all" / "small", "train", 2)
    pack(tmp_path / "all" / "test only", "val", 3)
    (tmp_path / "all" / "notes").mkdir()
    data = find([tmp_path / "all"], synthetic=7, seed=0)
    assert data.parts == (("big/train", 18, 1), ("small/train", 2, 3), ("synthetic", 7, 1))
    assert len(data.train) == 18 + 3 * 2 + 7
    judges = [(people.name, len(people)) for people in data.val]
    assert judges == [("big/val", 4), ("test only/val", 3), ("synthetic", 7)]
    single = find([tmp_path / "all" / "small"], synthetic=0, seed=0)
    assert single.parts == (("small/train", 2, 1),) and single.val == ()


def test_where_there_is_nothing_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="no data folder") as missing:
        find([tmp_path / "nowhere"], 0, 0)
    with pytest.raises(HgrtError, match="no packed data") as empty:
        find([tmp_path], 0, 0)
    with pytest.raises(HgrtError, match="nothing to train on") as nothing:
        find([], 0, 0)
    assert all("--synthetic" in refused.value.fix for refused in (missing, empty, nothing))


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
