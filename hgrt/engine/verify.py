"""Is the fast answer still the answer: does half precision hold the network's values, and do two sets of joints agree?

Looks at networks and keypoints, and brings people of its own, those of the bundled clip. It knows nothing of engines:
they are judged like anything else that finds joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hgrt.data.film import FilmPeople
from hgrt.pose.geometry import Box, Image
from hgrt.pose.heatmaps import Keypoints
from hgrt.runtime.base import asset

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hgrt.model.hourglass import StackedHourglass

HALF_MAX = 65504.0  # the largest number in half precision
HALF_ROOM = 0.5  # share of it that may be used on pictures that were tried: others reach further
NEAR = 0.25  # cells between two answers that count as the same
FAR = 1.0  # cells beyond which another peak was taken
LEAST_NEAR = 0.99  # share of joints that must be near: two equally high peaks may change places by rounding
SCORE = 0.01  # no score may differ by more, not even where peaks changed places
AT_ONCE = 4  # crops in one call: more would only take memory


@dataclass(frozen=True, slots=True)
class Overflow:
    """How a network's values fit into half precision.

    `layers` are the largest absolute values that leave each layer, by the layer's name, in the order in which they run.
    Once one is found that half precision cannot hold, nothing after it counts.
    """

    layers: tuple[tuple[str, float], ...]

    @property
    def layer(self) -> str:
        """The layer with the largest value."""
        return max(self.layers, key=lambda layer: layer[1])[0]

    @property
    def largest(self) -> float:
        """The largest value of all layers."""
        return max(value for _, value in self.layers)

    @property
    def share(self) -> float:
        """The largest value as a share of the largest number that half precision holds."""
        return self.largest / HALF_MAX

    @property
    def ok(self) -> bool:
        """Everything stays finite, with room for other pictures."""
        return self.share <= HALF_ROOM

    def __str__(self) -> str:
        reach = f"values reach {self.largest:.4g}, in layer {self.layer}"
        if self.share > 1:
            return f"{reach}, and half precision ends at {HALF_MAX:.0f}"
        return f"{reach}: {self.share:.2%} of what half precision holds"


@dataclass(frozen=True, slots=True)
class Parity:
    """How well two sets of keypoints agree, in heatmap cells, over `joints` joints that either of them sees.

    worst, p999     largest distance, and the distance that one in a thousand exceeds
    near            share of joints within `NEAR` cells
    flipped         joints more than `FAR` cells apart: the largest cell is that of another peak
    score           largest difference between two scores
    """

    joints: int
    worst: float
    p999: float
    near: float
    flipped: int
    score: float

    @property
    def ok(self) -> bool:
        """The same answer, but for ties: rounding may choose between peaks of equal height, and does nothing else."""
        return self.near >= LEAST_NEAR and self.score <= SCORE

    def __str__(self) -> str:
        return (
            f"{self.joints} joints, {self.near:.2%} within {NEAR:g} cells, worst {self.worst:.3f}, "
            f"99.9 % below {self.p999:.3f}, {self.flipped} on another peak, scores within {self.score:.4f}"
        )


def overflow(model: StackedHourglass, crops: NDArray[np.uint8]) -> Overflow:
    """How large the values get in every layer of the folded network on `crops` (N, S, S, 3) uint8 BGR.

    Half precision is acted: weights and the outputs of all layers are rounded to it, sums are in single, as on a tensor
    core. A CPU that computes in half itself may take a hundred times as long. ValueError for another shape or dtype, or
    no crops.
    """
    import torch

    from hgrt.model.complete import Body

    size = model.spec.input
    if crops.dtype != np.uint8 or crops.shape[1:] != (size, size, 3) or not len(crops):
        raise ValueError(f"crops are (N, {size}, {size}, 3) uint8, not {crops.shape} {crops.dtype}")
    largest: dict[str, float] = {}

    def rounded(name: str, output: Tensor) -> Tensor:
        low, high = (float(value) for value in torch.aminmax(output))
        reach = max(-low, high) if low <= high else np.inf  # not a number is never less
        if max(largest.values(), default=0.0) <= HALF_MAX:  # later layers would only tell what the infinity did
            largest[name] = max(largest.get(name, 0.0), reach)
        return output.half().float()

    acted = Body(model, "fp16")
    acted.net.float()
    acted.dtype = torch.float32
    _pass_through(acted.net, rounded)
    with torch.inference_mode():
        for start in range(0, len(crops), AT_ONCE):
            pixels = np.ascontiguousarray(crops[start : start + AT_ONCE])
            acted(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return Overflow(tuple(largest.items()))


def parity(expected: Keypoints, found: Keypoints) -> Parity:
    """Compare the keypoints of the same crops, both in cells.

    A joint that neither sees (score 0) has no place and is left out; what is not a number is infinitely far away.
    ValueError where the shapes differ.
    """
    if expected.xy_hm.shape != found.xy_hm.shape:
        raise ValueError(f"keypoints of {expected.xy_hm.shape} and of {found.xy_hm.shape} cannot be compared")
    seen = ~((expected.score <= 0) & (found.score <= 0))
    apart = np.linalg.norm(expected.xy_hm - found.xy_hm, axis=-1)[seen]
    scores = np.abs(expected.score - found.score)[seen]
    if not apart.size:
        return Parity(0, 0.0, 0.0, 1.0, 0, 0.0)
    apart, scores = (np.where(np.isfinite(each), each, np.inf) for each in (apart, scores))
    return Parity(
        joints=int(apart.size),
        worst=float(apart.max()),
        p999=float(np.quantile(apart, 0.999, method="lower")),
        near=float((apart <= NEAR).mean()),
        flipped=int((apart > FAR).sum()),
        score=float(scores.max()),
    )


def bundled_people(count: int) -> list[tuple[Image, Box]]:
    """`count` frames (H, W, 3) uint8 BGR spread over the bundled clip, each with the box of the person in it."""
    film = FilmPeople(asset("clip.mp4"), asset("clip.json"))
    wanted = np.unique(np.linspace(0, len(film) - 1, count).round().astype(int))
    return [(sample.image, sample.box) for sample in map(film.get, wanted.tolist())]


def _pass_through(net: nn.Module, change: Callable[[str, Tensor], Tensor]) -> None:
    """Let `change` have the name and the output of every layer and every group of layers of `net`, and replace it."""
    for name, module in net.named_modules():

        def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...], name: str = name) -> object:
            if isinstance(output, tuple):
                return tuple(change(name, one) for one in output)
            return change(name, output)

        if name:
            module.register_forward_hook(hook)
