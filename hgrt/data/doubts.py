"""Doubts about labels: where trained networks agree with each other and not with a label, the label is likely wrong.

What an ensemble found becomes marks on joints; marks are kept in a file, and laid over the people they were found in
when these are trained on. This module knows no network and no picture: whoever predicts brings arrays.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hgrt.data.sample import JOINTS, People, Sample
from hgrt.errors import HgrtError
from hgrt.files import written_whole
from hgrt.pose.geometry import Array
from hgrt.pose.pckh import Mask, errors
from hgrt.pose.skeleton import FLIP, MPII

PARTS = tuple(
    MPII.indices([f"{side}_{name}" for side in "rl" for name in names])
    for names in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)
"""Joints whose sides are confused together: arms, legs."""

AGREE = 0.5  # head sizes from the mean within which all networks have to lie
SURE = 0.7  # mean score below which networks that agree are not believed
FAR = 1.0  # head sizes; a label further from a sure place is doubtful
MOST = 0.7  # share of the other labels that must not be: who misses these has not understood the person
GAINED = 4  # joints that must come to agree before sides are exchanged

CONFUSED = np.full((JOINTS, JOINTS), 0.5)
CONFUSED[range(JOINTS), FLIP] = FAR
np.fill_diagonal(CONFUSED, -1.0)
"""Head sizes from the label of one joint (columns) within which networks may have taken it for another (rows)."""

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Judged:
    """What an ensemble says of N people's labels.

    place     (N, 16, 2) image pixels, the mean of the networks; score (N, 16) likewise
    exchange  (N, 16) bool, labels that belong to the joint of the other side, both of a pair
    suspect   (N, 16) bool, labels that are doubtful once these are exchanged; and these, since networks mistake the
              sides, too
    """

    place: Array
    score: Array
    exchange: Mask
    suspect: Mask


def judge(xy: Array, score: Array, joints: Array, labelled: Mask, head: Array) -> Judged:
    """Labels against M networks: xy (M, N, 16, 2) and score (M, N, 16) of these, joints (N, 16, 2), labelled (N, 16),
    head sizes (N,). Positions and head sizes in image pixels; without a head size nothing is judged."""
    place, mean = xy.mean(axis=0), score.mean(axis=0)
    agree = np.all([errors(one, place, head) <= AGREE for one in xy], axis=0)
    sure = agree & (mean >= SURE)
    exchange = mirrored(place, sure, joints, labelled, head)
    there = exchanged(labelled, exchange)
    suspect = doubtful(place, sure, exchanged(joints, exchange), there, head)
    return Judged(place, mean, exchange, suspect | (exchange & there))


def doubtful(place: Array, sure: Mask, joints: Array, labelled: Mask, head: Array) -> Mask:
    """The labels (N, 16) far from where the ensemble is sure the joint is, while most others are not.

    None where another joint is labelled at that place: networks mistake a hand for a foot, and one side for the other,
    more often than people do. Arguments as for `judge`, `place` and `sure` (N, 16).
    """
    wrong = labelled & ~(errors(place, joints, head) <= FAR)
    others = np.maximum(labelled.sum(axis=1, keepdims=True) - 1, 1)
    most = (labelled & ~wrong).sum(axis=1, keepdims=True) / others >= MOST
    apart = np.linalg.norm(place[:, :, None] - joints[:, None], axis=-1)
    confused = (apart <= CONFUSED * head[:, None, None]) & labelled[:, None]
    return np.asarray(wrong & sure & most & ~confused.any(axis=2))


def mirrored(place: Array, sure: Mask, joints: Array, labelled: Mask, head: Array) -> Mask:
    """The labels (N, 16) to exchange with those of the other side: of the arms, of the legs, or of both.

    At least `GAINED` labels then agree with the ensemble that did not before, and none that did ceases to; only labels
    count of joints that the ensemble is sure of on both sides. Arguments as for `judge`, `place` and `sure` (N, 16).
    """
    judged = labelled & sure & sure[:, FLIP]
    before, after = (errors(one, joints, head) <= FAR for one in (place, place[:, FLIP]))
    gained, lost = judged & after & ~before, judged & before & ~after
    whole = (gained.sum(axis=1) >= GAINED) & ~lost.any(axis=1)
    exchange = np.zeros_like(labelled)
    for part in PARTS:
        count = gained[:, part].sum(axis=1)
        wrong = (count > 0) & ~lost[:, part].any(axis=1) & (whole | (count >= GAINED))
        exchange[:, part] = wrong[:, None]
    return exchange


def exchanged(values: NDArray[Value], exchange: Mask) -> NDArray[Value]:
    """What people have for each joint, (N, 16, ...), with that of the other side where `exchange` (N, 16) says so."""
    rows = np.arange(len(values))[:, None]
    return np.asarray(values[rows, np.where(exchange, FLIP, np.arange(JOINTS))])


# The file


@dataclass(frozen=True, slots=True)
class Doubts:
    """The marks on one data set's people, by their numbers: see `Judged`. ValueError where they make no sense.

    set     the set's name; `sha256` is the `fingerprint` of the people in it who are `marked`
    """

    set: str
    sha256: str
    exchange: Mask
    suspect: Mask

    def __post_init__(self) -> None:
        shape = (len(self.suspect), JOINTS)
        if any(one.dtype != np.bool_ or one.shape != shape for one in (self.exchange, self.suspect)):
            raise ValueError(f"the marks of {self.set} are not (N, {JOINTS}) bool")
        if (self.exchange != self.exchange[:, FLIP]).any():
            raise ValueError(f"of {self.set} one joint of a pair is to be exchanged and the other not")

    @property
    def marked(self) -> list[int]:
        """Numbers of the people with any mark."""
        return [int(i) for i in np.flatnonzero((self.exchange | self.suspect).any(axis=1))]

    def __str__(self) -> str:
        people, sides = (int(one.any(axis=1).sum()) for one in (self.suspect, self.exchange))
        return f"{self.set}: {self.suspect.sum():,} joints of {people:,} people doubted, sides of {sides:,} exchanged"


def fingerprint(names: Sequence[str], joints: Array, labelled: Mask) -> str:
    """SHA-256 of K people: names, joints (K, 16, 2) and which of them are labelled (K, 16)."""
    known = np.where(labelled[..., None], joints, 0.0)
    return sha256("\0".join(names).encode() + labelled.tobytes() + known.astype("<f8").tobytes()).hexdigest()


def write_doubts(path: Path, found: Sequence[Doubts]) -> None:
    """Write the doubts about some sets as .npz, whole or not at all; else HgrtError."""
    arrays = {"sets": np.array([one.set for one in found]), "sha256": np.array([one.sha256 for one in found])}
    for k, one in enumerate(found):
        arrays |= {f"exchange_{k}": one.exchange, f"suspect_{k}": one.suspect}
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_doubts(path: Path) -> list[Doubts]:
    """The inverse of `write_doubts`; HgrtError for any other file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            sets, digests = content["sets"].tolist(), content["sha256"].tolist()
            return [
                Doubts(name, digest, content[f"exchange_{k}"], content[f"suspect_{k}"])
                for k, (name, digest) in enumerate(zip(sets, digests, strict=True))
            ]
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        fix = "Make such a file: hgrt data doubts WEIGHTS --data DATA --out doubts.npz"
        raise HgrtError(f"{path} holds no doubts about labels.", str(error), fix) from error


# The people


class Doubted:
    """The people of a set as the doubts have them: sides exchanged, doubtful labels marked as suspect."""

    def __init__(self, people: People, doubts: Doubts) -> None:
        self.name, self.doubts = people.name, doubts
        self._people = people

    def __len__(self) -> int:
        return len(self._people)

    def get(self, index: int) -> Sample:
        sample = self._people.get(index)
        one = self.doubts.exchange[index, None]
        fields = ("joints", "labelled", "visible", "evaluate", "suspect")
        changed = {name: exchanged(getattr(sample, name)[None], one)[0] for name in fields}
        return replace(sample, **changed | {"suspect": changed["suspect"] | self.doubts.suspect[index]})


def doubted(people: People, known: Sequence[Doubts]) -> People:
    """People with what is known of them laid over; themselves where no doubts are about a set of that name.

    Everybody who is marked is read once. HgrtError where the doubts are about other people of that name.
    """
    named = [one for one in known if one.set == people.name]
    for one in named:
        if len(one.suspect) == len(people) and one.sha256 == _fingerprint_of(people, one.marked):
            return Doubted(people, one)
    if named:
        raise HgrtError(
            f"The doubts about {people.name} are about other people.",
            f"Their number, names or joints differ: {len(people):,} people here, {len(named[0].suspect):,} there.",
            "Find doubts again: hgrt data doubts WEIGHTS --data DATA --out doubts.npz",
        )
    return people


def _fingerprint_of(people: People, numbers: Sequence[int]) -> str:
    names, joints, labelled = [], np.zeros((len(numbers), JOINTS, 2)), np.zeros((len(numbers), JOINTS), np.bool_)
    for k, number in enumerate(numbers):
        sample = people.get(number)
        names.append(sample.name)
        joints[k], labelled[k] = sample.joints, sample.labelled
    return fingerprint(names, joints, labelled)
