"""What the user calls their data is found in every form and place, and where it is not, the words say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from fakes import environment
from hgrt.data.cached import Cached
from hgrt.data.find import Part, find, look, look_all, open_sets
from hgrt.errors import HgrtError
from packing import jpeg, pack, rows


def write_mpii(folder: Path, split: str = "valid", people: int = 3) -> None:
    """The form of the published training: loose pictures, and an annotation file beside their folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annot").mkdir(exist_ok=True)
    values = rows(people)
    with h5py.File(folder / "annot" / f"{split}.h5", "w") as file:
        for field in ("imgname", "part", "visible", "center", "scale", "normalize"):
            file[field] = values[field]
    for i in range(people):
        (folder / "images" / f"{i}.jpg").write_bytes(jpeg(i))


def write_coco(folder: Path, split: str = "train2017") -> Path:
    """One person in COCO's form."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / split / "0.jpg").write_bytes(jpeg(0))
    names = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    keypoints = [10, 10, 2, 20, 10, 2, 10, 30, 1, 20, 30, 0]
    person = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 5, 20, 30], "keypoints": keypoints}
    content = {
        "images": [{"id": 7, "file_name": "0.jpg", "width": 60, "height": 40}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    path = folder / "annotations" / f"person_keypoints_{split}.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of each form side by side, and what is none."""
    folder = tmp_path_factory.mktemp("data")
    write_coco(folder / "everyday")
    write_mpii(folder / "films")
    pack(folder / "mine")
    pack(folder / "mine", "val", 2)
    (folder / "mine" / "notes").mkdir()
    (folder / "words.txt").write_text("words")
    return folder


def told(path: Path) -> list[tuple[str, str, str]]:
    return [(one.name, one.form, one.split) for one in look(path)]


def test_a_folder_of_sets_is_looked_into(folder: Path) -> None:
    packed = [("mine", "packed", "train"), ("mine", "packed", "val")]
    assert told(folder) == [("everyday", "COCO", "train"), ("films", "MPII", "val"), *packed]
    assert told(folder / "mine") == packed
    assert [one.open().name for one in look(folder)] == ["everyday/train", "films/val", "mine/train", "mine/val"]
    assert [len(one.open()) for one in look(folder)] == [1, 3, 5, 2]


def test_a_folder_that_is_a_set_is_not_looked_into(tmp_path: Path) -> None:
    pack(tmp_path)
    pack(tmp_path / "older")
    assert told(tmp_path) == [(tmp_path.name, "packed", "train")]


@pytest.mark.parametrize(
    ("file", "expected", "people"),
    [
        ("mine/val.h5", ("mine", "packed", "val"), 2),
        ("films/annot/valid.h5", ("films", "MPII", "val"), 3),
        ("everyday/annotations/person_keypoints_train2017.json", ("everyday", "COCO", "train"), 1),
    ],
)
def test_an_annotation_file_stands_for_its_set(
    file: str, expected: tuple[str, str, str], people: int, folder: Path
) -> None:
    (found,) = look(folder / file)
    assert (found.name, found.form, found.split) == expected
    assert len(found.open()) == people
    assert found.open().name == f"{expected[0]}/{expected[2]}"


def test_a_list_of_people_is_mpiis_json_and_any_other_split_keeps_its_name(tmp_path: Path) -> None:
    for name in ("sample.json", "mpii_human_pose_v1_u12_1.mat"):
        (tmp_path / name).write_text("\n [{}]")
    assert told(tmp_path / "sample.json") == [(tmp_path.name, "MPII", "sample")]
    assert told(tmp_path / "mpii_human_pose_v1_u12_1.mat") == [(tmp_path.name, "MPII", "val")]
    for name in ("sample.json", "mpii_human_pose_v1_u12_1.mat"):
        with pytest.raises(HgrtError, match=name):
            look(tmp_path / name)[0].open()


def test_a_path_given_twice_counts_once(folder: Path) -> None:
    again = folder / "films" / ".." / "mine"
    assert [one.split for one in look_all([folder / "mine", again])] == ["train", "val"]
    assert len(open_sets([folder / "mine", again], "train")) == 1


def test_the_sets_that_have_a_split_are_opened(folder: Path) -> None:
    assert [people.name for people in open_sets([folder], "val")] == ["films/val", "mine/val"]
    with pytest.raises(HgrtError, match="no test split") as refused:
        open_sets([folder / "films", folder / "mine"], "test")
    assert "There is: films/val, mine/train, mine/val" in refused.value.why


def test_people_without_picture_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    write_mpii(tmp_path / "films", "train", 4)
    (tmp_path / "films" / "images" / "2.jpg").unlink()
    for path in (tmp_path, tmp_path / "films"):
        with pytest.raises(HgrtError, match="1 of the 4 pictures"):
            open_sets([path], "train")
    (found,) = look(tmp_path / "films", "skip")
    assert len(found.open()) == 3


def test_in_a_folder_of_sets_one_that_cannot_be_opened_is_left_out_and_said(tmp_path: Path) -> None:
    write_mpii(tmp_path / "films", "train", 4)
    (tmp_path / "films" / "images" / "2.jpg").unlink()
    write_mpii(tmp_path / "whole", "train", 3)
    said: list[str] = []
    (people,) = open_sets([tmp_path], "train", said.append)
    assert people.name == "whole/train" and len(find([tmp_path], 0, 0).train) == 3
    assert len(said) == 1 and "films/train" in said[0] and "1 of the 4 pictures" in said[0]
    with pytest.raises(HgrtError, match="1 of the 4 pictures"):
        open_sets([tmp_path / "films", tmp_path / "whole"], "train")


@pytest.mark.parametrize(
    ("name", "what", "why"),
    [
        ("gone", "no data folder", "Looked for"),
        ("empty", "no data in", "there is nothing"),
        ("full", "no data in", "there is 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
        ("words.txt", "is no data", "ends in .h5, .mat or .json"),
    ],
)
def test_where_there_is_nothing_the_message_says_what_there_is(name: str, what: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "full" / ".hidden").mkdir(parents=True)
    for i in range(9):
        (tmp_path / "full" / str(i)).write_text("words")
    (tmp_path / "full" / "deep" / "er").mkdir(parents=True)
    pack(tmp_path / "full" / "deep" / "er")
    with pytest.raises(HgrtError, match=what) as refused:
        look(tmp_path / name)
    assert name in refused.value.what and why in refused.value.why
    for word in ("MPII", "human-pose.mpi-inf.mpg.de", ".mat", "COCO", "packed", "docs/data.md", "--synthetic"):
        assert word in refused.value.fix


def test_h5py_is_asked_for_only_where_there_is_an_h5_file(folder: Path) -> None:
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from pathlib import Path\n"
        "from hgrt.data.find import look\n"
        "from hgrt.errors import HgrtError\n"
        f"print([one.open().name for one in look(Path({str(folder / 'everyday')!r}))])\n"
        f"try: look(Path({str(folder / 'mine')!r}))\n"
        "except HgrtError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("['everyday/train']\n")
    assert "'h5py'" in done.stdout and "hgrt[data]" in done.stdout


# What a training takes


def test_small_sets_are_repeated(tmp_path: Path) -> None:
    pack(tmp_path / "all" / "big", "train", 18)
    pack(tmp_path / "all" / "big", "val", 4)
    pack(tmp_path / "all" / "small", "train", 2)
    pack(tmp_path / "all" / "val only", "val", 3)
    (tmp_path / "all" / "notes").mkdir()
    data = find([tmp_path / "all"], synthetic=7, seed=0)
    labels = [tmp_path / "all" / name / "train.h5" for name in ("big", "small")]
    assert data.parts == (
        Part("big/train", 18, 1, labels[0]),
        Part("small/train", 2, 3, labels[1]),
        Part("synthetic", 7),
    )
    assert len(data.train) == 18 + 3 * 2 + 7
    judges = [(people.name, len(people)) for people in data.val]
    assert judges == [("big/val", 4), ("val only/val", 3), ("synthetic", 7)]
    single = find([tmp_path / "all" / "small"], synthetic=0, seed=0)
    assert single.parts == (Part("small/train", 2, 1, labels[1]),) and single.val == ()


def test_a_set_to_measure_on_is_enough_beside_generated_people(tmp_path: Path) -> None:
    pack(tmp_path / "judge", "val", 2)
    data = find([tmp_path / "judge"], synthetic=3, seed=0)
    assert data.parts == (Part("synthetic", 3),)
    assert [people.name for people in data.val] == ["judge/val", "synthetic"]


def test_cached_sets_give_the_same_people_and_keep_each_once(tmp_path: Path) -> None:
    pack(tmp_path / "big", "train", 8)
    pack(tmp_path / "small", "train", 2)
    data = find([tmp_path], synthetic=0, seed=0)
    heard: list[tuple[int, int]] = []
    kept = data.cached(1000, lambda done, total: heard.append((done, total)))
    assert kept.parts == data.parts
    assert [(part.name, part.repeats) for part in kept.parts] == [("big/train", 1), ("small/train", 2)]
    assert heard == [(i, 8) for i in range(1, 9)] + [(1, 2), (2, 2)]
    assert all(isinstance(people, Cached) for people in kept.sets) and kept.train.name == data.train.name
    for i in range(len(data.train)):
        np.testing.assert_array_equal(kept.train.get(i).image, data.train.get(i).image)
    assert kept.train.get(8).image is kept.train.get(10).image
    assert [people.get(1).name for people in kept.val] == [people.get(1).name for people in data.val]


def test_a_training_set_that_is_no_mixture_is_cached_too(tmp_path: Path) -> None:
    from hgrt.data.find import DataSets, Part

    pack(tmp_path)
    (people,) = open_sets([tmp_path], "train")
    kept = DataSets(people, (), (Part(people.name, 5),)).cached(1000)
    assert isinstance(kept.train, Cached) and len(kept.train) == 5


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="nothing to train on") as nothing:
        find([], 0, 0)
    assert "--synthetic" in nothing.value.fix
    pack(tmp_path / "judge", "val", 2)
    with pytest.raises(HgrtError, match="no train split") as judge:
        find([tmp_path / "judge"], 0, 0)
    assert "judge/val" in judge.value.why
