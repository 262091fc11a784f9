"""From a labelled person to a training example: one random view, cut out of the picture by a single warp.

Position, size, rotation, mirror and half-body framing are all decided first and become one affine; the pixels are
resampled once; what happens to light and pixels on the way through a camera is `camera`'s. Everything random comes from
the generator passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import (
    MARGIN,
    Array,
    Box,
    Image,
    apply,
    compose,
    heatmap_to_crop,
    inside,
    invert,
    similarity,
    warp,
)
from hgrt.pose.heatmaps import Maps, encode
from hgrt.pose.skeleton import FLIP, HIPS, MPII, SHOULDERS
from hgrt.train import camera
from hgrt.train.backdrop import transplant
from hgrt.train.clothes import clothe

UPPER = MPII.indices([n for n in MPII.joints if not n.endswith(("ankle", "knee", "hip")) and n != "pelvis"])
LOWER = MPII.indices([n for n in MPII.joints if n.endswith(("ankle", "knee", "hip"))] + ["pelvis"])


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a view may stray. Probabilities are per example; sizes are factors on the side of the person's box."""

    rotation: float = 30.0  # standard deviation in degrees, cut at twice that
    rotation_p: float = 0.5
    upright_p: float = 0.5  # turn a person who is upside down the right way up
    stretch: float = 0.2  # logarithm of the most by which width gains on height, or height on width: build and lens
    scale: tuple[float, float] = (0.7, 1.5)
    far: tuple[float, float] = (1.5, 3.5)  # a small person in a wide view, as when a whole frame is searched
    far_p: float = 0.12
    shift: float = 0.15  # of the view's side
    stray_p: float = 0.05  # the view misses much of the person
    nobody_p: float = 0.2  # a part of the picture beside the person instead, where there is one: one in five
    half_body_p: float = 0.35
    cut_p: float = 0.2  # the picture ends across an upright person, as a camera on a desk sees who sits before it
    clothe_p: float = 0.25  # a painted garment, whose edge may hang anywhere, over trunk, thighs and arms
    backdrop_p: float = 0.3  # behind the person is another training picture
    flip_p: float = 0.5
    colour: float = 0.25
    grey_p: float = 0.05
    dark_p: float = 0.12  # little light, and the noise that comes of it
    motion_p: float = 0.12
    soft_p: float = 0.25  # blur, or detail lost to a smaller size
    noise_p: float = 0.15
    jpeg_p: float = 0.25
    occlude_p: float = 0.25
    paste_p: float = 0.2  # part of another training picture covers part of this one
    scenery_p: float = 0.6  # what lies outside the picture is other scenery, not black

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if name.endswith("_p") and not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is in 0..1")


STILL = Augmentation(
    rotation_p=0,
    upright_p=0,
    stretch=0,
    scale=(1, 1),
    far_p=0,
    shift=0,
    stray_p=0,
    nobody_p=0,
    half_body_p=0,
    cut_p=0,
    clothe_p=0,
    backdrop_p=0,
    flip_p=0,
    colour=0,
    grey_p=0,
    dark_p=0,
    motion_p=0,
    soft_p=0,
    noise_p=0,
    jpeg_p=0,
    occlude_p=0,
    paste_p=0,
    scenery_p=0,
)
"""Everybody exactly as they are."""

CALMER = (
    "stray_p", "nobody_p", "far_p", "dark_p", "motion_p", "soft_p", "noise_p", "jpeg_p", "occlude_p", "paste_p",
)  # fmt: skip
LEVELS = (0.4, 2.0)  # where a picture that is cut ends: torso lengths below the shoulders, from the chest to the knees
FEWEST = 4  # joints that make somebody worth a view


def calmer(how: Augmentation) -> Augmentation:
    """Views nearer to those of use, for the end of a training: what disturbs is half as frequent, and people stand
    less far from the middle, less turned and nearer to their own size. Colours, mirrors, scenery and half figures stay.
    """
    low, high = how.scale
    return replace(
        how,
        rotation=2 / 3 * how.rotation,
        scale=(low**0.6, high**0.6),
        shift=how.shift / 2,
        **{name: getattr(how, name) / 2 for name in CALMER},
    )


@dataclass(frozen=True, slots=True)
class Example:
    """What the loss needs.

    `image` (S, S, 3) BGR, uint8 or float32 in 0..1; `targets` (16, S/4, S/4); `known` (16,) how much each joint weighs
    in the loss, 0 where nothing is known of it.
    """

    image: Image | NDArray[np.float32]
    targets: Maps
    known: NDArray[np.float32]


def choose_view(sample: Sample, how: Augmentation, rng: np.random.Generator) -> tuple[Box, float]:
    """A square to look at, and by how many degrees to turn the picture."""
    box, degrees = sample.box, 0.0
    torso = _torso_degrees(sample)
    if torso is not None and abs(torso) > 120 and rng.random() < how.upright_p:
        degrees -= torso
    if rng.random() < how.rotation_p:
        degrees += float(np.clip(rng.normal(0, how.rotation), -2 * how.rotation, 2 * how.rotation))
    if rng.random() < how.half_body_p:
        wanted = UPPER if rng.random() < 0.8 else LOWER
        points = sample.joints[wanted][sample.labelled[wanted]]
        if len(points) >= FEWEST:
            box = Box.around(points, margin=1.5)
    low, high = how.far if rng.random() < how.far_p else how.scale
    side = box.side * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    # The smaller the person in the view, the further from its middle they may stand.
    reach = 0.5 if rng.random() < how.stray_p else how.shift + max(0.0, 0.35 * (1 - box.side / side))
    dx, dy = rng.uniform(-reach, reach, 2) * side
    return Box(box.cx + dx, box.cy + dy, side), degrees


def make_example(
    sample: Sample,
    size: int,
    sigma: float,
    how: Augmentation,
    scenery: list[Image],
    rng: np.random.Generator,
    other: Image | None = None,
    hidden_weight: float = 1.0,
    suspect_weight: float = 1.0,
    backdrop: Image | None = None,
    crop: float = 1.0,
) -> Example:
    """One random view of a person: `size` pixels, targets of `sigma` heatmap cells.

    `scenery`: pictures of nobody, for what lies beyond the picture. `other`: any picture, to cover a part with.
    `hidden_weight`: how much a labelled joint that cannot be seen counts. `suspect_weight`: how much, of what it
    would otherwise, a joint counts whose label is doubtful. `backdrop`: any picture, to put behind the person.
    `crop`: how much of the person's box the network looks at (`ModelSpec.crop`); sizes of views are relative to that.
    """
    if rng.random() < how.nobody_p:
        sample = beside(sample, rng) or sample
    if rng.random() < how.clothe_p:
        sample = clothe(sample, rng) or sample
    if backdrop is not None and not sample.empty:
        sample = transplant(sample, backdrop, rng) or sample
    if rng.random() < how.cut_p:
        sample = cut(sample, rng) or sample
    box, degrees = choose_view(sample, how, rng)
    mirror = bool(rng.random() < how.flip_p)
    affine = similarity(box.scaled(crop), size, degrees, mirror)
    if how.stretch:
        affine = compose(affine, wider(box, float(rng.uniform(-how.stretch, how.stretch))))
    image = warp(sample.image, affine, size)
    if scenery and rng.random() < how.scenery_p:
        image = _fill(image, sample.image, affine, scenery[int(rng.integers(len(scenery)))], rng)
    if other is not None:
        _paste(image, other, rng)
    if rng.random() < how.occlude_p:
        _occlude(image, rng)
    image = _photograph(_recolour(image, how, rng), how, rng)
    known = np.ones(len(FLIP)) if sample.empty else np.where(sample.visible, 1.0, hidden_weight) * sample.labelled
    known *= np.where(sample.suspect, suspect_weight, 1.0)
    xy_hm, labelled = to_heatmap(sample, affine, size), sample.labelled
    if mirror:
        xy_hm, labelled, known = xy_hm[FLIP], labelled[FLIP], known[FLIP]
    return Example(image, encode(xy_hm, labelled, size // 4, sigma), known.astype(np.float32))


def beside(sample: Sample, rng: np.random.Generator) -> Sample | None:
    """A square part of the picture that shows nothing of the person, as a picture of nobody.

    None where there is no room, or where not all joints are labelled, head and feet among them: what is not labelled
    may be anywhere. (COCO labels no heads, and its pictures are full of other people.)
    """
    if not sample.labelled.all():
        return None
    body = np.concatenate([np.linspace(sample.joints[a], sample.joints[b], 12) for a, b in MPII.limb_indices])
    height, width = sample.image.shape[:2]
    away = 0.7 * sample.normalize  # half of what is widest, a torso or a head
    for _ in range(20):
        side = int(rng.uniform(0.2, 0.6) * min(height, width))
        x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        low, high = np.array([x, y]) - away, np.array([x, y]) + side + away
        if not ((body > low) & (body < high)).all(axis=1).any():
            nothing = np.zeros(len(MPII), dtype=bool)
            return replace(
                sample,
                image=sample.image[y : y + side, x : x + side],
                labelled=nothing,
                visible=nothing,
                evaluate=nothing,
                box=Box.whole(side, side),
                empty=True,
            )
    return None


def cut(sample: Sample, rng: np.random.Generator) -> Sample | None:
    """The same person in a picture that ends somewhere between chest and knees; the box is around what is left.

    What is cut off is labelled still, and sought where it is, outside the picture: it is known not to be inside, and of
    a joint that may lie on either side of the edge neither is denied. None where shoulders and hips are not labelled,
    the person is far from upright, the picture ends there anyway, or too little would be left.
    """
    torso = _torso_degrees(sample)
    if torso is None or abs(torso) > 45:
        return None
    shoulders, hips = (sample.joints[pair].mean(axis=0) for pair in (SHOULDERS, HIPS))
    level = int(shoulders[1] + rng.uniform(*LEVELS) * np.linalg.norm(hips - shoulders))
    if not 0 < level < len(sample.image):
        return None
    shorter = replace(sample, image=sample.image[:level])
    left = sample.joints[sample.labelled & inside(sample.joints, shorter.image)]
    return replace(shorter, box=Box.around(left, MARGIN)) if len(left) >= FEWEST else None


def wider(box: Box, stretch: float) -> Array:
    """The affine within a picture that makes everything wider about the middle of `box`, and as much less high:
    `stretch` is the logarithm of the factor by which the ratio of both grows. Areas stay.
    """
    x, y = np.exp(stretch / 2), np.exp(-stretch / 2)
    return np.array([[x, 0.0, (1 - x) * box.cx], [0.0, y, (1 - y) * box.cy]])


def to_heatmap(sample: Sample, affine: Array, size: int) -> Array:
    """The joints in heatmap cells, given the affine from image to crop."""
    return apply(compose(invert(heatmap_to_crop(size // 4, size)), affine), sample.joints)


def _torso_degrees(sample: Sample) -> float | None:
    """How far the torso leans, clockwise, 0 upright; None where shoulders or hips are not all labelled."""
    if not sample.labelled[SHOULDERS + HIPS].all():
        return None
    x, y = sample.joints[SHOULDERS].mean(axis=0) - sample.joints[HIPS].mean(axis=0)
    return float(np.degrees(np.arctan2(x, -y)))


def _fill(image: Image, source: Image, affine: Array, scene: Image, rng: np.random.Generator) -> Image:
    """Put scenery where the warp reached beyond the picture."""
    size = len(image)
    corners = apply(invert(affine), np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5)
    if corners.min() >= 0 and (corners.max(axis=0) <= [source.shape[1] - 1, source.shape[0] - 1]).all():
        return image
    inside = cv2.warpAffine(np.full(source.shape[:2], 255, np.uint8), affine, (size, size), flags=cv2.INTER_NEAREST)
    side = float(rng.uniform(0.4, 1.0)) * min(scene.shape[:2])
    x, y = (rng.uniform(side / 2, extent - side / 2) for extent in (scene.shape[1], scene.shape[0]))
    other = warp(scene, Box(x, y, side).to_crop(size), size)
    return np.asarray(cv2.copyTo(image, inside, other), dtype=np.uint8)


def _occlude(image: Image, rng: np.random.Generator) -> None:
    """Cover one or two places with flat or noisy patches; what is behind them must be guessed from the rest."""
    size = len(image)
    for _ in range(int(rng.integers(1, 3))):
        w, h = (rng.uniform(0.06, 0.25, 2) * size).astype(int)
        x, y = int(rng.integers(0, size - w)), int(rng.integers(0, size - h))
        patch = rng.uniform(0, 255, 3) + rng.normal(0, rng.uniform(0, 40), (int(h), int(w), 1))
        image[y : y + h, x : x + w] = np.clip(patch, 0, 255)


def _paste(image: Image, other: Image, rng: np.random.Generator) -> None:
    """Cover an ellipse with a piece of another picture: unlike a flat patch it may look like a limb that is not one."""
    size = len(image)
    height, width = other.shape[:2]
    x, y = rng.uniform(0, [width, height])
    piece = warp(other, Box(x, y, float(rng.uniform(0.3, 1.0)) * min(width, height)).to_crop(size), size)
    mask = np.zeros((size, size), np.uint8)
    axes = tuple(int(axis) for axis in rng.uniform(0.04, 0.2, 2) * size)
    middle = (int(rng.integers(size)), int(rng.integers(size)))
    cv2.ellipse(mask, middle, axes, float(rng.uniform(0, 180)), 0, 360, 255, cv2.FILLED)
    cv2.copyTo(piece, mask, image)


def _recolour(image: Image, how: Augmentation, rng: np.random.Generator) -> Image:
    """Brightness, contrast, saturation and tint as one 3x3 colour matrix and an offset."""
    c = how.colour
    saturation = 0.0 if rng.random() < how.grey_p else 1 + rng.uniform(-2 * c, 2 * c)
    gain = (1 + rng.uniform(-c, c)) * (1 + rng.uniform(-c, c, 3) / 3)
    luma = np.array([0.114, 0.587, 0.299])  # of B, G, R
    matrix = gain[:, None] * (saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * luma)
    offset = 255 * rng.uniform(-c, c) / 2
    return np.asarray(cv2.transform(image, np.hstack([matrix, np.full((3, 1), offset)])), dtype=np.uint8)


def _photograph(image: Image, how: Augmentation, rng: np.random.Generator) -> Image:
    """What a camera does to the scene, in its order: light, then lens and movement, then the sensor, then the file."""
    light = float(rng.uniform(*camera.DARK)) if rng.random() < how.dark_p else 1.0
    if light < 1:
        image = camera.dim(image, light, rng)
    if rng.random() < how.motion_p:
        image = camera.smear(image, rng)
    if rng.random() < how.soft_p:
        image = camera.soften(image, rng)
    if light < 1:
        image = camera.grain(image, light, rng)
    if rng.random() < how.noise_p:
        image = camera.roughen(image, rng)
    if rng.random() < how.jpeg_p:
        image = camera.compress(image, rng)
    return image
