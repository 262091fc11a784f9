"""Other clothes on a labelled person: a garment painted over trunk, thighs and arms, along the joints.

Athletes wear little, and where shirt and shorts meet there is a hip. Before a webcam the edge of a jacket may hang
anywhere between waist and knees, and sleeves have the colour of what is behind them. Folds stay: the paint takes its
light and shade from the clothes below.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import Array, Image
from hgrt.pose.skeleton import ELBOWS, HIPS, KNEES, SHOULDERS, WRISTS

HEM = (0.6, 1.8)  # where it ends, from the shoulders (0) over the hips (1) to somewhere above the knees
SMALLEST = 24.0  # pixels from shoulders to hips below which a garment is a smudge


def clothe(sample: Sample, rng: np.random.Generator) -> Sample | None:
    """The same person in a jacket, coat or shirt of another colour; labels stay as they are.

    None where shoulders and hips are not all labelled or are doubtful, or where the person is too small.
    """
    trunk = SHOULDERS + HIPS
    shoulders, hips = sample.joints[SHOULDERS], sample.joints[HIPS]
    torso = float(np.linalg.norm(hips.mean(axis=0) - shoulders.mean(axis=0)))
    if not sample.labelled[trunk].all() or sample.suspect[trunk].any() or torso < SMALLEST:
        return None
    height, width = sample.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(cells(_outline(sample, torso, float(rng.uniform(*HEM)), rng))), 255)
    sleeve = float(rng.choice([0.0, 0.6, 1.5, 1.9]))  # none, short, to the forearm, to the hand: in parts of an arm
    for shoulder, elbow, wrist in zip(SHOULDERS, ELBOWS, WRISTS, strict=True):
        if sample.labelled[[elbow, wrist]].all():
            arm = sample.joints[[shoulder, elbow, wrist]]
            if sample.visible[[elbow, wrist]].all():  # an arm before the trunk stays before it
                _stroke(mask, _along(arm, 0.25, 2.4), 0.2 * torso, 0)
            if sleeve:
                _stroke(mask, _along(arm, 0.0, sleeve), 0.2 * torso, 255)
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.012 * torso)), dtype=np.uint8)
    return replace(sample, image=_paint(sample.image, soft, rng))


def _outline(sample: Sample, torso: float, hem: float, rng: np.random.Generator) -> Array:
    """Corners (4 or 6, 2) of the garment without its sleeves; wider than the joints, as a body is, and never a line."""
    shoulders, hips = sample.joints[SHOULDERS], sample.joints[HIPS]
    down = (hips.mean(axis=0) - shoulders.mean(axis=0)) / torso
    knees = sample.joints[KNEES]
    thighs = knees - hips if sample.labelled[KNEES].all() else np.array([down, down]) * torso
    loose = float(rng.uniform(0.0, 0.15)) * torso
    top = _widened(shoulders, down, 0.08 * torso, 0.2 * torso) - 0.05 * torso * down
    if hem < 1:
        bottom = _widened(shoulders + hem * (hips - shoulders), down, 0.1 * torso + loose, 0.2 * torso)
        return np.concatenate([top, bottom])
    middle = _widened(hips, down, 0.13 * torso + loose, 0.22 * torso)
    bottom = hips + (hem - 1) * torso * thighs / np.maximum(np.linalg.norm(thighs, axis=1, keepdims=True), 1)
    return np.concatenate([top, middle, _widened(bottom, down, 0.13 * torso + loose, 0.22 * torso)])


def _widened(pair: Array, down: Array, by: float, least: float) -> Array:
    """Two points (2, 2) moved apart by `by` pixels each, and at least to `least` pixels from their middle."""
    middle, apart = pair.mean(axis=0), pair[1] - pair[0]
    half = float(np.linalg.norm(apart)) / 2
    way = apart / (2 * half) if half > 1 else np.array([down[1], -down[0]])
    reach = max(half + by, least)
    return np.stack([middle - reach * way, middle + reach * way])


def _along(line: Array, first: float, last: float) -> Array:
    """What lies of a line of three points (3, 2) between `first` (0..1: on its first half) and `last` (0 its first
    point, 1 its second, 2 its third, beyond which it goes straight on).
    """
    a, b, c = line
    return np.stack([a + min(t, 1) * (b - a) + max(0, t - 1) * (c - b) for t in (first, min(1, last), last)])


def _stroke(mask: Image, line: Array, thickness: float, value: int) -> None:
    cv2.polylines(mask, [cells(line)], False, value, max(1, round(thickness)))


def cells(points: Array) -> NDArray[np.int32]:
    """Points as OpenCV draws them: whole pixels."""
    return np.rint(points).astype(np.int32)


def _paint(image: Image, mask: Image, rng: np.random.Generator) -> Image:
    """Cloth of one colour where `mask` (H, W) is set, with the folds of what was there."""
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return image
    part, cover = image[y : y + h, x : x + w], mask[y : y + h, x : x + w, None] / np.float32(255)
    light = cv2.GaussianBlur(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), (0, 0), 1.0).astype(np.float32)[..., None] + 8
    folds = np.clip(light / np.average(light, weights=np.maximum(cover, 1e-6)), 0.5, 1.8) - 1
    dark = rng.random() < 0.5
    colour = rng.uniform(10, 70 if dark else 245) + rng.uniform(-1, 1, 3) * (15 if dark else 60)
    cloth = np.clip(colour, 5, 250).astype(np.float32) * (1 + np.float32(rng.uniform(0.3, 1.0)) * folds)
    painted = image.copy()
    painted[y : y + h, x : x + w] = np.clip(part + cover * (cloth - part), 0, 255)
    return painted
