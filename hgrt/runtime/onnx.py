"""ONNX Runtime: the default on a CPU."""

from __future__ import annotations

import json
import re

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.model.spec import ENGINE_KEY, METADATA_KEY, ModelSpec
from hgrt.pose.heatmaps import Maps
from hgrt.runtime.base import PRECISION_KEY, Backend, BackendInfo, Request, as_float32


class OnnxBackend(Backend):
    """A .onnx file of ours on the CPU, in the precision of the file."""

    def __init__(self, request: Request) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = request.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Between layers threads wait awake, which saves time; but no longer than most layers' waits last
        # and not after the last one, or decoding and encoding would lack the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.intra_op.spin_duration_us", "10")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = ort.InferenceSession(str(request.weights), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen unrelated exception types for a bad file
            reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)).partition("\n")[0]
            raise HgrtError(f"{request.weights} is not an ONNX file that ONNX Runtime can load.", reason) from error
        said = self._session.get_modelmeta().custom_metadata_map
        text = said.get(METADATA_KEY)
        if text is None:
            raise foreign_onnx(request)
        engine = json.loads(said.get(ENGINE_KEY, "{}"))
        if engine.get("crop"):
            raise HgrtError(
                f"{request.weights} takes whole frames: it is there to build an engine from.",
                fix="Give the engine beside it, or what hgrt export writes.",
            )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input, self._output = inputs[0].name, outputs[0].name
        self.info = BackendInfo(
            runtime="onnxruntime",
            spec=ModelSpec.from_json(text),
            weights=request.weights,
            device="CPU",
            asked=request.precision,
            running=said.get(PRECISION_KEY) or engine.get("precision", "fp32"),
            threads=request.threads,
            versions={"onnxruntime": ort.__version__},
        )

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        return as_float32(self._session.run([self._output], {self._input: crops})[0])

    def _release(self) -> None:
        del self._session


def foreign_onnx(request: Request) -> HgrtError:
    """The file is ONNX but not one of ours."""
    return HgrtError(
        f"{request.weights} is an ONNX file, but not one that hgrt wrote.",
        f"Its metadata have no '{METADATA_KEY}', so input, colour order and joints are unknown.",
        "Export a checkpoint with: hgrt export CKPT",
    )
