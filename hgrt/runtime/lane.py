"""One lane of work on a GPU: a stream, its buffers, and a context and graph for each shape that runs there.

A lane does one job at a time, and two lanes overlap: while one computes, the other is filled or emptied. What has run
keeps its addresses, so that from its second run on a shape is one CUDA graph: copy in, compute, copy out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.runtime.base import Timings
from hgrt.runtime.cuda import Buffer, Cuda, Graph
from hgrt.runtime.loaded import CROPS, FRAME, HEATMAPS, KEYPOINTS, Fit, LoadedEngine, Shape

KEPT = 16  # shapes of a lane that stay ready; pictures of ever new sizes must not fill the memory


@dataclass(slots=True)
class Graphs:
    """Whether runs are captured; `refused` says why not, once a capture has failed."""

    wanted: bool = True
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a run gave: `keypoints` (count, J, 4), `heatmaps` (count, J, S/4, S/4) or none of them if not asked for."""

    keypoints: NDArray[np.float32]
    heatmaps: NDArray[np.float32]
    timings: Timings


@dataclass(slots=True, eq=False)
class Job:
    """A run under way, or done; `Lane.answer` has what it gave."""

    lane: Lane
    run: _Run
    count: int
    heatmaps: int
    found: Answer | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Tensor:
    """Where a tensor lies: page-locked here, and on the device."""

    host: NDArray[Any]
    device: Buffer


@dataclass(slots=True, eq=False)
class _Run:
    """A shape that is ready to run: its context, and its tensors in the lane's memory."""

    context: Any
    tensors: Mapping[str, _Tensor]
    graph: Graph | None = None
    warm: bool = False


class Lane(Closing):
    """See the module. Not by several threads; close it before its engine and its `cuda`."""

    def __init__(self, engine: LoadedEngine, cuda: Cuda, graphs: Graphs) -> None:
        """Take the memory for the largest batch, except for frames, whose size is not known yet."""
        self._engine, self._cuda, self._graphs = engine, cuda, graphs
        self._stream = cuda.stream()
        self._begun, self._sent, self._computed, self._ended = (cuda.event() for _ in range(4))
        self._scratch = cuda.device(engine.scratch_bytes) if engine.scratch_bytes else None
        self._memory: dict[str, _Tensor] = {}
        self._runs: dict[tuple[Shape, ...], _Run] = {}
        self._now: Job | None = None
        self._busy = False
        for name in (*engine.inputs, *engine.outputs):
            if name != FRAME:
                self._room(name, engine.shape(name, engine.largest))

    def start(self, fit: Fit, inputs: Mapping[str, NDArray[Any]], heatmaps: bool) -> Job:
        """Begin a run; `inputs` fill the fronts of their shapes. What was under way here is settled first."""
        self._settle()
        self._busy = True  # from here on, also where something below fails
        run = self._ready(fit)
        for name, values in inputs.items():
            run.tensors[name].host[: len(values)] = values
        if run.warm and run.graph is None and self._graphs.wanted:
            run.graph = self._captured(run)
        self._cuda.record(self._begun, self._stream)
        if run.graph is not None:
            self._cuda.launch(run.graph, self._stream)
        else:
            self._queue(run, marked=True)
            run.warm = True
        if heatmaps:
            self._fetch(run, HEATMAPS)
        self._cuda.record(self._ended, self._stream)
        self._now = Job(self, run, fit.count, fit.count if heatmaps else 0)
        return self._now

    def answer(self, job: Job) -> Answer:
        """What a job of this lane gave; waits for it. RuntimeError where it failed while another was begun."""
        if job.found is None and job is self._now:
            self._settle()
        if job.found is None:
            raise RuntimeError("this run has failed")
        return job.found

    def _settle(self) -> None:
        job, self._now = self._now, None
        if self._busy:
            self._cuda.synchronize(self._stream)
            self._busy = False
        if job is not None:
            tensors = job.run.tensors
            keypoints = tensors[KEYPOINTS].host[: job.count].copy()
            heatmaps = tensors[HEATMAPS].host[: job.heatmaps].copy()
            job.found = Answer(keypoints, heatmaps, self._timings(job.run))

    def close(self) -> None:
        """Wait for what is under way, and let go of the contexts. The memory goes with `cuda`."""
        self._now = None
        try:
            if self._busy:
                self._cuda.synchronize(self._stream)
        finally:
            self._runs.clear()

    def _ready(self, fit: Fit) -> _Run:
        key = tuple(fit.shapes.values())
        run = self._runs.pop(key, None)
        if run is None:
            if len(self._runs) >= KEPT:
                self._forget(next(iter(self._runs)))
            run = self._new(fit)
        self._runs[key] = run  # the last in order is the last used
        return run

    def _new(self, fit: Fit) -> _Run:
        batch = fit.shapes[self._engine.inputs[-1]][0]
        shapes = {name: self._engine.shape(name, batch) for name in self._engine.outputs} | dict(fit.shapes)
        tensors = {name: self._room(name, shape) for name, shape in shapes.items()}
        addresses = {name: tensor.device.address for name, tensor in tensors.items()}
        scratch = self._scratch.address if self._scratch is not None else 0
        context = self._engine.context(fit, addresses, scratch, self._stream.handle)
        self._cuda.synchronize(self._stream)  # choosing a profile may have queued copies
        return _Run(context, tensors)

    def _forget(self, key: tuple[Shape, ...]) -> None:
        run = self._runs.pop(key)
        if run.graph is not None:
            self._cuda.free(run.graph)

    def _room(self, name: str, shape: Shape) -> _Tensor:
        """The tensor's memory in that shape; a frame larger than all before it takes the place of theirs."""
        size = prod(shape)
        memory = self._memory.get(name)
        if memory is not None and memory.host.size < size:
            for key in list(self._runs):
                self._forget(key)
            self._cuda.free(memory.device)
            self._cuda.free(memory.host)
        if memory is None or memory.host.size < size:
            host = self._cuda.pinned((size,), np.uint8 if name in (CROPS, FRAME) else np.float32)
            memory = self._memory[name] = _Tensor(host, self._cuda.device(host.nbytes))
        return _Tensor(memory.host[:size].reshape(shape), memory.device)

    def _captured(self, run: _Run) -> Graph | None:
        """The run as a graph. It must have run before: the first run of a shape may take memory, which no graph can."""
        try:
            if not self._engine.capturable(run.context, self._stream.handle):
                raise HgrtError(f"TensorRT cannot capture {self._engine.path}.")
            with self._cuda.capture(self._stream) as capture:
                self._queue(run)
            return capture.graph
        except (HgrtError, RuntimeError) as error:
            self._graphs.wanted, self._graphs.refused = False, str(error).partition("\n")[0]
            return None

    def _queue(self, run: _Run, marked: bool = False) -> None:
        for name in self._engine.inputs:
            self._cuda.upload(run.tensors[name].device, run.tensors[name].host, self._stream)
        if marked:
            self._cuda.record(self._sent, self._stream)
        self._engine.enqueue(run.context, self._stream.handle)
        if marked:
            self._cuda.record(self._computed, self._stream)
        self._fetch(run, KEYPOINTS)

    def _fetch(self, run: _Run, name: str) -> None:
        self._cuda.download(run.tensors[name].host, run.tensors[name].device, self._stream)

    def _timings(self, run: _Run) -> Timings:
        elapsed = self._cuda.elapsed_ms
        total = elapsed(self._begun, self._ended)
        if run.graph is not None:
            return Timings(total)
        return Timings(
            total,
            elapsed(self._begun, self._sent),
            elapsed(self._sent, self._computed),
            elapsed(self._computed, self._ended),
        )
