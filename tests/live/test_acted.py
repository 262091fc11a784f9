"""An acted camera keeps a camera's hours: pictures at their due times, the newest to whoever asks, the rest counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fakes import FakeBackend, fake_estimator, number_of, numbered, painted_joints
from hgrt.errors import HgrtError
from hgrt.live import grab
from hgrt.live.acted import ActedCamera
from hgrt.live.clock import Stopwatch
from hgrt.live.loop import run
from hgrt.live.person import Tracker
from hgrt.pose.geometry import Box, Image
from hgrt.pose.heatmaps import Maps

FPS = 8.0  # due times are sums of powers of two, which floating point adds exactly


def idle() -> bool:
    """Whether no camera's thread is left."""
    return not any(thread.name == "grab" for thread in threading.enumerate())


class Hand:
    """A clock that the test turns, and a sleep that it ends. Time stands while the camera's thread is awake."""

    def __init__(self) -> None:
        self.now, self._until = 100.0, 0.0
        self._turned = threading.Condition()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._turned:
            self._until = self.now + seconds
            self._turned.wait_for(lambda: self.now >= self._until, timeout=10)

    def settle(self) -> None:
        """Wait until the camera's thread sleeps, or is gone."""
        deadline = time.monotonic() + 10
        while self._until <= self.now and not idle():
            assert time.monotonic() < deadline, "the camera never came so far"
            time.sleep(0.001)

    def turn(self, seconds: float) -> None:
        self.settle()
        with self._turned:
            self.now += seconds
            self._turned.notify_all()
        self.settle()


@pytest.fixture
def hand() -> Iterator[Hand]:
    clock = Hand()
    yield clock
    clock.turn(1000.0)  # lets a sleeping thread go
    assert idle()


def acted(count: int, hand: Hand) -> ActedCamera:
    return ActedCamera([numbered(k) for k in range(count)], FPS, clock=hand, sleep=hand.sleep)


def test_each_picture_comes_at_its_due_time(hand: Hand) -> None:
    with acted(4, hand) as camera:
        hand.turn(5.0)  # before somebody asks, time does not count
        frames = iter(camera)
        for k in range(4):
            frame = next(frames)
            assert (number_of(frame.bgr), frame.index, frame.t) == (k, k, k / FPS)
            assert frame.t_capture == hand.now == 105.0 + k / FPS
            hand.turn(1 / FPS)
        assert list(frames) == []
        assert (camera.live, camera.fps, camera.frames, camera.dropped) == (True, FPS, 4, 0)


def test_waking_late_delays_no_picture_after(hand: Hand) -> None:
    with acted(3, hand) as camera:
        frames = iter(camera)
        next(frames)
        hand.turn(1.25 / FPS)
        assert next(frames).t_capture == 100.0 + 1 / FPS
        hand.turn(0.75 / FPS)
        assert next(frames).t_capture == hand.now == 100.0 + 2 / FPS


def test_what_nobody_fetched_in_time_is_dropped_and_counted(hand: Hand) -> None:
    with acted(9, hand) as camera:
        frames = iter(camera)
        assert number_of(next(frames).bgr) == 0
        hand.turn(4 / FPS)
        assert (number_of(next(frames).bgr), camera.dropped) == (4, 3)
        hand.turn(100.0)  # past the end: the last picture is still to be had
        assert [number_of(frame.bgr) for frame in frames] == [8]
        assert camera.dropped == 6


def test_the_loop_counts_ages_from_the_due_time(hand: Hand) -> None:
    """2.5 pictures long at work: 0, then 2 (half old), 5 (just due), 7 (half old)."""

    def works(crop: Image) -> Maps:
        hand.turn(2.5 / FPS)
        return painted_joints(crop, 48)

    with acted(8, hand) as camera:
        tracker = Tracker(fake_estimator(FakeBackend(works)), Box(32, 24, 48))
        summary = run(camera, tracker, [], lambda *_: None, Stopwatch(), clock=hand)
    assert summary.ages_ms == [312.5, 375.0, 312.5, 375.0]
    assert (summary.frames, summary.dropped) == (4, 4)


def test_by_the_real_clock_every_picture_is_handed_out_or_counted() -> None:
    with ActedCamera([numbered(k) for k in range(20)], 500.0) as camera:
        seen = [number_of(frame.bgr) for frame in camera]
    assert seen == sorted(set(seen)) and seen[-1] == 19
    assert len(seen) + camera.dropped == 20


def test_the_loop_may_draw_on_what_it_gets(hand: Hand) -> None:
    picture = numbered(3)
    with ActedCamera([picture], FPS, clock=hand, sleep=hand.sleep) as camera:
        next(iter(camera)).bgr[:] = 0
    assert number_of(picture) == 3


@pytest.mark.parametrize("asks", [lambda camera: None, lambda camera: next(iter(camera))])
def test_it_may_be_closed_early_and_twice(asks: Callable[[ActedCamera], object]) -> None:
    camera = ActedCamera([np.zeros((4, 4, 3), np.uint8)] * 1000, 200.0)
    asks(camera)
    camera.close()
    camera.close()
    assert idle()


def test_no_pictures_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grab, "PATIENCE_S", 0.1)
    with ActedCamera([], 25.0, "nothing") as camera, pytest.raises(HgrtError, match="No picture came from nothing"):
        next(iter(camera))
