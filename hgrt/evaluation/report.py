"""Numbers of an evaluation: what a set of predictions scored, as a table to read and as JSON to keep.

Every number stands under the name of its protocol. Knows predictions and labels, not where either came from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from hgrt.evaluation.kinds import NEAR, Wrong, wrong
from hgrt.evaluation.predict import ARRAYS, Predictions
from hgrt.pose.pckh import GROUPS, PROTOCOLS, Result, Tally, auc, bootstrap, hits, in_total, pckh
from hgrt.pose.skeleton import MPII

BOUNDS = (0.5, 0.1)
VIEWS = ("all", "visible", "not visible")
SEED = 0  # of the bootstrap: the same predictions have the same interval

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the predictions of one set scored.

    results    PCKh at each of `BOUNDS`
    intervals  95 % intervals of their totals, people drawn again with replacement; None where no joint counts
    auc        area under PCKh for bounds 0 to 0.5, scaled to 0..1; NaN where no joint counts
    views      PCKh@0.5 of the joints by visibility, for each of `VIEWS`
    wrong      how those that PCKh@0.5 does not find are wrong
    """

    set: str
    people: int
    protocol: str
    results: Mapping[float, Result]
    intervals: Mapping[float, Interval | None]
    auc: float
    views: Mapping[str, Result]
    wrong: Wrong


def summarise(found: Predictions, protocol: str = "standard") -> Summary:
    """Score predictions under a protocol of `pckh.PROTOCOLS`; ValueError for another name."""
    places = (found.xy, found.truth, found.normalize)
    masks = {"all": found.evaluate, "visible": found.evaluate & found.visible}
    masks["not visible"] = found.evaluate & ~found.visible
    return Summary(
        set=found.set,
        people=len(found),
        protocol=protocol,
        results={bound: found.pckh(protocol, bound) for bound in BOUNDS},
        intervals={bound: _interval(found, protocol, bound) for bound in BOUNDS},
        auc=auc(*places, found.evaluate, protocol),
        views={view: pckh(*places, masks[view], protocol) for view in VIEWS},
        wrong=wrong(found, protocol, BOUNDS[0]),
    )


def pooled(sets: Sequence[Predictions]) -> Predictions:
    """All people of several sets as one, named "all"."""

    def join(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(one, name) for one in sets])

    names = tuple(name for one in sets for name in one.names)
    return Predictions(set="all", names=names, **{name: join(name) for name in ARRAYS})  # type: ignore[arg-type]


def table(summary: Summary) -> Table:
    """A row for each group of joints as in the published table, and below it for each joint where it has several."""
    rule = PROTOCOLS[summary.protocol]
    bounds = [f"PCKh@{bound:g} %" for bound in BOUNDS]
    shown = _table(_title(summary), "joint", f"correct/count @{BOUNDS[0]:g}", *bounds)
    for group, names in GROUPS.items():
        outside = [name in rule.left_out for name in names]
        cells = _cells(summary, names)
        shown.add_row(group + " (not in the total)" * all(outside), *cells)
        if len(names) > 1 and summary.results[BOUNDS[0]].group(names).count:
            for name in names:
                shown.add_row(f"  {name}", *_cells(summary, (name,)), style="dim")
    shown.add_row("total", *_cells(summary, None), style="bold")
    return shown


def visibility_table(summary: Summary) -> Table:
    """PCKh@0.5 of all joints, those that are seen and those that are hidden, as the published test prints them."""
    shown = _table(f"{_title(summary)}: PCKh@0.5 % (count) by visibility", "joint", *VIEWS)
    for group, names in {"total": None, **GROUPS}.items():
        tallies = [result.total if names is None else result.group(names) for result in summary.views.values()]
        shown.add_row(group, *(f"{percent(tally.rate)} ({tally.count})" for tally in tallies))
    return shown


def line(summary: Summary) -> str:
    """The totals in one line, with the interval."""
    half, tenth = (summary.results[bound].total for bound in BOUNDS)
    interval = summary.intervals[BOUNDS[0]]
    between = f" (95 % interval {percent(interval[0])} to {percent(interval[1])})" if interval else ""
    first = f"PCKh@0.5 {percent(half.rate)} % of {half.count} joints{between}"
    return f"{_title(summary)}: {first}, PCKh@0.1 {percent(tenth.rate)} %, AUC(0..0.5) {percent(summary.auc)} %"


def wrong_line(summary: Summary) -> str:
    """What is wrong with the joints that are not found at the first bound, in one line."""
    kinds = summary.wrong
    doubled = f" ({kinds.doubled} of them with that one)" if kinds.doubled else ""
    parts = [
        f"{kinds.other_side} where the other side's joint is{doubled}",
        f"{kinds.near} within {NEAR * BOUNDS[0]:g} head",
        f"{kinds.far} farther off",
    ]
    return f"{summary.set}, {kinds.count} joints wrong: {', '.join(parts)}"


def as_json(summary: Summary) -> dict[str, object]:
    """`joints`, `total` and `wrong` of a summary as JSON values: all sixteen joints in MPII order, no NaN."""
    joints = {
        name: {f"{bound:g}": _counts(_tally(summary.results[bound], name)) for bound in BOUNDS} for name in MPII.joints
    }
    total: dict[str, object] = {}
    for bound, result in summary.results.items():
        interval = summary.intervals[bound]
        rate = {"rate": _finite(result.total.rate), "interval": list(interval) if interval else None}
        total[f"{bound:g}"] = {**_counts(result.total), **rate}
    counted = [name for name, counts in zip(MPII.joints, in_total(summary.protocol), strict=True) if counts]
    totals = {**total, "auc": _finite(summary.auc), "joints": counted}
    return {"joints": joints, "total": totals, "wrong": asdict(summary.wrong)}


def distinct(sets: Sequence[Predictions]) -> list[Predictions]:
    """The same, the sets numbered where several have one name, so that a name means one of them."""
    return [replace(one, set=name) for one, name in zip(sets, numbered([one.set for one in sets]), strict=True)]


def numbered(names: Sequence[str]) -> list[str]:
    """The names, each made its own: "one", "one (2)"."""
    taken: list[str] = []
    for plain in names:
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain} ({number})", number + 1
        taken.append(name)
    return taken


def percent(rate: float) -> str:
    """A rate as a percentage with two decimals, or a dash where there is none."""
    return "-" if math.isnan(rate) else f"{100 * rate:.2f}"


def _interval(found: Predictions, protocol: str, bound: float) -> Interval | None:
    counts = found.evaluate & in_total(protocol)
    if not counts.any():
        return None
    hit = hits(found.xy, found.truth, found.normalize, counts, protocol, bound)
    return bootstrap(hit.sum(axis=1), counts.sum(axis=1), np.random.default_rng(SEED))


def _table(title: str, *columns: str) -> Table:
    shown = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown


def _title(summary: Summary) -> str:
    return f"{summary.set}, {summary.people} people, protocol {summary.protocol}"


def _cells(summary: Summary, names: Sequence[str] | None) -> list[str]:
    tallies = []
    for result in summary.results.values():
        parts = [result.total] if names is None else [_tally(result, name) for name in names]
        tallies.append(sum(parts, Tally(0, 0)))
    return [f"{tallies[0].correct}/{tallies[0].count}", *(percent(tally.rate) for tally in tallies)]


def _tally(result: Result, name: str) -> Tally:
    return result.joints[name] if name in result.joints else result.left_out[name]


def _counts(tally: Tally) -> dict[str, int]:
    return {"correct": tally.correct, "count": tally.count}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
