"""`hgrt calibrate` as a user runs it: what it says, what it writes, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import hgrt_here, refused
from golden import published_checkpoint
from hgrt.cli.calibrate import write_calibrated
from hgrt.estimator import PoseEstimator
from hgrt.model.spec import ModelSpec
from packing import pack

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")

SPEC = ModelSpec(stacks=1, channels=8, gate="none", block="postact", stem="light", input=64)
KNOTS = ((0.0, 0.0), (0.25, 0.5), (0.75, 0.9))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `net.pt`, which never learnt anything, and the data `one`, `two` (val) and `few`."""
    from hgrt.model.checkpoint import save_checkpoint
    from hgrt.model.hourglass import StackedHourglass

    folder = tmp_path_factory.mktemp("where")
    torch.manual_seed(0)
    save_checkpoint(folder / "net.pt", StackedHourglass(SPEC), epoch=7, pckh={"one/val": 12.5})
    for name, count in (("one", 9), ("two", 6), ("few", 4)):
        pack(folder / name, "val", count)
    return folder


def test_a_calibration_is_measured_drawn_and_written_and_the_weights_stay(where: Path, tmp_path: Path) -> None:
    before = (where / "net.pt").read_bytes()
    options = ["--data", where / "one", "-d", where / "two", "--out", "sure.pt", "--plot", "true.png"]
    done = hgrt_here("calibrate", where / "net.pt", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in ("one/val", "two/val", "all: every set weighs the same", "ECE", "Brier", "score -> chance: 0.00 -> 0"):
        assert said in done.stdout, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sure.pt", "true.png"]
    assert cv2.imread(str(tmp_path / "true.png")) is not None
    assert (where / "net.pt").read_bytes() == before

    from hgrt.model.checkpoint import load_checkpoint, read_checkpoint

    plain, sure = load_checkpoint(where / "net.pt"), load_checkpoint(tmp_path / "sure.pt")
    assert len(sure.spec.calibration) > 1 and replace(sure.spec, calibration=()) == plain.spec
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, sure.state_dict()[name]), name
    content = read_checkpoint(tmp_path / "sure.pt")
    assert (content["epoch"], content["pckh"]) == (7, {"one/val": 12.5})
    with PoseEstimator(tmp_path / "sure.pt", "torch", threads=1) as estimator:
        assert estimator(np.zeros((64, 64, 3), np.uint8)).chance is not None


def test_without_out_nothing_is_written(where: Path, tmp_path: Path) -> None:
    done = hgrt_here("calibrate", where / "net.pt", "-d", where / "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No calibration was written" in done.stdout and "weighs the same" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["nothing to calibrate on", "--data"]),
        (["-d", "WHERE/gone"], ["no data folder"]),
        (["-d", "WHERE/one", "--split", "test"], ["no test split", "one/val"]),
        (["-d", "WHERE/few"], ["too few people", "at least 5"]),
        (["-d", "WHERE/one", "--out", "WHERE/net.pt"], ["among the weights and data", "another --out"]),
        (["-d", "WHERE/one", "--out", "a.png", "--plot", "a.png"], ["asked for twice", "--out", "--plot"]),
        (["-d", "WHERE/one", "--out", "sure.onnx"], ["sure.onnx is no checkpoint", "export it again"]),
        (["-d", "WHERE/one", "--out", "gone/sure.pt"], ["folder does not exist"]),
        (["-d", "WHERE/one", "--plot", "true.bmp"], ["true.bmp", ".png, .jpg"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] == "-d" else None,
)
def test_each_mistake_is_named_and_nothing_written(
    options: list[str], words: list[str], where: Path, tmp_path: Path
) -> None:
    before = (where / "net.pt").read_bytes()
    said = [option.replace("WHERE", str(where)) for option in options]
    refused(hgrt_here("calibrate", where / "net.pt", *said, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == [] and (where / "net.pt").read_bytes() == before


def test_an_onnx_file_cannot_be_given_a_calibration(where: Path, tmp_path: Path) -> None:
    done = hgrt_here("calibrate", "net.onnx", "-d", where / "one", "--out", "sure.pt", cwd=tmp_path)
    refused(done, "net.onnx is no checkpoint", "get it from there")


def test_how_much_of_a_box_the_network_looks_at_is_measured_with_and_written(where: Path, tmp_path: Path) -> None:
    from hgrt.model.checkpoint import load_checkpoint

    made = {"near": (where / "net.pt", 0.5), "again": (tmp_path / "near.pt", None), "whole": (where / "net.pt", None)}
    for name, (source, crop) in made.items():
        options = [] if crop is None else ["--crop", crop]
        done = hgrt_here("calibrate", source, "-d", where / "one", "--out", f"{name}.pt", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    near, again, whole = (load_checkpoint(tmp_path / f"{name}.pt").spec for name in made)
    assert (near.crop, again.crop, whole.crop) == (0.5, 0.5, 1.0)
    assert near.calibration == again.calibration != whole.calibration
    said = hgrt_here("eval", "near.pt", "-d", where / "one", "--json", "near.json", cwd=tmp_path)
    assert "0.5 of the box" in said.stdout
    assert json.loads((tmp_path / "near.json").read_text())["weights"]["spec"]["crop"] == 0.5


def test_how_sure_a_search_must_be_is_written_and_kept(where: Path, tmp_path: Path) -> None:
    from hgrt.model.checkpoint import load_checkpoint

    for source, name, options in ((where / "net.pt", "strict.pt", ["--found", 0.8]), ("strict.pt", "again.pt", [])):
        done = hgrt_here("calibrate", source, "-d", where / "one", "--out", name, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert load_checkpoint(tmp_path / name).spec.found == 0.8


def test_the_weights_are_written_in_half_precision_if_asked_for(where: Path, tmp_path: Path) -> None:
    from hgrt.model.checkpoint import load_checkpoint, read_checkpoint

    done = hgrt_here("calibrate", where / "net.pt", "-d", where / "one", "--half", "--out", "half.pt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(tmp_path / "half.pt")["state_dict"]["stacks.0.heatmap.weight"].dtype == torch.float16
    assert load_checkpoint(tmp_path / "half.pt").spec.calibration


@pytest.mark.parametrize(
    ("option", "value"),
    [*(("--crop", value) for value in ("0", "0.2", "-1", "5", "half")), *(("--found", one) for one in ("0", "1.5"))],
)
def test_a_share_that_makes_no_sense_is_refused(where: Path, tmp_path: Path, option: str, value: str) -> None:
    done = hgrt_here("calibrate", where / "net.pt", "-d", where / "one", option, value, cwd=tmp_path)
    assert done.returncode == 2 and option in done.stderr and "Traceback" not in done.stderr


def test_a_published_checkpoint_becomes_one_of_ours(tmp_path: Path) -> None:
    from hgrt.model.checkpoint import load_checkpoint, read_checkpoint

    published = published_checkpoint(tmp_path / "checkpoint.pth.tar", 1, modulated=False, channels=16)
    write_calibrated(published, tmp_path / "sure.pt", KNOTS, 0.75, None)
    assert load_checkpoint(tmp_path / "sure.pt").spec.calibration == KNOTS
    assert set(read_checkpoint(tmp_path / "sure.pt")) == {"hgrt.spec", "state_dict"}


def test_a_training_that_begins_with_calibrated_weights_begins_without_the_calibration(
    where: Path, tmp_path: Path
) -> None:
    write_calibrated(where / "net.pt", tmp_path / "sure.pt", KNOTS, 1.0, 0.9)
    shown = [
        hgrt_here("train", "--init", path, "--print-config", cwd=tmp_path) for path in ("sure.pt", where / "net.pt")
    ]
    assert [done.returncode for done in shown] == [0, 0], shown[0].stderr
    said = [[line for line in done.stdout.splitlines() if " init=" not in line] for done in shown]
    assert said[0] == said[1] and any("spec.channels=8" in line for line in said[0])
    assert "calibration" not in shown[0].stdout and "spec.found" not in shown[0].stdout
