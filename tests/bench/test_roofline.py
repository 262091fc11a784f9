"""Peaks by a clock that the tests wind, and what is said of runtimes whose times are made up."""

from __future__ import annotations

import itertools
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from hgrt.bench import roofline as module
from hgrt.bench.cost import Cost
from hgrt.bench.roofline import Peaks, gpu_peaks, measure_peaks, peaks_in_fresh_process, roofline
from hgrt.errors import HgrtError

COST = Cost(gflop=1.0, weights_mb=9.9, activations_mb=50.0, layers=100, input_mb=0.1)
CPU = Peaks({"fp32": 100.0}, 20.0)  # 10 ms of arithmetic, 0.5 ms of memory
GPU = Peaks({"fp32": 5e4, "fp16": 5e5}, 2000.0, gpu=True)  # 2 us of arithmetic in half precision, 5 us of memory


# Peaks


def test_peaks_are_operations_and_bytes_over_the_clocks_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIDE", 50)
    monkeypatch.setattr(module, "COPIED", 1001)
    ticks = itertools.accumulate(itertools.chain([0.0, 9.0, 9.0], itertools.cycle([0.5, 0.25, 0.25])))
    found = measure_peaks(3, seconds=2.0, clock=lambda: next(ticks))
    assert found.gflops["fp32"] == pytest.approx(2 * 50**3 / 0.25 / 1e9)
    assert found.gbs == pytest.approx(2 * 1001 / 0.25 / 1e9)


def test_peaks_of_a_fresh_process() -> None:
    found = peaks_in_fresh_process(1)
    assert set(found.gflops) == {"fp32"} and found.gflops["fp32"] > 0.1 and found.gbs > 0.01 and not found.gpu


def test_a_fresh_process_has_the_threads_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(command: list[str], env: dict[str, str], **_: Any) -> SimpleNamespace:
        asked.update(command=command, env=env)
        return SimpleNamespace(returncode=0, stdout='{"gflops": {"fp32": 3.0}, "gbs": 2.0, "gpu": false}')

    monkeypatch.setattr(subprocess, "run", run)
    assert peaks_in_fresh_process(7) == Peaks({"fp32": 3.0}, 2.0)
    assert asked["command"][-1] == "7"
    assert {asked["env"][f"{name}_NUM_THREADS"] for name in ("OPENBLAS", "MKL", "OMP")} == {"7"}


def test_a_fresh_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HgrtError, match="cannot be measured") as raised:
        peaks_in_fresh_process(-1)
    assert "ValueError" in raised.value.why
    monkeypatch.setattr(module, "LIMIT_S", 0.001)
    with pytest.raises(HgrtError, match="longer than"):
        peaks_in_fresh_process(1)


class Event:
    """Two milliseconds lie between any two."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: Event) -> float:
        return 2.0


def fake_torch(available: bool = True, error: Exception | None = None) -> Any:
    """As much of torch as peaks are measured with; `precisions` is what it was set to."""

    class Tensor(SimpleNamespace):
        def to(self, dtype: str) -> Tensor:
            return Tensor(dtype=dtype)

        def copy_(self, source: Tensor) -> None: ...

    def product(left: Tensor, right: Tensor, out: Tensor) -> None:
        products.append((left.dtype, right.dtype))
        if error:
            raise error

    products: list[tuple[str, str]] = []
    precisions = ["medium"]
    return SimpleNamespace(
        **{name: name for name in ("float32", "float16", "bfloat16", "uint8")},
        cuda=SimpleNamespace(is_available=lambda: available, Event=Event, empty_cache=lambda: None),
        get_float32_matmul_precision=lambda: precisions[-1],
        set_float32_matmul_precision=precisions.append,
        randn=lambda shape, device: Tensor(dtype="float32"),
        ones=lambda size, dtype, device: Tensor(dtype=dtype),
        empty_like=lambda other: other,
        mm=product,
        products=products,
        precisions=precisions,
    )


def test_peaks_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = fake_torch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = gpu_peaks()
    assert found is not None and found.gpu
    assert found.gflops == dict.fromkeys(("fp32", "fp16", "bf16"), pytest.approx(2 * 8192**3 / 2e-3 / 1e9))
    assert found.gbs == pytest.approx(2 * 2**28 / 2e-3 / 1e9)
    assert set(torch.products) == {(name, name) for name in ("float32", "float16", "bfloat16")}
    assert torch.precisions == ["medium", "highest", "medium"]


def test_without_a_gpu_that_works_there_are_no_peaks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    full = fake_torch(error=RuntimeError("CUDA out of memory"))
    for torch in (None, fake_torch(available=False), full):
        monkeypatch.setitem(sys.modules, "torch", torch)
        assert gpu_peaks() is None
    assert full.precisions[-1] == "medium"


# Rooflines


def test_the_floor_is_the_longer_of_arithmetic_and_memory() -> None:
    by_arithmetic = roofline(COST, CPU, 12.5, None, "fp32")
    assert (by_arithmetic.floor, by_arithmetic.share) == (pytest.approx(10.0), pytest.approx(0.8))
    assert (by_arithmetic.peak_gflops, by_arithmetic.peak_gbs) == (100.0, 20.0)
    by_memory = roofline(COST, GPU, 0.01, None, "fp16")
    assert (by_memory.floor, by_memory.share) == (pytest.approx(0.005), pytest.approx(0.5))
    assert by_memory.peak_gflops == 5e5


@pytest.mark.parametrize(
    ("peaks", "network_ms", "batched_ms", "precision", "words"),
    [
        (CPU, 12.5, (8, 90.0), "fp32", ["Compute-bound: 80 % of the measured fp32 peak of 100 GFLOPS."]),
        (CPU, 50.0, (8, 390.0), "fp32", ["Overhead-bound: 20 %", "idle"]),
        (CPU, 50.0, None, "fp32", ["Overhead-bound: 20 %"]),
        (CPU, 8.0, None, "fp32", ["Compute-bound: 125 %", "fewer or cheaper operations", "busy"]),
        (CPU, 12.5, None, "bf16", ["80 % of the measured fp32 peak", "that of bf16 is not known"]),  # it has no other
        (CPU, 40.0, (8, 100.0), "fp32", ["Launch-bound", "100 layers take 400 us", "takes 100 us", "larger batch"]),
        (GPU, 1.0, (8, 2.0), "fp16", ["Launch-bound", "layers take 10 us", "takes 0.02 us", "CUDA graphs"]),
        (GPU, 0.008, None, "fp16", ["Memory-bound: 62 % of the measured 2,000 GB/s"]),
        (GPU, 0.004, None, "fp16", ["Memory-bound: 125 %", "caches"]),
        (GPU, 0.04, None, "fp32", ["Compute-bound: 50 % of the measured fp32 peak of 50,000 GFLOPS"]),
        # The batch reads the weights once for all, which is not waiting.
        (GPU, 0.006, (8, 0.016), "fp16", ["Memory-bound: 83 %"]),
    ],
)
def test_what_holds_a_runtime_back(
    peaks: Peaks, network_ms: float, batched_ms: tuple[int, float] | None, precision: Any, words: list[str]
) -> None:
    said = roofline(COST, peaks, network_ms, batched_ms, precision).words
    assert all(word in said for word in words), said
    assert said.endswith(".") and ("CUDA graphs" in said) == (peaks.gpu and "Launch" in said)
