"""The published augmentation, as an example maker: a crop, a turn and a size inside it, and a mirror with its colours.

Kept beside `augment` so that the published training can be repeated, not because it is better: the turned view is cut
from a crop, so what lay around the crop is lost; joints are truncated on the way; only mirrored pictures get other
colours; unlabelled joints are supervised to empty maps. One published defect is left out: in a mirrored picture the
sides of the missing joints change places like all others. It must not know about recipes, loops or where people come
from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose import reference
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import FLIP
from hgrt.train.augment import Example


@dataclass(frozen=True, slots=True)
class PublishedAugmentation:
    """How far an example may stray; every range is drawn from uniformly."""

    rotation: float = 30.0  # degrees to either side, in every example
    scale: tuple[float, float] = (0.75, 1.25)  # factor on the view's side, in every example: above 1 the person shrinks
    flip_p: float = 0.5  # probability of the colour jitter and the mirror, which come together
    hue: float = 72.0  # degrees to either side
    saturation: tuple[float, float] = (0.5, 1.5)  # factor
    brightness: float = 0.3  # to either side, of a full range of 1
    contrast: tuple[float, float] = (0.5, 1.5)  # factor on how far B, G and R lie from the mean of the three
    legacy: bool = False  # the crop of 2019: contrast stretched, then reduced with anti-aliasing


def published_view(size: int, how: PublishedAugmentation, rng: np.random.Generator) -> tuple[Box, float]:
    """What to look at in a crop `size` pixels wide, counted 0 .. size, and the published rotation in degrees."""
    degrees = float(rng.uniform(-how.rotation, how.rotation))
    return Box(size / 2, size / 2, size * float(rng.uniform(*how.scale))), degrees


def published_example(sample: Sample, size: int, how: PublishedAugmentation, rng: np.random.Generator) -> Example:
    """One random view of a person, made as the published training makes it.

    `image` is (size, size, 3) float32 BGR in 0..1, `targets` (16, size/4, size/4) float32 with a peak of exactly 1, and
    `known` all ones: the map of an unlabelled joint is empty. `size` is a multiple of 4; 256 is the published one.
    """
    cells, labelled = size // 4, sample.labelled
    joints = np.where(labelled[:, None], sample.joints, 0.0)  # unlabelled ones may hold anything, even nan
    xy_crop = reference.truncate(reference.move(reference.transform(sample.box, size), joints))
    view, degrees = published_view(size, how, rng)
    xy_hm = reference.move(reference.transform(view, cells, degrees), xy_crop)
    pixels = reference.crop(sample.image, sample.box, size, how.legacy)
    affine = reference.transform(view, size, degrees)[:2]
    turned = cv2.warpAffine(pixels, affine, (size, size), flags=cv2.INTER_LINEAR)
    image = np.asarray(turned, dtype=np.float32) / np.float32(255)
    if rng.random() < how.flip_p:
        image = np.asarray(cv2.flip(_jitter(image, how, rng), 1), dtype=np.float32)
        xy_hm = (xy_hm * [-1.0, 1.0] + [cells, 0.0])[FLIP]
        labelled = labelled[FLIP]
    targets = reference.encode(xy_hm, cells)
    targets[~labelled] = 0.0
    return Example(image, targets, np.ones(len(FLIP), dtype=np.float32))


def _jitter(image: NDArray[Any], how: PublishedAugmentation, rng: np.random.Generator) -> NDArray[Any]:
    """Other colours for an (H, W, 3) float32 BGR picture in 0..1; the same factors for all pixels."""
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
    hue, saturation = hsv[..., 0], hsv[..., 1]
    np.mod(hue + np.float32(rng.uniform(-how.hue, how.hue)), np.float32(360), out=hue)
    np.minimum(saturation * np.float32(rng.uniform(*how.saturation)), np.float32(1), out=saturation)
    bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    offset, contrast = rng.uniform(-how.brightness, how.brightness), rng.uniform(*how.contrast)
    # Both are one affine of the three values, because the published code does not clip between them.
    matrix = contrast * np.eye(3) + (1 - contrast) * np.full((3, 3), 1 / 3)
    bgr = cv2.transform(bgr, np.hstack([matrix, np.full((3, 1), offset)]))
    return np.asarray(np.clip(bgr, 0.0, 1.0), dtype=np.float32)
