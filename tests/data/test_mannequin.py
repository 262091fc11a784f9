"""Mannequins: stances lifted from pictures, surfaces that are cut, cameras; and, where they are installed, bodies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import environment
from hgrt.data.body import Body, joints_from_angles, random_pose
from hgrt.data.find import open_sets
from hgrt.data.mannequin.__main__ import Sheaf, write
from hgrt.data.mannequin.photo import Camera
from hgrt.data.mannequin.reach import AT_HEAD, AT_TRUNK, PALM, reaching
from hgrt.data.mannequin.scene import Poses, mirrored, photographed
from hgrt.data.mannequin.stance import (
    ARMS,
    HEAD,
    HIPS,
    LEGS,
    SEGMENTS,
    SHOULDERS,
    TRUNK,
    faces,
    frame,
    lifted,
    of_joints,
    turned,
    unit,
)
from hgrt.data.mannequin.surface import clipped, smoothed, vertex_normals
from hgrt.pose.skeleton import MPII
from packing import jpeg, rows

EVERYTHING = np.ones(16, bool)
MADE_UP = Poses(np.zeros((0, 16, 2)), np.zeros((0, 16), bool))
seeds = st.integers(0, 2**31)


def seen_from_afar(joints: np.ndarray) -> np.ndarray:
    """(16,3) joints of `hgrt.data.body` as a picture has them, 100 px a metre."""
    return joints[:, :2] * 100 + 200


# Stances


def test_somebody_upright_who_faces_the_camera() -> None:
    stance = of_joints(joints_from_angles({}, Body()))
    assert np.allclose(stance[HIPS], [1, 0, 0]) and np.allclose(stance[SHOULDERS], [1, 0, 0])
    assert np.allclose(stance[TRUNK], [0, 0, 1])
    assert all(stance[upper] @ [0, 0, -1] > 0.95 for upper, _ in (*LEGS, *ARMS))
    assert np.allclose(frame(stance[HIPS], stance[TRUNK]), np.eye(3)), "the back is away from the camera"


@given(seeds)
def test_what_is_lifted_looks_as_what_was_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joints = random_pose(rng)
    stance = lifted(seen_from_afar(joints), EVERYTHING, rng)
    assert stance is not None and np.allclose(np.linalg.norm(stance, axis=1), 1)
    seen = of_joints(joints)[:, [0, 2]]
    long = np.linalg.norm(seen, axis=1) > 0.3
    for one, other in zip(seen[long], stance[long][:, [0, 2]], strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.999, "seen in another direction"


@pytest.mark.parametrize("turn", [-25.0, 0.0, 25.0])
def test_knees_and_elbows_bend_the_way_they_can(turn: float) -> None:
    angles = {
        "r_hip": 70,
        "l_hip": 70,
        "r_knee": 80,
        "l_knee": 80,
        "r_flex": 40,
        "l_flex": 40,
        "r_elbow": 70,
        "l_elbow": 70,
    }
    joints = joints_from_angles(angles | {"yaw": turn}, Body())
    stance = lifted(seen_from_afar(joints), EVERYTHING, np.random.default_rng(0))
    assert stance is not None
    for upper, lower in LEGS:
        assert stance[upper][1] < -0.5, "a thigh points to the camera"
        assert stance[lower][1] > stance[upper][1] + 0.3, "a shin hangs from it"
    for upper, lower in ARMS:
        assert stance[lower][1] < -0.2 < stance[upper][1] + 0.9, "a forearm points to the camera"


def test_limbs_that_are_not_known_hang() -> None:
    known = EVERYTHING.copy()
    known[[MPII.index(name) for name in ("r_knee", "r_ankle", "l_ankle")]] = False
    stance = lifted(seen_from_afar(joints_from_angles({"l_hip": 40}, Body())), known, np.random.default_rng(0))
    assert stance is not None
    assert np.allclose(stance[list(LEGS[0])], -frame(stance[HIPS], stance[TRUNK])[:, 2])
    assert np.allclose(stance[LEGS[1][0]], stance[LEGS[1][1]])


@pytest.mark.parametrize("missing", ["l_hip", "head_top", "r_elbow"])
def test_too_little_is_not_lifted(missing: str) -> None:
    known = EVERYTHING.copy()
    known[MPII.index(missing)] = False
    joints = seen_from_afar(joints_from_angles({}, Body()))
    assert lifted(joints, known, np.random.default_rng(0)) is None


def test_somebody_of_no_size_is_not_lifted() -> None:
    assert lifted(np.full((16, 2), 50.0), EVERYTHING, np.random.default_rng(0)) is None


@given(seeds)
def test_a_mirror_exchanges_the_sides(seed: int) -> None:
    joints = random_pose(np.random.default_rng(seed))
    other = joints[list(MPII.flip)] * [-1, 1, 1]
    assert np.allclose(mirrored(of_joints(joints)), of_joints(other))


@pytest.mark.parametrize(("yaw", "front"), [(0, True), (60, True), (-60, True), (120, False), (180, False)])
def test_whose_front_is_seen(yaw: float, front: bool) -> None:
    assert faces(of_joints(joints_from_angles({"yaw": yaw}, Body()))) is front


@given(seeds)
def test_a_hand_is_laid_on_the_own_body(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stance = of_joints(random_pose(rng))
    out = reaching(stance, rng)
    chest, body = frame(out[SHOULDERS], out[TRUNK]), Body()
    moved = [side for side, arm in enumerate(ARMS) if not np.array_equal(out[list(arm)], stance[list(arm)])]
    assert moved and np.allclose(np.linalg.norm(out, axis=1), 1)
    left_alone = [k for k in range(len(SEGMENTS)) if not any(k in ARMS[side] for side in moved)]
    assert np.array_equal(out[left_alone], stance[left_alone])
    head = turned(chest[:, 2], out[HEAD]) @ chest
    for side in moved:
        sign, (upper, lower) = 2 * side - 1, ARMS[side]
        palm = sign * body.shoulder * chest[:, 0] + body.upper_arm * out[upper] + (body.forearm + PALM) * out[lower]
        places = [
            axes @ (np.array(place) * [sign, 1, 1])
            for axes, all_places in ((head, AT_HEAD), (chest, AT_TRUNK))
            for place in all_places.values()
        ]
        assert min(np.linalg.norm(palm - place) for place in places) < 0.25, "a hand is nowhere"


@pytest.mark.parametrize("side", [0, 1])
def test_elbows_hang_where_hands_are_at_the_mouth(side: int) -> None:
    stance = of_joints(joints_from_angles({}, Body()))
    upper, lower = ARMS[side]
    found = [out for seed in range(60) if (out := reaching(stance, np.random.default_rng(seed)))[lower][2] > 0.6]
    assert len(found) > 5, "some hands go up"
    for out in found:
        assert out[upper][2] < 0.75 and (2 * side - 1) * out[upper][0] > -0.6


@given(seeds)
def test_the_smallest_turn(seed: int) -> None:
    one, other = unit(np.random.default_rng(seed).normal(0, 1, (2, 3)))
    for end in (other, -one, one):
        turn = turned(one, end)
        assert np.allclose(turn @ one, end, atol=1e-6)
        assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) and np.linalg.det(turn) == pytest.approx(1)
        if not np.allclose(end, -one):
            assert np.trace(turn) == pytest.approx(1 + 2 * one @ end), "no smaller angle"


# Surfaces


def area(points: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = (points[triangles[:, k], :3] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def sheet(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A unit square in the plane z = 0 of 2 n n triangles."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1).astype(np.float32)
    at = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    quads = np.stack([at, at + 1, at + n + 2, at + n + 1], axis=1)
    return points, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


@given(st.floats(-0.2, 1.2), st.floats(-1, 1))
def test_a_cut_is_where_the_field_is_zero(at: float, slope: float) -> None:
    points, triangles = sheet()
    field = (points[:, 0] + slope * (points[:, 1] - 0.5) - at).astype(np.float32)
    columns, kept = clipped(np.column_stack([points, field]).astype(np.float32), triangles, field)
    other, rest = clipped(np.column_stack([points, field]).astype(np.float32), triangles, -field)
    assert area(columns, kept) + area(other, rest) == pytest.approx(1, abs=1e-4), "both parts are the whole"
    assert columns[kept.ravel(), 3].min(initial=0) > -1e-5, "nothing beyond the cut"
    assert np.allclose(columns[len(points) :, 3], 0, atol=1e-6), "new corners lie on it"
    a, b, c = (columns[kept[:, k], :3] for k in range(3))
    assert np.cross(b - a, c - a)[:, 2].min(initial=0) > -1e-6, "and nothing is turned over"


def test_smoothing_keeps_what_is_flat_and_flattens_what_is_not() -> None:
    points, triangles = sheet()
    bumpy = points + np.float32([0, 0, 1]) * np.random.default_rng(0).normal(0, 0.1, (len(points), 1)).astype(
        np.float32
    )
    assert (vertex_normals(points, triangles) == [0, 0, 1]).all()
    assert np.ptp(smoothed(points, triangles)[:, 2]) == 0
    assert np.std(smoothed(bumpy, triangles)[:, 2]) < 0.7 * np.std(bumpy[:, 2])
    lonely = np.concatenate([points, [[5, 5, 5]]]).astype(np.float32)
    assert np.array_equal(smoothed(lonely, triangles)[-1], lonely[-1]), "a vertex of no triangle stays"


# Cameras


@given(seeds)
def test_rays_go_where_points_are_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
    camera = Camera(rng.normal(0, 2, 3), axes, 40, 30, 50.0)
    rays = camera.rays(10, 5, 30, 25).reshape(40, 40, 3)
    assert np.allclose(np.linalg.norm(rays, axis=2), 1, atol=1e-5)
    pixel, ahead = camera.project(camera.at + 3.0 * rays[8:10, 20:22].reshape(-1, 3))
    assert np.allclose(pixel.mean(axis=0), [20, 9], atol=1e-3), "four rays about the middle of a pixel"
    assert (ahead > 0).all()


# The command


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hgrt.data.mannequin", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=600)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--count", 0], "at least 1"),
        (["--seed", -1], "at least 0"),
        (["--away", 1.5], "from 0 to 1, not 1.5"),
        (["--away", float("nan")], "from 0 to 1, not nan"),
        (["--reach", -0.1], "--reach is a share from 0 to 1, not -0.1"),
        (["--out", "full/train.h5/new"], "cannot be written"),
        (["--poses", "picture.png"], "holds no poses"),
        (["--poses", "short.npz"], "holds no poses"),
        (["--poses", "none.npz"], "holds no poses"),
        (["--poses", "odd.npz"], "not (N, 16, 2)"),
        (["--data", "nowhere"], "no data folder"),
        (["--out", "full"], "already holds people"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, arguments: list[object], says: str) -> None:
    np.savez(tmp_path / "odd.npz", part=np.zeros((3, 14, 2)), label=np.zeros((3, 14)))
    (tmp_path / "short.npz").write_bytes((tmp_path / "odd.npz").read_bytes()[:200])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "train.h5").write_bytes(b"kept")
    paths = [tmp_path / it if isinstance(it, str) and not it.startswith("--") else it for it in arguments]
    done = run("--out", tmp_path / "new", *paths)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full" / "train.h5").read_bytes() == b"kept"


def test_what_is_made_before_a_stop_is_a_set(tmp_path: Path) -> None:
    def sheaves() -> Iterator[Sheaf]:
        for number in range(3):
            if number == 2:
                raise KeyboardInterrupt
            fields = {name: list(values) for name, values in rows(2).items()}
            fields["imgname"] = [f"{number}-{k}.jpg" for k in range(2)]
            yield [(name, jpeg(number)) for name in fields["imgname"]], fields

    made = write(tmp_path, sheaves())
    assert [next(made), next(made)] == [2, 4]
    with pytest.raises(KeyboardInterrupt):
        next(made)
    (people,) = open_sets([tmp_path], "train")
    assert [people.get(index).name for index in range(len(people))] == ["0-0.jpg", "0-1.jpg", "1-0.jpg", "1-1.jpg"]
    assert people.get(3).image.shape == (41, 60, 3)


# Bodies

bodies = [
    pytest.mark.mannequin,
    pytest.mark.skipif(
        find_spec("anny") is None or find_spec("embreex") is None, reason="the extra `mannequin` is absent"
    ),
    pytest.mark.filterwarnings("default"),  # of the packages it brings
]


def bones(joints: np.ndarray) -> np.ndarray:
    """Directions of SEGMENTS of (16,3) joints in the axes of stances."""
    at = {name: joints[i] for i, name in enumerate(MPII.joints)}
    return np.array([unit(at[other] - at[one]) for one, other in SEGMENTS])


class TestBodies:
    pytestmark = bodies

    @pytest.mark.parametrize("seed", range(6))
    def test_a_body_takes_the_stance(self, seed: int) -> None:
        from hgrt.data.mannequin.rig import pose
        from hgrt.data.mannequin.scene import build

        rng = np.random.default_rng(seed)
        stance = of_joints(random_pose(rng))
        found = bones(pose(build(rng), stance, rng).joints)
        angles = np.degrees(np.arccos(np.clip((found * stance).sum(axis=1), -1, 1)))
        limbs = [k for pair in (*LEGS, *ARMS) for k in pair]
        assert angles[limbs].max() < 20 and np.median(angles[limbs]) < 8, angles.round(1)
        assert angles[[TRUNK, HIPS]].max() < 20 and angles[HEAD] < 60

    @pytest.mark.parametrize("seed", range(6))
    def test_hands_that_reach_are_at_the_body(self, seed: int) -> None:
        from hgrt.data.mannequin.rig import PARTS, pose

        rng = np.random.default_rng(seed)
        before = of_joints(joints_from_angles({"r_abd": 80, "l_abd": 80}, Body()))
        stance = reaching(before, rng)
        body = pose({"gender": 0.5, "age": 0.66}, stance, rng)
        moved = [not np.array_equal(stance[upper], before[upper]) for upper, _ in ARMS]
        assert any(moved)
        rump = body.skin(body.rest)[np.isin(body.mesh.part, [PARTS.index("trunk"), PARTS.index("head")])]
        for reaches, elbow, wrist in zip(moved, ("r_elbow", "l_elbow"), ("r_wrist", "l_wrist"), strict=True):
            if reaches:
                one, other = (body.joints[MPII.index(name)] for name in (elbow, wrist))
                palm = other + PALM * unit(other - one)
                assert np.linalg.norm(rump - palm, axis=1).min() < 0.2, "a hand is held away from the body"

    def test_joints_lie_within_the_body(self) -> None:
        from hgrt.data.mannequin.rig import mesh, pose

        stance = of_joints(joints_from_angles({}, Body()))
        body = pose({"gender": 1.0, "age": 0.66}, stance, np.random.default_rng(0))
        used = np.unique(mesh().triangles["body"])
        skin = body.skin(body.rest)[used]
        for name, joint in zip(MPII.joints, body.joints, strict=True):
            near = np.linalg.norm(skin - joint, axis=1).min()
            assert near < (0.02 if name == "head_top" else 0.16), name
        assert body.joints[9, 2] == pytest.approx(skin[:, 2].max(), abs=0.02), "nothing is higher than the head's top"

    def test_the_seed_decides_a_picture_and_its_people(self) -> None:
        rng = np.random.default_rng(4)
        picture, people = photographed(rng, MADE_UP, [])
        again, same = photographed(np.random.default_rng(4), MADE_UP, [])
        assert np.array_equal(picture, again) and np.array_equal(people[0].joints, same[0].joints)
        for person in people:
            inside = (person.joints >= 0).all(axis=1) & (person.joints < picture.shape[1::-1]).all(axis=1)
            assert not (person.visible & ~inside).any() and person.visible.sum() >= 7
            assert not person.labelled[[8, 9]].any(), "where heads are marked differs from set to set"

    def test_who_is_to_look_away_is_seen_from_behind(self) -> None:
        facing, away = (
            [one for seed in range(4) for one in photographed(np.random.default_rng(seed), MADE_UP, [], share)[1]]
            for share in (0.0, 1.0)
        )
        right, left = (MPII.index(name) for name in ("r_hip", "l_hip"))
        assert any(one.joints[left, 0] > one.joints[right, 0] for one in facing)
        assert all(one.joints[left, 0] < one.joints[right, 0] for one in away)

    def test_the_command_makes_a_set_that_can_be_learnt_from(self, tmp_path: Path) -> None:
        joints = np.stack([seen_from_afar(random_pose(np.random.default_rng(k))) for k in range(9)])
        np.savez(tmp_path / "poses.npz", part=joints, label=np.ones((9, 16)), is_valid_image=np.arange(9) > 6)
        done = run("--out", tmp_path / "made", "--count", 3, "--poses", tmp_path / "poses.npz", "--jobs", 1)
        assert done.returncode == 0, done.stderr
        (people,) = open_sets([tmp_path / "made"], "train")
        assert len(people) >= 3
        for index in range(len(people)):
            sample = people.get(index)
            torso = sample.labelled[[2, 3, 12, 13]]
            assert torso.all() and sample.box.side > 80
            assert cv2.Laplacian(sample.image, cv2.CV_64F).std() > 1, "something is to be seen"
