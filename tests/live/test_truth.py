"""Where a clip's joints are known, the demo says how right it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import frame, pose
from hgrt.errors import HgrtError
from hgrt.live.truth import TruthSink

BASE = pose()


@pytest.fixture
def truth(tmp_path: Path) -> TruthSink:
    """Three frames of a person who stands still, with a head of 20 pixels."""
    path = tmp_path / "clip.json"
    path.write_text(json.dumps({"joints": [BASE.xy.tolist()] * 3, "head_size": [20.0] * 3}))
    return TruthSink(path)


def rate(sink: TruthSink, bound: float = 0.5) -> float:
    result = sink.result(bound)
    assert result is not None
    return float(result.total.rate)


def test_nothing_seen_is_no_result(truth: TruthSink) -> None:
    assert truth.result() is None


def test_right_wrong_and_missed(truth: TruthSink) -> None:
    image = frame().bgr
    truth.write(frame(0), BASE, image)
    assert rate(truth) == 1.0
    truth.write(frame(1), None, image)  # nobody found: all joints missed
    assert rate(truth) == pytest.approx(1 / 2)
    truth.write(frame(2), replace(BASE, xy=BASE.xy + np.array([0.0, 11.0])), image)  # more than half a head off
    assert rate(truth) == pytest.approx(1 / 3)
    assert rate(truth, bound=0.6) == pytest.approx(2 / 3)


def test_each_frame_is_compared_with_its_own_joints(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    walk = [(BASE.xy + np.array([40.0 * i, 0.0])).tolist() for i in range(4)]
    path.write_text(json.dumps({"joints": walk, "head_size": [20.0] * 4}))
    sink = TruthSink(path)
    for index in (1, 3):  # frames may be left out
        sink.write(frame(index), replace(BASE, xy=np.array(walk[index])), frame().bgr)
    assert rate(sink) == 1.0


def test_frames_beyond_the_known_ones_do_not_count(truth: TruthSink) -> None:
    truth.write(frame(0), BASE, frame().bgr)
    truth.write(frame(7), None, frame().bgr)
    assert rate(truth) == 1.0


@pytest.mark.parametrize(
    "content", [None, b"", b"text", b"{}", b'{"joints": []}', b'{"joints": [[["a"]]], "head_size": [1]}', b"\xff\xfe"]
)
def test_a_file_without_joints_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HgrtError, match="does not hold the joints"):
        TruthSink(path)
