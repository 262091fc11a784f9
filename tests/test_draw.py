"""The overlay says what is sure, and no pose or picture makes it fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from fakes import frame, pose
from hgrt.draw import HIDDEN, JOINTS, LIMBS, SURE, draw_box, draw_joints, draw_pose, shown
from hgrt.live.clock import Stopwatch
from hgrt.live.hud import doubts, draw_hud, draw_overlay, hud_lines
from hgrt.live.source import Frame, Source
from hgrt.pose.geometry import Box, Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII, side_of

UNSURE = (HIDDEN + SURE) / 2


def black(width: int = 200, height: int = 200) -> Image:
    return np.zeros((height, width, 3), np.uint8)


def only(joint: str, score: float) -> Pose:
    """A pose with one joint, in the middle of the picture."""
    base, k = pose(), MPII.index(joint)
    scores, xy = np.zeros(16), base.xy.copy()
    scores[k], xy[k] = score, (100.0, 100.0)
    return replace(base, xy=xy, score=scores)


@pytest.mark.parametrize("joint", ["l_wrist", "r_hip", "head_top"])
def test_a_sure_joint_is_filled_a_doubtful_one_hollow_a_hidden_one_absent(joint: str) -> None:
    middles, inks = [], []
    for score in (0.95, UNSURE, 0.01):
        image = black()
        draw_pose(image, only(joint, score))
        middles.append(bool(image[100, 100].any()))
        inks.append(np.count_nonzero(image.any(axis=2)))
    assert middles == [True, False, False]
    assert inks[0] > 0 and inks[1] > 0 and inks[2] == 0


SEEN: dict[str, tuple[dict[str, float], set[str]]] = {
    "one knee alone is a mistake": ({"l_knee": 0.9}, set()),
    "so is one with a hint of the other": ({"l_knee": 0.6, "r_knee": 0.3, "l_ankle": 0.2}, set()),
    "two ankles alone as well": ({"l_ankle": 0.9, "r_ankle": 0.9}, set()),
    "two knees are a picture that ends at the shins": ({"l_knee": 0.6, "r_knee": 0.6}, {"l_knee", "r_knee"}),
    "two faint ones are not": ({"l_knee": 0.5, "r_knee": 0.5}, set()),
    "one leg is enough": ({"r_knee": 0.8, "r_ankle": 0.7}, {"r_knee", "r_ankle"}),
    "what is faint of them is hidden": (
        {"l_knee": 0.8, "r_knee": 0.34, "l_ankle": 0.8, "r_ankle": 0.35},
        {"l_knee", "l_ankle", "r_ankle"},
    ),
}


@pytest.mark.parametrize("case", SEEN)
def test_legs_are_shown_where_there_are_any(case: str) -> None:
    scores, expected = SEEN[case]
    score = np.full(16, 0.36, np.float32)
    score[MPII.indices([f"{side}_{joint}" for side in "rl" for joint in ("knee", "ankle")])] = 0.0
    score[MPII.indices(list(scores))] = list(scores.values())
    xy, before = pose().xy, score.copy()
    rest = {name for name in MPII.joints if not name.endswith(("knee", "ankle"))}
    assert {MPII.joints[k] for k in np.flatnonzero(shown(xy, score))} == rest | expected
    assert {MPII.joints[k] for k in np.flatnonzero(shown(xy, score, 0.37))}.isdisjoint(rest)
    np.testing.assert_array_equal(score, before)


@pytest.mark.parametrize("turned", [0, 90, 180])
def test_a_knee_at_the_chest_is_an_arm_unless_an_ankle_is_seen(turned: int) -> None:
    """Whichever way the person lies."""
    score, xy = np.ones(16), pose().xy.copy()
    knee, hip, ankles = MPII.index("r_knee"), MPII.index("r_hip"), MPII.indices(["r_ankle", "l_ankle"])
    score[ankles] = 0.3
    up = xy[MPII.index("thorax")] - xy[MPII.index("pelvis")]
    cos, sin = np.cos(np.radians(turned)), np.sin(np.radians(turned))
    turn = np.array([[cos, sin], [-sin, cos]])
    for above, there in ((0.25, True), (0.35, False)):
        xy[knee] = xy[hip] + above * up
        assert shown(xy @ turn, score)[knee] == shown(xy @ turn, score)[MPII.index("l_knee")] == there
    score[ankles[1]] = 0.4
    assert shown(xy @ turn, score)[knee]
    score[ankles[1]], score[knee] = 0.3, 0.3
    assert shown(xy @ turn, score)[MPII.index("l_knee")]  # what is not seen is raised nowhere


def test_a_knee_alone_is_neither_drawn_nor_named() -> None:
    image, alone = black(), only("l_knee", UNSURE)
    draw_pose(image, alone)
    assert not image.any() and doubts(alone) == []
    assert doubts(only("l_hip", UNSURE)) == ["not sure: l hip"]


def test_what_is_to_be_drawn_may_be_said() -> None:
    """A sheet of errors shows a leg that the demo would not."""
    image, knee = black(), MPII.index("l_knee")
    draw_joints(image, np.full((16, 2), 100.0), np.arange(16) == knee, np.zeros(16, bool), 100.0)
    assert image.any() and not image[100, 100].any()


def test_where_a_chance_is_known_it_decides_and_not_the_score() -> None:
    for score, chance, filled in ((UNSURE, 0.6, True), (0.9, 0.4, False)):
        image = black()
        draw_pose(image, replace(only("l_wrist", score), chance=np.full(16, chance)))
        assert bool(image[100, 100].any()) is filled and image.any()
    hidden = black()
    draw_pose(hidden, replace(only("l_wrist", 0.01), chance=np.full(16, 0.9)))
    assert not hidden.any()


def test_a_limb_is_thin_where_one_of_its_ends_is_unlikely() -> None:
    inks = []
    for likely in (1.0, 0.0):
        image, chance = black(), np.ones(16)
        chance[MPII.index("r_wrist")] = likely
        score = np.zeros(16)
        score[MPII.indices(["r_wrist", "r_elbow"])] = 0.9
        draw_pose(image, replace(pose(), score=score, chance=chance))
        inks.append(np.count_nonzero(image.any(axis=2)))
    assert inks[0] > inks[1] > 0


def test_left_right_and_middle_have_their_own_colours() -> None:
    colours = {}
    for joint in ("l_wrist", "r_wrist", "pelvis"):
        image = black()
        draw_pose(image, only(joint, 0.95))
        colours[joint] = tuple(image[100, 100])
        assert colours[joint] == JOINTS[MPII.index(joint)]
    assert len(set(colours.values())) == 3
    for i, j, colour in LIMBS:
        sides = {side_of(MPII.joints[k]) for k in (i, j)} - {"middle"}
        assert colour == colours[{"left": "l_wrist", "right": "r_wrist"}.get(next(iter(sides), ""), "pelvis")]


def test_limbs_join_the_joints() -> None:
    image = black()
    drawn = pose()
    draw_pose(image, drawn)
    for i, j, _ in LIMBS:
        middle = np.round((drawn.xy[i] + drawn.xy[j]) / 2).astype(int)
        assert image[middle[1], middle[0]].any(), MPII.joints[i]


def test_a_limb_with_a_hidden_end_is_not_drawn() -> None:
    image = black()
    base = pose()
    score = base.score.copy()
    score[MPII.index("r_ankle")] = 0.0
    draw_pose(image, replace(base, score=score))
    ends = base.xy[MPII.indices(["r_knee", "r_ankle"])]
    x, y = np.round(0.25 * ends[0] + 0.75 * ends[1]).astype(int)
    assert not image[y, x].any()


@pytest.mark.parametrize(
    "xy", [(-50.0, 20.0), (1e4, -1e4), (1e9, 1e9), (-1e12, 3.0), (np.inf, 5.0), (199.6, 199.6), (-0.5, -0.5)]
)
def test_joints_outside_the_picture_do_no_harm(xy: tuple[float, float]) -> None:
    image = black()
    base = pose()
    moved = base.xy.copy()
    moved[::3] = xy
    draw_pose(image, replace(base, xy=moved))
    assert image.any()


@pytest.mark.parametrize("spread", [np.nan, np.inf, 0.0, 1e9, -1.0])
def test_an_unknown_spread_does_no_harm(spread: float) -> None:
    image = black()
    draw_pose(image, replace(pose(), spread=np.full(16, spread)))
    assert image.any()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (8, 300), (300, 8), (64, 48), (4000, 3000)])
@pytest.mark.parametrize("side", [1.0, 140.0, 1e5])
def test_any_size_of_picture_and_person(width: int, height: int, side: float) -> None:
    image = black(width, height)
    box = Box(width / 2, height / 2, side)
    base = pose()
    xy = (base.xy - 100) / 140 * side + [width / 2, height / 2]
    drawn = replace(base, xy=xy, box=box)
    draw_box(image, box)
    draw_pose(image, drawn)
    draw_hud(image, hud_lines(25.0, 12.0, 3, {"network": 20.0, "draw": 1.0}))
    assert image.shape == (height, width, 3) and image.any()


def test_lines_grow_with_the_picture_but_stay_lines() -> None:
    shares = []
    for scale in (1, 4, 16):
        image = black(200 * scale, 200 * scale)
        base = pose()
        draw_pose(image, replace(base, xy=base.xy * scale, box=Box(100 * scale, 100 * scale, 140 * scale)))
        shares.append(np.count_nonzero(image.any(axis=2)) / image[..., 0].size)
    assert all(0.002 < share < 0.3 for share in shares), shares


@pytest.mark.parametrize(
    ("age", "stages", "lines"),
    [
        (None, {}, ["25.0 fps"]),
        (None, {"network": 20.04}, ["25.0 fps", "network 20.0 ms"]),
        (12.4, {}, ["25.0 fps", "age 12 ms", "dropped 3"]),
    ],
)
def test_the_hud_says_how_fast_and_for_live_sources_how_old(
    age: float | None, stages: dict[str, float], lines: list[str]
) -> None:
    said = " / ".join(hud_lines(25.0, age, 3, stages))
    assert all(line in said for line in lines), said
    assert ("age" in said) is (age is not None)


@pytest.mark.parametrize(
    ("doubtful", "line"),
    [
        ([], []),
        (["r_wrist"], ["not sure: r wrist"]),
        (["r_knee", "l_wrist"], ["not sure: r knee, l wrist"]),
        (["r_ankle", "r_knee", "r_hip", "l_hip"], ["not sure: r ankle, r knee, r hip, l hip"]),
        (["r_ankle", "r_knee", "r_hip", "l_hip", "l_wrist"], ["not sure: r ankle, r knee, r hip, l hip and 1 more"]),
        (list(MPII.joints), ["not sure: r ankle, r knee, r hip, l hip and 12 more"]),
    ],
)
@pytest.mark.parametrize("calibrated", [False, True])
def test_the_hud_names_the_joints_that_are_drawn_hollow(doubtful: list[str], line: list[str], calibrated: bool) -> None:
    at = MPII.indices(doubtful)
    score, chance = np.full(16, 0.9), np.ones(16)
    (chance if calibrated else score)[at] = UNSURE
    assert doubts(replace(pose(), score=score, chance=chance if calibrated else None)) == line
    score[at] = 0.01  # not drawn at all: nothing to mistrust
    assert doubts(replace(pose(), score=score, chance=chance if calibrated else None)) == []


def test_the_overlay_has_the_line_of_doubts_only_where_there_are_some() -> None:
    class Still(Source):
        live, continuous = False, True

        def __iter__(self) -> Iterator[Frame]:
            raise AssertionError

    heights = []
    for score in (0.9, UNSURE):
        shot = frame(image=np.full((400, 600, 3), 200, np.uint8))
        draw_overlay(shot, replace(pose(score=score), xy=pose().xy + [300, 150]), Stopwatch(), Still("still"))
        heights.append(int((shot.bgr[:, 0] < 200).all(axis=1).sum()))
    assert 0 < heights[0] < heights[1]
