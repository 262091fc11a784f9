"""Endless drawn people with exactly known joints, and pictures without any person, for training.

Photographs with joint marks are scarce and none may be committed here, so this module draws its own: a posed skeleton
(body.py) dressed as a random figure (figure.py), drawn (render.py) in front of a procedural background. The same
renderer draws the distractors of the empty pictures, so that smooth shading alone never gives a person away.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.body import (
    MOTIONS,
    RELAXED,
    Angles,
    Body,
    joints_from_angles,
    motion_angles,
    pose_at,
    random_pose,
    rotation,
)
from hgrt.data.figure import Figure, cloth, colour_of, noise, random_figure
from hgrt.data.render import Part, draw_person, render, unit

__all__ = [
    "MOTIONS",
    "RELAXED",
    "Angles",
    "Body",
    "Figure",
    "SyntheticPerson",
    "draw_person",
    "joints_from_angles",
    "motion_angles",
    "pose_at",
    "random_background",
    "random_figure",
    "random_pose",
    "rotation",
    "synthetic_background",
    "synthetic_person",
]

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]


@dataclass(slots=True)
class SyntheticPerson:
    """One picture with one person. Image joints in px; joints outside the picture keep their coordinates."""

    bgr: U8  # (size, size, 3)
    joints: F64  # (16, 2)
    visible: NDArray[np.bool_]  # (16,)
    head_size: float  # 0.75 x the distance from upper neck to head top, px
    center: F64  # (2,) middle of the box round the joints that lie inside the picture
    side: float  # 1.35 x that box's longer side, px


def _rectangles(rng: np.random.Generator, out: U8, count: int, smallest: float, largest: float) -> None:
    """Draw furniture-like boxes, windows and shelves over `out` in place; sizes are shares of the picture's height."""
    h, w = out.shape[:2]
    for _ in range(count):
        bw, bh = (int(v) for v in h * rng.uniform(smallest, largest, 2) + 2)
        x, y = int(rng.uniform(-0.3 * bw, w)), int(rng.uniform(-0.3 * bh, h))
        box = out[max(0, y) : y + bh, max(0, x) : x + bw]
        if box.size == 0:
            continue
        ramp = np.linspace(rng.uniform(0.6, 1.0), rng.uniform(0.8, 1.2), box.shape[0])[:, None, None]
        flat = np.clip(colour_of(rng, 0.25) * ramp, 0, 255)
        box[:] = (box * 0.12 + flat * 0.88).astype(np.uint8)
        cv2.rectangle(out, (x, y), (x + bw, y + bh), (colour_of(rng) * 0.6).tolist(), int(rng.integers(1, 4)))
        if rng.random() < 0.5:  # panes, drawers or book backs
            step = max(3, int(rng.uniform(0.1, 0.5) * bw))
            for k in range(x + step, x + bw, step):
                cv2.line(out, (k, y), (k, y + bh), (colour_of(rng) * 0.7).tolist(), int(rng.integers(1, 4)))


def random_background(rng: np.random.Generator, height: int, width: int) -> U8:
    """(H,W,3) uint8 BGR scene without people: a room, a street, greenery or mere blurred texture."""
    kind, split = rng.random(), float(rng.uniform(0.5, 0.9))
    rows, columns = height // 2 + 1, width // 2 + 1  # the base is soft anyway
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    wall, ground = colour_of(rng, 0.2) * 0.7 + 75, colour_of(rng, 0.2) * 0.8 + 20
    out = np.where(y < split, wall * (0.85 + 0.3 * y), ground * (0.6 + 0.5 * y)).astype(np.float32)
    out = np.repeat(out, columns, axis=1)
    if 0.45 <= kind < 0.75:  # trees or hedges: speckled leaves in clumps before the sky
        clumps, leaves = noise(rng, rows, columns, 16), noise(rng, rows, columns, 128)
        speck = rng.standard_normal((rows, columns), dtype=np.float32)
        shade = np.clip(0.75 + 0.35 * clumps + 0.3 * leaves + 0.2 * speck, 0.1, 2)[..., None]
        green = np.array([rng.uniform(20, 60), rng.uniform(70, 120), rng.uniform(45, 110)], np.float32)
        cover = np.clip(4 * (clumps + 0.6 * leaves + rng.uniform(-0.2, 1.2)), 0, 1)[..., None]
        out += np.where(y < split, cover, cover * np.float32(rng.random() < 0.4)) * (green * shade - out)
    out *= (1 + rng.uniform(0.03, 0.22) * noise(rng, rows, columns, int(rng.choice([8, 32, 128]))))[..., None]
    out *= np.linspace(rng.uniform(0.7, 1.15), rng.uniform(0.7, 1.15), columns, dtype=np.float32)[None, :, None]
    picture: U8 = cv2.resize(np.clip(out, 0, 255).astype(np.uint8), (width, height)).astype(np.uint8)
    if kind < 0.45:
        _rectangles(rng, picture, int(rng.integers(2, 10)), 0.08, 0.6)
    elif kind < 0.9:
        _rectangles(rng, picture, int(rng.integers(0, 4) if kind < 0.75 else rng.integers(8, 25)), 0.03, 0.35)
    for _ in range(int(rng.integers(0, 4))):  # poles, edges and cables
        x0, x1 = rng.uniform(0, width, 2) if rng.random() < 0.3 else np.repeat(rng.uniform(0, width), 2)
        thickness = int(rng.integers(1, 9))
        cv2.line(picture, (int(x0), 0), (int(x1), height), colour_of(rng, 0.15).tolist(), thickness, cv2.LINE_AA)
    sigma = float(rng.choice([0.6, rng.uniform(0.8, 2), rng.uniform(2, 6)])) * height / 384
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.uint8)


def _clutter(rng: np.random.Generator, canvas: U8, count: int, figure: Figure) -> NDArray[np.bool_]:
    """Draw `count` shaded tubes (vases, rolls, coats, skin-coloured lumps) in place; returns the (H,W) covered mask."""
    h, w = canvas.shape[:2]
    parts = []
    for _ in range(count):
        a = np.array([rng.uniform(0, w), rng.uniform(0, h), 0.0])
        b = a + np.array([*rng.normal(0, 0.18 * h, 2), rng.normal(0, 0.05 * h)])
        r = rng.uniform(0.02, 0.12) * h * rng.uniform(0.5, 1, int(rng.integers(2, 6)))
        kind = rng.random()
        texture = figure.skin if kind < 0.25 else figure.torso if kind < 0.35 else cloth(rng, 32, 64)
        parts.append(Part(a, b, r, r * rng.uniform(0.3, 1), texture, unit(rng.normal(0, 1, 3))))
    return render(canvas, parts, 1.0, np.zeros(2), figure).alpha > 0.5


def _camera(rng: np.random.Generator, bgr: U8) -> U8:
    """What a camera adds: a little blur, exposure, noise and JPEG blocks. (H,W,3) uint8 BGR in and out."""
    h, w = bgr.shape[:2]
    out = cv2.GaussianBlur(bgr, (0, 0), float(rng.uniform(0.4, 1.3)))
    table = 255 * (np.arange(256) / 255) ** rng.uniform(0.65, 1.2) * rng.uniform(0.8, 1.15)
    out = cv2.LUT(out, np.clip(table, 0, 255).astype(np.uint8))
    tile = rng.standard_normal((h // 2 + 1, w // 2 + 1, 3), dtype=np.float32) * np.float32(rng.uniform(1, 8))
    grain = np.tile(np.rint(tile).astype(np.int16), (2, 2, 1))[:h, :w]
    noisy: U8 = cv2.add(out, grain, dtype=cv2.CV_8U).astype(np.uint8)
    if rng.random() < 0.5:
        _, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        noisy = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return noisy


def synthetic_person(rng: np.random.Generator, size: int = 384) -> SyntheticPerson:
    """One (size,size,3) uint8 BGR picture of a drawn person with its joints."""
    figure = random_figure(rng)
    roll = rng.normal(0, 4) if rng.random() < 0.93 else rng.uniform(-40, 40)
    joints3d = random_pose(rng, figure.body) @ (rotation(2, float(roll)) @ rotation(0, float(rng.normal(4, 7)))).T
    webcam = rng.random() < 0.2
    kept = joints3d[6:] if webcam else joints3d
    low, high = kept[:, :2].min(axis=0) - 0.08, kept[:, :2].max(axis=0) + 0.08
    scale = float(rng.uniform(0.6, 1.0) if webcam else rng.uniform(0.48, 0.92)) * size / float((high - low).max())
    room = np.maximum(0.0, size - scale * (high - low))
    offset = rng.uniform(0, 1, 2) * room - low * scale
    if webcam:  # the waist sits on the lower edge, as before a desk
        offset[1] = size - scale * (high[1] - rng.uniform(0, 0.15))
    bgr = random_background(rng, size, size)
    joints, visible = draw_person(bgr, figure, joints3d, (scale, offset))
    if rng.random() < 0.15:
        hidden = _clutter(rng, bgr, 1, figure)
        at = np.clip(np.rint(joints), 0, size - 1).astype(np.intp)
        visible &= ~hidden[at[:, 1], at[:, 0]]
    inside = joints[((joints >= 0) & (joints <= size - 1)).all(axis=1)]
    box_low, box_high = inside.min(axis=0), inside.max(axis=0)
    return SyntheticPerson(
        bgr=_camera(rng, bgr),
        joints=joints,
        visible=visible,
        head_size=0.75 * float(np.linalg.norm(joints[9] - joints[8])),
        center=(box_low + box_high) / 2,
        side=1.35 * float((box_high - box_low).max()),
    )


def synthetic_background(rng: np.random.Generator, size: int = 384) -> U8:
    """(size,size,3) uint8 BGR picture without a person, with things that resemble limbs, skin and clothes."""
    bgr = random_background(rng, size, size)
    if rng.random() < 0.7:
        _clutter(rng, bgr, int(rng.integers(1, 7)), random_figure(rng))
    return _camera(rng, bgr)
