"""The agenda for a GPU, as far as it can be held without one: the list, the isolation of its items, what is written.

The measurements themselves run once over a GPU of fakes, so that no time on a real one is lost to a slip.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is one of what is measured")

import torch

from hgrt.model import StackedHourglass, save_checkpoint
from hgrt.pose.heatmaps import decode
from hgrt.runtime import base, tensorrt
from hgrt.runtime.library import find_gpu
from hgrt.runtime.torch_gpu import TorchGpuBackend, Work
from runtime.engines import GPU, place
from runtime.fake_cuda import FakeCuda
from runtime.fake_trt import FakeTrt
from runtime.test_tensorrt import SPEC, crops_plan, frame_plan, heatmaps_of

ROOT = Path(__file__).resolve().parents[1]
MACHINE = {"device": {"name": "NVIDIA H200"}, "driver": "580.65.06", "versions": {"hgrt": "0.1.0"}}


@pytest.fixture
def agenda(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("gpu_agenda")


@pytest.fixture
def measure(agenda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = import_module("gpu_measure")
    for name, value in {"WARM": 5, "CALLS": 4, "ROUNDS": 2}.items():
        monkeypatch.setattr(module, name, value)
    return module


# The list


def test_the_list_names_every_item_without_a_gpu(agenda: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert agenda.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(names)
    for name in ("latency", "parity", "frame", "layers", "rtx", "torch-eager", "training-2-graphed", "loader", "demo"):
        assert name in names
    assert all(" s  " in line for line in lines)


def test_what_an_item_needs_comes_before_it(agenda: ModuleType) -> None:
    names = [item.name for item in agenda.items(agenda.parse([]))]
    builds = [names.index(f"build-{name}") for name in agenda.BUILDS]
    assert names.index("weights") < min(builds)
    assert max(builds) < min(names.index(name) for name in ("tests", "latency", "frame", "layers", "parity", "demo"))


def test_every_command_is_one_that_its_program_understands(agenda: ModuleType, measure: ModuleType) -> None:
    for item in agenda.items(agenda.parse(["--data", "some/folder", "--weights", "some.pt"])):
        program, script, *words = item.command
        assert program == sys.executable and Path(script).is_file() and str(item.result) in words
        assert item.limit_s <= 600
        if Path(script).name == "gpu_measure.py":
            assert words[0] in measure.MEASURES
            assert words[0] != "build" or words[1] in agenda.BUILDS
        else:
            text = Path(script).read_text()
            for word in words:
                assert not word.startswith("--") or f'"{word}"' in text, f"{script} has no {word}"


def test_every_target_is_measured_by_an_item(agenda: ModuleType) -> None:
    names = {item.name for item in agenda.items(agenda.parse([]))} | {"ratio", "training"}
    assert {item for _, item, *_ in agenda.TARGETS} <= names
    assert len({words for words, *_ in agenda.TARGETS}) == len(agenda.TARGETS)


def test_the_document_names_every_item(agenda: ModuleType) -> None:
    text = (ROOT / "docs" / "gpu-agenda.md").read_text()
    for item in agenda.items(agenda.parse([])):
        assert f"`{item.name}`" in text, f"{item.name} is not in docs/gpu-agenda.md"


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_does_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_agenda.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs an NVIDIA GPU" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_item_is_refused(agenda: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert agenda.main(["--only", "speed"]) == 2
    assert "no item speed" in capsys.readouterr().err


# Isolation


def item(agenda: ModuleType, folder: Path, name: str, code: str, limit_s: float = 60) -> Any:
    result = folder / "work" / f"{name}.json"
    return agenda.Item(name, f"shows {name}", (sys.executable, "-c", code, str(result)), result, limit_s)


GOOD = "import sys, json; print('fine'); json.dump({'headline': '3 ms', 'n': 3}, open(sys.argv[1], 'w'))"
BAD: dict[str, tuple[str, str]] = {
    "raises": ("raise ValueError('of this')", "ended with 1"),
    "crashes": (
        "import os, signal; print('before', flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
        "ended with -11",
    ),
    "is silent": ("pass", "wrote no result"),
    "writes nonsense": ("import sys; open(sys.argv[1], 'w').write('{')", "wrote no result"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_item_that_fails_is_recorded_with_its_error(kind: str, agenda: ModuleType, tmp_path: Path) -> None:
    code, words = BAD[kind]
    record = agenda.run(item(agenda, tmp_path, "bad", code), MACHINE, "the command")
    assert record["ok"] is False and words in record["error"] and "result" not in record
    assert kind != "raises" or record["said"][-1] == "ValueError: of this"


def test_an_item_that_hangs_is_ended_with_all_it_started(agenda: ModuleType, tmp_path: Path) -> None:
    child = f"import time; time.sleep(3); open({str(tmp_path / 'alive')!r}, 'w')"
    code = f"import subprocess, sys; print('hanging', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    record = agenda.run(item(agenda, tmp_path, "hangs", code, 1.0), MACHINE, "the command")
    assert record["error"] == "not done after 1 s" and record["said"] == ["hanging"]
    assert record["seconds"] < 3
    import time

    time.sleep(3)
    assert not (tmp_path / "alive").exists()


def test_what_an_earlier_run_left_is_no_result(agenda: ModuleType, tmp_path: Path) -> None:
    good = item(agenda, tmp_path, "one", GOOD)
    assert agenda.run(good, MACHINE, "")["ok"]
    assert not agenda.run(item(agenda, tmp_path, "one", "pass"), MACHINE, "")["ok"]


def test_all_items_run_whatever_happens_to_some(
    agenda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [
        item(agenda, tmp_path, "first", GOOD),
        item(agenda, tmp_path, "second", BAD["crashes"][0]),
        item(agenda, tmp_path, "third", GOOD),
    ]
    monkeypatch.setattr(agenda, "items", lambda options: every)
    monkeypatch.setattr(agenda, "probe", lambda: GPU)
    out = tmp_path / "results"
    assert agenda.main(["--out", str(out), "--work", str(tmp_path), "--data", "my/people"]) == 1
    said = capsys.readouterr().out
    records = {name: json.loads((out / f"gpu-{name}.json").read_text()) for name in ("first", "second", "third")}
    assert [record["ok"] for record in records.values()] == [True, False, True]
    shared = {"item", "what", "command", "runs", "device", "driver", "cpus", "versions", "date", "seconds", "ok"}
    assert set(records["first"]) == shared | {"result"} and set(records["second"]) == shared | {"error", "said"}
    first = records["first"]
    assert first["device"]["name"] == "NVIDIA H200" and first["driver"] == "580.65.06" and "numpy" in first["versions"]
    assert first["command"] == "python benchmarks/gpu_agenda.py --only first --data people"
    assert first["result"] == {"headline": "3 ms", "n": 3}
    for name, state in (("first", "ok"), ("second", "FAILED"), ("third", "ok")):
        assert any(line.split()[:2] == [name, state] for line in said.splitlines())
    assert "ended with -11" in said and "3 ms" in said and "not measured" in said
    # For a document, without a GPU.
    monkeypatch.setattr(agenda, "probe", lambda: pytest.fail("nothing runs"))
    assert agenda.main(["--out", str(out), "--markdown"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("NVIDIA H200, driver 580.65.06, ") and said[0].endswith(f"; {first['date'][:10]}.")
    assert any(
        line.startswith("| `first` | ok |") and line.endswith("`docs/results/gpu-first.json` |") for line in said
    )
    assert sum(line.startswith("| ") for line in said) == 2 * 2 + len(every) + len(agenda.TARGETS)
    assert agenda.main(["--out", str(tmp_path / "none"), "--markdown"]) == 2
    assert "nothing of the agenda has been run" in capsys.readouterr().err
    monkeypatch.setattr(agenda, "probe", lambda: GPU)
    # One alone, beside what the others have left.
    monkeypatch.setattr(agenda, "items", lambda options: every[:2] + [item(agenda, tmp_path, "third", "pass")])
    assert agenda.main(["--out", str(out), "--work", str(tmp_path), "--only", "first"]) == 0
    said = capsys.readouterr().out
    assert "third" in said and json.loads((out / "gpu-third.json").read_text())["ok"]


# Targets


def records(engine_ms: float, **torch_ms: float) -> dict[str, Any]:
    found = {"latency": {"result": {"reference-fp16": {"graph": {"1": {"p50_ms": engine_ms}}}}}}
    for name, value in torch_ms.items():
        mode, precision = name.split("_")
        found.setdefault(f"torch-{mode}", {"result": {}})["result"][f"{mode}-{precision}"] = {"1": {"p50_ms": value}}
    return found


def test_the_ratio_is_to_the_best_torch(agenda: ModuleType) -> None:
    found = agenda.ratios(records(0.5, eager_fp16=2.5, eager_fp32=4.0, graph_fp16=1.0, compile_fp16=0.75))
    assert found == {"eager-fp32": 8.0, "eager-fp16": 5.0, "graph-fp16": 2.0, "compile-fp16": 1.5, "best": 1.5}
    assert agenda.ratios(records(0.5)) == {} and agenda.ratios({}) == {}


def test_the_fastest_training_counts_that_a_user_can_have(agenda: ModuleType) -> None:
    speeds = {"training-2": 900.0, "training-2-compiled": 1600.0, "training-2-graphed": 1700.0, "training-8": 5000.0}
    found = {name: {"result": {"loop_images_per_s": {"median": speed}}} for name, speed in speeds.items()}
    said = {words: (value, verdict) for words, value, verdict in agenda.verdicts(found)}
    (training,) = (verdict for words, verdict in said.items() if words.startswith("training"))
    assert training == ("1600", "reached (>= 1500)") and agenda.best_training({}) == {}


def test_each_target_is_reached_missed_or_not_measured(agenda: ModuleType) -> None:
    said = {words: verdict for words, _, verdict in agenda.verdicts(records(0.5, eager_fp16=1.5))}
    words = [words for words, *_ in agenda.TARGETS]
    assert said[words[0]] == "reached (<= 0.6)"
    assert said[words[1]] == "not measured"
    assert said["times faster than torch eager fp16"] == "MISSED (>= 4)"
    failed = {"latency": {"error": "ended with 1"}}
    assert {verdict for _, _, verdict in agenda.verdicts(failed)} == {"not measured"}


# The measurements, over fakes


@pytest.fixture
def work(tmp_path: Path, measure: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every engine of the agenda, all of them fakes; torch has a GPU that is none, and a tiny network."""

    def open_fake(request: base.Request, graphs: bool = True) -> tensorrt.TensorRtBackend:
        cuda = FakeCuda()
        data = request.weights.read_bytes()
        trt = FakeTrt(cuda, frame_plan() if b"crop" in data else crops_plan(), data=data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensorrt, "load_library", lambda flavour: trt.library)
            patch.setattr(tensorrt, "need_gpu", lambda library: GPU)
            patch.setattr(tensorrt, "open_cuda", lambda: cuda)
            return tensorrt.TensorRtBackend(request, graphs)

    tiny = tmp_path / "tiny.pt"
    torch.manual_seed(0)
    save_checkpoint(tiny, StackedHourglass(replace(SPEC, channels=8, latent=4)))

    def open_torch(request: base.Request, capture: Callable[[Work], Work] = lambda work: work) -> TorchGpuBackend:
        backend = TorchGpuBackend(base.Request(tiny), "cpu", capture)
        backend.info = replace(backend.info, asked=request.precision, running=request.precision)
        return backend

    monkeypatch.setattr(measure, "TorchGpuBackend", open_torch)
    monkeypatch.setattr(measure, "TensorRtBackend", open_fake)
    monkeypatch.setitem(base.BACKENDS, "torch", open_torch)
    monkeypatch.setitem(base.BACKENDS, "tensorrt", open_fake)
    for name, (_, precision, crop) in measure.BUILDS.items():
        more = {"spec": SPEC, "precision": precision, "crop_in_engine": crop}
        place(tmp_path / "engines" / f"{name}.engine", name.encode(), **more)
    return tmp_path


def measured(measure: ModuleType, work: Path, name: str, *words: str) -> Any:
    measure.main([name, *words, "--work", str(work), "--json", str(work / "result.json")])
    return json.loads((work / "result.json").read_text())


def test_latency_has_every_engine_batch_and_way(measure: ModuleType, agenda: ModuleType, work: Path) -> None:
    found = measured(measure, work, "latency")
    assert {"lite-fp16", "lite-fp32", "reference-fp16", "reference-fp32"} <= set(found)
    for batch in ("1", "4", "16"):
        each = found["reference-fp16"]
        assert each["graph"][batch]["of_device"] == {"total_ms": 3.0}  # upload, run, download of the fake: 1 ms each
        assert each["plain"][batch]["of_device"] == {"total_ms": 3.0, "h2d_ms": 1.0, "compute_ms": 1.0, "d2h_ms": 1.0}
        assert 0 < each["graph"][batch]["p50_ms"] <= each["graph"][batch]["p95_ms"]
        assert each["overlapped"][batch]["crops_per_s"] > 0
    place_ = next(place_ for _, name, place_, *_ in agenda.TARGETS if name == "latency")
    assert agenda.at({"result": found}, place_) == found["reference-fp16"]["graph"]["1"]["p50_ms"]
    assert "batch 1/4/16" in agenda.headline(found)


def test_frame_compares_both_ways_of_cutting(measure: ModuleType, work: Path) -> None:
    found = measured(measure, work, "frame")
    engines = [one["p50_ms"] for name, one in found["1280x720, 1"].items() if name != "torch"]
    assert found["engine_ms"] == min(engines) and len(engines) == 2
    assert found["best_ms"] == min(one["p50_ms"] for one in found["1280x720, 1"].values())
    assert set(found) - {"headline", "best_ms", "engine_ms"} == {
        f"{size}, {n}" for size in ("1280x720", "1920x1080") for n in (1, 4)
    }
    assert set(found["1920x1080, 4"]) == {"cut here", "cut there", "torch"}


def test_torch_is_measured_as_graphs_and_without(measure: ModuleType, agenda: ModuleType, work: Path) -> None:
    for what, precisions in (("eager", {"eager-fp32", "eager-fp16"}), ("graph", {"graph-fp16", "graph-bf16"})):
        found = measured(measure, work, "torch", what)
        assert set(found) - {"headline"} == precisions
        assert all(one[batch]["p50_ms"] > 0 for name, one in found.items() if name in precisions for batch in "14")
    assert agenda.headline(found).startswith("graph-fp16 ") and agenda.headline(found).endswith("at batch 1/4/16")


def test_parity_is_measured_set_by_set_and_the_worst_counts(
    measure: ModuleType, agenda: ModuleType, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_exact", lambda work, network: lambda pixels: decode(heatmaps_of(pixels)))
    found = measured(measure, work, "parity", "--synthetic", "20")
    for name in agenda.BUILDS:
        assert found["worst"][name]["near"] == 100 and found["worst"][name]["pckh"] == 0
        (each,) = found["sets"][name].values()
        assert each["people"] > 10 and each["parity"]["flipped"] == 0
    for _, item_, place_, *_ in agenda.TARGETS:
        if item_ == "parity":
            assert agenda.at({"result": found}, place_) is not None


def test_without_engines_a_measurement_says_which_to_build(measure: ModuleType, tmp_path: Path) -> None:
    for name in ("latency", "layers", "demo"):
        with pytest.raises(SystemExit, match="--only build-"):
            measure.MEASURES[name](Namespace(work=tmp_path, data=[], synthetic=5))


def test_random_weights_stand_in_where_none_were_trained(measure: ModuleType, tmp_path: Path) -> None:
    path = measure.checkpoint(tmp_path, "reference")
    assert path.is_file() and measure.checkpoint(tmp_path, "reference") == path
    assert measure.checkpoint(tmp_path, "lite") == base.bundled_weights(".pt")


def test_candidates_take_turns(measure: ModuleType) -> None:
    turns: list[str] = []
    found = measure.timed({name: lambda name=name: turns.append(name) for name in "ab"})
    assert "".join(turns) == "aaaaabbbbb" + "aaaabbbb" * 2
    assert set(found) == {"a", "b"} and set(found["a"]) == {"p50_ms", "p95_ms", "lowest_ms", "highest_ms"}
    assert np.isfinite(list(found["a"].values())).all()
