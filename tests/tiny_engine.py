"""Engine ONNX files of a few nodes, made by hand: an export through torch takes seconds, these take none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hgrt.model.spec import ENGINE_KEY, METADATA_KEY, ModelSpec
from hgrt.runtime.loaded import AFFINES, CROPS, FRAME, HEATMAPS, KEYPOINTS

SPEC = ModelSpec(stacks=1, channels=8, gate="none", latent=4, block="postact", stem="light", input=64)


def write(path: Path, body: str = "fp16", said: dict[str, Any] | None = None, weight: float = 0.01) -> Path:
    """An engine's ONNX with one convolution for a network, computing in `body`, that says `said` of itself.

    It finds the brightest 4x4 pixels: in cells, without sub-cell steps.
    """
    kind, number = {"fp16": (TensorProto.FLOAT16, np.float16), "fp32": (TensorProto.FLOAT, np.float32)}[body]
    cells, joints = SPEC.heatmap, len(SPEC.joints)
    nodes = [
        helper.make_node("Cast", [CROPS], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["image"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["image"], ["x"], to=kind),
        helper.make_node("Conv", ["x", "weights"], ["maps"], strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Cast", ["maps"], [HEATMAPS], to=TensorProto.FLOAT),
        helper.make_node("Reshape", [HEATMAPS, "flat shape"], ["flat"]),
        helper.make_node("ArgMax", ["flat"], ["best"], axis=2, keepdims=1),
        helper.make_node("Cast", ["best"], ["place"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["place", "cells"], ["rows"]),
        helper.make_node("Floor", ["rows"], ["row"]),
        helper.make_node("Mul", ["row", "cells"], ["before"]),
        helper.make_node("Sub", ["place", "before"], ["column"]),
        helper.make_node("ReduceMax", ["flat", "axis"], ["score"], keepdims=1),
        helper.make_node("Concat", ["column", "row", "score", "score"], [KEYPOINTS], axis=2),
    ]
    constants = {
        "weights": np.full((joints, 3, 4, 4), weight / 255, number),
        "flat shape": np.array([0, joints, cells * cells], np.int64),
        "cells": np.array(cells, np.float32),
        "axis": np.array([2], np.int64),
    }
    inputs = [helper.make_tensor_value_info(CROPS, TensorProto.UINT8, ["batch", SPEC.input, SPEC.input, 3])]
    outputs = [
        helper.make_tensor_value_info(HEATMAPS, TensorProto.FLOAT, ["batch", joints, cells, cells]),
        helper.make_tensor_value_info(KEYPOINTS, TensorProto.FLOAT, ["batch", joints, 4]),
    ]
    engine = {"precision": "fp16", "crop": False} if said is None else said
    return _save(
        path, nodes, inputs, outputs, constants, {METADATA_KEY: SPEC.to_json(), ENGINE_KEY: json.dumps(engine)}
    )


def write_frame(path: Path, described: bool = False) -> Path:
    """A file with the inputs of an engine that cuts crops itself, and says so if `described`; what it computes makes no
    sense."""
    nodes = [
        helper.make_node("Cast", [FRAME], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0),
        helper.make_node("Mul", [AFFINES, "mean"], [KEYPOINTS]),
    ]
    inputs = [
        helper.make_tensor_value_info(FRAME, TensorProto.UINT8, [1, "height", "width", 3]),
        helper.make_tensor_value_info(AFFINES, TensorProto.FLOAT, ["batch", 2, 3]),
    ]
    output = helper.make_tensor_value_info(KEYPOINTS, TensorProto.FLOAT, ["batch", 2, 3])
    said = {METADATA_KEY: SPEC.to_json(), ENGINE_KEY: json.dumps({"precision": "fp16", "crop": True})}
    return _save(path, nodes, inputs, [output], metadata=said if described else None)


def write_refused(path: Path) -> Path:
    """A file that is sound, and that TensorRT's parser refuses: it moves bytes about before they are floats."""
    nodes = [
        helper.make_node("Transpose", [CROPS], ["moved"], perm=[0, 3, 1, 2], name="moves_bytes"),
        helper.make_node("Cast", ["moved"], [HEATMAPS], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info(CROPS, TensorProto.UINT8, ["batch", 8, 8, 3])]
    return _save(path, nodes, inputs, [helper.make_tensor_value_info(HEATMAPS, TensorProto.FLOAT, ["batch", 3, 8, 8])])


def _save(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    weights = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(proto, metadata or {})
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())
    return path
