"""The average starts fast, then follows slowly, and never learns by itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train.ema import Ema


def net(value: float) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(int(value) if tensor.dtype == torch.int64 else value)
    return model


def test_decay_rises_to_its_limit() -> None:
    ema, ones = Ema(net(0.0), decay=0.3), net(1.0)
    expected = 0.0
    for n in range(1, 8):
        ema.update(ones)
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay)
        assert ema.model[0].weight[0, 0].item() == pytest.approx(expected, abs=1e-6)
        assert ema.updates == n
    assert (1 + 1) / (10 + 1) < 0.3 < (1 + 7) / (10 + 7)  # both rules were at work


def test_statistics_are_averaged_and_counters_copied() -> None:
    ema = Ema(net(0.0), decay=0.999)
    ema.update(net(11.0))
    state = ema.model.state_dict()
    assert state["1.running_mean"][0].item() == pytest.approx(11 * 9 / 11)
    assert state["1.running_var"][0].item() == pytest.approx(11 * 9 / 11)
    assert state["1.num_batches_tracked"].item() == 11


def test_the_average_is_apart_from_the_network() -> None:
    model = net(1.0).train()
    ema = Ema(model, decay=0.9)
    with torch.no_grad():
        model[0].weight.fill_(5.0)
    assert ema.model[0].weight[0, 0].item() == 1.0
    assert not ema.model.training and model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    ema.update(model)
    assert model[0].weight[0, 0].item() == 5.0


def test_a_still_network_is_its_own_average() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    ema = Ema(model, decay=0.999)
    for _ in range(50):
        ema.update(model)
    torch.testing.assert_close(ema.model.weight, model.weight, rtol=0, atol=1e-6)


def wobbling(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Move every weight and statistic of a network somewhere else; counters count on."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(seed)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("decay", [0.9, 0.2])
def test_every_tensor_of_a_network_follows_the_formula(decay: float) -> None:
    model = StackedHourglass(ModelSpec(stacks=1, channels=8, latent=4, input=64))
    ema = Ema(model, decay)
    expected = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for n in range(1, 5):
        now, keep = wobbling(model, n), min(decay, (1 + n) / (10 + n))
        for name, tensor in now.items():
            kept = keep if tensor.is_floating_point() else 0.0
            expected[name] = kept * expected[name] + (1 - kept) * tensor.double()
        ema.update(model)
    assert list(ema.model.state_dict()) == list(expected)
    for name, tensor in ema.model.state_dict().items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_no_decay_copies() -> None:
    model = StackedHourglass(ModelSpec(stacks=1, channels=8, latent=4, input=64))
    ema = Ema(model, 0.0)
    for n in range(1, 4):
        now = wobbling(model, n)
        ema.update(model)
        assert all(torch.equal(tensor, now[name]) for name, tensor in ema.model.state_dict().items())
