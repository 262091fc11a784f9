"""Drawn people must be where their joints say they are, and the committed clip must be the one the code draws."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hgrt.data import clip
from hgrt.data.synthetic import (
    MOTIONS,
    Body,
    draw_person,
    joints_from_angles,
    motion_angles,
    pose_at,
    random_background,
    random_figure,
    random_pose,
    synthetic_background,
    synthetic_person,
)

ASSETS = Path(__file__).resolve().parents[2] / "assets"
BONES = ((0, 1), (1, 2), (3, 4), (4, 5), (8, 9), (10, 11), (11, 12), (13, 14), (14, 15))


def lengths(joints: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(joints[a] - joints[b]) for a, b in BONES])


def test_the_seed_decides_everything() -> None:
    first, again, other = (synthetic_person(np.random.default_rng(s), 160) for s in (3, 3, 4))
    assert np.array_equal(first.bgr, again.bgr)
    assert np.array_equal(first.joints, again.joints)
    assert np.array_equal(first.visible, again.visible)
    assert not np.array_equal(first.bgr, other.bgr)
    empty = [synthetic_background(np.random.default_rng(s), 96) for s in (3, 3, 4)]
    assert np.array_equal(empty[0], empty[1])
    assert not np.array_equal(empty[0], empty[2])


def test_sample_shapes_and_derived_numbers() -> None:
    for seed in range(12):
        s = synthetic_person(np.random.default_rng(seed), 128)
        assert s.bgr.shape == (128, 128, 3) and s.bgr.dtype == np.uint8
        assert s.joints.shape == (16, 2) and s.joints.dtype == np.float64
        assert s.visible.shape == (16,) and s.visible.dtype == np.bool_
        assert np.allclose(s.joints[6], (s.joints[2] + s.joints[3]) / 2)
        assert np.allclose(s.joints[7], (s.joints[12] + s.joints[13]) / 2)
        assert s.head_size == pytest.approx(0.75 * np.hypot(*(s.joints[9] - s.joints[8])))
        inside = ((s.joints >= 0) & (s.joints <= 127)).all(axis=1)
        assert not s.visible[~inside].any()
        assert s.visible.sum() >= 4
        box = s.joints[inside]
        assert np.allclose(s.center, (box.min(axis=0) + box.max(axis=0)) / 2)
        assert s.side == pytest.approx(1.35 * np.ptp(box, axis=0).max())


def test_some_people_sit_before_a_webcam() -> None:
    below = sum(bool((synthetic_person(np.random.default_rng(s), 64).joints[[0, 5], 1] > 64).all()) for s in range(40))
    assert 2 <= below <= 20


@pytest.mark.parametrize("seed", range(20))
def test_random_poses_keep_human_proportions(seed: int) -> None:
    pose = random_pose(np.random.default_rng(seed))
    assert pose.shape == (16, 3)
    assert np.allclose(pose[6], 0)
    assert np.allclose(pose[6], (pose[2] + pose[3]) / 2)
    assert np.allclose(pose[7], (pose[12] + pose[13]) / 2)
    assert np.allclose(lengths(pose), lengths(pose_at("walk", 0.0)))


def test_a_standing_person_is_seven_to_eight_heads_tall_and_faces_the_camera() -> None:
    stand = joints_from_angles({}, Body())
    tall = stand[[0, 5], 1].max() - stand[9, 1] + 0.07
    assert 1.6 < tall < 1.8
    assert 7.0 < tall / Body().head < 8.0
    assert stand[12, 0] < 0 < stand[13, 0]  # the person's right is on the picture's left
    bent = joints_from_angles({"r_knee": 90.0, "l_elbow": 90.0}, Body())
    assert bent[0, 2] < bent[1, 2]  # knees bend backwards, elbows forwards
    assert bent[15, 2] > bent[14, 2]
    raised = joints_from_angles({"r_abd": 170.0, "l_flex": 165.0}, Body())
    assert raised[10, 1] < raised[9, 1] and raised[15, 1] < raised[9, 1]
    away = joints_from_angles({"yaw": 180.0}, Body())
    assert away[13, 0] < 0 < away[12, 0]


@pytest.mark.parametrize("motion", MOTIONS)
def test_motions_are_smooth_and_move(motion: str) -> None:
    track = np.stack([pose_at(motion, i / 25) for i in range(120)])
    step = np.linalg.norm(np.diff(track, axis=0), axis=2)
    assert step.max() < 0.16  # metres in 1/25 s: 4 m/s
    assert np.ptp(track, axis=0).max() > 0.2
    jerk = np.linalg.norm(np.diff(track, n=2, axis=0), axis=2)
    assert jerk.max() < 0.06


def test_an_unknown_motion_is_named() -> None:
    with pytest.raises(ValueError, match="moonwalk"):
        motion_angles("moonwalk", 0.0)


@pytest.mark.parametrize("seed", range(6))
def test_the_person_covers_every_visible_joint(seed: int) -> None:
    rng = np.random.default_rng(seed)
    figure = random_figure(rng)
    green = np.zeros((256, 256, 3), np.uint8)
    green[:] = (0, 255, 0)
    shown = green.copy()
    pose = random_pose(rng, figure.body)
    joints, visible = draw_person(shown, figure, pose, (100.0, np.array([128.0, 110.0])))
    assert np.allclose(joints, pose[:, :2] * 100 + [128, 110])
    for x, y in np.rint(joints[visible]).astype(int):
        assert np.abs(shown[y, x].astype(int) - green[y, x]).max() > 60
    changed = (np.abs(shown.astype(int) - green).max(axis=2) > 60).mean()
    assert 0.04 < changed < 0.4


def test_a_joint_behind_the_trunk_or_outside_is_not_visible() -> None:
    figure = random_figure(np.random.default_rng(1))
    behind = {"r_flex": -40.0, "r_elbow": 100.0, "r_rot": 85.0, "yaw": 0.0}
    pose = joints_from_angles(behind, figure.body)
    pose[10] = (0.0, -0.25, -0.3)  # the wrist behind the back
    canvas = np.full((256, 256, 3), 200, np.uint8)
    _, visible = draw_person(canvas, figure, pose, (110.0, np.array([128.0, 120.0])))
    assert not visible[10]
    assert visible[[12, 13, 9, 4]].all()
    _, visible = draw_person(canvas, figure, pose, (110.0, np.array([128.0, 240.0])))
    assert not visible[[0, 1, 4, 5]].any()


def test_background_fills_any_shape() -> None:
    for seed in range(8):
        scene = random_background(np.random.default_rng(seed), 70, 111)
        assert scene.shape == (70, 111, 3) and scene.dtype == np.uint8
        assert scene.std() > 2


def test_committed_clip_is_what_the_code_draws() -> None:
    record = json.loads((ASSETS / "clip.json").read_text(encoding="utf-8"))
    joints, visible = np.array(record["joints"]), np.array(record["visible"])
    assert joints.shape[1:] == (16, 2) and visible.shape == joints.shape[:2]
    assert len(record["joint_names"]) == 16
    size = (record["seed"], len(joints), record["width"], record["height"], record["fps"])
    drawn = np.stack([j[:, :2] * scale + offset for j, scale, offset in clip.clip_layout(*size)])
    assert np.abs(drawn - joints).max() < 0.01
    heads = 0.75 * np.linalg.norm(drawn[:, 9] - drawn[:, 8], axis=1)
    assert np.abs(heads - record["head_size"]).max() < 0.01
    assert np.linalg.norm(np.diff(drawn, axis=0), axis=2).max() < 0.07 * record["height"]
    assert (ASSETS / "clip.mp4").stat().st_size < 2_000_000

    video = cv2.VideoCapture(str(ASSETS / "clip.mp4"))
    first = list(itertools.islice(clip.clip_frames(*size), 4))
    errors = []
    for i, (_, points, seen) in enumerate(first):
        ok, stored = video.read()
        assert ok
        errors.append([float(np.abs(stored.astype(int) - frame).mean()) for frame, _, _ in first])
        assert np.abs(points - joints[i]).max() < 0.01
        assert np.array_equal(seen, visible[i].astype(bool))
    assert np.diag(errors).max() < 4  # compression noise only
    assert np.array_equal(np.argmin(errors, axis=1), np.arange(4))  # and no frame early or late
    count = len(first)
    while video.grab():
        count += 1
    assert count == len(joints)


def test_clip_is_written_with_its_joints(tmp_path: Path) -> None:
    clip.main([str(tmp_path / "c.mp4"), "--frames", "3", "--size", "96x64", "--seed", "2"])
    record = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert np.array(record["joints"]).shape == (3, 16, 2)
    assert (record["width"], record["height"], record["seed"]) == (96, 64, 2)
    video = cv2.VideoCapture(str(tmp_path / "c.mp4"))
    assert sum(1 for _ in iter(video.grab, False)) == 3


@pytest.mark.parametrize(
    "arguments", [["no/such/folder/c.mp4"], ["c.mp4", "--size", "95x64"], ["c.mp4", "--frames", "0"]]
)
def test_clip_refuses_bad_arguments(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        clip.main(arguments)
    assert stop.value.code not in (0, None)
