"""What the device can do at most, measured here and now, and how near to that a runtime comes.

The processor's peaks depend on how many threads the matrix library was started with, so they are measured in a fresh
process: `python -m hgrt.bench.roofline THREADS`. Knows no runtime, only what it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hgrt.bench.results import Roofline
from hgrt.errors import HgrtError

if TYPE_CHECKING:  # the process that measures the peaks loads nothing that brings threads of its own
    from hgrt.bench.cost import Cost
    from hgrt.live.clock import Clock
    from hgrt.runtime.base import Precision

SIDE = 2048  # of the matrices on a CPU: too large for its caches, done in a fraction of a second
GPU_SIDE = 8192
COPIED = 1 << 28  # bytes, likewise
RUNS = 3  # at least, of each
GPU_SECONDS = 0.5  # of each; its clock takes a while to rise
LIMIT_S = 120.0  # for the fresh process, which takes some 5 s
IDLE = 0.4  # share of a peak under which neither arithmetic nor memory is what a runtime waits for
WAITING = 0.5  # of the time at batch 1: whoever needs less for a person in a batch has waited for work

_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most that a device was seen to do.

    gflops  of a large matrix product, 10^9 operations a second by precision; "fp32" is always there
    gbs     of a large copy, 10^9 bytes read or written a second
    gpu     whether it is one
    """

    gflops: Mapping[Precision, float]
    gbs: float
    gpu: bool = False

    def or_more(self, other: Peaks) -> Peaks:
        """The better of two measurements in everything: whatever disturbs can only make a peak lower."""
        gflops = {name: max(most, other.gflops.get(name, 0.0)) for name, most in self.gflops.items()}
        return replace(self, gflops=gflops, gbs=max(self.gbs, other.gbs))


def measure_peaks(threads: int, seconds: float = 0.5, clock: Clock = time.perf_counter) -> Peaks:
    """Peaks of this process's CPU, spending about `seconds` on each. `clock` gives seconds.

    The matrix product uses as many threads as the library was started with: see `peaks_in_fresh_process`. Holds 600 MB.
    """
    generator = np.random.default_rng(0)
    left, right = (generator.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    product = np.empty_like(left)
    product_s = _best(_timed(lambda: np.matmul(left, right, out=product), clock), seconds)

    source, target = (np.ones(COPIED, np.uint8) for _ in range(2))  # written, so that the pages exist
    edges = np.linspace(0, COPIED, threads + 1).astype(int).tolist()
    slices = [slice(start, end) for start, end in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        # Numpy lets go of Python's lock while it copies.
        copies = _timed(lambda: list(pool.map(lambda at: np.copyto(target[at], source[at]), slices)), clock)
        copy_s = _best(copies, seconds)
    return Peaks({"fp32": 2 * SIDE**3 / product_s / 1e9}, 2 * COPIED / copy_s / 1e9)


def peaks_in_fresh_process(threads: int) -> Peaks:
    """`measure_peaks` in a process whose matrix library has that many threads. HgrtError where it fails."""
    command = [sys.executable, "-m", "hgrt.bench.roofline", str(threads)]
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads))}
    failed = "The processor's peak cannot be measured."
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise HgrtError(failed, f"It took longer than {LIMIT_S:.0f} s.", "Close what else is running.") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"It ended with exit code {done.returncode}."]
        raise HgrtError(failed, lines[-1], "It needs 700 MB of free memory.")
    return Peaks(**json.loads(done.stdout))


def gpu_peaks() -> Peaks | None:
    """Peaks of the GPU by PyTorch, single precision without TF32; None without PyTorch, a GPU, or 1.5 GB free on it."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    types: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        gflops = {name: 2 * GPU_SIDE**3 / _gpu_product_s(dtype) / 1e9 for name, dtype in types.items()}
        return Peaks(gflops, 2 * COPIED / _gpu_copy_s() / 1e9, gpu=True)
    except RuntimeError:  # no memory left, or a card that this build of PyTorch has no code for
        return None
    finally:
        torch.set_float32_matmul_precision(allowed)
        torch.cuda.empty_cache()


def _best(timed: Callable[[], float], seconds: float) -> float:
    """The least of many runs that each tell their seconds; the first, which starts threads, does not count."""
    timed()
    taken: list[float] = []
    while len(taken) < RUNS or sum(taken) < seconds:
        taken.append(timed())
    return min(taken)


def _timed(work: Callable[[], object], clock: Clock) -> Callable[[], float]:
    def seconds() -> float:
        start = clock()
        work()
        return clock() - start

    return seconds


def _gpu_product_s(dtype: Any) -> float:
    import torch

    # Random numbers: a GPU takes less power for zeros, and keeps a clock then that no network sees.
    left, right = (torch.randn((GPU_SIDE, GPU_SIDE), device="cuda").to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    return _best(_timed_by_gpu(lambda: torch.mm(left, right, out=product)), GPU_SECONDS)


def _gpu_copy_s() -> float:
    import torch

    source, target = (torch.ones(COPIED, dtype=torch.uint8, device="cuda") for _ in range(2))
    return _best(_timed_by_gpu(lambda: target.copy_(source)), GPU_SECONDS)


def _timed_by_gpu(work: Callable[[], object]) -> Callable[[], float]:
    import torch

    def seconds() -> float:
        event: Any = torch.cuda.Event  # it has no types
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return seconds


def roofline(
    cost: Cost, peaks: Peaks, network_ms: float, batched_ms: tuple[int, float] | None, precision: Precision
) -> Roofline:
    """How near a runtime comes to the least time that the device allows.

    `network_ms`: median of one crop. `batched_ms`: how many crops, and the median of all of them together; None if
    only one was run. A `precision` without a peak of its own is measured against that of fp32.
    """
    known: Precision = precision if precision in peaks.gflops else "fp32"
    arithmetic = cost.gflop / peaks.gflops[known] * 1e3
    memory = (cost.weights_mb + cost.input_mb) / peaks.gbs
    floor = max(arithmetic, memory)
    share = floor / network_ms
    peak = f"the measured {known} peak of {peaks.gflops[known]:,.0f} GFLOPS"
    if known != precision:
        peak += f" (that of {precision} is not known)"
    if arithmetic < memory:
        peak = f"the measured {peaks.gbs:,.0f} GB/s of memory"
    each = batched_ms[1] / batched_ms[0] if batched_ms else network_ms
    # A device that is busy for half of the time has not waited for the other half: a batch reads the weights once.
    if share < WAITING and each < WAITING * network_ms:
        words = _waiting(cost.layers, network_ms, arithmetic, peaks.gpu)
    else:
        words = _bound(share, peak, arithmetic >= memory)
    return Roofline(
        gflop=cost.gflop,
        weights_mb=cost.weights_mb,
        activations_mb=cost.activations_mb,
        layers=cost.layers,
        peak_gflops=peaks.gflops[known],
        peak_gbs=peaks.gbs,
        floor=floor,
        share=share,
        words=words,
    )


def _waiting(layers: int, network_ms: float, arithmetic_ms: float, gpu: bool) -> str:
    taken, needed = 1e3 * network_ms / layers, 1e3 * arithmetic_ms / layers
    remedy = "CUDA graphs or a larger batch help" if gpu else "a larger batch helps"
    return (
        f"Launch-bound: the device waits for work, since {layers} layers take {_short(taken)} us each where their "
        f"arithmetic takes {_short(needed)} us; {remedy}."
    )


def _bound(share: float, peak: str, by_arithmetic: bool) -> str:
    reached = f"{100 * share:.0f} % of {peak}"
    if share < IDLE:
        return f"Overhead-bound: {reached}; for the rest of the time the runtime leaves the device idle."
    kind = "Compute-bound" if by_arithmetic else "Memory-bound"
    if share <= 1:
        return f"{kind}: {reached}."
    why = "it needs fewer or cheaper operations" if by_arithmetic else "the weights stay in the caches"
    return f"{kind}: {reached}; either {why}, or the machine was busy while the peak was measured."


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


if __name__ == "__main__":
    print(json.dumps(asdict(measure_peaks(int(sys.argv[1])))))
