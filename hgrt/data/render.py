"""Draws a posed skeleton as a person: shaded tubes of elliptic section that share one depth buffer.

Sharing the depth makes limbs hide each other as they would in a photograph, and tells which joints can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.body import ANKLE, ELBOW, HIP, KNEE, SHOULDER, WRIST
from hgrt.data.figure import Figure

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One tube from `start` to `end` ((3,), metres); profiles are evenly spaced along it, in metres."""

    start: F64
    end: F64
    width: Sequence[float] | F64  # half size across `front`
    thick: Sequence[float] | F64  # half size along `front`
    texture: F32  # (rows, columns, 3), or (3,) for one colour
    front: F64  # (3,) the direction the middle column of the texture faces
    lead: Sequence[float] = (0.0, 0.0)  # shift of the axis along `front`


@dataclass(slots=True)
class Layer:
    """Float32 picture of the parts drawn so far: colour (H,W,3), alpha (H,W), depth in px (H,W), normal (H,W,3)."""

    colour: F32
    alpha: F32
    depth: F32
    normal: F32


def unit(v: F64) -> F64:
    """Vector of length 1 along `v`; unchanged if it has no length."""
    return v / max(float(np.linalg.norm(v)), 1e-9)


def _cross(a: F64, b: F64) -> F64:
    """Cross product of two (3,) vectors; NumPy's general one takes ten times as long for so few numbers."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _limb(figure: Figure, a: F64, b: F64, front: F64, radii: Sequence[float], half: int, arm: bool) -> Part:
    """One bone's tube with the cloth that covers it; `half` 0 is the upper, 1 the lower bone of the arm or leg."""
    tex, cover = (figure.arm, figure.sleeve) if arm else (figure.leg, figure.trouser)
    t = np.linspace(half / 2, half / 2 + 0.5, 17)
    r = np.interp(np.linspace(0, 1, 17), np.linspace(0, 1, len(radii)), radii) * (0.35 + 0.65 * figure.girth)
    r = r + figure.loose * (t <= cover) * (0.6 if arm else 1.0) * (0.7 + 0.6 * np.linspace(0, 1, 17))
    return Part(a, b, r, r, tex[64 * half : 64 * half + 64], front)


def _arm_parts(figure: Figure, joints: F64, side: int, front: F64) -> list[Part]:
    """Upper arm, forearm, palm and fingers of the right (0) or left (1) arm."""
    sh, el, wr = (joints[i[side]] for i in (SHOULDER, ELBOW, WRIST))
    along, size = unit(wr - el), figure.body.forearm / 0.25
    deltoid = sh + 0.012 * unit(joints[6] - joints[7])
    out = [
        _limb(figure, deltoid, el, front, (0.049, 0.052, 0.048, 0.046, 0.042, 0.038), 0, True),
        _limb(figure, el, wr, front, (0.039, 0.044, 0.042, 0.036, 0.029, 0.026), 1, True),
    ]
    flat = unit(_cross(along, _cross(front, along)))  # the palm's normal
    across = _cross(along, flat) * size
    palm = wr + along * 0.092 * size
    wide, deep = (0.026, 0.038, 0.041, 0.036), (0.02, 0.017, 0.014, 0.011)
    out.append(Part(wr + along * 0.012, palm, wide, deep, figure.skin, flat))
    bend = unit(along * (1 - 0.9 * figure.curl) + flat * figure.curl)
    for k, length in enumerate((0.068, 0.08, 0.075, 0.058)):
        root = palm + across * (k - 1.5) * 0.019 - along * 0.008
        way = unit(bend + across / size * (k - 1.5) * 0.16 * (1 - figure.curl))
        out.append(Part(root, root + way * length * size, (0.0095, 0.0075), (0.0095, 0.0075), figure.skin, flat))
    inner = across if side == 0 else -across
    root = wr + along * 0.03 + inner * 0.028
    tip = root + (along * 0.045 + inner * 0.032) * size
    out.append(Part(root, tip, (0.013, 0.009), (0.013, 0.009), figure.skin, flat))
    return out


def _leg_parts(figure: Figure, joints: F64, side: int, front: F64) -> list[Part]:
    """Thigh, shin and shoe of the right (0) or left (1) leg."""
    hip, kn, an = (joints[i[side]] for i in (HIP, KNEE, ANKLE))
    down = unit(an - kn)
    toe = unit(front - down * float(front @ down) + 0.02 * down + 1e-6)
    heel, tip = an + down * 0.045 - toe * 0.035, an + down * 0.062 + toe * 0.17
    return [
        _limb(figure, hip, kn, front, (0.088, 0.086, 0.079, 0.07, 0.06, 0.055), 0, False),
        _limb(figure, kn, an, front, (0.054, 0.056, 0.057, 0.05, 0.04, 0.036), 1, False),
        Part(an, an + down * 0.05, (0.037, 0.042), (0.04, 0.045), figure.shoe, front),
        Part(heel, tip, (0.036, 0.04, 0.046, 0.046, 0.034), (0.042, 0.05, 0.046, 0.036, 0.022), figure.shoe, -down),
    ]


def _head_parts(figure: Figure, joints: F64, front: F64) -> list[Part]:
    """Neck, skull with face, nose, ears and hair."""
    top, base = joints[9], joints[8]
    up, size = unit(top - base), figure.body.head / 0.235
    left = unit(_cross(front, up))  # left-handed axes: this points to the person's own left
    front = unit(_cross(up, left))
    yaw = math.radians(figure.gaze)
    front, left = front * math.cos(yaw) + left * math.sin(yaw), left * math.cos(yaw) - front * math.sin(yaw)
    width = np.array((0.058, 0.069, 0.074, 0.0755, 0.0745, 0.072, 0.069, 0.065, 0.06, 0.053, 0.043, 0.027)) * size
    thick = np.array((0.07, 0.086, 0.093, 0.095, 0.094, 0.091, 0.087, 0.082, 0.077, 0.069, 0.056, 0.036)) * size
    crown, chin = top - up * 0.052 * size + front * 0.008, base + up * 0.012 + front * 0.035
    axis, neck = chin - crown, 0.052 * (0.5 + 0.5 * figure.girth)
    out = [
        Part(joints[7], base + up * 0.05, (neck * 1.25, neck, neck), (neck * 1.25, neck, neck), figure.skin, front),
        Part(crown, chin, width, thick, figure.face, front),
    ]
    face = crown + front * 0.086 * size
    tip = face + axis * 0.61 + front * 0.014
    out.append(Part(face + axis * 0.43, tip, (0.007, 0.013), (0.008, 0.015), figure.skin, front))  # nose
    for s in (-1.0, 1.0):
        ear = crown + axis * 0.42 + left * s * 0.074 * size - front * 0.008
        out.append(Part(ear, ear + axis * 0.16, (0.012, 0.009), (0.02, 0.014), figure.skin, front))
    hair, back = figure.hair, crown - front * 0.03
    if figure.hair_style >= 1:
        puff = (0.0, 0.004, 0.016, 0.006, 0.004)[figure.hair_style]
        cap = np.array((0.07, 0.078, 0.08, 0.077, 0.064)) * size + puff
        out.append(Part(back + axis * 0.06 + up * 0.5 * puff, back + axis * 0.52, cap, cap * 1.04, hair, -front))
    if figure.hair_style == 3:
        fall = (0.07, 0.086, 0.09, 0.092, 0.085, 0.05)
        low = base - up * (0.02 + 0.1 * figure.curl) - front * 0.05
        out.append(Part(back + axis * 0.12 - front * 0.02, low, fall, np.array(fall) * 0.62, hair, -front))
    if figure.hair_style == 4:
        knot = crown - front * 0.1 * size + axis * 0.02
        out.append(Part(knot, knot + axis * 0.05, (0.034, 0.04), (0.034, 0.04), hair, -front))
    return out


def _person_parts(figure: Figure, joints: F64) -> list[Part]:
    """All tubes of one person from (16,3) joints in metres."""
    up = unit(joints[7] - joints[6])
    lateral = unit(joints[13] - joints[12]) + unit(joints[3] - joints[2])
    front = unit(_cross(up, lateral))
    hips = unit(_cross(up, joints[3] - joints[2]))
    top, crotch = joints[7] + up * 0.05, joints[6] - up * 0.055
    torso = Part(
        top,
        crotch,
        figure.chest[:, 0],
        figure.chest[:, 1],
        figure.torso,
        front,
        (-0.02, -0.02, -0.01, 0.012, 0.012, 0.008, 0.004, -0.008, -0.01),
    )
    out = [torso, *_head_parts(figure, joints, front)]
    for side in (0, 1):
        out += _arm_parts(figure, joints, side, front) + _leg_parts(figure, joints, side, hips)
    if figure.skirt:
        knees = (joints[1] + joints[4]) / 2
        spread = float(np.linalg.norm(joints[1] - joints[4])) / 2
        w = np.array([0.12, 0.165, 0.165, 0.155]) * figure.girth + np.linspace(0, 1, 4) * max(0.0, spread - 0.06)
        waist = joints[6] + 0.06 * unit(up - unit(knees - joints[6]))
        out.append(Part(waist, joints[6] + (knees - joints[6]) * figure.skirt, w, w * 0.75, figure.torso[80:], front))
    return out


def _sweep(layer: Layer, part: Part, scale: float, offset: F64) -> None:
    """Draw one tube into `layer`; metres become px by `scale` and `offset` (2,)."""
    shift = np.array([offset[0], offset[1], 0.0])
    a, b = part.start * scale + shift, part.end * scale + shift
    length = float(np.hypot(*(b - a)[:2]))
    along = (b - a)[:2] / length if length > 1e-6 else np.array([0.0, 1.0])
    across = np.array([along[1], -along[0], 0.0])  # in the picture, and square to the tube's axis in space too
    axis, ends = unit(b - a), (float(along[0]), float(along[1]), 0.0)
    toward = _cross(across, axis)
    toward = toward if toward[2] >= 0 else -toward
    front = unit(part.front - axis * float(axis @ part.front))
    lateral = _cross(axis, front)
    grid = np.linspace(0, 1, 257)
    width, thick, lead = (
        scale * np.interp(grid, np.linspace(0, 1, len(p)), p) for p in (part.width, part.thick, part.lead)
    )
    # An ellipse's extent along a direction: this gives the outline from every side.
    radius = np.hypot(width * (lateral @ across), thick * (front @ across)).astype(np.float32)
    bulge = np.hypot(width * (lateral @ toward), thick * (front @ toward)).astype(np.float32)
    shifted = bool(lead.any())
    aside, ahead = (lead * (front @ across)).astype(np.float32), (lead * front[2]).astype(np.float32)
    h, w = layer.alpha.shape
    reach = float(radius.max() + np.abs(aside).max()) + 2
    x0, y0 = (max(0, int(min(a[i], b[i]) - reach)) for i in (0, 1))
    x1, y1 = min(w, int(max(a[0], b[0]) + reach) + 2), min(h, int(max(a[1], b[1]) + reach) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(a[0])
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(a[1])
    run = dx * np.float32(along[0]) + dy * np.float32(along[1])
    t = np.clip(run / np.float32(max(length, 1e-3)), 0, 1)
    index = (t * 256 + np.float32(0.5)).astype(np.intp)
    r, beyond = radius[index], run - t * np.float32(length)
    off = dx * np.float32(across[0]) + dy * np.float32(across[1])
    if shifted:
        off -= aside[index]
    v, e = off / r, beyond / r
    distance = v * v + e * e  # squared, 1 at the outline
    cover = np.clip((1 - np.sqrt(distance)) * r + np.float32(0.5), 0, 1)
    dome = np.sqrt(np.maximum(1 - distance, 0))
    z = np.float32(a[2]) + t * np.float32(b[2] - a[2]) + bulge[index] * dome * np.float32(toward[2])
    if shifted:
        z += ahead[index]
    box = (slice(y0, y1), slice(x0, x1))
    cover *= z > layer.depth[box]
    colour = part.texture
    if colour.ndim == 3:
        rows, columns = colour.shape[:2]
        facing = math.atan2(float(front @ across), float(front @ toward))
        u = np.arcsin(np.clip(v, -1, 1)) * np.float32(columns / (2 * math.pi))
        u = (u + np.float32(columns * (1.5 - facing / (2 * math.pi)))) % np.float32(columns)
        colour = cv2.remap(
            colour, u, t * np.float32(rows - 1), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32, copy=False)
    normal = cv2.merge(
        [v * np.float32(across[k]) + dome * np.float32(toward[k]) + e * np.float32(ends[k]) for k in range(3)]
    )
    c = cover[..., None]
    layer.colour[box] += c * (colour - layer.colour[box])
    layer.normal[box] += c * (normal - layer.normal[box])
    layer.alpha[box] += cover * (1 - layer.alpha[box])
    layer.depth[box] = np.where(cover > 0.5, z, layer.depth[box])


def render(canvas: U8, parts: Sequence[Part], scale: float, offset: F64, figure: Figure) -> Layer:
    """Draw the tubes over `canvas` in place under the figure's light, with a cast shadow; returns the layer."""
    h, w = canvas.shape[:2]
    layer = Layer(
        np.zeros((h, w, 3), np.float32),
        np.zeros((h, w), np.float32),
        np.full((h, w), -1e6, np.float32),
        np.zeros((h, w, 3), np.float32),
    )
    for part in sorted(parts, key=lambda p: p.start[2] + p.end[2]):  # back to front keeps the soft edges right
        _sweep(layer, part, scale, offset)
    drawn = np.nonzero(layer.alpha)
    if drawn[0].size == 0:
        return layer
    edge = int(0.15 * scale) + 8  # room for the cast shadow
    box = tuple(slice(max(0, int(d.min()) - edge), int(d.max()) + edge + 1) for d in drawn)
    alpha, depth, light = layer.alpha[box], layer.depth[box], figure.light.astype(np.float32)
    lambert = np.clip(cv2.GaussianBlur(layer.normal[box], (0, 0), max(0.8, 0.009 * scale)) @ light, -0.4, 1)
    # Surfaces that lie behind their surroundings get less light: shadows of arms on the chest, between the legs.
    solid = (depth > -1e5).astype(np.float32)
    z, k = depth * solid, (max(3, int(0.11 * scale)),) * 2
    around = cv2.blur(z, k) / np.maximum(cv2.blur(solid, k), 1e-3)
    hollow = np.clip((around - z) / np.float32(0.16 * scale), 0, 1) * solid
    shade = (figure.ambient + (1 - figure.ambient) * (lambert * 0.95 + 0.3)) * (1.1 - 0.55 * hollow)
    lit = cv2.multiply(layer.colour[box], cv2.merge([shade * np.float32(c) for c in figure.tint]))
    height, width = alpha.shape
    small = cv2.resize(alpha, (width // 4 + 1, height // 4 + 1), interpolation=cv2.INTER_AREA)
    move = np.array([[1, 0, -0.035 * scale * light[0]], [0, 1, 0.012 * scale]], np.float32)
    cast = cv2.warpAffine(cv2.GaussianBlur(small, (0, 0), max(1.0, 0.012 * scale)), move, small.shape[::-1])
    cast = 1 - cv2.resize(cast, (width, height)) * np.float32(0.7 * figure.shadow)
    ground = cv2.multiply(canvas[box], cv2.merge([cast] * 3), dtype=cv2.CV_32F)
    ground += alpha[..., None] * (lit - ground)
    canvas[box] = np.clip(ground, 0, 255).astype(np.uint8)
    return layer


def draw_person(
    canvas_bgr: U8, figure: Figure, joints3d: F64, to_image: tuple[float, F64]
) -> tuple[F64, NDArray[np.bool_]]:
    """Draw a person over `canvas_bgr` ((H,W,3) uint8 BGR, in place).

    `joints3d` is (16,3) in metres; `to_image` is px per metre and the (2,) picture position of the origin. Returns the
    (16,2) image joints in px and (16,) bool, False where another body part or the picture's edge hides the joint.
    """
    scale, offset = float(to_image[0]), np.asarray(to_image[1], dtype=np.float64)
    h, w = canvas_bgr.shape[:2]
    joints = joints3d[:, :2] * scale + offset
    feet = joints[list(ANKLE)]
    if figure.shadow > 0.05 and feet[:, 1].max() < h:  # contact shadow on the floor
        floor = np.zeros((h // 4 + 1, w // 4 + 1), np.float32)
        low = float(feet[:, 1].max()) + 0.07 * scale
        for x, y in feet:
            near = max(0.0, 1 - (low - 0.07 * scale - float(y)) / (0.5 * scale))
            cv2.ellipse(
                floor,
                (int(x / 4), int((low + y + 0.07 * scale) / 8)),
                (int(0.06 * scale), int(0.014 * scale) + 1),
                0,
                0,
                360,
                near,
                -1,
            )
        dark = cv2.resize(cv2.GaussianBlur(floor, (0, 0), 0.014 * scale + 0.5), (w, h)) * (0.25 + figure.shadow)
        canvas_bgr[:] = (canvas_bgr * (1 - dark[..., None])).astype(np.uint8)
    layer = render(canvas_bgr, _person_parts(figure, joints3d), scale, offset, figure)
    inside = ((joints >= 0) & (joints <= np.array([w - 1, h - 1]))).all(axis=1)
    at = np.clip(np.rint(joints), 0, [w - 1, h - 1]).astype(np.intp)
    # What may lie before a joint is its own flesh: thick at the trunk, thin at the limbs.
    flesh = np.full(16, 0.09)
    flesh[[2, 3, 6, 7, 8, 9]] = 0.17
    flesh[[0, 5, 12, 13]] = 0.13
    before = layer.depth[at[:, 1], at[:, 0]] / scale - joints3d[:, 2]
    return joints, inside & (before < flesh)
