"""The experiment with networks that answer at once, each in a real process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hgrt.bench import measure as module
from hgrt.bench.cost import Cost
from hgrt.bench.entrants import Opener
from hgrt.bench.measure import Ledger, Plan, answers_of, measure
from hgrt.bench.roofline import Peaks
from hgrt.bench.rows import row
from hgrt.bench.verdict import Demands
from planted import Instant
from runtime.engines import GPU, TRT, place


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PASSES", 2)
    monkeypatch.setattr(module, "LOOP_FRAMES", 5)
    monkeypatch.setattr(module, "CAMERA_FRAMES", 6)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "peaks.onnx"
    path.write_bytes(b"no network, but a hash")
    return path


def test_everything_is_measured_and_a_failure_stops_nobody_else(weights: Path) -> None:
    faults = [
        Instant("one"),
        Instant("two"),
        Instant("gone", "dies"),
        Instant("buggy", "raises"),
        Instant("nan", "not a number"),
    ]
    said: list[str] = []
    plan = Plan([fault.entrant(weights) for fault in faults], (1, 3), 2)
    ledgers = measure(plan, said.append)
    one, two, gone, buggy, nan = ledgers

    assert gone.failed == "The process of gone fp32 died. It ended with signal SIGKILL."
    assert buggy.failed == "ZeroDivisionError: planted" and "Traceback" in buggy.trace
    assert nan.failed.startswith("Its answers are not numbers. 2800 joints")
    for ledger in (one, two):
        assert not ledger.failed and len(ledger.starts) == 2 and len(ledger.loops) == 2
        assert {batch: [len(blocks) for blocks in rounds] for batch, rounds in ledger.blocks.items()} == {
            1: [2, 2],
            3: [2, 2],
        }
        assert ledger.memory is not None and 20 < ledger.memory.process_mb < 2000
        assert ledger.memory.device_mb is None
        assert ledger.camera is not None and len(ledger.camera.ages) + ledger.camera.dropped == 6
        assert [len(found) for found in ledger.answers] == [175]
        assert all(len(loop.frames) == 4 and loop.first > 0 for loop in ledger.loops)
    assert any("round 2 of 2" in line for line in said)

    shown = row(two, one, one.answers, Cost(0.1, 1.0, 2.0, 5, 0.01), Peaks({"fp32": 100.0}, 10.0), Demands())
    assert shown.passed and not shown.failed
    small, large = shown.latency
    assert (small.batch, large.batch) == (1, 3)
    assert small.total.runs == len(small.samples) >= 2 * 2 * 2
    assert small.ratio is not None and small.ratio.low < small.ratio.value < small.ratio.high
    assert set(small.stages) == {"network", "decode"}
    assert shown.loop is not None and shown.loop.total.runs == 8
    assert {"read", "find", "decode", "draw"} <= set(shown.loop.stages)
    assert shown.start is not None and shown.start.load > 0 and shown.start.warm_up >= 2
    assert shown.agreement is not None and shown.agreement.shift_max == 0
    assert shown.roofline is not None and shown.roofline.floor == pytest.approx(1.0)

    assert row(one, one, one.answers, None, None, Demands()).latency[0].ratio is None
    lost = row(gone, one, one.answers, None, None, Demands())
    assert not lost.passed and lost.failed == gone.failed and lost.latency == ()


def test_a_reference_that_takes_no_part_only_answers(weights: Path) -> None:
    [found] = answers_of(Instant().entrant(weights), Plan([], (1,), 2))
    assert len(found) == 175


def test_an_engine_with_a_stale_passport_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened here rather than in another process, so that a GPU and TensorRT can be acted."""
    monkeypatch.setattr("hgrt.runtime.tensorrt.load_library", lambda flavour: TRT)
    monkeypatch.setattr("hgrt.runtime.tensorrt.need_gpu", lambda library: GPU)
    engine = place(tmp_path / "old.engine")
    engine.write_bytes(b"another plan than the passport's")
    opener = Opener("tensorrt", engine, "fp16", 1, False)
    ledger = Ledger(module.Entrant("old", "tensorrt", engine, "fp16", opener, str(engine)))
    module._attempt(ledger, opener)
    assert "changed" in ledger.failed, ledger.failed
    judged = row(ledger, None, [], None, None, Demands())
    assert not judged.passed and judged.failed == ledger.failed and judged.checks == ()
