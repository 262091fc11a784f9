"""The small contract that every runtime keeps, and the one table of runtimes.

A backend is opened on a weights file and answers crops with heatmaps. What it was asked for and what it runs are both
recorded and compared; a backend asked for by name never becomes another one.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.model.spec import ModelSpec
from hgrt.pose.heatmaps import Maps

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What runs: `runtime` by its name here, on which `device`, the precision `asked` for and the one `running`."""

    runtime: str
    spec: ModelSpec
    weights: Path
    device: str
    asked: Precision
    running: Precision
    threads: int
    versions: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        versions = " ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.runtime} ({versions}) on {self.device}, {self.running}, {self.threads} threads"


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of the last call, where the device can tell: to the device, computing, and back."""

    h2d: float
    compute: float
    d2h: float


class Backend(Closing, ABC):
    """A network ready to run. Use it as a context manager, from one thread at a time."""

    info: BackendInfo
    _closed = False

    def infer(self, crops: NDArray[np.uint8]) -> Maps:
        """Crops (N, S, S, 3) uint8 BGR -> heatmaps (N, J, S/4, S/4) float32, valid until the next call.

        S is `info.spec.input`. ValueError for another shape or dtype, RuntimeError once closed.
        """
        if self._closed:
            raise RuntimeError("this backend is closed")
        size = self.info.spec.input
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or not len(crops):
            raise ValueError(f"crops are (N, {size}, {size}, 3) uint8, not {crops.shape} {crops.dtype}")
        return self._run(np.ascontiguousarray(crops))

    def timings(self) -> Timings | None:
        """How long the parts of the last call took, or None where the device cannot tell."""
        return None

    def close(self) -> None:
        """Free the device; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._release()

    @abstractmethod
    def _run(self, crops: NDArray[np.uint8]) -> Maps: ...

    @abstractmethod
    def _release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a backend is asked for: which file, how precise, on how many threads (0: the physical cores it may use)."""

    weights: Path
    precision: Precision = "fp32"
    threads: int = 0


def _onnxruntime(request: Request) -> Backend:
    from hgrt.runtime.onnx import OnnxBackend

    return OnnxBackend(request)


def _openvino(request: Request) -> Backend:
    from hgrt.runtime.openvino import OpenVinoBackend

    return OpenVinoBackend(request)


def _torch(request: Request) -> Backend:
    from hgrt.require import require

    require("torch", "train")
    from hgrt.runtime.torch import TorchBackend

    return TorchBackend(request)


BACKENDS: dict[str, Callable[[Request], Backend]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
}
"""Runtimes by name. Each imports its library only when opened."""


def open_backend(
    runtime: str = "auto", weights: str | Path | None = None, precision: Precision = "fp32", threads: int = 0
) -> Backend:
    """Open `weights` (None: the bundled ones) on a runtime; "auto" goes by the file: onnxruntime for .onnx, else torch.

    HgrtError where the runtime is unknown or not installed, the file does not fit it, or it runs another precision than
    the one asked for.
    """
    if runtime != "auto" and runtime not in BACKENDS:
        raise HgrtError(
            f"There is no runtime '{runtime}'.", f"Known: auto, {', '.join(BACKENDS)}.", "Use --runtime NAME."
        )
    path = bundled_weights(".pt" if runtime == "torch" else ".onnx") if weights is None else Path(weights)
    if not path.is_file():
        why = "That is a folder." if path.is_dir() else "No such file."
        raise HgrtError(f"The weights {path} cannot be opened.", why, "Leave --weights out for the bundled ones.")
    name = ("onnxruntime" if path.suffix == ".onnx" else "torch") if runtime == "auto" else runtime
    backend = BACKENDS[name](Request(path, precision, threads or physical_cores()))
    if backend.info.running != precision:
        backend.close()
        raise HgrtError(
            f"{name} runs {backend.info.running} where {precision} was asked for.", f"Device: {backend.info.device}."
        )
    return backend


def bundled_weights(suffix: str = ".onnx") -> Path:
    """The weights that come with the package."""
    return asset("lite" + suffix)


def asset(name: str) -> Path:
    """A bundled file; HgrtError if the installation lacks it."""
    from importlib.resources import files

    path = Path(str(files("hgrt.assets").joinpath(name)))
    if not path.is_file():
        raise HgrtError(f"The bundled file {name} is missing.", f"Looked for {path}.", "Reinstall hgrt.")
    return path


def physical_cores() -> int:
    """Physical cores that this process may use: hyper-threads share the units that a convolution keeps busy."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, min(len(cores), _cpu_quota()))


def _cpu_quota() -> int:
    """Whole cores that a container's quota grants; a large number without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return 1 << 16


def as_float32(maps: Any) -> Maps:
    """What a library returned, as the contract's array."""
    return np.asarray(maps, dtype=np.float32)
