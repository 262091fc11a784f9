"""Every millisecond of a frame belongs to one stage."""

from __future__ import annotations

import threading
import time

import pytest

from hgrt.live.clock import Stopwatch


class Hand:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_stages_get_the_time_since_the_last_mark(hand: Hand) -> None:
    watch = Stopwatch(hand)
    hand.now += 5.0  # before the start: nobody's
    for network in (0.020, 0.040):
        watch.start()
        hand.now += 0.001
        watch.mark("crop")
        hand.now += network
        watch.mark("network")
        hand.now += 0.002
        watch.mark("crop")  # a search looks several times
        watch.end_frame()
    assert watch.stages["crop"] == pytest.approx([3.0, 3.0])
    assert watch.stages["network"] == pytest.approx([20.0, 40.0])
    assert list(watch.stages) == ["crop", "network"]


def test_a_stage_that_a_frame_skips_has_no_entry_for_it(hand: Hand) -> None:
    watch = Stopwatch(hand)
    watch.mark("search")
    watch.end_frame()
    watch.mark("follow")
    watch.end_frame()
    assert {name: len(spent) for name, spent in watch.stages.items()} == {"search": 1, "follow": 1}


def test_a_stage_that_is_over_is_soon_forgotten(hand: Hand) -> None:
    watch = Stopwatch(hand)
    watch.start()
    hand.now += 0.09
    watch.mark("find")
    watch.end_frame()
    for _ in range(29):
        hand.now += 0.01
        watch.mark("network")
        watch.end_frame()
    assert watch.recent() == pytest.approx({"find": 90.0, "network": 10.0})
    watch.mark("network")
    watch.end_frame()
    assert list(watch.recent()) == ["network"]
    assert watch.percentiles(50)["find"] == pytest.approx((90.0,))


def test_frames_a_second_count_over_the_last_frames(hand: Hand) -> None:
    watch = Stopwatch(hand)
    assert watch.fps == 0.0
    watch.end_frame()
    assert watch.fps == 0.0
    hand.now += 100.0  # long ago by the time the window is full
    for _ in range(80):
        hand.now += 0.04
        watch.end_frame()
    assert watch.fps == pytest.approx(25.0)


def test_a_clock_that_stands_still_is_no_division_by_zero(hand: Hand) -> None:
    watch = Stopwatch(hand)
    watch.end_frame()
    watch.end_frame()
    assert watch.fps > 0


def test_what_is_measured_elsewhere_is_added(hand: Hand) -> None:
    watch = Stopwatch(hand)
    for spent in range(1, 101):
        watch.add("write", float(spent))
    assert watch.recent() == {"write": 85.5}  # the last thirty
    middle, high = watch.percentiles(50, 95)["write"]
    assert middle == pytest.approx(50.5) and high == pytest.approx(95.05)


def test_nothing_measured_is_nothing_said(hand: Hand) -> None:
    watch = Stopwatch(hand)
    assert watch.recent() == {} and watch.percentiles(50) == {}


def test_the_age_of_a_frame_is_by_the_monotonic_clock(hand: Hand) -> None:
    assert 2000 <= Stopwatch(hand).age_ms(time.monotonic() - 2.0) < 60_000


def test_it_can_be_read_while_other_threads_add_to_it() -> None:
    watch, over = Stopwatch(), threading.Event()

    def add() -> None:
        for i in range(20_000):
            watch.add(f"stage {i}", 1.0)
        over.set()

    thread = threading.Thread(target=add)
    thread.start()
    while not over.is_set():  # a dictionary that grows while it is walked over raises
        watch.recent()
        watch.percentiles(50)
    thread.join()
    assert len(watch.recent()) == 20_000
