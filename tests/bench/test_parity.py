"""The distance between two sets of answers, worked out by hand on a handful of people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hgrt.bench.parity import agreement, first_people, shifts
from hgrt.evaluation.predict import Predictions
from hgrt.model.spec import ModelSpec

SPEC = ModelSpec(stacks=1, channels=8, gate="none", input=64)
SIDE = 128.0  # of every box: a pixel of the crop is two of the picture


def predictions(people: int = 4, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 100, size=(people, 16, 2))
    every = np.ones((people, 16), dtype=bool)
    return Predictions(
        set="some",
        names=tuple(f"person {k}" for k in range(people)),
        rows=np.arange(people),
        xy=truth + rng.uniform(-1, 1, size=truth.shape),
        score=rng.uniform(0.3, 0.9, size=(people, 16)),
        truth=truth,
        labelled=every,
        visible=every,
        evaluate=every,
        normalize=np.full(people, 10.0),
        boxes=np.tile([60.0, 60.0, SIDE], (people, 1)),
    )


def test_the_same_answers_agree_in_everything() -> None:
    one = predictions()
    found = agreement([one], [one], SPEC)
    assert (found.people, found.joints, found.flipped, found.noise) == (4, 64, 0, 0.0)
    assert (found.shift_p50, found.shift_p99, found.shift_max, found.bias) == (0, 0, 0, (0, 0))
    assert found.pckh == found.pckh_reference == 100
    assert found.drop is not None and (found.drop.value, found.drop.low, found.drop.high) == (0, 0, 0)
    assert found.by_joint["l_wrist"] == (4, 4, 4)


def test_a_common_shift_is_told_in_crop_pixels() -> None:
    one = predictions()
    other = replace(one, xy=one.xy + [1.0, -0.5])
    found = agreement([one], [other], SPEC)
    assert found.bias == pytest.approx((0.5, -0.25))
    assert found.shift_p50 == found.shift_max == pytest.approx(np.hypot(0.5, 0.25))
    assert found.flipped == 0


def test_another_peak_counts_as_flipped_and_not_as_noise() -> None:
    one = predictions()
    xy, score = one.xy.copy(), one.score + 0.01
    xy[0, 3] += [8.1, 0]  # a cell is 4 crop pixels, 8 of the picture
    xy[1, 3] += [7.9, 0]
    score[0, 3] += 0.4
    found = agreement([one], [replace(one, xy=xy, score=score)], SPEC)
    assert found.flipped == 1
    assert found.shift_max == pytest.approx(4.05)
    assert found.noise == pytest.approx(0.01)


def test_points_lost_are_counted_over_the_joints_of_the_total() -> None:
    one = predictions()
    xy = one.xy.copy()
    xy[:, 15] += 50  # the left wrist of all four, of 14 joints each
    xy[:, 6] += 50  # the pelvis is in no total
    found = agreement([one], [replace(one, xy=xy)], SPEC)
    assert found.drop is not None and found.drop.value == pytest.approx(100 / 14)
    assert found.drop.low == found.drop.high == pytest.approx(100 / 14)  # all people alike: no doubt
    assert (found.pckh, found.pckh_reference) == (pytest.approx(100 * 13 / 14), 100)
    assert found.by_joint["l_wrist"] == (0, 4, 4) and found.by_joint["pelvis"] == (0, 4, 4)


def test_a_gain_is_a_negative_loss_and_has_an_interval() -> None:
    one = predictions(people=40)
    xy = one.xy.copy()
    xy[:10, 15] += 50
    found = agreement([replace(one, xy=xy)], [one], SPEC)
    assert found.drop is not None and found.drop.value == pytest.approx(-100 / 4 / 14)
    assert found.drop.low < found.drop.value < found.drop.high < 0


def test_whoever_looks_at_half_of_a_box_has_twice_the_pixels_for_a_shift() -> None:
    one = predictions()
    other = replace(one, xy=one.xy + 0.5)
    wide, narrow = (agreement([one], [other], replace(SPEC, crop=crop)) for crop in (1.0, 0.5))
    assert narrow.shift_max == pytest.approx(2 * wide.shift_max) and wide.shift_max > 0


def test_a_joint_that_neither_sees_has_no_place() -> None:
    one = predictions()
    score = one.score.copy()
    score[2, 5] = 0
    other = replace(one, xy=one.xy + (np.arange(16) == 5)[:, None] * 99.0, score=score)
    found = agreement([replace(one, score=score)], [other], SPEC)
    assert (found.joints, found.flipped) == (63, 3)
    assert shifts(replace(one, score=score), other, 64)[2, 5].tolist() == [0, 0]


def test_labels_that_count_nowhere_give_no_pckh() -> None:
    one = replace(predictions(), evaluate=np.zeros((4, 16), dtype=bool))
    found = agreement([one], [one], SPEC)
    assert found.pckh is None and found.pckh_reference is None and found.drop is None


def test_sets_are_pooled() -> None:
    one, two = predictions(), predictions(people=2, seed=1)
    assert agreement([one, two], [one, two], SPEC).people == 6


def test_different_people_are_refused() -> None:
    with pytest.raises(ValueError, match="different people"):
        agreement([predictions(4)], [predictions(3)], SPEC)


def test_the_first_people_go_by_their_row_in_the_set() -> None:
    one = replace(predictions(), rows=np.array([0, 2, 5, 9]))
    assert first_people(one, 5).names == ("person 0", "person 1")
    assert first_people(one, 5).xy.shape == (2, 16, 2)
