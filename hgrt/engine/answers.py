"""What a network, its ONNX file and its engine find on the same people, so that the three can be compared.

All answers are keypoints in heatmap cells, also of those that cut the crops themselves. Judging them is the business
of `hgrt.engine.verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.engine.onnx import EngineOnnx
from hgrt.engine.verify import bundled_people
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Array, Box, Image, apply, crop, heatmap_to_image, invert
from hgrt.pose.heatmaps import Keypoints, decode
from hgrt.runtime.base import open_backend, physical_cores
from hgrt.runtime.loaded import AFFINES, CROPS, FRAME, KEYPOINTS

if TYPE_CHECKING:
    from hgrt.engine.build import Profile
    from hgrt.model.hourglass import StackedHourglass

AT_ONCE = 8  # people in one call where any number would do


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """People to compare answers on: in their frames with boxes, and as crops (N, S, S, 3) uint8 BGR."""

    spec: ModelSpec
    placed: list[tuple[Image, Box]]
    crops: NDArray[np.uint8]


def people(spec: ModelSpec, count: int) -> People:
    """`count` people of the bundled clip, cut for a network of this kind.

    None of them is to shrink twofold or more: only crops that are cut here are averaged then, those of engines are not.
    """
    placed = [_near(frame, box, 2 * spec.input) for frame, box in bundled_people(count)]
    return People(spec, placed, np.stack([crop(frame, box, spec.input).pixels for frame, box in placed]))


def _near(frame: Image, box: Box, limit: int) -> tuple[Image, Box]:
    while box.side >= limit:
        frame = np.asarray(cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        box = Box((box.cx - 0.5) / 2, (box.cy - 0.5) / 2, box.side / 2)
    return frame, box


def of_network(model: StackedHourglass, seen: People) -> Keypoints:
    """What the network itself finds, in single precision, nothing folded."""
    import torch

    def run(crops: NDArray[np.uint8]) -> Keypoints:
        rgb = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).permute(0, 3, 1, 2).float() / 255
        return decode(model(rgb)[:, -1].numpy())

    with torch.inference_mode():
        return _joined(map(run, _parts(seen.crops, AT_ONCE)))


def of_onnx(path: Path, facts: EngineOnnx, seen: People) -> Keypoints:
    """What ONNX Runtime finds with an engine's ONNX file on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = physical_cores()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        return np.asarray(session.run([KEYPOINTS], inputs)[0], dtype=np.float64)

    if facts.crop:
        return _in_cells(seen, lambda frame, affine: run({FRAME: frame[None], AFFINES: affine.astype(np.float32)}))
    return _joined(_keypoints(run({CROPS: part})) for part in _parts(seen.crops, AT_ONCE))


def of_engine(path: Path, facts: EngineOnnx, profiles: Iterable[Profile], seen: People) -> tuple[Keypoints, str]:
    """What an engine with its passport finds on the GPU, with the largest batch of one profile after the other.

    One that cuts crops itself is asked with frames, too. Also says which CUDA layer ran it. HgrtError where it does
    not run.
    """
    with open_backend("tensorrt", path, facts.precision) as backend:

        def place(frame: Image, affine: Array) -> NDArray[np.float64]:
            found = backend.frame_keypoints(frame, affine)
            return np.concatenate([found.xy_img, found.score[..., None], found.spread[..., None]], axis=2)

        every = [_in_cells(seen, place)] if facts.crop else []
        for _, _, largest in profiles:
            every.append(_joined(map(backend.keypoints, _parts(seen.crops, largest))))
        layers = [f"{name} {version}" for name, version in backend.info.versions.items() if "cuda" in name]
    return _joined(every), " ".join(layers)


def repeated(found: Keypoints, people: int) -> Keypoints:
    """The same answers over and over, for so many people."""
    return _joined([found] * (people // len(found.score)))


def _in_cells(seen: People, run: Callable[[Image, Array], NDArray[np.float64]]) -> Keypoints:
    """The answers of what takes a frame and affines (1, 2, 3) and places joints (1, J, 4) in the frame."""
    spec, found = seen.spec, []
    for frame, box in seen.placed:
        placed = run(frame, box.to_image(spec.input)[None])
        placed[..., :2] = apply(invert(heatmap_to_image(box, spec.heatmap, spec.input)), placed[..., :2])
        found.append(_keypoints(placed))
    return _joined(found)


def _keypoints(found: NDArray[np.float64]) -> Keypoints:
    return Keypoints(found[..., :2], found[..., 2], found[..., 3])


def _parts(crops: NDArray[np.uint8], size: int) -> Iterable[NDArray[np.uint8]]:
    return (crops[start : start + size] for start in range(0, len(crops), size))


def _joined(parts: Iterable[Keypoints]) -> Keypoints:
    parts = list(parts)
    return Keypoints(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("xy_hm", "score", "spread")))
