"""What an epoch leaves: a line, a row, curves and a sheet with as many people as it promises."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hgrt.data.find import DataSets
from hgrt.data.generated import GeneratedPeople
from hgrt.data.sample import People
from hgrt.evaluation.predict import Predictions, predict
from hgrt.evaluation.sheet import GAP, LINE
from hgrt.pose.heatmaps import Maps
from hgrt.train import report as module
from hgrt.train.batches import Batch
from hgrt.train.log import RunLog, read_rows
from hgrt.train.report import COLUMNS, TILE, report, samples
from hgrt.train.run import Run

ROW = {"epoch": 3, "iteration": 1200, "size": 64, "loss": 0.00321, "explained": 41.4, "skipped": 0, "lr": 1e-3}
ROW |= {"images_per_s": 512.3, "waiting": 7.0, "seconds": 61.0}


class Named:
    """The first people of a set under another name."""

    def __init__(self, people: People, name: str, count: int) -> None:
        self._people, self.name, self._count = people, name, count

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> Any:
        return self._people.get(index)


EVERYBODY = GeneratedPeople(24, 0)


def people(name: str = "crowd/val", count: int = 24) -> Named:
    return Named(EVERYBODY, name, count)


def middle(crops: NDArray[np.uint8]) -> Maps:
    """A network that finds every joint in the middle."""
    maps = np.zeros((len(crops), 16, 16, 16), np.float32)
    maps[:, :, 7:9, 7:9] = 0.9
    return maps


def judged(*sets: People) -> list[Predictions]:
    return [predict(middle, one, 64) for one in sets]


def batch(count: int = 12, kind: torch.dtype = torch.uint8) -> Batch:
    images = torch.full((count, 64, 64, 3), 128 if kind == torch.uint8 else 0.5, dtype=kind)
    targets = torch.zeros(count, 16, 16, 16)
    targets[:, 3, 8, 8] = 1
    return images, targets, torch.ones(count, 16)


def tiles(sheet: NDArray[np.uint8]) -> int:
    """How many tiles of a sheet are there: the rest of the last row is empty."""
    across, down = TILE + GAP, TILE + LINE + 2 * GAP
    rows, columns = (sheet.shape[0] - GAP) // down, (sheet.shape[1] - GAP) // across
    assert sheet.shape == (rows * down + GAP, columns * across + GAP, 3) and columns == COLUMNS
    corners = [sheet[GAP + row * down, GAP + column * across] for row in range(rows) for column in range(columns)]
    background = sheet[0, 0]
    there = [not np.array_equal(corner, background) for corner in corners]
    assert there == sorted(there, reverse=True)
    return sum(there)


# The sheet


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((), 8),
        ((1,), 8 + 1),
        ((4,), 8 + 3),  # every fourth generated picture shows nobody
        ((24,), 8 + 16),
        ((24, 24), 8 + 8 + 8),
        ((1, 24, 2), 8 + 1 + 5 + 2),
    ],
)
def test_a_sheet_has_a_row_of_views_and_two_of_validation_people(counts: tuple[int, ...], expected: int) -> None:
    sets = tuple(people(f"crowd{k}/val", count) for k, count in enumerate(counts))
    sheet = samples(DataSets(EVERYBODY, sets, ()), judged(*sets), batch())
    assert sheet.dtype == np.uint8
    assert tiles(sheet) == expected


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [1, 5, 40])
def test_training_views_of_any_kind(kind: torch.dtype, size: int) -> None:
    sheet = samples(DataSets(EVERYBODY, (), ()), [], batch(size, kind))
    assert tiles(sheet) == COLUMNS
    shown = min(size, COLUMNS)
    for column in range(COLUMNS):
        inside = sheet[GAP + 30 : GAP + 50, GAP + column * (TILE + GAP) :][:, 30:50]  # beside the joint in its middle
        assert (abs(inside.astype(int) - 128) <= 1).all() if column < shown else not inside.any()


def test_targets_are_drawn_where_they_are() -> None:
    plain = batch(1)
    without = samples(DataSets(EVERYBODY, (), ()), [], (plain[0], torch.zeros_like(plain[1]), plain[2]))
    changed = (samples(DataSets(EVERYBODY, (), ()), [], plain) != without).any(axis=2)
    rows, columns = np.nonzero(changed)
    # Cell 8 of 16, its centre at 8.5 / 16 of the picture, which fills 1 / 1.15 of the tile.
    expected = GAP + TILE / 2 + (8.5 / 16 - 0.5) * TILE / 1.15
    assert columns.mean() == pytest.approx(expected, abs=1.5) and rows.mean() == pytest.approx(expected, abs=1.5)
    assert columns.max() - columns.min() < 20


def test_people_who_cannot_be_found_are_shown() -> None:
    """Empty heatmaps, and numbers that are none."""
    one = people(count=2)
    for value in (0.0, np.nan):
        maps = [predict(lambda crops, v=value: np.full((len(crops), 16, 16, 16), v, np.float32), one, 64)]  # type: ignore[misc]
        assert tiles(samples(DataSets(EVERYBODY, (one,), ()), maps, batch())) == COLUMNS + 2


def test_a_set_of_nobody() -> None:
    nobody = people(count=0)
    assert tiles(samples(DataSets(EVERYBODY, (nobody,), ()), judged(nobody), batch())) == COLUMNS


# All that is written down


def said(folder: Path, row: dict[str, float], rates: dict[str, float], diagnosis: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    sets = (people(count=2),)
    with RunLog(folder) as log:
        report(Run(folder), log, row, rates, DataSets(EVERYBODY, sets, ()), judged(*sets), batch(), diagnosis, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_epoch_is_written_down(tmp_path: Path) -> None:
    printed = said(tmp_path, ROW, {"crowd/val": 61.25, "other/val": 7.5})
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "curves.png", "samples", "tensorboard"}
    (row,) = read_rows(tmp_path / "log.csv")
    assert row == {name: str(value) for name, value in {**ROW, "crowd/val": 61.25, "other/val": 7.5}.items()}
    for part in ("epoch   3", "64 px", "loss 0.00321 (41 % explained)", "512.3 images/s", "7 % waiting"):
        assert part in printed
    assert "crowd/val 61.2" in printed and "other/val 7.5" in printed and "skipped" not in printed
    (picture,) = (tmp_path / "samples").iterdir()
    sheet = cv2.imread(str(picture))
    assert picture.name == "epoch_003.jpg" and sheet is not None and tiles_like(sheet) == (2, COLUMNS)
    curves = cv2.imread(str(tmp_path / "curves.png"))
    assert curves is not None and curves.shape == (800, 1200, 3)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("PCKh@0.5/crowd/val")] == [(1200, 61.25)]
    assert [one.step for one in events.Scalars("train/loss")] == [1200]
    assert [one.step for one in events.Images("samples")] == [1200]


def tiles_like(sheet: NDArray[np.uint8]) -> tuple[int, int]:
    """Rows and columns of a sheet by its size alone, as JPEG changes its colours."""
    return (sheet.shape[0] - GAP) // (TILE + LINE + 2 * GAP), (sheet.shape[1] - GAP) // (TILE + GAP)


@pytest.fixture()
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pictures, which take a while."""
    monkeypatch.setattr(module, "draw_curves", lambda rows, path: None)
    monkeypatch.setattr(module, "samples", lambda data, judged, batch: np.zeros((8, 8, 3), np.uint8))


@pytest.mark.usefixtures("undrawn")
def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    printed = said(tmp_path, {**ROW, "skipped": 4}, {"crowd/val": 1.0}, "Collapsed: so much.")
    assert "4 non-finite steps skipped" in printed and "Collapsed: so much." in printed


@pytest.mark.usefixtures("undrawn")
def test_rows_and_sheets_add_up(tmp_path: Path) -> None:
    for epoch in (1, 2, 11):
        said(tmp_path, {**ROW, "epoch": epoch, "iteration": 100 * epoch}, {"crowd/val": 50.0 + epoch})
    assert [row["crowd/val"] for row in read_rows(tmp_path / "log.csv")] == ["51.0", "52.0", "61.0"]
    sheets = [f"epoch_{epoch:03d}.jpg" for epoch in (1, 2, 11)]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == sheets
