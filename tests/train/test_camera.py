"""What a camera does to a picture: it darkens, smears, roughens and compresses, and moves nothing."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.pose.geometry import Array, Image
from hgrt.train import camera

EFFECTS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "dim": lambda image, rng: camera.dim(image, 0.4, rng),
    "smear": camera.smear,
    "soften": camera.soften,
    "grain": lambda image, rng: camera.grain(image, 0.4, rng),
    "roughen": camera.roughen,
    "compress": camera.compress,
}


def flat(size: int, value: int) -> Image:
    return np.full((size, size, 3), value, np.uint8)


def picture(size: int) -> Image:
    """Large patches of any colours with a little noise."""
    rng = np.random.default_rng(size)
    patches = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (size, size))
    return cv2.add(patches, rng.integers(0, 20, patches.shape, dtype=np.uint8))


@pytest.mark.parametrize("size", [64, 128, 192])
@pytest.mark.parametrize("name", EFFECTS)
def test_the_generator_decides_everything(name: str, size: int) -> None:
    image = picture(size)
    looks = set()
    for seed in range(6):
        one, again = (EFFECTS[name](image, np.random.default_rng(seed)) for _ in range(2))
        assert one.shape == image.shape and one.dtype == np.uint8
        assert np.array_equal(one, again)
        looks.add(one.tobytes())
    assert len(looks - {image.tobytes()}) >= 4  # a weak blur of a small picture may round to nothing
    assert np.array_equal(image, picture(size)), "the picture itself is left alone"


# Light


@given(st.integers(0, 2**32), st.floats(*camera.DARK))
def test_a_dark_picture_keeps_its_order_of_brightness(seed: int, light: float) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    dark = camera.dim(ramp, light, np.random.default_rng(seed))[0].astype(float)
    assert (np.diff(dark, axis=0) >= 0).all()
    assert (dark <= light * np.arange(256)[:, None] + 0.5).all()
    assert (dark[255] >= 0.85 * light * 255 - 0.5).all()  # the brightest loses only to light and cast
    assert (dark[128] >= 0.4 * dark[255]).all()  # nor are the shadows gone


def deviation(value: int, light: float) -> Array:
    """Of the noise on a flat picture, by channel."""
    image = camera.grain(flat(128, value), light, np.random.default_rng(0)).astype(float)
    assert abs(image.mean() - value) < 0.5
    return image.std(axis=(0, 1))


@pytest.mark.parametrize(("value", "light"), [(40, 0.3), (40, 0.6), (90, 0.3), (90, 0.6)])
def test_noise_grows_with_the_signal_and_as_the_light_falls(value: int, light: float) -> None:
    here = deviation(value, light)
    assert (deviation(value, light / 2) > 1.3 * here).all()
    rise = deviation(2 * value, light) / here
    assert (rise > 1.2).all() and (rise < np.sqrt(2)).all()  # less than the signal: that is how light helps


def test_noise_is_of_brightness_and_coarser_of_colour() -> None:
    noise = camera.grain(flat(192, 120), 0.3, np.random.default_rng(1)).astype(float) - 120
    shared = noise.mean(axis=2)
    colour = noise - shared[..., None]
    assert 0.2 * shared.std() < colour.std() < 0.7 * shared.std()

    def beside(part: Array) -> float:
        """How much a pixel tells of its neighbour."""
        return float(np.corrcoef(part[:, 1:].ravel(), part[:, :-1].ravel())[0, 1])

    assert beside(colour[..., 0]) > 0.7 > 0.3 > beside(shared)


# Movement


@given(st.integers(0, 2**32), st.sampled_from([64, 128, 192, 256]))
def test_a_smeared_point_is_a_line_about_its_place(seed: int, size: int) -> None:
    image, at = flat(size, 0), size // 2
    image[at - 1 : at + 2, at - 1 : at + 2] = 255
    weight = camera.smear(image, np.random.default_rng(seed))[..., 0].astype(float)
    assert weight.sum() == pytest.approx(9 * 255, rel=0.1)  # rounded pixel by pixel
    weight /= weight.sum()
    y, x = np.indices(weight.shape) - at
    assert abs((weight * x).sum()) < 0.01 and abs((weight * y).sum()) < 0.01
    spread = np.array([[(weight * a * b).sum() for a in (x, y)] for b in (x, y)])
    across, along = np.linalg.eigvalsh(spread)
    assert across < 1.3 and along < (0.05 * size + 1) ** 2 / 12 + 1.3


def test_movement_goes_any_way_and_any_length() -> None:
    image = flat(192, 0)
    image[96, 96] = 255
    extents = []
    for seed in range(60):
        rows, columns = np.nonzero(camera.smear(image, np.random.default_rng(seed))[..., 0] > 4)
        extents.append((np.ptp(columns), np.ptp(rows)))
    wide, high = np.array(extents).T
    assert wide.min() <= 1 and high.min() <= 1 and 8 <= wide.max() <= 11 and 8 <= high.max() <= 11
    assert 15 < (wide > high).sum() < 45


@pytest.mark.parametrize("name", ["smear", "soften", "compress"])
def test_what_is_flat_stays_flat(name: str) -> None:
    for seed in range(5):
        found = EFFECTS[name](flat(128, 77), np.random.default_rng(seed)).astype(int)
        assert np.abs(found - 77).max() <= (3 if name == "compress" else 1)


# Compression


def test_compression_is_sometimes_strong_and_never_moves_anything() -> None:
    image = picture(128).astype(int)
    losses = []
    for seed in range(40):
        found = camera.compress(image.astype(np.uint8), np.random.default_rng(seed)).astype(int)
        losses.append(np.abs(found - image).mean())
        assert abs(found.mean() - image.mean()) < 1.5
    assert max(losses) > 1.3 * min(losses) and max(losses) < 15


def test_colours_lose_half_their_resolution() -> None:
    """Stripes a pixel wide survive in brightness and vanish in colour."""
    grey, coloured = flat(64, 60), flat(64, 120)
    grey[:, ::2] = 190
    coloured[:, ::2] = (200, 120, 112)  # about as bright as its neighbours

    def left(image: Image) -> float:
        found = camera.compress(image, np.random.default_rng(3)).astype(float)
        return float(
            np.abs(np.diff(found[..., 0], axis=1)).mean() / np.abs(np.diff(image[..., 0].astype(float), axis=1)).mean()
        )

    assert left(grey) > 0.7 and left(coloured) < 0.35
