"""A benchmark that never ran: two batches, a reference, a runtime that fails a check, and one that could not run."""

from __future__ import annotations

from dataclasses import replace

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
from hgrt.pose.skeleton import MPII


def sample_bench() -> Bench:
    """The rows are the reference torch fp32, openvino bf16 (moves joints too far), tensorrt fp16 (could not run)."""
    return Bench(
        schema=SCHEMA,
        hgrt="0.3.0",
        date="2026-11-22T18:30:05+00:00",
        seconds=94.2,
        rounds=5,
        command="hgrt bench --batch 1,4",
        machine=Machine("0123456789ab", "Linux 6.8", "3.11.9", "AMD EPYC", 2, 8330.5, "", "", True, ""),
        conditions=Conditions(load=0.4, steal=0.002, others=0.03, clock_mhz=(2596.1, 2596.0)),
        data={"clip": 175},
        reference={"lite": "torch fp32"},
        rows=(_torch(), _openvino(), _tensorrt()),
        notes=("onnxruntime was left out.",),
    )


def agreeing() -> Bench:
    """The same without what fails: torch fp32 and openvino bf16, every check passed."""
    bench = sample_bench()
    reference, other = bench.rows[:2]
    assert other.agreement is not None
    checks = tuple(replace(check, passed=True) for check in other.checks)
    agreement = replace(other.agreement, shift_p99=0.001, shift_max=0.00413, flipped=0)
    return replace(bench, rows=(reference, replace(other, checks=checks, agreement=agreement)))


def _torch() -> Row:
    return Row(
        network="lite",
        runtime="torch",
        device="CPU",
        asked="fp32",
        running="fp32",
        threads=2,
        versions={"torch": "2.9.1"},
        weights="lite.pt",
        sha256="aa" * 32,
        start=Start(load=1430.2, open=85.1, first=64.0, warm_up=40, settled=True),
        memory=Memory(process_mb=412.7, device_mb=None),
        latency=(_latency(1, 11.42, None), _latency(4, 41.9, None)),
        loop=_loop(14.9),
        agreement=_agreement(0.0, 0, Interval(0.0, 0.0, 0.0)),
        roofline=_roofline(0.38),
        checks=(Check("precision", True, "fp32 was asked for and runs."),),
    )


def _openvino() -> Row:
    return Row(
        network="lite",
        runtime="openvino",
        device="CPU",
        asked="bf16",
        running="bf16",
        threads=2,
        versions={"openvino": "2025.3", "numpy": "2.3"},
        weights="lite.onnx",
        sha256="bb" * 32,
        start=Start(load=310.5, open=240.9, first=6.2, warm_up=120, settled=False),
        memory=Memory(process_mb=301.0, device_mb=12.5),
        latency=(_latency(1, 4.213, Interval(0.369, 0.3612, 0.3771)), _latency(4, 15.1, Interval(0.36, 0.352, 0.368))),
        loop=_loop(7.1),
        agreement=_agreement(2.31, 3, Interval(0.004, -0.0461, 0.081)),
        roofline=_roofline(1.04),
        checks=(
            Check("precision", True, "bf16 was asked for and runs."),
            Check("shift", False, "a joint moved by 2.31 pixels, and 0.5 are allowed."),
            Check("flips", False, "3 joints took another peak."),
        ),
    )


def _tensorrt() -> Row:
    return Row(
        network="lite",
        runtime="tensorrt",
        device="",
        asked="fp16",
        running="fp16",
        threads=0,
        versions={},
        weights="",
        sha256="",
        failed="[TRT] there is no NVIDIA GPU | none was found",
    )


def _latency(batch: int, p50: float, ratio: Interval | None) -> Latency:
    return Latency(
        batch=batch,
        total=Spread(300, 1.02 * p50, p50, 1.08 * p50, 1.31 * p50, 2.4 * p50),
        throughput=1000 * batch / p50,
        ratio=ratio,
        stages={"copy in": 0.02, "network": 0.9 * p50, "decode": 0.1 * p50},
        samples=(p50, 1.01 * p50, 0.98765432 * p50),
    )


def _loop(p50: float) -> Loop:
    def around(middle: float) -> Spread:
        return Spread(174, middle, middle, 1.2 * middle, 1.6 * middle, 3 * middle)

    shares = {"read": 0.1, "wait": 0.01, "find": 1.9, "crop": 0.15, "network": 0.6, "decode": 0.07, "draw": 0.09}
    return Loop(
        first=9 * p50,
        total=around(p50),
        fps=1000 / p50,
        stages={stage: around(share * p50) for stage, share in shares.items()},
        camera_fps=30.0,
        age=around(1.3 * p50),
        frames=175,
        dropped=2,
    )


def _agreement(worst: float, flipped: int, drop: Interval) -> Agreement:
    return Agreement(
        people=175,
        joints=2450,
        shift_p50=worst / 100,
        shift_p99=worst / 3,
        shift_max=worst,
        bias=(0.0004, -0.0002),
        flipped=flipped,
        noise=worst / 500,
        protocol="standard",
        pckh=97.8123,
        pckh_reference=97.8163,
        drop=drop,
        by_joint=dict.fromkeys(MPII.joints, (170, 171, 175)),
    )


def _roofline(share: float) -> Roofline:
    return Roofline(1.1, 9.8, 61.0, 148, 150.3, 21.4, 7.32, share, "The processor computes nearly all of the time.")
