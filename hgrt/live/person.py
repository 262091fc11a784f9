"""Where is the person? No second network: the pose network scores squares of the frame, then the pose is followed.

A search looks at the whole frame and at squares along it, takes the one with the surest joints, and looks again closer.
Once somebody is found the next frame's box is drawn around the last joints, until they are no longer sure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hgrt.estimator import Mark, PoseEstimator
from hgrt.pose.geometry import Box, Image
from hgrt.pose.pose import Pose

FOUND = 0.45  # confidence from which a searched pose is a person
KEPT = 0.25  # confidence below which a followed person is lost
SEEN = 0.2  # joints surer than this draw the next box
MARGIN = 1.4  # the box around the joints, as the network was trained on
STEADY = 0.5  # share of the old box in the next one
CLOSER = 2  # times that a search looks again around what it found
PER_FRAME = 3  # squares looked at in each frame while nobody is there


def candidates(width: int, height: int) -> list[Box]:
    """Squares to look at: the whole frame, then overlapping ones along it as high as the frame, then half as high."""
    boxes = [Box.whole(width, height)]
    for side in (min(width, height), min(width, height) / 2):
        columns, rows = (max(1, int(np.ceil((extent / side - 1) / 0.6)) + 1) for extent in (width, height))
        if columns * rows > 1 or side < min(width, height):
            xs = np.linspace(side / 2, width - side / 2, columns) - 0.5
            ys = np.linspace(side / 2, height - side / 2, rows) - 0.5
            boxes += [Box(float(x), float(y), float(side)) for y in ys for x in xs]
    return boxes


def box_around(pose: Pose) -> Box | None:
    """The box for the next look at a person: around the joints that are seen; None where hardly any is."""
    seen = pose.score > SEEN
    if np.count_nonzero(seen) < 4:
        return None
    return Box.around(pose.xy[seen], MARGIN)


@dataclass(slots=True)
class Tracker:
    """Finds and follows one person through a video. `fixed` is a box given by the user, which nothing overrides."""

    estimator: PoseEstimator
    fixed: Box | None = None
    _box: Box | None = None
    _queue: list[Box] = field(default_factory=list)

    def __call__(self, image: Image, mark: Mark = lambda stage: None) -> Pose | None:
        """The person in this frame, or None."""
        if self.fixed is not None:
            return self.estimator.poses(image, [self.fixed], mark)[0]
        if self._box is not None:
            pose = self.estimator.poses(image, [self._box], mark)[0]
            self._box = self._follow(pose)
            if self._box is not None:
                return pose
            self._queue = []
        return self._search(image, mark)

    def _follow(self, pose: Pose) -> Box | None:
        wanted = box_around(pose) if pose.confidence >= KEPT else None
        if wanted is None:
            return None
        old = pose.box
        return Box(
            wanted.cx + STEADY * (old.cx - wanted.cx) * 0.5,  # places move faster than sizes
            wanted.cy + STEADY * (old.cy - wanted.cy) * 0.5,
            wanted.side + STEADY * (old.side - wanted.side),
        )

    def _search(self, image: Image, mark: Mark) -> Pose | None:
        height, width = image.shape[:2]
        if not self._queue:
            self._queue = candidates(width, height)
            look = self._queue  # a new search looks everywhere at once, a fruitless one goes on bit by bit
        else:
            look = self._queue[:PER_FRAME]
        self._queue = self._queue[len(look) :] + look
        pose: Pose | None = self._best(image, look, mark)
        for _ in range(CLOSER):
            box = box_around(pose) if pose is not None else None
            if box is None:
                return None
            pose = self._best(image, [box], mark)
        if pose is None or pose.confidence < FOUND:
            return None
        self._box = box_around(pose)
        return pose if self._box is not None else None

    def _best(self, image: Image, boxes: list[Box], mark: Mark) -> Pose:
        return max((self.estimator.poses(image, [box], mark)[0] for box in boxes), key=lambda pose: pose.confidence)
