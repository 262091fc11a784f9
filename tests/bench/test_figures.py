"""A number is never shown as better, or as more certain, than it is."""

from __future__ import annotations

import pytest

from hgrt.bench.figures import DASH, interval, number, percent, share
from hgrt.bench.results import Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, DASH),
        (0.0, "0"),
        (-0.0, "0"),
        (0.00099, "< 0.001"),
        (-0.00099, "> -0.001"),
        (0.0041, "0.004"),
        (0.2134, "0.213"),
        (-0.2134, "-0.213"),
        (0.9996, "1.00"),
        (6.4821, "6.48"),
        (9.9996, "10.0"),
        (103.6, "104"),
        (12345.6, "12346"),
        (float("inf"), "not finite"),
    ],
)
def test_a_number_has_three_digits_and_is_nothing_only_where_it_is(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_number_may_have_more_digits() -> None:
    assert [number(value, 4) for value in (97.816, 100.0, 0.97816)] == ["97.82", "100.0", "0.978"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, DASH), (0.0, "0.00"), (0.001, "< 0.01"), (88.154, "88.15"), (99.996, "> 99.99"), (100.0, "100.00")],
)
def test_a_percentage_is_all_or_nothing_only_where_it_is(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_a_share_is_a_whole_percentage() -> None:
    assert [share(value) for value in (None, 0.0, 0.004, 0.384, 1.04)] == [DASH, "0 %", "< 1 %", "38 %", "104 %"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, DASH),
        (Interval(0.5712, 0.5588, 0.5812), "0.57 (0.55 to 0.59)"),
        (Interval(0.57, 0.57, 0.57), "0.57 (0.57 to 0.57)"),
        (Interval(0.0, -0.0461, 0.041), "0.00 (-0.05 to 0.05)"),
        (Interval(0.0, 0.0, 0.0), "0.00 (0.00 to 0.00)"),
        (Interval(0.004, -0.014, 0.0), "< 0.01 (-0.02 to 0.00)"),
        (Interval(-0.004, -0.02, -0.0), "> -0.01 (-0.02 to 0.00)"),
        (Interval(-0.5, -0.7, -0.001), "-0.50 (-0.70 to 0.00)"),
    ],
)
def test_an_interval_is_rounded_outwards(found: Interval | None, text: str) -> None:
    assert interval(found) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Interval(0.0123, 0.01201, 0.01259), "0.0123 (0.0120 to 0.0126)"),
        (Interval(1.0017, 1.0004, 1.003), "1.002 (1.000 to 1.003)"),
        (Interval(0.001, 0.001, 0.001), "0.001 (0.001 to 0.001)"),
    ],
)
def test_a_narrow_interval_has_the_decimals_that_tell_its_ends_apart(found: Interval, text: str) -> None:
    assert interval(found) == text
