"""OpenVINO: fast on Intel and AMD CPUs. An extra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.model.spec import METADATA_KEY, ModelSpec
from hgrt.pose.heatmaps import Maps
from hgrt.require import require
from hgrt.runtime.base import PRECISION_KEY, Backend, BackendInfo, Precision, Request, as_float32
from hgrt.runtime.onnx import foreign_onnx

NAMES: dict[str, Precision] = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


class OpenVinoBackend(Backend):
    """A .onnx file of ours on OpenVINO's CPU plugin.

    The precision is set explicitly: left alone, OpenVINO runs bfloat16 where the CPU has it, which moves joints.
    """

    def __init__(self, request: Request) -> None:
        openvino: Any = require("openvino", "openvino")
        asked = next(name for name, ours in NAMES.items() if ours == request.precision)
        core = openvino.Core()
        try:
            model = core.read_model(str(request.weights))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise HgrtError(f"{request.weights} is not an ONNX file that OpenVINO can load.", reason) from error
        text = _said(model, METADATA_KEY)
        if text is None:
            raise foreign_onnx(request)
        if _said(model, PRECISION_KEY) is not None:
            raise HgrtError(
                f"{request.weights} is an 8-bit file, which is made for ONNX Runtime.",
                "OpenVINO would compute it, but does not say in which precision.",
                "Use --runtime onnxruntime, or weights in single precision.",
            )
        options = {
            "INFERENCE_PRECISION_HINT": asked,
            "INFERENCE_NUM_THREADS": request.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(model, "CPU", options)
        self._request = compiled.create_infer_request()
        running = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        self.info = BackendInfo(
            runtime="openvino",
            spec=ModelSpec.from_json(text),
            weights=request.weights,
            device=str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(),
            asked=request.precision,
            running=NAMES.get(running, "bf16"),
            threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
            versions={"openvino": openvino.__version__.partition("-")[0]},
        )

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        self._request.infer({0: crops}, share_inputs=True)
        return as_float32(self._request.get_output_tensor(0).data)

    def _release(self) -> None:
        del self._request


def _said(model: Any, key: str) -> str | None:
    """What the ONNX file's metadata say under that key."""
    try:
        return str(model.get_rt_info(["framework", key]).astype(str))
    except RuntimeError:
        return None
