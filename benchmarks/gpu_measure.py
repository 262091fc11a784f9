"""The measurements behind `gpu_agenda.py`, one a process.

    python benchmarks/gpu_measure.py latency --work out/gpu-agenda --json latency.json

Every time is a median over rounds in which the candidates take turns, so that a clock that drifts hits all alike. Wall
times are of whole calls: crops in this process's memory to keypoints in it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu_agenda import BUILDS
from numpy.typing import NDArray

from hgrt.data.find import find
from hgrt.engine.verify import parity
from hgrt.pose.geometry import Box, apply, heatmap_to_image, warp
from hgrt.pose.heatmaps import Keypoints
from hgrt.pose.pckh import pckh
from hgrt.runtime.base import Backend, Precision, Request, bundled_weights
from hgrt.runtime.tensorrt import TensorRtBackend
from hgrt.runtime.torch_gpu import TorchGpuBackend

BATCHES = (1, 4, 16)
WARM, CALLS, ROUNDS = 30, 100, 5
PEOPLE = 1000  # of a validation set that are compared
ITERATIONS = ["--max-iters", "1500", "--set", "recipe.epoch_iters=500", "--set", "recipe.ema=0.99"]
"""Long enough for heatmaps with peaks: half precision moves the joints of a network that has learnt nothing."""
NETWORK = "reference"  # the preset that is trained, 2 stacks of 256 channels

Numbers = dict[str, Any]


# Tools


def checkpoint(work: Path, network: str) -> Path:
    """The weights of a network: the bundled ones, or those that the item `weights` made, or random ones."""
    if network == "lite":
        return bundled_weights(".pt")
    path = work / "reference.pt"
    if not path.exists():
        import torch

        from hgrt.model import PRESETS, StackedHourglass, save_checkpoint

        torch.manual_seed(0)
        save_checkpoint(path, StackedHourglass(PRESETS["reference"]))
    return path


def engine(work: Path, name: str) -> Path:
    """Where an engine lies; SystemExit with a word where it was not built."""
    path = work / "engines" / f"{name}.engine"
    if not path.exists():
        sys.exit(f"{path} is not there: run --only build-{name} first")
    return path


def opened(path: Path, graphs: bool = True) -> TensorRtBackend:
    """An engine in its own precision."""
    precision = json.loads(Path(f"{path}.json").read_text())["precision"]
    return TensorRtBackend(Request(path, precision), graphs)


def crops(count: int, size: int) -> NDArray[np.uint8]:
    """Something to look at."""
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


def timed(candidates: Mapping[str, Callable[[], object]]) -> dict[str, Numbers]:
    """Milliseconds of each call: median and 95th percentile of all, and the range of the rounds' medians."""
    for call in candidates.values():
        for _ in range(WARM):
            call()
    spent: dict[str, list[list[float]]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            times = []
            for _ in range(CALLS):
                begun = time.perf_counter()
                call()
                times.append(1000 * (time.perf_counter() - begun))
            spent[name].append(times)
    found = {}
    for name, rounds in spent.items():
        middles = [float(np.median(times)) for times in rounds]
        p50, p95 = np.percentile(np.concatenate(rounds), [50, 95])
        numbers = {"p50_ms": p50, "p95_ms": p95, "lowest_ms": min(middles), "highest_ms": max(middles)}
        found[name] = {key: round(float(value), 4) for key, value in numbers.items()}
    return found


def hgrt(*words: object, cwd: Path, verdict: bool = False) -> str:
    """What the program says; SystemExit with its last lines where it fails. A `verdict` of FAIL is no failure."""
    command = [sys.executable, "-m", "hgrt", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    judged = verdict and done.returncode == 1 and "\nFAIL: " in done.stdout  # a program that broke ends with 1, too
    if done.returncode and not judged:
        sys.exit("\n".join([f"hgrt {' '.join(map(str, words))}", *(done.stdout + done.stderr).splitlines()[-12:]]))
    return done.stdout


# Items


def weights(options: argparse.Namespace) -> Numbers:
    """A 2-stack network whose joints mean something: the one given, or a minute's training."""
    target = options.work / "reference.pt"
    if options.weights:
        shutil.copyfile(options.weights, target)
        return {"from": options.weights.name, "headline": f"from {options.weights.name}"}
    data = [word for path in options.data for word in ("--data", path)] or ["--synthetic", options.synthetic]
    run = options.work / "exp" / "agenda"
    shutil.rmtree(run, ignore_errors=True)
    begun = time.perf_counter()
    hgrt("train", "--exp", "agenda", "--preset", NETWORK, *ITERATIONS, *data, cwd=options.work)
    seconds = time.perf_counter() - begun
    shutil.copyfile(run / "best.pt", target)
    rows = (run / "log.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    speed = last.get("images_per_s", "?")
    return {"last": last, "train_s": round(seconds, 1), "headline": f"{speed} images/s, {seconds:.0f} s in all"}


def build(options: argparse.Namespace) -> Numbers:
    """One engine, by `hgrt build-engine`, and its passport."""
    network, precision, crop = BUILDS[options.what]
    path = options.work / "engines" / f"{options.what}.engine"
    words = ["--precision", precision, "--out", path, "--flavour", options.flavour, *["--crop-in-engine"] * crop]
    begun = time.perf_counter()
    hgrt("build-engine", checkpoint(options.work, network), *words, cwd=options.work)
    seconds = time.perf_counter() - begun
    passport = json.loads(Path(f"{path}.json").read_text())
    megabytes = path.stat().st_size / 1e6
    near = 100 * passport["parity"].get("near", float("nan"))
    said = f"{passport['flavour']} {passport['version']}, {passport['seconds']:.0f} s, {megabytes:.1f} MB"
    headline = f"{said}, half {100 * passport['half_share']:.0f} %, {near:.2f} % near"
    return {"passport": passport, "megabytes": round(megabytes, 2), "whole_s": round(seconds, 1), "headline": headline}


def rtx(options: argparse.Namespace) -> Numbers:
    """Does TensorRT for RTX run here: what it says of an engine, and the engine's own times."""
    path = options.work / "rtx" / "reference.engine"
    found: Numbers = {}
    hgrt("build-engine", checkpoint(options.work, "reference"), "--flavour", "rtx", "--out", path, cwd=options.work)
    from hgrt.runtime.library import load_library, open_log

    library = load_library("rtx")
    runtime = library.module.Runtime(open_log(library))
    validity, reasons = runtime.get_engine_validity(path.read_bytes())
    every = library.module.EngineInvalidityDiagnostics.__members__
    found["validity"] = str(validity)
    found["diagnostics"] = [name for name, flag in every.items() if int(reasons) & int(flag)]
    with opened(path) as backend:
        found["device"] = backend.info.device
        pixels = crops(1, backend.info.spec.input)
        found |= timed({"graph": lambda: backend.keypoints(pixels)})
    return found | {"headline": f"{found['validity']}, batch 1 p50 {found['graph']['p50_ms']:.3f} ms"}


def tests(options: argparse.Namespace) -> Numbers:
    """The tests that are skipped elsewhere."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1]
    if done.returncode:
        sys.exit("\n".join(done.stdout.splitlines()[-12:]))
    return {"said": last, "headline": last}


def latency(options: argparse.Namespace) -> Numbers:
    """Crops to keypoints for every engine that takes crops: wall and device time, and two lanes at once."""
    found: Numbers = {}
    for name, (*_, crop) in BUILDS.items():
        if crop or not (options.work / "engines" / f"{name}.engine").exists():
            continue
        path = engine(options.work, name)
        with opened(path) as graph, opened(path, graphs=False) as plain:
            each: Numbers = {"device": graph.info.device, "graph": {}, "plain": {}, "overlapped": {}}
            for batch in BATCHES:
                pixels = crops(batch, graph.info.spec.input)
                took = timed(
                    {
                        "graph": lambda pixels=pixels: graph.keypoints(pixels),
                        "plain": lambda pixels=pixels: plain.keypoints(pixels),
                    }
                )
                for kind, backend in (("graph", graph), ("plain", plain)):
                    each[kind][str(batch)] = took[kind] | {"of_device": _device(backend, pixels)}
                each["overlapped"][str(batch)] = {"crops_per_s": _overlapped(graph, pixels)}
        found[name] = each
    if not found:
        sys.exit("no engine is there: run --only build-reference-fp16 first")
    shown = found.get("reference-fp16") or next(iter(found.values()))
    middles = "/".join(f"{shown['graph'][str(batch)]['p50_ms']:.3f}" for batch in BATCHES)
    plain_ms = shown["plain"]["1"]["p50_ms"]
    crops_per_s = shown["overlapped"]["16"]["crops_per_s"]
    headline = f"graph {middles} ms at batch 1/4/16, plain {plain_ms:.3f} at 1, {crops_per_s:.0f} crops/s at 16"
    return found | {"headline": headline}


def _device(backend: Backend, pixels: NDArray[np.uint8]) -> Numbers:
    """Medians of the device's own times, in milliseconds."""
    seen = []
    for _ in range(CALLS):
        backend.keypoints(pixels)
        timings = backend.timings()
        if timings is not None:
            seen.append({name: value for name, value in asdict(timings).items() if value is not None})
    names = seen[0] if seen else ()
    return {f"{name}_ms": round(float(np.median([one[name] for one in seen])), 4) for name in names}


def _overlapped(backend: TensorRtBackend, pixels: NDArray[np.uint8]) -> float:
    """Crops a second where a batch is always under way while another is sent or fetched; the best of the rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        tickets = [backend.submit(pixels)]
        for _ in range(CALLS):
            tickets.append(backend.submit(pixels))
            backend.result(tickets.pop(0))
        backend.result(tickets.pop())
        best = max(best, (CALLS + 1) * len(pixels) / (time.perf_counter() - begun))
    return round(best, 1)


def frame(options: argparse.Namespace) -> Numbers:
    """A frame with boxes to poses: crops cut by OpenCV, cut by the engine, and all of it in torch."""
    from hgrt.estimator import PoseEstimator

    found: Numbers = {}
    engines = {"cut here": "reference-fp16", "cut there": "reference-crop"}
    paths = {name: options.work / "engines" / f"{of}.engine" for name, of in engines.items()}
    estimators = {name: PoseEstimator(path, "tensorrt") for name, path in paths.items() if path.exists()}
    estimators["torch"] = PoseEstimator(checkpoint(options.work, "reference"), "torch", "fp16")
    rng = np.random.default_rng(0)
    for height, width in ((720, 1280), (1080, 1920)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        for people in (1, 4):
            boxes = [Box(300.0 + 200 * i, 400.0, 400.0) for i in range(people)]
            calls = {
                name: lambda estimator=estimator, image=image, boxes=boxes: estimator.poses(image, boxes)
                for name, estimator in estimators.items()
            }
            found[f"{width}x{height}, {people}"] = timed(calls)
    for estimator in estimators.values():
        estimator.close()
    small = {name: numbers["p50_ms"] for name, numbers in found["1280x720, 1"].items()}
    found["best_ms"] = min(small.values())
    found["engine_ms"] = min((small[name] for name in paths if name in small), default=None)
    one = found["1920x1080, 1"]
    return found | {
        "headline": ", ".join(f"{name} {one[name]['p50_ms']:.3f} ms" for name in one) + " (1080p, 1 person)"
    }


def layers(options: argparse.Namespace) -> Numbers:
    """The same engine over pycuda and over cuda-python, each in a process of its own."""
    path = engine(options.work, "reference-fp16")
    code = (
        "import json, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "if sys.argv[3] == 'cuda-python': sys.modules['pycuda'] = sys.modules['pycuda.driver'] = None\n"
        "from pathlib import Path\n"
        "from gpu_measure import crops, opened, timed\n"
        "with opened(Path(sys.argv[2])) as backend:\n"
        "    assert sys.argv[3] in backend.info.versions, f'{sys.argv[3]} is not there: {backend.info}'\n"
        "    pixels = crops(1, backend.info.spec.input)\n"
        "    print(json.dumps(timed({'one': lambda: backend.keypoints(pixels)})['one']))\n"
    )
    found: Numbers = {}
    for name in ("pycuda", "cuda-python"):
        command = [sys.executable, "-c", code, str(Path(__file__).parent), str(path), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (done.stdout if not done.returncode else done.stderr).strip().splitlines() or ["nothing was said"]
        found[name] = json.loads(lines[-1]) if not done.returncode else {"error": lines[-1]}
    if all("error" in one for one in found.values()):
        sys.exit(json.dumps(found))
    shown = [f"{name} {one['p50_ms']:.3f} ms" if "p50_ms" in one else f"{name} FAILED" for name, one in found.items()]
    return found | {"headline": ", ".join(shown)}


PRECISIONS: dict[str, tuple[Precision, ...]] = {"eager": ("fp32", "fp16"), "graph": ("fp16", "bf16")}


def torch_(options: argparse.Namespace) -> Numbers:
    """What the engine computes, in torch on the same GPU: crops to keypoints, copies included.

    As a graph it is the runtime `torch` as everybody gets it, and eager the same without its graphs.
    """
    path = checkpoint(options.work, "reference")
    found: Numbers = {}
    for precision in PRECISIONS.get(options.what, ("fp16",)):
        each: Numbers = {}
        if options.what in PRECISIONS:
            graph = {"capture": lambda work: work} if options.what == "eager" else {}
            with TorchGpuBackend(Request(path, precision), **graph) as backend:
                each["device"] = backend.info.device  # says so where nothing could be captured
                for batch in BATCHES:
                    pixels = crops(batch, backend.info.spec.input)
                    took = timed({"call": lambda pixels=pixels, backend=backend: backend.keypoints(pixels)})["call"]
                    each[str(batch)] = took | {"of_device": _device(backend, pixels)}
        else:
            for batch in BATCHES:
                each[str(batch)] = timed({"call": _compiled(path, precision, options.what, batch)})["call"]
        found[f"{options.what}-{precision}"] = each
    shown = [
        f"{name} " + "/".join(f"{each[str(batch)]['p50_ms']:.3f}" for batch in BATCHES) for name, each in found.items()
    ]
    return found | {"headline": ", ".join(shown) + " ms at batch 1/4/16"}


def _compiled(path: Path, precision: Precision, mode: str, batch: int) -> Callable[[], object]:
    import torch

    from hgrt.model import load_checkpoint
    from hgrt.model.complete import Body, FromCrops

    model = load_checkpoint(path)
    pixels = crops(batch, model.spec.input)
    net = FromCrops(Body(model, precision)).cuda().to(memory_format=torch.channels_last).eval()
    torch.compiler.reset()
    run = torch.compile(net, mode={"compile": "reduce-overhead", "autotune": "max-autotune"}[mode])
    pinned = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(pixels.shape, dtype=torch.uint8, device="cuda")

    @torch.inference_mode()
    def call() -> NDArray[np.float32]:
        pinned.numpy()[:] = pixels
        there.copy_(pinned, non_blocking=True)
        return np.asarray(run(there)[1].cpu().numpy())

    return call


def parity_(options: argparse.Namespace) -> Numbers:
    """Every engine, and torch in half precision, against the network in single, set by set: joints, and PCKh."""
    sets = find(options.data, 0 if options.data else options.synthetic, 0).val
    found: Numbers = {}
    worst: Numbers = {}
    for network in ("reference", "lite"):
        exact = _exact(options.work, network)
        paths = {
            name: options.work / "engines" / f"{name}.engine" for name, (of, *_) in BUILDS.items() if of == network
        }
        rivals: dict[str, Callable[[], Backend]] = {
            name: partial(opened, path) for name, path in paths.items() if path.exists()
        }
        for precision in PRECISIONS["graph"]:
            request = Request(checkpoint(options.work, network), precision)
            rivals[f"{network}-torch-{precision}"] = partial(TorchGpuBackend, request)
        for name, rival in rivals.items():
            with rival() as backend:
                each = {people.name: _compared(exact, backend, people) for people in sets}
            found[name] = each
            worst[name] = {
                "near": min(100 * one["parity"]["near"] for one in each.values()),
                "pckh": max(abs(one["pckh"] - one["pckh_exact"]) for one in each.values()),
            }
    said = [f"{name} {one['near']:.2f} % near, PCKh off by {one['pckh']:.2f}" for name, one in worst.items()]
    return {"sets": found, "worst": worst, "headline": "; ".join(said)}


def _exact(work: Path, network: str) -> Callable[[NDArray[np.uint8]], Keypoints]:
    """The network in torch in single precision, and really so."""
    import torch

    from hgrt.model import load_checkpoint
    from hgrt.model.complete import Body, FromCrops

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    net = FromCrops(Body(load_checkpoint(checkpoint(work, network)), "fp32")).cuda().eval()

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> Keypoints:
        found = net(torch.from_numpy(pixels).cuda())[1].double().cpu().numpy()
        return Keypoints(found[..., :2], found[..., 2], found[..., 3])

    return run


def _compared(exact: Any, backend: Backend, people: Any) -> Numbers:
    spec = backend.info.spec
    samples = [people.get(i) for i in np.linspace(0, len(people) - 1, min(PEOPLE, len(people))).astype(int)]
    samples = [
        replace(sample, image=np.ascontiguousarray(sample.image), box=sample.box.scaled(spec.crop))
        for sample in samples
        if not sample.empty
    ]
    both: list[list[Keypoints]] = [[], []]
    for start in range(0, len(samples), 16):
        some = samples[start : start + 16]
        pixels = np.stack([warp(one.image, one.box.to_crop(spec.input), spec.input) for one in some])
        both[0].append(exact(pixels))
        both[1].append(backend.keypoints(pixels))
    expected, found = (
        Keypoints(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("xy_hm", "score", "spread")))
        for parts in both
    )
    truth, evaluate = np.stack([one.joints for one in samples]), np.stack([one.evaluate for one in samples])
    normalize = np.array([one.normalize for one in samples])
    rates = []
    for keypoints in (expected, found):
        affines = [heatmap_to_image(one.box, spec.heatmap, spec.input) for one in samples]
        xy = np.stack([apply(affine, xy_hm) for affine, xy_hm in zip(affines, keypoints.xy_hm, strict=True)])
        rates.append(100 * pckh(xy, truth, normalize, evaluate, "standard", 0.5).total.rate)
    same = parity(expected, found)
    return {"people": len(samples), "parity": asdict(same), "pckh_exact": rates[0], "pckh": rates[1]}


def bench(options: argparse.Namespace) -> Numbers:
    """The benchmark itself: torch, the CPU runtimes and the engines of one network, judged."""
    result = options.work / f"bench-{options.what}-document.json"
    built = [name for name, (of, *_) in BUILDS.items() if of == options.what]
    engines = [engine(options.work, name) for name in built if name.endswith("fp16")]
    data = [word for path in options.data for word in ("--data", path)]
    words = ["bench", checkpoint(options.work, options.what), *engines, *data, "--batch", "1,4,16", "--no-history"]
    said = hgrt(*words, "--json", result, cwd=options.work, verdict=True)
    document = json.loads(result.read_text(encoding="utf-8").replace(f"{options.work}/", ""))
    del document["command"]  # full of this machine's places; the record of the item has its own
    for row in document["rows"]:
        for latency in row["latency"]:
            del latency["samples"]  # megabytes, and the percentiles say what they say
    return {"bench": document, "headline": said.strip().splitlines()[-1]}


def demo(options: argparse.Namespace) -> Numbers:
    """The program itself on the bundled clip: on an engine by its name, on the one `auto` finds, and on torch."""
    found: Numbers = {}
    lite = engine(options.work, "lite-fp16")
    for name, words in {"by name": ["-w", lite], "auto": [], "torch": ["-r", "torch"]}.items():
        said = hgrt("demo", "-k", options.work / "joints.jsonl", *words, cwd=options.work)
        runtime = said.splitlines()[0].partition(": ")[2]
        fps = re.search(r"([\d.]+) frames/s", said)
        rate = re.search(r"known joints: ([\d.]+) %", said)
        if fps is None or rate is None:
            sys.exit(said)
        found[name] = {"runtime": runtime, "fps": float(fps[1]), "pckh": float(rate[1])}
    if "tensorrt" not in found["auto"]["runtime"]:
        sys.exit(f"auto did not choose the engine: {found['auto']['runtime']}")
    return found | {"headline": ", ".join(f"{name} {one['fps']:.0f} fps" for name, one in found.items())}


MEASURES: dict[str, Callable[[argparse.Namespace], Numbers]] = {
    "weights": weights,
    "build": build,
    "rtx": rtx,
    "tests": tests,
    "latency": latency,
    "frame": frame,
    "layers": layers,
    "torch": torch_,
    "parity": parity_,
    "bench": bench,
    "demo": demo,
}


def main(arguments: Sequence[str]) -> None:
    """Measure one thing and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("what", nargs="?", default="", help="which engine, or which mode of torch")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--synthetic", type=int, default=300)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--flavour", default="auto")
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()  # the program runs in it
    options.data = [path.resolve() for path in options.data]
    options.work.mkdir(parents=True, exist_ok=True)
    found = MEASURES[options.measure](options)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found["headline"])


if __name__ == "__main__":
    main(sys.argv[1:])
