"""Are legs drawn that a picture does not show? From which score a joint is worth drawing.

    python benchmarks/half_figures.py --data DATA/webcam --data DATA/coco --data DATA/lspet --out FOLDER

Half figures are upright people of the split val, whole to the feet, whose picture is cut below the hips, and those
whose hips are labelled and legs are not, where the box reaches the picture's lower edge. Each is looked at in the
square around the joints that are left. Their knees and ankles cannot be right. For every threshold: how many of these
are drawn, and how many of the labelled joints of everybody in the sets, in the labelled box, right by PCKh@0.5 or
wrong, still are. FOLDER gets half-figures.json.

Exit codes: 0, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clips import WIDTH, provenance
from nobody import opened
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hgrt.data.sample import Sample
from hgrt.draw import HIDDEN
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.export import write_json
from hgrt.files import written_whole
from hgrt.pose.geometry import MARGIN, Box
from hgrt.pose.skeleton import MPII

LEGS = MPII.indices([name for name in MPII.joints if name.endswith(("knee", "ankle"))])
HIPS, SHOULDERS = (MPII.indices([f"{side}_{name}" for side in "rl"]) for name in ("hip", "shoulder"))
BELOW = 0.1  # of the torso: how far below the lower hip a picture is cut
NEAR = 0.5  # head sizes that a knee lies below the cut at least, so that nothing of it is left
RIGHT = 0.5  # head sizes
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 11))


def half_figure(person: Sample) -> Sample | None:
    """The upper half of a person in what is left of the picture, None of whom cannot be halved; see the module."""
    known, xy = person.labelled, person.joints
    if not known[HIPS + SHOULDERS].all():
        return None
    if not known[LEGS].any():
        cut = float(len(person.image))
        if person.box.cy + person.box.side / 2 < cut - 1:
            return None
    else:
        hips, torso = xy[HIPS, 1].max(), xy[HIPS].mean(axis=0) - xy[SHOULDERS].mean(axis=0)
        cut = float(np.ceil(hips + BELOW * torso[1]))
        upright = torso[1] > abs(torso[0]) and xy[SHOULDERS, 1].max() < xy[HIPS, 1].min()
        if not upright or not known[LEGS].all() or xy[LEGS, 1].min() < cut + NEAR * person.normalize:
            return None
    left = known & (xy[:, 1] < cut)
    box = Box.around(xy[left], MARGIN)
    visible, evaluate = person.visible & left, person.evaluate & left
    return replace(person, image=person.image[: int(cut)], labelled=left, visible=visible, evaluate=evaluate, box=box)


def measure(options: argparse.Namespace, estimator: PoseEstimator) -> dict[str, Any]:
    """The share drawn from each threshold up, of each kind of joint."""
    halves = 0
    scores: dict[str, list[float]] = {"absent": [], "right": [], "wrong": []}
    everybody = [people.get(row) for people in opened(options.data, "val") for row in range(len(people))]
    for person in track(everybody, "looking", console=Console(stderr=True)):
        pose = estimator(person.image, person.box)
        right = np.linalg.norm(pose.xy - person.joints, axis=1) <= RIGHT * person.normalize
        scores["right"] += pose.score[person.evaluate & right].tolist()
        scores["wrong"] += pose.score[person.evaluate & ~right].tolist()
        half = half_figure(person)
        if half is not None:
            halves += 1
            scores["absent"] += estimator(half.image, half.box).score[LEGS].tolist()
    if not halves:
        raise HgrtError("There are no half figures in these data.", "Nobody could be cut below the hips.")
    return {
        "people": len(everybody),
        "half_figures": halves,
        "joints": {kind: len(found) for kind, found in scores.items()},
        "drawn_from": HIDDEN,
        "drawn": {
            f"{bound:g}": {kind: share_from(bound, found) for kind, found in scores.items()} for bound in THRESHOLDS
        },
    }


def share_from(bound: float, scores: Sequence[float]) -> float | None:
    """How many of the scores reach the bound; None of none."""
    return round(float(np.mean([score >= bound for score in scores])), 4) if scores else None


def table(result: dict[str, Any]) -> Table:
    """For the terminal: a row for each threshold, percent."""
    title = f"joints drawn, of {result['half_figures']} half figures and {result['people']} people, percent"
    made = Table("score from", box=None, header_style="dim", title=title)
    for column in ("legs not in the picture", "joints that are right", "that are wrong"):
        made.add_column(column, justify="right")
    for bound, row in result["drawn"].items():
        shares = (row[kind] for kind in ("absent", "right", "wrong"))
        made.add_row(bound, *("-" if share is None else f"{100 * share:.1f}" for share in shares))
    return made


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the JSON. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DATA")
    parser.add_argument("--weights", type=Path, help="the bundled ones if left out")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        with PoseEstimator(options.weights) as estimator, written_whole(options.out / "half-figures.json") as path:
            result = provenance("half_figures", arguments, estimator.backend.info) | measure(options, estimator)
            write_json(path, result)
    except HgrtError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    Console(highlight=False, width=WIDTH).print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
