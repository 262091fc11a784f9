"""What the demo draws on a frame: box, skeleton, and in the corner a few lines of text: how fast, how old, where the
time goes, which joints to mistrust. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from hgrt.draw import draw_box, draw_pose, shown, sure
from hgrt.live.clock import Stopwatch
from hgrt.live.source import Frame, Source
from hgrt.pose.geometry import Image
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII

FONT = cv2.FONT_HERSHEY_SIMPLEX
NAMED = 4  # doubtful joints that are named; the others are counted


def draw_overlay(frame: Frame, pose: Pose | None, watch: Stopwatch, source: Source) -> None:
    """Box, skeleton and HUD on the frame's own picture; no HUD on pictures that do not follow one another."""
    if pose is not None:
        draw_box(frame.bgr, pose.box)
        draw_pose(frame.bgr, pose)
    if source.continuous:
        age = watch.age_ms(frame.t_capture) if source.live else None
        lines = hud_lines(watch.fps, age, source.dropped, watch.recent())
        draw_hud(frame.bgr, lines if pose is None else lines + doubts(pose))


def hud_lines(fps: float, age_ms: float | None, dropped: int, stages: Mapping[str, float]) -> list[str]:
    """What the HUD says; `age_ms` is how long ago the frame was captured, None for a file."""
    first = f"{fps:5.1f} fps"
    if age_ms is not None:
        first += f"   age {age_ms:.0f} ms   dropped {dropped}"
    return [first, "  ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items()) + " ms"] if stages else [first]


def doubts(pose: Pose) -> list[str]:
    """A line that names the joints that are drawn hollow; none where all are solid."""
    names = [MPII.joints[k].replace("_", " ") for k in np.flatnonzero(shown(pose.xy, pose.score) & ~sure(pose))]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"not sure: {', '.join(names[:NAMED])}{more}"] if names else []


def draw_hud(image: Image, lines: list[str]) -> None:
    """Light text on a darkened strip at the top left, sized to the picture."""
    size = max(0.35, image.shape[0] / 1400)
    step = round(size * 34)
    width = max(cv2.getTextSize(line, FONT, size, 1)[0][0] for line in lines)
    strip = image[: step * len(lines) + step // 2, : width + step]
    strip[:] = strip >> 1
    for row, line in enumerate(lines):
        cv2.putText(image, line, (step // 2, step * (row + 1)), FONT, size, (235, 235, 235), 1, cv2.LINE_AA)
