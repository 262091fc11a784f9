"""Plots of a benchmark as SVG text: latency histograms, stacked stages, accuracy by joint, ratios with intervals.

Numbers in, one `<svg>` out, which needs neither styles nor scripts around it: text and lines take the colour of the
text around them, so that light and dark pages both do. What was measured is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hgrt.bench.figures import interval, number
from hgrt.bench.markup import Html, tag
from hgrt.bench.results import Interval
from hgrt.bench.statistics import spread
from hgrt.pose.geometry import Array

WIDTH = 860
LETTER = 6.8  # pixels that a letter takes, at most on average
LABELS = 260  # pixels that the labels on the left take, at most
TOP = 8
AXIS = 34  # pixels below the rows: ticks, their numbers, the unit
BINS = 80
BEYOND = 32  # pixels from the end of a histogram's axis to the middle of its last bin
SMALLEST = 0.001  # that an axis reaches over

COLOURS = (
    ("#0072B2", "#ffffff"),
    ("#D55E00", "#000000"),
    ("#009E73", "#000000"),
    ("#CC79A7", "#000000"),
    ("#E69F00", "#000000"),
    ("#56B4E9", "#000000"),
    ("#999999", "#000000"),
)
"""Fill, and the text that can be read on it. Six of Okabe and Ito, told apart by the colour-blind, and grey."""
SHAPES = ("M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z", "M-4,-4h8v8h-8z", "M0,-5l5,5l-5,5l-5,-5z", "M0,-5l5,9h-10z")
"""Circle, square, diamond, triangle, as paths around 0: colour is not all that tells marks apart."""
OUTLINE = 'stroke="currentColor" stroke-width="0.6"'
GRID = 'stroke="currentColor" stroke-opacity="0.18"'


def histogram(series: Mapping[str, Sequence[float]], unit: str) -> Html:
    """Histograms of several series of numbers, one below the other on one axis, with lines at p50 and p99.

    All share their bins, which reach up to the 99.5th percentile of all numbers; the rest is counted in a last bin.
    Each is as high as its own fullest bin. ValueError where there is no series, or nothing in one.
    """
    edges = _edges(np.concatenate([np.asarray(values, float) for values in series.values()]))
    strip, left = 58, _left(series, 20)
    axis = _Axis(float(edges[0]), float(edges[-1]), left, WIDTH - BEYOND - 24)
    beyond = axis.right + BEYOND
    parts, says = _axis(axis, TOP, TOP + strip * len(series), unit), []
    parts.append(_text(beyond, TOP + strip * len(series) + 16, "above", "middle"))
    for k, (name, values) in enumerate(series.items()):
        found, base = spread(values), TOP + strip * (k + 1)
        says.append(f"{name}: p50 {number(found.p50)}, p99 {number(found.p99)} {unit}")
        parts.append(_label(name, left, base - 28))
        parts.append(_text(left - 8, base - 12, f"p50 {number(found.p50)}, p99 {number(found.p99)}", "end", small=True))
        parts += _strip(np.asarray(values, float), edges, axis, base, strip - 10, COLOURS[k % len(COLOURS)][0], unit)
        for percent, value, dash in (("p50", found.p50, ""), ("p99", found.p99, ' stroke-dasharray="4 3"')):
            x = axis.at(value) if value <= axis.high else beyond
            line = f'<path d="M{x:.1f},{base - strip + 6}V{base}" stroke="currentColor" stroke-width="1.6"{dash}>'
            parts.append(f"{line}{_title(f'{name}: {percent} {number(value)} {unit}')}</path>")
    return _svg(TOP + strip * len(series) + AXIS, "Histograms. " + "; ".join(says), parts)


def bars(rows: Mapping[str, Mapping[str, float]], unit: str) -> Html:
    """Stacked bars, one a row, made of pieces that are named alike in all rows; values stand where there is room.

    ValueError where there is no row.
    """
    pieces = list(dict.fromkeys(piece for row in rows.values() for piece in row))
    legend, top = _legend(pieces, squares=True)
    high = max(sum(row.values()) for row in rows.values())
    axis, tall, says = _Axis(0.0, high or 1.0, _left(rows), WIDTH - 30), 30, []
    parts = legend + _axis(axis, top, top + tall * len(rows), unit)
    for k, (name, row) in enumerate(rows.items()):
        y, start = top + tall * k, 0.0
        parts.append(_label(name, axis.left, y + 19))
        says.append(f"{name}: " + ", ".join(f"{piece} {number(value)}" for piece, value in row.items()))
        for piece, value in row.items():
            fill, ink = COLOURS[pieces.index(piece) % len(COLOURS)]
            x, wide, shown = axis.at(start), axis.at(start + value) - axis.at(start), number(value)
            parts.append(_rect(x, y + 4, wide, tall - 8, fill, f"{name}: {piece} {shown} {unit}"))
            if wide > LETTER * len(shown) + 6:
                parts.append(_text(x + wide / 2, y + 19, shown, "middle", fill=ink))
            start += value
    return _svg(top + tall * len(rows) + AXIS, f"Stages in {unit}. " + "; ".join(says), parts)


def grouped(rows: Mapping[str, Mapping[str, float | None]], unit: str) -> Html:
    """A row for each group, such as a joint, with a mark for each series in it, such as a runtime; None has no mark.

    The axis begins at the smallest value, not at 0. ValueError where there is no value.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    legend, top = _legend(names, squares=False)
    values = [value for row in rows.values() for value in row.values() if value is not None]
    tall = 12 + 5 * len(names)
    axis = _rounded(min(values), max(values), _left(rows), WIDTH - 30)
    parts = legend + _axis(axis, top, top + tall * len(rows), unit)
    for k, (group, row) in enumerate(rows.items()):
        y = top + tall * k
        if k % 2:
            parts.append(f'<rect x="0" y="{y}" width="{WIDTH}" height="{tall}" fill-opacity="0.05"/>')
        parts.append(_label(group, axis.left, y + tall / 2 + 4))
        for n, name in enumerate(names):
            value = row.get(name)
            if value is not None:
                title = f"{group}, {name}: {number(value, 4)} {unit}"
                parts.append(_mark(axis.at(value), y + tall / 2 + 5 * (n - (len(names) - 1) / 2), n, title))
    says = f"{unit} of {', '.join(names)} for {', '.join(rows)}"
    return _svg(top + tall * len(rows) + AXIS, says, parts)


def dots(rows: Mapping[str, Interval], unit: str, line: float = 1.0) -> Html:
    """A dot a row with its interval, and its numbers in words; a dashed line at `line`. ValueError without a row."""
    ends = [line, *(end for row in rows.values() for end in (row.low, row.high))]
    texts = {name: interval(row) for name, row in rows.items()}
    axis = _rounded(min(ends), max(ends), _left(rows), WIDTH - 20 - LETTER * max(map(len, texts.values())))
    tall, bottom = 28, TOP + 28 * len(rows)
    parts = _axis(axis, TOP, bottom, unit)
    parts.append(f'<path d="M{axis.at(line):.1f},{TOP}V{bottom}" stroke="currentColor" stroke-dasharray="4 3"/>')
    for k, (name, row) in enumerate(rows.items()):
        y = TOP + tall * k + tall / 2
        parts.append(_label(name, axis.left, y + 4))
        reach = f"M{axis.at(row.low):.1f},{y - 5}v10m0,-5H{axis.at(row.high):.1f}m0,-5v10"
        parts.append(f'<path d="{reach}" stroke="currentColor" stroke-width="1.6" fill="none"/>')
        parts.append(_mark(axis.at(row.value), y, 0, f"{name}: {texts[name]} {unit}"))
        parts.append(_text(axis.right + 10, y + 4, texts[name]))
    says = "; ".join(f"{name}: {text}" for name, text in texts.items())
    return _svg(bottom + AXIS, f"{unit}. {says}", parts)


def ticks(low: float, high: float, count: int = 8) -> list[float]:
    """At most `count` + 1 round numbers from `low` to `high`, which lie apart."""
    step = _nice((high - low) / count)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Numbers `low` to `high` across pixels `left` to `right`."""

    low: float
    high: float
    left: float
    right: float

    def at(self, value: float) -> float:
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)


def _rounded(low: float, high: float, left: float, right: float) -> _Axis:
    """An axis that holds both and ends at round numbers."""
    step = _nice(max(high - low, 0.02 * abs(high), SMALLEST) / 8)
    first = math.floor(low / step + 1e-9)
    return _Axis(first * step, max(math.ceil(high / step - 1e-9), first + 1) * step, left, right)


def _nice(step: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not smaller."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next((k * power for k in (1, 2, 5) if k * power >= step * (1 - 1e-9)), 10 * power)


def _edges(values: Array) -> Array:
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    width = _nice(max(high - low, 0.02 * abs(high), SMALLEST) / BINS)
    first = math.floor(low / width)
    return np.arange(first, max(math.ceil(high / width), first + 1) + 1, dtype=np.float64) * width


def _strip(
    values: Array,
    edges: Array,
    axis: _Axis,
    base: float,
    tall: float,
    fill: str,
    unit: str,
) -> list[str]:
    """The bins of one histogram, `tall` pixels at most, standing on `base`; the last one has all beyond the axis."""
    inside = values <= edges[-1]
    counts, _ = np.histogram(np.clip(values[inside], edges[0], None), edges)  # an edge may round to above its value
    beyond = int(np.count_nonzero(~inside))
    scale = tall / max(int(counts.max()), beyond)
    bins = [
        (axis.at(a), axis.at(b) - axis.at(a), int(n), f"{n} of {len(values)} from {a:g} to {b:g} {unit}")
        for n, a, b in zip(counts, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    bins.append((axis.right + BEYOND - 12, 24, beyond, f"{beyond} of {len(values)} above {edges[-1]:g} {unit}"))
    return [_rect(x, base - scale * n, wide, scale * n, fill, title) for x, wide, n, title in bins if n]


def _axis(axis: _Axis, top: float, bottom: float, unit: str) -> list[str]:
    places = ticks(axis.low, axis.high)
    decimals = max(0, -math.floor(math.log10(places[1] - places[0]) + 1e-9)) if len(places) > 1 else 3
    parts = [f'<path d="M{axis.left:.1f},{bottom}H{axis.right:.1f}" stroke="currentColor"/>']
    for place in places:
        x = axis.at(place)
        parts.append(f'<path d="M{x:.1f},{top}V{bottom}" {GRID}/>')
        parts.append(_text(x, bottom + 16, f"{place + 0.0:.{decimals}f}", "middle"))
    return [*parts, _text((axis.left + axis.right) / 2, bottom + 31, unit, "middle")]


def _legend(names: Sequence[str], squares: bool) -> tuple[list[str], float]:
    """Marks with their names, in as many lines as it takes; where the plot may begin below them."""
    parts, x, y = [], 6.0, 14.0
    for k, name in enumerate(names):
        wide = 26 + LETTER * len(name)
        if x > 6 and x + wide > WIDTH:
            x, y = 6.0, y + 18
        parts.append(
            _rect(x, y - 5, 10, 10, COLOURS[k % len(COLOURS)][0], name) if squares else _mark(x + 5, y, k, name)
        )
        parts.append(_text(x + 15, y + 4, name))
        x += wide
    return parts, y + 16


def _left(names: Iterable[str], least: int = 0) -> float:
    """Where the axis begins, right of its labels."""
    return 12 + min(LABELS, LETTER * max(least, *map(len, names), 0))


def _label(name: str, right: float, y: float) -> Html:
    letters = int(LABELS / LETTER)
    return _text(right - 8, y, name if len(name) <= letters else name[: letters - 1] + "…", "end", title=name)


def _text(
    x: float, y: float, text: str, anchor: str = "start", fill: str = "", small: bool = False, title: str = ""
) -> Html:
    look = {"text-anchor": anchor} | ({"fill": fill} if fill else {})
    look |= {"font-size": "11", "fill-opacity": "0.75"} if small else {}
    return tag("text", text, _title(title) if title else "", x=f"{x:.1f}", y=f"{y:.1f}", **look)


def _rect(x: float, y: float, wide: float, tall: float, fill: str, title: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect {place} fill="{fill}" {OUTLINE}>{_title(title)}</rect>'


def _mark(x: float, y: float, k: int, title: str) -> str:
    path, fill = SHAPES[k % len(SHAPES)], COLOURS[k % len(COLOURS)][0]
    return f'<path d="{path}" transform="translate({x:.1f} {y:.1f})" fill="{fill}" {OUTLINE}>{_title(title)}</path>'


def _title(text: str) -> Html:
    return tag("title", text)


def _svg(height: float, label: str, parts: Sequence[str]) -> Html:
    """The picture around finished parts."""
    size = {"viewBox": f"0 0 {WIDTH} {height:.0f}", "width": str(WIDTH), "height": f"{height:.0f}"}
    look = {"font-family": "system-ui, sans-serif", "font-size": "12", "fill": "currentColor"}
    names = {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": label}
    return tag("svg", Html("".join(parts)), **names, **size, **look)
