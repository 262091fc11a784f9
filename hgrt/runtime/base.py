"""The small contract that every runtime keeps, and the one table of runtimes.

A backend is opened on a weights file and answers crops with heatmaps, or with keypoints where the device decodes. What
it was asked for and what it runs are both recorded and compared; a backend asked for by name never becomes another one.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Array, Image, apply, heatmap_to_crop, invert, warp
from hgrt.pose.heatmaps import Keypoints, Maps, decode

Precision = Literal["fp32", "bf16", "fp16", "int8"]

PRECISION_KEY = "hgrt.precision"
"""Under this key the metadata of an ONNX file for CPUs say its precision; where there is nothing, it is single."""


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What runs: `runtime` by its name here, on which `device`, the precision `asked` for and the one `running`.

    `threads` of the CPU compute, 0 where a GPU does. `decodes`: keypoints come from the device, not from heatmaps
    copied back. `crops_frames`: it cuts crops out of whole frames itself. `why` says what "auto" chose it for.
    """

    runtime: str
    spec: ModelSpec
    weights: Path
    device: str
    asked: Precision
    running: Precision
    threads: int
    versions: Mapping[str, str] = field(default_factory=dict)
    decodes: bool = False
    crops_frames: bool = False
    why: str = ""

    def __str__(self) -> str:
        versions = " ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = f", {self.threads} threads" if self.threads else ""
        why = f" ({self.why})" if self.why else ""
        return f"{self.runtime} ({versions}) on {self.device}, {self.running}{threads}{why}"


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of the last call by the device's own clock: to the device, computing, back, and in all.

    The parts are None where all of it is one piece to the device.
    """

    total: float
    h2d: float | None = None
    compute: float | None = None
    d2h: float | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """Joints in the frame: `xy_img` (N, J, 2) float64 in pixels, `score` (N, J) 0..1, `spread` (N, J) heatmap cells."""

    xy_img: Array
    score: Array
    spread: Array


class Backend(Closing, ABC):
    """A network ready to run. Use it as a context manager, from one thread at a time."""

    info: BackendInfo
    _closed = False

    def infer(self, crops: NDArray[np.uint8]) -> Maps:
        """Crops (N, S, S, 3) uint8 BGR -> heatmaps (N, J, S/4, S/4) float32, valid until the next call.

        S is `info.spec.input`. ValueError for another shape or dtype, RuntimeError once closed.
        """
        return self._run(self._checked(crops))

    def keypoints(self, crops: NDArray[np.uint8]) -> Keypoints:
        """The same crops -> their joints in heatmap cells, by the method "dark"; errors as for `infer`."""
        return self._keypoints(self._checked(crops))

    def frame_keypoints(self, frame: Image, affines: NDArray[Any]) -> Placed:
        """A frame (H, W, 3) uint8 BGR and affines (N, 2, 3) from crop to image pixels -> joints in the frame.

        The answer is that of `geometry.warp` and `keypoints`, wherever the crops are cut; only where
        `info.crops_frames` says so does it save the cutting here. Errors as for `infer`.
        """
        self._alive()
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"a frame is (H, W, 3) uint8, not {frame.shape} {frame.dtype}")
        affines = np.asarray(affines, dtype=np.float64)
        if affines.shape[1:] != (2, 3) or not len(affines):
            raise ValueError(f"affines are (N, 2, 3), not {affines.shape}")
        return self._frame_keypoints(frame, affines)

    def timings(self) -> Timings | None:
        """How long the parts of the last call took, or None where the device cannot tell."""
        return None

    def close(self) -> None:
        """Free the device; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._release()

    def _alive(self) -> None:
        if self._closed:
            raise RuntimeError("this backend is closed")

    def _checked(self, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._alive()
        size = self.info.spec.input
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or not len(crops):
            raise ValueError(f"crops are (N, {size}, {size}, 3) uint8, not {crops.shape} {crops.dtype}")
        return np.ascontiguousarray(crops)

    def _keypoints(self, crops: NDArray[np.uint8]) -> Keypoints:
        return decode(self._run(crops))

    def _frame_keypoints(self, frame: Image, affines: Array) -> Placed:
        spec = self.info.spec
        crops = np.stack([warp(frame, invert(affine), spec.input) for affine in affines])
        found = self._keypoints(crops)
        xy_crop = apply(heatmap_to_crop(spec.heatmap, spec.input), found.xy_hm)
        xy_img = np.stack([apply(affine, xy) for affine, xy in zip(affines, xy_crop, strict=True)])
        return Placed(xy_img, found.score, found.spread)

    @abstractmethod
    def _run(self, crops: NDArray[np.uint8]) -> Maps: ...

    @abstractmethod
    def _release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a backend is asked for: which file, how precise, on how many threads, and whether the file is trusted.

    Only engines ask for trust: they are native code, and one that was changed since it was built is not loaded.
    """

    weights: Path
    precision: Precision = "fp32"
    threads: int = 1
    trust: bool = False


def _onnxruntime(request: Request) -> Backend:
    from hgrt.runtime.onnx import OnnxBackend

    return OnnxBackend(request)


def _openvino(request: Request) -> Backend:
    from hgrt.runtime.openvino import OpenVinoBackend

    return OpenVinoBackend(request)


def _torch(request: Request) -> Backend:
    from hgrt.require import require

    if require("torch", "train").cuda.is_available():
        from hgrt.runtime.torch_gpu import TorchGpuBackend

        return TorchGpuBackend(request)
    from hgrt.runtime.torch import TorchBackend

    return TorchBackend(request)


def _tensorrt(request: Request) -> Backend:
    from hgrt.runtime.tensorrt import TensorRtBackend

    return TensorRtBackend(request)


BACKENDS: dict[str, Callable[[Request], Backend]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
    "tensorrt": _tensorrt,
}
"""Runtimes by name. Each imports its library only when opened."""

BUNDLED = ("lite.int8.onnx", "lite.onnx", "lite.pt", "lite2.int8.onnx", "lite2.pt")
"""Weights that come with the package, which may be named wherever a file of weights may."""


def open_backend(
    runtime: str = "auto",
    weights: str | Path | None = None,
    precision: Precision | None = None,
    threads: int = 0,
    trust: bool = False,
) -> Backend:
    """Open `weights` (None: the bundled ones; see `weights_file`) on a runtime.

    "auto" takes an engine that was built from these weights for this machine, else torch on a GPU, else the CPU, and
    says in `info.why` what it went by; see `hgrt.runtime.choose`. "tensorrt" takes an engine, or the weights that one
    in ./engines was built from. `precision` None is an engine's own, that of an 8-bit file, and fp32 for everything
    else. `threads` 0 are the physical cores that this process may use. `trust` loads an engine that is not as its
    passport says.

    HgrtError where the runtime is unknown or not installed, the file does not fit it, or it runs another precision than
    the one asked for.
    """
    from hgrt.runtime.choose import choices

    if runtime != "auto" and runtime not in BACKENDS:
        raise HgrtError(
            f"There is no runtime '{runtime}'.", f"Known: auto, {', '.join(BACKENDS)}.", "Use --runtime NAME."
        )
    path = None if weights is None else weights_file(weights)
    failed = ""
    for choice in choices(runtime, path, precision):
        request = Request(choice.weights, choice.precision, threads or physical_cores(), trust)
        try:
            backend = _opened(choice.runtime, request, precision is None)
        except HgrtError as error:
            if choice.last:
                raise
            failed += f"; {choice.weights} does not open: {error.what}"
        else:
            backend.info = replace(backend.info, why=choice.why + failed)
            return backend
    raise AssertionError("the last choice is opened or raises")


def _opened(name: str, request: Request, unasked: bool) -> Backend:
    if request.precision == "int8" and name != "onnxruntime":
        raise HgrtError(f"{name} does not run int8.", "8-bit files are for ONNX Runtime.", "Use --runtime onnxruntime.")
    backend = BACKENDS[name](request)
    running = backend.info.running
    if unasked and running == "int8":  # 8 bits are in the file: no runtime rounds to them by itself
        backend.info = replace(backend.info, asked=running)
    elif running != request.precision:
        backend.close()
        raise HgrtError(
            f"{name} runs {running} where {request.precision} was asked for.",
            f"Device: {backend.info.device}.",
            "8-bit files come from: hgrt export CKPT --int8 --data DATA" if request.precision == "int8" else "",
        )
    return backend


def weights_file(weights: str | Path) -> Path:
    """The file that is meant: the one there, else the bundled one of that name, such as lite.int8.onnx.

    HgrtError where there is neither.
    """
    path = bundled_or_given(weights)
    if path.is_file():
        return path
    why = "That is a folder." if path.is_dir() else "No such file."
    raise HgrtError(f"The weights {path} cannot be opened.", why, "Leave the weights out for the bundled ones.")


def bundled_or_given(weights: str | Path) -> Path:
    """The bundled file where the name is one's and nothing here has it, else the path as it is given."""
    path = Path(weights)
    return asset(path.name) if str(path) in BUNDLED and not path.exists() else path


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


def shrinks(affines: Array) -> bool:
    """Whether any crop of these affines (N, 2, 3), crop to image, shrinks the picture twofold or more.

    A device samples once for each pixel of a crop, which skips pixels there; `geometry.warp` takes means first.
    """
    return bool((np.sqrt(np.abs(np.linalg.det(affines[:, :, :2]))) >= 2).any())


def keypoint_parts(found: NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """Keypoints (N, J, 4) of a device -> positions (N, J, 2), scores and spreads (N, J), inf where there is no peak."""
    exact = found.astype(np.float64)
    spread = exact[..., 3]
    return exact[..., :2], exact[..., 2], np.where(spread > 0, spread, np.inf)


def as_float32(maps: Any) -> Maps:
    """What a library returned, as the contract's array."""
    return np.asarray(maps, dtype=np.float32)
