"""The report gives the published table from its fixture, one interval, no NaN, and every joint."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

import golden
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.report import as_json, distinct, line, percent, pooled, summarise, table, visibility_table
from hgrt.pose.pckh import GROUPS, auc
from hgrt.pose.skeleton import MPII
from labelled import predictions


@pytest.fixture(scope="module")
def published(fixtures: Path, shared: Path) -> tuple[dict[str, Any], Predictions]:
    """The published numbers, and the predictions they are of."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared / "data/mpii/annot/valid.h5", "r") as file:
        part, visible, normalize = (file[name][()] for name in ("part", "visible", "normalize"))
    labelled = part[..., 0] != 0
    found = Predictions(
        set="mpii/val",
        names=tuple(map(str, range(len(part)))),
        rows=np.arange(len(part)),
        xy=golden.pckh_predictions(part, normalize),
        score=np.ones(part.shape[:2]),
        truth=part,
        labelled=labelled,
        visible=labelled & (visible > 0),
        evaluate=labelled,
        normalize=normalize,
        boxes=np.ones((len(part), 3)),
    )
    return dict(json.loads((fixtures / "pckh.json").read_text())), found


def printed(shown: object) -> str:
    """What a terminal would show."""
    out = io.StringIO()
    Console(file=out, width=200).print(shown)
    return out.getvalue()


def test_the_published_table_comes_out(published: tuple[dict[str, Any], Predictions]) -> None:
    expected, found = published
    summary = summarise(found, "reference")
    for view, result in summary.views.items():
        for name, row in expected["bound_0.5"][view].items():
            tally = result.total if name == "total" else result.group(GROUPS[name])
            assert (tally.correct, tally.count) == (row["correct"], row["count"]), (view, name)
    for bound in (0.5, 0.1):
        for name, row in expected[f"bound_{bound}"]["all"].items():
            result = summary.results[bound]
            tally = result.total if name == "total" else result.group(GROUPS[name])
            assert (tally.correct, tally.count) == (row["correct"], row["count"]), (bound, name)
    half, tenth = (expected[f"bound_{bound}"]["all"] for bound in (0.5, 0.1))
    shown = printed(table(summary)).splitlines()
    assert "mpii/val, 2958 people, protocol reference" in shown[0]
    for name, row in half.items():
        cells = next(text for text in shown if text.startswith(name + " ")).split()
        assert cells[1:] == [f"{row['correct']}/{row['count']}", percent(row["pck"]), percent(tenth[name]["pck"])]
    split = printed(visibility_table(summary)).splitlines()
    for name in half:
        cells = next(text for text in split if text.startswith(name + " ")).split()
        wanted = [expected["bound_0.5"][view][name] for view in ("all", "visible", "not visible")]
        rates = [percent(row["pck"]) if row["count"] else "-" for row in wanted]
        assert cells[1:] == [
            text for rate, row in zip(rates, wanted, strict=True) for text in (rate, f"({row['count']})")
        ]


def test_the_protocols_differ_as_they_should(published: tuple[dict[str, Any], Predictions]) -> None:
    _, found = published
    standard, reference = (summarise(found, protocol) for protocol in ("standard", "reference"))
    left_out = sum(reference.results[0.5].group((name,)).count for name in ("pelvis", "thorax"))
    assert standard.results[0.5].total.count == reference.results[0.5].total.count - left_out
    assert standard.results[0.5].left_out["pelvis"].count == reference.results[0.5].joints["pelvis"].count
    assert "pelvis (not in the total)" in printed(table(standard))
    assert "not in the total" not in printed(table(reference))


def rate(xy: NDArray[np.float64], found: Predictions) -> float:
    """PCKh@0.5 by the standard, written out."""
    keep = found.evaluate & ~np.isin(np.arange(16), [6, 7])
    error = np.linalg.norm(xy - found.truth, axis=2) / found.normalize[:, None]
    return float((error[keep] <= 0.5).mean())


def test_the_json_has_every_joint_and_its_total_is_their_sum() -> None:
    found = predictions(40)
    document = json.loads(json.dumps(as_json(summarise(found)), allow_nan=False))
    assert list(document["joints"]) == list(MPII.joints)
    total = document["total"]
    assert total["joints"] == [name for name in MPII.joints if name not in ("pelvis", "thorax")]
    for bound in ("0.5", "0.1"):
        for key in ("correct", "count"):
            assert total[bound][key] == sum(document["joints"][name][bound][key] for name in total["joints"])
        low, high = total[bound]["interval"]
        assert 0 <= low < total[bound]["rate"] < high <= 1
    assert document["joints"]["thorax"]["0.5"]["count"] == found.evaluate[:, 7].sum() > 0
    assert total["0.5"]["rate"] == rate(found.xy, found)
    assert total["auc"] == auc(found.xy, found.truth, found.normalize, found.evaluate)
    reference = as_json(summarise(found, "reference"))["total"]
    assert reference["joints"] == list(MPII.joints)  # type: ignore[index]


def test_the_interval_is_of_the_joints_that_count() -> None:
    found = predictions(20)
    found.xy[:] = found.truth
    found.xy[:, MPII.index("thorax")] += 1000
    assert summarise(found).intervals[0.5] == (1.0, 1.0)
    low, high = summarise(found, "reference").intervals[0.5]  # type: ignore[misc]
    assert low < high < 1


def test_the_same_predictions_have_the_same_interval() -> None:
    assert summarise(predictions(30)).intervals == summarise(predictions(30)).intervals


def test_nobody_labelled_gives_nulls_and_dashes() -> None:
    found = predictions(5, labelled=False)
    summary = summarise(found, "reference")
    total = as_json(summary)["total"]
    assert total == {
        "0.5": {"correct": 0, "count": 0, "rate": None, "interval": None},
        "0.1": {"correct": 0, "count": 0, "rate": None, "interval": None},
        "auc": None,
        "joints": list(MPII.joints),
    }
    assert "NaN" not in json.dumps(as_json(summary), allow_nan=False)
    assert "nan" not in printed(table(summary)) + printed(visibility_table(summary)) + line(summary)
    assert "PCKh@0.5 - % of 0 joints, " in line(summary)


def test_a_joint_row_stands_only_where_there_is_something_to_say() -> None:
    found = predictions(10)
    found.evaluate[:, [0, 5]] = False
    shown = printed(table(summarise(found)))
    assert "r_ankle" not in shown and "r_knee" in shown and "\nankle" in shown


def test_the_line_names_set_people_and_protocol() -> None:
    found = predictions(40)
    summary = summarise(found)
    low, high = summary.intervals[0.5]  # type: ignore[misc]
    counted = found.evaluate.sum() - found.evaluate[:, [6, 7]].sum()
    said = line(summary)
    assert said.startswith("made/val, 40 people, protocol standard: PCKh@0.5 ")
    interval = f"(95 % interval {percent(low)} to {percent(high)})"
    assert f"{percent(rate(found.xy, found))} % of {counted} joints {interval}" in said


def test_pooled_people_are_all_people() -> None:
    parts = [predictions(10, seed=1), predictions(25, seed=2)]
    every = pooled(parts)
    assert every.set == "all" and len(every) == 35 and len(every.names) == 35
    for bound in (0.5, 0.1):
        totals = [one.pckh("standard", bound).total for one in parts]
        assert every.pckh("standard", bound).total == totals[0] + totals[1]
    np.testing.assert_array_equal(every.boxes[10:], parts[1].boxes)


def test_sets_of_one_name_are_told_apart() -> None:
    named = distinct([predictions(2, name=name) for name in ("a/val", "b/val", "a/val", "a/val")])
    assert [one.set for one in named] == ["a/val", "b/val", "a/val (2)", "a/val (3)"]
