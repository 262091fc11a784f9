"""Jitter: a network that does not move has none, one that does has as much as it moves."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import WHERE, FakeBackend, fake_estimator, gaussians, joints_of, painted_joints, picture
from hgrt.data.sample import Sample
from hgrt.pose.geometry import Box, Image
from hgrt.pose.heatmaps import Maps
from hgrt.pose.skeleton import MPII

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TALL = 200.0
PERSON = (200.0, 160.0, TALL)


@pytest.fixture
def jitter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = import_module("jitter")
    monkeypatch.setattr(module, "SETTLING", 3)
    return module


def sample(half: bool = False) -> Sample:
    """A painted person; of half a one no legs are known."""
    known = (
        np.array(["ankle" not in name and "knee" not in name for name in MPII.joints]) if half else np.ones(16, bool)
    )
    joints = joints_of(PERSON)
    return Sample("a.jpg", picture(400, 320, PERSON), joints, known, known, known, Box(200, 160, 280), 20.0)


def seen(jitter: ModuleType, backend: FakeBackend, frames: int, shake: float = 0.0) -> dict[str, Any]:
    """The person in both variants."""
    scene = jitter.Scene("a.jpg", "made", sample().image, (sample(),))
    return dict(jitter.stills(fake_estimator(backend), scene, frames, shake))


def swaying(step: float) -> FakeBackend:
    """All joints to the left and right by `step` cells (standard deviation), whatever is in the picture."""
    rng = np.random.default_rng(0)

    def answer(crop: Image) -> Maps:
        cells = backend.info.spec.heatmap
        joints = (cells - 1) / 2 + WHERE * [cells / 2.8, cells / 1.4]  # so that the next box is the same
        return gaussians(joints + [rng.normal(0, step), 0], cells, 0.9)

    backend = FakeBackend(answer)
    return backend


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_jitter_is_what_the_network_sways_by(jitter: ModuleType, step: float) -> None:
    backend = swaying(step)
    cell, fixed = sample().box.side / backend.info.spec.heatmap, seen(jitter, backend, 30)["fixed"]
    assert fixed.jitter == pytest.approx(np.full(16, 100 * step * cell / TALL), rel=0.4, abs=1e-3)
    assert fixed.sure.all()


def test_the_known_shift_of_a_shaken_camera_is_taken_off(jitter: ModuleType) -> None:
    for shake in (0.0, 3.0):
        for one in seen(jitter, FakeBackend(), 12, shake).values():
            assert one.jitter.max() * TALL / 100 < 1.5  # pixels; the shift alone would be 4


def test_a_person_who_is_lost_does_not_count(jitter: ModuleType) -> None:
    answers = 0

    def fading(crop: Image) -> Maps:
        nonlocal answers
        answers += 1
        found = painted_joints(crop, 48)
        return found if answers <= 60 else np.zeros_like(found)

    lost = seen(jitter, FakeBackend(fading), 40)
    assert lost["followed"] is None
    both = jitter.summary([lost["followed"], jitter.Still("b.jpg", np.full(16, 2.0), np.ones(16))])
    assert (both["clips"], both["held"]) == (2, 1)
    assert both["sure"]["p50"] == 2.0
    assert both["sure_below_target"] == 0
    nothing = jitter.summary([None])
    assert (nothing["sure"], nothing["sure_below_target"]) == ({}, None)


def test_who_is_not_labelled_does_not_count(jitter: ModuleType) -> None:
    elsewhere = replace(sample(), joints=joints_of((60.0, 60.0, 80.0)), box=Box(60, 60, 112))
    scene = jitter.Scene("a.jpg", "made", elsewhere.image, (elsewhere,))
    assert dict(jitter.stills(fake_estimator(), scene, 3, 0.0))["followed"] is None


def test_unsure_joints_count_only_among_all(jitter: ModuleType) -> None:
    score = np.where(np.arange(16) < 8, 0.9, 0.1)
    still = jitter.Still("a.jpg", np.where(score > 0.5, 0.5, 30.0), score)
    one = jitter.summary([still])
    assert (one["sure"]["p95"], one["sure_joints"], one["sure_below_target"]) == (0.5, 8, 1.0)
    assert one["all"]["p95"] == 30.0
    assert one["joints"]["l_wrist"] == {}
    assert one["worst"] == {"a.jpg": 0.5}


def test_the_height_is_of_the_joints_or_for_half_a_figure_of_the_box(jitter: ModuleType) -> None:
    assert jitter.height_of(sample()) == pytest.approx(TALL)
    assert jitter.height_of(sample(half=True)) == pytest.approx(280 / 1.4)


@given(st.integers(2, 30), st.floats(0.01, 50))
def test_spread_is_the_distance_from_the_mean(frames: int, radius: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        spread = import_module("jitter").spread
    angles = np.arange(frames) * 2 * np.pi / frames
    circle = radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None] + [70, -30]
    assert spread(circle) == pytest.approx([radius])


def test_an_exposure_is_moved_noisy_and_no_two_are_the_same(jitter: ModuleType) -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 40:] = 200
    one, other = (jitter.exposure(image, np.zeros(2), rng) for _ in range(2))
    assert one.shape == image.shape
    assert (one != other).any()
    assert 1 < one[:, 60:].std() < jitter.NOISE
    moved = jitter.exposure(image, np.array([4.0, 0.0]), rng)
    assert (moved[:, 40:43].mean() < 60) & (moved[:, 46:].mean() > 180)


def test_the_command_writes_and_prints(
    jitter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Set:
        name = "made/val"

        def __len__(self) -> int:
            return 1

        def get(self, index: int) -> Sample:
            return sample()

    backend = FakeBackend()
    backend.info = replace(backend.info, weights=tmp_path / "some.onnx")
    backend.info.weights.write_bytes(b"weights")
    monkeypatch.setattr(jitter, "PoseEstimator", lambda _: fake_estimator(backend))
    monkeypatch.setattr(jitter, "opened", lambda paths, split: [Set()])
    assert jitter.main(["--frames", "DATA", "--count", "5", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "jitter.json").read_text())
    assert set(result["sets"]) == {"made/val", "all"}
    assert result["sets"]["all"]["followed"]["held"] == 1
    assert result["sets"]["all"]["fixed"]["sure"]["p50"] < 0.5
    assert "made/val" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        jitter.parse(["--frames", "DATA", "--out", "o", "--shake", "-1"])
    assert "--shake" in capsys.readouterr().err
