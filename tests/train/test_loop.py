"""A training learns, says what it does, and stopped anywhere goes on to the very same weights."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

import golden
from hgrt.data.find import DataSets, Part
from hgrt.data.generated import GeneratedPeople
from hgrt.data.sample import People, Sample
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions, View, predict
from hgrt.model.checkpoint import load_checkpoint, published_to_ours, read_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train import health, loop, report
from hgrt.train.batches import Batch, batches
from hgrt.train.config import Config
from hgrt.train.distributed import World
from hgrt.train.health import Health
from hgrt.train.log import read_rows
from hgrt.train.loop import InterruptedTraining, answer, to_network, train
from hgrt.train.loss import heatmap_loss
from hgrt.train.recipe import REFERENCE, Epoch, Recipe, Stage, plan
from hgrt.train.run import Position, Run

SPEC = ModelSpec(stacks=1, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)
ALONE = World(0, 1, torch.device("cpu"))
PEOPLE, JUDGES = GeneratedPeople(9, 0), GeneratedPeople(3, 1)

PLAIN = Recipe(epochs=2, stages=(Stage(0.0, 64, 3),), seed=1, ema=0.9)
RECIPES = {
    "plain": PLAIN,
    "in parts": replace(PLAIN, stages=(Stage(0.0, 64, 4),), accumulate=2),
    "reference": replace(REFERENCE, stages=(Stage(0.0, 64, 4),), max_iters=5, epoch_iters=2, drop_at=3),
    "in turns": replace(PLAIN, stages=(Stage(0.0, 64, 12),), max_iters=3, epoch_iters=2),  # 12 of 9 people
    "growing": replace(PLAIN, stages=(Stage(0.0, 64, 4), Stage(0.5, 128, 4))),
}
STEPS = {name: sum(epoch.steps for epoch in plan(recipe, len(PEOPLE))) for name, recipe in RECIPES.items()}


def data(*val: People, people: People = PEOPLE) -> DataSets:
    return DataSets(people, val or (JUDGES,), (Part(people.name, len(people)),))


def after(steps: int, numbers: list[int], real: Callable[..., Any]) -> Callable[..., Any]:
    """`loop._step`, which at the end of so many steps sends signals to this process."""
    left = steps

    def step(*arguments: Any) -> Any:
        nonlocal left
        result, left = real(*arguments), left - 1
        for number in numbers if left == 0 else []:
            os.kill(os.getpid(), number)
        return result

    return step


def go(
    folder: Path,
    recipe: Recipe = PLAIN,
    spec: ModelSpec = SPEC,
    sets: DataSets | None = None,
    workers: int = 0,
    stop: int = 0,
    numbers: tuple[int, ...] = (signal.SIGINT,),
    drawn: bool = False,
    init: Path | str = "",
    compiled: str = "",
) -> str:
    """Train and return what was printed; `stop`: signals come in that step, counted from 1. Only on request drawn."""
    console = Console(file=io.StringIO(), width=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SCENES", 2)
        patch.setattr(loop, "_step", after(stop, list(numbers), loop._step))
        if not drawn:
            patch.setattr(report, "draw_curves", lambda rows, path: None)
            patch.setattr(report, "samples", lambda data, judged, batch: batch[0][0, ..., :3].numpy().astype(np.uint8))
        config = Config("lite", "modern", spec, recipe, init=str(init))
        train(Run(folder), config, sets or data(), ALONE, workers, console, compiled)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@dataclass
class Straight:
    """Runs that nothing disturbed, by the name of their recipe; each is made once."""

    folder: Path

    def __call__(self, name: str) -> Path:
        folder = self.folder / name
        if not folder.exists():
            printed = go(folder, RECIPES[name], drawn=name == "plain")
            (folder.parent / f"{name}.txt").write_text(printed)
        return folder

    def printed(self, name: str) -> str:
        return (self(name).parent / f"{name}.txt").read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return Straight(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain run that was stopped in its second epoch, after four steps. To be copied."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(InterruptedTraining):
        go(folder, stop=4)
    return folder


def equal(one: object, other: object) -> bool:
    """Whether two nested values are the same bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(equal, one, other))
    return one == other


def rows(folder: Path) -> list[dict[str, str]]:
    """The log but for what depends on the clock."""
    clock = ("seconds", "images_per_s", "waiting")
    return [{name: value for name, value in row.items() if name not in clock} for row in read_rows(folder / "log.csv")]


def assert_same(folder: Path, other: Path) -> None:
    """That two runs ended in the same state, have the same best weights and say the same."""
    for name in ("last.pt", "best.pt"):
        assert equal(read_checkpoint(folder / name), read_checkpoint(other / name)), name
    assert rows(folder) == rows(other)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A run


def test_a_run_leaves_what_it_says(straight: Straight) -> None:
    folder = straight("plain")
    expected = {"log.csv", "last.pt", "best.pt", "curves.png", "samples", "tensorboard"}
    assert {path.name for path in folder.iterdir()} == expected
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["epoch_001.jpg", "epoch_002.jpg"]
    assert all(cv2.imread(str(path)) is not None for path in [folder / "curves.png", *(folder / "samples").iterdir()])
    assert all("tfevents" in path.name for path in (folder / "tensorboard").iterdir())
    table = read_rows(folder / "log.csv")
    assert [(row["epoch"], row["iteration"]) for row in table] == [("1", "3"), ("2", "6")]
    for row in table:
        assert np.isfinite(float(row["loss"])) and float(row["loss"]) > 0
        assert 0 <= float(row["synthetic"]) <= 100 and row["size"] == "64" and row["skipped"] == "0"
        assert float(row["images_per_s"]) > 0 and 0 <= float(row["waiting"]) <= 100
    assert float(table[-1]["lr"]) == pytest.approx(PLAIN.rate(5, 6))
    printed = straight.printed("plain")
    assert "epoch   1" in printed and "epoch   2" in printed and "synthetic" in printed and "Collapsed" not in printed


def test_the_best_weights_load_and_run(straight: Straight) -> None:
    net = load_checkpoint(straight("plain") / "best.pt")
    assert net.spec == SPEC
    with torch.inference_mode():
        maps = net(torch.rand(1, 3, 64, 64))
    assert maps.shape == (1, 1, 16, 16, 16) and maps.isfinite().all()
    content = read_checkpoint(straight("plain") / "best.pt")
    rates = [float(row["synthetic"]) for row in rows(straight("plain"))]
    assert rates[content["epoch"] - 1] == content["pckh"]["synthetic"] == max(rates)
    rate = predict(answer(net, ALONE.device), JUDGES, 64).pckh().total.rate
    assert round(100 * rate, 2) == content["pckh"]["synthetic"]


def test_what_is_learnt_and_what_is_judged_is_the_share_of_a_box_that_the_network_looks_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt, judged = [], []

    def making(*arguments: Any) -> Any:
        learnt.append(arguments[-1])
        return batches(*arguments)

    def judging(infer: Any, people: People, size: int, view: View) -> Predictions:
        judged.append(view)
        return predict(infer, people, size, view)

    monkeypatch.setattr(loop, "batches", making)
    monkeypatch.setattr(loop, "predict", judging)
    go(tmp_path / "run", replace(PLAIN, epochs=1), replace(SPEC, crop=0.8))
    assert learnt == [0.8] and judged == [View(crop=0.8)]


def test_the_weights_have_moved(straight: Straight) -> None:
    torch.manual_seed(PLAIN.seed)
    fresh = StackedHourglass(SPEC).state_dict()
    now = read_checkpoint(straight("plain") / "last.pt")
    assert all(not torch.equal(fresh[name], now["state_dict"][name]) for name in fresh if name.endswith("conv.weight"))
    assert now["position"]["epoch"] == 2 and now["position"]["step"] == 0
    assert now["ema"]["updates"] == STEPS["plain"]
    assert not equal(now["ema"]["weights"], now["state_dict"])


def test_the_seed_decides_everything(straight: Straight, tmp_path: Path) -> None:
    go(tmp_path / "again")
    assert_same(tmp_path / "again", straight("plain"))
    go(tmp_path / "other", replace(PLAIN, seed=2, epochs=1))
    assert rows(tmp_path / "other")[0]["loss"] != rows(straight("plain"))[0]["loss"]


def test_a_compiled_network_is_the_one_that_is_trained_and_kept(
    straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `torch.compile` returns is another module around the network; its compiler would take minutes."""
    modes = []

    class Compiled(nn.Module):
        def __init__(self, net: nn.Module, mode: str) -> None:
            super().__init__()
            self._orig_mod = net
            modes.append(mode)

        def forward(self, image: Tensor) -> Any:
            return self._orig_mod(image)

    monkeypatch.setattr(torch, "compile", Compiled)
    go(tmp_path / "compiled", compiled="reduce-overhead")
    assert modes == ["reduce-overhead"]
    assert_same(tmp_path / "compiled", straight("plain"))


def test_the_reference_recipe_keeps_the_last_weights(straight: Straight) -> None:
    now = read_checkpoint(straight("reference") / "last.pt")
    assert equal(now["ema"]["weights"], now["state_dict"])
    assert [row["lr"] for row in rows(straight("reference"))] == ["0.001", "0.0002", "0.0002"]
    assert [row["iteration"] for row in rows(straight("reference"))] == ["2", "4", "5"]


def test_larger_inputs_start_a_new_best(straight: Straight) -> None:
    assert [row["size"] for row in rows(straight("growing"))] == ["64", "128"]
    assert read_checkpoint(straight("growing") / "best.pt")["epoch"] == 2


def test_without_judges_the_loss_decides(tmp_path: Path) -> None:
    go(tmp_path, replace(PLAIN, max_iters=2, epoch_iters=1), sets=DataSets(PEOPLE, (), ()), drawn=True)
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    best = read_checkpoint(tmp_path / "best.pt")
    assert best["epoch"] == 1 + int(np.argmin(losses)) and best["pckh"] == {}
    assert read_checkpoint(tmp_path / "last.pt")["position"]["best"] == pytest.approx(-min(losses), abs=1e-6)


class Unjudged:
    """People none of whose joints count."""

    name = "nobody/val"

    def __len__(self) -> int:
        return len(JUDGES)

    def get(self, index: int) -> Sample:
        sample = JUDGES.get(index)
        return replace(sample, evaluate=np.zeros_like(sample.evaluate))


def test_a_set_in_which_nothing_counts_decides_nothing(straight: Straight, tmp_path: Path) -> None:
    go(tmp_path, sets=data(Unjudged(), JUDGES))
    assert [row["nobody/val"] for row in rows(tmp_path)] == ["nan", "nan"]
    one, other = (read_checkpoint(folder / "best.pt") for folder in (straight("plain"), tmp_path))
    assert equal(one["state_dict"], other["state_dict"]) and one["epoch"] == other["epoch"]


def test_it_learns(tmp_path: Path) -> None:
    """Nine people by heart, as far as a few steps go."""
    go(tmp_path, replace(PLAIN, epoch_iters=12, learning_rate=1e-2, warmup=0.0))
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert losses[1] < 0.9 * losses[0]  # of running means


def test_it_begins_with_what_it_is_given_and_only_once(straight: Straight, tmp_path: Path) -> None:
    init, folder = shutil.copy(straight("plain") / "best.pt", tmp_path / "init.pt"), tmp_path / "run"
    slow = replace(PLAIN, learning_rate=1e-9, epochs=1)
    with pytest.raises(InterruptedTraining):
        go(folder, slow, stop=1, init=init)
    given, now = read_checkpoint(init)["state_dict"], read_checkpoint(folder / "last.pt")["state_dict"]
    for name in (name for name in given if name.endswith(("weight", "bias"))):
        torch.testing.assert_close(now[name], given[name], rtol=0, atol=1e-7)
    init.unlink()
    go(folder, slow, init=init)
    assert read_checkpoint(folder / "last.pt")["position"]["epoch"] == 1


# Stopping and going on


@pytest.mark.parametrize(
    ("step", "numbers"),
    [(1, (signal.SIGINT,)), (3, (signal.SIGINT, signal.SIGTERM, signal.SIGINT)), (5, (signal.SIGTERM,))],
)
def test_stopped_anywhere_it_goes_on_exactly(
    step: int, numbers: tuple[int, ...], straight: Straight, tmp_path: Path
) -> None:
    """However often it is asked."""
    before, folder = list(map(signal.getsignal, numbers)), tmp_path / "run"
    with pytest.raises(InterruptedTraining, match=f"Stopped in epoch {1 + (step - 1) // 3}") as stopped:
        go(folder, stop=step, numbers=numbers)
    assert str(folder) in stopped.value.fix and "--resume run" in stopped.value.fix
    assert list(map(signal.getsignal, numbers)) == before
    position = read_checkpoint(folder / "last.pt")["position"]
    assert 3 * position["epoch"] + position["step"] == step
    go(folder)
    assert_same(folder, straight("plain"))


@pytest.mark.parametrize("name", ["in parts", "reference", "in turns", "growing"])
def test_stopped_after_every_step(name: str, straight: Straight, tmp_path: Path) -> None:
    for step in range(1, STEPS[name] + 1):
        with pytest.raises(InterruptedTraining):
            go(tmp_path, RECIPES[name], stop=1, drawn=step == STEPS[name])
    go(tmp_path, RECIPES[name])
    assert_same(tmp_path, straight(name))


def test_stopped_with_workers(straight: Straight, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        with pytest.raises(InterruptedTraining):
            go(tmp_path, RECIPES["in parts"], workers=2, stop=1, numbers=(number,))
    go(tmp_path, RECIPES["in parts"], workers=2)
    assert_same(tmp_path, straight("in parts"))


@pytest.mark.parametrize("call", ["append", "keep_best", "save"])
def test_killed_between_two_writes(
    call: str, stopped: Path, straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of an epoch is written, then its best weights, then its state. Killed in between, no row comes twice."""

    class Killed(BaseException):
        pass

    def kill(*_arguments: object) -> None:
        raise Killed

    folder = shutil.copytree(stopped, tmp_path / "run")
    owner = loop.RunLog if call == "append" else loop.Run
    real = getattr(owner, call)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, call, kill if call != "append" else lambda *a: (real(*a), kill()))
        go(folder)
    assert [row["epoch"] for row in rows(folder)] == ["1", "2"]
    go(folder)
    assert_same(folder, straight("plain"))


def test_killed_before_anything_was_saved(straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "save", kill)
        go(tmp_path)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1"] and not (tmp_path / "last.pt").exists()
    go(tmp_path)
    assert_same(tmp_path, straight("plain"))


def test_the_state_is_saved_now_and_then(straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run does not lose."""
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    saved, real = [], Run.save

    def save(run: Run, net: Any, ema: Any, optimizer: Any, position: Position) -> None:
        real(run, net, ema, optimizer, position)
        saved.append((position.epoch, position.step))

    monkeypatch.setattr(loop.Run, "save", save)
    go(tmp_path)
    assert saved == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    assert_same(tmp_path, straight("plain"))


def test_a_finished_run_is_left_alone(straight: Straight, tmp_path: Path) -> None:
    shutil.copytree(straight("plain"), tmp_path / "run")
    before = files(tmp_path / "run")
    assert "epoch" not in go(tmp_path / "run")
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("change", [{"channels": 12}, {"gate": "none"}])
def test_another_network_is_refused(change: dict[str, Any], straight: Straight) -> None:
    before = files(straight("plain"))
    with pytest.raises(HgrtError, match="another network"):
        go(straight("plain"), spec=replace(SPEC, **change))
    assert files(straight("plain")) == before


def test_a_full_disk_leaves_the_last_state(
    stopped: Path, straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(stopped, tmp_path / "run")
    before = (folder / "last.pt").read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HgrtError, match="cannot be written"):
            go(folder)
    assert (folder / "last.pt").read_bytes() == before
    assert not list(folder.rglob("*.partial"))
    go(folder)
    assert_same(folder, straight("plain"))


def test_a_batch_too_small_for_its_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="A batch of 3 .* 4 parts"):
        go(tmp_path, replace(PLAIN, accumulate=4))


# What goes wrong


def test_steps_that_are_not_finite_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.batches

    def spoilt(*arguments: Any) -> Iterator[Batch]:
        for k, (images, targets, known) in enumerate(real(*arguments)):
            yield (images if k != 1 else torch.full(images.shape, float("inf"))), targets, known

    monkeypatch.setattr(loop, "batches", spoilt)
    printed = go(tmp_path)
    content = read_checkpoint(tmp_path / "last.pt")
    assert content["position"]["health"]["skipped"] == 2
    assert content["ema"]["updates"] == STEPS["plain"] - 2
    for weights in (
        content["state_dict"],
        content["ema"]["weights"],
        read_checkpoint(tmp_path / "best.pt")["state_dict"],
    ):
        assert all(value.isfinite().all() for value in weights.values())
    assert [row["skipped"] for row in rows(tmp_path)] == ["1", "2"]
    assert "1 non-finite steps skipped" in printed and "2 non-finite steps skipped" in printed


def test_a_network_that_says_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(spec: ModelSpec) -> StackedHourglass:
        net = StackedHourglass(spec)
        for stack in net.stacks:
            nn.init.zeros_(stack.heatmap.weight)
            nn.init.zeros_(stack.heatmap.bias)
        return net

    monkeypatch.setattr(loop, "StackedHourglass", silent)
    monkeypatch.setattr(health, "PATIENCE", 6)
    printed = go(tmp_path, replace(PLAIN, learning_rate=1e-12))
    first, second = printed.split("epoch   2")
    assert "Collapsed" not in first and "Collapsed" in second
    blank = read_checkpoint(tmp_path / "last.pt")["position"]["health"]["blank"]
    assert second.count(f"{blank:.5f}") == 3  # the loss, again in the words, and what empty maps would have
    assert "100 % of the validation joints have no peak" in second


# One step

FIXED = replace(PLAIN, bf16=False, clip=0.0)


class Frozen(StackedHourglass):
    """A network whose batch norms keep to their statistics, so that a batch is the sum of its parts."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def frozen(stacks: int = 1) -> Frozen:
    torch.manual_seed(3)
    return Frozen(replace(SPEC, stacks=stacks))


def examples(count: int = 6, size: int = 64) -> Batch:
    """Noise; the first knows everything, the second nothing, the others something, some of it with half a weight."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)
    targets = torch.rand((count, 16, size // 4, size // 4), generator=generator)
    known = (2 * torch.rand((count, 16), generator=generator)).round() / 2
    known[0], known[1], known[2, 3:] = 1, 0, 0
    return images, targets, known


def split(batch: Batch, *sizes: int) -> list[Batch]:
    return [tuple(part) for part in zip(*(tensor.split(sizes) for tensor in batch), strict=True)]  # type: ignore[misc]


def stepped(
    net: StackedHourglass, parts: list[Batch], recipe: Recipe = FIXED, teacher: Any = None
) -> tuple[tuple[float, float, bool], dict[str, Tensor]]:
    """What a step says, and the gradient that it leaves."""
    optimizer = loop.optimizer_for(net, replace(recipe, optimizer="adamw", learning_rate=1.0))
    said = loop._step(net, net, optimizer, parts, 1e-3, recipe, ALONE, teacher)
    return said, {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def teacher(image: Tensor) -> Tensor:
    """Knows that every joint is where the picture is bright."""
    return nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4).expand(-1, 16, -1, -1)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("sizes", [(3, 3), (1, 5), (2, 2, 2), (1, 1, 4)])
def test_parts_of_a_batch_make_the_same_step(sizes: tuple[int, ...], taught: bool) -> None:
    """Though they know of different numbers of joints, one of them of none."""
    recipe = replace(FIXED, peak_weight=9.0, teacher_weight=0.3, inner_weight=0.2)
    whole, gradient = stepped(frozen(2), [examples()], recipe, teacher if taught else None)
    parts, summed = stepped(frozen(2), split(examples(), *sizes), recipe, teacher if taught else None)
    assert parts == pytest.approx(whole, rel=1e-5) and whole[2] is True
    assert list(summed) == list(gradient)
    for name, value in gradient.items():
        torch.testing.assert_close(summed[name], value, rtol=1e-3, atol=1e-5 * float(value.abs().max() + 1), msg=name)


@pytest.mark.parametrize(("peak_weight", "side_weight"), [(0.0, 0.0), (9.0, 0.0), (9.0, 0.7), (0.0, 0.7)])
def test_a_step_follows_the_gradient_of_the_loss(peak_weight: float, side_weight: float) -> None:
    recipe, (images, targets, known) = replace(FIXED, peak_weight=peak_weight, side_weight=side_weight), examples()
    (loss, blank, taken), gradient = stepped(frozen(), [(images, targets, known)], recipe)
    net = frozen().train()
    expected = heatmap_loss(net(to_network(images)), targets, known, peak_weight, side_weight=side_weight)
    expected.backward()  # type: ignore[no-untyped-call]
    assert taken and loss == pytest.approx(expected.item(), rel=1e-6)
    nothing = torch.zeros(len(images), 1, *targets.shape[1:])
    empty = heatmap_loss(nothing, targets, known, peak_weight, side_weight=side_weight)
    assert blank == pytest.approx(empty.item(), rel=1e-6)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_teacher_has_its_share() -> None:
    """With all of the loss, the truth does not matter; with none, the teacher does not."""
    images, targets, known = examples()
    other = torch.rand(targets.shape, generator=torch.Generator().manual_seed(9))
    for share, who_matters in ((1.0, "teacher"), (0.0, "truth")):
        recipe = replace(FIXED, teacher_weight=share)
        _, one = stepped(frozen(), [(images, targets, known)], recipe, teacher)
        _, truth = stepped(frozen(), [(images, other, known)], recipe, teacher)
        _, taught = stepped(frozen(), [(images, targets, known)], recipe, lambda image: 1 - teacher(image))
        assert equal(truth, one) == (who_matters == "teacher") and equal(taught, one) == (who_matters == "truth")


def test_the_teacher_is_heard_on_every_joint() -> None:
    """Also on those of which the truth is not known."""
    images, targets, known = examples()
    recipe = replace(FIXED, teacher_weight=0.3, peak_weight=9.0, side_weight=0.7)
    (loss, _, _), gradient = stepped(frozen(), [(images, targets, known)], recipe, teacher)
    net = frozen().train()
    heatmaps = net(to_network(images))
    loss_of = partial(heatmap_loss, peak_weight=9.0, side_weight=0.7)
    truth = loss_of(heatmaps, targets, known)
    likeness = loss_of(heatmaps, teacher(to_network(images)), torch.ones_like(known))
    (0.7 * truth + 0.3 * likeness).backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(truth.item(), rel=1e-6)  # what is said compares with runs without a teacher
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_whom_the_teacher_sees_in_empty_places_is_not_learnt() -> None:
    """Empty is what has no target though every joint is known; where nothing is known, the teacher is heard."""
    images, targets, known = examples()
    targets[:3], known[:3] = 0, torch.tensor([[1.0], [0.0], [1.0]])
    known[2, 5] = 0
    _, gradient = stepped(frozen(), [(images, targets, known)], replace(FIXED, teacher_weight=0.5), teacher)
    answers = teacher(to_network(images)) * (torch.arange(6) > 0)[:, None, None, None]
    _, expected = stepped(frozen(), [(images, targets, known)], replace(FIXED, teacher_weight=0.5), lambda _: answers)
    _, heard = stepped(frozen(), [(images, targets, known)], replace(FIXED, teacher_weight=0.0), teacher)
    assert equal(gradient, expected) and not equal(gradient, heard)
    known[0, 0] = 0
    _, otherwise = stepped(frozen(), [(images, targets, known)], replace(FIXED, teacher_weight=0.5), teacher)
    assert not equal(gradient, otherwise)


@pytest.mark.parametrize("peak_weight", [0.0, 9.0])
def test_earlier_stacks_learn_from_the_last(peak_weight: float) -> None:
    """On every joint."""
    images, targets, known = examples()
    recipe = replace(FIXED, inner_weight=0.3, peak_weight=peak_weight, side_weight=0.7)
    loss_of = partial(heatmap_loss, peak_weight=peak_weight, side_weight=0.7)
    (loss, _, _), gradient = stepped(frozen(3), [(images, targets, known)], recipe)
    net = frozen(3).train()
    heatmaps = net(to_network(images))
    truth = loss_of(heatmaps, targets, known)
    last = heatmaps[:, 2].detach().clamp(0, 1)
    inner = torch.stack([loss_of(heatmaps[:, [k]], last, torch.ones_like(known)) for k in (0, 1)])
    (truth + 0.3 * inner.mean()).backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(truth.item(), rel=1e-6)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_last_stack_learns_from_the_labels_alone() -> None:
    images, targets, known = examples()
    _, gradient = stepped(frozen(2), [(images, targets, 0 * known)], replace(FIXED, inner_weight=0.3))
    assert gradient["stacks.0.heatmap.weight"].abs().max() > 1e-3
    last = [value for name, value in gradient.items() if name.startswith("stacks.1.")]
    assert last and all(not value.any() for value in last)


def test_a_single_stack_has_no_other_to_learn_from() -> None:
    _, one = stepped(frozen(), [examples()], replace(FIXED, inner_weight=0.3))
    assert equal(one, stepped(frozen(), [examples()])[1])


@pytest.mark.parametrize("clip", [1e-3, 1e6])
def test_long_gradients_are_cut(clip: float) -> None:
    def length(gradient: dict[str, Tensor]) -> float:
        return float(torch.stack([value.norm() for value in gradient.values()]).norm())

    free = length(stepped(frozen(), [examples()])[1])
    cut = length(stepped(frozen(), [examples()], replace(FIXED, clip=clip))[1])
    assert 1e-2 < free < 1e5 and cut == pytest.approx(min(free, clip), rel=1e-3)


@pytest.mark.parametrize("where", ["images", "targets", "gradient"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_skipped_step_leaves_no_trace(where: str, value: float, parts: int) -> None:
    torch.manual_seed(0)
    net = StackedHourglass(SPEC)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    images, targets, known = examples()
    assert loop._step(net, net, optimizer, [(images, targets, known)], 1e-2, FIXED, ALONE)[2] is True
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
    moments = [tensor.clone() for state in optimizer.state.values() for tensor in state.values()]
    spoilt = (images / 255, targets.clone(), known)
    hook = net.stacks[0].heatmap.weight.register_hook(lambda grad: grad * (value if where == "gradient" else 1.0))
    if where != "gradient":
        spoilt[("images", "targets").index(where)][4, 1:3, 2:4] = value
    loss, _, taken = loop._step(net, net, optimizer, split(spoilt, *[6 // parts] * parts), 1e-2, FIXED, ALONE)
    hook.remove()
    assert not taken and np.isfinite(loss) == (where == "gradient")
    assert equal(weights, {name: value for name, value in net.state_dict().items() if value.is_floating_point()})
    assert equal(moments, [tensor for state in optimizer.state.values() for tensor in state.values()])
    assert loop._step(net, net, optimizer, [(images, targets, known)], 1e-2, FIXED, ALONE)[2] is True


def test_the_rate_is_the_one_given() -> None:
    net, rate = frozen(), 0.02
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = loop.optimizer_for(net, replace(FIXED, optimizer="adamw", weight_decay=0.0, learning_rate=7.0))
    loop._step(net, net, optimizer, [examples()], rate, FIXED, ALONE)
    moved = max(float((parameter - before[name]).detach().abs().max()) for name, parameter in net.named_parameters())
    assert moved == pytest.approx(rate, rel=1e-2)  # Adam's first step is as long as the rate


def test_weight_decay_is_for_matrices() -> None:
    net = StackedHourglass(SPEC)
    many, few = loop.optimizer_for(net, replace(FIXED, optimizer="adamw", weight_decay=0.1)).param_groups
    assert (many["weight_decay"], few["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in many["params"]) and all(p.ndim == 1 for p in few["params"])
    assert len(many["params"]) + len(few["params"]) == len(list(net.parameters()))


# Which sets decide


@dataclass(frozen=True)
class Named:
    """A validation set of nobody."""

    name: str

    def __len__(self) -> int:
        return 0

    def get(self, index: int) -> Sample:
        raise AssertionError(f"nobody was to look at {index}")


VAL = [Named("coco/val"), Named("lspet/val"), Named("coco/val"), Named("synthetic")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ["coco/val", "lspet/val", "coco/val (2)", "synthetic"]),
        (("coco",), ["coco/val", "coco/val (2)"]),
        (("synthetic", "lspet"), ["lspet/val", "synthetic"]),
    ],
)
def test_the_sets_that_decide(names: tuple[str, ...], expected: list[str]) -> None:
    assert loop.selected(names, VAL) == expected


def test_a_set_that_is_not_there_cannot_decide() -> None:
    with pytest.raises(HgrtError, match="'webcam' to select") as caught:
        loop.selected(("coco", "webcam"), VAL)
    assert "lspet/val" in caught.value.why


# The published training


def test_the_reference_optimizer_is_adam() -> None:
    """The published one is Adam as torch has it, with no decay."""
    one, other = frozen(), frozen()
    ours = loop.optimizer_for(one, replace(REFERENCE, learning_rate=1.0))
    theirs = torch.optim.Adam(other.parameters(), lr=1e-3)
    for _ in range(3):
        loop._step(one, one, ours, [examples()], 1e-3, REFERENCE, ALONE)
        other.train()
        theirs.zero_grad()
        heatmap_loss(other(to_network(examples()[0])), *examples()[1:]).backward()  # type: ignore[no-untyped-call]
        theirs.step()
    for (name, mine), its in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=2e-6, msg=name)


class ChannelsFirst(nn.Module):
    """Shows a network its pictures in the published order. With channels last, batch norm on a CPU is 40 times less
    exact (2e-5 of the standard deviation), which this network of two pictures blows up to a tenth of its gradient.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Any:
        return self.net(image.contiguous())


def test_one_step_of_the_published_training(fixtures: Path, tmp_path: Path) -> None:
    expected = json.loads((fixtures / "train_step_2hg_modulated.json").read_text())
    net = load_checkpoint(golden.published_checkpoint(tmp_path / "checkpoint.pt", 2, True))
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    rgb = np.stack([golden.image("input0"), golden.image("input1")])
    with np.load(fixtures / "targets.npz") as file:
        batch = torch.from_numpy(rgb[..., ::-1].copy()), torch.from_numpy(file["heatmaps"][:2]), torch.ones(2, 16)
    optimizer = loop.optimizer_for(net, replace(REFERENCE, learning_rate=1.0))
    rate = REFERENCE.rate(0, REFERENCE.max_iters)
    loss, blank, taken = loop._step(ChannelsFirst(net), net, optimizer, [batch], rate, REFERENCE, ALONE)
    assert taken and loss == pytest.approx(expected["loss"], rel=1e-5)
    assert blank == pytest.approx(float(batch[1].square().mean()), rel=1e-5)
    norms = {published_to_ours(key): norm for key, norm in expected["grad_l2"].items()}
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    assert set(norms) == set(parameters)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        assert parameter.grad.norm().item() == pytest.approx(norms[name], rel=5e-3, abs=1e-4), name
        # The first step of Adam, whose moments are the gradient and its square (Kingma and Ba 2015, algorithm 1).
        step = rate * parameter.grad / (parameter.grad.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), before[name] - step, rtol=0, atol=3e-7, msg=name)
    for key, norm in expected["bn_running_l2_after_one_forward"].items():
        assert buffers[str(published_to_ours(key))].norm().item() == pytest.approx(norm, rel=1e-4), key


# The parts


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_pixels_reach_the_network_as_rgb(kind: type) -> None:
    images = np.zeros((2, 4, 4, 3), kind)
    images[1, 2, 3] = (255, 51, 0) if kind is np.uint8 else (1.0, 0.2, 0.0)  # blue, green, red
    tensor = to_network(torch.from_numpy(images))
    assert tensor.shape == (2, 3, 4, 4) and tensor.dtype == torch.float32
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(tensor[1, :, 2, 3], torch.tensor([0.0, 0.2, 1.0]))
    assert tensor.sum() == pytest.approx(1.2)


class Oracle(nn.Module):
    """Two stacks: the first says nothing, the second marks every joint where the picture is bright."""

    def forward(self, image: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4).expand(-1, 16, -1, -1)
        return torch.stack([torch.zeros_like(maps), maps], dim=1)


class One:
    """One person again and again."""

    name = "one"

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def __len__(self) -> int:
        return 1

    def get(self, index: int) -> Sample:
        return self._sample


@pytest.mark.parametrize("index", [0, 1])
def test_answers_are_in_image_pixels(index: int) -> None:
    sample = GeneratedPeople(3, 2).get(index)
    x, y = sample.box.cx + 0.2 * sample.box.side, sample.box.cy - 0.1 * sample.box.side
    rows, columns = np.mgrid[: sample.image.shape[0], : sample.image.shape[1]]
    light = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (1.6 * sample.box.side / 64) ** 2))
    lit = replace(sample, image=np.repeat(light[..., None], 3, axis=2).astype(np.uint8))
    found = predict(answer(Oracle(), ALONE.device), One(lit), 256)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.xy[0], np.tile([x, y], (16, 1)), atol=0.01 * sample.box.side)
    assert (found.score > 0.5).all()


def test_the_line_says_what_was_skipped() -> None:
    epoch = Epoch(1, 40, 20, 192, 8)
    assert loop._said(epoch, 3, Position()) == "epoch 2/3, 192 px"
    said = loop._said(epoch, 3, Position(health=Health(0.00321, 0.004, 0.2, 5)))
    assert said == "epoch 2/3, 192 px, loss 0.00321, 5 non-finite steps skipped"


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8))
def test_pace(times: list[tuple[int, int]]) -> None:
    """Seconds that each step was waited for and worked on, and what is made of them."""
    now = 100.0

    def arriving() -> Iterator[list[Batch]]:
        nonlocal now
        for wait, _ in times:
            now += wait
            yield []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: now)
        pace = loop.Pace()
        for (_, work), _step in zip(times, pace.waited(arriving()), strict=True):
            pace.images += 16
            now += work
        now += 1
        total = 1 + sum(wait + work for wait, work in times)
        row = pace.row()
    assert row["seconds"] == total and row["images_per_s"] == round(16 * len(times) / total, 1)
    assert row["waiting"] == round(100 * sum(wait for wait, _ in times) / total, 1)
