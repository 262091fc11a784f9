"""The stacked hourglass with top-down modulation, in one sitting.

Newell et al., "Stacked Hourglass Networks for Human Pose Estimation" (ECCV 2016), with the modulation of the published
`top_down_modulation` variant: at the bottom of every hourglass a bottleneck is decoded, by transposed convolutions that
see their own coordinates, into one small map per joint, which multiplies that joint's heatmap.

One description (`ModelSpec`) serves the published shape and the slim ones. The network knows nothing of files,
training or joints' names.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgrt.model.spec import Block, ModelSpec, Ramp

DEPTH = 4  # halvings inside an hourglass: 64 -> 4
LIGHT_STEM = 32  # channels at 128x128, where each costs four times what it costs at 64x64
BOTTOM = 4  # side of the smallest map, which the modulation is decoded from


class Conv(nn.Sequential):
    """Convolution, batch norm, ReLU; "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)


class PreactResidual(nn.Module):
    """Bottleneck of three BN-ReLU-convolutions (He et al. 2016b), as published."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, outputs, 1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return cast(Tensor, y + self.shortcut(x))


class PostactResidual(nn.Module):
    """The same bottleneck as conv-BN-ReLU: every batch norm folds into its convolution when the network is exported."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.body = nn.Sequential(
            Conv(inputs, half, 1),
            Conv(half, half, 3),
            nn.Conv2d(half, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


RESIDUAL: dict[Block, type[nn.Module]] = {"preact": PreactResidual, "postact": PostactResidual}


class Hourglass(nn.Module):
    """Down to the smallest map and up again, with a skip at every size. Returns the output and that smallest map."""

    def __init__(self, depth: int, channels: int, growth: int, block: Block) -> None:
        super().__init__()
        residual, inner = RESIDUAL[block], channels + growth
        self.up1 = residual(channels, channels)
        self.low1 = residual(channels, inner)
        self.low2 = Hourglass(depth - 1, inner, growth, block) if depth > 1 else residual(inner, inner)
        self.low3 = residual(inner, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low1(F.max_pool2d(x, 2))
        if isinstance(self.low2, Hourglass):
            low, bottom = self.low2(low)
        else:
            low = bottom = self.low2(low)
        return self.up1(x) + F.interpolate(self.low3(low), scale_factor=2.0, mode="nearest"), bottom


class CoordConvTranspose(nn.Module):
    """Transposed convolution (stride 1, no padding) that sees the row and the column of each cell, then batch norm."""

    coordinates: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, side: int, ramp: Ramp) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs + 2, outputs, kernel)
        self.bn = nn.BatchNorm2d(outputs)
        line = torch.linspace(-1, 1, side)
        if ramp == "integer":  # what torch 1.0 made of arange(side) * 2.0 / (side - 1) - 1 on whole numbers
            line = (torch.arange(side) * 2).div(side - 1, rounding_mode="floor").float() - 1
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("coordinates", torch.stack([rows, columns])[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        coordinates = self.coordinates.to(x.dtype).expand(x.shape[0], -1, -1, -1)
        return cast(Tensor, self.bn(self.conv(torch.cat([coordinates, x], dim=1))))


def to_4x4(bottom: Tensor) -> Tensor:
    """The bottom of an hourglass as the modulation takes it; inputs other than the published 256 need resampling."""
    if bottom.shape[-2:] == (BOTTOM, BOTTOM):
        return bottom
    return F.interpolate(bottom, size=(BOTTOM, BOTTOM), mode="bilinear")


class Modulation(nn.Module):
    """The bottom of an hourglass, squeezed through `latent` numbers and decoded to one 16x16 map per joint."""

    def __init__(self, channels: int, joints: int, latent: int, ramp: Ramp) -> None:
        super().__init__()
        self.encode = nn.Linear(channels * BOTTOM**2, latent)
        self.decode = nn.Linear(latent, channels * BOTTOM**2)
        self.up = nn.ModuleList(
            [
                CoordConvTranspose(channels, channels // 2, 3, BOTTOM, ramp),
                CoordConvTranspose(channels // 2, channels // 4, 5, BOTTOM + 2, ramp),
                CoordConvTranspose(channels // 4, joints, 7, BOTTOM + 6, ramp),
            ]
        )

    def forward(self, bottom: Tensor) -> Tensor:
        latent = self.encode(to_4x4(bottom).flatten(1))
        x = self.decode(latent).unflatten(1, (-1, BOTTOM, BOTTOM))
        x = self.up[1](self.up[0](x))
        return cast(Tensor, self.up[2](F.relu(x)))  # the decoder's only non-linearity


class Stack(nn.Module):
    """One hourglass with its head, its modulation and, unless it is the last, the merge into the next one's input."""

    def __init__(self, spec: ModelSpec, last: bool) -> None:
        super().__init__()
        width, joints = spec.channels, len(spec.joints)
        self.gate = spec.gate
        self.hourglass = Hourglass(DEPTH, width, spec.growth, spec.block)
        self.feature = nn.Sequential(RESIDUAL[spec.block](width, width), Conv(width, width, 1))
        self.heatmap = nn.Conv2d(width, joints, 1)
        self.modulation = (
            None if spec.gate == "none" else Modulation(width + DEPTH * spec.growth, joints, spec.latent, spec.ramp)
        )
        self.merge_feature = None if last else nn.Conv2d(width, width, 1)
        self.merge_heatmap = None if last else nn.Conv2d(joints, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, S, S) in; the next stack's features and this one's heatmaps (B, J, S, S) out."""
        y, bottom = self.hourglass(x)
        feature = self.feature(y)
        heatmaps = self.heatmap(feature)
        if self.modulation is not None:
            gate = F.interpolate(self.modulation(bottom), size=heatmaps.shape[-2:], mode="nearest")
            heatmaps = heatmaps * (gate if self.gate == "raw" else 1 + torch.tanh(gate))
        if self.merge_feature is not None and self.merge_heatmap is not None:
            x = x + self.merge_heatmap(heatmaps) + self.merge_feature(feature)
        return x, heatmaps


def make_stem(spec: ModelSpec) -> nn.Sequential:
    """From the image to features at a quarter of its size."""
    residual, width = RESIDUAL[spec.block], spec.channels
    if spec.stem == "light":
        return nn.Sequential(Conv(3, LIGHT_STEM, 3, 2), Conv(LIGHT_STEM, width, 3, 2))
    half = width // 2
    return nn.Sequential(
        Conv(3, width // 4, 7, 2),
        residual(width // 4, half),
        nn.MaxPool2d(2),
        residual(half, half),
        residual(half, width),
    )


class StackedHourglass(nn.Module):
    """Image (B, 3, S, S) float RGB in 0..1, any memory format -> heatmaps (B, stacks, joints, S/4, S/4), raw values.

    S is `spec.input`; while training it may be any multiple of 64. Usable in half precision as it is (`.half()`).
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = make_stem(spec)
        self.stacks = nn.ModuleList([Stack(spec, last=i == spec.stacks - 1) for i in range(spec.stacks)])

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        outputs = []
        for stack in self.stacks:
            x, heatmaps = stack(x)
            outputs.append(heatmaps)
        return torch.stack(outputs, dim=1)
