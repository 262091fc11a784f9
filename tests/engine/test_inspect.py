"""Counting half precision: in the inspector's words of every version, and in real parsed networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hgrt.engine.inspect import Half, engine_half, network_half, read_information
from hgrt.errors import HgrtError
from runtime.fake_cuda import FakeCuda
from runtime.fake_trt import FakeTrt, Plan, Tensor


def ten(*formats: str) -> dict[str, Any]:
    """A layer as version 10 describes it, with outputs of these formats."""
    return {
        "Name": "conv",
        "LayerType": "Convolution",
        "Inputs": [],
        "Outputs": [{"Format/Datatype": f} for f in formats],
    }


def eleven(*types: str) -> dict[str, Any]:
    """A layer as version 11 and RTX describe it."""
    outputs = [{"Name": "y", "Format": "N/A due to dynamic shapes", "Datatype": kind} for kind in types]
    return {"Name": "conv", "LayerType": "kgen", "Outputs": outputs}


LINEAR = "Row major linear FP16 format"
VECTORS = "Channel major FP16 format where channel % 8 == 0"


@pytest.mark.parametrize(
    ("layers", "half", "of"),
    [
        ([ten(LINEAR), ten(VECTORS), ten("Row major linear FP32 format")], 2, 3),
        ([ten("Half"), ten("Float"), ten("Half", "Float")], 2, 3),
        ([eleven("Half"), eleven("FP16"), eleven("Float"), eleven("FP32")], 2, 4),
        ([eleven("Half"), eleven("Int32"), eleven("Bool"), eleven(), {"Name": "signal"}], 1, 1),
        ([{"Outputs": [{"DataType": "Half"}]}, {"Outputs": [{"Format": LINEAR}]}], 2, 2),
        ([eleven("BFloat16")], 0, 1),
    ],
    ids=["10 with a context", "10", "11", "not floats", "renamed", "bfloat16 is not half"],
)
def test_layers_are_counted_whatever_the_version_calls_things(layers: list[Any], half: int, of: int) -> None:
    for rest in ({"Bindings": ["crops"]}, {"I/O Tensors": [{"Name": "crops", "DataType": "UInt8"}]}):
        found = read_information(json.dumps({"Layers": layers, **rest}))
        assert found == Half(half, of, "engine")


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "{}", '{"Layers": 3}', '{"Layers": ["conv1", "conv2"]}', '{"Layers": [{"Outputs": "y"}]}'],
)
def test_an_inspector_that_tells_no_types_is_no_answer(text: str) -> None:
    assert read_information(text) is None


@pytest.mark.parametrize(
    ("half", "enough"),
    [
        (Half(57, 57, "network"), True),
        (Half(56, 57, "network"), False),
        (Half(0, 57, "network"), False),
        (Half(0, 0, "network"), False),
        (Half(60, 75, "engine"), True),
        (Half(2, 75, "engine"), False),
        (Half(0, 75, "engine"), False),
    ],
    ids=str,
)
def test_what_passes_for_half_precision(half: Half, enough: bool) -> None:
    assert half.enough is enough
    assert half.share == (half.half / half.layers if half.layers else 0)
    assert str(half).startswith(f"{half.half} of {half.layers} ") and half.of in str(half)


@pytest.mark.parametrize(("body", "expected"), [("fp16", (1, 1)), ("fp32", (0, 1))])
def test_the_real_parser_keeps_the_types_of_the_file(body: str, expected: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    trt = pytest.importorskip("tensorrt_rtx", reason="the real parser is in the extra: pip install hgrt[rtx]")
    import tiny_engine

    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    assert parser.parse(tiny_engine.write(tmp_path / "tiny.onnx", body).read_bytes())
    found = network_half(trt, network)
    assert (found.half, found.layers, found.of) == (*expected, "network")


# A finished engine


def fake(*layers: dict[str, Any]) -> FakeTrt:
    tensors = (Tensor("x", True, "FLOAT", ("N",)), Tensor("y", False, "FLOAT", ("N",)))
    information = json.dumps({"Layers": list(layers)})
    return FakeTrt(
        FakeCuda(), Plan(tensors, ({"x": ((1,), (1,), (1,))},), lambda given: given, information=information)
    )


def test_a_finished_engine_is_loaded_and_asked() -> None:
    trt = fake(eleven("Half"), eleven("Half"), eleven("Float"))
    assert engine_half(trt.library, trt.data) == Half(2, 3, "engine")
    assert trt.order == ["Runtime", "deserialize_cuda_engine", "create_engine_inspector"]


def test_an_engine_that_does_not_load_is_refused_in_tensorrt_s_words() -> None:
    trt = fake()
    with pytest.raises(HgrtError, match="does not load the engine") as error:
        engine_half(trt.library, b"another plan")
    assert "magic tag does not match" in error.value.why


def test_an_inspector_that_is_not_to_be_had_is_no_answer() -> None:
    trt = fake(eleven("Half"))
    trt.refuse("create_engine_inspector")
    assert engine_half(trt.library, trt.data) is None
