"""MPII in its three forms gives the same people, the official split is the official one, and flaws are named."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from hgrt.data.files_people import missing_images, read_image
from hgrt.data.mpii import MAT, MpiiPeople, mpii_file, read_h5, splits
from hgrt.data.mpii_mat import read_mat, validation_people
from hgrt.data.sample import People, Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box, warp

Rows = dict[str, NDArray[Any]]
NECK, HEAD = 8, 9

# Files as others write them


def made_rows(below: int = 300) -> Rows:
    """Validation people of the first pictures, in the fields of the published h5 file, with every kind of joint."""
    pairs = [
        (index, person) for index, people in validation_people().items() if index < below for person in sorted(people)
    ]
    count = len(pairs)
    rng = np.random.default_rng(count)
    part = np.trunc(rng.uniform(1, 900, (count, 16, 2)))
    part[rng.random((count, 16)) < 0.1] = 0  # not labelled
    part[1, 4] = 300, -30  # beyond the picture
    part[2, 5] = 0, 77  # at its very edge: the published evaluation takes it for not labelled
    scale = rng.uniform(1, 5, count)
    objpos = np.trunc(rng.uniform(100, 700, (count, 2)))
    return {
        "imgname": np.array([f"{index:09}.jpg".encode() for index, _ in pairs]),
        "index": np.array([float(index) for index, _ in pairs]),
        "person": np.array([float(person) for _, person in pairs]),
        "part": part,
        "visible": ((rng.random((count, 16)) < 0.8) & part.any(axis=2)).astype(float),
        "center": objpos + np.stack([np.zeros(count), 15 * scale], axis=1),
        "scale": 1.25 * scale,
        "normalize": 25 * scale,
    }


def write_h5(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in rows.items():
            file[name] = value


def mpii_numbers(rows: Rows) -> tuple[NDArray[Any], NDArray[Any]]:
    """MPII's own scale (N,) and place (N, 2)."""
    scale = rows["scale"] / 1.25
    return scale, rows["center"] - np.stack([np.zeros(len(scale)), 15 * scale], axis=1)


def with_fractions(part: NDArray[Any]) -> NDArray[Any]:
    """Neck and head have fractions of pixels in MPII's files, which the h5 files cut off."""
    part = part.copy()
    part[NECK] += 0.7641 * np.where(part[NECK] < 0, -1, 1)
    part[HEAD] += 0.25 * np.where(part[HEAD] < 0, -1, 1)
    return part


def write_json(path: Path, rows: Rows, joints: bool = True) -> None:
    scale, objpos = mpii_numbers(rows)
    people = []
    for i in range(len(scale)):
        there = rows["part"][i].any(axis=1)
        person = {"joints_vis": there.astype(int).tolist()} if joints else {}
        if joints:
            person["joints"] = np.where(there[:, None], with_fractions(rows["part"][i]), -1.0).tolist()
        name = rows["imgname"][i].decode()
        people.append(person | {"image": name, "scale": float(scale[i]), "center": objpos[i].tolist()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(people))


def structs(*elements: dict[str, Any]) -> NDArray[Any]:
    """A MATLAB struct array, 1 x N; what an element lacks is empty."""
    fields = list(dict.fromkeys(field for element in elements for field in element))
    array = np.empty((1, len(elements)), [(field, object) for field in fields])
    for i, element in enumerate(elements):
        for field in fields:
            array[field][0, i] = element.get(field, np.empty((0, 0)))
    return array


def annotated(part: NDArray[Any], visible: NDArray[Any], rng: np.random.Generator) -> dict[str, Any]:
    """Joints in any order, their visibility written in one of the ways that occur."""
    part = with_fractions(part)
    points = []
    for joint in rng.permutation(np.flatnonzero(np.trunc(part).any(axis=1))):
        seen = int(visible[joint])
        ways = [np.float64(seen), np.uint8(seen), str(seen)] + [np.empty((0, 0))] * seen
        way = ways[3] if seen and joint in (NECK, HEAD) else ways[rng.integers(len(ways))]
        x, y = part[joint]
        points.append({"x": x, "y": y, "id": np.uint8(joint), "is_visible": way})
    if visible[part.any(axis=1)].all():
        points = [{key: value for key, value in point.items() if key != "is_visible"} for point in points]
    return {"annopoints": structs({"point": structs(*points)})}


def placed(scale: float, x: float, y: float) -> dict[str, Any]:
    return {"scale": scale, "objpos": structs({"x": x, "y": y})}


HEADBOX = {"x1": 10, "y1": 20, "x2": 30, "y2": 60}
SOMEBODY = {"annopoints": structs({"point": structs({"id": 6, "x": 50.0, "y": 60.0, "is_visible": "1"})})}
"""One joint, which MATLAB does not put in an array of its own."""


def write_mat(
    path: Path, people: dict[int, list[dict[str, Any]]], test: tuple[int, ...] = (), names: dict[int, str] | None = None
) -> None:
    """The official file of the pictures up to the last one in `people`; those in `test` are test pictures."""
    training = np.array([[0 if i in test else 1 for i in range(max(people) + 1)]], np.uint8)
    pictures = [
        {
            "image": structs({"name": (names or {}).get(i, f"{i:09}.jpg")}),
            "annorect": structs(*people[i]) if people.get(i) else np.empty((0, 0)),
            "frame_sec": np.empty((0, 0)),
        }
        for i in range(training.size)
    ]
    release = {"annolist": structs(*pictures), "img_train": training, "single_person": np.empty((training.size, 0))}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"RELEASE": release}, do_compression=True)


def as_mat(path: Path, rows: Rows) -> None:
    """The same people in the official form, among others whom nobody picked."""
    rng = np.random.default_rng(5)
    scale, objpos = mpii_numbers(rows)
    people: dict[int, list[dict[str, Any]]] = {}
    for i, (index, person) in enumerate(zip(rows["index"].astype(int), rows["person"].astype(int), strict=True)):
        others = people.setdefault(index, [])
        while len(others) <= person + 1:  # before and behind
            others.append(HEADBOX | SOMEBODY | placed(1.0, 5.0, 6.0))
        others[person] = HEADBOX | placed(scale[i], *objpos[i]) | annotated(rows["part"][i], rows["visible"][i], rng)
    names = {int(index): name.decode() for index, name in zip(rows["index"], rows["imgname"], strict=True)}
    write_mat(path, people, names=names)


def draw(folder: Path, names: NDArray[Any] | list[bytes]) -> None:
    """A tiny picture for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name.decode()), np.full((4, 6, 3), (10, 100, 200), np.uint8))


# One kind of sample from three forms


def same(a: Sample, b: Sample, visibility: bool = True) -> None:
    np.testing.assert_array_equal(a.labelled, b.labelled)
    np.testing.assert_array_equal(a.evaluate, b.evaluate)
    np.testing.assert_allclose(a.joints[a.labelled], b.joints[a.labelled], rtol=0, atol=1e-9)
    np.testing.assert_allclose([a.box.cx, a.box.cy, a.box.side], [b.box.cx, b.box.cy, b.box.side], rtol=0, atol=1e-9)
    assert a.normalize == pytest.approx(b.normalize, rel=0, abs=1e-9)
    assert a.image.tobytes() == b.image.tobytes()
    if visibility:
        np.testing.assert_array_equal(a.visible, b.visible)
        assert a.name == b.name


def check_forms(folder: Path, rows: Rows) -> None:
    draw(folder / "images", rows["imgname"])
    write_h5(folder / "annot" / "valid.h5", rows)
    write_json(folder / "annot" / "valid.json", rows)
    as_mat(folder / MAT, rows)
    h5, mat, listed = (mpii_file(folder / path) for path in ("annot/valid.h5", MAT, "annot/valid.json"))
    assert len(h5) == len(mat) == len(listed) == len(rows["scale"])
    assert h5.name == mat.name == listed.name == f"{folder.name}/val"
    for i in range(len(h5)):
        same(h5.get(i), mat.get(i))
        same(h5.get(i), listed.get(i), visibility=False)
        np.testing.assert_array_equal(listed.get(i).visible, h5.get(i).labelled)
    for people in (h5, mat):
        np.testing.assert_array_equal(people.index, rows["index"].astype(int))
        np.testing.assert_array_equal(people.person, rows["person"].astype(int))
    assert listed.index is None and listed.person is None


def test_the_forms_agree(tmp_path: Path) -> None:
    rows = made_rows()
    check_forms(tmp_path / "mpii", rows)
    people = mpii_file(tmp_path / "mpii" / "annot" / "valid.h5")
    sample = people.get(1)
    assert sample.name == f"{rows['imgname'][1].decode()}#{int(rows['person'][1])}"
    assert sample.image.shape == (4, 6, 3) and sample.joints.dtype == np.float64
    assert sample.box == Box.from_mpii(rows["center"][1], float(rows["scale"][1]))
    assert sample.normalize == rows["normalize"][1]
    assert sample.labelled[4] and not people.get(2).labelled[5]


def test_the_forms_agree_on_real_people(tmp_path: Path, shared: Path) -> None:
    with h5py.File(shared / "data" / "mpii" / "annot" / "valid.h5") as file:
        near = file["index"][()] < 500
        check_forms(tmp_path, {name: file[name][()][near] for name in made_rows()})


def test_a_joint_is_visible_only_where_labelled(tmp_path: Path) -> None:
    rows = made_rows()
    rows["visible"][:] = 1
    rows["part"][3], rows["visible"][3] = -1, -1  # how the published conversion writes somebody without joints
    write_h5(tmp_path / "valid.h5", rows)
    people = read_h5(tmp_path / "valid.h5", "val")
    assert not people.labelled[3].any() and 0 < people.labelled.sum() < people.labelled.size - 16
    np.testing.assert_array_equal(people.visible, people.labelled)


# The real file


def test_the_validation_file_has_its_published_counts(shared: Path) -> None:
    people = read_h5(shared / "data" / "mpii" / "annot" / "valid.h5", "val")
    assert len(people.names) == 2958 and len(np.unique(people.names)) == 2729
    assert people.labelled.sum() == 44_239
    assert people.labelled[:, [0, 5]].sum() == 4234 and people.labelled[:, HEAD].sum() == 2931
    assert not (people.visible & ~people.labelled).any()
    np.testing.assert_allclose(people.normalize, 20 * people.scale, rtol=0, atol=1e-9)


def test_the_bundled_split_is_that_of_the_validation_file(shared: Path) -> None:
    people = read_h5(shared / "data" / "mpii" / "annot" / "valid.h5", "val")
    assert people.index is not None and people.person is not None
    pairs = [(picture, person) for picture, listed in validation_people().items() for person in listed]
    assert len(pairs) == 2958
    assert set(pairs) == set(zip(people.index.tolist(), people.person.tolist(), strict=True))


def test_people_with_real_pictures(shared: Path) -> None:
    folder = shared / "data" / "mpii"
    people = mpii_file(folder / "annot" / "valid.h5", missing="skip")
    sampled = mpii_file(folder / "sample.h5")
    with h5py.File(folder / "sample.h5") as file:
        official = np.flatnonzero(file["official"][()])
        index = file["valid_index"][()]
    assert len(people) == len(official) == 6 and people.absent == 2952
    assert people.note.startswith("6 people of 6 images of the official validation split; left out: 2,952 people")
    rows = read_h5(folder / "annot" / "valid.h5", "val")
    mine = {people.get(i).name.partition("#")[0]: people.get(i) for i in range(len(people))}
    for row in official:
        sample = sampled.get(int(row))
        twin = mine[sample.name]
        assert twin.name == f"{sample.name}#{rows.person[index[row]]}" if rows.person is not None else False
        assert (rows.names[index[row]], sample.image.shape) == (sample.name, twin.image.shape)
        for crop in (warp(one.image, one.box.to_crop(256), 256) for one in (sample, twin)):
            assert crop.std() > 10
            np.testing.assert_array_equal(crop, warp(sample.image, sample.box.to_crop(256), 256))
        np.testing.assert_array_equal(sample.joints, twin.joints)
        np.testing.assert_array_equal(sample.labelled, twin.labelled)
        np.testing.assert_array_equal(sample.visible, twin.visible)
        assert (sample.box, sample.normalize) == (twin.box, twin.normalize)


# The official file


def test_who_is_in_which_split_of_the_official_file(tmp_path: Path) -> None:
    whole = HEADBOX | SOMEBODY | placed(2.0, 40.0, 50.0)
    write_mat(
        tmp_path / MAT,
        {
            0: [whole, HEADBOX | placed(2.0, 1.0, 2.0), whole],  # the second has no joints
            1: [],
            2: [HEADBOX | SOMEBODY, HEADBOX | SOMEBODY | {"scale": 1.0}],  # no place
            3: [HEADBOX | placed(2.0, 1.0, 2.0)],  # no field of joints at all
            4: [whole, HEADBOX],
            5: [placed(3.0, 70.0, 80.0), placed(4.0, 7.0, 8.0), {"scale": 1.0}, {}],
            6: [whole, whole],  # person 0 is for validation; the other is for nothing
            17: [HEADBOX | placed(1.0, 2.0, 3.0)],  # would be for validation, had anybody labelled them
            18: [whole],
        },
        test=(4, 5),
    )
    people = read_mat(tmp_path / MAT)

    def pairs(split: str) -> list[tuple[int, int]]:
        rows = people[split]
        assert rows.index is not None and rows.person is not None
        assert rows.names.tolist() == [f"{index:09}.jpg" for index in rows.index]
        return list(zip(rows.index.tolist(), rows.person.tolist(), strict=True))

    assert pairs("train") == [(0, 0), (0, 2), (2, 0), (2, 1), (18, 0)]
    assert pairs("val") == [(6, 0)]
    assert pairs("test") == [(4, 0), (4, 1), (5, 0), (5, 1), (5, 2), (5, 3)]
    assert not people["test"].labelled.any()  # not even where the file has joints
    assert people["train"].labelled.sum(axis=1).tolist() == [1] * 5
    np.testing.assert_array_equal(people["train"].joints[0, 6], (50, 60))

    draw(tmp_path / "images", [f"{i:09}.jpg".encode() for i in range(19)])
    opened = {split: there.open() for split, there in splits(tmp_path).items()}
    assert {split: len(one) for split, one in opened.items()} == {"train": 3, "val": 1, "test": 3}
    assert isinstance(opened["train"], MpiiPeople)
    assert opened["train"].note == (
        "3 people of 2 images; the official training split has 22,246; left out: 2 people without scale or centre"
    )
    sample = opened["test"].get(1)
    assert sample.name == "000000005.jpg#0" and not sample.evaluate.any() and sample.normalize == 75
    assert sample.box == Box(70, 80 + 45, 750)


def test_of_a_joint_given_twice_the_first_counts(tmp_path: Path) -> None:
    twice = structs({"id": 3, "x": 5, "y": 6}, {"id": 3, "x": 7, "y": 8}, {"id": 16, "x": 1, "y": 1}, {"x": 2, "y": 3})
    write_mat(tmp_path / MAT, {0: [{"annopoints": structs({"point": twice})} | placed(1.0, 2.0, 3.0)]})
    people = read_mat(tmp_path / MAT)["train"]
    assert np.flatnonzero(people.labelled[0]).tolist() == [3] and people.joints[0, 3].tolist() == [5, 6]


# The other splits of the other forms


def test_test_splits_have_boxes_and_no_labels(tmp_path: Path) -> None:
    rows = made_rows()
    draw(tmp_path / "images", rows["imgname"])
    write_json(tmp_path / "annot" / "test.json", rows, joints=False)
    write_h5(tmp_path / "test.h5", rows | {"normalize": np.full(len(rows["scale"]), -1.0)})
    listed, h5 = mpii_file(tmp_path / "annot" / "test.json"), mpii_file(tmp_path / "test.h5")
    for i in range(len(h5)):
        same(h5.get(i), listed.get(i), visibility=False)
        assert not h5.get(i).labelled.any() and h5.get(i).normalize == pytest.approx(20 * rows["scale"][i])
    assert h5.note == f"{len(h5)} people of {np.unique(rows['imgname']).size} images"


def test_people_without_a_box_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = made_rows()
    count = len(rows["scale"])
    rows["scale"][0], rows["scale"][1], rows["scale"][2] = 0, -1.25, np.nan
    rows["center"][3] = np.nan
    rows["center"][4] = -1, -1 + 12 * rows["scale"][4]  # "no centre", as the conversion of the json moves it
    write_h5(tmp_path / "valid.h5", rows)
    write_json(tmp_path / "valid.json", rows)
    draw(tmp_path / "images", rows["imgname"])
    for people in (mpii_file(tmp_path / "valid.h5"), mpii_file(tmp_path / "valid.json")):
        assert len(people) == count - 5 and people.absent == 0
        assert people.note.endswith(
            "; the official validation split has 2,958; left out: 5 people without scale or centre"
        )
        assert people.get(0).name.startswith(rows["imgname"][5].decode())


def test_the_official_split_is_recognised_by_its_size(tmp_path: Path) -> None:
    rows = made_rows()
    many = {name: np.resize(value, (2958, *value.shape[1:])) for name, value in rows.items()}
    write_h5(tmp_path / "valid.h5", many)
    draw(tmp_path / "images", rows["imgname"])
    images = np.unique(rows["imgname"]).size
    assert mpii_file(tmp_path / "valid.h5").note == f"2,958 people of {images} images: the official validation split"


# Finding it


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def packed(path: Path) -> None:
    write_h5(path, made_rows() | {"label": np.zeros(3)})
    with h5py.File(path, "a") as file:
        file.attrs["tars"] = "val_0.tar"


def small_mat(path: Path) -> None:
    write_mat(path, {0: [HEADBOX]})


def listed(path: Path) -> None:
    (write_h5 if path.suffix == ".h5" else write_json)(path, made_rows())


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, {}),
        ({"annot/train.h5": listed, "annot/valid.h5": listed}, {"train": "train.h5", "val": "valid.h5"}),
        (
            {"train.h5": listed, "val.h5": listed, "test.h5": listed},
            {"train": "train.h5", "val": "val.h5", "test": "test.h5"},
        ),
        ({"annot/valid.json": listed, "train.json": listed}, {"train": "train.json", "val": "valid.json"}),
        ({"annot/trainval.json": listed, "sample.h5": listed}, {}),
        ({MAT: small_mat}, {"train": MAT, "val": MAT, "test": MAT}),
        ({f"annot/{MAT}": small_mat}, {"train": MAT, "val": MAT, "test": MAT}),
        ({f"mpii_human_pose_v1_u12_2/{MAT}": small_mat}, {"train": MAT, "val": MAT, "test": MAT}),
        (
            {"annot/valid.h5": listed, MAT: small_mat, "annot/train.json": listed, "annot/valid.json": listed},
            {"train": MAT, "val": "valid.h5", "test": MAT},
        ),
        ({"val.h5": packed, "annot/valid.json": listed}, {"val": "valid.json"}),
        ({"val.h5": packed, "train.h5": packed}, {}),
        ({"val.h5": lambda path: write_h5(path, {"other": np.zeros(3)})}, {}),
        ({"val.h5": text("no HDF5")}, {}),
        ({"annot/valid.h5": text("no HDF5"), "images/a.jpg": Path.touch}, {"val": "valid.h5"}),
        ({"val.json": text('{"images": [], "annotations": [], "categories": []}')}, {}),
        ({"val.json": text('[{"image_id": 3, "score": 0.5}]')}, {}),
        ({"val.json": text("[")}, {}),
        ({"val.json": text("[]")}, {}),
        ({"val.json": lambda path: path.write_bytes(b"\x89HDF")}, {}),
        ({"val.json": text('\n [ {"image": "a", "scale": 1, "center": [1, 2]},')}, {"val": "val.json"}),
    ],
)
def test_what_a_folder_holds(files: dict[str, Callable[[Path], object]], found: dict[str, str], tmp_path: Path) -> None:
    for name, write in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name)
    here = splits(tmp_path)
    assert list(here) == list(found)
    for split, file in found.items():
        with pytest.raises(HgrtError) as error:
            here[split].open()  # none of these has pictures, and some have nobody
        assert file in str(error.value) or f"/{split}" in str(error.value)


def test_the_form_that_is_preferred_is_the_one_opened(tmp_path: Path) -> None:
    rows = made_rows()
    draw(tmp_path / "images", rows["imgname"])
    forms: list[tuple[str, Callable[[Path], object]]] = [
        ("valid.json", lambda path: write_json(path, {name: value[:3] for name, value in rows.items()})),
        (MAT, lambda path: as_mat(path, {name: value[:5] for name, value in rows.items()})),
        ("valid.h5", lambda path: write_h5(path, {name: value[:7] for name, value in rows.items()})),
    ]
    for (name, write), count in zip(forms, (3, 5, 7), strict=True):
        write(tmp_path / "annot" / name)
        people: People = splits(tmp_path)["val"].open()
        assert (len(people), people.name) == (count, f"{tmp_path.name}/val")
        assert splits(tmp_path)["val"].labels == tmp_path / "annot" / name


# What is wrong is said


def test_pictures_that_are_not_there(tmp_path: Path) -> None:
    rows = made_rows()
    names = sorted(set(rows["imgname"]))
    write_h5(tmp_path / "annot" / "valid.h5", rows)
    open_it = splits(tmp_path)["val"].open
    with pytest.raises(
        HgrtError, match=f"images.\nThere is no such folder, so no {names[0].decode()}.\n.*mpi-inf.*12.9 GB"
    ):
        open_it()
    (tmp_path / "images").mkdir()
    for allowed in (open_it, splits(tmp_path, "skip")["val"].open):
        with pytest.raises(HgrtError, match=f"None of the {len(names)} pictures .*\nThere is no {names[0].decode()}"):
            allowed()
    draw(tmp_path / "images", names[4:])
    with pytest.raises(HgrtError) as error:
        open_it()
    assert f"4 of the {len(names)} pictures of {tmp_path.name}/val are not in" in error.value.what
    assert ", ".join(name.decode() for name in names[:3]) in error.value.why and "hgrt data check" in error.value.fix
    people = splits(tmp_path, "skip")["val"].open()
    assert isinstance(people, MpiiPeople) and people.index is not None
    gone = np.isin(rows["imgname"], names[:4])
    assert people.absent == gone.sum() >= 4 and len(people) == (~gone).sum()
    assert people.note.endswith(f"; left out: {gone.sum()} people whose pictures (4) are not there")
    np.testing.assert_array_equal(people.index, rows["index"][~gone])
    assert people.get(0).name.startswith(rows["imgname"][~gone][0].decode())


def without(field: str) -> Callable[[Path], None]:
    return lambda path: write_h5(path, {name: value for name, value in made_rows().items() if name != field})


def changed(field: str, value: Any) -> Callable[[Path], None]:
    return lambda path: write_h5(path, made_rows() | {field: value})


def cut_mat(path: Path) -> None:
    as_mat(path, made_rows())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def release(annolist: Any, img_train: Any) -> Callable[[Path], None]:
    return lambda path: savemat(path, {"RELEASE": {"annolist": annolist, "img_train": img_train}})


ENTRY = '{"image": "a.jpg", "scale": 1, "center": [1, 2], "joints_vis": %s, "joints": %s}'


@pytest.mark.parametrize(
    ("file", "write", "said"),
    [
        ("valid.h5", text("no HDF5"), "cannot be read as annotations of MPII"),
        ("valid.h5", lambda path: None, "cannot be read as annotations of MPII"),
        ("valid.h5", without("part"), "It lacks part"),
        ("valid.h5", packed, "packed set"),
        ("valid.h5", changed("center", np.ones((3, 2))), "other shapes"),
        ("valid.h5", changed("imgname", np.zeros(3)), "cannot be read as annotations"),
        ("valid.h5", changed("scale", np.zeros(len(made_rows()["scale"]))), "nobody in .*/val"),
        ("valid.json", text("[1"), "cannot be read as annotations"),
        ("valid.json", text("{}"), "no list of people"),
        ("valid.json", text("[1]"), "cannot be read as annotations"),
        ("valid.json", text('[{"image": "a.jpg", "scale": 1}]'), "lacks 'center'"),
        ("valid.json", text(f"[{ENTRY % ([1], [[1, 2]])}]"), "16 joints"),
        ("valid.json", text(f"[{ENTRY % ([1] * 16, [[1]])}, {ENTRY % ([1] * 16, [[1, 2]])}]"), "cannot be read as"),
        (MAT, text("no MATLAB"), "cannot be read as the official"),
        (MAT, cut_mat, "cannot be read as the official"),
        (MAT, release(1, 1), "cannot be read as the official"),
        (MAT, release(structs({"image": structs({"name": "a"}), "annorect": 0}), [1, 1]), "1 pictures, 2 entries"),
        (MAT, lambda path: savemat(path, {"other": 1}), "cannot be read as the official"),
        (MAT, small_mat, "nobody in .*/val"),
        ("valid.csv", text(""), r"end in \.h5, \.mat or \.json"),
    ],
)
def test_a_flawed_file_is_refused(file: str, write: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    write(tmp_path / file)
    with pytest.raises(HgrtError, match=said):
        mpii_file(tmp_path / file)


# Pictures in a folder


def turned(jpeg: bytes) -> bytes:
    """A JPEG with the note that it is to be shown turned by a quarter."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_a_picture_is_read_as_it_lies_in_the_file(tmp_path: Path) -> None:
    draw(tmp_path, [b"a.jpg"])
    picture = tmp_path / "a.jpg"
    picture.write_bytes(turned(picture.read_bytes()))
    assert np.asarray(cv2.imread(str(picture))).shape == (6, 4, 3)  # the note is read by who heeds it
    image = read_image(picture)
    assert image.shape == (4, 6, 3) and np.abs(image.astype(int) - (10, 100, 200)).max() <= 3


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    write_h5(tmp_path / "valid.h5", made_rows())
    names = sorted({name.decode() for name in made_rows()["imgname"]})
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).write_bytes(b"no picture")
    people = mpii_file(tmp_path / "valid.h5")
    with pytest.raises(HgrtError, match=f"{names[0]} cannot be read"):
        people.get(0)
    (tmp_path / "images" / names[0]).unlink()
    with pytest.raises(HgrtError, match="No such file"):
        people.get(0)


def test_missing_images(tmp_path: Path) -> None:
    draw(tmp_path, [b"a.jpg", b"b.jpg"])
    assert missing_images(tmp_path, ["a.jpg", "d.jpg", "c.jpg", "d.jpg"]) == ["c.jpg", "d.jpg"]
    assert missing_images(tmp_path, ["a.jpg", "b.jpg"]) == []
    assert missing_images(tmp_path / "none", ["b", "a"]) == missing_images(tmp_path / "a.jpg", ["a", "b"]) == ["a", "b"]
