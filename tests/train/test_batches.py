"""Batches depend on seed, epoch and position alone: not on who asks, how many ask, or where they began."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hgrt.pose.geometry import Box
from hgrt.train.batches import Batch, batches, order, steps_in
from hgrt.data.sample import Mixture, Sample
from hgrt.train.recipe import Recipe, Stage

RECIPE = Recipe(epochs=4, stages=(Stage(0.0, 64, 6), Stage(0.5, 128, 4)), seed=3)


class Crowd:
    """People in noise, each a little different."""

    def __init__(self, count: int, name: str = "crowd") -> None:
        self.name, self._count = name, count

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        known = rng.random(16) < 0.8
        return Sample(
            image=rng.integers(0, 256, (40, 40, 3), dtype=np.uint8),
            joints=rng.uniform(5, 35, (16, 2)),
            labelled=known,
            visible=known,
            evaluate=known,
            box=Box(20, 20, 40),
            normalize=8.0,
        )


PEOPLE = Crowd(20)
SCENERY = [np.random.default_rng(99).integers(0, 256, (64, 64, 3), dtype=np.uint8)]


def made(
    epoch: int, first: int = 0, rank: int = 0, size: int = 1, recipe: Recipe = RECIPE, workers: int = 0
) -> list[Batch]:
    return list(batches(PEOPLE, SCENERY, recipe, epoch, first, rank, size, workers))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_shapes_and_types() -> None:
    for epoch, size, count, steps in ((0, 64, 6, 3), (1, 64, 6, 3), (2, 128, 4, 5), (3, 128, 4, 5)):
        assert steps_in(PEOPLE, RECIPE, epoch) == steps
        loaded = made(epoch)
        assert len(loaded) == steps
        for images, targets, known in loaded:
            assert images.shape == (count, size, size, 3) and images.dtype == torch.uint8
            assert targets.shape == (count, 16, size // 4, size // 4) and targets.dtype == torch.float32
            assert known.shape == (count, 16) and set(known.unique().tolist()) <= {0.0, 1.0}


def test_again_is_the_same() -> None:
    assert equal(made(1), made(1))


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_a_resumed_epoch_goes_on_where_it_was(first: int) -> None:
    assert equal(made(0, first), made(0)[first:])


def test_worker_processes_change_nothing() -> None:
    assert equal(made(0, first=1, workers=2), made(0, first=1))


@pytest.mark.parametrize("size", [2, 3])
def test_the_processes_share_the_batch(size: int) -> None:
    whole, shares = made(0), [made(0, rank=rank, size=size) for rank in range(size)]
    for step, batch in enumerate(whole):
        for part in range(3):
            joined = torch.empty_like(batch[part])
            for rank in range(size):
                joined[rank::size] = shares[rank][step][part]
            assert torch.equal(joined, batch[part])


def test_epochs_and_seeds_differ() -> None:
    assert list(order(PEOPLE, RECIPE, 0, 0, 0, 1)) != list(order(PEOPLE, RECIPE, 1, 0, 0, 1))
    other = replace(RECIPE, seed=4)
    assert list(order(PEOPLE, RECIPE, 0, 0, 0, 1)) != list(order(PEOPLE, other, 0, 0, 0, 1))

    def view_of(recipe: Recipe, epoch: int) -> torch.Tensor:
        """How person 0 looks in an epoch."""
        everyone = replace(recipe, stages=(Stage(0.0, 64, 20),))
        (where,) = np.flatnonzero(np.array(next(order(PEOPLE, everyone, epoch, 0, 0, 1))) == 0)
        return made(epoch, recipe=everyone)[0][0][where]

    assert not torch.equal(view_of(RECIPE, 0), view_of(RECIPE, 1))
    assert not torch.equal(view_of(RECIPE, 0), view_of(other, 0))


def test_everyone_comes_at_most_once_an_epoch_and_everyone_in_time() -> None:
    seen: set[int] = set()
    for epoch in range(40):
        indices = [i for batch in order(PEOPLE, replace(RECIPE, epochs=80), epoch, 0, 0, 1) for i in batch]
        assert len(indices) == len(set(indices)) == 18
        seen |= set(indices)
    assert seen == set(range(20))


def test_fewer_people_than_a_batch_make_one_step() -> None:
    few = Crowd(4)
    assert steps_in(few, RECIPE, 0) == 1
    (batch,) = order(few, RECIPE, 0, 0, 0, 1)
    assert sorted(batch) == [0, 1, 2, 3]


def test_a_mixture_repeats_its_parts() -> None:
    one, other = Crowd(3, "one"), Crowd(5, "other")
    mixture = Mixture([(one, 2), (other, 1)])
    assert len(mixture) == 11 and mixture.name == "one+other"
    for index, inner in [(0, 0), (2, 2), (3, 0), (5, 2), (6, 0), (10, 4)]:
        np.testing.assert_array_equal(mixture.get(index).joints, one.get(inner).joints)


def test_repeats_of_a_person_are_seen_differently() -> None:
    twice = Mixture([(Crowd(1), 2)])
    recipe = replace(RECIPE, stages=(Stage(0.0, 64, 2),))
    ((images, _, _),) = batches(twice, [], recipe, 0, 0, 0, 1, 0)
    assert not torch.equal(images[0], images[1])
