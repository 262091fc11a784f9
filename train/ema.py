"""An exponential moving average of a network's weights: steadier than any one step, and what is evaluated and kept."""

from __future__ import annotations

import copy

import torch

from hgrt.model.hourglass import StackedHourglass


class Ema:
    """Holds a copy of a network, `model`, that follows it.

    After n updates the effective decay is min(decay, (1 + n) / (10 + n)), so that it starts fast; 0 copies.
    """

    def __init__(self, model: StackedHourglass, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: StackedHourglass) -> None:
        """Take one step towards the weights of `model`; buffers (batch norm statistics) are averaged too."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        moving = [(mine, theirs) for mine, theirs in pairs if mine.dtype.is_floating_point]
        # One call for all tensors: hundreds of small ones would keep a GPU waiting.
        torch._foreach_lerp_([mine for mine, _ in moving], [theirs for _, theirs in moving], 1 - decay)
        for mine, theirs in pairs:
            if not mine.dtype.is_floating_point:
                mine.copy_(theirs)
