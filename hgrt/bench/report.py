"""A benchmark for people: tables for a terminal, the failures, one line to paste, a table for a README.

Reads results, measures and judges nothing. How numbers are written is known in `figures`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from rich.table import Table
from rich.text import Text

from hgrt.bench.figures import DASH, interval, number, percent, share
from hgrt.bench.results import Bench, Latency, Loop, Machine, Row, Spread

_COLUMNS = ("p50", "p90", "p99", "max", "people/s", "ratio", "PCKh", "drop", "shift px", "verdict")
_STAGES = ("read", "wait", "find", "crop", "network", "decode", "draw")


def tables(bench: Bench) -> list[Table]:
    """Latency and agreement; the loop by stage; start, memory and roofline. One with nothing to show is left out."""
    shown = [_latency_table(bench)]
    shown += [_loop_table(bench)] if any(row.loop for row in bench.rows) else []
    shown += [_cost_table(bench)] if any(row.start or row.memory or row.roofline for row in bench.rows) else []
    return shown


def lines(bench: Bench) -> list[str]:
    """One line for each row that could not run and for each check that failed: who, what, evidence."""
    said = []
    for row in bench.rows:
        who = label(bench, row)
        said += [f"{who}: could not run: {_one_line(row.failed)}"] if row.failed else []
        said += [f"{who}: {check.name}: {_one_line(check.evidence)}" for check in row.checks if not check.passed]
    return said


def verdict(bench: Bench) -> str:
    """One line for a report: PASS and how far all agree, or FAIL and what failed first; the fastest, machine, date."""
    failures = lines(bench)
    if failures:
        more = len(failures) - 1
        found = failures[0].rstrip(".") + (f" (and {more} more failure{'s' * (more > 1)})" if more else "")
    else:
        found = _agreed(bench) if bench.rows else "no runtime was measured"
    fastest = [_fastest(bench, network) for network in _networks(bench)]
    parts = [f"hgrt {bench.hgrt} bench, {found}", *filter(None, fastest), machine_words(bench.machine), bench.date[:10]]
    return f"{'PASS' if bench.passed else 'FAIL'}: {'; '.join(parts)}"


def markdown(bench: Bench) -> str:
    """The first table as GitHub writes tables, and a line with machine, date and command."""
    rows = [["runtime", *_COLUMNS], ["---", *["---:"] * (len(_COLUMNS) - 1), "---"]]
    for row, latency in _entries(bench):
        reasons = [check.name for check in row.checks if not check.passed]
        why = f": {row.failed or ', '.join(reasons)}" if not row.passed else ""
        cells = [_who(bench, row, latency), *_cells(bench, row, latency)]
        cells[-1] += why
        rows.append([_escaped(cell) for cell in cells])
    command = _one_line(bench.command)
    fence = "`" * (1 + max(map(len, re.findall("`+", command)), default=0))
    quoted = f"{fence} {command} {fence}" if len(fence) > 1 else f"`{command}`"
    foot = (
        f"{_explained(bench)}. {_escaped(machine_words(bench.machine))}, {bench.date[:10]}, hgrt {bench.hgrt}: {quoted}"
    )
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in rows), "", foot, ""])


def label(bench: Bench, row: Row) -> str:
    """Runtime and precision; network, device and threads only where they tell rows apart."""
    alike = [other for other in bench.rows if (other.network, other.name) == (row.network, row.name)]
    apart = len({(other.device, other.threads) for other in alike}) > 1
    network = f"{row.network}, " if len(_networks(bench)) > 1 else ""
    threads = f", {row.threads} thread{'s' * (row.threads > 1)}" if row.threads else ""
    return f"{network}{row.name}" + (f" on {row.device}{threads}" if apart else "")


def machine_words(here: Machine) -> str:
    """Processor, cores, and GPU if there is one."""
    gpu = f", {here.gpu}" if here.gpu else ""
    return f"{here.cpu}, {here.cores} core{'s' * (here.cores != 1)}{gpu}"


def ratio_base(bench: Bench, network: str) -> Row | None:
    """The row that the ratios of a network are to: it has times and no ratio itself. None where nobody has one."""
    timed = [row for row in bench.rows if row.network == network and row.latency]
    without = [row for row in timed if row.latency[0].ratio is None]
    return without[0] if len(without) < len(timed) and without else None


# Tables


def _latency_table(bench: Bench) -> Table:
    # Broken by hand to fit 80 columns: rich breaks the cells of a narrow terminal inside a number.
    columns = ("p50\np90", "p99\nmax", "people\n/s", "ratio", "PCKh, drop", "shift\npx", "")
    shown = _table(_explained(bench), "runtime", *columns)
    shown.collapse_padding = True
    for column in shown.columns[1:]:
        column.no_wrap = True
    for row, latency in _entries(bench):
        p50, p90, p99, most, speed, ratio, pckh, drop, shift, passed = _cells(bench, row, latency)
        who = _who(bench, row, latency).replace(", batch", "\nbatch")
        times = (_joined(p50, "\n", p90), _joined(p99, "\n", most))
        ranged = (cell.replace(" (", "\n(") for cell in (ratio, _joined(pckh, ", ", drop)))
        shown.add_row(*map(Text, (who, *times, speed, *ranged, shift, passed)))
    failed = [f"{label(bench, row)} could not run: {_one_line(row.failed)}" for row in bench.rows if row.failed]
    shown.caption = Text("\n".join(failed)) if failed else None
    return shown


def _joined(first: str, between: str, second: str) -> str:
    """Two numbers in one cell, and one dash where there is neither."""
    return DASH if first == second == DASH else f"{first}{between}{second}"


def _explained(bench: Bench) -> str:
    """What the columns of the first table hold."""
    protocols = sorted({row.agreement.protocol for row in bench.rows if row.agreement})
    pckh = f"; PCKh@0.5 in % ({', '.join(protocols)})" if protocols else ""
    bases = dict.fromkeys(base.name for base in map(partial(ratio_base, bench), _networks(bench)) if base)
    ratio = f"; ratio to {' and '.join(bases)}" if bases else ""
    against = f"; drop and worst shift against {_references(bench)}" if bench.reference else ""
    return f"Time of a call in ms{ratio}{pckh}{against}"


def _entries(bench: Bench) -> list[tuple[Row, Latency | None]]:
    """A row for each batch, and one for a runtime without any."""
    return [(row, latency) for row in bench.rows for latency in row.latency or (None,)]


def _who(bench: Bench, row: Row, latency: Latency | None) -> str:
    batch = f", batch {latency.batch}" if latency and latency.batch != 1 else ""
    return label(bench, row) + batch


def _cells(bench: Bench, row: Row, latency: Latency | None) -> list[str]:
    times: Sequence[float | None] = [None] * 5
    agreement = row.agreement
    if latency:
        total = latency.total
        times = [total.p50, total.p90, total.p99, total.max, latency.throughput]
    return [
        *map(number, times),
        interval(latency.ratio if latency else None),
        percent(agreement.pckh if agreement else None),
        interval(agreement.drop if agreement else None),
        number(agreement.shift_max if agreement else None),
        "PASS" if row.passed else "FAIL",
    ]


def _loop_table(bench: Bench) -> Table:
    """Stages down, runtimes across: there are more stages than runtimes, and a terminal is higher than wide."""
    loops = [(row, row.loop) for row in bench.rows if row.loop]
    names = [label(bench, row) for row, _ in loops]
    shown = _table("The loop on the film: ms a frame, p50 / p99", "stage", *names)

    def add(name: str, cells: Sequence[str], style: str = "") -> None:
        if any(cell != DASH for cell in cells):
            shown.add_row(name, *map(Text, cells), style=style)

    others = dict.fromkeys(stage for _, loop in loops for stage in loop.stages if stage not in _STAGES)
    for stage in (*_STAGES, *others):
        add(stage, [_both(loop.stages.get(stage)) for _, loop in loops])
        for part in ("copy in", "copy out") if stage == "network" else ():
            add(f"  of it {part}, a call", [_copy(row, part) for row, _ in loops], "dim")
    add("whole frame", [_both(loop.total) for _, loop in loops], "bold")
    add("first frame", [number(loop.first) for _, loop in loops])
    add("frames a second", [number(loop.fps) for _, loop in loops], "bold")
    add("age when drawn", [_both(loop.age) for _, loop in loops], "bold")
    add("dropped by the camera", [_dropped(loop) for _, loop in loops])
    return shown


def _both(found: Spread | None) -> str:
    return f"{number(found.p50)} / {number(found.p99)}" if found else DASH


def _copy(row: Row, part: str) -> str:
    """Only the device knows what copying takes, and it was asked while single calls were timed."""
    return number(row.latency[0].stages.get(part)) if row.latency else DASH


def _dropped(loop: Loop) -> str:
    return f"{loop.dropped} of {loop.frames} at {loop.camera_fps:g} fps"


def _cost_table(bench: Bench) -> Table:
    on_device = any(row.memory and row.memory.device_mb is not None for row in bench.rows)
    sizes = ("MB", "MB on device") if on_device else ("MB",)
    columns = ("import", "open", "first", "warm-up", *sizes, "floor", "share")
    title = "To begin, ms and calls; memory; least time of the network in ms, and its share of the measured"
    shown = _table(title, "runtime", *columns)
    words = [f"{label(bench, row)}: {row.roofline.words}" for row in bench.rows if row.roofline]
    shown.caption = Text("\n".join(words)) if words else None
    for row in bench.rows:
        start, memory, roofline = row.start, row.memory, row.roofline
        if not (start or memory or roofline):
            continue
        calls = f"{start.warm_up}{'' if start.settled else ', not settled'}" if start else DASH
        begin = map(number, (start.load, start.open, start.first)) if start else [DASH] * 3
        held = (number(memory.process_mb), number(memory.device_mb)) if memory else (DASH,) * 2
        limit = (number(roofline.floor), share(roofline.share)) if roofline else (DASH,) * 2
        shown.add_row(*map(Text, (label(bench, row), *begin, calls, *held[: len(sizes)], *limit)))
    return shown


def _table(title: str, *columns: str) -> Table:
    """Texts from outside stand in `Text`, since rich would take their brackets for markup."""
    shown = Table(title=Text(title), title_justify="left", caption_justify="left", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        shown.add_column(Text(column), header_style="dim", justify="right" if i else "left", overflow="fold")
    return shown


# The line


def _networks(bench: Bench) -> list[str]:
    return list(dict.fromkeys(row.network for row in bench.rows))


def _references(bench: Bench) -> str:
    return " and ".join(dict.fromkeys(bench.reference.values()))


def _is_reference(bench: Bench, row: Row) -> bool:
    return bench.reference.get(row.network) == row.name


def _agreed(bench: Bench) -> str:
    others = [row for row in bench.rows if not _is_reference(bench, row)]
    compared = [row.agreement for row in others if row.agreement]
    if not compared and len(bench.rows) == 1:
        return f"{label(bench, bench.rows[0])} ran, and there was nothing to compare it with"
    if not compared:
        return f"{len(bench.rows)} of {len(bench.rows)} runtimes ran, and there was nothing to compare them with"
    several = f"{len(compared)} of {len(others)} runtimes agree"
    agree = several if len(others) > 1 else f"{label(bench, others[0])} agrees"
    whom = _references(bench)
    whom += "," if "," in whom else ""
    people = f"{max(one.people for one in compared)} people ({', '.join(bench.data)})"
    worst = number(max(one.shift_max for one in compared))
    return f"{agree} with {whom} on {people}, worst {worst} px"


def _fastest(bench: Bench, network: str) -> str:
    """Of those that passed, at the smallest batch; "" where none did. A lone runtime has been named already."""
    rows = [row for row in bench.rows if row.network == network and row.passed and row.latency]
    if not rows:
        return ""
    row = min(rows, key=lambda row: row.latency[0].total.p50)
    first = row.latency[0]
    times = f"{number(first.total.p50)} ms p50, {number(first.total.p99)} p99"
    if len(bench.rows) == 1:
        return times + (f" at batch {first.batch}" if first.batch != 1 else "")
    base = ratio_base(bench, network)
    ratio = f" ({interval(first.ratio).partition(' (')[0]}x {base.name})" if first.ratio and base else ""
    return f"fastest {_who(bench, row, first)} {times}{ratio}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """A cell of a GitHub table: no line breaks, no column of its own, no HTML."""
    return re.sub(r"([\\|<])", r"\\\1", _one_line(text))
