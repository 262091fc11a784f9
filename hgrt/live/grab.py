"""Live sources: a thread keeps reading, and whoever asks gets the newest frame.

A camera hands out frames at its own pace and queues what nobody fetches, so a loop that is slower than the camera would
show the past, ever further back. Here old frames are dropped and counted instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from hgrt.errors import HgrtError
from hgrt.live.source import Frame, Source

PATIENCE_S = 5.0  # without a frame for so long, a live source has ended


class Live(Source):
    """A camera (by number) or a stream (by address)."""

    live = True

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
        self._fresh = threading.Condition()
        self._newest: tuple[Any, float] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="grab", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended:
            ok, image = self._capture.read()
            now = time.monotonic()
            with self._fresh:
                if not ok:
                    self._ended = True
                elif self._newest is None:
                    self._newest = (image, now)
                else:
                    self.dropped += 1
                    self._newest = (image, now)
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
            yield Frame(np.asarray(image, np.uint8), index, captured - start, captured)
            index += 1

    def close(self) -> None:
        self._ended = True
        self._thread.join(timeout=PATIENCE_S)
        # Releasing under a thread that is stuck in a read crashes some drivers: leave it to the process's end.
        if not self._thread.is_alive():
            self._capture.release()
