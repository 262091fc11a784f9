"""Surfaces of triangles in space: cut, smoothed, and the way they face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgrt.data.mannequin.stance import unit

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Paint = Callable[[F32, F32], F32]
"""Colours (N,3) float32 BGR 0..255 of places (N,3) on an average body, and how far along limbs (N,) these are."""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Triangles (F,3) of vertices (V,3) in metres.

    `places` (V,3) and `along` (V,) are what `paint` wants of each vertex; `rough`, 0..1, is how uneven it looks.
    """

    vertices: F32
    triangles: I32
    places: F32
    along: F32
    paint: Paint
    rough: float = 0.0


def clipped(columns: F32, triangles: I32, field: F32) -> tuple[F32, I32]:
    """Triangles where `field` (V,) is above 0, cut where it is 0; `columns` (V,C), anything that vertices have, grow by
    what lies on the cuts.
    """
    above = field[triangles] > 0
    count = above.sum(axis=1)
    parts, grown, base = [triangles[count == 3]], [columns], len(columns)
    for how_many in (1, 2):
        some = triangles[count == how_many]
        if not len(some):
            continue
        odd = (field[some] > 0) == (how_many == 1)  # the corner that is alone on its side
        first = odd.argmax(axis=1)
        rows = np.arange(len(some))
        a, b, c = (some[rows, (first + k) % 3] for k in range(3))
        ends = []
        for other in (b, c):
            share = (field[a] / (field[a] - field[other]))[:, None]
            grown.append((columns[a] + share * (columns[other] - columns[a])).astype(np.float32))
            ends.append(np.arange(base, base + len(some)))
            base += len(some)
        p, q = ends
        if how_many == 1:
            parts.append(np.column_stack([a, p, q]))
        else:
            parts += [np.column_stack([p, b, c]), np.column_stack([p, c, q])]
    return np.concatenate(grown), np.concatenate(parts).astype(np.int32)


def vertex_normals(vertices: F32, triangles: I32) -> F32:
    """(V,3) unit normals, to the side from which triangles turn left; zeros where no triangle is."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    out = np.stack([np.bincount(triangles.ravel(), np.repeat(faces[:, k], 3), len(vertices)) for k in range(3)], axis=1)
    return unit(out).astype(np.float32)


def smoothed(vertices: F32, triangles: I32) -> F32:
    """Each vertex half way to the mean of its neighbours."""
    one, other = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()
    a, b = np.concatenate([one, other]), np.concatenate([other, one])
    count = np.bincount(a, minlength=len(vertices))
    out = vertices.copy()
    some = count > 0
    for k in range(3):
        mean = np.bincount(a, vertices[b, k], len(vertices))
        out[some, k] += 0.5 * (mean[some] / count[some] - vertices[some, k])
    return out
