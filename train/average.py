"""One network out of several: the mean of their weights, its batch norm statistics measured anew.

    python -m hgrt.train.average FIRST.pt SECOND.pt ... --data DATA --synthetic 1600 --out mean.pt

For checkpoints of one run, or of runs that went on from one another's weights; networks that learnt apart have no mean
worth anything. One that is named twice counts twice; of a run's `last.pt` its averaged weights count. The statistics
are those of the recipe's views of the training people: the mean of statistics would not be those of the mean (P.
Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018). What was measured
of the checkpoints (`hgrt calibrate`) is left out: calibrate anew.

Exit codes: 0, 2 a checkpoint or data that cannot be used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from hgrt.data.generated import scenery
from hgrt.data.sample import People
from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, read_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train.batches import batches
from hgrt.train.loop import SCENES, to_network
from hgrt.train.recipe import Epoch, recipe_for
from hgrt.train.remake import parser_of, people_of, write

VIEWS, BATCH = 1920, 32  # views that the statistics are measured on


def average(models: Sequence[StackedHourglass]) -> StackedHourglass:
    """The mean of the networks' weights, in eval mode and not calibrated. HgrtError where they differ in shape."""
    first, *others = models
    for number, other in enumerate(others, 2):
        if other.spec.shape() != first.spec.shape():
            raise HgrtError(
                f"Network {number} is another than the first: {other.spec} and {first.spec}.",
                "Only networks of one shape have a mean.",
            )
    states = [model.state_dict() for model in models]
    mean = StackedHourglass(first.spec.unmeasured())
    mean.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
            for name, value in states[0].items()
        }
    )
    return mean.eval()


def averaged(path: Path) -> StackedHourglass:
    """The network in a checkpoint; where it holds an averaged one beside, as `last.pt` does, that one.

    HgrtError as `load_checkpoint`.
    """
    model, beside = load_checkpoint(path), read_checkpoint(path).get("ema")
    if beside is not None:
        model.load_state_dict(beside["weights"])
    return model


def views(people: People, spec: ModelSpec, count: int) -> Iterator[Tensor]:
    """At least `count` views of `people` by the recipe `modern`, in batches (B, 3, S, S) that such a network takes."""
    recipe = recipe_for("modern", spec.input)
    epoch = Epoch(0, 0, -(-count // BATCH), spec.input, BATCH)
    loader = batches(people, scenery(SCENES, recipe.seed), recipe, epoch, 0, 0, 1, 0, spec.crop)
    return (to_network(images) for images, _, _ in loader)


def measure_norms(model: StackedHourglass, people: People, count: int = VIEWS) -> None:
    """Give the network's batch norms the statistics of so many training views of `people`."""
    update_bn(views(people, model.spec, count), model)


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code."""
    parser = parser_of(__doc__, looks=True)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CKPT")
    options = parser.parse_args(arguments)

    def make() -> StackedHourglass:
        people = people_of(options, "the batch norms")
        mean = average([averaged(path) for path in options.checkpoints])
        measure_norms(mean, people)
        return mean

    return write(options.out, make, f"the mean of {len(options.checkpoints)}, ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
