"""False persons: does an empty scene show nobody, and a scene with people somebody? A table to choose from.

`ModelSpec.found` is chosen from it, and written by `hgrt calibrate CKPT --found`.

    python benchmarks/nobody.py --frames DATA/coco --frames DATA/webcam --frames DATA/mpii/sample.h5 \\
        --crops DATA/lspet --crops DATA/coco --empty PICTURES --strike seen.txt --out FOLDER

`--frames` are labelled sets whose pictures (split val, or the file given) are whole; `--crops` those whose training
pictures are cut out around a person. Empty scenes are what is clear of everybody's reach in them; the pictures in
`--empty`, which are known to show nobody; drawn scenery; and plain ones, such as noise. Each is searched as a camera
would be that looks at it for `--repeats` frames: the first all over, the others, with noise of their own, bit by bit.
Whole pictures are searched once; who is found in them is right if their box overlaps a labelled person's by 0.3.

Not everybody in a picture is labelled, so FOLDER gets sheets to look at, beside nobody.json: alarms.png (empty scenes
in which somebody was found), empty-N.png (all of the empty ones), and found.png, elsewhere.png and missed.png (people).
The ids of their scenes are in a .txt beside each. Those of empty scenes that do show somebody, one a line, are a file
for `--strike`: they are left out.

Exit codes: 0, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from clips import WIDTH, overlap, person_tile, provenance, quantiles, whole_number
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hgrt.data.files_people import read_image
from hgrt.data.find import look
from hgrt.data.generated import scenery
from hgrt.data.missing import no_data
from hgrt.data.sample import People, Sample
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.estimator import Mark, PoseEstimator
from hgrt.evaluation.export import write_json
from hgrt.evaluation.sheet import contact_sheet, write_sheet
from hgrt.files import written_whole
from hgrt.live.person import KEPT, Tracker, box_around
from hgrt.live.source import PICTURES
from hgrt.pose.geometry import MARGIN, Array, Box, Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII

Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, the last two not part of it."""

RIGHT = 0.3  # overlap of boxes from which a person that was found is the labelled one
REACH = 0.15  # of a person's box: hands, feet and hair lie beyond the outermost joints
SMALLEST = 80  # pixels of an empty scene's shorter side
LONGEST = 16 / 9  # of its sides; no camera sees a longer one
CUTS = 2  # empty scenes at most from a picture
NOISE = 2.0  # grey levels from one frame to the next
THRESHOLDS = tuple(k / 100 for k in range(30, 91, 2))
SHEET = 48  # tiles on a sheet
SIZE = (480, 640)  # height and width of what is made
SEED = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a camera might look at: its name, where it is from, (H, W, 3) uint8 BGR, and the labelled people in it."""

    id: str
    kind: str
    image: Image
    people: tuple[Sample, ...] = ()


class Look(NamedTuple):
    """A pose that a search came to, and how sure several looks are of it; None and 0 without a hint of one."""

    sure: float
    pose: Pose | None


Seen = tuple[Scene, list[list[Look]]]
"""A scene, and what a search came to in each of its frames, in that order."""


class Searcher(Tracker):
    """A tracker that is never satisfied: it searches each frame as if nobody had been found before."""

    def __init__(self, estimator: PoseEstimator) -> None:
        super().__init__(estimator)
        self._found: list[Look] = []

    def look(self, image: Image) -> list[Look]:
        """The frame's poses, whether or not they would do for a person."""
        self._found = []
        self(image)
        return self._found

    def _somebody(self, image: Image, pose: Pose, mark: Mark) -> bool:
        self._found.append(Look(self._sure(image, pose, mark), pose))
        return False


def surest(looks: Iterable[Look]) -> Look:
    """The one of these poses that is most of a person."""
    return max(looks, key=lambda look: look.sure, default=Look(0.0, None))


# Scenes


def scenes(people: People, rows: Iterable[int]) -> list[Scene]:
    """The pictures that show these people, each once, with all of them that it shows."""
    together: dict[str, list[Sample]] = {}
    for row in rows:
        sample = people.get(row)
        together.setdefault(sample.name.partition("#")[0], []).append(sample)
    return [Scene(f"{people.name}/{name}", people.name, of[0].image, tuple(of)) for name, of in together.items()]


def points(person: Sample) -> Array:
    """The labelled joints, (N, 2) image pixels; of a person without any the corners of the box."""
    if person.labelled.any():
        return person.joints[person.labelled]
    return np.array([person.box.cx, person.box.cy]) + np.array([[-0.5, -0.5], [0.5, 0.5]]) * person.box.side


def reach(person: Sample) -> Rectangle:
    """Where any part of a person may be: around the labelled joints, and up to the box's edge for an unknown head."""
    xy, room = points(person), REACH * person.box.side
    (x0, y0), (x1, y1) = xy.min(axis=0) - room, xy.max(axis=0) + room
    if not person.labelled[MPII.index("head_top")]:
        y0 = min(y0, person.box.cy - person.box.side / 2)
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)) + 1, int(np.ceil(y1)) + 1


def largest_clear(width: int, height: int, taken: Sequence[Rectangle]) -> Rectangle | None:
    """The largest rectangle of a picture that touches none of `taken`, its longer side cut to `LONGEST`; or None."""
    edges = np.array(taken, dtype=int).reshape(-1, 4)
    xs = np.unique(np.clip([0, width, *edges[:, 0], *edges[:, 2]], 0, width))
    ys = np.unique(np.clip([0, height, *edges[:, 1], *edges[:, 3]], 0, height))
    best, area = None, 0
    for x0, x1 in ((a, b) for a in xs for b in xs if b - a >= SMALLEST):
        beside = edges[(edges[:, 0] < x1) & (edges[:, 2] > x0)]
        for y0, y1 in ((a, b) for a in ys for b in ys if b - a >= SMALLEST):
            one = _not_too_long(int(x0), int(y0), int(x1), int(y1))
            size = (one[2] - one[0]) * (one[3] - one[1])
            if size > area and not ((beside[:, 1] < y1) & (beside[:, 3] > y0)).any():
                best, area = one, size
    return best


def _not_too_long(x0: int, y0: int, x1: int, y1: int) -> Rectangle:
    """Its middle, if need be."""
    over_x = max(0, x1 - x0 - int((y1 - y0) * LONGEST))
    over_y = max(0, y1 - y0 - int((x1 - x0) * LONGEST))
    return x0 + over_x // 2, y0 + over_y // 2, x1 - (over_x + 1) // 2, y1 - (over_y + 1) // 2


def empties(scene: Scene) -> Iterator[Scene]:
    """Parts of a scene that are clear of everybody who is labelled, the largest first."""
    height, width = scene.image.shape[:2]
    taken = [reach(person) for person in scene.people]
    while len(taken) < len(scene.people) + CUTS and (one := largest_clear(width, height, taken)):
        x0, y0, x1, y1 = one
        taken.append(one)
        image = np.ascontiguousarray(scene.image[y0:y1, x0:x1])
        yield Scene(f"{scene.id}@{x0},{y0}+{x1 - x0}x{y1 - y0}", scene.kind, image)


def made(rng: np.random.Generator) -> list[Scene]:
    """Controls: black, grey, white, noise fine and coarse, and gradients; none has anything that could be a person."""
    height, width = SIZE
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    noise = rng.normal(128, 50, (height, width, 3))
    pictures = {f"grey {level}": np.full((height, width, 3), float(level)) for level in (0, 128, 255)}
    pictures |= {"noise": noise, "gradient across": _colour(x), "gradient down": _colour(y)}
    pictures["gradient round"] = _colour(255 - np.hypot(x - 128, y - 128))
    for sigma in (4, 16, 64):
        blurred = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma), np.float64)
        pictures[f"noise blurred {sigma}"] = 128 + (blurred - blurred.mean()) * 50 / blurred.std()
    return [Scene(f"made/{name}", "made", as_bytes(picture)) for name, picture in pictures.items()]


def _colour(grey: Array) -> Array:
    return np.repeat(grey[..., None], 3, axis=2)


def as_bytes(picture: NDArray[np.floating[Any]]) -> Image:
    """Grey levels as uint8, those beyond black and white cut off."""
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def noisy(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """The picture with noise of `sigma` grey levels, fresh in each pixel and colour."""
    return as_bytes(image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32))


def opened(paths: Sequence[Path], split: str) -> list[People]:
    """The set of each file, and those of each folder in that split; HgrtError where there is none."""
    sets = []
    for path in paths:
        chosen = [one for one in look(path) if path.is_file() or one.split == split]
        if not chosen:
            raise no_data(f"There is no {split} split in {path}.", "")
        sets += [one.open() for one in chosen]
    return sets


def pictures_of(path: Path) -> list[Scene]:
    """A picture, or all of a folder, that show nobody."""
    files = sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES) if path.is_dir() else [path]
    return [Scene(f"empty/{file.name}", "empty pictures", read_image(file)) for file in files]


def struck(file: Path | None) -> set[str]:
    """The ids in a file, one a line; HgrtError where it cannot be read."""
    if file is None:
        return set()
    try:
        return {line.strip() for line in file.read_text(encoding="utf-8").splitlines()} - {""}
    except OSError as error:
        raise HgrtError(f"The list {file} cannot be read.", str(error)) from error


# Looking


def still(image: Image, frames: int, rng: np.random.Generator) -> Iterator[Image]:
    """So many frames of a scene in which nothing moves: the first as it is, each of the others with fresh noise."""
    yield image
    for _ in range(frames - 1):
        yield noisy(image, NOISE, rng)


def watch(estimator: PoseEstimator, image: Image, frames: int, rng: np.random.Generator) -> list[list[Look]]:
    """What a search comes to in each of `frames` frames of a still scene."""
    searcher = Searcher(estimator)
    return [searcher.look(frame) for frame in still(image, frames, rng)]


def shown(estimator: PoseEstimator, image: Image, frames: int, rng: np.random.Generator) -> int:
    """In how many frames of a still scene the demo would show somebody."""
    tracker = Tracker(estimator)
    return sum(tracker(frame) is not None for frame in still(image, frames, rng))


def on_somebody(pose: Pose, people: Iterable[Sample]) -> bool:
    """Whether a pose is of one of these people, as far as the boxes around the joints tell."""
    box = box_around(pose)
    others = (Box.around(points(person), MARGIN) for person in people)
    return box is not None and any(overlap(box, other) > RIGHT for other in others)


OUTCOMES = ("right", "elsewhere", "nobody")


def chosen(frames: Iterable[Iterable[Look]], found: float) -> Look | None:
    """The first pose that is at least `found` sure: the one that would be followed."""
    return next((Look(sure, pose) for sure, pose in chain.from_iterable(frames) if sure >= found), None)


def outcome(frames: Iterable[Iterable[Look]], found: float, people: Sequence[Sample]) -> str:
    """Whom the chosen pose shows, one of `OUTCOMES`."""
    look = chosen(frames, found)
    if look is None or look.pose is None:
        return "nobody"
    return "right" if on_somebody(look.pose, people) else "elsewhere"


def shares(seen: Sequence[Seen], found: float, frames: int | None = None) -> dict[str, float]:
    """The share of each outcome among these scenes, over the first frames of each or all."""
    outcomes = [outcome(looks[:frames], found, scene.people) for scene, looks in seen]
    return {kind: outcomes.count(kind) / len(outcomes) for kind in OUTCOMES}


def false(nobody: Sequence[Seen], found: float) -> dict[str, float]:
    """The share of empty scenes that show somebody: in the first frame, which is searched all over, and in any."""
    return {name: 1 - shares(nobody, found, frames)["nobody"] for name, frames in (("first", 1), ("any", None))}


# What is shown and written


def write_sheets(folder: Path, name: str, seen: Sequence[tuple[Scene, Look]], size: int = 192) -> None:
    """NAME.png, or NAME-1.png and so on if it takes several, none of nothing; and the scenes' ids in NAME.txt."""
    (folder / f"{name}.txt").write_text("".join(f"{scene.id}\n" for scene, _ in seen), encoding="utf-8")
    for first in range(0, len(seen), SHEET):
        part = seen[first : first + SHEET]
        tiles = [person_tile(scene.image, look.pose, size) for scene, look in part]
        captions = [
            f"{first + k} {'nobody' if look.pose is None else f'{look.sure:.2f}'}\n{scene.id[-30:]}"
            for k, (scene, look) in enumerate(part)
        ]
        number = f"-{first // SHEET + 1}" if len(seen) > SHEET else ""
        write_sheet(folder / f"{name}{number}.png", contact_sheet(tiles, 8, captions))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, action="append", required=True, metavar="DATA")
    parser.add_argument("--crops", type=Path, action="append", default=[], metavar="DATA")
    parser.add_argument("--empty", type=Path, action="append", default=[], metavar="PICTURES")
    parser.add_argument("--people", type=whole_number, default=60, help="crops of each set of --crops, spread over it")
    parser.add_argument("--repeats", type=whole_number, default=30, help="frames for which a scene is looked at")
    parser.add_argument("--strike", type=Path, metavar="FILE", help="ids of empty scenes that are not")
    parser.add_argument("--weights", type=Path, help="the bundled ones if left out")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    return parser.parse_args(arguments)


def gather(options: argparse.Namespace) -> tuple[list[Scene], list[Scene], int]:
    """Scenes with nobody, scenes with people, and how many were struck off; HgrtError for data that cannot be read."""
    peopled = [scene for people in opened(options.frames, "val") for scene in scenes(people, range(len(people)))]
    crops = []
    for people in opened(options.crops, "train"):
        rows = np.unique(np.linspace(0, len(people) - 1, min(options.people, len(people))).astype(int))
        crops += scenes(people, map(int, rows))
    empty = [part for scene in (*peopled, *crops) for part in empties(scene)]
    empty += [scene for path in options.empty for scene in pictures_of(path)]
    empty += [Scene(f"scenery/{k}", "scenery", picture) for k, picture in enumerate(scenery(20, SEED))]
    empty += made(np.random.default_rng(SEED))
    strike = struck(options.strike)
    for odd in sorted(strike - {scene.id for scene in empty}):
        print(f"Not struck, for there is no such scene: {odd}", file=sys.stderr)
    kept = [scene for scene in empty if scene.id not in strike]
    return kept, peopled, len(empty) - len(kept)


def by_kind(seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    """Scenes by where they are from, and all of them as "all"; {} where there is none."""
    kinds: dict[str, list[Seen]] = {}
    for one in seen:
        kinds.setdefault(one[0].kind, []).append(one)
    return kinds | {"all": list(seen)} if seen else {}


def empty_row(nobody: Sequence[Seen], found: float, counts: Mapping[str, int], repeats: int) -> dict[str, Any]:
    """What is written of empty scenes of one kind. `counts`: the frames of a scene in which the demo shows somebody."""
    return {
        "scenes": len(nobody),
        "false": false(nobody, found),
        "frames_shown": sum(counts[scene.id] for scene, _ in nobody) / (len(nobody) * repeats),
        "confidence": quantiles([surest(frames[0]).sure for _, frames in nobody]),
        "surest": quantiles([surest(chain(*frames)).sure for _, frames in nobody]),
    }


def people_row(somebody: Sequence[Seen], found: float) -> dict[str, Any]:
    """What is written of pictures of people of one kind."""
    sure = quantiles([surest(frames[0]).sure for _, frames in somebody])
    return {"scenes": len(somebody), **shares(somebody, found), "confidence": sure}


def measure(options: argparse.Namespace, estimator: PoseEstimator) -> dict[str, Any]:
    """Search every scene, write the sheets, and say what came of it."""
    empty, peopled, left_out = gather(options)
    found = estimator.backend.info.spec.found
    rng, console = np.random.default_rng(SEED), Console(stderr=True)
    somebody = [(one, watch(estimator, one.image, 1, rng)) for one in track(peopled, "people", console=console)]
    nobody, counts = [], {}
    for scene in track(empty, "empty", console=console):
        looks = watch(estimator, scene.image, options.repeats, rng)
        nobody.append((scene, looks))
        alarm = outcome(looks, found, ()) != "nobody"
        counts[scene.id] = shown(estimator, scene.image, options.repeats, rng) if alarm else 0
    write_looks(options.out, nobody, somebody, found)
    return {
        "thresholds": {"found": found, "kept": KEPT},
        "repeats": options.repeats,
        "struck": left_out,
        "empty": {kind: empty_row(of, found, counts, options.repeats) for kind, of in by_kind(nobody).items()},
        "people": {kind: people_row(of, found) for kind, of in by_kind(somebody).items()},
        "by_threshold": [{"found": one, "false": false(nobody, one), **shares(somebody, one)} for one in THRESHOLDS],
        "each": {
            scene.id: [round(surest(frames[0]).sure, 3), round(surest(chain(*frames)).sure, 3)]
            for scene, frames in (*nobody, *somebody)
        },
    }


def write_looks(folder: Path, nobody: Sequence[Seen], somebody: Sequence[Seen], found: float) -> None:
    """The sheets: all empty scenes, those with a false alarm, and those with people by what was found."""
    folder.mkdir(parents=True, exist_ok=True)
    best = [(scene, surest(chain(*frames))) for scene, frames in nobody]
    alarms = [(scene, look) for scene, look in best if look.sure >= found]
    write_sheets(folder, "alarms", alarms)
    write_sheets(folder, "empty", [(scene, surest([])) for scene, _ in nobody], 128)
    for name, kind in zip(("found", "elsewhere", "missed"), OUTCOMES, strict=True):
        seen = [one for one in somebody if outcome(one[1], found, one[0].people) == kind]
        of = [(scene, chosen(frames, found) or surest(frames[0])) for scene, frames in seen]
        write_sheets(folder, name, of)


def tables(result: Mapping[str, Any]) -> list[Table]:
    """For the terminal: empty scenes and people by kind, and both by threshold; shares in percent."""
    found, repeats = result["thresholds"]["found"], result["repeats"]
    empty = _table(f"found from {found}", "nobody there", "scenes", *FALSE, f"of {repeats} frames", *LEVELS_SHOWN)
    people = _table("", "people", "pictures", *OUTCOMES, *LEVELS_SHOWN)
    sweep = _table("by threshold", "found", *FALSE, *OUTCOMES)
    for kind, one in result["empty"].items():
        shares_of = [*one["false"].values(), one["frames_shown"]]
        empty.add_row(kind, str(one["scenes"]), *map(_percent, shares_of), *_sure(one["surest"]))
    for kind, one in result["people"].items():
        people.add_row(kind, str(one["scenes"]), *(_percent(one[of]) for of in OUTCOMES), *_sure(one["confidence"]))
    for row in result["by_threshold"]:
        shares_of = [*row["false"].values(), *(row[of] for of in OUTCOMES)]
        sweep.add_row(f"{row['found']:.2f}", *map(_percent, shares_of))
    return [empty, people, sweep]


FALSE = ("false at first", "false in any")
LEVELS_SHOWN = ("p5", "p50", "p95", "p99")


def _table(title: str, first: str, *others: str) -> Table:
    made = Table(first, box=None, header_style="dim", title=title or None)
    for name in others:
        made.add_column(name, justify="right")
    return made


def _sure(confidence: Mapping[str, float]) -> list[str]:
    return [f"{confidence[level]:.2f}" for level in LEVELS_SHOWN]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the JSON and the sheets. The exit code."""
    options = parse(arguments)
    cv2.setNumThreads(1)
    try:
        with PoseEstimator(options.weights) as estimator, written_whole(options.out / "nobody.json") as path:
            result = provenance("nobody", arguments, estimator.backend.info) | measure(options, estimator)
            write_json(path, result)
    except HgrtError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    console = Console(highlight=False, width=WIDTH)
    for one in tables(result):
        console.print(one)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
