"""`hgrt train`: train a network; alone, or one of several processes that torchrun started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hgrt.errors import EXIT_INTERRUPTED, HgrtError


def train(
    stacks: Annotated[
        int | None, typer.Option("--stacks", min=1, max=8, help="Number of hourglasses; the preset's own if left out.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Network: reference (the published shape) or lite (the bundled one).")
    ] = "reference",
    data: Annotated[
        list[Path] | None, typer.Option("--data", "-d", help="Folder of packed data; may be given several times.")
    ] = None,
    synthetic: Annotated[int, typer.Option(min=0, help="So many generated people beside the data, or instead.")] = 0,
    exp: Annotated[str, typer.Option("--exp", "-e", help="Name of the run; its folder is exp/NAME.")] = "pose",
    resume: Annotated[bool, typer.Option("--resume", "-c", help="Go on with the run of that name.")] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Length of the run.")] = 32,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that prepare batches; by the machine if left out.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads a process computes with; 0 leaves it to torch.")] = 0,
) -> None:
    """Train a network on packed data or on generated people.

    Several processes: torchrun --nproc-per-node N -m hgrt train ...
    """
    from hgrt.model.spec import PRESETS
    from hgrt.require import require
    from hgrt.train.data.missing import no_data

    if preset not in PRESETS:
        raise HgrtError(f"There is no preset '{preset}'.", f"Known: {', '.join(PRESETS)}.")
    folders = data or []
    if not folders and not synthetic:
        default = Path("data")
        if not default.is_dir():
            raise no_data(
                "There is nothing to train on.", f"Looked for packed data in {default.absolute()}; no --data given."
            )
        folders = [default]
    folder = Path("exp") / exp
    if (folder / "last.pt").exists() and not resume:
        raise HgrtError(
            f"There is a run in {folder} already.",
            "It would be overwritten.",
            "Add --resume to go on with it, or give another --exp.",
        )
    if resume and not (folder / "last.pt").exists():
        raise HgrtError(f"There is no run in {folder} to resume.", f"{folder / 'last.pt'} does not exist.")
    torch = require("torch", "train")
    require("h5py", "train")
    from dataclasses import replace

    from hgrt.train.data.find import find
    from hgrt.train.distributed import join
    from hgrt.train.loop import InterruptedTraining
    from hgrt.train.loop import train as run
    from hgrt.train.recipe import Recipe

    if threads:
        torch.set_num_threads(threads)
    spec = replace(PRESETS[preset], stacks=stacks or PRESETS[preset].stacks)
    recipe = Recipe.growing(spec.input, epochs, seed)
    console = Console(highlight=False, soft_wrap=True)
    sets = find(folders, synthetic, seed)
    world = join()
    try:
        if world.leads:
            console.print(f"{spec}; {world.size} x {world.device}; run folder {folder}")
            for name, people, repeat in sets.parts:
                console.print(f"  {name}: {people} people" + (f", {repeat} times an epoch" if repeat > 1 else ""))
        if workers is None:
            workers = default_workers(world.device.type)
        best = run(folder, spec, recipe, sets, world, workers, console)
        if world.leads:
            console.print(f"Best averaged weights: {best}")
    except InterruptedTraining as stop:
        if world.leads:
            console.print(str(stop))
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        world.close()


def default_workers(device: str) -> int:
    """On a GPU most of the cores prepare batches; on a CPU they are better spent on the network."""
    import os

    return min(16, max(1, (os.cpu_count() or 2) - 1)) if device == "cuda" else 0
