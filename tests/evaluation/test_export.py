"""Predictions come back out of every file as they went in, in the layout that other tools read."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from hgrt.data.sample import Sample
from hgrt.errors import HgrtError
from hgrt.evaluation.export import check_predictions, write_json, write_predictions
from labelled import predictions


class Numbered:
    """A set of which only the numbers of its people matter here."""

    def __init__(self, count: int, index: Any = None) -> None:
        self.name, self._count = "made/val", count
        self.index = None if index is None else np.asarray(index)
        self.person = None if index is None else np.asarray(index) % 3

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Sample:
        raise NotImplementedError


def test_json_lists_everybody(tmp_path: Path) -> None:
    found = [predictions(3, name="a/val"), predictions(2, seed=1, name="b/val")]
    found[1].xy[0, 4, 0] = np.nan
    write_predictions(tmp_path / "p.json", found, [Numbered(3), Numbered(2)])
    text = (tmp_path / "p.json").read_text()
    people = json.loads(text)
    assert "NaN" not in text and [person["set"] for person in people] == ["a/val"] * 3 + ["b/val"] * 2
    assert people[3]["keypoints"][4][0] is None
    for person, k in zip(people[:3], range(3), strict=True):
        assert person["name"] == found[0].names[k]
        keypoints = np.array(person["keypoints"])
        np.testing.assert_array_equal(keypoints[:, :2], found[0].xy[k])
        np.testing.assert_array_equal(keypoints[:, 2], found[0].score[k])
        np.testing.assert_array_equal(person["box"], found[0].boxes[k])
        assert person["normalize"] == found[0].normalize[k]


def read(path: Path) -> dict[str, Any]:
    """The arrays of a file, as another tool would get them."""
    if path.suffix == ".mat":
        return {name: values for name, values in loadmat(path).items() if not name.startswith("__")}
    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in file}


@pytest.mark.parametrize("name", ["p.h5", "p.mat", "P.MAT"])
def test_arrays_have_the_shape_that_the_tools_read(name: str, tmp_path: Path) -> None:
    found = [predictions(3), predictions(2, seed=1)]
    write_predictions(tmp_path / name, found, [Numbered(3), Numbered(2)])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    arrays = read((tmp_path / name).rename(tmp_path / name.lower()))
    assert set(arrays) == {"preds", "scores"}
    assert arrays["preds"].shape == (5, 16, 2) and arrays["preds"].dtype == np.float64
    np.testing.assert_array_equal(arrays["preds"], np.concatenate([one.xy for one in found]))
    np.testing.assert_array_equal(arrays["scores"], np.concatenate([one.score for one in found]))


@pytest.mark.parametrize("name", ["p.h5", "p.mat"])
def test_the_numbers_of_mpii_are_those_of_the_people_looked_at(name: str, tmp_path: Path) -> None:
    found = replace(predictions(3), rows=np.array([0, 2, 3]))
    people = Numbered(4, [10, 11, 12, 13])
    write_predictions(tmp_path / name, [found], [people])
    arrays = read(tmp_path / name)
    assert arrays["index"].ravel().tolist() == [10, 12, 13]
    assert arrays["person"].ravel().tolist() == [1, 0, 1]
    write_predictions(tmp_path / name, [found, predictions(2)], [people, Numbered(2)])
    assert set(read(tmp_path / name)) == {"preds", "scores"}, "numbers of some would be numbers of others"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("p.txt", ["p.txt", ".json, .h5, .mat"]),
        ("p", ["'p'", "predictions.json"]),
        ("gone/p.json", ["gone/p.json cannot be written", "folder does not exist"]),
        ("folder.json", ["folder.json cannot be written"]),
    ],
)
def test_what_cannot_be_written_is_said_beforehand(name: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    before = sorted(tmp_path.iterdir())
    for attempt in (check_predictions, lambda path: write_predictions(path, [predictions(1)], [Numbered(1)])):
        with pytest.raises(HgrtError) as caught:
            attempt(tmp_path / name)
        assert all(word in str(caught.value) for word in words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("suffix", "package"), [(".h5", "h5py"), (".mat", "scipy")])
def test_a_missing_package_is_named(suffix: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(HgrtError, match=rf"needs the Python package '{package}'(.|\n)*hgrt\[data\]"):
        check_predictions(tmp_path / f"p{suffix}")
    check_predictions(tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


def test_a_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "p.json", {"rate": float("nan")})
