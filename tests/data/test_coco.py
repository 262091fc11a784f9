"""COCO's JSON form: joints go by name, what is read is what was written, and each flaw is named with its file."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hgrt.data import head_size
from hgrt.data.coco import NAMES, CocoPeople, coco_file, splits
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII

COCO17 = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"] + [
    f"{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]  # fmt: skip
JOINT = {name: index for index, name in enumerate(MPII.joints)}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def content(names: list[str], people: list[dict[str, Any]], images: int = 1) -> dict[str, Any]:
    """A file's content; the people need only what differs from a person at (10, 20) with all joints at (3, 4)."""
    usual = {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "keypoints": [3, 4, 2] * len(names)}
    return {
        "images": [{"id": 7 + i, "file_name": f"{i}.png"} for i in range(images)],
        "annotations": [{"id": 100 + i, **usual, **person} for i, person in enumerate(people)],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }


def picture(index: int) -> Any:
    return np.full((5 + index, 6, 3), (40 * index, 90, 200), np.uint8)


def write(folder: Path, what: Any, split: str = "train") -> Path:
    """A file `split`.json and its pictures in images/."""
    path = folder / f"{split}.json"
    path.write_text(json.dumps(what))
    for i, image in enumerate(what["images"]):
        target = folder / "images" / image["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), picture(i))
    return path


def person(folder: Path, names: list[str], **fields: Any) -> Any:
    """The only person of a set with these keypoint names."""
    return coco_file(write(folder, content(names, [fields]))).get(0)


# What is written is read


coordinates = st.floats(-1e4, 1e5)
keypoint = st.tuples(coordinates, coordinates, st.integers(0, 2))


@st.composite
def sets(draw: st.DrawFn) -> tuple[list[str], list[dict[str, Any]]]:
    own = [name for name in MPII.joints if name not in ("pelvis", "thorax")]  # those two have their own test
    names = draw(st.lists(st.sampled_from([*own, "nose", "tail"]), unique=True))
    names += [] if set(names) & set(own) else ["l_hip"]
    row = {
        "image_id": st.integers(7, 9),
        "bbox": st.tuples(coordinates, coordinates, st.floats(0.5, 1e4), st.floats(0.5, 1e4)),
        "keypoints": st.lists(keypoint, min_size=len(names), max_size=len(names)),
        "head_size": st.none() | st.floats(0.1, 1e3),
    }
    return names, draw(st.lists(st.fixed_dictionaries(row), min_size=1, max_size=6))


@given(sets())
@settings(max_examples=30)
def test_a_set_is_read_as_it_was_written(written: tuple[list[str], list[dict[str, Any]]]) -> None:
    names, people = written
    flat = [{**one, "keypoints": np.ravel(one["keypoints"]).tolist()} for one in people]
    wanted = [  # those with a joint to learn from
        (number, one)
        for number, one in enumerate(people)
        if any(v for name, (_, _, v) in zip(names, one["keypoints"], strict=True) if name in JOINT)
    ]
    with TemporaryDirectory() as folder:
        path = write(Path(folder), content(names, flat, images=3))
        if not wanted:
            with pytest.raises(HgrtError, match="Nobody in it"):
                coco_file(path)
            return
        read = coco_file(path)
        samples = [read.get(i) for i in range(len(read))]
    assert len(samples) == len(wanted)
    shown = [one["image_id"] for _, one in wanted]
    for sample, (number, one) in zip(samples, wanted, strict=True):
        file = f"{one['image_id'] - 7}.png"
        assert sample.name == (file if shown.count(one["image_id"]) == 1 else f"{file}#{100 + number}")
        np.testing.assert_array_equal(sample.image, picture(one["image_id"] - 7))
        by_joint = {name: values for name, values in zip(names, one["keypoints"], strict=True) if name in JOINT}
        for name in set(MPII.joints) - {"pelvis", "thorax"}:
            x, y, v = by_joint.get(name, (0, 0, 0))
            joint = JOINT[name]
            assert (sample.labelled[joint], sample.visible[joint], sample.evaluate[joint]) == (v > 0, v == 2, v > 0)
            assert v == 0 or tuple(sample.joints[joint]) == (x, y)
        assert sample.box == Box.from_xywh(*one["bbox"])
        assert sample.normalize > 0 and (one["head_size"] is None or sample.normalize == one["head_size"])
        assert np.isfinite(sample.joints).all() and sample.joints.dtype == np.float64 and not sample.empty


def test_coco_itself_agrees_with_the_packed_copy(shared: Path, tmp_path: Path) -> None:
    with h5py.File(shared / "data" / "coco" / "val.h5") as file:
        packed = {name: file[name][()] for name in file}
    corners = packed["bbox"].astype(np.float64)
    keypoints = packed["kp17"].astype(np.float64)
    keypoints[..., :2] = np.where(keypoints[..., 2:] > 0, np.maximum(keypoints[..., :2], 0.01), 0)  # packed are all > 0
    pictures = sorted(set(packed["image_id"].tolist()))
    whole = {
        "images": [{"id": one, "file_name": f"{one:012d}.jpg"} for one in pictures],
        "categories": [{"id": 1, "name": "person", "keypoints": COCO17}],
        "annotations": [
            {
                "id": i,
                "image_id": int(packed["image_id"][i]),
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [[1.0, 2.0, 3.0, 4.0]],
                "num_keypoints": int((keypoints[i, :, 2] > 0).sum()),
                "bbox": [*corners[i, :2], *(corners[i, 2:] - corners[i, :2])],
                "keypoints": keypoints[i].ravel().tolist(),
            }
            for i in range(len(corners))
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(whole))
    with tarfile.open(shared / "data" / "coco" / "val.tar") as tar:
        tar.extractall(tmp_path / "val2017", filter="data")
    people = splits(tmp_path)["val"].open()
    assert isinstance(people, CocoPeople) and len(people) == 83
    samples = [people.get(i) for i in range(len(people))]
    labelled = np.array([sample.labelled for sample in samples])
    np.testing.assert_array_equal(labelled, packed["label"] > 0)
    np.testing.assert_array_equal([sample.evaluate for sample in samples], packed["evaluate"] > 0)
    np.testing.assert_array_equal([sample.visible for sample in samples], packed["visible"] > 0)
    joints = np.array([sample.joints for sample in samples])
    np.testing.assert_allclose(joints[labelled], packed["part"][labelled], atol=1e-4)
    # The packed boxes take COCO's edges for pixel centres, which is half a pixel off: boxes are no part of a score.
    centres = np.array([(sample.box.cx, sample.box.cy) for sample in samples])
    np.testing.assert_allclose(centres + 0.5, packed["center"], atol=1e-3)
    np.testing.assert_allclose([sample.box.side for sample in samples], 200 * packed["scale"], rtol=1e-5)
    # Another estimate of the same unknown heads: ours is 5 % smaller in the middle and close to it for nearly everyone.
    ratio = np.array([sample.normalize for sample in samples]) / packed["normalize"]
    assert 0.93 < np.median(ratio) < 0.97 and np.median(np.abs(ratio - 1)) < 0.075
    assert np.corrcoef(np.log(packed["normalize"]), np.log(packed["normalize"] * ratio))[0, 1] > 0.98


# Names


@pytest.mark.parametrize(
    ("name", "joint"),
    [(name, joint) for joint, names in NAMES.items() for name in names]
    + [("left_shoulder", "l_shoulder"), ("right_ankle", "r_ankle"), ("r_ankle", "r_ankle"), ("l_wrist", "l_wrist")]
    + [("head", "head_top"), ("top_head", "head_top"), ("neck", "upper_neck"), ("thorax", "thorax")]
    + [("Left Hip", "l_hip"), ("RIGHT-KNEE", "r_knee"), (" r_elbow ", "r_elbow")],
)
def test_a_joint_is_known_by_its_names(name: str, joint: str, tmp_path: Path) -> None:
    sample = person(tmp_path, ["tail", name], keypoints=[1, 2, 2, 8, 9, 1])
    assert MPII.joints[int(np.flatnonzero(sample.labelled)[0])] == joint and sample.labelled.sum() == 1
    assert tuple(sample.joints[JOINT[joint]]) == (8, 9) and not sample.visible.any()


def test_no_name_belongs_to_two_joints() -> None:
    every = [name for names in NAMES.values() for name in names]
    assert len(every) == len(set(every)) and set(NAMES) == set(MPII.joints)


def test_the_more_exact_of_two_names_is_taken_and_the_rest_listed(tmp_path: Path) -> None:
    names = ["head", "nose", "head_top", "neck"]
    people = coco_file(write(tmp_path, content(names, [{"keypoints": [1, 1, 2, 2, 2, 2, 3, 3, 2, 4, 4, 2]}])))
    sample = people.get(0)
    assert tuple(sample.joints[JOINT["head_top"]]) == (3, 3) and tuple(sample.joints[JOINT["upper_neck"]]) == (4, 4)
    assert people.note.startswith("1 people of 1 images; passed over: head, nose")


def test_categories_have_their_own_names(tmp_path: Path) -> None:
    what = content(["l_hip", "r_hip"], [{"keypoints": [1, 2, 2, 3, 4, 2]}, {"category_id": 2, "keypoints": [5, 6, 2]}])
    what["categories"] += [{"id": 2, "keypoints": ["left_ankle"]}, {"id": 3, "name": "ball"}]
    what["annotations"] += [{"category_id": 3}, {"category_id": 99}]  # no people, so nothing is asked of them
    people = coco_file(write(tmp_path, what))
    assert [np.flatnonzero(people.get(i).evaluate).tolist() for i in (0, 1)] == [[2, 3], [5]]


# Derived joints


@pytest.mark.parametrize(("joint", "sides"), [("pelvis", ("l_hip", "r_hip")), ("thorax", ("l_shoulder", "r_shoulder"))])
@pytest.mark.parametrize(
    ("flags", "at", "labelled", "visible", "evaluate"),
    [
        ((2, 2, 0), (20, 30), True, True, False),
        ((2, 1, 0), (20, 30), True, False, False),
        ((2, 0, 0), None, False, False, False),
        ((2, 2, 2), (50, 60), True, True, True),
        ((0, 2, 1), (50, 60), True, False, True),
    ],
)
def test_the_middle_of_two_joints(
    joint: str,
    sides: tuple[str, str],
    flags: tuple[int, int, int],
    at: tuple[int, int] | None,
    labelled: bool,
    visible: bool,
    evaluate: bool,
    tmp_path: Path,
) -> None:
    values = [10, 20, flags[0], 30, 40, flags[1], 50, 60, flags[2]]
    sample = person(tmp_path, [*sides, joint], keypoints=values)
    index = JOINT[joint]
    assert (sample.labelled[index], sample.visible[index], sample.evaluate[index]) == (labelled, visible, evaluate)
    assert at is None or tuple(sample.joints[index]) == at


def test_a_derived_joint_needs_no_name_of_its_own(tmp_path: Path) -> None:
    sample = person(tmp_path, ["left_hip", "right_hip"], keypoints=[10, 20, 2, 30, 40, 2])
    assert np.flatnonzero(sample.labelled).tolist() == [2, 3, 6] and tuple(sample.joints[6]) == (20, 30)


# Head size


def test_where_the_head_size_comes_from(tmp_path: Path) -> None:
    names = ["upper_neck", "head_top", "left_shoulder", "right_shoulder"]
    far = [0, 0, 2, 30, 40, 2, 0, 0, 2, 159.7, 0, 2]
    assert person(tmp_path, names, keypoints=far, head_size=33).normalize == 33
    assert person(tmp_path, names, keypoints=far).normalize == pytest.approx(0.75 * 50)
    assert person(tmp_path, names, keypoints=far, head_size=None).normalize == pytest.approx(0.75 * 50)
    shoulders = person(tmp_path, names, keypoints=[0, 0, 0, *far[3:]])
    assert shoulders.normalize == pytest.approx(100)  # 159.7 pixels of 1.597 head sizes
    pointless = person(tmp_path, names, keypoints=[30, 40, 2, *far[3:]])  # head top on the neck says nothing
    assert pointless.normalize == pytest.approx(100)
    alone = person(tmp_path, names, keypoints=[3, 4, 2] + [0] * 9)
    assert alone.normalize == pytest.approx(40 / head_size.BOX_TYPICAL)
    end_on = person(tmp_path, names, keypoints=[0] * 6 + [3, 4, 2] * 2)
    assert end_on.normalize == pytest.approx(40 / head_size.BOX_MOST)


def test_the_proportions_are_those_of_mpii(shared: Path) -> None:
    poses = np.load(shared / "data" / "mpii" / "poses.npz")
    joints, labelled = poses["part"].astype(np.float64), poses["label"] > 0
    truth = poses["normalize"].astype(np.float64)
    lengths: dict[float, list[Any]] = {}
    for start, end, length in head_size.SEGMENTS:
        a, b = MPII.indices(start), MPII.indices(end)
        known = labelled[:, a + b].all(axis=1)
        span = np.linalg.norm(joints[known][:, a].mean(axis=1) - joints[known][:, b].mean(axis=1), axis=-1)
        lengths.setdefault(length, []).append(span / truth[known])
    assert len(lengths) == 6
    for length, measured in lengths.items():
        assert np.percentile(np.concatenate(measured), 65) == pytest.approx(length, abs=0.001)
    hidden = np.where(labelled[..., None], joints, np.nan)
    longer = (np.nanmax(hidden, axis=1) - np.nanmin(hidden, axis=1)).max(axis=1)
    assert np.mean(longer / truth < head_size.BOX_MOST) == pytest.approx(0.99, abs=0.005)

    def error(known: Any) -> float:
        return float(np.median(np.abs(head_size.from_body(joints, known, longer) / truth - 1)))

    no_legs = labelled.copy()
    no_legs[:, [0, 1, 4, 5]] = False
    assert error(labelled) == pytest.approx(0.098, abs=0.001)
    assert error(no_legs) == pytest.approx(0.101, abs=0.001)
    heads = head_size.from_head(joints, labelled)
    assert np.isfinite(heads).mean() > 0.98 and np.nanmedian(np.abs(heads / truth - 1)) < 1e-5


# Where things lie


def test_the_layouts_are_found(tmp_path: Path) -> None:
    what = content(["l_hip"], [{}])
    for split, year in (("train", "2014"), ("train", "2017"), ("val", "2017"), ("test", "")):
        name = f"{split}{year}"
        (tmp_path / "coco" / "annotations").mkdir(parents=True, exist_ok=True)
        (tmp_path / "coco" / "annotations" / f"person_keypoints_{name}.json").write_text(json.dumps(what))
        (tmp_path / "coco" / name).mkdir()
        cv2.imwrite(str(tmp_path / "coco" / name / "0.png"), picture(0) + len(name))
    (tmp_path / "coco" / "annotations" / "instances_train2017.json").write_text("{}")
    found = splits(tmp_path / "coco")
    assert list(found) == ["train", "val", "test"]
    opened = {split: there.open() for split, there in found.items()}
    assert found["train"].labels.name == "person_keypoints_train2017.json"
    assert [people.name for people in opened.values()] == ["coco/train", "coco/val", "coco/test"]
    values = [opened[split].get(0).image[0, 0, 1] - 90 for split in ("train", "val", "test")]
    assert values == [9, 7, 4]  # the folder of each file, 2017 and not 2014

    flat = tmp_path / "flat"
    flat.mkdir()
    write(flat, what, "train")
    (flat / "val").mkdir()
    (flat / "val.json").write_text("\ufeff \n" + json.dumps(what), encoding="utf-8")
    cv2.imwrite(str(flat / "val" / "0.png"), picture(1))
    (flat / "images" / "0.png").rename(flat / "images" / "moved.png")
    (flat / "train.json").write_text(json.dumps(what).replace("0.png", "moved.png"))
    found = splits(flat)
    assert list(found) == ["train", "val"]
    assert found["train"].open().get(0).image.shape == (5, 6, 3) and found["val"].open().get(0).image.shape == (6, 6, 3)


@pytest.mark.parametrize("place", ["mine", "images", "images/mine", "."])
def test_pictures_are_found_where_they_are(place: str, tmp_path: Path) -> None:
    path = write(tmp_path, content(["l_hip"], [{}]), "mine")
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / "images" / "0.png").replace(tmp_path / place / "0.png")
    assert coco_file(path).get(0).image.shape == (5, 6, 3)


def test_other_forms_are_not_taken_for_coco(tmp_path: Path) -> None:
    assert splits(tmp_path) == {} and splits(tmp_path / "nowhere") == {}
    (tmp_path / "train.json").write_text('\n [{"joints": []}]')
    (tmp_path / "val.json").write_text("")
    (tmp_path / "test.json").mkdir()
    (tmp_path / "train.h5").touch()
    assert splits(tmp_path) == {}


def test_a_file_named_directly(tmp_path: Path) -> None:
    path = write(tmp_path, content(["l_hip"], [{}]), "mine")
    assert coco_file(path).name == f"{tmp_path.name}/mine"
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(HgrtError, match="1 of the 1 pictures"):
        coco_file(path)
    assert coco_file(path, tmp_path / "elsewhere").get(0).image.shape == (5, 6, 3)


def test_absent_pictures_are_refused_or_left_out(tmp_path: Path) -> None:
    what = content(["l_hip"], [{"image_id": 7 + i // 2} for i in range(6)], images=3)
    for i, image in enumerate(what["images"]):
        image["file_name"] = f"clip{i % 2}/{i}.png"
    path = write(tmp_path, what)
    assert coco_file(path).absent == 0
    (tmp_path / "images" / "clip1" / "1.png").unlink()
    with pytest.raises(HgrtError, match=r"1 of the 3 pictures .* are not in .*images\.\nThe first: clip1/1\.png"):
        coco_file(path)
    people = splits(tmp_path, missing="skip")["train"].open()
    assert isinstance(people, CocoPeople)
    assert people.absent == 2 and "left out: 2 people whose pictures (1)" in people.note
    assert [people.get(i).name for i in range(len(people))] == [
        f"clip0/{i}.png#{n}" for i, n in ((0, 100), (0, 101), (2, 104), (2, 105))
    ]
    with pytest.raises(HgrtError, match="There is no folder"):
        coco_file(path, tmp_path / "nowhere", missing="skip")


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, content(["l_hip"], [{}]))
    (tmp_path / "images" / "0.png").write_text("no picture")
    with pytest.raises(HgrtError, match=r"0\.png cannot be read"):
        coco_file(path).get(0)


# Who is left out


def test_who_is_left_out_is_counted(tmp_path: Path) -> None:
    people: list[dict[str, Any]] = [
        {},
        {"iscrowd": 1, "keypoints": "none"},
        {"bbox": [1, 1, 0, 5]},
        {"keypoints": [0, 0, 0, 5, 5, 2]},
    ]
    read = coco_file(write(tmp_path, content(["l_hip", "nose"], [*people, {"iscrowd": 0}])))
    assert len(read) == 2
    for words in ("1 crowds", "1 people without a box", "1 people without a labelled joint"):
        assert f"left out: {words}" in read.note
    assert "head size of 2 people estimated" in read.note


def test_nobody_left_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, content(["l_hip"], [{"iscrowd": 1}]))
    with pytest.raises(HgrtError, match="Nobody in it has a box and a labelled joint, of 1 annotations"):
        coco_file(path)


# Flaws


def put(*keys: Any, value: Any) -> Callable[[Any], None]:
    def change(what: Any) -> None:
        for key in keys[:-1]:
            what = what[key]
        what[keys[-1]] = value

    return change


def drop(*keys: Any) -> Callable[[Any], None]:
    def change(what: Any) -> None:
        for key in keys[:-1]:
            what = what[key]
        del what[keys[-1]]

    return change


SECOND = r"annotations\[1\], id 101"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        *((drop(part), f"has no list called {part}") for part in ("images", "annotations", "categories")),
        (put("images", value={}), "has no list called images"),
        *((drop("images", 1, field), rf"images\[1\] has no {field}") for field in ("id", "file_name")),
        (put("images", 1, "file_name", value=5), r"images\[1\]: file_name is not a name"),
        (put("images", 1, "file_name", value="a\0b"), r"images\[1\]: file_name is not a name"),
        (put("images", 1, "id", value=7), r"images\[1\]: another image has the id 7 too"),
        (put("images", 1, "id", value=[7]), r"images\[1\]: \[7\] is no id"),
        (put("images", 1, value="x.png"), r"images\[1\] has no id"),
        (drop("categories", 0, "id"), r"categories\[0\] has no id"),
        (put("categories", 0, "keypoints", value="l_hip"), r"categories\[0\]: keypoints is not a list of names"),
        (put("categories", 0, "keypoints", value=[1, 2]), r"categories\[0\]: keypoints is not a list of names"),
        (put("categories", 0, "keypoints", value=["l_hip", "L Hip"]), "the keypoint l_hip is named twice"),
        (put("categories", 0, "keypoints", value=["tail", "left_ear"]), "It has: tail, left_ear. Known are: r_ankle/r"),
        (drop("categories", 0, "keypoints"), "No keypoint has a known name. It has: none"),
        *(
            (drop("annotations", 1, field), rf"annotations\[1\].* has no {field}")
            for field in ("id", "image_id", "category_id", "bbox", "keypoints")
        ),
        (put("annotations", 1, value=None), r"annotations\[1\] has no category_id"),
        (put("annotations", 1, "image_id", value=12), f"{SECOND}: there is no image 12"),
        (put("annotations", 1, "bbox", value=[1, 2, 3]), f"{SECOND}: bbox has 3 numbers instead of 4"),
        (put("annotations", 1, "bbox", value=[1, 2, 3, "4"]), f"{SECOND}: bbox is not a list of numbers"),
        (put("annotations", 1, "bbox", value=7), f"{SECOND}: bbox is not a list of numbers"),
        (put("annotations", 1, "bbox", value=[1, 2, 10**400, 4]), f"{SECOND}: bbox is not a list of numbers"),
        (put("annotations", 1, "bbox", value=[1, 2, float("inf"), 4]), f"{SECOND}: bbox has numbers that cannot be"),
        (put("annotations", 1, "bbox", value=[1, 2, 1e200, 4]), f"{SECOND}: bbox has numbers that cannot be pixels"),
        (put("annotations", 1, "keypoints", value=[1, 2, 2]), f"{SECOND}: keypoints has 3 numbers instead of 6"),
        (put("annotations", 1, "keypoints", value=[1, 2, 2, 3, None, 2]), f"{SECOND}: keypoints is not a list of num"),
        (put("annotations", 1, "keypoints", value=[1, 2, 2, 3, float("nan"), 2]), f"{SECOND}: keypoints has numbers"),
        (put("annotations", 1, "keypoints", value=[1, 2, 2, 3, 4, 3]), f"{SECOND}: a keypoint is neither"),
        (put("annotations", 1, "keypoints", value=[1, 2, 0.5, 3, 4, 2]), f"{SECOND}: a keypoint is neither"),
        (put("annotations", 1, "head_size", value="big"), f"{SECOND}: head_size is not a list of numbers"),
        (put("annotations", 1, "head_size", value=0), f"{SECOND}: head_size is not positive"),
    ],
)
def test_a_flaw_is_named(spoil: Callable[[Any], None], said: str, tmp_path: Path) -> None:
    what = content(["l_hip", "r_hip"], [{}, {}], images=2)
    path = write(tmp_path, what)
    assert len(coco_file(path)) == 2
    spoil(what)
    path.write_text(json.dumps(what))
    with pytest.raises(HgrtError, match=said) as refused:
        coco_file(path)
    assert str(path) in refused.value.what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"images": [', "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "is not in COCO's form"),
        (b"3", "is not in COCO's form"),
        (None, "cannot be read as JSON"),
    ],
)
def test_what_is_no_such_file(text: bytes | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "train.json").write_bytes(text)
    with pytest.raises(HgrtError, match=said) as refused:
        coco_file(tmp_path / "train.json")
    assert str(tmp_path / "train.json") in refused.value.what


# What the page says


def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    example = re.search(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    what = json.loads(example[1])
    people = coco_file(write(tmp_path, what))
    assert len(people) == len(what["annotations"]) == 2
    samples = [people.get(i) for i in range(2)]
    assert all(sample.labelled[[6, 7]].all() and not sample.evaluate[[6, 7]].any() for sample in samples)
    assert {sample.normalize for sample in samples} >= {
        one["head_size"] for one in what["annotations"] if "head_size" in one
    }
