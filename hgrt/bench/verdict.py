"""What is demanded of a runtime, and whether it holds: the checks behind PASS and FAIL.

The limits come from measurements of the bundled network against torch in single precision on 397 people and stand
well clear of them (`docs/bench.md`). A check that cannot be made is not listed, and never counted as passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hgrt.bench.results import Agreement, Check, Row


@dataclass(frozen=True, slots=True)
class Limits:
    """What a precision may do to the answers.

    noise    lowest and highest root mean square of the scores' differences: rounding leaves a signature of its own, so
             a runtime that is more or less exact than its precision runs another one
    shift    99th percentile of the joints' shifts, in crop pixels
    flipped  share of joints on another peak (one such joint is always allowed: peaks may be equally high)
    """

    noise: tuple[float, float]
    shift: float
    flipped: float


LIMITS: Mapping[str, Limits] = {
    "fp32": Limits((0.0, 1e-5), 0.05, 0.0005),
    "fp16": Limits((1e-5, 1.5e-3), 0.5, 0.003),
    "bf16": Limits((5e-4, 2e-2), 4.0, 0.03),
    "int8": Limits((3e-3, 5e-2), 80.0, 0.1),
}

BIAS = 0.1  # crop pixels by which all joints may be moved in common


@dataclass(frozen=True, slots=True)
class Demands:
    """What the user asks for: points of PCKh that may be lost, and milliseconds for the 99th percentile of the smallest
    batch (None: any)."""

    max_drop: float = 0.5
    max_p99: float | None = None


def checks(row: Row, demands: Demands, hint: str = "") -> tuple[Check, ...]:
    """Everything that can be checked of a row that ran; `hint` is what is known of the cause, should answers differ."""
    found: list[Check] = []
    if row.agreement is not None:
        found += _agreement(row, row.agreement, demands, hint)
    if demands.max_p99 is not None and row.latency:
        first = min(row.latency, key=lambda latency: latency.batch)
        within = first.total.p99 <= demands.max_p99
        said = f"{first.total.p99:.2f} ms at batch {first.batch}, {demands.max_p99:g} allowed"
        found.append(Check("p99", within, said))
    return tuple(found)


def _agreement(row: Row, found: Agreement, demands: Demands, hint: str) -> list[Check]:
    limits = LIMITS[row.running]
    low, high = limits.noise
    allowed = max(1, limits.flipped * found.joints)
    checks = [
        Check("precision", row.asked == row.running and low <= found.noise <= high, _precision(row, found.noise)),
        Check(
            "bias",
            max(map(abs, found.bias)) <= BIAS,
            f"all joints moved by ({found.bias[0]:.3f}, {found.bias[1]:.3f}) px in common, {BIAS:g} allowed",
        ),
        Check(
            "shift",
            found.shift_p99 <= limits.shift,
            f"99 % of {found.joints} joints within {found.shift_p99:.3g} px, {limits.shift:g} allowed{hint}",
        ),
        Check(
            "flips",
            found.flipped <= allowed,
            f"{found.flipped} of {found.joints} joints on another peak, {int(allowed)} allowed{hint}",
        ),
    ]
    if found.drop is not None:
        checks.append(
            Check(
                "drop",
                found.drop.value <= demands.max_drop,
                f"{found.drop.value:.2f} points of PCKh lost ({found.drop.low:.2f} to {found.drop.high:.2f}), "
                f"{demands.max_drop:g} allowed",
            )
        )
    return checks


def _precision(row: Row, noise: float) -> str:
    if row.asked != row.running:
        return f"asked for {row.asked}, runs {row.running}"
    low, high = LIMITS[row.running].noise
    measured = f"scores differ by {noise:.1e}"
    if noise > high:
        return f"{measured}: more than {row.running} rounds (up to {high:.0e}); {_looks_like(noise)}"
    if noise < low:
        return f"{measured}: less than {row.running} must round ({low:.0e} at least); {_looks_like(noise)}"
    return f"{measured}, as {row.running} does"


def _looks_like(noise: float) -> str:
    fits = [name for name, limits in LIMITS.items() if limits.noise[0] <= noise <= limits.noise[1]]
    return f"it looks like {' or '.join(fits)}" if fits else "no precision does that"
