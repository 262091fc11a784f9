"""The demonstration clip: one drawn person moving before a still room, with the true joints of every frame.

No footage of real people may be committed, yet demos, smoke tests and latency measurements need a video whose joints
are known. This module draws one (`clip_frames`) and writes it with its joints beside it:

    python -m hgrt.data.clip assets/clip.mp4
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.data.synthetic import (
    RELAXED,
    Angles,
    Body,
    draw_person,
    joints_from_angles,
    motion_angles,
    random_background,
    random_figure,
    rotation,
)
from hgrt.pose.skeleton import MPII

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
# (share of the clip, motion, its speed, yaw in degrees, x at the end as a share of the width)
_SCRIPT = (
    (0.10, "walk", 1.0, 10.0, 0.36),
    (0.18, "walk", 1.0, 48.0, 0.64),
    (0.16, "wave", 1.0, -8.0, 0.64),
    (0.20, "jacks", 0.85, 0.0, 0.56),
    (0.20, "squat", 1.4, -25.0, 0.50),
    (0.16, "walk", 1.0, -48.0, 0.36),
)
_BLEND_S = 0.5  # time over which one motion fades into the next


def _ease(x: float) -> float:
    """0..1 along a curve that starts and ends at rest; `x` beyond 0..1 is clamped."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _scripted(step: int, local_s: float) -> Angles:
    """All joint angles in degrees of one script step, `local_s` seconds after its start."""
    _, motion, speed, yaw, _ = _SCRIPT[step]
    return RELAXED | motion_angles(motion, local_s * speed) | {"yaw": yaw}


def clip_pose(t: float, length: float, body: Body) -> tuple[F64, float]:
    """(16,3) joints in metres and the x position as a share of the width, `t` seconds into a clip of `length` s."""
    starts = np.concatenate([[0.0], np.cumsum([s[0] for s in _SCRIPT])]) * length
    step = min(max(int(np.searchsorted(starts, t, side="right")) - 1, 0), len(_SCRIPT) - 1)
    local = t - float(starts[step])
    angles = _scripted(step, local)
    if step > 0:  # fade angles, not joints: so bones keep their length
        old, k = _scripted(step - 1, t - float(starts[step - 1])), _ease(local / _BLEND_S)
        angles = {name: (1 - k) * old.get(name, 0.0) + k * angles.get(name, 0.0) for name in {**old, **angles}}
    x0, x1 = _SCRIPT[max(step - 1, 0)][4], _SCRIPT[step][4]
    x = x0 + (x1 - x0) * _ease(local / (_SCRIPT[step][0] * length))
    return joints_from_angles(angles, body) @ rotation(0, 5.0).T, x  # the camera looks down a little


def clip_layout(seed: int, frames: int, width: int, height: int, fps: float = 25.0) -> Iterator[tuple[F64, float, F64]]:
    """Without drawing: per frame (16,3) joints in metres, px per metre and the (2,) px position of the pelvis."""
    body = random_figure(np.random.default_rng(seed)).body
    length = frames / fps
    for i in range(frames):
        t = i / fps
        joints, x = clip_pose(t, length, body)
        scale = 0.40 * height * (1 + 0.07 * math.sin(2 * math.pi * t / length))
        # The lower foot stands on the floor, whatever the knees do.
        floor = 0.9 * height + 0.35 * (scale - 0.40 * height)
        yield joints, scale, np.array([x * width, floor - scale * float(joints[[0, 5], 1].max())])


def clip_frames(
    seed: int, frames: int, width: int, height: int, fps: float = 25.0
) -> Iterator[tuple[U8, F64, NDArray[np.bool_]]]:
    """Per frame the (H,W,3) uint8 BGR picture, the (16,2) joints in px and (16,) bool: which of them can be seen."""
    rng = np.random.default_rng(seed)
    figure = random_figure(rng)
    still = random_background(rng, height, width)
    for joints3d, scale, offset in clip_layout(seed, frames, width, height, fps):
        frame = still.copy()
        joints, visible = draw_person(frame, figure, joints3d, (scale, offset))
        yield cv2.GaussianBlur(frame, (0, 0), 0.6).astype(np.uint8), joints, visible


def write_clip(path: Path, frames: int, width: int, height: int, fps: float, seed: int) -> None:
    """Write the video to `path` and its joints to the same name with the ending .json."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        raise SystemExit(f"cannot write {path}: folder missing, ending not .mp4, or OpenCV built without mp4v")
    joints: list[list[list[float]]] = []
    seen: list[list[int]] = []
    heads: list[float] = []
    for frame, points, visible in clip_frames(seed, frames, width, height, fps):
        writer.write(frame)
        joints.append([[round(float(x), 2), round(float(y), 2)] for x, y in points])
        seen.append([int(v) for v in visible])
        heads.append(round(0.75 * float(np.linalg.norm(points[9] - points[8])), 2))
    writer.release()
    record = {
        "fps": fps,
        "width": width,
        "height": height,
        "joint_names": list(MPII.joints),
        "seed": seed,
        "joints": joints,
        "visible": seen,
        "head_size": heads,
    }
    path.with_suffix(".json").write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


def _size(text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT in px; both even and at least 64, as the codec wants them."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()) or int(width) < 64 or int(height) < 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT with both at least 64")
    if int(width) % 2 or int(height) % 2:
        raise argparse.ArgumentTypeError(f"{text!r}: width and height must be even")
    return int(width), int(height)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m hgrt.data.clip", description="Draw the demonstration clip.")
    parser.add_argument("out", type=Path, help="video to write, ending in .mp4; OUT.json is written beside it")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--size", type=_size, default=(640, 480), metavar="WxH")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args(argv)
    if args.frames < 1 or not 0 < args.fps <= 240 or args.seed < 0:
        raise SystemExit("--frames must be at least 1, --fps within 0..240 and --seed not negative")
    write_clip(args.out, args.frames, args.size[0], args.size[1], args.fps, args.seed)


if __name__ == "__main__":
    main()
