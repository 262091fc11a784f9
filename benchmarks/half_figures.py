"""Are legs drawn that a picture does not show? From which scores joints are worth drawing.

    python benchmarks/half_figures.py --data DATA/webcam --data DATA/coco --data DATA/lspet --out FOLDER

Half figures are upright people of the split val, whole to the feet, whose picture is cut below the hips, and those
whose hips are labelled and legs are not, where the box reaches the picture's lower edge. Each is looked at in the
square around the joints that are left. Their knees and ankles cannot be right. Of the same people, cut below the knees,
ankles cannot be right, and knees should not be lost. For every threshold of `hgrt.draw.shown`: how many of these
joints are drawn, and how many of the labelled joints of everybody in the sets, in the labelled box, right by PCKh@0.5
or wrong; for that in use also how many by their own scores alone. FOLDER gets half-figures.json.

Exit codes: 0, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clips import WIDTH, provenance
from nobody import opened
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hgrt.data.sample import Sample
from hgrt.draw import HIDDEN, LEGS, shown
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.export import write_json
from hgrt.files import written_whole
from hgrt.pose.geometry import MARGIN, Array, Box
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import ANKLES, HIPS, KNEES, MPII, SHOULDERS

KINDS = {
    "absent": "legs, cut off above",
    "feet": "ankles, cut off above",
    "knees": "knees just above the cut",
    "right": "joints that are right",
    "wrong": "that are wrong",
}
"""Joints that are told apart, as the table calls them; `knees` only those that are right."""
BELOW = 0.1  # of the torso: how far below the lower hip a picture is cut
NEAR = 0.5  # head sizes that what is cut off lies below the cut at least, so that nothing of it is left
SHIN = 0.35  # of the way from the lower knee to the higher ankle, where a picture is cut below the knees
RIGHT = 0.5  # head sizes
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 11))

Found = list[tuple[Pose, NDArray[np.bool_]]]
"""Poses, and which joints of each belong to a kind, (16,)."""


def half_figure(person: Sample) -> Sample | None:
    """The upper half of a person in what is left of the picture, None of whom cannot be halved; see the module."""
    known, xy = person.labelled, person.joints
    if not known[HIPS + SHOULDERS].all():
        return None
    if not known[LEGS].any():
        cut = float(len(person.image))
        return _above(person, cut) if person.box.cy + person.box.side / 2 >= cut - 1 else None
    torso = xy[HIPS].mean(axis=0) - xy[SHOULDERS].mean(axis=0)
    cut = float(np.ceil(xy[HIPS, 1].max() + BELOW * torso[1]))
    apart = xy[LEGS, 1].min() >= cut + NEAR * person.normalize
    return _above(person, cut) if _whole_and_upright(person) and apart else None


def without_feet(person: Sample) -> Sample | None:
    """A person down to the shins in what is left of the picture, None of whom cannot be cut so; see the module."""
    knee, ankle = person.joints[KNEES, 1].max(), person.joints[ANKLES, 1].min()
    cut = float(np.ceil(knee + SHIN * (ankle - knee)))
    apart = ankle >= cut + NEAR * person.normalize
    return _above(person, cut) if _whole_and_upright(person) and apart else None


def _whole_and_upright(person: Sample) -> bool:
    known, xy = person.labelled, person.joints
    torso = xy[HIPS].mean(axis=0) - xy[SHOULDERS].mean(axis=0)
    upright = torso[1] > abs(torso[0]) and xy[SHOULDERS, 1].max() < xy[HIPS, 1].min()
    return bool(known[HIPS + SHOULDERS + LEGS].all() and upright)


def _above(person: Sample, cut: float) -> Sample:
    """The person in the rows above `cut`, in the square around the labelled joints that are left."""
    left = person.labelled & (person.joints[:, 1] < cut)
    box = Box.around(person.joints[left], MARGIN)
    visible, evaluate = person.visible & left, person.evaluate & left
    return replace(person, image=person.image[: int(cut)], labelled=left, visible=visible, evaluate=evaluate, box=box)


def measure(options: argparse.Namespace, estimator: PoseEstimator) -> dict[str, Any]:
    """The share drawn from each threshold up, of each kind of joint."""
    halves, shins = 0, 0
    found: dict[str, Found] = {kind: [] for kind in KINDS}

    def look(person: Sample) -> tuple[Pose, NDArray[np.bool_]]:
        pose = estimator(person.image, person.box)
        return pose, np.linalg.norm(pose.xy - person.joints, axis=1) <= RIGHT * person.normalize

    everybody = [people.get(row) for people in opened(options.data, "val") for row in range(len(people))]
    for person in track(everybody, "looking", console=Console(stderr=True)):
        pose, right = look(person)
        found["right"].append((pose, person.evaluate & right))
        found["wrong"].append((pose, person.evaluate & ~right))
        half, shin = half_figure(person), without_feet(person)
        if half is not None:
            halves += 1
            found["absent"].append((look(half)[0], among(LEGS)))
        if shin is not None:
            shins += 1
            pose, right = look(shin)
            found["feet"].append((pose, among(ANKLES)))
            found["knees"].append((pose, among(KNEES) & shin.labelled & right))
    if not halves:
        raise HgrtError("There are no half figures in these data.", "Nobody could be cut below the hips.")
    return {
        "people": len(everybody),
        "half_figures": halves,
        "without_feet": shins,
        "joints": {kind: sum(int(which.sum()) for _, which in seen) for kind, seen in found.items()},
        "drawn_from": HIDDEN,
        "alone": {kind: share(alone, HIDDEN, seen) for kind, seen in found.items()},
        "drawn": {
            f"{bound:g}": {kind: share(shown, bound, seen) for kind, seen in found.items()} for bound in THRESHOLDS
        },
    }


def among(joints: Sequence[int]) -> NDArray[np.bool_]:
    """Those joints, (16,)."""
    return np.isin(np.arange(len(MPII)), joints)


def alone(xy: Array, score: NDArray[np.floating], bound: float) -> NDArray[np.bool_]:
    """Each joint drawn by its own score."""
    return np.asarray(score >= bound)


def share(rule: Callable[..., NDArray[np.bool_]], bound: float, found: Found) -> float | None:
    """How many of the joints are drawn by a rule; None of none."""
    each = [rule(pose.xy, pose.score, bound)[which] for pose, which in found]
    joints = np.concatenate(each) if each else np.zeros(0)
    return round(float(joints.mean()), 4) if len(joints) else None


def table(result: dict[str, Any]) -> Table:
    """For the terminal: a row for each threshold, percent."""
    title = f"joints drawn of {result['people']} people, {result['half_figures']} of them cut below the hips, percent"
    made = Table("score from", box=None, header_style="dim", title=title)
    for column in KINDS.values():
        made.add_column(column, justify="right")
    for bound, row in [*result["drawn"].items(), (f"{HIDDEN:g} alone", result["alone"])]:
        shares = (row[kind] for kind in KINDS)
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
