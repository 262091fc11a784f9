"""The command line of the tools that make one network out of others: `average`, `restack`, `widen`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from hgrt.data.find import find
from hgrt.data.missing import no_data
from hgrt.data.sample import People
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.files import check_writable
from hgrt.model.checkpoint import save_checkpoint
from hgrt.model.hourglass import StackedHourglass


def parser_of(documentation: str | None, looks: bool) -> argparse.ArgumentParser:
    """What all of them are asked: where to write, and if the tool `looks` at training people, at which."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    if looks:
        parser.add_argument("--data", type=Path, action="append", default=[])
        parser.add_argument("--synthetic", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def people_of(options: argparse.Namespace, what: str) -> People:
    """The training people to measure `what` on; HgrtError where none are named, and as `find`."""
    if not options.data and not options.synthetic:
        raise no_data(f"There is nobody to measure {what} on.", "No --data was given.")
    return find(options.data, options.synthetic, 0).train


def write(out: Path, make: Callable[[], StackedHourglass], said: str = "") -> int:
    """Make a network, write it to `out` and say so, with what is `said` of it, or say what is wrong. The exit code."""
    try:
        check_writable(out)
        made = make()
        save_checkpoint(out, made)
    except HgrtError as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"{out}: {said}{made.spec}")
    return 0
