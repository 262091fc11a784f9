"""`hgrt build-engine`: weights become a TensorRT engine that has been checked, with its passport beside it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from hgrt.errors import EXIT_INTERRUPTED, HgrtError

if TYPE_CHECKING:
    from hgrt.engine.build import Phase, Watch
    from hgrt.engine.make import Made, Order

ENGINES = Path("engines")


def build_engine(
    weights: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint of ours, a published one, or the ONNX of an engine; the bundled weights if left out.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp16 or fp32.", show_default="fp16, or that of the ONNX")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="The largest batch of each bucket that kernels are chosen for.", show_default="1,4,16"),
    ] = None,
    crop_in_engine: Annotated[
        bool, typer.Option("--crop-in-engine", help="The engine takes whole frames and cuts people out itself.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The engine's file.", show_default="engines/ and the name of the weights"),
    ] = None,
    flavour: Annotated[
        str | None,
        typer.Option(
            help="auto, tensorrt, or rtx (TensorRT for RTX, which builds without a GPU).", show_default="auto"
        ),
    ] = None,
    ramp: Annotated[
        str | None,
        typer.Option(help="Coordinate channels of a published checkpoint: linear or integer.", show_default="linear"),
    ] = None,
    rebuild: Annotated[
        Path | None,
        typer.Option(help="Build this engine again, from the ONNX beside it, as its passport says.", metavar="ENGINE"),
    ] = None,
) -> None:
    """Build a TensorRT engine for the GPU here, and check that it answers as the network does."""
    from hgrt.engine.make import make_engine, remake_engine

    said = {"--precision": precision, "--batch": batch, "--out": out, "--flavour": flavour, "--ramp": ramp}
    given = [name for name, value in said.items() if value is not None] + ["--crop-in-engine"] * crop_in_engine
    if rebuild is not None and (given or weights is not None):
        more = given if weights is None else [str(weights), *given]
        raise HgrtError(f"--rebuild builds {rebuild} as it was built.", fix=f"Leave out {', '.join(more)}.")
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, style="dim", markup=False)

    try:
        with bars() as watch:
            if rebuild is not None:
                made = remake_engine(rebuild, say, watch)
            else:
                order = parse_order(weights, precision, batch, crop_in_engine, out, flavour, ramp)
                made = make_engine(weights, order, say, watch)
    except KeyboardInterrupt:
        console.print("Cancelled. Nothing was written.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    show(console, made)


def parse_order(
    weights: Path | None,
    precision: str | None,
    batch: str | None,
    crop: bool,
    out: Path | None,
    flavour: str | None,
    ramp: str | None,
) -> Order:
    """The options in their types; HgrtError for words that are unknown."""
    from hgrt.engine.build import profiles
    from hgrt.engine.make import Order
    from hgrt.engine.onnx import EnginePrecision
    from hgrt.model.spec import Ramp
    from hgrt.runtime.base import bundled_weights
    from hgrt.runtime.choose import SUFFIX
    from hgrt.runtime.library import Flavour

    for option, value, known in (
        ("--precision", precision, get_args(EnginePrecision)),
        ("--flavour", flavour, ("auto", *get_args(Flavour))),
        ("--ramp", ramp, get_args(Ramp)),
    ):
        if value is not None and value not in known:
            raise HgrtError(f"{option} {value} is unknown.", f"Known: {', '.join(known)}.")
    name = (weights or bundled_weights(".pt")).name
    return Order(
        out=out or ENGINES / f"{name.partition('.')[0]}{SUFFIX}",
        profiles=profiles(parse_batches(batch or "1,4,16")),
        precision=cast("EnginePrecision | None", precision),
        crop=crop or None,
        flavour=cast("Flavour", flavour or "auto"),
        ramp=cast("Ramp", ramp or "linear"),
    )


def parse_batches(text: str) -> list[int]:
    """Whole numbers between commas."""
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise HgrtError(
            f"--batch {text} cannot be read.", f"'{wrong[0]}' is no whole number.", "Write it as --batch 1,4,16."
        )
    return [int(word) for word in words]


@contextmanager
def bars() -> Iterator[Watch]:
    """Two bars on a terminal: the whole build, and what TensorRT is at; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as progress:
        tasks = [progress.add_task("", visible=False) for _ in range(2)]

        def watch(phases: Sequence[Phase]) -> None:
            shown = [phases[0], phases[-1]] if len(phases) > 1 else phases
            for task in tasks:
                progress.update(task, visible=False)
            for task, phase in zip(tasks, shown, strict=False):
                progress.update(task, visible=True, description=phase.name, completed=phase.done, total=phase.steps)

        yield watch


def show(console: Console, made: Made) -> None:
    """What there is now, in one table, and what to do with it."""
    from hgrt.runtime.passport import LIBRARIES

    passport = made.passport
    megabytes = made.engine.stat().st_size / 1e6
    target = passport.gpu if passport.capability else "any GPU since Ampere (8.0) that it supports"
    buckets = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, _, high in passport.profiles)
    compared = {
        "network": f"{made.parity}, against the network in fp32",
        "onnx": f"{made.parity}, against its ONNX on ONNX Runtime",
        "nothing": "not measured: there is neither a GPU nor the checkpoint here",
    }[str(passport.flags["compared_with"])]
    if passport.flags["answers_of"] == "onnxruntime" and made.parity is not None:
        compared += "; computed from its ONNX on ONNX Runtime, for want of a GPU"
    table = Table(box=None, show_header=False)
    for name, value in {
        "engine": f"{made.engine}, {megabytes:.1f} MB",
        "for": f"{target}, batches {buckets}",
        "layers": str(made.layers),
        "half": str(made.half),
        "build": f"{passport.seconds:.1f} s with {LIBRARIES[passport.flavour]} {passport.version}",
        "parity": compared,
    }.items():
        table.add_row(name, value)
    console.print(table, markup=False)
    console.print(f"Next: hgrt demo --weights {shlex.quote(str(made.engine))}", markup=False)
