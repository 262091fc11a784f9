"""Muon for the matrices of a network, AdamW for the rest.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024): the momentum of a matrix is replaced
by the nearest matrix whose singular values are all about one, so that no direction starves. Steps are as large as
AdamW's (J. Liu et al., "Muon is Scalable for LLM Training", 2025), so both share one learning rate. `torch.optim.Muon`
takes no convolutions. This module knows nothing of networks.
"""

from __future__ import annotations

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
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step(parameter, group)
                        parameter.grad = None  # AdamW passes over what has none
        super().step()

    def _step(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:  # under AdamW's names, which it looks for when a state is loaded
            state["step"], state["exp_avg"] = torch.tensor(0.0), torch.zeros_like(parameter)
        momentum = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        step = orthogonal(gradient.lerp(momentum, MOMENTUM).flatten(1))  # Nesterov's look ahead
        size = ADAMW_RMS * max(step.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(step.reshape(parameter.shape), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """U S V' -> about U V', (M, N) float32, by Newton-Schulz iteration; zero stays zero."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.mT).mT
    x = matrix / (matrix.norm() + 1e-7)
    a, b, c = NEWTON_SCHULZ
    # x -> P(x x') x each round. The products of P can be had from x x' alone, which is small where x is long.
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    gram, product = x @ x.mT, one
    for k in range(ROUNDS):
        polynomial = a * one + b * gram + c * (gram @ gram)
        product = polynomial @ product
        if k + 1 < ROUNDS:
            gram = polynomial @ gram @ polynomial
    found: Tensor = product @ x
    return found
