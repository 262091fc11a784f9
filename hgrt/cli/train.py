"""`hgrt train`: train a network; alone, or one of several processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hgrt.errors import EXIT_INTERRUPTED, HgrtError

if TYPE_CHECKING:
    from hgrt.data.find import DataSets
    from hgrt.train.config import Config
    from hgrt.train.distributed import World

EXPERIMENTS = Path("exp")
NETWORK, LENGTH, MACHINE, LOOK = "The network and how it learns", "How long", "Machine", "Look"


def train(
    exp: Annotated[str, typer.Option("--exp", "-e", help="Name of the run; its folder is exp/NAME.")] = "",
    resume: Annotated[
        str, typer.Option("--resume", "-c", metavar="NAME", help="Go on with the run of that name, as it began.")
    ] = "",
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Folder of labelled people (docs/data.md); may be given several times."),
    ] = None,
    synthetic: Annotated[
        int | None, typer.Option(min=0, help="So many generated people beside the data, or instead.")
    ] = None,
    doubts: Annotated[
        Path | None,
        typer.Option(help="What `hgrt data doubts` found: doubtful labels weigh less, exchanged sides are put right."),
    ] = None,
    stacks: Annotated[
        int | None,
        typer.Option(
            min=1, max=8, help="Number of hourglasses; the preset's own if left out.", rich_help_panel=NETWORK
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Network: lite (the bundled one), base, large (its teacher) or reference (the published shape).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="modern (ours) or reference (the published one).", rich_help_panel=NETWORK)
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A trained checkpoint whose answers are learnt too.", rich_help_panel=NETWORK)
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Begin with the weights of a checkpoint, ours or published.", rich_help_panel=NETWORK),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Validation set that decides which weights are best; may be given several times, all if left out.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any value that --print-config shows.", rich_help_panel=NETWORK
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of weights, order and augmentation.", rich_help_panel=NETWORK)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="How often everybody is seen.", rich_help_panel=LENGTH)
    ] = None,
    max_iters: Annotated[
        int | None, typer.Option("--max-iters", "-m", min=1, help="Length in steps instead.", rich_help_panel=LENGTH)
    ] = None,
    cache: Annotated[bool, typer.Option(help="Keep all pictures decoded in memory.", rich_help_panel=MACHINE)] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes that prepare batches; by the machine if left out.", rich_help_panel=MACHINE
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads a process computes with; 0: torch decides.", rich_help_panel=MACHINE)
    ] = 0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first (torch.compile).", rich_help_panel=MACHINE)
    ] = False,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config", help="Show every value and where it comes from; no training.", rich_help_panel=LOOK
        ),
    ] = False,
    overfit: Annotated[
        int,
        typer.Option(
            min=0, help="Self-test: learn so many people by heart, and say whether it worked.", rich_help_panel=LOOK
        ),
    ] = 0,
) -> None:
    """Train a network on labelled people, or on generated ones.

    Several processes: torchrun --nproc-per-node N -m hgrt train ...
    """
    from hgrt.train.config import assignments

    if resume and exp and exp != resume:
        raise HgrtError(f"--exp {exp} and --resume {resume} name two runs.", fix="Give one of them.")
    if resume and overfit:
        raise HgrtError("--overfit begins a run of its own.", fix="Leave out --resume.")
    name = resume or exp or ("overfit" if overfit else "pose")
    if Path(name).name != name or name == "..":
        raise HgrtError(f"A run cannot be called '{name}'.", "The name is that of a folder in exp/.")
    options: dict[str, tuple[Any, str]] = {
        "spec.stacks": (stacks, "--stacks"),
        "recipe.seed": (seed, "--seed"),
        "doubts": (None if doubts is None else str(doubts), "--doubts"),
        "teacher": (None if teacher is None else str(teacher), "--teacher"),
        "init": (None if init is None else str(init), "--init"),
        "select": (select or None, "--select"),
    }
    fixed = {name: said for name, said in options.items() if said[0] is not None}
    free: dict[str, tuple[Any, str]] = {}
    if epochs is not None:
        free |= {"recipe.max_iters": (0, "--epochs"), "recipe.epochs": (epochs, "--epochs")}
    if max_iters is not None:
        free["recipe.max_iters"] = (max_iters, "--max-iters")
    if data:
        free["data"] = ([str(path) for path in data], "--data")
    if synthetic is not None:
        free["synthetic"] = (synthetic, "--synthetic")
    sets: dict[str, tuple[Any, str]] = {name: (value, "--set") for name, value in assignments(values or []).items()}
    folder = EXPERIMENTS / name
    if resume:
        given = {"--preset": preset, "--recipe": recipe} | {option: value for value, option in (fixed | sets).values()}
        config = _resumed(folder, [option for option, value in given.items() if value is not None], free)
    else:
        shape = {} if init is None else _shape(init, {"--preset": preset, "--stacks": stacks}, sets)
        config = _begun(preset, recipe, shape | fixed | free | sets)
    if print_config:
        _show(config)
        return
    # A self-test empties the folder it is given; only that of another self-test has no config.json.
    if not resume and (folder / ("config.json" if overfit else "last.pt")).exists():
        raise HgrtError(
            f"There is a run in {folder} already.",
            "It would be overwritten.",
            f"Go on with it: hgrt train --resume {name}. Or give another --exp.",
        )
    _train(folder, config, cache, workers, threads, compiled, overfit)


def _begun(preset: str | None, recipe: str | None, said: dict[str, tuple[Any, str]]) -> Config:
    from hgrt.train.config import resolve

    config = resolve(preset or "reference", recipe or "modern", said)
    if config.data or config.synthetic:
        return config
    default = Path("data")
    if default.is_dir():
        return config.changed("data", [str(default)], "default")
    return config


def _shape(init: Path, options: dict[str, Any], sets: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """The shape of the network in a checkpoint; HgrtError where the user gives it another one."""
    from hgrt.require import require

    said = [option for option, value in options.items() if value is not None]
    said += [f"--set {name}" for name in sets if name.startswith("spec.") and name != "spec.input"]
    if said:
        raise HgrtError(f"{init} says what the network is.", fix=f"Leave out {', '.join(said)}.")
    require("torch", "train")
    from hgrt.model import load_checkpoint

    return {f"spec.{name}": (value, "--init") for name, value in load_checkpoint(init).spec.shape().items()}


def _resumed(folder: Path, refused: list[str], said: dict[str, tuple[Any, str]]) -> Config:
    from hgrt.train.config import read_config

    config = read_config(folder)
    if refused:
        raise HgrtError(
            f"{', '.join(refused)} cannot be changed when a run goes on.",
            f"{folder} keeps what it began with.",
            "Leave it out, or begin a new run with another --exp.",
        )
    for name, (value, origin) in said.items():
        config = config.changed(name, value, origin)
    return config


def _train(
    folder: Path,
    config: Config,
    cache: bool,
    workers: int | None,
    threads: int,
    compiled: bool,
    by_heart: int,
) -> None:
    from hgrt.data.find import find
    from hgrt.data.missing import no_data
    from hgrt.require import require

    # What is wrong with the data is said first: to import torch takes seconds.
    if not config.data and not config.synthetic:
        looked = f"Looked for {Path('data').absolute()}; no --data given."
        raise no_data("There is nothing to train on.", looked)
    console = Console(highlight=False, soft_wrap=True)
    # Of several processes one speaks.
    said = console.print if os.environ.get("RANK", "0") == "0" else (lambda line: None)
    sets = find([Path(path) for path in config.data], config.synthetic, config.recipe.seed, said)
    if config.doubts:
        sets = _doubted(sets, config.doubts, said)
    torch, *_ = [require(package, "train") for package in ("torch", "tensorboard", "matplotlib")]
    if threads:
        torch.set_num_threads(threads)
    from hgrt.train.card import write_card
    from hgrt.train.config import write_config
    from hgrt.train.distributed import join
    from hgrt.train.loop import InterruptedTraining, train
    from hgrt.train.overfit import overfit
    from hgrt.train.run import Run

    if cache:
        sets = sets.cached(1.5 * config.spec.input)
    run = Run(folder)
    world = join()
    try:
        workers = default_workers(world.device.type) if workers is None else workers
        if world.leads:
            console.print(f"{config.spec}; {world.size} x {world.device}; run folder {folder}")
        if by_heart:
            raise typer.Exit(not overfit(run, config, sets, by_heart, world, workers, console))
        if world.leads:
            write_config(folder, config)
            for part in sets.parts:
                console.print(f"  {part}")
        train(run, config, sets, world, workers, console, "default" if compiled else "")
        if world.leads:
            card = write_card(run, config, sets.parts, _machine(world))
            console.print(f"Best averaged weights: {run.best}, described in {card}")
    except InterruptedTraining as stop:
        if world.leads:
            if not by_heart:
                write_card(run, config, sets.parts, _machine(world))
            console.print(str(stop))
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        world.close()


def _machine(world: World) -> str:
    from hgrt.bench.machine import describe

    machine = describe()
    chip = machine.gpu if world.device.type == "cuda" else f"{machine.cpu}, {machine.cores} cores"
    return f"{world.size} x {world.device.type}; {chip}"


def _doubted(sets: DataSets, path: str, said: Callable[[str], None]) -> DataSets:
    """The sets to learn from as a file of doubts has them, and one line of what it changes."""
    from hgrt.data.doubts import Doubted, doubted, read_doubts

    sets = sets.each(partial(doubted, known=read_doubts(Path(path))))
    changes = [str(people.doubts) for people in sets.sets if isinstance(people, Doubted)]
    said(f"{path}: {'; '.join(changes) or 'no doubts about any of these sets'}")
    return sets


def _show(config: Config) -> None:
    import json

    values = config.values()
    width = max(len(config.origin(name)) for name in values)
    for name, value in values.items():
        print(f"{config.origin(name):<{width}}  {name}={json.dumps(value)}")


def default_workers(device: str) -> int:
    """On a GPU most of the cores prepare batches; on a CPU they are better spent on the network."""
    import os

    return min(16, max(1, (os.cpu_count() or 2) - 1)) if device == "cuda" else 0
