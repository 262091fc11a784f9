"""Whose answers are compared: the bundled clip with its stored answers, and crops to time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hgrt.bench.people import answers, bundled_film, first_crops, open_people, store_answers, stored_answers
from hgrt.data.film import FilmPeople
from hgrt.estimator import PoseEstimator
from hgrt.pose.geometry import Image, crop
from hgrt.runtime.base import bundled_weights

EVERY = 25  # frame of the clip is looked at


class Every:
    """A part of the clip."""

    name = "clip"

    def __init__(self) -> None:
        self._film = bundled_film()

    def __len__(self) -> int:
        return len(self._film) // EVERY

    def get(self, index: int) -> object:
        return self._film.get(index * EVERY)


def test_the_stored_answers_are_those_of_the_bundled_weights_in_torch() -> None:
    pytest.importorskip("torch")
    stored = stored_answers(bundled_weights(".pt"))
    assert stored is not None, "made for other weights: python -m hgrt.bench.people assets/clip.answers.npz"
    [kept], who = stored
    assert who.startswith("torch fp32, stored (torch ")
    with PoseEstimator(bundled_weights(".pt"), "torch", "fp32", threads=1) as estimator:
        [found] = answers(estimator, [Every()])  # type: ignore[list-item]
    assert np.abs(found.xy - kept.xy[::EVERY]).max() < 1e-3
    assert np.abs(found.score - kept.score[::EVERY]).max() < 1e-5
    assert kept.pckh().total.rate > 0.95


def test_other_weights_have_no_stored_answers(tmp_path: Path) -> None:
    other = tmp_path / "lite.onnx"
    shutil.copy(bundled_weights(), other)
    assert stored_answers(other) is not None
    with other.open("ab") as file:
        file.write(b"\0")
    assert stored_answers(other) is None


def test_a_clip_that_decodes_differently_has_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    true = FilmPeople._frame

    def brighter(self: FilmPeople, index: int) -> Image:
        frame = true(self, index)
        frame[0, 0, 0] ^= index == 100
        return frame

    monkeypatch.setattr(FilmPeople, "_frame", brighter)
    assert stored_answers(bundled_weights()) is None


def test_storing_answers_again_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(FilmPeople, "__len__", lambda self: 3)
    store_answers(tmp_path / "few.npz")
    stored = stored_answers(bundled_weights())
    assert stored is None  # three frames are not the clip
    with np.load(tmp_path / "few.npz", allow_pickle=False) as few:
        assert few["xy"].shape == (3, 16, 2) and few["score"].shape == (3, 16)


def test_crops_are_the_first_peoples_over_again() -> None:
    film = bundled_film()
    crops = first_crops([Every()], 64, 9)  # type: ignore[list-item]
    assert crops.shape == (9, 64, 64, 3)
    for k in (0, 3):
        sample = film.get(k * EVERY)
        assert np.array_equal(crops[k], crop(sample.image, sample.box, 64).pixels)
    assert np.array_equal(crops[7], crops[0])


def test_no_data_are_the_bundled_clip() -> None:
    [clip] = open_people([])
    assert (clip.name, len(clip)) == ("clip", 175)
