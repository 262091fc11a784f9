"""A teacher answers in any size as in its own, learns nothing itself, and weighs in the loss as much as is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ranks
from hgrt.data.generated import GeneratedPeople
from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.pose.geometry import warp
from hgrt.pose.heatmaps import Keypoints, decode
from hgrt.train import loop
from hgrt.train.batches import Batch
from hgrt.train.loop import to_network
from hgrt.train.teacher import Teacher

LITE = Path(__file__).resolve().parents[2] / "assets" / "lite.pt"
CPU = torch.device("cpu")
OWN = 192  # the input that the bundled network was trained for
SURE = 0.6  # what is faint may really look like something else in another size
SPEC = replace(ranks.SPEC, stacks=1)


@pytest.fixture(scope="module")
def lite() -> Teacher:
    return Teacher(LITE, CPU)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """An untrained network of 64 pixels."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("teacher") / "tiny.pt"
    net = StackedHourglass(SPEC)
    net.stacks[0].heatmap.weight.data *= 20  # answers below 0 and above 1
    save_checkpoint(path, net)
    return Teacher(path, CPU)


def crops(size: int) -> NDArray[np.uint8]:
    """The same generated people in another size."""
    people = [GeneratedPeople(8, 3).get(index) for index in (0, 1, 2, 4, 5, 6)]
    return np.stack([warp(one.image, one.box.to_crop(size), size) for one in people])


def answers(teacher: Teacher, size: int) -> Keypoints:
    maps = teacher(to_network(torch.from_numpy(crops(size))))
    assert maps.shape == (6, 16, size // 4, size // 4)
    return decode(maps.numpy())


@pytest.mark.parametrize("size", [128, 256])
def test_in_another_size_it_sees_joints_at_the_same_places(size: int, lite: Teacher) -> None:
    own, there = answers(lite, OWN), answers(lite, size)
    sure = (own.score > SURE) & (there.score > SURE)
    assert sure.mean() > 0.5
    # In shares of the picture: cell x covers x to x + 1 of as many cells as there are.
    apart = (there.xy_hm + 0.5) / (size // 4) - (own.xy_hm + 0.5) / (OWN // 4)
    cells = np.abs(apart[sure]).max(axis=-1) * min(size, OWN) / 4
    assert np.mean(cells < 1) > 0.95 and np.median(cells) < 0.25
    assert np.abs(np.median(apart[sure], axis=0)).max() * min(size, OWN) / 4 < 0.1  # none is shifted as a whole


def test_in_its_own_size_it_answers_as_the_network(lite: Teacher) -> None:
    image = to_network(torch.from_numpy(crops(OWN)[:2]))
    with torch.inference_mode():
        expected = load_checkpoint(LITE)(image)[:, -1].clamp(0, 1)
    torch.testing.assert_close(lite(image), expected, rtol=1e-4, atol=1e-5)  # the memory layouts differ


def test_its_answers_are_what_targets_may_be(tiny: Teacher) -> None:
    raw = tiny._model(torch.rand(2, 3, 64, 64))
    assert raw.min() < 0 and raw.max() > 1
    for size in (64, 128):
        maps = tiny(torch.rand(2, 3, size, size))
        assert maps.dtype == torch.float32 and maps.min() >= 0 and maps.max() <= 1 and maps.std() > 0


def test_it_only_answers(tiny: Teacher) -> None:
    """Neither gradients nor statistics reach it."""
    before = {name: value.clone() for name, value in tiny._model.state_dict().items()}
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    maps = tiny(image)
    assert not maps.requires_grad and not any(one.requires_grad for one in tiny._model.parameters())
    torch.manual_seed(0)
    net = StackedHourglass(SPEC)
    with pytest.raises(RuntimeError, match="does not require grad"):
        maps.sum().backward()
    for _ in range(2):
        step(net, 1.0, tiny)
    after = tiny._model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(tiny(image), maps)


@pytest.mark.parametrize("content", [None, b"", b"nothing", "weights of another"])
def test_what_is_no_network_is_refused(content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(HgrtError, match=r"teacher\.pt"):
        Teacher(path, CPU)


# The loss


def batch(seed: int = 0, known: float = 1.0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 64, 64, 3), generator=torch.Generator().manual_seed(9), dtype=torch.uint8)
    return images, torch.rand(4, 16, 16, 16, generator=rng).pow(6), torch.full((4, 16), known)


def step(net: StackedHourglass, weight: float, teacher: Teacher | None, part: Batch | None = None) -> torch.Tensor:
    """All gradients of a step that moves nothing, one after another."""
    recipe = replace(ranks.RECIPE, teacher_weight=weight, clip=0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    loop._step(net, net, optimizer, [part or batch()], 0.0, recipe, ranks.ALONE, teacher)
    return torch.cat([torch.zeros(1) if one.grad is None else one.grad.flatten() for one in net.parameters()])


def gradients(weight: float, teacher: Teacher | None, part: Batch | None = None) -> torch.Tensor:
    torch.manual_seed(0)
    return step(StackedHourglass(SPEC), weight, teacher, part)


def test_without_weight_it_has_no_say(tiny: Teacher) -> None:
    torch.testing.assert_close(gradients(0.0, tiny), gradients(0.5, None), rtol=1e-5, atol=1e-7)


def test_with_all_the_weight_the_labels_have_none(tiny: Teacher) -> None:
    alone = gradients(1.0, tiny)
    assert alone.abs().max() > 1e-3
    for part in (batch(seed=1), batch(known=0.0)):
        torch.testing.assert_close(gradients(1.0, tiny, part), alone, rtol=1e-5, atol=1e-7)
    assert (alone - gradients(0.0, tiny)).norm() > 0.01 * alone.norm()


def test_between_both_count(tiny: Teacher) -> None:
    labels, likeness = gradients(0.0, tiny), gradients(1.0, tiny)
    both = 0.75 * labels + 0.25 * likeness
    torch.testing.assert_close(gradients(0.25, tiny), both, rtol=1e-4, atol=1e-5 * float(both.abs().max()))


def test_a_network_that_answers_like_it_is_left_alone(tiny: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = StackedHourglass(SPEC)
    images = batch()[0]
    own = net.train()(to_network(images))[:, -1].detach()
    monkeypatch.setattr(Teacher, "__call__", lambda self, image: own)
    assert step(net, 1.0, tiny).abs().max() < 1e-6
