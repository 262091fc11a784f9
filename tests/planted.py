"""Runtimes with a fault planted in them, to be opened in the process of a worker: each must be caught."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.bench.entrants import Entrant
from hgrt.model.spec import ModelSpec
from hgrt.pose.heatmaps import Maps
from hgrt.runtime.base import Backend, BackendInfo, bundled_weights, open_backend

Fault = Literal["none", "bf16 as fp32", "fp32 as fp16", "colours", "half a pixel", "dies", "raises", "not a number"]


@dataclass(frozen=True)
class Plant:
    """Opens the bundled network on ONNX Runtime (for bfloat16 on OpenVINO) with a fault."""

    fault: Fault = "none"

    def __call__(self) -> Backend:
        name, precision = ("openvino", "bf16") if self.fault == "bf16 as fp32" else ("onnxruntime", "fp32")
        return Faulty(open_backend(name, bundled_weights(), precision, 1), self.fault)  # type: ignore[arg-type]

    @property
    def entrant(self) -> Entrant:
        precision = "fp16" if self.fault == "fp32 as fp16" else "fp32"
        return Entrant("lite", "onnxruntime", bundled_weights(), precision, self, "planted")  # type: ignore[arg-type]


class Faulty(Backend):
    """A true backend behind a fault."""

    def __init__(self, true: Backend, fault: Fault) -> None:
        self._true, self._fault = true, fault
        said = "fp16" if fault == "fp32 as fp16" else "fp32"
        self.info = replace(true.info, asked=said, running=said)  # type: ignore[arg-type]

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        if self._fault == "colours":
            crops = np.ascontiguousarray(crops[..., ::-1])
        if self._fault == "half a pixel":
            moved = np.array([[1, 0, 0.5], [0, 1, 0.5]])
            crops = np.stack([cv2.warpAffine(one, moved, one.shape[1::-1]) for one in crops]).astype(np.uint8)
        if self._fault == "dies" and len(crops) > 1:  # not at once
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "raises":
            raise ZeroDivisionError("planted")
        maps = self._true.infer(crops)
        return np.full_like(maps, np.nan) if self._fault == "not a number" else maps

    def _release(self) -> None:
        self._true.close()


SPEC = ModelSpec(stacks=1, channels=8, gate="none", input=64)


@dataclass(frozen=True)
class Instant:
    """Opens a network that answers at once and the same to all; `fault` "dies", "raises" or "not a number" if asked."""

    name: str = "instant"
    fault: Fault = "none"

    def __call__(self) -> Backend:
        return Faulty(_Peaks(self.name), self.fault)

    def entrant(self, weights: Path) -> Entrant:
        return Entrant("peaks", self.name, weights, "fp32", self, "nowhere")


class _Peaks(Backend):
    def __init__(self, name: str) -> None:
        self.info = BackendInfo(name, SPEC, Path("none"), "CPU", "fp32", "fp32", 1, {name: "1.0"})

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        maps = np.zeros((len(crops), 16, SPEC.heatmap, SPEC.heatmap), np.float32)
        maps[:, range(16), 4, np.arange(16) % 12] = 0.9
        return maps

    def _release(self) -> None: ...
