"""Do joints of a person who stands still stand still? Each as the network gives it, with no smoothing.

    python benchmarks/jitter.py --frames DATA/webcam --frames DATA/coco --out FOLDER
    python benchmarks/jitter.py --frames DATA/webcam --frames DATA/coco --out FOLDER --shake 0.3

A labelled picture (split val, or the file given) becomes a clip in which nothing moves but what a camera adds: noise of
3 grey levels, a JPEG of quality 80, and with `--shake` a shift of so many pixels (standard deviation), which is taken
off the joints again. Everybody is looked at in the labelled box (`fixed`), and whom the tracker finds is followed as in
the demo (`followed`). Jitter of a joint is the root of the summed variances of x and y over the clip, in percent of the
person's height: the longer side of the box around the labelled joints where an ankle and a shoulder are known, else
(half figures) the side of the labelled box / 1.4. A joint is sure if its median score over the clip is at least 0.4.
The first frames do not count: in them the tracker's box settles. Nor do clips in which the tracker saw nobody, or not
always the same labelled person (`held` counts the others). FOLDER gets jitter.json.

Exit codes: 0, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clips import WIDTH, provenance, quantiles, whole_number
from nobody import Scene, noisy, on_somebody, opened, points, scenes
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hgrt.data.sample import Sample
from hgrt.draw import SURE
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.export import write_json
from hgrt.files import written_whole
from hgrt.live.person import Tracker
from hgrt.pose.geometry import MARGIN, Array, Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import ANKLES, MPII, SHOULDERS

NOISE = 3.0  # grey levels
QUALITY = 80  # of a webcam's JPEG
SETTLING = 15  # frames before those that count
TARGET = 1.0  # percent of the height
SEED = 0


@dataclass(frozen=True, slots=True)
class Still:
    """A person in a clip: `jitter` (16,) in percent of the height, `score` (16,) the median of each joint."""

    name: str
    jitter: Array
    score: Array

    @property
    def sure(self) -> NDArray[np.bool_]:
        """(16,) the joints with a score of `SURE`, as the demo draws solid where nothing is calibrated."""
        return self.score >= SURE


def exposure(image: Image, shift: Array, rng: np.random.Generator) -> Image:
    """A still scene as a camera gives it once: moved by `shift` (x, y) pixels, with noise, through a JPEG."""
    if shift.any():
        size, affine = (image.shape[1], image.shape[0]), np.hstack([np.eye(2), shift[:, None]])
        image = np.asarray(cv2.warpAffine(image, affine, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    jpeg = cv2.imencode(".jpg", noisy(image, NOISE, rng), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)


def height_of(person: Sample) -> float:
    """Pixels: the extent of the labelled joints of a whole figure, of half a one what its box was drawn around."""
    known = person.labelled
    if known[ANKLES].any() and known[SHOULDERS].any():
        return float(np.ptp(points(person), axis=0).max())
    return person.box.side / MARGIN


def spread(xy: Array) -> Array:
    """How far each joint strays, (J,) pixels, from (frames, J, 2): the root of the summed variances of x and y."""
    return np.sqrt(xy.var(axis=0).sum(axis=-1))


def stills(estimator: PoseEstimator, scene: Scene, frames: int, shake: float) -> Iterator[tuple[str, Still | None]]:
    """Everybody in a scene at a fixed box, and who the tracker finds in the same clip; None where it does not hold."""
    trackers = [Tracker(estimator, person.box) for person in scene.people] + [Tracker(estimator)]
    seen: list[list[Pose | None]] = [[] for _ in trackers]
    rng = np.random.default_rng(SEED)
    for _ in range(SETTLING + frames):
        shift = rng.normal(0, shake, 2)
        image = exposure(scene.image, shift, rng)
        for tracker, poses in zip(trackers, seen, strict=True):
            pose = tracker(image)
            poses.append(None if pose is None else replace(pose, xy=pose.xy - shift))
    for person, poses in zip(scene.people, seen[:-1], strict=True):
        yield "fixed", still_of(person, poses[SETTLING:])
    counted = seen[-1][SETTLING:]
    found = [person for person in scene.people if all(pose and on_somebody(pose, [person]) for pose in counted)]
    yield "followed", still_of(found[0], counted) if found else None


def still_of(person: Sample, seen: Sequence[Pose | None]) -> Still | None:
    """What the poses of a person come to; None if there was a frame without."""
    poses = [pose for pose in seen if pose is not None]
    if len(poses) < len(seen):
        return None
    strays = 100 * spread(np.stack([pose.xy for pose in poses])) / height_of(person)
    return Still(person.name, strays, np.median([pose.score for pose in poses], axis=0))


def summary(seen: Sequence[Still | None]) -> dict[str, Any]:
    """What is written of some people in one variant: percent of the height, over all their joints in one."""
    held = [one for one in seen if one is not None]
    every = np.array([one.jitter for one in held]).reshape(-1, len(MPII))
    sure = np.array([one.sure for one in held], bool).reshape(every.shape)
    return {
        "clips": len(seen),
        "held": len(held),
        "sure_joints": int(sure.sum()),
        "sure": quantiles(every[sure]),
        "sure_below_target": float((every[sure] < TARGET).mean()) if sure.any() else None,
        "all": quantiles(every.ravel()),
        "joints": {name: quantiles(every[sure[:, k], k]) for k, name in enumerate(MPII.joints)},
        "worst": {one.name: float(one.jitter[one.sure].max()) for one in _worst(held)},
    }


def _worst(held: Sequence[Still], count: int = 5) -> list[Still]:
    """The clips with the joints that stray furthest, though they are sure."""
    return sorted((one for one in held if one.sure.any()), key=lambda one: -one.jitter[one.sure].max())[:count]


def measure(options: argparse.Namespace, estimator: PoseEstimator) -> dict[str, Any]:
    """Every picture of every set, by set and variant."""
    every = [scene for people in opened(options.frames, "val") for scene in scenes(people, range(len(people)))]
    seen: dict[str, dict[str, list[Still | None]]] = {}
    for scene in track(every, "looking", console=Console(stderr=True)):
        for variant, still in stills(estimator, scene, options.count, options.shake):
            for name in (scene.kind, "all"):
                seen.setdefault(name, {}).setdefault(variant, []).append(still)
    return {
        "frames": options.count,
        "settling": SETTLING,
        "camera": {"noise": NOISE, "jpeg_quality": QUALITY, "shake_px": options.shake},
        "target_percent": TARGET,
        "sets": {kind: {name: summary(of) for name, of in variants.items()} for kind, variants in seen.items()},
    }


def table(result: dict[str, Any]) -> Table:
    """For the terminal: a row for each set and variant, percent of the height."""
    made = Table("set", "box", "clips", "held", box=None, header_style="dim", title="jitter, percent of the height")
    for column in ("sure p50", "p95", f"below {TARGET:g} %", "all p50", "p95"):
        made.add_column(column, justify="right")
    for kind, variants in result["sets"].items():
        for variant, one in variants.items():
            cells = [f"{part[level]:.2f}" if (part := one[name]) else "-" for name, level in _SHOWN]
            below = "-" if one["sure_below_target"] is None else f"{100 * one['sure_below_target']:.1f} %"
            made.add_row(kind, variant, str(one["clips"]), str(one["held"]), *cells[:2], below, *cells[2:])
    return made


_SHOWN = [(name, level) for name in ("sure", "all") for level in ("p50", "p95")]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, action="append", required=True, metavar="DATA")
    parser.add_argument("--count", type=whole_number, default=60, help="frames of a clip that count")
    parser.add_argument("--shake", type=float, default=0.0, help="pixels")
    parser.add_argument("--weights", type=Path, help="the bundled ones if left out")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if not options.shake >= 0:
        parser.error("--shake is a number of pixels from 0 up")
    return options


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the JSON. The exit code."""
    options = parse(arguments)
    cv2.setNumThreads(1)
    try:
        with PoseEstimator(options.weights) as estimator, written_whole(options.out / "jitter.json") as path:
            result = provenance("jitter", arguments, estimator.backend.info) | measure(options, estimator)
            write_json(path, result)
    except HgrtError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    Console(highlight=False, width=WIDTH).print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
