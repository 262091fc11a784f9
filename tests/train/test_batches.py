"""Batches depend on seed, epoch and position alone: not on who asks, how many ask, or where they began."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hgrt.data.sample import Mixture, Sample
from hgrt.pose.geometry import Box
from hgrt.train.augment import STILL, Augmentation, calmer
from hgrt.train.batches import Batch, Examples, Place, batches, order
from hgrt.train.published import PublishedAugmentation
from hgrt.train.recipe import Epoch, Recipe, Stage, plan
from upright import somebody

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
            name=str(index),
            image=rng.integers(0, 256, (40, 40, 3), dtype=np.uint8),
            joints=rng.uniform(5, 35, (16, 2)),
            labelled=known,
            visible=known & (rng.random(16) < 0.5),
            evaluate=known,
            box=Box(20, 20, 40),
            normalize=8.0,
        )


PEOPLE = Crowd(20)
SCENERY = [np.random.default_rng(99).integers(0, 256, (64, 64, 3), dtype=np.uint8)]
EPOCHS = plan(RECIPE, len(PEOPLE))


def made(
    epoch: int, start: int = 0, rank: int = 0, size: int = 1, recipe: Recipe = RECIPE, workers: int = 0
) -> list[Batch]:
    return list(batches(PEOPLE, SCENERY, recipe, plan(recipe, len(PEOPLE))[epoch], start, rank, size, workers))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def places(people: int, epoch: Epoch, recipe: Recipe = RECIPE, start: int = 0) -> list[list[Place]]:
    """What a single process works on."""
    return list(order(people, recipe, epoch, start, 0, 1))


# Who comes when

PARTS = st.integers(1, 4)
EPOCH = st.builds(Epoch, st.integers(0, 5), st.just(0), st.integers(1, 12), st.just(64), st.integers(1, 24))


@given(st.integers(1, 50), EPOCH)
def test_nobody_comes_twice_before_everybody_came(people: int, epoch: Epoch) -> None:
    everyone = [place for batch in places(people, epoch) for place in batch]
    assert len(everyone) == epoch.steps * epoch.batch
    for turn in range(-(-len(everyone) // people)):
        here = everyone[turn * people : (turn + 1) * people]
        assert {number for _, number in here} == {turn}
        assert len({index for index, _ in here}) == len(here)
        assert {index for index, _ in here} <= set(range(people))


@given(st.integers(1, 50), EPOCH, PARTS, st.integers(1, 3))
def test_processes_and_parts_share_the_batch(people: int, epoch: Epoch, parts: int, size: int) -> None:
    recipe = replace(RECIPE, accumulate=parts)
    shares = [list(order(people, recipe, epoch, 0, rank, size)) for rank in range(size)]
    whole = places(people, epoch)
    assert all(len(share) == epoch.steps * parts for share in shares)
    for step, batch in enumerate(whole):
        mine = [share[step * parts : (step + 1) * parts] for share in shares]
        pieces = [piece for share in mine for piece in share]
        assert sorted(place for piece in pieces for place in piece) == sorted(batch)
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
        for part in range(parts):  # the same for any number of processes
            assert sorted(place for share in mine for place in share[part]) == sorted(batch[part::parts])


@given(st.integers(1, 50), EPOCH, PARTS, st.data())
def test_what_is_resumed_is_the_rest(people: int, epoch: Epoch, parts: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, epoch.steps))
    recipe = replace(RECIPE, accumulate=parts)
    assert places(people, epoch, recipe, start) == places(people, epoch, recipe)[start * parts :]


def test_epochs_seeds_and_turns_differ() -> None:
    first, second = EPOCHS[:2]
    assert places(20, first) != places(20, second)
    assert places(20, first) != places(20, first, replace(RECIPE, seed=4))
    twice = [index for batch in places(20, replace(first, steps=2, batch=20)) for index, _ in batch]
    assert twice[:20] != twice[20:]


def test_everyone_comes_in_time() -> None:
    seen: set[int] = set()
    for epoch in plan(replace(RECIPE, epochs=40), 20):
        seen |= {index for batch in places(20, epoch) for index, _ in batch}
    assert seen == set(range(20))


# What is made of them


def test_shapes_and_types() -> None:
    for epoch, size, count, steps in ((0, 64, 6, 3), (1, 64, 6, 3), (2, 128, 4, 5), (3, 128, 4, 5)):
        loaded = made(epoch)
        assert len(loaded) == steps
        for images, targets, known in loaded:
            assert images.shape == (count, size, size, 3) and images.dtype == torch.uint8
            assert targets.shape == (count, 16, size // 4, size // 4) and targets.dtype == torch.float32
            assert known.shape == (count, 16) and set(known.unique().tolist()) <= {0.0, 1.0}


def test_the_published_augmentation_makes_float_pictures_and_knows_everything() -> None:
    loaded = made(0, recipe=replace(RECIPE, augmentation=PublishedAugmentation()))
    for images, targets, known in loaded:
        assert images.shape == (6, 64, 64, 3) and images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1
        assert targets.shape == (6, 16, 16, 16) and (known == 1).all()
    assert equal(loaded, made(0, recipe=replace(RECIPE, augmentation=PublishedAugmentation())))


def test_again_is_the_same() -> None:
    assert equal(made(1), made(1))


class Rings(Crowd):
    """Somebody in a picture that is white for 0.4 of its width, and all of it their box."""

    def get(self, index: int) -> Sample:
        picture = np.zeros((300, 300, 3), np.uint8)
        picture[90:210, 90:210] = 255
        return replace(somebody(picture), box=Box(149.5, 149.5, 300))


class Lines(Crowd):
    """People who all look alike, each in a picture of one grey of their own."""

    def get(self, index: int) -> Sample:
        return somebody(np.full((300, 300, 3), 10 + 2 * index, np.uint8))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["backdrop_p", "paste_p"])
def test_another_picture_comes_into_a_view_as_often_as_asked(name: str, share: float) -> None:
    how = replace(STILL, **{name: share})  # type: ignore[arg-type]
    recipe = replace(RECIPE, augmentation=how, stages=(Stage(0.0, 64, 100),))
    ((images, _, _),) = batches(Lines(100), [], recipe, plan(recipe, 100)[0], 0, 0, 1, 0)
    greys = [one.unique() for one in images]
    mixed = sum(len(one) > 1 for one in greys) / 100
    assert abs(mixed - share) <= 0.12
    assert len(images[:, 1, 1, 0].unique()) > 40  # what is behind is not always the same picture


@pytest.mark.parametrize("how", [STILL, PublishedAugmentation(rotation=0, scale=(1, 1), flip_p=0)])
def test_views_are_of_the_share_of_a_box_that_the_network_looks_at(how: Augmentation | PublishedAugmentation) -> None:
    recipe = replace(RECIPE, augmentation=how, stages=(Stage(0.0, 64, 1),))
    (whole, _, _), (half, _, _) = (
        next(iter(batches(Rings(1), [], recipe, plan(recipe, 1)[0], 0, 0, 1, 0, crop))) for crop in (1.0, 0.5)
    )
    shown = [(images[0, 32, :, 0] > 0).float().mean().item() for images in (whole, half)]
    assert shown[0] == pytest.approx(0.4, abs=0.05) and shown[1] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_a_resumed_epoch_goes_on_where_it_was(start: int) -> None:
    assert equal(made(0, start), made(0)[start:])


def test_worker_processes_change_nothing() -> None:
    assert equal(made(0, start=1, workers=2), made(0, start=1))


class Apart(Crowd):
    """People who say by their pictures whether they are asked in the process group that began all this."""

    group = os.getpgrp()

    def get(self, index: int) -> Sample:
        picture = np.full((40, 40, 3), 200 * (os.getpgrp() == self.group), np.uint8)
        return replace(super().get(index), image=picture)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_to_the_group_does_not_end_the_workers(workers: int) -> None:
    """Ctrl-C in a terminal and `timeout` send one to the group. Who trains must have the time to save."""
    recipe = replace(RECIPE, augmentation=STILL, stages=(Stage(0.0, 64, 2),))
    ((images, _, _),) = batches(Apart(2), [], recipe, plan(recipe, 2)[0], 0, 0, 1, workers)
    assert images.any().item() == (workers == 0)


@pytest.mark.parametrize("size", [2, 3])
def test_every_process_makes_its_share_of_the_same_examples(size: int) -> None:
    whole, shares = made(0), [made(0, rank=rank, size=size) for rank in range(size)]
    for step, batch in enumerate(whole):
        for part in range(3):
            joined = torch.empty_like(batch[part])
            for rank in range(size):
                joined[rank::size] = shares[rank][step][part]
            assert torch.equal(joined, batch[part])


def view_of(place: Place, recipe: Recipe = RECIPE, epoch: int = 0) -> torch.Tensor:
    return Examples(PEOPLE, SCENERY, recipe, EPOCHS[epoch])[place][0]


def test_a_view_depends_on_person_turn_epoch_and_seed() -> None:
    one = view_of((0, 0))
    assert torch.equal(one, view_of((0, 0)))
    others = [view_of((1, 0)), view_of((0, 1)), view_of((0, 0), epoch=1), view_of((0, 0), replace(RECIPE, seed=4))]
    assert all(not torch.equal(one, other) for other in others)


def test_hidden_joints_weigh_what_the_recipe_says() -> None:
    recipe = replace(RECIPE, hidden_weight=0.25, augmentation=STILL)
    for index in range(5):
        person = PEOPLE.get(index)
        _, _, known = Examples(PEOPLE, [], recipe, EPOCHS[0])[index, 0]
        assert (known == torch.from_numpy(np.where(person.visible, 1.0, 0.25) * person.labelled)).all()
        assert set(known.tolist()) == {0.0, 0.25, 1.0}


class Doubted(Crowd):
    """People of whom every other one's labels are doubtful."""

    def get(self, index: int) -> Sample:
        return replace(super().get(index), suspect=np.full(16, index % 2 == 1))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_doubtful_labels_weigh_what_the_recipe_says(weight: float) -> None:
    recipe = replace(RECIPE, suspect_weight=weight)
    for index in range(6):
        here, doubted = (Examples(people, SCENERY, recipe, EPOCHS[0])[index, 0] for people in (PEOPLE, Doubted(20)))
        assert torch.equal(here[0], doubted[0]) and torch.equal(here[1], doubted[1])
        assert torch.equal(doubted[2], here[2] * (weight if index % 2 else 1)) and here[2].any()


def test_published_views_know_no_doubt() -> None:
    recipe = replace(RECIPE, suspect_weight=0.5, augmentation=PublishedAugmentation())
    assert (Examples(Doubted(20), [], recipe, EPOCHS[0])[1, 0][2] == 1).all()


def test_the_end_of_a_run_has_calmer_views_of_its_own() -> None:
    wild, calm = (Examples(PEOPLE, SCENERY, RECIPE, replace(EPOCHS[0], calm=calm)) for calm in (False, True))
    as_said = replace(RECIPE, augmentation=calmer(RECIPE.augmentation))
    assert not torch.equal(wild[1, 0][0], calm[1, 0][0])
    assert torch.equal(calm[1, 0][0], Examples(PEOPLE, SCENERY, as_said, EPOCHS[0])[1, 0][0])


def test_pieces_of_other_people_cover_some() -> None:
    def changed(paste_p: float) -> int:
        recipe = replace(RECIPE, augmentation=replace(STILL, paste_p=paste_p))
        still = replace(RECIPE, augmentation=STILL)
        return sum(not torch.equal(view_of((k, 0), recipe), view_of((k, 0), still)) for k in range(20))

    assert changed(1.0) >= 19 and 4 < changed(0.5) < 16 and changed(0.0) == 0


# Mixtures of sets


def test_a_mixture_repeats_its_parts() -> None:
    one, other = Crowd(3, "one"), Crowd(5, "other")
    mixture = Mixture([(one, 2), (other, 1)])
    assert len(mixture) == 11 and mixture.name == "one+other"
    for index, inner in [(0, 0), (2, 2), (3, 0), (5, 2), (6, 0), (10, 4)]:
        np.testing.assert_array_equal(mixture.get(index).joints, one.get(inner).joints)


def test_repeats_of_a_person_are_seen_differently() -> None:
    twice = Mixture([(Crowd(1), 2)])
    recipe = replace(RECIPE, stages=(Stage(0.0, 64, 2),))
    ((images, _, _),) = batches(twice, [], recipe, plan(recipe, 2)[0], 0, 0, 1, 0)
    assert not torch.equal(images[0], images[1])
