"""A run's card: what it says is what is in the folder, and its command begins the same run."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hgrt.cli.main import app
from hgrt.data.find import Part
from hgrt.model import ModelSpec, StackedHourglass, save_checkpoint
from hgrt.train.card import command, write_card
from hgrt.train.config import Config, resolve
from hgrt.train.ema import Ema
from hgrt.train.run import Position, Run

SMALL = {"spec.channels": (8, "--set"), "spec.growth": (0, "--set"), "spec.input": (64, "--set")}
SAID = SMALL | {
    "data": (["some where", "else"], "--data"),
    "synthetic": (7, "--synthetic"),
    "select": (["coco"], "--select"),
    "recipe.max_iters": (30, "--max-iters"),
    "recipe.optimizer": ("adamw", "--set"),
    "recipe.stages": ([[0, 64, 8]], "--set"),
    "recipe.augmentation.flip_p": (0.25, "--set"),
}
LOG = "epoch,iteration,size,seconds\n1,20,64,1800.0\n2,30,64,1800.0\n"


def finished(folder: Path, config: Config) -> Run:
    """A folder as two epochs leave it, the first the best."""
    run = Run(folder)
    folder.mkdir(parents=True)
    run.keep_best(Ema(StackedHourglass(config.spec), 0.9), Position(epoch=1), 61.25, 64, {"coco/val": 61.25})
    (folder / "log.csv").write_text(LOG)
    return run


def facts(card: Path) -> dict[str, str]:
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", card.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: fact for name, fact in rows if name != "---"}


def test_it_says_what_is_in_the_folder(tmp_path: Path) -> None:
    config = resolve("lite", "modern", SAID)
    run = finished(tmp_path / "mine", config)
    labels = tmp_path / "train.h5"
    labels.write_bytes(b"labels")
    path = write_card(run, config, [Part("coco/train", 303, 6, labels), Part("synthetic", 7)], "1 x cpu; abacus")
    assert path == run.folder / "card.md" and path.read_text().startswith("# mine\n")
    said = facts(path)
    assert said["network"].startswith(str(config.spec)) and re.search(r"; 0\.\d M parameters$", said["network"])
    assert said["weights"].endswith(f"of epoch 1; sha256 {hashlib.sha256(run.best.read_bytes()).hexdigest()}")
    assert said["data"] == (
        f"coco/train: 303 people, 6 times an epoch; labels sha256 {hashlib.sha256(b'labels').hexdigest()}"
        "<br>synthetic: 7 people"
    )
    assert said["length"] == "30 steps, 240 views, 1.0 hours" and said["machine"] == "1 x cpu; abacus"
    assert said["begun with"] == "random weights" and said["coco/val"] == "61.2"


def test_what_was_moved_away_meanwhile_is_no_error(tmp_path: Path) -> None:
    config = resolve("lite", "modern", SAID).changed("init", str(tmp_path / "gone.pt"), "--init")
    path = write_card(finished(tmp_path / "mine", config), config, [Part("coco/train", 3, 1, tmp_path / "gone.h5")], "")
    said = facts(path or tmp_path)
    assert said["data"] == "coco/train: 3 people; labels the file is gone" and said["begun with"].endswith("is gone")


def test_nothing_is_said_of_a_run_without_weights(tmp_path: Path) -> None:
    config = resolve("lite", "modern", SAID)
    assert write_card(Run(tmp_path), config, [], "") is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", ["modern", "reference"])
@pytest.mark.parametrize("said", [{}, {"spec.stacks": (3, "--stacks")}, SAID], ids=["as it is", "stacks", "much"])
def test_its_command_begins_the_same_run(said: dict[str, object], recipe: str) -> None:
    if recipe == "reference":
        said = {name: value for name, value in said.items() if "augmentation" not in name}
    config = resolve("lite", recipe, {"synthetic": (7, "--synthetic"), **said})  # type: ignore[dict-item]
    same_run(config)


def test_a_checkpoint_to_begin_with_says_what_the_network_is(tmp_path: Path) -> None:
    spec = ModelSpec(stacks=1, channels=8, latent=4, block="postact", stem="light", input=64)
    save_checkpoint(tmp_path / "w.pt", StackedHourglass(spec))
    shape = {f"spec.{name}": (value, "--init") for name, value in spec.shape().items()}
    init = {"init": (str(tmp_path / "w.pt"), "--init"), "synthetic": (7, "--synthetic")}
    config = resolve("reference", "modern", shape | init)
    same_run(config)
    said = facts(write_card(finished(tmp_path / "run", config), config, [], "") or tmp_path)
    assert said["begun with"].startswith(f"{tmp_path / 'w.pt'}; sha256 ")


def same_run(config: Config) -> None:
    """The command, typed in, is resolved to the configuration's values."""
    hgrt, *words = command(config, "mine")
    done = CliRunner().invoke(app, [*words, "--print-config"])
    assert hgrt == "hgrt" and done.exit_code == 0, done.output
    found = dict(re.findall(r"^.*? ([\w.]+)=(.*)$", done.output, re.MULTILINE))
    assert {name: json.loads(value) for name, value in found.items()} == json.loads(json.dumps(config.values()))
