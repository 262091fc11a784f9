"""`hgrt train` as a user runs it: what it refuses, what it shows, and tiny trainings that end, stop and go on."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from rich.console import Console

from fakes import environment, hgrt, hgrt_here, refused

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")

LITE = Path(__file__).resolve().parents[2] / "assets" / "lite.pt"
ONE = ["--threads", "1"]  # more of them wait for each other where the machine has other work
SMALL = [*ONE, "--preset", "lite", "--set", "spec.channels=8", "--set", "spec.growth=0", "--set", "spec.latent=4"]
AT_64 = ["--set", "spec.input=64", "--set", "recipe.stages=[[0,64,2]]"]
# In full size, where the cache keeps whole pictures as they are.
AT_256 = ["--set", "spec.input=256", "--set", "recipe.stages=[[0,256,2]]"]


def contents(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def values(run: Path) -> dict[str, Any]:
    content = json.loads((run / "config.json").read_text())
    return {name: (entry["value"], entry["origin"]) for name, entry in content["values"].items()}


# What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["nothing to train on", "packed", "/data", "MPII", "human-pose.mpi-inf.mpg.de", "--synthetic"]),
        (["--data", "gone"], ["no data folder gone"]),
        (["--preset", "huge", "--synthetic", "2"], ["no preset 'huge'", "lite", "reference"]),
        (["--recipe", "old", "--synthetic", "2"], ["no recipe 'old'", "modern", "reference"]),
        (["--epochs", "0"], ["--epochs"]),
        (["--seed", "-1"], ["--seed"]),
        (["--set", "recipe.epochs"], ["--set recipe.epochs is not NAME=VALUE", "For example"]),
        (["--set", "recipe.epoch=3"], ["no value 'recipe.epoch'", "recipe.epochs", "spec.stacks"]),
        (["--set", "recipe.epochs=many"], ["recipe.epochs cannot be 'many'", "expected int"]),
        (["--set", "spec.input=64", "--set", "recipe.stages=[[0,128,2]]"], ["inputs of 128 pixels", "is for 64"]),
        (["--resume", "gone"], ["no run in exp/gone", "last.pt"]),
        (["--resume", "gone", "--exp", "other"], ["--exp other and --resume gone name two runs"]),
        (["--resume", "gone", "--overfit", "3"], ["--overfit begins a run of its own"]),
        (["--exp", "..", "--overfit", "3"], ["cannot be called '..'"]),
        (["--exp", "a/b"], ["cannot be called 'a/b'"]),
        (
            ["--init", "w.pt", "--preset", "lite", "--set", "spec.stacks=3"],
            ["w.pt says", "--preset, --set spec.stacks"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_mistake_is_said_in_plain_words(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    refused(hgrt_here("train", *arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    teacher = ["--teacher", "notes.txt", "--synthetic", 2]
    refused(hgrt_here("train", *SMALL, *AT_64, *teacher, cwd=tmp_path), "notes.txt is not a torch checkpoint")
    assert not (tmp_path / "exp" / "pose" / "last.pt").exists()


# What is shown


def shown(text: str) -> dict[str, tuple[str, str]]:
    """Of each value that `--print-config` shows: what stands behind the equals sign, and where it comes from."""
    found = {}
    for line in text.splitlines():
        origin, _, assignment = line.partition("  ")
        name, _, value = assignment.strip().partition("=")
        found[name] = value, origin
    return found


def test_every_value_is_shown_with_its_origin_and_can_be_said(tmp_path: Path) -> None:
    """Narrow terminals wrap nothing, and neither torch nor data are needed."""
    code = (
        "import sys\nfrom hgrt.cli.main import main\nsys.argv[0] = 'hgrt'\ntry:\n    main()\nfinally:\n"
        "    print(*sorted({'torch', 'matplotlib', 'tensorboard', 'onnxruntime'} & set(sys.modules)), file=sys.stderr)"
    )
    arguments = ["--preset", "lite", "--seed", "3", "--stacks", "2", "--set", "recipe.learning_rate=1e-4"]
    arguments += ["--set", "spec.stacks=4", "--epochs", "7", "--teacher", "[bold] ü.pt", "--data", "my [data]"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *arguments, "--print-config"],
        cwd=tmp_path,
        env=environment(COLUMNS="40"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr.split() == []
    found = shown(done.stdout)
    assert found["spec.stacks"] == ("4", "--set")  # the last word
    assert found["spec.channels"] == ("96", "preset lite")
    assert found["recipe.seed"] == ("3", "--seed") and found["recipe.learning_rate"] == ("0.0001", "--set")
    assert found["recipe.epochs"] == ("7", "--epochs") and found["recipe.max_iters"] == ("0", "--epochs")
    assert found["recipe.ema"] == ("0.999", "recipe modern") and found["init"] == ('""', "default")
    assert json.loads(found["teacher"][0]) == "[bold] ü.pt" and json.loads(found["data"][0]) == ["my [data]"]
    assert len(json.loads(found["spec.joints"][0])) == 16
    again = ["--preset", "lite"]
    for name, (value, _) in found.items():
        again += ["--set", f"{name}={value}"]
    done = hgrt("train", *again, "--print-config", cwd=tmp_path)
    assert shown(done.stdout) == {name: (value, "--set") for name, (value, _) in found.items()}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_called_data_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert shown(hgrt("train", "--print-config", cwd=tmp_path).stdout)["data"] == ('["data"]', "default")
    done = hgrt("train", "--print-config", "--synthetic", 3, cwd=tmp_path)
    assert shown(done.stdout)["data"] == ("[]", "default")


# A training that ends


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `exp/try` was trained for an epoch, on pictures kept in memory."""
    where = tmp_path_factory.mktemp("where")
    done = hgrt("train", *SMALL, *AT_256, "--synthetic", 4, "--epochs", 1, "--exp", "try", "--cache", cwd=where)
    assert done.returncode == 0, done.stderr
    (where / "printed").write_text(done.stdout)
    return where


def test_it_leaves_and_says_what_it_did(where: Path) -> None:
    from hgrt.model.checkpoint import load_checkpoint

    run = where / "exp" / "try"
    names = {"config.json", "log.csv", "curves.png", "samples", "tensorboard", "last.pt", "best.pt", "card.md"}
    assert {path.name for path in run.iterdir()} == names
    assert cv2.imread(str(run / "curves.png")).std() > 5
    assert cv2.imread(str(run / "samples" / "epoch_001.jpg")).std() > 5
    assert len(list((run / "tensorboard").iterdir())) == 1
    (row,) = rows(run)
    assert (row["epoch"], row["iteration"], row["size"]) == ("1", "2", "256") and float(row["images_per_s"]) > 0
    assert load_checkpoint(run / "best.pt").spec.channels == 8
    assert values(run)["synthetic"] == (4, "--synthetic")
    assert values(run)["spec.channels"] == (8, "--set") and values(run)["spec.stacks"] == (1, "preset lite")
    first, parts, epoch, best = (where / "printed").read_text().splitlines()
    assert "1 x 8" in first and "1 x cpu" in first and "exp/try" in first
    assert parts.split() == ["synthetic:", "4", "people"]
    assert epoch.startswith("epoch   1") and f"{row['images_per_s']} images/s" in epoch
    assert epoch.endswith(f"synthetic {float(row['synthetic']):.1f}")
    assert best.endswith("exp/try/best.pt, described in exp/try/card.md")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--exp", "try", "--synthetic", "2"], ["a run in exp/try already", "overwritten", "--resume try"]),
        (["--exp", "try", "--synthetic", "2", "--overfit", "2"], ["a run in exp/try already"]),
        (["--resume", "try", "--preset", "lite"], ["--preset cannot be changed", "--exp"]),
        (["--resume", "try", "--stacks", "2", "--set", "recipe.clip=2"], ["--stacks, --set cannot be changed"]),
        (["--resume", "try", "--recipe", "modern", "--teacher", "w.pt"], ["--recipe, --teacher cannot be changed"]),
        (["--resume", "try", "--init", "w.pt"], ["--init cannot be changed"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_run_that_is_there_is_not_changed(arguments: list[str], words: list[str], where: Path) -> None:
    run = where / "exp" / "try"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused(hgrt_here("train", *arguments, cwd=where), *words)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_from_memory_it_trains_the_same_and_for_longer_it_goes_on(where: Path, tmp_path: Path) -> None:
    """Pictures as small as generated ones are kept whole, and what is not reduced is not changed."""
    from hgrt.data.find import find
    from hgrt.train.config import read_config
    from hgrt.train.distributed import join
    from hgrt.train.loop import train
    from hgrt.train.run import Run

    torch.set_num_threads(1)  # as the run that it is compared with; another test may have changed it
    config = read_config(where / "exp" / "try")
    train(Run(tmp_path), config, find([], 4, 0), join(), 0, Console(quiet=True))
    one, other = (contents(run / "last.pt")["state_dict"] for run in (where / "exp" / "try", tmp_path))
    assert list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())
    longer = config.changed("recipe.epochs", 2, "--epochs")
    train(Run(tmp_path), longer, find([], 4, 0), join(), 0, Console(quiet=True))
    assert [row["iteration"] for row in rows(tmp_path)] == ["2", "4"]


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--epochs", "9"], {"recipe.epochs": ("9", "--epochs"), "recipe.max_iters": ("0", "--epochs")}),
        (["--max-iters", "50"], {"recipe.max_iters": ("50", "--max-iters")}),
        (["--data", "a", "--synthetic", "7"], {"data": ('["a"]', "--data"), "synthetic": ("7", "--synthetic")}),
    ],
)
def test_only_what_may_change_changes(arguments: list[str], changes: dict[str, Any], where: Path) -> None:
    """A run goes on with what its folder says, and another length or other data where they are said."""
    kept = {name: (json.dumps(value), origin) for name, (value, origin) in values(where / "exp" / "try").items()}
    done = hgrt("train", "--resume", "try", *arguments, "--print-config", cwd=where)
    assert shown(done.stdout) == kept | changes


# A training that is stopped


def until_ctrl_c(where: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program, sent Ctrl-C once it has said that an epoch is done."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hgrt", "train", *map(str, arguments)],
        cwd=where,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        begun = []
        for line in process.stdout:  # ends where the process does
            begun.append(line)
            if line.startswith("epoch "):
                break
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, "".join(begun) + out, errors)


def test_ctrl_c_ends_it_in_good_order_and_its_name_alone_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "exp" / "long"
    endless = ["--max-iters", 4000, "--set", "recipe.epoch_iters=2", "--exp", "long", "--synthetic", 4]
    first = until_ctrl_c(tmp_path, *SMALL, *AT_64, *endless, "--teacher", LITE)
    epochs = contents(run / "last.pt")["position"]["epoch"]
    before = values(run)
    second = until_ctrl_c(tmp_path, *ONE, "--resume", "long")
    for done in (first, second):
        assert done.returncode == 130, done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        assert "hgrt train --resume long" in done.stdout
    assert 1 <= epochs < contents(run / "last.pt")["position"]["epoch"] == len(rows(run))
    assert [int(row["iteration"]) for row in rows(run)] == [2 * k for k in range(1, len(rows(run)) + 1)]
    assert f"epoch {epochs + 1:3}" in second.stdout and "epoch   1 " not in second.stdout
    assert values(run) == before and before["teacher"] == (str(LITE), "--teacher")
    assert f"| {rows(run)[-1]['iteration']} steps, " in (run / "card.md").read_text()


# The self-test


def test_a_network_that_learns_passes(tmp_path: Path) -> None:
    learner = ["--set", "spec.channels=32", "--set", "recipe.learning_rate=1e-2", "--max-iters", 85]
    at_128 = ["--set", "spec.input=128", "--set", "recipe.stages=[[0,128,8]]"]  # at 64 half a head is not a cell
    done = hgrt_here("train", "--overfit", 8, "--synthetic", 11, *SMALL, *at_128, *learner, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS: 8 people learnt by heart" in done.stdout and "exp/overfit" in done.stdout
    assert float(rows(tmp_path / "exp" / "overfit")[-1]["by heart"]) >= 95


def test_one_that_cannot_learn_fails(tmp_path: Path) -> None:
    still = ["--set", "recipe.learning_rate=1e-9", "--max-iters", 1, "--exp", "mine"]
    done = hgrt_here("train", "--overfit", 3, "--synthetic", 5, *SMALL, *AT_64, *still, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL: 3 people" in done.stdout and "exp/mine" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "exp" / "mine" / "config.json").exists()
