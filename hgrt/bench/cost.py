"""What a network costs, whoever runs it: arithmetic, bytes and layers of one crop, counted in its ONNX file.

The base install has nothing that reads ONNX but ONNX Runtime, so the file is run once, unoptimised, and the trace of
that run tells the shapes. Times in it are not looked at. Knows neither the device nor the runtime that is measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime as ort

from hgrt.bench.machine import MEGA
from hgrt.errors import HgrtError
from hgrt.model.spec import ENGINE_KEY, METADATA_KEY, ModelSpec
from hgrt.runtime.base import Request
from hgrt.runtime.loaded import AFFINES, CROPS, FRAME
from hgrt.runtime.onnx import foreign_onnx

GIGA = 1e9

Shape = list[int]
Tensors = list[dict[str, Shape]]
"""As the trace has them: for each tensor one pair of type and shape."""

_INSERTED = "InsertedPrecisionFreeCast_"
"""So ONNX Runtime names the conversions that it adds where the CPU cannot compute in half precision."""

_BYTES = {"float": 4, "float16": 2, "double": 8, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one crop asks for, whatever runs it.

    gflop          of convolutions and matrix products, 10^9 (a multiply-add is two); the rest is nothing beside them
    weights_mb     of all parameters, in the precision of the file
    activations_mb every layer's inputs and outputs, each as often as a layer reads or writes it
    layers         operations that run
    input_mb       pixels of the crop
    """

    gflop: float
    weights_mb: float
    activations_mb: float
    layers: int
    input_mb: float


def cost(onnx: Path) -> Cost:
    """The cost of an ONNX file of ours, for a CPU or for an engine; one that takes frames is given one crop's size.

    HgrtError where the file is not one that hgrt wrote. Takes as long as running it once, unoptimised.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        session = _opened(onnx, Path(folder))
        said = session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in said:
            raise foreign_onnx(Request(onnx))
        side = ModelSpec.from_json(said[METADATA_KEY]).input
        inputs = session.get_inputs()
        # Only `crops` may have a fixed number of people; where it is free, it has a name instead.
        people = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else 1
        feeds = {
            CROPS: np.zeros((people, side, side, 3), np.uint8),
            FRAME: np.zeros((1, side, side, 3), np.uint8),
            AFFINES: np.zeros((1, 2, 3), np.float32),
        }
        session.run(None, {each.name: feeds[each.name] for each in inputs})
        events = json.loads(Path(session.end_profiling()).read_text())
    half = json.loads(said.get(ENGINE_KEY, "{}")).get("precision") == "fp16"
    return _counted([event for event in events if "output_type_shape" in event.get("args", ())], half, people, side)


def _opened(onnx: Path, folder: Path) -> Any:
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "trace")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # A weight that is packed ahead is missing among the inputs in the trace.
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen unrelated exception types for a bad file
        raise HgrtError(
            f"{onnx} is not an ONNX file that ONNX Runtime can load.", str(error).partition("\n")[0]
        ) from error


def _counted(events: Iterable[Mapping[str, Any]], half: bool, people: int, side: int) -> Cost:
    macs = parameters = moved = layers = 0
    for event in events:
        args = event["args"]
        # In a half-precision file a weight is read by the conversion that was added for it, in its true size.
        parameters += int(args["parameter_size"])
        if not event["name"].startswith(_INSERTED):
            inputs, outputs = args["input_type_shape"], args["output_type_shape"]
            layers += 1
            macs += _macs(args["op_name"], inputs, outputs)
            moved += _bytes([*inputs, *outputs], half)
    return Cost(
        gflop=2 * macs / people / GIGA,
        weights_mb=parameters / MEGA,
        activations_mb=(moved - parameters) / people / MEGA,
        layers=layers,
        input_mb=side * side * 3 / MEGA,
    )


def _macs(operation: str, inputs: Tensors, outputs: Tensors) -> int:
    """Multiply-adds of one layer, biases aside."""
    if operation not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    (given,), (weight,), (made,) = inputs[0].values(), inputs[1].values(), outputs[0].values()
    if operation == "Conv":  # weight: (outputs, inputs of a group, height, width)
        return math.prod(made) * math.prod(weight) // weight[0]
    if operation == "ConvTranspose":  # weight: (inputs, outputs of a group, height, width)
        return math.prod(given) * math.prod(weight) // weight[0]
    inner = given[-1] if operation == "MatMul" else math.prod(given) // made[0]  # a Gemm may take it transposed
    return math.prod(made) * inner


def _bytes(tensors: Tensors, half: bool) -> int:
    """Their size in the file's precision: where that is half, the CPU that made the trace computed in single.

    The few numbers of an engine's decoding, which are single in truth, count as half then.
    """
    sizes = {**_BYTES, "float": 2} if half else _BYTES
    return sum(math.prod(shape) * sizes[kind] for tensor in tensors for kind, shape in tensor.items())
