"""The tracker finds a painted person, follows it, loses it and finds it again, with a bounded number of looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hgrt.live.person as person_module
from fakes import SPEC, WHERE, FakeBackend, fake_estimator, gaussians, joints_of, painted_joints, picture, pose
from hgrt.live.person import (
    DOUBTS,
    KEPT,
    LEAST,
    SAME,
    SETTLED,
    Tracker,
    _between,
    agreed,
    box_around,
    candidates,
)
from hgrt.pose.geometry import Array, Box, Image
from hgrt.pose.heatmaps import Maps
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import FLIP

FOUND = SPEC.found
PATIENCE = 30  # frames that a search may take; it may look bit by bit
SIZES = [(640, 360), (360, 640), (900, 300), (300, 900), (400, 400)]
PLACES = [(0.5, 0.5), (0.12, 0.3), (0.88, 0.72), (0.3, 0.8), (0.75, 0.25)]

Person = tuple[float, float, float]


def make(crop: float = 1.0) -> tuple[Tracker, FakeBackend]:
    backend = FakeBackend(spec=replace(SPEC, crop=crop))
    return Tracker(fake_estimator(backend)), backend


def first_found(tracker: Tracker, image: Image) -> Pose:
    for _ in range(PATIENCE):
        if (found := tracker(image)) is not None:
            return found
    raise AssertionError(f"not found in {PATIENCE} frames")


def assert_on(found: Pose | None, person: Person, share: float = 0.06) -> None:
    """All joints within a share of the person's height."""
    assert found is not None
    off = np.linalg.norm(found.xy - joints_of(person), axis=1)
    assert off.max() < share * person[2], f"{off.max() / person[2]:.2f} of the height off"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_small_person_is_found_anywhere(width: int, height: int, place: tuple[float, float]) -> None:
    tall = 0.3 * min(width, height)
    person = (
        float(np.clip(place[0] * width, tall / 2, width - tall / 2)),
        float(np.clip(place[1] * height, tall / 2, height - tall / 2)),
        tall,
    )
    assert_on(first_found(make()[0], picture(width, height, person)), person)


@pytest.mark.parametrize("crop", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("tall", [92, 120, 240, 350])
def test_people_of_any_size_are_found(tall: int, crop: float) -> None:
    person = (350.0, 180.0, float(tall))
    assert_on(first_found(make(crop)[0], picture(640, 360, person)), person)


def test_whoever_the_network_would_see_enlarged_more_than_by_half_is_not_searched() -> None:
    tracker = make()[0]
    for i in range(PATIENCE):
        assert tracker(picture(640, 360, (350.0, 180.0, 80.0), seed=i)) is None
    assert SPEC.input * LEAST > 1.4 * 80


def test_what_only_one_square_shows_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is sure of the same pose in every square, whatever is there: its joints move with the square."""
    maps = gaussians(WHERE * [12, 24] + 23.5, SPEC.heatmap, 0.95)
    backend = FakeBackend(lambda crop: maps)
    tracker, image, looks = Tracker(fake_estimator(backend)), picture(640, 360), []
    for _ in range(PATIENCE):
        before = backend.seen
        assert tracker(image) is None
        looks.append(backend.seen - before)
    assert max(looks) <= 60 and max(looks[1:]) <= 10, looks
    monkeypatch.setattr(person_module, "AGAIN", ((0, 0, 1),))  # a look at the same square shows the same again
    assert first_found(tracker, image).confidence > FOUND


@pytest.mark.parametrize(("bound", "there"), [(0.79, True), (0.81, False)])
def test_how_sure_a_search_must_be_comes_with_the_weights(bound: float, there: bool) -> None:
    person, estimator = (320.0, 180.0, 200.0), fake_estimator(FakeBackend(spec=replace(SPEC, found=bound)))
    estimator.poses = lambda image, boxes, mark: [  # type: ignore[assignment,method-assign]
        pose(joints_of(person), 0.8, box) for box in boxes
    ]
    assert (Tracker(estimator)(picture(640, 360, person)) is not None) == there


def test_where_the_surest_square_shows_nobody_the_next_ones_are_tried() -> None:
    """In large squares something that moves with them is surer than the person whom the small ones show."""
    person, estimator = (200.0, 200.0, 120.0), fake_estimator()

    def poses(image: Image, boxes: list[Box], mark: object) -> list[Pose]:
        (box,) = boxes
        if box.side > 300:
            return [pose(joints_of((box.cx, box.cy, 0.7 * box.side)), 0.95, box)]
        return [pose(joints_of(person), 0.85, box)]

    estimator.poses = poses  # type: ignore[assignment,method-assign]
    assert_on(Tracker(estimator)(picture(400, 400)), person)


@given(hnp.arrays(float, (3, 16), elements=st.floats(0, 1)), hnp.arrays(float, (3, 16), elements=st.floats(0, 0.2)))
def test_looks_that_agree_are_at_most_as_sure_as_the_pose(scores: Array, away: Array) -> None:
    box = Box(100, 100, 100)
    places = [box.side * (WHERE + 1 + np.stack([row, 0 * row], axis=1)) for row in away]
    first, *others = (Pose(xy, score, np.ones(16), box) for xy, score in zip(places, scores, strict=True))
    sure = agreed(first, others)
    assert 0 <= sure <= first.confidence + 1e-9
    assert agreed(first, [first]) == pytest.approx(first.confidence)
    assert sure <= np.mean([agreed(first, [other]) for other in others]) + 1e-9


def test_a_joint_counts_as_the_less_sure_look_has_it_and_only_where_both_have_it() -> None:
    surest = pose(score=0.9, box=Box(100, 100, 200))
    assert agreed(surest, [replace(surest, score=np.full(16, 0.7))]) == pytest.approx(0.7)
    near, far = (replace(surest, xy=surest.xy + [0, 200 * share]) for share in (0.9 * SAME, 1.1 * SAME))
    assert agreed(surest, [near]) == pytest.approx(0.9)
    assert agreed(surest, [far]) == 0
    assert agreed(surest, [near, far]) == pytest.approx(0.45)


def test_a_look_with_left_and_right_exchanged_is_of_the_same_person_but_one_upside_down_is_not() -> None:
    person = pose(score=0.9, box=Box(100, 100, 200))
    turned, fallen = replace(person, xy=person.xy[FLIP]), replace(person, xy=200 - person.xy)
    assert np.linalg.norm(turned.xy - person.xy, axis=1).max() > 2 * SAME * person.box.side
    assert agreed(person, [turned]) == agreed(person, [person, turned]) == pytest.approx(0.9)
    assert agreed(person, [fallen]) < 0.45


@pytest.mark.parametrize("crop", [0.8, 1.25])
def test_who_is_followed_is_seen_as_wide_whatever_share_of_a_given_box_the_network_looks_at(crop: float) -> None:
    trackers = [make(share)[0] for share in (crop, 1.0)]
    for i in range(30):
        image = picture(640, 360, (100 + 12 * i, 180.0, 150.0)) if i < 20 else picture(640, 360)
        one, other = (tracker(image) for tracker in trackers)
        assert (one is None) == (other is None) == (i >= 20)
        if one is not None and other is not None:
            assert one.box == other.box
            np.testing.assert_allclose(one.xy, other.xy, atol=1e-6)


def test_of_a_given_box_the_network_looks_at_its_share() -> None:
    person = (320.0, 180.0, 150.0)
    tracker = make(0.8)[0]
    given = Tracker(tracker.estimator, Box(320, 180, 200))
    found, expected = given(picture(640, 360, person)), tracker.estimator(picture(640, 360, person), Box(320, 180, 200))
    assert found is not None and found.box == expected.box == Box(320, 180, 200)
    np.testing.assert_array_equal(found.xy, expected.xy)
    np.testing.assert_array_equal(found.score, expected.score)


@pytest.mark.parametrize("crop", [0.8, 1.0, 1.25])
def test_a_search_sees_all_of_the_frame_however_little_of_a_box_the_network_looks_at(crop: float) -> None:
    tracker, backend = make(crop)
    looks: list[Image] = []
    backend.answer = lambda seen: looks.append(seen) or painted_joints(seen, SPEC.heatmap)  # type: ignore[func-returns-value]
    image = np.full((400, 400, 3), 128, np.uint8)
    image[:, :20] = image[:, -20:] = 255
    tracker(image)
    assert (looks[0][:, [1, -2]] == 255).all() and (looks[0][:, [14, -15]] == 128).all()


def test_a_walking_person_is_followed_with_one_look_a_frame() -> None:
    tracker, backend = make()
    path = [(100 + 8 * i, 180 + 30 * np.sin(i / 5), 120 + 1.5 * i) for i in range(50)]
    first_found(tracker, picture(640, 360, path[0]))
    before = backend.calls
    for person in path:
        assert_on(tracker(picture(640, 360, person)), person, 0.1)
    assert backend.calls - before == len(path)


def test_a_person_who_leaves_is_lost_and_found_again_elsewhere() -> None:
    tracker, _ = make()
    here, there = (120.0, 180.0, 150.0), (520.0, 200.0, 120.0)
    first_found(tracker, picture(640, 360, here))
    for _ in range(4):
        assert tracker(picture(640, 360)) is None
    first_found(tracker, picture(640, 360, there))
    for _ in range(5):  # the first sight may be a glimpse
        tracker(picture(640, 360, there))
    for _ in range(3):  # followed from there on
        assert_on(tracker(picture(640, 360, there)), there)


def test_a_person_who_jumps_is_found_again() -> None:
    tracker, _ = make()
    first_found(tracker, picture(640, 360, (100.0, 180.0, 120.0)))
    there = (560.0, 180.0, 120.0)
    for _ in range(PATIENCE):
        found = tracker(picture(640, 360, there))
    assert_on(found, there)


@pytest.mark.parametrize(
    ("here", "there", "goes"),
    [
        (KEPT + 0.05, FOUND - 0.05, False),  # much surer, but nobody by itself: a table, while somebody walks out
        (KEPT + 0.05, FOUND + 0.05, True),
        (FOUND - 0.05, FOUND, False),  # hardly surer
        (SETTLED, 1.0, False),  # sure enough not to be compared
    ],
)
def test_only_somebody_surer_takes_the_place_of_a_followed_person(here: float, there: float, goes: bool) -> None:
    left, right = (160.0, 180.0, 150.0), (480.0, 180.0, 150.0)
    estimator, sure = fake_estimator(), {left: 1.0, right: 0.0}

    def poses(image: Image, boxes: list[Box], mark: object) -> list[Pose]:
        """Whoever is nearer to the middle of the box."""
        nearer = [min(sure, key=lambda person: abs(person[0] - box.cx)) for box in boxes]
        return [pose(joints_of(one), sure[one], box) for one, box in zip(nearer, boxes, strict=True)]

    estimator.poses = poses  # type: ignore[assignment,method-assign]
    tracker = Tracker(estimator)
    assert_on(first_found(tracker, picture(640, 360)), left)
    sure |= {left: here, right: there}
    for _ in range(3 * PATIENCE):
        found = tracker(picture(640, 360))
    assert_on(found, right if goes else left)


def test_a_change_of_the_frame_size_is_survived() -> None:
    tracker, _ = make()
    first_found(tracker, picture(640, 360, (560.0, 180.0, 150.0)))
    person = (100.0, 70.0, 100.0)
    assert_on(first_found(tracker, picture(200, 140, person)), person)


def test_nobody_is_none_and_costs_a_bounded_number_of_looks() -> None:
    tracker, backend = make()
    looks = []
    for i in range(20):
        before = backend.seen
        assert tracker(picture(900, 300, seed=i)) is None
        looks.append(backend.seen - before)
    assert min(looks) >= 1
    assert max(looks[1:]) <= 10, looks  # once the whole frame was searched in vain
    assert looks[0] <= 60, looks


def test_looks_for_a_person_are_bounded_even_when_just_lost() -> None:
    tracker, backend = make()
    first_found(tracker, picture(640, 360, (320.0, 180.0, 200.0)))
    for _ in range(5):
        before = backend.seen
        tracker(picture(640, 360))
        assert backend.seen - before <= 60


@pytest.mark.parametrize("person", [None, (500.0, 180.0, 200.0), (110.0, 110.0, 100.0)])
def test_a_box_given_by_the_user_is_never_overridden(person: Person | None) -> None:
    backend = FakeBackend()
    fixed = Box(100, 100, 160)
    tracker = Tracker(fake_estimator(backend), fixed)
    for i in range(5):
        found = tracker(picture(640, 360, person, seed=i))
        assert found is not None and found.box == fixed
    assert (backend.calls, backend.seen) == (5, 5)


STAGES = ["crop", "network", "decode"]


def doubtful(crop: Image) -> Maps:
    """The painted person, seen well enough to be followed and never well enough to be sure of."""
    maps = painted_joints(crop, SPEC.heatmap)
    unsure = (FOUND + SETTLED) / 2
    return maps * (unsure / max(unsure, float(maps.max())))


def test_searching_is_marked_as_finding_and_following_by_its_stages() -> None:
    person = picture(640, 360, (320.0, 180.0, 200.0))
    tracker, marks = Tracker(fake_estimator(FakeBackend(doubtful))), list[str]()
    first = tracker(picture(640, 360), marks.append), tracker(person, marks.append)
    assert first[0] is None and first[1] is not None
    assert set(marks) == {"find"}
    per_frame = []
    for _ in range(DOUBTS):
        marks.clear()
        assert tracker(person, marks.append) is not None
        per_frame.append(list(marks))
    assert per_frame[:-1] == [STAGES] * (DOUBTS - 1)
    assert per_frame[-1][:3] == STAGES  # then another place is looked at
    assert set(per_frame[-1][3:]) == {"find"}


def test_a_given_box_needs_no_finding() -> None:
    marks: list[str] = []
    Tracker(fake_estimator(), Box(100, 100, 160))(picture(640, 360), marks.append)
    assert marks == STAGES


@pytest.mark.parametrize(("width", "height"), [*SIZES, (1, 1), (2, 1000), (4000, 3), (1920, 1080)])
def test_the_squares_of_a_search_cover_the_whole_frame(width: int, height: int) -> None:
    squares = candidates(width, height)
    assert 1 <= len(squares) <= 60 or min(width, height) < 10
    covered = np.zeros((height, width), bool)
    for box in squares[1:] or squares:
        low_x, low_y = (max(0, int(np.ceil(c - box.side / 2))) for c in (box.cx, box.cy))
        covered[low_y : int(box.cy + box.side / 2) + 1, low_x : int(box.cx + box.side / 2) + 1] = True
    assert covered.all()


def test_a_box_needs_some_sure_joints() -> None:
    sure = pose(score=0.9)
    box = box_around(sure)
    assert box is not None
    low, high = sure.xy.min(axis=0), sure.xy.max(axis=0)
    assert np.all(np.array([box.cx, box.cy]) - box.side / 2 < low)
    assert np.all(np.array([box.cx, box.cy]) + box.side / 2 > high)
    assert box_around(pose(score=0.0)) is None


def test_a_doubtful_joint_far_away_does_not_draw_the_box() -> None:
    sure = pose(score=0.9)
    xy, score = sure.xy.copy(), sure.score.copy()
    xy[3], score[3] = (10_000, 10_000), 0.01
    box = box_around(Pose(xy, score, sure.spread, sure.box))
    assert box is not None and box.side < 1000


@pytest.mark.parametrize(
    ("new", "stays"),
    [
        (Box(104.0, 96.0, 218.0), True),
        (Box(111.0, 100.0, 200.0), False),  # walks
        (Box(100.0, 89.0, 200.0), False),
        (Box(100.0, 100.0, 221.0), False),  # comes nearer
        (Box(100.0, 100.0, 179.0), False),
    ],
)
def test_a_box_that_hardly_differs_stays(new: Box, stays: bool) -> None:
    old = Box(100.0, 100.0, 200.0)
    following = _between(old, new)
    assert (following == old) == stays
    assert abs(following.cx - new.cx) <= abs(old.cx - new.cx) and abs(following.side - new.side) <= abs(
        old.side - new.side
    )


def test_after_a_reset_nothing_is_known() -> None:
    """Unrelated pictures: the person of one says nothing of where the next one's is."""
    tracker, backend = make()
    first_found(tracker, picture(640, 360, (120.0, 180.0, 150.0)))
    there = (520.0, 200.0, 120.0)
    tracker.reset()
    before = backend.seen
    assert_on(tracker(picture(640, 360, there)), there)
    assert backend.seen - before >= len(candidates(640, 360))
