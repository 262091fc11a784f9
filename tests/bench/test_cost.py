"""The arithmetic counted in an ONNX file is that of the network it was exported from, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hgrt.bench.cost import _macs, cost
from hgrt.errors import HgrtError
from hgrt.runtime.base import asset, bundled_weights


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


def test_a_fixed_batch_is_counted_as_one(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(bundled_weights())
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(proto, tmp_path / "three.onnx")
    one, three = cost(bundled_weights()), cost(tmp_path / "three.onnx")
    assert three.gflop == pytest.approx(one.gflop, rel=1e-9)
    assert three.input_mb == one.input_mb and three.weights_mb == one.weights_mb


def test_an_engines_file_in_half_precision(tmp_path: Path) -> None:
    """By hand: 16 maps of 16x16 cells, each by 48 multiply-adds. Conversions that ONNX Runtime adds are not counted."""
    pytest.importorskip("onnx")
    import tiny_engine

    found = cost(tiny_engine.write(tmp_path / "half.onnx"))
    assert found.gflop == pytest.approx(2 * 16 * 16 * 16 * 48 / 1e9)
    assert found.weights_mb == pytest.approx(2 * 16 * 48 / 1e6, abs=1e-4)
    assert found.layers == pytest.approx(14, abs=1)


def test_an_engines_file_that_takes_frames(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import tiny_engine

    found = cost(tiny_engine.write_frame(tmp_path / "frame.onnx", described=True))
    assert (found.gflop, found.layers) == (0, 3) and found.input_mb == 64 * 64 * 3 / 1e6


# Against torch


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
