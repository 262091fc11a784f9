"""A whole benchmark from a request: who takes part, what is right, the experiment, the rows.

Ties the room together and prints nothing; `say` hears what is going on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hgrt import __version__
from hgrt.bench.conditions import Watcher
from hgrt.bench.cost import Cost, cost
from hgrt.bench.entrants import Entrant, Network, available, completed, entrants, networks, reference, runtimes
from hgrt.bench.machine import describe
from hgrt.bench.measure import Ledger, Plan, Say, answers_of, measure
from hgrt.bench.people import open_people, stored_answers
from hgrt.bench.results import SCHEMA, Bench, Row
from hgrt.bench.roofline import Peaks, gpu_peaks, peaks_in_fresh_process
from hgrt.bench.rows import row
from hgrt.bench.verdict import Demands
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.runtime.base import physical_cores

DEFAULT = "onnxruntime"
"""What `auto` takes without a GPU."""

SLOWER = 1.15  # times the fastest one, from which on the default is worth a word


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure. `runtimes` is "auto", "all", or a list; `data` empty is the bundled clip; `threads` 0 are the
    physical cores; see `Plan` and `Demands` for the rest."""

    weights: tuple[Path, ...] = ()
    runtimes: str = "auto"
    data: tuple[Path, ...] = ()
    split: str = "val"
    batches: tuple[int, ...] = (1, 4)
    rounds: int = 4
    threads: int = 0
    trust: bool = False
    demands: Demands = field(default_factory=Demands)
    command: str = "hgrt bench"


@dataclass(frozen=True, slots=True)
class Found:
    """The benchmark, with what it was summed up from: each row's ledger, by network the answers that count as right,
    and where the people come from."""

    bench: Bench
    ledgers: tuple[Ledger, ...]
    right: Mapping[str, list[Predictions]]
    data: tuple[Path, ...]
    split: str


def run_bench(request: Request, say: Say = lambda line: None) -> Found:
    """Measure all that was asked for. HgrtError where it cannot be: nothing to run, nobody to compare, no such file."""
    begin, watcher, own = time.monotonic(), Watcher(), _own_seconds()
    threads = request.threads or physical_cores()
    wanted, notes = available() if request.runtimes == "auto" else (runtimes(request.runtimes), [])
    people = _people(request.data, request.split, notes)
    with TemporaryDirectory(prefix="hgrt-bench-") as folder:
        every: list[Network] = []
        for network in networks(request.weights):
            whole, lacking = completed(network, wanted, Path(folder))
            if lacking and request.runtimes != "auto":
                raise HgrtError("Not all of that can be measured.", f"{'. '.join(lacking)}.")
            every.append(whole)
            notes += lacking
        taking_part = [one for network in every for one in entrants(network, wanted, threads, request.trust)]
        if not taking_part:
            raise HgrtError("There is nothing to measure.", " ".join(f"{note}." for note in notes))
        plan = Plan(taking_part, request.batches, request.rounds, request.data, request.split)
        judges = {network.name: _judge(network, threads, plan) for network in every}
        say("peak of this machine")
        before = peaks_in_fresh_process(threads)
        ledgers = measure(plan, say)
        say("peak of this machine, again")
        on_gpu = any(ledger.info is not None and not ledger.info.threads for ledger in ledgers)
        after = peaks_in_fresh_process(threads)
        peaks = {False: before.or_more(after), True: gpu_peaks() if on_gpu else None}
        say("summing up")
        right = {network: _answers(judge, ledgers, plan) for network, judge in judges.items()}
        costs = {network.name: cost(network.onnx) if network.onnx else None for network in every}
        rows = tuple(_rows(ledgers, right, costs, peaks, request.demands))
    bench = Bench(
        schema=SCHEMA,
        hgrt=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - begin,
        rounds=request.rounds,
        command=request.command,
        machine=describe(),
        conditions=watcher.finish(_own_seconds() - own),
        data=people,
        reference={network: judge.name for network, judge in judges.items()},
        rows=rows,
        notes=(*notes, *_about_judges(judges), *_about_default(rows)),
    )
    return Found(bench, tuple(ledgers), right, request.data, request.split)


def _people(data: Sequence[Path], split: str, notes: list[str]) -> dict[str, int]:
    """How many people each set has, by its name; HgrtError where there is nobody."""
    sets = open_people(data, split, notes.append)
    if not any(len(people) for people in sets):
        raise HgrtError(f"There is nobody in the {split} split of {', '.join(map(str, data))}.")
    return {people.name: len(people) for people in sets}


@dataclass(frozen=True, slots=True)
class _Stored:
    """A judge who has answered before."""

    name: str
    answers: list[Predictions]


def _judge(network: Network, threads: int, plan: Plan) -> Entrant | _Stored:
    """Whose answers count as right: torch's; those that are stored of it if it takes no part; or else ONNX Runtime's.

    HgrtError where nobody can answer in full precision.
    """
    one = reference(network, threads)
    source = network.checkpoint or network.onnx
    takes_part = any((other.network, other.name) == (network.name, "torch fp32") for other in plan.entrants)
    if source is not None and not plan.data and not takes_part:
        stored = stored_answers(source)
        if stored is not None:
            return _Stored(stored[1], stored[0])
    if one is None:
        raise HgrtError(
            f"There are no full-precision answers to compare those of {network.name} with.",
            "Neither its checkpoint nor a full-precision ONNX file of it was given.",
            "Give the checkpoint as well: hgrt bench FILE CHECKPOINT",
        )
    return one


def _answers(judge: Entrant | _Stored, ledgers: Sequence[Ledger], plan: Plan) -> list[Predictions]:
    """Those that are stored, or those of the entrant if it took part; else it is asked for them now."""
    if isinstance(judge, _Stored):
        return judge.answers
    for ledger in ledgers:
        same = (ledger.entrant.runtime, ledger.entrant.weights, ledger.entrant.precision)
        if same == (judge.runtime, judge.weights, judge.precision) and not ledger.failed:
            return ledger.answers
    return answers_of(judge, plan)


def _rows(
    ledgers: Sequence[Ledger],
    right: Mapping[str, list[Predictions]],
    costs: Mapping[str, Cost | None],
    peaks: Mapping[bool, Peaks | None],
    demands: Demands,
) -> list[Row]:
    found = []
    for ledger in ledgers:
        network = ledger.entrant.network
        rivals = [one for one in ledgers if one.entrant.network == network and not one.failed]
        base = next((one for one in rivals if one.entrant.name == "torch fp32"), rivals[0] if rivals else None)
        on_gpu = ledger.info is not None and not ledger.info.threads
        found.append(row(ledger, base, right[network], costs[network], peaks[on_gpu], demands))
    return found


def _about_judges(judges: Mapping[str, Entrant | _Stored]) -> list[str]:
    """A word where no judge was torch: two runtimes may share an error."""
    others = {name: one for name, one in judges.items() if isinstance(one, Entrant) and one.runtime != "torch"}
    return [f"{name} was compared with {one.name}, not with torch" for name, one in others.items()]


def _about_default(rows: Sequence[Row]) -> list[str]:
    """A word where the runtime that is taken by default is not about the fastest of the full-precision ones."""
    said = []
    for default in rows:
        rivals = [r for r in rows if r.network == default.network and r.running == "fp32" and r.threads and r.latency]
        if default.runtime == DEFAULT and default in rivals:
            fastest = min(rivals, key=lambda r: r.latency[0].total.p50)
            times = default.latency[0].total.p50 / fastest.latency[0].total.p50
            if times > SLOWER:
                said.append(f"{DEFAULT}, the default, takes {times:.2f} times as long as {fastest.runtime} here")
    return said


def _own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
