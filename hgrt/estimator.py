"""From pictures and boxes to poses: crop, network, decode, and back into the picture. The core of the public API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hgrt.closing import Closing
from hgrt.pose.geometry import Box, Image, apply, crop, heatmap_to_image
from hgrt.pose.heatmaps import Decode, decode
from hgrt.pose.pose import Pose
from hgrt.runtime.base import Backend, Precision, open_backend

Mark = Callable[[str], None]
"""Called with the name of each stage as it ends, so that a caller with a clock can time them."""


class PoseEstimator(Closing):
    """Finds the joints of people whose boxes are known.

    >>> with PoseEstimator() as estimator:                       # bundled weights, best runtime for them
    ...     pose = estimator(cv2.imread("someone.jpg"))          # the whole picture as the box

    To find the person first, and to follow them through a video, see `hgrt.live.person.Tracker`.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        runtime: str = "auto",
        precision: Precision = "fp32",
        threads: int = 0,
        decode: Decode = "dark",
    ) -> None:
        """Open `weights` (None: the bundled ones) on `runtime`; HgrtError as `open_backend` says."""
        self.backend: Backend = open_backend(runtime, weights, precision, threads)
        self.decode: Decode = decode

    def __call__(self, image: Image, box: Box | None = None) -> Pose:
        """The pose in `box` (None: the whole picture) of a (H, W, 3) uint8 BGR image."""
        check_image(image)
        return self.poses(image, [box or Box.whole(image.shape[1], image.shape[0])])[0]

    def poses(self, image: Image, boxes: Sequence[Box], mark: Mark = lambda stage: None) -> list[Pose]:
        """One pose for each box, in one call of the network. ValueError for what is not a uint8 colour image."""
        check_image(image)
        if not boxes:
            return []
        spec = self.backend.info.spec
        crops = [crop(image, box, spec.input) for box in boxes]
        mark("crop")
        heatmaps = self.backend.infer(np.stack([one.pixels for one in crops]))
        mark("network")
        found = decode(heatmaps, self.decode)
        poses = []
        for i, box in enumerate(boxes):
            xy = apply(heatmap_to_image(box, spec.heatmap, spec.input), found.xy_hm[i])
            poses.append(Pose(xy, found.score[i], found.spread[i] * box.side / spec.heatmap, box))
        mark("decode")
        return poses

    def close(self) -> None:
        """Free the runtime."""
        self.backend.close()


def check_image(image: Image) -> None:
    """ValueError unless this is a (H, W, 3) uint8 picture with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image is (H, W, 3) uint8 BGR, not {image.shape} {image.dtype}")
