"""Muon for the matrices of a network, AdamW for the rest.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024): the momentum of a matrix is replaced
by the nearest matrix whose singular values are all about one, so that no direction starves. Steps are as large as
AdamW's (J. Liu et al., "Muon is Scalable for LLM Training", 2025), so both share one learning rate. `torch.optim.Muon`
takes no convolutions. This module knows nothing of networks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5: five rounds bring 0.01..1 into 0.7..1.2 (Jordan)
ROUNDS = 5
MOMENTUM = 0.95
ADAMW_RMS = 0.2  # usual root mean square of AdamW's steps, in learning rates (Liu, section 2.2)
NARROW = 32  # first layers and heads, with so few inputs or outputs, are AdamW's (Jordan)


class Muon(torch.optim.AdamW):
    """Matrices are stepped orthogonally, everything else as AdamW does. A convolution is the matrix (outputs, inputs x
    kernel)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        """`weight_decay` is decoupled, and of matrices only: not of biases and batch norm."""
        every = list(parameters)
        hidden = [p for p in every if p.ndim > 1 and min(p.shape[:2]) >= NARROW]
        edges = [p for p in every if p.ndim > 1 and min(p.shape[:2]) < NARROW]
        groups = [
            {"params": hidden, "weight_decay": weight_decay, "orthogonal": True},
            {"params": edges, "weight_decay": weight_decay, "orthogonal": False},
            {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0, "orthogonal": False},
        ]
        super().__init__([group for group in groups if group["params"]], lr=lr)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nothing here evaluates a loss
        """One step along the gradients, which are gone afterwards where the step was orthogonal."""
        for group in self.param_groups:
            if group["orthogonal"]:
                self._step([one for one in group["params"] if one.grad is not None], group)
        super().step()

    def _step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for one in parameters:
            if not self.state[one]:  # under AdamW's names, which it looks for when a state is loaded
                self.state[one].update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(one))
        # Matrices of one shape together: one by one, hundreds of them would keep a GPU waiting.
        for alike in by_shape(parameters).values():
            gradients = stacked([one.grad for one in alike if one.grad is not None])
            momenta = [self.state[one]["exp_avg"] for one in alike]
            averages = stacked(momenta).lerp_(gradients, 1 - MOMENTUM)
            torch._foreach_copy_(momenta, unstacked(averages, alike[0].shape))
            steps = orthogonal(gradients.lerp_(averages, MOMENTUM))  # Nesterov's look ahead
            size = ADAMW_RMS * max(steps.shape[1:]) ** 0.5
            torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(alike, unstacked(steps, alike[0].shape), alpha=-group["lr"] * size)
        for one in parameters:
            one.grad = None  # AdamW passes over what has none


def by_shape(parameters: Iterable[Tensor]) -> dict[torch.Size, list[Tensor]]:
    """The parameters of each shape, in the order in which they came."""
    found = defaultdict[torch.Size, list[Tensor]](list)
    for one in parameters:
        found[one.shape].append(one)
    return found


def stacked(weights: list[Tensor]) -> Tensor:
    """W weights of one shape (M, I, ...) as (W, M, N), N kernel x I: as they lie in memory if that is channels-last."""
    return torch.stack([one.movedim(1, -1) for one in weights]).flatten(2)


def unstacked(matrices: Tensor, shape: torch.Size) -> list[Tensor]:
    """The way back from `stacked`."""
    outputs, inputs, *kernel = shape
    return [one.reshape(outputs, *kernel, inputs).movedim(-1, 1) for one in matrices]


def orthogonal(matrices: Tensor) -> Tensor:
    """U S V' -> about U V', each of (..., M, N) float, by Newton-Schulz iteration; zero stays zero."""
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    # x -> P(x x') x each round. The products of P can be had from x x' alone, which is small where x is long.
    one = torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    gram, product = x @ x.mT, one
    for k in range(ROUNDS):
        polynomial = a * one + b * gram + c * (gram @ gram)
        product = polynomial @ product
        if k + 1 < ROUNDS:
            gram = polynomial @ gram @ polynomial
    found: Tensor = product @ x
    return found
