"""The same people, asked of a network, of its ONNX file and of its engine: all answers are in heatmap cells."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

import tiny_engine  # noqa: E402  # after the skips
from hgrt.engine import answers  # noqa: E402
from hgrt.engine.answers import People  # noqa: E402
from hgrt.engine.onnx import EngineOnnx  # noqa: E402
from hgrt.model.spec import ModelSpec  # noqa: E402
from hgrt.pose.geometry import Box, crop  # noqa: E402
from hgrt.pose.heatmaps import Keypoints, decode  # noqa: E402
from runtime.test_tensorrt import BUCKETS, SPEC, Machine, crops_plan, frame_plan, heatmaps_of  # noqa: E402

COUNT = 11  # no multiple of anything


@functools.cache
def seen() -> People:
    return answers.people(SPEC, COUNT)


def close(found: Keypoints, expected: Keypoints, atol: float = 1e-4) -> None:
    np.testing.assert_allclose(found.xy_hm, expected.xy_hm, atol=atol)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)


# The people


@pytest.mark.parametrize("size", [64, 192, 256])
def test_people_are_cut_as_the_estimator_cuts_them_and_never_shrink_twofold(size: int) -> None:
    spec = ModelSpec(input=size)
    few = answers.people(spec, 3)
    assert few.crops.shape == (3, size, size, 3) and few.crops.dtype == np.uint8
    for (frame, box), (original, whole), pixels in zip(few.placed, answers.bundled_people(3), few.crops, strict=True):
        assert box.side < 2 * size
        np.testing.assert_array_equal(pixels, crop(frame, box, size).pixels)
        # Halved with its picture or not, a box holds the same.
        assert np.abs(pixels.astype(int) - crop(original, whole, size).pixels).mean() < 4


def test_a_halved_picture_keeps_every_place() -> None:
    """The dot in the middle of the box stays there: pixel 2 k + 1/2 becomes pixel k."""
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[196:200, 240:244] = 255  # its middle is at (241.5, 197.5)
    small, box = answers._near(frame, Box(241.5, 197.5, 256), 128)
    assert small.shape == (100, 100, 3) and box.side == 64
    ys, xs = np.nonzero(small[..., 0])
    assert (xs.mean(), ys.mean()) == (box.cx, box.cy)


# The network


def test_a_network_is_asked_in_rgb_between_0_and_1_and_its_last_stack_answers() -> None:
    def model(rgb: Any) -> Any:
        assert rgb.shape[1:] == (3, 64, 64) and rgb.dtype == torch.float32 and len(rgb) <= answers.AT_ONCE
        bgr = (255 * rgb.flip(1)).permute(0, 2, 3, 1).numpy().round()
        last = torch.from_numpy(heatmaps_of(bgr))
        return torch.stack([1 - last, last], dim=1)

    close(answers.of_network(model, seen()), decode(heatmaps_of(seen().crops)))  # type: ignore[arg-type]


# The ONNX file


def test_an_onnx_file_is_asked(tmp_path: Path) -> None:
    facts = EngineOnnx(tiny_engine.SPEC, "fp16", False)
    found = answers.of_onnx(tiny_engine.write(tmp_path / "tiny.onnx"), facts, seen())
    bright = seen().crops.astype(float).reshape(COUNT, 16, 4, 16, 4, 3).sum(axis=(2, 4, 5))
    best = bright.reshape(COUNT, -1).argmax(1)
    places = np.stack([best % 16, best // 16], axis=-1)
    assert found.xy_hm.shape == (COUNT, 16, 2)
    # Of places that are equally bright in half precision, any may be found.
    same = (found.xy_hm == places[:, None]).all(axis=(1, 2))
    assert same.mean() > 0.5
    np.testing.assert_allclose(found.score, bright.max((1, 2))[:, None].repeat(16, 1) * 0.01 / 255, rtol=3e-3)


# The engine, over a fake TensorRT and a fake CUDA


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    return lambda plan: Machine(tmp_path, monkeypatch, plan)


def test_an_engine_is_asked_with_the_batches_of_every_profile(machine: Callable[..., Machine]) -> None:
    there = machine(crops_plan())
    there.cuda.name = "pycuda"
    batches: list[int] = []
    compute = there.trt.plan.compute

    def spy(inputs: Any) -> Any:
        batches.append(len(inputs["crops"]))
        return compute(inputs)

    object.__setattr__(there.trt.plan, "compute", spy)
    found, layer = answers.of_engine(there.path, EngineOnnx(SPEC, "fp16", False), BUCKETS, seen())
    close(found, answers.repeated(decode(heatmaps_of(seen().crops)), 3 * COUNT))
    assert {1, 4} < set(batches) and max(batches) >= COUNT, "each profile has had its turn"
    assert layer == f"pycuda {there.cuda.version}"
    assert there.cuda.faults == []


def test_an_engine_that_cuts_is_asked_with_frames(machine: Callable[..., Machine]) -> None:
    there = machine(frame_plan())
    found, _ = answers.of_engine(there.path, EngineOnnx(SPEC, "fp16", True), BUCKETS, seen())
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = [cv2.warpAffine(frame, box.to_image(64), (64, 64), flags=flags) for frame, box in seen().placed]
    frames, strips = decode(heatmaps_of(np.stack(cut))), decode(heatmaps_of(seen().crops))
    assert len(found.score) == (1 + len(BUCKETS)) * COUNT
    close(_part(found, 0), frames, atol=2e-3)
    for i in range(1, 4):
        close(_part(found, i), strips, atol=2e-3)
    assert there.cuda.faults == []


def _part(found: Keypoints, index: int) -> Keypoints:
    part = slice(index * COUNT, (index + 1) * COUNT)
    return Keypoints(found.xy_hm[part], found.score[part], found.spread[part])


def test_answers_are_repeated_for_each_profile() -> None:
    once = decode(heatmaps_of(seen().crops))
    thrice = answers.repeated(once, 3 * COUNT)
    assert thrice.xy_hm.shape == (3 * COUNT, 16, 2) and thrice.spread.shape == (3 * COUNT, 16)
    for start in range(0, 3 * COUNT, COUNT):
        np.testing.assert_array_equal(thrice.score[start : start + COUNT], once.score)
