"""A `tensorrt` module of Python: engines that "compute" by a function on the memory of a FakeCuda.

It says no as the real one does, with None or False and the reason in the log, whenever it is misused or told to. Every
name that it offers exists in the real bindings (see test_library.py). A fake tests our bookkeeping, not TensorRT.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgrt.runtime.library import MODULES, Flavour, Library
from runtime.fake_cuda import FakeCuda

Shape = tuple[int, ...]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Tensor:
    """An input or output; a free size has a letter, as in ("N", 256, 256, 3), and the same one has the same letter."""

    name: str
    is_input: bool
    dtype: str  # a member of DataType
    shape: tuple[int | str, ...]

    def free(self) -> Shape:
        """The shape with -1 for what is free."""
        return tuple(-1 if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True)
class Plan:
    """What an engine is: `compute` turns inputs into outputs by name, `profiles` give (min, opt, max) of each input."""

    tensors: tuple[Tensor, ...]
    profiles: tuple[Mapping[str, tuple[Shape, Shape, Shape]], ...]
    compute: Callable[[Arrays], Arrays]
    scratch: int = 0
    information: str = '{"Layers": []}'
    capturable: bool = True

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name; KeyError without."""
        return {tensor.name: tensor for tensor in self.tensors}[name]

    def inputs(self) -> list[Tensor]:
        """The inputs in their order."""
        return [tensor for tensor in self.tensors if tensor.is_input]


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


NUMPY: dict[DataType, Any] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
    DataType.INT64: np.int64,
}


def nptype(trt_type: DataType) -> Any:
    """The numpy type of a DataType."""
    return NUMPY[trt_type]


class Dims:
    """A shape as the bindings have it: it equals a tuple and is none, and has no __iter__ but can be gone through."""

    def __init__(self, sizes: Shape) -> None:
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> int:
        return self._sizes[index]

    def __eq__(self, other: object) -> bool:
        return list(self._sizes) == list(other) if isinstance(other, (tuple, list, Dims)) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._sizes)


class ILogger:
    """To be subclassed, its __init__ called and `log` overridden."""

    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Builder:
    """Only a name: by it a module is known for a whole TensorRT."""


class FakeTrt:
    """`library` has the fake module; `data` is the one engine file it loads, which is `plan`.

    `refuse("execute_async_v3", after=1)` lets the second such call say no. `calls` counts, `order` lists all of them.
    """

    def __init__(
        self, cuda: FakeCuda, plan: Plan, flavour: Flavour = "tensorrt", version: str = "", data: bytes = b"a plan"
    ) -> None:
        self.cuda, self.plan, self.data, self.flavour = cuda, plan, data, flavour
        self.calls: Counter[str] = Counter()
        self.order: list[str] = []
        self.log: ILogger | None = None
        self._refused: dict[str, int] = {}
        self.module = ModuleType(MODULES[flavour])
        self.library = Library(self.module, flavour, version or {"tensorrt": "11.4.0.106", "rtx": "1.7.1.116"}[flavour])
        self.module.__dict__.update(dict(self._names(), __version__=self.library.version))

    def _names(self) -> Iterator[tuple[str, Any]]:
        """What the module offers."""
        names = [ILogger, Builder, Dims, DataType, TensorIOMode, LayerInformationFormat, nptype]
        names += [ExecutionContextAllocationStrategy, ICudaEngine, IExecutionContext, EngineInspector, IRuntimeConfig]
        if self.flavour == "rtx":
            names += [CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy]
        yield from ((one.__name__, one) for one in names)
        fake = self

        class Bound(Runtime):
            """The class whose objects know this fake."""

            def __init__(self, logger: Any) -> None:
                super().__init__(fake, logger)

        yield "Runtime", Bound

    def refuse(self, name: str, after: int = 0) -> None:
        """Say no to the call `name` from its `after`-th time on, counted from now."""
        self._refused[name] = self.calls[name] + after

    def asked(self, name: str) -> bool:
        """Count a call; whether it is to be carried out."""
        refused = self.calls[name] >= self._refused.get(name, 1 << 60)
        self.calls[name] += 1
        self.order.append(name)
        if refused:
            self.complain(f"{name}: Error Code 1: refused by the test")
        return not refused

    def complain(self, text: str) -> None:
        """Log an error."""
        if self.log is not None:
            self.log.log(Severity.ERROR, text)


class Runtime:
    """Deserialises the one engine there is."""

    def __init__(self, fake: FakeTrt, logger: Any) -> None:
        if not isinstance(logger, ILogger) or not getattr(logger, "_ready", False):
            raise TypeError("the logger is no ILogger, or its __init__ was not called")
        fake.log, self._fake = logger, fake
        self.engine_host_code_allowed = False
        if not fake.asked("Runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if not self._fake.asked("deserialize_cuda_engine"):
            return None
        if serialized_engine != self._fake.data:
            self._fake.complain(
                "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magic tag does not match)"
            )
            return None
        return ICudaEngine(self._fake)


class ICudaEngine:
    """What the plan says, by TensorRT's names."""

    def __init__(self, fake: FakeTrt) -> None:
        self._fake, self._plan = fake, fake.plan
        self.num_io_tensors = len(self._plan.tensors)
        self.num_optimization_profiles = len(self._plan.profiles)
        self.device_memory_size_v2 = self._plan.scratch
        self.num_layers = 1
        self.name = "fake"

    def get_tensor_name(self, index: int) -> str:
        return self._plan.tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name not in {tensor.name for tensor in self._plan.tensors}:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if self._plan.tensor(name).is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._plan.tensor(name).dtype]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._plan.tensor(name).free())

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in self._plan.profiles[profile_index][name]]

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy | IRuntimeConfig = ExecutionContextAllocationStrategy.STATIC
    ) -> IExecutionContext | None:
        if isinstance(strategy, IRuntimeConfig):
            strategy = strategy.get_execution_context_allocation_strategy()
        if not isinstance(strategy, ExecutionContextAllocationStrategy):
            raise TypeError("incompatible function arguments")
        return IExecutionContext(self, self._fake, strategy) if self._fake.asked("create_execution_context") else None

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._fake.flavour)

    def create_engine_inspector(self) -> EngineInspector | None:
        return EngineInspector(self._plan) if self._fake.asked("create_engine_inspector") else None


class IRuntimeConfig:
    """How contexts are made; RTX has more to say about it."""

    def __init__(self, flavour: Flavour) -> None:
        self._strategy = ExecutionContextAllocationStrategy.STATIC
        if flavour == "rtx":
            self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
            self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def set_execution_context_allocation_strategy(self, strategy: ExecutionContextAllocationStrategy) -> None:
        self._strategy = strategy

    def get_execution_context_allocation_strategy(self) -> ExecutionContextAllocationStrategy:
        return self._strategy


class EngineInspector:
    """Tells what the plan says it tells."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        return self._plan.information if format is LayerInformationFormat.JSON else "one line"


class IExecutionContext:
    """Shapes, addresses and one run at a time. The first run of a shape cannot be captured: it may take memory."""

    def __init__(self, engine: ICudaEngine, fake: FakeTrt, strategy: ExecutionContextAllocationStrategy) -> None:
        self.engine = engine
        self.active_optimization_profile = 0
        self._fake, self._plan, self._own_scratch = fake, fake.plan, strategy is not _USER_MANAGED
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)
        self._warm = False
        self._switching = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not self._fake.asked("set_optimization_profile_async"):
            return False
        if not 0 <= profile_index < len(self._plan.profiles) or self._fake.cuda.recording(stream_handle):
            self._fake.complain("setOptimizationProfileAsync: Error Code 3: no such profile, or the stream is captured")
            return False
        self.active_optimization_profile = profile_index
        self._shapes, self._warm = {}, False
        self._switching += 1

        def switched() -> None:
            self._switching -= 1

        self._fake.cuda.work(stream_handle, "profile", switched)
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        if not self._fake.asked("set_input_shape"):
            return False
        if not isinstance(shape, (tuple, list, Dims)):
            raise TypeError("incompatible function arguments")
        sizes = tuple(shape)
        bounds = self._plan.profiles[self.active_optimization_profile].get(name)
        if bounds is None or len(sizes) != len(bounds[0]):
            self._fake.complain(f"setInputShape: Error Code 3: {name} is no input of {len(sizes)} dimensions")
            return False
        if any(not low <= size <= high for low, size, high in zip(bounds[0], sizes, bounds[2], strict=True)):
            self._fake.complain(f"setInputShape: Error Code 3: {name} of {sizes} is outside the profile")
            return False
        self._warm &= self._shapes.get(name) == sizes
        self._shapes[name] = sizes
        return True

    def infer_shapes(self) -> list[str]:
        if not self._fake.asked("infer_shapes"):
            raise RuntimeError("infer_shapes failed")
        return [one.name for one in self._plan.inputs() if -1 in one.free() and one.name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._shape(name))

    def _shape(self, name: str) -> Shape:
        known: dict[int | str, int] = {}
        for tensor in self._plan.inputs():
            known.update(zip(tensor.shape, self._shapes.get(tensor.name, ()), strict=False))
        if name in self._shapes:
            return self._shapes[name]
        return tuple(known.get(size, -1) if isinstance(size, str) else size for size in self._plan.tensor(name).shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if not self._fake.asked("set_tensor_address"):
            return False
        if self.engine.get_tensor_mode(name) is TensorIOMode.NONE:
            self._fake.complain(f"setTensorAddress: Error Code 3: no tensor {name}")
            return False
        self._addresses[name] = int(memory)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_device_memory(self, memory: int, size: int) -> None:
        if self._own_scratch:
            raise self._fake.cuda._fault("set_device_memory of a context that has its own")
        self._scratch = (int(memory), size)

    def is_stream_capturable(self, stream: int) -> bool:
        if self._fake.flavour != "rtx":
            raise AttributeError("only RTX has it")
        return self._plan.capturable

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._fake.asked("execute_async_v3"):
            return False
        captured = self._fake.cuda.recording(stream_handle)
        names = [tensor.name for tensor in self._plan.tensors]
        shapes = {name: self._shape(name) for name in names}
        wrong = [f"{name} has no shape" for name, shape in shapes.items() if -1 in shape]
        wrong += [f"{name} has no address" for name in names if not self._addresses.get(name)]
        if captured and not (self._warm and self._plan.capturable):
            wrong.append("operation not permitted when stream is capturing")
        if not self._own_scratch and self._plan.scratch > self._scratch[1]:
            wrong.append("device memory was not given, or too little")
        if wrong:
            self._fake.complain(f"IExecutionContext::enqueueV3: Error Code 3: API Usage Error ({', '.join(wrong)})")
            return False
        self._warm = True
        addresses, scratch = dict(self._addresses), self._scratch
        self._fake.cuda.work(stream_handle, "enqueue", lambda: self._compute(shapes, addresses, scratch))
        return True

    def _compute(self, shapes: dict[str, Shape], addresses: dict[str, int], scratch: tuple[int, int]) -> None:
        cuda = self._fake.cuda
        if self._switching:
            raise cuda._fault("a run before its change of profile was done")
        if scratch[0]:
            cuda.read(*scratch)[:] = 0xAB
        views: Arrays = {}
        for name, shape in shapes.items():
            dtype = np.dtype(NUMPY[self.engine.get_tensor_dtype(name)])
            views[name] = cuda.read(addresses[name], math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)
        outputs = self._plan.compute({tensor.name: views[tensor.name].copy() for tensor in self._plan.inputs()})
        for tensor in self._plan.tensors:
            if not tensor.is_input:
                value = outputs[tensor.name]
                if value.shape != shapes[tensor.name]:
                    raise ValueError(f"the test's compute gives {tensor.name} as {value.shape}")
                views[tensor.name][...] = value


_USER_MANAGED = ExecutionContextAllocationStrategy.USER_MANAGED
