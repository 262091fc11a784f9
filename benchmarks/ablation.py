"""What each part of the `modern` recipe brings: short trainings that differ in one thing, and a table of their scores.

    python benchmarks/ablation.py --data DATA --iters 1250 --jobs 2 --out docs/results/ablation.json

Runs go to exp/ablation-NAME and are kept: what is done is not done again, what was stopped goes on. The same budget
for all, far below what a final training gets, and two seeds of the recipe itself to see how much is chance.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from statistics import mean

import torch

SIZE, BATCH = 128, 32
CAMERA = ("dark_p", "motion_p", "jpeg_p")
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "modern": ("the recipe as it is", []),
    "modern-seed-1": ("the recipe, another seed", ["--seed", "1"]),
    "reference": ("the published recipe instead", ["--recipe", "reference"]),
    "adamw": ("AdamW instead of Muon", ["--set", "recipe.optimizer=adamw"]),
    "no-camera": ("no low light, motion blur, JPEG", [f"--set=recipe.augmentation.{p}=0" for p in CAMERA]),
    "no-beside": ("no views beside the person", ["--set", "recipe.augmentation.nobody_p=0"]),
    "no-upright": ("nobody turned upright", ["--set", "recipe.augmentation.upright_p=0"]),
    "no-half-body": ("no half bodies", ["--set", "recipe.augmentation.half_body_p=0"]),
    "no-cut": ("no pictures that end across people", ["--set", "recipe.augmentation.cut_p=0"]),
    "no-clothes": ("no painted garments", ["--set", "recipe.augmentation.clothe_p=0"]),
    "no-backdrop": ("no other pictures behind people", ["--set", "recipe.augmentation.backdrop_p=0"]),
    "no-stretch": ("nobody wider or taller", ["--set", "recipe.augmentation.stretch=0"]),
    "suspect-whole": ("doubtful labels weigh as others", ["--set", "recipe.suspect_weight=1"]),
    "side-weight": ("the other side's place weighs as much", ["--set", "recipe.side_weight=1"]),
    "no-peak-weight": ("every pixel of a map weighs the same", ["--set", "recipe.peak_weight=0"]),
    "gate-none": ("no top-down modulation", ["--set", "spec.gate=none"]),
    "teacher": ("learns from a trained network too", []),
    "mannequins": ("mannequins among the people", []),
    "gate-raw": ("the published gate", ["--set", "spec.gate=raw"]),
    "sigma-1": ("narrower targets", ["--set", "recipe.sigma=1.0"]),
    "no-cooldown": ("constant learning rate", ["--set", "recipe.cooldown=0"]),
    "no-paste": ("no pieces of other pictures", ["--set", "recipe.augmentation.paste_p=0"]),
    "hidden-half": ("hidden joints weigh half", ["--set", "recipe.hidden_weight=0.5"]),
}


def run(name: str, options: argparse.Namespace) -> None:
    """Train one variant, or what is left of it."""
    folder = Path("exp") / f"ablation-{name}"
    if done(folder, options.iters):
        return
    if (folder / "last.pt").exists():
        arguments = ["--resume", folder.name]
    else:
        arguments = ["--exp", folder.name, "--preset", "lite", "--set", f"spec.input={SIZE}"]
        arguments += ["--set", f"recipe.stages=[[0,{SIZE},{BATCH}]]", "--set", "recipe.epoch_iters=250"]
        arguments += ["--max-iters", str(options.iters), "--data", options.data]
        arguments += [f"--{key}={value}" for key, value in extra(name, options).items()] + VARIANTS[name][1]
    command = [sys.executable, "-m", "hgrt", "train", *arguments, "--threads", "1", "--workers", "0"]
    print(" ".join(command[1:]), flush=True)
    with (Path("exp") / f"ablation-{name}.txt").open("a") as output:
        subprocess.run(command, check=True, stdout=output, stderr=output)


def extra(name: str, options: argparse.Namespace) -> dict[str, str]:
    """What a variant needs that is not in the project; nothing for most."""
    needs = {"teacher": {"teacher": options.teacher}, "mannequins": {"data": options.mannequins}}
    return needs.get(name, {})


def done(folder: Path, iters: int) -> bool:
    """Whether a run has come to its end."""
    return (folder / "log.csv").exists() and any(int(row["iteration"]) >= iters for row in rows(folder))


def rows(folder: Path) -> list[dict[str, str]]:
    """A run's log."""
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def result(folder: Path) -> dict[str, float]:
    """The last scores of a run, by validation set, and their mean."""
    last = rows(folder)[-1]
    scores = {column: float(value) for column, value in last.items() if "/" in column}
    return {**scores, "mean": round(mean(scores.values()), 2)}


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--iters", type=int, default=1250)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--teacher", default="", help="also learn from this checkpoint")
    parser.add_argument("--mannequins", default="", help="a set of these, hgrt.data.mannequin, as well")
    parser.add_argument("--only", default="", help="these variants, separated by commas; modern among them")
    parser.add_argument("--out", type=Path, default=Path("ablation.json"))
    options = parser.parse_args()
    Path("exp").mkdir(exist_ok=True)
    wanted = options.only.split(",") if options.only else list(VARIANTS)
    names = [name for name in VARIANTS if name in wanted and all(extra(name, options).values())]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda name: run(name, options), names))
    table = {name: result(Path("exp") / f"ablation-{name}") for name in names}
    content = {
        "command": f"python benchmarks/ablation.py --data DATA --iters {options.iters} --only {','.join(names)}",
        "date": date.today().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "network": f"lite at {SIZE} px",
        "images": options.iters * BATCH,
        "score": "PCKh@0.5 standard, averaged weights, given boxes",
        "variants": table,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    columns = list(table["modern"])
    print("| " + " | ".join(["variant", *columns]) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name in names:
        print(f"| {VARIANTS[name][0]} | " + " | ".join(f"{table[name][column]:.1f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
