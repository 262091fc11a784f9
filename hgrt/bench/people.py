"""Whom the answers are compared on: the labelled people of a data set, or those of the bundled clip.

Also the clip's answers by the bundled network in torch and single precision, which come with the package: what is right
is known without torch, too.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hgrt.data.film import FilmPeople
from hgrt.data.find import Warn, open_sets
from hgrt.data.sample import People
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.predict import Predictions, predict_poses
from hgrt.evaluation.report import distinct
from hgrt.files import sha256, written_whole
from hgrt.pose.geometry import Box, Image, warp
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII
from hgrt.runtime.base import asset, bundled_weights

ANSWERS = "clip.answers.npz"


def open_people(data: Sequence[Path], split: str = "val", warn: Warn = lambda line: None) -> list[People]:
    """The sets in `data` that have that split; none given: the people of the bundled clip. HgrtError as `open_sets`."""
    return open_sets(data, split, warn) if data else [bundled_film()]


def bundled_film() -> FilmPeople:
    """The bundled clip."""
    return FilmPeople(asset("clip.mp4"), asset("clip.json"))


def answers(estimator: PoseEstimator, sets: Sequence[People]) -> list[Predictions]:
    """What is found of everybody, as the demo finds it: picture and box in, joints in the picture out."""
    return distinct([predict_poses(estimator, people) for people in sets])


def first_crops(sets: Sequence[People], size: int, count: int) -> NDArray[np.uint8]:
    """Crops (count, size, size, 3) of the first people of the first set with any, repeated if they are fewer."""
    people = next(one for one in sets if len(one))
    samples = [people.get(row) for row in range(min(count, len(people)))]
    crops = np.stack([warp(sample.image, sample.box.to_crop(size), size) for sample in samples])
    return crops[np.arange(count) % len(crops)]


def stored_answers(weights: Path) -> tuple[list[Predictions], str] | None:
    """The stored answers of the clip, and whose they are.

    None where `weights` are not the bundled ones, or the clip decodes to other pixels here than where they were made.
    """
    with np.load(asset(ANSWERS), allow_pickle=False) as stored:
        described = json.loads(str(stored["described"]))
        xy, score = stored["xy"].astype(np.float64), stored["score"].astype(np.float64)
    if sha256(weights) not in described["weights"]:
        return None
    seen, kept = hashlib.sha256(), iter(zip(xy, score, strict=True))

    def remember(image: Image, box: Box) -> Pose:
        seen.update(image.tobytes())
        return Pose(*next(kept), np.full(len(MPII), np.inf), box)

    found = predict_poses(remember, bundled_film())
    return ([found], f"torch fp32, stored ({described['torch']})") if seen.hexdigest() == described["frames"] else None


def store_answers(path: Path) -> None:
    """Write the answers of the bundled network on the bundled clip, by torch on the CPU in single precision."""
    film = bundled_film()
    seen = hashlib.sha256()
    for k in range(len(film)):
        seen.update(film.get(k).image.tobytes())
    with PoseEstimator(bundled_weights(".pt"), "torch", "fp32") as estimator:
        found = predict_poses(estimator, film)
        version = estimator.backend.info.versions["torch"]
    described = {
        "weights": [sha256(bundled_weights(suffix)) for suffix in (".pt", ".onnx")],
        "frames": seen.hexdigest(),
        "torch": f"torch {version.partition('+')[0]}",
    }
    arrays = {"xy": found.xy.astype(np.float32), "score": found.score.astype(np.float32)}
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, described=np.array(json.dumps(described)), **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    store_answers(Path(sys.argv[1]))
