"""What a user would pick instead of hgrt, on the same pictures, machine and minutes: time and accuracy side by side.

    python benchmarks/peers.py --out docs/results/peers-cpu.json --python mediapipe=VENV/bin/python --data DATA
    python benchmarks/peers.py --only 'openvino*,torch' --seconds 2 --rounds 2

Time is from a whole frame of the bundled film in memory to joints in memory. A round gives every peer a process of its
own (`peers_worker.py`); these then take turns, a block of frames each, in an order drawn anew, and each block is
compared with hgrt's in the same turn. PCKh@0.5 is over the twelve joints of the limbs, which all peers know; where in
the body these lie, each has learnt from labels of its own. The film is drawn, so `--data` adds photos: everybody sees
the labelled person's square, cut out. A peer that cannot run is a row that says why.

Exit codes: 0, 1 hgrt itself did not run, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from peers_worker import FILM, LIMBS, PEERS, REFERENCE, Given, Image, Xy

from hgrt.bench.conditions import Watcher
from hgrt.bench.machine import describe
from hgrt.bench.parity import agreement
from hgrt.bench.people import bundled_film
from hgrt.bench.statistics import ratio, spread
from hgrt.data.find import open_sets
from hgrt.data.sample import People
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.export import write_json
from hgrt.evaluation.predict import Predictions
from hgrt.files import check_writable, written_whole
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Box, apply, warp

HERE = Path(__file__).resolve().parent
PACKAGES = ("hgrt", "numpy", "onnxruntime")  # those of the peers stand in their rows
FOREIGN = ("mediapipe", "rtmlib")  # peers that know nothing of hgrt
SPLIT = "val"
PEOPLE = 300  # at most, of a set, spread over it
LARGEST = 512  # pixels of a photo's side
BLOCK_S, WARM_S = 0.5, 2.0
OPEN_LIMIT_S, ANSWER_LIMIT_S, BLOCK_LIMIT_S = 300.0, 900.0, 60.0
FAR = 1e6  # pixels
SEED = 0  # of the order in which peers take turns


class PeerError(Exception):
    """A peer that cannot answer any more, and why."""


@dataclass(slots=True)
class Record:
    """What came of a peer. Milliseconds: to open and to first answer, a process; blocks[process][turn][call];
    answers[set] are (N, 16, 2) joints, `times[set]` of each."""

    failed: str = ""
    about: str = ""
    starts: list[tuple[float, float]] = field(default_factory=list)
    blocks: list[list[list[float]]] = field(default_factory=list)
    answers: dict[str, Xy] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)


class Worker:
    """A peer in its own process, asked one thing at a time."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        self._log = folder / f"{name}.log"
        # A compiler that finds its last work done would make the next start look quick.
        cache = tempfile.mkdtemp(dir=folder)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / "peers_worker.py"), name, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
            )
        self._stdin, self._stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def ask(self, words: str, limit_s: float) -> dict[str, Any]:
        """Its answer; `PeerError` where there is none within the limit."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(limit_s, stop)
        timer.start()
        answer = ""
        try:
            with suppress(BrokenPipeError):  # it is dead: said below
                self._stdin.write(words + "\n")
                self._stdin.flush()
                answer = self._stdout.readline()
        finally:
            timer.cancel()
        if not answer:
            raise PeerError(f"not done after {limit_s:.0f} s" if late.is_set() else self._last_words())
        said: dict[str, Any] = json.loads(answer)
        if "failed" in said:
            raise PeerError(said["failed"])
        return said

    def close(self) -> None:
        """End it and all that it has started."""
        self._kill()
        with suppress(BrokenPipeError), self._process:
            pass

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"ended with {self._process.wait()}: {lines[-1][:300]}"


def film(folder: Path) -> Predictions:
    """The bundled film written out for the peers, and its labels; squares are drawn around the true joints."""
    people = bundled_film()
    samples = [people.get(number) for number in range(len(people))]
    return _written(
        folder,
        FILM,
        [one.image for one in samples],
        [one.box for one in samples],
        np.stack([one.joints for one in samples]),
        np.stack([one.evaluate for one in samples]),
        np.array([one.normalize for one in samples]),
    )


def photos(folder: Path, people: People) -> Predictions:
    """The squares of a set's people written out for the peers, and their labels in pixels of these squares."""
    numbers = np.linspace(0, len(people) - 1, min(len(people), PEOPLE)).round().astype(int)
    samples = [sample for number in numbers if not (sample := people.get(int(number))).empty]
    sides = [min(LARGEST, round(sample.box.side)) for sample in samples]
    affines = [sample.box.to_crop(side) for sample, side in zip(samples, sides, strict=True)]
    return _written(
        folder,
        people.name.replace("/", "-"),
        [warp(one.image, affine, side) for one, affine, side in zip(samples, affines, sides, strict=True)],
        [Box.whole(side, side) for side in sides],
        np.stack([apply(affine, one.joints) for one, affine in zip(samples, affines, strict=True)]),
        np.stack([one.evaluate for one in samples]),
        np.array([one.normalize * side / one.box.side for one, side in zip(samples, sides, strict=True)]),
    )


def _written(
    folder: Path, name: str, pictures: list[Image], boxes: list[Box], truth: Xy, counted: NDArray[np.bool_], heads: Xy
) -> Predictions:
    """Pictures and boxes as `peers_worker` reads them; what is known of them as predictions that nobody has made."""
    (folder / name).mkdir()
    for number, picture in enumerate(pictures):
        np.save(folder / name / f"{number:05}.npy", picture)
    places = np.array([(box.cx, box.cy, box.side) for box in boxes])
    np.save(folder / f"{name}-boxes.npy", places)
    nowhere = np.full_like(truth, np.nan)
    names = tuple(str(number) for number in range(len(pictures)))
    rows, scores = np.arange(len(pictures)), np.zeros(truth.shape[:2])
    return Predictions(name, names, rows, nowhere, scores, truth, counted, counted, counted, heads, places)


def measure(names: Sequence[str], options: argparse.Namespace, folder: Path, sets: Sequence[str]) -> dict[str, Record]:
    """Every peer in every round. The first round also has them answer all pictures of all sets."""
    records = {name: Record() for name in names}
    draw = random.Random(SEED)
    for turn in range(options.rounds):
        workers: dict[str, Worker] = {}
        try:
            for name in draw.sample(names, len(names)):
                if not records[name].failed:
                    print(f"round {turn + 1} of {options.rounds}: {name}", flush=True)
                    python = options.python.get(name.partition("-")[0], sys.executable)
                    workers[name] = Worker(name, python, folder)
                    wanted = [one for one in sets if one == FILM or not PEERS[name].film] if turn == 0 else []
                    _step(workers, records, name, partial(_begin, folder=folder, sets=wanted))
            for _ in range(max(1, round(options.seconds / BLOCK_S))):
                for name in draw.sample(sorted(workers), len(workers)):
                    _step(workers, records, name, _time)
        finally:
            for worker in workers.values():
                worker.close()
    return records


def _step(
    workers: dict[str, Worker], records: Mapping[str, Record], name: str, step: Callable[[Worker, str, Record], None]
) -> None:
    """One step of a peer; one that cannot do it is out."""
    try:
        step(workers[name], name, records[name])
    except PeerError as error:
        records[name].failed = str(error)
        workers.pop(name).close()
        print(f"{name}: {error}", flush=True)


def _begin(worker: Worker, name: str, record: Record, folder: Path, sets: Sequence[str]) -> None:
    said = worker.ask("open", OPEN_LIMIT_S)
    record.about = said["about"]
    record.starts.append((said["open"], said["first"]))
    for one in sets:
        record.times[one] = worker.ask(f"answer {one}", ANSWER_LIMIT_S)["times"]
        record.answers[one] = np.load(folder / f"{name}-{one}.npy")
    worker.ask(f"block {WARM_S}", BLOCK_LIMIT_S)
    record.blocks.append([])


def _time(worker: Worker, name: str, record: Record) -> None:
    record.blocks[-1].append(worker.ask(f"block {BLOCK_S}", BLOCK_LIMIT_S)["times"])


def score(labels: Predictions, theirs: Xy, ours: Xy, spec: ModelSpec, same: bool) -> dict[str, Any]:
    """How right joints `ours` (N, 16, 2) are, and against `theirs`: what a row says of a set.

    pckh_12   percent of the limbs' joints; `pckh_14` of all that the standard protocol counts, where they were found
    drop      points of `pckh_12` less than `theirs`, with the interval when people are drawn again
    nobody    pictures in which no joint was found
    shift_px  how far joints lie from `theirs`, pixels of the network's crop; only for the same network (`same`)
    """
    limbs = replace(labels, evaluate=labels.evaluate & np.isin(np.arange(labels.evaluate.shape[1]), LIMBS))
    found = agreement([_answered(limbs, theirs)], [_answered(limbs, ours)], spec)
    answered = _answered(labels, ours)
    total, seen = answered.pckh().total, answered.score > 0
    return {
        "pckh_12": found.pckh,
        "pckh_14": 100 * total.rate if seen.all(axis=1).any() and total.count else None,
        "drop": asdict(found.drop) if found.drop else None,
        "nobody": int((~seen.any(axis=1)).sum()),
        "shift_px": {"p50": found.shift_p50, "p99": found.shift_p99, "max": found.shift_max} if same else None,
    }


def _answered(labels: Predictions, xy: Xy) -> Predictions:
    """A joint that was not found lies nowhere near any, rather than nowhere: no place has a distance to that."""
    score = np.asarray(np.isfinite(xy).all(axis=2), dtype=np.float64)
    return replace(labels, xy=np.nan_to_num(xy, nan=FAR), score=score)


def row(
    name: str, record: Record, against: Record, labels: Mapping[str, Predictions], spec: ModelSpec
) -> dict[str, Any]:
    """What is written of a peer: milliseconds, and its answers to each set against hgrt's.

    The `time` is of the film, in turns with the others; the `p50` of a set of photos is of one pass alone.
    """
    known = {"name": name, "what": PEERS[name].what, "about": record.about}
    if record.failed:
        return known | {"failed": record.failed}
    opened, first = np.median(record.starts, axis=0)
    medians, others = (
        [[float(np.median(block)) for block in blocks] for blocks in one.blocks] for one in (record, against)
    )
    return known | {
        "start": {"open": opened, "first": first},
        "time": asdict(spread([call for blocks in record.blocks for block in blocks for call in block])),
        "ratio": asdict(ratio(medians, others)) if len(medians) > 1 and record is not against else None,
        "sets": {
            one: score(labels[one], against.answers[one], xy, spec, PEERS[name].same)
            | ({} if one == FILM else {"p50": float(np.median(record.times[one]))})
            for one, xy in record.answers.items()
        },
    }


def table(rows: Sequence[Mapping[str, Any]], sets: Sequence[str]) -> str:
    """Time and start of each peer and PCKh on each set, then those that did not run."""
    lines = [["", "p50 ms", "p90", "p99", "times hgrt", "start s", "shift p99 px", *sets]]
    for one in rows:
        if "failed" not in one:
            pace = "{value:.2f} ({low:.2f}-{high:.2f})".format(**one["ratio"]) if one["ratio"] else "-"
            shift = one["sets"][FILM]["shift_px"]
            start = f"{sum(one['start'].values()) / 1e3:.1f}"
            right = [one["sets"].get(name, {}).get("pckh_12") for name in sets]
            cells = [one["name"], *(f"{one['time'][part]:.1f}" for part in ("p50", "p90", "p99")), pace, start]
            cells += ["-" if shift is None else f"{shift['p99']:.2f}"]
            lines.append(cells + ["-" if value is None else f"{value:.1f}" for value in right])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join(map(str.rjust, line, widths)) for line in lines]
    return "\n".join(texts + [f"{one['name']}: {one['failed']}" for one in rows if "failed" in one])


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="A,B", help="these peers, and hgrt; * stands for anything")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PEER=PATH", help="mediapipe's or rtmlib's own"
    )
    parser.add_argument("--models", type=Path, help="folder with a model of RTMPose, rtm*.onnx")
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled photos, their val split")
    parser.add_argument("--seconds", type=float, default=6, help="of each peer in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    patterns = options.only.split(",")
    for pattern in patterns:
        if not fnmatch.filter(PEERS, pattern):
            parser.error(f"there is no peer {pattern}; known: {', '.join(PEERS)}")
    options.names = [name for name in PEERS if name == REFERENCE or any(fnmatch.fnmatch(name, p) for p in patterns)]
    options.python = dict(text.split("=", 1) if "=" in text else (text, "") for text in options.python)
    for name, path in options.python.items():
        if name not in FOREIGN or not Path(path).is_file():
            parser.error(f"--python takes {' or '.join(FOREIGN)}=PATH of an interpreter, not {name}={path}")
    if options.models and not options.models.is_dir():
        parser.error(f"--models: there is no folder {options.models}")
    if options.rounds < 1 or not options.seconds > 0:
        parser.error("--rounds is at least 1, --seconds is positive")
    return options


def said(options: argparse.Namespace) -> str:
    """The command without the places that only this machine has."""
    words = ["python", "benchmarks/peers.py", "--seconds", f"{options.seconds:g}", "--rounds", str(options.rounds)]
    words += ["--only", options.only] * (options.only != "*")
    words += [word for path in options.data for word in ("--data", path.name)]
    words += [word for name in options.python for word in ("--python", f"{name}=PYTHON")]
    return shlex.join(words + ["--models", "MODELS"] * (options.models is not None))


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Prepare, measure, and say what came of it; HgrtError for data that cannot be read, `PeerError` if hgrt fails."""
    with PoseEstimator() as estimator:
        spec = estimator.backend.info.spec
    models = str(options.models.resolve()) if options.models else ""
    (folder / "given.json").write_text(json.dumps(asdict(Given(spec.input, spec.crop, models))), encoding="utf-8")
    sets = [film(folder)]
    if options.data:
        sets += [photos(folder, people) for people in open_sets(options.data, SPLIT, print)]
    labels = {one.set: one for one in sets}
    watcher, spent = Watcher(), sum(os.times()[:4])
    records = measure(options.names, options, folder, list(labels))
    conditions = watcher.finish(sum(os.times()[:4]) - spent)
    against = records[REFERENCE]
    if against.failed:
        raise PeerError(against.failed)
    return {
        "command": said(options),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(describe()) | {"versions": {name: version(name) for name in PACKAGES}},
        "conditions": asdict(conditions),
        "pictures": {name: len(one) for name, one in labels.items()},
        "rows": [row(name, record, against, labels, spec) for name, record in records.items()],
    }


def main(arguments: Sequence[str]) -> int:
    """Measure and print; one JSON file if asked for. The exit code."""
    options = parse(arguments)
    try:
        if options.out is not None:
            check_writable(options.out)
        with tempfile.TemporaryDirectory() as folder:
            result = run(options, Path(folder))
        if options.out is not None:
            with written_whole(options.out) as partial_file:
                write_json(partial_file, result)
    except HgrtError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except PeerError as error:
        print(f"hgrt itself cannot run: {error}", file=sys.stderr)
        return 1
    print()
    print(table(result["rows"], list(result["pictures"])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
