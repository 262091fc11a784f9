"""Stand-ins for what tests cannot have: a network that finds painted people, a camera, and pictures of both.

The painted person is a magenta rectangle, twice as high as wide, on grey noise. `FakeBackend` knows only the crop it is
given, as a real network would, so that searching, following and mapping back are tested for real.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hgrt.estimator import PoseEstimator
from hgrt.live.source import Frame
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Box, Image
from hgrt.pose.heatmaps import Maps
from hgrt.pose.pose import Pose
from hgrt.pose.skeleton import MPII
from hgrt.runtime.base import Backend, BackendInfo

MAGENTA = (255, 0, 255)
SPEC = ModelSpec(stacks=1, channels=8, gate="none", input=192)
WHERE = np.array(
    [(-1, 2), (-1, 1), (-0.6, 0.4), (0.6, 0.4), (1, 1), (1, 2), (0, 0.4), (0, -1), (0, -1.4), (0, -2),
     (-1, 0.2), (-1, -0.4), (-0.6, -1), (0.6, -1), (1, -0.4), (1, 0.2)]
) / [2, 4]  # fmt: skip
"""Joints of a painted person (16, 2), in widths and heights of the rectangle from its middle."""


class FakeBackend(Backend):
    """Heatmaps by `answer` from each crop (S, S, 3) uint8; `calls` counts batches and `seen` crops."""

    def __init__(self, answer: Callable[[Image], Maps] | None = None, spec: ModelSpec = SPEC) -> None:
        self.answer = answer or (lambda crop: painted_joints(crop, self.info.spec.heatmap))
        self.info = BackendInfo("fake", spec, Path("none.onnx"), "CPU", "fp32", "fp32", 1)
        self.calls = self.seen = self.released = 0

    def _run(self, crops: NDArray[np.uint8]) -> Maps:
        self.calls += 1
        self.seen += len(crops)
        return np.stack([self.answer(one) for one in crops]).astype(np.float32)

    def _release(self) -> None:
        self.released += 1


def fake_estimator(backend: FakeBackend | None = None) -> PoseEstimator:
    """A PoseEstimator on a fake network: everything but the network is the real thing."""
    return PoseEstimator.over(backend or FakeBackend())


def gaussians(xy_hm: NDArray[np.float64], cells: int, height: float = 1.0, sigma: float = 1.5) -> Maps:
    """A peak at each of (16, 2) positions in cells."""
    grid = np.arange(cells)
    x = np.exp(-((grid - xy_hm[:, :1]) ** 2) / (2 * sigma**2))
    y = np.exp(-((grid - xy_hm[:, 1:]) ** 2) / (2 * sigma**2))
    return (height * y[:, :, None] * x[:, None, :]).astype(np.float32)


def painted_joints(crop: Image, cells: int) -> Maps:
    """What a trained network would say of a painted person: surer the better the person fills the crop."""
    size = len(crop)
    blue, green, red = (crop[..., k].astype(int) for k in range(3))
    rows, columns = np.nonzero((blue > green + 80) & (red > green + 80))
    if len(rows) < 6:
        return np.zeros((len(MPII), cells, cells), np.float32)
    middle = np.array([columns.mean(), rows.mean()])
    extent = np.sqrt(12) * np.array([columns.std(), rows.std()]) + 1e-3
    sure = 0.35 + 0.6 * min(1.0, float(extent.max()) / (0.5 * size))
    if min(rows[0], columns.min()) == 0 or max(rows[-1], columns.max()) == size - 1:
        sure *= 0.6  # the crop's edge cuts the person
    return gaussians(((middle + WHERE * extent) + 0.5) * cells / size - 0.5, cells, sure)


def picture(width: int, height: int, person: tuple[float, float, float] | None = None, seed: int = 0) -> Image:
    """Grey noise, and a painted person with (centre x, centre y, height) in pixels."""
    noise = np.random.default_rng(seed).integers(60, 180, (height, width, 1), np.uint8)
    image = np.repeat(noise, 3, axis=2)
    if person is not None:
        cx, cy, tall = person
        low = round(cx - tall / 4), round(cy - tall / 2)
        high = round(cx + tall / 4) - 1, round(cy + tall / 2) - 1
        cv2.rectangle(image, low, high, MAGENTA, cv2.FILLED)
    return image


def joints_of(person: tuple[float, float, float]) -> NDArray[np.float64]:
    """Where the joints of a painted person are, in image pixels."""
    cx, cy, tall = person
    return np.array([cx, cy]) - 0.5 + WHERE * [tall / 2, tall]


def pose(xy: NDArray[np.float64] | None = None, score: float = 0.9, box: Box | None = None) -> Pose:
    """A pose without a picture."""
    xy = 100 * WHERE + 100 if xy is None else xy
    return Pose(xy, np.full(len(MPII), score), np.full(len(MPII), 2.0), box or Box(100, 100, 140))


def frame(index: int = 0, t: float | None = None, image: Image | None = None) -> Frame:
    """A frame at 25 a second."""
    image = np.full((48, 64, 3), 90, np.uint8) if image is None else image
    return Frame(image, index, index / 25 if t is None else t, 0.0)


def numbered(index: int, width: int = 64, height: int = 48) -> Image:
    """A picture that carries its number, from 0 to 63, where codecs cannot lose it: see `number_of`."""
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(6):
        image[:, bit * width // 6 : (bit + 1) * width // 6] = 220 if index >> bit & 1 else 30
    return image


def number_of(image: Image) -> int:
    """The inverse of `numbered`, for any size of picture."""
    width = image.shape[1]
    middles = [image[:, (2 * bit + 1) * width // 12].mean() for bit in range(6)]
    return sum(1 << bit for bit, bright in enumerate(middles) if bright > 125)


def write_video(path: Path, pictures: list[Image], codec: str = "mp4v", fps: float = 25.0) -> Path:
    """A video file of BGR pictures of one size."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened(), f"this OpenCV cannot write {codec} into {path.suffix}"
    for one in pictures:
        writer.write(one)
    writer.release()
    return path


def read_video(path: Path) -> list[Image]:
    """Every frame of a video file, read by OpenCV alone."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        ok, image = capture.read()
        if not ok:
            capture.release()
            return found
        found.append(np.asarray(image, np.uint8))


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without a screen."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", **more}


def hgrt(*arguments: object, cwd: Path, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    command = [sys.executable, "-m", "hgrt", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=limit_s, check=False
    )


def hgrt_here(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The real program in this process, which has imported everything already."""
    from hgrt.cli.main import main

    words, out, error = ["hgrt", *map(str, arguments)], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", words)
        patch.chdir(cwd)
        for name, value in {"NO_COLOR": "1", "COLUMNS": "200"}.items():
            patch.setenv(name, value)
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            patch.delenv(name, raising=False)
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), error.getvalue())


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that the program ended as for a user's mistake: exit code 2, plain words, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
