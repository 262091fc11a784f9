"""From source to sinks through the real loop, with only the network replaced."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import FakeBackend, fake_estimator, joints_of, number_of, numbered, picture, read_video, write_video
from hgrt.errors import HgrtError
from hgrt.live.clock import Stopwatch
from hgrt.live.loop import Summary, ahead, run
from hgrt.live.person import Tracker
from hgrt.live.sink import JsonlSink, Sink, VideoSink
from hgrt.live.smooth import OneEuro
from hgrt.live.source import Frame, Source, open_source
from hgrt.pose.geometry import Box, Image
from hgrt.pose.pose import Pose


class Film(Source):
    """Numbered pictures; raises `error` after the last, if one is given."""

    def __init__(self, count: int, error: BaseException | None = None, live: bool = False) -> None:
        super().__init__("film")
        self._count, self._error, self.live = count, error, live
        self.given = 0

    def __iter__(self) -> Iterator[Frame]:
        for i in range(self._count):
            self.given += 1
            yield Frame(numbered(i % 64), i, i / 25, time.monotonic())
        if self._error is not None:
            raise self._error


class Keep(Sink):
    """Remembers what it was given."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.frames: list[int] = []
        self.poses: list[Pose | None] = []
        self.pictures: list[Image] = []
        self._fails_at = fails_at
        self.closed = 0

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        if frame.index == self._fails_at:
            raise HgrtError("The disk is full.")
        self.frames.append(frame.index)
        self.poses.append(pose)
        self.pictures.append(drawn)

    def close(self) -> None:
        self.closed += 1


def no_drawing(*_: object) -> None:
    """Draws nothing."""


def go(source: Source, *sinks: Sink, **options: Any) -> Summary:
    tracker = options.pop("tracker", None) or Tracker(fake_estimator(), Box(32, 24, 48))
    return run(source, tracker, sinks, options.pop("draw", no_drawing), Stopwatch(), **options)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name in ("decode", "encode", "grab")] == []


@pytest.mark.parametrize("live", [False, True])
def test_every_frame_in_order_through_every_sink(live: bool) -> None:
    keep, other = Keep(), Keep()
    summary = go(Film(50, live=live), keep, other)
    assert keep.frames == other.frames == list(range(50))
    assert [number_of(one) for one in keep.pictures] == list(range(50))
    assert (summary.frames, summary.found, summary.dropped) == (50, 50, 0)
    assert summary.seconds > 0
    assert summary.fps == pytest.approx(50 / summary.seconds)
    assert len(summary.ages_ms) == (50 if live else 0)


def test_nothing_at_all_is_a_summary_of_nothing() -> None:
    summary = go(Film(0))
    assert (summary.frames, summary.fps) == (0, 0.0)


@pytest.mark.parametrize(("wanted", "expected"), [(1, 1), (7, 7), (100, 30)])
def test_max_frames_ends_it(wanted: int, expected: int) -> None:
    keep = Keep()
    assert go(Film(30), keep, max_frames=wanted).frames == expected
    assert keep.frames == list(range(expected))


def test_stopped_ends_it_after_the_current_frame() -> None:
    keep = Keep()
    assert go(Film(1000), keep, stopped=lambda: len(keep.frames) >= 5).frames == 5
    assert keep.frames == list(range(5))


def test_reading_ahead_is_bounded() -> None:
    source = Film(1000)
    go(source, max_frames=3)
    assert source.given < 20


@pytest.mark.parametrize("error", [HgrtError("It broke."), RuntimeError("bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("live", [False, True])
def test_what_goes_wrong_while_reading_is_raised_after_the_frames_before_it(error: BaseException, live: bool) -> None:
    keep = Keep()
    with pytest.raises(type(error)) as caught:
        go(Film(6, error, live), keep)
    assert caught.value is error
    assert keep.frames == list(range(6))


def test_what_goes_wrong_in_a_sink_is_raised_and_the_reader_ends() -> None:
    first, second = Keep(fails_at=4), Keep()
    with pytest.raises(HgrtError, match="disk is full"), ExitStack() as stack:
        stack.enter_context(first)
        stack.enter_context(second)
        go(Film(1000), first, second)
    assert first.frames == list(range(4))
    assert (first.closed, second.closed) == (1, 1)


def test_what_goes_wrong_in_the_network_is_raised_and_the_reader_ends() -> None:
    backend = FakeBackend()
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        go(Film(1000), tracker=Tracker(fake_estimator(backend), Box(32, 24, 48)))


def test_a_slow_loop_loses_no_frame_of_a_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", [numbered(i) for i in range(30)])
    keep = Keep()
    with open_source(str(path)) as source:
        summary = go(source, keep, draw=lambda *_: time.sleep(0.004))
        assert source.dropped == summary.dropped == 0
    assert [number_of(one) for one in keep.pictures] == list(range(30))


def test_after_an_error_reading_ahead_is_over() -> None:
    frames = ahead(Film(1, RuntimeError("bug")), Stopwatch())
    next(frames)
    with pytest.raises(RuntimeError, match="bug"):
        next(frames)
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(next(frames, None)), daemon=True)
    thread.start()
    thread.join(timeout=3)
    assert ended == [None], "asking once more hangs"


def test_the_drawing_is_what_the_sinks_get() -> None:
    keep = Keep()
    seen: list[tuple[int, bool, bool]] = []

    def draw(frame: Frame, pose: Pose | None, watch: Stopwatch, source: Source) -> None:
        seen.append((frame.index, pose is not None, source.live))
        frame.bgr[:] = 7

    go(Film(3), keep, draw=draw)
    assert seen == [(0, True, False), (1, True, False), (2, True, False)]
    assert all((one == 7).all() for one in keep.pictures)


def test_every_stage_is_timed_for_every_frame() -> None:
    watch = Stopwatch()
    run(Film(10), Tracker(fake_estimator(), Box(32, 24, 48)), [], no_drawing, watch)
    counts = {stage: len(spent) for stage, spent in watch.stages.items()}
    assert {"wait", "crop", "network", "decode", "draw", "hand on"} <= set(counts)
    assert set(counts.values()) == {10}


def test_a_lost_person_resets_the_smoothing() -> None:
    class Told(OneEuro):
        resets = 0

        def reset(self) -> None:
            Told.resets += 1
            OneEuro.reset(self)

    person = (128.0, 96.0, 120.0)
    sizes = [person, person, None, None, person]

    class Visits(Film):
        def __iter__(self) -> Iterator[Frame]:
            for i, who in enumerate(sizes):
                yield Frame(picture(256, 192, who), i, i / 25, 0.0)

    keep = Keep()
    summary = go(Visits(5), keep, tracker=Tracker(fake_estimator()), smooth=Told())
    assert [pose is not None for pose in keep.poses] == [True, True, False, False, True]
    assert summary.found == 3
    assert Told.resets == 2


def test_end_to_end_from_a_video_to_a_video_and_joints(tmp_path: Path) -> None:
    path = [(120 + 4.0 * i, 120 + 1.0 * i, 110.0) for i in range(40)]
    film = write_video(tmp_path / "in.mkv", [picture(400, 240, person) for person in path], "MJPG")
    out, lines = tmp_path / "out.mp4", tmp_path / "joints.jsonl"
    with open_source(str(film)) as source, VideoSink(out, source.fps) as video, JsonlSink(lines) as joints:
        summary = go(source, video, joints, tracker=Tracker(fake_estimator()), smooth=OneEuro())
    assert (summary.frames, summary.found) == (40, 40)
    back = read_video(out)
    assert len(back) == 40 and back[0].shape == (240, 400, 3)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(40))
    for row, person in zip(rows, path, strict=True):
        found = np.array(row["people"][0]["keypoints"])[:, :2]
        assert np.linalg.norm(found - joints_of(person), axis=1).mean() < 0.1 * person[2]
