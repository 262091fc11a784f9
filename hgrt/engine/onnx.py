"""From a network to an ONNX file that eats camera pixels.

The graph takes uint8 BGR crops as they are and returns the last stack's heatmaps; colour order and the 1/255 are folded
into the first convolution, batch norms into theirs. The `ModelSpec` travels in the file's metadata.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hgrt.files import written_whole
from hgrt.model.spec import METADATA_KEY
from hgrt.require import require

if TYPE_CHECKING:
    from hgrt.model.hourglass import StackedHourglass

OPSET = 18
INPUT, OUTPUT = "crops", "heatmaps"


def export_onnx(model: StackedHourglass, path: Path, batch: int | None = None) -> None:
    """Write `model` to `path`: input `crops` (N, S, S, 3) uint8 BGR, output `heatmaps` (N, J, S/4, S/4) float32.

    `batch` fixes N; None leaves it free. The file appears whole or not at all.
    """
    onnx = require("onnx", "train")
    with written_whole(path) as partial:
        proto = _traced(model, batch)
        proto.producer_name, proto.doc_string = "hgrt", f"stacked hourglass, {model.spec}"
        for part in (proto.graph.node, proto.graph.value_info, proto.graph.initializer):
            for item in part:
                del item.metadata_props[:]  # traces of the exporting machine
                item.ClearField("doc_string")
        entry = proto.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, model.spec.to_json()
        onnx.checker.check_model(proto, full_check=True)
        partial.write_bytes(proto.SerializeToString())


def _traced(model: StackedHourglass, batch: int | None) -> Any:
    torch = require("torch", "train")
    require("onnxscript", "train")
    side = model.spec.input
    crops = torch.zeros((batch or 2, side, side, 3), dtype=torch.uint8)
    shapes = None if batch else {"crops": {0: torch.export.Dim("batch", min=1, max=1024)}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it would list every package that is not there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            _camera_ready(model),
            (crops,),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=shapes,
            optimize=True,
        )
    return program.model_proto


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
