"""A network with its batch norms folded into the convolutions in front of them: the same function, fewer passes.

Only for inference: the folded copy must not be trained. Pre-activation residuals keep their first batch norm, which has
no convolution in front of it.
"""

from __future__ import annotations

import copy
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hgrt.model.hourglass import Conv, CoordConvTranspose, PostactResidual, PreactResidual, StackedHourglass


def folded(model: StackedHourglass) -> StackedHourglass:
    """A copy of `model`, in eval mode, without the batch norms that fold."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, Conv):
            _fold(module, "conv", "bn")
        elif isinstance(module, CoordConvTranspose):
            module.conv = fuse_conv_bn_eval(module.conv, cast(nn.BatchNorm2d, module.bn), transpose=True)
            module.bn = nn.Identity()
        elif isinstance(module, PostactResidual):
            _fold(module.body, "2", "3")
            if isinstance(module.shortcut, nn.Sequential):
                _fold(module.shortcut, "0", "1")
        elif isinstance(module, PreactResidual):
            _fold(module, "conv1", "bn2")
            _fold(module, "conv2", "bn3")
    return model


def _fold(parent: nn.Module, conv: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(cast(nn.Conv2d, parent.get_submodule(conv)), cast(nn.BatchNorm2d, parent.get_submodule(norm)))
    setattr(parent, conv, fused)
    setattr(parent, norm, nn.Identity())
