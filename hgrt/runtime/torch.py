"""PyTorch on the CPU: the network itself. The yardstick for every other runtime."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.complete import DTYPES
from hgrt.model.fold import folded
from hgrt.pose.heatmaps import Maps
from hgrt.runtime.base import Backend, BackendInfo, Request, as_float32


def checkpoint_only(request: Request) -> None:
    """HgrtError for an ONNX file."""
    if request.weights.suffix == ".onnx":
        raise HgrtError(
            "The torch runtime takes checkpoints, not ONNX files.",
            f"Given: {request.weights}.",
            "Give the .pt file that the ONNX file was exported from.",
        )


class TorchBackend(Backend):
    """A checkpoint, ours or a published one, in eager PyTorch: batch norms folded, channels-last."""

    def __init__(self, request: Request) -> None:
        checkpoint_only(request)
        torch.set_num_threads(request.threads)
        self._dtype = DTYPES[request.precision]
        model = folded(load_checkpoint(request.weights))
        self._model = model.to(self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.info = BackendInfo(
            runtime="torch",
            spec=model.spec,
            weights=request.weights,
            device="CPU",
            asked=request.precision,
            running=request.precision,
            threads=torch.get_num_threads(),
            versions={"torch": torch.__version__},
        )

    @torch.inference_mode()
    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        bgr = torch.from_numpy(crops if crops.flags.writeable else crops.copy())
        # (N, S, S, 3) permuted to (N, 3, S, S) is channels-last as it stands; BGR becomes RGB.
        image = bgr.flip(-1).permute(0, 3, 1, 2).to(self._dtype) / 255
        return as_float32(self._model(image)[:, -1].float().numpy())

    def _release(self) -> None:
        del self._model
