"""A network with everything folded that is linear in eval mode: the same function, fewer passes over memory.

Batch norms go into the convolutions in front of them, and the decoder of the modulation, which is affine up to its only
ReLU, becomes one matrix. Only for inference: the folded copy must not be trained. Pre-activation residuals keep their
first batch norm, which has no convolution in front of it.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hgrt.model.hourglass import (
    BOTTOM,
    Conv,
    CoordConvTranspose,
    Modulation,
    PostactResidual,
    PreactResidual,
    Stack,
    StackedHourglass,
    to_4x4,
)


def folded(model: StackedHourglass) -> StackedHourglass:
    """A copy of `model`, in eval mode, without the batch norms that fold."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, Conv):
            _fold(module, "conv", "bn")
        elif isinstance(module, CoordConvTranspose):
            _fold(module, "conv", "bn", transpose=True)
        elif isinstance(module, PostactResidual):
            _fold(module.body, "2", "3")
            if isinstance(module.shortcut, nn.Sequential):
                _fold(module.shortcut, "0", "1")
        elif isinstance(module, PreactResidual):
            _fold(module, "conv1", "bn2")
            _fold(module, "conv2", "bn3")
    for stack in model.stacks:
        if isinstance(stack, Stack) and isinstance(stack.modulation, Modulation):
            stack.add_module("modulation", FoldedModulation(stack.modulation))
    return model


class FoldedModulation(nn.Module):
    """`Modulation` in eval mode: from the bottleneck to the ReLU one matrix, the coordinates a constant."""

    offset: Tensor

    @torch.no_grad()
    def __init__(self, original: Modulation) -> None:
        super().__init__()
        exact = copy.deepcopy(original).double()
        latent = exact.encode.out_features
        # An affine map is known by what it does to zero and to the unit vectors.
        probes = torch.cat([torch.zeros(1, latent), torch.eye(latent)]).double()
        reached = exact.up[1](exact.up[0](exact.decode(probes).reshape(latent + 1, -1, BOTTOM, BOTTOM)))
        self.shape = tuple(reached.shape[1:])
        flat = reached.flatten(1)
        self.encode = original.encode
        self.expand = nn.Linear(latent, flat.shape[1])
        self.expand.weight.copy_((flat[1:] - flat[0]).T)
        self.expand.bias.copy_(flat[0])
        last = cast(CoordConvTranspose, original.up[2])
        seen = last.coordinates.shape[1]
        self.up = nn.ConvTranspose2d(self.shape[0], last.conv.out_channels, last.conv.kernel_size[0], bias=False)
        self.up.weight.copy_(last.conv.weight[seen:])
        self.register_buffer(
            "offset", F.conv_transpose2d(last.coordinates, last.conv.weight[:seen], last.conv.bias), persistent=False
        )

    def forward(self, bottom: Tensor) -> Tensor:
        x = F.relu(self.expand(self.encode(to_4x4(bottom).flatten(1))))
        return cast(Tensor, self.up(x.reshape(-1, *self.shape)) + self.offset)


def _fold(parent: nn.Module, conv: str, norm: str, transpose: bool = False) -> None:
    pair = cast(nn.Conv2d, parent.get_submodule(conv)), cast(nn.BatchNorm2d, parent.get_submodule(norm))
    setattr(parent, conv, fuse_conv_bn_eval(*pair, transpose))
    setattr(parent, norm, nn.Identity())
