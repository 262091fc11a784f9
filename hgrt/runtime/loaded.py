"""A deserialised engine: its tensors, its profiles, and contexts that run it. All of TensorRT that running takes.

TensorRT says no with None and False and gives the reason only to its log; here that becomes an error that carries the
log. Knows nothing of memory, graphs or people: see `tensorrt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.runtime.library import Library, open_log
from hgrt.runtime.passport import VERSION_COMPATIBLE, Passport

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Shapes of inputs by name."""

CROPS, FRAME, AFFINES = "crops", "frame", "affines"
HEATMAPS, KEYPOINTS = "heatmaps", "keypoints"

FREE = -1  # a size that the profile, not the engine, decides


@dataclass(frozen=True, slots=True)
class Profile:
    """What one optimisation profile holds: the smallest and the largest shape of each input."""

    index: int
    low: Shapes
    high: Shapes

    def holds(self, name: str, shape: Shape) -> bool:
        """Whether this input may have that shape."""
        low, high = self.low[name], self.high[name]
        return all(small <= size <= large for small, size, large in zip(low, shape, high, strict=True))


@dataclass(frozen=True, slots=True)
class Fit:
    """How some people are run: `count` of them at once, padded to the batch that `shapes` have."""

    profile: Profile
    shapes: Shapes
    count: int


def rung(count: int) -> int:
    """The batch that `count` people are padded to: 1, 2, 3, 4, 6, 8, 12, 16, ... so that few sizes ever run."""
    power = 1 << (count - 1).bit_length()
    return power * 3 // 4 if power >= 4 and count <= power * 3 // 4 else power


class LoadedEngine(Closing):
    """An engine of ours in memory. Make contexts, run them, and close it after them; not by several threads."""

    def __init__(self, library: Library, path: Path, passport: Passport) -> None:
        """Deserialise the engine file `path`; HgrtError where TensorRT refuses it or it is not what its passport says.

        Ask for a GPU and check the passport before: without a driver TensorRT ends the process.
        """
        self.path, self._rebuild = path, passport.command
        self._trt, self._rtx = library.module, library.flavour == "rtx"
        self._log = open_log(library)
        try:
            runtime = self._trt.Runtime(self._log)
        except (TypeError, RuntimeError) as error:  # how its bindings say that there is none
            raise self.refused("cannot be started for", str(error)) from error
        if passport.flags.get(VERSION_COMPATIBLE) is True:
            runtime.engine_host_code_allowed = True  # such engines bring a runtime of their own
        self._engine: Any = self.asked(runtime.deserialize_cuda_engine(path.read_bytes()), "does not load")
        self._runtime: Any = runtime
        spec = passport.spec
        self.inputs = (FRAME, AFFINES) if passport.crop_in_engine else (CROPS,)
        self.outputs = (HEATMAPS, KEYPOINTS)
        side, cells, joints = spec.input, spec.heatmap, len(spec.joints)
        self._rest: Shapes = {
            CROPS: (side, side, 3),
            AFFINES: (2, 3),
            HEATMAPS: (joints, cells, cells),
            KEYPOINTS: (joints, 4),
        }
        self._check()
        profiles = map(self._profile, range(self._engine.num_optimization_profiles))
        self.profiles = tuple(sorted(profiles, key=lambda one: one.high[self.inputs[-1]][0]))
        self.scratch_bytes = int(self._engine.device_memory_size_v2)

    @property
    def largest(self) -> int:
        """The largest batch of any profile."""
        return self.profiles[-1].high[self.inputs[-1]][0]

    @property
    def frames(self) -> tuple[Shape, Shape]:
        """The smallest and the largest height and width of a frame, by the first profile."""
        profile = self.profiles[0]
        return tuple(profile.low[FRAME][1:3]), tuple(profile.high[FRAME][1:3])

    def shape(self, name: str, batch: int) -> Shape:
        """The shape of a tensor other than the frame for so many people."""
        return (batch, *self._rest[name])

    def fit(self, count: int, frame: tuple[int, int] | None = None) -> Fit | None:
        """The smallest profile that holds `count` people, else as many of them as the largest holds.

        None where no profile holds a frame of that height and width.
        """
        people, profile = self.inputs[-1], None
        for one in self.profiles:  # the largest batches last
            if frame is None or one.holds(FRAME, (1, *frame, 3)):
                profile = one
                if one.high[people][0] >= count:
                    break
        if profile is None:
            return None
        low, high = profile.low[people][0], profile.high[people][0]
        count = min(count, high)
        batch = min(max(rung(count), low), high)
        shapes = {people: (batch, *profile.high[people][1:])}
        if frame is not None:
            shapes[FRAME] = (1, *frame, 3)
        return Fit(profile, shapes, count)

    def context(self, fit: Fit, addresses: Mapping[str, int], scratch: int, stream: int) -> Any:
        """A context ready to run with the shapes of `fit` on this memory, all of it as device addresses.

        `scratch` is for intermediate results, 0 where none is needed; contexts that never run at the same time may
        share it. Wait for the stream before running.
        """
        context = self.asked(self._new_context(), "gives no context for")
        if scratch:
            context.set_device_memory(scratch, self.scratch_bytes)
        self.asked(context.set_optimization_profile_async(fit.profile.index, stream), "refuses a profile of")
        for name, shape in fit.shapes.items():
            self.asked(context.set_input_shape(name, shape), f"refuses {name} of {shape} for")
        try:
            missing = context.infer_shapes()
        except RuntimeError as error:
            raise self.refused("finds no shapes for", str(error)) from error
        if missing:
            raise self.refused("lacks shapes for", f"Of {', '.join(missing)}.")
        for name in (*self.inputs, *self.outputs):
            self.asked(context.set_tensor_address(name, addresses[name]), f"refuses the address of {name} for")
        return context

    def enqueue(self, context: Any, stream: int) -> None:
        """Queue one run; HgrtError where TensorRT refuses."""
        self._log.clear()
        self.asked(context.execute_async_v3(stream), "cannot run")

    def capturable(self, context: Any, stream: int) -> bool:
        """Whether a run can become part of a CUDA graph, as far as the library tells."""
        return not self._rtx or bool(context.is_stream_capturable(stream))

    def asked(self, answer: Any, refusal: str) -> Any:
        """The answer of TensorRT, or an error that says `refusal` where it is None or False."""
        if answer is None or answer is False:
            raise self.refused(refusal)
        return answer

    def refused(self, refusal: str, why: str = "") -> HgrtError:
        """The error for a refusal, with what TensorRT has logged."""
        said = " ".join(filter(None, (why, self._log.errors())))
        return HgrtError(
            f"TensorRT {refusal} {self.path}.", said or "It gives no reason.", f"Build it again: {self._rebuild}"
        )

    def close(self) -> None:
        """Let go of engine and runtime, in this order; the contexts must be gone by then."""
        self._engine = None
        self._runtime = None

    def _new_context(self) -> Any:
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._rtx:
            return self._engine.create_execution_context(strategy)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.DISABLED  # we capture more than the engine
        # Kernels for the very shape before the first run, not some time later: a graph keeps what it captured.
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return self._engine.create_execution_context(config)

    def _check(self) -> None:
        engine, wanted = self._engine, (*self.inputs, *self.outputs)
        found = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        if set(found) != set(wanted):
            raise self._foreign(f"It has {', '.join(found) or 'no tensors'}; expected are {', '.join(wanted)}.")
        for name in wanted:
            is_input = engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            if is_input != (name in self.inputs):
                raise self._foreign(f"{name} is an {'input' if is_input else 'output'}.")
            kind = "UINT8" if name in (CROPS, FRAME) else "FLOAT"
            if engine.get_tensor_dtype(name) != getattr(self._trt.DataType, kind):
                raise self._foreign(f"{name} holds {engine.get_tensor_dtype(name)}, not {kind}.")
            shape = (1, FREE, FREE, 3) if name == FRAME else self.shape(name, FREE)
            has = tuple(engine.get_tensor_shape(name))
            if len(has) != len(shape) or any(want not in (FREE, size) for want, size in zip(shape, has, strict=True)):
                raise self._foreign(f"{name} is {has}, not {shape}.")

    def _foreign(self, why: str) -> HgrtError:
        return HgrtError(f"{self.path} is not an engine that hgrt built from what its passport says.", why)

    def _profile(self, index: int) -> Profile:
        low: dict[str, Shape] = {}
        high: dict[str, Shape] = {}
        for name in self.inputs:
            smallest, _, largest = self._engine.get_tensor_profile_shape(name, index)
            low[name], high[name] = tuple(smallest), tuple(largest)
        return Profile(index, low, high)
