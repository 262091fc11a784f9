"""From a network to an ONNX file that computes in 8 bits, for ONNX Runtime on a CPU.

Everything is rounded, from the first convolution to the heatmaps, so that between layers there are only bytes:
activations become uint8, with one range a tensor, weights int8, with one range an output channel. The ranges of
activations hold all but a few of their values on crops of real people. This module does not judge the file; it says
how far its joints lie from those of the network it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import People
from hgrt.engine.onnx import export_onnx
from hgrt.engine.verify import Parity, parity
from hgrt.errors import HgrtError
from hgrt.files import written_whole
from hgrt.pose.geometry import warp
from hgrt.require import require
from hgrt.runtime.base import PRECISION_KEY, open_backend
from hgrt.runtime.loaded import CROPS

if TYPE_CHECKING:
    from hgrt.model.hourglass import StackedHourglass

CALIBRATED = 128
"""Crops that ranges are measured on: three times as many gained nothing with the bundled weights."""

HELD = 99.997
"""Percent of a tensor's values that its range holds: all would make the steps of the others coarser than need be, and
of heatmaps, which are nearly everywhere near 0, much less would cut off the peaks (docs/engines.md)."""

COMPARED = 32
"""Crops that the two networks' joints are compared on."""


def calibration_crops(
    sets: Sequence[People], size: int, count: int = CALIBRATED, crop: float = 1.0
) -> NDArray[np.uint8]:
    """Crops (N, size, size, 3) uint8 BGR of people, as many of each set, spread evenly over it.

    Each is `crop` of a person's box (`ModelSpec.crop`). N is `count`, or a little less where the sets do not divide it
    or have fewer. Neighbours are of different sets, so that the first few hold something of each. HgrtError where there
    is nobody.
    """
    inhabited = [people for people in sets if len(people)]
    if not inhabited:
        raise HgrtError("There is nobody to calibrate on.", f"Empty: {', '.join(people.name for people in sets)}.")
    share = max(1, count // len(inhabited))
    rows = [np.unique(np.linspace(0, len(people) - 1, share).round().astype(int)).tolist() for people in inhabited]
    samples = [
        people.get(row)
        for turn in zip_longest(*rows)
        for people, row in zip(inhabited, turn, strict=True)
        if row is not None
    ]
    return np.stack([warp(sample.image, sample.box.scaled(crop).to_crop(size), size) for sample in samples])


def export_int8(model: StackedHourglass, path: Path, crops: NDArray[np.uint8]) -> Parity:
    """Write `model` in 8 bits to `path`, its ranges measured on `crops` (N, S, S, 3) uint8 BGR.

    Input, output and description are those of `export_onnx`, and the file says that it is int8. It appears whole or not
    at all, and is the same for the same network and crops. Returns how its joints agree with those of the network in
    single precision on the first `COMPARED` crops.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, written_whole(path) as partial:
        single = Path(folder) / "single.onnx"
        export_onnx(model, single)
        partial.write_bytes(quantised(single, crops))
        return _compared(single, partial, crops[:COMPARED])


def quantised(single: Path, crops: NDArray[np.uint8]) -> bytes:
    """The 8-bit file of what `export_onnx` wrote to `single`, beside which scratch files are left."""
    onnx = require("onnx", "train")
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    proto = onnx.load(single)
    said = {entry.key: entry.value for entry in proto.metadata_props}
    # The export has folded and has shapes: preparing it changes nothing, and being told so stops a warning.
    add_pre_process_metadata(proto)
    prepared, rounded = single.with_name("prepared.onnx"), single.with_name("rounded.onnx")
    onnx.save(proto, prepared)
    with redirect_stdout(StringIO()):  # it prints what it is doing
        quantize_static(
            prepared,
            rounded,
            _Reader(crops),
            per_channel=True,  # one range for all channels of a folded batch norm would lose the small ones
            activation_type=QuantType.QUInt8,  # signed activations have no fast kernel on x86
            weight_type=QuantType.QInt8,
            reduce_range=True,  # 7 bits: without VNNI, x86 adds pairs of products in 16 bits, which 8 overflow
            calibrate_method=CalibrationMethod.Percentile,
            # One crop after the other: all values of all crops at once would take gigabytes.
            extra_options={"CalibPercentile": HELD, "CalibStridedMinMax": 1},
            # One that no convolution took up, as in the published shape: nothing computes it in bytes.
            nodes_to_exclude=[node.name for node in proto.graph.node if node.op_type == "BatchNormalization"],
        )
    proto = onnx.load(rounded)
    proto.producer_name = "hgrt"
    proto.ClearField("producer_version")
    onnx.helper.set_model_props(proto, {**said, PRECISION_KEY: "int8"})
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


class _Reader:
    """Crops one by one, as calibration asks for them: those of a range, again and again."""

    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self._crops = crops
        self.set_range(0, len(crops))

    def __len__(self) -> int:
        return len(self._crops)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Which crops `get_next` gives from now on."""
        self._rest = iter(self._crops[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        crop = next(self._rest, None)
        return None if crop is None else {CROPS: crop[None]}


def _compared(single: Path, rounded: Path, crops: NDArray[np.uint8]) -> Parity:
    with open_backend("onnxruntime", single) as network, open_backend("onnxruntime", rounded) as fast:
        return parity(network.keypoints(crops), fast.keypoints(crops))
