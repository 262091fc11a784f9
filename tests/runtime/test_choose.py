"""What "auto" comes down to on every kind of machine, and that a runtime asked for by name comes down to itself."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from hgrt.errors import HgrtError
from hgrt.runtime import base, choose
from hgrt.runtime.base import BACKENDS, BackendInfo, bundled_weights, open_backend
from hgrt.runtime.choose import choices
from hgrt.runtime.library import Library
from runtime.engines import GPU, TRT, place
from runtime.test_base import Opened

NO_DRIVER = "There is no NVIDIA driver: libcuda.so.1 is not to be found."
NO_GPU = "auto: no NVIDIA GPU was found"
NO_ENGINE = "auto: no engine in ./engines was built from these weights"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it with what the machine is to have. Weights net.pt and net.onnx lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.pt", "net.onnx"):
        Path(name).write_text(name)

    def set_up(gpu: bool = True, torch: bool = True, libraries: tuple[str, ...] = ("tensorrt",)) -> None:
        def load(flavour: str) -> Library:
            if flavour not in libraries:
                raise HgrtError(f"{flavour} is not installed.")
            return TRT if flavour == "tensorrt" else Library(None, "rtx", "1.7.1.116")

        monkeypatch.setattr(choose, "probe", lambda: GPU if gpu else NO_DRIVER)
        monkeypatch.setattr(choose, "load_library", load)
        monkeypatch.setattr(choose, "_torch_sees_it", lambda: torch)

    set_up()
    return set_up


def hashed(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def engine(name: str = "a.engine", of: str | Path = "net.pt", **more: Any) -> Path:
    """An engine in ./engines that was built from these weights."""
    return place(Path("engines") / name, **{"checkpoint_sha256": hashed(of), **more})


def chosen(weights: str | None = None, precision: Any = None, runtime: str = "auto") -> list[tuple[str, str, str]]:
    """Runtime, file and reason of each choice."""
    found = list(choices(runtime, None if weights is None else Path(weights), precision))
    assert [one.last for one in found] == [False] * (len(found) - 1) + [True]
    assert all(one.precision == (precision or ("fp16" if one.runtime == "tensorrt" else "fp32")) for one in found)
    return [(one.runtime, str(one.weights), one.why) for one in found]


PT, ONNX = str(bundled_weights(".pt")), str(bundled_weights())


@pytest.mark.parametrize(
    ("weights", "has", "expected"),
    [
        (None, {"gpu": False}, [("onnxruntime", ONNX, NO_GPU)]),
        ("net.onnx", {"gpu": False}, [("onnxruntime", "net.onnx", NO_GPU)]),
        ("net.pt", {"gpu": False}, [("torch", "net.pt", NO_GPU)]),
        (None, {}, [("torch", PT, NO_ENGINE), ("onnxruntime", ONNX, NO_ENGINE)]),
        (None, {"torch": False}, [("onnxruntime", ONNX, f"{NO_ENGINE}, and no torch that can use the GPU")]),
        ("net.onnx", {}, [("onnxruntime", "net.onnx", NO_ENGINE)]),
        ("net.pt", {"torch": False}, [("torch", "net.pt", NO_ENGINE)]),
    ],
)
def test_without_an_engine(weights: str | None, has: Any, expected: Any, machine: Any) -> None:
    machine(**has)
    assert chosen(weights) == expected


@pytest.mark.parametrize(
    ("weights", "after"),
    [(None, ["torch", "onnxruntime"]), ("net.pt", ["torch"]), ("net.onnx", ["onnxruntime"])],
)
def test_an_engine_of_these_weights_for_this_gpu_comes_first(
    weights: str | None, after: list[str], machine: Any
) -> None:
    path = engine(of=weights or PT)
    first, *others = chosen(weights)
    assert first == ("tensorrt", str(path), f"auto: {path} was built from these weights for NVIDIA H200")
    assert [(runtime, why) for runtime, _, why in others] == [(runtime, "auto") for runtime in after]
    assert chosen(weights, runtime="tensorrt") == [("tensorrt", str(path), "")]


def test_an_engine_may_also_be_known_by_its_onnx(machine: Any) -> None:
    path = engine(of="net.pt", onnx_sha256=hashed("net.onnx"))
    assert chosen("net.onnx")[0][:2] == ("tensorrt", str(path))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"checkpoint_sha256": "f" * 64}, "no engine in ./engines was built from these weights"),
        ({"version": "10.13.0.35"}, "TensorRT 10.13.0.35"),
        ({"capability": "8.6"}, "compute capability 8.6"),
        ({"gpu": "NVIDIA H100"}, "built on NVIDIA H100"),
        ({"flavour": "rtx", "version": "1.7.1.116"}, "rtx is not installed"),
    ],
)
def test_an_engine_that_does_not_fit_is_passed_over_and_the_reason_said(more: Any, words: str, machine: Any) -> None:
    engine(**more)
    ((runtime, _, why),) = chosen("net.pt")
    assert runtime == "torch" and why.startswith("auto: ") and words in why and "\n" not in why
    with pytest.raises(HgrtError) as error:
        chosen("net.pt", runtime="tensorrt")
    assert error.value.what == "There is no engine to run for net.pt." and words.lower() in error.value.why.lower()
    assert error.value.fix.endswith("hgrt build-engine net.pt")


def test_a_changed_engine_is_not_chosen(machine: Any) -> None:
    engine().write_bytes(b"changed")
    ((runtime, _, why),) = chosen("net.pt")
    assert runtime == "torch" and "changed" in why


def test_an_engine_of_another_precision_than_asked_for_is_not_chosen(machine: Any) -> None:
    half = engine("half.engine", built="2026-11-23T10:00:00+00:00")
    assert chosen("net.pt", "fp16")[0][:2] == ("tensorrt", str(half))
    assert chosen("net.pt", "fp32") == [("torch", "net.pt", f"auto: {half} is fp16, not fp32")]
    single = engine("single.engine", precision="fp32")
    assert chosen("net.pt", "fp32")[0][:2] == ("tensorrt", str(single))


def test_of_several_engines_the_newest_is_chosen_and_either_library_will_do(machine: Any) -> None:
    machine(libraries=("tensorrt", "rtx"))
    engine("old.engine", built="2026-11-20T10:00:00+00:00")
    new = engine("new.engine", built="2026-11-21T10:00:00+00:00")
    assert chosen("net.pt")[0][1] == str(new)
    machine(libraries=("rtx",))
    other = engine("rtx.engine", flavour="rtx", version="1.7.1.116")
    assert chosen("net.pt")[0][1] == str(other)


def test_no_library_is_imported_where_there_are_no_engines(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "load_library", lambda flavour: pytest.fail("a library was imported"))
    Path("engines").mkdir()
    Path("engines/stranger.engine").write_bytes(b"no passport")
    assert chosen("net.pt") == [("torch", "net.pt", NO_ENGINE)]


def test_torch_is_not_imported_where_there_is_no_gpu(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(gpu=False)
    monkeypatch.setattr(choose, "_torch_sees_it", lambda: pytest.fail("torch was imported"))
    chosen()


@pytest.mark.parametrize(
    ("there", "sees", "expected"), [(False, True, False), (True, False, False), (True, True, True)]
)
def test_torch_is_of_use_where_it_is_there_and_sees_the_gpu(
    there: bool, sees: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees)
    if not there:
        monkeypatch.setattr(choose, "find_spec", lambda name: None)
    assert choose._torch_sees_it() is expected


def test_a_broken_torch_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert choose._torch_sees_it() is False


def test_an_engine_file_is_run_by_tensorrt_and_by_nothing_else(machine: Any) -> None:
    path = place(Path("mine.engine"))
    machine(gpu=False)
    for runtime in ("auto", "tensorrt"):
        assert chosen("mine.engine", runtime=runtime) == [("tensorrt", str(path), "")]


@pytest.mark.parametrize(("runtime", "file"), [("torch", PT), ("onnxruntime", ONNX), ("openvino", ONNX)])
@pytest.mark.parametrize("weights", [None, "net.pt", "net.onnx", "mine.engine"])
def test_a_name_is_the_only_choice(runtime: str, file: str, weights: str | None, machine: Any) -> None:
    engine(of=PT)
    engine("b.engine")
    assert chosen(weights, runtime=runtime) == [(runtime, weights or file, "")]


def test_tensorrt_by_name_without_a_gpu_says_so(machine: Any) -> None:
    machine(gpu=False)
    engine()
    with pytest.raises(HgrtError, match="TensorRT needs an NVIDIA GPU") as error:
        chosen("net.pt", runtime="tensorrt")
    assert error.value.why == NO_DRIVER


# What is opened of it


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Backends that open for anything, except for those named here; `why` is on the info."""
    names: list[str] = []

    def opening(name: str) -> Any:
        def run(request: base.Request) -> Opened:
            if name in names:
                raise HgrtError(f"{name} is broken.")
            backend = Opened(request)
            backend.info = BackendInfo(
                name, backend.info.spec, request.weights, "here", request.precision, request.precision, 1
            )
            return backend

        return run

    for name in BACKENDS:
        monkeypatch.setitem(BACKENDS, name, opening(name))
    return names


def test_auto_falls_back_and_says_what_failed(machine: Any, broken: list[str]) -> None:
    path = engine(of=PT)
    info = open_backend().info
    assert (info.runtime, info.running, info.weights) == ("tensorrt", "fp16", path)
    assert str(path) in info.why and f"({info.why})" in str(info)
    broken.append("tensorrt")
    info = open_backend().info
    assert (info.runtime, info.running) == ("torch", "fp32")
    assert info.why == f"auto; {path} does not open: tensorrt is broken."
    broken.append("torch")
    info = open_backend().info
    assert info.runtime == "onnxruntime" and "torch is broken" in info.why and "tensorrt is broken" in info.why
    broken.append("onnxruntime")
    with pytest.raises(HgrtError, match="onnxruntime is broken"):
        open_backend()


def test_a_name_never_falls_back(machine: Any, broken: list[str]) -> None:
    engine(of=PT)
    broken.append("tensorrt")
    with pytest.raises(HgrtError, match="tensorrt is broken"):
        open_backend("tensorrt")
    with pytest.raises(HgrtError, match="tensorrt is broken"):
        open_backend("auto", "engines/a.engine")


def test_trust_reaches_the_backend(machine: Any, broken: list[str]) -> None:
    for trust in (False, True):
        backend = open_backend("auto", engine(), trust=trust)
        assert isinstance(backend, Opened) and backend.request.trust is trust
