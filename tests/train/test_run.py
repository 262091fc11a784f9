"""A run's folder: what is saved comes back to the bit, what cannot be is refused, and the best stays."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import METADATA_KEY, ModelSpec
from hgrt.train.ema import Ema
from hgrt.train.health import Health
from hgrt.train.run import Position, Run

SPEC = ModelSpec(stacks=1, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)
State = tuple[StackedHourglass, Ema, torch.optim.Optimizer]


def state(seed: int = 0, spec: ModelSpec = SPEC, steps: int = 0) -> State:
    """A network with its average and its optimizer, some steps into a training on nothing but noise."""
    torch.manual_seed(seed)
    net = StackedHourglass(spec)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    ema = Ema(net, 0.9)
    for _ in range(steps):
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        net.stacks[0].feature[1].bn.running_mean += 1
        ema.update(net)
    return net, ema, optimizer


def same(one: object, other: object) -> bool:
    """Whether two nested values are the same bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def content(state: State) -> list[Any]:
    net, ema, optimizer = state
    return [net.state_dict(), ema.model.state_dict(), ema.updates, optimizer.state_dict()]


POSITION = Position(3, 7, 61.25, 192, Health(0.002, 0.004, 0.51, 2))


@pytest.fixture(scope="module")
def trained() -> State:
    return state(steps=3)


@pytest.fixture(scope="module")
def fresh() -> State:
    """Where nothing is to come back to."""
    return state(seed=2)


@pytest.fixture(scope="module")
def saved(trained: State, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("saved") / "run")
    run.save(*trained, POSITION)
    return run


@pytest.fixture()
def run(saved: Run, tmp_path: Path) -> Run:
    """A run that was saved, of the test's own."""
    return Run(shutil.copytree(saved.folder, tmp_path / "run"))


# Going on


def test_everything_comes_back(run: Run, trained: State) -> None:
    other = state(seed=1, steps=1)
    assert not same(content(other), content(trained))
    assert run.restore(*other) == POSITION
    assert same(content(other), content(trained))
    assert [path.name for path in run.folder.iterdir()] == ["last.pt"]


def test_the_next_step_is_the_same(run: Run) -> None:
    def step(state: State) -> list[Any]:
        net, ema, optimizer = state
        torch.manual_seed(5)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        ema.update(net)
        return content(state)

    resumed = state(seed=1)
    run.restore(*resumed)
    assert same(step(resumed), step(state(steps=3)))


def test_a_position_without_a_best_comes_back(trained: State, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(*trained, Position())
    assert run.restore(*state()) == Position()


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    other = state()
    before = [value.clone() for value in other[0].state_dict().values()]
    assert Run(tmp_path / "none").restore(*other) == Position()
    assert same(before, list(other[0].state_dict().values()))
    assert not (tmp_path / "none").exists()


def test_another_calibration_is_no_other_network(trained: State, fresh: State, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.save(*trained, POSITION)
    kept = {
        name: value for name, value in read_checkpoint(run.last).items() if name not in (METADATA_KEY, "state_dict")
    }
    net = state(spec=replace(SPEC, calibration=((0.5, 0.6),)))[0]
    net.load_state_dict(trained[0].state_dict())
    save_checkpoint(run.last, net, **kept)
    assert run.restore(*fresh) == POSITION
    assert fresh[0].spec.calibration == ()


# Refusals


@pytest.mark.parametrize(
    "change",
    [{"channels": 12}, {"gate": "none"}, {"gate": "raw"}, {"stacks": 2}, {"latent": 5}, {"input": 128}],
    ids=str,
)
def test_another_network_is_refused(change: dict[str, Any], run: Run) -> None:
    before = run.last.read_bytes()
    with pytest.raises(HgrtError, match="another network"):
        run.restore(*state(spec=replace(SPEC, **change)))
    assert run.last.read_bytes() == before


@pytest.mark.parametrize("missing", ["state_dict", "ema", "optimizer", "position", "hgrt.spec"])
def test_a_state_without_one_of_its_parts_is_refused(missing: str, run: Run, fresh: State) -> None:
    content = read_checkpoint(run.last)
    del content[missing]
    torch.save(content, run.last)
    with pytest.raises(HgrtError, match="cannot be resumed"):
        run.restore(*fresh)


@pytest.mark.parametrize(
    "change",
    [
        {"position": {"epoch": 1, "minute": 3}},
        {"position": 5},
        {"position": {"epoch": 1, "health": {"pulse": 60}}},
        {"ema": {"weights": {}, "updates": 3}},
        {"ema": {}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"state_dict": {}},
        {"state_dict": 3},
        {"hgrt.spec": {"stacks": 99}},
        {"hgrt.spec": {"colours": 3}},
    ],
    ids=str,
)
def test_a_foreign_state_is_refused(change: dict[str, Any], run: Run, fresh: State) -> None:
    torch.save(read_checkpoint(run.last) | change, run.last)
    with pytest.raises(HgrtError, match="cannot be resumed"):
        run.restore(*fresh)


def test_weights_alone_cannot_be_resumed(trained: State, fresh: State, tmp_path: Path) -> None:
    run = Run(tmp_path)
    save_checkpoint(run.last, trained[0])
    with pytest.raises(HgrtError, match=r"last\.pt cannot be resumed"):
        run.restore(*fresh)


@pytest.mark.parametrize("how", ["text", "cut", "empty"])
def test_what_is_no_state_is_refused(how: str, run: Run, fresh: State) -> None:
    spoilt = {"text": b"nothing", "cut": run.last.read_bytes()[:5000], "empty": b""}[how]
    run.last.write_bytes(spoilt)
    with pytest.raises(HgrtError, match=r"last\.pt"):
        run.restore(*fresh)
    assert run.last.read_bytes() == spoilt


def test_a_full_disk_leaves_the_last_state(run: Run, trained: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.last.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HgrtError, match="cannot be written"):
        run.save(*trained, Position(9))
    assert run.last.read_bytes() == before
    assert [path.name for path in run.folder.iterdir()] == ["last.pt"]


# The best


def test_the_best_is_kept(tmp_path: Path) -> None:
    run, position = Run(tmp_path), Position()
    ema = state()[1]
    scores = [
        (128, 40.0, 1),
        (128, 55.0, 2),
        (128, 50.0, 2),
        (192, 45.0, 4),
        (192, 44.0, 4),
        (192, 45.0, 4),
        (192, 60.0, 7),
    ]
    for epoch, (size, score, best) in enumerate(scores, start=1):
        position.epoch = epoch
        ema.model.stacks[0].heatmap.bias.fill_(float(epoch))
        run.keep_best(ema, position, score, size, {"crowd/val": score})
        kept = read_checkpoint(run.best)
        assert kept["epoch"] == best and kept["pckh"] == {"crowd/val": scores[best - 1][1]}
        assert load_checkpoint(run.best).stacks[0].heatmap.bias[0] == best
        assert (position.best, position.best_size) == (scores[best - 1][1], scores[best - 1][0])


def test_a_first_score_of_nothing_is_a_best_too(tmp_path: Path) -> None:
    run, position = Run(tmp_path), Position(epoch=1)
    run.keep_best(state()[1], position, 0.0, 128, {"crowd/val": 0.0})
    assert read_checkpoint(run.best)["epoch"] == 1 and position.best == 0.0


def test_a_loss_as_a_score(tmp_path: Path) -> None:
    """Without validation sets the score is the loss, negative: less is better."""
    run, position, ema = Run(tmp_path), Position(), state()[1]
    for epoch, loss, best in ((1, 0.004, 1), (2, 0.003, 2), (3, 0.0035, 2)):
        position.epoch = epoch
        run.keep_best(ema, position, -loss, 128, {})
        assert read_checkpoint(run.best)["epoch"] == best
