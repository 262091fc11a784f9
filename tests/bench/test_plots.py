"""Plots say what they were given: marks lie where their numbers are, nothing is lost, and text is only text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from hgrt.bench.plots import COLOURS, bars, dots, grouped, histogram, ticks
from hgrt.bench.results import Interval

NAME = "{http://www.w3.org/2000/svg}"
EVIL = '<b>&"x</b>'


def elements(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(NAME + tag))


def titled(svg: str, words: str) -> list[ET.Element]:
    """Shapes whose tooltip has these words."""
    shapes = [*elements(svg, "rect"), *elements(svg, "path")]
    return [one for one in shapes if words in (one.findtext(NAME + "title") or "")]


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in elements(svg, "text")]


def where(element: ET.Element) -> float:
    """The x of a mark."""
    found = re.match(r"translate\((\S+)", element.get("transform", ""))
    assert found
    return float(found.group(1))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 11.2, [0, 2, 4, 6, 8, 10]),
        (0.93, 1.01, [0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0, 1.01]),
        (-0.3, 0.3, [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).lognormal(2, 0.3, 400),
        np.full(7, 6.5),
        np.array([0.6, 0.3, 0.7, 0.1]),
        np.array([0.0]),
        np.append(np.linspace(4, 5, 400), [90.0, 900.0]),
    ],
    ids=["skewed", "all alike", "on edges", "zero", "far out"],
)
def test_a_histogram_counts_every_run_once(values: np.ndarray) -> None:
    svg = histogram({"a": values}, "ms")
    counts = [one.findtext(NAME + "title") or "" for one in titled(svg, f"of {len(values)}")]
    assert sum(int(title.split()[0]) for title in counts) == len(values)
    assert all(float(one.get("x", "")) > 0 for one in titled(svg, f"of {len(values)}"))


def test_histograms_share_their_bins_and_put_the_far_out_into_the_last() -> None:
    fast, slow = np.linspace(4, 5, 500), np.append(np.linspace(9, 10, 500), [500.0, 600.0])
    svg = histogram({"fast": fast, "slow": slow}, "ms")
    (beyond,) = titled(svg, " above ")
    assert beyond.findtext(NAME + "title") == "2 of 502 above 10 ms"
    regular = titled(svg, " from ")
    assert len({one.get("width") for one in regular}) == 1
    assert float(beyond.get("x", "")) > max(float(one.get("x", "")) for one in regular)
    first, last = (re.findall(r"M([\d.]+)", titled(svg, f"{name}: p50")[0].get("d", "")) for name in ("fast", "slow"))
    x = sorted((float(one.get("x", "")), one.findtext(NAME + "title") or "") for one in regular)
    within = [title for left, title in x if left <= float(first[0])][-1]
    assert " 4.4 to " in within or " 4.5 to " in within, "the median lies at its number"
    assert float(first[0]) < float(last[0])


def test_a_median_beyond_the_axis_is_marked_in_the_last_bin() -> None:
    svg = histogram({"many": np.linspace(4, 5, 2000), "one": [700.0]}, "ms")
    (beyond,) = titled(svg, "1 of 1 above")
    (line,) = titled(svg, "one: p50 700 ms")
    left = float(beyond.get("x", ""))
    assert left <= float(re.findall(r"M([\d.]+)", line.get("d", ""))[0]) <= left + float(beyond.get("width", ""))


def test_pieces_of_a_bar_follow_each_other_and_are_as_long_as_their_share() -> None:
    svg = bars({"a": {"crop": 1.0, "network": 6.0, "decode": 0.05}, "b": {"network": 3.0}}, "ms")
    crop, network, decode = (titled(svg, f"a: {stage}")[0] for stage in ("crop", "network", "decode"))
    (other,) = titled(svg, "b: network")
    assert float(network.get("width", "")) == pytest.approx(6 * float(crop.get("width", "")), abs=0.5)
    assert float(network.get("width", "")) == pytest.approx(2 * float(other.get("width", "")), abs=0.5)
    assert float(network.get("x", "")) == pytest.approx(
        float(crop.get("x", "")) + float(crop.get("width", "")), abs=0.2
    )
    assert network.get("fill") == other.get("fill") != decode.get("fill"), "a stage has one colour"
    shown = texts(svg)
    assert "6.00" in shown and "3.00" in shown and "0.050" not in shown, "where there is room"
    assert [name for name in shown if name in ("crop", "network", "decode")] == ["crop", "network", "decode"]


def test_marks_lie_at_their_numbers_and_none_stands_for_nothing() -> None:
    svg = grouped({"wrist": {"ours": 90.0, "theirs": 80.0}, "ankle": {"ours": 85.0, "theirs": None}}, "%")
    ours, theirs, ankle = (titled(svg, words)[0] for words in ("wrist, ours", "wrist, theirs", "ankle, ours"))
    assert where(ours) - where(ankle) == pytest.approx(where(ankle) - where(theirs), abs=0.2)
    assert where(ours) > where(theirs)
    assert titled(svg, "ankle, theirs") == []
    assert ours.get("d") != theirs.get("d"), "told apart without colour"


def test_dots_lie_in_their_intervals_and_the_line_is_on_the_plot() -> None:
    svg = dots({"fast": Interval(0.5, 0.4, 0.6), "slow": Interval(0.8, 0.7, 0.85)}, "ratio")
    fast, slow = (where(titled(svg, f"{name}:")[0]) for name in ("fast", "slow"))
    line = next(one for one in elements(svg, "path") if one.get("stroke-dasharray"))
    one = float(re.findall(r"M([\d.]+)", line.get("d", ""))[0])
    assert (one - slow) / (one - fast) == pytest.approx(0.2 / 0.5, abs=0.01)
    whisker = next(path.get("d", "") for path in elements(svg, "path") if path.get("fill") == "none")
    low, high = float(re.findall(r"M([\d.]+)", whisker)[0]), float(re.findall(r"H([\d.]+)", whisker)[0])
    assert (fast - low) == pytest.approx(high - fast, abs=0.2) and low < fast
    assert "0.50 (0.40 to 0.60)" in texts(svg)


@pytest.mark.parametrize(
    "svg",
    [
        histogram({EVIL: [1.0, 2.0]}, EVIL),
        bars({EVIL: {EVIL: 1.0}}, EVIL),
        grouped({EVIL: {EVIL: 1.0}}, EVIL),
        dots({EVIL: Interval(1.0, 0.9, 1.1)}, EVIL),
    ],
    ids=["histogram", "bars", "grouped", "dots"],
)
def test_a_plot_is_an_image_with_a_label_and_names_are_text(svg: str) -> None:
    root = ET.fromstring(svg)
    assert root.get("role") == "img" and EVIL in (root.get("aria-label") or "")
    assert {one.tag.removeprefix(NAME) for one in root.iter()} <= {"svg", "text", "title", "rect", "path"}
    assert EVIL in texts(svg)


def test_many_series_and_long_names_stay_in_the_picture() -> None:
    names = [f"network of a rather long name {k}, onnxruntime fp32" for k in range(len(COLOURS) + 3)]
    svg = grouped({"wrist": {name: 80.0 + k for k, name in enumerate(names)}}, "%")
    marks = titled(svg, "wrist, ")
    assert len({(mark.get("d"), mark.get("fill")) for mark in marks}) == len(names)
    legend = [float(one.get("x", "")) for one in elements(svg, "text") if one.text in names]
    assert len(legend) == len(names) and max(legend) < 860
    assert "…" in "".join(texts(dots({"a" * 200: Interval(1.0, 0.9, 1.1)}, "ratio")))


@pytest.mark.parametrize(
    "draw",
    [lambda: histogram({}, "ms"), lambda: histogram({"a": []}, "ms"), lambda: bars({}, "ms"), lambda: dots({}, "")],
)
def test_nothing_to_draw_is_an_error(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(ValueError):
        draw()
