"""How much of an engine really computes in half precision.

TensorRT does as the types of the ONNX say, and a single-precision ONNX becomes a single-precision engine without a
word. So it is counted: in the network before the build, where every layer still has one type, and in the finished
engine, where layers are fused and only the library's inspector knows, in a format that changes with its version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hgrt.errors import HgrtError
from hgrt.runtime.library import Library, open_log

HALF, SINGLE = ("half", "fp16"), ("float", "fp32")


@dataclass(frozen=True, slots=True)
class Half:
    """So many of so many layers compute in half precision; `of` says what was counted.

    "network": the layers with weights, which do nearly all of the arithmetic. "engine": all fused layers whose numbers
    are floats, decoding among them, which is in single precision on purpose.
    """

    half: int
    layers: int
    of: Literal["network", "engine"]

    @property
    def share(self) -> float:
        """0 to 1; 0 where there are no such layers."""
        return self.half / self.layers if self.layers else 0.0

    @property
    def enough(self) -> bool:
        """Whether this is a network or an engine in half precision: all weights, or a good part of the fused layers."""
        # How TensorRT fuses is its own affair; an engine that lost its halves has none at all.
        return self.half == self.layers > 0 if self.of == "network" else self.share >= 0.25

    def __str__(self) -> str:
        counted = "layers with weights, counted in the network" if self.of == "network" else "layers of the engine"
        return f"{self.half} of {self.layers} {counted}"


def network_half(trt: Any, network: Any) -> Half:
    """Count the convolutions and matrix products of a parsed, strongly typed network; `trt` is its library's module."""
    weighted = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    layers = [layer for layer in map(network.get_layer, range(network.num_layers)) if layer.type in weighted]
    half = sum(layer.get_output(0).dtype == trt.DataType.HALF for layer in layers)
    return Half(half, len(layers), "network")


def engine_half(library: Library, data: bytes) -> Half | None:
    """Load a finished engine and ask its inspector; None where that does not tell types.

    Needs a GPU. HgrtError in TensorRT's words where the engine does not even load.
    """
    trt, log = library.module, open_log(library)
    engine = trt.Runtime(log).deserialize_cuda_engine(data)
    if engine is None:
        raise HgrtError("TensorRT does not load the engine that it has just built.", log.errors() or "It says nothing.")
    inspector = engine.create_engine_inspector()
    if inspector is None:
        return None
    return read_information(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def read_information(text: str) -> Half | None:
    """Count in the inspector's JSON, of TensorRT 10, 11 or RTX; None where no layer has a type in it."""
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    kinds = [set(_types(layer)) for layer in layers if isinstance(layer, Mapping)] if isinstance(layers, list) else []
    half = sum("half" in kind for kind in kinds)
    floats = sum(bool(kind) for kind in kinds)
    return Half(half, floats, "engine") if floats else None


def _types(layer: Mapping[str, Any]) -> Iterator[str]:
    """The float types of what a layer computes: "half", "single", or neither for whole numbers."""
    outputs = layer.get("Outputs")
    for tensor in outputs if isinstance(outputs, Sequence) else ():
        if isinstance(tensor, Mapping):
            said = _said(tensor)
            if any(word in said for word in HALF):
                yield "half"
            elif any(word in said for word in SINGLE):
                yield "single"


def _said(tensor: Mapping[str, Any]) -> str:
    """What a tensor says of its type: "Format/Datatype" in version 10, which became two entries in 11."""
    by_name = {str(name).lower(): str(value).lower() for name, value in tensor.items()}
    return by_name.get("datatype") or by_name.get("format/datatype") or by_name.get("format") or ""
