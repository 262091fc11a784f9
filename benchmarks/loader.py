"""How many training examples one core makes a second, and how many cores keep a GPU busy.

    python benchmarks/loader.py --data DATA --examples 400 --need 1500 --out loader.json

One process, one thread, examples one after another, pictures decoded each time and from memory (`--cache`). `--need` is
the speed of the network to be fed, in images a second.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import torch

from hgrt.data.find import find
from hgrt.data.generated import scenery
from hgrt.data.sample import People
from hgrt.train.batches import Examples
from hgrt.train.recipe import Epoch, recipe_for


def speed(people: People, recipe_name: str, size: int, count: int, rounds: int) -> dict[str, float]:
    """Examples a second: median and range over rounds of `count` examples spread over the set."""
    recipe = replace(recipe_for(recipe_name, size), seed=1)
    examples = Examples(people, scenery(8, 0), recipe, Epoch(0, 0, 1, size, 1))
    rates = []
    for turn in range(rounds):
        began = time.perf_counter()
        for k in range(count):
            examples[(k * 7919 % len(people), turn)]
        rates.append(count / (time.perf_counter() - began))
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def main() -> None:
    """Measure and print; one JSON file if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--examples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--need", type=float, default=1500)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    data = find(options.data, options.synthetic, 0)
    cases = {}
    for recipe, size in (("modern", 128), ("modern", 192), ("modern", 256), ("reference", 256)):
        for kind, people in (("decoded", data.train), ("cached", data.cached(1.5 * size).train)):
            measured = speed(people, recipe, size, options.examples, options.rounds)
            cores = math.ceil(options.need / measured["median"])
            cases[f"{recipe} {size} {kind}"] = {**measured, "cores": cores}
            print(
                f"{recipe:9} {size} px, {kind:7}: {measured['median']:6.0f} examples/s a core "
                f"({measured['min']:.0f} to {measured['max']:.0f}); {cores} cores for {options.need:.0f}/s"
            )
    result = {
        "command": f"python benchmarks/loader.py --data DATA --examples {options.examples} --rounds {options.rounds}",
        "date": date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "opencv": cv2.__version__,
        "people": [part.name for part in data.parts],
        "examples_per_s_per_core": cases,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
