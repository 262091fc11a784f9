"""The history finds what can be compared, survives a power cut, and calls a regression only what is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.sample import agreeing, sample_bench
from hgrt.bench.document import as_json, from_json
from hgrt.bench.history import append, compare, history_path, last, row_key
from hgrt.bench.results import Bench, Check, Interval, Row
from hgrt.errors import HgrtError

KEY = sample_bench().machine.key


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the history of these tests is."""
    monkeypatch.setenv("HGRT_HISTORY", str(tmp_path / "history"))
    return tmp_path / "history"


def on(day: int, bench: Bench) -> Bench:
    """The same, made on that day of November."""
    return replace(bench, date=f"2026-11-{day:02d}T18:30:05+00:00")


def with_row(bench: Bench, index: int, change: Callable[[Row], Row]) -> Bench:
    rows = [change(row) if i == index else row for i, row in enumerate(bench.rows)]
    return replace(bench, rows=tuple(rows))


def slowed(row: Row, times: float, ratios: tuple[Interval, ...] = ()) -> Row:
    """A row whose calls take so many times as long, with these ratios."""
    latency = tuple(
        replace(
            one,
            total=replace(one.total, p50=times * one.total.p50, p99=times * one.total.p99),
            ratio=ratios[i] if ratios else one.ratio,
        )
        for i, one in enumerate(row.latency)
    )
    return replace(row, latency=latency)


def test_where_it_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history_path("0a1b") == folder / "0a1b.jsonl"
    monkeypatch.delenv("HGRT_HISTORY")
    assert history_path("0a1b").parts[-2:] == ("bench", "0a1b.jsonl")
    assert "hgrt" in str(history_path("0a1b").parent.parent)


def test_a_line_each_without_samples() -> None:
    path = append(on(1, sample_bench()))
    append(on(2, sample_bench()))
    first, second = path.read_text().splitlines()
    document = as_json(from_json(json.loads(first)))
    assert document["date"] == "2026-11-01T18:30:05+00:00"
    assert json.loads(second)["date"] == "2026-11-02T18:30:05+00:00"
    kept = json.loads(first)["rows"][0]["latency"][0]
    assert kept.pop("samples") == []
    whole = json.loads(json.dumps(as_json(sample_bench())))["rows"][0]["latency"][0]
    assert kept == {name: value for name, value in whole.items() if name != "samples"}


def test_the_newest_earlier_one_is_found() -> None:
    assert last(KEY, sample_bench()) is None
    for day in (5, 9, 7, 20):
        append(on(day, sample_bench()))
    found = last(KEY, on(20, sample_bench()))
    assert found is not None and found.date[:10] == "2026-11-09"
    assert last("another", on(20, sample_bench())) is None


def test_the_same_weights_go_before_the_same_name() -> None:
    def trained(sha256: str) -> Bench:
        return replace(agreeing(), rows=tuple(replace(row, sha256=sha256) for row in agreeing().rows))

    append(on(3, agreeing()))
    append(on(4, trained("cc" * 32)))
    found = last(KEY, on(20, agreeing()))
    assert found is not None and found.date[:10] == "2026-11-03"
    found = last(KEY, on(20, trained("dd" * 32)))
    assert found is not None and found.date[:10] == "2026-11-04"
    assert last(KEY, on(20, with_row(agreeing(), 0, lambda row: replace(row, network="new")))) is None


def test_damaged_lines_are_passed_over_and_spoil_no_other() -> None:
    path = append(on(3, sample_bench()))
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"\n\xff\xfe{}\n" + whole.replace(b"2026-11-03", b"yesterday!") + whole[: len(whole) // 2])
    append(on(5, sample_bench()))
    for day in (20, 4):
        found = last(KEY, on(day, sample_bench()))
        assert found is not None and found.date[:10] == ("2026-11-05" if day == 20 else "2026-11-03")


def test_one_write_that_does_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both open before either writes, as two processes may."""
    opened = Path.open
    inner: list[Path] = []

    def late(self: Path, mode: str = "r", *rest: int, **more: int) -> object:
        file = opened(self, mode, *rest, **more)  # type: ignore[call-overload]
        if mode == "ab" and not inner:
            inner.append(self)
            append(on(6, sample_bench()))
        return file

    monkeypatch.setattr(Path, "open", late)
    path = append(on(5, sample_bench()))
    days = [json.loads(line)["date"][8:10] for line in path.read_text().splitlines()]
    assert sorted(days) == ["05", "06"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HGRT_HISTORY", str(tmp_path / "file"))
    with pytest.raises(HgrtError, match="cannot be written") as caught:
        append(sample_bench())
    assert "HGRT_HISTORY" in caught.value.fix
    assert last(KEY, sample_bench()) is None


# The comparison


def test_the_same_again_is_no_regression() -> None:
    found = compare(on(3, sample_bench()), sample_bench())
    assert [change.regressed for change in found.changes] == [False] * 5
    first = found.changes[0]
    assert (first.name, first.batch, first.medians, first.pckh) == ("torch fp32", 1, (11.42, 11.42), 0.0)
    assert first.shares == (0.38, 0.38)
    assert found.lines()[0] == (
        "torch fp32, batch 1: p50 +0.0 % since 2026-11-03 (11.4 -> 11.4 ms), p99 +0.0 % (15.0 -> 15.0 ms)"
    )
    assert found.lines()[4] == "tensorrt fp16: no times to compare with 2026-11-03"
    checks = found.as_checks()
    assert set(checks) == {row_key(row) for row in sample_bench().rows}
    assert all(check.passed and check.name == "regression" for check in checks.values())


def test_a_ratio_that_got_worse_beyond_both_intervals() -> None:
    def newer(ratio: Interval) -> Bench:
        def change(row: Row) -> Row:
            assert row.latency[1].ratio is not None
            return replace(
                slowed(row, 1.18, (ratio, row.latency[1].ratio)), versions={"openvino": "2025.4", "numpy": "2.3"}
            )

        return with_row(sample_bench(), 1, change)

    found = compare(on(3, sample_bench()), newer(Interval(0.435, 0.426, 0.445)))
    assert [change.regressed for change in found.changes] == [False, False, True, False, False]
    line = found.lines()[2]
    assert line.startswith(
        "openvino bf16, batch 1: p50 +18 % since 2026-11-03 (4.21 -> 4.97 ms), p99 +18 % (5.52 -> 6.51"
    )
    assert ", openvino 2025.3 -> 2025.4: REGRESSION (" in line and "numpy" not in line
    check = found.as_checks()[row_key(sample_bench().rows[1])]
    assert not check.passed and "batch 1" in check.evidence and "0.435" in check.evidence
    # The intervals overlap, or it became faster.
    for ratio in (Interval(0.385, 0.377, 0.393), Interval(0.3, 0.29, 0.31)):
        assert not any(change.regressed for change in compare(on(3, sample_bench()), newer(ratio)).changes)


def test_a_faster_base_makes_nobody_else_slower() -> None:
    def worse(row: Row) -> Row:
        return slowed(row, 1.0, (Interval(0.6, 0.58, 0.62), Interval(0.6, 0.58, 0.62)))

    new = with_row(sample_bench(), 1, worse)
    assert compare(on(3, sample_bench()), new).changes[2].regressed
    new = with_row(new, 0, lambda row: replace(slowed(row, 0.6), versions={"torch": "2.10.0"}))
    assert not any(change.regressed for change in compare(on(3, sample_bench()), new).changes)


@pytest.mark.parametrize(("now", "regressed"), [(0.29, False), (0.28, True), (0.5, False)])
def test_without_a_ratio_the_share_of_the_least_time_counts(now: float, regressed: bool) -> None:
    def change(row: Row) -> Row:
        assert row.roofline is not None
        # Twice as long in milliseconds: the clock may have been slower, only the share tells.
        return replace(slowed(row, 2.0), roofline=replace(row.roofline, share=now))

    found = compare(on(3, sample_bench()), with_row(sample_bench(), 0, change))
    assert [change.regressed for change in found.changes] == [regressed, False, False, False, False]
    if regressed:
        assert "28 % of what it takes, 38 % then" in found.lines()[0]


@pytest.mark.parametrize(("points", "regressed"), [(-0.1, False), (-0.12, True), (0.5, False)])
def test_pckh_that_fell_on_the_same_people(points: float, regressed: bool) -> None:
    def change(row: Row) -> Row:
        assert row.agreement is not None and row.agreement.pckh is not None
        return replace(row, agreement=replace(row.agreement, pckh=row.agreement.pckh + points))

    new = with_row(sample_bench(), 1, change)
    found = compare(on(3, sample_bench()), new)
    assert [change.regressed for change in found.changes] == [False, False, regressed, False, False]
    assert f"PCKh {points:+.2f}" in found.lines()[2]
    other = compare(on(3, sample_bench()), replace(new, data={"clip": 174}))
    assert other.changes[2].pckh is None and not other.changes[2].regressed


def test_what_passed_and_fails_now() -> None:
    failing = with_row(agreeing(), 1, lambda row: replace(row, checks=(Check("shift", False, "2 px"),)))
    assert [change.regressed for change in compare(on(3, agreeing()), failing).changes] == [False, False, True, False]
    assert not any(change.regressed for change in compare(on(3, failing), agreeing()).changes)

    # Where it could not even be opened, its threads are unknown.
    def gone(row: Row) -> Row:
        return replace(row, failed="no such file", threads=0, latency=(), versions={}, agreement=None, roofline=None)

    dead = with_row(agreeing(), 1, gone)
    found = compare(on(3, agreeing()), dead)
    assert found.lines()[2] == (
        "openvino bf16: no times to compare with 2026-11-03: REGRESSION (passed then and fails now)"
    )
    assert not found.as_checks()[row_key(dead.rows[1])].passed


@pytest.mark.parametrize(("failing", "regressed"), [({"p99", "drop"}, False), ({"p99", "bias"}, True)])
def test_a_limit_of_the_user_that_does_not_hold_is_no_regression(failing: set[str], regressed: bool) -> None:
    checks = tuple(Check(name, name not in failing, "") for name in ("precision", "bias", "drop", "p99"))
    found = compare(on(3, agreeing()), with_row(agreeing(), 1, lambda row: replace(row, checks=checks)))
    assert [change.regressed for change in found.changes] == [False, False, regressed, False]


def test_a_row_that_is_new_is_told() -> None:
    found = compare(on(3, replace(agreeing(), rows=agreeing().rows[:1])), agreeing())
    assert found.lines()[-1] == "openvino bf16: was not measured on 2026-11-03"
    assert row_key(agreeing().rows[1]) not in found.as_checks()


def test_other_weights_are_told() -> None:
    new = with_row(agreeing(), 0, lambda row: replace(row, sha256="cc" * 32))
    assert compare(on(3, agreeing()), new).lines()[0].endswith("ms), other weights")


def test_what_cannot_be_compared() -> None:
    elsewhere = replace(sample_bench(), machine=replace(sample_bench().machine, key="ffff", cpu="Intel Xeon"))
    with pytest.raises(HgrtError, match="refuses to compare runs from different machines") as caught:
        compare(elsewhere, sample_bench())
    assert "Intel Xeon" in caught.value.why and "AMD EPYC" in caught.value.why
    more = with_row(agreeing(), 0, lambda row: replace(row, threads=4))
    with pytest.raises(HgrtError, match="no row in common"):
        compare(replace(agreeing(), rows=agreeing().rows[:1]), replace(more, rows=more.rows[:1]))
