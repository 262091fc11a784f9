"""The arithmetic counted in an ONNX file is that of the network it was exported from, layer by layer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from hgrt.bench.cost import _macs, cost
from hgrt.errors import HgrtError
from hgrt.model.spec import ModelSpec
from hgrt.runtime.base import asset, bundled_weights

TINY = ModelSpec(stacks=1, channels=8, gate="none", block="postact", stem="light", input=64)


def tensors(*shapes: list[int]) -> list[dict[str, list[int]]]:
    return [{"float": shape} for shape in shapes]


@pytest.mark.parametrize(
    ("operation", "given", "made", "macs"),
    [
        ("Conv", ([1, 6, 9, 9], [4, 6, 3, 3], [4]), [1, 4, 5, 5], 4 * 25 * 6 * 9),
        ("Conv", ([1, 6, 9, 9], [4, 3, 3, 3]), [1, 4, 5, 5], 4 * 25 * 3 * 9),  # two groups
        ("ConvTranspose", ([1, 6, 5, 5], [6, 4, 3, 3]), [1, 4, 7, 7], 6 * 25 * 4 * 9),
        ("Gemm", ([2, 7], [5, 7], [5]), [2, 5], 2 * 7 * 5),
        ("Gemm", ([7, 2], [7, 5]), [2, 5], 2 * 7 * 5),  # transposed
        ("MatMul", ([3, 2, 7], [7, 5]), [3, 2, 5], 3 * 2 * 7 * 5),
        ("Add", ([1, 4, 5, 5], [1, 4, 5, 5]), [1, 4, 5, 5], 0),
    ],
)
def test_multiply_adds_of_one_layer(operation: str, given: tuple[list[int], ...], made: list[int], macs: int) -> None:
    assert _macs(operation, tensors(*given), tensors(made)) == macs


def test_the_bundled_network() -> None:
    found = cost(bundled_weights())
    assert found.gflop == pytest.approx(0.777, abs=1e-3)
    assert found.weights_mb == pytest.approx(bundled_weights().stat().st_size / 1e6, rel=0.01)
    assert 100 < found.layers < 200
    assert found.input_mb == 192 * 192 * 3 / 1e6
    # Every layer writes its maps and another reads them: 56 MB beside 11 MB of weights.
    assert found.activations_mb == pytest.approx(56.2, abs=0.5)


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"\xff junk")
    for name in ("junk.onnx", "none.onnx"):
        with pytest.raises(HgrtError, match="not an ONNX file that ONNX Runtime can load"):
            cost(tmp_path / name)


def test_a_foreign_onnx_file_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    one = onnx.helper.make_tensor_value_info("crops", onnx.TensorProto.FLOAT, [1])
    two = onnx.helper.make_tensor_value_info("heatmaps", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["crops"], ["heatmaps"])], "g", [one], [two])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(HgrtError, match="not one that hgrt wrote"):
        cost(tmp_path / "foreign.onnx")


# Against torch


def made(spec: ModelSpec) -> Any:
    torch = pytest.importorskip("torch")
    from hgrt.model.hourglass import StackedHourglass

    torch.manual_seed(0)
    net = StackedHourglass(spec).eval()
    for values in net.parameters():  # equal biases would become one in the file
        values.data.uniform_(-0.1, 0.1)
    return net


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For a CPU with three people at once, and for an engine in half precision that takes frames."""
    pytest.importorskip("onnxscript")
    tiny = made(TINY)
    from hgrt.engine.onnx import export_engine_onnx, export_onnx

    folder = tmp_path_factory.mktemp("cost")
    found = {name: folder / f"{name}.onnx" for name in ("three", "frame")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter about torch itself
        export_onnx(tiny, found["three"], batch=3)
        export_engine_onnx(tiny, found["frame"], "fp16", crop=True)
    return found


def counted(network: Any) -> tuple[float, int]:
    """10^9 operations of the folded network, which is what is exported, and how many parameters it has."""
    import torch
    from torch import nn

    from hgrt.model.fold import folded

    net, macs = folded(network), []

    def note(module: Any, given: Any, made: Any) -> None:
        one = given[0] if isinstance(module, nn.ConvTranspose2d) else made
        macs.append(one.numel() * module.weight.numel() // module.weight.shape[0])

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(note)
    side = network.spec.input
    with torch.inference_mode():
        net(torch.zeros(1, 3, side, side))
    held = [*net.parameters(), *(each for name, each in net.named_buffers() if "num_batches" not in name)]
    return 2 * sum(macs) / 1e9, sum(each.numel() for each in held)


def test_the_bundled_network_costs_what_torch_counts() -> None:
    pytest.importorskip("torch")
    from hgrt.model.checkpoint import load_checkpoint

    assert cost(bundled_weights()).gflop == pytest.approx(counted(load_checkpoint(asset("lite.pt")))[0], rel=1e-9)


@pytest.mark.parametrize(("name", "width"), [("three", 4), ("frame", 2)])
def test_every_kind_of_file_costs_what_torch_counts(name: str, width: int, files: dict[str, Path]) -> None:
    gflop, numbers = counted(made(TINY))
    found = cost(files[name])
    assert found.gflop == pytest.approx(gflop, rel=1e-9)  # cutting and decoding multiply no matrices
    # Shapes, and what decoding takes, are parameters as well: a kilobyte or two.
    assert found.weights_mb == pytest.approx(numbers * width / 1e6, rel=0.01, abs=0.003)


def test_half_precision_is_told_without_the_conversions(files: dict[str, Path]) -> None:
    """ONNX Runtime adds them where the CPU cannot compute in half precision."""
    onnx = pytest.importorskip("onnx")
    assert cost(files["frame"]).layers == pytest.approx(len(onnx.load(files["frame"]).graph.node), abs=5)
