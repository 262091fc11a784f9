"""The bundled clip as labelled people."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hgrt.data.film import FilmPeople
from hgrt.errors import HgrtError
from hgrt.runtime.base import asset


@pytest.fixture
def clip() -> FilmPeople:
    return FilmPeople(asset("clip.mp4"), asset("clip.json"))


def test_people_are_the_frames_with_their_joints(clip: FilmPeople) -> None:
    truth = json.loads(asset("clip.json").read_text())
    assert (clip.name, len(clip)) == ("clip", 175)
    sample = clip.get(3)
    assert sample.joints.tolist() == truth["joints"][3]
    assert sample.normalize == truth["head_size"][3]
    assert sample.evaluate.all() and sample.labelled.all() and not sample.empty
    extent = np.ptp(sample.joints, axis=0).max()
    assert sample.box.side == pytest.approx(1.4 * extent)


def test_any_order_gives_the_same_frames(clip: FilmPeople) -> None:
    capture = cv2.VideoCapture(str(asset("clip.mp4")))
    frames = [capture.read()[1] for _ in range(8)]
    for index in (5, 6, 2, 2, 7, 0):
        assert np.array_equal(clip.get(index).image, frames[index])


def test_a_film_that_ends_early_says_so(tmp_path: Path) -> None:
    truth = json.loads(asset("clip.json").read_text())
    truth = {name: truth[name] * 2 for name in ("joints", "head_size")}
    (tmp_path / "long.json").write_text(json.dumps(truth))
    people = FilmPeople(asset("clip.mp4"), tmp_path / "long.json")
    with pytest.raises(HgrtError, match="cannot be read to its end"):
        people.get(300)
    assert people.get(1).image.shape == (480, 640, 3)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"joints": [[1, 2]], "head_size": [1]}'])
def test_a_truth_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(HgrtError, match="does not hold the joints"):
        FilmPeople(asset("clip.mp4"), tmp_path / "truth.json")
