"""What a benchmark must never let pass, planted in real runtimes and caught by the check that is meant for it."""

from __future__ import annotations

import dataclasses

import pytest

from hgrt.bench.measure import Ledger
from hgrt.bench.parity import first_people
from hgrt.bench.people import stored_answers
from hgrt.bench.results import Row
from hgrt.bench.rows import row
from hgrt.bench.verdict import Demands
from hgrt.bench.worker import Worker
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.runtime.base import bundled_weights
from planted import Fault, Plant

PEOPLE = 32


@pytest.fixture(scope="module")
def right() -> list[Predictions]:
    """What torch in single precision finds; comes with the package."""
    stored = stored_answers(bundled_weights())
    assert stored is not None, "stored for other weights, or the clip decodes differently here"
    return [first_people(stored[0][0], PEOPLE)]


def judged(fault: Fault, right: list[Predictions]) -> Row:
    """The row of a planted runtime, opened in this process; nothing is timed."""
    plant = Plant(fault)
    worker = Worker(plant)
    opened = worker.begin()
    ledger = Ledger(plant.entrant, opened.info, [(1.0, opened, 1, True)])
    ledger.answers, ledger.exchanged = worker.answers(people=PEOPLE), worker.answers(True, 16)
    worker.close()
    return row(ledger, None, right, None, None, Demands())


def failing(found: Row) -> dict[str, str]:
    return {check.name: check.evidence for check in found.checks if not check.passed}


def test_an_honest_runtime_passes(right: list[Predictions]) -> None:
    found = judged("none", right)
    assert failing(found) == {} and found.passed
    assert {check.name for check in found.checks} == {"precision", "bias", "shift", "flips", "drop"}
    assert found.agreement is not None and 0 < found.agreement.noise < 1e-6


def test_bfloat16_that_calls_itself_single_is_caught(right: list[Predictions]) -> None:
    pytest.importorskip("openvino")
    try:
        caught = failing(judged("bf16 as fp32", right))
    except HgrtError as error:
        if "runs fp32 where bf16 was asked for" not in error.what:
            raise
        pytest.skip("this CPU has no bfloat16")
    assert "more than fp32 rounds" in caught["precision"] and "it looks like bf16" in caught["precision"]


def test_single_precision_sold_as_half_is_caught(right: list[Predictions]) -> None:
    caught = failing(judged("fp32 as fp16", right))
    assert list(caught) == ["precision"]
    assert "less than fp16 must round" in caught["precision"] and "it looks like fp32" in caught["precision"]


def test_exchanged_colours_are_caught_and_named(right: list[Predictions]) -> None:
    caught = failing(judged("colours", right))
    assert "takes BGR for RGB" in caught["shift"]
    assert "precision" in caught


def test_half_a_pixel_is_caught_as_a_bias(right: list[Predictions]) -> None:
    found = judged("half a pixel", right)
    assert "all joints moved by" in failing(found)["bias"]
    assert found.agreement is not None
    assert found.agreement.bias == pytest.approx((0.5, 0.5), abs=0.3)  # of a few people


def test_what_was_asked_for_must_run(right: list[Predictions]) -> None:
    honest = judged("none", right)
    from hgrt.bench.verdict import checks

    caught = failing(dataclasses.replace(honest, checks=checks(dataclasses.replace(honest, asked="bf16"), Demands())))
    assert caught == {"precision": "asked for bf16, runs fp32"}
