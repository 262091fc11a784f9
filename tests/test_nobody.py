"""False persons: what is cut out shows nobody who is labelled, and what was found is counted for what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeBackend, fake_estimator, joints_of, picture, pose
from hgrt.data.sample import Sample
from hgrt.errors import HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PERSON = (480.0, 200.0, 240.0)
CORNERS = st.tuples(*[st.integers(-20, 420)] * 2, *[st.integers(1, 300)] * 2)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("nobody")


def sample(person: tuple[float, float, float] = PERSON, name: str = "a.jpg", **changed: Any) -> Sample:
    """A painted person of 640 x 400 pixels, all joints known."""
    known = np.ones(len(MPII), bool)
    joints = joints_of(person)
    box = Box.around(joints, 1.4)
    made = Sample(name, picture(640, 400, person), joints, known, known, known, box, 20.0)
    return replace(made, **changed)


def opens_fake(nobody: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Whatever weights are asked for, those of painted people are opened."""
    weights = folder / "some.onnx"
    weights.write_bytes(b"weights")

    def opened(_: Path | None) -> PoseEstimator:
        backend = FakeBackend()
        backend.info = replace(backend.info, weights=weights)
        return fake_estimator(backend)

    monkeypatch.setattr(nobody, "PoseEstimator", opened)


class Set:
    """A data set of these people."""

    def __init__(self, *people: Sample) -> None:
        self.name, self._people = "made/val", people

    def __len__(self) -> int:
        return len(self._people)

    def get(self, index: int) -> Sample:
        return self._people[index]


# What is cut out


@given(st.lists(CORNERS, max_size=4), st.integers(60, 400), st.integers(60, 400))
def test_the_largest_clear_rectangle_is_clear_and_of_use(
    corners: list[tuple[int, int, int, int]], width: int, height: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        nobody = import_module("nobody")
    taken = [(x, y, x + w, y + h) for x, y, w, h in corners]
    found = nobody.largest_clear(width, height, taken)
    covered = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in taken:
        covered[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    if found is None:  # then no square of that size is clear, wherever it is put
        side = nobody.SMALLEST
        sums = np.pad(covered, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
        if min(width, height) >= side:
            here = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
            assert here.min() > 0
    else:
        x0, y0, x1, y1 = found
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert not covered[y0:y1, x0:x1].any()
        short, long = sorted([x1 - x0, y1 - y0])
        assert short >= nobody.SMALLEST
        assert long <= short * nobody.LONGEST + 1


def test_the_largest_of_two_strips_comes_first_and_none_twice(nobody: ModuleType) -> None:
    scene = nobody.Scene("s", "made", np.zeros((100, 400, 3), np.uint8), ())
    parts = [part.id for part in nobody.empties(scene)]
    assert parts == ["s@111,0+177x100", "s@288,0+112x100"]


def test_a_person_reaches_beyond_the_joints_and_up_to_the_box_where_the_head_is_unknown(nobody: ModuleType) -> None:
    whole, headless = sample(), sample(labelled=np.arange(len(MPII)) != MPII.index("head_top"))
    (x0, y0, x1, y1), up = nobody.reach(whole), nobody.reach(headless)
    low, high = whole.joints.min(axis=0), whole.joints.max(axis=0)
    room = nobody.REACH * whole.box.side
    assert (x0, y0, x1, y1) == pytest.approx((*(low - room), *(high + room)), abs=2)
    assert up[1] <= headless.box.cy - headless.box.side / 2


def test_a_picture_of_two_people_is_one_scene_and_its_empty_parts_show_neither(nobody: ModuleType) -> None:
    other = (100.0, 200.0, 200.0)
    people = Set(sample(name="a.jpg#0"), sample(name="b.jpg"), sample(other, name="a.jpg#1"))
    both, single = nobody.scenes(people, range(3))
    assert (both.id, len(both.people), single.id) == ("made/val/a.jpg", 2, "made/val/b.jpg")
    for part in nobody.empties(both):
        x, y, width, height = (int(n) for n in part.id.partition("@")[2].replace("+", ",").replace("x", ",").split(","))
        assert part.image.shape == (height, width, 3)
        for person in both.people:
            inside = (person.joints >= (x, y)).all(axis=1) & (person.joints < (x + width, y + height)).all(axis=1)
            assert not inside.any()


def test_made_scenes_are_pictures_and_all_different(nobody: ModuleType) -> None:
    made = nobody.made(np.random.default_rng(0))
    assert len({scene.id for scene in made}) == len(made) == len({scene.image.tobytes() for scene in made})
    assert {(scene.image.shape, scene.image.dtype.name) for scene in made} == {((*nobody.SIZE, 3), "uint8")}


# What is found


def test_a_searcher_finds_the_person_in_every_frame_anew(nobody: ModuleType) -> None:
    backend = FakeBackend()
    searcher, image = nobody.Searcher(fake_estimator(backend)), picture(640, 400, PERSON)
    looks, calls = [], []
    for _ in range(8):
        looks.append(nobody.surest(searcher.look(image)))
        calls.append(backend.calls)
    assert looks[0].sure > 0.8
    assert nobody.on_somebody(looks[0].pose, [sample()])
    assert min(after - before for before, after in pairwise(calls)) >= 3  # followed, it would be one look a frame


def test_an_empty_scene_has_no_hint(nobody: ModuleType) -> None:
    looks = nobody.watch(fake_estimator(), picture(640, 400), 3, np.random.default_rng(0))
    assert looks == [[], [], []]
    assert nobody.surest([]) == (0.0, None)
    assert nobody.shown(fake_estimator(), picture(640, 400), 3, np.random.default_rng(0)) == 0


def test_a_still_scene_begins_as_it_is_and_goes_on_with_fresh_noise(nobody: ModuleType) -> None:
    image = np.full((60, 80, 3), 128, np.uint8)
    first, second, third = nobody.still(image, 3, np.random.default_rng(0))
    assert (first == image).all()
    assert second.std() == pytest.approx(nobody.NOISE, rel=0.1)
    assert (second != third).any()


HERE = (0.6, pose(joints_of(PERSON), 0.8))
THERE = (0.7, pose(joints_of((100.0, 200.0, 200.0)), 0.8))


@pytest.mark.parametrize(
    ("frames", "found", "wanted"),
    [
        ([[]], 0.0, "nobody"),
        ([[HERE]], 0.5, "right"),
        ([[HERE]], 0.65, "nobody"),
        ([[], [HERE], [THERE]], 0.5, "right"),
        ([[HERE, THERE]], 0.5, "right"),
        ([[THERE], [HERE]], 0.5, "elsewhere"),
        ([[HERE, THERE]], 0.65, "elsewhere"),  # the first that is sure enough is the one that would be followed
    ],
)
def test_what_was_found_is_right_elsewhere_or_nobody(
    nobody: ModuleType, frames: list[Any], found: float, wanted: str
) -> None:
    assert nobody.outcome(frames, found, [sample()]) == wanted
    assert nobody.outcome(frames, found, []) == ("nobody" if wanted == "nobody" else "elsewhere")


def test_shares_are_of_the_first_frames_or_of_all(nobody: ModuleType) -> None:
    scene = nobody.Scene("s", "made", sample().image, (sample(),))
    seen = [(scene, [[], [HERE]]), (scene, [[HERE], [THERE]])]
    assert nobody.shares(seen, 0.5, 1) == {"right": 0.5, "elsewhere": 0.0, "nobody": 0.5}
    assert nobody.shares(seen, 0.5) == {"right": 1.0, "elsewhere": 0.0, "nobody": 0.0}
    assert nobody.false(seen, 0.5) == {"first": 0.5, "any": 1.0}
    assert nobody.false(seen, 0.65) == {"first": 0.0, "any": 0.5}


def test_a_person_without_labels_is_where_the_box_is(nobody: ModuleType) -> None:
    unknown = sample(labelled=np.zeros(len(MPII), bool))
    x0, y0, x1, y1 = nobody.reach(unknown)
    assert x1 - x0 >= unknown.box.side
    assert y1 - y0 >= unknown.box.side


# The command


def test_the_command_from_sets_to_tables(
    nobody: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opens_fake(nobody, monkeypatch, tmp_path)
    # The second person is not labelled: found in what was taken for empty.
    unlabelled = sample((100.0, 200.0, 240.0))
    both = np.maximum(sample().image, unlabelled.image * (unlabelled.image[..., 1:2] == 0))
    monkeypatch.setattr(nobody, "opened", lambda paths, split: [Set(sample(image=both))] if paths else [])
    monkeypatch.setattr(nobody, "made", lambda rng: [])
    monkeypatch.setattr(nobody, "scenery", lambda count, seed: [picture(200, 200)])
    strike = tmp_path / "strike.txt"
    words = ["--frames", "DATA", "--repeats", "2", "--strike", str(strike), "--out", str(tmp_path / "out")]
    results = []
    for text in ("made/val/none\n", None):
        strike.write_text((tmp_path / "out" / "alarms.txt").read_text() if text is None else text)
        assert nobody.main(words) == 0
        results.append(json.loads((tmp_path / "out" / "nobody.json").read_text()))
    first, second = results
    assert first["empty"]["made/val"]["false"]["first"] > 0
    assert first["empty"]["made/val"]["frames_shown"] > 0
    assert (first["struck"], second["struck"]) == (0, 1)
    assert second["empty"]["all"]["false"]["any"] == 0
    assert first["people"]["made/val"]["right"] == 1
    assert [row["found"] for row in first["by_threshold"]] == list(nobody.THRESHOLDS)
    assert {"alarms.png", "empty.png", "empty.txt"} <= {path.name for path in (tmp_path / "out").iterdir()}
    said = capsys.readouterr()
    assert "no such scene: made/val/none" in said.err
    assert "made/val" in said.out


def test_data_that_are_not_there_are_a_users_mistake(
    nobody: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opens_fake(nobody, monkeypatch, tmp_path)
    assert nobody.main(["--frames", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "There is no data folder" in capsys.readouterr().err
    assert not (tmp_path / "out" / "nobody.json").exists()
    with pytest.raises(HgrtError, match="cannot be read"):
        nobody.struck(tmp_path / "none")


def test_a_set_without_the_split_is_refused_but_a_file_is_its_own(
    nobody: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [SimpleNamespace(split=split, open=lambda: "opened") for split in ("train", "sample")]
    monkeypatch.setattr(nobody, "look", lambda path: found[1:] if path.is_file() else found)
    file = tmp_path / "sample.h5"
    file.touch()
    assert nobody.opened([file], "val") == ["opened"]
    assert nobody.opened([tmp_path], "train") == ["opened"]
    with pytest.raises(HgrtError, match="no val split"):
        nobody.opened([tmp_path], "val")
