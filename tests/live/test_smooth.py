"""The One-Euro filter: still joints stand still, fast ones do not lag, and a person's size makes no difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import pose
from hgrt.live.smooth import OneEuro
from hgrt.pose.geometry import Box

FPS = 25.0
BASE = pose()
SIDE = BASE.box.side


def smoothed(offsets: NDArray[np.float64], scale: float = 1.0, fps: float = FPS) -> NDArray[np.float64]:
    """The filter's output for the base pose moved by (T, 16, 2) or (T, 1, 2) offsets in person-sides; same unit out."""
    one_euro, size = OneEuro(), SIDE * scale
    box = Box(0, 0, size)
    moved = [one_euro(replace(BASE, xy=offset * size, box=box), i / fps).xy for i, offset in enumerate(offsets)]
    return np.stack(moved) / size


def test_a_still_pose_passes_unchanged() -> None:
    one_euro = OneEuro()
    for i in range(50):
        out = one_euro(BASE, i / FPS)
        np.testing.assert_allclose(out.xy, BASE.xy, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(out.score, BASE.score)
        np.testing.assert_array_equal(out.spread, BASE.spread)
        assert out.box == BASE.box


def test_jitter_of_a_still_person_is_reduced() -> None:
    noise = 0.005 * np.random.default_rng(0).standard_normal((200, 16, 2))
    assert smoothed(noise)[20:].std() < 0.7 * noise[20:].std()


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])  # person-sides a second: a wave, a brisk arm, a punch
def test_fast_motion_lags_less_than_two_frames(speed: float) -> None:
    walk = (speed * np.arange(60) / FPS)[:, None, None] * np.array([0.6, 0.8]) * np.ones((1, 16, 1))
    behind = np.linalg.norm(walk - smoothed(walk), axis=2)[10:].max()
    assert behind < 2 * speed / FPS


@given(st.floats(0.05, 30.0))
def test_the_size_of_the_person_makes_no_difference(scale: float) -> None:
    path = np.cumsum(0.01 * np.random.default_rng(1).standard_normal((30, 16, 2)), axis=0)
    np.testing.assert_allclose(smoothed(path, scale), smoothed(path), rtol=1e-9, atol=1e-9)


def test_each_joint_is_filtered_alone() -> None:
    moving = np.zeros((30, 16, 2))
    moving[:, 3] = 0.05 * np.arange(30)[:, None]
    out = smoothed(moving)
    assert not out[:, np.arange(16) != 3].any()
    assert out[-1, 3, 0] > 0.5


def test_after_a_reset_the_next_pose_passes_unchanged() -> None:
    one_euro = OneEuro()
    far = replace(BASE, xy=BASE.xy + 500)
    one_euro(BASE, 0.0)
    assert np.abs(one_euro(far, 0.04).xy - far.xy).max() > 1  # without a reset it lags
    one_euro.reset()
    np.testing.assert_array_equal(one_euro(BASE, 0.08).xy, BASE.xy)


@pytest.mark.parametrize("t", [1.0, 0.5, -3.0])
def test_a_time_that_stands_or_goes_back_starts_afresh(t: float) -> None:
    one_euro = OneEuro()
    one_euro(replace(BASE, xy=BASE.xy - 50), 1.0)
    np.testing.assert_array_equal(one_euro(BASE, t).xy, BASE.xy)
    assert np.isfinite(one_euro(BASE, t + 0.04).xy).all()


def test_what_it_returned_and_was_given_stays_as_it_was() -> None:
    one_euro = OneEuro()
    given_, outputs = replace(BASE, xy=BASE.xy.copy()), []
    for i in range(5):
        outputs.append(
            (out := one_euro(given_ if i == 0 else replace(BASE, xy=BASE.xy + 9 * i), i / FPS), out.xy.copy())
        )
    np.testing.assert_array_equal(given_.xy, BASE.xy)
    for out, copy in outputs:
        np.testing.assert_array_equal(out.xy, copy)
