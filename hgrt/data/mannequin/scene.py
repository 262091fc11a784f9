"""Scenes: who stands where, in what stance, build and light, and what of it a camera sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.body import random_pose
from hgrt.data.mannequin.paint import fabric
from hgrt.data.mannequin.photo import Camera, Scene
from hgrt.data.mannequin.reach import reaching
from hgrt.data.mannequin.rig import Posed, pose
from hgrt.data.mannequin.stance import ARMS, HEAD, LEGS, faces, lifted, of_joints, unit
from hgrt.data.mannequin.surface import Surface
from hgrt.data.mannequin.wardrobe import dressed
from hgrt.data.synthetic import random_background
from hgrt.pose.geometry import Array, Box, Image
from hgrt.pose.skeleton import MPII

LIMBS = [i for i, name in enumerate(MPII.joints) if name.startswith(("r_", "l_"))]
MIDDLES = [6, 7]  # pelvis and thorax: half way between hips, between shoulders
# What may lie before a joint is its own flesh: thick at the trunk, thin at the limbs.
FLESH = np.array([0.1, 0.12, 0.2, 0.2, 0.12, 0.1, 0.22, 0.2, 0.16, 0.2, 0.09, 0.1, 0.15, 0.15, 0.1, 0.09])
FEWEST, SMALLEST = 7, 80.0  # joints seen, and pixels of a box's side, that make a person worth learning


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Somebody in a picture: (16,2) joints in px, which are known, which are seen, box and PCKh's unit."""

    joints: Array
    labelled: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    box: Box
    normalize: float


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Joints of real poses: (N,16,2) px and (N,16) which are known; none of them if N is 0."""

    joints: Array
    known: NDArray[np.bool_]

    def stance(self, rng: np.random.Generator, share: float) -> Array:
        """One of these, lifted into space, or with 1 - `share` one that is made up; now and then mirrored or turned."""
        out = None
        if len(self.joints) and rng.random() < share:
            for _ in range(4):
                row = int(rng.integers(len(self.joints)))
                out = lifted(self.joints[row].astype(np.float64), self.known[row], rng)
                if out is not None:
                    break
        if out is None:
            out = of_joints(random_pose(rng))
        if rng.random() < 0.5:
            out = mirrored(out)
        loose = out + rng.normal(0, 0.05, out.shape) * np.array([0.3, 1, 1, 0.5] + [1] * 8)[:, None]
        return unit(loose) @ _level(float(rng.normal(0, 12) if rng.random() < 0.85 else rng.uniform(-180, 180))).T


def mirrored(stance: Array) -> Array:
    """The stance (12,3) of somebody's picture in a mirror, who has left and right exchanged."""
    out = stance.copy()
    for (a, b), (c, d) in (LEGS, ARMS):
        out[[a, b, c, d]] = stance[[c, d, a, b]]
    out[:, 0] *= -1
    out[1:HEAD, 0] *= -1  # hips and shoulders go from right to left
    out[1:HEAD, 1:] *= -1
    return out


def _level(degrees: float) -> Array:
    """(3,3) a turn about the vertical."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def build(rng: np.random.Generator) -> dict[str, float]:
    """Phenotypes of Anny, each 0..1: mostly grown up."""
    values = {
        name: float(np.clip(rng.normal(0.5, 0.22), 0, 1)) for name in ("muscle", "weight", "height", "proportions")
    }
    values["gender"] = float(np.clip(rng.choice([0, 1]) + rng.normal(0, 0.12), 0, 1))
    values["age"] = float(rng.uniform(0.36, 0.55) if rng.random() < 0.12 else rng.uniform(0.58, 0.95))
    values |= {name: float(rng.random()) for name in ("cupsize", "firmness", "african", "asian", "caucasian")}
    return values


def photographed(
    rng: np.random.Generator, poses: Poses, pictures: Sequence[Image], away: float = 0.0, reach: float = 0.0
) -> tuple[Image, list[Person]]:
    """One picture, (H,W,3) uint8 BGR, and the people in it who can be learnt from; at least one.

    `away`: the share turned around of those who face the camera; more of these have long hair, down the back. `reach`:
    the share that has a hand at the own face, or before or behind the own trunk.
    """
    for _ in range(20):
        picture, people = _try(rng, poses, pictures, away, reach)
        if people:
            return picture, people
    raise RuntimeError("no scene of twenty showed anybody")


def _try(
    rng: np.random.Generator, poses: Poses, pictures: Sequence[Image], away: float, reach: float
) -> tuple[Image, list[Person]]:
    webcam = rng.random() < 0.4
    count = 1 if rng.random() < (0.8 if webcam else 0.55) else int(rng.integers(2, 4))
    bodies: list[Posed] = []
    surfaces: list[tuple[int, Surface]] = []
    shifts: list[Array] = []
    for number in range(count):
        stance = poses.stance(rng, 0.35 if webcam else 0.8)
        if webcam and number == 0:
            stance = stance @ _level(float(rng.normal(0, 10))).T
        # Without `away` and `reach` no numbers are drawn for them, so that a seed's pictures stay what they were.
        turned = away > 0 and faces(stance) and rng.random() < away
        if turned:
            stance = stance @ _level(180.0).T
        if reach > 0 and rng.random() < reach:
            stance = reaching(stance, rng)
        looks = build(rng)
        body = pose(looks, stance, rng)
        worn = dressed(body, looks["gender"] < 0.5, rng, pictures, hairy=turned)
        low = min(float(one.vertices[:, 2].min()) for one in worn)
        shift = np.array([0.0, 0.0, -low])
        if number:
            shift[0] = float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.1))
            shift[1] = float(rng.uniform(-0.4, 2.5) if not webcam else rng.uniform(-0.1, 1.5))
        bodies.append(body)
        shifts.append(shift)
        surfaces += [(number, _moved(one, shift)) for one in worn]
    first = bodies[0].joints + shifts[0]
    camera = _camera(rng, first, webcam)
    surfaces += [(count, prop) for prop in _props(rng, first, camera, webcam, pictures)]
    scene = Scene(surfaces)
    behind = _behind(rng, camera.width, camera.height, pictures)
    picture, whose = scene.photograph(camera, behind, rng)
    people = []
    for number, (body, shift) in enumerate(zip(bodies, shifts, strict=True)):
        person = _seen(rng, body.joints + shift, number, camera, scene, whose)
        if person is not None:
            people.append(person)
    return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 0.8))).astype(np.uint8), people


def _moved(surface: Surface, shift: Array) -> Surface:
    vertices = (surface.vertices + shift).astype(np.float32)
    return Surface(vertices, surface.triangles, surface.places, surface.along, surface.paint, surface.rough)


def _camera(rng: np.random.Generator, joints: Array, webcam: bool) -> Camera:
    """Where a camera stands that has this person, (16,3) joints, in view."""
    if webcam:
        width, height = (352, 264) if rng.random() < 0.7 else (352, 198 + 22 * int(rng.integers(0, 4)))
        away, pitch = float(rng.uniform(0.6, 1.8)), float(rng.normal(2, 9))
        top = joints[9, 2] + float(rng.uniform(0.02, 0.25))
        trunk = joints[7, 2] - joints[6, 2]
        bottom = joints[7, 2] - max(0.2, trunk) * float(rng.uniform(0.3, 1.3))
        middle = np.array([joints[7, 0] + rng.normal(0, 0.1), joints[7, 1], (top + bottom) / 2])
        wanted = height / max(top - bottom, 0.3)  # px a metre
    else:
        width, height = ((320, 320), (352, 264), (264, 352))[int(rng.integers(3))]
        away, pitch = float(np.exp(rng.uniform(np.log(1.8), np.log(8)))), float(rng.normal(6, 8))
        kept = joints[2:] if rng.random() < 0.2 else joints  # now and then somebody is cut off below
        low, high = kept.min(axis=0) - 0.12, kept.max(axis=0) + 0.12
        middle = (low + high) / 2
        share = float(rng.uniform(0.45, 1.1))
        wanted = share * min(width / (high[0] - low[0]), height / (high[2] - low[2]))
        room = np.array([width, height]) / wanted * max(0.0, 1 - share) / 2
        middle[[0, 2]] += rng.uniform(-1, 1, 2) * room
    c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    axes = np.array([[1, 0, 0], [0, c, s], [0, -s, c]], dtype=np.float64)  # columns right, ahead, up; looking down
    roll = np.radians(float(rng.normal(0, 3)))
    right, up = axes[:, 0].copy(), axes[:, 2].copy()
    axes[:, 0], axes[:, 2] = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    away = max(away, float(middle[1] - joints[:, 1].min()) + 0.35)
    return Camera(middle - away * axes[:, 1], axes, width, height, wanted * away)


def _props(
    rng: np.random.Generator, joints: Array, camera: Camera, webcam: bool, pictures: Sequence[Image]
) -> list[Surface]:
    """A desk before somebody, a seat behind, things in hands and in the way."""
    out = []
    pelvis, thorax = joints[MIDDLES]
    if webcam and rng.random() < 0.25:
        height = pelvis[2] + float(rng.uniform(-0.15, 0.12))
        middle = np.array([thorax[0], float(joints[:, 1].min()) - 0.1, height - 0.02])
        out.append(_box(rng, middle, np.array([1.5, float(rng.uniform(0.1, 0.5)), 0.03]), pictures, np.eye(3)))
    if rng.random() < (0.25 if webcam else 0.08):
        high = float(rng.uniform(-0.15, 0.35))
        back = float(joints[MIDDLES, 1].max()) + 0.22
        middle = np.array([thorax[0], back, pelvis[2] + (thorax[2] - pelvis[2]) * 0.4 + high / 2])
        half = np.array([float(rng.uniform(0.2, 0.35)), 0.05, 0.35 + high / 2])
        out.append(_box(rng, middle, half, pictures, _level(float(rng.normal(0, 15)))))
    for wrist, elbow in ((10, 11), (15, 14)):
        if rng.random() < 0.12:
            at = joints[wrist] + 0.11 * unit(joints[wrist] - joints[elbow])
            out.append(_box(rng, at, rng.uniform([0.02, 0.01, 0.04], [0.06, 0.04, 0.13]), pictures, _any_turn(rng)))
    if rng.random() < 0.12:
        middle = joints[rng.integers(16)] * 0.7 + pelvis * 0.3
        at = middle - camera.axes[:, 1] * float(rng.uniform(0.3, 0.6)) + rng.normal(0, 0.2, 3)
        out.append(_box(rng, at, rng.uniform(0.03, 0.22, 3), pictures, _any_turn(rng)))
    return out


def _box(rng: np.random.Generator, middle: Array, half: Array, pictures: Sequence[Image], turn: Array) -> Surface:
    """A box: its middle, half its sides, and how it is turned."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    points = (corners * half)[np.array(quads).ravel()]  # four a side, so that edges are sharp
    start = np.arange(6)[:, None] * 4
    triangles = np.concatenate([start + np.array(corner) for corner in ([0, 1, 2], [0, 2, 3])]).astype(np.int32)
    return Surface(
        (points @ turn.T + middle).astype(np.float32), triangles, points.astype(np.float32),
        np.zeros(len(points), np.float32), fabric(rng, pictures), 0.05,
    )  # fmt: skip


def _any_turn(rng: np.random.Generator) -> Array:
    return np.asarray(np.linalg.qr(rng.normal(0, 1, (3, 3)))[0])


def _behind(rng: np.random.Generator, width: int, height: int, pictures: Sequence[Image]) -> Image:
    """What is behind: a part of one of `pictures`, or a drawn scene; at times out of focus."""
    if pictures and rng.random() < 0.6:
        source = pictures[int(rng.integers(len(pictures)))]
        rows, columns = source.shape[:2]
        share = float(rng.uniform(0.3, 0.8)) * min(rows / height, columns / width)
        h, w = max(2, int(share * height)), max(2, int(share * width))
        y, x = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
        out = cv2.resize(source[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        out = random_background(rng, height, width)
    if rng.random() < 0.5:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 4)))
    return np.asarray(out, dtype=np.uint8)


def _seen(
    rng: np.random.Generator, joints: Array, number: int, camera: Camera, scene: Scene, whose: NDArray[np.intp]
) -> Person | None:
    """Somebody as the camera sees them; None where that is too little to learn from."""
    xy, _ = camera.project(joints)
    inside = ((xy >= 0) & (xy <= [camera.width - 1, camera.height - 1])).all(axis=1)
    far, owner = scene.first(camera.at, joints)
    free = np.linalg.norm(joints - camera.at, axis=1) - far < FLESH
    visible = inside & free & ((owner == number) | (owner == -1))
    pixels = np.argwhere(whose == number)[:, ::-1]
    if visible.sum() < FEWEST or not len(pixels):
        return None
    if rng.random() < 0.5:  # as some label boxes: about joints, or about all that is seen
        low, high, margin = xy[inside].min(axis=0), xy[inside].max(axis=0), 1.4
    else:
        low, high, margin = pixels.min(axis=0), pixels.max(axis=0), 1.25
    side = margin * float((high - low).max())
    if side < SMALLEST:
        return None
    labelled = np.zeros(16, bool)
    labelled[LIMBS + MIDDLES] = True  # heads are marked in other places in every data set
    middle = (low + high) / 2
    box = Box(float(middle[0]), float(middle[1]), side)
    return Person(xy, labelled, visible & labelled, box, 0.75 * float(np.linalg.norm(xy[9] - xy[8])))
