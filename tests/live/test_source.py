"""One string becomes frames, whatever is wrong with what it names."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import number_of, numbered, write_video
from hgrt.errors import HgrtError
from hgrt.live.source import Pictures, Source, Video, open_source, read_picture

NUMBERED = [numbered(i) for i in range(40)]


def drain(source: Source) -> list[int]:
    """The numbers on all frames, with everything that a frame promises checked on the way."""
    numbers, before = [], -1.0
    for i, frame in enumerate(source):
        assert frame.index == i
        assert frame.bgr.dtype == np.uint8 and frame.bgr.ndim == 3 and frame.bgr.shape[2] == 3
        assert frame.t == pytest.approx(i / source.fps)
        assert frame.t_capture >= before
        before = frame.t_capture
        numbers.append(number_of(frame.bgr))
    return numbers


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v"), (".MP4", "mp4v")])
def test_a_video_gives_every_frame_once_in_order(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"film{suffix}", NUMBERED, codec, fps=30.0)
    with open_source(str(path)) as source:
        assert isinstance(source, Video) and not source.live
        assert (source.name, source.fps, source.frames) == (str(path), 30.0, 40)
        assert drain(source) == list(range(40))
        assert source.notes == [] and source.dropped == 0
        source.close()  # and once more by the block's end


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "MJPG")])
def test_a_video_that_breaks_off_is_read_up_to_the_break(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"film{suffix}", NUMBERED, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 55 // 100])
    with open_source(str(path)) as source:
        numbers = drain(source)
        assert 15 < len(numbers) < 30
        assert numbers[:-1] == list(range(len(numbers) - 1))  # the last one may itself be cut
        assert len(source.notes) == 1
        assert "breaks off" in source.notes[0] and str(len(numbers)) in source.notes[0] and "40" in source.notes[0]


def _png(path: Path, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(
    "image",
    [
        NUMBERED[5],
        NUMBERED[5][..., 0],
        np.dstack([NUMBERED[5], np.full((48, 64), 7, np.uint8)]),
        NUMBERED[5].astype(np.uint16) * 257,
    ],
    ids=["colour", "grey", "alpha", "16 bits"],
)
def test_a_picture_of_any_kind_is_one_colour_frame(image: np.ndarray, tmp_path: Path) -> None:
    with open_source(str(_png(tmp_path / "one.PNG", image))) as source:
        assert source.frames == 1
        (frame,) = source
        np.testing.assert_array_equal(frame.bgr, NUMBERED[5])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures to be read by name, and everything else that a folder may hold."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, number in (("b.png", 2), ("a.bmp", 1), ("c.jpeg", 3)):
        _png(folder / name, NUMBERED[number])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_gives_its_pictures_by_name(folder: Path) -> None:
    with open_source(str(folder)) as source:
        assert isinstance(source, Pictures) and source.frames == 3
        assert drain(source) == [1, 2, 3]
        assert source.notes == []


def test_broken_pictures_in_a_folder_are_left_out_and_named(folder: Path) -> None:
    (folder / "a2.png").write_text("text")
    (folder / "a3.jpg").write_bytes(b"")
    (folder / "a4.jpg").mkdir()
    with open_source(str(folder)) as source:
        assert drain(source) == [1, 2, 3]
        assert [note.partition(" ")[0] for note in source.notes] == ["a2.png", "a3.jpg", "a4.jpg"]


def test_a_folder_of_only_broken_pictures_is_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_text("text")
    with open_source(str(tmp_path)) as source, pytest.raises(HgrtError, match="None of the 2 pictures"):
        list(source)


def _text(path: Path) -> Path:
    path.write_text("not a film\n" * 500)
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _head_only(path: Path) -> Path:
    whole = write_video(path, NUMBERED[:5])
    path.write_bytes(whole.read_bytes()[:40])
    return path


def _huge_png(path: Path) -> Path:
    """A few bytes that claim to be ten thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing.mp4", lambda folder: folder / "missing.mp4", "no file"),
    ("missing picture", lambda folder: folder / "missing.png", "no file"),
    ("empty video", lambda folder: _empty(folder / "e.mp4"), "is empty"),
    ("empty picture", lambda folder: _empty(folder / "e.png"), "is empty"),
    ("text as video", lambda folder: _text(folder / "t.mp4"), "cannot be read as a video"),
    ("text as avi", lambda folder: _text(folder / "t.avi"), "cannot be read as a video"),
    ("text as picture", lambda folder: _text(folder / "t.png"), "cannot be read as a picture"),
    ("cut before the first frame", lambda folder: _head_only(folder / "h.mp4"), "cannot be read as a video"),
    ("no pictures", lambda folder: folder, "no pictures"),
    ("no such camera", lambda folder: "97", "no camera 97"),
    ("absurd camera", lambda folder: "9" * 30, "no camera"),
    ("nobody listens", lambda folder: "http://127.0.0.1:1/x.mp4", "Cannot open http://127.0.0.1:1"),
    ("no host", lambda folder: "rtsp://", "Cannot open rtsp:"),
    ("unknown scheme", lambda folder: "gopher://host/film", "no file"),
    ("negative camera", lambda folder: "-1", "no file"),
    ("zero byte", lambda folder: "a\0b.mp4", "no file"),
    ("name too long", lambda folder: "a" * 5000 + ".mp4", "a.mp4"),
    ("home of nobody", lambda folder: "~nobody-at-all/film.mp4", "nobody-at-all"),
    ("claims to be huge", lambda folder: _huge_png(folder / "h.png"), "cannot be read as a picture"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_source_is_refused_in_plain_words(
    make: Callable[[Path], object], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HgrtError) as error, open_source(str(make(tmp_path))):
        pass
    assert words in error.value.what
    assert error.value.why


def test_a_picture_that_vanishes_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    path = _png(tmp_path / "one.png", NUMBERED[5])
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(HgrtError, match="cannot be read"):
        list(source)


def test_read_picture_keeps_blue_green_red(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (250, 100, 5)
    np.testing.assert_array_equal(read_picture(_png(tmp_path / "c.png", image)), image)
