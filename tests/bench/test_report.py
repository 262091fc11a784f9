"""The report says what was found: every number and failure, no number too good, nothing of it taken for markup."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from bench.sample import agreeing, sample_bench
from hgrt.bench.report import (
    figure,
    interval,
    label,
    lines,
    machine_words,
    markdown,
    percent,
    ratio_base,
    share,
    tables,
    verdict,
)
from hgrt.bench.results import Bench, Interval


def printed(bench: Bench, width: int = 100) -> list[str]:
    """What a terminal of that width would show of each table."""
    shown = []
    for table in tables(bench):
        out = io.StringIO()
        Console(file=out, width=width).print(table)
        shown.append(out.getvalue())
    return shown


def words(line: str) -> str:
    """With one space between words, as a person reads it."""
    return " ".join(line.split())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.00099, "< 0.001"),
        (0.0041, "0.004"),
        (0.2134, "0.213"),
        (6.512, "6.51"),
        (65.12, "65.1"),
        (651.2, "651"),
        (12345.6, "12346"),
        (float("inf"), "inf"),
    ],
)
def test_a_figure_has_three_digits_and_is_never_nothing(value: float | None, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("found", "decimals", "shown"),
    [
        (None, 2, "-"),
        (Interval(0.57, 0.57, 0.57), 2, "0.57 (0.57-0.57)"),
        (Interval(0.5712, 0.5588, 0.5812), 2, "0.57 (0.55-0.59)"),
        (Interval(0.0, -0.0461, 0.041), 2, "0.00 (-0.05-0.05)"),
        (Interval(0.004, -0.004, 0.0), 2, "< 0.01 (-0.01-0.00)"),
        (Interval(-0.004, -0.02, -0.0), 2, "> -0.01 (-0.02-0.00)"),
        (Interval(-0.5, -0.7, -0.001), 2, "-0.50 (-0.70-0.00)"),
        (Interval(0.0123, 0.01201, 0.01259), 3, "0.012 (0.012-0.013)"),
    ],
)
def test_an_interval_is_rounded_outwards(found: Interval | None, decimals: int, shown: str) -> None:
    assert interval(found, decimals) == shown


def test_percentages_are_whole_only_where_they_are() -> None:
    assert [percent(value) for value in (None, 97.816, 99.996, 100.0, 0.0)] == [
        "-",
        "97.82",
        "> 99.99",
        "100.00",
        "0.00",
    ]
    assert [share(value) for value in (0.0, 0.004, 0.384, 1.04)] == ["0 %", "< 1 %", "38 %", "104 %"]


def test_the_tables_hold_every_row() -> None:
    latency, loop, cost = printed(sample_bench())
    rows = [words(line) for line in latency.splitlines()]
    assert "torch fp32 11.4 12.3 15.0 27.4 87.6 - 97.81, 0.00 0 PASS" in rows
    assert "openvino bf16 4.21 4.55 5.52 10.1 237 0.37 97.81, < 0.01 2.31 FAIL" in rows
    assert rows[rows.index("openvino bf16 4.21 4.55 5.52 10.1 237 0.37 97.81, < 0.01 2.31 FAIL") + 1] == (
        "(0.36-0.38) (-0.05-0.09)"
    )
    assert "tensorrt fp16 - - - - - - - - FAIL" in rows
    # What stands in brackets is text, and no markup of rich's.
    assert "tensorrt fp16 could not run: [TRT] there is no NVIDIA GPU | none was found" in rows
    assert sum("batch 4" in row for row in rows) == 2

    stages = [words(line) for line in loop.splitlines()]
    order = [
        row for row in stages if row.split()[0] in ("read", "wait", "find", "crop", "network", "of", "decode", "draw")
    ]
    assert [row.split()[0] for row in order] == ["read", "wait", "find", "crop", "network", "of", "decode", "draw"]
    assert "of it copy in, a call 0.020 0.020" in stages  # and no copy out, which nobody tells
    assert "whole frame 14.9 / 23.8 7.10 / 11.4" in stages
    assert "age when drawn 19.4 / 31.0 9.23 / 14.8" in stages
    assert "dropped by the camera 2 of 175 at 30 fps 2 of 175 at 30 fps" in stages

    begun = [words(line) for line in cost.splitlines()]
    assert "torch fp32 1430 85.1 64.0 40 413 - 7.32 38 %" in begun
    assert "openvino bf16 310 241 6.20 120, not settled 301 12.5 7.32 104 %" in begun
    assert "openvino bf16: The processor computes nearly all of the time." in begun


def test_at_80_columns_nothing_is_cut() -> None:
    wide, narrow = printed(sample_bench(), 200), printed(sample_bench(), 80)
    assert sorted(words("".join(narrow)).split()) == sorted(words("".join(wide)).split())


def test_a_stage_of_its_own_name_and_missing_parts_are_shown() -> None:
    bench = agreeing()
    torch, other = bench.rows
    assert torch.loop is not None
    stages = {**torch.loop.stages, "smooth": torch.loop.total}
    bare = replace(other, start=None, memory=None, loop=None, agreement=None, roofline=None, latency=())
    latency, loop, cost = printed(replace(bench, rows=(replace(torch, loop=replace(torch.loop, stages=stages)), bare)))
    assert any(words(line) == "openvino bf16 - - - - - - - - PASS" for line in latency.splitlines())
    assert any(words(line) == "smooth 14.9 / 23.8" for line in loop.splitlines())
    assert "openvino" not in loop and "openvino" not in cost
    assert len(tables(replace(bench, rows=(bare,)))) == 1


def test_each_failure_has_its_line() -> None:
    assert lines(sample_bench()) == [
        "openvino bf16: shift: a joint moved by 2.31 pixels, and 0.5 are allowed.",
        "openvino bf16: flips: 3 joints took another peak.",
        "tensorrt fp16: could not run: [TRT] there is no NVIDIA GPU | none was found",
    ]
    assert lines(agreeing()) == []


def test_the_verdict_is_one_line() -> None:
    assert verdict(agreeing()) == (
        "PASS: hgrt 0.3.0 bench, 1 of 1 runtimes agree with torch fp32 on 175 people (clip), worst 0.004 px; "
        "fastest openvino bf16 4.21 ms p50, 5.52 p99 (0.37x torch fp32); AMD EPYC, 2 cores; 2026-11-22"
    )
    # The faster one failed, so it is not the fastest.
    assert verdict(sample_bench()) == (
        "FAIL: hgrt 0.3.0 bench, openvino bf16: shift: a joint moved by 2.31 pixels, and 0.5 are allowed "
        "(and 2 more failures); fastest torch fp32 11.4 ms p50, 15.0 p99; AMD EPYC, 2 cores; 2026-11-22"
    )
    broken = replace(sample_bench().rows[2], failed="first line\nsecond | line")
    assert "\n" not in verdict(replace(sample_bench(), rows=(broken,)))
    nothing = verdict(replace(sample_bench(), rows=()))
    assert nothing == "FAIL: hgrt 0.3.0 bench, no runtime was measured; AMD EPYC, 2 cores; 2026-11-22"
    alone = verdict(replace(agreeing(), rows=agreeing().rows[:1]))
    assert alone.startswith("PASS: hgrt 0.3.0 bench, 1 of 1 runtimes ran, and there was nothing to compare them with;")


def test_two_networks_are_told_apart() -> None:
    bench = agreeing()
    second = tuple(replace(row, network="large") for row in bench.rows)
    both = replace(bench, rows=bench.rows + second, reference={**bench.reference, "large": "torch fp32"})
    assert label(both, second[1]) == "large, openvino bf16"
    assert "2 of 2 runtimes agree with torch fp32" in verdict(both)
    assert "; fastest lite, openvino bf16 4.21 ms" in verdict(both)
    assert "; fastest large, openvino bf16 4.21 ms" in verdict(both)


def test_rows_of_one_name_are_told_apart() -> None:
    row = sample_bench().rows[0]
    on_gpu = replace(row, device="NVIDIA L4", threads=0)
    bench = replace(sample_bench(), rows=(row, on_gpu))
    assert [label(bench, one) for one in bench.rows] == ["torch fp32 on CPU, 2 threads", "torch fp32 on NVIDIA L4"]
    assert label(sample_bench(), row) == "torch fp32"


def test_ratios_are_to_the_row_without_one() -> None:
    bench = sample_bench()
    base = ratio_base(bench, "lite")
    assert base is not None and base.name == "torch fp32"
    # One round has no ratios, and stored answers are nobody's time.
    assert ratio_base(replace(bench, rows=bench.rows[:1]), "lite") is None
    assert ratio_base(bench, "other") is None
    stored = replace(agreeing(), reference={"lite": "torch fp32, stored (2.9.1)"})
    assert "2 of 2 runtimes agree with torch fp32, stored (2.9.1) on" in verdict(stored)
    assert "(0.37x torch fp32);" in verdict(stored)


def test_the_machine_in_words() -> None:
    machine = replace(sample_bench().machine, cores=1, gpu="NVIDIA L4")
    assert machine_words(machine) == "AMD EPYC, 1 core, NVIDIA L4"


def test_markdown_is_a_table_whatever_stands_in_it() -> None:
    bench = sample_bench()
    nasty = replace(bench.rows[2], failed="a | b\nc <d> \\| e")
    text = markdown(replace(bench, rows=(*bench.rows[:2], nasty), command="hgrt bench `a|b` ``c``"))
    table, foot = text.split("\n\n")
    # A cell ends at a pipe that no backslash stands before, itself not escaped.
    cells = [re.findall(r"(?:\\.|[^|\\])+(?=\|)", line.removeprefix("|")) for line in table.splitlines()]
    assert [len(row) for row in cells] == [11] * 7
    assert set("".join(cells[1])) <= set("-: ")
    assert cells[4][6].strip() == "0.37 (0.36-0.38)"
    assert cells[4][10].strip() == "FAIL: shift, flips"
    assert cells[6][10].strip() == r"FAIL: a \| b c \<d> \\\| e"
    assert foot.strip().endswith("AMD EPYC, 2 cores, 2026-11-22, hgrt 0.3.0: ``` hgrt bench `a|b` ``c`` ```")
    assert markdown(bench).rstrip().endswith(": `hgrt bench --batch 1,4`")
