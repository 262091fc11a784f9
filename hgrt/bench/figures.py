"""Numbers as people read them, none rounded into a lie: what is too small to print says so, intervals grow outwards.

Terminal, page, plots and history all write their numbers with this. What a number stands for is not known here.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from hgrt.bench.results import Interval

DASH = "-"
"""Where nothing could be measured. Every terminal has this one."""

_DECIMALS = 3  # at most, of a plain number
_SMALLEST = 10.0**-_DECIMALS


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, all of those before the point and at most three behind it.

    A dash for None, "0" only for 0, and "< 0.001" for what is smaller than that.
    """
    if value is None:
        return DASH
    if not math.isfinite(value):
        return "not finite"
    if 0 < abs(value) < _SMALLEST:
        return f"< {_SMALLEST}" if value > 0 else f"> -{_SMALLEST}"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding: 9.999 is 10.0
    decimals = min(_DECIMALS, max(0, digits - 1 - exponent)) if value else 0
    return f"{value + 0.0:.{decimals}f}"


def percent(value: float | None) -> str:
    """A percentage with two decimals, and never all or nothing where it is not; a dash for None."""
    if value is None:
        return DASH
    if 0 < value < 0.005 or 99.995 <= value < 100:
        return "< 0.01" if value < 1 else "> 99.99"
    return f"{value:.2f}"


def share(value: float | None) -> str:
    """A share, 1 being all, as a whole percentage; a dash for None."""
    if value is None:
        return DASH
    return "< 1 %" if 0 < value < 0.01 else f"{100 * value:.0f} %"


def interval(found: Interval | None) -> str:
    """A number and its interval, such as "0.57 (0.55 to 0.59)", the ends rounded outwards; a dash for None.

    Two decimals, or as many as it takes to tell the ends apart.
    """
    if found is None:
        return DASH
    reach = found.high - found.low or abs(found.value)
    decimals = min(6, max(2, -math.floor(math.log10(reach)))) if reach > 0 else 2
    value = f"{found.value + 0.0:.{decimals}f}"
    if found.value and not float(value):
        value = ("< " if found.value > 0 else "> -") + f"{10.0**-decimals:.{decimals}f}"
    # The unary plus turns a minus zero into a zero.
    step = Decimal(1).scaleb(-decimals)
    low = +Decimal(str(found.low)).quantize(step, ROUND_FLOOR)
    high = +Decimal(str(found.high)).quantize(step, ROUND_CEILING)
    return f"{value} ({low} to {high})"
