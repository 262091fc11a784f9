"""The command line of `python -m hgrt.data.mannequin`: photographs of mannequins as a packed data set.

    python -m hgrt.data.mannequin --count 6000 --data DATA --poses DATA/mpii/poses.npz --out DATA/mannequin

`--data` are sets whose pictures of the split `train` stand behind people and on their clothes; `--poses` is a file of
MPII's joints (.npz with `part` and `label`, and `is_valid_image`, whose people are left out). Without both, stances and
surroundings are drawn. What is there when it is stopped is a data set, too. Exit codes: 0, 2 bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import active_children
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from hgrt.data.find import open_sets
from hgrt.data.mannequin.scene import Poses, photographed
from hgrt.errors import EXIT_INTERRUPTED, HgrtError
from hgrt.files import check_writable, unwritable, written_whole
from hgrt.pose.geometry import Image
from hgrt.pose.skeleton import MPII
from hgrt.require import require

SHEAF = 100  # pictures that are made and written together
BEHIND = 600  # pictures of others that are kept at hand
QUALITY = 90

Sheaf = tuple[list[tuple[str, bytes]], dict[str, list[Any]]]


@cache
def _poses(path: Path | None) -> Poses:
    if path is None:
        return Poses(np.zeros((0, 16, 2)), np.zeros((0, 16), bool))
    try:
        with np.load(path, allow_pickle=False) as file:
            joints, known = file["part"], file["label"] > 0
            left_out = file["is_valid_image"] > 0 if "is_valid_image" in file else np.zeros(len(joints), bool)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise HgrtError(
            f"{path} holds no poses.", "It must be a .npz file with `part` (N, 16, 2) and `label` (N, 16)."
        ) from error
    if joints.ndim != 3 or joints.shape[1:] != (16, 2) or known.shape != joints.shape[:2]:
        raise HgrtError(f"{path} holds no poses.", f"`part` has the shape {joints.shape}, not (N, 16, 2).")
    return Poses(joints[~left_out], known[~left_out])


@cache
def _pictures(paths: tuple[Path, ...], seed: int) -> list[Image]:
    """Up to BEHIND pictures of the people to learn from."""
    if not paths:
        return []
    sets = open_sets(paths, "train")
    rng = np.random.default_rng(seed)
    share = -(-BEHIND // len(sets))
    return [
        people.get(int(index)).image
        for people in sets
        for index in rng.choice(len(people), min(share, len(people)), replace=False)
    ]


def sheaf(
    number: int, count: int, seed: int, poses: Path | None, data: tuple[Path, ...], away: float, reach: float
) -> Sheaf:
    """`count` pictures as JPEG with their names, and the fields of their people; the same for the same numbers."""
    cv2.setNumThreads(1)
    require("torch", "mannequin").set_num_threads(1)
    jpegs: list[tuple[str, bytes]] = []
    rows: dict[str, list[Any]] = {
        name: [] for name in ("imgname", "part", "label", "visible", "evaluate", "center", "scale", "normalize")
    }
    for index in range(number * SHEAF, number * SHEAF + count):
        rng = np.random.default_rng([seed, index])
        picture, people = photographed(rng, _poses(poses), _pictures(data, seed), away, reach)
        name = f"{seed}-{index:06d}.jpg"
        jpegs.append((name, cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()))
        for person in people:
            label = person.labelled.astype(np.uint8)
            label[[6, 7]] *= 2  # half way between others
            rows["imgname"].append(name)
            rows["part"].append(np.where(label[:, None] > 0, person.joints, 0))
            rows["label"].append(label)
            rows["visible"].append(person.visible.astype(np.uint8))
            rows["evaluate"].append((label == 1).astype(np.uint8))
            rows["center"].append([person.box.cx, person.box.cy])
            rows["scale"].append(person.box.side / 200)
            rows["normalize"].append(person.normalize)
    return jpegs, rows


def write(out: Path, sheaves: Iterator[Sheaf]) -> Iterator[int]:
    """Write sheaves as the split `train` of a packed set in `out`, whole after each; how many people there are then."""
    h5py = require("h5py", "data")
    everyone: dict[str, list[Any]] = {}
    tars: list[str] = []
    for jpegs, rows in sheaves:
        tars.append(f"train_{len(tars)}.tar")
        with written_whole(out / tars[-1]) as scratch, tarfile.open(scratch, "w") as tar:
            for name, jpeg in jpegs:
                info = tarfile.TarInfo(name)
                info.size = len(jpeg)
                tar.addfile(info, io.BytesIO(jpeg))
        for field, values in rows.items():
            everyone.setdefault(field, []).extend(values)
        with written_whole(out / "train.h5") as scratch, h5py.File(scratch, "w") as file:
            file.attrs["tars"] = ",".join(tars)
            file.attrs["joint_names"] = ",".join(MPII.joints)
            for field, values in everyone.items():
                if field == "imgname":
                    file.create_dataset(field, data=np.array(values, dtype="S"))
                else:
                    file.create_dataset(field, data=np.array(values))
        yield len(everyone["imgname"])


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hgrt.data.mannequin", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new set")
    parser.add_argument("--count", type=int, default=6000, help="pictures")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="sets whose pictures stand behind people")
    parser.add_argument("--poses", type=Path, help="MPII's joints, a .npz file")
    parser.add_argument("--away", type=float, default=0.0, help="share turned around of those who face the camera")
    parser.add_argument("--reach", type=float, default=0.0, help="share with a hand at the own face or trunk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except HgrtError as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    from hgrt.data.mannequin.rig import mesh

    if options.count < 1 or options.jobs < 1 or options.seed < 0:
        raise HgrtError("--count and --jobs must be at least 1, --seed at least 0.")
    for name, share in (("away", options.away), ("reach", options.reach)):
        if not 0 <= share <= 1:
            raise HgrtError(f"--{name} is a share from 0 to 1, not {share:g}.")
    if (options.out / "train.h5").exists():
        raise HgrtError(
            f"{options.out} already holds people.", "Nothing is written over.", "Give another folder to --out."
        )
    data = tuple(options.data)
    _poses(options.poses)
    _pictures(data, options.seed)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(options.out, error) from error
    check_writable(options.out / "train.h5")
    mesh()  # what Anny computes once a machine, it computes once
    sizes = [min(SHEAF, options.count - start) for start in range(0, options.count, SHEAF)]
    with ProcessPoolExecutor(options.jobs) as pool:
        how = (options.seed, options.poses, data, options.away, options.reach)
        jobs = [pool.submit(sheaf, k, n, *how) for k, n in enumerate(sizes)]
        try:
            for done, people in enumerate(write(options.out, (job.result() for job in jobs)), 1):
                print(f"{min(done * SHEAF, options.count):,} pictures, {people:,} people", flush=True)
        except BrokenProcessPool as error:
            raise HgrtError(
                "A process of the making ended.", "It may have run out of memory.", "Try --jobs 1."
            ) from error
        except KeyboardInterrupt:
            for child in active_children():
                child.terminate()
            print("Stopped. What is there is a set, too.", file=sys.stderr)
            return EXIT_INTERRUPTED
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
