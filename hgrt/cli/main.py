"""`hgrt`: the commands, and what happens to errors.

Nothing heavier than typer and rich is imported until a command runs, so that `hgrt --help` is instant.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from hgrt import __version__
from hgrt.cli.bench import bench
from hgrt.cli.build_engine import build_engine
from hgrt.cli.calibrate import calibrate
from hgrt.cli.data import app as data
from hgrt.cli.demo import demo
from hgrt.cli.evaluate import evaluate
from hgrt.cli.export import export
from hgrt.cli.train import train
from hgrt.errors import EXIT_USAGE, HgrtError

app = typer.Typer(
    name="hgrt",
    help="Real-time human pose for one camera: provably fast, provably the same answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(train)
app.command()(export)
app.command("build-engine")(build_engine)
app.command("eval")(evaluate)
app.command()(calibrate)
app.command()(bench)
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hgrt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake is printed as three short lines and exits with 2."""
    # OpenCV and FFmpeg print their own view of a bad file; ours is enough.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        app()
    except HgrtError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {_plain(error.what)}")
        for line in (error.why, error.fix):
            if line:
                console.print(_plain(line), style="dim" if line == error.why else "")
        sys.exit(EXIT_USAGE)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
