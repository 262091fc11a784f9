"""The optimizer of the modern recipe: orthogonal steps for matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import PRESETS
from hgrt.train.muon import ADAMW_RMS, NARROW, Muon, orthogonal


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(32, 32), (48, 432), (432, 48), (128, 3584)])
def test_an_orthogonal_matrix_has_singular_values_of_about_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(random(*shape)))
    assert values.min() > 0.6 and values.max() < 1.25


def test_the_singular_vectors_stay() -> None:
    left, _ = torch.linalg.qr(random(64, 40))
    right, _ = torch.linalg.qr(random(200, 40, seed=1))
    found = left.T @ orthogonal(left @ torch.diag(torch.logspace(0, -1, 40)) @ right.T) @ right
    off = found - torch.diag(found.diagonal())
    assert off.abs().max() < 1e-4 and found.diagonal().min() > 0.6


def test_it_is_the_iteration_as_published() -> None:
    """Products of polynomials of x x' are what applying each to x in turn gives."""
    x = random(24, 300).double()
    expected = x / x.norm()
    for _ in range(5):
        gram = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * gram + 2.0315 * gram @ gram) @ expected
    torch.testing.assert_close(orthogonal(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(orthogonal(x.float()).double(), expected, rtol=0, atol=1e-5)


def test_each_matrix_of_many_is_as_alone() -> None:
    many = torch.stack([scale * random(40, 24, seed=k) for k, scale in enumerate((1.0, 1e3, 1e-3))])
    found = orthogonal(many)
    for one, expected in zip(found, many, strict=True):
        torch.testing.assert_close(one, orthogonal(expected), rtol=0, atol=1e-5)


def test_zero_stays_zero() -> None:
    assert not orthogonal(torch.zeros(40, 80)).any()


def test_size_does_not_matter() -> None:
    torch.testing.assert_close(orthogonal(1e-3 * random(40, 80)), orthogonal(random(40, 80)), rtol=0, atol=1e-3)


def test_steps_are_as_large_as_those_of_adamw() -> None:
    layer = nn.Conv2d(64, 96, 3, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = random(96, 64, 3, 3)
    Muon(layer.parameters(), lr=0.01, weight_decay=0.0).step()
    moved = (layer.weight - before).detach().square().mean().sqrt()
    assert moved == pytest.approx(0.01 * ADAMW_RMS * 576**0.5 / 576**0.5, rel=0.2)


def test_weights_decay() -> None:
    layer = nn.Linear(64, 64, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.zeros(64, 64)
    Muon(layer.parameters(), lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(layer.weight.detach(), before * 0.95)


def test_what_goes_which_way() -> None:
    net = StackedHourglass(PRESETS["lite"])
    optimizer = Muon(net.parameters(), lr=1e-3, weight_decay=0.1)
    hidden, edges, few = optimizer.param_groups
    assert (hidden["orthogonal"], edges["orthogonal"], few["orthogonal"]) == (True, False, False)
    assert (hidden["weight_decay"], edges["weight_decay"], few["weight_decay"]) == (0.1, 0.1, 0.0)
    assert all(min(p.shape[:2]) >= NARROW for p in hidden["params"]) and all(p.ndim == 1 for p in few["params"])
    names = {id(p): name for name, p in net.named_parameters()}
    first_and_heads = {names[id(p)] for p in edges["params"]}
    assert first_and_heads == {
        "stem.0.conv.weight",
        "stacks.0.heatmap.weight",
        "stacks.0.modulation.up.2.conv.weight",
    }
    count = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert count == sum(p.numel() for p in net.parameters())


def test_the_rest_is_stepped_as_adamw_does() -> None:
    def layer() -> nn.Conv2d:
        torch.manual_seed(3)
        return nn.Conv2d(3, 64, 3)

    ours, theirs = layer(), layer()
    muon = Muon(ours.parameters(), lr=1e-2, weight_decay=0.1)
    adamw = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}], lr=1e-2
    )
    for turn in range(3):
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = random(*mine.shape, seed=turn)
            its.grad = mine.grad.clone()
        muon.step()
        adamw.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_what_has_no_gradient_stays() -> None:
    layer = nn.Linear(64, 64)
    before = layer.weight.detach().clone()
    Muon(layer.parameters(), lr=1e-2, weight_decay=0.1).step()
    assert torch.equal(layer.weight, before)


def test_matrices_of_one_shape_step_together_as_each_would_alone() -> None:
    """Two of one shape, one of another kind, and one that has no gradient at times, as left out of a step."""
    layers = [nn.Conv2d(64, 48, 1), nn.Conv2d(48, 40, 3), nn.Conv2d(64, 48, 1), nn.Linear(64, 48)]
    alone = deepcopy(layers)
    together = Muon([p for layer in layers for p in layer.parameters()], lr=1e-2, weight_decay=0.1)
    each = [Muon(layer.parameters(), lr=1e-2, weight_decay=0.1) for layer in alone]
    for turn in range(3):
        for k, (mine, its) in enumerate(zip(layers, alone, strict=True)):
            for one, other in zip(mine.parameters(), its.parameters(), strict=True):
                one.grad = None if (turn, k) == (1, 2) else random(*one.shape, seed=10 * turn + k)
                other.grad = None if one.grad is None else one.grad.clone()
        together.step()
        for optimizer in each:
            optimizer.step()
    for mine, its in zip(layers, alone, strict=True):
        torch.testing.assert_close(mine.weight, its.weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [lambda: nn.Linear(64, 64), lambda: nn.Conv2d(64, 32, 3)])
def test_its_state_can_be_saved_and_loaded(make: Callable[[], nn.Module]) -> None:
    one, other = make(), make()
    other.load_state_dict(one.state_dict())
    first = Muon(one.parameters(), lr=1e-2, weight_decay=0.1)

    def step(net: nn.Module, optimizer: Muon, seed: int) -> None:
        for parameter in net.parameters():
            parameter.grad = random(*parameter.shape, seed=seed)
        optimizer.step()

    step(one, first, 0)
    other.load_state_dict(one.state_dict())
    second = Muon(other.parameters(), lr=1e-2, weight_decay=0.1)
    second.load_state_dict(deepcopy(first.state_dict()))
    step(one, first, 1)
    step(other, second, 1)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)
