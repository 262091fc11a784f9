"""From what the user calls their data to the data sets in it, with clear words where there are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hgrt.train.data.generated import GeneratedPeople
from hgrt.train.data.missing import no_data
from hgrt.train.data.packed import PackedPeople
from hgrt.train.data.sample import Mixture, People


@dataclass(frozen=True, slots=True)
class DataSets:
    """What a training learns from and what it is measured on; `parts` says which sets stand in `train`, how often."""

    train: People
    val: tuple[People, ...]
    parts: tuple[tuple[str, int, int], ...]  # name, people, repeats per epoch


def find(folders: list[Path], synthetic: int, seed: int) -> DataSets:
    """The packed sets in `folders` (each one itself a set, or a folder of sets) and `synthetic` generated people.

    Small sets are repeated so that they weigh as the square root of their size: they hold what the large one lacks,
    but seen too often they would be learnt by heart.
    """
    places = [place for folder in folders for place in _packed_in(folder)]
    train: list[People] = [PackedPeople(place, "train") for place in places if (place / "train.h5").is_file()]
    val: list[People] = [PackedPeople(place, "val") for place in places if (place / "val.h5").is_file()]
    if synthetic:
        train.append(GeneratedPeople(synthetic, seed))
        val.append(GeneratedPeople(min(100, synthetic), seed + 1))
    if not train:
        raise no_data("There is nothing to train on.", "No people in the --data folders, and no --synthetic ones.")
    largest = max(len(people) for people in train)
    # Generated people are as many as were asked for; only real sets are rare.
    repeats = [
        1 if isinstance(people, GeneratedPeople) else max(1, round((largest / len(people)) ** 0.5)) for people in train
    ]
    parts = tuple((people.name, len(people), repeat) for people, repeat in zip(train, repeats, strict=True))
    return DataSets(Mixture(list(zip(train, repeats, strict=True))), tuple(val), parts)


def _packed_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise no_data(f"There is no data folder {folder}.", f"Looked for {folder.resolve()}.")
    places = [
        place
        for place in [folder, *sorted(folder.iterdir())]
        if (place / "train.h5").is_file() or (place / "val.h5").is_file()
    ]
    if not places:
        raise no_data(
            f"There are no packed data in {folder}.", "Looked for train.h5 and val.h5 in it and one level below."
        )
    return places
