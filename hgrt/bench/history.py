"""What earlier benchmarks of this machine found, a line of JSON each, and what has changed since.

A clock that runs slower today must not pass for a slower runtime: times are compared through what was measured beside
them, the reference runtime or the least time that the device allows. Measures nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import typer

from hgrt.bench.document import as_json, from_json
from hgrt.bench.figures import number, share
from hgrt.bench.report import label, machine_words, ratio_base
from hgrt.bench.results import Bench, Check, Interval, Machine, Row
from hgrt.errors import HgrtError
from hgrt.files import unwritable

SHARE_LOST = 0.25  # of the share of the least time: a row without a ratio that lost more became slower
PCKH_LOST = 0.1  # points: on the same people the same answers score the same, so any more is a change
DEMANDED = {"drop", "p99"}  # checks whose limit the user sets, so that one that fails now may only be asked for more

RowKey = tuple[str, str, str, int]
"""Network, runtime, the precision that runs, threads."""


def row_key(row: Row) -> RowKey:
    """What makes rows of two benchmarks the same."""
    return row.network, row.runtime, row.running, row.threads


# The file


def history_path(machine_key: str) -> Path:
    """The file of a machine, in the folder that HGRT_HISTORY names or else in that of the user's settings."""
    folder = os.environ.get("HGRT_HISTORY") or Path(typer.get_app_dir("hgrt")) / "bench"
    return Path(folder) / f"{machine_key}.jsonl"


def append(bench: Bench) -> Path:
    """Add a benchmark to the history of its machine, without samples. HgrtError where the system refuses."""
    path = history_path(bench.machine.key)
    short = [replace(row, latency=tuple(replace(one, samples=()) for one in row.latency)) for row in bench.rows]
    document = as_json(replace(bench, rows=tuple(short)))
    line = json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One unbuffered write at the end of the file: lines of two processes do not mix.
        with path.open("ab", buffering=0) as file:
            data = line if _ends_whole(path) else b"\n" + line
            if file.write(data) < len(data):
                raise OSError("The disk is full.")
    except OSError as error:
        refused = unwritable(path, error)
        fix = "Set HGRT_HISTORY to a folder that can be written."
        raise HgrtError(refused.what, refused.why, fix) from error
    return path


def last(machine_key: str, command_like: Bench) -> Bench | None:
    """The newest earlier benchmark of a machine that has rows of every network of `command_like`.

    One with the same weights goes before one where only the names are the same. None where there is neither, or no
    history that can be read.
    """
    now = _moment(command_like.date)
    earlier = [bench for bench in _entries(history_path(machine_key)) if _moment(bench.date) < now]
    for same_weights in (True, False):
        alike = [bench for bench in earlier if _covers(bench, command_like, same_weights)]
        if alike:
            return max(alike, key=lambda bench: _moment(bench.date))
    return None


def _ends_whole(path: Path) -> bool:
    """Whether the file ends with a line's end; a power cut may have left half a line."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _entries(path: Path) -> Iterator[Bench]:
    """Every benchmark in the file that can be read; damaged lines are passed over."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.split("\n"):
        try:
            bench = from_json(json.loads(line))
            _moment(bench.date)
        except (HgrtError, ValueError, RecursionError):
            continue
        yield bench


def _moment(iso: str) -> datetime:
    moment = datetime.fromisoformat(iso)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _covers(old: Bench, new: Bench, same_weights: bool) -> bool:
    pairs = [(before, row) for row in new.rows if (before := _before(old, row))]
    found = {row.network for before, row in pairs if not same_weights or before.sha256 == row.sha256}
    return bool(found) and found == {row.network for row in new.rows}


def _before(old: Bench, row: Row) -> Row | None:
    """The earlier row that is the same. One that could not run now may not know what would have run."""
    for before in old.rows:
        asked = (before.network, before.runtime, before.asked) == (row.network, row.runtime, row.asked)
        if row_key(before) == row_key(row) or (row.failed and asked):
            return before
    return None


# The comparison


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a row at one batch; where the runs have none in common, `batch` and the times are None.

    medians, p99s  milliseconds, then and now
    shares         of the least time that is reached (`Roofline.share`), then and now
    versions       what differs in words, such as "onnxruntime 1.31 -> 1.32"
    pckh           percentage points gained, on the same people under the same protocol
    reasons        why this is a regression; none where it is not
    """

    key: RowKey
    name: str
    batch: int | None
    medians: tuple[float, float] | None
    p99s: tuple[float, float] | None
    shares: tuple[float, float] | None
    versions: tuple[str, ...]
    pckh: float | None
    reasons: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Something became worse by more than chance."""
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A benchmark against an earlier one of `since` (a day); `unmatched` rows were not in that."""

    since: str
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]

    def lines(self) -> list[str]:
        """A line for each row and batch, then those that there is nothing to compare with."""
        said = []
        for change in self.changes:
            who = change.name + (f", batch {change.batch}" if change.batch else "")
            end = f": REGRESSION ({'; '.join(change.reasons)})" if change.regressed else ""
            said.append(f"{who}: {self._facts(change)}{end}")
        return said + [f"{name}: was not measured on {self.since}" for name in self.unmatched]

    def as_checks(self) -> Mapping[RowKey, Check]:
        """A check named "regression" for each row that was compared."""
        found: dict[RowKey, Check] = {}
        for change in self.changes:
            batch = f"batch {change.batch}: " if change.batch else ""
            said = batch + self._facts(change) + "".join(f"; {reason}" for reason in change.reasons)
            before = found.get(change.key)
            # The row's first regression is its evidence, or else its first batch.
            if before is None or (before.passed and change.regressed):
                found[change.key] = Check("regression", not change.regressed, said)
        return found

    def _facts(self, change: Change) -> str:
        facts = [] if change.medians else [f"no times to compare with {self.since}"]
        if change.medians and change.p99s:
            facts.append(f"p50 {_percent(change.medians)} since {self.since} ({_both(change.medians)} ms)")
            facts.append(f"p99 {_percent(change.p99s)} ({_both(change.p99s)} ms)")
        if change.pckh and abs(change.pckh) >= 0.005:
            facts.append(f"PCKh {change.pckh:+.2f}")
        return ", ".join((*facts, *change.versions))


def same_machine(then: Machine, now: Machine) -> None:
    """HgrtError unless runs on the two may be compared."""
    if then.key != now.key:
        raise HgrtError(
            "hgrt bench refuses to compare runs from different machines.",
            f"Then: {machine_words(then)} ({then.key}). Now: {machine_words(now)} ({now.key}).",
            "Give a run of this machine.",
        )


def compare(old: Bench, new: Bench) -> Comparison:
    """What has changed from `old` to `new`; HgrtError for two machines, or where no row is in both."""
    same_machine(old.machine, new.machine)
    pairs = [(_before(old, row), row) for row in new.rows]
    changes = [change for before, row in pairs if before for change in _changes(old, before, new, row)]
    if not changes:
        rows = (", ".join(f"{row.network} on {row.name}" for row in bench.rows) for bench in (old, new))
        raise HgrtError("The two runs have no row in common.", "Then: {}. Now: {}.".format(*rows))
    unmatched = tuple(label(new, row) for before, row in pairs if before is None)
    return Comparison(old.date[:10], tuple(changes), unmatched)


def _changes(old: Bench, before: Row, new: Bench, row: Row) -> Iterator[Change]:
    """One for each batch that both have. Reasons that hold for the row as a whole are told with the first."""
    pckh = _pckh(old, before, new, row)
    shares = (before.roofline.share, row.roofline.share) if before.roofline and row.roofline else None
    reasons = ["passed then and fails now"] if before.passed and _spoilt(row) else []
    if pckh is not None and pckh < -PCKH_LOST:
        reasons.append(f"PCKh fell by {-pckh:.2f} points")
    then = {latency.batch: latency for latency in before.latency}
    both = [(then[latency.batch], latency) for latency in row.latency if latency.batch in then]
    comparable = _same_base(old, new, row.network)
    name, versions = label(new, row), _versions(before, row)
    change = Change(row_key(row), name, None, None, None, shares, versions, pckh, tuple(reasons))
    if not both:
        yield change
    for i, (was, now) in enumerate(both):
        ratios = (was.ratio, now.ratio) if comparable and was.ratio and now.ratio else None
        # The least time was measured for the smallest batch, which comes first.
        slower = _slower(ratios, shares if i == 0 else None)
        yield replace(
            change,
            batch=now.batch,
            medians=(was.total.p50, now.total.p50),
            p99s=(was.total.p99, now.total.p99),
            reasons=(*(reasons if i == 0 else ()), *slower),
        )


def _spoilt(row: Row) -> bool:
    """Whether it fails by itself, and not only by what it is asked for."""
    return bool(row.failed) or any(not check.passed for check in row.checks if check.name not in DEMANDED)


def _slower(ratios: tuple[Interval, Interval] | None, shares: tuple[float, float] | None) -> list[str]:
    """Why a row became slower, [] if it did not: by the ratio where there is one, else by the share."""
    if ratios:
        then, now = ratios
        if now.low > then.high:
            return [f"{now.value:.3g} times the reference's time, {then.value:.3g} then, beyond both intervals"]
    elif shares and shares[1] < (1 - SHARE_LOST) * shares[0]:
        return [f"its least time is {share(shares[1])} of what it takes, {share(shares[0])} then"]
    return []


def _same_base(old: Bench, new: Bench, network: str) -> bool:
    """Whether ratios mean the same: a faster base makes all others look slower."""
    then, now = ratio_base(old, network), ratio_base(new, network)
    return bool(then and now and row_key(then) == row_key(now) and then.versions == now.versions)


def _versions(before: Row, row: Row) -> tuple[str, ...]:
    if before.failed or row.failed:
        return ()
    names = {**before.versions, **row.versions}
    then, now = ([versions.get(name, "none") for name in names] for versions in (before.versions, row.versions))
    changed = [f"{name} {a} -> {b}" for name, a, b in zip(names, then, now, strict=True) if a != b]
    return (*changed, *(["other weights"] if before.sha256 != row.sha256 else []))


def _pckh(old: Bench, before: Row, new: Bench, row: Row) -> float | None:
    then, now = before.agreement, row.agreement
    if not then or not now or then.protocol != now.protocol or old.data != new.data:
        return None
    # The history keeps six digits: what lies below them is no change.
    return round(now.pckh - then.pckh, 3) if now.pckh is not None and then.pckh is not None else None


def _percent(pair: tuple[float, float]) -> str:
    change = 100 * (pair[1] / pair[0] - 1)
    return f"{change:+.{0 if abs(change) >= 10 else 1}f} %"


def _both(pair: tuple[float, float]) -> str:
    return f"{number(pair[0])} -> {number(pair[1])}"
