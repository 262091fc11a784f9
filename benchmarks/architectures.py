"""Which small network is the most accurate at equal time on a CPU: shapes, milliseconds, and short equal trainings.

    python benchmarks/architectures.py --time --out docs/results/architectures.json
    python benchmarks/architectures.py --data DATA --iters 500 --out docs/results/architectures.json

The first needs idle cores: the networks, with random weights, take turns on ONNX Runtime, and each time is divided
by that of `lite` in the same round. The second trains what is not trained yet (exp/architecture-NAME is kept, what was
stopped goes on), with inputs of two thirds of the network's own. Each fills its columns of the same file; the table of
what is known is printed. Chance between two seeds is in the table: `lite` stands in it twice.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from ablation import BATCH, done, result
from torch import nn

from hgrt.bench.cost import cost
from hgrt.bench.machine import describe
from hgrt.cli.main import app
from hgrt.engine.onnx import export_onnx
from hgrt.evaluation.export import write_json
from hgrt.model import hourglass
from hgrt.model.spec import PRESETS, ModelSpec
from hgrt.runtime.base import open_backend

ROUNDS, RUNS = 12, 10
TRAINED = {192: 128, 256: 192, 320: 192}  # sizes are multiples of 64, so two thirds are not always to be had


@dataclass(frozen=True, slots=True)
class Variant:
    """A network to be compared: what it changes in `lite`, whether its bottlenecks are depthwise, its seed."""

    words: str
    change: dict[str, Any] = field(default_factory=dict)
    depthwise: bool = False
    seed: int = 0

    @property
    def spec(self) -> ModelSpec:
        """Its description."""
        return replace(PRESETS["lite"], **self.change)


VARIANTS = {
    "lite": Variant("1 x 96, 32 more a level"),
    "lite-seed-1": Variant("the same, another seed", seed=1),
    "wide": Variant("1 x 104, the same at each level", {"channels": 104, "growth": 0}),
    "deep": Variant("1 x 80, 48 more a level", {"channels": 80, "growth": 48}),
    "two": Variant("2 x 52, 24 more a level", {"stacks": 2, "channels": 52, "growth": 24}),
    "three": Variant("3 x 36, 16 more a level", {"stacks": 3, "channels": 36, "growth": 16}),
    "fine": Variant("1 x 52, 32 more a level, 256 px", {"channels": 52, "growth": 32, "input": 256}),
    "depthwise": Variant("1 x 112, 32 more a level, 5x5 depthwise", {"channels": 112}, depthwise=True),
    "no-gate": Variant("1 x 96, 32 more a level, no modulation", {"gate": "none"}),
}


class DepthwiseResidual(hourglass.PostactResidual):
    """A bottleneck as MobileNets have it (Howard et al. 2017): 1x1, 5x5 depthwise, 1x1, at full width throughout."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.body = nn.Sequential(
            hourglass.Conv(inputs, outputs, 1),
            nn.Sequential(
                nn.Conv2d(outputs, outputs, 5, padding=2, groups=outputs, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )


def build(variant: Variant) -> None:
    """Have networks of this process made with the variant's bottlenecks."""
    if variant.depthwise:
        hourglass.RESIDUAL["postact"] = DepthwiseResidual


def exported(name: str, folder: Path) -> Path:
    """The variant with random weights as an ONNX file, made by a process of its own."""
    path = folder / f"{name}.onnx"
    subprocess.run([sys.executable, __file__, "--make", name, str(path)], check=True)
    return path


def timed(names: list[str]) -> dict[str, dict[str, float]]:
    """Milliseconds of a crop, in turns, and what a crop costs."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: exported(name, Path(folder)) for name in names}
        backends = {name: open_backend("onnxruntime", path) for name, path in paths.items()}
        rounds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name, backend in backends.items():
                crops = np.zeros((1, backend.info.spec.input, backend.info.spec.input, 3), dtype=np.uint8)
                spent = []
                for _ in range(RUNS):
                    began = time.perf_counter()
                    backend.infer(crops)
                    spent.append(1e3 * (time.perf_counter() - began))
                rounds[name].append(statistics.median(spent))
        for name, backend in backends.items():
            backend.close()
            found[name] = {
                "ms": round(statistics.median(rounds[name]), 2),
                "of_lite": round(statistics.median(np.divide(rounds[name], rounds["lite"])), 3),
                "gflop": round(cost(paths[name]).gflop, 3),
                "weights_mb": round(cost(paths[name]).weights_mb, 2),
            }
    return found


def trained(name: str, data: str, iters: int) -> dict[str, float]:
    """Scores after a short training, or what is left of it."""
    variant, folder = VARIANTS[name], Path("exp") / f"architecture-{name}"
    if not done(folder, iters):
        size = TRAINED[variant.spec.input]
        shape = {**variant.change, "input": size}
        arguments = ["--exp", folder.name, "--preset", "lite", "--data", data, "--seed", str(variant.seed)]
        arguments += [word for key, value in shape.items() for word in ("--set", f"spec.{key}={value}")]
        arguments += ["--set", f"recipe.stages=[[0,{size},{BATCH}]]", "--set", "recipe.epoch_iters=250"]
        arguments += ["--max-iters", str(iters), "--threads", "1", "--workers", "0"]
        if (folder / "last.pt").exists():
            arguments = ["--resume", folder.name, "--threads", "1", "--workers", "0"]
        with (Path("exp") / f"architecture-{name}.txt").open("a") as output:
            command = [sys.executable, __file__, "--train", name, *arguments]
            subprocess.run(command, check=True, stdout=output, stderr=output)
    return result(folder)


def main() -> None:
    """Measure what was asked for, add it to the file, print the table."""
    if sys.argv[1:2] == ["--make"]:
        name, path = sys.argv[2:]
        build(VARIANTS[name])
        export_onnx(hourglass.StackedHourglass(VARIANTS[name].spec).eval(), Path(path), 1)
        return
    if sys.argv[1:2] == ["--train"]:
        build(VARIANTS[sys.argv[2]])
        app(["train", *sys.argv[3:]])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true", help="measure milliseconds")
    parser.add_argument("--data", help="train on these data")
    parser.add_argument("--iters", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="these variants, separated by commas; lite among them")
    parser.add_argument("--out", type=Path, default=Path("architectures.json"))
    options = parser.parse_args()
    Path("exp").mkdir(exist_ok=True)
    names = [name for name in VARIANTS if not options.only or name in options.only.split(",")]
    content = json.loads(options.out.read_text()) if options.out.exists() else {"variants": {}}
    new: dict[str, dict[str, float]] = {name: {} for name in names}
    if options.time:
        new = timed(names)
        content["timed"] = {"date": date.today().isoformat(), "onnxruntime": onnxruntime.__version__}
    if options.data:
        with ThreadPoolExecutor(options.jobs) as pool:
            scores = pool.map(lambda name: trained(name, options.data, options.iters), names)
        for name, scored in zip(names, scores, strict=True):
            new[name] = {**new[name], **scored}
        content["trained"] = {"date": date.today().isoformat(), "torch": torch.__version__}
        content["trained"] |= {"images": options.iters * BATCH, "score": "PCKh@0.5 standard, averaged weights"}
    for name in names:
        known = content["variants"].get(name, {})
        variant = VARIANTS[name]
        content["variants"][name] = {"words": variant.words, "spec": asdict(variant.spec), **known, **new[name]}
    content["command"] = "python benchmarks/architectures.py, see its head"
    content["machine"] = asdict(describe())
    write_json(options.out, content)
    columns = ["ms", "of_lite", "gflop", "weights_mb", "coco/val", "lspet/val", "webcam/val", "mean"]
    print("| " + " | ".join(["network", *columns]) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, row in content["variants"].items():
        print(f"| {VARIANTS[name].words} | " + " | ".join(str(row.get(column, "-")) for column in columns) + " |")


if __name__ == "__main__":
    main()
