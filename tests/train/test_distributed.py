"""Several processes do exactly what one would: batch norm, a step, a whole training, a stop, and going on."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ranks
from fakes import environment
from hgrt.errors import HgrtError
from hgrt.train import distributed
from hgrt.train.distributed import World, holding_back, join, share_statistics

LIMIT_S = 240  # for what takes ten seconds on a free core; whatever hangs is ended and fails
MOVED = ranks.RECIPE.learning_rate * 2 * ranks.STEPS  # as far as Adam can take a weight in all steps together
TIMES = ("images_per_s", "waiting", "seconds")


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each printed; all must end in time and well."""
    try:
        printed = [process.communicate(timeout=LIMIT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in printed]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process has trained (`one`) and stopped after two steps (`alone`), and two have done all jobs since."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks.train(ranks.ALONE, folder / "one")
    assert ranks.train(ranks.ALONE, folder / "alone", stop_after=6)["stopped"]
    assert load(folder / "alone" / "last.pt")["position"]["step"] == 2
    (folder / "overfit").mkdir()
    (folder / "overfit" / "last.pt").write_text("of an earlier self-test")
    command = [sys.executable, str(Path(ranks.__file__))]
    finish(
        [
            subprocess.Popen(
                [*command, str(rank), "2", str(folder)],
                env=environment(OMP_NUM_THREADS="1"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
    )
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    """What came out of each of the two processes."""
    return [load(folder / f"{rank}.pt") for rank in range(2)]


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]


def assert_same_run(one: Path, other: Path) -> None:
    """The same up to rounding. A unit whose inputs all are zero is normalized to rounding noise, of either sign, so a
    few weights may part; by a hundredth of what they could have moved, not more.
    """
    mine, theirs = load(one / "last.pt"), load(other / "last.pt")
    for kind in (lambda content: content["state_dict"], lambda content: content["ema"]["weights"]):
        for name, value in kind(mine).items():
            torch.testing.assert_close(kind(theirs)[name], value, rtol=1e-3, atol=0.01 * MOVED, msg=name)
    assert mine["ema"]["updates"] == theirs["ema"]["updates"] == 2 * ranks.STEPS
    for row, expected in zip(rows(other), rows(one), strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-3), name


# Batch norm


@pytest.mark.parametrize("case", range(len(ranks.NORMS)), ids=[" ".join(map(str, case)) for case in ranks.NORMS])
def test_batch_norm_is_that_of_the_whole_batch(case: int, two: list[dict[str, Any]]) -> None:
    dtype, layout, shares, mean = ranks.NORMS[case]
    x, g = ranks.norm_inputs(dtype, layout, shares, mean)
    exact = ranks.normalized(torch.nn.BatchNorm2d(5, dtype=torch.float64), x.double(), g.double())
    parts = [one["norms"][case] for one in two]
    found = {
        name: torch.cat([part[name] for part in parts])
        if name in ("output", "evaluated", "of input")
        else parts[0][name] + parts[1][name]
        if name in ("of weight", "of bias")
        else parts[0][name]
        for name in exact
    }
    # Outputs have the type of the input, statistics and gradients of weights at least float32. Of inputs as far from
    # zero as 10,000 deviations float32 itself keeps three digits; torch's own batch norm answers 3e-4 off there.
    fine = {torch.float64: 1e-14, torch.float32: 2e-6, torch.bfloat16: 2e-6}[dtype] if mean < 100 else 2e-3
    for name, value in exact.items():
        coarse = dtype == torch.bfloat16 and name in ("output", "evaluated", "of input")
        off = (found[name].double() - value).abs().max() / value.abs().max()
        assert off < (2**-8 if coarse else fine), name
    assert found["output"].dtype == found["of input"].dtype == dtype
    for name in ("mean", "variance"):
        assert torch.equal(parts[0][name], parts[1][name])


def test_each_part_alone_would_be_another_batch_norm() -> None:
    """The examples above tell shared statistics from those of a part."""
    for case in ranks.NORMS:
        x, g = (one.double() for one in ranks.norm_inputs(*case))
        whole, part = (
            ranks.normalized(torch.nn.BatchNorm2d(5, dtype=torch.float64), *some)
            for some in ((x, g), (x[: ranks.SHARES[case[2]][0]], g[: ranks.SHARES[case[2]][0]]))
        )
        off = (whole["output"][: len(part["output"])] - part["output"]).abs().max()
        assert off > 0.1


def test_only_batch_norms_are_shared_and_weights_keep_their_names() -> None:
    net = ranks.StackedHourglass(ranks.SPEC)
    before, kinds = list(net.state_dict()), [type(module) for module in net.modules()]
    share_statistics(net)
    assert list(net.state_dict()) == before
    changed = [kind for kind, module in zip(kinds, net.modules(), strict=True) if type(module) is not kind]
    assert set(changed) == {torch.nn.BatchNorm2d} and len(changed) == kinds.count(torch.nn.BatchNorm2d)


# A step


@pytest.mark.parametrize("kind", ranks.STEP_KINDS)
def test_a_step_is_that_of_one_process(kind: str, two: list[dict[str, Any]]) -> None:
    expected = one_process_steps()[kind]
    largest = max(float(gradient.abs().max()) for gradient in expected["gradients"].values())
    assert largest > 1e-6
    for rank in two:
        found = rank["steps"][kind]
        assert found["taken"] and expected["taken"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert found["blank"] == pytest.approx(expected["blank"], rel=1e-6)
        for name, gradient in expected["gradients"].items():
            # Relative to the largest: those of biases in front of a batch norm are nothing but rounding.
            torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-5, atol=1e-7 * largest, msg=name)
        for name, value in expected["after"].items():
            torch.testing.assert_close(found["after"][name], value, rtol=1e-6, atol=1e-9, msg=name)


def one_process_steps(kept: dict[str, Any] = {}) -> dict[str, Any]:  # noqa: B006  # computed once
    if not kept:
        kept |= ranks.steps(ranks.ALONE)
    return kept


def test_the_kinds_of_steps_differ() -> None:
    """Otherwise a teacher or an accumulation that is ignored would pass."""
    found = one_process_steps()
    gradients = [torch.cat([g.flatten() for g in one["gradients"].values()]) for one in found.values()]
    for k, one in enumerate(gradients):
        for other in gradients[k + 1 :]:
            assert one.shape != other.shape or (one - other).norm() > 1e-2 * one.norm()
    assert gradients[list(found).index("clipped")].norm() == pytest.approx(1e-3, rel=1e-3)


def test_the_known_joints_of_a_step_lie_unevenly() -> None:
    sums = [sum(float(known.sum()) for _, _, known in ranks.parts_of(World(rank, 2, "cpu"), 1)) for rank in range(2)]
    assert sums == [80, 1.5]
    for accumulate in (1, 2):
        alone = ranks.parts_of(ranks.ALONE, accumulate)
        both = [ranks.parts_of(World(rank, 2, "cpu"), accumulate) for rank in range(2)]
        for k, (images, _, _) in enumerate(alone):
            assert len(images) == len(both[0][k][0]) + len(both[1][k][0])
            # In memory they lie differently, and so they are added up in another order.
            assert float(torch.cat([both[0][k][0], both[1][k][0]]).sum()) == pytest.approx(float(images.sum()), 1e-12)


# A training


def test_a_training_is_that_of_one_process(folder: Path) -> None:
    assert_same_run(folder / "one", folder / "straight")


def test_only_the_process_that_leads_writes_and_prints(folder: Path, two: list[dict[str, Any]]) -> None:
    assert {"last.pt", "best.pt", "log.csv"} <= {path.name for path in (folder / "straight").iterdir()}
    assert not (folder / "written by a follower").exists()
    assert "epoch   2" in two[0]["straight"]["printed"]
    assert two[1]["straight"]["printed"] == ""


def test_together_they_look_at_everybody_once_an_epoch(two: list[dict[str, Any]]) -> None:
    for epoch in range(2):
        asked = [one["straight"]["asked"][epoch * count :][:count] for one, count in zip(two, (6, 3), strict=True)]
        assert sorted(asked[0] + asked[1]) == list(range(9))


def test_a_signal_to_one_stops_both_after_the_same_step(folder: Path, two: list[dict[str, Any]]) -> None:
    assert [one["stopped"]["stopped"] for one in two] == ["Stopped in epoch 1."] * 2
    assert [len(one["stopped"]["asked"]) for one in two] == [4, 2]
    position = load(folder / "two" / "last.pt")["position"]
    assert (position["epoch"], position["step"]) == (0, 2)


def test_what_one_process_began_two_end(folder: Path, two: list[dict[str, Any]]) -> None:
    assert_same_run(folder / "one", folder / "alone")
    for one in two:
        straight = one["straight"]["asked"]
        assert one["resumed"]["asked"] == straight[len(straight) * 2 // 6 :]


def test_what_two_processes_began_one_ends(folder: Path, two: list[dict[str, Any]]) -> None:
    done = ranks.train(ranks.ALONE, folder / "two")
    assert not done["stopped"]
    assert_same_run(folder / "one", folder / "two")
    seen = [index for one in two for index in one["stopped"]["asked"]]
    assert sorted(seen + done["asked"][:3]) == list(range(9))


def test_both_come_to_the_same_verdict_of_a_self_test(folder: Path, two: list[dict[str, Any]]) -> None:
    assert [one["self-test"]["passed"] for one in two] == [False, False]
    assert two[0]["self-test"]["printed"].count("FAIL: 3 people") == 1 and two[1]["self-test"]["printed"] == ""
    assert load(folder / "overfit" / "last.pt")["position"]["epoch"] == 2


# The parts


def test_alone_nothing_is_wrapped_or_summed() -> None:
    world = ranks.ALONE
    net = torch.nn.BatchNorm2d(3)
    assert world.wrap(net) is net and type(net) is torch.nn.BatchNorm2d
    value = torch.tensor([1.0, 2.0])
    assert world.sum(value) is value and world.any(True) and not world.any(False)
    world.wait()
    world.close()
    with holding_back(net, True):
        pass


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    world = join()
    assert (world.rank, world.size, world.leads) == (0, 1, True)
    assert not torch.distributed.is_initialized()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(distributed.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(HgrtError, match="no GPU for process 1"):
        join()


# The real thing


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    small = ["--set", "spec.input=64", "--set", "recipe.stages=[[0,64,8]]", "--set", "spec.channels=8"]
    small += ["--set", "spec.growth=0", "--preset", "lite", "--synthetic", "8"]
    process = subprocess.Popen(
        [*command, "-m", "hgrt", "train", *small, *arguments],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the workers too
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def test_torchrun_trains(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "2 x cpu" in done.stdout
    for once in ("run folder", "images/s", "Best averaged weights"):
        assert done.stdout.count(once) == 1, done.stdout
    run = tmp_path / "exp" / "pose"
    assert {"config.json", "log.csv", "last.pt", "best.pt"} <= {path.name for path in run.iterdir()}
    assert load(run / "last.pt")["position"]["epoch"] == 1
