"""What a camera does to the light that reaches it: too little of it, movement, lack of focus, noise, compression.

Each function takes a square (S, S, 3) uint8 BGR picture and gives another; sizes are relative to its side. Everything
random comes from the generator passed in. It must not know what is in the picture, nor how often anything happens.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.pose.geometry import Image

DARK = (0.25, 0.7)
"""What a dark place leaves of the light; with less, people in dark clothes are lost to the human eye, too."""


def dim(image: Image, light: float, rng: np.random.Generator) -> Image:
    """A picture that `light` (0..1) of the brightness is left of, the shadows losing more, with a slight cast."""
    gamma, cast = rng.uniform(1.0, 1.25), rng.uniform(0.85, 1.0, 3)
    curve = 255 * light * np.linspace(0, 1, 256)[:, None] ** gamma * cast
    return np.asarray(cv2.LUT(image, np.rint(curve).astype(np.uint8)[None]), dtype=np.uint8)


def smear(image: Image, rng: np.random.Generator) -> Image:
    """Motion blur: the mean along a straight line of up to 5 % of the side, in any direction."""
    length, turn = rng.uniform(0.01, 0.05) * len(image), rng.uniform(0, np.pi)
    w, h = (int(np.ceil(length / 2 * abs(part))) for part in (np.cos(turn), np.sin(turn)))
    y, x = np.mgrid[-h : h + 1, -w : w + 1]
    along, across = x * np.cos(turn) + y * np.sin(turn), x * np.sin(turn) - y * np.cos(turn)
    # A pixel counts by how near it is to the line, which keeps the edges of a slanted one smooth.
    kernel = np.clip(1 - np.hypot(np.maximum(np.abs(along) - length / 2, 0), across), 0, 1)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), dtype=np.uint8)


def soften(image: Image, rng: np.random.Generator) -> Image:
    """Out of focus, or detail lost to a smaller size."""
    size = len(image)
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)) * size / 256), dtype=np.uint8)
    less = int(size * rng.uniform(0.25, 0.7))
    small = cv2.resize(image, (less, less), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def grain(image: Image, light: float, rng: np.random.Generator) -> Image:
    """Noise of a sensor that makes the most of little `light` (0..1): of photons, ~ sqrt(signal), and of reading.

    Mostly of brightness; that of colour is coarser.
    """
    size = len(image)
    spread = rng.uniform(0.5, 1.0) * np.sqrt((np.arange(256) / 4 + 4) / light).astype(np.float32)
    colour = rng.standard_normal((size // 4, size // 4, 3), dtype=np.float32) * np.float32(0.5)
    noise: NDArray[Any] = cv2.cvtColor(rng.standard_normal((size, size), dtype=np.float32), cv2.COLOR_GRAY2BGR)
    noise += cv2.resize(colour, (size, size))
    noise *= cv2.LUT(image, spread)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), dtype=np.uint8)


def roughen(image: Image, rng: np.random.Generator) -> Image:
    """The same noise everywhere."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(2, 12))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compress(image: Image, rng: np.random.Generator) -> Image:
    """What a camera's JPEG leaves of it, with colours at half the resolution."""
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 71))])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)
