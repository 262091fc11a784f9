"""Batches of training examples, in an order and with a randomness that depend on nothing but seed, epoch and position.

Hence a training that stops anywhere and resumes sees exactly what it would have seen, on any number of processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hgrt.data.sample import People
from hgrt.pose.geometry import Image
from hgrt.train.augment import Augmentation, calmer, make_example
from hgrt.train.published import PublishedAugmentation, published_example
from hgrt.train.recipe import Epoch, Recipe

Batch = tuple[Tensor, Tensor, Tensor]
"""Images (B, S, S, 3) uint8 or float32 in 0..1, BGR; targets (B, J, S/4, S/4); known (B, J) weights of the joints."""

Place = tuple[int, int]
"""A person's position in the set, and which turn within the epoch it is (an epoch may see a small set repeatedly)."""


class Examples(Dataset[Batch]):
    """The examples of one epoch by `Place`; each is drawn from a generator of its own."""

    def __init__(self, people: People, scenery: list[Image], recipe: Recipe, epoch: Epoch, crop: float = 1.0) -> None:
        self._people, self._scenery, self._recipe, self._epoch, self._crop = people, scenery, recipe, epoch, crop
        how = recipe.augmentation
        self._how = calmer(how) if epoch.calm and isinstance(how, Augmentation) else how

    def __len__(self) -> int:
        return len(self._people)

    def __getitem__(self, place: Place) -> Batch:
        recipe, size, (index, turn) = self._recipe, self._epoch.size, place
        rng = np.random.default_rng([recipe.seed, self._epoch.number, turn, index])
        sample, how = self._people.get(index), self._how
        if isinstance(how, PublishedAugmentation):
            example = published_example(replace(sample, box=sample.box.scaled(self._crop)), size, how, rng)
        else:
            other, backdrop = (self._picture(rng) if rng.random() < p else None for p in (how.paste_p, how.backdrop_p))
            weights = recipe.hidden_weight, recipe.suspect_weight
            more = *weights, backdrop, self._crop
            example = make_example(sample, size, recipe.sigma, how, self._scenery, rng, other, *more)
        return torch.from_numpy(example.image), torch.from_numpy(example.targets), torch.from_numpy(example.known)

    def _picture(self, rng: np.random.Generator) -> Image:
        return self._people.get(int(rng.integers(len(self._people)))).image

    def __getitems__(self, places: list[Place]) -> list[Batch]:
        """A whole batch, by as many threads as torch computes with: made in line, it keeps all cores waiting."""
        threads = torch.get_num_threads()
        if threads == 1:
            return [self[place] for place in places]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.__getitem__, places))


def order(people: int, recipe: Recipe, epoch: Epoch, start: int, rank: int, size: int) -> Iterator[list[Place]]:
    """What process `rank` of `size` works on from step `start` of the epoch on: `recipe.accumulate` lists a step."""
    needed = epoch.steps * epoch.batch
    turns = [
        np.random.default_rng([recipe.seed, epoch.number, turn]).permutation(people)
        for turn in range(-(-needed // people))
    ]
    for step in range(start, epoch.steps):
        positions = range(step * epoch.batch, (step + 1) * epoch.batch)
        batch = [(int(turns[i // people][i % people]), i // people) for i in positions]
        for part in range(
            recipe.accumulate
        ):  # the same parts for any number of processes: batch norm sees one at a time
            yield batch[part :: recipe.accumulate][rank::size]


def batches(
    people: People,
    scenery: list[Image],
    recipe: Recipe,
    epoch: Epoch,
    start: int,
    rank: int,
    size: int,
    workers: int,
    crop: float = 1.0,
) -> DataLoader[Batch]:
    """A loader of this process's share of the epoch, from step `start` on; `workers` 0 makes examples in line.

    `crop`: how much of a person's box the network looks at (`ModelSpec.crop`).
    """
    return DataLoader(
        Examples(people, scenery, recipe, epoch, crop),
        batch_sampler=list(order(len(people), recipe, epoch, start, rank, size)),
        num_workers=workers,
        multiprocessing_context="fork"
        if workers and sys.platform == "linux"
        else None,  # pictures in memory are shared
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin_worker,
        pin_memory=torch.cuda.is_available(),
    )


def _begin_worker(_worker: int) -> None:
    os.setpgrp()  # Ctrl-C and `timeout` signal a whole group; the process that trains ends its workers in good order
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
