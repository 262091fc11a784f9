"""Who takes part: files that belong together, runtimes that can run, and who is taken to be right."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path

import pytest

from hgrt.bench import entrants as module
from hgrt.bench.entrants import (
    Network,
    Opener,
    available,
    completed,
    entrants,
    networks,
    own_precision,
    reference,
    runtimes,
)
from hgrt.errors import HgrtError
from hgrt.runtime.base import BACKENDS, bundled_weights
from runtime.engines import GPU, passport, place

NO_GPU = "There is no NVIDIA driver."


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "probe", lambda: NO_GPU)


def files(folder: Path, *names: str) -> list[Path]:
    """Files with their own names as content."""
    made = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        made.append(path)
    return made


# Networks


def test_no_weights_are_the_bundled_ones_in_both_forms() -> None:
    assert networks([]) == [Network("lite", bundled_weights(".pt"), bundled_weights())]


def test_files_of_one_name_in_one_folder_belong_together(tmp_path: Path) -> None:
    onnx, best, other = files(tmp_path, "a/best.onnx", "a/best.pt", "b/best.pth.tar")
    assert networks([onnx, best, other]) == [Network("a/best", best, onnx), Network("b/best", other)]


def test_two_checkpoints_of_one_name_are_two_networks(tmp_path: Path) -> None:
    one, two = files(tmp_path, "best.pt", "best.pth")
    assert networks([one, two]) == [Network("best", one), Network("best.pth", two)]


def test_an_engine_belongs_to_what_its_passport_names(tmp_path: Path) -> None:
    one, two = files(tmp_path, "one.pt", "two.pt")
    engine = place(tmp_path / "fast.engine", checkpoint_sha256=hashlib.sha256(b"two.pt").hexdigest())
    assert networks([one, two, engine]) == [Network("one", one), Network("two", two, None, engine)]
    second = place(tmp_path / "crop.engine", checkpoint_sha256=hashlib.sha256(b"two.pt").hexdigest())
    assert networks([two, engine, second]) == [
        Network("two", two, None, engine),
        Network("crop.engine", two, None, second),
    ]
    assert networks([engine]) == [Network("fast.engine", None, None, engine)]


def test_an_engine_with_a_bad_passport_stands_alone(tmp_path: Path) -> None:
    one, engine = files(tmp_path, "one.pt", "one.engine")
    assert networks([one, engine]) == [Network("one", one), Network("one.engine", None, None, engine)]


@pytest.mark.parametrize(("name", "why"), [("nothing.pt", "No such file"), ("", "folder")])
def test_weights_that_are_none_are_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(HgrtError, match="cannot be opened") as refused:
        networks([tmp_path / name])
    assert why in refused.value.why


# Runtimes


def test_a_list_of_runtimes_with_precisions() -> None:
    assert runtimes("onnxruntime,openvino:bf16, onnxruntime") == [("onnxruntime", None), ("openvino", "bf16")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("onnx", "no runtime 'onnx'"),
        ("onnxruntime,", "no runtime ''"),
        ("torch:fp8", "no precision 'fp8'"),
        ("tensorrt", "tensorrt cannot run here"),
        ("all", "tensorrt cannot run here"),
    ],
)
def test_what_cannot_be_had_is_refused(text: str, what: str) -> None:
    with pytest.raises(HgrtError, match=what):
        runtimes(text)


def test_auto_leaves_out_with_a_word_what_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "openvino" else found("numpy"))
    wanted, notes = available()
    assert wanted == [("onnxruntime", None), ("torch", None)]
    assert notes == ["openvino was left out: it is not installed.", f"tensorrt was left out: no NVIDIA GPU: {NO_GPU}"]


def test_on_a_gpu_torch_takes_part_in_half_precision_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "probe", lambda: GPU)
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    wanted, notes = available()
    assert notes == [] and ("torch", "fp16") in wanted and {name for name, _ in wanted} == set(BACKENDS)


# Entrants


def test_every_runtime_gets_the_file_it_takes() -> None:
    [lite] = networks([])
    found = entrants(lite, [("onnxruntime", None), ("torch", None), ("openvino", "bf16"), ("tensorrt", None)], 2, False)
    assert [(one.name, one.weights.suffix) for one in found] == [
        ("onnxruntime fp32", ".onnx"),
        ("torch fp32", ".pt"),
        ("openvino bf16", ".onnx"),
    ]
    assert [one.source for one in found] == ["lite.onnx, bundled", "lite.pt, bundled", "lite.onnx, bundled"]
    assert found[0].open == Opener("onnxruntime", bundled_weights(), "fp32", 2, False)
    with Opener("onnxruntime", bundled_weights(), "fp32", 1, False)() as backend:
        assert backend.info.threads == 1


def test_a_checkpoint_is_exported_for_who_takes_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_exported", lambda checkpoint, path: Path(shutil.copy(bundled_weights(), path)))
    [alone] = files(tmp_path, "mine.pt")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    [network] = networks([alone])
    whole, notes = completed(network, [("onnxruntime", None)], scratch)
    assert whole.onnx is not None and whole.onnx.parent == scratch and notes == []
    assert own_precision(whole.onnx) == "fp32"
    [only] = entrants(whole, [("onnxruntime", None)], 1, False)
    assert only.source == f"{alone}, exported"
    bundled = Network("lite", bundled_weights(".pt"), whole.onnx, exported=True)
    assert bundled.source(whole.onnx) == "lite.pt, bundled, exported"
    unneeded, _ = completed(network, [("torch", None)], scratch)
    assert unneeded.onnx is None


def test_without_the_exporter_a_word_says_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_checkpoint: Path, _path: Path) -> Path:
        raise HgrtError("This needs the Python package 'onnx'.", "", "Install it.")

    monkeypatch.setattr(module, "_exported", absent)
    network, notes = completed(Network("mine", bundled_weights(".pt")), [("onnxruntime", None)], tmp_path)
    assert network.onnx is None
    assert notes == ["onnxruntime was left out for mine: This needs the Python package 'onnx'. Install it."]


def test_a_runtime_without_a_file_that_it_takes_is_named(tmp_path: Path) -> None:
    _, notes = completed(Network("mine", onnx=bundled_weights()), [("onnxruntime", None), ("torch", None)], tmp_path)
    assert notes == ["torch was left out for mine: it takes a checkpoint"]


def test_a_half_precision_onnx_file_is_no_reference(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import tiny_engine

    half = tiny_engine.write(tmp_path / "half.onnx")
    assert own_precision(half) == "fp16"
    assert reference(Network("half", onnx=half), 1) is None
    [only] = entrants(Network("half", onnx=half), [("onnxruntime", None), ("openvino", None)], 1, False)
    assert only.name == "onnxruntime fp16"


def test_torch_is_right_and_without_it_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    [lite] = networks([])
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    first = reference(lite, 1)
    assert first is not None and first.name == "torch fp32"
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "torch" else True)
    second = reference(lite, 1)
    assert second is not None and second.name == "onnxruntime fp32"
    assert reference(Network("none", engine=Path("x.engine")), 1) is None


def test_an_engines_precision_is_its_passports(tmp_path: Path) -> None:
    assert own_precision(place(tmp_path / "full.engine", precision="fp32")) == "fp32"
    assert passport().precision == "fp16" and own_precision(place(tmp_path / "half.engine")) == "fp16"
