"""An exponential moving average of a network's weights: steadier than any one step, and what is evaluated and kept."""

from __future__ import annotations

import copy

import torch
from torch import nn

from hgrt.model.hourglass import StackedHourglass


class Ema:
    """Holds a copy of a network, `model`, that follows it.

    After n updates the effective decay is min(decay, (1 + n) / (10 + n)), so that it starts fast.
    """

    def __init__(self, model: StackedHourglass, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step towards the weights of `model`; buffers (batch norm statistics) are averaged too."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)
