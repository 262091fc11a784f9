"""From a network to an ONNX file that eats camera pixels.

For CPU runtimes the graph takes uint8 BGR crops as they are and returns the last stack's heatmaps; colour order and the
1/255 are folded into the first convolution, batch norms into theirs. For an engine it also decodes, computes in half
precision if asked, and may cut the crops out of a frame itself. The `ModelSpec` travels in the file's metadata.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from hgrt.errors import HgrtError
from hgrt.files import written_whole
from hgrt.model.spec import ENGINE_KEY, METADATA_KEY, ModelSpec
from hgrt.require import require
from hgrt.runtime.loaded import AFFINES, CROPS, FRAME, HEATMAPS, KEYPOINTS

if TYPE_CHECKING:
    from hgrt.model.hourglass import StackedHourglass

OPSET = 18
INPUT, OUTPUT = CROPS, HEATMAPS
MAX_BATCH = 64  # people in one call of an engine
MAX_SIDE = 1 << 14  # pixels of a frame that an engine cuts crops out of

EnginePrecision = Literal["fp16", "fp32"]


@dataclass(frozen=True, slots=True)
class EngineOnnx:
    """What an ONNX file for an engine says of itself: the network, its precision, and whether it cuts the crops."""

    spec: ModelSpec
    precision: EnginePrecision
    crop: bool


def export_onnx(model: StackedHourglass, path: Path, batch: int | None = None) -> None:
    """Write `model` to `path`: input `crops` (N, S, S, 3) uint8 BGR, output `heatmaps` (N, J, S/4, S/4) float32.

    `batch` fixes N; None leaves it free. The file appears whole or not at all.
    """
    onnx, torch = _packages()
    side = model.spec.input
    crops = torch.zeros((batch or 2, side, side, 3), dtype=torch.uint8)
    shapes = None if batch else {CROPS: {0: torch.export.Dim("batch", min=1, max=1024)}}
    with written_whole(path) as partial:
        proto = _traced(_camera_ready(model), {CROPS: crops}, [HEATMAPS], shapes)
        partial.write_bytes(_described(onnx, proto, model.spec, {}))


def export_engine_onnx(
    model: StackedHourglass, path: Path, precision: EnginePrecision = "fp16", crop: bool = False
) -> None:
    """Write `model` to `path` as an engine wants it; the file appears whole or not at all.

    Inputs: `crops` (N, S, S, 3) uint8 BGR; with `crop` instead `frame` (1, H, W, 3) uint8 BGR and `affines` (N, 2, 3)
    float32, from pixels of the crop to pixels of the frame. N is 1 to `MAX_BATCH`, H and W are 1 to `MAX_SIDE`.
    Outputs: `heatmaps` (N, J, S/4, S/4) float32 and `keypoints` (N, J, 4) float32: x, y in heatmap cells (with `crop`
    in pixels of the frame), score, and spread in heatmap cells, 0 where there is no peak.
    `precision` is that of the network; cutting and decoding are in single precision always.
    """
    onnx, torch = _packages()
    from hgrt.model.complete import Body, FromCrops, FromFrame

    side, batch = model.spec.input, torch.export.Dim("batch", min=1, max=MAX_BATCH)
    inputs: dict[str, Any]
    shapes: dict[str, Any]
    if crop:
        graph: object = FromFrame(Body(model, precision))
        inputs = {FRAME: torch.zeros((1, side, side + 2, 3), dtype=torch.uint8), AFFINES: torch.zeros((2, 2, 3))}
        height, width = (torch.export.Dim(name, min=1, max=MAX_SIDE) for name in ("height", "width"))
        shapes = {FRAME: {1: height, 2: width}, AFFINES: {0: batch}}
    else:
        graph = FromCrops(Body(model, precision))
        inputs = {CROPS: torch.zeros((2, side, side, 3), dtype=torch.uint8)}
        shapes = {CROPS: {0: batch}}
    with written_whole(path) as partial:
        proto = _traced(graph, inputs, [HEATMAPS, KEYPOINTS], shapes)
        entry = json.dumps({"precision": precision, "crop": crop})
        partial.write_bytes(_described(onnx, proto, model.spec, {ENGINE_KEY: entry}))


def read_engine_onnx(path: Path) -> EngineOnnx:
    """What the file at `path` says of itself; HgrtError where `export_engine_onnx` did not write it."""
    onnx = require("onnx", "train")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors share no base with those of files
        reason = str(error).partition("\n")[0]
        raise HgrtError(f"{path} is not an ONNX file that can be read.", reason) from error
    said = {entry.key: entry.value for entry in proto.metadata_props}
    if METADATA_KEY not in said or ENGINE_KEY not in said:
        raise HgrtError(
            f"{path} is an ONNX file, but not one that hgrt wrote for an engine.",
            f"Its metadata have no '{METADATA_KEY if METADATA_KEY not in said else ENGINE_KEY}'.",
            "Give the checkpoint: hgrt build-engine CKPT",
        )
    try:
        engine = json.loads(said[ENGINE_KEY])
        precision, crop = engine["precision"], engine["crop"]
    except (ValueError, KeyError, TypeError) as error:
        raise HgrtError(f"What {path} says of itself cannot be read.", f"{ENGINE_KEY}: {said[ENGINE_KEY]}") from error
    if precision not in get_args(EnginePrecision) or not isinstance(crop, bool):
        raise HgrtError(f"What {path} says of itself cannot be read.", f"{ENGINE_KEY}: {said[ENGINE_KEY]}")
    return EngineOnnx(ModelSpec.from_json(said[METADATA_KEY]), precision, crop)


def _packages() -> tuple[Any, Any]:
    onnx, torch = require("onnx", "train"), require("torch", "train")
    require("onnxscript", "train")
    return onnx, torch


def _traced(module: object, inputs: Mapping[str, Any], outputs: Sequence[str], shapes: Mapping[str, Any] | None) -> Any:
    """The module as an ONNX model with those names; `inputs` are examples, `shapes` says which sizes are free."""
    torch = require("torch", "train")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it would list every package that is not there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            optimize=True,
        )
    return program.model_proto


def _described(onnx: Any, proto: Any, spec: ModelSpec, more: Mapping[str, str]) -> bytes:
    """The bytes of the file: checked, with its description, without traces of the exporting machine."""
    proto.producer_name, proto.doc_string = "hgrt", f"stacked hourglass, {spec}"
    for part in (proto.graph.node, proto.graph.value_info, proto.graph.initializer):
        for item in part:
            del item.metadata_props[:]
            item.ClearField("doc_string")
    for key, value in {METADATA_KEY: spec.to_json(), **more}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(proto, full_check=True)
    return cast(bytes, proto.SerializeToString())


def _camera_ready(model: StackedHourglass) -> object:
    from torch import Tensor, nn

    from hgrt.model.fold import folded

    class CameraReady(nn.Module):
        """uint8 BGR channels-last in, heatmaps of the last stack out."""

        def __init__(self) -> None:
            super().__init__()
            self.net = folded(model)
            first = cast(nn.Conv2d, self.net.stem.get_submodule("0.conv"))
            first.weight.data = first.weight.data.flip(1) / 255  # RGB weights in 0..1 -> BGR weights in 0..255
            self.dtype = first.weight.dtype

        def forward(self, crops: Tensor) -> Tensor:
            image = crops.permute(0, 3, 1, 2).to(self.dtype)
            return cast(Tensor, self.net(image)[:, -1].float())

    return CameraReady().eval()
