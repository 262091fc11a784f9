"""TensorRT, or TensorRT for RTX: an engine that `hgrt build-engine` made on this kind of machine. Extras.

The engine decodes, so that keypoints come back and not heatmaps, and may cut the crops out of whole frames as well. Its
passport is checked before anything is deserialised, and without a GPU nothing of TensorRT is touched at all. Knows
people and crops; memory, streams and graphs are the business of `lane`, TensorRT's own calls that of `loaded`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.pose.geometry import Array, Image, apply, compose, heatmap_to_crop, invert
from hgrt.pose.heatmaps import Keypoints, Maps
from hgrt.runtime.base import Backend, BackendInfo, Placed, Request, Timings, as_float32, keypoint_parts, shrinks
from hgrt.runtime.cuda import Cuda, open_cuda
from hgrt.runtime.lane import Graphs, Job, Lane
from hgrt.runtime.library import MODULES, Gpu, Library, load_library, need_gpu
from hgrt.runtime.loaded import AFFINES, CROPS, FRAME, LoadedEngine
from hgrt.runtime.passport import Passport, check, read_passport

LANES = 2
"""Batches that can be under way at once: one computes while the other is copied or drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """Crops under way; `TensorRtBackend.result` has their answer. `affines` to the strip that they were laid on, if."""

    jobs: tuple[Job, ...]
    affines: Array | None = None


class TensorRtBackend(Backend):
    """An engine of ours on the first NVIDIA GPU."""

    def __init__(self, request: Request, graphs: bool = True) -> None:
        """Open the engine `request.weights`; `graphs` False queues every run anew, which tells its parts' times.

        HgrtError without passport, library, GPU or CUDA package, and where any of them does not fit the engine.
        """
        path = request.weights
        passport = read_passport(path)
        library = load_library(passport.flavour)
        gpu = need_gpu(library)
        check(passport, path, library, gpu, request.trust)
        self._graphs = Graphs(graphs)
        with ExitStack() as stack:
            cuda = stack.enter_context(open_cuda())
            self._engine = stack.enter_context(LoadedEngine(library, path, passport))
            self._lanes = [stack.enter_context(Lane(self._engine, cuda, self._graphs)) for _ in range(LANES)]
            self._turn = 0
            self._timings: Timings | None = None
            self.info = _info(request, passport, library, gpu, cuda)
            self._warm_up()
            self._held = stack.pop_all()

    def submit(self, crops: NDArray[np.uint8]) -> Ticket:
        """Begin with crops as `keypoints` takes them, and do not wait; they may be changed at once.

        Any number of tickets may be open, and their results asked for in any order.
        """
        return self._begin(self._checked(crops), heatmaps=False)

    def result(self, ticket: Ticket) -> Keypoints:
        """The joints of a ticket's crops, in heatmap cells; waits for them. RuntimeError once closed."""
        self._alive()
        found = self._collected(ticket.jobs)
        if ticket.affines is None:
            return Keypoints(*found)
        to_crop = heatmap_to_crop(self.info.spec.heatmap, self.info.spec.input)
        placed = zip(ticket.affines, found[0], strict=True)
        cells = np.stack([apply(invert(compose(affine, to_crop)), xy_img) for affine, xy_img in placed])
        return Keypoints(cells, *found[1:])

    def timings(self) -> Timings | None:
        """How long the last result took on the device; its parts only where no graph ran."""
        return self._timings

    def _keypoints(self, crops: NDArray[np.uint8]) -> Keypoints:
        return self.result(self._begin(crops, heatmaps=False))

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        jobs = self._begin(crops, heatmaps=True).jobs
        self._collected(jobs)
        maps = [job.lane.answer(job).heatmaps for job in jobs]
        return as_float32(maps[0] if len(maps) == 1 else np.concatenate(maps))

    def _frame_keypoints(self, frame: Image, affines: Array) -> Placed:
        size = (frame.shape[0], frame.shape[1])
        if not self.info.crops_frames or shrinks(affines) or self._engine.fit(len(affines), size) is None:
            return super()._frame_keypoints(frame, affines)
        return Placed(*self._collected(self._start({FRAME: frame[None], AFFINES: affines}, size, heatmaps=False)))

    def _begin(self, crops: NDArray[np.uint8], heatmaps: bool) -> Ticket:
        if not self.info.crops_frames:
            return Ticket(self._start({CROPS: crops}, None, heatmaps))
        size = self.info.spec.input
        low, high = self._engine.frames
        below = min(high[0] // size, self._engine.largest)
        if not below or high[1] < size:
            raise HgrtError(
                f"{self.info.weights} takes frames, and no crops beside them.",
                f"Its frames are at most {high[1]} x {high[0]}, and a crop is {size} x {size}.",
                "Build it without --crop-in-engine, or for larger frames.",
            )
        jobs: list[Job] = []
        affines = np.tile(np.eye(2, 3), (len(crops), 1, 1))
        affines[:, 1, 2] = np.arange(len(crops)) % below * size
        for first in range(0, len(crops), below):
            some = crops[first : first + below]
            strip = np.zeros((1, max(low[0], len(some) * size), max(low[1], size), 3), np.uint8)
            strip[0, : len(some) * size, :size] = some.reshape(-1, size, 3)
            inputs: dict[str, NDArray[Any]] = {FRAME: strip, AFFINES: affines[first : first + below]}
            jobs += self._start(inputs, (strip.shape[1], strip.shape[2]), heatmaps)
        return Ticket(tuple(jobs), affines)

    def _start(
        self, inputs: Mapping[str, NDArray[Any]], frame: tuple[int, int] | None, heatmaps: bool
    ) -> tuple[Job, ...]:
        """Begin with as many runs as it takes, each in the lane whose turn it is; only the frame goes with all."""
        jobs: list[Job] = []
        begun, count = 0, len(inputs[AFFINES if frame else CROPS])
        while begun < count:
            fit = self._engine.fit(count - begun, frame)
            if fit is None:
                raise ValueError(f"no profile of {self.info.weights} holds a frame of {frame}")
            lane = self._lanes[self._turn]
            self._turn = (self._turn + 1) % LANES
            end = begun + fit.count
            part = {name: values if name == FRAME else values[begun:end] for name, values in inputs.items()}
            jobs.append(lane.start(fit, part, heatmaps))
            begun = end
        if self._graphs.refused and self._graphs.refused not in self.info.device:
            self.info = replace(self.info, device=f"{self.info.device}, no CUDA graph: {self._graphs.refused}")
        return tuple(jobs)

    def _collected(self, jobs: Sequence[Job]) -> tuple[Array, Array, Array]:
        """Positions (N, J, 2), scores and spreads (N, J) of finished runs, one after another."""
        answers = [job.lane.answer(job) for job in jobs]
        self._timings = _sum([answer.timings for answer in answers])
        return keypoint_parts(np.concatenate([answer.keypoints for answer in answers]))

    def _warm_up(self) -> None:
        """Run each lane until a single person is a graph, so that the first frame is not the slow one."""
        if self.info.crops_frames:
            return  # whose size nobody knows yet
        size = self.info.spec.input
        for _ in range(2 * LANES):
            self._keypoints(np.zeros((1, size, size, 3), np.uint8))

    def _release(self) -> None:
        self._held.close()


def _info(request: Request, passport: Passport, library: Library, gpu: Gpu, cuda: Cuda) -> BackendInfo:
    return BackendInfo(
        runtime="tensorrt",
        spec=passport.spec,
        weights=request.weights,
        device=gpu.name,
        asked=request.precision,
        running=passport.precision,
        threads=0,
        versions={MODULES[library.flavour]: library.version, cuda.name: cuda.version, "driver": gpu.driver},
        decodes=True,
        crops_frames=passport.crop_in_engine,
    )


def _sum(timings: Sequence[Timings]) -> Timings:
    """Of several runs, one after another; without parts where any of them has none."""
    if len(timings) == 1:
        return timings[0]
    total = sum(one.total for one in timings)
    parts = [(one.h2d, one.compute, one.d2h) for one in timings]
    if any(part is None for one in parts for part in one):
        return Timings(total)
    return Timings(total, *(sum(part or 0.0 for part in column) for column in zip(*parts, strict=True)))
