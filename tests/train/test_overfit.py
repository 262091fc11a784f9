"""The self-test of a training: whom it takes, what it changes of the recipe, and the folder that it leaves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import ranks
from hgrt.data.find import DataSets
from hgrt.data.generated import GeneratedPeople
from hgrt.data.sample import Mixture, Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.train import overfit as module
from hgrt.train.augment import STILL
from hgrt.train.config import Config, resolve
from hgrt.train.loop import InterruptedTraining
from hgrt.train.overfit import ENOUGH, ITERS, choose, overfit
from hgrt.train.run import Position, Run

SETS = DataSets(GeneratedPeople(9, 0), (), ())


class Labelled:
    """People of whom some are labelled (`1`), some are not (`0`) and some are pictures of nobody (`-`)."""

    name = "some/train"

    def __init__(self, kinds: str) -> None:
        self.kinds, self.asked = kinds, list[int]()

    def __len__(self) -> int:
        return len(self.kinds)

    def get(self, index: int) -> Sample:
        self.asked.append(index)
        labelled = np.zeros(16, bool)
        labelled[3] = self.kinds[index] == "1"
        nobody = np.zeros(16, bool)
        image = np.zeros((8, 8, 3), np.uint8)
        empty = self.kinds[index] == "-"
        return Sample(str(index), image, np.zeros((16, 2)), labelled, nobody, nobody, Box(4, 4, 8), 1.0, empty)


# Whom it takes


@given(kinds=st.text("10-", min_size=1, max_size=60), count=st.integers(1, 70))
def test_only_people_with_labels_are_chosen(kinds: str, count: int) -> None:
    people = Labelled(kinds)
    if "1" not in kinds:
        with pytest.raises(HgrtError, match="nobody to learn by heart") as refused:
            choose(people, count)
        assert people.name in refused.value.why
        return
    chosen = choose(people, count)
    rows = list(chosen.rows)
    assert rows == sorted(set(rows)) and 1 <= len(rows) == len(chosen) <= count
    assert all(kinds[row] == "1" for row in rows)
    assert len(people.asked) == len(set(people.asked))  # nobody's picture is read twice
    for index, row in enumerate(rows):
        sample = chosen.get(index)
        assert sample.name == str(row) and (sample.evaluate == sample.labelled).all()


@given(people=st.integers(1, 3000), count=st.integers(1, 64))
def test_they_are_spread_over_the_set(people: int, count: int) -> None:
    rows = list(choose(Labelled("1" * people), count).rows)
    assert len(rows) == min(people, count)
    gaps = np.diff([*rows, people])
    assert rows[0] == 0 and gaps.max() <= people / len(rows) + 1


def test_no_more_pictures_are_read_than_needed() -> None:
    people = Labelled("1" * 10_000)
    choose(people, 8)
    assert len(people.asked) == 8


def test_every_set_of_several_is_looked_at() -> None:
    rows = choose(Mixture([(Labelled("1" * 50), 1), (Labelled("1" * 50), 1)]), 8).rows
    assert sum(row < 50 for row in rows) == 4


# What it changes


def settings(config: Config, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Config, DataSets]:
    """What a self-test would train with."""
    asked: list[Any] = []

    def train(run: Run, config: Config, data: DataSets, *rest: Any) -> Position:
        asked.extend((config, data))
        return Position(best=100.0)

    monkeypatch.setattr(module, "train", train)
    data = DataSets(Labelled("1" * 40), (Labelled("1"),), ())
    assert overfit(Run(tmp_path / "run"), config, data, count, ranks.ALONE, 0, Console(file=io.StringIO()))
    return asked[0], asked[1]


@pytest.mark.parametrize("name", ["modern", "reference"])
def test_the_recipe_is_kept_but_for_what_hides_a_failure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve("lite", name, {"recipe.learning_rate": (5e-3, "--set")})
    used, data = settings(config, 12, tmp_path, monkeypatch)
    assert (used.spec, used.recipe.learning_rate) == (config.spec, 5e-3)
    assert used.recipe.stages == (module.Stage(0.0, config.spec.input, 12),)
    assert used.recipe.max_iters == ITERS and used.recipe.drop_at == 0 and used.recipe.ema <= 0.95
    still = used.recipe.augmentation
    assert type(still) is type(config.recipe.augmentation)
    assert still == STILL if name == "modern" else (still.rotation, still.scale, still.flip_p) == (0, (1, 1), 0)  # type: ignore[union-attr]
    for kept in ("sigma", "peak_weight", "weight_decay", "clip", "bf16", "seed"):
        assert getattr(used.recipe, kept) == getattr(config.recipe, kept)
    assert len(data.train) == 12 and data.val == (data.train,)


@pytest.mark.parametrize(
    ("said", "iters"),
    [
        ({}, ITERS),
        ({"recipe.max_iters": (40, "--max-iters")}, 40),
        ({"recipe.max_iters": (40, "--set")}, 40),
        ({"recipe.max_iters": (0, "--epochs"), "recipe.epochs": (3, "--epochs")}, ITERS),
    ],
)
@pytest.mark.parametrize("name", ["modern", "reference"])
def test_its_length_can_be_said(
    name: str, said: dict[str, Any], iters: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, _ = settings(resolve("lite", name, said), 40, tmp_path, monkeypatch)
    assert used.recipe.max_iters == iters and used.recipe.epoch_iters == iters // 5
    assert used.recipe.stages[0].batch == 16


@pytest.mark.parametrize(
    ("learnt", "passes"), [(None, False), (0.0, False), (94.9, False), (95.0, True), (100.0, True)]
)
def test_the_verdict(learnt: float | None, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train", lambda *rest: Position(best=learnt))
    console = Console(file=io.StringIO(), width=200)
    assert overfit(Run(tmp_path), resolve("lite", "modern", {}), SETS, 4, ranks.ALONE, 0, console) is passes
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said.startswith("PASS: 4 people" if passes else "FAIL: 4 people")
    assert f"{learnt or 0:.1f} (at least {ENOUGH:.0f} wanted) in {ITERS} steps" in said


# What it leaves


@pytest.fixture(autouse=True)
def _few_scenes() -> Iterator[None]:
    with ranks.few_scenes():
        yield


def test_nothing_is_left_of_the_last_one(tmp_path: Path) -> None:
    run = Run(tmp_path / "overfit")
    config = ranks.CONFIG.changed("recipe.max_iters", 2, "--max-iters")
    printed = []
    for times in range(2):
        console = Console(file=io.StringIO(), width=200)
        assert not overfit(run, config, SETS, 3 + times, ranks.ALONE, 0, console)
        assert isinstance(console.file, io.StringIO)
        printed.append(console.file.getvalue())
        names = {path.name for path in run.folder.iterdir()}
        assert names == {"last.pt", "best.pt", "log.csv", "curves.png", "samples", "tensorboard"}
        assert len(list((run.folder / "tensorboard").iterdir())) == 1
        for name in ("left.txt", "samples/left.jpg", "tensorboard/left"):
            (run.folder / name).write_text("of an earlier self-test")
    assert "FAIL: 3 people" in printed[0] and "FAIL: 4 people" in printed[1]
    assert "by heart" in printed[1]


def test_a_set_of_nobody_leaves_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    nobody = DataSets(Labelled("0-0-"), (), ())
    with pytest.raises(HgrtError, match="nobody to learn by heart"):
        overfit(Run(tmp_path), ranks.CONFIG, nobody, 3, ranks.ALONE, 0, Console(file=io.StringIO()))
    assert (tmp_path / "kept").exists()


def test_one_that_is_stopped_is_begun_again(tmp_path: Path) -> None:
    people = DataSets(ranks.Watched(GeneratedPeople(9, 0), after=8), (), ())
    with pytest.raises(InterruptedTraining, match="Stopped in epoch 1") as stopped:
        overfit(Run(tmp_path), ranks.CONFIG, people, 3, ranks.ALONE, 0, Console(file=io.StringIO()))
    assert "Begin it again" in stopped.value.fix and "--resume" not in str(stopped.value)


def test_it_is_judged_on_what_it_learnt_from(tmp_path: Path) -> None:
    seen = ranks.Watched(GeneratedPeople(9, 0))
    config = ranks.CONFIG.changed("recipe.max_iters", 1, "--max-iters")
    data = DataSets(seen, (Labelled("1"),), ())
    overfit(Run(tmp_path), config, data, 3, ranks.ALONE, 0, Console(quiet=True))
    chosen = [0, 4, 6]  # 3 is a picture of nobody
    assert seen.asked[:4] == [0, 3, 4, 6]
    assert sorted(seen.asked[4:7]) == sorted(seen.asked[7:10]) == chosen and set(seen.asked[10:]) <= set(chosen)
