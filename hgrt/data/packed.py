"""Reader of packed data: JPEGs in uncompressed tar files, annotations in an HDF5 file beside them.

The folder holds an HDF5 file a split, such as `train.h5` and `val.h5`, and the tar files that its attribute `tars`
names. The JPEGs stay compressed in memory: a tar is read once, and a picture is decoded each time it is asked for.
"""

from __future__ import annotations

import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.files_people import AS_STORED
from hgrt.data.sample import JOINTS, Missing, Sample, Split
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII
from hgrt.require import require

FIELDS: dict[str, tuple[int, ...]] = {
    "imgname": (),
    "part": (JOINTS, 2),
    "label": (JOINTS,),
    "visible": (JOINTS,),
    "evaluate": (JOINTS,),
    "center": (2,),
    "scale": (),
    "normalize": (),
}
"""What an annotation file holds, and the shape of each person's share of it."""

OPTIONAL: dict[str, tuple[int, ...]] = {"suspect": ()}
"""What it may hold besides; 0 for everybody where it does not."""


def splits(folder: Path, missing: Missing = "refuse") -> dict[str, Split]:
    """The packed splits in a folder, by the names of their files, each with its file and what opens it; {} if none.

    Only attributes are read. HgrtError where there are .h5 files and h5py is not installed.
    """
    files = [path for path in sorted(folder.glob("*.h5")) if _is_packed(path)]
    return {path.stem: Split(path, partial(PackedPeople, folder, path.stem, missing)) for path in files}


def _is_packed(path: Path) -> bool:
    h5py = require("h5py", "data")
    try:
        with h5py.File(path, "r") as file:
            return "tars" in file.attrs
    except OSError:
        # Opening it will say what is wrong; but where pictures lie about in a folder, it is none of ours.
        return not (path.parent / "images").is_dir()


class PackedPeople:
    """The people of one split of a packed set. HgrtError where files are missing, broken or of another skeleton.

    note    how many people of how many images, and how many were left out
    absent  people left out because no tar file has their picture; always 0 unless `missing` is "skip"
    """

    def __init__(self, folder: Path, split: str, missing: Missing = "refuse") -> None:
        self.name = f"{folder.resolve().name}/{split}"
        annotations = folder / f"{split}.h5"
        if not annotations.is_file():
            raise HgrtError(f"There is no {split} split in {folder}.", f"{annotations} does not exist.")
        rows, tars = _read_annotations(annotations)
        names = rows["imgname"]
        self._jpegs = _read_tars([folder / name for name in tars])
        there = np.array([str(name) in self._jpegs for name in names], dtype=bool)
        gone = np.unique(names[~there])
        if len(gone) and missing == "refuse":
            raise HgrtError(f"{len(gone)} pictures of {annotations} are not in its tar files.", f"First: {gone[0]}")
        self.absent = int((~there).sum())
        self.note = f"{there.sum():,} people of {np.unique(names[there]).size:,} images"
        if self.absent:
            self.note += f"; left out: {self.absent:,} people whose pictures ({len(gone):,}) are not there"
        rows = {field: values[there] for field, values in rows.items()}
        self._names = [str(name) for name in names[there]]
        self._joints = rows["part"].astype(np.float64)
        self._label, self._visible, self._evaluate = rows["label"], rows["visible"] > 0, rows["evaluate"] > 0
        self._center, self._scale = rows["center"].astype(np.float64), rows["scale"].astype(np.float64)
        self._normalize, self._suspect = rows["normalize"].astype(np.float64), rows["suspect"] > 0

    def __len__(self) -> int:
        return len(self._names)

    def get(self, index: int) -> Sample:
        name = self._names[index]
        jpeg = self._jpegs[name]
        image = cv2.imdecode(jpeg, AS_STORED) if len(jpeg) else None
        if image is None:
            raise HgrtError(f"The picture {name} of {self.name} cannot be decoded.")
        return Sample(
            name=name,
            image=np.asarray(image, dtype=np.uint8),
            joints=self._joints[index],
            labelled=self._label[index] > 0,
            visible=self._visible[index],
            evaluate=self._evaluate[index],
            box=Box.from_mpii(self._center[index], float(self._scale[index])),
            normalize=float(self._normalize[index]),
            suspect=np.full(JOINTS, self._suspect[index]),
        )


def _read_annotations(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The fields of all people, and the names of the tar files."""
    h5py = require("h5py", "data")
    try:
        with h5py.File(path, "r") as file:
            missing = [field for field in FIELDS if field not in file]
            if missing:
                raise HgrtError(f"{path} is not a packed data set.", f"It lacks {', '.join(missing)}.")
            if str(file.attrs["joint_names"]) != ",".join(MPII.joints):
                raise HgrtError(f"{path} has another skeleton.", f"Its joints: {file.attrs['joint_names']}")
            present = [field for field in (*FIELDS, *OPTIONAL) if field in file and field != "imgname"]
            rows = {field: np.asarray(file[field][()]) for field in present}
            rows["imgname"] = np.asarray(file["imgname"].asstr()[()], dtype=np.str_)
            tars = str(file.attrs["tars"]).split(",")
    except (OSError, KeyError, TypeError) as error:
        raise HgrtError(f"{path} cannot be read as HDF5.", str(error)) from error
    count = len(rows["imgname"]) if rows["imgname"].ndim else 0
    rows = {field: np.zeros((count, *shape)) for field, shape in OPTIONAL.items()} | rows
    odd = [field for field, shape in (FIELDS | OPTIONAL).items() if rows[field].shape != (count, *shape)]
    if odd:
        raise HgrtError(f"{path} is not a packed data set.", f"{odd[0]} has the shape {rows[odd[0]].shape}.")
    boxed = np.isfinite(rows["center"]).all(axis=1) & np.isfinite(rows["scale"]) & (rows["scale"] > 0)
    if not boxed.all():
        first = int(np.argmin(boxed))
        raise HgrtError(
            f"{(~boxed).sum()} people of {path} have no box.",
            f"First: row {first}, center {rows['center'][first]}, scale {rows['scale'][first]}.",
        )
    return rows, tars


def _read_tars(paths: list[Path]) -> dict[str, NDArray[np.uint8]]:
    jpegs = {}
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    stream = tar.extractfile(member)
                    if stream is not None:
                        jpegs[member.name] = np.frombuffer(stream.read(), dtype=np.uint8)
        except (OSError, tarfile.TarError) as error:
            raise HgrtError(f"{path} cannot be read.", str(error)) from error
    return jpegs
