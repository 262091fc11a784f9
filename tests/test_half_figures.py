"""Half figures: what is left of a person whose picture ends below the hips, and what is drawn of the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fakes import FakeBackend, fake_estimator, gaussians, joints_of, painted_joints, picture
from hgrt.data.sample import Sample
from hgrt.pose.geometry import Box, Image, apply, heatmap_to_image, invert
from hgrt.pose.heatmaps import Maps
from hgrt.pose.skeleton import MPII

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PERSON = (200.0, 160.0, 240.0)
HIPS, KNEES, ANKLES = 183, 219, 279  # rows of the painted person's lower hip, and of the knees and ankles


@pytest.fixture
def half_figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("half_figures")


def sample(known: np.ndarray | None = None, height: int = 320) -> Sample:
    known = np.ones(16, bool) if known is None else known
    image = picture(400, 320, PERSON)[:height]
    return Sample("a.jpg", image, joints_of(PERSON), known, known, known, Box(200, 160, 330), 20.0)


def test_the_picture_ends_between_hips_and_knees(half_figures: ModuleType) -> None:
    half = half_figures.half_figure(sample())
    assert HIPS < len(half.image) < KNEES
    assert not half.labelled[half_figures.LEGS].any()
    assert half.labelled.sum() == 12
    assert half.box == Box.around(half.joints[half.labelled], 1.4)


def awkward(case: str) -> Sample:
    """The person in a way that leaves no half figure, or no shins, to cut."""
    whole = sample()
    xy, known = whole.joints.copy(), whole.labelled.copy()
    if case == "upside down":
        xy[:, 1] = 320 - xy[:, 1]
    elif case == "lying":
        xy = xy[:, ::-1].copy()
    elif case.startswith("no "):
        known[MPII.index(case.removeprefix("no "))] = False
    elif case == "crouching":
        xy[MPII.index("r_knee")] = xy[MPII.index("r_hip")]
    else:
        assert case == "kneeling"
        xy[MPII.index("r_ankle")] = xy[MPII.index("r_knee")]
    return replace(whole, joints=xy, labelled=known)


@pytest.mark.parametrize("case", ["upside down", "lying", "no l_knee", "no r_hip", "crouching"])
def test_who_cannot_be_halved_is_not(half_figures: ModuleType, case: str) -> None:
    assert half_figures.half_figure(awkward(case)) is None


def test_who_is_a_half_figure_already_is_one_where_the_picture_ends(half_figures: ModuleType) -> None:
    known = np.array([not name.endswith(("knee", "ankle")) for name in MPII.joints])
    assert half_figures.half_figure(sample(known)).image.shape == (320, 400, 3)
    inside = replace(sample(known), box=Box(200, 160, 250))  # legs may be there, only without labels
    assert half_figures.half_figure(inside) is None


def test_feet_are_cut_off_below_the_knees(half_figures: ModuleType) -> None:
    shin = half_figures.without_feet(sample())
    assert KNEES < len(shin.image) < (KNEES + ANKLES) / 2
    assert not shin.labelled[half_figures.ANKLES].any()
    assert shin.labelled.sum() == 14
    assert shin.box == Box.around(shin.joints[shin.labelled], 1.4)


@pytest.mark.parametrize("case", ["upside down", "no l_ankle", "no r_hip", "kneeling"])
def test_whose_feet_cannot_be_cut_off_keeps_them(half_figures: ModuleType, case: str) -> None:
    assert half_figures.without_feet(awkward(case)) is None


def test_the_command_counts_what_is_drawn(
    half_figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Right and left knee, right and left ankle. Both people are looked at in their boxes first.
    heights = {3: (0.42, 0.32, 0.22, 0.12), 4: (0.9, 0.42, 0.22, 0.12)}  # the half figure; cut below the knees

    shin = half_figures.without_feet(sample())
    places = np.where(shin.labelled[:, None], shin.joints, shin.joints[MPII.index("r_knee")])  # feet are found there
    cells = apply(invert(heatmap_to_image(shin.box, 48, 192)), places)

    class Set:
        name = "made/val"

        def __len__(self) -> int:
            return 2

        def get(self, index: int) -> Sample:
            return sample() if index else replace(sample(), labelled=np.zeros(16, bool))

    def answer(crop: Image) -> Maps:
        maps = gaussians(cells, 48) if backend.calls == 4 else painted_joints(crop, 48)
        if backend.calls in heights:
            for leg, height in zip(half_figures.LEGS, heights[backend.calls], strict=True):
                maps[leg] *= height / maps[leg].max()
        return maps

    backend = FakeBackend(answer)
    backend.info = replace(backend.info, weights=tmp_path / "some.onnx")
    backend.info.weights.write_bytes(b"weights")
    monkeypatch.setattr(half_figures, "PoseEstimator", lambda _: fake_estimator(backend))
    monkeypatch.setattr(half_figures, "opened", lambda paths, split: [Set()])
    assert half_figures.main(["--data", "DATA", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "half-figures.json").read_text())
    assert (result["people"], result["half_figures"], result["joints"]["absent"]) == (2, 1, 4)
    assert (result["without_feet"], result["joints"]["feet"], result["joints"]["knees"]) == (1, 2, 2)
    bounds = ("0.1", "0.15", "0.25", "0.3", "0.35", "0.5")  # the legs' means: 0.3 and 0.5
    assert [result["drawn"][bound]["absent"] for bound in bounds] == [1, 0.75, 0.5, 0.5, 0, 0]
    assert [result["drawn"][bound]["feet"] for bound in bounds] == [1, 0.5, 0, 0, 0, 0]
    assert [result["drawn"][bound]["knees"] for bound in bounds] == [1, 1, 1, 1, 1, 0]
    assert result["drawn"]["0.5"]["right"] == 1
    assert (result["drawn_from"], result["alone"]["absent"], result["alone"]["knees"]) == (0.35, 0.25, 1)
    assert "legs, cut off above" in capsys.readouterr().out


def test_data_without_half_figures_end_with_a_message(
    half_figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(half_figures, "PoseEstimator", lambda _: fake_estimator(backend))
    backend = FakeBackend()
    backend.info = replace(backend.info, weights=tmp_path / "some.onnx")
    backend.info.weights.write_bytes(b"weights")
    monkeypatch.setattr(half_figures, "opened", lambda paths, split: [])
    assert half_figures.main(["--data", "DATA", "--out", str(tmp_path)]) == 2
    assert "no half figures" in capsys.readouterr().err
    assert not (tmp_path / "half-figures.json").exists()
