"""What is written can be read again: every frame, the right length, whole lines, and clear words where it cannot be."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import frame, number_of, numbered, pose, read_video
from hgrt.errors import HgrtError
from hgrt.files import check_writable
from hgrt.live.sink import CODECS, JsonlSink, PictureSink, Sink, VideoSink, open_output, probe_codec
from hgrt.pose.geometry import Box

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def film(path: Path, pictures: list[np.ndarray], times: list[float] | None = None, fps: float = 25.0) -> VideoSink:
    """Write pictures, at 25 a second or at given times."""
    with VideoSink(path, fps) as sink:
        for i, one in enumerate(pictures):
            sink.write(frame(i, None if times is None else times[i], one), None, one)
    return sink


# Videos


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_a_video_plays_back_whole_and_in_order(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"film{suffix}"
    sink = film(path, [numbered(i) for i in range(30)])
    back = read_video(path)
    assert [number_of(one) for one in back] == list(range(30))
    assert {one.shape for one in back} == {(48, 64, 3)}
    assert sink.codec in CODECS[suffix]
    assert str(path) in sink.said and "30 frames" in sink.said


def test_a_suffix_in_capitals_is_a_suffix(tmp_path: Path) -> None:
    path = tmp_path / "FILM.MP4"
    with open_output(path, 25.0) as sink:
        sink.write(frame(0), None, numbered(0))
    assert len(read_video(path)) == 1


@pytest.mark.parametrize(("width", "height"), [(65, 49), (64, 49), (2, 2), (3, 3), (131, 2)])
def test_odd_sizes_are_written(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    film(path, [np.full((height, width, 3), 200, np.uint8)] * 5)
    back = read_video(path)
    assert len(back) == 5
    assert {one.shape[:2] for one in back} == {(height - height % 2, width - width % 2)}
    assert abs(float(back[0].mean()) - 200) < 10


def test_a_picture_too_small_for_any_video_is_an_error_and_no_success(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    sink = VideoSink(path, 25.0)
    with pytest.raises(HgrtError, match="cannot be written"), sink:
        sink.write(frame(0), None, np.zeros((1, 1, 3), np.uint8))
    assert not sink.said


def test_later_frames_of_another_size_are_fitted_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    film(path, [numbered(1), numbered(2, 128, 96), numbered(3, 30, 200), numbered(4)])
    back = read_video(path)
    assert [number_of(one) for one in back] == [1, 2, 3, 4]
    assert {one.shape for one in back} == {(48, 64, 3)}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 0.04, 0.08, 0.12], [0, 1, 2, 3]),
        ([0.0, 0.12, 0.16], [0, 1, 1, 1, 2]),  # a gap is filled
        ([0.0, 0.01, 0.02, 0.04], [0, 3]),  # too many are left out
        ([0.0, 0.041, 0.079, 0.121], [0, 1, 2, 3]),  # a little uneven
        ([5.0], [0] * 126),  # the first frame came late
    ],
)
def test_a_live_film_is_as_long_as_what_it_shows(times: list[float], expected: list[int], tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    sink = film(path, [numbered(i) for i in range(len(times))], times)
    assert [number_of(one) for one in read_video(path)] == expected
    assert f"{len(expected)} frames" in sink.said


def test_the_rate_is_kept(tmp_path: Path) -> None:
    film(tmp_path / "film.mp4", [numbered(i) for i in range(5)], fps=12.5)
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    capture.release()


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_film_that_an_error_ends_still_plays(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"film{suffix}"
    with pytest.raises(KeyboardInterrupt), VideoSink(path, 25.0) as sink:
        for i in range(20):
            sink.write(frame(i), None, numbered(i))
        raise KeyboardInterrupt
    assert [number_of(one) for one in read_video(path)] == list(range(20))


def test_each_frame_is_measured(tmp_path: Path) -> None:
    spent: list[float] = []
    with VideoSink(tmp_path / "film.mp4", 25.0, spent.append) as sink:
        for i in range(7):
            sink.write(frame(i), None, numbered(i))
    assert len(spent) == 7 and min(spent) >= 0


def test_without_frames_there_is_nothing_said_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with VideoSink(path, 25.0) as sink:
        pass
    sink.close()
    assert sink.said == "" and not path.exists()
    assert not any(thread.name == "encode" for thread in threading.enumerate())


def test_the_probe_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert probe_codec(".mp4") in CODECS[".mp4"]
    assert list(tmp_path.iterdir()) == []


def test_a_build_without_codecs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, ".mp4", ("none", "nope"))
    with pytest.raises(HgrtError, match=r"cannot write \.mp4"):
        probe_codec(".mp4")


# Pictures


def test_a_single_picture_holds_the_last_frame(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    with PictureSink(path) as sink:
        for i in range(3):
            sink.write(frame(i), None, numbered(i))
    image = cv2.imread(str(path))
    assert image is not None
    np.testing.assert_array_equal(image, numbered(2))
    assert sink.said == str(path)


def test_a_folder_gets_a_picture_for_each_frame(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "down"
    with open_output(folder, 25.0) as sink:
        for i in (0, 1, 5):
            sink.write(frame(i), None, numbered(i))
    found = sorted(folder.iterdir())
    assert [path.name for path in found] == ["000000.jpg", "000001.jpg", "000005.jpg"]
    images = [cv2.imread(str(path)) for path in found]
    assert [number_of(np.asarray(image, np.uint8)) for image in images] == [0, 1, 5]
    assert "3 pictures" in sink.said


def test_a_picture_that_its_format_cannot_hold_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wide.webp"  # at most 16383 pixels wide
    with PictureSink(path) as sink, pytest.raises(HgrtError, match="cannot be written"):
        sink.write(frame(0), None, np.zeros((2, 20_000, 3), np.uint8))


# Keypoints


def test_the_lines_have_exactly_this_shape(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    someone = pose(box=Box(99.5, 49.5, 40.0))
    with JsonlSink(path) as sink:
        sink.write(frame(0), someone, frame().bgr)
        sink.write(frame(1), None, frame().bgr)
        sink.write(frame(7, t=1.23456789), someone, frame().bgr)
        assert path.read_text().count("\n") == 3  # each line is on the disk at once
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(line) for line in lines] == [["frame", "t", "people"]] * 3
    assert [(line["frame"], line["t"]) for line in lines] == [(0, 0.0), (1, 0.04), (7, 1.2346)]
    assert lines[1]["people"] == []
    (person,) = lines[0]["people"]
    assert list(person) == ["box", "keypoints", "chance"]
    assert person["chance"] is None  # the network is not calibrated
    assert person["box"] == [80.0, 30.0, 40.0, 40.0]  # left and top edge, width, height
    assert np.shape(person["keypoints"]) == (16, 3)
    np.testing.assert_allclose(np.array(person["keypoints"])[:, :2], someone.xy, atol=0.006)
    np.testing.assert_allclose(np.array(person["keypoints"])[:, 2], 0.9)
    assert sink.said == str(path)


def test_a_calibrated_network_says_each_joints_chance(tmp_path: Path) -> None:
    chance = np.linspace(0, 1, 16)
    with JsonlSink(tmp_path / "joints.jsonl") as sink:
        sink.write(frame(0), replace(pose(), chance=chance), frame().bgr)
    (person,) = json.loads(sink.path.read_text())["people"]
    np.testing.assert_allclose(person["chance"], chance, atol=0.0006)
    assert np.shape(person["keypoints"]) == (16, 3)


def test_an_earlier_file_is_replaced_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    path.write_text("old\n" * 100)
    with JsonlSink(path) as sink:
        sink.write(frame(0), None, frame().bgr)
    assert path.read_text() == '{"frame":0,"t":0.0,"people":[]}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "joints.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(HgrtError, match="cannot be written") as error, JsonlSink(path) as sink:
        sink.write(frame(0), None, frame().bgr)
    assert "space" in error.value.why


# Where nothing can be written

OPENERS: list[Callable[[Path], Sink]] = [
    lambda path: VideoSink(path.with_suffix(".mp4"), 25.0),
    lambda path: JsonlSink(path.with_suffix(".jsonl")),
    lambda path: PictureSink(path.with_suffix(".png")),
]


@pytest.mark.parametrize("opener", OPENERS, ids=["video", "lines", "picture"])
def test_a_folder_that_is_not_there_is_an_error_at_once(opener: Callable[[Path], Sink], tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="cannot be written") as error:
        opener(tmp_path / "nowhere" / "out")
    assert "folder does not exist" in error.value.why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
@pytest.mark.parametrize("opener", OPENERS, ids=["video", "lines", "picture"])
def test_a_read_only_folder_is_an_error_at_once(opener: Callable[[Path], Sink], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(HgrtError, match="cannot be written"):
            opener(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(HgrtError, match="cannot be written"):
        open_output(tmp_path / "out.mp4", 25.0)


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(HgrtError, match="cannot be written"):
        open_output(tmp_path / "out", 25.0)
    assert (tmp_path / "out").read_text() == "mine"


def test_looking_whether_a_path_is_writable_changes_nothing(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_bytes(b"precious")
    check_writable(there)
    check_writable(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert there.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["out.gif", "out.txt", "out.jsonl", "out.mp5"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="suffix") as error:
        open_output(tmp_path / name, 25.0)
    assert ".mp4" in error.value.why and ".png" in error.value.why
    assert list(tmp_path.iterdir()) == []
