"""`hgrt demo` as a user runs it: files in, files out, plain words for mistakes, and nothing lost when it is stopped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer

from fakes import environment, hgrt, hgrt_here, numbered, picture, read_video, refused, write_video
from hgrt import __version__
from hgrt.cli.main import app
from hgrt.runtime.base import asset

CLIP = asset("clip.mp4")

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line of a keypoints file, each checked against the promised shape."""
    text = path.read_text()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    for i, line in enumerate(lines):
        assert list(line) == ["frame", "t", "people"] and line["frame"] == i
        for person in line["people"]:
            assert list(person) == ["box", "keypoints", "chance"]
            assert len(person["box"]) == 4 and min(person["box"][2:]) > 0
            assert np.shape(person["keypoints"]) == (16, 3)
            assert np.isfinite(person["keypoints"]).all()
            scores = np.array(person["keypoints"])[:, 2]
            assert scores.min() >= 0 and scores.max() <= 1
    return lines


# Help


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_names_every_option(command: str, tmp_path: Path) -> None:
    done = hgrt(*filter(None, [command]), "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    if not command:
        assert all(name in done.stdout for name in COMMANDS)
        return
    for parameter in COMMANDS[command].params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in done.stdout
            assert parameter.help or parameter.name == "help", f"{parameter.name} is not explained"


def test_version(tmp_path: Path) -> None:
    for flag in ("--version", "-V"):
        assert hgrt(flag, cwd=tmp_path).stdout == f"hgrt {__version__}\n"


def test_without_arguments_it_helps(tmp_path: Path) -> None:
    done = hgrt(cwd=tmp_path)
    assert "Usage" in done.stdout + done.stderr and "demo" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


# Mistakes

BAD: list[tuple[list[str], list[str]]] = [
    (["--source", "missing.mp4"], ["no file missing.mp4", "camera number"]),
    (["--source", "missing.jpg"], ["no file missing.jpg"]),
    (["--source", "text.mp4"], ["text.mp4 cannot be read as a video"]),
    (["--source", "zero.png"], ["zero.png is empty"]),
    (["--source", "text.png"], ["text.png cannot be read as a picture"]),
    (["--source", "empty"], ["no pictures in empty"]),
    (["--source", "broken"], ["None of the 2 pictures"]),
    (["--source", "97"], ["no camera 97"]),
    (["--source", "http://127.0.0.1:1/stream"], ["Cannot open http://127.0.0.1:1/stream"]),
    (["--runtime", "tensorflow"], ["no runtime 'tensorflow'", "onnxruntime"]),
    (["--weights", "nothing.onnx"], ["nothing.onnx", "No such file"]),
    (["--weights", "empty"], ["empty", "folder"]),
    (["--weights", "text.onnx"], ["text.onnx is not an ONNX file"]),
    (["--weights", "text.pt"], ["text.pt is not a torch checkpoint"]),
    (["--output", "/nonexistent/x.mp4"], ["/nonexistent/x.mp4 cannot be written", "folder does not exist"]),
    (["--output", "out.gif"], ["out.gif", "suffix", ".mp4"]),
    (["--output", "empty.mp4"], ["empty.mp4 cannot be written"]),
    (["--output", "film.avi"], ["film.avi is the source", "destroy"]),
    (["--output", "./empty/../film.avi"], ["is the source"]),
    (["--keypoints", "film.avi"], ["film.avi is the source"]),
    (["--keypoints", "/nonexistent/x.jsonl"], ["/nonexistent/x.jsonl cannot be written"]),
    (["--output", "same.mkv", "--keypoints", "same.mkv"], ["same.mkv is asked for twice"]),
    (["--box", "1,2,3"], ["--box 1,2,3 is not a box", "x,y,w,h"]),
    (["--box", "a,b,c,d"], ["is not a box"]),
    (["--box", "0,0,-5,10"], ["is not a box", "above zero"]),
    (["--box", "nan,0,5,5"], ["is not a box"]),
    (["--max-frames", "0"], ["--max-frames"]),
    (["--no-such-option"], ["--no-such-option"]),
]


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a user may name by mistake."""
    folder = tmp_path_factory.mktemp("mess")
    write_video(folder / "film.avi", [numbered(i) for i in range(5)], "MJPG")
    for name in ("text.mp4", "text.png", "text.onnx", "text.pt"):
        (folder / name).write_text("words\n" * 100)
    (folder / "zero.png").touch()
    for name in ("empty", "broken", "empty.mp4"):
        (folder / name).mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / "broken" / name).write_text("words")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_a_mistake_is_said_in_plain_words_and_leaves_nothing_behind(
    arguments: list[str], words: list[str], mess: Path
) -> None:
    before = contents(mess)
    source = [] if "--source" in arguments else ["--source", "film.avi"]
    refused(hgrt_here("demo", *source, *arguments, cwd=mess), *words)
    assert contents(mess) == before


# Results


def test_the_bundled_clip_gives_a_line_for_each_frame(tmp_path: Path) -> None:
    done = hgrt("demo", "--keypoints", "joints.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = lines_of(tmp_path / "joints.jsonl")
    assert len(lines) == 175
    assert [line["t"] for line in lines] == pytest.approx(np.arange(175) / 25, abs=1e-4)
    assert "175 frames" in done.stdout.splitlines()[-1]
    assert "Written: joints.jsonl" in done.stdout
    assert re.search(r"PCKh@0\.5 .*: \d+\.\d %", done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["joints.jsonl"]


def test_without_a_screen_a_new_video_is_written_and_named(tmp_path: Path) -> None:
    for name in ("hgrt-clip.mp4", "hgrt-clip-2.mp4"):
        done = hgrt("demo", "--max-frames", 6, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert name in "\n".join(done.stdout.splitlines()[-3:])
        back = read_video(tmp_path / name)
        assert len(back) == 6 and back[0].shape == (480, 640, 3)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("source", "painted", "expected"),
    [("who.png", "who.png", "hgrt-who.jpg"), ("set", "set/a.png", "hgrt-set/000000.jpg")],
)
def test_a_picture_becomes_a_picture(source: str, painted: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / painted).parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(tmp_path / painted), picture(300, 200))
    done = hgrt("demo", "--source", source, "--box", "50,20,100,150", "--no-smooth", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    image = cv2.imread(str(tmp_path / expected))
    assert image is not None and image.shape == (200, 300, 3)


def test_a_film_that_breaks_off_is_done_up_to_the_break_and_said(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.avi", [numbered(i) for i in range(40)], "MJPG")
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 55 // 100])
    done = hgrt("demo", "-s", "film.avi", "-k", "joints.jsonl", "-o", "out.mp4", "-b", "0,0,64,48", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = lines_of(tmp_path / "joints.jsonl")
    assert 15 < len(lines) < 30
    assert len(read_video(tmp_path / "out.mp4")) == len(lines)
    assert "breaks off" in done.stdout and f"{len(lines)} of its 40 frames" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_everything_written_is_whole(number: signal.Signals, tmp_path: Path) -> None:
    film = write_video(tmp_path / "long.avi", [numbered(i % 64) for i in range(2000)], "MJPG")
    joints, out = tmp_path / "joints.jsonl", tmp_path / "out.mp4"
    command = [sys.executable, "-m", "hgrt", "demo", "-s", str(film), "-k", str(joints), "-o", str(out)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not joints.exists() or joints.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < deadline and process.poll() is None, "it never came to the fifth frame"
            time.sleep(0.02)
        process.send_signal(number)
        said, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in complaints
    assert process.returncode in (0, 128 + number)
    lines = lines_of(joints)
    assert 5 <= len(lines) < 2000
    assert len(read_video(out)) == len(lines)
    assert "Written" in said and f"{len(lines)} frames" in said.splitlines()[-1]
