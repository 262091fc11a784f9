"""`hgrt build-engine` as a user runs it: one whole build of a tiny network, and everything that can be mistyped."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fakes import environment, hgrt, hgrt_here, refused
from hgrt.cli.build_engine import bars, build_engine, parse_batches, parse_order
from hgrt.engine.build import Phase
from hgrt.errors import HgrtError
from hgrt.files import sha256
from hgrt.runtime.library import find_gpu
from hgrt.runtime.passport import read_passport

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("tensorrt_rtx", reason="the builder is in the extra: pip install hgrt[rtx]")

from hgrt.model import ModelSpec, StackedHourglass, save_checkpoint  # noqa: E402  # after the skips

TINY = ModelSpec(stacks=1, channels=8, gate="none", latent=4, block="postact", stem="light", input=64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that is equally sure of every place: rounding has no peaks to choose between."""
    torch.manual_seed(0)
    net = StackedHourglass(TINY).eval()
    last = net.stacks[0].get_submodule("heatmap")
    last.weight.data.zero_()
    last.bias.data.fill_(0.5)
    path = tmp_path_factory.mktemp("tiny") / "tiny.pt"
    save_checkpoint(path, net)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_checkpoint_becomes_an_engine_that_can_be_built_again(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.pt").write_bytes(checkpoint.read_bytes())
    done = hgrt("build-engine", "tiny.pt", "--batch", "1,4", "--flavour", "rtx", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(tmp_path) == ["engines/tiny.engine", "engines/tiny.engine.json", "engines/tiny.onnx", "tiny.pt"]
    engine = tmp_path / "engines" / "tiny.engine"
    passport = read_passport(engine)
    assert passport.engine_sha256 == sha256(engine) and passport.checkpoint_sha256 == sha256(checkpoint)
    assert passport.profiles == ((1, 1, 1), (2, 4, 4)) and passport.spec == TINY and passport.half_share > 0.25
    assert passport.flags["answers_of"] == ("engine" if find_gpu() else "onnxruntime")
    for words in ("engines/tiny.engine", "MB", "layers", "1024 joints, 100.00% within", "hgrt demo --weights"):
        assert words in done.stdout
    assert "Warning" not in done.stderr + done.stdout

    engine.unlink()  # what a user may have deleted, or copied from another machine
    engine.write_bytes(b"of another machine")
    done = hgrt_here(*passport.command.split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    again = read_passport(engine)
    assert again.engine_sha256 == sha256(engine) and again.checkpoint_sha256 == passport.checkpoint_sha256
    assert names(tmp_path) == ["engines/tiny.engine", "engines/tiny.engine.json", "engines/tiny.onnx", "tiny.pt"]


def test_ctrl_c_ends_it_with_130_and_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hgrt", "build-engine", str(checkpoint), "--flavour", "rtx"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Exporting"):
            break
    assert (tmp_path / "engines").is_dir(), "it is under way"
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, out + errors
    assert "Cancelled" in out and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.pt"], ["no weights at missing.pt"]),
        (["text.pt"], ["text.pt is not a torch checkpoint"]),
        (["text.pt", "--batch", "0,x"], ["--batch 0,x", "'x' is no whole number", "--batch 1,4,16"]),
        (["text.pt", "--out", "text.pt/tiny.engine"], ["text.pt/tiny.engine cannot be written"]),
        (["--rebuild", "engines/lost.engine"], ["no engine at engines/lost.engine"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_mistake_is_said_in_plain_words_and_changes_nothing(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text.pt").write_text("words\n" * 100)
    refused(hgrt_here("build-engine", *arguments, cwd=tmp_path), *words)
    assert names(tmp_path) == ["text.pt"] and not (tmp_path / "engines").exists()


# What options mean


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"precision": "int8"}, "--precision int8 is unknown.\nKnown: fp16, fp32"),
        ({"flavour": "trt"}, "--flavour trt is unknown.\nKnown: auto, tensorrt, rtx"),
        ({"ramp": "cubic"}, "--ramp cubic is unknown.\nKnown: linear, integer"),
        ({"batch": "0"}, "A batch of 0 cannot be built"),
        ({"batch": "1,,4"}, "'' is no whole number"),
        ({"batch": "-1"}, "'-1' is no whole number"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(more: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = dict.fromkeys(("precision", "batch", "out", "flavour", "ramp")) | {"crop": False} | more
    with pytest.raises(HgrtError) as error:
        parse_order(Path("x.pt"), **given)
    assert words in str(error.value)


def test_what_is_left_out_has_a_meaning() -> None:
    order = parse_order(None, None, None, False, None, None, None)
    assert order.out == Path("engines/lite.engine"), "the bundled weights"
    assert order.profiles == ((1, 1, 1), (2, 4, 4), (5, 16, 16))
    assert (order.precision, order.crop, order.flavour, order.ramp) == (None, None, "auto", "linear")
    assert parse_order(Path("a/checkpoint.pth.tar"), *[None] * 2, True, *[None] * 3).out.name == "checkpoint.engine"
    assert parse_batches(" 1, 8") == [1, 8]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"weights": Path("x.pt")}, "x.pt"),
        ({"precision": "fp32", "batch": "1"}, "--precision, --batch"),
        ({"crop_in_engine": True}, "--crop-in-engine"),
        ({"out": Path("y.engine")}, "--out"),
        ({"flavour": "rtx"}, "--flavour"),
        ({"ramp": "integer"}, "--ramp"),
    ],
    ids=str,
)
def test_to_build_again_takes_no_other_options(more: dict[str, Any], named: str) -> None:
    with pytest.raises(HgrtError, match="as it was built") as error:
        build_engine(rebuild=Path("engines/x.engine"), **more)
    assert error.value.fix == f"Leave out {named}."


# Bars


@pytest.mark.parametrize(
    ("phases", "there", "not_there"),
    [
        ([("Building", 2, 6)], ["Building", "2/6"], ["Timing"]),
        ([("Building", 2, 6), ("Between", 0, 9), ("Timing", 5, 30)], ["2/6", "Timing", "5/30"], ["Between"]),
        ([], [], ["Building", "Timing"]),
    ],
    ids=["one phase", "phases in phases", "none"],
)
def test_bars_follow_the_outermost_and_the_innermost_phase(
    phases: Sequence[tuple[str, int, int]], there: list[str], not_there: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=100)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("hgrt.cli.build_engine.Console", lambda **_: screen)
    with bars() as watch:
        watch([Phase("Building", 1, 6), Phase("Timing", 3, 30)])
        watch([Phase(*one) for one in phases])
    show_cursor, erase_line = "\x1b[?25h", "\x1b[2K"
    (drawn,) = [part for part in stream.getvalue().split(erase_line) if show_cursor in part]  # the last picture
    assert all(words in drawn for words in there), drawn
    assert not any(words in drawn for words in not_there), drawn


def test_nothing_is_drawn_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with bars() as watch:
        watch([Phase("Building engine", 2, 6)])
    assert "".join(capfd.readouterr()) == ""


# The real thing


@pytest.mark.gpu
@pytest.mark.skipif(find_gpu() is None, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("more", [[], ["--crop-in-engine"], ["--precision", "fp32"]], ids=str)
def test_the_bundled_weights_run_on_this_gpu(more: list[str], tmp_path: Path) -> None:
    done = hgrt("build-engine", *more, cwd=tmp_path, limit_s=900)
    assert done.returncode == 0, done.stdout + done.stderr
    passport = read_passport(tmp_path / "engines" / "lite.engine")
    assert (passport.flags["answers_of"], passport.flags["compared_with"]) == ("engine", "network")
    assert passport.parity["near"] >= 0.999 and passport.cuda_layer
    done = hgrt("demo", "--weights", "engines/lite.engine", "-n", "20", "-k", "joints.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "joints.jsonl").read_text().splitlines()) == 20
