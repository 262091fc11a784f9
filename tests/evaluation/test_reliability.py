"""What is judged is what counts, a proof never knows its own answer, and the table and the picture say what is so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.reliability import COLOURS, FOLDS, LEFT, SIDE, TOP, calibration, diagram, held_out, judge, table
from hgrt.pose.confidence import brier, expected_calibration_error
from labelled import predictions

ALONE = ["-", "nan", "nan", "nan", "nan"]


def honest(count: int, seed: int, name: str, power: float = 1.0) -> Predictions:
    """People whose joints are right as often as score ** power says."""
    made = predictions(count, seed, name)
    rng = np.random.default_rng(seed)
    right = rng.random(made.score.shape) < made.score**power
    apart = np.where(right, 0.2, 3.0)[..., None] * made.normalize[:, None, None] * [1, 0]
    return replace(made, xy=made.truth + apart)


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def printed(sets: list[Predictions]) -> list[list[str]]:
    joints = judge(sets)
    console = Console(width=200)
    with console.capture() as seen:
        console.print(table(joints, held_out(joints)))
    return cells(seen.get())


def test_the_joints_that_count_are_judged_and_no_others() -> None:
    made = predictions(6)
    made = replace(made, normalize=np.where(np.arange(6) == 2, 0.0, made.normalize))
    joints = judge([made])
    counted = made.evaluate & (np.arange(6) != 2)[:, None]
    error = np.linalg.norm(made.xy - made.truth, axis=-1) / np.where(made.normalize, made.normalize, 1)[:, None]
    np.testing.assert_array_equal(joints.score, made.score[counted])
    np.testing.assert_array_equal(joints.right, (error <= 0.5)[counted])
    assert 0 < joints.right.mean() < 1
    assert joints.right.sum() == replace(made, evaluate=counted).pckh("standard").total.correct + sum(
        tally.correct for tally in replace(made, evaluate=counted).pckh("standard").left_out.values()
    )


@pytest.mark.parametrize("counts", [[5], [40], [1] * 5, [2, 3], [30, 7, 1]], ids=str)
def test_folds_are_of_people_and_sets_weigh_the_same(counts: list[int]) -> None:
    joints = judge([predictions(count, seed=k, name=f"set {k}/val") for k, count in enumerate(counts)])
    assert len(np.unique(joints.person)) == sum(counts)
    for person in np.unique(joints.person):
        mine = joints.person == person
        assert len(set(joints.fold[mine])) == len(set(joints.set[mine])) == 1
    sizes = [len(np.unique(joints.person[joints.fold == fold])) for fold in range(FOLDS)]
    assert min(sizes) > 0 and max(sizes) - min(sizes) <= len(counts)
    np.testing.assert_allclose([joints.weight[joints.set == k].sum() for k in range(len(counts))], 1)


def test_a_proof_does_not_depend_on_the_answers_about_its_own_person() -> None:
    joints = judge([honest(20, 1, "one/val"), honest(9, 2, "two/val")])
    person = joints.person == 23
    changed = replace(joints, right=np.where(person, ~joints.right, joints.right))
    before, after = held_out(joints), held_out(changed)
    np.testing.assert_array_equal(before[person], after[person])
    assert not np.array_equal(before[~person], after[~person])
    assert calibration(joints) != calibration(changed)


def test_scores_that_claim_too_much_become_true() -> None:
    joints = judge([honest(150, 3, "one/val", power=2.5)])
    claimed = held_out(joints)
    assert expected_calibration_error(claimed, joints.right) < 0.05 < 0.15
    assert expected_calibration_error(joints.score, joints.right) > 0.15
    assert brier(claimed, joints.right) < brier(joints.score, joints.right)


def test_the_table_has_a_line_for_each_set_and_one_in_which_all_weigh_the_same() -> None:
    head, large, small, every, *caption = printed([honest(60, 1, "large/val"), honest(8, 2, "small/val", power=3)])
    assert " ".join(head) == "set people joints right % ECE score ECE chance Brier score Brier chance"
    assert (large[0], large[1], small[0], small[1], every[:2]) == ("large/val", "60", "small/val", "8", ["all", "68"])
    assert int(large[2]) + int(small[2]) == int(every[2])
    assert float(every[3]) == pytest.approx((float(large[3]) + float(small[3])) / 2, abs=0.011)
    for k in (6, 7):  # a mean over joints, so over sets too
        assert float(every[k]) == pytest.approx((float(large[k]) + float(small[k])) / 2, abs=0.0011)
    assert "weighs" in caption[0]


def test_one_set_needs_no_total_and_one_without_joints_no_numbers() -> None:
    assert len(printed([honest(6, 1, "one/val")])) == 2
    _, full, empty, every, _ = printed([honest(6, 1, "one/val"), predictions(4, labelled=False, name="two/val")])
    assert empty == ["two/val", "0", "0", *ALONE]
    assert every[1:] == full[1:]


@pytest.mark.parametrize("sets", [[], [4], [0], [2, 2]], ids=str)
def test_too_few_people_are_refused(sets: list[int]) -> None:
    with pytest.raises(HgrtError, match="too few people") as caught:
        judge([predictions(count, name=f"{k}/val") for k, count in enumerate(sets)])
    assert f"{sum(sets)} have joints that count" in caught.value.why


def test_a_true_claim_is_drawn_on_the_diagonal_and_a_false_one_below_it() -> None:
    joints = judge([honest(400, 4, "one/val", power=3)])
    square = diagram(joints, held_out(joints))[TOP + 80 : TOP + SIDE - 20, LEFT + 1 : LEFT + SIDE]
    above = []
    for colour in COLOURS:
        rows, columns = np.nonzero((square == colour).all(axis=2))
        said, true = columns / SIDE, 1 - (rows + 80) / SIDE
        above.append(float((true - said).mean()))
    assert above[0] < -0.1 and abs(above[1]) < 0.03
