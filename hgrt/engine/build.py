"""From an ONNX file to a TensorRT plan: parse, profiles, build, and everything that can stop it, in plain words.

The same calls serve TensorRT 10.12 and later, 11 and TensorRT for RTX: types are those of the ONNX file, always. This
module knows neither checkpoints nor where engines are kept; `hgrt.engine.make` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hgrt.engine.inspect import Half, network_half
from hgrt.engine.onnx import MAX_BATCH
from hgrt.engine.timing_cache import TimingCache
from hgrt.errors import HgrtError
from hgrt.runtime.library import Gpu, Library, TrtLog, open_log

Profile = tuple[int, int, int]
"""Smallest, best and largest batch of an optimisation profile."""

FRAME_SIDES = ((16, 16), (720, 1280), (2160, 3840))
"""Smallest, best and largest height and width of a frame that an engine with the crop inside takes."""

_TURING = "7.5"  # the one capability of RTX cards that its default engines leave out


@dataclass(frozen=True, slots=True)
class Phase:
    """What TensorRT is at: `done` of `steps` steps of something with a `name`."""

    name: str
    done: int
    steps: int


Watch = Callable[[Sequence[Phase]], None]
"""Called with the open phases, outermost first, from TensorRT's threads, one call at a time. Raising ends the build."""


@dataclass(frozen=True, slots=True)
class Built:
    """A finished engine: its bytes, and how it came about.

    `capability` of the GPUs it is for, "" for RTX's default, which is 8.0 and later; `layers` of the network, and how
    many of them are in `half`; `seconds` it took; `notes` for the user.
    """

    data: bytes
    capability: str
    layers: int
    half: Half
    seconds: float
    notes: tuple[str, ...]


def profiles(batches: Sequence[int]) -> tuple[Profile, ...]:
    """One profile for each bucket: batches 1, 4, 16 give (1, 1, 1), (2, 4, 4), (5, 16, 16), in any order of `batches`.

    HgrtError for none, or for one that is not within 1 to `MAX_BATCH`.
    """
    wrong = [str(batch) for batch in batches if not 1 <= batch <= MAX_BATCH]
    if wrong or not batches:
        raise HgrtError(
            f"A batch of {wrong[0]} cannot be built." if wrong else "No batch size was given.",
            f"A batch is 1 to {MAX_BATCH} crops.",
            "Give the largest batch of each bucket, as in --batch 1,4,16.",
        )
    largest = sorted(set(batches))
    return tuple((below + 1, most, most) for below, most in zip([0, *largest], largest, strict=False))


def build_engine(
    library: Library,
    gpu: Gpu | None,
    onnx: Path,
    batches: Sequence[Profile],
    watch: Watch = lambda phases: None,
    cache: Path | None = None,
) -> Built:
    """Build the engine of an ONNX file, with one optimisation profile for each of `batches`.

    `gpu` None is for RTX only, whose plans then are for its default set of GPUs. `cache` is a folder for the timing
    cache, which only TensorRT proper has. HgrtError with TensorRT's own words where it refuses; what `watch` raises is
    raised again; KeyboardInterrupt after Ctrl-C, once TensorRT has stopped.
    """
    trt, log = library.module, open_log(library)
    started = time.perf_counter()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt.OnnxParser(network, log), network, onnx)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector knows names only
    config.clear_flag(trt.BuilderFlag.TF32)  # what is left in single precision must stay single
    capability = _target(trt, library, gpu, config)
    for batch in batches:
        _add_profile(builder, network, config, batch, log)
    timings = TimingCache.open(library, gpu, config, cache) if gpu and library.flavour == "tensorrt" and cache else None
    data = _run(builder, network, config, trt, log, watch)
    notes = timings.save() if timings else ()
    half = network_half(trt, network)
    return Built(data, capability, network.num_layers, half, time.perf_counter() - started, notes)


def _parse(parser: Any, network: Any, onnx: Path) -> None:
    try:
        content = onnx.read_bytes()
    except OSError as error:
        raise HgrtError(f"{onnx} cannot be read.", error.strerror or str(error), "Check the path.") from error
    if parser.parse(content) and network.num_outputs:  # to it, some texts are an ONNX file without anything in it
        return
    said = dict.fromkeys(str(parser.get_error(i)).strip() for i in range(parser.num_errors))
    raise HgrtError(f"TensorRT's parser refuses {onnx}.", "\n".join(said) or "It finds no network in it.")


def _target(trt: Any, library: Library, gpu: Gpu | None, config: Any) -> str:
    """Say for which GPUs the plan is to be; the compute capability, "" for RTX's default set."""
    if library.flavour == "tensorrt":
        return gpu.capability if gpu else ""
    if gpu is None or gpu.capability != _TURING:
        return ""
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
    return gpu.capability


def _add_profile(builder: Any, network: Any, config: Any, batch: Profile, log: TrtLog) -> None:
    log.clear()
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shapes = [_filled(tuple(tensor.shape), size, sides) for size, sides in zip(batch, FRAME_SIDES, strict=True)]
        if shapes[0] == shapes[2] == tuple(tensor.shape):
            continue  # it has one shape only
        profile.set_shape(tensor.name, *shapes)
    if config.add_optimization_profile(profile) < 0:  # it does not raise
        raise HgrtError(f"TensorRT refuses the batches {batch[0]} to {batch[2]}, best {batch[1]}.", log.errors())


def _filled(shape: tuple[int, ...], batch: int, sides: tuple[int, int]) -> tuple[int, ...]:
    """A shape with -1 where it is free: the batch comes first, height and width are the free sides of a frame."""
    free = [batch, *sides]
    return tuple(free[axis] if size < 0 and axis < len(free) else size for axis, size in enumerate(shape))


def _run(builder: Any, network: Any, config: Any, trt: Any, log: TrtLog, watch: Watch) -> bytes:
    progress = _Progress(watch)
    config.progress_monitor = monitor = _monitor(trt, progress)
    log.clear()
    # TensorRT blocks the thread that it is called from, so that the main thread would hear of Ctrl-C at the end only.
    with ThreadPoolExecutor(1, "hgrt-build") as pool:
        built = pool.submit(builder.build_serialized_network, network, config)
        while True:
            try:
                while not built.done():
                    wait([built], timeout=0.2)
                break
            except KeyboardInterrupt as stop:
                progress.end(stop)
    config.progress_monitor = None
    del monitor  # it had to outlive the build
    plan = built.result()
    if progress.error is not None:
        raise progress.error
    if plan is None:
        raise HgrtError("TensorRT could not build the engine.", log.errors() or "It gave no reason.")
    return bytes(plan)


class _Progress:
    """The open phases of a build, and what ended it. May be called from any thread."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._open: dict[str, Phase] = {}
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def start(self, name: str, steps: int) -> None:
        with self._lock:
            self._open[name] = Phase(name, 0, steps)
            self._show()

    def step(self, name: str, step: int) -> bool:
        with self._lock:
            if name in self._open:
                self._open[name] = replace(self._open[name], done=step + 1)
                self._show()
            return self.error is None

    def finish(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)
            self._show()

    def end(self, error: BaseException) -> None:
        """Have the build stop at its next step, for this reason."""
        self.error = self.error or error

    def _show(self) -> None:
        if self.error is None:
            try:
                self._watch(tuple(self._open.values()))
            except BaseException as error:  # TensorRT would print it and go on; it is raised when the build has ended
                self.end(error)


def _monitor(trt: Any, progress: _Progress) -> Any:
    """What TensorRT reports to. Its class is made here because its base is there only once a TensorRT is loaded."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
