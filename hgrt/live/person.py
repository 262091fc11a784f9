"""Where is the person? No second network: the pose network scores squares of the frame, then the pose is followed.

A search looks at the whole frame and at squares along it, and again closer where joints are surest.
Somebody is there if looks at other squares find the same joints: what only looks like a person does so in one of them.
Once somebody is found the next frame's box is drawn around the last joints, until they have been unsure for a while.
As long as they are not quite sure, other places are looked at now and then, so that a mistake does not hold on.
Looks that search are timed as the one stage "find"; the look that follows has the stages of the estimator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hgrt.estimator import Mark, PoseEstimator
from hgrt.pose.geometry import MARGIN, Array, Box, Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import FLIP

HINT = 0.25  # confidence from which a square is worth a closer look
LEAST = 0.65  # of the network's input: a searched person's box is at least as large, since anything is found in a blur
KEPT = 0.45  # confidence below which a followed person is not seen
SETTLED = 0.84  # confidence from which a followed person needs no comparison
DOUBTS = 4  # after so many frames below that, one other place is looked at
BETTER = 0.1  # by so much another place must be surer
PATIENCE = 5  # frames without being seen after which a person is lost
SEEN = 0.2  # joints surer than this draw the next box
FOLLOW_PLACE, FOLLOW_SIZE = 0.75, 0.4  # share of the new box in the next one: people move faster than they grow
STILL_PLACE, STILL_SIZE = 0.05, 0.1  # of the old box: as long as the new one differs by less, the old one stays
CLOSER = 2  # times that a search looks again around what it found
AGAIN = ((0.06, 0.04, 0.9), (0.06, -0.04, 1.1), (-0.06, 0.04, 1.1), (0, 0, 1.3))  # further looks: x, y, size in sides
SAME = 0.05  # of the box's side: joints no further apart are the same
TRIES = 4  # squares that are looked at closer when the whole frame is searched
PER_FRAME = 3  # squares looked at in each frame while nobody is there, the surest of which is looked at closer


def candidates(width: int, height: int) -> list[Box]:
    """Squares to look at: the whole frame, then overlapping ones along it as high as the frame, then half as high."""
    boxes = [Box.whole(width, height)]
    short = min(width, height)
    for side in (short, short / 2):
        columns, rows = (int(np.ceil((extent / side - 1) / 0.6)) + 1 for extent in (width, height))
        if columns * rows > 1:
            xs = np.linspace(side / 2, width - side / 2, columns) - 0.5
            ys = np.linspace(side / 2, height - side / 2, rows) - 0.5
            boxes += [Box(float(x), float(y), float(side)) for y in ys for x in xs]
    return boxes


def box_around(pose: Pose) -> Box | None:
    """The box for the next look at a person: around the joints that are seen; None where hardly any is."""
    seen = pose.score > SEEN
    if np.count_nonzero(seen) < 4:
        return None
    return _on_grid(Box.around(pose.xy[seen], MARGIN))


def agreed(pose: Pose, looks: Sequence[Pose]) -> float:
    """How sure several looks are of one person, 0..1 and at most as sure as `pose`.

    A joint is as sure as the less sure of `pose` and another look, 0 where they have it in different places; and so on
    average over the looks. A look may have all of left and right the other way round: who is turned away is taken for
    somebody turned to the camera in one square and not in another, but is there in both.
    """

    def shared(xy: Array, score: Array) -> Pose:
        same = np.linalg.norm(xy - pose.xy, axis=1) < SAME * pose.box.side
        return replace(pose, score=np.where(same, np.minimum(pose.score, score), 0))

    either = [
        max(shared(look.xy, look.score), shared(look.xy[FLIP], look.score[FLIP]), key=lambda one: one.confidence)
        for look in looks
    ]
    return replace(pose, score=np.mean([one.score for one in either], axis=0)).confidence


@dataclass(slots=True)
class Tracker:
    """Finds and follows one person through a video. `fixed` is a box given by the user, which nothing overrides."""

    estimator: PoseEstimator
    fixed: Box | None = None
    _box: Box | None = None
    _unseen: int = 0
    _doubts: int = 0
    _lost: Box | None = None
    _squares: deque[Box] = field(default_factory=deque)
    _size: tuple[int, int] = (0, 0)

    def __call__(self, image: Image, mark: Mark = lambda stage: None) -> Pose | None:
        """The person in this frame, or None."""
        if self.fixed is not None:
            return self.estimator.poses(image, [self.fixed], mark)[0]

        def finding(stage: str) -> None:
            mark("find")

        if self._box is None:
            return self._search(image, finding)
        pose = self._look(image, self._box, mark)
        self._doubts = self._doubts + 1 if pose.confidence < SETTLED else 0
        if self._doubts >= DOUBTS:
            self._doubts = 0
            pose = self._elsewhere(image, pose, finding)
        wanted = box_around(pose) if pose.confidence >= KEPT else None
        if wanted is not None:
            self._unseen = 0
            self._box = _between(pose.box, wanted)
            return pose
        self._unseen += 1
        if self._unseen >= PATIENCE:
            self._lost, self._box = self._box, None
        return None

    def reset(self) -> None:
        """Forget everybody; the next frame is searched all over."""
        self._box = self._lost = None
        self._size, self._unseen, self._doubts = (0, 0), 0, 0

    def _elsewhere(self, image: Image, pose: Pose, mark: Mark) -> Pose:
        """One more square of the frame; whoever is found there if clearly surer than `pose`, else `pose`."""
        rival = self._closer(image, self._look(image, self._squares[0], mark), mark)
        self._squares.rotate(-1)
        if rival is None or rival.confidence < pose.confidence + BETTER:
            return pose
        # Furniture is surer than somebody who walks out of the picture.
        return rival if self._somebody(image, rival, mark) else pose

    def _search(self, image: Image, mark: Mark) -> Pose | None:
        """Everywhere at once in the first frame, then a few squares a frame, so that an empty scene costs little."""
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self._size, self._squares = size, deque(candidates(*size))
            look, tries = list(self._squares), TRIES
        else:
            look, tries = list(self._squares)[:PER_FRAME], 1
            self._squares.rotate(-PER_FRAME)
        if self._lost is not None:
            look.append(self._lost)  # where somebody was is the first place to look again
            self._lost = None
        hints = sorted((self._look(image, box, mark) for box in look), key=lambda pose: pose.confidence, reverse=True)
        for hint in hints[:tries]:
            pose = self._closer(image, hint, mark)
            if pose is not None and self._somebody(image, pose, mark):
                self._box, self._unseen = box_around(pose), 0
                return pose
        return None

    def _closer(self, image: Image, pose: Pose, mark: Mark) -> Pose | None:
        """What stands where `pose` hints at somebody, looked at in a box of its own; None if it is no hint."""
        for _ in range(CLOSER):
            box = box_around(pose) if pose.confidence >= HINT else None
            if box is None:
                return None
            pose = self._look(image, box, mark)
        return pose

    def _somebody(self, image: Image, pose: Pose, mark: Mark) -> bool:
        """Whether a searched pose is a person's."""
        found = self.estimator.backend.info.spec.found
        return pose.confidence >= found and self._sure(image, pose, mark) >= found

    def _sure(self, image: Image, pose: Pose, mark: Mark) -> float:
        """How sure looks at other squares leave it that somebody is there: at most as sure as the pose itself; 0 of
        whoever is too small.
        """
        box = pose.box
        if box.side < LEAST * self.estimator.backend.info.spec.input:
            return 0.0
        squares = [Box(box.cx + x * box.side, box.cy + y * box.side, size * box.side) for x, y, size in AGAIN]
        return agreed(pose, [self._look(image, square, mark) for square in squares])

    def _look(self, image: Image, box: Box, mark: Mark) -> Pose:
        """What the network finds in all of a square, be its own share what it may: people move."""
        wide = box.scaled(1 / self.estimator.backend.info.spec.crop)
        return replace(self.estimator.poses(image, [wide], mark)[0], box=box)


def _between(old: Box, new: Box) -> Box:
    """The next box on the way from one to the other. Joints tremble; a box that trembled too would shake them more."""
    away = max(abs(new.cx - old.cx), abs(new.cy - old.cy))
    if away < STILL_PLACE * old.side and abs(new.side - old.side) < STILL_SIZE * old.side:
        return old
    cx = old.cx + FOLLOW_PLACE * (new.cx - old.cx)
    cy = old.cy + FOLLOW_PLACE * (new.cy - old.cy)
    return _on_grid(Box(cx, cy, old.side + FOLLOW_SIZE * (new.side - old.side)))


def _on_grid(box: Box) -> Box:
    """To quarter pixels, lest the rounding noise of a runtime grow from one look to the next."""
    cx, cy, side = (round(4 * value) / 4 for value in (box.cx, box.cy, box.side))
    return Box(cx, cy, max(side, 1.0))
