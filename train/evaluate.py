"""PCKh of a network on labelled people: their own boxes, one pass, keypoints back in image pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hgrt.model.hourglass import StackedHourglass
from hgrt.pose.geometry import apply, heatmap_to_image, warp
from hgrt.pose.heatmaps import decode
from hgrt.pose.pckh import Result, pckh
from hgrt.train.data.sample import People


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """(B, S, S, 3) uint8 BGR -> (B, 3, S, S) float RGB in 0..1, channels last in memory."""
    rgb = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).to(device)
    return (rgb.float() / 255).permute(0, 3, 1, 2)


@torch.inference_mode()
def predict(
    model: StackedHourglass, people: People, size: int, device: torch.device, batch: int = 16
) -> NDArray[np.float64]:
    """Keypoints (N, 16, 2) in image pixels of every person of a set."""
    found = []
    for start in range(0, len(people), batch):
        samples = [people.get(i) for i in range(start, min(start + batch, len(people)))]
        crops = np.stack([warp(sample.image, sample.box.to_crop(size), size) for sample in samples])
        maps = model(to_tensor(crops, device))[:, -1].float().cpu().numpy()
        for sample, xy_hm in zip(samples, decode(maps).xy_hm, strict=True):
            found.append(apply(heatmap_to_image(sample.box, size // 4, size), xy_hm))
    return np.stack(found)


def evaluate(
    model: StackedHourglass,
    people: People,
    size: int,
    device: torch.device,
    protocol: str = "standard",
    bound: float = 0.5,
) -> Result:
    """PCKh of `model` (in eval mode) on a set, over the joints that it says count."""
    predicted = predict(model, people, size, device)
    samples = [people.get(i) for i in range(len(people))]
    return pckh(
        predicted,
        np.stack([sample.joints for sample in samples]),
        np.array([sample.normalize for sample in samples]),
        np.stack([sample.evaluate for sample in samples]),
        protocol,
        bound,
    )
