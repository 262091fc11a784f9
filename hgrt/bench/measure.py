"""The experiment itself: who is timed when, so that whatever changes on the machine meanwhile hits all alike.

A round starts every runtime in a process of its own, in shuffled order; times short blocks of calls, each runtime once
in each pass, shuffled again; lets each run the whole loop; and ends the processes. What a process is lucky or unlucky
with (where its memory lies, which core it gets) so differs from round to round and becomes part of the interval. The
first round also collects the answers. Nothing is summed up or judged here.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from hgrt.bench.entrants import Entrant
from hgrt.bench.remote import Remote
from hgrt.bench.results import Memory
from hgrt.bench.worker import CameraTimes, LoopTimes, Opened, Run, Worker
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.runtime.base import BackendInfo

PASSES = 8  # blocks of each runtime and batch in a round
LOOP_FRAMES = 41
CAMERA_FPS, CAMERA_FRAMES = 30.0, 45
SEED = 0  # of the order in which runtimes take turns
LOOKED_AGAIN = 16  # people of each set that are asked for once more with exchanged colours

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: these entrants on batches of these sizes, in so many rounds, with the answers of the people in
    that split of `data` (none: the bundled clip)."""

    entrants: Sequence[Entrant]
    batches: Sequence[int]
    rounds: int
    data: tuple[Path, ...] = ()
    split: str = "val"

    def worker(self, entrant: Entrant) -> Callable[[], Worker]:
        """Makes the worker of an entrant, in whichever process it is called."""
        return partial(Worker, entrant.open, self.data, self.split)


@dataclass(slots=True)
class Ledger:
    """Everything that was measured of one entrant, untouched.

    starts   of each process: milliseconds until it was there; its opening; calls of its warm-up, and whether it settled
    blocks   batch -> round -> pass -> runs
    answers  joints of everybody; `exchanged`: the first people's, red and blue exchanged
    failed   why it could not go on; then nothing else counts. `trace`: where, if it is a bug
    """

    entrant: Entrant
    info: BackendInfo | None = None
    starts: list[tuple[float, Opened, int, bool]] = field(default_factory=list)
    blocks: dict[int, list[list[list[Run]]]] = field(default_factory=lambda: defaultdict(list))
    loops: list[LoopTimes] = field(default_factory=list)
    camera: CameraTimes | None = None
    memory: Memory | None = None
    answers: list[Predictions] = field(default_factory=list)
    exchanged: list[Predictions] = field(default_factory=list)
    failed: str = ""
    trace: str = ""


def measure(plan: Plan, say: Say = lambda line: None) -> list[Ledger]:
    """Carry out the plan; `say` hears what is going on.

    An entrant that fails is left out from then on, and its ledger says why; the others go on.
    """
    ledgers, chance = [Ledger(entrant) for entrant in plan.entrants], random.Random(SEED)
    for number in range(plan.rounds):
        with ExitStack() as stack:
            present: list[tuple[Ledger, Remote]] = []
            for ledger in _shuffled(ledgers, chance):
                say(f"round {number + 1} of {plan.rounds}: starting {ledger.entrant.name}")
                _attempt(ledger, partial(_start, ledger, plan, stack, present))
            say(f"round {number + 1} of {plan.rounds}: timing")
            _time(present, plan.batches, chance)
            for ledger, remote in _shuffled(present, chance):
                _attempt(ledger, partial(_run_loop, ledger, remote, not number))
            for ledger, remote in present if not number else ():
                say(f"answers of {ledger.entrant.name}")
                _attempt(ledger, partial(_answer, ledger, remote))
    return ledgers


def answers_of(entrant: Entrant, plan: Plan) -> list[Predictions]:
    """What an entrant answers that is not timed. HgrtError where it does not run in full precision."""
    with Remote(plan.worker(entrant), entrant.name) as remote:
        remote.ask("begin")
        found: list[Predictions] = remote.ask("answers")
        return found


def _shuffled(items: Iterable[T], chance: random.Random) -> list[T]:
    order = list(items)
    chance.shuffle(order)
    return order


def _start(ledger: Ledger, plan: Plan, stack: ExitStack, present: list[tuple[Ledger, Remote]]) -> None:
    remote = stack.enter_context(Remote(plan.worker(ledger.entrant), ledger.entrant.name))
    opened: Opened = remote.ask("begin")
    ledger.info = opened.info
    calls, settled = 0, True
    for batch in plan.batches:
        count, steady = remote.ask("warm_up", batch)
        calls, settled = calls + count, settled and steady
    ledger.starts.append((remote.load_ms, opened, calls, settled))
    present.append((ledger, remote))


def _time(present: Sequence[tuple[Ledger, Remote]], batches: Sequence[int], chance: random.Random) -> None:
    for ledger, _ in present:
        for batch in batches:
            ledger.blocks[batch].append([])
    for _ in range(PASSES):
        for batch in batches:
            for ledger, remote in _shuffled(present, chance):
                _attempt(ledger, partial(_block, ledger, remote, batch))


def _block(ledger: Ledger, remote: Remote, batch: int) -> None:
    ledger.blocks[batch][-1].append(remote.ask("block", batch))


def _run_loop(ledger: Ledger, remote: Remote, first: bool) -> None:
    if first:
        ledger.memory = remote.ask("memory")  # before pictures of people are read
        ledger.camera = remote.ask("camera", CAMERA_FPS, CAMERA_FRAMES)
    ledger.loops.append(remote.ask("loop", LOOP_FRAMES))


def _answer(ledger: Ledger, remote: Remote) -> None:
    ledger.answers = remote.ask("answers")
    wrong = sum(int((~np.isfinite(one.xy).all(axis=2) | ~np.isfinite(one.score)).sum()) for one in ledger.answers)
    if wrong:
        raise HgrtError("Its answers are not numbers.", f"{wrong} joints are infinite or undefined.")
    ledger.exchanged = remote.ask("answers", True, LOOKED_AGAIN)


def _attempt(ledger: Ledger, step: Callable[[], object]) -> None:
    """Take a step unless an earlier one failed; what goes wrong is written down."""
    if ledger.failed:
        return
    try:
        step()
    except HgrtError as error:
        ledger.failed = " ".join(part for part in (error.what, error.why, error.fix) if part)
    except RuntimeError as error:
        ledger.trace = str(error)
        ledger.failed = ledger.trace.strip().splitlines()[-1]
