"""A benchmark as one HTML file: read without a network, without scripts, by day, by night and on paper.

Says what `results.Bench` holds and decides nothing. How text becomes markup is known in `markup`, how numbers are
written in `figures`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2

from hgrt.bench.figures import DASH, interval, number, percent, share
from hgrt.bench.markup import Html, cells, document, figure, join, points, section, table, tag, terms
from hgrt.bench.pairs import Pair
from hgrt.bench.plots import bars, dots, grouped, histogram
from hgrt.bench.report import label
from hgrt.bench.results import Agreement, Bench, Interval, Latency, Row
from hgrt.evaluation.report import numbered
from hgrt.files import written_whole
from hgrt.pose.geometry import Image

QUALITY = 85  # of JPEG pictures
BESIDE = "read"  # the stage that runs on a thread of its own, while the others work
SEARCH = "find"  # a stage that hardly any frame has

COLUMNS = ("network", "runtime", "precision", "batch", "p50 ms", "p90 ms", "p99 ms", "max ms", "people/s", "ratio",
           "PCKh@0.5 %", "drop, points", "worst shift", "floor share", "verdict")  # fmt: skip

MEANINGS = {
    "time": "From crops in host memory to their joints in host memory, a batch at a time. p50 is the median, p90 and "
    "p99 are the times that 90 and 99 % of the runs keep, max is the longest of all.",
    "people/s": "People a second, at that batch.",
    "ratio": "The median over that of the reference runtime: below 1 is faster. A repeated benchmark lands in the "
    "interval 19 times of 20.",
    "PCKh@0.5": "Share of joints found within half a head's size, in percent, under the named protocol. The drop is "
    "what is lost against the reference, in percentage points with a 95 % interval; negative is a gain.",
    "shift": "How far a joint lies from where the reference has it, in pixels of the crop that the network sees. A "
    "flipped joint took another peak, more than one heatmap cell away.",
    "floor": "The least time that the arithmetic, or reading weights and pixels once, takes at the rates that were "
    "measured on this machine. Its share is the floor over the median time of the network, at batch 1.",
    "whole loop": "All of hgrt demo on a film, nothing shown or written, without the first frame, in which the person "
    "is searched. The age of a frame is the time since it was taken when its pose is drawn, from an acted camera.",
    "start": "The median over processes: Python and libraries, opening the weights, the first answer; then how many "
    "calls it took until the time settled.",
    "memory": "The most that the process held, and what it holds on the device. 1 MB is 10^6 bytes.",
    DASH: "Nothing could be measured.",
}


def page(bench: Bench, verdict: str, pairs: Mapping[str, Sequence[Pair]]) -> str:
    """The whole document. `verdict` is a line that begins with PASS or FAIL; `pairs` are the worst frames of each
    runtime under its name, and may be empty."""
    rows = named(bench)
    return document(
        f"hgrt bench: {_word(bench.passed)}",
        tag("h1", verdict, class_="pass" if bench.passed else "fail"),
        *section("Machine, conditions and data", [_circumstances(bench)]),
        *section("Runtimes", [table(COLUMNS, [line for row in bench.rows for line in _lines(row)])]),
        *section("Latency of the network", _latencies(rows)),
        *section("The whole loop", _loops(rows)),
        *section("Ratio to the reference runtime", _ratios(rows)),
        *section("Accuracy by joint", _joints(bench.reference, rows)),
        *section("What holds it back", _rooflines(rows)),
        *section("Start and memory", [_starts(rows)]),
        *section("Where the answers differ most", [_frames(name, some) for name, some in pairs.items() if some]),
        *section("Notes", [points([*bench.conditions.notes, *bench.notes])]),
        *section("How to read this", [terms(MEANINGS)]),
    )


def write_page(path: Path, bench: Bench, verdict: str, pairs: Mapping[str, Sequence[Pair]]) -> None:
    """Write `page` as UTF-8, whole or not at all; HgrtError where the file cannot be written."""
    with written_whole(path) as partial:
        # The name of a file may hold bytes that are no text.
        partial.write_text(page(bench, verdict, pairs), encoding="utf-8", errors="replace")


def named(bench: Bench) -> dict[str, Row]:
    """Rows under their labels, numbered where several have the same."""
    return dict(zip(numbered([label(bench, row) for row in bench.rows]), bench.rows, strict=True))


def _circumstances(bench: Bench) -> Html:
    machine, met = bench.machine, bench.conditions
    protocols = {row.agreement.protocol for row in bench.rows if row.agreement}
    return terms(
        {
            "processor": f"{machine.cpu}, {machine.cores} cores, {number(machine.memory_mb)} MB memory",
            "GPU": f"{machine.gpu}, driver {machine.driver}" if machine.gpu else DASH,
            "system": f"{machine.system}, Python {machine.python}, hgrt {bench.hgrt}",
            "virtual machine": _yes(machine.virtual),
            "key of the machine": machine.key,
            "clock": f"{_change(met.clock_mhz, 'MHz')}; policy {machine.governor or DASH}",
            "temperature": _change(met.celsius, "°C"),
            "clock, temperature of the GPU": f"{_change(met.gpu_clock_mhz, 'MHz')}; {_change(met.gpu_celsius, '°C')}",
            "on battery": _yes(met.battery),
            "load before": f"{number(met.load)} running processes",
            "processor time": f"{share(met.steal)} taken by the hypervisor, {share(met.others)} by other processes",
            "people": ", ".join(f"{name}: {count}" for name, count in bench.data.items()) or DASH,
            "protocol": ", ".join(sorted(protocols)) or DASH,
            "reference": ", ".join(f"{network}: {name}" for network, name in bench.reference.items()) or DASH,
            "rounds": f"{bench.rounds}, each in fresh processes; {number(bench.seconds)} s",
            "date": bench.date,
            "command": tag("code", bench.command),
        }
    )


def _lines(row: Row) -> Iterator[Html]:
    """The lines of one row in the main table: one a batch, or the reason why there is none."""
    tall = {"rowspan": str(max(1, len(row.latency)))}
    precision = row.running or row.asked
    asked = tag("small", f"asked for {row.asked}") if row.asked != precision else ""
    first = [
        tag("td", row.network, **tall),
        tag("td", row.runtime, tag("small", row.device), **tall),
        tag("td", precision, asked, **tall),
    ]
    judged = tag("td", _judged(row), **tall)
    if row.failed:
        yield tag("tr", *first, tag("td", f"could not run: {row.failed}", colspan=str(len(COLUMNS) - 4)), judged)
        return
    reached = tag("td", share(row.roofline.share if row.roofline else None), class_="whole", **tall)
    last = [*(tag("td", cell, **tall) for cell in _answers(row.agreement)), reached, judged]
    for k, latency in enumerate(row.latency or (None,)):
        yield tag("tr", *(first if k == 0 else []), *cells(_times(latency)), *(last if k == 0 else []))


def _times(latency: Latency | None) -> list[str]:
    if latency is None:
        return [DASH] * 7
    total = latency.total
    times = [number(time) for time in (total.p50, total.p90, total.p99, total.max)]
    return [str(latency.batch), *times, number(latency.throughput), _ranged(latency.ratio)]


def _answers(found: Agreement | None) -> list[Html]:
    """PCKh, what was lost of it, and the worst shift."""
    if found is None:
        return [Html(DASH)] * 3
    return [
        join(percent(found.pckh), tag("small", f"reference {percent(found.pckh_reference)}")),
        _ranged(found.drop),
        join(
            f"{number(found.shift_max)} px",
            tag("small", f"p99 {number(found.shift_p99)} px", class_="whole"),
            tag("small", f"{found.flipped} of {found.joints} flipped", class_="whole"),
        ),
    ]


def _judged(row: Row) -> Html:
    """PASS or FAIL, the checks that failed with their evidence, and the others to be unfolded."""
    word = tag("span", _word(row.passed), class_=_word(row.passed).lower())
    failed = [f"{check.name}: {check.evidence}" for check in row.checks if not check.passed]
    held = [f"{check.name}: {check.evidence}" for check in row.checks if check.passed]
    unfold = (
        tag("details", tag("summary", f"{len(held)} of {len(row.checks)} checks hold"), points(held)) if held else ""
    )
    return join(word, points(failed), unfold)


def _loops(rows: Mapping[str, Row]) -> Iterator[Html]:
    loops = {name: row.loop for name, row in rows.items() if row.loop}
    if not loops:
        return
    stages = {
        name: {stage: time.p50 for stage, time in loop.stages.items() if stage not in (BESIDE, SEARCH)}
        for name, loop in loops.items()
    }
    yield figure(
        f"Median of each stage. '{BESIDE}' works on a thread of its own, beside them, and 'wait' is for it. The search "
        "for the person is in the first frame's time.",
        bars(stages, "ms a frame"),
    )
    head = ["runtime", "first ms", "p50 ms", "p99 ms", "frames/s", f"{BESIDE} p50 ms", "age p50 ms", "age p99 ms"]
    lines = []
    for name, loop in loops.items():
        beside = loop.stages[BESIDE].p50 if BESIDE in loop.stages else None
        times = (loop.first, loop.total.p50, loop.total.p99, loop.fps, beside, loop.age.p50, loop.age.p99)
        dropped = f"{loop.dropped} of {loop.frames}, camera at {loop.camera_fps:g}/s"
        lines.append(tag("tr", *cells([name, *map(number, times), dropped])))
    yield table([*head, "dropped"], lines)


def _rooflines(rows: Mapping[str, Row]) -> Iterator[Html]:
    head = ["runtime", "GFLOP", "weights MB", "activations MB", "layers", "peak GFLOP/s", "peak GB/s", "floor ms"]
    lines = []
    for name, row in rows.items():
        if (found := row.roofline) is not None:
            sizes = map(number, (found.gflop, found.weights_mb, found.activations_mb))
            peaks = map(number, (found.peak_gflops, found.peak_gbs, found.floor))
            lines.append(tag("tr", *cells([name, *sizes, str(found.layers), *peaks, found.words])))
    if lines:
        yield table([*head, "in words"], lines)


def _starts(rows: Mapping[str, Row]) -> Html:
    head = ["runtime", "load ms", "open ms", "first ms", "warm-up calls", "process MB", "device MB", "threads"]
    lines = []
    for name, row in rows.items():
        begun = [DASH] * 4
        if row.start:
            settled = "" if row.start.settled else " (did not settle)"
            times = map(number, (row.start.load, row.start.open, row.start.first))
            begun = [*times, f"{row.start.warm_up}{settled}"]
        memory = (row.memory.process_mb, row.memory.device_mb) if row.memory else (None, None)
        versions = ", ".join(f"{package} {version}" for package, version in row.versions.items())
        weights = join(row.weights, tag("small", f"sha256 {row.sha256 or DASH}"))
        held = [*map(number, memory), str(row.threads or DASH), versions or DASH, weights]
        lines.append(tag("tr", *cells([name, *begun, *held])))
    return table([*head, "versions", "weights"], lines)


def _latencies(rows: Mapping[str, Row]) -> Iterator[Html]:
    for batch, found in _by_batch(rows).items():
        series = {name: latency.samples for name, latency in found.items() if latency.samples}
        if series:
            says = f"Batch {batch}. Solid line: p50, dashed line: p99. Each is as high as its own fullest bin."
            yield figure(says, histogram(series, "ms"))


def _ratios(rows: Mapping[str, Row]) -> Iterator[Html]:
    for batch, found in _by_batch(rows).items():
        ratios = {name: latency.ratio for name, latency in found.items() if latency.ratio}
        if ratios:
            says = f"Batch {batch}. Left of the dashed line is faster than the reference."
            yield figure(says, dots(ratios, "times the reference's median"))


def _by_batch(rows: Mapping[str, Row]) -> dict[int, dict[str, Latency]]:
    found: dict[int, dict[str, Latency]] = {}
    for name, row in rows.items():
        for latency in row.latency:
            found.setdefault(latency.batch, {})[name] = latency
    return dict(sorted(found.items()))


def _joints(reference: Mapping[str, str], rows: Mapping[str, Row]) -> Iterator[Html]:
    for network in dict.fromkeys(row.network for row in rows.values()):
        joints: dict[str, dict[str, float | None]] = {}
        for name, row in rows.items():
            if row.network == network and row.agreement:
                for joint, (ours, theirs, counted) in row.agreement.by_joint.items():
                    marks = joints.setdefault(joint, {})
                    marks.setdefault(f"reference: {reference.get(network, DASH)}", _rate(theirs, counted))
                    marks[name] = _rate(ours, counted)
        if any(rate is not None for marks in joints.values() for rate in marks.values()):
            says = f"{network}. PCKh@0.5 by joint; the axis does not begin at 0."
            yield figure(says, grouped(joints, "PCKh@0.5, %"))


def _frames(name: str, pairs: Sequence[Pair]) -> Html:
    figures = [
        tag(
            "figure",
            tag("img", src=_jpeg(pair.left), alt=f"{pair.caption}: the reference"),
            " ",
            tag("img", src=_jpeg(pair.right), alt=f"{pair.caption}: {name}"),
            tag("figcaption", pair.caption),
        )
        for pair in pairs
    ]
    says = f"{name}: left the reference, right this runtime, bold, with the reference thin beneath"
    return join(tag("h3", says), tag("div", *figures, class_="pairs"))


def _jpeg(image: Image) -> str:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _rate(found: int, counted: int) -> float | None:
    return 100 * found / counted if counted else None


def _change(values: tuple[float, float] | None, unit: str) -> str:
    return DASH if values is None else f"{number(values[0])} before, {number(values[1])} {unit} after"


def _yes(value: bool | None) -> str:
    return DASH if value is None else "yes" if value else "no"


def _word(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def _ranged(found: Interval | None) -> Html:
    """A number over its interval: narrower than side by side."""
    value, _, ends = interval(found).partition(" ")
    return join(value, tag("small", ends, class_="whole"))
