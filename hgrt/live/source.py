"""One string becomes frames: a camera number, a stream address, a video file, a picture, or a folder of pictures.

Files give every frame, in order; cameras and streams give the newest one (see `grab`). A source says what it is and
what went wrong in the user's words; it knows nothing of poses.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://", "tcp://")


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture in time: `bgr` (H, W, 3) uint8, its `index` from 0, its time `t` in seconds since the first frame, and
    `t_capture`, the reading of the monotonic clock when it was had."""

    bgr: Image
    index: int
    t: float
    t_capture: float


class Source(Closing, ABC):
    """Frames to iterate over, once.

    `fps` is nominal; `frames` is the count where it is known; `notes` collects what the user should know afterwards.
    """

    name: str
    live = False
    continuous = True  # frames follow one another in time; else each stands alone
    fps: float = 25.0
    frames: int | None = None
    dropped = 0

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...


class Pictures(Source):
    """One picture, or all those of a folder in the order of their names; they need not belong together."""

    continuous = False

    def __init__(self, paths: list[Path], name: str) -> None:
        super().__init__(name)
        self._paths = paths
        self.frames = len(paths)
        self.fps = 1.0

    def __iter__(self) -> Iterator[Frame]:
        read = 0
        for path in self._paths:
            try:
                image = read_picture(path)
            except HgrtError as error:
                if len(self._paths) == 1:
                    raise
                self.notes.append(f"{path.name} left out: {error.why}")
                continue
            yield Frame(image, read, float(read), time.monotonic())
            read += 1
        if not read:
            raise HgrtError(f"None of the {len(self._paths)} pictures in {self.name} can be read.", self.notes[0])


class Video(Source):
    """A video file: every frame, once."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._capture = cv2.VideoCapture(str(path))
        self._first: Any = self._capture.read()[1] if self._capture.isOpened() else None
        if self._first is None:
            self.close()
            raise HgrtError(
                f"{path} cannot be read as a video.",
                "It is empty, cut off before its first frame, or not a video that OpenCV knows.",
                "Try to play it; `ffmpeg -i FILE fixed.mp4` often repairs it.",
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= 1000 else 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frames = count if 0 < count < 1 << 30 else None

    def __iter__(self) -> Iterator[Frame]:
        index, image = 0, self._first
        while image is not None:
            yield Frame(np.asarray(image, np.uint8), index, index / self.fps, time.monotonic())
            index += 1
            ok, image = self._capture.read()
            if not ok:
                break
        # Some containers only estimate their length: a few frames off is no damage.
        if self.frames and index < self.frames - max(2, self.frames // 100):
            self.notes.append(f"{self.name} breaks off: {index} of its {self.frames} frames could be read.")

    def close(self) -> None:
        self._capture.release()


def read_picture(path: Path) -> Image:
    """A picture file as (H, W, 3) uint8 BGR; HgrtError if it is not one."""
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise HgrtError(f"{path} cannot be read.", error.strerror or str(error)) from error
    if not len(data):
        raise HgrtError(f"{path} is empty.", "The file has zero bytes.")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # dimensions beyond what OpenCV takes
        image = None
    if image is None:
        raise HgrtError(f"{path} cannot be read as a picture.", "Its content is not an image that OpenCV knows.")
    return np.asarray(image, dtype=np.uint8)


def open_source(text: str) -> Source:
    """The source that `text` names: a camera number such as "0", an address, a video, a picture or a folder of them.

    HgrtError where there is no such thing.
    """
    if text.isdecimal():
        return _camera(int(text))
    if text.lower().startswith(STREAMS):
        from hgrt.live.grab import Live

        return Live(text, text)
    try:
        path = Path(text).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):  # no such home, a name that cannot be one
        path, exists = Path(text), False
    if exists and path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        if not paths:
            raise HgrtError(f"There are no pictures in {path}.", f"Looked for {', '.join(PICTURES)}.")
        return Pictures(paths, str(path))
    if not exists:
        raise HgrtError(
            f"There is no file {text}.",
            f"Looked for {path.absolute()}.",
            "A source is a camera number (0), a video, a picture, a folder of pictures, or an rtsp:// address.",
        )
    if path.suffix.lower() in PICTURES:
        read_picture(path)  # a bad picture is refused before anything is opened for writing
        return Pictures([path], str(path))
    if not path.stat().st_size:
        raise HgrtError(f"{path} is empty.", "The file has zero bytes.")
    return Video(path)


def _camera(number: int) -> Source:
    from hgrt.live.grab import Live

    device = Path(f"/dev/video{number}")
    if sys.platform.startswith("linux") and not device.exists():
        others = sorted(p.name.removeprefix("video") for p in Path("/dev").glob("video*"))
        raise HgrtError(
            f"There is no camera {number}.",
            f"{device} does not exist; cameras here: {', '.join(others) or 'none'}.",
            "Plug one in, or give a video file: hgrt demo --source FILE",
        )
    if sys.platform.startswith("linux") and not os.access(device, os.R_OK | os.W_OK):
        raise HgrtError(
            f"Camera {number} may not be opened.", f"No permission for {device}.", "Join the group 'video'."
        )
    return Live(number, f"camera {number}")
