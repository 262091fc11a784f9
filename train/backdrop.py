"""Other surroundings for a labelled person: what is clear of the body becomes a piece of another picture.

Where somebody stands says much about how they stand: who is seen on a beam or a track is a gymnast or a runner. A
network that learnt from few pictures has learnt that, too; behind others it has nothing but the body to go by, and
people who are there but not meant.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.pose.geometry import Array, Image
from hgrt.pose.skeleton import ANKLES, ELBOWS, HIPS, KNEES, MPII, SHOULDERS, WRISTS
from hgrt.train.clothes import cells

NECK, TOP = MPII.index("upper_neck"), MPII.index("head_top")
LIMBS = (
    (SHOULDERS, ELBOWS, 1.6, 0.2), (ELBOWS, WRISTS, 1.9, 0.18), (HIPS, KNEES, 1.15, 0.26), (KNEES, ANKLES, 1.15, 0.2),
)  # fmt: skip
"""Both ends of bones, how many of one make a torso, and how far from it the body reaches in torso lengths."""
TRUNK, HEAD, HAND, FOOT = 0.28, 0.36, 0.38, 0.5  # likewise, about shoulders and hips, head, wrists and ankles
LOOSE = (1.0, 1.6)  # by so much more is kept
SMALLEST = 16.0  # pixels of a torso below which a body is too small to be cut out


def transplant(sample: Sample, other: Image, rng: np.random.Generator) -> Sample | None:
    """The same person before a piece of `other` (any size, BGR); labels stay, and so does what is near the body.

    None where shoulders and hips are not all labelled, or the person is too small.
    """
    if not sample.labelled[SHOULDERS + HIPS].all():
        return None
    torso = _torso(sample)
    if torso < SMALLEST:
        return None
    height, width = sample.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    _body(mask, sample, torso, float(rng.uniform(*LOOSE)))
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.06 * torso))
    near, far = (np.repeat(cover[..., None], 3, axis=2) for cover in (soft, 255 - soft))
    piece = _piece(other, width, height, rng)
    image = cv2.add(cv2.multiply(sample.image, near, scale=1 / 255), cv2.multiply(piece, far, scale=1 / 255))
    return replace(sample, image=np.asarray(image, dtype=np.uint8))


def _torso(sample: Sample) -> float:
    """Pixels from shoulders to hips were nothing foreshortened: no part of a body looks longer than it is."""
    xy, known = sample.joints, sample.labelled
    lengths = [float(np.linalg.norm(xy[SHOULDERS].mean(axis=0) - xy[HIPS].mean(axis=0)))]
    for one, other, parts, _ in LIMBS:
        both = known[one] & known[other]
        lengths += (parts * np.linalg.norm(xy[one] - xy[other], axis=1)[both]).tolist()
    return max(lengths)


def _body(mask: NDArray[np.uint8], sample: Sample, torso: float, loose: float) -> None:
    """Set `mask` wherever a body with these joints may be."""
    xy, known, unit = sample.joints, sample.labelled, loose * torso
    trunk = cv2.convexHull(cells(xy[SHOULDERS + HIPS]))
    cv2.fillConvexPoly(mask, trunk, 255)
    cv2.polylines(mask, [trunk], True, 255, _pixels(2 * TRUNK * unit))
    for ends, others, _, reach in LIMBS:
        for one, other in zip(ends, others, strict=True):
            if known[one] and known[other]:
                cv2.polylines(mask, [cells(xy[[one, other]])], False, 255, _pixels(2 * reach * unit))
    for ends, reach in ((WRISTS, HAND), (ANKLES, FOOT)):
        for one in ends:
            if known[one]:
                _disc(mask, xy[one], reach * unit)
    shoulders, hips = xy[SHOULDERS].mean(axis=0), xy[HIPS].mean(axis=0)
    up = (shoulders - hips) / max(float(np.linalg.norm(shoulders - hips)), 1.0)
    _disc(mask, shoulders + 0.4 * torso * up, 1.2 * HEAD * unit)  # where most heads are, labelled or not
    if known[[NECK, TOP]].all():
        _disc(mask, xy[[NECK, TOP]].mean(axis=0), HEAD * unit)


def _piece(picture: Image, width: int, height: int, rng: np.random.Generator) -> Image:
    """Some part of a picture, as large as that and of its shape."""
    rows, columns = picture.shape[:2]
    share = float(rng.uniform(0.4, 1.0)) * min(rows / height, columns / width)
    h, w = max(1, int(share * height)), max(1, int(share * width))
    y, x = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
    return np.asarray(cv2.resize(picture[y : y + h, x : x + w], (width, height)), dtype=np.uint8)


def _disc(mask: NDArray[np.uint8], middle: Array, radius: float) -> None:
    cv2.circle(mask, tuple(cells(middle).tolist()), _pixels(radius), 255, cv2.FILLED)


def _pixels(length: float) -> int:
    return max(1, min(round(length), 4000))  # OpenCV draws nothing that is very thick
