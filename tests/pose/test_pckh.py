"""PCKh against the published table, and each protocol's rules on small cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import golden
from hgrt.pose import pckh as module
from hgrt.pose.pckh import GROUPS, Result, Tally, annotated, auc, bootstrap, pckh

VIEWS = ("all", "visible", "not visible")


@pytest.fixture(scope="module")
def table(fixtures: Path) -> dict[str, Any]:
    return dict(json.loads((fixtures / "pckh.json").read_text()))


@pytest.fixture(scope="module")
def mpii(shared: Path) -> dict[str, NDArray[Any]]:
    with h5py.File(shared / "data/mpii/annot/valid.h5", "r") as file:
        return {name: file[name][()] for name in ("part", "visible", "normalize")}


def seen(view: str, truth: NDArray[Any], visible: NDArray[Any]) -> NDArray[np.bool_]:
    masks = {"all": np.ones_like(visible, bool), "visible": visible > 0, "not visible": visible == 0}
    return np.asarray(annotated(truth) & masks[view])


def compare(result: Result, expected: dict[str, Any]) -> None:
    assert set(expected) == {"total", *GROUPS}
    for name, row in expected.items():
        tally = result.total if name == "total" else result.group(GROUPS[name])
        assert (tally.correct, tally.count) == (row["correct"], row["count"]), name
        if tally.count:
            assert tally.rate == pytest.approx(row["pck"], abs=1e-12)


@pytest.mark.parametrize("bound", [0.5, 0.1])
@pytest.mark.parametrize("view", VIEWS)
def test_published_table(view: str, bound: float, table: dict[str, Any], mpii: dict[str, NDArray[Any]]) -> None:
    predicted = golden.pckh_predictions(mpii["part"], mpii["normalize"])
    assert golden.sha256(predicted) == table["inputs"]["predictions_sha256_float64"]
    counted = seen(view, mpii["part"], mpii["visible"])
    result = pckh(predicted, mpii["part"], mpii["normalize"], counted, "reference", bound)
    compare(result, table[f"bound_{bound}"][view])


@pytest.mark.parametrize("view", VIEWS)
def test_published_edge_cases(view: str, table: dict[str, Any]) -> None:
    case = table["edge_cases"]
    truth, visible = np.array(case["gt_xy"]), np.array(case["visible"])
    counted = seen(view, truth, visible)
    result = pckh(np.array(case["pred_xy"]), truth, np.array(case["normalize"]), counted, "reference", case["bound"])
    compare(result, case["result"][view])


def one_person(error: float = 0.0, normalize: float = 10.0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A person whose joints are all missed by `error` pixels to the right."""
    truth = np.stack([np.linspace(20, 170, 16), np.linspace(30, 180, 16)], axis=1)[None]
    return truth + np.array([error, 0.0]), truth, np.array([normalize])


ALL = np.ones((1, 16), bool)


@pytest.mark.parametrize(
    ("protocol", "error", "correct", "count"),
    [
        ("reference", 4.999, 16, 16),
        ("reference", 5.0, 0, 16),
        ("standard", 5.0, 14, 14),
        ("standard", 5.001, 0, 14),
        ("limbs", 5.0, 12, 12),
        ("limbs", 5.001, 0, 12),
    ],
)
def test_protocols_differ_at_the_bound_and_in_the_joints(protocol: str, error: float, correct: int, count: int) -> None:
    result = pckh(*one_person(error), ALL, protocol)
    assert result.total == Tally(correct, count)
    assert result.protocol == protocol and result.bound == 0.5


def test_pelvis_and_thorax_do_not_count_in_the_standard() -> None:
    predicted, truth, normalize = one_person()
    predicted[0, [6, 7]] += 1000
    assert pckh(predicted, truth, normalize, ALL, "standard").total == Tally(14, 14)
    assert pckh(predicted, truth, normalize, ALL, "reference").total == Tally(14, 16)
    standard = pckh(predicted, truth, normalize, ALL, "standard")
    assert set(standard.joints) == set(module.MPII.joints) - {"pelvis", "thorax"}
    assert standard.group(("pelvis",)) == Tally(0, 0)


def test_the_default_is_the_standard() -> None:
    assert pckh(*one_person(), ALL).protocol == "standard"


def test_only_counted_joints_count() -> None:
    predicted, truth, normalize = one_person()
    predicted[0, 0] += 1000
    counted = ALL.copy()
    counted[0, [0, 15]] = False
    assert pckh(predicted, truth, normalize, counted, "reference").total == Tally(14, 14)


@pytest.mark.parametrize("error", [0.0, 3.0])
def test_without_a_head_size_nothing_is_correct(error: float) -> None:
    for protocol in module.PROTOCOLS:
        total = pckh(*one_person(error, normalize=0.0), ALL, protocol).total
        assert total.correct == 0 and total.count >= 12


def test_nothing_counted_has_no_rate() -> None:
    assert np.isnan(pckh(*one_person(), ~ALL).total.rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "pck"}, "unknown protocol 'pck'"),
        ({"predicted": np.zeros((1, 15, 2))}, "expected positions"),
        ({"truth": np.zeros((2, 16, 2))}, "expected positions"),
        ({"counted": np.ones((16,))}, "expected positions"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    predicted, truth, normalize = one_person()
    arguments = {"predicted": predicted, "truth": truth, "normalize": normalize, "counted": ALL, **change}
    with pytest.raises(ValueError, match=message):
        pckh(**arguments)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.0, 1.0), (2.5, 0.5), (5.0, 0.01), (6.0, 0.0)],  # in units of the head: 0, 0.25, 0.5, 0.6
)
def test_auc(error: float, expected: float) -> None:
    # The step lies between two of 51 points, half a point's width from either.
    assert auc(*one_person(error), ALL) == pytest.approx(expected, abs=0.0101)


def test_auc_grows_with_accuracy() -> None:
    areas = [auc(*one_person(error), ALL) for error in (0.3, 1.1, 2.2, 3.3, 4.4)]
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == 5


def test_bootstrap_covers_the_rate_and_narrows() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for people in (30, 3000):
        count = rng.integers(5, 17, people)
        correct = rng.binomial(count, 0.7)
        low, high = bootstrap(correct, count, np.random.default_rng(1))
        assert low < correct.sum() / count.sum() < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    # 3000 people of 10.5 joints each: the interval of independent joints is +-1.96 sqrt(0.21 / 31500).
    assert widths[1] == pytest.approx(2 * 1.96 * (0.21 / 31500) ** 0.5, rel=0.2)


def test_people_not_joints_are_drawn_again() -> None:
    # Ten people, each wholly right or wholly wrong: far less certain than 160 independent joints would be.
    count, correct = np.full(10, 16), np.array([16, 0] * 5)
    low, high = bootstrap(correct, count, np.random.default_rng(0))
    assert high - low > 0.5


def test_bootstrap_is_decided_by_its_generator_and_level() -> None:
    count, correct = np.full(50, 10), np.arange(50) % 11
    first, again = (bootstrap(correct, count, np.random.default_rng(3)) for _ in range(2))
    assert first == again != bootstrap(correct, count, np.random.default_rng(4))
    low, high = bootstrap(correct, count, np.random.default_rng(3), level=0.5)
    assert first[0] < low < high < first[1]
    assert bootstrap(np.full(5, 3), np.full(5, 3), np.random.default_rng(0)) == (1.0, 1.0)


def test_joints_left_out_of_the_total_are_judged_all_the_same() -> None:
    predicted, truth, normalize = one_person()
    predicted[0, 6] += 1000
    result = pckh(predicted, truth, normalize, ALL, "standard")
    assert dict(result.left_out) == {"pelvis": Tally(0, 1), "thorax": Tally(1, 1)}
    assert result.total == Tally(14, 14)
    assert pckh(predicted, truth, normalize, ALL, "reference").left_out == {}
    assert np.flatnonzero(~module.in_total("standard")).tolist() == [6, 7] and module.in_total("reference").all()


def test_hits_are_the_counted_joints_that_were_found() -> None:
    predicted, truth, normalize = one_person()
    predicted[0, [2, 7]] += 1000
    counted = ALL.copy()
    counted[0, 0] = False
    found = module.hits(predicted, truth, normalize, counted)
    assert np.flatnonzero(~found[0]).tolist() == [0, 2, 7]
    result = pckh(predicted, truth, normalize, counted)
    assert result.total.correct == found[:, module.in_total("standard")].sum() == 12
