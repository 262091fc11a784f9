"""The 8-bit file: all of the network in bytes, the same file every time, and answers like those of the network.

Networks here are small and untrained; how right 8 bits are with trained weights is measured, not tested.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402  # after the skips

from fakes import environment  # noqa: E402
from hgrt.data.generated import GeneratedPeople  # noqa: E402
from hgrt.data.sample import Sample  # noqa: E402
from hgrt.engine import quantize  # noqa: E402
from hgrt.engine.onnx import export_onnx  # noqa: E402
from hgrt.engine.quantize import COMPARED, calibration_crops, export_int8, quantised  # noqa: E402
from hgrt.engine.verify import Parity  # noqa: E402
from hgrt.errors import HgrtError  # noqa: E402
from hgrt.model.hourglass import StackedHourglass  # noqa: E402
from hgrt.model.spec import METADATA_KEY, ModelSpec  # noqa: E402
from hgrt.pose.geometry import Box  # noqa: E402
from hgrt.runtime.base import open_backend  # noqa: E402

SPEC = ModelSpec(stacks=1, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)


def network() -> StackedHourglass:
    """A network whose batch norms do something."""
    torch.manual_seed(0)
    net = StackedHourglass(SPEC)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.75, 1.25)
            module.bias.data.uniform_(-0.2, 0.2)
    return net.eval()


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return calibration_crops([GeneratedPeople(COMPARED + 4, 3)], SPEC.input)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, crops: NDArray[np.uint8]) -> tuple[Path, Path, Parity]:
    """The network in 8 bits, in single precision, and how they were found to agree."""
    folder = tmp_path_factory.mktemp("quantize")
    single, rounded = folder / "net.onnx", folder / "net.int8.onnx"

    def kept(model: StackedHourglass, path: Path) -> None:
        export_onnx(model, path)
        single.write_bytes(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "export_onnx", kept)
        found = export_int8(network(), rounded, crops)
    assert {path.name for path in folder.iterdir()} == {single.name, rounded.name}
    return rounded, single, found


def count(path: Path, operation: str) -> int:
    return [node.op_type for node in onnx.load(path).graph.node].count(operation)


def test_the_file_says_what_it_is(made: tuple[Path, Path, Parity]) -> None:
    rounded, single, _ = made
    said, there = ({entry.key: entry.value for entry in onnx.load(path).metadata_props} for path in (rounded, single))
    assert said == {**there, "hgrt.precision": "int8"} and ModelSpec.from_json(said[METADATA_KEY]) == SPEC
    for precision in (None, "int8"):
        with open_backend("auto", rounded, precision) as backend:
            assert (backend.info.asked, backend.info.running, backend.info.spec) == ("int8", "int8", SPEC)


def test_it_is_never_passed_off_as_another_precision(made: tuple[Path, Path, Parity]) -> None:
    rounded, single, _ = made
    with pytest.raises(HgrtError, match="runs int8 where fp32 was asked for"):
        open_backend("onnxruntime", rounded, "fp32")
    with pytest.raises(HgrtError, match="runs fp32 where int8 was asked for") as error:
        open_backend("onnxruntime", single, "int8")
    assert "--int8" in error.value.fix


def test_weights_are_signed_bytes_with_a_range_for_each_channel(made: tuple[Path, Path, Parity]) -> None:
    rounded, single, _ = made
    graph = onnx.load(rounded).graph
    stored = {one.name: one for one in graph.initializer}
    scales = {node.output[0]: stored[node.input[1]] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"} & stored.keys()
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == count(single, "Conv") > 40
    for node in convolutions:
        weight = stored[node.input[1].replace("_DequantizeLinear_Output", "_quantized")]
        assert weight.name in weights and weight.data_type == onnx.TensorProto.INT8
        assert list(scales[node.input[1]].dims) == [weight.dims[0]]
    activations = {stored[node.input[2]].data_type for node in graph.node if node.op_type == "QuantizeLinear"}
    assert activations == {onnx.TensorProto.UINT8}


def test_ranges_hold_all_but_the_rarest_values(made: tuple[Path, Path, Parity], crops: NDArray[np.uint8]) -> None:
    rounded, single = (onnx.load(path) for path in made[:2])
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in rounded.graph.initializer}
    scales = {
        node.input[0]: float(stored[node.input[1]])
        for node in rounded.graph.node
        if node.op_type == "QuantizeLinear"
        and node.input[0] in {name for one in single.graph.node for name in one.output}
    }
    there = {output.name for output in single.graph.output}
    single.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in scales.keys() - there)
    session = ort.InferenceSession(single.SerializeToString(), providers=["CPUExecutionProvider"])
    seen = session.run(list(scales), {session.get_inputs()[0].name: crops})
    shares = [
        255 * scale / (max(of.max(), 0) - min(of.min(), 0)) for scale, of in zip(scales.values(), seen, strict=True)
    ]
    assert len(shares) > 40 and max(shares) < 1.01
    assert 0.5 < min(shares) < 0.96, "some values are beyond the range, and most of it is kept"


def test_the_whole_network_computes_in_bytes(made: tuple[Path, Path, Parity], tmp_path: Path) -> None:
    """As ONNX Runtime fuses it: a sum or a picture made larger between convolutions goes through no floats."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(made[0]), options, providers=["CPUExecutionProvider"])
    fused = tmp_path / "fused.onnx"
    assert count(fused, "QLinearConv") == count(made[1], "Conv")
    assert [count(fused, operation) for operation in ("Conv", "FusedConv", "Add", "Relu")] == [0, 0, 0, 0]
    # Pixels come in and heatmaps go out; the gate alone has operations that there are no bytes for.
    assert count(fused, "QuantizeLinear") + count(fused, "DequantizeLinear") <= 12


def test_the_answers_are_those_of_the_network_but_for_rounding(
    made: tuple[Path, Path, Parity], crops: NDArray[np.uint8]
) -> None:
    rounded, single, found = made
    with open_backend("onnxruntime", rounded) as fast, open_backend("onnxruntime", single) as slow:
        expected, maps = slow.infer(crops[:4]).copy(), fast.infer(crops[:4])
    error = np.sqrt(np.mean((maps - expected) ** 2)) / expected.std()
    assert 1e-4 < error < 0.2
    assert found.joints <= COMPARED * len(SPEC.joints) and found.score > 0


def test_the_same_network_and_crops_give_the_same_file(
    made: tuple[Path, Path, Parity], crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    """In another process, too, where sets of names have another order."""
    (tmp_path / "net.onnx").write_bytes(made[1].read_bytes())
    np.save(tmp_path / "crops.npy", crops)
    code = (
        "import numpy, pathlib; from hgrt.engine.quantize import quantised\n"
        "made = quantised(pathlib.Path('net.onnx'), numpy.load('crops.npy')); pathlib.Path('made').write_bytes(made)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(PYTHONHASHSEED="1"), capture_output=True, check=True
    )
    assert (tmp_path / "made").read_bytes() == made[0].read_bytes() and done.stdout + done.stderr == b""
    assert quantised(tmp_path / "net.onnx", crops[:1]) != made[0].read_bytes()


def test_what_fails_leaves_the_old_file(
    crops: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(quantize, "export_onnx", fail)
    (tmp_path / "net.onnx").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no"):
        export_int8(network(), tmp_path / "net.onnx", crops)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("net.onnx", b"old")]


def test_without_onnx_the_line_that_installs_it_is_said(
    crops: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(HgrtError, match="'onnx'") as error:
        export_int8(network(), tmp_path / "net.onnx", crops)
    assert 'pip install "hgrt[train]"' in error.value.fix and not list(tmp_path.iterdir())


class Numbered:
    """People whose pictures tell their set and their row."""

    def __init__(self, number: int, count: int) -> None:
        self.name, self._number, self._count = f"{number}/train", number, count

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Sample:
        assert 0 <= index < self._count
        image = np.full((8, 8, 3), (self._number, index, 0), np.uint8)
        none = np.zeros(16, bool)
        return Sample(f"{index}", image, np.zeros((16, 2)), none, none, none, Box(3.5, 3.5, 8), 1.0)


def test_crops_are_as_much_of_a_box_as_the_network_looks_at() -> None:
    class Framed(Numbered):
        """A white frame around what is black, all of it the box."""

        def get(self, index: int) -> Sample:
            image = np.full((80, 80, 3), 255, np.uint8)
            image[8:-8, 8:-8] = 0
            return replace(super().get(index), image=image, box=Box(39.5, 39.5, 80))

    whole, inner = (calibration_crops([Framed(0, 3)], 16, 3, crop)[0, :, 8, 0].tolist() for crop in (1.0, 0.8))
    assert whole[0] == whole[-1] == 255 and not any(whole[2:-2])
    assert not any(inner[1:-1]) and max(inner) < 150


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(8, 40))
def test_every_set_gives_as_many_crops(sizes: list[int], wanted: int) -> None:
    sets = [Numbered(number, size) for number, size in enumerate(sizes)]
    if not any(sizes):
        with pytest.raises(HgrtError, match="nobody to calibrate on"):
            calibration_crops(sets, 16, wanted)
        return
    middles = calibration_crops(sets, 16, wanted)[:, 8, 8, :2].tolist()
    assert len(middles) == len({tuple(one) for one in middles}) <= wanted, "nobody is there twice"
    inhabited = [number for number, size in enumerate(sizes) if size]
    assert [number for number, _ in middles[: len(inhabited)]] == inhabited
    for number in inhabited:
        rows = [row for other, row in middles if other == number]
        assert len(rows) == min(sizes[number], wanted // len(inhabited)) and rows == sorted(rows)
        assert rows[0] == 0 and (len(rows) == 1 or rows[-1] == sizes[number] - 1), "from the first to the last"
