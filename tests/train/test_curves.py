"""The picture of a run: of the asked size, told apart by what is in the log, and never in the way of a training."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hgrt.errors import HgrtError
from hgrt.pose.geometry import Image
from hgrt.train.curves import draw_curves
from hgrt.train.log import RunLog

Row = dict[str, str]


def course(epochs: int = 6, **changed: str) -> list[Row]:
    """A run that learns, at 64 px in its first half and at 128 px in its second."""
    return [
        {
            "epoch": str(k),
            "size": "64" if k <= epochs / 2 else "128",
            "loss": str(0.03 / k),
            "lr": "0.003",
            "images_per_s": str(80 + k % 3),
            "coco/val": str(40 + 5 * k),
            "synthetic": str(90 - k),
            **changed,
        }
        for k in range(1, epochs + 1)
    ]


def drawn(rows: list[Row], path: Path) -> Image:
    """The picture as it comes back from the disk."""
    draw_curves(rows, path)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture[..., :3], np.uint8)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would be written from here on."""
    found: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_args, **_options: found.append(figure))
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The picture of the usual course."""
    return drawn(course(), tmp_path_factory.mktemp("usual") / "curves.png")


def panel(figure: Figure, label: str) -> Axes:
    (found,) = (axes for axes in figure.axes if axes.get_ylabel() == label)
    return found


def points(axes: Axes) -> list[list[tuple[float, float]]]:
    """The lines of a panel as (x, y), without the upright ones and the dots at the best epochs."""
    lines = [line for line in axes.lines if line.get_marker() != "o" and line.get_transform() == axes.transData]
    return [[(float(x), round(float(y), 9)) for x, y in line.get_xydata()] for line in lines]  # type: ignore[union-attr]


def upright(axes: Axes) -> list[float]:
    """Where the thin lines of a panel stand."""
    return [float(np.ravel(line.get_xdata())[0]) for line in axes.lines if line.get_transform() != axes.transData]


def test_a_picture_of_the_asked_size_and_no_scratch_file(tmp_path: Path) -> None:
    picture = drawn(course(), tmp_path / "new" / "curves.png")
    assert picture.shape == (800, 1200, 3)
    assert (picture == 255).all(axis=2).mean() > 0.8  # drawn on white
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]


@pytest.mark.parametrize("column", ["loss", "coco/val"])
def test_other_data_is_another_picture(tmp_path: Path, usual: Image, column: str) -> None:
    *rows, last = course()
    changed = {**last, column: str(0.9 * float(last[column]))}
    assert (drawn([*rows, changed], tmp_path / "curves.png") != usual).any(axis=2).sum() > 50


def test_what_is_drawn_is_what_is_logged(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves(course(4), tmp_path / "curves.png")
    loss, rate, pace = (panel(figures[0], label) for label in ("loss", "learning rate", "images/s"))
    assert loss.get_yscale() == "log"
    assert points(loss) == [[(1, 0.03), (2, 0.015)], [(3, 0.01), (4, 0.0075)]]  # losses at two sizes do not compare
    assert points(rate) == [[(1, 0.003), (2, 0.003), (3, 0.003), (4, 0.003)]]
    assert points(pace) == [[(1, 81), (2, 82)], [(3, 80), (4, 81)]]
    assert rate.get_ylim()[0] == pace.get_ylim()[0] == 0
    scores = panel(figures[0], "PCKh@0.5 (%)")
    assert points(scores) == [[(1, 45), (2, 50)], [(3, 55), (4, 60)], [(1, 89), (2, 88)], [(3, 87), (4, 86)]]
    assert scores.get_ylim() == (40, 90)
    assert [upright(axes) for axes in figures[0].axes] == [[2.5]] * 4
    assert [text.get_text() for text in scores.texts] == ["64 px", "128 px"]
    assert scores.get_xlabel() == pace.get_xlabel() == "epoch"


def test_the_best_epochs_are_those_of_the_last_size(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves(course(), tmp_path / "curves.png")
    scores = panel(figures[0], "PCKh@0.5 (%)")
    dots = [line for line in scores.lines if line.get_marker() == "o"]
    assert [(float(np.ravel(dot.get_xdata())[0]), float(np.ravel(dot.get_ydata())[0])) for dot in dots] == [
        (6.0, 70.0),
        (4.0, 86.0),  # it was 89 in the first epoch, at another size
    ]
    legend = scores.get_legend()
    assert legend is not None and legend.get_title().get_text() == "best at 128 px"
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["86.0  synthetic, epoch 4", "70.0  coco/val, epoch 6"]


def test_nothing_reaches_beyond_its_panel(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves(course(**{"coco/val": "100", "synthetic": "0"}), tmp_path / "curves.png")
    assert panel(figures[0], "PCKh@0.5 (%)").get_ylim() == (0, 100)
    for axes in figures[0].axes:
        (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
        for x, y in (point for line in points(axes) for point in line):
            assert low <= y <= high and left <= x <= right


def test_one_epoch_is_a_picture(tmp_path: Path, usual: Image) -> None:
    one = drawn(course()[:1], tmp_path / "curves.png")
    assert one.shape == (800, 1200, 3) and (one != usual).any()


def test_missing_values_leave_a_gap_in_the_data_only(tmp_path: Path, figures: list[Figure]) -> None:
    rows = course(6, size="64")
    rows[1]["coco/val"] = rows[3]["coco/val"] = ""
    del rows[4]["coco/val"]
    rows[2]["loss"], rows[3]["loss"], rows[4]["loss"] = "nan", "inf", "0"
    draw_curves(rows, tmp_path / "curves.png")
    assert [x for x, _ in points(panel(figures[0], "PCKh@0.5 (%)"))[0]] == [1, 3, 6]
    assert [x for x, _ in points(panel(figures[0], "loss"))[0]] == [1, 2, 6]
    assert all(math.isfinite(y) for axes in figures[0].axes for line in points(axes) for _, y in line)


def test_a_panel_without_a_value_says_so(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves([{"epoch": "3", "loss": "nan", "coco/val": ""}], tmp_path / "curves.png")
    assert [[text.get_text() for text in axes.texts] for axes in figures[0].axes] == [["no values"]] * 4
    assert [upright(axes) for axes in figures[0].axes] == [[]] * 4


def test_without_validation_there_are_three_panels(tmp_path: Path, figures: list[Figure]) -> None:
    rows = [{key: text for key, text in row.items() if key not in ("coco/val", "synthetic")} for row in course()]
    draw_curves(rows, tmp_path / "curves.png")
    assert [axes.get_ylabel() for axes in figures[0].axes] == ["loss", "learning rate", "images/s"]


def test_other_columns_are_no_scores(tmp_path: Path, usual: Image) -> None:
    more = {"waiting": "0.4", "seconds": "20", "skipped": "1", "iteration": "7", "explained": "0.5"}
    np.testing.assert_array_equal(drawn(course(**more), tmp_path / "curves.png"), usual)


def test_a_set_may_have_any_name(tmp_path: Path) -> None:
    names = ["_hidden/val", "a $\\frac$ b/val", "数据/val", "x" * 80 + "/val", *(f"{k}/val" for k in range(9))]
    picture = drawn(course(2, **dict.fromkeys(names, "50")), tmp_path / "curves.png")
    assert picture.shape == (800, 1200, 3)


def test_nothing_to_draw(tmp_path: Path) -> None:
    for rows in ([], [{"epoch": "", "loss": "0.5"}]):
        with pytest.raises(HgrtError, match="no curves to draw"):
            draw_curves(rows, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HgrtError, match="cannot be written"):
        draw_curves(course(), tmp_path / "file" / "curves.png")


def test_the_rows_of_a_log_can_be_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    with RunLog(tmp_path) as log:
        log.append({"epoch": 1, "iteration": 90, "size": 64, "loss": 0.02, "lr": 1e-3})
        log.append({"epoch": 2, "iteration": 180, "size": 64, "loss": 0.01, "lr": 1e-3, "coco/val": 12.5})
        draw_curves(log.rows(), tmp_path / "curves.png")
    assert points(panel(figures[0], "loss")) == [[(1, 0.02), (2, 0.01)]]
    assert points(panel(figures[0], "PCKh@0.5 (%)")) == [[(2, 12.5)]]


def test_pyplot_stays_out_of_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hgrt.train.curves import draw_curves\n"
        "draw_curves([{'epoch': '1', 'loss': '0.5'}], Path('curves.png'))\n"
        "print(sorted({'matplotlib.pyplot', 'torch', 'tensorboard'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
