"""`hgrt data doubts` as a user runs it, on painted people and networks that find them; what a training makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fakes import FakeBackend, hgrt_here, joints_of, painted_joints, picture, refused
from hgrt.cli.train import _doubted
from hgrt.data.doubts import read_doubts
from hgrt.data.find import find
from hgrt.pose.geometry import Image
from hgrt.pose.heatmaps import Maps
from hgrt.pose.skeleton import FLIP
from packing import pack, tar

pytest.importorskip("h5py")

PEOPLE = [(80.0, 90.0, 120.0), (70.0, 80.0, 100.0), (90.0, 85.0, 110.0), (80.0, 80.0, 130.0)]


def pack_painted(folder: Path, split: str = "train") -> None:
    """Four painted people: the first labelled rightly, the second with sides exchanged, the third with a joint lost,
    the fourth as the third but with nothing labelled."""
    joints = np.stack([joints_of(person) for person in PEOPLE])
    joints[1] = joints[1, FLIP]
    joints[2:, 9] += 60
    label = np.ones((4, 16), np.uint8)
    label[3] = 0
    values: dict[str, Any] = {"part": joints, "label": label, "visible": label, "evaluate": label}
    values |= {"center": np.array([person[:2] for person in PEOPLE]), "normalize": np.full(4, 15.0)}
    pack(folder, split, 4, **values, scale=np.array([1.25 * tall / 200 for *_, tall in PEOPLE]))
    pictures = {
        f"{k}.jpg": bytes(cv2.imencode(".jpg", picture(160, 170, person, k))[1]) for k, person in enumerate(PEOPLE)
    }
    for part in (0, 1):
        names = list(pictures)[part::2]
        tar(folder / f"{split}_{part}.tar", {name: pictures[name] for name in names})


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sets `mine` and `right` (train), and weights of which `astray.pt` finds joints elsewhere."""
    pack_painted(tmp_path / "mine")
    pack_painted(tmp_path / "mine", "val")
    for name in ("one.pt", "other.pt", "astray.pt"):
        (tmp_path / name).touch()

    def astray(crop: Image) -> Maps:
        return np.roll(painted_joints(crop, len(crop) // 4), 12, axis=2)

    def opened(runtime: str, weights: Path) -> FakeBackend:
        return FakeBackend(astray if weights.stem == "astray" else None)

    monkeypatch.setattr("hgrt.runtime.base.open_backend", opened)
    return tmp_path


def test_what_is_wrong_is_found_written_and_drawn(where: Path) -> None:
    done = hgrt_here("data", "doubts", "one.pt", "other.pt", "-d", "mine", "-o", "d.npz", "--sheet", "d.png", cwd=where)
    assert done.returncode == 0, done.stdout + done.stderr
    said = "mine/train: 13 joints of 2 people doubted, sides of 1 exchanged"
    assert done.stdout.splitlines()[-3:] == [said, "Written: d.npz", "sheet: d.png"]
    (found,) = read_doubts(where / "d.npz")
    assert np.flatnonzero(found.suspect[2]).tolist() == [9] and found.marked == [1, 2]
    assert found.exchange[1].sum() == 12 and (found.suspect[1] == found.exchange[1]).all()
    sheet = cv2.imread(str(where / "d.png"))
    assert sheet is not None and 2 * 192 < sheet.shape[1] < 3 * 192


def test_networks_that_disagree_doubt_nothing(where: Path) -> None:
    options = ["-d", "mine", "-o", "d.npz", "--sheet", "d.png"]
    done = hgrt_here("data", "doubts", "one.pt", "astray.pt", *options, cwd=where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "No sheet: nothing is doubted."
    assert not read_doubts(where / "d.npz")[0].marked and not (where / "d.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "d.npz"], ["no labels to doubt", "--data"]),
        (["-d", "mine"], ["Missing option", "--out"]),
        (["-d", "gone", "-o", "d.npz"], ["no data folder gone"]),
        (["-d", "mine", "-o", "d.npz", "--split", "test"], ["no test split", "mine/train"]),
        (["-d", "mine", "-o", "one.pt"], ["one.pt is there already", "--out"]),
        (["-d", "mine", "-o", "d.npz", "--sheet", "d.gif"], ["d.gif"]),
        (["-d", "mine", "-o", "mine/train.h5"], ["mine/train.h5 is there already"]),
        (["-d", "mine", "-o", "gone/d.npz"], ["gone/d.npz cannot be written"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_said_in_plain_words(arguments: list[str], words: list[str], where: Path) -> None:
    before = {path: path.read_bytes() for path in where.rglob("*") if path.is_file()}
    refused(hgrt_here("data", "doubts", "one.pt", *arguments, cwd=where), *words)
    assert {path: path.read_bytes() for path in where.rglob("*") if path.is_file()} == before


# What a training makes of it


def test_a_training_learns_from_what_is_put_right_and_measures_on_what_is_not(where: Path) -> None:
    assert hgrt_here("data", "doubts", "one.pt", "-d", "mine", "-o", "d.npz", cwd=where).returncode == 0
    lines: list[str] = []
    plain = find([where / "mine"], synthetic=2, seed=0)
    sets = _doubted(plain, str(where / "d.npz"), lines.append)
    assert lines == [f"{where / 'd.npz'}: mine/train: 13 joints of 2 people doubted, sides of 1 exchanged"]
    assert (sets.val, sets.parts, len(sets.train)) == (plain.val, plain.parts, len(plain.train))
    assert sets.sets[1] is plain.sets[1], "nothing is known of generated people"
    for one in (sets, sets.cached(400)):
        np.testing.assert_allclose(one.train.get(1).joints, joints_of(PEOPLE[1]))
        assert np.flatnonzero(one.train.get(2).suspect).tolist() == [9]
    lines.clear()
    _doubted(find([], synthetic=2, seed=0), str(where / "d.npz"), lines.append)
    assert lines == [f"{where / 'd.npz'}: no doubts about any of these sets"]


def test_doubts_that_do_not_fit_are_refused_before_a_training_begins(where: Path) -> None:
    train = ["train", "--preset", "lite", "--data", "mine", "--doubts"]
    refused(hgrt_here(*train, "gone.npz", cwd=where), "gone.npz holds no doubts", "hgrt data doubts")
    assert hgrt_here("data", "doubts", "one.pt", "-d", "mine", "-o", "d.npz", cwd=where).returncode == 0
    pack(where / "mine", "train", 4)
    refused(hgrt_here(*train, "d.npz", cwd=where), "about mine/train are about other people", "hgrt data doubts")
    assert not (where / "exp").exists()


def test_the_configuration_says_where_the_doubts_are(tmp_path: Path) -> None:
    done = hgrt_here("train", "--print-config", "--doubts", "d.npz", cwd=tmp_path)
    assert '--doubts          doubts="d.npz"' in done.stdout
