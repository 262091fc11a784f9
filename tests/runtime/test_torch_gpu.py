"""Torch on a GPU, without one: what is captured and when, what stays ready, and that a graph's memory never moves.

Here everything runs on the CPU, and a fake graph is one that does the same work again; `test_gpu` has the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the runtime is torch")

import torch  # after the skip
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hgrt.errors import HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.complete import Body, FromCrops, FromFrame
from hgrt.pose.geometry import Box
from hgrt.runtime.base import Request, open_backend
from hgrt.runtime.torch import TorchBackend
from hgrt.runtime.torch_gpu import KEPT, TorchGpuBackend, Work
from runtime import make_golden
from runtime.make_golden import LITE, crops


class Graphs:
    """Captures as CUDA does: what is run again reads and writes the memory of the capture, or the test fails."""

    def __init__(self) -> None:
        self.captured, self.replayed = 0, 0

    def __call__(self, work: Work) -> Work:
        run = work.__self__  # type: ignore[attr-defined]
        inputs = [there.data_ptr() for _, there in run.inputs]
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            assert [there.data_ptr() for _, there in run.inputs] == inputs
            work()

        return replay


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_golden.lite(tmp_path_factory.mktemp("lite"))


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    return Graphs()


@pytest.fixture(scope="module")
def backend(graphs: Graphs, lite: Path) -> Iterator[TorchGpuBackend]:
    with TorchGpuBackend(Request(lite), "cpu", graphs) as opened:
        yield opened


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_shape_is_plain_once_and_a_graph_from_then_on(backend: TorchGpuBackend, graphs: Graphs) -> None:
    pixels = crops(LITE.input)
    assert graphs.captured == graphs.replayed == 1, "a single person is a graph from the start"
    first = backend.keypoints(pixels[:1])
    assert (graphs.captured, graphs.replayed) == (1, 2)
    plain = backend.keypoints(pixels[:2])
    assert (graphs.captured, graphs.replayed) == (1, 2)
    again = backend.keypoints(pixels[:2])
    assert (graphs.captured, graphs.replayed) == (2, 3)
    np.testing.assert_array_equal(plain.xy_hm, again.xy_hm)
    np.testing.assert_allclose(first.xy_hm[0], again.xy_hm[0], atol=1e-4)
    other = backend.keypoints(pixels[1::-1])
    np.testing.assert_allclose(other.xy_hm[::-1], again.xy_hm, atol=1e-4)
    np.testing.assert_array_equal(again.xy_hm, plain.xy_hm, "an answer is not overwritten by the next one")


def test_shapes_that_were_not_used_for_long_are_forgotten(graphs: Graphs, lite: Path) -> None:
    with TorchGpuBackend(Request(lite), "cpu", graphs) as backend:
        affine = Box(20, 20, 30).to_image(LITE.input)[None]
        for k in range(KEPT + 3):
            backend.frame_keypoints(picture(40, 40 + k), affine)
        before = graphs.captured
        backend.frame_keypoints(picture(40, 40 + KEPT + 2), affine)
        assert graphs.captured == before + 1, "the last one was still there"
        backend.frame_keypoints(picture(40, 40), affine)
        assert graphs.captured == before + 1, "the first one begins anew"


def test_crops_that_shrink_are_cut_here(backend: TorchGpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    done = backend._done
    monkeypatch.setattr(backend, "_done", lambda module, *inputs: asked.append(len(inputs)) or done(module, *inputs))
    frame = picture(700, 700)
    for side, inputs in ((1.9 * LITE.input, 2), (2.1 * LITE.input, 1)):
        backend.frame_keypoints(frame, Box(350, 350, side).to_image(LITE.input)[None])
        assert asked.pop() == inputs


def test_where_nothing_can_be_captured_it_says_so_and_goes_on(lite: Path) -> None:
    def refuse(work: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be")

    pixels = crops(LITE.input)
    with TorchGpuBackend(Request(lite), "cpu", refuse) as backend:
        for _ in range(3):
            found = backend.keypoints(pixels)
        device = backend.info.device
    assert device == "CPU, no CUDA graph: operation not permitted when stream is capturing"
    with open_backend("torch", lite) as exact:
        np.testing.assert_allclose(found.xy_hm, exact.keypoints(pixels).xy_hm, atol=1e-3)


def test_half_precision_is_half_and_near(backend: TorchGpuBackend, lite: Path) -> None:
    pixels = crops(LITE.input)[:1]
    with TorchGpuBackend(Request(lite, "bf16"), "cpu", lambda work: work) as half:
        assert half.info.running == "bf16"
        maps, exact = half.infer(pixels), backend.infer(pixels)
    assert maps.dtype == np.float32 and 1e-6 < np.abs(maps - exact).max() < 0.1 * np.ptp(exact)


class OffDevice(TorchDispatchMode):
    """Operations that a CUDA graph cannot hold: tensors of two devices, and what must be looked at from here."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.total = set[str](), 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, found)) if isinstance(one, torch.Tensor)]
        self.total += 1
        if {one.device.type for one in tensors} != {"meta"} or func.overloadpacket in LOOKED_AT:
            self.seen.add(str(func))
        return found


LOOKED_AT = {torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select}


@pytest.mark.parametrize("network", make_golden.NETWORKS)
def test_nothing_on_the_way_leaves_the_device(network: str, tmp_path: Path) -> None:
    """On the device `meta`, which computes nothing, as the tensors of a GPU would be on theirs."""
    body = Body(load_checkpoint(make_golden.NETWORKS[network](tmp_path)), "bf16")
    size = body.spec.input
    with torch.device("meta"):
        pixels, frame = (torch.zeros(*shape, 3, dtype=torch.uint8) for shape in ((2, size, size), (1, 90, 120)))
        affines = torch.zeros(2, 2, 3)
    for module, inputs in ((FromCrops(body), [pixels]), (FromFrame(body), [frame, affines])):
        there = module.to("meta").eval()
        with torch.inference_mode(), OffDevice() as mode:
            heatmaps, keypoints = there(*inputs)
        assert not mode.seen
        assert mode.total > 100 and heatmaps.is_meta and keypoints.shape == (2, 16, 4)


def test_what_leaves_the_device_is_seen() -> None:
    one, scalar = torch.zeros(3, device="meta"), torch.tensor(2.0)
    with OffDevice() as mode:
        torch.where(one > 0, one, scalar)
    assert mode.seen == {"aten.where.self"}
    with OffDevice() as mode:
        one * torch.arange(3.0, device="meta") + 2.0
    assert not mode.seen


def test_an_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="not ONNX files"):
        TorchGpuBackend(Request(tmp_path / "lite.onnx"), "cpu")


def test_with_a_gpu_torch_is_this_one(lite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("hgrt.runtime.torch_gpu.TorchGpuBackend", lambda request: asked.append(request) or made)
    made = TorchGpuBackend(Request(lite), "cpu", lambda work: work)
    with PoseEstimator(lite, runtime="torch") as estimator:
        assert estimator.backend is made and asked[0].precision == "fp32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
def test_on_a_real_gpu_it_is_the_network_as_a_graph(lite: Path) -> None:
    pixels = crops(LITE.input)
    with TorchBackend(Request(lite)) as exact:
        expected = exact.keypoints(pixels)
    frame, boxes = picture(360, 480), [Box(200, 200, 250), Box(330, 150, 199.5)]
    for precision, far in (("fp32", 1e-2), ("fp16", 0.25), ("bf16", 1.0)):
        with open_backend("torch", lite, precision) as backend:  # type: ignore[arg-type]
            assert isinstance(backend, TorchGpuBackend) and "no CUDA graph" not in backend.info.device
            for _ in range(3):
                found = backend.keypoints(pixels)
                assert np.median(np.abs(found.xy_hm - expected.xy_hm)) < far
            assert len(backend._runs) == 2 and all(run.replay for run in backend._runs.values())
            timings = backend.timings()
            assert timings is not None and timings.compute is not None and 0 < timings.compute < timings.total
            affines = np.stack([box.to_image(LITE.input) for box in boxes])
            both = [backend.frame_keypoints(frame, affines).xy_img for _ in range(3)]
            np.testing.assert_array_equal(both[1], both[2])
