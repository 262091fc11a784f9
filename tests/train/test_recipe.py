"""The numbers of a run: the published ones are the published ones, and a plan neither loses a step nor invents one."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.train.augment import Augmentation
from hgrt.train.published import PublishedAugmentation
from hgrt.train.recipe import RECIPES, REFERENCE, Epoch, Recipe, Stage, plan, recipe_for

MPII_TRAIN = 22_246  # people in train.h5


@st.composite
def stages(draw: st.DrawFn) -> tuple[Stage, ...]:
    later = draw(st.lists(st.floats(0.01, 0.99), unique=True, max_size=3))
    sizes = sorted(draw(st.lists(st.sampled_from([64, 128, 192, 256]), min_size=4, max_size=4)))
    batches = draw(st.lists(st.integers(1, 64), min_size=4, max_size=4))
    return tuple(Stage(*stage) for stage in zip([0.0, *sorted(later)], sizes, batches, strict=False))


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    return Recipe(
        epochs=draw(st.integers(1, 40)),
        max_iters=draw(st.just(0) | st.integers(1, 400)),
        epoch_iters=draw(st.just(0) | st.integers(1, 90)),
        stages=draw(stages()),
    )


# The published recipe, as shared/docs/reference.md describes it in section 4


def test_the_reference_recipe_is_the_published_one() -> None:
    assert asdict(recipe_for("reference", 256)) == {
        "epochs": 32,  # without meaning: the length is in steps
        "max_iters": 200_000,
        "epoch_iters": 1000,
        "stages": ({"start": 0.0, "size": 256, "batch": 16},),
        "accumulate": 1,
        "learning_rate": 1e-3,
        "warmup": 0.0,
        "cooldown": 0.0,
        "drop_at": 100_000,
        "drop_to": 0.2,
        "optimizer": "adamw",
        "weight_decay": 0.0,
        "clip": 0.0,
        "ema": 0.0,
        "sigma": 1.0,
        "peak_weight": 0.0,
        "side_weight": 0.0,
        "hidden_weight": 1.0,
        "suspect_weight": 1.0,  # without meaning: published views know no doubt
        "calm": 0.0,
        "teacher_weight": 0.5,  # without meaning: nobody teaches
        "inner_weight": 0.0,
        "bf16": False,
        "seed": 0,
        "augmentation": {
            "rotation": 30.0,
            "scale": (0.75, 1.25),
            "flip_p": 0.5,
            "hue": 72.0,
            "saturation": (0.5, 1.5),
            "brightness": 0.3,
            "contrast": (0.5, 1.5),
            "legacy": False,
        },
    }
    assert isinstance(REFERENCE.augmentation, PublishedAugmentation)


def test_the_reference_plan() -> None:
    epochs = plan(REFERENCE, MPII_TRAIN)
    assert len(epochs) == 200
    assert {(epoch.steps, epoch.size, epoch.batch) for epoch in epochs} == {(1000, 256, 16)}
    assert epochs[0].steps * epochs[0].batch == 16_000  # of the 22,246
    assert epochs[-1] == Epoch(199, 199_000, 1000, 256, 16)


@pytest.mark.parametrize("step", [0, 1, 50_000, 99_999, 100_000, 100_001, 199_999])
@pytest.mark.parametrize("total", [200_000, 250_000])
def test_the_reference_rate_drops_once(step: int, total: int) -> None:
    assert REFERENCE.rate(step, total) == pytest.approx(1e-3 if step < 100_000 else 2e-4, rel=1e-12)


# Names and sizes


def test_recipes_by_name() -> None:
    assert RECIPES == ("modern", "reference")
    assert recipe_for("modern", 256) == Recipe()
    assert isinstance(Recipe().augmentation, Augmentation)
    assert recipe_for("reference", 192) == replace(REFERENCE, stages=(Stage(0.0, 192, 16),))


@pytest.mark.parametrize("size", [64, 128, 192, 256])
def test_inputs_grow_to_the_networks_own(size: int) -> None:
    sizes = [stage.size for stage in recipe_for("modern", size).stages]
    assert sizes == sorted(sizes) and sizes[-1] == size and recipe_for("modern", size).stages[0].start == 0


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"max_iters": -1},
        {"epoch_iters": -1},
        {"accumulate": 0},
        {"stages": ()},
        {"stages": (Stage(0.1, 64, 8),)},
        {"stages": (Stage(0.0, 96, 8),)},
        {"stages": (Stage(0.0, 64, 0),)},
        {"stages": (Stage(0.0, 64, 8), Stage(0.5, 128, 8), Stage(0.5, 192, 8))},
        {"stages": (Stage(0.0, 64, 8), Stage(0.5, 128, 8), Stage(0.4, 192, 8))},
        {"ema": 1.0},
        {"ema": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"teacher_weight": 1.1},
        {"inner_weight": -0.1},
        {"inner_weight": float("nan")},
        {"calm": -0.1},
        {"calm": 1.1},
        {"sigma": 0.0},
        {"warmup": -0.1},
        {"cooldown": -0.1},
        {"drop_at": -1},
        {"weight_decay": -1e-2},
        {"clip": -1.0},
        {"peak_weight": -1.0},
        {"side_weight": -1.0},
        {"hidden_weight": -1.0},
        {"suspect_weight": -1.0},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(ValueError, match=name.removesuffix("s")):
        replace(Recipe(), **change)


# Learning rate


@pytest.mark.parametrize(("step", "rate"), [(0, 0.02), (24, 0.5), (49, 1.0), (599, 1.0), (800, 0.5), (999, 0.0025)])
def test_the_rate_rises_stays_and_falls(step: int, rate: float) -> None:
    assert Recipe(learning_rate=1.0, warmup=0.05, cooldown=0.4).rate(step, 1000) == pytest.approx(rate)


@given(recipes(), st.integers(1, 500), st.integers(0, 499), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_is_positive_and_never_above_its_name(
    recipe: Recipe, total: int, step: int, warmup: float, cooldown: float
) -> None:
    recipe = replace(recipe, warmup=warmup, cooldown=cooldown)
    assert 0 < recipe.rate(step % total, total) <= recipe.learning_rate


def test_a_constant_rate() -> None:
    recipe = Recipe(learning_rate=0.5, warmup=0.0, cooldown=0.0)
    assert {recipe.rate(step, 10) for step in range(10)} == {0.5}


# Plans


@given(recipes(), st.integers(1, 600))
def test_plans_are_whole(recipe: Recipe, people: int) -> None:
    epochs = plan(recipe, people)
    assert [epoch.number for epoch in epochs] == list(range(len(epochs)))
    assert [epoch.first for epoch in epochs] == [
        sum(epoch.steps for epoch in epochs[:number]) for number in range(len(epochs))
    ]
    total = sum(epoch.steps for epoch in epochs)
    assert total == recipe.max_iters if recipe.max_iters else len(epochs) == recipe.epochs
    for epoch in epochs:
        whole = recipe.epoch_iters or people // epoch.batch or 1
        assert epoch.steps == whole or (recipe.max_iters and epoch is epochs[-1] and 1 <= epoch.steps < whole)


@given(recipes(), st.integers(1, 600))
def test_stages_begin_at_their_share_of_the_run(recipe: Recipe, people: int) -> None:
    for epoch in plan(recipe, people):
        behind, all_in_all = (epoch.first, recipe.max_iters) if recipe.max_iters else (epoch.number, recipe.epochs)
        begun = sum(stage.start <= behind / all_in_all for stage in recipe.stages)
        stage = recipe.stages[begun - 1]
        assert (epoch.size, epoch.batch) == (stage.size, stage.batch)


def test_a_plan_in_epochs() -> None:
    recipe = Recipe(epochs=4, stages=(Stage(0.0, 64, 8), Stage(0.5, 128, 4), Stage(0.75, 192, 3)), calm=0)
    assert plan(recipe, 20) == (
        Epoch(0, 0, 2, 64, 8),
        Epoch(1, 2, 2, 64, 8),
        Epoch(2, 4, 5, 128, 4),
        Epoch(3, 9, 6, 192, 3),
    )


def test_a_plan_in_steps_cuts_the_last_epoch_short() -> None:
    recipe = Recipe(max_iters=10, epoch_iters=4, stages=(Stage(0.0, 64, 8), Stage(0.75, 128, 4)))
    assert plan(recipe, 20) == (Epoch(0, 0, 4, 64, 8), Epoch(1, 4, 4, 64, 8), Epoch(2, 8, 2, 128, 4))


def test_a_run_ends_calm() -> None:
    recipe = Recipe(epochs=8, stages=(Stage(0.0, 64, 8),), calm=0.25)
    assert [epoch.calm for epoch in plan(recipe, 20)] == [False] * 6 + [True] * 2
    steps = replace(recipe, max_iters=10, epoch_iters=3)
    assert [epoch.calm for epoch in plan(steps, 20)] == [False, False, False, True]
    assert not any(epoch.calm for epoch in plan(replace(recipe, calm=0.0), 20))
    assert all(epoch.calm for epoch in plan(replace(recipe, calm=1.0), 20))


def test_fewer_people_than_a_batch_make_one_step() -> None:
    assert plan(Recipe(epochs=1, stages=(Stage(0.0, 64, 8),)), 5) == (Epoch(0, 0, 1, 64, 8),)
