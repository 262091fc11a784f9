"""The page of a benchmark: whole, well-formed, honest about failures, and deaf to markup in what comes from outside."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from hgrt.bench.figures import DASH
from hgrt.bench.page import page, write_page
from hgrt.bench.pairs import Pair
from hgrt.bench.results import (
    SCHEMA,
    Agreement,
    Bench,
    Check,
    Conditions,
    Interval,
    Latency,
    Loop,
    Machine,
    Memory,
    Roofline,
    Row,
    Spread,
    Start,
)
from hgrt.bench.statistics import spread
from hgrt.errors import HgrtError
from hgrt.pose.skeleton import MPII

VERDICT = "FAIL: onnxruntime fp16: shift: 99 % of 6352 joints within 1.7 px, 0.5 allowed"
EVIL = "<script>alert(1)</script>"
STAGES = ("read", "wait", "find", "crop", "network", "decode", "draw")


def latency(batch: int, middle: float, ratio: Interval | None, seed: int) -> Latency:
    times = middle * np.random.default_rng(seed).lognormal(0, 0.06, 300)
    total = spread(times)
    stages = {"network": 0.9 * total.p50, "decode": 0.1 * total.p50}
    return Latency(batch, total, 1000 * batch / total.mean, ratio, stages, tuple(times.tolist()))


def agreement(shift: float) -> Agreement:
    joints = {name: (390 - k, 391 - k, 397) for k, name in enumerate(MPII.joints)}
    return Agreement(
        people=397,
        joints=6352,
        shift_p50=shift / 20,
        shift_p99=shift / 2,
        shift_max=shift,
        bias=(0.0, 0.0),
        flipped=3,
        noise=1e-6,
        protocol="standard",
        pckh=99.996,
        pckh_reference=88.15,
        drop=Interval(0.03, -0.05, 0.11),
        by_joint=joints | {"pelvis": (0, 0, 0)},
    )


def loop(scale: float) -> Loop:
    one = Spread(300, 6.5 * scale, 6.4 * scale, 7.5 * scale, 9.2 * scale, 14.1 * scale)
    shares = (0.3, 0.02, 0.4, 0.08, 0.35, 0.04, 0.11)
    stages = {
        name: Spread(300, *(share * getattr(one, part) for part in ("mean", "p50", "p90", "p99", "max")))
        for name, share in zip(STAGES, shares, strict=True)
    }
    return Loop(41.0, one, 1000 / one.mean, stages, 30.0, one, 175, 3)


def row(runtime: str, scale: float, shift: float, checks: tuple[Check, ...], ratio: Interval | None) -> Row:
    return Row(
        network="lite",
        runtime=runtime,
        device="CPU",
        asked="fp32",
        running="fp32",
        threads=2,
        versions={runtime: "1.31"},
        weights="assets/lite.onnx",
        sha256="3f" * 32,
        start=Start(310.0, 48.2, 11.3, 12, True),
        memory=Memory(153.0, None),
        latency=(latency(1, 6.5 * scale, ratio, 1), latency(8, 44.0 * scale, ratio, 2)),
        loop=loop(scale),
        agreement=agreement(shift),
        roofline=Roofline(1.1, 4.2, 61.0, 118, 96.0, 11.0, 5.7, 0.82, "Arithmetic, at 82 % of the measured peak."),
        checks=checks,
    )


@pytest.fixture
def bench() -> Bench:
    held = Check("precision", True, "scores differ by 1.0e-06, as fp32 does")
    failed = Check("shift", False, "99 % of 6352 joints within 1.7 px, 0.5 allowed")
    rows = (
        row("torch", 1.75, 0.0004, (held,), None),
        replace(row("onnxruntime", 1.0, 3.4, (held, failed), Interval(0.571, 0.5504, 0.592)), running="fp16"),
        Row("lite", "tensorrt", "GPU", "fp16", "", 0, {}, f"{EVIL}.onnx", "", failed=f"no driver for {EVIL}"),
    )
    return Bench(
        schema=SCHEMA,
        hgrt="0.3.0",
        date="2026-11-22T18:00:00Z",
        seconds=93.4,
        rounds=5,
        command=f"hgrt bench --weights '{EVIL}.onnx'",
        machine=Machine("0123456789ab", "Linux 6.1", "3.11.9", "Some CPU", 2, 8000.0, "", "", None, ""),
        conditions=Conditions(load=0.4, steal=0.0, clock_mhz=(2400.0, 2390.0), notes=("The clock fell.",)),
        data={"webcam/val": 397},
        reference={"lite": "torch fp32"},
        rows=rows,
        notes=("openvino is left out: it is not installed.",),
    )


@pytest.fixture
def pairs() -> dict[str, list[Pair]]:
    left, right = np.full((192, 192, 3), 60, np.uint8), np.full((192, 192, 3), 200, np.uint8)
    return {"onnxruntime fp16": [Pair(f"webcam/val {EVIL}.jpg: l_wrist moved by 3.40 px", left, right)]}


class Reader(HTMLParser):
    """Elements that are opened and closed in order, their attributes, and the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_page_is_well_formed_and_asks_for_nothing(bench: Bench, pairs: dict[str, list[Pair]]) -> None:
    text = page(bench, VERDICT, pairs)
    read = Reader(text)
    sources = [value or "" for _, marks in read.seen for name, value in marks.items() if name in ("src", "href")]
    assert len(sources) == 2 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in read.seen)
    assert "@import" not in text and "url(" not in text
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == 6, "latencies and ratios at two batches each, the loop, the joints"
    for svg in drawn:
        ET.fromstring(svg)


def test_the_verdict_comes_first_in_words_and_in_colour(bench: Bench) -> None:
    body = page(bench, VERDICT, {}).partition("<body>")[2]
    assert body.startswith(f'<h1 class="fail">{VERDICT}</h1>')
    passing = replace(bench, rows=bench.rows[:1])
    assert '<h1 class="pass">PASS: all well</h1>' in page(passing, "PASS: all well", {})


def test_what_comes_from_outside_is_text(bench: Bench, pairs: dict[str, list[Pair]]) -> None:
    named = replace(bench.rows[1], network=EVIL, runtime=EVIL, versions={EVIL: EVIL}, device=EVIL)
    wild = replace(bench, rows=(*bench.rows, named), notes=(EVIL,), data={EVIL: 1}, reference={EVIL: EVIL})
    text = page(wild, f"FAIL: {EVIL}", {**pairs, EVIL: pairs["onnxruntime fp16"]})
    assert "<script" not in text
    read = Reader(text)
    assert f"{EVIL}.onnx" in read.text and f"could not run: no driver for {EVIL}" in read.text
    assert any(marks.get("alt", "") == f"{pairs['onnxruntime fp16'][0].caption}: {EVIL}" for _, marks in read.seen)


def test_a_failed_check_stands_with_its_evidence_and_the_others_are_folded(bench: Bench) -> None:
    text = page(bench, VERDICT, {})
    assert "<li>shift: 99 % of 6352 joints within 1.7 px, 0.5 allowed</li></ul><details>" in text
    assert "<summary>1 of 1 checks hold</summary>" in text and "<summary>1 of 2 checks hold</summary>" in text
    words = [word for word in Reader(text).words if word in ("PASS", "FAIL")]
    assert words == ["PASS", "FAIL", "FAIL"]


def test_numbers_that_are_not_there_are_dashes_and_none_is_rounded_into_a_lie(bench: Bench) -> None:
    words = Reader(page(bench, VERDICT, {})).words
    assert "< 0.001 px" in words, "the worst shift of torch"
    assert "> 99.99" in words and "100.00" not in words
    assert "(0.55 to 0.60)" in words, "rounded outwards"
    bare = replace(bench.rows[0], start=None, memory=None, latency=(), loop=None, agreement=None, roofline=None)
    text = page(replace(bench, rows=(bare,)), VERDICT, {})
    assert "<svg" not in text and "None" not in text and "nan" not in text
    assert text.count(f"<td>{DASH}</td>") == 7 + 6, "the times of the main table; start and memory"


def test_rows_that_are_named_alike_are_all_drawn(bench: Bench) -> None:
    twice = replace(bench, rows=(bench.rows[1], bench.rows[1]))
    text = page(twice, VERDICT, {})
    assert text.count("onnxruntime fp16 (2): p50") >= 2, "in the histograms of both batches"


def test_every_line_of_the_main_table_is_as_wide_as_its_head(bench: Bench) -> None:
    table = re.search(r"<table>.*?</table>", page(bench, VERDICT, {}), re.DOTALL)
    assert table
    root = ET.fromstring(table.group())
    width, covered = len(root.findall("thead/tr/th")), [0] * 8
    for k, line in enumerate(root.findall("tbody/tr")):
        for cell in line:
            for down in range(int(cell.get("rowspan", "1"))):
                covered[k + down] += int(cell.get("colspan", "1"))
    assert covered[:6] == [width] * 5 + [0], "two batches of two rows, and the one that could not run"


def test_pictures_are_in_the_page(bench: Bench, pairs: dict[str, list[Pair]]) -> None:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page(bench, VERDICT, pairs))
    means = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR).mean() for data in found]
    assert means == pytest.approx([60, 200], abs=2), "the reference is on the left"


def test_it_is_written_whole_also_with_names_that_are_no_text(
    bench: Bench, pairs: dict[str, list[Pair]], tmp_path: Path
) -> None:
    path = tmp_path / "reports" / "bench.html"
    write_page(path, replace(bench, command="hgrt bench \udcff.onnx"), VERDICT, pairs)
    text = path.read_text(encoding="utf-8")
    assert "hgrt bench ?.onnx" in text and text.endswith("</html>\n")
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(HgrtError, match="cannot be written"):
        write_page(tmp_path, bench, VERDICT, pairs)
