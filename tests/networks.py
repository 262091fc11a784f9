"""Small networks that are not trivial, for tests that compare answers."""

from __future__ import annotations

import torch

from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec


def lively(spec: ModelSpec, seed: int = 0) -> StackedHourglass:
    """A network with weights and batch statistics that are not the trivial initial ones, in eval mode."""
    torch.manual_seed(seed)
    net = StackedHourglass(spec)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.75, 1.25)
            module.bias.data.uniform_(-0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()
