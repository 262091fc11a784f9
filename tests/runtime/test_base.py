"""Opening by name: what is chosen, what is refused and with which words. No network runs here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import SPEC, FakeBackend
from hgrt.errors import HgrtError
from hgrt.runtime import base, choose
from hgrt.runtime.base import BACKENDS, BackendInfo, Request, asset, bundled_weights, open_backend, physical_cores


class Opened(FakeBackend):
    """Says what it was asked for, and runs in `running`."""

    running: Any = "fp32"

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request
        self.info = BackendInfo("fake", SPEC, request.weights, "CPU", request.precision, self.running, request.threads)
        opened.append(self)


opened: list[Opened] = []


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "probe", lambda: "There is no GPU in these tests.")  # see test_choose
    opened.clear()


@pytest.mark.parametrize(
    ("name", "expected"), [("net.onnx", "onnxruntime"), ("net.pt", "torch"), ("checkpoint.pth.tar", "torch")]
)
def test_auto_goes_by_the_file(name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    for runtime in BACKENDS:
        monkeypatch.setitem(
            BACKENDS, runtime, lambda request, runtime=runtime: chosen.append(runtime) or Opened(request)
        )
    path = tmp_path / name
    path.write_text("x")
    backend = open_backend("auto", path)
    assert chosen == [expected]
    assert backend.info.weights == path


@pytest.mark.parametrize("runtime", list(BACKENDS))
def test_a_name_opens_that_runtime_and_no_other(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BACKENDS:
        monkeypatch.setitem(BACKENDS, name, lambda request: pytest.fail("another runtime was opened"))
    monkeypatch.setitem(BACKENDS, runtime, Opened)
    path = tmp_path / ("net.engine" if runtime == "tensorrt" else "net.bin")
    path.write_text("x")
    open_backend(runtime, str(path), "fp32", 3)
    assert opened[0].request == Request(path, "fp32", 3)


def test_another_precision_than_asked_for_is_an_error_and_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "onnxruntime", Opened)
    monkeypatch.setattr(Opened, "running", "bf16")
    path = tmp_path / "net.onnx"
    path.write_text("x")
    with pytest.raises(HgrtError, match="runs bf16 where fp32 was asked for"):
        open_backend("onnxruntime", path)
    assert opened[0].released == 1


def test_an_8_bit_file_runs_as_such_unless_something_else_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "onnxruntime", Opened)
    monkeypatch.setattr(Opened, "running", "int8")
    path = tmp_path / "net.onnx"
    path.write_text("x")
    for precision in (None, "int8"):
        assert open_backend("auto", path, precision).info.asked == "int8"  # type: ignore[arg-type]
    with pytest.raises(HgrtError, match="runs int8 where fp32 was asked for"):
        open_backend("auto", path, "fp32")
    assert [one.released for one in opened] == [0, 0, 1]


@pytest.mark.parametrize("runtime", [name for name in BACKENDS if name != "onnxruntime"])
def test_8_bits_are_for_one_runtime_and_no_other_is_opened(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, runtime, Opened)
    path = tmp_path / ("net.engine" if runtime == "tensorrt" else "net.onnx")
    path.write_text("x")
    with pytest.raises(HgrtError, match=f"{runtime} does not run int8") as error:
        open_backend(runtime, path, "int8")
    assert "onnxruntime" in error.value.fix and not opened


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HgrtError, match="no runtime 'tensorflow'") as error:
        open_backend("tensorflow")
    assert all(name in error.value.why for name in ("auto", *BACKENDS))
    assert "--runtime" in error.value.fix


@pytest.mark.parametrize(("name", "why"), [("nothing.onnx", "No such file"), ("", "folder")])
def test_weights_that_are_not_there_are_refused(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(HgrtError) as error:
        open_backend("auto", tmp_path / name)
    assert str(tmp_path) in error.value.what and why in error.value.why and "Leave the weights out" in error.value.fix


@pytest.mark.parametrize(
    ("runtime", "module", "extra"), [("openvino", "openvino", "openvino"), ("torch", "torch", "train")]
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    runtime: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / ("net.pt" if runtime == "torch" else "net.onnx")
    path.write_text("x")
    with pytest.raises(HgrtError) as error:
        open_backend(runtime, path)
    assert f"'{module}'" in error.value.what
    assert f'pip install "hgrt[{extra}]"' in error.value.fix


def test_auto_on_a_checkpoint_without_torch_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "net.pt"
    path.write_text("x")
    with pytest.raises(HgrtError, match="'torch'"):
        open_backend("auto", path)


def test_without_weights_the_bundled_ones_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BACKENDS:
        monkeypatch.setitem(BACKENDS, name, Opened)
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    for runtime, suffix in (("auto", ".onnx"), ("openvino", ".onnx"), ("torch", ".pt")):
        asked: list[str] = []
        monkeypatch.setattr(base, "asset", lambda name, asked=asked: asked.append(name) or Path(name))
        open_backend(runtime)
        assert [Path(name).suffix for name in asked] == [suffix]


def test_a_bundled_file_that_is_missing_is_said() -> None:
    with pytest.raises(HgrtError, match=r"no-such\.onnx is missing"):
        asset("no-such.onnx")


def test_the_bundled_weights_are_beside_the_clip() -> None:
    clip = asset("clip.mp4")
    assert clip.is_file()
    if (clip.parent / "lite.onnx").exists():
        assert bundled_weights() == clip.parent / "lite.onnx"


def test_physical_cores_are_at_least_one_and_no_more_than_allowed() -> None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= physical_cores() <= allowed


@pytest.mark.parametrize(
    ("siblings", "quota", "expected"),
    [
        (["0", "1", "2", "3"], None, 4),
        (["0,2", "1,3", "0,2", "1,3"], None, 2),
        (["0", "1", "2", "3"], "200000 100000", 2),
        (["0", "1", "2", "3"], "50000 100000", 1),
        (["0", "1", "2", "3"], "max 100000", 4),
        ([None, None, None, None], None, 4),
    ],
)
def test_hyper_threads_and_quotas_count(
    siblings: list[str | None], quota: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, *_: object, **__: object) -> str:
        text = quota if path.name == "cpu.max" else siblings[int(path.parts[-3].removeprefix("cpu"))]
        if text is None:
            raise FileNotFoundError(path)
        return text + "\n"

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(4)), raising=False)
    monkeypatch.setattr(Path, "read_text", read)
    assert physical_cores() == expected


def test_a_backend_hands_its_runtime_contiguous_crops() -> None:
    seen: list[bool] = []

    class Looks(FakeBackend):
        def _run(self, crops: Any) -> Any:
            seen.append(crops.flags.c_contiguous)
            return super()._run(crops)

    Looks().infer(np.zeros((2, SPEC.input, SPEC.input, 6), np.uint8)[..., ::2])
    assert seen == [True]


def test_an_info_says_itself_in_one_line() -> None:
    info = BackendInfo("openvino", SPEC, Path("x.onnx"), "Some CPU", "fp32", "fp32", 4, {"openvino": "2026.1"})
    assert str(info) == "openvino (openvino 2026.1) on Some CPU, fp32, 4 threads"
