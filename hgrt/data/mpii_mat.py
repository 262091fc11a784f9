"""Reader of MPII's official annotation file, mpii_human_pose_v1_u12_1.mat: MATLAB 5, all of it in the struct RELEASE.

`annolist(i).annorect(k)` is person k of picture i: `objpos`, `scale`, and in training pictures (`img_train`) the
joints, `annopoints.point` with `id`, `x`, `y` and `is_visible`. What a person lacks is an empty field or no field at
all; `is_visible` is a number, a character, empty or absent (then the joint is visible, as in the published conversion).

The file tells training from test pictures. Which training pictures are for validation it does not tell: that is
Tompson's split, whose validation people are in `assets/mpii_val.txt`. What is established of it:

    validation  the listed people: 2,958 in 2,729 pictures (those of the published valid.h5; a test holds that)
    training    everybody with joints in the training pictures that have no validation person. `miscs/gen_mpii.m` of
                bearpaw/pytorch-pose has this very rule, and two people counted 22,246 with it (its issues 25 and 80),
                which is the number of people in the published train.h5. With the others of the validation pictures
                it would be 25,925. `single_person` plays no part.

Not checked here, for want of the files: that this reader, too, counts 22,246, and that they are those of train.h5 one
by one. The test split is everybody in the test pictures who has a scale and a place; the published test.h5 has 11,731.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.data.mpii import Annotations, from_mpii
from hgrt.data.sample import JOINTS
from hgrt.errors import HgrtError
from hgrt.require import require

Person = tuple[str, int, int, NDArray[np.float64], tuple[float, float, float]]
"""Picture, its number, the person's number, joints (16, 3) of x, y and visibility, NaN where there are none, and
place x, place y, scale, NaN where unknown."""


def read_mat(path: Path) -> dict[str, Annotations]:
    """The people of the official file by split: train, val, test. HgrtError where it cannot be read."""
    scipy_io = require("scipy.io", "data")
    unreadable = (OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, zlib.error)
    try:
        release = scipy_io.loadmat(path, variable_names=["RELEASE"])["RELEASE"][0, 0]
        pictures = release["annolist"].ravel()
        training = np.asarray(release["img_train"]).ravel() > 0
        people = [person for i, picture in enumerate(pictures) for person in _people(picture, i)]
    except (*unreadable, scipy_io.matlab.MatReadError) as error:
        raise HgrtError(
            f"{path} cannot be read as the official annotations of MPII.",
            f"{type(error).__name__}: {error}",
            "It is mpii_human_pose_v1_u12_1.mat of mpii_human_pose_v1_u12_2.zip, at human-pose.mpi-inf.mpg.de.",
        ) from error
    if len(training) != len(pictures):
        raise HgrtError(f"{path} is not whole.", f"{len(pictures)} pictures, {len(training)} entries of img_train.")
    return _in_splits(people, training)


def validation_people() -> dict[int, frozenset[int]]:
    """The official validation split: picture -> people, numbers in RELEASE from 0."""
    text = files("hgrt.assets").joinpath("mpii_val.txt").read_text(encoding="utf-8")
    rows = [[int(number) for number in line.split()] for line in text.splitlines() if not line.startswith("#")]
    return {picture: frozenset(people) for picture, *people in rows}


def _in_splits(people: list[Person], training: NDArray[np.bool_]) -> dict[str, Annotations]:
    listed = validation_people()
    split: dict[str, list[Person]] = {"train": [], "val": [], "test": []}
    for row in people:
        _, picture, person, joints, _ = row
        if not training[picture]:
            joints[:] = np.nan
            split["test"].append(row)
        elif np.isfinite(joints).any():
            if picture not in listed:
                split["train"].append(row)
            elif person in listed[picture]:
                split["val"].append(row)
    return {name: _annotations(rows) for name, rows in split.items()}


def _annotations(people: list[Person]) -> Annotations:
    points = np.array([joints for _, _, _, joints, _ in people]).reshape(-1, JOINTS, 3)
    places = np.array([place for *_, place in people]).reshape(-1, 3)
    labelled = np.isfinite(points[..., :2]).all(axis=-1)
    return from_mpii(
        np.array([name for name, *_ in people], np.str_),
        points[..., :2],
        labelled,
        points[..., 2] > 0,
        places[:, :2],
        places[:, 2],
        np.array([index for _, index, *_ in people], np.int64),
        np.array([person for _, _, person, *_ in people], np.int64),
    )


def _people(picture: Any, index: int) -> Iterator[Person]:
    """Everybody in one element of `annolist`, also those of whom nothing is known."""
    name = str(np.ravel(_structs(picture, "image")[0]["name"])[0])
    for number, rect in enumerate(_structs(picture, "annorect")):
        places = _structs(rect, "objpos")
        x, y = (_number(places[0], "x"), _number(places[0], "y")) if len(places) else (np.nan, np.nan)
        joints = np.full((JOINTS, 3), np.nan)
        for points in _structs(rect, "annopoints"):
            for point in _structs(points, "point"):
                joint = _number(point, "id")
                if joint in range(JOINTS) and np.isnan(joints[int(joint), 0]):  # of a double, the first, as published
                    seen = _number(point, "is_visible")
                    joints[int(joint)] = _number(point, "x"), _number(point, "y"), 1.0 if np.isnan(seen) else seen
        yield name, index, number, joints, (x, y, _number(rect, "scale"))


def _structs(struct: Any, field: str) -> NDArray[Any]:
    """The structs in a field, in order; none where it is absent or empty."""
    value = np.ravel(struct[field]) if field in struct.dtype.names else np.empty(0)
    return value if value.dtype.names else np.empty(0)


def _number(struct: Any, field: str) -> float:
    """The number in a field, also where it is written as a character; NaN where it is absent or empty."""
    value = np.ravel(struct[field]) if field in struct.dtype.names else np.empty(0)
    return float(value[0]) if value.size else np.nan
