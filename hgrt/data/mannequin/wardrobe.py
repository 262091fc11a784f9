"""What a mannequin wears: surfaces cut from the mesh and its helpers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hgrt.data.figure import colour_of
from hgrt.data.mannequin.paint import Face, Marks, Waves, fabric, hair_colour, marks_of, skin_colour, strands, worn
from hgrt.data.mannequin.rig import PARTS, Mesh, Posed
from hgrt.data.mannequin.surface import F32, I32, Paint, Surface, clipped, smoothed, vertex_normals
from hgrt.pose.geometry import Image

ARM = [PARTS.index(it) for it in ("upper_arm", "forearm", "hand")]
LEG = [PARTS.index(it) for it in ("thigh", "shin", "foot")]
TRUNK, HEAD, THIGH, FOOT = (PARTS.index(it) for it in ("trunk", "head", "thigh", "foot"))
HIDDEN = 0.03  # metres by which what is worn below reaches under what is worn above


def dressed(
    body: Posed, male: bool, rng: np.random.Generator, pictures: Sequence[Image], hairy: bool = False
) -> list[Surface]:
    """A posed body and what it wears, from the outside in; `pictures`, where there are any, are printed on clothes.
    If `hairy`, more have long hair, and longer.
    """
    it, marks = body.mesh, marks_of(body.mesh)
    skin, hair, kind = skin_colour(rng), hair_colour(rng), rng.random()
    clothes = _Clothes(body, rng)
    slack = _one_of(rng, (0.004, 0.012), (0.01, 0.035))
    sleeve = _one_of(rng, (-0.05, 0.2), (0.4, 0.9), (1.2, 1.7), (1.8, 2.0), p=[0.12, 0.38, 0.1, 0.4])
    hem = marks.hip + _one_of(rng, (-0.09, 0.02), (0.02, 0.15), p=[0.75, 0.25])
    collar = marks.neck + float(rng.uniform(-0.1, 0.03))
    top = fabric(rng, pictures)
    if rng.random() < 0.22:  # a jacket, open in front
        gap = float(rng.uniform(0.0, 0.09))
        jacket = _top(it, marks, float(rng.uniform(1.6, 2.0)), hem - float(rng.uniform(0, 0.06)), marks.neck + 0.02)
        x, y, z = it.place.T
        open_ = np.where(y < 0, np.abs(x) - gap * (1 + marks.shoulder - z), 1.0)
        jacket = np.minimum(jacket, np.where(it.part == TRUNK, open_, 1.0)).astype(np.float32)
        clothes.wear("helper-tights", jacket, _ease(it, marks, slack + 0.018, rng), fabric(rng, pictures), 8, 0.03)
    skirt, bare = kind < 0.12, kind > 0.95 and male
    if not bare:
        ease, shirt = _ease(it, marks, slack, rng), _top(it, marks, sleeve, hem, collar)
        smooth = int(rng.integers(0, 4)) if slack < 0.012 else int(rng.integers(4, 14))
        clothes.wear("helper-tights", shirt, ease, top, smooth, 0.02)
    if skirt:
        length = float(rng.uniform(0.15, 0.8))
        flare = np.maximum(0, marks.waist - it.place[:, 2]) * float(rng.uniform(0, 0.12))
        paint = top if rng.random() < 0.5 else fabric(rng, pictures)
        below = (it.place[:, 2] - (marks.hip - length)).astype(np.float32)
        clothes.wear("helper-skirt", below, (0.008 + flare).astype(np.float32), paint, 2, None)
    leg = _one_of(rng, (0.2, 0.6), (0.7, 1.2), (1.75, 2.0), p=[0.15, 0.15, 0.7])
    loose = float(rng.choice([0.004, rng.uniform(0.008, 0.03)]))
    trousers = _trousers(it, marks.waist - float(rng.uniform(0.0, 0.12)), 0.15 if skirt else leg)
    paint = fabric(rng, pictures) if rng.random() < 0.4 else worn(rng)
    folds = (loose + 0.3 * loose * Waves(rng, 0.05, 0.3)(it.place)).astype(np.float32)
    clothes.wear("helper-tights", trousers, folds, paint, int(rng.integers(0, 5)), 0.01)

    style, (long, lowest) = rng.random(), (0.6, -0.45) if hairy else (0.3, -0.2)
    if style < long:  # hair that is clear of the face
        ends = marks.shoulder + float(rng.uniform(lowest, 0.2))
        x, y, z = it.place.T
        face_on = (z < marks.eye[2] + 0.06) & (np.abs(x) < 0.075)
        clear = np.where(face_on, y + float(rng.uniform(0.05, 0.08)), 1.0)
        clothes.add("helper-hair", np.minimum(z - ends, clear), float(rng.uniform(0, 0.012)), strands(rng, hair))
    bald = style > 0.95
    height = float(rng.choice([0.002, rng.uniform(0.004, 0.02), rng.uniform(0.02, 0.05)], p=[0.3, 0.6, 0.1]))
    line = float(rng.uniform(0.045, 0.06)) + (0.03 if rng.random() < 0.1 else 0.0)
    face = Face(marks, skin, hair, line, bald, rng)
    shoe, barefoot, ankle = colour_of(rng), rng.random() < 0.12, float(rng.uniform(1.85, 1.98))

    def of_body(places: F32, along: F32) -> F32:
        colours = face(places)
        if not barefoot:
            colours[(places[:, 2] < marks.hip - 0.3) & (along > ankle)] = shoe
        return colours

    scalp = height * face.scalp(it.place) * (not bald)
    ease = np.where((it.part == HEAD) | (it.part == TRUNK), scalp, 0.0) + np.where(it.part == FOOT, 0.006, 0.0) * (
        not barefoot
    )
    clothes.add("body", clothes.bare(), ease, of_body)
    for side in ("l", "r"):
        clothes.add(f"helper-{side}-eye", 1.0, 0.0, face.eye(side))
    if rng.random() < 0.1:  # a cap
        cap = np.minimum(face.scalp(it.place) - 0.5, it.place[:, 2] - (marks.eye[2] + line))
        clothes.add("body", cap, height + 0.008, fabric(rng, pictures), 1)
    return [one for one in clothes.surfaces if len(one.triangles)]


class _Clothes:
    """What is worn so far, from the outside in, and what of the body that covers."""

    def __init__(self, body: Posed, rng: np.random.Generator) -> None:
        self.surfaces: list[Surface] = []
        self._body, self._rng = body, rng
        self._covered = np.full(len(body.rest), -1.0, np.float32)

    def wear(self, helper: str, field: F32, ease: F32, paint: Paint, smooth: int, under: float | None) -> None:
        """Add a garment; nothing is below it further than `under` metres from its edge, unless that is None."""
        self.add(helper, np.minimum(field, HIDDEN - self._covered), ease, paint, smooth)
        if under is not None:
            self._covered = np.maximum(self._covered, field - np.float32(under))

    def bare(self) -> F32:
        """(V,) above 0 where nothing covers the body."""
        return -self._covered

    def add(self, group: str, field: Any, ease: Any, paint: Paint, smooth: int = 0) -> None:
        """The part of a group of triangles where `field` (V,) is above 0, `ease` (V,) metres outside of where it is."""
        body, it = self._body, self._body.mesh
        triangles: I32 = it.triangles[group]
        normals = vertex_normals(body.rest, triangles)
        far = np.broadcast_to(np.asarray(ease, np.float32), len(body.rest))
        space = body.skin((body.rest + far[:, None] * normals).astype(np.float32))
        for _ in range(smooth):
            space = smoothed(space, triangles)
        columns = np.column_stack([space, it.place, it.along]).astype(np.float32)
        edge = np.broadcast_to(np.asarray(field, np.float32), len(body.rest))
        columns, kept = clipped(columns, triangles, edge)
        used, again = np.unique(kept, return_inverse=True)
        columns, kept = columns[used], again.reshape(-1, 3).astype(np.int32)
        rough = float(self._rng.uniform(0.1, 0.5)) if smooth else 0.05
        self.surfaces.append(Surface(columns[:, :3], kept, columns[:, 3:6], columns[:, 6], paint, rough))


def _one_of(rng: np.random.Generator, *ranges: tuple[float, float], p: Sequence[float] | None = None) -> float:
    """A number from one of several ranges."""
    return float(rng.choice([rng.uniform(low, high) for low, high in ranges], p=p))


def _top(it: Mesh, marks: Marks, sleeve: float, hem: float, collar: float) -> F32:
    """Metres, roughly, that each vertex lies within a garment of the upper body; its sleeves end so far along arms."""
    x, y, z = it.place.T
    out = np.full(len(it.place), -1.0, np.float32)
    arm = np.isin(it.part, ARM)
    out[arm] = 0.27 * (sleeve - it.along[arm])
    neckline = collar + 0.25 * np.maximum(0, np.abs(x) - 0.04) + 0.35 * np.maximum(0, y + 0.02)
    trunk = np.minimum(z - hem, neckline - z)
    if sleeve < 0.1:  # none: the armholes
        trunk = np.minimum(trunk, np.where(z > marks.shoulder - 0.12, 0.16 - np.abs(x), 1.0))
    rest = np.isin(it.part, [TRUNK, THIGH, HEAD])
    out[rest] = trunk[rest]
    return out


def _trousers(it: Mesh, waist: float, leg: float) -> F32:
    """The same of trousers, whose legs end so far along legs."""
    out = np.full(len(it.place), -1.0, np.float32)
    legs, trunk = np.isin(it.part, LEG), it.part == TRUNK
    out[legs] = np.minimum(0.42 * (leg - it.along[legs]), waist - it.place[legs, 2])
    out[trunk] = waist - it.place[trunk, 2]
    return out


def _ease(it: Mesh, marks: Marks, slack: float, rng: np.random.Generator) -> F32:
    """How far a top lies off the body: more at the waist, and in folds."""
    z = it.place[:, 2]
    hang = np.clip((marks.shoulder - 0.1 - z) / 0.3, 0, 1) * float(rng.uniform(0, 1.2))
    hang = np.where(it.part == TRUNK, hang, 0.3)
    return np.asarray(slack * (0.6 + hang) + 0.35 * slack * Waves(rng, 0.05, 0.25)(it.place), dtype=np.float32)
