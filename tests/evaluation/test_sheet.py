"""A sheet shows what it should where it should, and the worst errors are the worst."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hgrt.data.sample import Sample
from hgrt.draw import JOINTS
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.sheet import GAP, LINE, WIDER, check_sheet, contact_sheet, tile, write_sheet
from hgrt.evaluation.worst import COLUMNS, PEOPLE, worst, worst_sheet
from hgrt.pose.geometry import Box, Image
from hgrt.pose.skeleton import MPII
from labelled import predictions

NONE, ALL = np.zeros(16, bool), np.ones(16, bool)
BOX = Box(100, 80, 100)
WRIST = MPII.index("l_wrist")


def grey(width: int = 200, height: int = 160) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


def spread() -> NDArray[np.float64]:
    """Joints far apart, all in the box."""
    return np.array([(60 + 25 * (k % 4), 45 + 22 * (k // 4)) for k in range(16)], float)


def only(k: int) -> NDArray[np.bool_]:
    return np.arange(16) == k


def at(picture: Image, x: float, y: float) -> tuple[int, ...]:
    """The colour of a tile at a place of the image."""
    scale = len(picture) / (BOX.side * WIDER)
    column, row = ((value - middle) * scale + (len(picture) - 1) / 2 for value, middle in ((x, BOX.cx), (y, BOX.cy)))
    return tuple(int(value) for value in picture[round(row), round(column)])


def test_a_tile_shows_the_box_and_a_little_more() -> None:
    image = grey()
    image[:, 155:] = (0, 0, 255)  # the box ends at 150, the tile at 157.5
    picture = tile(image, BOX, spread(), NONE, NONE, size=96)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    assert at(picture, 157, 80) == (0, 0, 255) and at(picture, 152, 80) == (90, 90, 90)


@pytest.mark.parametrize(("solid", "filled"), [(ALL, True), (NONE, False)], ids=["seen", "hidden"])
def test_a_joint_is_filled_or_hollow_and_at_its_place(solid: NDArray[np.bool_], filled: bool) -> None:
    xy = spread()
    picture = tile(grey(), BOX, xy, only(WRIST), solid)
    assert (at(picture, *xy[WRIST]) == JOINTS[WRIST]) is filled
    assert (picture != 90).any(), "hollow, but drawn"
    assert {at(picture, *xy[k]) for k in range(16) if k != WRIST} == {(90, 90, 90)}


def test_the_image_stays_as_it_is() -> None:
    image = grey()
    tile(image, BOX, spread(), ALL, ALL, spread() + 3, wrong=2)
    assert (image == 90).all()


def test_what_is_true_is_thin_and_a_line_leads_there() -> None:
    xy = np.full((16, 2), np.nan)
    xy[WRIST] = (70, 60)
    truth = np.full((16, 2), np.nan)
    truth[WRIST] = (130, 100)
    with_line, without = (tile(grey(), BOX, xy, only(WRIST), ALL, truth, wrong) for wrong in (WRIST, None))
    for picture in (with_line, without):
        assert at(picture, 70, 60) == JOINTS[WRIST] and at(picture, 130, 100) == (255, 255, 255)
    assert min(at(with_line, 100, 80)) > 200 and at(without, 100, 80) == (90, 90, 90)


@pytest.mark.parametrize("far", [1e4, -1e7, np.nan])
def test_nothing_that_is_far_out_does_harm(far: float) -> None:
    wild = np.full((16, 2), far)
    assert (tile(grey(), BOX, wild, NONE, NONE, wild) == 90).all()
    if np.isfinite(far):
        tile(grey(), BOX, wild, ALL, ALL, wild, wrong=0)


def test_tiles_stand_in_rows_over_their_captions() -> None:
    tiles = [np.full((20, 30, 3), 40 * (k + 1), np.uint8) for k in range(5)]
    sheet = contact_sheet(tiles, 2, ["one", "two", "three\nand more", "", "wörld"])
    across, down = 30 + GAP, 20 + 2 * LINE + 2 * GAP
    assert sheet.shape == (3 * down + GAP, 2 * across + GAP, 3)
    for k in range(5):
        x, y = GAP + k % 2 * across, GAP + k // 2 * down
        assert (sheet[y : y + 20, x : x + 30] == 40 * (k + 1)).all()
        below = sheet[y + 20 : y + 20 + LINE, x : x + 30]
        assert (below > 100).any() == (k != 3), "a caption below each that has one"
        second = sheet[y + 20 + LINE : y + 20 + 2 * LINE, x : x + 30]
        assert (second > 100).any() == (k == 2)


def test_a_long_caption_keeps_to_its_tile() -> None:
    sheet = contact_sheet([np.full((20, 60, 3), 9, np.uint8)] * 2, 2, ["w" * 400, ""])
    right = sheet[GAP + 20 :, GAP + 60 :]
    assert (right == sheet[0, 0]).all()


@pytest.mark.parametrize(
    ("sizes", "columns", "captions"),
    [([], 2, []), ([20, 20], 2, ["one"]), ([20, 30], 2, ["a", "b"]), ([20], 0, ["a"])],
    ids=["no tiles", "a caption short", "two sizes", "no columns"],
)
def test_what_makes_no_sheet_is_refused(sizes: list[int], columns: int, captions: list[str]) -> None:
    with pytest.raises(ValueError, match="one each"):
        contact_sheet([np.zeros((size, size, 3), np.uint8) for size in sizes], columns, captions)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
def test_a_sheet_is_written_whole(name: str, tmp_path: Path) -> None:
    sheet = np.full((40, 50, 3), (200, 100, 50), np.uint8)
    write_sheet(tmp_path / name, sheet)
    back = cv2.imread(str(tmp_path / name))
    assert back is not None and back.shape == sheet.shape and np.abs(back.astype(int) - sheet).max() <= 4
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.gif", ["a.gif", ".png, .jpg, .jpeg"]),
        ("a", ["'a'", "sheet.png"]),
        ("gone/a.png", ["cannot be written", "does not exist"]),
    ],
)
def test_a_sheet_that_cannot_be_written_is_refused(name: str, words: list[str], tmp_path: Path) -> None:
    for attempt in (check_sheet, lambda path: write_sheet(path, grey())):
        with pytest.raises(HgrtError) as caught:
            attempt(tmp_path / name)
        assert all(word in str(caught.value) for word in words)
    assert list(tmp_path.iterdir()) == []


# The worst errors


def found_with(errors: dict[tuple[int, str], float], count: int = 4) -> Predictions:
    """People who are all found but for errors in head sizes of some joints."""
    found = predictions(count)
    found.evaluate[:] = found.labelled[:] = True
    found.xy[:] = found.truth
    for (person, joint), error in errors.items():
        found.xy[person, MPII.index(joint), 0] += error * found.normalize[person]
    return found


def test_the_worst_are_one_a_person_and_in_order() -> None:
    errors = {(0, "l_knee"): 2.0, (0, "r_knee"): 3.0, (2, "head_top"): 5.0, (3, "l_wrist"): 1.0}
    first = worst([found_with(errors), found_with({(1, "r_hip"): 4.0})], count=5)
    named = [(miss.set, miss.person, MPII.joints[miss.joint], round(miss.error, 6)) for miss in first[:4]]
    assert named == [(0, 2, "head_top", 5.0), (1, 1, "r_hip", 4.0), (0, 0, "r_knee", 3.0), (0, 3, "l_wrist", 1.0)]
    assert len(first) == 5 and first[4].error == 0
    assert len(worst([found_with(errors)], count=2)) == 2


def test_only_joints_that_count_are_errors() -> None:
    found = found_with({(0, "thorax"): 9.0, (1, "l_knee"): 8.0, (2, "l_hip"): 7.0, (3, "l_hip"): 6.0})
    found.evaluate[1, MPII.index("l_knee")] = False
    found.normalize[2] = 0
    assert [(miss.person, miss.error > 1) for miss in worst([found])] == [(3, True), (0, False), (1, False)]
    assert [miss.person for miss in worst([found], "reference")][:2] == [0, 3]


class Pictures:
    """A set that remembers who was asked for."""

    def __init__(self, found: Predictions) -> None:
        self.name, self._found, self.asked = found.set, found, [int(row) for row in ()]

    def __len__(self) -> int:
        return 1000

    def get(self, index: int) -> Sample:
        self.asked.append(index)
        k = list(self._found.rows).index(index)
        mask = self._found.labelled[k]
        return Sample("x", grey(), self._found.truth[k], mask, mask, mask, BOX, 10.0)


def test_the_sheet_reads_the_pictures_of_the_worst_only() -> None:
    found = found_with({(k, "l_hip"): 50.0 - k for k in range(40)}, count=40)
    found.rows[:] = np.arange(40) * 7
    people = Pictures(found)
    sheet = worst_sheet([people], [found])
    assert people.asked == [7 * k for k in range(PEOPLE)]
    rows = -(-PEOPLE // COLUMNS)
    assert sheet.shape == (rows * (192 + 2 * LINE + 2 * GAP) + GAP, COLUMNS * (192 + GAP) + GAP, 3)


def test_no_sheet_without_a_joint_that_counts() -> None:
    found = predictions(3, labelled=False)
    with pytest.raises(HgrtError, match="no sheet"):
        worst_sheet([Pictures(found)], [found])
