"""Live sources: a thread keeps reading, and whoever asks gets the newest frame.

A camera hands out frames at its own pace and queues what nobody fetches, so a loop that is slower than the camera would
show the past, ever further back. Here old frames are dropped and counted instead.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from hgrt.errors import HgrtError
from hgrt.live.source import Frame, Source
from hgrt.pose.geometry import Image

PATIENCE_S = 5.0  # without a frame for so long, a live source has ended


class Newest(Source):
    """A place for one picture, filled by a thread and emptied by the loop. Subclasses say where pictures come from."""

    live = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._fresh = threading.Condition()
        self._newest: tuple[Image, float] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="grab", daemon=True)

    @abstractmethod
    def _next(self) -> tuple[Image, float] | None:
        """Wait for the next picture, (H, W, 3) uint8 BGR, for the loop to draw on, and the monotonic clock when it was
        had; None when there will be no more. Called on the thread."""

    def _release(self) -> None:
        """Let go of what `_next` reads from."""

    def _start(self) -> None:
        """Begin to read. For the subclass to call, once it is ready for `_next`."""
        self._thread.start()

    def _read(self) -> None:
        while not self._ended:
            picture = self._next()
            with self._fresh:
                if picture is None:
                    self._ended = True
                else:
                    self.dropped += self._newest is not None
                    self._newest = picture
                self._fresh.notify()

    def __iter__(self) -> Iterator[Frame]:
        index, start = 0, None
        while True:
            with self._fresh:
                self._fresh.wait_for(lambda: self._newest is not None or self._ended, timeout=PATIENCE_S)
                newest, self._newest = self._newest, None
            if newest is None:
                if not index:
                    raise HgrtError(f"No picture came from {self.name}.", f"Waited {PATIENCE_S:.0f} s.")
                self.notes.append(f"{self.name} stopped sending after {index} frames.")
                return
            image, captured = newest
            start = captured if start is None else start
            yield Frame(image, index, captured - start, captured)
            index += 1

    def close(self) -> None:
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(timeout=PATIENCE_S)
        # Releasing under a thread that is stuck in a read crashes some drivers: leave it to the process's end.
        if not self._thread.is_alive():
            self._release()


class Live(Newest):
    """A camera (by number) or a stream (by address)."""

    def __init__(self, where: int | str, name: str) -> None:
        super().__init__(name)
        self._capture: Any = cv2.VideoCapture(where)
        if not self._capture.isOpened():
            self._capture.release()
            raise HgrtError(f"Cannot open {name}.", "Nothing answered, or another program has it.")
        if isinstance(where, int):
            # Many webcams give 30 frames a second only in MJPG; those that cannot ignore the wish.
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= 1000 else 30.0
        self._start()

    def _next(self) -> tuple[Image, float] | None:
        ok, image = self._capture.read()
        return (np.asarray(image, np.uint8), time.monotonic()) if ok else None

    def _release(self) -> None:
        self._capture.release()
