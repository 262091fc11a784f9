"""Is the loader or the logging the bottleneck? The whole training loop against the bare network, in one process.

    python benchmarks/training.py --preset lite --data DATA --batch 32 --steps 40 --rounds 5 --out training.json

Each round measures forward and backward of the network on one batch that is there already, then the real loop (loader,
loss, optimizer, averaging, log) for as many steps, then the network again; the loop's speed is divided by the mean of
the two. Median and range of the rounds are printed. `--workers` as in `hgrt train`. On a GPU also how much of its peak,
that of a large matrix product measured in the same run, both reach by the operations of forward and backward alone.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from hgrt.bench.roofline import gpu_peaks
from hgrt.cli.train import default_workers
from hgrt.data.find import DataSets, find
from hgrt.model.hourglass import StackedHourglass
from hgrt.train.config import Config, resolve
from hgrt.train.distributed import World
from hgrt.train.log import read_rows
from hgrt.train.loop import has_bf16, train
from hgrt.train.recipe import Stage
from hgrt.train.run import Run


def bare(config: Config, batch: int, steps: int, device: torch.device, compiled: str) -> float:
    """Images a second of forward and backward alone, in the recipe's precision."""
    size = config.recipe.stages[-1].size
    net = StackedHourglass(config.spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    model = torch.compile(net, mode=compiled) if compiled else net
    image = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    began = 0.0
    for step in range(steps + 3):
        if step == 3:  # warm by now
            _wait(device)
            began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.recipe.bf16 and has_bf16(device)):
            loss = model(image).float().square().mean()
        net.zero_grad(set_to_none=True)
        loss.backward()
    _wait(device)
    return batch * steps / (time.perf_counter() - began)


def gflop(config: Config, device: torch.device) -> float:
    """10^9 operations of forward and backward of one image, as torch counts them."""
    size = config.recipe.stages[-1].size
    net = StackedHourglass(config.spec).to(device)
    with FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 3, size, size, device=device)).square().mean().backward()
    return float(counter.get_total_flops()) / 1e9


def whole(config: Config, data: DataSets, steps: int, world: World, workers: int, compiled: str) -> dict[str, str]:
    """The log's row of a real training of `steps` steps, after an epoch of three to warm up."""
    recipe = replace(config.recipe, max_iters=2 * steps, epoch_iters=steps)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        train(run, replace(config, recipe=recipe), data, world, workers, Console(file=io.StringIO()), compiled)
        return read_rows(Path(folder) / "log.csv")[-1]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure and print; one JSON file if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--stacks", type=int)
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cache", action="store_true")
    parser.add_argument(
        "--compile", default="", dest="compiled", metavar="MODE", help="of torch.compile: default, or reduce-overhead"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    world = World(0, 1, device)
    config = resolve(options.preset, options.recipe, {})
    spec = replace(config.spec, stacks=options.stacks or config.spec.stacks)
    stages = (Stage(0.0, spec.input, options.batch),)
    config = replace(config, spec=spec, recipe=replace(config.recipe, stages=stages))
    data = find(options.data, options.synthetic, 0)
    data = replace(data.cached(1.5 * spec.input) if options.cache else data, val=())
    workers = default_workers(device.type) if options.workers is None else options.workers
    ratios, pures, loops, waits = [], [], [], []
    for number in range(options.rounds):
        before = bare(config, options.batch, options.steps, device, options.compiled)
        row = whole(config, data, options.steps, world, workers, options.compiled)
        after = bare(config, options.batch, options.steps, device, options.compiled)
        pures += [before, after]
        loops.append(float(row["images_per_s"]))
        waits.append(float(row["waiting"]))
        ratios.append(loops[-1] / ((before + after) / 2))
        print(f"round {number + 1}: network {before:.1f}, {after:.1f}; loop {loops[-1]:.1f} images/s: {ratios[-1]:.3f}")
    image, peaks, precision = gflop(config, device), gpu_peaks(), "bf16" if config.recipe.bf16 else "fp32"
    result = {
        "command": f"python benchmarks/training.py --preset {options.preset} --data DATA --batch {options.batch} "
        f"--steps {options.steps} --rounds {options.rounds}",
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "workers": workers,
        "cache": options.cache,
        "compiled": options.compiled,
        "network": f"{spec} at {spec.input} px",
        "recipe": options.recipe,
        "batch": options.batch,
        "network_images_per_s": {"median": statistics.median(pures), "min": min(pures), "max": max(pures)},
        "loop_images_per_s": {"median": statistics.median(loops), "min": min(loops), "max": max(loops)},
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "waiting_percent": statistics.median(waits),
        "gflop_per_image": image,
    }
    if peaks is not None:
        most = peaks.gflops[precision]
        result |= {"peak_gflops": most, "peak_of": f"a matrix product in {precision}"}
        result |= {
            f"{what}_share_of_peak": image * statistics.median(speeds) / most
            for what, speeds in (("network", pures), ("loop", loops))
        }
    print(json.dumps(result, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
