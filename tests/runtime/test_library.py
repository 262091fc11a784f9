"""Finding a GPU through a driver made here, choosing a TensorRT, its log, and the names that the fake one offers."""

from __future__ import annotations

import ctypes
import enum
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hgrt.errors import HgrtError
from hgrt.runtime import library
from hgrt.runtime.library import Gpu, Library, find_gpu, load_library, need_gpu, no_gpu, open_log, probe
from runtime.fake_cuda import FakeCuda
from runtime.fake_trt import FakeTrt, Plan, Tensor

H200 = Gpu("NVIDIA H200", "9.0", "CUDA 12.8", 150_754_820_096, 2)
ERRORS = {100: b"CUDA_ERROR_NO_DEVICE", 803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", 101: b"CUDA_ERROR_INVALID_DEVICE"}


def driver(count: int = 2, fails: dict[str, int] | None = None, lacks: str = "") -> SimpleNamespace:
    """A libcuda: C functions with the signatures of cuda.h, so that ctypes has to pass what C would take."""
    answers: dict[str, tuple[list[Any], Callable[..., Any]]] = {
        "cuInit": ([c_uint], lambda flags: None),
        "cuGetErrorName": ([c_int, POINTER(c_char_p)], lambda code, text: store(text, ERRORS.get(code))),
        "cuDriverGetVersion": ([POINTER(c_int)], lambda found: store(found, 12080)),
        "cuDeviceGetCount": ([POINTER(c_int)], lambda found: store(found, count)),
        "cuDeviceGet": ([POINTER(c_int), c_int], lambda found, ordinal: store(found, 7 + ordinal)),
        "cuDeviceGetName": (
            [POINTER(ctypes.c_char), c_int, c_int],
            lambda text, size, device: ctypes.memmove(text, {7: b"NVIDIA H200\0"}[device][:size], 12),
        ),
        "cuDeviceGetAttribute": (
            [POINTER(c_int), c_int, c_int],
            lambda found, which, device: store(found, {75: 9, 76: 0}[which]),
        ),
        "cuDeviceTotalMem_v2": ([POINTER(c_size_t), c_int], lambda found, device: store(found, H200.memory)),
    }

    def function(name: str) -> Any:
        types, answer = answers[name]

        def call(*arguments: Any) -> int:
            answer(*arguments)
            return (fails or {}).get(name, 0)

        return CFUNCTYPE(c_int, *types)(call)

    return SimpleNamespace(**{name: function(name) for name in answers if name != lacks})


def store(pointer: Any, value: Any) -> None:
    pointer[0] = value


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Lets ctypes find these libraries and no others, and the kernel tell of no driver."""

    def give(cuda: Any = None, nvml: Any = None) -> None:
        def load(name: str) -> Any:
            found = {"libcuda.so.1": cuda, "libnvidia-ml.so.1": nvml}[name]
            if found is None:
                raise OSError(f"{name}: cannot open shared object file: No such file or directory")
            return found

        monkeypatch.setattr(library.ctypes, "CDLL", load)

    monkeypatch.setattr(library, "_LIBCUDA", "libcuda.so.1")
    monkeypatch.setattr(library, "_LIBNVML", "libnvidia-ml.so.1")
    monkeypatch.setattr(library, "_PROC_VERSION", tmp_path / "version")
    return give


# Is there a GPU


def test_the_first_gpu_is_described(loads: Callable[..., None]) -> None:
    loads(driver())
    assert find_gpu() == probe() == H200


@pytest.mark.parametrize(
    ("cuda", "reason"),
    [
        (None, "no NVIDIA driver: libcuda.so.1"),
        (driver(fails={"cuInit": 100}), "cuInit with CUDA_ERROR_NO_DEVICE"),
        (driver(fails={"cuInit": 803}), "cuInit with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
        (driver(fails={"cuInit": 4242}), "cuInit with error 4242"),
        (driver(fails={"cuDeviceGetCount": 100}), "cuDeviceGetCount with CUDA_ERROR_NO_DEVICE"),
        (driver(count=0), "no device"),
        (driver(fails={"cuDeviceTotalMem_v2": 101}), "counts 2 devices and answers with CUDA_ERROR_INVALID_DEVICE"),
        (driver(lacks="cuDeviceTotalMem_v2"), "no whole driver"),
    ],
    ids=["no driver", "no device", "mismatch", "unnamed error", "count fails", "count 0", "device fails", "stub"],
)
def test_without_a_gpu_the_reason_is_told(loads: Callable[..., None], cuda: Any, reason: str) -> None:
    loads(cuda)
    assert find_gpu() is None
    for flavour, title in (("tensorrt", "TensorRT needs"), ("rtx", "TensorRT for RTX needs")):
        with pytest.raises(HgrtError) as raised:
            need_gpu(Library(None, flavour, "1.0"))
        assert title in raised.value.what and reason in raised.value.why and "nvidia-smi" in raised.value.fix


def test_a_gpu_that_is_there_is_given(loads: Callable[..., None]) -> None:
    loads(driver())
    assert need_gpu(Library(None, "tensorrt", "11.4.0.106")) == H200


def test_this_very_machine_is_asked_without_harm() -> None:
    gpu = find_gpu()
    assert gpu is None or (gpu.count > 0 and gpu.memory > 0)


def test_hidden_devices_are_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES" not in str(no_gpu("It", "So."))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES is set to '-1'" in no_gpu("It", "So.").fix


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:14:41 UTC 2025\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57  Release Build\nGCC 13.2.0\n", "575.57"),
        ("NVRM version: something new\n", "CUDA 12.8"),
    ],
)
def test_the_driver_is_known_from_the_kernel(loads: Callable[..., None], text: str, version: str) -> None:
    loads(driver())
    library._PROC_VERSION.write_text(text)
    gpu = find_gpu()
    assert gpu is not None and gpu.driver == version


@pytest.mark.parametrize(("code", "version"), [(0, "581.29"), (3, "CUDA 12.8")])
def test_the_driver_is_known_from_nvml(loads: Callable[..., None], code: int, version: str) -> None:
    closed = []
    nvml = SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlSystemGetDriverVersion=lambda text, size: (setattr(text, "value", b"581.29"), code)[1],
        nvmlShutdown=lambda: closed.append(True),
    )
    loads(driver(), nvml)
    gpu = find_gpu()
    assert gpu is not None and gpu.driver == version and closed == [True]


# Which TensorRT

GOOD = "class Builder: ...\n__version__ = '{}'\n"


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Makes packages that can be imported; the two of TensorRT that this machine may have are hidden."""
    before = {name: sys.modules.pop(name, None) for name in library.MODULES.values()}
    sys.modules.update(dict.fromkeys(before))  # None: this one cannot be imported

    def make(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / "__init__.py").write_text(text)
        sys.modules.pop(name, None)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.mark.parametrize(
    ("there", "asked", "flavour", "version"),
    [
        ({"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1.116"}, "auto", "tensorrt", "11.4.0.106"),
        ({"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1.116"}, "rtx", "rtx", "1.7.1.116"),
        ({"tensorrt_rtx": "1.7.1.116"}, "auto", "rtx", "1.7.1.116"),
        ({"tensorrt": "10.12.0.36"}, "tensorrt", "tensorrt", "10.12.0.36"),
    ],
)
def test_the_library_is_chosen(packages: Any, there: dict[str, str], asked: Any, flavour: str, version: str) -> None:
    for name, number in there.items():
        packages(name, GOOD.format(number))
    found = load_library(asked)
    assert (found.flavour, found.version) == (flavour, version)
    assert found.module.__name__ == library.MODULES[flavour] and found.module.Builder


def test_a_folder_that_happens_to_be_called_so_is_passed_over(packages: Any) -> None:
    packages("tensorrt", "")
    packages("tensorrt_rtx", GOOD.format("1.7.1"))
    assert load_library().flavour == "rtx"
    with pytest.raises(HgrtError, match="not NVIDIA's"):
        load_library("tensorrt")


def test_a_module_made_by_hand_counts_as_installed(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTrt(FakeCuda(), plan())
    monkeypatch.setitem(sys.modules, "tensorrt", fake.module)
    assert load_library() == fake.library


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise ImportError('libnvinfer.so.11: cannot open')", "does not load: libnvinfer.so.11: cannot open"),
        ("raise FileNotFoundError('Could not find: nvinfer_11.dll')", "does not load: Could not find: nvinfer_11.dll"),
        (GOOD.format("8.6.1"), "TensorRT 8.6.1 is installed, and hgrt needs 10.12 or newer"),
        (GOOD.format("10.9.0.34"), "needs 10.12 or newer"),
        ("__version__ = '11.4'", "not NVIDIA's"),
        (GOOD.format("unknown"), "not NVIDIA's"),
    ],
)
@pytest.mark.parametrize("asked", ["auto", "tensorrt"])
def test_an_unfit_library_is_refused_and_no_other_taken(packages: Any, text: str, why: str, asked: Any) -> None:
    packages("tensorrt", text)
    packages("tensorrt_rtx", GOOD.format("1.7.1"))
    with pytest.raises(HgrtError) as raised:
        load_library(asked)
    assert why in raised.value.why and 'hgrt[tensorrt]"' in raised.value.fix


@pytest.mark.parametrize("asked", ["auto", "tensorrt", "rtx"])
def test_without_any_library_the_pip_line_is_told(packages: Any, asked: Any) -> None:
    with pytest.raises(HgrtError, match="installed") as raised:
        load_library(asked)
    assert f'pip install "hgrt[{"tensorrt" if asked == "auto" else asked}]"' in raised.value.fix


# Its log


@pytest.fixture
def rtx() -> Library:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install hgrt[rtx]")
    return load_library("rtx")


def test_the_log_keeps_what_the_real_parser_says(rtx: Library) -> None:
    trt, log = rtx.module, open_log(rtx)
    assert log.errors() == ""
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    for _ in range(2):
        assert not parser.parse(b"garbage")
    assert "Failed to parse the ONNX model" in log.errors()
    assert len(log.errors().splitlines()) == 1  # said twice, kept once
    log.clear()
    assert log.errors() == ""
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert log.errors().endswith("API Usage Error (Network must have at least one output.)")


def test_warnings_count_only_where_there_are_no_errors(rtx: Library) -> None:
    severity, log = rtx.module.ILogger.Severity, open_log(rtx)
    log.log(severity.VERBOSE, "a detail")
    log.log(severity.INFO, "a fact")
    assert log.errors() == ""
    log.log(severity.WARNING, "a doubt")
    assert log.errors() == "a doubt"
    log.log(severity.ERROR, "[parser.cpp::parse::12] no")
    log.log(severity.INTERNAL_ERROR, "never")
    assert log.errors() == "no\nnever"
    for count in range(1000):
        log.log(severity.ERROR, f"error {count}")
    assert log.errors().splitlines()[-1] == "error 999" and len(log.errors().splitlines()) < 100


# The fake


def plan() -> Plan:
    """Doubles: x (N, 2) float in, y (N, 2) out, for up to four."""
    return Plan(
        tensors=(Tensor("x", True, "FLOAT", ("N", 2)), Tensor("y", False, "FLOAT", ("N", 2))),
        profiles=({"x": ((1, 2), (1, 2), (1, 2))}, {"x": ((2, 2), (2, 2), (4, 2))}),
        compute=lambda given: {"y": 2 * given["x"]},
        scratch=64,
    )


def offered(fake: FakeTrt) -> Iterator[tuple[str, str]]:
    """Every public name of the fake: ("", name) of its module, (class, name) of its classes and objects."""
    trt = fake.module
    log = open_log(fake.library)
    engine = trt.Runtime(log).deserialize_cuda_engine(fake.data)
    objects: list[Any] = [engine, engine.create_execution_context(), engine.create_engine_inspector(), trt.Runtime(log)]
    objects.append(engine.create_runtime_config())
    for name, value in vars(trt).items():
        if not name.startswith("__"):
            yield "", name
        if isinstance(value, type) and not issubclass(value, enum.Enum):
            yield from ((name, one) for base in value.__mro__[:2] for one in vars(base) if not one.startswith("_"))
        elif isinstance(value, type):
            yield from ((name, member.name) for member in value)
    for thing in objects:
        kind = next(name for name, value in vars(trt).items() if isinstance(value, type) and isinstance(thing, value))
        yield from ((kind, one) for one in vars(thing) if not one.startswith("_"))


RTX_ONLY = {"is_stream_capturable"}
"""What the fake's classes have for RTX only; asked of the other flavour it raises."""


def test_every_name_of_the_fake_exists_in_rtx(rtx: Library) -> None:
    names = set(offered(FakeTrt(FakeCuda(), plan(), "rtx")))
    assert len(names) > 60 and ("IExecutionContext", "execute_async_v3") in names
    owner = {"": rtx.module} | {kind: getattr(rtx.module, kind, None) for kind, _ in names if kind}
    assert [(kind, name) for kind, name in sorted(names) if not hasattr(owner[kind], name)] == []
    assert [name for kind, name in names if kind == "DataType" and not hasattr(rtx.module.DataType, name)] == []


WHEELS = os.environ.get("HGRT_TENSORRT_BINDINGS", "")


@pytest.mark.skipif(not WHEELS, reason="HGRT_TENSORRT_BINDINGS names no folder with tensorrt_cu13_bindings wheels")
def test_every_name_of_the_fake_exists_in_tensorrt() -> None:
    """By the names in the extension: it cannot be imported without 3 GB of libraries."""
    wheels = sorted(Path(WHEELS).glob("tensorrt_cu1*_bindings-*.whl"))
    assert wheels
    names = {name for _, name in offered(FakeTrt(FakeCuda(), plan()))} - RTX_ONLY
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            text = archive.read("tensorrt_bindings/tensorrt.so")
            python = archive.read("tensorrt_bindings/__init__.py")
        missing = [name for name in names if f"{name}\0".encode() not in text and f" {name}(".encode() not in python]
        assert missing == [], wheel.name
        assert b"execute_async_v2\0" not in text  # names that are gone are really not found


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
def test_the_fake_runs_an_engine(flavour: Any) -> None:
    with FakeCuda() as cuda:
        fake = FakeTrt(cuda, plan(), flavour)
        context, stream = ready(fake)
        source, target = cuda.pinned((3, 2), np.float32), cuda.pinned((3, 2), np.float32)
        x, y = cuda.device(24), cuda.device(24)
        assert context.set_input_shape("x", (3, 2)) and context.infer_shapes() == []
        assert tuple(context.get_tensor_shape("y")) == (3, 2) and context.engine.get_tensor_shape("y") == (-1, 2)
        assert context.set_tensor_address("x", x.address) and context.set_tensor_address("y", y.address)
        source[:] = np.arange(6).reshape(3, 2)
        cuda.upload(x, source, stream)
        assert context.execute_async_v3(stream.handle)
        cuda.download(target, y, stream)
        assert np.isnan(target).all()  # nothing is there before somebody waits
        cuda.synchronize(stream)
        assert (target == 2 * source).all() and cuda.faults == []
        assert fake.order[-2:] == ["set_tensor_address", "execute_async_v3"]


def ready(fake: FakeTrt) -> tuple[Any, Any]:
    """A context on the second profile with scratch memory, and a stream."""
    cuda, trt = fake.cuda, fake.module
    engine = trt.Runtime(open_log(fake.library)).deserialize_cuda_engine(fake.data)
    stream, scratch = cuda.stream(), cuda.device(engine.device_memory_size_v2)
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    context.set_device_memory(scratch.address, scratch.nbytes)
    assert context.set_optimization_profile_async(1, stream.handle)
    return context, stream


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda context, cuda: context.set_input_shape("x", (5, 2)), "outside the profile"),
        (lambda context, cuda: context.set_input_shape("y", (2, 2)), "no input"),
        (lambda context, cuda: context.set_tensor_address("z", 1), "no tensor z"),
        (lambda context, cuda: context.set_optimization_profile_async(2, next(iter(cuda._own)).handle), "no such"),
        (lambda context, cuda: context.execute_async_v3(next(iter(cuda._own)).handle), "x has no shape"),
    ],
)
def test_the_fake_says_no_to_misuse(spoil: Callable[[Any, Any], bool], said: str) -> None:
    fake = FakeTrt(FakeCuda(), plan())
    context, _ = ready(fake)
    assert spoil(context, fake.cuda) is False
    assert said in fake.log.errors()  # type: ignore[union-attr]


def test_the_fake_wants_a_run_before_a_capture() -> None:
    with FakeCuda() as cuda:
        fake = FakeTrt(cuda, plan())
        context, stream = ready(fake)
        buffer = cuda.device(32)
        for name in "xy":
            context.set_tensor_address(name, buffer.address)
        for rows in (2, 3):
            context.set_input_shape("x", (rows, 2))
            with cuda.capture(stream):
                assert context.execute_async_v3(stream.handle) is False
            assert "capturing" in fake.log.errors()  # type: ignore[union-attr]
            assert context.execute_async_v3(stream.handle)
            with cuda.capture(stream):
                assert context.execute_async_v3(stream.handle)


def test_the_fake_says_no_when_told_to() -> None:
    fake = FakeTrt(FakeCuda(), plan(), data=b"right")
    log = open_log(fake.library)
    assert fake.module.Runtime(log).deserialize_cuda_engine(b"wrong") is None and "magic" in log.errors()
    fake.refuse("deserialize_cuda_engine", after=1)
    assert fake.module.Runtime(log).deserialize_cuda_engine(b"right") is not None
    assert fake.module.Runtime(log).deserialize_cuda_engine(b"right") is None
    fake.refuse("Runtime")
    with pytest.raises(TypeError, match="nullptr"):
        fake.module.Runtime(log)
    with pytest.raises(TypeError, match="ILogger"):
        fake.module.Runtime(object())
