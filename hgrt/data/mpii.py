"""Reader of MPII Human Pose: three forms of its annotations that give the same samples, and a folder of pictures.

    .h5    the split files of the published hourglass training: train.h5, valid.h5, test.h5
    .mat   the official file, mpii_human_pose_v1_u12_1.mat, which holds all splits (`mpii_mat`)
    .json  the split files of HRNet and its kin: train.json, valid.json, test.json

The numbers are those of the published h5 files, whatever the form: the box is MPII's, a quarter larger and lower by 15
times MPII's scale; the head size is 20 times the scale of that box (0.6 x the diagonal of MPII's head box); positions
are whole pixels, cut off towards zero. They are not shifted by a pixel either, though MPII counts from 1: the published
training and its evaluation did not, and figures compare only if all forms agree. A joint is labelled where its x is
not 0, as in the published evaluation.

Two limits: the json tells what is labelled but not what is hidden, so all that is labelled there is called visible; and
nobody in a test split is labelled, whatever the file holds, since MPII keeps those labels to itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.data.files_people import missing_images, read_image
from hgrt.data.sample import JOINTS, Missing, People, Sample, Split
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Array, Box
from hgrt.require import require

MAT, MAT_FOLDER = "mpii_human_pose_v1_u12_1.mat", "mpii_human_pose_v1_u12_2"  # the folder is what its zip unpacks to
STEMS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}  # what the files of a split are called
OFFICIAL = {"train": ("training", 22_246), "val": ("validation", 2_958)}  # people
H5_FIELDS = ("imgname", "part", "visible", "center", "scale", "normalize")
JSON_FIELDS = ("image", "center", "scale")  # and joints, joints_vis in all but the test split
HEAD = 20.0  # head size in pixels = this x scale
PICTURES = "They are at human-pose.mpi-inf.mpg.de (mpii_human_pose_v1.tar.gz, 12.9 GB)"


@dataclass(frozen=True, slots=True)
class Annotations:
    """N people as an annotation file has them, in the numbers of the published h5 files.

    names      (N,) str, file names of the pictures
    joints     (N, 16, 2) float64, image pixels
    labelled   (N, 16) bool
    visible    (N, 16) bool, only where labelled
    center     (N, 2) float64, image pixels; NaN or x = -1 where unknown
    scale      (N,) float64, side of the box / 200; not positive or NaN where unknown
    normalize  (N,) float64, head size in pixels
    index      (N,) int64, number of the picture in the official file from 0; None where the form does not tell
    person     (N,) int64, number of the person in that picture from 0; None likewise
    """

    names: NDArray[np.str_]
    joints: Array
    labelled: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    center: Array
    scale: Array
    normalize: Array
    index: NDArray[np.int64] | None = None
    person: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        shapes = [(self.joints, (n, JOINTS, 2)), (self.labelled, (n, JOINTS)), (self.visible, (n, JOINTS))]
        shapes += [(self.center, (n, 2)), (self.scale, (n,)), (self.normalize, (n,))]
        shapes += [(column, (n,)) for column in (self.index, self.person) if column is not None]
        if any(column.shape != shape for column, shape in shapes):
            raise ValueError(f"annotations of {n} people with 16 joints have other shapes")

    def pick(self, keep: NDArray[np.bool_]) -> Annotations:
        """The people where `keep` (N,) is true."""
        return Annotations(
            self.names[keep],
            self.joints[keep],
            self.labelled[keep],
            self.visible[keep],
            self.center[keep],
            self.scale[keep],
            self.normalize[keep],
            None if self.index is None else self.index[keep],
            None if self.person is None else self.person[keep],
        )


class MpiiPeople:
    """The people of one split, their pictures in the folder `images`.

    index   (N,) int64, number of each person's picture in `RELEASE.annolist` from 0, or None where the form has none
    person  (N,) int64, number of the person in that picture's `annorect` from 0, or None
    note    how many people of how many pictures, what that is, and who was left out
    absent  people left out for want of their picture; always 0 unless `missing` is "skip"

    People without a scale or a centre are left out. HgrtError where pictures are absent, unless `missing` is "skip" and
    some are there.
    """

    def __init__(self, name: str, annotations: Annotations, images: Path, missing: Missing = "refuse") -> None:
        self.name = name
        total = len(annotations.names)
        with_box = np.isfinite(annotations.center).all(axis=1) & (annotations.center[:, 0] != -1)
        rows = annotations.pick(with_box & np.isfinite(annotations.scale) & (annotations.scale > 0))
        boxless = total - len(rows.names)
        if not len(rows.names):
            raise HgrtError(
                f"There is nobody in {name}.", f"Its annotations have {total} people, {boxless} without box."
            )
        gone = _absent(name, rows.names, images, missing)
        kept = rows.pick(~np.isin(rows.names, gone))
        self.absent = len(rows.names) - len(kept.names)
        self.index, self.person = kept.index, kept.person
        self.note = _note(name.rpartition("/")[2], total, kept.names)
        if boxless:
            self.note += f"; left out: {boxless:,} people without scale or centre"
        if self.absent:
            self.note += f"; left out: {self.absent:,} people whose pictures ({len(gone):,}) are not there"
        self._rows, self._images = kept, images

    def __len__(self) -> int:
        return len(self._rows.names)

    def get(self, index: int) -> Sample:
        """Person `index`, the picture read from its file; HgrtError where it is none."""
        rows = self._rows
        file = str(rows.names[index])
        return Sample(
            name=file if rows.person is None else f"{file}#{rows.person[index]}",
            image=read_image(self._images / file),
            joints=rows.joints[index],
            labelled=rows.labelled[index],
            visible=rows.visible[index],
            evaluate=rows.labelled[index],
            box=Box.from_mpii(rows.center[index], float(rows.scale[index])),
            normalize=float(rows.normalize[index]),
        )


def splits(folder: Path, missing: Missing = "refuse") -> dict[str, Split]:
    """The splits of MPII in `folder`, by name (train, val, test), each with its file and what opens it; {} if none.

    Annotations are looked for in `folder/annot` and `folder` (the official file also where its zip puts it), pictures
    in `folder/images`. Where a split stands in several forms the h5 file comes first, then the mat, then the json.
    Only the beginnings of files are read. HgrtError where there are h5 files and no h5py.
    """
    images = folder / "images"
    places = (folder / "annot", folder)
    release = next((place / MAT for place in (*places, folder / MAT_FOLDER) if (place / MAT).is_file()), None)
    opened = None if release is None else cache(partial(_read_mat, release))  # all its splits from one reading
    found: dict[str, Split] = {}
    for split, stems in STEMS.items():
        files = [place / stem for place in places for stem in stems]
        h5 = next((path for file in files if _is_h5(path := file.with_suffix(".h5"), images)), None)
        listed = next((path for file in files if _is_json(path := file.with_suffix(".json"))), None)
        labels = h5 or release or listed
        if labels is None:
            continue
        read: Callable[[], Annotations]
        if h5 is not None:
            read = partial(read_h5, h5, split)
        elif opened is not None:
            read = partial(_of_split, opened, split)
        else:
            read = partial(read_json, labels, split)
        found[split] = Split(labels, partial(_open, f"{folder.absolute().name}/{split}", read, images, missing))
    return found


def mpii_file(path: Path, images: Path | None = None, missing: Missing = "refuse") -> MpiiPeople:
    """The people of one annotation file (.h5, .json, or .mat: its validation split), pictures in `images`.

    Without `images` they are looked for in the folder `images` beside the file, or beside the `annot` that it lies in.
    """
    stem = "val" if path.suffix == ".mat" else path.stem
    split = next((split for split, stems in STEMS.items() if stem in stems), stem)
    home = path.absolute().parent
    if home.name in ("annot", MAT_FOLDER):
        home = home.parent
    if path.suffix == ".mat":
        rows = _read_mat(path)["val"]
    elif path.suffix in (".h5", ".json"):
        rows = (read_h5 if path.suffix == ".h5" else read_json)(path, split)
    else:
        raise HgrtError(f"{path} is no annotation file of MPII.", "Those end in .h5, .mat or .json.")
    return MpiiPeople(f"{home.name}/{split}", rows, images or home / "images", missing)


def read_h5(path: Path, split: str) -> Annotations:
    """An h5 split file of the published training; HgrtError where it is none."""
    h5py = require("h5py", "data")
    try:
        with h5py.File(path, "r") as file:
            lacking = [field for field in H5_FIELDS if field not in file]
            if lacking or "tars" in file.attrs:
                why = (
                    f"It lacks {', '.join(lacking)}."
                    if lacking
                    else "Its pictures are in tar files: it is a packed set."
                )
                raise HgrtError(f"{path} is no annotation file of MPII.", why)
            names = np.asarray(file["imgname"].asstr()[()], dtype=np.str_)
            values = {field: np.asarray(file[field][()], np.float64) for field in H5_FIELDS[1:]}
            numbers = {key: np.asarray(file[key][()]).astype(np.int64) for key in ("index", "person") if key in file}
        # The published conversion writes joint -1 and visibility -1 for people whom nobody annotated.
        labelled = (values["part"][..., 0] != 0) & (values["visible"] >= 0) & (split != "test")
        return Annotations(
            names,
            values["part"],
            labelled,
            labelled & (values["visible"] > 0),
            values["center"],
            values["scale"],
            np.where(values["normalize"] > 0, values["normalize"], HEAD * values["scale"]),  # the test split has -1
            numbers.get("index"),
            numbers.get("person"),
        )
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise HgrtError(f"{path} cannot be read as annotations of MPII.", str(error)) from error


def read_json(path: Path, split: str) -> Annotations:
    """A json split file of HRNet's kind; HgrtError where it is none."""
    try:
        people = json.loads(path.read_bytes())
        if not isinstance(people, list):
            raise HgrtError(f"{path} is no annotation file of MPII.", "It is no list of people.")
        if split == "test" or not any("joints" in person for person in people):
            joints, labelled = np.zeros((len(people), JOINTS, 2)), np.zeros((len(people), JOINTS), bool)
        else:
            joints = np.array([person["joints"] for person in people], np.float64)
            labelled = np.array([person["joints_vis"] for person in people], np.float64) > 0
        return from_mpii(
            np.array([str(person["image"]) for person in people], np.str_),
            joints,
            labelled,
            labelled,
            np.array([person["center"] for person in people], np.float64),
            np.array([person["scale"] for person in people], np.float64),
        )
    except KeyError as error:
        raise HgrtError(f"{path} is no annotation file of MPII.", f"A person in it lacks {error}.") from error
    except (OSError, TypeError, ValueError) as error:
        raise HgrtError(f"{path} cannot be read as annotations of MPII.", str(error)) from error


def from_mpii(
    names: NDArray[np.str_],
    joints: Array,
    labelled: NDArray[np.bool_],
    visible: NDArray[np.bool_],
    objpos: Array,
    scale: Array,
    index: NDArray[np.int64] | None = None,
    person: NDArray[np.int64] | None = None,
) -> Annotations:
    """MPII's own numbers as the published conversion to h5 changes them. Shapes as in `Annotations`."""
    joints = np.trunc(np.where(labelled[..., None], joints, 0.0))
    labelled = labelled & (joints[..., 0] != 0)
    center = objpos + np.stack([np.zeros_like(scale), 15.0 * scale], axis=-1)
    scale = 1.25 * scale
    return Annotations(names, joints, labelled, labelled & visible, center, scale, HEAD * scale, index, person)


def _read_mat(path: Path) -> dict[str, Annotations]:
    from hgrt.data.mpii_mat import read_mat  # brings scipy

    return read_mat(path)


def _of_split(read: Callable[[], dict[str, Annotations]], split: str) -> Annotations:
    return read()[split]


def _open(name: str, read: Callable[[], Annotations], images: Path, missing: Missing) -> People:
    return MpiiPeople(name, read(), images, missing)


def _absent(name: str, names: NDArray[np.str_], images: Path, missing: Missing) -> list[str]:
    """The pictures that are not there; HgrtError where that is too many."""
    wanted = np.unique(names)
    gone = missing_images(images, (str(file) for file in wanted))
    if len(gone) == len(wanted):
        raise HgrtError(
            f"None of the {len(wanted):,} pictures of {name} is in {images}.",
            f"There is no {gone[0]}." if images.is_dir() else f"There is no such folder, so no {gone[0]}.",
            f"{PICTURES}; unpack them so that the pictures lie in {images}.",
        )
    if gone and missing == "refuse":
        raise HgrtError(
            f"{len(gone):,} of the {len(wanted):,} pictures of {name} are not in {images}.",
            f"The first: {', '.join(gone[:3])}",
            f"Complete the folder; hgrt data check lists what is there. {PICTURES}.",
        )
    return gone


def _note(split: str, total: int, names: NDArray[np.str_]) -> str:
    note = f"{len(names):,} people of {np.unique(names).size:,} images"
    if split not in OFFICIAL:
        return note
    title, official = OFFICIAL[split]
    if total != official:
        return f"{note}; the official {title} split has {official:,}"
    return f"{note}{':' if len(names) == total else ' of'} the official {title} split"


def _is_h5(path: Path, images: Path) -> bool:
    """Whether a file is a split file of MPII, and not of a packed set."""
    if not path.is_file():
        return False
    try:
        with require("h5py", "data").File(path, "r") as file:
            return all(field in file for field in H5_FIELDS) and "tars" not in file.attrs
    except OSError:
        return images.is_dir()  # a broken file between pictures is ours to complain of; a packed set has no pictures


def _is_json(path: Path) -> bool:
    """Whether a file begins as a list of people does; COCO's annotations are no list, its results name no image."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(16_384).lstrip()
    try:
        first: Any = json.JSONDecoder().raw_decode(start[1:].lstrip())[0] if start.startswith("[") else None
    except ValueError:
        return False
    return isinstance(first, dict) and all(field in first for field in JSON_FIELDS)
