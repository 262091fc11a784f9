"""From pictures and boxes to poses: crop, network, decode, and back into the picture. The core of the public API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hgrt.closing import Closing
from hgrt.pose.confidence import chance
from hgrt.pose.geometry import Box, Image, apply, crop, heatmap_to_image, inside
from hgrt.pose.heatmaps import Decode, Keypoints, decode
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
        precision: Precision | None = None,
        threads: int = 0,
        decode: Decode = "dark",
        trust: bool = False,
    ) -> None:
        """Open `weights` (None: the bundled ones) on `runtime`; all of it, and HgrtError, as `open_backend` says."""
        self.backend: Backend = open_backend(runtime, weights, precision, threads, trust)
        self.decode: Decode = decode

    @classmethod
    def over(cls, backend: Backend, decode: Decode = "dark") -> Self:
        """One on a backend that is open already; closing it closes that."""
        estimator = cls.__new__(cls)
        estimator.backend, estimator.decode = backend, decode
        return estimator

    def __call__(self, image: Image, box: Box | None = None) -> Pose:
        """The pose in `box` (None: the whole picture) of a (H, W, 3) uint8 BGR image."""
        check_image(image)
        whole = Box.whole(image.shape[1], image.shape[0]).scaled(1 / self.backend.info.spec.crop)
        return self.poses(image, [box or whole])[0]

    def poses(self, image: Image, boxes: Sequence[Box], mark: Mark = lambda stage: None) -> list[Pose]:
        """One pose for each box, in one call of the network. ValueError for what is not a uint8 colour image."""
        check_image(image)
        if not boxes:
            return []
        info, spec = self.backend.info, self.backend.info.spec
        squares = [box.scaled(spec.crop) for box in boxes]
        if info.crops_frames and self.decode == "dark":
            placed = self.backend.frame_keypoints(image, np.stack([square.to_image(spec.input) for square in squares]))
            mark("network")
            xy, score, spread = list(placed.xy_img), placed.score, placed.spread
        else:
            crops = np.stack([crop(image, square, spec.input).pixels for square in squares])
            mark("crop")
            found = self._decoded(crops, mark)
            affines = [heatmap_to_image(square, spec.heatmap, spec.input) for square in squares]
            xy = [apply(affine, one) for affine, one in zip(affines, found.xy_hm, strict=True)]
            score, spread = found.score, found.spread
        # Nobody can see what lies beyond the edge, and a box drawn around it would grow from frame to frame.
        score = np.stack([np.where(inside(one, image), s, 0).astype(s.dtype) for one, s in zip(xy, score, strict=True)])
        spread = spread * [[square.side / spec.heatmap] for square in squares]
        knots = spec.calibration
        poses = [
            Pose(xy[i], score[i], spread[i], box, chance(score[i], knots) if knots else None)
            for i, box in enumerate(boxes)
        ]
        mark("decode")
        return poses

    def _decoded(self, crops: NDArray[np.uint8], mark: Mark) -> Keypoints:
        """The joints in cells. Where the device decodes, that is part of the network's time."""
        if self.backend.info.decodes and self.decode == "dark":
            found = self.backend.keypoints(crops)
            mark("network")
            return found
        heatmaps = self.backend.infer(crops)
        mark("network")
        return decode(heatmaps, self.decode)

    def close(self) -> None:
        """Free the runtime."""
        self.backend.close()


def check_image(image: Image) -> None:
    """ValueError unless this is a (H, W, 3) uint8 picture with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image is (H, W, 3) uint8 BGR, not {image.shape} {image.dtype}")
