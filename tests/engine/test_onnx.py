"""The exported file is the network: the same numbers, its description inside, and nothing of this machine.

The files for engines are tried as they are, by ONNX Runtime on the CPU, and given to TensorRT's own parser and builder
where `tensorrt_rtx` is installed, which needs no GPU for that.
"""

from __future__ import annotations

import functools
import getpass
import importlib.util
import json
import socket
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402  # after the skips

from hgrt.data.generated import GeneratedPeople  # noqa: E402
from hgrt.data.packed import splits  # noqa: E402
from hgrt.data.sample import People  # noqa: E402
from hgrt.engine.onnx import (  # noqa: E402
    AFFINES,
    CROPS,
    ENGINE_KEY,
    FRAME,
    HEATMAPS,
    INPUT,
    KEYPOINTS,
    MAX_BATCH,
    OPSET,
    OUTPUT,
    EngineOnnx,
    EnginePrecision,
    export_engine_onnx,
    export_onnx,
    read_engine_onnx,
)
from hgrt.engine.verify import bundled_people  # noqa: E402
from hgrt.errors import HgrtError  # noqa: E402
from hgrt.estimator import PoseEstimator  # noqa: E402
from hgrt.model.checkpoint import load_checkpoint  # noqa: E402
from hgrt.model.fold import folded  # noqa: E402
from hgrt.model.hourglass import StackedHourglass  # noqa: E402
from hgrt.model.spec import METADATA_KEY, ModelSpec  # noqa: E402
from hgrt.pose.geometry import Box, crop, inside  # noqa: E402
from hgrt.pose.heatmaps import Keypoints, Maps, decode, peaks, smoothed  # noqa: E402
from hgrt.pose.skeleton import MPII  # noqa: E402
from hgrt.runtime.base import asset  # noqa: E402
from hgrt.runtime.library import load_library, open_log  # noqa: E402
from networks import lively as make  # noqa: E402
from runtime.make_golden import LITE, NETWORKS, crops, files  # noqa: E402

TINY = ModelSpec(stacks=2, channels=8, gate="none", latent=4, block="postact", stem="light", input=128)


@pytest.fixture(scope="module")
def tiny() -> StackedHourglass:
    return make(TINY)


@pytest.fixture(scope="module")
def fixed(tiny: StackedHourglass, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stacks with a fixed batch of three, in a folder that was not there."""
    path = tmp_path_factory.mktemp("fixed") / "new" / "tiny.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter about torch itself
        export_onnx(tiny, path, batch=3)
    return path


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def answer(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(session(path).run([OUTPUT], {INPUT: pixels})[0])


# Folding


VARIANTS = [
    replace(TINY, block=block, gate=gate, stacks=stacks, input=size, stem=stem)
    for block, gate, stacks, size, stem in [
        ("preact", "raw", 1, 128, "published"),
        ("preact", "bounded", 2, 192, "light"),
        ("preact", "none", 2, 256, "published"),
        ("postact", "raw", 2, 256, "light"),
        ("postact", "bounded", 1, 192, "published"),
        ("postact", "none", 1, 128, "light"),
    ]
] + [
    replace(TINY, growth=4, gate="bounded", stacks=1),
    replace(TINY, gate="raw", ramp="integer", stacks=1, latent=1),
]


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_a_folded_network_is_the_same_function(spec: ModelSpec) -> None:
    net = make(spec).double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = torch.rand((2, 3, spec.input, spec.input), generator=torch.Generator().manual_seed(0)).double()
    with torch.inference_mode():
        expected, found = net(image), folded(net).double()(image)
    assert found.shape == expected.shape
    # The tolerance allows for single precision in the decoder's combined matrix, for nothing else.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.max() - expected.min()))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), f"folding changed the original's {name}"


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_folding_leaves_only_the_norms_that_have_nothing_before_them(spec: ModelSpec) -> None:
    left = [name for name, module in folded(make(spec)).named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if spec.block == "postact":
        assert left == []
    else:
        assert left and all(name.endswith(".bn1") for name in left)


# The file


def test_the_description_travels_in_the_file(fixed: Path) -> None:
    for path, spec in ((fixed, TINY), (files("lite")[".onnx"], LITE)):
        found = session(path).get_modelmeta()
        assert ModelSpec.from_json(found.custom_metadata_map[METADATA_KEY]) == spec
        assert found.producer_name == "hgrt"


def test_a_free_batch_takes_any_number_of_crops() -> None:
    path = files("lite")[".onnx"]
    (taken,), (given,) = session(path).get_inputs(), session(path).get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == (INPUT, "tensor(uint8)", [192, 192, 3])
    assert (given.name, given.type, given.shape[1:]) == (OUTPUT, "tensor(float)", [len(MPII), 48, 48])
    assert isinstance(taken.shape[0], str)
    pixels = crops(192)
    for count in (1, 3, 7):
        assert answer(path, np.resize(pixels, (count, 192, 192, 3))).shape == (count, len(MPII), 48, 48)


def test_a_fixed_batch_takes_just_that_many(fixed: Path) -> None:
    (taken,), (given,) = session(fixed).get_inputs(), session(fixed).get_outputs()
    assert taken.shape == [3, 128, 128, 3] and given.shape == [3, len(MPII), 32, 32]
    with pytest.raises(Exception, match="dimension"):
        answer(fixed, crops(128)[:1])


def test_the_file_answers_with_the_last_stack(fixed: Path, tiny: StackedHourglass) -> None:
    pixels = crops(128)
    rgb = torch.from_numpy(pixels[..., ::-1] / 255.0).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = make(TINY).double()(rgb)
    span = float(np.ptp(expected.numpy()))
    np.testing.assert_allclose(answer(fixed, pixels), expected[:, -1].numpy(), atol=1e-5 * span)
    assert not np.allclose(expected[:, 0].numpy(), expected[:, -1].numpy(), atol=1e-2 * span)
    assert not tiny.training


def test_all_batch_norms_of_a_postact_network_are_gone(fixed: Path) -> None:
    for path in (fixed, files("lite")[".onnx"]):
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        assert "Conv" in kinds and "BatchNormalization" not in kinds


def test_the_decoder_is_a_single_transposed_convolution() -> None:
    for name in NETWORKS:
        kinds = [node.op_type for node in onnx.load(files(name)[".onnx"]).graph.node]
        assert kinds.count("ConvTranspose") == 1


def test_the_file_is_one_file_and_passes_the_checker(fixed: Path) -> None:
    assert [path.name for path in fixed.parent.iterdir()] == [fixed.name]
    for path in (fixed, *(files(name)[".onnx"] for name in NETWORKS)):
        onnx.checker.check_model(str(path), full_check=True)
        assert not any(tensor.external_data for tensor in onnx.load(path, load_external_data=False).graph.initializer)


def without_weights(path: Path) -> bytes:
    """A file's bytes but for the numbers in it: in some megabytes of them three given letters are likely to stand."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
    content: bytes = proto.SerializeToString()
    assert len(content) < 1_000_000
    return content


def test_nothing_of_the_exporting_machine_is_in_the_file(fixed: Path) -> None:
    here = Path(__file__).resolve()
    words = [str(here.parents[2]), str(Path.home()), "site-packages", ".py", "stack_trace", 'File "', "/tmp/"]
    words += [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4]
    for path in (fixed, *(files(name)[".onnx"] for name in NETWORKS)):
        content = without_weights(path)
        assert [word for word in words if word.encode() in content] == []


# When it cannot be written


class _Program:
    """What torch's exporter returns, at no cost."""

    def __init__(self) -> None:
        self.model_proto = onnx.load(files("lite")[".onnx"])
        del self.model_proto.metadata_props[:]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: _Program())


@pytest.mark.usefixtures("quick")
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    tiny: StackedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HgrtError, match="cannot be written") as error:
        export_onnx(tiny, path)
    assert "No space left" in error.value.why
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.usefixtures("quick")
def test_a_folder_in_the_place_of_the_file_is_said_and_nothing_is_left(tiny: StackedHourglass, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(HgrtError, match="cannot be written"):
        export_onnx(tiny, tmp_path / "net.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.usefixtures("quick")
def test_a_place_that_cannot_be_is_said(tiny: StackedHourglass, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(HgrtError, match="cannot be written"):
        export_onnx(tiny, tmp_path / "file" / "net.onnx")


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript"])
def test_without_the_extra_the_line_that_installs_it_is_said(
    module: str, tiny: StackedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HgrtError, match=f"'{module}'") as error:
        export_onnx(tiny, tmp_path / "net.onnx")
    assert 'pip install "hgrt[train]"' in error.value.fix
    assert list(tmp_path.iterdir()) == []


# Files for engines


Variant = tuple[str, EnginePrecision, bool]
PUBLISHED = replace(TINY, stacks=1, block="preact", gate="raw", stem="published", input=64)
"""A small network of the published kind, with norms that do not fold."""

VARIANTS_OF_ENGINES: list[Variant] = [
    ("bundled", "fp16", False),
    ("bundled", "fp32", False),
    ("bundled", "fp32", True),
    ("published", "fp16", True),
]
"""Network, precision, crop: both of each, in as few exports as that takes."""


@functools.cache
def bundled() -> StackedHourglass:
    return load_checkpoint(asset("lite.pt"))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, Path]:
    """The files of all variants."""
    folder, made = tmp_path_factory.mktemp("engines"), {}
    for network, precision, crop_inside in VARIANTS_OF_ENGINES:
        path = folder / f"{network}-{precision}-{crop_inside}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's exporter about torch itself
            export_engine_onnx(bundled() if network == "bundled" else make(PUBLISHED), path, precision, crop_inside)
        made[network, precision, crop_inside] = path
    return made


each_engine = pytest.mark.parametrize("variant", VARIANTS_OF_ENGINES, ids=lambda v: "-".join(map(str, v)))


@each_engine
def test_an_engine_file_says_what_goes_in_and_comes_out(variant: Variant, engines: dict[Variant, Path]) -> None:
    network, precision, crop_inside = variant
    spec = bundled().spec if network == "bundled" else PUBLISHED
    assert read_engine_onnx(engines[variant]) == EngineOnnx(spec, precision, crop_inside)
    proto, found = onnx.load(engines[variant]), session(engines[variant])
    assert [each.version for each in proto.opset_import if not each.domain] == [OPSET]
    taken = {each.name: (each.type, each.shape) for each in found.get_inputs()}
    if crop_inside:
        assert taken == {
            FRAME: ("tensor(uint8)", [1, "height", "width", 3]),
            AFFINES: ("tensor(float)", ["batch", 2, 3]),
        }
    else:
        assert taken == {CROPS: ("tensor(uint8)", ["batch", spec.input, spec.input, 3])}
    assert {each.name: (each.type, each.shape) for each in found.get_outputs()} == {
        HEATMAPS: ("tensor(float)", ["batch", len(MPII), spec.heatmap, spec.heatmap]),
        KEYPOINTS: ("tensor(float)", ["batch", len(MPII), 4]),
    }


@each_engine
def test_the_weights_have_the_precision_asked_for(variant: Variant, engines: dict[Variant, Path]) -> None:
    proto = onnx.load(engines[variant])
    types = {onnx.TensorProto.FLOAT16: "fp16", onnx.TensorProto.FLOAT: "fp32"}
    weights = [each for each in proto.graph.initializer if np.prod(each.dims) > 81]  # not the decoder's few
    assert len(weights) > 20 and {types[each.data_type] for each in weights} == {variant[1]}
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    assert not any(each.data_type == onnx.TensorProto.DOUBLE for each in proto.graph.initializer)


@each_engine
def test_bytes_become_numbers_before_anything_else(variant: Variant, engines: dict[Variant, Path]) -> None:
    # TensorRT refuses to transpose uint8; ONNX Runtime and the checker do not mind.
    nodes = onnx.load(engines[variant]).graph.node
    assert {node.op_type for node in nodes if set(node.input) & {CROPS, FRAME}} <= {"Cast", "Shape"}


@each_engine
def test_however_many_people_share_one_look_at_the_frame(variant: Variant, engines: dict[Variant, Path]) -> None:
    kinds = [node.op_type for node in onnx.load(engines[variant]).graph.node]
    assert kinds.count("GridSample") == (1 if variant[2] else 0)


@each_engine
def test_nothing_of_the_exporting_machine_is_in_an_engine_file(variant: Variant, engines: dict[Variant, Path]) -> None:
    content = without_weights(engines[variant])
    assert not [
        word for word in (str(Path.home()), "site-packages", ".py", "/tmp/", 'File "') if word.encode() in content
    ]


def people_of(people: People, count: int, size: int) -> NDArray[np.uint8]:
    """Crops of so many people, spread over a set."""
    chosen = (people.get(int(i)) for i in np.linspace(0, len(people) - 1, count))
    return np.stack([crop(one.image, one.box, size).pixels for one in chosen if not one.empty])


def exact(pixels: NDArray[np.uint8]) -> Maps:
    """Heatmaps of the bundled network in torch, nothing folded."""
    rgb = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        return np.asarray(bundled()(rgb)[:, -1])


def found_by(path: Path, pixels: NDArray[np.uint8]) -> tuple[Maps, Keypoints]:
    """Heatmaps and keypoints of ONNX Runtime, crops one by one and in threes."""
    ran = session(path)
    parts = [pixels[:1], *(pixels[i : i + 3] for i in range(1, len(pixels), 3))]
    maps, found = zip(*(ran.run([HEATMAPS, KEYPOINTS], {CROPS: part}) for part in parts), strict=True)
    joined = np.concatenate(found).astype(np.float64)
    return np.concatenate(maps), Keypoints(joined[..., :2], joined[..., 2], joined[..., 3])


def apart(expected: Keypoints, found: Keypoints) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(expected.xy_hm - found.xy_hm, axis=-1))


def test_an_engine_file_in_single_precision_finds_what_torch_and_numpy_find(engines: dict[Variant, Path]) -> None:
    pixels = people_of(GeneratedPeople(12, 5), 12, 192)
    expected = decode(exact(pixels))
    _, found = found_by(engines["bundled", "fp32", False], pixels)
    assert apart(expected, found).max() < 1e-3
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    finite = np.isfinite(expected.spread)
    np.testing.assert_allclose(found.spread[finite], expected.spread[finite], rtol=1e-2)
    assert (found.spread[~finite] == 0).all()


def check_half(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Joints within 0.05 cells but for a few, scores within 5e-3 where the largest cell is the same.

    Where two hills are as high, or one is so flat that its curvature is about none, the last bit decides: which ones
    these are differs between processors.
    """
    maps, found = found_by(path, pixels)
    reference = exact(pixels)
    expected = decode(reference)
    np.testing.assert_allclose(maps, reference, atol=5e-3)
    assert apart(decode(maps), found).max() < 1e-3  # the decoding itself loses nothing
    flipped = (np.stack(peaks(smoothed(maps))) != np.stack(peaks(smoothed(reference)))).any(axis=0)
    np.testing.assert_allclose(found.score[~flipped], expected.score[~flipped], atol=5e-3)
    assert (apart(expected, found) >= 0.05).mean() < 0.01


def test_an_engine_file_in_half_precision_finds_generated_people(engines: dict[Variant, Path]) -> None:
    check_half(engines["bundled", "fp16", False], people_of(GeneratedPeople(16, 7), 16, 192))


@pytest.mark.parametrize("name", ["coco", "lspet", "webcam"])
def test_an_engine_file_in_half_precision_finds_real_people(
    name: str, engines: dict[Variant, Path], shared: Path
) -> None:
    people = splits(shared / "data" / name, "refuse")["val"].open()
    check_half(engines["bundled", "fp16", False], people_of(people, 24, 192))


def test_a_frame_with_boxes_gives_the_joints_of_the_estimator(engines: dict[Variant, Path]) -> None:
    # Boxes that the estimator does not shrink twofold: it takes means then, which the graph does not.
    image, box = bundled_people(3)[1]
    boxes = [Box(box.cx + dx, box.cy, side) for dx, side in ((0, 380.0), (20, 300.0), (-300, 350.0), (0, 120.0))]
    ran = session(engines["bundled", "fp32", True])
    with PoseEstimator() as estimator:
        expected, crop = estimator.poses(image, boxes), estimator.backend.info.spec.crop
    affines = np.stack([each.scaled(crop).to_image(192) for each in boxes]).astype(np.float32)
    for people in (slice(0, 4), slice(3, 4)):
        (found,) = ran.run([KEYPOINTS], {FRAME: image[None], AFFINES: affines[people]})
        assert found.shape == (len(boxes[people]), len(MPII), 4)
        for pose, box, joints in zip(expected[people], boxes[people], found, strict=True):
            cell = crop * box.side / 48
            assert np.linalg.norm(joints[:, :2] - pose.xy, axis=1).max() < 0.02 * cell
            seen = inside(pose.xy, image)  # what lies beyond the edge has a score in the graph only
            np.testing.assert_allclose(joints[seen, 2], pose.score[seen], atol=2e-3)
            peaked = np.isfinite(pose.spread)
            np.testing.assert_allclose(joints[peaked, 3] * cell, pose.spread[peaked], rtol=2e-2)
            assert (joints[~peaked, 3] == 0).all()


def test_a_frame_may_have_any_size(engines: dict[Variant, Path]) -> None:
    ran = session(engines["published", "fp16", True])
    for height, width, people in ((1, 1, 1), (37, 500, 2), (720, 64, 5)):
        frame = np.zeros((1, height, width, 3), np.uint8)
        affines = np.tile(np.eye(2, 3, dtype=np.float32), (people, 1, 1))
        maps, found = ran.run([HEATMAPS, KEYPOINTS], {FRAME: frame, AFFINES: affines})
        assert maps.shape == (people, 16, 16, 16) and found.shape == (people, 16, 4) and np.isfinite(found).all()


def test_no_other_file_is_taken_for_an_engine_file(engines: dict[Variant, Path], fixed: Path, tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="not one that hgrt wrote for an engine") as error:
        read_engine_onnx(fixed)
    assert ENGINE_KEY in error.value.why
    (tmp_path / "junk.onnx").write_bytes(b"\xff junk")
    for path in (tmp_path / "junk.onnx", tmp_path / "none.onnx", tmp_path):
        with pytest.raises(HgrtError, match="not an ONNX file that can be read"):
            read_engine_onnx(path)
    proto = onnx.load(engines["published", "fp16", True])
    for text in ("{}", "fp16", "[]", '{"precision": "int8", "crop": true}', '{"precision": "fp16", "crop": "no"}'):
        entry = next(each for each in proto.metadata_props if each.key == ENGINE_KEY)
        entry.value = text
        onnx.save(proto, tmp_path / "odd.onnx")
        with pytest.raises(HgrtError, match="cannot be read") as error:
            read_engine_onnx(tmp_path / "odd.onnx")
        assert text in error.value.why
    assert json.loads(session(engines["published", "fp16", True]).get_modelmeta().custom_metadata_map[ENGINE_KEY])[
        "crop"
    ]


# TensorRT's own parser and builder


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
@each_engine
def test_tensorrt_takes_the_file_as_it_is(variant: Variant, engines: dict[Variant, Path]) -> None:
    library = load_library("rtx")
    trt, log = library.module, open_log(library)  # another log would hear nothing where tests before made a builder
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(engines[variant].read_bytes()), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    profile, config = builder.create_optimization_profile(), builder.create_builder_config()
    if variant[2]:
        profile.set_shape(FRAME, (1, 16, 16, 3), (1, 720, 1280, 3), (1, 2160, 3840, 3))
        profile.set_shape(AFFINES, (1, 2, 3), (2, 2, 3), (MAX_BATCH, 2, 3))
    else:
        profile.set_shape(CROPS, (1, 192, 192, 3), (2, 192, 192, 3), (MAX_BATCH, 192, 192, 3))
    assert config.add_optimization_profile(profile) == 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None and plan.nbytes > 100_000, log.errors()
    inputs = {network.get_input(i).name: network.get_input(i).dtype for i in range(network.num_inputs)}
    outputs = {network.get_output(i).name: network.get_output(i).dtype for i in range(network.num_outputs)}
    expected = {FRAME: trt.uint8, AFFINES: trt.float32} if variant[2] else {CROPS: trt.uint8}
    assert inputs == expected and outputs == {HEATMAPS: trt.float32, KEYPOINTS: trt.float32}
    half = [layer for layer in network if layer.type == trt.LayerType.CONVOLUTION]
    assert {layer.get_output(0).dtype for layer in half} == {trt.float16 if variant[1] == "fp16" else trt.float32}
    assert log.errors() == ""
