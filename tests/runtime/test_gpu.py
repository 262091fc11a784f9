"""The real thing: an engine of the bundled network on a real GPU, against the network in single precision.

Skipped where there is no GPU, which is nearly everywhere; `python benchmarks/gpu_agenda.py --only tests` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import hgrt
from hgrt.engine.verify import bundled_people, parity
from hgrt.estimator import PoseEstimator
from hgrt.pose.geometry import Box, crop
from hgrt.pose.heatmaps import Keypoints, decode
from hgrt.runtime.base import Request, bundled_weights, open_backend
from hgrt.runtime.library import find_gpu
from hgrt.runtime.tensorrt import TensorRtBackend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_gpu() is None, reason="there is no NVIDIA GPU"),
    pytest.mark.skipif(not (find_spec("tensorrt") or find_spec("tensorrt_rtx")), reason="there is no TensorRT"),
]

PEOPLE = 20
SIZE = 192


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """An engine by precision and whether it cuts frames; each is built once."""
    folder = tmp_path_factory.mktemp("engines")

    def built(precision: str, crops_frames: bool) -> Path:
        path = folder / f"{precision}{'-crop' * crops_frames}.engine"
        if not path.exists():
            words = ["--precision", precision, "--batch", "1,4,16", "--out", path]
            done = hgrt("build-engine", *words, *["--crop-in-engine"] * crops_frames, cwd=folder, limit_s=600)
            assert done.returncode == 0, done.stdout + done.stderr
        return path

    return built


@pytest.fixture(scope="module")
def people() -> NDArray[np.uint8]:
    return np.stack([crop(frame, box, SIZE).pixels for frame, box in bundled_people(PEOPLE)])


@pytest.fixture(scope="module")
def exact(people: NDArray[np.uint8]) -> Keypoints:
    """What the network finds on the CPU."""
    with open_backend("onnxruntime", bundled_weights()) as backend:
        return decode(backend.infer(people))


@pytest.fixture(params=["fp16", "fp32", "fp16 cutting"])
def backend(request: pytest.FixtureRequest, engines: Callable[[str, bool], Path]) -> Iterator[TensorRtBackend]:
    precision, _, cutting = str(request.param).partition(" ")
    with open_backend("tensorrt", engines(precision, bool(cutting))) as opened:
        assert isinstance(opened, TensorRtBackend)
        yield opened


def agree(expected: Keypoints, found: Keypoints) -> None:
    measured = parity(expected, found)
    assert measured.ok, str(measured)


def some(found: Keypoints, start: int, count: int) -> Keypoints:
    end = start + count
    return Keypoints(found.xy_hm[start:end], found.score[start:end], found.spread[start:end])


def test_every_batch_answers_as_the_network_does(
    backend: TensorRtBackend, people: NDArray[np.uint8], exact: Keypoints
) -> None:
    for count in (1, 2, 3, 5, 16, PEOPLE):
        for _ in range(4):  # plain, captured, and as a graph
            agree(some(exact, 0, count), backend.keypoints(people[:count]))
        agree(some(exact, 0, count), decode(backend.infer(people[:count])))
    assert "no CUDA graph" not in backend.info.device


def test_tickets_that_overlap_keep_their_answers(
    backend: TensorRtBackend, people: NDArray[np.uint8], exact: Keypoints
) -> None:
    tickets = [backend.submit(people[i : i + 1]) for i in range(PEOPLE)]
    for i in reversed(range(PEOPLE)):
        agree(some(exact, i, 1), backend.result(tickets[i]))


def test_a_graph_and_plain_runs_give_the_same(engines: Callable[[str, bool], Path], people: NDArray[np.uint8]) -> None:
    path = engines("fp16", False)
    with TensorRtBackend(Request(path, "fp16")) as graph, TensorRtBackend(Request(path, "fp16"), graphs=False) as plain:
        for _ in range(4):
            one, other = graph.keypoints(people[:4]), plain.keypoints(people[:4])
        np.testing.assert_array_equal(one.xy_hm, other.xy_hm)
        for backend, parts in ((graph, False), (plain, True)):
            timings = backend.timings()
            assert timings is not None and 0 < timings.total < 1000
            assert (timings.compute is not None) == parts


def test_a_frame_is_cut_on_the_gpu_as_it_is_here(engines: Callable[[str, bool], Path]) -> None:
    found = []
    for crops_frames in (False, True):
        with PoseEstimator(engines("fp16", crops_frames), "tensorrt") as estimator:
            found.append(
                [pose for frame, box in bundled_people(4) for pose in estimator.poses(frame, [box, _wide(box)])]
            )
    for one, other in zip(*found, strict=True):
        cell = one.box.side / (SIZE / 4)
        apart = np.linalg.norm(one.xy - other.xy, axis=1) / cell
        assert np.quantile(apart, 0.9) < 0.25
        np.testing.assert_allclose(one.score, other.score, atol=0.02)


def _wide(box: Box) -> Box:
    return Box(box.cx, box.cy, min(1.2 * box.side, 2 * SIZE - 1))


def test_opened_and_closed_many_times_it_leaves_no_memory_behind(
    engines: Callable[[str, bool], Path], people: NDArray[np.uint8]
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch tells how much memory is free, and sees no GPU")
    free = []
    for _ in range(6):
        with open_backend("tensorrt", engines("fp16", False)) as backend:
            backend.keypoints(people)
        free.append(torch.cuda.mem_get_info()[0])
    assert free[1] - free[-1] < 32 << 20  # the first time the library itself takes some
