"""PyTorch: the network itself, on a GPU if there is one. The yardstick for every other runtime."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.fold import folded
from hgrt.pose.heatmaps import Maps
from hgrt.runtime.base import Backend, BackendInfo, Precision, Request, as_float32

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend(Backend):
    """A checkpoint, ours or a published one, in eager PyTorch: batch norms folded, channels-last."""

    def __init__(self, request: Request) -> None:
        if request.weights.suffix == ".onnx":
            raise HgrtError(
                "The torch runtime takes checkpoints, not ONNX files.",
                f"Given: {request.weights}.",
                "Give the .pt file that the ONNX file was exported from.",
            )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = DTYPES[request.precision]
        if self._device.type == "cpu":
            torch.set_num_threads(request.threads)
        elif request.precision == "fp32":
            # Left alone, convolutions on a GPU round to TF32: ten bits, where single precision was asked for.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        model = folded(load_checkpoint(request.weights))
        self._model = model.to(self._device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        device = torch.cuda.get_device_name() if self._device.type == "cuda" else "CPU"
        self.info = BackendInfo(
            runtime="torch",
            spec=model.spec,
            weights=request.weights,
            device=device,
            asked=request.precision,
            running=request.precision,
            threads=0 if self._device.type == "cuda" else torch.get_num_threads(),
            versions={"torch": torch.__version__},
        )

    @torch.inference_mode()
    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        bgr = torch.from_numpy(crops if crops.flags.writeable else crops.copy()).to(self._device)
        # (N, S, S, 3) permuted to (N, 3, S, S) is channels-last as it stands; BGR becomes RGB.
        image = bgr.flip(-1).permute(0, 3, 1, 2).to(self._dtype) / 255
        return as_float32(self._model(image)[:, -1].float().cpu().numpy())

    def _release(self) -> None:
        del self._model
