"""A training learns, writes what it says, and stopped anywhere goes on to the very same weights."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from hgrt.data.find import DataSets
from hgrt.data.generated import GeneratedPeople
from hgrt.data.sample import People, Sample
from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import apply, invert
from hgrt.train import loop
from hgrt.train.distributed import World
from hgrt.train.evaluate import evaluate, predict, to_tensor
from hgrt.train.log import append
from hgrt.train.loop import InterruptedTraining, train
from hgrt.train.recipe import Recipe, Stage

SPEC = ModelSpec(stacks=1, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)
RECIPE = Recipe(epochs=2, stages=(Stage(0.0, 64, 3),), seed=1, ema=0.9)
STEPS = 3  # of each epoch: nine people in threes
ALONE = World(0, 1, torch.device("cpu"))
PEOPLE, JUDGES = GeneratedPeople(9, 0), GeneratedPeople(3, 1)


class Stopping:
    """People who ask the process to stop when their n-th picture is taken."""

    def __init__(self, people: People, after: int, number: int = signal.SIGINT) -> None:
        self.name, self._people, self._left, self._number = people.name, people, after, number

    def __len__(self) -> int:
        return len(self._people)

    def get(self, index: int) -> Sample:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._number)
        return self._people.get(index)


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SCENES", 2)


def data(people: People = PEOPLE) -> DataSets:
    return DataSets(people, (JUDGES,), ((people.name, len(people), 1),))


def go(run: Path, recipe: Recipe = RECIPE, spec: ModelSpec = SPEC, people: People = PEOPLE) -> str:
    """Train and return what was printed."""
    console = Console(file=io.StringIO(), width=200)
    assert train(run, spec, recipe, data(people), ALONE, 0, console) == run / "best.pt"
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SCENES", 2)
        go(run)
    return run


def log(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def equal(one: object, other: object) -> bool:
    """Whether two nested values are the same bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_a_run_leaves_what_it_says(straight: Path) -> None:
    assert {path.name for path in straight.iterdir()} == {"config.json", "log.csv", "last.pt", "best.pt"}
    rows = log(straight)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        assert np.isfinite(float(row["loss"])) and float(row["loss"]) > 0
        assert 0 <= float(row["synthetic"]) <= 100 and row["size"] == "64" and row["skipped"] == "0"
        assert float(row["images_per_s"]) > 0
    config = json.loads((straight / "config.json").read_text())
    assert ModelSpec.from_mapping(config["spec"]) == SPEC
    assert config["recipe"]["epochs"] == 2 and config["data"] == [["synthetic", 9, 1]] and config["processes"] == 1


def test_the_best_weights_load_and_run(straight: Path) -> None:
    net = load_checkpoint(straight / "best.pt")
    assert net.spec == SPEC
    with torch.inference_mode():
        maps = net(torch.rand(1, 3, 64, 64))
    assert maps.shape == (1, 1, 16, 16, 16) and maps.isfinite().all()
    content = read_checkpoint(straight / "best.pt")
    rates = [float(row["synthetic"]) for row in log(straight)]
    assert rates[content["epoch"] - 1] == content["pckh"]["synthetic"] == max(rates)
    rate = evaluate(net, JUDGES, 64, ALONE.device).total.rate
    assert round(100 * rate, 2) == content["pckh"]["synthetic"]


def test_the_weights_have_moved(straight: Path) -> None:
    torch.manual_seed(RECIPE.seed)
    fresh = StackedHourglass(SPEC).state_dict()
    now = read_checkpoint(straight / "last.pt")
    assert all(not torch.equal(fresh[name], now["state_dict"][name]) for name in fresh if name.endswith("conv.weight"))
    assert now["state"]["epoch"] == 2 and now["state"]["step"] == 0
    assert now["ema"]["updates"] == 2 * STEPS
    assert not equal(now["ema"]["weights"], now["state_dict"])


def test_the_seed_decides_everything(straight: Path, tmp_path: Path) -> None:
    printed = go(tmp_path / "again")
    one, other = read_checkpoint(straight / "last.pt"), read_checkpoint(tmp_path / "again" / "last.pt")
    assert equal(one, other)
    assert "epoch   1" in printed and "epoch   2" in printed
    go(tmp_path / "other", replace(RECIPE, seed=2))
    assert not equal(one, read_checkpoint(tmp_path / "other" / "last.pt"))


@pytest.mark.parametrize(
    ("step", "number"), [*((step, signal.SIGINT) for step in range(1, 2 * STEPS + 1)), (2, signal.SIGTERM)]
)
def test_stopped_anywhere_it_goes_on_exactly(step: int, number: int, straight: Path, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with pytest.raises(InterruptedTraining, match=f"Stopped in epoch {1 + (step - 1) // STEPS}") as stopped:
        go(tmp_path / "run", people=Stopping(PEOPLE, 3 * step, number))
    assert str(tmp_path / "run") in stopped.value.fix
    assert signal.getsignal(number) is before
    state = read_checkpoint(tmp_path / "run" / "last.pt")["state"]
    assert STEPS * state["epoch"] + state["step"] == step
    go(tmp_path / "run")
    for name in ("last.pt", "best.pt"):
        assert equal(read_checkpoint(tmp_path / "run" / name), read_checkpoint(straight / name)), name
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in log(straight)]
    assert [{k: row[k] for k in timeless[0]} for row in log(tmp_path / "run")] == timeless


def test_stopped_twice(straight: Path, tmp_path: Path) -> None:
    for pictures in (3, 9):  # after step 1, and after step 4
        with pytest.raises(InterruptedTraining):
            go(tmp_path / "run", people=Stopping(PEOPLE, pictures))
    go(tmp_path / "run")
    assert equal(read_checkpoint(tmp_path / "run" / "last.pt"), read_checkpoint(straight / "last.pt"))


def test_a_finished_run_is_left_alone(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert "epoch" not in go(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("change", [{"channels": 12}, {"gate": "none"}, {"stacks": 2}, {"latent": 5}, {"input": 128}])
def test_another_network_is_refused(change: dict[str, int], straight: Path) -> None:
    before = {path.name: path.read_bytes() for path in straight.iterdir()}
    with pytest.raises(HgrtError, match="another network"):
        go(straight, spec=replace(SPEC, **change))  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in straight.iterdir()} == before


def spoil(run: Path, how: str) -> None:
    if how == "weights alone":
        save_checkpoint(run / "last.pt", StackedHourglass(SPEC))
    elif how == "text":
        run.mkdir()
        (run / "last.pt").write_text("nothing")
    else:
        run.mkdir()
        torch.save({"state_dict": {}}, run / "last.pt")


@pytest.mark.parametrize("how", ["weights alone", "text", "foreign"])
def test_what_cannot_be_resumed_is_refused(how: str, tmp_path: Path) -> None:
    spoil(tmp_path / "run", how)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(HgrtError, match=r"last\.pt"):
        go(tmp_path / "run")
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


def test_a_full_disk_leaves_the_last_state(straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedTraining):
        go(run, people=Stopping(PEOPLE, 3))
    before = (run / "last.pt").read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HgrtError, match="cannot be written"):
            go(run)
    assert (run / "last.pt").read_bytes() == before
    assert not list(run.glob("*.partial"))


def test_a_non_finite_step_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loop.heatmap_loss, []

    def sometimes(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return real(*arguments) * (float("inf") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(loop, "heatmap_loss", sometimes)
    go(tmp_path / "run")
    content = read_checkpoint(tmp_path / "run" / "last.pt")
    assert content["state"]["skipped"] == 1 and content["ema"]["updates"] == 2 * STEPS - 1
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    assert [row["skipped"] for row in log(tmp_path / "run")] == ["1", "1"]


def test_without_judges_the_loss_decides(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    train(tmp_path, SPEC, RECIPE, DataSets(PEOPLE, (), ()), ALONE, 0, console)
    assert load_checkpoint(tmp_path / "best.pt").spec == SPEC


def test_larger_inputs_start_a_new_best(tmp_path: Path) -> None:
    go(tmp_path / "run", replace(RECIPE, stages=(Stage(0.0, 64, 9), Stage(0.5, 128, 9))))
    assert [row["size"] for row in log(tmp_path / "run")] == ["64", "128"]
    assert read_checkpoint(tmp_path / "run" / "best.pt")["epoch"] == 2


def test_it_learns(tmp_path: Path) -> None:
    """Nine people by heart, as far as a few steps go."""
    recipe = replace(RECIPE, epochs=8, learning_rate=1e-2, warmup=0.0)
    go(tmp_path / "run", recipe)
    losses = [float(row["loss"]) for row in log(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


# The parts


def test_pixels_reach_the_network_as_rgb() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[1, 2, 3] = 255, 51, 0  # blue, green, red
    tensor = to_tensor(images, ALONE.device)
    assert tensor.shape == (2, 3, 4, 4) and tensor.dtype == torch.float32
    torch.testing.assert_close(tensor[1, :, 2, 3], torch.tensor([0.0, 0.2, 1.0]))
    assert tensor.sum() == pytest.approx(1.2)


class Oracle(torch.nn.Module):
    """A network that marks where the picture is brightest in each third of its rows, as joint 0."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4)
        return maps[:, None].expand(-1, 1, 16, -1, -1)


def test_predictions_are_in_image_pixels() -> None:
    people = GeneratedPeople(3, 2)
    for index in (0, 1):
        sample = people.get(index)
        x, y = sample.box.cx + 0.2 * sample.box.side, sample.box.cy - 0.1 * sample.box.side
        rows, columns = np.mgrid[: sample.image.shape[0], : sample.image.shape[1]]
        width = 1.6 * sample.box.side / 64
        light = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))
        lit = replace(sample, image=np.repeat(light[..., None], 3, axis=2).astype(np.uint8))

        class One:
            name = "one"

            def __init__(self, sample: Sample) -> None:
                self._sample = sample

            def __len__(self) -> int:
                return 1

            def get(self, index: int) -> Sample:
                return self._sample

        found = predict(Oracle(), One(lit), 256, ALONE.device)  # type: ignore[arg-type]
        assert found.shape == (1, 16, 2)
        np.testing.assert_allclose(found[0, 0], [x, y], atol=0.01 * sample.box.side)
        assert (apply(invert(lit.box.to_image(256)), found[0]) > 0).all()


@pytest.mark.parametrize(
    ("position", "rate"),
    [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (3.0, 1.0), (6.0, 1.0), (8.0, 0.5), (10.0, 0.0)],
)
def test_learning_rate(position: float, rate: float) -> None:
    assert Recipe(epochs=10, learning_rate=1.0, warmup=0.5, cooldown=0.4).rate(position) == pytest.approx(rate)


def test_learning_rate_without_warmup_and_cooldown() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.5, warmup=0.0, cooldown=0.0)
    assert [recipe.rate(position) for position in (0.0, 5.0, 9.9)] == [0.5, 0.5, 0.5]


def test_stages_begin_where_they_say() -> None:
    recipe = Recipe(epochs=10, stages=(Stage(0.0, 64, 8), Stage(0.55, 128, 4), Stage(0.8, 256, 2)))
    assert [recipe.stage(epoch).size for epoch in range(10)] == [64] * 6 + [128] * 2 + [256] * 2


def test_log_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append(path, {"epoch": 1, "loss": 0.5})
    append(path, {"epoch": 2, "loss": 0.4, "new": 7})
    append(path, {"epoch": 3})
    with path.open(newline="") as stream:
        assert list(csv.reader(stream)) == [["epoch", "loss"], ["1", "0.5"], ["2", "0.4"], ["3", ""]]


def test_weight_decay_is_for_matrices() -> None:
    net = StackedHourglass(SPEC)
    many, few = loop._groups(net, 0.1)
    assert (many["weight_decay"], few["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in many["params"]) and all(p.ndim == 1 for p in few["params"])
    assert len(many["params"]) + len(few["params"]) == len(list(net.parameters()))
