"""`hgrt data check` as a user runs it: what it says of sound sets, of flawed ones, and of what is no data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import hgrt, hgrt_here, refused
from packing import jpeg, pack, tar

pytest.importorskip("h5py")


def whole(count: int) -> dict[str, np.ndarray]:
    """Labels without a flaw: all joints known, one hidden, the box within the picture."""
    label = np.ones((count, 16), np.uint8)
    visible = label.copy()
    visible[:, 5] = 0
    center = np.full((count, 2), 20.0)
    return {"label": label, "visible": visible, "evaluate": label, "center": center, "scale": np.full(count, 0.15)}


def test_a_sound_set_is_described_and_drawn(tmp_path: Path) -> None:
    pack(tmp_path / "mine", "train", 5, **whole(5))
    done = hgrt("data", "check", "mine", "--people", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "mine/train: packed, 5 people of 5 images"
    words = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert words["l_ankle"] == ["5", "100%", "5", "100%", "5"]
    assert words["head_top"] == ["5", "100%", "0", "0%", "5"]
    assert words["all"] == ["80", "100%", "5", "6%", "80"]
    assert words["pictures"][0] == "5"
    assert words["box"][1:6] == ["30", "/", "30", "/", "30"]
    assert "people: " not in done.stdout, "nothing is odd"
    assert lines[-3:] == ["sheet: data-check-mine-train.png", "", "Sound."]
    sheet = cv2.imread(str(tmp_path / "data-check-mine-train.png"))
    assert sheet is not None and sheet.shape[1] > 3 * 192
    assert sheet.std() > 10


def test_what_is_odd_is_counted_and_named_but_no_flaw(tmp_path: Path) -> None:
    changed = whole(5)
    joints = np.full((5, 16, 2), 20, np.float32)
    joints[0, 3] = (20, 400)
    changed["center"][1] = (35, 35)
    changed["label"][2] = 0
    changed["normalize"] = np.array([5, 5, 5, 0, 5.0])
    pack(tmp_path / "mine", part=joints, **changed)
    pack(tmp_path / "mine", "val", 5, part=joints, **changed)
    tar(tmp_path / "mine" / "val_0.tar", {"0.jpg": jpeg(7), "2.jpg": jpeg(8), "4.jpg": jpeg(8)})
    done = hgrt("data", "check", "mine", "--people", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.split("mine/val")[:2]
    for line in (
        "1 people: their box reaches beyond the picture",
        "1 people: a joint labelled outside the picture (0.jpg)",
        "1 people: a joint more than 3 box sides from the box (0.jpg)",
        "1 people: no joint labelled (2.jpg)",
        "1 people: no head size (3.jpg)",
    ):
        assert line in first
    assert "same picture" not in first and "4 different ones" in second
    assert done.stdout.splitlines()[-2:] == ["mine/train and mine/val share 2 pictures.", "Sound."]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_how_far_apart_hips_are_labelled_is_said_of_people_seen_from_the_front(tmp_path: Path) -> None:
    joints = np.full((5, 16, 2), 20, np.float32)
    for k, (shoulders, hips) in enumerate([(10, 5), (10, 8), (4, 4), (10, 2), (10, 6)]):
        joints[k, [12, 13]] = [(20 - shoulders / 2, 10), (20 + shoulders / 2, 10)]
        joints[k, [2, 3]] = [(20 - hips / 2, 22), (20 + hips / 2, 22)]
    changed = whole(5)
    changed["label"][3, 13] = changed["evaluate"][3, 13] = (
        0  # the third is seen from the side, of the fourth too little
    )
    pack(tmp_path / "mine", "val", 5, part=joints, **changed)
    done = hgrt_here("data", "check", "mine", "--people", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = (line for line in done.stdout.splitlines() if line.startswith("hips apart"))
    assert said.split(maxsplit=2)[2].startswith(
        "0.51 / 0.60 / 0.78 of the shoulders  (5 / 50 / 95 %; 3 people seen from "
    )
    changed["label"][:, 2] = changed["evaluate"][:, 2] = 0
    pack(tmp_path / "none", "val", 5, part=joints, **changed)
    assert "hips apart" not in hgrt_here("data", "check", "none", "--people", 0, cwd=tmp_path).stdout


def test_the_same_person_twice_is_noticed(tmp_path: Path) -> None:
    joints = np.full((5, 16, 2), 20, np.float32)
    joints[4, 0] = (21, 20)  # of the same picture, but another person
    pack(tmp_path, part=joints, imgname=np.array([b"1.jpg", b"1.jpg", b"0.jpg", b"2.jpg", b"1.jpg"]), **whole(5))
    done = hgrt("data", "check", tmp_path, "--people", 0, cwd=tmp_path)
    assert "1 people: same picture and joints as another (1.jpg)" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"3.jpg": jpeg(3)}, "lacks the pictures of 1 people"),
        ({"1.jpg": b"no JPEG", "3.jpg": jpeg(3)}, "has 1 people whose picture cannot be read"),
        ({"1.jpg": jpeg(1)[:400], "3.jpg": b""}, "has 2 people whose picture cannot be read"),
    ],
    ids=["missing member", "broken picture", "cut picture"],
)
def test_a_flawed_set_ends_with_1_and_the_rest_is_shown(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    pack(tmp_path / "mine")
    tar(tmp_path / "mine" / "train_1.tar", files)
    done = hgrt("data", "check", "mine", "--sheet", "look.png", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"Not sound: mine/train {said}."
    assert "sheet: look.png" in done.stdout and (tmp_path / "look.png").is_file()
    assert "1.jpg" in done.stdout or "left out: 1 people" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_set_without_joints_is_not_sound(tmp_path: Path) -> None:
    pack(tmp_path / "mine", label=np.zeros((5, 16), np.uint8))
    done = hgrt("data", "check", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "Not sound: mine/train has no labelled joints."


def test_sets_that_cannot_be_opened_do_not_hide_the_others(tmp_path: Path) -> None:
    pack(tmp_path / "a")
    pack(tmp_path / "b", "val", 3)
    (tmp_path / "a" / "train_1.tar").unlink()
    done = hgrt("data", "check", ".", "--sheet", "s.png", cwd=tmp_path)
    assert done.returncode == 1
    assert "a/train_1.tar cannot be read" in done.stdout
    assert "b/val: packed, 3 people" in done.stdout and "sheet: s-b-val.png" in done.stdout
    assert done.stdout.splitlines()[-1] == "Not sound: a/train cannot be used."
    alone = hgrt("data", "check", "a", cwd=tmp_path)
    refused(alone, "a/train_1.tar cannot be read")


def test_one_split_is_checked_where_one_is_asked_for(tmp_path: Path) -> None:
    pack(tmp_path / "mine")
    pack(tmp_path / "mine", "val", 2)
    done = hgrt("data", "check", "mine", "--split", "val", "--people", 0, cwd=tmp_path)
    assert done.returncode == 0 and "mine/val" in done.stdout and "mine/train" not in done.stdout
    refused(hgrt("data", "check", "mine", "--split", "test", cwd=tmp_path), "no test split", "mine/train, mine/val")


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "words.h5").write_text("words")
    refused(hgrt_here("data", "check", "gone", cwd=tmp_path), "no data folder gone", "MPII")
    refused(
        hgrt_here("data", "check", "empty", cwd=tmp_path), "no data in empty", "packed, MPII and COCO", "docs/data.md"
    )
    refused(hgrt_here("data", "check", "words.txt", cwd=tmp_path), "words.txt is no data")
    refused(hgrt_here("data", "check", "words.h5", cwd=tmp_path), "words.h5 cannot be read as HDF5")
    refused(hgrt_here("data", "check", cwd=tmp_path), "Missing argument")
    pack(tmp_path / "mine")
    refused(hgrt_here("data", "check", "mine", "--sheet", "s.gif", cwd=tmp_path), "s.gif", ".png")
    refused(hgrt_here("data", "check", "mine", "--sheet", "gone/s.png", cwd=tmp_path), "s.png cannot be written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine", "words.h5", "words.txt"]
