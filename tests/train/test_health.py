"""A training that has collapsed is named, with its numbers; one that learns is left in peace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.evaluation.predict import Predictions
from hgrt.train.health import PATIENCE, Health


def judged(flat: float, people: int = 10, labelled: int = 16) -> list[Predictions]:
    """An evaluation in which so large a share of the labelled joints has no peak."""
    mask = np.zeros((people, 16), bool)
    mask[:, :labelled] = True
    score = np.full((people, 16), 0.0)
    score[mask] = np.where(np.arange(mask.sum()) < round(flat * mask.sum()), 0.01, 0.7)
    nowhere = np.zeros((people, 16, 2))
    return [
        Predictions(
            set="crowd/val",
            names=tuple(map(str, range(people))),
            rows=np.arange(people),
            xy=nowhere,
            score=score,
            truth=nowhere,
            labelled=mask,
            visible=mask,
            evaluate=mask,
            normalize=np.ones(people),
            boxes=np.ones((people, 3)),
        )
    ]


def after(explained: float, steps: int = 200, blank: float = 0.004) -> Health:
    """A training in which that share of the empty maps' loss is gone."""
    health = Health()
    for _ in range(steps):
        health.step((1 - explained) * blank, blank, True)
    return health


# Empty maps


@pytest.mark.parametrize("explained", [0.0, 0.02, -0.5])
def test_empty_maps_are_named(explained: float) -> None:
    said = after(explained).diagnose(PATIENCE, judged(0.98))
    assert said is not None and said.startswith("Collapsed")
    for part in (f"{(1 - explained) * 0.004:.5f}", "0.00400", "98 %", "(0, 0)", "learning rate"):
        assert part in said


def test_empty_maps_without_a_validation_set() -> None:
    said = after(0.0).diagnose(PATIENCE, [])
    assert said is not None and "Collapsed" in said and "no validation set" in said


def test_nobody_is_hurried() -> None:
    """Every training begins with empty maps."""
    assert after(0.0).diagnose(PATIENCE - 1, judged(1.0)) is None
    assert after(0.0).diagnose(1, []) is None


def test_what_was_learnt_and_is_gone_is_named_at_once() -> None:
    health = after(0.3)
    assert health.diagnose(10, judged(0.1)) is None
    for _ in range(500):
        health.step(0.004, 0.004, True)
    said = health.diagnose(20, judged(1.0))
    assert said is not None and "Collapsed" in said
    assert health.diagnose(30, judged(1.0)) is not None  # and it stays so


def test_a_start_that_wavers_is_not_a_collapse() -> None:
    health = after(0.04)
    assert health.diagnose(10, judged(1.0)) is None
    for _ in range(500):
        health.step(0.004, 0.004, True)
    assert health.diagnose(20, judged(1.0)) is None


# Statistics that do not fit


def test_training_that_does_not_show_in_evaluation_is_named() -> None:
    said = after(0.6).diagnose(50, judged(0.8))
    assert said is not None and "batch norm" in said and "60 %" in said and "80 %" in said and "Collapsed" not in said


@pytest.mark.parametrize(
    ("explained", "flat"), [(0.6, 0.4), (0.15, 0.9), (0.9, 0.0), (0.04, 1.0)], ids=["peaks", "early", "best", "first"]
)
@pytest.mark.parametrize("steps", [50, PATIENCE, 100 * PATIENCE])
def test_healthy_training_is_left_in_peace(explained: float, flat: float, steps: int) -> None:
    assert after(explained).diagnose(steps, judged(flat)) is None


def test_only_labelled_joints_are_looked_at() -> None:
    assert after(0.6).diagnose(50, judged(0.0, labelled=3)) is None  # the thirteen others have scores of zero
    assert after(0.6).diagnose(50, judged(0.0, labelled=0)) is None


# Counting


def test_running_means() -> None:
    health = Health()
    health.step(2.0, 4.0, True)
    assert (health.loss, health.blank, health.explained) == (2.0, 4.0, 0.5)
    health.step(1.0, 5.0, True)
    assert health.loss == pytest.approx(1.98) and health.blank == pytest.approx(4.02)
    assert health.row() == {"loss": 1.98, "explained": round(100 * (1 - 1.98 / 4.02), 2), "skipped": 0}


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 7.0])
def test_steps_not_taken_are_counted_only(loss: float) -> None:
    health = Health()
    health.step(2.0, 4.0, True)
    health.step(loss, 4.0, False)
    assert health == Health(2.0, 4.0, 0.0, 1)


def test_where_no_step_could_be_taken() -> None:
    health = Health()
    for _ in range(7):
        health.step(float("nan"), 0.1, False)
    assert health.row() == {"loss": 0.0, "explained": 0.0, "skipped": 7} and health.explained == 0
    said = health.diagnose(7, judged(1.0))
    assert said is not None and "all 7 steps" in said and "Collapsed" not in said


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=20))
def test_what_is_explained_is_a_share(losses: list[tuple[float, float]]) -> None:
    health = Health()
    for loss, blank in losses:
        health.step(loss, blank, True)
        assert 0 <= health.explained <= 1
