"""The same network with more stacks, or with fewer.

    python -m hgrt.train.restack CKPT --stacks 2 --out more.pt

Every stack that is added is a copy of the last one and sees what that one saw: what merges the earlier stack's answer
into its input begins with zeros. So the network answers as before, and a training goes on from there instead of from
nothing. With fewer stacks the last of those that stay answers; all of them were trained to. What `hgrt calibrate`
writes belongs to the last stack of before and is left out: calibrate anew.

Exit codes: 0, 2 a checkpoint or number of stacks that cannot be used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.train.remake import parser_of, write


def restack(model: StackedHourglass, stacks: int) -> StackedHourglass:
    """The network with so many stacks, in eval mode and not calibrated; HgrtError where none can have as many."""
    try:
        spec = replace(model.spec.unmeasured(), stacks=stacks)
    except ValueError as error:
        raise HgrtError("The network cannot be made.", str(error), "Set another --stacks.") from error
    made = StackedHourglass(spec)
    made.stem.load_state_dict(model.stem.state_dict())
    for place, stack in enumerate(made.stacks):
        given = model.stacks[min(place, model.spec.stacks - 1)].state_dict()  # the last has no merge into a next one
        stack.load_state_dict({name: given.get(name, torch.zeros_like(w)) for name, w in stack.state_dict().items()})
    return made.eval()


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code."""
    parser = parser_of(__doc__, looks=False)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("--stacks", type=int, required=True)
    options = parser.parse_args(arguments)
    return write(options.out, lambda: restack(load_checkpoint(options.checkpoint), options.stacks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
