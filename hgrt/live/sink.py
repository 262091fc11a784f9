"""Where frames go: a window, a video, pictures, lines of keypoints. Small context managers that close what they opened.

A sink is given each frame with its pose and the picture with everything drawn on it, and must not keep that picture
longer than its own copy.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.files import check_writable, unwritable
from hgrt.live.source import PICTURES, Frame, Source
from hgrt.pose.geometry import Image
from hgrt.pose.pose import Pose

CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("avc1", "mp4v"),
    ".m4v": ("avc1", "mp4v"),
    ".mov": ("avc1", "mp4v"),
    ".mkv": ("avc1", "mp4v", "MJPG"),
    ".avi": ("MJPG", "XVID"),
    ".webm": ("VP80", "VP90"),
}
"""What is tried for each kind of file, best first: H.264 plays everywhere, but most OpenCV builds cannot write it."""


class Sink(Closing, ABC):
    """Takes frames until it is closed; `said` is what to tell the user about the result."""

    @abstractmethod
    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        """One frame, its pose (None: nobody) and the (H, W, 3) BGR picture with the overlay."""

    @property
    def said(self) -> str:
        return ""


class VideoSink(Sink):
    """A video file, encoded on a thread of its own; `measured` is told the milliseconds of each frame.

    The size is the first frame's; later ones are resized to it. A frame is repeated or left out where that keeps the
    film as long as the time it shows, so a live recording plays at the right speed.
    """

    def __init__(self, path: Path, fps: float, measured: Callable[[float], None] = lambda ms: None) -> None:
        self.path, self._fps, self._measured = path, fps, measured
        check_writable(path)
        self.codec = probe_codec(path.suffix.lower())
        self._written = 0
        self._writer: Any = None
        self._error: HgrtError | None = None
        self._frames: queue.Queue[tuple[Image, int] | None] = queue.Queue(maxsize=4)
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()
        self._closed = False

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        if self._error:
            raise self._error
        times = round(frame.t * self._fps) + 1 - self._written
        if times > 0:
            self._written += times
            self._frames.put((drawn, times))

    def _encode(self) -> None:
        while (item := self._frames.get()) is not None:
            if self._error:
                continue  # keep the queue moving, so that the loop can raise
            start = time.perf_counter()
            try:
                self._append(*item)
            except cv2.error as error:
                self._error = HgrtError(f"{self.path} cannot be written.", str(error))
            self._measured(1000 * (time.perf_counter() - start))

    def _append(self, image: Image, times: int) -> None:
        if self._writer is None:
            height, width = image.shape[:2]
            self._size = (width - width % 2, height - height % 2)  # codecs want even sides
            fourcc = cv2.VideoWriter.fourcc(*self.codec)
            self._writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, fourcc, self._fps, self._size)
            if not self._writer.isOpened():
                self._error = HgrtError(f"{self.path} cannot be written.", f"The {self.codec} encoder refused it.")
                return
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        for _ in range(times):
            self._writer.write(image)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._frames.put(None)
        self._thread.join()
        if self._writer is not None:
            self._writer.release()
            # The writer keeps write errors to itself: a full disk shows only in a file that does not play.
            if not self._error and not cv2.VideoCapture(str(self.path)).read()[0]:
                self._error = HgrtError(f"{self.path} was not written properly.", "It does not play: is the disk full?")
        if self._error:
            raise self._error

    @property
    def said(self) -> str:
        return f"{self.path} ({self._written} frames, {self.codec})" if self._written and not self._error else ""


class PictureSink(Sink):
    """One picture file, or a folder with a picture for each frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._single = path.suffix.lower() in PICTURES
        self._count = 0
        if self._single:
            check_writable(path)
        else:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        path = self.path if self._single else self.path / f"{frame.index:06d}.jpg"
        try:
            ok, data = cv2.imencode(path.suffix.lower(), drawn)
            if not ok:
                raise HgrtError(f"{path} cannot be written.", f"The picture does not fit into a {path.suffix} file.")
            path.write_bytes(data.tobytes())
        except cv2.error as error:
            raise HgrtError(f"{path} cannot be written.", str(error)) from error
        except OSError as error:
            raise unwritable(path, error) from error
        self._count += 1

    def close(self) -> None:
        if not self._single and not self._count:
            with suppress(OSError):  # it held other things before
                self.path.rmdir()

    @property
    def said(self) -> str:
        return str(self.path) if self._single else f"{self.path} ({self._count} pictures)"


class JsonlSink(Sink):
    """A line of JSON a frame: `frame`, `t` in seconds, `people`, each with `box` [x, y, w, h], `keypoints`
    (16 x [x, y, score], image pixels, MPII order) and `chance` (16 x 0..1; null where the network is not calibrated);
    nobody found is an empty list. Every line is flushed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        check_writable(path)
        self._stream: TextIO = path.open("w", encoding="utf-8")

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        line = {"frame": frame.index, "t": round(frame.t, 4), "people": [] if pose is None else [person(pose)]}
        try:
            self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._stream.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        with suppress(OSError):  # every line was flushed, or its loss has been said
            self._stream.close()

    @property
    def said(self) -> str:
        return str(self.path)


class WindowSink(Sink):
    """A window on the screen. `stopped` turns true when the user presses q or Escape, or closes it.

    A film is shown no faster than it was filmed, a picture until a key is pressed, a camera as it comes.
    """

    def __init__(self, source: Source, title: str = "hgrt") -> None:
        self._title, self._source = title, source
        self._start: float | None = None
        self.stopped = False
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        if not self._sized:
            cv2.resizeWindow(self._title, drawn.shape[1], drawn.shape[0])
            self._sized = True
        cv2.imshow(self._title, drawn)
        now = time.monotonic()
        self._start = now - frame.t if self._start is None else self._start
        early_ms = 0.0 if self._source.live else 1000 * (self._start + frame.t - now)
        pressed = self._pressed(early_ms)
        while not self._source.continuous and not pressed and not self.stopped:
            pressed = self._pressed(50.0)

    def _pressed(self, wait_ms: float) -> bool:
        """Whether a key came within that time; q, Escape and a closed window also stop the show."""
        key = cv2.waitKey(max(1, round(wait_ms)))
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        self.stopped = self.stopped or closed or key & 0xFF in (ord("q"), 27)
        return key >= 0

    def close(self) -> None:
        cv2.destroyAllWindows()


def person(pose: Pose) -> dict[str, object]:
    """A pose as plain values."""
    half = pose.box.side / 2
    box = [pose.box.cx - half + 0.5, pose.box.cy - half + 0.5, pose.box.side, pose.box.side]
    keypoints = [
        [round(float(x), 2), round(float(y), 2), round(float(s), 4)]
        for (x, y), s in zip(pose.xy, pose.score, strict=True)
    ]
    chance = None if pose.chance is None else [round(float(value), 3) for value in pose.chance]
    return {"box": [round(value, 2) for value in box], "keypoints": keypoints, "chance": chance}


def open_output(path: Path, fps: float, measured: Callable[[float], None] = lambda ms: None) -> Sink:
    """The sink that a path asks for: a video by its suffix, a picture by its suffix, a folder without one."""
    suffix = path.suffix.lower()
    if suffix in CODECS:
        return VideoSink(path, fps, measured)
    if suffix in PICTURES or not suffix:
        return PictureSink(path)
    raise HgrtError(
        f"{path} has a suffix that hgrt cannot write.",
        f"Videos: {', '.join(CODECS)}; pictures: {', '.join(PICTURES)}; without a suffix: a folder of pictures.",
    )


def probe_codec(suffix: str) -> str:
    """The first codec of `CODECS` that this OpenCV really writes into such a file, tried on a scratch file."""
    tried = CODECS[suffix]
    with tempfile.TemporaryDirectory() as folder, _quiet_stderr():
        for codec in tried:
            path = Path(folder) / f"probe-{codec}{suffix}"
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25.0, (64, 64))
            if writer.isOpened():
                writer.write(np.zeros((64, 64, 3), np.uint8))
                writer.release()
                if path.is_file() and path.stat().st_size:
                    return codec
    raise HgrtError(f"This OpenCV cannot write {suffix} files.", f"Tried {', '.join(tried)}.", "Try --output out.avi")


class _quiet_stderr:  # noqa: N801  # used like a function
    """Codec libraries print to the process's standard error what a probe expects to fail."""

    def __enter__(self) -> None:
        sys.stderr.flush()
        self._saved = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)


def can_show() -> bool:
    """Whether a window can be opened here. Tried in another process: without a screen OpenCV aborts its own."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    code = "import cv2; cv2.namedWindow('hgrt'); cv2.destroyAllWindows()"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
