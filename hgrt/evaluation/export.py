"""Predictions in files: JSON for whoever reads it, HDF5 and MATLAB in the forms that the MPII evaluation tools take.

.h5 and .mat hold `preds` (N, 16, 2) float64 in MPII order, and `scores` (N, 16) beside it; where the set knows them,
also `index` and `person` (N,), from 0, as the annotation files `annot/*.h5` have them. What the tools take:

    anibali/eval-mpii-pose    README: a .mat or .h5 with `preds`, [n x 16 x 2] or [2 x 16 x n], rows in the order of the
                              annotation file; so for evalMPII.m, and for prepareTestResults.m with --split test
    princeton-vl/pose-hg-train    src/train.lua writes `preds` (N, 16, 2) into preds.h5. HDF5 counts its axes the other
                              way round in MATLAB, which is why those tools see [2 x 16 x n]: nothing is to be turned
    bearpaw/pytorch-pose      pose/utils/misc.py writes `preds` (N, 16, 2) into preds_valid.mat, eval_PCKh.py reads it
    HRNet                     lib/dataset/mpii.py writes `preds` (N, 16, 2) into pred.mat

Every form has the numbers of the labels, with no shift. MPII counts pixels from 1 (its authors told those of HRNet, see
microsoft/human-pose-estimation.pytorch issue 110; the labels themselves do not show it). All these tools compare with
the labels as they stand: HRNet takes 1 off when it reads labels and adds it when it writes, the others do neither, and
nor does our reader of MPII. A packed or COCO set, for which there is no such tool, counts from 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import People
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.files import check_writable, written_whole
from hgrt.require import require

NEEDED = {".json": None, ".h5": "h5py", ".mat": "scipy"}
"""Suffixes, and the package that writes each."""


def check_predictions(path: Path) -> None:
    """HgrtError unless predictions can be written to `path`: its suffix, the package for it, and the place."""
    suffix = path.suffix.lower()
    if suffix not in NEEDED:
        raise HgrtError(
            f"Predictions cannot be written as '{path.name}'.",
            f"Its suffix is none of {', '.join(NEEDED)}.",
            "Give a name such as predictions.json",
        )
    package = NEEDED[suffix]
    if package is not None:
        require(package, "data")
    check_writable(path)


def write_predictions(path: Path, found: Sequence[Predictions], sets: Sequence[People]) -> None:
    """Write what was found in each of `sets`, one set after another, in the form that the suffix of `path` says.

    Whole or not at all; HgrtError as for `check_predictions`.
    """
    check_predictions(path)
    suffix = path.suffix.lower()
    with written_whole(path) as scratch:
        if suffix == ".json":
            write_json(scratch, [person for one in found for person in _listed(one)])
        elif suffix == ".h5":
            with require("h5py", "data").File(scratch, "w") as file:
                for name, values in _arrays(found, sets).items():
                    file[name] = values
        else:
            scipy_io = require("scipy.io", "data")
            scipy_io.savemat(scratch, _arrays(found, sets), oned_as="column")


def write_json(path: Path, document: object) -> None:
    """JSON as UTF-8 with a final newline. ValueError for a NaN, which JSON has not."""
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _listed(found: Predictions) -> list[dict[str, object]]:
    keypoints = np.concatenate([found.xy, found.score[..., None]], axis=2)
    return [
        {
            "set": found.set,
            "name": name,
            "keypoints": _values(keypoints[i]),
            "box": _values(found.boxes[i]),
            "normalize": _values(found.normalize[i]),
        }
        for i, name in enumerate(found.names)
    ]


def _values(array: NDArray[np.float64]) -> object:
    """Plain lists, null for what is not finite."""
    plain = np.asarray(array, dtype=object)
    plain[~np.isfinite(array)] = None
    return plain.tolist()


def _arrays(found: Sequence[Predictions], sets: Sequence[People]) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {
        "preds": np.concatenate([one.xy for one in found]),
        "scores": np.concatenate([one.score for one in found]),
    }
    for name in ("index", "person"):
        numbers = [getattr(people, name, None) for people in sets]
        if all(column is not None for column in numbers):
            # As doubles, like the annotation files.
            rows = [np.asarray(column, np.float64)[one.rows] for one, column in zip(found, numbers, strict=True)]
            arrays[name] = np.concatenate(rows)
    return arrays
