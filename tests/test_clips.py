"""The sheets of clips: which frames are shown, what is said of a clip, and what other measurements borrow from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeBackend, fake_estimator, joints_of, picture, pose, write_video
from hgrt.pose.geometry import Box

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PERSON = (160.0, 120.0, 160.0)


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("clips")


@pytest.fixture
def film(tmp_path: Path) -> str:
    """40 frames: somebody, then nobody for as long as it takes to be sure of that, then somebody again."""
    shown = [PERSON if k < 10 or k >= 30 else None for k in range(40)]
    return str(write_video(tmp_path / "film.avi", [picture(320, 240, one) for one in shown], "MJPG"))


@pytest.mark.parametrize(
    ("frames", "shown", "wanted"),
    [(1, 24, [0]), (5, 24, [0, 1, 2, 3, 4]), (100, 2, [0, 99]), (101, 5, [0, 25, 50, 75, 100])],
)
def test_frames_are_spread_from_the_first_to_the_last(
    clips: ModuleType, frames: int, shown: int, wanted: list[int]
) -> None:
    assert sorted(clips.spread_over(frames, shown)) == wanted


@pytest.mark.parametrize(
    ("numbers", "wanted"), [([], []), ([3], [(3, 3)]), ([0, 1, 2, 5, 7, 8], [(0, 2), (5, 5), (7, 8)])]
)
def test_stretches(clips: ModuleType, numbers: list[int], wanted: list[tuple[int, int]]) -> None:
    assert clips.stretches(numbers) == wanted


def test_a_box_jumps_only_from_one_place_to_another(clips: ModuleType) -> None:
    here, near, far = Box(100, 100, 80), Box(110, 95, 90), Box(300, 100, 80)
    assert clips.jumps([here, near, None, far, far, here]) == [5]


@given(st.lists(st.tuples(*[st.floats(-50, 50)] * 2, st.floats(1, 60)), min_size=2, max_size=2))
def test_overlap_is_that_of_the_painted_squares(sizes: list[tuple[float, float, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        overlap = import_module("clips").overlap
    a, b = (Box(round(x), round(y), 2 * round(side / 2) + 2) for x, y, side in sizes)
    grid = np.mgrid[-100:100, -100:100] + 0.5
    first, second = ((abs(grid[0] - one.cx) < one.side / 2) & (abs(grid[1] - one.cy) < one.side / 2) for one in (a, b))
    assert overlap(a, b) == pytest.approx((first & second).sum() / (first | second).sum())
    assert overlap(a, b) == overlap(b, a)


def test_a_tile_shows_the_person_large_and_nobody_the_whole_picture(clips: ModuleType) -> None:
    image = np.zeros((200, 400, 3), np.uint8)
    cv2.circle(image, (100, 100), 10, (0, 0, 255), cv2.FILLED)
    near = clips.person_tile(image, pose(np.full((16, 2), 300.0), 0.0, Box(100, 100, 40)))
    whole = clips.person_tile(image, None)
    assert near.shape == whole.shape == (256, 256, 3)
    assert (near[..., 2] > 200).sum() > 20 * (whole[..., 2] > 200).sum() > 0


def test_a_clip_is_run_as_in_the_demo_and_said_where_nobody_was(clips: ModuleType, film: str) -> None:
    album = clips.look_at(film, fake_estimator(), None)
    result = album.result()
    assert (result["frames"], result["jumps"]) == (40, [])
    [(first, last)] = result["nobody"]
    assert first == 10
    assert 29 <= last <= 35  # an empty scene is searched bit by bit
    assert result["found"] == 40 - (last - first + 1)
    assert len(album.tiles) == len(album.captions) == clips.SHOWN
    assert album.captions[0].startswith("frame 0   0.")
    assert "nobody" in album.captions[10]
    assert album.captions[-1].startswith("frame 39 ")


def test_the_joints_are_drawn_where_the_person_is(clips: ModuleType, film: str) -> None:
    found = clips.look_at(film, fake_estimator(), 100)
    assert len(found.tiles) == 1
    box = found.boxes[5]
    assert np.hypot(*(joints_of(PERSON).mean(axis=0) - (box.cx, box.cy))) < 20


def test_the_command_writes_a_sheet_a_clip_and_says_what_it_used(
    clips: ModuleType, film: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    weights = tmp_path / "some.onnx"
    weights.write_bytes(b"weights")
    backend.info = replace(backend.info, weights=weights)
    monkeypatch.setattr(clips, "PoseEstimator", lambda _: fake_estimator(backend))
    assert clips.main([film, "--out", str(tmp_path / "out"), "--every", "20"]) == 0
    assert cv2.imread(str(tmp_path / "out" / "film.png")).shape[1] > 2 * 256
    result = json.loads((tmp_path / "out" / "clips.json").read_text())
    assert result["clips"]["film"]["frames"] == 40
    assert result["command"] == "python benchmarks/clips.py film.avi --out out --every 20"
    assert result["weights"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert str(tmp_path) not in json.dumps(result)
    assert "film" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/film.avi", "b/film.avi", "--out", "o"], "the same name"),
        (["film.avi"], "--out"),
        (["film.avi", "--out", "o", "--every", "0"], "0 is not a number from 1 up"),
        (["film.avi", "--out", "o", "--columns", "many"], "many is not a number"),
    ],
)
def test_a_wrong_command_is_told(
    clips: ModuleType, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        clips.parse(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_clip_that_is_not_there_is_a_users_mistake(
    clips: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clips, "PoseEstimator", lambda _: fake_estimator())
    assert clips.main([str(tmp_path / "none.avi"), "--out", str(tmp_path)]) == 2
    assert "There is no file" in capsys.readouterr().err
