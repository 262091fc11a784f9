"""Each wrong joint has one kind; what counts as the other side's, as near and as far is shown joint by joint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.evaluation.kinds import Wrong, wrong
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.report import pooled, summarise, wrong_line
from hgrt.pose.skeleton import ANKLES, ELBOWS, MPII
from labelled import predictions

R_ANKLE, L_ANKLE = ANKLES
HEAD = 10.0


def somebody() -> Predictions:
    """One person, every joint found, joints 100 pixels apart, the head of `HEAD` pixels."""
    found = predictions(1)
    found.truth[0] = np.column_stack([100.0 * np.arange(16), np.zeros(16)])
    found.xy[:] = found.truth
    found.labelled[:] = found.evaluate[:] = True
    found.normalize[:] = HEAD
    return found


def test_nothing_is_wrong_where_all_is_found() -> None:
    assert wrong(somebody()) == Wrong(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        (0.5, Wrong(0, 0, 0, 0)),
        (0.51, Wrong(0, 1, 0, 0)),
        (1.0, Wrong(0, 1, 0, 0)),
        (1.01, Wrong(0, 0, 1, 0)),
    ],
)
def test_near_ends_at_a_head(off: float, expected: Wrong) -> None:
    found = somebody()
    found.xy[0, R_ANKLE, 1] += off * HEAD
    assert wrong(found) == expected


def test_exchanged_ankles_are_two_of_the_other_side() -> None:
    found = somebody()
    found.xy[0, ANKLES] = found.truth[0, ANKLES[::-1]]
    assert wrong(found) == Wrong(2, 0, 0, 0)


def test_one_ankle_taken_for_both_is_doubled() -> None:
    found = somebody()
    found.xy[0, R_ANKLE] = found.truth[0, L_ANKLE] + [0, 0.4 * HEAD]
    assert wrong(found) == Wrong(1, 0, 0, 1)


def test_what_lies_between_is_the_other_sides_first() -> None:
    found = somebody()
    found.truth[0, L_ANKLE] = found.truth[0, R_ANKLE] + [0, HEAD]
    found.xy[0, L_ANKLE] = found.truth[0, L_ANKLE]
    found.xy[0, R_ANKLE] = found.truth[0, R_ANKLE] + [0, 0.8 * HEAD]
    assert wrong(found) == Wrong(1, 0, 0, 1)


def test_another_joint_of_the_other_side_does_not_count_as_exchanged() -> None:
    found = somebody()
    found.xy[0, R_ANKLE] = found.truth[0, ELBOWS[1]]
    assert wrong(found) == Wrong(0, 0, 1, 0)


def test_an_unlabelled_other_side_is_not_known_to_be_there() -> None:
    found = somebody()
    found.labelled[0, L_ANKLE] = found.evaluate[0, L_ANKLE] = False
    found.xy[0, R_ANKLE] = found.truth[0, L_ANKLE]
    assert wrong(found) == Wrong(0, 0, 1, 0)


def test_a_joint_of_the_middle_has_no_other_side() -> None:
    found = somebody()
    found.truth[0, MPII.index("thorax")] = [-500.0, 0.0]  # so that the protocol decides, not the place
    found.xy[0, MPII.index("head_top"), 1] += 0.9 * HEAD
    assert wrong(found) == Wrong(0, 1, 0, 0)
    assert wrong(found, "limbs") == Wrong(0, 0, 0, 0)
    assert wrong(found, "reference") == Wrong(0, 1, 1, 0)


def test_without_a_head_size_everything_is_far() -> None:
    found = somebody()
    found.normalize[:] = 0
    assert wrong(found) == Wrong(0, 0, 14, 0)


@given(st.integers(0, 30), st.integers(0, 5), st.sampled_from(["standard", "limbs", "reference"]))
def test_the_kinds_are_all_that_pckh_does_not_find(count: int, seed: int, protocol: str) -> None:
    found = predictions(count, seed)
    found.xy[::3] = found.xy[::3][:, list(MPII.flip)]
    total = found.pckh(protocol).total
    kinds = wrong(found, protocol)
    assert kinds.count == total.count - total.correct
    assert 0 <= kinds.doubled <= kinds.other_side


def test_the_line_says_every_number() -> None:
    parts = [predictions(20, seed=3, name="a/val"), predictions(9, seed=4, name="b/val")]
    parts[0].xy[::2] = parts[0].xy[::2][:, list(MPII.flip)]
    summary = summarise(pooled(parts))
    kinds = summary.wrong
    assert kinds.other_side > 0 and kinds.near > 0 and kinds.far > 0
    said = wrong_line(summary)
    assert said.startswith(f"all, {kinds.count} joints wrong: {kinds.other_side} where the other side's joint is")
    assert said.endswith(f", {kinds.near} within 1 head, {kinds.far} farther off")
    assert "of them with that one" not in wrong_line(summarise(somebody()))
