"""Errors that are planted in labels are found, right labels are left alone, and doubts change whom they are about."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hgrt.data.doubts import (
    FLIP,
    SURE,
    Doubted,
    Doubts,
    Judged,
    doubted,
    exchanged,
    fingerprint,
    judge,
    read_doubts,
    write_doubts,
)
from hgrt.data.sample import Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII

HEAD = 20.0
PAIRED = [joint for joint in range(16) if FLIP[joint] != joint]
ARMS = MPII.indices(["r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist"])
LEGS = MPII.indices(["r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle"])
STANDING = {
    "head_top": (0, -70), "upper_neck": (0, -50), "thorax": (0, -42), "pelvis": (0, 0), "shoulder": (28, -42),
    "elbow": (36, -20), "wrist": (38, 0), "hip": (16, 0), "knee": (18, 35), "ankle": (20, 70),
}  # fmt: skip


def crowd(count: int) -> NDArray[np.float64]:
    """Joints (count, 16, 2) of people who stand about (100, 100), left and right more than a head apart."""
    xy = np.array([STANDING[name.removeprefix("r_").removeprefix("l_")] for name in MPII.joints], np.float64)
    xy[[name.startswith("r_") for name in MPII.joints], 0] *= -1
    return np.tile(xy + 100, (count, 1, 1))


def judged(
    joints: NDArray[np.float64],
    labelled: NDArray[np.bool_] | None = None,
    score: float | NDArray[np.float64] = 0.9,
    apart: float = 0.1,
    head: float = HEAD,
) -> Judged:
    """What two networks say of labels, which know where everybody stands and lie `apart` head sizes from there."""
    truth = crowd(len(joints))
    xy = np.stack([truth + [apart * HEAD, 0], truth - [apart * HEAD, 0]])
    scores = np.broadcast_to(score, xy.shape[:3])
    known = np.ones(joints.shape[:2], np.bool_) if labelled is None else labelled
    return judge(xy, scores, joints, known, np.full(len(joints), head))


def swapped(joints: list[int]) -> NDArray[np.bool_]:
    return np.array([[joint in joints for joint in range(16)]])


# What is found


def test_right_labels_are_left_alone() -> None:
    found = judged(crowd(4) + np.random.default_rng(0).uniform(-0.5, 0.5, (4, 16, 2)) * HEAD)
    assert not found.exchange.any() and not found.suspect.any()
    np.testing.assert_allclose(found.place, crowd(4))


@pytest.mark.parametrize("part", [PAIRED, ARMS, LEGS], ids=["all", "arms", "legs"])
def test_exchanged_sides_are_found_and_nothing_else_is_doubted(part: list[int]) -> None:
    found = judged(exchanged(crowd(1), swapped(part)))
    assert found.exchange[0].tolist() == found.suspect[0].tolist() == swapped(part)[0].tolist()


def test_what_lies_wrong_after_the_exchange_is_doubted() -> None:
    labels = exchanged(crowd(1), swapped(PAIRED))
    wrist, elbow = MPII.indices(["l_wrist", "r_elbow"])
    labels[0, wrist] += (-3 * HEAD, 0)
    labels[0, 9] += (2 * HEAD, 0)
    found = judged(labels)
    assert found.exchange[0].tolist() == swapped(PAIRED)[0].tolist()
    assert np.flatnonzero(found.suspect).tolist() == sorted([9, *PAIRED])
    labels[0, elbow] = crowd(1)[0, elbow]  # it was right: now the arms as a whole are not on the other side
    found = judged(labels)
    assert found.exchange[0].tolist() == swapped(LEGS)[0].tolist()


@pytest.mark.parametrize(("heads", "doubts"), [(0.9, False), (1.1, True), (3.0, True)])
def test_a_label_is_doubtful_from_a_head_size_on(heads: float, doubts: bool) -> None:
    labels = crowd(2)
    labels[1, 0, 1] += heads * HEAD
    assert np.argwhere(judged(labels).suspect).tolist() == [[1, 0]] * doubts


@pytest.mark.parametrize(
    "how",
    [
        {"apart": 0.55},
        {"score": SURE - 0.01},
        {"head": 0.0},
        {"head": float("nan")},
        {"labelled": np.zeros((1, 16), np.bool_)},
    ],
    ids=["they disagree", "low scores", "no head size", "head size unknown", "no labels"],
)
def test_who_is_not_sure_does_not_doubt(how: dict[str, Any]) -> None:
    labels = exchanged(crowd(1), swapped(LEGS))
    labels[0, 10] += 100
    assert judged(labels).exchange.any() and judged(labels).suspect.any()
    found = judged(labels, **how)
    assert not found.exchange.any() and not found.suspect.any()


def test_it_takes_all_networks_and_their_mean_score() -> None:
    truth, labels = crowd(1), crowd(1)
    labels[0, 0] += 100
    xy = np.stack([truth, truth, truth + [1.2 * HEAD, 0]])
    everybody, head = np.ones((1, 16), np.bool_), np.array([HEAD])
    assert not judge(xy, np.ones((3, 1, 16)), labels, everybody, head).suspect.any()
    scores = np.array([2 * SURE - 0.3, 0.31])[:, None, None] * np.ones((2, 1, 16))
    assert judge(xy[:2], scores, labels, everybody, head).suspect[0, 0]


@pytest.mark.parametrize(
    ("joint", "at", "doubts"),
    [
        ("r_ankle", "l_ankle", False),
        ("r_ankle", "r_wrist", False),
        ("r_ankle", None, True),
        ("head_top", "l_ankle", False),
        ("head_top", None, True),
    ],
)
def test_networks_may_have_taken_one_joint_for_another(joint: str, at: str | None, doubts: bool) -> None:
    """The ensemble places `joint` where `at` is labelled, or where nothing is."""
    place, one = crowd(1), MPII.index(joint)
    place[0, one] = crowd(1)[0, MPII.index(at)] + (0.4 * HEAD, 0) if at else (180, 60)
    found = judge(place[None], np.ones((1, 1, 16)), crowd(1), np.ones((1, 16), np.bool_), np.array([HEAD]))
    assert np.flatnonzero(found.suspect).tolist() == [one] * doubts and not found.exchange.any()


@pytest.mark.parametrize(("wrong", "doubts"), [(1, True), (5, True), (6, False), (16, False)])
def test_networks_that_miss_many_have_not_understood(wrong: int, doubts: bool) -> None:
    labels = crowd(1)
    labels[0, :wrong] -= 300
    assert np.flatnonzero(judged(labels).suspect).tolist() == list(range(wrong)) * doubts


def test_a_lone_label_cannot_be_doubted() -> None:
    labels = crowd(1)
    labels[0, 0] += 100
    assert not judged(labels, swapped([0])).suspect.any()


def test_sides_that_lie_together_are_no_evidence() -> None:
    """Of somebody seen from the side, either naming agrees with the ensemble."""
    truth = crowd(1)
    truth[..., 0] = 100 + (truth[..., 0] - 100) / 8
    labels = exchanged(truth, swapped(PAIRED))
    found = judge(truth[None], np.ones((1, 1, 16)), labels, np.ones((1, 16), np.bool_), np.array([HEAD]))
    assert not found.exchange.any() and not found.suspect.any()


def test_a_label_on_one_side_only_moves_to_the_other() -> None:
    """The legs' labels of somebody whose right hip nobody labelled: then the left one has none."""
    right, left = MPII.indices(["r_hip", "l_hip"])
    labelled = ~swapped([right])
    found = judged(exchanged(crowd(1), swapped(LEGS)), labelled)
    assert found.exchange[0].tolist() == swapped(LEGS)[0].tolist()
    assert (found.suspect == found.exchange & ~swapped([left])).all()
    assert np.flatnonzero(~exchanged(labelled, found.exchange)).tolist() == [left]


def test_planted_errors_are_told_from_noise() -> None:
    """Of 200 people 10 % have their sides exchanged and 5 % of the joints lie elsewhere; labels and networks err."""
    rng = np.random.default_rng(0)
    labels, sides = crowd(200), rng.random(200) < 0.1
    labels += rng.normal(0, 0.15 * HEAD, labels.shape)
    turn, far = rng.uniform(0, 2 * np.pi, (200, 16)), rng.uniform(1.5, 3, (200, 16)) * HEAD
    moved = rng.random((200, 16)) < 0.05
    labels += (moved * far)[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    labels = exchanged(labels, sides[:, None] & swapped(PAIRED))
    moved = exchanged(moved, sides[:, None] & swapped(PAIRED))
    score = np.where(rng.random((200, 16)) < 0.8, 0.8, 0.2)
    found = judged(labels, score=score)
    assert found.exchange.any(axis=1)[sides].mean() > 0.7 and not found.exchange[~sides].any()
    moved = exchanged(moved, found.exchange)
    right = found.suspect & moved
    assert right[~sides].sum() > 0.95 * found.suspect[~sides].sum()
    assert right[~sides].sum() > 0.8 * (moved & (score > SURE))[~sides].sum()


@given(st.integers(0, 2**32))
def test_whatever_the_labels_pairs_are_exchanged_whole_and_twice_is_not_at_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = exchanged(crowd(5), rng.random((5, 1)) < swapped(PAIRED) * 0.5) + rng.normal(0, 0.6 * HEAD, (5, 16, 2))
    labelled = rng.random((5, 16)) < 0.9
    found = judged(labels, labelled)
    assert (found.exchange == found.exchange[:, FLIP]).all() and not (found.exchange & ~swapped(PAIRED)).any()
    assert not (found.suspect & ~exchanged(labelled, found.exchange)).any()
    np.testing.assert_array_equal(exchanged(exchanged(labels, found.exchange), found.exchange), labels)


# The file


def marks(count: int = 5) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Person 1 is to be exchanged, of person 3 a joint is doubted."""
    exchange, suspect = np.zeros((2, count, 16), np.bool_)
    exchange[1, LEGS] = suspect[3, 9] = True
    return exchange, suspect


def test_a_file_says_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "doubts"
    first, second = Doubts("mine/train", "ab", *marks()), Doubts("ünsere/train", "", *np.zeros((2, 0, 16), np.bool_))
    write_doubts(path, [first, second])
    assert [file.name for file in path.parent.iterdir()] == ["doubts"]
    found = read_doubts(path)
    for one, read in zip((first, second), found, strict=True):
        assert (one.set, one.sha256) == (read.set, read.sha256)
        np.testing.assert_array_equal(one.exchange, read.exchange)
        np.testing.assert_array_equal(one.suspect, read.suspect)
    assert found[0].marked == [1, 3] and not found[1].marked
    assert str(found[0]) == "mine/train: 1 joints of 1 people doubted, sides of 1 exchanged"


def _with(**arrays: Any) -> Callable[[Path], None]:
    exchange, suspect = marks()
    usual: dict[str, Any] = {"sets": ["a"], "sha256": ["b"], "exchange_0": exchange, "suspect_0": suspect}
    content = {name: value for name, value in (usual | arrays).items() if value is not None}
    return lambda path: np.savez(path, **content)


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 no zip"),
        lambda path: path.write_text("words"),
        lambda path: path.write_bytes(npy(np.zeros(3))),
        _with(sets=None),
        _with(suspect_0=None),
        _with(sha256=["b", "c"]),
        _with(suspect_0=np.array([None, {}], object)),
        _with(suspect_0=np.zeros((5, 16))),
        _with(suspect_0=np.zeros((4, 16), np.bool_)),
        _with(exchange_0=np.zeros((5, 14), np.bool_)),
        _with(exchange_0=np.eye(5, 16) > 0),
        _with(sets=3),
    ],
)
def test_another_file_is_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "doubts.npz"
    make(path)
    with pytest.raises(HgrtError, match=r"doubts\.npz holds no doubts about labels") as refused:
        read_doubts(path)
    assert "hgrt data doubts" in refused.value.fix


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "doubts.npz").mkdir()
    with pytest.raises(HgrtError, match="cannot be written"):
        write_doubts(tmp_path / "doubts.npz", [])
    assert [path.name for path in tmp_path.iterdir()] == ["doubts.npz"]


# The people


class Few:
    """Five people with labels of their own; `read` are the numbers of those who were asked for."""

    def __init__(self, name: str = "mine/train", **changes: Any) -> None:
        self.name, self.changes = name, changes
        self.read: list[int] = []

    def __len__(self) -> int:
        return 5

    def get(self, index: int) -> Sample:
        self.read.append(index)
        rng = np.random.default_rng(index)
        masks = rng.random((4, 16)) < 0.5
        image = np.zeros((8, 8, 3), np.uint8)
        joints = rng.uniform(0, 8, (16, 2))
        whole = Sample(f"{index}.jpg", image, joints, *masks[:3], Box(4, 4, 8), 1.0, suspect=masks[3])
        return replace(whole, **self.changes.get(f"of_{index}", {}))


def about(people: Few, name: str = "mine/train") -> Doubts:
    samples = [people.get(index) for index in (1, 3)]
    joints, labelled = (np.stack([getattr(one, field) for one in samples]) for field in ("joints", "labelled"))
    return Doubts(name, fingerprint([one.name for one in samples], joints, labelled), *marks())


def test_doubts_change_whom_they_are_about_and_nobody_else() -> None:
    people = doubted(Few(), [about(Few(), "other/train"), about(Few())])
    assert isinstance(people, Doubted) and people.name == "mine/train" and len(people) == 5
    for index in range(5):
        before, after = Few().get(index), people.get(index)
        order = [FLIP[joint] if index == 1 and joint in LEGS else joint for joint in range(16)]
        for field in ("joints", "labelled", "visible", "evaluate"):
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field)[order])
        doubts = [index == 3 and joint == 9 for joint in range(16)]
        np.testing.assert_array_equal(after.suspect, before.suspect[order] | doubts)
        assert (after.name, after.box, after.normalize) == (before.name, before.box, before.normalize)


def test_only_who_is_marked_is_read_beforehand() -> None:
    people = Few()
    doubted(people, [about(Few())])
    assert people.read == [1, 3]


def test_a_set_that_nothing_is_known_of_stays_as_it_is() -> None:
    for known in ([], [about(Few(), "other/train")]):
        people = Few()
        assert doubted(people, known) is people and not people.read


def _moved(index: int) -> dict[str, Any]:
    joints = Few().get(index).joints.copy()
    joints[Few().get(index).labelled] += 1e-9
    return {"joints": joints}


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"of_3": {"name": "2.jpg"}}, False),
        ({"of_1": _moved(1)}, False),
        ({"of_3": {"labelled": np.ones(16, np.bool_)}}, False),
        ({"of_1": {"joints": np.where(Few().get(1).labelled[:, None], Few().get(1).joints, np.nan)}}, True),
        ({"of_2": _moved(2)}, True),  # labels that are put right by hand keep the doubts about others
    ],
    ids=["name", "joints", "labelled", "unlabelled", "unmarked"],
)
def test_other_people_of_that_name_are_refused(changes: dict[str, Any], fits: bool) -> None:
    if fits:
        assert isinstance(doubted(Few(**changes), [about(Few())]), Doubted)
        return
    with pytest.raises(HgrtError, match="about mine/train are about other people") as refused:
        doubted(Few(**changes), [about(Few())])
    assert "hgrt data doubts" in refused.value.fix
    assert isinstance(doubted(Few(**changes), [about(Few()), about(Few(**changes))]), Doubted)


def test_another_number_of_people_is_refused_unread() -> None:
    people = Few()
    known = about(Few())
    shorter = Doubts(known.set, known.sha256, known.exchange[:4], known.suspect[:4])
    with pytest.raises(HgrtError, match="5 people here, 4 there"):
        doubted(people, [shorter])
    assert not people.read
