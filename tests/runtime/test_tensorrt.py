"""The TensorRT runtime over a fake TensorRT and a fake CUDA that are stricter than the real ones.

This holds the bookkeeping: what is called, in which order, with which memory, and what a refusal becomes. It does not
hold TensorRT, its kernels or its speed; see docs/gpu-agenda.md.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import picture
from hgrt.engine import onnx as names
from hgrt.errors import HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Box, apply, heatmap_to_crop, heatmap_to_image
from hgrt.pose.heatmaps import Keypoints, decode
from hgrt.runtime import loaded, tensorrt
from hgrt.runtime.base import Request, open_backend
from hgrt.runtime.lane import Lane
from hgrt.runtime.library import Library, load_library
from hgrt.runtime.loaded import LoadedEngine, rung
from hgrt.runtime.tensorrt import LANES, TensorRtBackend
from runtime.engines import GPU, passport, place
from runtime.fake_cuda import FakeCuda
from runtime.fake_trt import Arrays, FakeTrt, Plan, Tensor

SIZE, CELLS, J = 64, 16, 16
SPEC = ModelSpec(stacks=1, channels=8, gate="none", input=SIZE)
BUCKETS = ((1, 1, 1), (2, 4, 4), (5, 16, 16))
FRAMES = (16, 40), (200, 300)  # smallest and largest frame of the fake engine that cuts


# A network that anybody can compute: joint j's heatmap is the crop's colour j % 3, pooled, and upside down for odd j.


def heatmaps_of(crops: NDArray[Any]) -> NDArray[np.float32]:
    small = crops.astype(np.float32).reshape(len(crops), CELLS, 4, CELLS, 4, 3).mean(axis=(2, 4)) / 255
    return np.stack([small[..., j % 3][:, :: 1 - 2 * (j % 2)] for j in range(J)], axis=1)


def flat(found: Keypoints) -> NDArray[np.float32]:
    """As an engine writes keypoints down: no infinities."""
    spread = np.where(np.isfinite(found.spread), found.spread, 0)
    return np.concatenate([found.xy_hm, found.score[..., None], spread[..., None]], axis=2).astype(np.float32)


def of_crops(inputs: Arrays) -> Arrays:
    heatmaps = heatmaps_of(inputs["crops"])
    return {"heatmaps": heatmaps, "keypoints": flat(decode(heatmaps))}


def of_frame(inputs: Arrays) -> Arrays:
    (frame,), affines = inputs["frame"], inputs["affines"].astype(np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crops = np.stack([cv2.warpAffine(frame, affine, (SIZE, SIZE), flags=flags) for affine in affines])
    heatmaps = heatmaps_of(crops)
    found = decode(heatmaps)
    xy_crop = apply(heatmap_to_crop(CELLS, SIZE), found.xy_hm)
    xy_img = np.stack([apply(affine, xy) for affine, xy in zip(affines, xy_crop, strict=True)])
    return {"heatmaps": heatmaps, "keypoints": flat(Keypoints(xy_img, found.score, found.spread))}


OUTPUTS = (
    Tensor("heatmaps", False, "FLOAT", ("N", J, CELLS, CELLS)),
    Tensor("keypoints", False, "FLOAT", ("N", J, 4)),
)
CROPS = Tensor("crops", True, "UINT8", ("N", SIZE, SIZE, 3))
FRAME, AFFINES = Tensor("frame", True, "UINT8", (1, "H", "W", 3)), Tensor("affines", True, "FLOAT", ("N", 2, 3))


def crops_plan(buckets: Any = BUCKETS, **more: Any) -> Plan:
    profiles = tuple({"crops": tuple((n, SIZE, SIZE, 3) for n in bucket)} for bucket in buckets)
    return Plan(**{"tensors": (CROPS, *OUTPUTS), "profiles": profiles, "compute": of_crops, "scratch": 1000, **more})


def frame_plan(buckets: Any = BUCKETS, **more: Any) -> Plan:
    low, high = FRAMES
    frames = tuple((1, *size, 3) for size in (low, (100, 100), high))
    profiles = tuple({"frame": frames, "affines": tuple((n, 2, 3) for n in bucket)} for bucket in buckets)
    tensors = (FRAME, AFFINES, *OUTPUTS)
    return Plan(**{"tensors": tensors, "profiles": profiles, "compute": of_frame, "scratch": 1000, **more})


class Machine:
    """A GPU of fakes with an engine on it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan | None = None, **more: Any) -> None:
        flavour = more.get("flavour", "tensorrt")
        self.cuda = FakeCuda()
        self.trt = FakeTrt(self.cuda, plan or crops_plan(), flavour)
        crops_frames = "frame" in {tensor.name for tensor in self.trt.plan.tensors}
        said = {"spec": SPEC, "crop_in_engine": crops_frames, "version": self.trt.library.version, **more}
        self.path = place(folder / "net.engine", self.trt.data, **said)
        monkeypatch.setattr(tensorrt, "load_library", lambda asked: self.trt.library)
        monkeypatch.setattr(tensorrt, "need_gpu", lambda library: GPU)
        monkeypatch.setattr(tensorrt, "open_cuda", lambda: self.cuda)

    def open(self, **more: Any) -> TensorRtBackend:
        return TensorRtBackend(Request(self.path, "fp16"), **more)

    def __enter__(self) -> TensorRtBackend:
        self.backend = self.open()
        self.forget()
        return self.backend

    def __exit__(self, *_: object) -> None:
        self.backend.close()
        assert self.cuda.faults == []

    def forget(self) -> None:
        """Count anew from here."""
        for counted in (self.cuda.calls, self.cuda.done, self.trt.calls, self.trt.order):
            counted.clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda plan=None, **more: Machine(tmp_path, monkeypatch, plan, **more)


def crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def same(found: Keypoints, pixels: NDArray[np.uint8]) -> None:
    """The keypoints of these crops; the float32 of an engine costs a few digits."""
    expected = decode(heatmaps_of(pixels))
    np.testing.assert_allclose(found.xy_hm, expected.xy_hm, atol=1e-4)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-6)
    np.testing.assert_allclose(found.spread, expected.spread, rtol=1e-5)


# The answers


@pytest.mark.parametrize("plan", [crops_plan, frame_plan])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 40])
def test_every_number_of_crops_gets_its_own_answers(plan: Any, count: int, machine: Any) -> None:
    with machine(plan()) as backend:
        for turn in range(3):  # the first time as it comes, then captured, then as a graph
            pixels = crops(count, turn)
            found = backend.keypoints(pixels)
            assert found.xy_hm.dtype == found.score.dtype == found.spread.dtype == np.float64
            same(found, pixels)
            maps = backend.infer(pixels)
            assert maps.dtype == np.float32
            np.testing.assert_allclose(maps, heatmaps_of(pixels), atol=1e-6)


def test_a_joint_without_a_peak_has_an_infinite_spread(machine: Any) -> None:
    with machine() as backend:
        found = backend.keypoints(np.zeros((1, SIZE, SIZE, 3), np.uint8))
        assert not found.score.any() and np.isposinf(found.spread).all()


def test_answers_stay_as_they_are_when_more_is_asked(machine: Any) -> None:
    with machine() as backend:
        pixels = crops(4)
        found = backend.keypoints(pixels)
        for seed in range(5):
            backend.keypoints(crops(4, seed))
        same(found, pixels)


@pytest.mark.parametrize("plan", [crops_plan, frame_plan])
def test_tickets_overlap_and_may_be_taken_in_any_order(plan: Any, machine: Any) -> None:
    with machine(plan()) as backend:
        for counts in ([1, 1], [1, 1, 1, 1, 1], [3, 17, 1, 40, 2]):
            asked = [crops(count, seed) for seed, count in enumerate(counts)]
            tickets = []
            for pixels in asked:
                given = pixels.copy()
                tickets.append(backend.submit(given))
                given[:] = 0  # a camera writes the next frame there
            order = np.random.default_rng(len(counts)).permutation(len(counts))
            for i in [*order, *order]:  # asking twice does no harm
                same(backend.result(tickets[i]), asked[i])


def test_two_batches_are_under_way_at_once_and_a_third_waits_for_the_first(machine: Any) -> None:
    made = machine()
    with made as backend:
        for _ in range(LANES):
            backend.submit(crops(1))
        assert made.cuda.done == []  # nobody has waited for anything yet
        backend.submit(crops(1))
        assert made.cuda.done.count("enqueue") == 1


# The order of calls


def test_shapes_come_before_addresses_and_both_before_the_run(machine: Any) -> None:
    made = machine()
    with made as backend:
        backend.keypoints(crops(3))
        assert made.trt.order == [
            "create_execution_context",
            "set_optimization_profile_async",
            "set_input_shape",
            "infer_shapes",
            *["set_tensor_address"] * 3,
            "execute_async_v3",
        ]
        assert made.cuda.done.index("profile") < made.cuda.done.index("upload")


def test_addresses_are_set_once_a_shape(machine: Any) -> None:
    made = machine()
    with made as backend:
        for seed in range(6):
            same(backend.keypoints(crops(3, seed)), crops(3, seed))
        assert made.trt.calls["set_tensor_address"] == 3 * LANES
        assert made.trt.calls["create_execution_context"] == LANES
        assert made.cuda.calls["new_buffer"] == made.cuda.calls["pin"] == 0


def test_a_shape_is_captured_at_its_second_run_and_replayed_ever_after(machine: Any) -> None:
    made = machine()
    with made as backend:
        for turn in range(10):
            made.forget()
            backend.keypoints(crops(2, turn))
            run = turn // LANES
            assert made.cuda.calls["begin"] == (run == 1)
            assert made.cuda.calls["launch"] == (run >= 1)
            assert made.trt.calls["execute_async_v3"] == (run <= 1)
            assert [name for name in made.cuda.done if name != "record"][-3:] == ["upload", "enqueue", "download"]


def test_a_new_size_is_captured_anew_and_the_old_graph_still_serves(machine: Any) -> None:
    made = machine()
    with made as backend:
        for count in (2, 4, 2, 6, 4, 16):
            for turn in range(2 * LANES):
                same(backend.keypoints(crops(count, turn)), crops(count, turn))
        assert made.cuda.calls["begin"] == LANES * len({2, 4, 6, 16})


def test_the_first_person_is_already_a_graph(machine: Any) -> None:
    made = machine()
    with made as backend:
        backend.keypoints(crops(1))
        assert (made.cuda.calls["begin"], made.cuda.calls["launch"]) == (0, 1)
        assert made.trt.order == []


def test_only_keypoints_are_copied_back_unless_heatmaps_are_asked_for(machine: Any) -> None:
    made = machine()
    with made as backend:
        backend.keypoints(crops(1))
        assert made.cuda.done.count("download") == 1
        made.forget()
        backend.infer(crops(1))
        assert made.cuda.done.count("download") == 2


# Batches


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 6), (7, 8), (8, 8), (9, 12), (12, 12), (13, 16), (16, 16), (33, 48)],
)
def test_few_sizes_run(count: int, expected: int) -> None:
    assert rung(count) == expected


@pytest.mark.parametrize(
    ("buckets", "count", "expected"),
    [
        (BUCKETS, 1, [(0, 1)]),
        (BUCKETS, 2, [(1, 2)]),
        (BUCKETS, 3, [(1, 3)]),
        (BUCKETS, 5, [(2, 6)]),
        (BUCKETS, 13, [(2, 16)]),
        (BUCKETS, 17, [(2, 16), (0, 1)]),
        (BUCKETS, 35, [(2, 16), (2, 16), (1, 3)]),
        (((5, 7, 7), (1, 1, 1)), 1, [(1, 1)]),  # whichever order they were built in
        (((5, 7, 7), (1, 1, 1)), 2, [(0, 5)]),  # padded to the least that the profile holds
        (((5, 7, 7), (1, 1, 1)), 7, [(0, 7)]),  # and to no more than the most
        (((4, 4, 4),), 1, [(0, 4)]),
        (((4, 4, 4),), 6, [(0, 4), (0, 4)]),
    ],
)
def test_each_batch_runs_in_the_smallest_profile_that_holds_it(
    buckets: Any, count: int, expected: list[tuple[int, int]], machine: Any
) -> None:
    ran: list[int] = []

    def compute(inputs: Arrays) -> Arrays:
        ran.append(len(inputs["crops"]))
        return of_crops(inputs)

    made = machine(crops_plan(buckets, compute=compute))
    with made as backend:
        ran.clear()
        same(backend.keypoints(crops(count)), crops(count))
        fits = []
        left = count
        while left:
            fit = backend._engine.fit(left)
            assert fit is not None
            fits.append((fit.profile.index, fit.shapes["crops"][0]))
            left -= fit.count
        assert fits == expected
        assert sorted(ran) == sorted(batch for _, batch in expected)


def test_the_memory_is_that_of_the_largest_batch_and_shared_by_all_shapes(machine: Any) -> None:
    made = machine()
    with made as backend:
        taken = dict(made.cuda.alive())
        for count in range(1, 17):
            backend.keypoints(crops(count))
            backend.keypoints(crops(count))
        assert {name: made.cuda.alive()[name] for name in taken if name != "Graph"} == {
            name: count for name, count in taken.items() if name != "Graph"
        }


# Whole frames


def placed_by_hand(frame: NDArray[np.uint8], boxes: list[Box]) -> list[NDArray[np.float64]]:
    """Where the joints are, with every step done here."""
    found = []
    for box in boxes:
        crop = np.asarray(cv2.warpAffine(frame, box.to_crop(SIZE), (SIZE, SIZE)))
        found.append(apply(heatmap_to_image(box, CELLS, SIZE), decode(heatmaps_of(crop[None])).xy_hm[0]))
    return found


BOXES = [Box(60, 40, 70), Box(100, 60, 90.5), Box(-10, 10, 64), Box(150, 30, 127)]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_frame_is_sent_once_for_all_its_people(count: int, machine: Any) -> None:
    made = machine(frame_plan())
    frame = picture(180, 120, (80, 60, 70))
    with made as backend:
        assert backend.info.crops_frames
        affines = np.stack([box.to_image(SIZE) for box in BOXES[:count]])
        for _ in range(2 * LANES + 1):
            made.forget()
            found = backend.frame_keypoints(frame, affines)
            np.testing.assert_allclose(found.xy_img, placed_by_hand(frame, BOXES[:count]), atol=2e-3)
            assert made.cuda.done.count("upload") == 2  # the frame, and where the people are
        assert made.cuda.calls["launch"] == 1


def test_more_people_than_the_engine_takes_are_several_runs(machine: Any) -> None:
    with machine(frame_plan()) as backend:
        frame, boxes = picture(180, 120, (80, 60, 70)), [Box(60 + i, 50, 70 + i) for i in range(21)]
        found = backend.frame_keypoints(frame, np.stack([box.to_image(SIZE) for box in boxes]))
        np.testing.assert_allclose(found.xy_img, placed_by_hand(frame, boxes), atol=2e-3)


def test_frames_of_ever_new_sizes_keep_their_answers_and_the_memory_in_bounds(machine: Any) -> None:
    made = machine(frame_plan())
    with made as backend:
        for turn, (height, width) in enumerate(zip(range(60, 200, 3), range(290, 60, -4), strict=False)):
            frame = picture(width, height, (width / 2, height / 2, 50), seed=turn)
            box = Box(width / 2, height / 2, 80)
            for _ in range(2 * LANES):
                found = backend.frame_keypoints(frame, box.to_image(SIZE)[None])
            np.testing.assert_allclose(found.xy_img, placed_by_hand(frame, [box]), atol=2e-3)
        alive = made.cuda.alive()
        assert alive["pinned"] == alive["Buffer"] - LANES == 4 * LANES  # the scratch is on the device only
        assert alive["Graph"] <= 16 * LANES


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((120, 180), Box(60, 50, 2 * SIZE)),  # shrinks twofold: only an average keeps what lies between the samples
        ((210, 180), Box(60, 50, 70)),  # higher than any profile
        ((120, 301), Box(60, 50, 70)),  # wider
        ((15, 180), Box(60, 8, 70)),  # lower
    ],
)
def test_what_the_engine_cannot_cut_well_is_cut_here(size: tuple[int, int], box: Box, machine: Any) -> None:
    made = machine(frame_plan())
    frame = picture(size[1], size[0], (60, 50, 70))
    with made as backend:
        found = backend.frame_keypoints(frame, np.stack([box.to_image(SIZE), Box(60, 50, 64).to_image(SIZE)]))
        plain = machine(crops_plan())
        with plain as other:
            expected = other.frame_keypoints(frame, np.stack([box.to_image(SIZE), Box(60, 50, 64).to_image(SIZE)]))
        np.testing.assert_allclose(found.xy_img, expected.xy_img, atol=2e-3)
        np.testing.assert_allclose(found.score, expected.score, atol=1e-6)


def test_the_estimator_finds_the_same_whoever_cuts(machine: Any) -> None:
    frame = picture(180, 120, (80, 60, 70))
    found = []
    for plan in (crops_plan(), frame_plan()):
        made = machine(plan)
        with made as backend:
            estimator = PoseEstimator.__new__(PoseEstimator)
            estimator.backend, estimator.decode = backend, "dark"
            marks: list[str] = []
            found.append(estimator.poses(frame, BOXES, marks.append))
            assert marks == (["network", "decode"] if backend.info.crops_frames else ["crop", "network", "decode"])
            made.forget()
            estimator.decode = "quarter"
            estimator.poses(frame, BOXES[:2])
            assert made.cuda.done.count("download") == 2  # the heatmaps too: the engine decodes in one way only
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.xy, other.xy, atol=2e-3)
        np.testing.assert_allclose(one.score, other.score, atol=1e-5)
        np.testing.assert_allclose(one.spread, other.spread, rtol=1e-3)
        assert one.box == other.box


def test_crops_that_do_not_fit_the_frames_of_an_engine_are_refused(machine: Any) -> None:
    low, high = (1, 16, 16, 3), (1, 60, 60, 3)
    profiles = ({"frame": (low, low, high), "affines": ((1, 2, 3), (1, 2, 3), (4, 2, 3))},)
    with machine(frame_plan(profiles=profiles)) as backend, pytest.raises(HgrtError, match="takes frames") as error:
        backend.keypoints(crops(1))
    assert "60 x 60" in error.value.why and f"{SIZE} x {SIZE}" in error.value.why


@pytest.mark.parametrize(
    ("frame", "affines"),
    [
        (np.zeros((20, 30), np.uint8), np.zeros((1, 2, 3))),
        (np.zeros((20, 30, 3), np.float32), np.zeros((1, 2, 3))),
        (np.zeros((0, 30, 3), np.uint8), np.zeros((1, 2, 3))),
        (np.zeros((20, 30, 3), np.uint8), np.zeros((2, 3))),
        (np.zeros((20, 30, 3), np.uint8), np.zeros((0, 2, 3))),
    ],
)
def test_a_frame_or_affines_of_another_shape_are_refused(frame: Any, affines: Any, machine: Any) -> None:
    with machine(frame_plan()) as backend, pytest.raises(ValueError, match=r"frame is|affines are"):
        backend.frame_keypoints(frame, affines)


# Refusals


CALLS = [
    "Runtime",
    "deserialize_cuda_engine",
    "create_execution_context",
    "set_optimization_profile_async",
    "set_input_shape",
    "infer_shapes",
    "set_tensor_address",
    "execute_async_v3",
]


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
@pytest.mark.parametrize("call", CALLS)
def test_every_no_of_tensorrt_is_an_error_with_its_own_words(call: str, flavour: str, machine: Any) -> None:
    made = machine(flavour=flavour)
    made.trt.refuse(call)
    with pytest.raises(HgrtError) as error:
        made.open()
    assert error.value.what.startswith("TensorRT") and str(made.path) in error.value.what
    assert "refused by the test" in error.value.why and "hgrt build-engine --rebuild" in error.value.fix
    assert made.cuda.alive() == {} and made.cuda.faults == []


@pytest.mark.parametrize("call", CALLS[2:])
def test_a_no_for_a_later_batch_is_an_error_too_and_what_ran_before_still_runs(call: str, machine: Any) -> None:
    made = machine()
    with made as backend:
        backend.keypoints(crops(2))
        made.trt.refuse(call)
        for _ in range(2):
            with pytest.raises(HgrtError, match="TensorRT") as error:
                backend.keypoints(crops(3))
            assert "refused by the test" in error.value.why
        made.trt._refused.clear()
        for seed in range(3):
            for count in (3, 2):
                same(backend.keypoints(crops(count, seed)), crops(count, seed))


CUDA_CALLS = [
    "pin",
    "new_buffer",
    "new_stream",
    "new_event",
    "copy_in",
    "copy_out",
    "record",
    "finish_stream",
    "elapsed",
]


@pytest.mark.parametrize("call", CUDA_CALLS)
def test_an_error_of_cuda_goes_up_and_leaves_nothing_behind(call: str, machine: Any) -> None:
    made = machine()
    made.cuda.refuse(call)
    with pytest.raises(RuntimeError, match=call):
        made.open()
    made.cuda._refused.clear()
    assert made.cuda.alive() == {}


def test_a_run_that_failed_while_the_next_was_begun_has_no_answer(machine: Any) -> None:
    made = machine()
    with made as backend:
        first = backend.submit(crops(1))
        second = backend.submit(crops(1))
        made.cuda.refuse("finish_stream")
        with pytest.raises(RuntimeError, match="finish_stream"):
            backend.submit(crops(1))
        made.cuda._refused.clear()
        with pytest.raises(RuntimeError, match="has failed"):
            backend.result(first)
        same(backend.result(second), crops(1))
        same(backend.keypoints(crops(2)), crops(2))


def test_too_little_memory_is_said_in_plain_words(machine: Any) -> None:
    made = machine()
    made.cuda.capacity = 10_000
    with pytest.raises(HgrtError, match="no memory left"):
        made.open()
    assert made.cuda.alive() == {}


def tensors(**changed: Tensor | None) -> tuple[Tensor, ...]:
    every = {one.name: one for one in (CROPS, *OUTPUTS)} | changed
    return tuple(one for one in every.values() if one is not None)


@pytest.mark.parametrize(
    ("has", "words"),
    [
        (tensors(keypoints=None), "expected are crops, heatmaps, keypoints"),
        (tensors(more=Tensor("more", False, "FLOAT", ("N", 2))), "more"),
        (tensors(crops=Tensor("image", True, "UINT8", ("N", SIZE, SIZE, 3))), "image"),
        (tensors(crops=Tensor("crops", True, "FLOAT", ("N", SIZE, SIZE, 3))), "not UINT8"),
        (tensors(crops=Tensor("crops", True, "UINT8", ("N", 3, SIZE, SIZE))), "crops is (-1, 3, 64, 64)"),
        (tensors(keypoints=Tensor("keypoints", False, "HALF", ("N", J, 4))), "not FLOAT"),
        (tensors(keypoints=Tensor("keypoints", False, "FLOAT", ("N", J, 3))), "keypoints is (-1, 16, 3)"),
        (tensors(keypoints=Tensor("keypoints", False, "FLOAT", ("N", J))), "keypoints is (-1, 16)"),
        (tensors(heatmaps=Tensor("heatmaps", False, "FLOAT", ("N", J, 48, 48))), "heatmaps is (-1, 16, 48, 48)"),
        (tensors(heatmaps=Tensor("heatmaps", True, "FLOAT", ("N", J, CELLS, CELLS))), "heatmaps is an input"),
    ],
)
def test_an_engine_that_is_not_what_its_passport_says_is_refused(has: Any, words: str, machine: Any) -> None:
    made = machine(crops_plan(tensors=has))
    with pytest.raises(HgrtError, match="not an engine that hgrt built") as error:
        made.open()
    assert words in error.value.why and made.cuda.alive() == {}


def test_an_engine_of_one_fixed_batch_runs_padded(machine: Any) -> None:
    fixed = (
        Tensor("crops", True, "UINT8", (4, SIZE, SIZE, 3)),
        *(Tensor(one.name, False, one.dtype, (4, *one.shape[1:])) for one in OUTPUTS),
    )
    with machine(crops_plan(((4, 4, 4),), tensors=fixed)) as backend:
        for count in (1, 4, 6):
            same(backend.keypoints(crops(count)), crops(count))


# Before anything is deserialised


class Untouchable:
    """A module that must not be touched."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of TensorRT was touched")


def test_without_a_gpu_nothing_of_tensorrt_is_touched(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hgrt.runtime import library

    made = machine()
    untouchable = Library(Untouchable(), "tensorrt", made.trt.library.version)
    monkeypatch.setattr(tensorrt, "load_library", lambda flavour: untouchable)
    monkeypatch.setattr(tensorrt, "need_gpu", library.need_gpu)
    monkeypatch.setattr(library, "probe", lambda: "There is no NVIDIA driver.")
    for open_it in (made.open, lambda: open_backend("tensorrt", made.path), lambda: open_backend("auto", made.path)):
        with pytest.raises(HgrtError, match="TensorRT needs an NVIDIA GPU") as error:
            open_it()
        assert error.value.why == "There is no NVIDIA driver."


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"version": "10.13.0.35"}, "TensorRT 10.13.0.35"),
        ({"capability": "8.6"}, "compute capability 8.6"),
        ({"driver": "999.1"}, "older"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_an_engine_of_another_machine_is_not_deserialised(more: Any, words: str, trust: bool, machine: Any) -> None:
    made = machine(**more)
    with pytest.raises(HgrtError) as error:
        TensorRtBackend(Request(made.path, "fp16", trust=trust))
    assert words in error.value.what and error.value.fix == "hgrt build-engine --rebuild lite.engine"
    assert made.trt.order == [] and made.cuda.calls.total() == 0


def test_a_changed_engine_is_not_deserialised_unless_it_is_trusted(machine: Any) -> None:
    made = machine()
    changed = b"a plan that somebody else made"
    made.path.write_bytes(changed)
    made.trt.data = changed
    with pytest.raises(HgrtError, match="was changed since it was built"):
        made.open()
    assert made.trt.order == []
    with open_backend("tensorrt", made.path, trust=True) as backend:
        same(backend.keypoints(crops(1)), crops(1))


def test_an_engine_without_a_passport_is_refused(machine: Any) -> None:
    made = machine()
    Path(f"{made.path}.json").unlink()
    for trust in (False, True):
        with pytest.raises(HgrtError, match="no passport"):
            open_backend("tensorrt", made.path, trust=trust)
    assert made.trt.order == []


@pytest.mark.parametrize("flagged", [False, True])
def test_only_a_version_compatible_engine_may_bring_a_runtime_of_its_own(flagged: bool, machine: Any) -> None:
    made = machine(flags={"VERSION_COMPATIBLE": flagged})
    with made as backend:
        assert backend._engine._runtime.engine_host_code_allowed is flagged


# Graphs, or not


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
def test_where_nothing_can_be_captured_it_runs_without_and_says_so(flavour: str, machine: Any) -> None:
    made = machine(crops_plan(capturable=False), flavour=flavour)
    with made as backend:
        assert "NVIDIA H200, no CUDA graph: TensorRT can" in backend.info.device
        for seed in range(5):
            same(backend.keypoints(crops(2, seed)), crops(2, seed))
        assert made.cuda.calls["begin"] == made.cuda.calls["launch"] == 0
        assert backend.info.device.count("no CUDA graph") == 1


@pytest.mark.parametrize("call", ["begin", "end"])
def test_a_capture_that_the_driver_refuses_is_not_tried_again(call: str, machine: Any) -> None:
    made = machine()
    made.cuda.refuse(call)
    with made as backend:
        assert f"no CUDA graph: {call} failed" in backend.info.device
        for seed in range(5):
            same(backend.keypoints(crops(1, seed)), crops(1, seed))
        assert made.cuda.calls["launch"] == 0


def test_a_capture_that_fails_later_is_said_from_then_on(machine: Any) -> None:
    made = machine()
    with made as backend:
        made.cuda.refuse("begin")
        for seed in range(5):
            same(backend.keypoints(crops(3, seed)), crops(3, seed))
        assert "no CUDA graph" in backend.info.device
        made.forget()
        backend.keypoints(crops(1))
        assert made.cuda.calls["launch"] == 1  # what was captured before stays


def test_the_parts_of_a_run_are_timed_where_no_graph_runs(machine: Any) -> None:
    made = machine()
    with made.open(graphs=False) as backend:
        assert "graph" not in backend.info.device
        backend.keypoints(crops(1))
        timings = backend.timings()
        assert timings is not None
        assert (timings.h2d, timings.compute, timings.d2h, timings.total) == (1.0, 1.0, 1.0, 3.0)
        backend.keypoints(crops(17))
        timings = backend.timings()
        assert timings is not None and (timings.compute, timings.total) == (2.0, 6.0)
    assert made.cuda.calls["begin"] == 0


def test_a_graph_is_timed_as_a_whole(machine: Any) -> None:
    with machine() as backend:
        backend.keypoints(crops(1))
        timings = backend.timings()
        assert timings is not None and (timings.total, timings.h2d, timings.compute, timings.d2h) == (3.0, *[None] * 3)


def test_rtx_compiles_for_the_very_shape_and_captures_nothing_itself(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = machine(flavour="rtx")
    seen: list[Any] = []
    create = made.trt.module.ICudaEngine.create_execution_context
    monkeypatch.setattr(
        made.trt.module.ICudaEngine,
        "create_execution_context",
        lambda self, config: seen.append(config) or create(self, config),
    )
    with made as backend:
        assert backend.info.versions["tensorrt_rtx"] == made.trt.library.version
    assert len(seen) == LANES
    for config in seen:
        assert config.cuda_graph_strategy.name == "DISABLED"
        assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
        assert config.get_execution_context_allocation_strategy().name == "USER_MANAGED"


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
@pytest.mark.parametrize("scratch", [0, 1, 12345])
def test_contexts_of_a_lane_share_its_scratch_memory(flavour: str, scratch: int, machine: Any) -> None:
    with machine(crops_plan(scratch=scratch), flavour=flavour) as backend:
        for count in (1, 2, 3, 16):
            same(backend.keypoints(crops(count)), crops(count))


# What it says, and its end


def test_the_info_says_what_runs(machine: Any) -> None:
    made = machine()
    with made as backend:
        info = backend.info
        assert (info.runtime, info.spec, info.weights, info.device) == ("tensorrt", SPEC, made.path, GPU.name)
        assert (info.asked, info.running, info.threads) == ("fp16", "fp16", 0)
        assert info.decodes and not info.crops_frames
        assert str(info) == "tensorrt (tensorrt 11.4.0.106 fake 0 driver 580.65.06) on NVIDIA H200, fp16"


def test_the_precision_is_that_of_the_engine_and_another_one_is_refused(machine: Any) -> None:
    made = machine(precision="fp32")
    with open_backend("tensorrt", made.path) as backend:
        assert (backend.info.asked, backend.info.running) == ("fp32", "fp32")
    made.cuda = FakeCuda()
    made.trt.cuda = made.cuda
    with pytest.raises(HgrtError, match="runs fp32 where fp16 was asked for"):
        open_backend("tensorrt", made.path, "fp16")
    assert made.cuda.alive() == {}


def test_it_closes_once_and_in_order(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    for kind in (Lane, LoadedEngine, FakeCuda):
        close = kind.close
        monkeypatch.setattr(kind, "close", lambda self, close=close: ended.append(type(self).__name__) or close(self))
    backend = machine().open()
    backend.close()
    backend.close()
    assert ended == [*["Lane"] * LANES, "LoadedEngine", "FakeCuda"]


def test_closed_is_closed(machine: Any) -> None:
    made = machine()
    backend = made.open()
    ticket, pending = backend.submit(crops(1)), backend.submit(crops(1))
    backend.result(ticket)
    backend.close()
    assert made.cuda.alive() == {} and made.cuda.faults == []
    for call in (
        lambda: backend.keypoints(crops(1)),
        lambda: backend.infer(crops(1)),
        lambda: backend.submit(crops(1)),
        lambda: backend.result(pending),
        lambda: backend.result(ticket),
        lambda: backend.frame_keypoints(picture(60, 60), np.zeros((1, 2, 3))),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_it_closes_in_order_though_the_device_is_lost(machine: Any) -> None:
    made = machine()
    backend = made.open()
    backend.submit(crops(1))
    made.cuda.refuse("finish_stream")
    with pytest.raises(RuntimeError, match="finish_stream"):
        backend.close()
    backend.close()
    assert backend._engine._engine is None and made.cuda._closed


def test_the_names_are_those_of_the_export() -> None:
    for name in ("CROPS", "FRAME", "AFFINES", "HEATMAPS", "KEYPOINTS"):
        assert getattr(loaded, name) == getattr(names, name)


def test_the_real_library_refuses_a_file_in_its_own_words(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="it is the one library that can be asked without a GPU")
    path = tmp_path / "net.engine"
    gc.collect()  # it writes to the log of its oldest living object
    path.write_bytes(b"no plan at all, but long enough to be looked at" * 100)
    with pytest.raises(HgrtError, match="TensorRT does not load") as error:
        LoadedEngine(load_library("rtx"), path, passport(flavour="rtx"))
    assert "Error Code" in error.value.why
