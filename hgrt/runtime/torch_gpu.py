"""PyTorch on an NVIDIA GPU: pixels go up as bytes, joints come down, and a shape that comes again is one CUDA graph.

Crops are cut, run and decoded on the device (`hgrt.model.complete`). A small network is bound by the starting of its
many kernels; a graph starts them all at once. Knows no streams beside torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.complete import Body, FromCrops, FromFrame
from hgrt.pose.geometry import Array, Image
from hgrt.pose.heatmaps import Keypoints, Maps
from hgrt.runtime.base import (
    Backend,
    BackendInfo,
    Placed,
    Request,
    Timings,
    as_float32,
    keypoint_parts,
    shrinks,
)
from hgrt.runtime.torch import checkpoint_only

KEPT = 16  # shapes that stay ready; pictures of ever new sizes must not fill the memory

Work = Callable[[], None]


def captured(work: Work) -> Work:
    """`work`, which queues on the device and has done so before, as a CUDA graph that repeats it on the same memory.

    RuntimeError where it cannot be captured.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class TorchGpuBackend(Backend):
    """A checkpoint, ours or a published one, on the first GPU."""

    def __init__(self, request: Request, device: str = "cuda", capture: Callable[[Work], Work] = captured) -> None:
        """`device` and `capture` are for those who test without a GPU."""
        checkpoint_only(request)
        self._device, self._capture = torch.device(device), capture
        self._on_gpu = self._device.type == "cuda"
        # Left alone, convolutions on a GPU round to TF32: ten bits, where single precision was asked for.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True  # shapes come again: try which algorithm is the fastest
        model = load_checkpoint(request.weights)
        body = Body(model, request.precision)
        self._from_crops, self._from_frame = self._there(FromCrops(body)), self._there(FromFrame(body))
        self._runs: dict[tuple[tuple[int, ...], ...], _Run] = {}
        event = partial(torch.cuda.Event, enable_timing=True)
        self._clock = [event() for _ in range(4)] if self._on_gpu else []
        self._timings: Timings | None = None
        self.info = BackendInfo(
            runtime="torch",
            spec=model.spec,
            weights=request.weights,
            device=torch.cuda.get_device_name() if self._on_gpu else "CPU",
            asked=request.precision,
            running=request.precision,
            threads=0,
            versions={"torch": torch.__version__} | ({"CUDA": str(torch.version.cuda)} if self._on_gpu else {}),
            decodes=True,
            crops_frames=True,
        )
        for _ in range(2):  # a single person is a graph before the first frame comes
            self._keypoints(np.zeros((1, model.spec.input, model.spec.input, 3), np.uint8))

    def timings(self) -> Timings | None:
        """How long the parts of the last answer took on the device; None without one."""
        return self._timings

    def _keypoints(self, crops: NDArray[np.uint8]) -> Keypoints:
        return Keypoints(*keypoint_parts(self._done(self._from_crops, crops).answer.numpy()))

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        return as_float32(self._done(self._from_crops, crops).heatmaps.cpu().numpy())

    def _frame_keypoints(self, frame: Image, affines: Array) -> Placed:
        if shrinks(affines):
            return super()._frame_keypoints(frame, affines)
        run = self._done(self._from_frame, frame[None], affines.astype(np.float32))
        return Placed(*keypoint_parts(run.answer.numpy()))

    @torch.inference_mode()
    def _done(self, module: nn.Module, *inputs: NDArray[Any]) -> _Run:
        """The run of these shapes with its answer: plain the first time, from then on as a graph."""
        shapes = tuple(array.shape for array in inputs)
        run = self._runs.pop(shapes, None)
        if run is None:
            if len(self._runs) >= KEPT:
                del self._runs[next(iter(self._runs))]
            pairs = [self._pair(array) for array in inputs]
            run = _Run(module, pairs, self._here((len(inputs[-1]), len(self.info.spec.joints), 4), torch.float32))
        elif run.replay is None:
            run.replay = self._captured(run.compute)
        self._runs[shapes] = run  # the last in order is the last used
        for (here, _), array in zip(run.inputs, inputs, strict=True):
            here.numpy()[:] = array
        for k, step in enumerate((run.upload, run.replay or run.compute, run.download)):
            self._mark(k)
            step()
        self._mark(3)
        if self._clock:
            self._clock[3].synchronize()
            up, compute, down = (one.elapsed_time(other) for one, other in pairwise(self._clock))
            self._timings = Timings(self._clock[0].elapsed_time(self._clock[3]), up, compute, down)
        return run

    def _mark(self, k: int) -> None:
        if self._clock:
            self._clock[k].record()

    def _captured(self, work: Work) -> Work:
        try:
            return self._capture(work)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            self.info = replace(self.info, device=f"{self.info.device}, no CUDA graph: {reason}")
            self._capture = lambda work: work
            return work

    def _there(self, module: nn.Module) -> nn.Module:
        there: nn.Module = module.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return there.eval()

    def _here(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._on_gpu)

    def _pair(self, array: NDArray[Any]) -> tuple[Tensor, Tensor]:
        here = self._here(array.shape, torch.from_numpy(np.empty(0, array.dtype)).dtype)
        return here, torch.empty(here.shape, dtype=here.dtype, device=self._device)

    def _release(self) -> None:
        self._runs.clear()
        del self._from_crops, self._from_frame


class _Run:
    """A shape that is ready: its `inputs` here (page-locked) and on the device, and its `answer` here.

    `heatmaps` and keypoints stay on the device. Nothing of it moves once `compute` was captured.
    """

    def __init__(self, module: nn.Module, inputs: list[tuple[Tensor, Tensor]], answer: Tensor) -> None:
        self._module, self.inputs, self.answer = module, inputs, answer
        self.replay: Work | None = None
        self.heatmaps = self._keypoints = answer

    def upload(self) -> None:
        for here, there in self.inputs:
            there.copy_(here, non_blocking=True)

    def compute(self) -> None:
        self.heatmaps, self._keypoints = self._module(*(there for _, there in self.inputs))

    def download(self) -> None:
        self.answer.copy_(self._keypoints, non_blocking=True)
