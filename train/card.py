"""A model card: what a run's weights are, what they were made from, how to make them again, and what they score."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

import torch

from hgrt import __version__
from hgrt.data.find import Part
from hgrt.errors import HgrtError
from hgrt.files import sha256, written_whole
from hgrt.model.checkpoint import read_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.train.config import Config
from hgrt.train.log import read_rows
from hgrt.train.run import Run


def write_card(run: Run, config: Config, parts: Sequence[Part], machine: str) -> Path | None:
    """`card.md` in the run's folder, of `best.pt` as it is now; None before the first epoch is done.

    `parts` of the data; `machine` in words. Labels are known by the SHA-256 of their files. HgrtError where the card
    cannot be written.
    """
    rows = read_rows(run.folder / "log.csv")
    if not rows or not run.best.exists():
        return None
    best = read_checkpoint(run.best)
    with torch.device("meta"):
        size = sum(weights.numel() for weights in StackedHourglass(config.spec).parameters())
    facts = {
        "network": f"{config.spec}; {size / 1e6:.1f} M parameters",
        "weights": f"`best.pt`, averaged, of epoch {best['epoch']}; {_hash(run.best)}",
        "begun with": f"{config.init}; {_hash(Path(config.init))}" if config.init else "random weights",
        "command": f"`{shlex.join(command(config, run.folder.name))}`",
        "data": "<br>".join(f"{part}" + (f"; labels {_hash(part.labels)}" if part.labels else "") for part in parts),
        "length": _length(rows, config),
        "machine": machine,
        "versions": f"hgrt {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "date": date.today().isoformat(),
    }
    scores = best["pckh"].items()
    lines = [f"# {run.folder.name}", "", *_table("", facts)]
    if scores:
        lines += ["", "People it has not learnt from, their boxes given, one pass, protocol `standard`, percent:", ""]
        lines += _table("PCKh@0.5", {name: f"{rate:.1f}" for name, rate in scores})
    path = run.folder / "card.md"
    with written_whole(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(config: Config, exp: str) -> list[str]:
    """The words of the one command that begins the same run, whatever was changed on its way."""
    words = ["hgrt", "train", "--exp", exp]
    words += ["--init", config.init] if config.init else ["--preset", config.preset]
    words += ["--recipe", config.recipe_name]
    words += [word for path in config.data for word in ("--data", path)]
    words += ["--synthetic", str(config.synthetic)] if config.synthetic else []
    words += [word for name in config.select for word in ("--select", name)]
    files = {"--doubts": config.doubts, "--teacher": config.teacher}
    words += [word for option, path in files.items() if path for word in (option, path)]
    for name, value in config.values().items():
        usual = config.origin(name).partition(" ")[0] in ("preset", "recipe", "--init")  # which names the shape
        if "." in name and not usual:
            value = [list(stage.values()) for stage in value] if name == "recipe.stages" else value
            words += ["--set", f"{name}={json.dumps(value)}"]
    return words


def _table(head: str, rows: Mapping[str, str]) -> list[str]:
    return [f"| | {head} |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]


def _length(rows: Sequence[Mapping[str, str]], config: Config) -> str:
    batch = {stage.size: stage.batch for stage in config.recipe.stages}
    done = [0, *(int(row["iteration"]) for row in rows)]
    steps = [there - here for here, there in pairwise(done)]
    views = sum(batch[int(row["size"])] * count for row, count in zip(rows, steps, strict=True))
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    return f"{done[-1]} steps, {views} views, {hours:.1f} hours"


def _hash(path: Path) -> str:
    try:
        return f"sha256 {sha256(path)}"
    except HgrtError:  # moved away while the run went on, which is no reason to end it with an error
        return "the file is gone"
