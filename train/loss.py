"""What the network is trained to do: heatmaps close to their targets, wherever the truth is known."""

from __future__ import annotations

import torch
from torch import Tensor

from hgrt.pose.skeleton import FLIP


def heatmap_loss(
    heatmaps: Tensor,
    targets: Tensor,
    known: Tensor,
    peak_weight: float = 0.0,
    total: Tensor | None = None,
    side_weight: float = 0.0,
) -> Tensor:
    """Squared error averaged over samples, stacks, known joints and pixels; a scalar.

    heatmaps (B, stacks, J, S, S), targets (B, J, S, S), known (B, J) the weight of each joint, 0 where it is not
    supervised. `peak_weight` w weighs each pixel 1 + w x target, because all but a few pixels of a map are background;
    0 with all joints known is the published loss. `side_weight` v, a share of w, weighs it at least 1 + v w x the
    target of the other side's joint. The squared error over two places where a joint is with the chances p and 1 - p
    is least with heights of p only if a place weighs the same whether the joint is there or not (v = 1); where a joint
    that is not there weighs 1, they are (1 + w) p / (1 + w p), with w = 9 0.91 at even chances and 0.81 at three in
    ten, and the likelier of two sides hardly stands out.
    `total` takes the place of the sum of `known` where these samples are only part of a batch.
    """
    error = (heatmaps.float() - targets[:, None]).square()
    if peak_weight:
        places = torch.maximum(targets, side_weight * targets[:, FLIP]) if side_weight else targets
        error = error * (1 + peak_weight * places[:, None])
    per_joint = error.mean(dim=(-2, -1)) * known[:, None]
    count = known.sum() if total is None else total
    return per_joint.sum() / (count * heatmaps.shape[1]).clamp(min=1)


def likeness(
    heatmaps: Tensor, answers: Tensor, peak_weight: float, examples: Tensor, side_weight: float = 0.0
) -> Tensor:
    """The same loss against the `answers` (B, J, S, S) of another network or stack, which are known of every joint.

    `examples`: how many the whole batch has, of which these are all or part.
    """
    known = torch.ones(answers.shape[:2], device=answers.device)
    return heatmap_loss(heatmaps, answers, known, peak_weight, examples * answers.shape[1], side_weight)
