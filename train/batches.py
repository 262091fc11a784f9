"""Batches of training examples, in an order and with a randomness that depend on nothing but seed, epoch and position.

Hence a training that stops anywhere and resumes sees exactly what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hgrt.pose.geometry import Image
from hgrt.train.augment import make_example
from hgrt.train.data.sample import People
from hgrt.train.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor]  # images (B, S, S, 3) uint8 BGR, targets (B, J, S/4, S/4), known (B, J)


class _Examples(Dataset[Batch]):
    def __init__(self, people: People, scenery: list[Image], recipe: Recipe, epoch: int) -> None:
        self._people, self._scenery, self._recipe, self._epoch = people, scenery, recipe, epoch

    def __len__(self) -> int:
        return len(self._people)

    def __getitem__(self, index: int) -> Batch:
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, self._epoch, index])
        size = recipe.stage(self._epoch).size
        example = make_example(self._people.get(index), size, recipe.sigma, recipe.augmentation, self._scenery, rng)
        return torch.from_numpy(example.image), torch.from_numpy(example.targets), torch.from_numpy(example.known)


def _single_thread(_worker: int) -> None:
    cv2.setNumThreads(0)


def steps_in(people: People, recipe: Recipe, epoch: int) -> int:
    """Steps of an epoch; the few people that do not fill a last batch are left for another shuffle."""
    return max(1, len(people) // recipe.stage(epoch).batch)


def order(people: People, recipe: Recipe, epoch: int, first: int, rank: int, size: int) -> Iterator[list[int]]:
    """The batches of process `rank` of `size` from step `first` on, as positions in `people`."""
    batch = recipe.stage(epoch).batch
    shuffled = np.random.default_rng([recipe.seed, epoch]).permutation(len(people))
    for step in range(first, steps_in(people, recipe, epoch)):
        yield [int(i) for i in shuffled[step * batch : (step + 1) * batch][rank::size]]


def batches(
    people: People, scenery: list[Image], recipe: Recipe, epoch: int, first: int, rank: int, size: int, workers: int
) -> DataLoader[Batch]:
    """A loader of this process's share of the epoch, from step `first` on; `workers` 0 makes examples in line."""
    return DataLoader(
        _Examples(people, scenery, recipe, epoch),
        batch_sampler=list(order(people, recipe, epoch, first, rank, size)),
        num_workers=workers,
        worker_init_fn=_single_thread,
        pin_memory=torch.cuda.is_available(),
    )
