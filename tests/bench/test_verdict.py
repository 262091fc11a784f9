"""What passes and what does not, on either side of every limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hgrt.bench.results import Agreement, Interval, Latency, Row, Spread
from hgrt.bench.verdict import BIAS, LIMITS, Demands, checks

GOOD = Agreement(
    people=100, joints=1600, shift_p50=0.0, shift_p99=0.001, shift_max=0.01, bias=(0.0, 0.0), flipped=0, noise=1e-7,
    protocol="standard", pckh=90.0, pckh_reference=90.0, drop=Interval(0.0, 0.0, 0.0), by_joint={},
)  # fmt: skip


def latency(batch: int, p99: float) -> Latency:
    return Latency(batch, Spread(100, 5.0, 5.0, 6.0, p99, 9.0), 200.0, None, {"network": 5.0}, ())


def a_row(running: str = "fp32", asked: str = "", **changed: object) -> Row:
    agreement = replace(GOOD, **changed)  # type: ignore[arg-type]
    return Row(
        "lite", "onnxruntime", "CPU", asked or running, running, 2, {}, "lite.onnx", "0" * 64,
        latency=(latency(4, 30.0), latency(1, 8.0)), agreement=agreement,
    )  # fmt: skip


def failing(row: Row, demands: Demands | None = None) -> list[str]:
    return [check.name for check in checks(row, demands or Demands()) if not check.passed]


@pytest.mark.parametrize(
    ("row", "fails"),
    [
        (a_row(), []),
        (a_row(noise=LIMITS["fp32"].noise[1]), []),
        (a_row(noise=1.01 * LIMITS["fp32"].noise[1]), ["precision"]),
        (a_row("fp16", noise=2e-4), []),
        (a_row("fp16", noise=1e-7), ["precision"]),
        (a_row("fp16", noise=2e-3), ["precision"]),
        (a_row("bf16", noise=2e-3), []),
        (a_row("bf16", noise=1e-4), ["precision"]),
        (a_row("fp32", asked="fp16"), ["precision"]),
        (a_row(bias=(0.0, -1.01 * BIAS)), ["bias"]),
        (a_row(bias=(BIAS, -BIAS)), []),
        (a_row(shift_p99=0.06), ["shift"]),
        (a_row("fp16", noise=2e-4, shift_p99=0.06), []),
        (a_row(flipped=1), []),
        (a_row(flipped=2), ["flips"]),
        (a_row(flipped=4, joints=10_000), []),
        (a_row(flipped=6, joints=10_000), ["flips"]),
        (a_row(drop=Interval(0.5, 0.1, 0.9)), []),
        (a_row(drop=Interval(0.51, 0.1, 0.9)), ["drop"]),
        (a_row(drop=Interval(-3.0, -4.0, -2.0)), []),
        (a_row(drop=None), []),
    ],
)
def test_limits(row: Row, fails: list[str]) -> None:
    assert failing(row) == fails


def test_points_that_may_be_lost_are_the_users_to_say() -> None:
    lossy = a_row(drop=Interval(2.0, 1.0, 3.0))
    assert failing(lossy, Demands(max_drop=2.0)) == []
    assert failing(a_row(), Demands(max_drop=-0.1)) == ["drop"]


def test_p99_is_that_of_the_smallest_batch() -> None:
    assert failing(a_row(), Demands(max_p99=8.0)) == []
    assert failing(a_row(), Demands(max_p99=7.9)) == ["p99"]
    assert "p99" not in [check.name for check in checks(a_row(), Demands())]


def test_what_cannot_be_checked_is_not_listed() -> None:
    assert checks(replace(a_row(), agreement=None), Demands()) == ()


def test_a_hint_stands_where_answers_differ() -> None:
    said = {check.name: check.evidence for check in checks(a_row(shift_p99=9.0), Demands(), "; that is why")}
    assert said["shift"].endswith("; that is why") and "that is why" not in said["bias"]


def test_a_noise_that_no_precision_makes_is_said() -> None:
    [precision] = [check for check in checks(a_row(noise=0.3), Demands()) if check.name == "precision"]
    assert "no precision does that" in precision.evidence


def test_the_limits_in_the_documents_are_these() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "bench.md").read_text()
    for name, limits in LIMITS.items():
        low, high = limits.noise
        assert f"| {name} | {low:g} to {high:g} | {limits.shift:g} | {limits.flipped:g} |" in text
    assert f"moved by {BIAS:g} pixels" in text
