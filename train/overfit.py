"""The self-test of a training: a few people, exactly as they are, must be learnt by heart.

If they are not, something between the labels and the weights is broken, and no amount of data would show it sooner.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from rich.console import Console

from hgrt.data.find import DataSets, Part
from hgrt.data.sample import People, Sample
from hgrt.errors import HgrtError
from hgrt.train.augment import STILL
from hgrt.train.config import Config
from hgrt.train.distributed import World
from hgrt.train.loop import InterruptedTraining, train
from hgrt.train.published import PublishedAugmentation
from hgrt.train.recipe import Stage
from hgrt.train.run import Run

ENOUGH = 95.0  # PCKh@0.5 on what was learnt
ITERS = 300
BATCH = 16


@dataclass(slots=True)
class Chosen:
    """Some people of a set, every labelled joint of theirs evaluated."""

    people: People
    rows: Sequence[int]
    name: str = "by heart"

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, index: int) -> Sample:
        """Person `index` of those chosen."""
        sample = self.people.get(self.rows[index])
        return replace(sample, evaluate=sample.labelled)


def overfit(run: Run, config: Config, data: DataSets, count: int, world: World, workers: int, console: Console) -> bool:
    """Train on `count` people of the training set and on nothing else; whether at least `ENOUGH` percent was learnt.

    The run's folder is emptied first. HgrtError where the set has nobody.
    """
    chosen = choose(data.train, count)
    recipe = config.recipe
    still = PublishedAugmentation(rotation=0, scale=(1, 1), flip_p=0) if config.recipe_name == "reference" else STILL
    iters = recipe.max_iters if "recipe.max_iters" in config.origins and recipe.max_iters else ITERS
    stage = Stage(0.0, config.spec.input, min(BATCH, len(chosen)))
    recipe = replace(recipe, max_iters=iters, epoch_iters=max(1, iters // 5), stages=(stage,), augmentation=still)
    recipe = replace(recipe, ema=min(recipe.ema, 0.95), drop_at=0, accumulate=1)
    if world.leads and run.folder.exists():
        shutil.rmtree(run.folder)
    world.wait()
    sets = DataSets(chosen, (chosen,), (Part(chosen.name, len(chosen)),))
    try:
        position = train(run, replace(config, recipe=recipe), sets, world, workers, console)
    except InterruptedTraining as stop:
        raise InterruptedTraining(stop.what, "A self-test does not go on.", "Begin it again.") from None
    learnt = float(world.sum(torch.tensor(position.best or 0.0)))  # only the process that leads evaluated
    passed = learnt >= ENOUGH
    if world.leads:
        console.print(
            f"{'PASS' if passed else 'FAIL'}: {len(chosen)} people learnt by heart to PCKh@0.5 {learnt:.1f} "
            f"(at least {ENOUGH:.0f} wanted) in {iters} steps; see {run.folder}"
        )
    return passed


def choose(people: People, count: int) -> Chosen:
    """At most `count` people with labels, spread evenly over the set: the first of each of `count` stretches of it."""
    edges = np.linspace(0, len(people), min(count, len(people)) + 1).astype(int)
    rows: list[int] = []
    for start, stop in pairwise(edges.tolist()):
        for row in range(start, stop):
            sample = people.get(row)
            if not sample.empty and sample.labelled.any():
                rows.append(row)
                break
    if not rows:
        raise HgrtError("There is nobody to learn by heart.", f"{people.name} has no labelled people.")
    return Chosen(people, rows)
