"""Everything that only a GPU can show, in one go: docs/gpu-agenda.md as a program.

    python benchmarks/gpu_agenda.py --list
    python benchmarks/gpu_agenda.py --data DATA            # all of it, in some ten minutes
    python benchmarks/gpu_agenda.py --only latency --only parity
    python benchmarks/gpu_agenda.py --markdown             # runs nothing: the tables of what docs/results has

Each item is a process of its own with a time limit; one that fails is recorded with its error, and the others go on.
Results go to docs/results/gpu-NAME.json, one a item, and into a table at the end. Exit codes: 0 all items ran, 1 some
failed, 2 there is no GPU. What items hand to one another (weights, engines) lies in `--work`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hgrt.runtime.library import Gpu, probe

HERE = Path(__file__).resolve().parent
PACKAGES = ["hgrt", "torch", "tensorrt", "tensorrt_rtx", "pycuda", "cuda-bindings", "onnxruntime", "numpy"]
LINES = 12  # of what a failed item said that are kept
BUILDS = {
    "lite-fp16": ("lite", "fp16", False),
    "lite-fp32": ("lite", "fp32", False),
    "reference-fp16": ("reference", "fp16", False),
    "reference-fp32": ("reference", "fp32", False),
    "reference-crop": ("reference", "fp16", True),
}
"""Engines by name: network, precision, and whether they cut the crops out of frames."""

TARGETS = (
    ("reference, batch 1, graph, p50 ms", "latency", "reference-fp16.graph.1.p50_ms", "<=", 0.6),
    ("reference, batch 16, graph, p50 ms", "latency", "reference-fp16.graph.16.p50_ms", "<=", 2.5),
    ("720p frame to joints, by an engine, p50 ms", "frame", "engine_ms", "<=", 0.6),
    ("720p frame to joints, the best way, p50 ms", "frame", "best_ms", "<=", 1.0),
    ("the network alone in torch, as a graph, ms", "torch-graph", "graph-fp16.1.of_device.compute_ms", "<=", 0.6),
    ("batch 16 in torch, as a graph, p50 ms", "torch-graph", "graph-fp16.16.p50_ms", "<=", 2.5),
    ("times faster than torch eager fp16", "ratio", "eager-fp16", ">=", 4.0),
    ("times faster than the best torch", "ratio", "best", ">=", 1.3),
    ("% of joints within 0.25 cells, fp16", "parity", "worst.reference-fp16.near", ">=", 99.9),
    ("PCKh difference, fp16", "parity", "worst.reference-fp16.pckh", "<=", 0.1),
    ("% of joints within 0.25 cells, lite", "parity", "worst.lite-fp16.near", ">=", 99.9),
    ("PCKh difference, lite", "parity", "worst.lite-fp16.pckh", "<=", 0.1),
    ("% of joints within 0.25 cells, torch fp16", "parity", "worst.reference-torch-fp16.near", ">=", 99.9),
    ("PCKh difference, torch fp16", "parity", "worst.reference-torch-fp16.pckh", "<=", 0.1),
    ("training 2 stacks, images/s with the loader", "training", "best", ">=", 1500.0),
)
"""What must come out: words, item, place in its result, and the bound."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to show: a `command` that writes its numbers as JSON to `result`, within `limit_s` seconds."""

    name: str
    what: str
    command: tuple[str, ...]
    result: Path
    limit_s: float


def items(options: argparse.Namespace) -> list[Item]:
    """The agenda, in the order in which one thing needs another."""
    work: Path = options.work
    data = [word for path in options.data for word in ("--data", str(path.resolve()))]
    people = data or ["--synthetic", "300"]
    found: list[Item] = []

    def measure(name: str, what: str, limit_s: float, *words: str) -> None:
        command = (sys.executable, str(HERE / "gpu_measure.py"), *words, "--work", str(work))
        result = work / f"{name}.json"
        found.append(Item(name, what, (*command, "--json", str(result)), result, limit_s))

    def script(name: str, what: str, limit_s: float, *words: str) -> None:
        result = work / f"{name}.json"
        command = (sys.executable, str(HERE / words[0]), *words[1:], *people, "--out", str(result))
        found.append(Item(name, what, command, result, limit_s))

    weights = ["--weights", str(options.weights.resolve())] if options.weights else []
    measure("weights", "a 2-stack network: given, or trained for a minute", 240, "weights", *weights, *people)
    for name, (network, precision, crop) in BUILDS.items():
        words = ["build", name, "--flavour", options.flavour]
        where = ", cuts frames" if crop else ""
        measure(f"build-{name}", f"engine of {network} in {precision}{where}, checked", 300, *words)
    measure("rtx", "does TensorRT for RTX run on this GPU?", 180, "rtx")
    measure("tests", "the tests that need a GPU", 300, "tests")
    measure("latency", "crops to keypoints: batch 1, 4, 16, as a graph and plain, overlapped", 180, "latency")
    measure("frame", "a frame to poses: cut here, cut in the engine, and in torch", 120, "frame")
    measure("layers", "pycuda and cuda-python, each with the same engine", 120, "layers")
    for mode, limit_s in (("eager", 120), ("graph", 120), ("compile", 240), ("autotune", 400)):
        measure(f"torch-{mode}", f"the same crops in torch: {mode}", limit_s, "torch", mode)
    measure("parity", "engines and torch against the network on the validation sets", 300, "parity", *people)
    for network in ("lite", "reference"):
        what = f"hgrt bench of {network}: every runtime here, with its engines, and the verdict"
        measure(f"bench-{network}", what, 400, "bench", network, *data)
    measure("demo", "hgrt demo on the clip: engine by itself, by name, torch", 180, "demo")
    for name, words in (("lite", ["--preset", "lite"]), ("2", ["--stacks", "2"]), ("8", ["--stacks", "8"])):
        for mode, suffix in (("", ""), ("default", "-compiled"), ("reduce-overhead", "-graphed")):
            network = words if name == "lite" else ["--preset", "reference", *words]
            size = ["--batch", "16" if name == "8" else "64", "--steps", "20", "--rounds", "2"]
            more = ["--compile", mode] if mode else []
            what = f"training speed in bf16: {'lite' if name == 'lite' else f'reference, {name} stacks'}"
            what += f", torch.compile, {mode}" if mode else ""
            script(f"training-{name}{suffix}", what, 300, "training.py", *network, *size, *more)
    script("loader", "examples a second that one core makes", 180, "loader.py", "--examples", "100", "--rounds", "2")
    return found


def run(item: Item, machine: Mapping[str, Any], only: str) -> dict[str, Any]:
    """Run one item and say what came of it; whatever happens is in the record, nothing is raised but Ctrl-C."""
    item.result.parent.mkdir(parents=True, exist_ok=True)
    item.result.unlink(missing_ok=True)
    begun = time.monotonic()
    process = subprocess.Popen(
        item.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    error = ""
    try:
        said, _ = process.communicate(timeout=item.limit_s)
        if process.returncode:
            error = f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        said, error = _stopped(process), f"not done after {item.limit_s:.0f} s"
    except BaseException:
        _stopped(process)
        raise
    result = None
    if not error:
        try:
            result = json.loads(item.result.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            error = f"wrote no result: {problem}"
    record: dict[str, Any] = {
        "item": item.name,
        "what": item.what,
        "command": only,
        "runs": shlex.join(item.command),
        **machine,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "ok": not error,
    }
    if error:
        return record | {"error": error, "said": said.strip().splitlines()[-LINES:]}
    return record | {"result": result}


def _stopped(process: subprocess.Popen[str]) -> str:
    """End the process and all that it has started; what it said."""
    os.killpg(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    return said


def facts(gpu: Gpu) -> dict[str, Any]:
    """What every record says of the machine."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    memory = round(gpu.memory / (1 << 30))
    device = {"name": gpu.name, "capability": gpu.capability, "memory_gib": memory, "count": gpu.count}
    return {"device": device, "driver": gpu.driver, "cpus": os.cpu_count(), "versions": versions}


def at(record: Mapping[str, Any] | None, place: str) -> float | None:
    """The number at a dotted place of a record's result, or None."""
    value: Any = (record or {}).get("result")
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def ratios(records: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """How many times faster the 2-stack engine is than each torch that was measured, batch 1, medians of wall time."""
    engine = at(records.get("latency"), "reference-fp16.graph.1.p50_ms")
    if not engine:
        return {}
    every = {
        name: at(records.get(f"torch-{name.partition('-')[0]}"), f"{name}.1.p50_ms")
        for name in ("eager-fp32", "eager-fp16", "graph-fp16", "graph-bf16", "compile-fp16", "autotune-fp16")
    }
    found = {name: round(value / engine, 2) for name, value in every.items() if value}
    return found | {"best": min(found.values())} if found else {}


def best_training(records: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Images a second that 2 stacks are trained with, the loader running, by the faster way that `hgrt train` has."""
    every = (at(records.get(f"training-2{way}"), "loop_images_per_s.median") for way in ("", "-compiled"))
    found = [speed for speed in every if speed]
    return {"best": max(found)} if found else {}


def verdicts(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Each target with the number that was measured and what that means."""
    every = {**records, "ratio": {"result": ratios(records)}, "training": {"result": best_training(records)}}
    rows = []
    for words, item, place, relation, bound in TARGETS:
        value = at(every.get(item), place)
        if value is None:
            rows.append((words, "-", "not measured"))
            continue
        good = value <= bound if relation == "<=" else value >= bound
        rows.append((words, f"{value:g}", f"{'reached' if good else 'MISSED'} ({relation} {bound:g})"))
    return rows


def headline(result: Any) -> str:
    """A result in a few words."""
    if not isinstance(result, Mapping):
        return ""
    if "loop_images_per_s" in result:
        share = 100 * result["ratio"]["median"]
        return f"{result['loop_images_per_s']['median']:.0f} images/s, {share:.0f} % of the network alone"
    if "examples_per_s_per_core" in result:
        cases = result["examples_per_s_per_core"].items()
        return ", ".join(f"{name} {numbers['median']:.0f}/s" for name, numbers in cases if "cached" not in name)
    return str(result.get("headline", ""))


def outcomes(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Each item: its name, how it ended, after how many seconds, and what came out."""
    rows = []
    for record in records:
        said = headline(record["result"]) if record["ok"] else str(record["error"])
        rows.append((record["item"], "ok" if record["ok"] else "FAILED", f"{record['seconds']:.0f}", said))
    return rows


def table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """What ran and what came out, then the targets."""
    rows = [("item", "", "s", ""), *outcomes(list(records.values()))]
    rows += [("", "", "", ""), *((words, "", value, said) for words, value, said in verdicts(records))]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{a:{width}}  {b:6}  {c:>6}  {d}".rstrip() for a, b, c, d in rows)


def markdown(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The same for a document: on which machine, each item with the file of its numbers, and the targets."""
    machines = {
        f"{one['device']['name']}, driver {one['driver']}, "
        f"{', '.join(f'{name} {number}' for name, number in one['versions'].items())}; {one['date'][:10]}."
        for one in records.values()
    }
    lines = [*sorted(machines), ""]
    lines += ["| item | | seconds | what came out | numbers |", "| --- | --- | --- | --- | --- |"]
    for name, ended, seconds, said in outcomes(list(records.values())):
        lines.append(f"| `{name}` | {ended} | {seconds} | {said.replace('|', '/')} | `docs/results/gpu-{name}.json` |")
    lines += ["", "| target | measured | |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in verdicts(records))])


def recorded(out: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What earlier runs have left, by item."""
    paths = {name: out / f"gpu-{name}.json" for name in names}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument("--markdown", action="store_true", help="print what earlier runs have left, and run nothing")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this item; may be repeated")
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled people; else generated ones")
    parser.add_argument("--weights", type=Path, help="a trained 2-stack checkpoint, instead of training one")
    parser.add_argument("--flavour", default="auto", help="of TensorRT, for the engines: auto, tensorrt or rtx")
    parser.add_argument("--work", type=Path, default=Path("out/gpu-agenda"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the items and print the table; the exit code."""
    options = parse(arguments)
    options.work = options.work.resolve()
    agenda = items(options)
    names = [item.name for item in agenda]
    if unknown := [name for name in options.only if name not in names]:
        print(f"There is no item {unknown[0]}. Known: {', '.join(names)}.", file=sys.stderr)
        return 2
    if options.list:
        width = max(map(len, names))
        print("\n".join(f"{item.name:{width}}  {item.limit_s:>4.0f} s  {item.what}" for item in agenda))
        return 0
    if options.markdown:
        if records := recorded(options.out, names):
            print(markdown(records))
            return 0
        print(f"There are no results in {options.out}: nothing of the agenda has been run.", file=sys.stderr)
        return 2
    gpu = probe()
    if isinstance(gpu, str):
        print(f"The agenda needs an NVIDIA GPU. {gpu}", file=sys.stderr)
        return 2
    machine = facts(gpu)
    options.out.mkdir(parents=True, exist_ok=True)
    records = recorded(options.out, names) if options.only else {}
    failed = False
    for item in agenda:
        if options.only and item.name not in options.only:
            continue
        print(f"{item.name}: {item.what}", flush=True)
        again = ["python", "benchmarks/gpu_agenda.py", "--only", item.name]
        again += [word for path in options.data for word in ("--data", path.name)]
        record = records[item.name] = run(item, machine, shlex.join(again))
        (options.out / f"gpu-{item.name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        failed |= not record["ok"]
    print()
    print(table({name: records[name] for name in names if name in records}))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
