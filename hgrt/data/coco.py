"""Reader of keypoints in COCO's JSON form: people's own data, and COCO itself, as samples with the sixteen MPII joints.

Joints are taken by the names in the file's `categories`, so twelve joints of COCO, sixteen of MPII or any other choice
will do; what has another name is passed over and listed in `note`. Pelvis and thorax that are not labelled are the
middle of the hips and of the shoulders, as in the packed data. Keypoints count pixels (the centre of the top-left pixel
is (0, 0)), the edges of a bounding box count from the picture's corner: so COCO draws them. Pictures are files in a
folder, decoded when asked for. This module knows no other data set.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.data.files_people import missing_images, read_image
from hgrt.data.head_size import from_body, from_head
from hgrt.data.sample import JOINTS, Missing, Sample, Split
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Array, Box
from hgrt.pose.skeleton import MPII

NAMED = re.compile(r"person_keypoints_(train|val|test)(\d{4})?")
SPLITS = ("train", "val", "test")
LARGEST = 1e6  # pixels; NaN and infinity, which JSON does not have but Python reads, are no less either
DERIVED = (("pelvis", "l_hip", "r_hip"), ("thorax", "l_shoulder", "r_shoulder"))

_SIDES = {"l_": "left_", "r_": "right_"}
_MIDDLE = {  # the first that a set has is taken, so the more exact word stands before the vaguer one
    "upper_neck": ("upper_neck", "head_bottom", "neck"),  # head_bottom: PoseTrack's word for MPII's upper neck
    "head_top": ("head_top", "top_head", "head"),
}
NAMES = {
    joint: (joint, _SIDES[joint[:2]] + joint[2:]) if joint[:2] in _SIDES else _MIDDLE.get(joint, (joint,))
    for joint in MPII.joints
}
"""What each joint may be called, in small letters, with _ between the words."""


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """A category: its number of keypoints, and which of them is which joint (indices into both)."""

    count: int
    keypoints: list[int]
    joints: list[int]


@dataclass(frozen=True, slots=True)
class _Table:
    """The N people of a file: `picture` (N,) counts in `files`, `keypoints` (N, 16, 3), `bbox` (N, 4) x, y, w, h, and
    `head_size` (N,), NaN where the file gives none. `ids` are the annotations', `notes` what was passed over."""

    files: list[str]
    ids: list[str]
    picture: NDArray[np.int64]
    keypoints: Array
    bbox: Array
    head_size: Array
    notes: list[str]


class CocoPeople:
    """The people of one annotation file, their pictures in the folder `images`.

    note    how many people of how many images, and what of the file was passed over
    absent  people left out for want of their picture; always 0 unless `missing` is "skip"

    Without `images` the pictures are looked for where COCO has them, in a folder of the file's name (train2017, train)
    beside the file or beside the folder `annotations` it lies in, or in images/, or in such a folder in images/, or
    right there.
    HgrtError where the file is malformed, has nobody with a labelled joint, or where pictures are absent, unless
    `missing` is "skip" and some are there.
    """

    def __init__(self, annotations: Path, images: Path | None = None, *, missing: Missing = "refuse") -> None:
        home, stem = _home_and_stem(annotations)
        self.name = f"{home.name}/{_split(stem)}"
        table = _read(annotations)
        used = np.unique(table.picture)
        files = [table.files[i] for i in used]
        self._images = images if images is not None else _images_of(home, stem, files[0])
        gone = _absent(self.name, files, self._images, missing)
        kept = ~np.isin(table.picture, [i for i, file in zip(used, files, strict=True) if file in gone])
        self.absent = int((~kept).sum())
        self._picture, self._files = table.picture[kept], table.files
        self._ids = [one for one, keep in zip(table.ids, kept, strict=True) if keep]
        self._several = np.bincount(table.picture)[self._picture] > 1
        self._bbox = table.bbox[kept]
        self._xy, self._labelled, self._visible, self._evaluate = _joints(table.keypoints[kept])
        given, measured = table.head_size[kept], from_head(self._xy, self._labelled)
        guessed = from_body(self._xy, self._labelled, self._bbox[:, 2:].max(axis=1))
        self._normalize = np.where(np.isfinite(given), given, np.where(np.isfinite(measured), measured, guessed))
        notes = [f"{len(self):,} people of {np.unique(self._picture).size:,} images", *table.notes]
        if self.absent:
            notes.append(f"left out: {self.absent:,} people whose pictures ({len(gone):,}) are not there")
        estimated = int((~np.isfinite(given) & ~np.isfinite(measured)).sum())
        if estimated:
            notes.append(f"head size of {estimated:,} people estimated from the body's proportions")
        self.note = "; ".join(notes)

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, index: int) -> Sample:
        """Person `index`, the picture read from its file; HgrtError where it is none."""
        file = self._files[self._picture[index]]
        return Sample(
            name=f"{file}#{self._ids[index]}" if self._several[index] else file,
            image=read_image(self._images / file),
            joints=self._xy[index],
            labelled=self._labelled[index],
            visible=self._visible[index],
            evaluate=self._evaluate[index],
            box=Box.from_xywh(*self._bbox[index].tolist()),
            normalize=float(self._normalize[index]),
        )


def splits(folder: Path, missing: Missing = "refuse") -> dict[str, Split]:
    """The splits in `folder`, by name (train, val, test), each with its file and what opens it; {} where there is none.

    Looks for annotations/person_keypoints_train2017.json and the like (of several years the last is taken), then for
    train.json. Reads only the first character of a file that is not blank: COCO's form is an object, others are lists.
    """
    found: dict[str, Path] = {}
    for path in sorted((folder / "annotations").glob("person_keypoints_*.json")):
        match = NAMED.fullmatch(path.stem)
        if match and _is_object(path):
            found[match[1]] = path
    for split in SPLITS:
        path = folder / f"{split}.json"
        if split not in found and path.is_file() and _is_object(path):
            found[split] = path
    there = {split: found[split] for split in SPLITS if split in found}
    return {split: Split(path, partial(CocoPeople, path, missing=missing)) for split, path in there.items()}


def coco_file(path: Path, images: Path | None = None, missing: Missing = "refuse") -> CocoPeople:
    """The people of one annotation file, pictures in `images`, or where `CocoPeople` looks for them."""
    return CocoPeople(path, images, missing=missing)


# Where things lie


def _home_and_stem(annotations: Path) -> tuple[Path, str]:
    folder = annotations.absolute().parent
    home = folder.parent if folder.name == "annotations" else folder
    return home, annotations.stem.removeprefix("person_keypoints_")


def _split(stem: str) -> str:
    return re.sub(r"^(train|val|test)\d{4}$", r"\1", stem)


def _images_of(home: Path, stem: str, first: str) -> Path:
    """The folder that has the picture `first`; where none has, the first that exists."""
    places = (home / stem, home / "images", home / "images" / stem, home)
    existing = [place for place in places if place.is_dir()]
    return next((place for place in existing if (place / first).is_file()), existing[0])


def _is_object(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    except OSError:
        return False


def _absent(name: str, files: Sequence[str], images: Path, missing: Missing) -> set[str]:
    """The pictures that are not there; HgrtError where that is too many."""
    folders: dict[str, list[str]] = defaultdict(list)  # a file_name may have folders in it
    for file in files:
        parent, _, last = file.rpartition("/")
        folders[parent].append(last)
    gone = sorted(
        f"{parent}/{last}" if parent else last
        for parent, names in folders.items()
        for last in missing_images(images / parent, names)
    )
    if gone and (missing == "refuse" or len(gone) == len(files)):
        raise HgrtError(
            f"{len(gone):,} of the {len(files):,} pictures of {name} are not in {images}.",
            f"The first: {', '.join(gone[:3])}" if images.is_dir() else f"There is no folder {images}.",
            "Put the pictures there, under the names that the annotations give as file_name.",
        )
    return set(gone)


# From the file to arrays


def _read(path: Path) -> _Table:
    """The people of a file who have a box and a labelled joint; HgrtError names the first thing that is wrong."""
    content = _parse(path)
    try:
        skeletons, ignored = _skeletons(content["categories"])
        files, places = _pictures(content["images"])
        notes = [f"passed over: {', '.join(ignored)}"] if ignored else []
        return _people(content["annotations"], skeletons, files, places, notes)
    except ValueError as flaw:
        raise HgrtError(f"{path} cannot be used as COCO keypoints.", str(flaw)) from flaw


def _parse(path: Path) -> dict[str, Any]:
    def without_outlines(entry: dict[str, Any]) -> dict[str, Any]:
        entry.pop("segmentation", None)  # most of a COCO file, and never needed
        return entry

    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=without_outlines)
    except (OSError, ValueError, RecursionError) as error:
        raise HgrtError(f"{path} cannot be read as JSON.", str(error)) from error
    if not isinstance(content, dict):
        raise HgrtError(f"{path} is not in COCO's form.", "It has no images, annotations and categories.")
    for part in ("images", "annotations", "categories"):
        if not isinstance(content.get(part), list):
            raise HgrtError(f"{path} is not in COCO's form.", f"It has no list called {part}.")
    return content


def _skeletons(categories: list[Any]) -> tuple[dict[int | str, _Skeleton], list[str]]:
    """The categories with joints that are known, by id, and the names of keypoints that are not."""
    skeletons: dict[int | str, _Skeleton] = {}
    unused: dict[str, None] = {}
    for number, category in enumerate(categories):
        where = f"categories[{number}]"
        key, names = _id(_field(category, "id", where), where), category.get("keypoints")
        if names is None:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{where}: keypoints is not a list of names.")
        plain = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in names]
        repeated = [name for name, count in Counter(plain).items() if count > 1]
        if repeated:
            raise ValueError(f"{where}: the keypoint {repeated[0]} is named twice.")
        used = {
            joint: plain.index(next(name for name in NAMES[joint] if name in plain))
            for joint in MPII.joints
            if not set(plain).isdisjoint(NAMES[joint])
        }
        unused |= dict.fromkeys(name for i, name in enumerate(names) if i not in used.values())
        if used:
            skeletons[key] = _Skeleton(len(names), list(used.values()), MPII.indices(list(used)))
    if not skeletons:
        known = ", ".join("/".join(names) for names in NAMES.values())
        raise ValueError(f"No keypoint has a known name. It has: {', '.join(unused) or 'none'}. Known are: {known}.")
    return skeletons, list(unused)


def _pictures(images: list[Any]) -> tuple[list[str], dict[int | str, int]]:
    """The file names, and the place among them of each image id."""
    files: list[str] = []
    places: dict[int | str, int] = {}
    for number, image in enumerate(images):
        where = f"images[{number}]"
        key, file = _id(_field(image, "id", where), where), _field(image, "file_name", where)
        if not isinstance(file, str) or not file or "\0" in file:
            raise ValueError(f"{where}: file_name is not a name.")
        if key in places:
            raise ValueError(f"{where}: another image has the id {key} too.")
        places[key] = len(files)
        files.append(file)
    return files, places


def _people(
    annotations: list[Any],
    skeletons: dict[int | str, _Skeleton],
    files: list[str],
    places: dict[int | str, int],
    notes: list[str],
) -> _Table:
    ids: list[str] = []
    picture, keypoints, bbox, head = array("q"), array("d"), array("d"), array("d")
    left_out: Counter[str] = Counter()
    for number, entry in enumerate(annotations):
        where = f"annotations[{number}]"
        skeleton = skeletons.get(_id(_field(entry, "category_id", where), where))
        if skeleton is None:
            continue
        if entry.get("iscrowd"):
            left_out["crowds"] += 1
            continue
        key = _id(_field(entry, "id", where), where)
        where = f"annotations[{number}], id {key}"
        image = _id(_field(entry, "image_id", where), where)
        if image not in places:
            raise ValueError(f"{where}: there is no image {image}.")
        box = _numbers(_field(entry, "bbox", where), 4, f"{where}: bbox")
        points = _numbers(_field(entry, "keypoints", where), 3 * skeleton.count, f"{where}: keypoints")
        if not set(points[2::3]) <= {0, 1, 2}:
            raise ValueError(f"{where}: a keypoint is neither unlabelled (0) nor hidden (1) nor visible (2).")
        row = np.zeros((JOINTS, 3))
        row[skeleton.joints] = np.array(points).reshape(-1, 3)[skeleton.keypoints]
        if not row[:, 2].any():
            left_out["people without a labelled joint"] += 1
        elif min(box[2:]) <= 0:
            left_out["people without a box"] += 1
        else:
            ids.append(str(key))
            picture.append(places[image])
            keypoints.extend(row.ravel())
            bbox.extend(box)
            head.append(_head_size(entry.get("head_size"), where))
    if not ids:
        raise ValueError(f"Nobody in it has a box and a labelled joint, of {len(annotations):,} annotations.")
    notes = [*notes, *(f"left out: {count:,} {what}" for what, count in left_out.items())]
    return _Table(
        files,
        ids,
        np.array(picture),
        np.array(keypoints).reshape(-1, JOINTS, 3),
        np.array(bbox).reshape(-1, 4),
        np.array(head),
        notes,
    )


def _joints(keypoints: Array) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Joints (N, 16, 2) and what is labelled, visible and evaluated (N, 16), pelvis and thorax derived where absent."""
    evaluate, visible = keypoints[..., 2] > 0, keypoints[..., 2] > 1
    joints, labelled = np.where(evaluate[..., None], keypoints[..., :2], 0.0), evaluate.copy()
    for name, *parents in DERIVED:
        joint, sides = MPII.index(name), MPII.indices(parents)
        new = ~labelled[:, joint] & labelled[:, sides].all(axis=1)
        joints[new, joint] = joints[new][:, sides].mean(axis=1)
        visible[new, joint] = visible[new][:, sides].all(axis=1)
        labelled[new, joint] = True
    return joints, labelled, visible, evaluate


# Single values


def _field(entry: Any, name: str, where: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise ValueError(f"{where} has no {name}.")
    return entry[name]


def _id(value: Any, where: str) -> int | str:
    if not isinstance(value, int | str):
        raise ValueError(f"{where}: {value!r} is no id, which is a whole number or a text.")
    return value


def _numbers(values: Any, count: int, where: str) -> array[float]:
    try:
        numbers = array("d", values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where} is not a list of numbers.") from error
    if len(numbers) != count:
        raise ValueError(f"{where} has {len(numbers)} numbers instead of {count}.")
    if not all(abs(number) < LARGEST for number in numbers):
        raise ValueError(f"{where} has numbers that cannot be pixels.")
    return numbers


def _head_size(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    (size,) = _numbers([value], 1, f"{where}: head_size")
    if size <= 0:
        raise ValueError(f"{where}: head_size is not positive.")
    return size
