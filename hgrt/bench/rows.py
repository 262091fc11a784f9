"""From what was measured to the numbers that are shown: a row for each entrant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from hgrt.bench.cost import Cost
from hgrt.bench.measure import CAMERA_FPS, LOOKED_AGAIN, Ledger
from hgrt.bench.parity import agreement, first_people
from hgrt.bench.results import Latency, Loop, Row, Start
from hgrt.bench.roofline import Peaks, roofline
from hgrt.bench.statistics import ratio, spread
from hgrt.bench.verdict import Demands, checks
from hgrt.bench.worker import LoopTimes
from hgrt.evaluation.predict import Predictions
from hgrt.files import sha256

STAGES = ("read", "wait", "find", "crop", "network", "decode", "draw")
"""Of the loop, in the order of a frame's way."""


def row(
    ledger: Ledger,
    base: Ledger | None,
    right: Sequence[Predictions],
    cost: Cost | None,
    peaks: Peaks | None,
    demands: Demands,
) -> Row:
    """Sum up a ledger and judge it.

    `base` is whom the ratios are to (None: nobody, or this one itself); `right` are the answers that count as right;
    `cost` of the network and `peaks` of the device, None where unknown.
    """
    entrant, info = ledger.entrant, ledger.info
    shown = Row(
        network=entrant.network,
        runtime=entrant.runtime,
        device=info.device if info else "",
        asked=entrant.precision,
        running=info.running if info else entrant.precision,
        threads=info.threads if info else 0,
        versions=dict(info.versions) if info else {},
        weights=entrant.source,
        sha256=sha256(entrant.weights),
        failed=ledger.failed,
    )
    if ledger.failed or info is None:
        return shown
    spec = info.spec
    latency = tuple(_latency(ledger, base, batch) for batch in sorted(ledger.blocks))
    found = replace(
        shown,
        start=_start(ledger),
        memory=ledger.memory,
        latency=latency,
        loop=_loop(ledger),
        agreement=agreement(right, ledger.answers, spec) if right else None,
    )
    if cost is not None and peaks is not None:
        first, last = latency[0], latency[-1]
        batched = (last.batch, last.stages["network"]) if last.batch > first.batch else None
        floor = roofline(cost, peaks, first.stages["network"], batched, info.running)
        found = replace(found, roofline=floor)
    return replace(found, checks=checks(found, demands, _hint(ledger, right)))


def _latency(ledger: Ledger, base: Ledger | None, batch: int) -> Latency:
    runs = [run for blocks in ledger.blocks[batch] for block in blocks for run in block]
    total = spread([time for time, _ in runs])
    names = dict.fromkeys(name for _, stages in runs for name in stages)
    compared = base is not None and base is not ledger and not base.failed and len(ledger.blocks[batch]) > 1
    return Latency(
        batch=batch,
        total=total,
        throughput=1000 * batch / total.mean,
        ratio=ratio(_medians(ledger, batch), _medians(base, batch)) if base is not None and compared else None,
        stages={name: median(stages[name] for _, stages in runs if name in stages) for name in names},
        samples=tuple(time for time, _ in runs),
    )


def _medians(ledger: Ledger, batch: int) -> list[list[float]]:
    """Round -> pass -> median of its block."""
    return [[median(time for time, _ in block) for block in blocks] for blocks in ledger.blocks[batch]]


def _start(ledger: Ledger) -> Start:
    return Start(
        load=median(load for load, *_ in ledger.starts),
        open=median(opened.open for _, opened, *_ in ledger.starts),
        first=median(opened.first for _, opened, *_ in ledger.starts),
        warm_up=round(median(calls for _, _, calls, _ in ledger.starts)),
        settled=all(settled for *_, settled in ledger.starts),
    )


def _loop(ledger: Ledger) -> Loop | None:
    camera = ledger.camera
    if not ledger.loops or camera is None or len(camera.ages) < 2:
        return None
    frames = _pooled(loop.frames for loop in ledger.loops)
    stages = {name: _pooled(_later(name, loop) for loop in ledger.loops) for name in STAGES}
    return Loop(
        first=median(loop.first for loop in ledger.loops),
        total=spread(frames),
        fps=1000 / float(np.mean(frames)),
        stages={name: spread(times) for name, times in stages.items() if times},
        camera_fps=CAMERA_FPS,
        age=spread(camera.ages[1:]),  # in the first frame the person is searched all over it
        frames=len(camera.ages) + camera.dropped,
        dropped=camera.dropped,
    )


def _later(stage: str, loop: LoopTimes) -> list[float]:
    """The times of a stage without the first frame, where all is new to the caches; there the person is found."""
    times = loop.stages.get(stage, [])
    return times if stage == "find" else times[1:]


def _pooled(parts: Iterable[list[float]]) -> list[float]:
    return [time for part in parts for time in part]


def _hint(ledger: Ledger, right: Sequence[Predictions]) -> str:
    """What is wrong with answers that differ, if it is known: whether exchanged colours make them right."""
    if not right or not ledger.exchanged or ledger.info is None:
        return ""
    first = [first_people(one, LOOKED_AGAIN) for one in right]
    as_shown = agreement(first, [first_people(one, LOOKED_AGAIN) for one in ledger.answers], ledger.info.spec)
    exchanged = agreement(first, ledger.exchanged, ledger.info.spec)
    if exchanged.noise < as_shown.noise / 10:
        return "; with red and blue exchanged its answers are right: it takes BGR for RGB"
    return ""
