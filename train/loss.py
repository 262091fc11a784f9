"""What the network is trained to do: heatmaps close to their targets, wherever the truth is known."""

from __future__ import annotations

import torch
from torch import Tensor


def heatmap_loss(
    heatmaps: Tensor, targets: Tensor, known: Tensor, peak_weight: float = 0.0, total: Tensor | None = None
) -> Tensor:
    """Squared error averaged over samples, stacks, known joints and pixels; a scalar.

    heatmaps (B, stacks, J, S, S), targets (B, J, S, S), known (B, J) the weight of each joint, 0 where it is not
    supervised. `peak_weight` w weighs each pixel 1 + w x target, because all but a few pixels of a map are background;
    0 with all joints known is the published loss. `total` takes the place of the sum of `known` where these samples
    are only part of a batch.
    """
    error = (heatmaps.float() - targets[:, None]).square()
    if peak_weight:
        error = error * (1 + peak_weight * targets[:, None])
    per_joint = error.mean(dim=(-2, -1)) * known[:, None]
    count = known.sum() if total is None else total
    return per_joint.sum() / (count * heatmaps.shape[1]).clamp(min=1)


def likeness(heatmaps: Tensor, answers: Tensor, peak_weight: float, examples: Tensor) -> Tensor:
    """The same loss against the `answers` (B, J, S, S) of another network or stack, which are known of every joint.

    `examples`: how many the whole batch has, of which these are all or part.
    """
    known = torch.ones(answers.shape[:2], device=answers.device)
    return heatmap_loss(heatmaps, answers, known, peak_weight, examples * answers.shape[1])
