"""A larger network that a smaller one learns to answer like (Hinton, Vinyals and Dean 2015, here on heatmaps)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hgrt.model.checkpoint import load_checkpoint


class Teacher:
    """A trained network that only answers. HgrtError where `path` holds none."""

    def __init__(self, path: str | Path, device: torch.device) -> None:
        model = load_checkpoint(path).requires_grad_(False)
        self._model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._size = model.spec.input

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Heatmaps (B, J, S/4, S/4) for images (B, 3, S, S), looked at in the size that the teacher was trained for."""
        cells = image.shape[-1] // 4
        if image.shape[-1] != self._size:
            image = F.interpolate(image, size=self._size, mode="bilinear", antialias=True)
        maps: Tensor = self._model(image)[:, -1].float().clamp(0, 1)
        return maps if maps.shape[-1] == cells else F.interpolate(maps, size=cells, mode="bilinear", antialias=True)
