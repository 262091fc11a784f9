"""Sheets of clips to judge by eye: what `hgrt demo` finds in them, 24 frames evenly spread, cut out around the person.

    python benchmarks/clips.py CLIP... --weights WEIGHTS --out FOLDER --every auto --columns 6

A clip is whatever `hgrt demo --source` takes that ends. It runs through the demo's own loop, with its search, following
and smoothing. Each frame shown has its number and the pose's confidence below it, hollow joints where the network is
unsure; where nobody was found it is the whole frame. FOLDER gets CLIP.png of each, and clips.json: in how many frames
somebody was found, how surely, in which frames nobody was, and where the box jumped to another place.

Exit codes: 0, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from hgrt.bench.machine import describe
from hgrt.cli.demo import draw_nothing
from hgrt.draw import shown, sure
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.export import write_json
from hgrt.evaluation.sheet import contact_sheet, tile, write_sheet
from hgrt.files import sha256, written_whole
from hgrt.live.clock import Stopwatch
from hgrt.live.loop import run
from hgrt.live.person import Tracker
from hgrt.live.sink import Sink
from hgrt.live.smooth import OneEuro
from hgrt.live.source import Frame, open_source
from hgrt.pose.geometry import Box, Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII
from hgrt.runtime.base import BackendInfo

LEVELS = (5, 25, 50, 75, 95, 99)
WIDTH = 120  # of what is printed, also where there is no terminal
SHOWN = 24  # frames of a clip, where nothing else is asked for
JUMP = 0.3  # boxes of one frame and the next that overlap less are of two places


# What the other measurements of a camera use too


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two squares."""
    sides = [
        min(p + a.side / 2, q + b.side / 2) - max(p - a.side / 2, q - b.side / 2)
        for p, q in ((a.cx, b.cx), (a.cy, b.cy))
    ]
    both = max(0.0, sides[0]) * max(0.0, sides[1])
    return both / (a.side**2 + b.side**2 - both)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The percentiles `LEVELS` by their names, {} of nothing."""
    found = np.percentile(values, LEVELS) if len(values) else ()
    return {f"p{level}": round(float(value), 4) for level, value in zip(LEVELS, found, strict=len(values) > 0)}


def person_tile(image: Image, pose: Pose | None, size: int = 256) -> Image:
    """The part of a picture around a pose, with its joints, or the whole picture where there is none."""
    if pose is None:
        nothing = np.zeros(len(MPII), bool)
        whole = Box.whole(image.shape[1], image.shape[0])
        return tile(image, whole, np.zeros((len(MPII), 2)), nothing, nothing, size=size)
    return tile(image, pose.box, pose.xy, shown(pose.xy, pose.score), sure(pose), size=size)


def provenance(script: str, arguments: Sequence[str], info: BackendInfo) -> dict[str, Any]:
    """Where a result is from: the command without the places that only this machine has, the machine, the weights."""
    words = [Path(word).name if "/" in word else word for word in arguments]
    packages = {name: version(name) for name in ("hgrt", "numpy", "opencv-python", "onnxruntime")}
    return {
        "command": shlex.join(["python", f"benchmarks/{script}.py", *words]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(describe()) | {"versions": packages},
        "weights": {"file": info.weights.name, "sha256": sha256(info.weights), "runtime": str(info)},
    }


def whole_number(text: str) -> int:
    """A number from 1 up, as argparse wants it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up")
    return int(text)


# Clips


def spread_over(frames: int, shown: int = SHOWN) -> set[int]:
    """The numbers of `shown` frames, or all where there are fewer, evenly spread from the first to the last."""
    return {int(k) for k in np.linspace(0, frames - 1, min(frames, shown)).round()}


def stretches(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of those that follow one another."""
    runs = [[k for _, k in group] for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return [(one[0], one[-1]) for one in runs]


def jumps(boxes: Sequence[Box | None]) -> list[int]:
    """Numbers of the frames whose box is elsewhere than that of the frame before, where both have one."""
    return [k + 1 for k, (old, new) in enumerate(pairwise(boxes)) if old and new and overlap(old, new) < JUMP]


@dataclass(slots=True)
class Album(Sink):
    """Keeps the tiles of the frames in `wanted`, and of every frame how sure the pose is and where its box.

    `continuous`: frames follow one another, so that a box may jump.
    """

    wanted: set[int]
    continuous: bool = True
    tiles: list[Image] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    sure: list[float | None] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        self.sure.append(pose.confidence if pose else None)
        self.boxes.append(pose.box if pose else None)
        if frame.index in self.wanted:
            self.tiles.append(person_tile(drawn, pose))
            self.captions.append(f"frame {frame.index}   " + (f"{pose.confidence:.2f}" if pose else "nobody"))

    def result(self) -> dict[str, Any]:
        """What is written of a clip."""
        found = [one for one in self.sure if one is not None]
        return {
            "frames": len(self.sure),
            "found": len(found),
            "confidence": quantiles(found),
            "nobody": stretches(k for k, one in enumerate(self.sure) if one is None),
            "jumps": jumps(self.boxes) if self.continuous else [],
        }


def look_at(clip: str, estimator: PoseEstimator, every: int | None) -> Album:
    """One clip through the demo's loop; tiles of every so many frames, None for a few evenly spread."""
    with open_source(clip) as source:
        if source.live:
            raise HgrtError(f"{clip} has no end.", "A sheet is of a whole clip.", "Record it with hgrt demo first.")
        frames = sum(1 for _ in source)  # what a file says of its length is often wrong
    with open_source(clip) as source:
        album = Album(set(range(0, frames, every)) if every else spread_over(frames), source.continuous)
        run(source, Tracker(estimator), [album], draw_nothing, Stopwatch(), OneEuro())
        return album


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", metavar="CLIP")
    parser.add_argument("--weights", type=Path, help="the bundled ones if left out")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--every", type=_every, metavar="N", help=f"every N-th frame; auto: {SHOWN} of the whole clip")
    parser.add_argument("--columns", type=whole_number, default=6)
    options = parser.parse_args(arguments)
    names = [Path(clip).stem for clip in options.clips]
    if len(set(names)) < len(names):
        parser.error("two clips have the same name: their sheets would, too")
    return options


def _every(text: str) -> int | None:
    return None if text == "auto" else whole_number(text)


def main(arguments: Sequence[str]) -> int:
    """Run, print, and write the sheets and the JSON. The exit code."""
    options = parse(arguments)
    cv2.setNumThreads(1)
    table = Table("clip", "frames", "found", "p5", "p50", "p95", "jumps", "nobody in", box=None, header_style="dim")
    results = {}
    try:
        with PoseEstimator(options.weights) as estimator:
            for clip in options.clips:
                album = look_at(clip, estimator, options.every)
                name = Path(clip).stem
                options.out.mkdir(parents=True, exist_ok=True)
                write_sheet(options.out / f"{name}.png", contact_sheet(album.tiles, options.columns, album.captions))
                one = results[name] = album.result()
                levels = [f"{one['confidence'][p]:.2f}" if one["confidence"] else "-" for p in ("p5", "p50", "p95")]
                gaps = ", ".join(f"{first}-{last}" for first, last in one["nobody"])
                share = f"{100 * one['found'] / one['frames']:.0f} %"
                table.add_row(name, str(one["frames"]), share, *levels, str(len(one["jumps"])), gaps)
            with written_whole(options.out / "clips.json") as path:
                write_json(path, provenance("clips", arguments, estimator.backend.info) | {"clips": results})
    except HgrtError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    Console(highlight=False, width=WIDTH).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
