"""One contract for every CUDA layer: the fake, pycuda and cuda-python over a driver made here; and the fake's rules."""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterator
from ctypes import c_int
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hgrt.errors import HgrtError
from hgrt.runtime import cuda as cuda_module
from hgrt.runtime import cuda_pycuda, cuda_python
from hgrt.runtime.cuda import Cuda, Stream, open_cuda
from hgrt.runtime.cuda_pycuda import CALLS, PyCuda
from hgrt.runtime.cuda_python import CudaPython
from hgrt.runtime.library import Gpu
from runtime.fake_cuda import FakeCuda
from runtime.fake_driver import (
    CAPTURE_INVALIDATED,
    OUT_OF_MEMORY,
    Code,
    Machine,
    stub_libcuda,
    stub_pycuda,
    stub_runtime,
)

LAYERS = ["fake", "pycuda", "cuda-python"]


def opened(layer: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """A layer on the machine; the fake is its own."""
    if layer == "fake":
        return FakeCuda()
    monkeypatch.setattr(cuda_pycuda, "version", lambda package: "2026.1")
    monkeypatch.setattr(cuda_python, "version", lambda package: "13.0.3")
    if layer == "cuda-python":
        return CudaPython(stub_runtime(machine))
    monkeypatch.setattr("hgrt.runtime.library.ctypes.CDLL", lambda name: stub_libcuda(machine))
    return PyCuda(stub_pycuda(machine))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture(params=LAYERS)
def cuda(request: pytest.FixtureRequest, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """Every layer in turn; afterwards nothing may be left on the machine, and no context current."""
    with opened(request.param, machine, monkeypatch) as cuda:
        assert cuda.name == request.param and cuda.version
        yield cuda
    cuda.close()
    assert machine.alive == {} and machine.current == 0 and machine.retained == 0
    assert not isinstance(cuda, FakeCuda) or (cuda.memory == {} and not cuda.alive())


# The contract


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_what_goes_up_comes_down(cuda: Cuda, dtype: Any) -> None:
    source, target = cuda.pinned((3, 5), dtype), cuda.pinned((3, 5), dtype)
    assert not source.any() and source.dtype == dtype and source.shape == (3, 5)
    buffer, stream = cuda.device(source.nbytes + 7), cuda.stream()
    assert buffer.address and stream.handle and buffer.nbytes == source.nbytes + 7
    source[:] = np.arange(15).reshape(3, 5)
    cuda.upload(buffer, source, stream)
    cuda.download(target, buffer, stream)
    cuda.synchronize(stream)
    assert (target == source).all()
    cuda.upload(buffer, source[1:2], stream)  # a part of a pinned array is pinned
    cuda.download(target[0], buffer, stream)
    cuda.synchronize(stream)
    assert (target[0] == source[1]).all() and (target[1:] == source[1:]).all()


def test_a_graph_repeats_what_was_recorded(cuda: Cuda) -> None:
    source, target = cuda.pinned((4,), np.float32), cuda.pinned((4,), np.float32)
    buffer, stream, other = cuda.device(16), cuda.stream(), cuda.stream()
    with cuda.capture(stream) as captured:
        cuda.upload(buffer, source, stream)
        cuda.download(target, buffer, stream)
        with pytest.raises(RuntimeError, match="after the capture"):
            _ = captured.graph
    target[:] = 9
    cuda.synchronize(stream)
    assert (target == 9).all()  # nothing was done yet
    for value, where in ((1, stream), (2, stream), (3, other)):
        source[:] = value
        cuda.launch(captured.graph, where)
        cuda.synchronize(where)
        assert (target == value).all()


def test_events_order_and_time(cuda: Cuda, machine: Machine) -> None:
    stream, other = cuda.stream(), cuda.stream()
    source, target, buffer = cuda.pinned((2,), np.uint8), cuda.pinned((2,), np.uint8), cuda.device(2)
    start, end = cuda.event(), cuda.event()
    source[:] = 7
    cuda.record(start, stream)
    cuda.upload(buffer, source, stream)
    cuda.record(end, stream)
    cuda.wait(other, end)
    cuda.download(target, buffer, other)
    cuda.synchronize(other)
    assert (target == 7).all()
    cuda.synchronize(end)
    assert cuda.elapsed_ms(start, end) > 0
    assert cuda.elapsed_ms(end, start) < 0
    waits = [call for call, *_ in machine.calls if "WaitEvent" in call]
    assert len(waits) == (not isinstance(cuda, FakeCuda))


def test_each_event_is_its_own(cuda: Cuda) -> None:
    events, buffers = {cuda.event() for _ in range(5)}, {cuda.device(1) for _ in range(5)}
    assert len(events) == 5 and len({buffer.address for buffer in buffers}) == 5


def test_what_is_freed_is_gone(cuda: Cuda, machine: Machine) -> None:
    stream, buffer, array = cuda.stream(), cuda.device(8), cuda.pinned((8,), np.uint8)
    with cuda.capture(stream) as captured:
        cuda.upload(buffer, array, stream)
    for what in (captured.graph, buffer, array):
        cuda.free(what)
    if not isinstance(cuda, FakeCuda):
        assert list(machine.alive) == [stream.handle]
    for use in (
        lambda: cuda.launch(captured.graph, stream),
        lambda: cuda.upload(buffer, array, stream),
        lambda: cuda.free(buffer),
        lambda: cuda.free(array),
        lambda: cuda.upload(cuda.device(8), array, stream),
    ):
        with pytest.raises(ValueError, match="freed|pinned"):
            use()
    assert (array == 0).all()


def test_after_close_every_call_is_refused_and_arrays_stay_readable(cuda: Cuda) -> None:
    array, buffer, stream, event = cuda.pinned((3,), np.uint8), cuda.device(3), cuda.stream(), cuda.event()
    with cuda.capture(stream) as captured:
        cuda.upload(buffer, array, stream)
    array[:] = 5
    cuda.close()
    cuda.close()
    assert (array == 5).all()
    for use in (
        lambda: cuda.pinned((1,), np.uint8),
        lambda: cuda.device(1),
        cuda.stream,
        cuda.event,
        lambda: cuda.free(buffer),
        lambda: cuda.record(event, stream),
        lambda: cuda.wait(stream, event),
        lambda: cuda.synchronize(stream),
        lambda: cuda.synchronize(event),
        lambda: cuda.elapsed_ms(event, event),
        lambda: cuda.launch(captured.graph, stream),
        lambda: cuda.capture(stream).__enter__(),
        lambda: cuda.upload(buffer, array, stream),
        lambda: cuda.download(array, buffer, stream),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_what_belongs_to_another_is_refused(cuda: Cuda) -> None:
    with FakeCuda() as other:
        foreign, array = other.device(4), other.pinned((4,), np.uint8)
        stream, ours = cuda.stream(), cuda.pinned((4,), np.uint8)
        with pytest.raises(ValueError, match="Buffer belongs to another"):
            cuda.upload(foreign, ours, stream)
        with pytest.raises(ValueError, match="pinned"):
            cuda.upload(cuda.device(4), array, stream)
        with pytest.raises(ValueError, match="Stream belongs to another"):
            cuda.synchronize(other.stream())
        with pytest.raises(ValueError, match="Event belongs to another"):
            cuda.record(other.event(), stream)
        with pytest.raises(ValueError, match="Stream belongs to another"):
            cuda.synchronize(Stream(stream.handle))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda pinned: np.zeros(4, np.uint8), "pinned"),
        (lambda pinned: pinned[::2], "contiguous"),
        (lambda pinned: pinned, "100 bytes do not fit a buffer of 8"),
    ],
    ids=["not pinned", "strided", "too large"],
)
def test_only_pinned_contiguous_arrays_that_fit_are_copied(cuda: Cuda, wrong: Any, match: str) -> None:
    array, buffer, stream = wrong(cuda.pinned((100,), np.uint8)), cuda.device(8), cuda.stream()
    with pytest.raises(ValueError, match=match):
        cuda.upload(buffer, array, stream)
    with pytest.raises(ValueError, match=match):
        cuda.download(array, buffer, stream)


def test_nothing_is_not_handed_out(cuda: Cuda) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        cuda.device(0)
    with pytest.raises(ValueError, match="holds nothing"):
        cuda.pinned((0, 3), np.uint8)


def test_a_capture_forbids_what_cannot_be_recorded(cuda: Cuda, machine: Machine) -> None:
    stream, other, event = cuda.stream(), cuda.stream(), cuda.event()
    array, buffer = cuda.pinned((4,), np.uint8), cuda.device(4)
    with cuda.capture(stream) as captured:
        for use in (
            lambda: cuda.pinned((1,), np.uint8),
            lambda: cuda.device(1),
            lambda: cuda.free(buffer),
            lambda: cuda.synchronize(stream),
            lambda: cuda.synchronize(event),
            lambda: cuda.capture(other).__enter__(),
        ):
            with pytest.raises(RuntimeError, match="inside a capture"):
                use()
        cuda.upload(buffer, array, stream)
    cuda.launch(captured.graph, stream)
    cuda.synchronize(stream)


def test_an_error_in_the_block_ends_the_capture(cuda: Cuda) -> None:
    stream = cuda.stream()
    with pytest.raises(KeyError, match="mine"), cuda.capture(stream) as captured:
        raise KeyError("mine")
    with pytest.raises(RuntimeError, match="after the capture"):
        _ = captured.graph
    cuda.synchronize(stream)
    with cuda.capture(stream) as captured:
        pass
    cuda.launch(captured.graph, stream)


# What the driver refuses


def test_a_refusal_names_the_call(cuda: Cuda, machine: Machine) -> None:
    machine.fails |= {"cuStreamCreate": 999, "cudaStreamCreateWithFlags": Code.cudaErrorInvalidValue}
    if isinstance(cuda, FakeCuda):
        cuda.refuse("new_stream")
    with pytest.raises(RuntimeError, match="^(cuStreamCreate|cudaStreamCreateWithFlags|new_stream) failed: ") as raised:
        cuda.stream()
    assert raised.value.args[0].count("failed") == 1


def test_a_full_device_is_told_to_the_user(cuda: Cuda, machine: Machine) -> None:
    machine.fails |= {"cuMemAlloc": OUT_OF_MEMORY, "cudaMalloc": OUT_OF_MEMORY}
    if isinstance(cuda, FakeCuda):
        cuda.capacity = 100
    with pytest.raises(HgrtError, match="no memory left") as raised:
        cuda.device(101)
    assert re.match("cuMemAlloc: |cudaMalloc: |new_buffer: ", raised.value.why)
    assert raised.value.fix


def test_a_spoilt_capture_is_an_error_and_the_next_one_works(cuda: Cuda, machine: Machine) -> None:
    stream = cuda.stream()
    machine.fails |= {"cuStreamEndCapture": CAPTURE_INVALIDATED, "cudaStreamEndCapture": CAPTURE_INVALIDATED}
    if isinstance(cuda, FakeCuda):
        cuda.refuse("end")
    with pytest.raises(RuntimeError, match="EndCapture failed: .*(INVALIDATED|Invalidated)|end failed"):  # noqa: SIM117
        with cuda.capture(stream):
            pass
    with pytest.raises(KeyError):  # noqa: SIM117
        with cuda.capture(stream):
            raise KeyError("the block's own error is the one that is seen")
    machine.fails.clear()
    machine.recording.clear()
    if isinstance(cuda, FakeCuda):
        cuda._refused.clear()
    with cuda.capture(stream) as captured:
        pass
    cuda.launch(captured.graph, stream)


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_a_graph_that_cannot_be_made_leaves_nothing(
    layer: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(layer, machine, monkeypatch) as cuda:
        stream = cuda.stream()
        machine.fails |= {"cuGraphInstantiateWithFlags": OUT_OF_MEMORY, "cudaGraphInstantiate": OUT_OF_MEMORY}
        with pytest.raises(HgrtError, match="no memory"), cuda.capture(stream):
            pass
        assert list(machine.alive) == [stream.handle]


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_close_goes_on_when_the_device_has_failed(
    layer: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = opened(layer, machine, monkeypatch)
    cuda.device(4), cuda.pinned((4,), np.uint8), cuda.stream(), cuda.event()
    machine.fails |= {"cuStreamSynchronize": 700, "cudaStreamSynchronize": Code.cudaErrorInvalidValue}
    cuda.close()
    assert machine.alive == {} and machine.current == 0


# Opening

H200 = Gpu("NVIDIA H200", "9.0", "580.65.06", 1 << 37, 1)


def test_without_a_gpu_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_module, "probe", lambda: "There is no driver.")
    monkeypatch.setattr(cuda_module, "_import", lambda module: pytest.fail("imported all the same"))
    with pytest.raises(HgrtError, match="CUDA needs an NVIDIA GPU") as raised:
        open_cuda()
    assert raised.value.why == "There is no driver."


@pytest.mark.parametrize(
    ("there", "name"),
    [({"pycuda", "cuda-python"}, "pycuda"), ({"pycuda"}, "pycuda"), ({"cuda-python"}, "cuda-python")],
    ids=["both", "pycuda", "cuda-python"],
)
def test_pycuda_comes_first(there: set[str], name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    opened("pycuda", machine, monkeypatch).close()  # leaves its libcuda in place
    modules = {"pycuda.driver": stub_pycuda(machine), "cuda.bindings.runtime": stub_runtime(machine)}
    packages = {"pycuda.driver": "pycuda", "cuda.bindings.runtime": "cuda-python"}
    monkeypatch.setattr(cuda_module, "probe", lambda: H200)
    monkeypatch.setattr(
        cuda_module, "_import", lambda module: modules[module] if packages[module] in there else "not installed"
    )
    with open_cuda() as cuda:
        assert cuda.name == name


def test_without_a_package_the_reasons_and_the_pip_line_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cuda_module, "probe", lambda: H200)
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text("raise ImportError('libcurand.so.10: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "cuda", None)
    try:
        with pytest.raises(HgrtError) as raised:
            open_cuda()
    finally:
        sys.modules.pop("pycuda", None)
    assert "pycuda: installed but does not load (libcurand.so.10: cannot open)" in raised.value.why
    assert "cuda-python: not installed" in raised.value.why
    assert 'pip install "hgrt[cuda]"' in raised.value.fix


def test_a_package_that_lacks_another_is_not_called_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("import no_such_thing")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cuda_module._import("half") == "installed but does not load (No module named 'no_such_thing')"
    assert cuda_module._import("no_such_thing.at_all") == "not installed"


def test_a_driver_too_old_for_cuda_python_is_told_to_the_user(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.fails["cudaSetDevice"] = Code.cudaErrorInsufficientDriver
    with pytest.raises(HgrtError, match="cuda-python cannot use the GPU") as raised:
        opened("cuda-python", machine, monkeypatch)
    assert "cudaErrorInsufficientDriver" in raised.value.why and "13.0.3" in raised.value.fix


def test_a_context_that_does_not_fit_is_told_to_the_user(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.fails["cuDevicePrimaryCtxRetain"] = OUT_OF_MEMORY
    with pytest.raises(HgrtError, match="no memory left"):
        opened("pycuda", machine, monkeypatch)


# The types and names


def test_the_graph_calls_have_the_types_of_cuda_h(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By size and kind on this ABI: handles are pointers, sizes are size_t, modes and flags what cuda.h says."""
    stub = stub_libcuda(machine)
    header = {name: list(getattr(stub, name)._argtypes_) for name in CALLS}
    assert header == CALLS
    monkeypatch.setattr("hgrt.runtime.library.ctypes.CDLL", lambda name: stub)
    monkeypatch.setattr(cuda_pycuda, "version", lambda package: "2026.1")
    PyCuda(stub_pycuda(machine)).close()
    for name, types in CALLS.items():
        assert getattr(stub, name).argtypes == tuple(types) or getattr(stub, name).argtypes == types
        assert getattr(stub, name).restype is c_int


def test_the_names_of_cuda_python_are_real(machine: Machine) -> None:
    """Where it is installed; without a driver every call must fail for that reason and not for its arguments."""
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed: pip install hgrt[cuda]")
    stub = stub_runtime(machine)
    for name, value in vars(stub).items():
        if name.startswith("cuda"):
            assert hasattr(real, name)
            members = list(value.__members__) if isinstance(value, enum.EnumType) else []
            assert [one for one in members if getattr(getattr(real, name), one) != value[one]] == []
    if real.cudaSetDevice(0)[0] == real.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU")
    with pytest.raises(HgrtError, match="cuda-python cannot use the GPU"):
        CudaPython(real)
    layer = CudaPython.__new__(CudaPython)
    layer._runtime = real
    stream, event, array = real.cudaStream_t(0), real.cudaEvent_t(0), np.zeros(4, np.uint8)
    for call in (
        lambda: layer._pin(4096, 4096),
        lambda: layer._unpin(4096),
        lambda: layer._new_buffer(4),
        layer._new_stream,
        layer._new_event,
        lambda: layer._copy_in(4096, array, stream),
        lambda: layer._copy_out(array, 4096, stream),
        lambda: layer._record(event, stream),
        lambda: layer._wait(stream, event),
        lambda: layer._finish_stream(stream),
        lambda: layer._finish_event(event),
        lambda: layer._elapsed(event, event),
        lambda: layer._begin(stream),
        lambda: layer._end(stream),
        lambda: layer._launch(real.cudaGraphExec_t(0), stream),
        *(lambda destroy=destroy: layer._call(destroy, 0) for destroy in cuda_python._DESTROY.values()),
    ):
        with pytest.raises(RuntimeError, match="^cuda[A-Z].* failed: cudaError"):
            call()


def test_the_names_of_pycuda_are_real(machine: Machine) -> None:
    real = pytest.importorskip("pycuda.driver", reason="pycuda does not load here", exc_type=ImportError)
    names = [name for name in vars(stub_pycuda(machine)) if not name.startswith("__")]
    assert [name for name in names if not hasattr(real, name)] == []


# The fake's own rules


def test_the_fake_does_nothing_before_somebody_waits() -> None:
    with FakeCuda() as cuda:
        source, target = cuda.pinned((2,), np.float32), cuda.pinned((2,), np.float32)
        buffer, stream = cuda.device(8), cuda.stream()
        assert np.isnan(cuda.read(buffer.address, 8).view(np.float32)).all()
        cuda.upload(buffer, source, stream)
        cuda.download(target, buffer, stream)
        assert np.isnan(target).all() and cuda.done == []
        cuda.synchronize(stream)
        assert (target == 0).all() and cuda.done == ["upload", "download"]
        assert cuda.calls["copy_in"] == cuda.calls["copy_out"] == cuda.calls["finish_stream"] == 1


def test_the_fake_finds_an_array_changed_too_early() -> None:
    cuda = FakeCuda()
    source, buffer, stream = cuda.pinned((2,), np.uint8), cuda.device(2), cuda.stream()
    cuda.upload(buffer, source, stream)
    source[:] = 1
    with pytest.raises(RuntimeError, match="changed before its upload"):
        cuda.synchronize(stream)
    cuda.synchronize(stream)
    with cuda.capture(stream) as captured:
        cuda.upload(buffer, source, stream)
    source[:] = 2  # free until it is launched
    cuda.launch(captured.graph, stream)
    source[:] = 3
    cuda.close()
    assert len(cuda.faults) == 2


def test_the_fake_finds_use_after_free() -> None:
    cuda = FakeCuda()
    array, buffer, stream = cuda.pinned((2,), np.uint8), cuda.device(2), cuda.stream()
    with cuda.capture(stream) as captured:
        cuda.upload(buffer, array, stream)
    cuda.free(buffer)
    again = cuda.device(2)
    assert again.address != buffer.address
    cuda.launch(captured.graph, stream)
    with pytest.raises(RuntimeError, match="no living buffer"):
        cuda.synchronize(stream)
    with pytest.raises(RuntimeError, match="no living buffer"):
        cuda.read(again.address + 1, 2)
    cuda.close()
    for late in (lambda: cuda.read(again.address, 1), lambda: cuda.work(stream.handle, "late", lambda: None)):
        with pytest.raises(RuntimeError, match="no living buffer|after close"):
            late()


def test_the_fake_finds_misused_streams_and_events() -> None:
    cuda = FakeCuda()
    stream, other, event, never = cuda.stream(), cuda.stream(), cuda.event(), cuda.event()
    with pytest.raises(RuntimeError, match="legacy stream"):
        cuda.work(0, "enqueue", lambda: None)
    cuda.record(event, stream)
    for pair in ((event, event), (event, never)):
        with pytest.raises(RuntimeError, match="not reached"):
            cuda.elapsed_ms(*pair)
    with cuda.capture(stream), pytest.raises(RuntimeError, match="cannot wait for each other"):
        cuda.wait(stream, event)
    with cuda.capture(stream):
        cuda.record(event, stream)
    with pytest.raises(RuntimeError, match="cannot wait for each other"):
        cuda.wait(other, event)
    with pytest.raises(RuntimeError, match="cannot be waited for"):
        cuda.synchronize(event)


def test_the_fake_lets_one_stream_wait_for_another() -> None:
    with FakeCuda() as cuda:
        first, second, event = cuda.stream(), cuda.stream(), cuda.event()
        cuda.work(first.handle, "one", lambda: None)
        cuda.record(event, first)
        cuda.work(first.handle, "after", lambda: None)
        cuda.wait(second, event)
        cuda.work(second.handle, "two", lambda: None)
        cuda.synchronize(second)
        assert cuda.done == ["one", "record", "wait", "two"]
        cuda.synchronize(first)
        assert cuda.done[-1] == "after"


def test_the_fake_refuses_from_the_call_it_is_told() -> None:
    with FakeCuda() as cuda:
        cuda.stream()
        cuda.refuse("new_stream", after=1)
        cuda.stream()
        with pytest.raises(RuntimeError, match="new_stream failed: refused"):
            cuda.stream()
        assert cuda.alive() == {"Stream": 2}
