"""Timings kept between builds: for this very machine, under a lock, and never in the way of a build."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hgrt.engine import build
from hgrt.engine.timing_cache import TimingCache, file_name, locked
from hgrt.runtime.library import Gpu, Library

GPU = Gpu("NVIDIA H200 (SXM)", "9.0", "580.65.06", 1 << 37, 1)
TRT = Library(None, "tensorrt", "11.4.0.106")


class Timings:
    """A timing cache: a set of names. Its bytes are JSON."""

    def __init__(self, data: bytes) -> None:
        self.known = set(json.loads(data)) if data else set()

    def combine(self, other: Timings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.known |= other.known
        return True

    def serialize(self) -> memoryview:
        return memoryview(json.dumps(sorted(self.known)).encode())


class Config:
    """The part of a builder's configuration that has to do with timings; one of another machine is not taken."""

    def __init__(self) -> None:
        self.cache: Timings | None = None

    def create_timing_cache(self, data: bytes) -> Timings | None:
        try:
            return Timings(data)
        except ValueError:
            return None

    def set_timing_cache(self, cache: Timings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if "foreign" in cache.known:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Timings | None:
        return self.cache

    def measure(self, name: str) -> None:
        """What a build does."""
        assert self.cache is not None
        self.cache.known.add(name)


def one_build(folder: Path, kernel: str) -> tuple[set[str], tuple[str, ...]]:
    """Build once: what was known before, and what was said after."""
    config: Any = Config()
    cache = TimingCache.open(TRT, GPU, config, folder)
    known = set(config.cache.known)
    config.measure(kernel)
    return known, cache.save()


def stored(folder: Path) -> list[str]:
    return json.loads((folder / file_name(TRT, GPU)).read_bytes())


def test_what_one_build_measured_the_next_one_knows(tmp_path: Path) -> None:
    assert one_build(tmp_path, "a") == (set(), ())
    assert one_build(tmp_path, "b") == ({"a"}, ())
    assert stored(tmp_path) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == [file_name(TRT, GPU)], "no lock file is left lying about"


def test_builds_at_the_same_time_lose_nothing_of_each_other(tmp_path: Path) -> None:
    configs: list[Any] = [Config(), Config()]
    caches = [TimingCache.open(TRT, GPU, config, tmp_path) for config in configs]
    for config, kernel in zip(configs, "ab", strict=True):
        config.measure(kernel)
    assert [cache.save() for cache in caches] == [(), ()]
    assert stored(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("content", [b"cut off", b'["foreign"]'], ids=["damaged", "of another machine"])
def test_a_cache_that_does_not_fit_is_replaced_and_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / file_name(TRT, GPU)).write_bytes(content)
    known, notes = one_build(tmp_path, "a")
    assert known == set()
    assert len(notes) == 1 and "new one replaces it" in notes[0]
    assert stored(tmp_path) == ["a"]
    assert one_build(tmp_path, "b")[0] >= {"a"}


def test_a_folder_that_cannot_be_written_is_said_and_no_more(tmp_path: Path) -> None:
    config: Any = Config()
    cache = TimingCache.open(TRT, GPU, config, tmp_path)
    config.measure("a")
    cache.path.mkdir()  # works for root, too
    (note,) = cache.save()
    assert "cannot be written" in note and str(cache.path) in note


def test_a_cache_that_cannot_be_read_is_said_and_no_more(tmp_path: Path) -> None:
    (tmp_path / file_name(TRT, GPU)).mkdir()
    known, notes = one_build(tmp_path, "a")
    assert known == set()
    assert "cannot be read" in notes[0]


@pytest.mark.parametrize(
    ("library", "gpu"),
    [
        (replace(TRT, version="11.3.0.14"), GPU),
        (TRT, replace(GPU, name="NVIDIA H100")),
        (TRT, replace(GPU, capability="8.9")),
        (TRT, replace(GPU, driver="575.10")),
    ],
    ids=["version", "GPU", "capability", "driver"],
)
def test_all_that_timings_depend_on_is_in_the_name(library: Library, gpu: Gpu) -> None:
    assert file_name(library, gpu) != file_name(TRT, GPU)
    assert file_name(TRT, GPU) == "timing-tensorrt-11.4.0.106-NVIDIA_H200_SXM_-9.0-580.65.06.cache"


def _hold(folder: str, entered: Any, leave: Any) -> None:
    with locked(Path(folder)):
        entered.set()
        leave.wait(20)


def test_another_process_waits_for_its_turn(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), entered, leave))
    other.start()
    try:
        assert entered.wait(20)
        began = time.perf_counter()
        threading.Timer(0.3, leave.set).start()
        with locked(tmp_path):
            assert time.perf_counter() - began > 0.25
    finally:
        leave.set()
        other.join(20)
    assert other.exitcode == 0


@pytest.mark.parametrize("flavour", ["tensorrt", "rtx"])
def test_only_tensorrt_proper_has_a_cache(flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For RTX it does nothing but warn."""
    opened: list[Path] = []

    class Cache:
        @staticmethod
        def open(library: Library, gpu: Gpu, config: Any, folder: Path) -> Any:
            opened.append(folder)
            return SimpleNamespace(save=lambda: ("said",))

    monkeypatch.setattr(build, "TimingCache", Cache)
    built = build.build_engine(pretended(flavour), GPU, _onnx(tmp_path), ((1, 1, 1),), cache=tmp_path)
    assert (opened, built.notes) == (([tmp_path], ("said",)) if flavour == "tensorrt" else ([], ()))
    assert built.capability == ("9.0" if flavour == "tensorrt" else "")


def _onnx(folder: Path) -> Path:
    path = folder / "some.onnx"
    path.write_bytes(b"some")
    return path


def pretended(flavour: Any) -> Library:
    """A library whose builder answers at once, as full TensorRT cannot be had without a GPU."""

    class Plain:
        def __init__(self, *_: object) -> None: ...

    network = SimpleNamespace(num_inputs=0, num_outputs=1, num_layers=0, get_layer=lambda index: None)
    config = SimpleNamespace(clear_flag=lambda flag: None, add_optimization_profile=lambda profile: 0)
    builder = SimpleNamespace(
        create_network=lambda flags: network,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: None,
        build_serialized_network=lambda network, config: b"plan",
    )
    module = SimpleNamespace(
        ILogger=Plain,
        IProgressMonitor=Plain,
        Builder=lambda log: builder,
        OnnxParser=lambda network, log: SimpleNamespace(parse=lambda content: True),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        ProfilingVerbosity=SimpleNamespace(DETAILED=1),
        BuilderFlag=SimpleNamespace(TF32=1),
        LayerType=SimpleNamespace(CONVOLUTION=1, DECONVOLUTION=2, MATRIX_MULTIPLY=3),
    )
    return Library(module, flavour, "11.4.0.106")
