"""A live source hands out the newest frame, counts what it dropped, and ends cleanly whatever the camera does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from fakes import number_of, numbered
from hgrt.errors import HgrtError
from hgrt.live import grab
from hgrt.live.grab import Live


class Camera:
    """A cv2.VideoCapture that gives what the test puts in; None ends it, and nothing to give blocks."""

    opens = True
    fps = 30.0

    def __init__(self, where: int | str) -> None:
        self.where = where
        self.settings: dict[int, float] = {}
        self.pictures: queue.Queue[Any] = queue.Queue()
        self.reads = self.sent = self.released = 0
        cameras.append(self)

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return self.opens

    def get(self, what: int) -> float:
        return self.fps if what == cv2.CAP_PROP_FPS else 0.0

    def set(self, what: int, value: float) -> bool:
        self.settings[what] = value
        return True

    def read(self) -> tuple[bool, Any]:
        self.reads += 1
        image = self.pictures.get()
        return image is not None, image

    def release(self) -> None:
        self.released += 1


cameras: list[Camera] = []


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the other thread never came so far"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _cameras(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cameras.clear()
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(grab, "PATIENCE_S", 0.15)
    yield
    for camera in cameras:
        camera.pictures.put(None)  # lets a blocked reader go
    until(lambda: not any(thread.name == "grab" for thread in threading.enumerate()))


def live(where: int | str = 0) -> tuple[Live, Camera]:
    source = Live(where, f"camera {where}")
    return source, cameras[-1]


def send(camera: Camera, *numbers: int) -> None:
    """Put pictures in, and wait until the reader has taken them all and asks for more."""
    until(lambda: camera.reads == 1 + camera.sent)
    for number in numbers:
        camera.pictures.put(numbered(number))
    camera.sent += len(numbers)
    until(lambda: camera.reads == 1 + camera.sent)


def test_only_the_newest_frame_is_handed_out_and_the_others_are_counted() -> None:
    source, camera = live()
    with source:
        frames = iter(source)
        send(camera, 1, 2, 3, 4, 5)
        first = next(frames)
        assert (number_of(first.bgr), first.index, first.t, source.dropped) == (5, 0, 0.0, 4)
        send(camera, 6)
        second = next(frames)
        assert (number_of(second.bgr), second.index, source.dropped) == (6, 1, 4)
        assert second.t == pytest.approx(second.t_capture - first.t_capture) and second.t > 0
        send(camera, 7, 8)
        assert (number_of(next(frames).bgr), source.dropped) == (8, 5)
        camera.pictures.put(None)
        assert list(frames) == []
        assert source.notes == ["camera 0 stopped sending after 3 frames."]
    assert camera.released == 1


def test_the_last_frame_before_the_end_is_still_handed_out() -> None:
    source, camera = live()
    with source:
        camera.pictures.put(numbered(9))
        camera.pictures.put(None)
        until(lambda: camera.reads == 2 and camera.pictures.empty())
        assert [number_of(frame.bgr) for frame in source] == [9]


def test_a_camera_that_falls_silent_ends_after_a_while() -> None:
    source, camera = live()
    with source:
        send(camera, 1)
        assert len(list(source)) == 1
        assert "stopped sending after 1 frames" in source.notes[0]
        camera.pictures.put(None)


@pytest.mark.parametrize("sends_the_end", [True, False])
def test_a_camera_that_never_sends_is_an_error(sends_the_end: bool) -> None:
    source, camera = live()
    with source:
        if sends_the_end:
            camera.pictures.put(None)
        with pytest.raises(HgrtError, match="No picture came from camera 0"):
            next(iter(source))


def test_closing_does_not_wait_for_a_read_that_is_stuck() -> None:
    source, camera = live()
    until(lambda: camera.reads == 1)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 5
    assert camera.released == 0  # releasing under the reader's feet crashes drivers


def test_closing_twice_and_early_is_fine() -> None:
    source, camera = live()
    camera.pictures.put(None)
    source.close()
    source.close()
    assert camera.released >= 1


def test_what_cannot_be_opened_is_said_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Camera, "opens", False)
    with pytest.raises(HgrtError, match="Cannot open camera 3") as error:
        live(3)
    assert error.value.why
    assert cameras[0].released == 1


@pytest.mark.parametrize(
    ("said", "expected"), [(60.0, 60.0), (0.0, 30.0), (-1.0, 30.0), (90000.0, 30.0), (float("nan"), 30.0)]
)
def test_a_rate_that_makes_no_sense_is_replaced(said: float, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Camera, "fps", said)
    source, camera = live()
    camera.pictures.put(None)
    with source:
        assert source.fps == expected and source.live


def test_only_a_local_camera_is_asked_for_motion_jpeg() -> None:
    for where, asked in ((0, True), ("rtsp://host/x", False)):
        source, camera = live(where)
        camera.pictures.put(None)
        source.close()
        assert (cv2.CAP_PROP_FOURCC in camera.settings) is asked
        assert camera.where == where


def test_the_pictures_are_arrays_of_bytes() -> None:
    source, camera = live()
    with source:
        send(camera, 1)
        assert next(iter(source)).bgr.dtype == np.uint8
        camera.pictures.put(None)
