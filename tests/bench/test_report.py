"""The report says what was found: every number and failure, no number too good, nothing of it taken for markup."""

from __future__ import annotations

import io
import re
from dataclasses import replace

from rich.console import Console

from bench.sample import agreeing, sample_bench
from hgrt.bench.report import label, lines, machine_words, markdown, ratio_base, tables, verdict
from hgrt.bench.results import Bench, Interval, Row


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


def test_the_tables_hold_every_row() -> None:
    latency, loop, cost = printed(sample_bench())
    rows = [words(line) for line in latency.splitlines()]
    where = rows.index("torch fp32 11.4 15.0 87.6 - 97.81, 0.00 0 PASS")
    assert rows[where + 1] == "12.3 27.4 (0.00 to 0.00)"
    where = rows.index("openvino bf16 4.21 5.52 237 0.37 97.81, < 0.01 2.31 FAIL")
    assert rows[where + 1] == "4.55 10.1 (0.36 to 0.38) (-0.05 to 0.09)"
    assert "tensorrt fp16 - - - - - - FAIL" in rows
    # What stands in brackets is text, and no markup of rich's.
    assert "tensorrt fp16 could not run: [TRT] there is no NVIDIA GPU | none was found" in words(latency)
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
    def long(row: Row) -> Row:
        """Numbers that are as wide as they become in practice."""
        first = row.latency[0]
        total = replace(first.total, p50=0.612, p90=0.655, p99=0.812, max=12345.0)
        first = replace(first, total=total, throughput=98765.0, ratio=Interval(0.3731, 0.3685, 0.3779))
        assert row.agreement is not None
        agreement = replace(row.agreement, pckh=99.998, shift_max=0.0002)
        return replace(row, runtime="onnxruntime", latency=(first, *row.latency[1:]), agreement=agreement)

    bench = sample_bench()
    for shown in (bench, replace(bench, rows=(bench.rows[0], long(bench.rows[1]), bench.rows[2]))):
        wide, narrow = printed(shown, 200), printed(shown, 80)
        assert sorted(words("".join(narrow)).split()) == sorted(words("".join(wide)).split())


def test_what_only_a_device_tells_is_left_out_where_there_is_none() -> None:
    def on_a_processor(row: Row) -> Row:
        latency = tuple(replace(one, stages={"network": 4.0, "decode": 0.2}) for one in row.latency)
        return replace(row, latency=latency, memory=replace(row.memory, device_mb=None) if row.memory else None)

    _, loop, cost = printed(agreeing())
    assert "of it copy in" in loop and "MB on device" in words(cost)
    bench = agreeing()
    _, loop, cost = printed(replace(bench, rows=tuple(map(on_a_processor, bench.rows))))
    assert "copy" not in loop and "device" not in cost
    assert "torch fp32 1430 85.1 64.0 40 413 7.32 38 %" in map(words, cost.splitlines())


def test_a_stage_of_its_own_name_and_missing_parts_are_shown() -> None:
    bench = agreeing()
    torch, other = bench.rows
    assert torch.loop is not None
    stages = {**torch.loop.stages, "smooth": torch.loop.total}
    bare = replace(other, start=None, memory=None, loop=None, agreement=None, roofline=None, latency=())
    latency, loop, cost = printed(replace(bench, rows=(replace(torch, loop=replace(torch.loop, stages=stages)), bare)))
    assert any(words(line) == "openvino bf16 - - - - - - PASS" for line in latency.splitlines())
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
        "PASS: hgrt 0.3.0 bench, openvino bf16 agrees with torch fp32 on 175 people (clip), worst 0.004 px; "
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


def test_the_verdict_of_a_lone_runtime_names_it_once() -> None:
    reference, other = agreeing().rows
    assert verdict(replace(agreeing(), rows=(reference,))) == (
        "PASS: hgrt 0.3.0 bench, torch fp32 ran, and there was nothing to compare it with; "
        "11.4 ms p50, 15.0 p99; AMD EPYC, 2 cores; 2026-11-22"
    )
    alone = replace(agreeing(), rows=(other,), reference={"lite": "torch fp32, stored (torch 2.9.1)"})
    assert verdict(alone) == (
        "PASS: hgrt 0.3.0 bench, openvino bf16 agrees with torch fp32, stored (torch 2.9.1), on 175 people (clip), "
        "worst 0.004 px; 4.21 ms p50, 5.52 p99; AMD EPYC, 2 cores; 2026-11-22"
    )
    assert "; 15.1 ms p50, 19.8 p99 at batch 4;" in verdict(
        replace(alone, rows=(replace(other, latency=other.latency[1:]),))
    )


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
    assert label(replace(bench, rows=(row, row)), row) == "torch fp32", "what both have tells nothing apart"


def test_ratios_are_to_the_row_without_one() -> None:
    bench = sample_bench()
    base = ratio_base(bench, "lite")
    assert base is not None and base.name == "torch fp32"
    # One round has no ratios, and stored answers are nobody's time.
    assert ratio_base(replace(bench, rows=bench.rows[:1]), "lite") is None
    assert ratio_base(bench, "other") is None
    stored = replace(agreeing(), reference={"lite": "torch fp32, stored (2.9.1)"})
    assert "2 of 2 runtimes agree with torch fp32, stored (2.9.1), on" in verdict(stored)
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
    assert cells[4][6].strip() == "0.37 (0.36 to 0.38)"
    assert cells[4][10].strip() == "FAIL: shift, flips"
    assert cells[6][10].strip() == r"FAIL: a \| b c \<d> \\\| e"
    assert foot.strip().endswith("AMD EPYC, 2 cores, 2026-11-22, hgrt 0.3.0: ``` hgrt bench `a|b` ``c`` ```")
    assert markdown(bench).rstrip().endswith(": `hgrt bench --batch 1,4`")
