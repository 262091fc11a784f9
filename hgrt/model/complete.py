"""The network and all around it, as torch modules for a GPU: pixels in, keypoints out.

They run in torch, and export to ONNX for TensorRT, whose types are those of the ONNX file: the network may be in half
precision; cutting and decoding are in single, always. Nothing here multiplies matrices, since TensorRT may do that in
TF32, and pixels become floats before anything moves them, since it does not transpose bytes. This module knows nothing
of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hgrt.model.fold import folded
from hgrt.model.hourglass import StackedHourglass
from hgrt.pose.geometry import heatmap_to_crop
from hgrt.pose.heatmaps import SMOOTHINGS

if TYPE_CHECKING:
    from hgrt.runtime.base import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NO_SPREAD = 0.0
"""Stands in the graph for the infinite spread of a joint without a peak: infinities and engines do not mix."""


class Body(nn.Module):
    """The network as a camera feeds it: (N, 3, S, S) BGR pixels 0..255 in, the last stack's heatmaps in float32 out.

    Everything folds in single precision before anything is rounded to half. Pixels are divided by 256, which loses
    nothing in half precision, and the rest of the 1/255 goes into the first convolution, whose weights would lose
    their small digits if they took all of it.
    """

    def __init__(self, model: StackedHourglass, precision: Precision) -> None:
        super().__init__()
        net = folded(model).float()
        first = cast(nn.Conv2d, net.stem.get_submodule("0.conv"))
        first.weight.data = first.weight.data.flip(1) * (256 / 255)  # RGB weights become BGR weights
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, Scale(child))
        self.spec, self.dtype = model.spec, DTYPES[precision]
        self.net = net.to(self.dtype).eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        return cast(Tensor, self.net(pixels.to(self.dtype) / 256)[:, -1].float())


class Scale(nn.Module):
    """A batch norm in eval mode that no convolution takes up: one factor and one summand for each channel.

    As a batch norm, TensorRT would compute it in half precision from half-precision statistics.
    """

    factor: Tensor
    summand: Tensor

    @torch.no_grad()
    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
        factor = norm.weight.double() * torch.rsqrt(variance + norm.eps)
        self.register_buffer("factor", factor.float()[:, None, None])
        self.register_buffer("summand", (norm.bias.double() - mean * factor).float()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.summand


class Decode(nn.Module):
    """Heatmaps (N, J, S, S) float32 -> keypoints (N, J, 4): x, y in cells, score, spread in cells.

    The method "dark" of `hgrt.pose.heatmaps.decode` in single precision, `NO_SPREAD` where that says inf. Of equal
    cells the first is taken where the runtime's ArgMax does so; ONNX demands it, TensorRT promises nothing.
    """

    right: Tensor
    down: Tensor
    differences: Tensor

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        near = torch.arange(-1.0, 2.0)
        down, right = (each.flatten() for each in torch.meshgrid(near, near, indexing="ij"))
        self.register_buffer("right", right)
        self.register_buffer("down", down)
        self.register_buffer("differences", _differences())

    def forward(self, heatmaps: Tensor) -> Tensor:
        return torch.cat(self.parts(heatmaps), dim=2)

    def parts(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four numbers one by one, each (N, J, 1)."""
        smooth = _smoothed(heatmaps).flatten(2)
        best = smooth.argmax(2, keepdim=True)
        place = best.float()  # small enough to be exact
        row = torch.floor((place + 0.5) / self.cells)  # the half keeps a rounded quotient out of the row above
        column = place - row * self.cells
        rows, columns = self._mirrored(row + self.down), self._mirrored(column + self.right)
        around = (rows * self.cells + columns).long()
        score = heatmaps.flatten(2).gather(2, around).amax(2, keepdim=True).clamp(0, 1)
        dx, dy, spread = self._newton(smooth.gather(2, around))
        found = (score > 0).float()
        return column + dx * found, row + dy * found, score, spread * found

    def _mirrored(self, index: Tensor) -> Tensor:
        index = index.abs()
        return torch.minimum(index, 2 * (self.cells - 1) - index)

    def _newton(self, around: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step to the peak in x and y, and its width, each (N, J, 1), from the cells around it, (N, J, 9)."""
        floor = (around.amax(2, keepdim=True) * 1e-2).clamp(min=1e-9)
        logs = torch.maximum(around, floor).log()
        gx, gy, xx, yy, xy = ((logs * each).sum(2, keepdim=True) for each in self.differences)
        determinant = xx * yy - xy * xy
        peaked = (determinant > 1e-9) & (xx < 0)  # then yy is negative, too
        safe = torch.where(peaked, determinant, 1.0)
        once = peaked.float()
        dx = ((xy * gy - yy * gx) / safe).clamp(-0.75, 0.75) * once
        dy = ((xy * gx - xx * gy) / safe).clamp(-0.75, 0.75) * once
        return dx, dy, safe.sqrt().rsqrt() * once + NO_SPREAD


class Cut(nn.Module):
    """Crops of one frame: (1, H, W, 3) uint8 BGR and affines (N, 2, 3) from crop to image -> (N, 3, S, S) float32.

    Bilinear, black outside, whole grey levels, as `cv2.warpAffine` does it. All crops are one GridSample on one tall
    grid, so the frame is not copied for each person.

    Where a crop shrinks the picture by 2 or more, `geometry.warp` takes means first and this does not: it skips pixels.
    Of 576 joints of real people that shrink by 2 to 4, half moved by less than 0.14 cells for that, 11 % by more than
    one, and PCKh@0.5 fell from 67.1 to 66.0; moving the box by half a crop pixel changes more (0.24 cells, 16 %).
    Give frames halved beforehand where all people in them are that large.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, frame: Tensor, affines: Tensor) -> Tensor:
        height, width = frame.shape[1], frame.shape[2]
        line = torch.arange(self.size, dtype=torch.float32, device=affines.device)
        a = affines[..., None, None]
        at = a[:, :, 0] * line + a[:, :, 1] * line[:, None] + a[:, :, 2]  # (N, 2, S, S) in image pixels
        x, y = (2 * at[:, 0] + 1) / width - 1, (2 * at[:, 1] + 1) / height - 1
        grid = torch.stack([x, y], dim=-1).reshape(1, -1, self.size, 2)
        image = frame.float().permute(0, 3, 1, 2)
        tall = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return tall.reshape(3, -1, self.size, self.size).transpose(0, 1).round()


class FromCrops(nn.Module):
    """Crops (N, S, S, 3) uint8 BGR -> heatmaps and keypoints, x and y in heatmap cells."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self.decode = Decode(body.spec.heatmap)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps = self.body(crops.to(self.body.dtype).permute(0, 3, 1, 2))
        return heatmaps, self.decode(heatmaps)


class FromFrame(nn.Module):
    """A frame (1, H, W, 3) uint8 BGR and affines (N, 2, 3) -> heatmaps and keypoints, x and y in image pixels.

    The spread stays in heatmap cells.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.cut = Cut(body.spec.input)
        self.body = body
        self.decode = Decode(body.spec.heatmap)

    def forward(self, frame: Tensor, affines: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps = self.body(self.cut(frame, affines))
        x, y, score, spread = self.decode.parts(heatmaps)
        spec = self.body.spec
        scale, _, shift = heatmap_to_crop(spec.heatmap, spec.input)[0].tolist()
        a = affines[:, None]  # (N, 1, 2, 3)
        xy = (x * scale + shift) * a[..., 0] + (y * scale + shift) * a[..., 1] + a[..., 2]
        return heatmaps, torch.cat([xy, score, spread], dim=2)


def _smoothed(maps: Tensor) -> Tensor:
    """As `hgrt.pose.heatmaps.smoothed`: sums in the same order, without a convolution; see the module."""
    maps = F.pad(maps, (sum(SMOOTHINGS),) * 4)
    for reach in SMOOTHINGS:
        inner = slice(reach, -reach)
        maps = (maps[:, :, 2 * reach :] + maps[:, :, : -2 * reach]) * 0.25 + maps[:, :, inner] * 0.5
        maps = (maps[..., 2 * reach :] + maps[..., : -2 * reach]) * 0.25 + maps[..., inner] * 0.5
    return maps


def _differences() -> Tensor:
    """Weights (5, 9) of the central differences d/dx, d/dy, d2/dx2, d2/dy2, d2/dxdy over 3x3 cells."""
    return torch.tensor(
        [
            [0, 0, 0, -0.5, 0, 0.5, 0, 0, 0],
            [0, -0.5, 0, 0, 0, 0, 0, 0.5, 0],
            [0, 0, 0, 1, -2, 1, 0, 0, 0],
            [0, 1, 0, 0, -2, 0, 0, 1, 0],
            [0.25, 0, -0.25, 0, 0, 0, -0.25, 0, 0.25],
        ]
    )
