"""The colours of mannequins: cloth, hair, skin and faces, as functions of places on an average body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hgrt.data.figure import colour_of
from hgrt.data.mannequin.rig import Mesh
from hgrt.data.mannequin.stance import unit
from hgrt.data.mannequin.surface import F32, Paint
from hgrt.pose.geometry import Array, Image


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Heights and places on an average body, in metres at rest, by which clothes are cut and faces painted."""

    hip: float
    waist: float
    shoulder: float
    neck: float
    chin: float
    eye: Array  # (3,) of the left one


@cache
def marks_of(it: Mesh) -> Marks:
    """Where these are on the mesh."""
    bones = ("upperleg01.L", "spine03", "upperarm01.L", "neck01", "head")
    hip, waist, shoulder, neck, chin = (float(it.heads[it.bones[bone], 2]) for bone in bones)
    eye = it.place[np.unique(it.triangles["helper-l-eye"])].mean(axis=0)
    return Marks(hip, waist, shoulder, neck, chin, eye)


class Waves:
    """Smooth noise in space, about -1..1: the sum of some waves between two lengths in metres."""

    def __init__(self, rng: np.random.Generator, shortest: float, longest: float, count: int = 10) -> None:
        lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
        self._k = (unit(rng.normal(0, 1, (count, 3))) * (2 * np.pi / lengths)[:, None]).astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
        self._gain = (np.sqrt(lengths) / np.sqrt((lengths).sum())).astype(np.float32)

    def __call__(self, places: F32) -> F32:
        return np.asarray(np.sin(places @ self._k.T + self._phase) @ self._gain, dtype=np.float32)

    def slope(self, places: F32) -> F32:
        """(N,3) how the waves tilt what they are on, were all equally steep."""
        k = self._k / np.linalg.norm(self._k, axis=1, keepdims=True)
        return np.asarray((np.cos(places @ self._k.T + self._phase) * self._gain) @ k, dtype=np.float32)


def fabric(rng: np.random.Generator, pictures: Sequence[Image]) -> Paint:
    """Plain, striped, checked, blotched or printed with one of `pictures`, in the shades of folds."""
    base, second = colour_of(rng), colour_of(rng)
    kind, turn = rng.random(), float(rng.uniform(-0.3, 0.3))
    period = float(np.exp(rng.uniform(np.log(0.015), np.log(0.12))))
    share, blotches = float(rng.uniform(0.15, 0.6)), Waves(rng, 0.03, 0.25)
    folds, depth = Waves(rng, 0.04, 0.3, 16), float(rng.uniform(0.03, 0.14))
    motif = pictures[int(rng.integers(len(pictures)))] if pictures and kind >= 0.8 else None
    all_over = kind > 0.9
    size, at = float(rng.uniform(0.12, 0.5)), (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(0.35, 0.55)))

    def paint(places: F32, along: F32) -> F32:
        out = np.repeat(base[None], len(places), axis=0)
        x, z = places[:, 0] + turn * places[:, 2], places[:, 2] - turn * places[:, 0]
        if 0.42 <= kind < 0.56:
            out[np.mod(z / period, 1) < share] = second
        elif 0.56 <= kind < 0.62:
            out[np.mod(x / period, 1) < share] = second
        elif 0.62 <= kind < 0.7:
            bars = (np.mod(z / period, 1) < share).astype(np.float32) + (np.mod(x / period, 1) < share)
            out += 0.4 * bars[:, None] * (second - out)
        elif 0.7 <= kind < 0.8:
            out[blotches(places) > 0.4] = second
        elif motif is not None:
            u, v = (x - at[0]) / size + 0.5, (at[1] - z) / size + 0.5
            if all_over:  # there and back
                u, v = (np.minimum(it, 2 - it) for it in (np.mod(u, 2), np.mod(v, 2)))
            on = (u >= 0) & (u < 1) & (v >= 0) & (v < 1) & ((places[:, 1] < 0) | all_over)
            rows, columns = motif.shape[:2]
            out[on] = motif[(v[on] * rows).astype(int), (u[on] * columns).astype(int)]
        return np.asarray(out * (1 + depth * folds(places))[:, None], dtype=np.float32)

    return paint


def worn(rng: np.random.Generator) -> Paint:
    """What most trousers are made of: blue, black, grey or brown, and worn."""
    tones = np.array([[110, 80, 55], [70, 48, 36], [38, 36, 36], [140, 150, 160], [80, 100, 120], [60, 60, 62]])
    base = tones[rng.integers(6)] * rng.uniform(0.7, 1.2)
    shades = Waves(rng, 0.03, 0.3, 14)
    return lambda places, along: np.asarray(base * (1 + 0.1 * shades(places))[:, None], dtype=np.float32)


def strands(rng: np.random.Generator, hair: F32) -> Paint:
    """Hair of a colour, in strands that hang."""
    shades, drawn_out = Waves(rng, 0.006, 0.03, 16), np.array([1, 1, 0.2], np.float32)
    return lambda places, along: np.asarray(hair * (1 + 0.35 * shades(places * drawn_out))[:, None], dtype=np.float32)


def skin_colour(rng: np.random.Generator) -> F32:
    """(3,) BGR, from pale to dark."""
    tones = np.array([[198, 214, 240], [160, 188, 228], [122, 158, 208], [92, 128, 184], [64, 94, 144], [42, 58, 92]])
    at = float(rng.choice([rng.uniform(0, 3), rng.uniform(2, 5)], p=[0.6, 0.4]))
    low = min(int(at), 4)
    tone = tones[low] + (at - low) * (tones[low + 1] - tones[low])
    return np.asarray(tone * rng.uniform(0.92, 1.06, 3), dtype=np.float32)


def hair_colour(rng: np.random.Generator) -> F32:
    """(3,) BGR: black, brown, fair, red or grey."""
    tones = [[18, 18, 20], [28, 38, 58], [40, 62, 98], [98, 148, 190], [40, 68, 138], [150, 152, 155]]
    tone = np.array(tones, np.float32)[rng.choice(6, p=[0.32, 0.25, 0.16, 0.1, 0.05, 0.12])]
    return np.asarray(tone * rng.uniform(0.8, 1.2), dtype=np.float32)


class Face:
    """Skin with what is painted on it: hair from `line` metres above the eyes, brows, lips, eyes, beard, glasses."""

    def __init__(self, marks: Marks, skin: F32, hair: F32, line: float, bald: bool, rng: np.random.Generator) -> None:
        self._marks, self._skin, self._hair, self._line, self._bald = marks, skin, hair, line, bald
        self._strands, self._spots = strands(rng, hair), Waves(rng, 0.01, 0.15, 12)
        self._lips = skin * np.array([0.72, 0.66, 0.9], np.float32)
        self._brow, self._beard = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.3, 1)) * (rng.random() < 0.18)
        irises = ((60, 70, 80), (35, 45, 60), (130, 110, 80), (70, 100, 80))
        self._iris = np.asarray(irises[rng.integers(4)], np.float32)
        self._glasses = rng.random() < 0.12

    def scalp(self, places: F32) -> F32:
        """(N,) 1 where hair grows, 0 where not, in between at the line: high before, low behind the ears."""
        _, y, z = places.T
        eye, line = self._marks.eye, self._line
        back = [eye[1] - 0.03, eye[1] + 0.06, eye[1] + 0.1, eye[1] + 0.17]
        above = np.interp(y, back, [line, line - 0.015, -0.02, -0.075])
        return np.asarray(np.clip((z - eye[2] - above) / 0.012, 0, 1), dtype=np.float32)

    def __call__(self, places: F32) -> F32:
        """(N,3) colours of places on the body."""
        marks = self._marks
        out = np.asarray(self._skin * (1 + 0.05 * self._spots(places))[:, None], dtype=np.float32)
        head = places[:, 2] > marks.chin - 0.08
        if not head.any():
            return out
        p = places[head]
        x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2] - marks.eye[2]
        front = y < marks.eye[1] + 0.05
        colours = out[head]

        def mix(where: NDArray[np.bool_], colour: F32, share: float) -> None:
            colours[where] += share * (colour - colours[where])

        gap = float(marks.eye[0])
        mix(front & (np.abs(z - 0.021 + 0.15 * (x - gap)) < 0.0035) & (np.abs(x - gap) < 0.02), self._hair, self._brow)
        mix(front & (np.abs(z + 0.073) < 0.009) & (x < 0.024), self._lips, 0.8)
        mix(front & (np.hypot(x - gap, z) < 0.017), (self._skin * 0.75).astype(np.float32), 0.4)
        if self._beard:
            mix(front & (z < -0.058) & ~((np.abs(z + 0.073) < 0.008) & (x < 0.02)), self._hair, self._beard)
        if self._glasses:
            ring = np.abs(np.maximum(np.abs(x - gap) / 1.25, np.abs(z + 0.004)) - 0.018) < 0.0025
            mix(front & (ring | ((np.abs(z) < 0.002) & (x < 0.013))), np.array([25, 25, 28], np.float32), 1.0)
        if not self._bald:
            colours += self.scalp(p)[:, None] * (self._strands(p, p[:, 0]) - colours)
        out[head] = colours
        return out

    def eye(self, side: str) -> Paint:
        """The eyeball of a side, "l" or "r"."""
        middle = self._marks.eye * np.array([1 if side == "l" else -1, 1, 1])

        def paint(places: F32, along: F32) -> F32:
            out = np.repeat(np.array([[205, 210, 215]], np.float32), len(places), axis=0)
            far = np.hypot(places[:, 0] - middle[0], places[:, 2] - middle[2])
            out[far < 0.0062], out[far < 0.0028] = self._iris, 15
            return out

        return paint
