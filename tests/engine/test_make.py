"""From weights to three files that belong together, or to none: with the real builder, and a network of one layer."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("tensorrt_rtx", reason="the real builder is in the extra: pip install hgrt[rtx]")

import tiny_engine  # after the skips
from hgrt.engine import answers, make
from hgrt.engine.build import Phase, profiles
from hgrt.engine.inspect import Half
from hgrt.engine.make import Made, Order, make_engine, remake_engine
from hgrt.errors import HgrtError
from hgrt.files import sha256
from hgrt.pose.heatmaps import Keypoints
from hgrt.runtime import library as libraries
from hgrt.runtime.library import Gpu, Library
from hgrt.runtime.passport import passport_path, read_passport

clip = functools.cache(answers.bundled_people)  # which decodes a video every time

CARD = Gpu("NVIDIA RTX 4090", "8.9", "580.65.06", 24 << 30, 1)


@pytest.fixture(autouse=True)
def _few_people_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four people are enough here, and what is under test is the same on every machine."""
    monkeypatch.setattr(make, "PEOPLE", 4)
    monkeypatch.setattr(answers, "bundled_people", clip)
    monkeypatch.setattr(make, "find_gpu", lambda: None)


def order(out: Path, **more: Any) -> Order:
    return Order(out=out, **{"profiles": profiles([1, 4]), "flavour": "rtx", **more})


def build(weights: Path, wanted: Order, watch: Callable[[Sequence[Phase]], None] = lambda phases: None) -> Made:
    return make_engine(weights, wanted, lambda line: None, watch)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tiny_engine.write(tmp_path / "source" / "tiny.onnx")


def old_files(out: Path) -> None:
    """What an earlier build left; only the ONNX is looked into."""
    out.parent.mkdir()
    out.write_bytes(b"an old engine")
    passport_path(out).write_bytes(b"its passport")
    tiny_engine.write(out.with_suffix(".onnx"), weight=0.02)


@pytest.fixture
def checkpoint(tmp_path: Path, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose export is the hand-made file, and which finds what that finds."""
    path = tmp_path / "source" / "tiny.pt"
    path.write_bytes(b"weights")
    model = SimpleNamespace(spec=tiny_engine.SPEC)

    def export(model: Any, path: Path, precision: str, crop: bool) -> None:
        tiny_engine.write(path, precision, {"precision": precision, "crop": crop})

    facts = make.EngineOnnx(tiny_engine.SPEC, "fp16", False)
    monkeypatch.setattr("hgrt.model.load_checkpoint", lambda path, ramp: model, raising=False)
    monkeypatch.setattr(make, "overflow", lambda model, crops: SimpleNamespace(ok=True))
    monkeypatch.setattr(make, "export_engine_onnx", export)
    monkeypatch.setattr(answers, "of_network", lambda model, seen: answers.of_onnx(onnx, facts, seen))
    return path


# What is there afterwards


def test_three_files_come_of_a_checkpoint_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "tiny.engine"
    said: list[str] = []
    made = make_engine(checkpoint, order(out), said.append, lambda phases: None)
    assert sorted(content(out.parent)) == ["tiny.engine", "tiny.engine.json", "tiny.onnx"]
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(content(out.parent))
    assert said[0].startswith("Trying half precision") and said[-1] == "Comparing answers"
    passport = read_passport(out)
    assert passport == made.passport
    assert passport.engine_sha256 == sha256(out) and passport.onnx_sha256 == sha256(out.with_suffix(".onnx"))
    assert passport.checkpoint_sha256 == sha256(checkpoint) and passport.onnx == "tiny.onnx"
    assert (passport.flavour, passport.precision, passport.spec) == ("rtx", "fp16", tiny_engine.SPEC)
    assert (passport.gpu, passport.capability, passport.driver, passport.cuda_layer) == ("", "", "", "")
    assert passport.profiles == ((1, 1, 1), (2, 4, 4)) and passport.crop_in_engine is False
    assert passport.half_share == 1 and passport.flags["half_counted_in"] == "network"
    assert (passport.flags["answers_of"], passport.flags["compared_with"]) == ("onnxruntime", "network")
    assert passport.parity["joints"] == 4 * 16 and passport.parity["near"] == 1
    assert passport.command == f"hgrt build-engine --rebuild {out}"
    assert f"hgrt build-engine {checkpoint} --out {out} --batch 1,4" in str(passport.flags["built_by"])
    assert made.parity is not None and made.parity.worst == 0 and made.layers > 10


def test_an_engine_s_onnx_is_built_as_it_is(onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "engines" / "other.engine"
    made = build(onnx, order(out))
    assert sorted(content(out.parent)) == ["other.engine", "other.engine.json", "other.onnx"]
    assert out.with_suffix(".onnx").read_bytes() == onnx.read_bytes()
    assert made.passport.checkpoint_sha256 == "" and made.passport.onnx == "other.onnx"
    assert made.parity is None and made.passport.parity == {}, "nothing was there to compare with"
    assert made.passport.flags["compared_with"] == "nothing"


def test_an_onnx_may_lie_where_it_will_be_kept(onnx: Path) -> None:
    before = onnx.read_bytes()
    build(onnx, order(onnx.with_suffix(".engine")))
    assert sorted(content(onnx.parent)) == ["tiny.engine", "tiny.engine.json", "tiny.onnx"]
    assert onnx.read_bytes() == before


def test_single_precision_may_be_asked_for(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "overflow", lambda model, crops: pytest.fail("nothing to try"))
    made = build(checkpoint, order(tmp_path / "tiny.engine", precision="fp32"))
    assert made.passport.precision == "fp32" and made.passport.half_share == 0
    assert made.parity is not None and made.parity.ok


# Again


def test_an_engine_is_built_again_from_what_lies_beside_it(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.engine"
    first = build(checkpoint, order(out)).passport
    checkpoint.unlink()
    out.write_bytes(b"torn")
    again = remake_engine(out, lambda line: None, lambda phases: None).passport
    assert sha256(out) == again.engine_sha256 == read_passport(out).engine_sha256
    for name in ("profiles", "precision", "flavour", "onnx_sha256", "checkpoint_sha256", "spec", "command"):
        assert getattr(again, name) == getattr(first, name), name
    assert again.flags["built_by"] == first.flags["built_by"]


@pytest.mark.parametrize("onnx_is", ["missing", "another"])
def test_without_its_onnx_an_engine_is_not_built_again(onnx_is: str, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "engines" / "tiny.engine"
    build(checkpoint, order(out))
    kept = out.with_suffix(".onnx")
    kept.unlink() if onnx_is == "missing" else tiny_engine.write(kept, weight=0.02)
    before = content(out.parent)
    with pytest.raises(HgrtError, match="tiny.engine was built from") as error:
        remake_engine(out, lambda line: None, lambda phases: None)
    assert error.value.fix.startswith(f"hgrt build-engine {checkpoint}"), "the line that needs no ONNX"
    assert content(out.parent) == before


# Refusals: no new file, and the old ones as they were


def _of_network(x: float = 0, score: float = 0) -> Callable[..., Keypoints]:
    def answer(model: Any, seen: answers.People) -> Keypoints:
        shape = (len(seen.crops), 16)
        return Keypoints(np.full((*shape, 2), 5.0 + x), np.full(shape, 0.9 + score), np.ones(shape))

    return answer


def _off_by(x: float, score: float) -> Callable[[pytest.MonkeyPatch], None]:
    def arrange(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(answers, "of_network", _of_network())
        patch.setattr(answers, "of_onnx", lambda path, facts, seen: _of_network(x, score)(None, seen))

    return arrange


def _not_finite(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "of_onnx", lambda path, facts, seen: _of_network(np.nan)(None, seen))


def _silent_single(patch: pytest.MonkeyPatch) -> None:
    def export(model: Any, path: Path, precision: str, crop: bool) -> None:
        tiny_engine.write(path, "fp32", {"precision": precision, "crop": crop})

    patch.setattr(make, "export_engine_onnx", export)


def _overflows(patch: pytest.MonkeyPatch) -> None:
    class Found:
        ok = False

        def __str__(self) -> str:
            return "values reach 70000"

    patch.setattr(make, "overflow", lambda model, crops: Found())


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (_off_by(0.5, 0), ["does not answer as the network", "0.00% within 0.25 cells", "--precision fp32"]),
        (_off_by(0, 0.05), ["does not answer as the network", "scores within 0.05"]),
        (_not_finite, ["not finite"]),
        (_silent_single, ["Half precision was asked for", "0 of 1"]),
        (_overflows, ["does not fit half precision", "values reach 70000", "--precision fp32"]),
    ],
    ids=["joints elsewhere", "other scores", "not finite", "single precision in secret", "overflow"],
)
@pytest.mark.parametrize("old", [False, True], ids=["nothing was there", "old files were there"])
def test_a_bad_engine_is_refused_with_its_numbers_and_leaves_nothing(
    arrange: Callable[[pytest.MonkeyPatch], None],
    words: list[str],
    old: bool,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "engines" / "tiny.engine"
    if old:
        old_files(out)
    before = content(tmp_path)
    arrange(monkeypatch)
    with pytest.raises(HgrtError) as error:
        build(checkpoint, order(out))
    for word in words:
        assert word in str(error.value)
    assert content(tmp_path) == before
    assert out.parent.exists() is old, "not even a folder is left"


def test_one_joint_in_a_thousand_may_be_elsewhere(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "PEOPLE", 64)  # 1024 joints

    def moved(joints: int) -> Callable[..., Keypoints]:
        def answer(path: Path, facts: Any, seen: answers.People) -> Keypoints:
            found = _of_network()(None, seen)
            found.xy_hm.reshape(-1, 2)[:joints] += 3
            return found

        return answer

    monkeypatch.setattr(answers, "of_network", _of_network())
    monkeypatch.setattr(answers, "of_onnx", moved(1))
    assert build(checkpoint, order(tmp_path / "tiny.engine")).parity is not None
    monkeypatch.setattr(answers, "of_onnx", moved(2))
    with pytest.raises(HgrtError, match="2 on another peak"):
        build(checkpoint, order(tmp_path / "tiny.engine"))


@pytest.mark.parametrize("when", [1, 20])
def test_a_cancelled_build_leaves_everything_as_it_was(when: int, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "engines" / "tiny.engine"
    old_files(out)
    before, calls = content(tmp_path), 0

    def watch(phases: Sequence[Phase]) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(checkpoint, order(out, profiles=profiles([8])), watch)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("tiny.plan", ["no name for an engine", ".engine"]),
        ("source/tiny.pt", ["no name for an engine"]),
        ("export/lite.engine", ["lite.onnx would be overwritten", "another --out"]),
        ("source/tiny.pt/tiny.engine", ["cannot be written"]),
        ("folder.engine", ["cannot be written"]),
    ],
)
def test_places_that_will_not_do_are_refused_at_once(
    out: str, words: list[str], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "lite.onnx").write_bytes(b"made with hgrt export, for another runtime")
    (tmp_path / "folder.engine").mkdir()
    monkeypatch.setattr("hgrt.model.load_checkpoint", lambda path, ramp: pytest.fail("too late"), raising=False)
    before = content(tmp_path)
    with pytest.raises(HgrtError) as error:
        build(checkpoint, order(tmp_path / out))
    for word in words:
        assert word in str(error.value)
    assert content(tmp_path) == before


def test_an_engine_may_not_take_the_place_of_its_weights(checkpoint: Path) -> None:
    odd = checkpoint.rename(checkpoint.with_suffix(".engine"))
    with pytest.raises(HgrtError, match="is the weights"):
        build(odd, order(odd))
    assert odd.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("more", "words"),
    [({"precision": "fp32"}, "is fp16, not fp32"), ({"crop": True}, "without the crop")],
)
def test_an_onnx_is_what_it_is(more: dict[str, Any], words: str, onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match=words) as error:
        build(onnx, order(tmp_path / "tiny.engine", **more))
    assert "checkpoint" in error.value.fix


def test_an_onnx_for_other_runtimes_is_refused_with_the_way_to_the_right_one(tmp_path: Path) -> None:
    from hgrt.runtime.base import bundled_weights

    for path in (bundled_weights(), tiny_engine.write_refused(tmp_path / "foreign.onnx")):
        with pytest.raises(HgrtError, match="not one that hgrt wrote for an engine") as error:
            build(path, order(tmp_path / "tiny.engine"))
        assert "hgrt build-engine CKPT" in error.value.fix
    assert sorted(content(tmp_path)) == ["foreign.onnx"]


class _Explosive:
    """Full TensorRT on a machine without a driver: touching it ends the process."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"{name} of TensorRT was touched without a GPU")


def test_full_tensorrt_is_not_touched_without_a_gpu(
    onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "load_library", lambda flavour: Library(_Explosive(), "tensorrt", "11.4.0.106"))
    monkeypatch.setattr(libraries, "probe", lambda: "There is no NVIDIA driver.")
    with pytest.raises(HgrtError, match="needs an NVIDIA GPU") as error:
        build(onnx, order(tmp_path / "tiny.engine", flavour="tensorrt"))
    assert "no NVIDIA driver" in error.value.why
    assert not (tmp_path / "tiny.engine").exists()


# With a GPU: only what is done with its answers, which are pretended


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A card, an engine that loads on it, and what it was asked."""
    told = SimpleNamespace(half=Half(60, 70, "engine"), offset=0.0, asked=[])
    monkeypatch.setattr(make, "find_gpu", lambda: CARD)
    monkeypatch.setattr(make, "open_cuda", lambda: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(make, "engine_half", lambda library, data: told.half)
    monkeypatch.setattr(answers, "of_network", _of_network())
    monkeypatch.setattr(answers, "of_onnx", lambda path, facts, seen: _of_network()(None, seen))

    def of_engine(path: Path, facts: Any, profiles: Any, seen: answers.People) -> tuple[Keypoints, str]:
        told.asked.append(json.loads(passport_path(path).read_text())["engine_sha256"] == sha256(path))
        return answers.repeated(_of_network(told.offset)(None, seen), len(profiles) * len(seen.crops)), "pycuda 2026.1"

    monkeypatch.setattr(answers, "of_engine", of_engine)
    return told


def test_on_a_gpu_the_engine_itself_answers(checkpoint: Path, tmp_path: Path, gpu: SimpleNamespace) -> None:
    passport = build(checkpoint, order(tmp_path / "tiny.engine")).passport
    assert gpu.asked == [True], "it is opened with a passport, as everywhere"
    assert (passport.gpu, passport.driver, passport.cuda_layer) == (CARD.name, CARD.driver, "pycuda 2026.1")
    assert passport.capability == "", "RTX builds for all its cards"
    assert passport.half_share == pytest.approx(60 / 70) and passport.flags["half_counted_in"] == "engine"
    assert (passport.flags["answers_of"], passport.flags["compared_with"]) == ("engine", "network")
    assert passport.parity["joints"] == 2 * 4 * 16, "every profile"


def test_on_a_gpu_the_engine_of_an_onnx_is_compared_with_that(onnx: Path, tmp_path: Path, gpu: SimpleNamespace) -> None:
    made = build(onnx, order(tmp_path / "tiny.engine"))
    assert made.passport.flags["compared_with"] == "onnx" and made.parity is not None
    gpu.offset = 0.4
    with pytest.raises(HgrtError, match="does not answer"):
        build(onnx, order(tmp_path / "tiny.engine"))
    assert read_passport(tmp_path / "tiny.engine") == made.passport


@pytest.mark.parametrize(("half", "used"), [(Half(3, 70, "engine"), None), (None, "network")])
def test_the_inspector_has_the_last_word_where_it_says_anything(
    half: Half | None, used: str | None, checkpoint: Path, tmp_path: Path, gpu: SimpleNamespace
) -> None:
    gpu.half = half
    if used:
        assert build(checkpoint, order(tmp_path / "tiny.engine")).passport.flags["half_counted_in"] == used
        return
    with pytest.raises(HgrtError, match="Half precision was asked for") as error:
        build(checkpoint, order(tmp_path / "tiny.engine"))
    assert "3 of 70" in error.value.why


def test_an_inspector_cannot_make_up_for_a_network_in_single_precision(
    checkpoint: Path, tmp_path: Path, gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu.half.enough
    _silent_single(monkeypatch)
    with pytest.raises(HgrtError, match="Half precision was asked for") as error:
        build(checkpoint, order(tmp_path / "tiny.engine"))
    assert "0 of 1" in error.value.why


def test_without_a_cuda_package_nothing_is_begun(
    checkpoint: Path, tmp_path: Path, gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise HgrtError("This needs pycuda.")

    monkeypatch.setattr(make, "open_cuda", missing)
    monkeypatch.setattr(make, "build_engine", lambda *_: pytest.fail("too late"))
    with pytest.raises(HgrtError, match="pycuda"):
        build(checkpoint, order(tmp_path / "tiny.engine"))


def test_the_line_that_does_it_again_says_all_that_was_asked_for(tmp_path: Path) -> None:
    plain = order(Path("engines/a b.engine"), flavour="auto")
    assert make._command(None, plain) == "hgrt build-engine --out 'engines/a b.engine' --batch 1,4 --flavour auto"
    more = replace(plain, precision="fp32", crop=True, ramp="integer")
    assert make._command(Path("x.pt"), more).endswith("--precision fp32 --crop-in-engine --ramp integer")
