"""The people who moved most come first, by their worst joint, with pictures of what each side saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hgrt.bench.pairs import pairs
from hgrt.data.sample import Sample
from hgrt.evaluation.predict import Predictions
from hgrt.pose.geometry import Box, Image
from hgrt.pose.skeleton import MPII
from labelled import predictions

WRIST, KNEE = MPII.index("l_wrist"), MPII.index("r_knee")
SIZE = 192


class Crowd:
    """As many people as asked for on grey pictures; remembers who was looked at."""

    def __init__(self, name: str = "made/val") -> None:
        self.name, self.asked = name, list[int]()

    def __len__(self) -> int:
        return 100

    def get(self, index: int) -> Sample:
        self.asked.append(index)
        image: Image = np.full((140, 140, 3), 90, np.uint8)
        mask = np.ones(16, bool)
        return Sample(f"{index}.jpg", image, np.zeros((16, 2)), mask, mask, mask, Box(70, 70, 130), 15.0)


def seen(count: int, seed: int = 0, name: str = "made/val") -> Predictions:
    """Predictions whose joints are all sure, each person's number in the set ten times their place here."""
    made = predictions(count, seed, name)
    return replace(made, score=np.full((count, 16), 0.9), rows=10 * np.arange(count))


def moved(found: Predictions, *shifts: tuple[int, int, float]) -> Predictions:
    """The same with joints (person, joint) moved to the right by so many crop pixels."""
    xy = found.xy.copy()
    for person, joint, pixels in shifts:
        xy[person, joint, 0] += pixels * found.boxes[person, 2] / SIZE
    return replace(found, xy=xy)


def test_the_largest_shift_of_each_person_counts_across_sets() -> None:
    first, second = seen(3, 1, "one/val"), seen(2, 2, "two/val")
    crowds = [Crowd("one/val"), Crowd("two/val")]
    ours = [moved(first, (0, WRIST, 0.5), (2, WRIST, 3.0), (2, KNEE, 2.0)), moved(second, (1, KNEE, 1.25))]
    found = pairs(crowds, [first, second], ours, SIZE, count=3)
    assert [pair.caption for pair in found] == [
        "one/val 1-2.jpg: l_wrist moved by 3.00 px",
        "two/val 2-1.jpg: r_knee moved by 1.25 px",
        "one/val 1-0.jpg: l_wrist moved by 0.500 px",
    ]
    assert [crowd.asked for crowd in crowds] == [[20, 0], [10]], "only those who are shown, by their number in the set"


def test_the_reference_is_on_the_left_and_the_shift_shows_on_the_right() -> None:
    reference = seen(1)
    (same,) = pairs([Crowd()], [reference], [moved(reference, (0, WRIST, 1e-9))], SIZE)
    (pair,) = pairs([Crowd()], [reference], [moved(reference, (0, WRIST, 30.0))], SIZE)
    assert pair.left.shape == pair.right.shape == (192, 192, 3) and pair.left.dtype == np.uint8
    np.testing.assert_array_equal(pair.left, same.left)
    assert (pair.right != same.right).any()


def test_who_is_the_same_in_both_is_not_shown() -> None:
    reference = seen(2)
    assert pairs([Crowd()], [reference], [reference], SIZE) == []


def test_a_tiny_shift_is_not_said_to_be_none() -> None:
    reference = seen(1)
    (pair,) = pairs([Crowd()], [reference], [moved(reference, (0, KNEE, 2e-4))], SIZE)
    assert pair.caption.endswith("r_knee moved by < 0.001 px")


def test_a_place_that_is_no_number_is_the_worst_and_is_not_drawn() -> None:
    reference = seen(2)
    ours = moved(reference, (0, KNEE, 50.0), (1, WRIST, np.nan))
    found = pairs([Crowd()], [reference], [ours], SIZE)
    assert found[0].caption == "made/val 0-1.jpg: l_wrist has no finite place"
    assert found[1].caption == "made/val 0-0.jpg: r_knee moved by 50.0 px"
    assert found[0].left.any() and found[0].right.any()


def test_joints_that_neither_sees_are_left_out_and_those_that_one_sees_count() -> None:
    reference = seen(3)
    ours = moved(reference, (0, WRIST, 9.0), (0, KNEE, 1.0), (1, WRIST, 5.0), (2, KNEE, 7.0))
    blind, half_blind = reference.score.copy(), reference.score.copy()
    blind[0, WRIST] = half_blind[0, WRIST] = half_blind[1, WRIST] = 0.0
    blind[2] = half_blind[2] = 0.0
    found = pairs([Crowd()], [replace(reference, score=blind)], [replace(ours, score=half_blind)], SIZE)
    assert [pair.caption for pair in found] == [
        "made/val 0-1.jpg: l_wrist moved by 5.00 px",
        "made/val 0-0.jpg: r_knee moved by 1.00 px",
    ]


def test_answers_of_different_people_are_refused() -> None:
    with pytest.raises(ValueError, match="same people"):
        pairs([Crowd()], [seen(2, 1)], [seen(2, 2)], SIZE)
    with pytest.raises(ValueError):
        pairs([Crowd()], [seen(2)], [], SIZE)
