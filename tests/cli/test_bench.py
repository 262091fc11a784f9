"""`hgrt bench` as a user runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fakes import environment, hgrt, hgrt_here, refused
from hgrt.bench import document
from hgrt.bench.results import Check
from hgrt.bench.run import Found
from hgrt.cli.bench import parse_batches
from hgrt.errors import HgrtError
from hgrt.runtime.base import bundled_weights

QUICK = ("bench", "--runtimes", "onnxruntime", "--rounds", 2, "--batch", 1, "--threads", 1, "--max-p99", 60_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a first benchmark has been run, with everything that can be written."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HGRT_HISTORY", str(folder / "history"))
        done = hgrt(*QUICK, "--json", "a.json", "--html", "a.html", "--markdown", "a.md", cwd=folder, limit_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


@pytest.fixture(autouse=True)
def history(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HGRT_HISTORY", str(folder / "history"))


def test_it_ends_with_one_line_to_paste(folder: Path) -> None:
    last = (folder / "said.txt").read_text().strip().splitlines()[-1]
    assert last.startswith("PASS: hgrt ") and "onnxruntime fp32" in last and "175 people" in last


def test_the_numbers_are_those_of_the_bundled_weights(folder: Path) -> None:
    bench = document.read(folder / "a.json")
    [row] = bench.rows
    assert bench.passed and bench.rounds == 2 and bench.data == {"clip": 175}
    assert bench.reference["lite"].startswith("torch fp32")
    assert (row.runtime, row.running, row.threads, row.weights) == ("onnxruntime", "fp32", 1, "lite.onnx, bundled")
    assert (
        row.agreement is not None and row.agreement.noise < 1e-5 and row.agreement.pckh == pytest.approx(98.1, abs=0.1)
    )
    [latency] = row.latency
    assert latency.ratio is None and latency.total.p50 <= latency.total.p99 <= latency.total.max
    assert row.roofline is not None and row.roofline.gflop == pytest.approx(0.777, abs=0.01)
    assert row.loop is not None and row.loop.fps > 1
    assert {check.name for check in row.checks} == {"precision", "bias", "shift", "flips", "drop", "p99"}


def test_the_page_and_the_table_show_them(folder: Path) -> None:
    page, table = (folder / "a.html").read_text(), (folder / "a.md").read_text()
    assert "PASS: hgrt" in page and "data:image/jpeg;base64," in page and "<svg" in page
    assert "src=" not in page.replace('src="data:', "") and "http" not in page.replace("http-equiv", "").replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert "| onnxruntime fp32" in table


def test_a_later_run_is_compared_remembered_and_fails_where_a_check_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers again, half an hour later, but for one check."""
    first = document.read(folder / "a.json")
    failing = Check("p99", False, "9.00 ms at batch 1, 8 allowed")
    row = dataclasses.replace(first.rows[0], checks=(*first.rows[0].checks, failing))
    date = (datetime.fromisoformat(first.date) + timedelta(minutes=30)).isoformat()
    again = dataclasses.replace(first, date=date, rows=(row,))
    monkeypatch.setattr("hgrt.cli.bench.run_with_status", lambda request: Found(again, (), {}, (), "val"))
    done = hgrt_here(*QUICK, "--compare", "last", "--json", "b.json", cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "batch 1: p50" in done.stdout and "9.00 ms at batch 1, 8 allowed" in done.stdout
    assert done.stdout.strip().splitlines()[-1].startswith("FAIL: hgrt")
    [kept] = (folder / "history").glob("*.jsonl")
    assert len(kept.read_text().splitlines()) == 2
    assert "regression" in {check.name for check in document.read(folder / "b.json").rows[0].checks}


def test_ctrl_c_ends_all_its_processes(folder: Path) -> None:
    command = [sys.executable, "-m", "hgrt", *map(str, QUICK), "--rounds", "50", "--no-history"]
    started = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(group(started.pid)) < 3:  # itself, a tracker, a runtime
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does
    out, error = started.communicate(timeout=60)
    assert started.returncode == 130 and "Traceback" not in out + error, out + error
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and group(started.pid):
        time.sleep(0.1)
    assert group(started.pid) == []


def group(leader: int) -> list[str]:
    """Processes of a session that run; one that has ended may wait for a parent who never asks."""
    command = ["ps", "-o", "stat=,args=", "-s", str(leader)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if not line.startswith("Z")]


# What cannot be carried out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runtimes", "coreml"], ["no runtime 'coreml'", "onnxruntime"]),
        (["--runtimes", "all"], ["tensorrt cannot run here"]),
        (["--batch", "0"], ["--batch 0"]),
        (["--batch", "one"], ["--batch one"]),
        (["nothing.onnx"], ["cannot be opened"]),
        (["--data", "nothing"], ["no data folder"]),
        (["--compare", "nothing.json"], ["nothing.json"]),
        (["--json", "no/such/folder.json"], ["cannot be written"]),
        (["--json", "x", "--html", "x"], ["asked for twice"]),
        (["--glass", "--source", "clip.mp4"], ["clip.mp4"]),
        (["--glass", "--runtimes", "all"], ["one network on one runtime"]),
    ],
)
def test_a_request_that_cannot_be_is_refused(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    refused(hgrt_here("bench", *arguments, cwd=tmp_path), *words)


def test_weights_are_not_overwritten(tmp_path: Path) -> None:
    mine = Path(shutil.copy(bundled_weights(), tmp_path / "mine.onnx"))
    refused(hgrt_here("bench", "mine.onnx", "--json", "mine.onnx", cwd=tmp_path), "there already")
    assert mine.read_bytes() == bundled_weights().read_bytes()


def test_a_runtime_that_was_named_must_get_a_file_that_it_takes(tmp_path: Path) -> None:
    shutil.copy(bundled_weights(), tmp_path / "mine.onnx")
    refused(hgrt_here("bench", "mine.onnx", "--runtimes", "onnxruntime,torch", cwd=tmp_path), "it takes a checkpoint")


def test_an_engine_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    (tmp_path / "mine.engine").write_bytes(b"a plan")
    refused(hgrt_here("bench", "mine.engine", cwd=tmp_path), "nothing to measure", "mine.engine")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    refused(hgrt_here("bench", "bad.onnx", cwd=tmp_path), "not an ONNX file")


def test_another_machines_numbers_are_refused_before_any_time_is_spent(folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "a.json").read_text())
    values["machine"]["key"] = "0" * 12
    (tmp_path / "other.json").write_text(json.dumps(values))
    refused(hgrt("bench", "--compare", "other.json", cwd=tmp_path, limit_s=30), "different machines")


def test_batches_come_in_order_and_once() -> None:
    assert parse_batches("4,1, 4") == (1, 4)
    with pytest.raises(HgrtError, match="not understood"):
        parse_batches("")
