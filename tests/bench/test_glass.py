"""Glass to glass before an acted screen and camera, whose delays are known to the microsecond: nothing is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from fakes import SPEC, WHERE, FakeBackend, fake_estimator, gaussians
from hgrt.bench import glass
from hgrt.bench.glass import FEWEST, GlassResult, beside_code, run_glass
from hgrt.errors import HgrtError
from hgrt.live.source import Frame, Source
from hgrt.pose.geometry import Image
from hgrt.pose.heatmaps import Maps

SHOWING = 0.003  # seconds that refreshing the window takes
WINDOW = np.array([(0, 0), (1119, 0), (1119, 479), (0, 479)], np.float32)
IN_VIEW = np.array([(35, 95), (610, 120), (600, 370), (25, 330)], np.float32)
"""The window's corners, in its pixels and in those of a camera that stands askew and sees all of it."""
CODE = (slice(120, 320), slice(40, 250))
"""Where that camera sees the code."""


class Hand:
    """A clock that the network, the screen and the camera turn."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Optics(Source):
    """A camera that sees what its screen was given `delay` seconds earlier: askew, blurred, dim and noisy.

    Every `period` seconds there is a new picture; who comes late gets the newest. `spoil` may change the camera's
    picture of that number.
    """

    live = True

    def __init__(
        self, hand: Hand, delay: float, period: float, spoil: Callable[[int, Image], None] = lambda index, seen: None
    ) -> None:
        super().__init__("optics")
        self._hand, self._delay, self._period, self._spoil = hand, delay, period, spoil
        self._given: list[tuple[float, Image]] = []
        self._noise = np.random.default_rng(0).normal(25, 6, (480, 640, 1)).astype(np.float32)

    def show(self, picture: Image) -> None:
        self._hand.now += SHOWING
        self._given.append((self._hand.now, picture.copy()))

    def __iter__(self) -> Iterator[Frame]:
        start, turn, index = self._hand.now, 0, 0
        while True:
            turn = max(turn + 1, int((self._hand.now - start) / self._period))
            due = start + turn * self._period
            self._hand.now = max(self._hand.now, due)
            seen = self._view(due - self._delay)
            self._spoil(index, seen)
            yield Frame(seen, index, due - start, due)
            index += 1

    def _view(self, when: float) -> Image:
        lit = [picture for shown, picture in self._given if shown <= when]
        if not lit:
            return np.full((480, 640, 3), 60, np.uint8)
        bent = cv2.warpPerspective(
            lit[-1], cv2.getPerspectiveTransform(WINDOW, IN_VIEW), (640, 480), borderValue=(90, 90, 90)
        )
        dim = np.float32(0.55) * cv2.GaussianBlur(bent, (0, 0), 1.2)
        return np.clip(dim + np.roll(self._noise, len(lit), axis=0), 0, 255).astype(np.uint8)


def working(hand: Hand, seconds: float, person: float = 0.0) -> FakeBackend:
    """A network that takes so long, and sees a person of so much of the picture's width in the middle of the code."""

    def answer(crop: Image) -> Maps:
        hand.now += seconds
        cells = SPEC.heatmap
        return gaussians(np.array([0.22, 0.46]) * cells + WHERE * person * cells, cells)

    return FakeBackend(answer)


def measured(hand: Hand, optics: Optics, work: float, seconds: float = 1.0, person: float = 0.0) -> GlassResult:
    return run_glass(optics, fake_estimator(working(hand, work, person)), seconds, optics.show, clock=hand)


@pytest.mark.parametrize(
    ("delay", "period", "work"),
    [
        (0.040, 1 / 30, 0.012),  # in step with the camera
        (0.150, 1 / 60, 0.012),  # many codes on their way at once
        (0.021, 1 / 30, 0.047),  # slower than the camera
    ],
)
def test_what_is_known_is_measured_to_one_shown_picture(delay: float, period: float, work: float) -> None:
    hand = Hand()
    found = measured(hand, Optics(hand, delay, period), work)
    assert found.read >= found.frames - 2 - (delay + work + period) // period  # all but those that saw no code yet
    computing = 1000 * (work + SHOWING)
    assert computing - 1e-6 <= found.age.p50 <= computing + 1000 * period
    assert -1e-6 <= found.latency.mean - (1000 * delay + found.age.mean) < found.step
    assert found.latency.runs == found.age.runs == found.read


def test_in_step_with_the_camera_every_latency_is_the_same_number_of_steps() -> None:
    hand = Hand()
    found = measured(hand, Optics(hand, 0.040, 0.032), 0.012)
    assert (found.latency.p50, found.latency.max) == pytest.approx((64.0, 64.0))  # 55 of delay, network and showing
    assert (found.age.p50, found.step) == pytest.approx((15.0, 32.0))
    assert found.detect_ms == 0.0  # it takes none of this clock's time


def test_the_older_code_in_the_picture_on_the_screen_never_counts() -> None:
    """Where the code itself is hidden, the camera still reads the one in its own picture."""

    def hide(index: int, seen: Image) -> None:
        if index % 3 == 2:
            seen[CODE] = 120

    hand = Hand()
    found = measured(hand, Optics(hand, 0.040, 0.032, hide), 0.012, seconds=3)
    assert found.latency.max == pytest.approx(64.0)
    assert found.frames / 2 < found.read <= found.frames * 2 / 3


def test_a_skeleton_drawn_across_the_code_spoils_nothing() -> None:
    hand = Hand()
    found = measured(hand, Optics(hand, 0.040, 0.032), 0.012, person=0.3)
    assert found.read >= found.frames - 3


def only_the_code(index: int, seen: Image) -> None:
    """With so few codes, those in the picture in the picture would look new."""
    seen[:, CODE[1].stop :] = 120


def test_codes_come_round_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glass, "COUNT", 16)
    hand = Hand()
    found = measured(hand, Optics(hand, 0.200, 0.032, only_the_code), 0.012, seconds=1.5)
    assert found.frames > 2 * 16
    assert found.latency.max == pytest.approx(7 * 32)


def test_a_code_that_may_be_a_round_older_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glass, "COUNT", 16)
    hand = Hand()
    with pytest.raises(HgrtError, match="The camera read 0 time codes"):
        measured(hand, Optics(hand, 0.350, 0.032, only_the_code), 0.012)


def test_a_camera_that_looks_elsewhere_is_told_what_to_do() -> None:
    hand = Hand()
    with pytest.raises(HgrtError, match="The camera read 0 time codes") as error:
        measured(hand, Optics(hand, 99.0, 0.032), 0.012)
    assert "fifth of the picture" in error.value.fix


def test_a_glimpse_is_not_enough() -> None:
    hand = Hand()
    with pytest.raises(HgrtError, match=f"The camera read {FEWEST - 1} time codes"):
        measured(hand, Optics(hand, 0.040, 0.032), 0.012, seconds=0.032 * (FEWEST + 1))


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (360, 640)])
def test_the_code_stands_on_white_beside_the_picture_as_it_is(width: int, height: int) -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    shown = beside_code(drawn, 7)
    assert np.array_equal(shown[:, height:], drawn) and shown.shape[0] == height
    edge = height // 8  # three quarters of a block is what a reader needs
    assert shown[:edge, :height].min() == shown[:, :edge].min() == shown[:, height - edge : height].min() == 255
    corners, numbers, _ = cv2.aruco.ArucoDetector(glass.CODES).detectMarkers(shown[:, :height])
    assert np.ravel(numbers).tolist() == [7] and len(corners) == 1


def test_a_film_cannot_look_at_the_screen() -> None:
    hand = Hand()
    optics = Optics(hand, 0.040, 0.032)
    optics.live = False
    with pytest.raises(HgrtError, match="optics is not a camera"):
        measured(hand, optics, 0.012)


def test_without_a_screen_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glass, "can_show", lambda: False)
    hand = Hand()
    with pytest.raises(HgrtError, match="no screen") as error:
        run_glass(Optics(hand, 0.040, 0.032), fake_estimator(), 1.0, clock=hand)
    assert "--glass" in error.value.fix


def test_closing_the_window_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand()
    optics = Optics(hand, 0.040, 0.032)
    pictures, closed = list[tuple[int, ...]](), list[str]()

    class Window(glass.Sink):
        """In place of the real one; the user closes it after 30 pictures."""

        def __init__(self, source: Source, title: str) -> None:
            assert source is optics

        def write(self, frame: Frame, pose: object, drawn: Image) -> None:
            pictures.append(drawn.shape)
            optics.show(drawn)

        @property
        def stopped(self) -> bool:
            return len(pictures) >= 30

        def close(self) -> None:
            closed.append("window")

    monkeypatch.setattr(glass, "can_show", lambda: True)
    monkeypatch.setattr(glass, "WindowSink", Window)
    found = run_glass(optics, fake_estimator(working(hand, 0.012)), 60.0, clock=hand)
    assert (found.frames, len(pictures), closed) == (30, 30, ["window"])
    assert found.latency.p50 == pytest.approx(64.0)
    assert set(pictures) == {(480, 1120, 3)}
