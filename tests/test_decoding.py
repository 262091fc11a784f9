"""Decoding compared: every way sees the same maps, and tells a spike from a hill as it should."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fakes import FakeBackend, gaussians, joints_of, painted_joints, picture
from hgrt.data.sample import Sample
from hgrt.pose import heatmaps
from hgrt.pose.geometry import Box, Image
from hgrt.pose.heatmaps import Maps
from packing import pack

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PEOPLE = [(200.0, 160.0, 200.0), (150.0, 200.0, 120.0), (260.0, 180.0, 160.0)]


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("decoding")


class Painted:
    """Painted people, one a picture."""

    name = "painted/val"

    def __len__(self) -> int:
        return len(PEOPLE)

    def get(self, index: int) -> Sample:
        one = PEOPLE[index]
        every = np.ones(16, bool)
        box = Box(one[0], one[1], 1.4 * one[2])
        return Sample(f"{index}.jpg", picture(400, 320, one), joints_of(one), every, every, every, box, 0.1 * one[2])


def spiked(crop: Image) -> Maps:
    """The painted joints, and a higher spike where none is."""
    maps = painted_joints(crop, 48)
    maps[:, 3, 40] = 1.2
    return maps


def test_only_what_smooths_finds_hills_beside_spikes(decoding: ModuleType) -> None:
    backend = FakeBackend(spiked)
    rows = decoding.measure(backend, [Painted()])
    assert backend.calls == 1, "the network is asked once"
    right = {(tuple(row["reaches"]), row["beyond"]): row["sets"]["painted/val"]["0.5"] for row in rows}
    assert len(right) == len(rows) == 2 * len(decoding.REACHES) - 1
    assert right[(), "nothing"] == 0
    assert all(right[(1, 2), beyond] == 100 for beyond in decoding.BEYOND)
    assert [tuple(row["reaches"]) for row in rows if row["in_use"]] == [heatmaps.SMOOTHINGS]
    assert "not smoothed" in str(decoding.table(rows).columns[0]._cells)


def test_beyond_the_edge_a_map_is_empty_or_goes_on(decoding: ModuleType) -> None:
    maps = gaussians(np.full((16, 2), 0.0), 48)[None]
    usual = heatmaps.smoothed(maps)
    flat = np.ones((1, 1, 12, 12), np.float32)
    with decoding.decoded_with((1, 2), "as at the edge"):
        assert heatmaps.smoothed(maps)[0, 0, 0, 0] > usual[0, 0, 0, 0]
        assert (heatmaps.smoothed(flat) == 1).all()
    with decoding.decoded_with((), "nothing"):
        assert np.array_equal(heatmaps.smoothed(maps), maps)
    with decoding.decoded_with(heatmaps.SMOOTHINGS, "nothing"):
        assert np.array_equal(heatmaps.smoothed(maps), usual)
    assert np.array_equal(heatmaps.smoothed(maps), usual), "what is in use is back"


def test_what_was_measured_is_written(decoding: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(tmp_path / "some", "val", 3)
    assert decoding.main(["--data", str(tmp_path / "some"), "--out", str(tmp_path / "found.json")]) == 0
    said = json.loads((tmp_path / "found.json").read_text())
    assert said["command"] == "python benchmarks/decoding.py --data some --out found.json"
    assert said["people"] == {"some/val": 3} and len(said["ways"]) == 2 * len(decoding.REACHES) - 1
    assert "some/val" in capsys.readouterr().out


def test_without_people_there_is_one_clear_error(
    decoding: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decoding.main(["--data", str(tmp_path / "gone"), "--out", str(tmp_path / "found.json")]) == 2
    said = capsys.readouterr().err
    assert "gone" in said and "Traceback" not in said and not (tmp_path / "found.json").exists()
