"""The one contract, kept by every runtime alike: the numbers, the refusals, and the truth about what runs."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Box, apply, crop, heatmap_to_image
from hgrt.pose.heatmaps import decode
from hgrt.runtime import tensorrt
from hgrt.runtime.base import BACKENDS, Backend, Precision, Request, open_backend
from runtime.engines import GPU, place
from runtime.fake_cuda import FakeCuda
from runtime.fake_trt import Arrays, FakeTrt, Plan, Tensor
from runtime.make_golden import CROPS, LITE, NETWORKS, STEP, crops, files

LIBRARY = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "torch", "tensorrt": "tensorrt"}
SUFFIX = {"onnxruntime": ".onnx", "openvino": ".onnx", "torch": ".pt", "tensorrt": ".engine"}
GOLDEN = Path(__file__).with_name("golden.npz")

pytest.importorskip("torch", reason="the networks are made with torch")


@pytest.fixture(scope="module", autouse=True)
def _an_engine_of_fakes() -> Iterator[None]:
    """TensorRT is a fake, whose engines ask ONNX Runtime; all around it is real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "tensorrt", fake_tensorrt)
        yield


def fake_tensorrt(request: Request, engine: Plan | None = None) -> Backend:
    """The real backend on a GPU of fakes; its `engine` is that of the network in the file if none is given."""
    content = request.weights.read_bytes()
    cuda = FakeCuda()
    trt = FakeTrt(cuda, engine or plan("published" if content == b"published" else "lite"), data=content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt, "load_library", lambda flavour: trt.library)
        patch.setattr(tensorrt, "need_gpu", lambda library: GPU)
        patch.setattr(tensorrt, "open_cuda", lambda: cuda)
        return tensorrt.TensorRtBackend(request)


def plan(network: str) -> Plan:
    """The network as an engine for one to four crops, decoded here."""
    session = ort.InferenceSession(str(files(network)[".onnx"]))
    spec = spec_of(network)
    side, cells = spec.input, spec.heatmap

    def compute(inputs: Arrays) -> Arrays:
        (heatmaps,) = session.run(None, inputs)
        found = decode(heatmaps)
        spread = np.where(np.isfinite(found.spread), found.spread, 0)
        keypoints = np.concatenate([found.xy_hm, found.score[..., None], spread[..., None]], axis=2)
        return {"heatmaps": heatmaps, "keypoints": keypoints.astype(np.float32)}

    tensors = (
        Tensor("crops", True, "UINT8", ("N", side, side, 3)),
        Tensor("heatmaps", False, "FLOAT", ("N", 16, cells, cells)),
        Tensor("keypoints", False, "FLOAT", ("N", 16, 4)),
    )
    shapes = (1, side, side, 3), (4, side, side, 3), (4, side, side, 3)
    return Plan(tensors, ({"crops": shapes},), compute)


def spec_of(network: str) -> ModelSpec:
    """What is in the network's file."""
    from hgrt.model.checkpoint import load_checkpoint

    return load_checkpoint(files(network)[".pt"]).spec


def weights(network: str, runtime: str) -> Path:
    """The network as the file that the runtime takes; skips where it is not installed."""
    if runtime == "tensorrt":
        path = files(network)[".pt"].with_suffix(".engine")
        if not path.exists():
            place(path, network.encode(), precision="fp32", spec=spec_of(network))
        return path
    if importlib.util.find_spec(LIBRARY[runtime]) is None:
        pytest.skip(f"{LIBRARY[runtime]} is not installed")
    return files(network)[SUFFIX[runtime]]


def stored(name: str) -> NDArray[Any]:
    with np.load(GOLDEN) as file:
        return np.asarray(file[name])


def deviation(maps: NDArray[Any], network: str) -> float:
    """The largest difference from the golden numbers, relative to their range."""
    golden = stored(network)[: len(maps)]
    return float(np.abs(maps[..., ::STEP, ::STEP] - golden).max() / np.ptp(golden))


@pytest.fixture(scope="module", params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[*BACKENDS, "torch on a GPU"])
def backend(request: pytest.FixtureRequest, network: str) -> Iterator[Backend]:
    runtime = str(request.param)
    if runtime in BACKENDS:
        with open_backend(runtime, weights(network, runtime)) as opened:
            yield opened
    else:  # all of it but the GPU and its graphs
        from hgrt.runtime.torch_gpu import TorchGpuBackend

        with TorchGpuBackend(Request(weights(network, "torch")), "cpu", lambda work: work) as opened:
            yield opened


def test_every_runtime_is_tested() -> None:
    assert set(BACKENDS) == set(LIBRARY) == set(SUFFIX)


def test_the_answer_is_the_golden_one(backend: Backend, network: str) -> None:
    spec = backend.info.spec
    maps = backend.infer(crops(spec.input))
    assert maps.shape == (CROPS, 16, spec.heatmap, spec.heatmap)
    assert maps.dtype == np.float32
    assert deviation(maps, network) < 1e-5
    places = maps.reshape(CROPS, 16, -1).argmax(-1)
    np.testing.assert_array_equal(places, stored(f"{network}_argmax"))


def test_the_batch_and_repetition_make_no_difference(backend: Backend, network: str) -> None:
    pixels = crops(backend.info.spec.input)
    together = backend.infer(pixels).copy()
    for i in (0, 2, 1):
        alone = backend.infer(pixels[i : i + 1])
        assert alone.shape == (1, *together.shape[1:])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5 * np.ptp(together))
    np.testing.assert_array_equal(backend.infer(pixels), together)


def test_colours_are_blue_green_red(backend: Backend, network: str) -> None:
    pixels = crops(backend.info.spec.input)
    swapped = backend.infer(pixels[..., ::-1])
    assert deviation(swapped, network) > 1e-3


def test_memory_may_lie_as_it_likes(backend: Backend, network: str) -> None:
    pixels = crops(backend.info.spec.input)
    wide = np.zeros((*pixels.shape[:2], pixels.shape[2] + 8, 3), np.uint8)
    wide[:, :, 4:-4] = pixels
    for lies in (wide[:, :, 4:-4], np.asfortranarray(pixels), np.repeat(pixels, 2, axis=0)[::2]):
        assert not lies.flags.c_contiguous
        assert deviation(backend.infer(lies), network) < 1e-5
    pixels.flags.writeable = False
    assert deviation(backend.infer(pixels), network) < 1e-5


def test_keypoints_are_the_decoded_heatmaps(backend: Backend) -> None:
    spec = backend.info.spec
    pixels = crops(spec.input)
    expected = decode(backend.infer(pixels))
    for some in (pixels, pixels[:1]):
        found = backend.keypoints(some)
        np.testing.assert_allclose(found.xy_hm, expected.xy_hm[: len(some)], atol=1e-3)
        np.testing.assert_allclose(found.score, expected.score[: len(some)], atol=1e-5)
        np.testing.assert_allclose(found.spread, expected.spread[: len(some)], rtol=1e-3)


def test_a_frame_with_affines_is_as_good_as_its_crops(backend: Backend) -> None:
    spec = backend.info.spec
    frame = np.concatenate(list(crops(spec.input)), axis=1)  # side by side
    boxes = [Box(40.0, 50.0, 150.0), Box(230.5, 99.25, 3.0 * spec.input)]  # one of them shrinks
    found = backend.frame_keypoints(frame, np.stack([box.to_image(spec.input) for box in boxes]))
    for i, box in enumerate(boxes):
        expected = backend.keypoints(crop(frame, box, spec.input).pixels[None])
        xy_img = apply(heatmap_to_image(box, spec.heatmap, spec.input), expected.xy_hm[0])
        np.testing.assert_allclose(found.xy_img[i], xy_img, atol=1e-2)
        np.testing.assert_allclose(found.score[i], expected.score[0], atol=1e-5)
        np.testing.assert_allclose(found.spread[i], expected.spread[0], rtol=1e-3)  # in cells


def test_the_crops_are_left_as_they_are(backend: Backend) -> None:
    pixels = crops(backend.info.spec.input)
    backend.infer(pixels)
    np.testing.assert_array_equal(pixels, crops(backend.info.spec.input))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda pixels: pixels[0],
        lambda pixels: pixels[:0],
        lambda pixels: pixels[:, :-1],
        lambda pixels: pixels[:, :, :-64],
        lambda pixels: pixels[..., :2],
        lambda pixels: pixels.transpose(0, 3, 1, 2),
        lambda pixels: pixels.astype(np.float32),
        lambda pixels: pixels.astype(np.int8),
    ],
    ids=["no batch", "none", "low", "narrow", "two colours", "colours first", "float", "signed"],
)
def test_another_shape_or_type_is_refused(backend: Backend, wrong: Any) -> None:
    for ask in (backend.infer, backend.keypoints):
        with pytest.raises(ValueError, match="uint8"):
            ask(wrong(crops(backend.info.spec.input)))


def test_the_info_is_true(backend: Backend, network: str) -> None:
    info = backend.info
    assert info.runtime in BACKENDS
    assert (info.asked, info.running) == ("fp32", "fp32")  # OpenVINO left alone would run bfloat16 where it can
    assert info.weights == weights(network, info.runtime)
    assert info.spec == LITE if network == "lite" else (info.spec.input, info.spec.channels) == (256, 32)
    assert (info.threads >= 1) != info.decodes and info.device  # what decodes is a GPU
    assert LIBRARY[info.runtime] in info.versions
    assert all(version[:1].isdigit() for version in info.versions.values())
    for word in (info.runtime, info.device, "fp32", *info.versions.values()):
        assert word in str(info)


def test_timings_are_none_or_milliseconds(backend: Backend) -> None:
    backend.infer(crops(backend.info.spec.input))
    timings = backend.timings()
    if timings is not None:
        parts = [part for part in (timings.h2d, timings.compute, timings.d2h) if part is not None]
        assert timings.total >= sum(parts) and min([0.0, *parts]) == 0


@pytest.mark.parametrize("runtime", list(BACKENDS))
def test_closed_is_closed(runtime: str) -> None:
    with open_backend(runtime, weights("lite", runtime), threads=1) as opened:
        assert opened.info.threads == (0 if runtime == "tensorrt" else 1)
        opened.close()
        opened.close()
        with pytest.raises(RuntimeError, match="closed"):
            opened.infer(crops(LITE.input))


@pytest.mark.parametrize("runtime", list(BACKENDS))
@pytest.mark.parametrize("precision", get_args(Precision))
def test_what_runs_is_what_was_asked_for_or_an_error(runtime: str, precision: Precision) -> None:
    path = weights("lite", runtime)
    try:
        backend = open_backend(runtime, path, precision)
    except HgrtError as error:
        assert precision != "fp32"
        assert f"where {precision} was asked for" in error.what or error.what == f"{runtime} does not run {precision}."
        return
    with backend:
        assert (backend.info.asked, backend.info.running) == (precision, precision)
        away = deviation(backend.infer(crops(LITE.input)), "lite")
    # Half precision that is as good as single has not run.
    assert away < 1e-5 if precision == "fp32" else 1e-5 < away < 0.1


def _text(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("not a network\n" * 50)
    return path


def _empty(folder: Path, name: str) -> Path:
    path = folder / name
    path.touch()
    return path


def _cut(folder: Path, name: str) -> Path:
    path = folder / name
    whole = weights("lite", next(name for name, suffix in SUFFIX.items() if suffix == path.suffix)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


@pytest.mark.parametrize("make", [_text, _empty, _cut, _folder, lambda folder, name: folder / name])
@pytest.mark.parametrize("runtime", list(BACKENDS))
def test_a_file_that_is_no_network_is_refused_by_name(runtime: str, make: Any, tmp_path: Path) -> None:
    weights("lite", runtime)
    path = make(tmp_path, "net" + SUFFIX[runtime])
    with pytest.raises(HgrtError) as error:
        open_backend(runtime, path)
    assert str(path) in error.value.what
    assert error.value.why


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_onnx_file_of_somebody_else_is_refused(runtime: str, tmp_path: Path) -> None:
    weights("lite", runtime)
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "foreign",
        [value("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("y", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    with pytest.raises(HgrtError, match="not one that hgrt wrote") as error:
        open_backend(runtime, path)
    assert "hgrt.spec" in error.value.why and "hgrt export" in error.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stacks": 99}', '{"unheard_of": 1}'])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_description_that_cannot_be_read_is_refused(runtime: str, text: str, tmp_path: Path) -> None:
    weights("lite", runtime)
    onnx = pytest.importorskip("onnx")
    model = onnx.load(files("lite")[".onnx"])
    (entry,) = (item for item in model.metadata_props if item.key == "hgrt.spec")
    entry.value = text
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(HgrtError):
        open_backend(runtime, path)


@pytest.mark.parametrize(
    ("runtime", "suffix", "words"), [("torch", ".onnx", "not ONNX files"), ("onnxruntime", ".pt", "not an ONNX file")]
)
def test_the_file_of_another_runtime_is_refused(runtime: str, suffix: str, words: str) -> None:
    weights("lite", runtime)
    with pytest.raises(HgrtError, match=words):
        open_backend(runtime, files("lite")[suffix])


def test_the_very_onnx_of_an_engine_that_cuts_keeps_the_contract_too(tmp_path: Path) -> None:
    """As exported for TensorRT, cutting and decoding inside: only who computes it is ONNX Runtime."""
    from hgrt.engine.onnx import export_engine_onnx
    from hgrt.model.checkpoint import load_checkpoint

    model = load_checkpoint(files("lite")[".pt"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter about torch itself
        export_engine_onnx(model, tmp_path / "lite.onnx", "fp32", crop=True)
    session = ort.InferenceSession(str(tmp_path / "lite.onnx"))
    kinds = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}
    tensors = tuple(
        Tensor(one.name, is_input, kinds[one.type], tuple(one.shape))
        for is_input, every in ((True, session.get_inputs()), (False, session.get_outputs()))
        for one in every
    )
    frames = (1, 16, 16, 3), (1, 500, 500, 3), (1, 700, 700, 3)
    shapes = {"frame": frames, "affines": ((1, 2, 3), (2, 2, 3), (4, 2, 3))}
    names = [one.name for one in session.get_outputs()]
    engine = Plan(tensors, (shapes,), lambda inputs: dict(zip(names, session.run(None, inputs), strict=True)))
    path = place(tmp_path / "lite.engine", b"cuts", precision="fp32", spec=model.spec, crop_in_engine=True)
    with fake_tensorrt(Request(path), engine) as backend, open_backend("onnxruntime", files("lite")[".onnx"]) as exact:
        assert backend.info.crops_frames and not exact.info.crops_frames
        pixels = crops(LITE.input)
        assert deviation(backend.infer(pixels), "lite") < 1e-5
        frame = np.concatenate([np.concatenate(list(pixels), axis=1)] * 2)[:, :650]
        boxes = [Box(40.0, 50.0, 150.0), Box(300.5, 99.25, 1.9 * LITE.input), Box(620, 200, 210)]
        affines = np.stack([box.to_image(LITE.input) for box in boxes])
        for found, expected in (
            (backend.keypoints(pixels), exact.keypoints(pixels)),
            (backend.frame_keypoints(frame, affines), exact.frame_keypoints(frame, affines)),
        ):
            flat = expected.score <= 0
            for one, other in zip(astuple(found), astuple(expected), strict=True):
                np.testing.assert_allclose(one[~flat], other[~flat], rtol=1e-2, atol=1e-2)
