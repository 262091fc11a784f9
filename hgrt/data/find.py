"""From what the user calls their data to the data sets in it, with clear words where there are none.

A reader a form of data; it is imported when a place is looked at, and opened when the set is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hgrt.data.cached import Cached
from hgrt.data.generated import GeneratedPeople
from hgrt.data.missing import no_data
from hgrt.data.sample import Missing, Mixture, People
from hgrt.errors import HgrtError

ANNOTATIONS = ("annot", "annotations")  # folders of a set, not sets of their own
LISTED = 8  # names of a folder without data that an error shows


@dataclass(frozen=True, slots=True)
class Found:
    """A split of a data set that is there to be opened.

    `name` of the set; `form` of the data: packed, MPII or COCO; `split`: train, val, test, or what the file is called.
    `labels` is the file of annotations and `open` reads it; HgrtError where they are flawed. `asked`: the user named
    this set, no folder of sets.
    """

    name: str
    form: str
    split: str
    labels: Path
    open: Callable[[], People]
    asked: bool = True


Warn = Callable[[str], None]
"""Hears in one line of a set that is left out."""


@dataclass(frozen=True, slots=True)
class Part:
    """A set that is learnt from: its `name`, how many `people`, how often an epoch has each, its file of `labels`."""

    name: str
    people: int
    repeats: int = 1
    labels: Path | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.people} people" + (f", {self.repeats} times an epoch" if self.repeats > 1 else "")


@dataclass(frozen=True, slots=True)
class DataSets:
    """What a training learns from and what it is measured on.

    `parts` says which sets stand in `train`; `sets` are these sets themselves, none where `train` is no mixture.
    """

    train: People
    val: tuple[People, ...]
    parts: tuple[Part, ...]
    sets: tuple[People, ...] = ()

    def each(self, wrap: Callable[[People], People]) -> DataSets:
        """The same, every set to learn from as `wrap` gives it back, of the same name and length."""
        if not self.sets:
            return replace(self, train=wrap(self.train))
        sets = tuple(wrap(people) for people in self.sets)
        return replace(self, train=_mixed(sets, self.parts), sets=sets)

    def cached(self, limit: float, progress: Callable[[int, int], None] = lambda done, total: None) -> DataSets:
        """The same, all people to learn from in memory; see `Cached`. One who is repeated is kept once."""
        return self.each(lambda people: Cached(people, limit, progress))


def look(path: Path, missing: Missing = "refuse") -> list[Found]:
    """The data sets in a folder; if it is none itself, those in its sub-folders; if it is a file, the one it labels.

    Nothing is opened. `missing` is what opening does about pictures that are not there: "refuse", or "skip" their
    people. HgrtError where there is no data at all, or a package to read them is not installed.
    """
    if path.is_file():
        return [_in_file(path, missing)]
    if not path.is_dir():
        raise no_data(f"There is no data folder {path}.", f"Looked for {path.resolve()}.")
    inside = sorted(path.iterdir())
    found = _in_folder(path, missing) or [
        replace(one, asked=False) for place in inside if place.is_dir() for one in _in_folder(place, missing)
    ]
    if not found:
        names = [place.name + "/" * place.is_dir() for place in inside if not place.name.startswith(".")]
        there = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        raise no_data(
            f"There are no data in {path}.",
            f"Looked for packed, MPII and COCO data in it and one level below; there is {there or 'nothing'}.",
        )
    return found


def look_all(paths: Sequence[Path], missing: Missing = "refuse") -> list[Found]:
    """What `look` finds in each of several paths; one given twice counts once."""
    once = {path.resolve(): path for path in paths}
    return [one for path in once.values() for one in look(path, missing)]


def open_sets(paths: Sequence[Path], split: str, warn: Warn = lambda line: None) -> list[People]:
    """That split of every set in `paths` that has it; HgrtError, naming those there are, where none has.

    One that lies in a folder of sets and cannot be opened is left out, and `warn` hears of it.
    """
    found = look_all(paths)
    if not any(one.split == split for one in found):
        raise _no_split(split, paths, found)
    return [people for people, _ in _opened(found, split, warn)]


def find(paths: Sequence[Path], synthetic: int, seed: int, warn: Warn = lambda line: None) -> DataSets:
    """What the sets in `paths` hold for a training, and `synthetic` generated people.

    All splits `train` are learnt from, all `val` measured on. Small sets are repeated so that they weigh as the square
    root of their size: they hold what the large one lacks, but seen too often they would be learnt by heart.
    """
    found = look_all(paths)
    if not synthetic and not any(one.split == "train" for one in found):
        if found:
            raise _no_split("train", paths, found)
        raise no_data("There is nothing to train on.", "No --data were given, and no --synthetic people.")
    train: list[tuple[People, Path | None]] = [*_opened(found, "train", warn)]
    val = [people for people, _ in _opened(found, "val", warn)]
    if synthetic:
        train.append((GeneratedPeople(synthetic, seed), None))
        val.append(GeneratedPeople(min(100, synthetic), seed + 1))
    largest = max(len(people) for people, _ in train)
    # Generated people are as many as were asked for; only real sets are rare.
    parts = tuple(
        Part(people.name, len(people), max(1, round((largest / len(people)) ** 0.5)) if labels else 1, labels)
        for people, labels in train
    )
    sets = tuple(people for people, _ in train)
    return DataSets(_mixed(sets, parts), tuple(val), parts, sets)


def _mixed(sets: Sequence[People], parts: Sequence[Part]) -> Mixture:
    return Mixture([(people, part.repeats) for people, part in zip(sets, parts, strict=True)])


def _opened(found: Sequence[Found], split: str, warn: Warn) -> list[tuple[People, Path]]:
    sets: list[tuple[People, Path]] = []
    refused: HgrtError | None = None
    for one in found:
        if one.split == split:
            try:
                sets.append((one.open(), one.labels))
            except HgrtError as error:
                if one.asked:
                    raise
                refused = error
                warn(f"Left out: {one.name}/{split}. {error.what} {error.why}")
    if refused is not None and not sets:
        raise refused
    return sets


def _in_folder(folder: Path, missing: Missing) -> list[Found]:
    from hgrt.data import coco, mpii, packed

    forms = {"packed": packed.splits, "MPII": mpii.splits, "COCO": coco.splits}
    name = folder.resolve().name
    return [
        Found(name, form, split, there.labels, there.open)
        for form, splits in forms.items()
        for split, there in splits(folder, missing).items()
    ]


def _in_file(path: Path, missing: Missing) -> Found:
    """The set of one annotation file. A list of people is MPII's json, an object is COCO's."""
    from hgrt.data import coco, mpii, packed

    home, split = path.resolve().parent, _split_of(path)
    name = (home.parent if home.name in ANNOTATIONS else home).name
    if path.suffix == ".h5":
        one = packed.splits(path.parent, missing).get(path.stem)
        if one is not None:
            return Found(name, "packed", path.stem, one.labels, one.open)
    if path.suffix in (".h5", ".mat") or (path.suffix == ".json" and _first_letter(path) == "["):
        return Found(name, "MPII", split, path, partial(mpii.mpii_file, path, None, missing))
    if path.suffix == ".json":
        return Found(name, "COCO", split, path, partial(coco.coco_file, path, None, missing))
    raise no_data(f"{path} is no data.", "An annotation file ends in .h5, .mat or .json.")


def _split_of(path: Path) -> str:
    """What a split is called whose file is named like `valid.h5` or `person_keypoints_val2017.json`."""
    if path.suffix == ".mat":
        return "val"
    return next((split for split in ("train", "val", "test") if split in path.stem), path.stem)


def _first_letter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(4096).lstrip()[:1]


def _no_split(split: str, paths: Sequence[Path], found: Sequence[Found]) -> HgrtError:
    where = ", ".join(str(path) for path in paths)
    there = ", ".join(f"{one.name}/{one.split}" for one in found)
    return HgrtError(f"There is no {split} split in {where}.", f"There is: {there}.")
