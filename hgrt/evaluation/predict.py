"""Joints of every person of a data set, by anything that makes heatmaps of crops: a runtime, or a network in training.

Boxes are the labelled ones. Two ways exist to cut them out and to get back: our own affine with sub-pixel decoding, and
the published code's, to the bit, for whoever compares with its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import People, Sample
from hgrt.errors import HgrtError
from hgrt.pose import reference
from hgrt.pose.geometry import Array, Box, Image, apply, compose, heatmap_to_image, invert, warp
from hgrt.pose.heatmaps import Keypoints, Maps, decode
from hgrt.pose.pckh import Result, pckh
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import FLIP, MPII
from hgrt.runtime.base import BackendInfo

Infer = Callable[[NDArray[np.uint8]], Maps]
"""Crops (N, S, S, 3) uint8 BGR -> heatmaps (N, J, S/4, S/4) float32."""

Locate = Callable[[NDArray[np.uint8]], Keypoints]
"""The same crops -> their joints, from a device that decodes by itself."""

Estimate = Callable[[Image, Box], Pose]
"""A picture (H, W, 3) uint8 BGR and where the person is -> their pose, as a `PoseEstimator` does it."""

Cut = Literal["exact", "published", "legacy"]

SCALES = (0.8, 1.0, 1.25)
"""Scales for `View`.

With bundled weights of before, which looked at whole boxes, they gained 1.9 points of PCKh@0.5 on 397 val people, and
two (0.8 and 1) or five no more. Those of today, which look at 0.85 of a box, gain nothing (73.4 against 73.4). Giving
the cells that only the wide view saw their full weight brought nothing either.
"""


@dataclass(frozen=True, slots=True)
class View:
    """How a person is shown to the network.

    cut     "exact" (`geometry.warp`), or as the published code cuts and decodes: "published" (since 2020), "legacy"
            (2019: contrast stretched to 0..255 and anti-aliased, what the published weights were trained on)
    flip    also look at the mirrored crop and take the mean
    scales  also look at squares of these relative sizes and take the mean; with cut "exact" only
    crop    side of the square that is looked at over that of the person's box: `ModelSpec.crop` of the network
    """

    cut: Cut = "exact"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    crop: float = 1.0

    def __post_init__(self) -> None:
        if self.cut != "exact" and self.scales != (1.0,):
            raise ValueError("several scales are for the exact cut: the published evaluation has one")

    def __str__(self) -> str:
        crop = f", {self.crop:g} of the box" if self.crop != 1 else ""
        scales = f", boxes of {', '.join(f'{scale:g}' for scale in self.scales)}" if self.scales != (1.0,) else ""
        return f"cut {self.cut}{', mirrored too' * self.flip}{scales}{crop}"


@dataclass(frozen=True, slots=True)
class Predictions:
    """A data set's labels and what was predicted for them, all in image pixels.

    names (N,), rows (N,) each one's number in the set, xy and truth (N, 16, 2), score (N, 16), labelled, visible and
    evaluate (N, 16) bool, normalize (N,) head size, boxes (N, 3) centre x, centre y, side. `evaluate` marks what
    counts; see `Sample`.
    """

    set: str
    names: tuple[str, ...]
    rows: NDArray[np.intp]
    xy: Array
    score: Array
    truth: Array
    labelled: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    evaluate: NDArray[np.bool_]
    normalize: Array
    boxes: Array

    def __len__(self) -> int:
        return len(self.names)

    def only(self, kept: NDArray[np.bool_]) -> Predictions:
        """Those people alone, (N,) bool."""
        names = tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)
        return replace(self, names=names, **{name: getattr(self, name)[kept] for name in ARRAYS})

    def pckh(self, protocol: str = "standard", bound: float = 0.5) -> Result:
        """PCKh of the joints that count."""
        return pckh(self.xy, self.truth, self.normalize, self.evaluate, protocol, bound)


ARRAYS = tuple(one.name for one in fields(Predictions) if one.name not in ("set", "names"))
"""The fields of `Predictions` that have an entry for each person and are arrays."""


def predict(
    infer: Infer,
    people: People,
    size: int,
    view: View | None = None,
    batch: int = 16,
    done: Callable[[int], None] = lambda count: None,
    locate: Locate | None = None,
) -> Predictions:
    """Look at every person who is not `empty` scenery, in crops of `size` pixels; `done` hears how many were seen.

    `locate` answers instead of `infer` where the view is the plain one and no heatmaps are averaged.
    """
    view = view or View()
    look = _look if view.cut == "exact" else _look_as_published
    rows: list[int] = []
    labels: list[Sample] = []
    found: list[tuple[Array, Array]] = []
    for start in range(0, len(people), batch):
        everybody = [(i, people.get(i)) for i in range(start, min(start + batch, len(people)))]
        samples = [sample for _, sample in everybody if not sample.empty]
        if samples:
            rows += [i for i, sample in everybody if not sample.empty]
            labels += [_without_pixels(sample) for sample in samples]
            samples = [replace(sample, box=sample.box.scaled(view.crop)) for sample in samples]
            if locate is not None and view == View(crop=view.crop):
                found += _placed(locate(_crops(samples, [sample.box for sample in samples], size)), samples, size)
            else:
                found += look(infer, samples, size, view)
        done(min(start + batch, len(people)))
    return _predictions(people.name, rows, labels, found)


def predict_poses(estimate: Estimate, people: People) -> Predictions:
    """The same by what answers whole pictures, one person after the other, as the demo asks it."""
    rows: list[int] = []
    labels: list[Sample] = []
    found: list[tuple[Array, Array]] = []
    for i in range(len(people)):
        sample = people.get(i)
        if not sample.empty:
            pose = estimate(sample.image, sample.box)
            rows.append(i)
            labels.append(_without_pixels(sample))
            found.append((pose.xy, pose.score))
    return _predictions(people.name, rows, labels, found)


def refuse_other_joints(info: BackendInfo) -> None:
    """HgrtError unless the network finds MPII's joints in MPII's order: PCKh here is of those."""
    if info.spec.joints != MPII.joints:
        raise HgrtError(
            f"{info.weights} finds other joints than MPII's.", f"Its {len(info.spec.joints)}: {info.spec.joints}"
        )


def _predictions(name: str, rows: list[int], labels: list[Sample], found: Sequence[tuple[Array, Array]]) -> Predictions:
    return Predictions(
        set=name,
        names=tuple(sample.name for sample in labels),
        rows=np.array(rows, dtype=np.intp),
        xy=_stack([xy for xy, _ in found], (16, 2)),
        score=_stack([score for _, score in found], (16,)),
        truth=_stack([sample.joints for sample in labels], (16, 2)),
        labelled=_stack([sample.labelled for sample in labels], (16,)).astype(bool),
        visible=_stack([sample.visible for sample in labels], (16,)).astype(bool),
        evaluate=_stack([sample.evaluate for sample in labels], (16,)).astype(bool),
        normalize=_stack([sample.normalize for sample in labels], ()),
        boxes=_stack([(sample.box.cx, sample.box.cy, sample.box.side) for sample in labels], (3,)),
    )


def _look(infer: Infer, samples: list[Sample], size: int, view: View) -> list[tuple[Array, Array]]:
    cells = size // 4
    total: Maps = np.zeros((len(samples), len(FLIP), cells, cells), np.float32)
    for scale in view.scales:
        boxes = [sample.box.scaled(scale) for sample in samples]
        crops = _crops(samples, boxes, size)
        maps: Maps = np.array(infer(crops))  # the next call may overwrite what this one returned
        if view.flip:
            maps += _unflipped(infer(np.ascontiguousarray(crops[:, :, ::-1])))
            maps /= 2
        total += maps if scale == 1 else _regrid(maps, boxes[0], samples[0].box)
    return _placed(decode(total / len(view.scales)), samples, size)


def _crops(samples: list[Sample], boxes: list[Box], size: int) -> NDArray[np.uint8]:
    return np.stack([warp(sample.image, box.to_crop(size), size) for sample, box in zip(samples, boxes, strict=True)])


def _placed(keypoints: Keypoints, samples: list[Sample], size: int) -> list[tuple[Array, Array]]:
    """Joints in image pixels and their scores, from joints in the cells of each one's own box."""
    return [
        (apply(heatmap_to_image(sample.box, size // 4, size), xy_hm), score)
        for sample, xy_hm, score in zip(samples, keypoints.xy_hm, keypoints.score, strict=True)
    ]


def _look_as_published(infer: Infer, samples: list[Sample], size: int, view: View) -> list[tuple[Array, Array]]:
    legacy = view.cut == "legacy"
    cut = [reference.crop(sample.image, sample.box, size, legacy) for sample in samples]
    crops = np.stack([np.rint(crop).astype(np.uint8) for crop in cut])
    plain = np.array(infer(crops))
    flipped = np.array(infer(np.ascontiguousarray(crops[:, :, ::-1]))) if view.flip else [None] * len(crops)
    found = []
    for sample, one, mirrored in zip(samples, plain, flipped, strict=True):
        xy_crop, score = reference.decode(one, mirrored)
        xy = reference.truncate(reference.to_image(xy_crop, sample.box, size)).astype(np.float64)
        found.append((xy, score.clip(0, 1)))
    return found


def _unflipped(maps: Maps) -> Maps:
    """The maps of a mirrored crop as they lie in the crop itself, left and right joints in their places."""
    return np.asarray(maps[:, FLIP, :, ::-1])


def _regrid(maps: Maps, seen: Box, wanted: Box) -> Maps:
    """Maps of the box `seen` on the grid of the box `wanted`; only their relative place matters, alike for all."""
    cells = maps.shape[-1]
    affine = compose(invert(heatmap_to_image(wanted, cells, cells)), heatmap_to_image(seen, cells, cells))
    moved = [[cv2.warpAffine(one, affine, (cells, cells), flags=cv2.INTER_LINEAR) for one in person] for person in maps]
    return np.asarray(moved, dtype=np.float32)


def _without_pixels(sample: Sample) -> Sample:
    """The labels alone: a data set's pictures would not fit in memory."""
    nothing: Image = np.zeros((1, 1, 3), np.uint8)
    return replace(sample, image=nothing)


def _stack(rows: Sequence[object], shape: tuple[int, ...]) -> Array:
    return np.array(rows, dtype=np.float64).reshape(len(rows), *shape)
