"""Building with NVIDIA's real parser and builder, which TensorRT for RTX runs without a GPU."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnx")
trt = pytest.importorskip("tensorrt_rtx", reason="the real builder is in the extra: pip install hgrt[rtx]")

import tiny_engine  # noqa: E402  # after the skips
from hgrt.engine import build  # noqa: E402
from hgrt.engine.build import FRAME_SIDES, Phase, Profile, build_engine, profiles  # noqa: E402
from hgrt.engine.onnx import MAX_BATCH  # noqa: E402
from hgrt.errors import HgrtError  # noqa: E402
from hgrt.runtime.library import Gpu, Library, load_library  # noqa: E402
from hgrt.runtime.loaded import AFFINES, CROPS, FRAME, HEATMAPS, KEYPOINTS  # noqa: E402

ONE: tuple[Profile, ...] = ((1, 1, 1),)


@pytest.fixture(autouse=True)
def _alone() -> None:
    """TensorRT writes to the log of its oldest living object, and the errors of earlier tests may keep some alive."""
    gc.collect()


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("rtx")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_engine.write(tmp_path_factory.mktemp("tiny") / "tiny.onnx")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The networks and configurations that builds were started with."""
    seen: list[Any] = []
    run = build._run

    def spy(builder: Any, network: Any, config: Any, *rest: Any) -> bytes:
        tensors = {
            tensor.name: (tensor.dtype, tuple(tensor.shape))
            for tensor in [
                *(network.get_input(i) for i in range(network.num_inputs)),
                *(network.get_output(i) for i in range(network.num_outputs)),
            ]
        }
        strongly = network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        seen.append(
            SimpleNamespace(
                tensors=tensors,
                strongly=strongly,
                profiles=config.num_optimization_profiles,
                tf32=config.get_flag(trt.BuilderFlag.TF32),
                verbosity=config.profiling_verbosity,
            )
        )
        return run(builder, network, config, *rest)

    monkeypatch.setattr(build, "_run", spy)
    return seen


# Profiles


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([1], [(1, 1, 1)]),
        ([1, 4, 16], [(1, 1, 1), (2, 4, 4), (5, 16, 16)]),
        ([16, 1, 4, 4], [(1, 1, 1), (2, 4, 4), (5, 16, 16)]),
        ([3, MAX_BATCH], [(1, 3, 3), (4, MAX_BATCH, MAX_BATCH)]),
    ],
)
def test_buckets_cover_every_batch_once(batches: list[int], expected: list[Profile]) -> None:
    assert profiles(batches) == tuple(expected)


@pytest.mark.parametrize("batches", [[], [0], [1, -4], [MAX_BATCH + 1]])
def test_batches_that_cannot_be_are_refused(batches: list[int]) -> None:
    with pytest.raises(HgrtError, match="batch") as error:
        profiles(batches)
    assert str(MAX_BATCH) in error.value.why and "--batch 1,4,16" in error.value.fix


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((-1, 64, 64, 3), (7, 64, 64, 3)),
        ((-1, 2, 3), (7, 2, 3)),
        ((1, -1, -1, 3), (1, 720, 1280, 3)),
        ((3, 64, 64, 3), (3, 64, 64, 3)),
    ],
)
def test_only_free_sizes_are_filled(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert build._filled(shape, 7, FRAME_SIDES[1]) == expected


# Success


def test_an_engine_comes_out_of_an_onnx_file(library: Library, tiny: Path, asked: list[Any]) -> None:
    built = build_engine(library, None, tiny, profiles([1, 4, 16]))
    assert len(built.data) > 10_000
    assert built.capability == "" and built.notes == () and 0 < built.seconds < 60
    assert (built.half.half, built.half.layers, built.half.of) == (1, 1, "network")
    assert built.layers > 10
    (with_what,) = asked
    assert with_what.tensors == {
        CROPS: (trt.DataType.UINT8, (-1, 64, 64, 3)),
        HEATMAPS: (trt.DataType.FLOAT, (-1, 16, 16, 16)),
        KEYPOINTS: (trt.DataType.FLOAT, (-1, 16, 4)),
    }
    assert with_what.profiles == 3
    assert with_what.verbosity == trt.ProfilingVerbosity.DETAILED, "else the inspector would know nothing"
    assert not with_what.tf32, "single precision must be single"


def test_frames_of_any_size_are_taken(library: Library, tmp_path: Path, asked: list[Any]) -> None:
    path = tiny_engine.write_frame(tmp_path / "frame.onnx")
    assert build_engine(library, None, path, profiles([1, 4])).data
    assert asked[0].tensors[FRAME] == (trt.DataType.UINT8, (1, -1, -1, 3))
    assert asked[0].tensors[AFFINES] == (trt.DataType.FLOAT, (-1, 2, 3))
    assert asked[0].profiles == 2


def test_a_network_in_single_precision_is_known_as_one(library: Library, tmp_path: Path) -> None:
    built = build_engine(library, None, tiny_engine.write(tmp_path / "single.onnx", "fp32"), ONE)
    assert (built.half.half, built.half.layers) == (0, 1) and not built.half.enough


@pytest.mark.parametrize(("capability", "target"), [("7.5", "CURRENT"), ("8.9", None), ("12.0", None)])
def test_turing_cards_are_built_for_by_name(
    capability: str, target: str | None, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RTX's default engines run on everything from 8.0 on, and not on 7.5."""
    said: list[Any] = []
    config = SimpleNamespace(num_compute_capabilities=0, set_compute_capability=lambda *values: said.append(values))
    gpu = Gpu("card", capability, "580.1", 1 << 33, 1)
    assert build._target(trt, library, gpu, config) == (capability if target else "")
    assert said == ([(trt.ComputeCapability.CURRENT, 0)] if target else [])
    assert config.num_compute_capabilities == len(said)


# Refusals


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        (((4, 2, 8),), ["refuses the batches 4 to 8", "MIN<=OPT<=MAX"]),
        (((1, 1, 1), (3, 9, 4)), ["refuses the batches 3 to 4"]),
        ((), ["could not build", "optimization profile"]),
    ],
    ids=["smallest above best", "best above largest", "no profile"],
)
def test_profiles_that_make_no_sense_are_refused_in_words(
    batches: Sequence[Profile], words: list[str], library: Library, tiny: Path
) -> None:
    with pytest.raises(HgrtError) as error:
        build_engine(library, None, tiny, batches)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"garbage", "Failed to parse the ONNX model"),
        (b"these are words\n" * 50, "finds no network"),  # the parser itself has nothing against them
        (b"", "finds no network"),
    ],
    ids=["garbage", "words", "nothing"],
)
def test_what_is_no_onnx_file_is_refused(content: bytes, why: str, library: Library, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(HgrtError, match="parser refuses .*other.onnx") as error:
        build_engine(library, None, path, ONE)
    assert error.value.why and why in error.value.why


def test_a_file_that_is_not_there_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="cannot be read"):
        build_engine(library, None, tmp_path / "missing.onnx", ONE)


def test_the_parser_s_own_words_are_told(library: Library, tmp_path: Path) -> None:
    path = tiny_engine.write_refused(tmp_path / "refused.onnx")
    with pytest.raises(HgrtError, match="parser refuses") as error:
        build_engine(library, None, path, ONE)
    assert "moves_bytes" in error.value.why and "UInt8" in error.value.why


# Progress, and ending early


def test_progress_is_seen_from_beginning_to_end(library: Library, tiny: Path) -> None:
    seen: list[tuple[Phase, ...]] = []
    inside = threading.Lock()

    def watch(phases: Sequence[Phase]) -> None:
        assert inside.acquire(blocking=False), "two calls at a time"
        seen.append(tuple(phases))
        inside.release()

    build_engine(library, None, tiny, ONE, watch)
    assert seen[0] == (Phase("Building engine", 0, 6),) and seen[-1] == ()
    assert max(map(len, seen)) >= 3, "phases within phases"
    whole = [phases[0].done for phases in seen if phases]
    assert whole == sorted(whole) and whole[-1] >= 4
    assert all(0 <= phase.done <= phase.steps for phases in seen for phase in phases)


@pytest.mark.parametrize("error", [ValueError("from a callback"), KeyboardInterrupt()], ids=["a bug", "a cancellation"])
@pytest.mark.parametrize("when", [1, 2, 8])
def test_what_a_callback_raises_ends_the_build_and_comes_out(
    error: BaseException, when: int, library: Library, tiny: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorRT itself would only print it, and build to the end."""
    calls = 0

    def watch(phases: Sequence[Phase]) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            raise error

    with pytest.raises(type(error)) as caught:
        build_engine(library, None, tiny, ONE, watch)
    assert caught.value is error
    assert calls == when, "nothing is reported once the build is to end"
    assert "Exception" not in "".join(capfd.readouterr())


def test_a_cancelled_build_stops_within_its_next_steps(
    library: Library, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[bool] = []
    step = build._Progress.step

    def spy(self: Any, name: str, number: int) -> bool:
        steps.append(step(self, name, number))
        return steps[-1]

    def watch(phases: Sequence[Phase]) -> None:
        if phases and phases[0].done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(build._Progress, "step", spy)
    with pytest.raises(KeyboardInterrupt):
        build_engine(library, None, tiny, ONE, watch)
    assert steps.count(False) == 1 and not steps[-1], "asked to stop once, and stopped"


def test_ctrl_c_is_heard_while_tensorrt_works(library: Library, tiny: Path) -> None:
    heard: list[int] = []

    def watch(phases: Sequence[Phase]) -> None:
        heard.append(len(phases))
        if len(heard) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)  # so that the build would take seconds

    with pytest.raises(KeyboardInterrupt):
        build_engine(library, None, tiny, profiles([1, 4, 16]), watch)
    assert heard


def test_a_build_that_fails_without_a_word_is_still_an_error(library: Library) -> None:
    builder = SimpleNamespace(build_serialized_network=lambda network, config: None)
    silent: Any = SimpleNamespace(errors=lambda: "", clear=lambda: None)
    with pytest.raises(HgrtError, match="could not build") as error:
        build._run(builder, None, SimpleNamespace(), trt, silent, lambda phases: None)
    assert error.value.why == "It gave no reason."


def test_a_bug_in_the_build_call_keeps_its_traceback() -> None:
    def broken(network: Any, config: Any) -> None:
        raise TypeError("incompatible function arguments")

    silent: Any = SimpleNamespace(errors=lambda: "", clear=lambda: None)
    with pytest.raises(TypeError, match="incompatible"):
        build._run(
            SimpleNamespace(build_serialized_network=broken), None, SimpleNamespace(), trt, silent, lambda phases: None
        )
