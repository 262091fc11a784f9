"""A photograph of surfaces: rays from a camera by Embree, light with shadows, and what lies behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.mannequin.paint import Waves
from hgrt.data.mannequin.stance import unit
from hgrt.data.mannequin.surface import F32, Surface, vertex_normals
from hgrt.pose.geometry import Array, Image
from hgrt.require import require

FINER = 2  # rays a pixel's side
NEAR = 0.3  # metres within which surfaces keep light from each other


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole: where it is (3,), its axes as columns right, ahead, up (3,3), size and focal length of its picture."""

    at: Array
    axes: Array
    width: int
    height: int
    focal: float

    def project(self, points: Array) -> tuple[Array, Array]:
        """(N,3) points to (N,2) pixels and their (N,) distances ahead."""
        x, ahead, up = ((points - self.at) @ self.axes).T
        ahead = np.maximum(ahead, 1e-3)
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        return np.stack([x, -up], axis=1) / ahead[:, None] * self.focal + middle, ahead

    def rays(self, left: int, top: int, right: int, bottom: int) -> F32:
        """((bottom-top)*(right-left)*FINER^2, 3) unit directions through a part of the picture, row by row."""
        u = (np.arange(left * FINER, right * FINER, dtype=np.float32) + 0.5) / FINER - self.width / 2
        v = (np.arange(top * FINER, bottom * FINER, dtype=np.float32) + 0.5) / FINER - self.height / 2
        x, y = np.meshgrid(u / np.float32(self.focal), -v / np.float32(self.focal))
        flat = np.stack([x.ravel(), np.ones(x.size, np.float32), y.ravel()], axis=1)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        return np.asarray(flat @ self.axes.T.astype(np.float32))


class Scene:
    """Surfaces, each with an owner (a number), to be hit by rays."""

    def __init__(self, surfaces: Sequence[tuple[int, Surface]]) -> None:
        require("embreex", "mannequin")
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene()
        self.surfaces = [surface for _, surface in surfaces]
        self.owners = np.array([owner for owner, _ in surfaces])
        vertices, triangles, base = [], [], 0
        for surface in self.surfaces:
            vertices.append(surface.vertices)
            triangles.append(surface.triangles + base)
            base += len(surface.vertices)
        self._vertices, self._triangles = np.concatenate(vertices), np.concatenate(triangles).astype(np.int32)
        self._normals = np.concatenate([vertex_normals(it.vertices, it.triangles) for it in self.surfaces])
        self._places = np.concatenate([it.places for it in self.surfaces])
        self._along = np.concatenate([it.along for it in self.surfaces])
        self._of = np.repeat(np.arange(len(self.surfaces)), [len(it.triangles) for it in self.surfaces])
        self._mesh = TriangleMesh(self._scene, self._vertices.astype(np.float32), self._triangles)

    def distance(self, starts: F32, directions: F32) -> F32:
        """(N,) metres along rays to what they hit first; huge where that is nothing."""
        return np.asarray(self._scene.run(starts, directions, query="DISTANCE"))

    def first(self, at: Array, points: Array) -> tuple[Array, NDArray[np.intp]]:
        """Of rays from `at` (3,) to points (N,3): metres to the first hit, and whose surface that is (-1: nobody's)."""
        directions = unit(points - at).astype(np.float32)
        hits = self._scene.run(np.repeat(at[None], len(points), axis=0).astype(np.float32), directions, output=1)
        whose = np.where(hits["primID"] < 0, -1, self.owners[self._of[hits["primID"]]])
        return hits["tfar"].astype(np.float64), whose

    def photograph(self, camera: Camera, behind: Image, rng: np.random.Generator) -> tuple[Image, NDArray[np.intp]]:
        """The picture (H,W,3) uint8 BGR before `behind` (of that size), and whose each pixel is: (H,W), -1 nobody's."""
        xy, _ = camera.project(self._vertices.astype(np.float64))
        size = np.array([camera.width, camera.height])
        left, top = np.clip(np.floor(xy.min(axis=0)), 0, size - 1).astype(int)
        right, bottom = np.clip(np.ceil(xy.max(axis=0)) + 1, [left + 1, top + 1], size).astype(int)
        rays = camera.rays(left, top, right, bottom)
        hits = self._scene.run(np.repeat(camera.at[None], len(rays), axis=0).astype(np.float32), rays, output=1)
        on = np.flatnonzero(hits["primID"] >= 0)
        tall, wide = (bottom - top) * FINER, (right - left) * FINER
        picture, cover = np.zeros((tall * wide, 3), np.float32), np.zeros(tall * wide, np.float32)
        whose = np.full((camera.height, camera.width), -1)
        out = behind.astype(np.float32)
        if len(on):
            picture[on], cover[on] = self._lit(hits, on, rays[on], camera.at, (tall, wide), rng), 1
            owners = np.full(tall * wide, -1)
            owners[on] = self.owners[self._of[hits["primID"][on]]]
            whose[top:bottom, left:right] = owners.reshape(tall, wide)[::FINER, ::FINER]
            part = (right - left, bottom - top)
            front = cv2.resize(picture.reshape(tall, wide, 3), part, interpolation=cv2.INTER_AREA)
            share = cv2.resize(cover.reshape(tall, wide), part, interpolation=cv2.INTER_AREA)[..., None]
            out[top:bottom, left:right] = front + (1 - share) * out[top:bottom, left:right]
        return np.clip(out, 0, 255).astype(np.uint8), whose

    def _lit(
        self, hits: Any, on: NDArray[np.intp], rays: F32, at: Array, shape: tuple[int, int], rng: np.random.Generator
    ) -> F32:
        """(N,3) colours of what rays hit, under a lamp with shadows and light from everywhere."""
        prim, far = hits["primID"][on], hits["tfar"][on]
        corners = self._triangles[prim]
        u, v = hits["u"][on], hits["v"][on]
        shares = np.stack([1 - u - v, u, v], axis=1).astype(np.float32)

        def inside(values: F32) -> F32:
            return np.asarray(np.einsum("nk...,nk->n...", values[corners], shares), np.float32)

        normals, places, along = inside(self._normals), inside(self._places), inside(self._along)
        of = self._of[prim]
        colours = np.empty((len(on), 3), np.float32)
        uneven = Waves(rng, 0.02, 0.12, 14)
        for index in np.unique(of):
            mine = of == index
            surface = self.surfaces[index]
            colours[mine] = surface.paint(places[mine], along[mine])
            if surface.rough:
                normals[mine] += surface.rough * uneven.slope(places[mine])
        normals = unit(normals).astype(np.float32)
        flip = np.einsum("nk,nk->n", normals, rays) > 0
        normals[flip] *= -1
        points = (at + rays * far[:, None]).astype(np.float32)
        start = points + 0.004 * normals
        lamp = unit(np.array([rng.normal(0, 0.8), -abs(rng.normal(0.6, 0.5)), abs(rng.normal(0.7, 0.5))]))
        jitter = (lamp + rng.normal(0, 0.08, (len(on), 3))).astype(np.float32)
        free = (self.distance(start, unit(jitter).astype(np.float32)) > 50).astype(np.float32)
        near = np.zeros(len(on), np.float32)
        for _ in range(2):
            way = unit(normals + unit(rng.normal(0, 1, (len(on), 3)))).astype(np.float32)
            near += np.minimum(1, self.distance(start, way) / NEAR) / 2
        free, near = _soft(free, on, shape, 1.5), _soft(near, on, shape, 3)
        ambient = float(rng.uniform(0.35, 0.8))
        lambert = np.maximum(0, normals @ lamp.astype(np.float32)) * free
        sky = 0.75 + 0.25 * normals[:, 2]
        warm = 1 + rng.normal(0, 0.06, 3) + float(rng.normal(0, 0.08)) * np.array([1, 0, -1])
        light = ambient * sky * (0.35 + 0.65 * near)
        shade = light[:, None] * (2 - warm) + ((1.25 - ambient) * lambert)[:, None] * warm
        half = unit(lamp - rays).astype(np.float32)
        gloss = float(rng.uniform(0, 30)) * np.maximum(0, np.einsum("nk,nk->n", normals, half)) ** 24 * free
        return np.asarray(colours * shade * float(rng.uniform(0.75, 1.15)) + gloss[:, None], dtype=np.float32)


def _soft(values: F32, on: NDArray[np.intp], shape: tuple[int, int], sigma: float) -> F32:
    """Values of some pixels, blurred among themselves."""
    full, there = np.zeros(shape[0] * shape[1], np.float32), np.zeros(shape[0] * shape[1], np.float32)
    full[on], there[on] = values, 1
    a, b = (cv2.GaussianBlur(it.reshape(shape), (0, 0), sigma).ravel()[on] for it in (full, there))
    return np.asarray(a / np.maximum(b, 1e-3), dtype=np.float32)
