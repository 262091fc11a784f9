"""The log of a run: no row lost or twice, whatever stopped the run; TensorBoard reads back what was written."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hgrt.errors import HgrtError
from hgrt.train.log import RunLog, read_rows


def events(folder: Path) -> EventAccumulator:
    """What TensorBoard makes of a run's event files."""
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def age(folder: Path) -> None:
    """Let the event files be of long ago. TensorBoard reads them in the order of the second in their names, and these
    tests resume within the same one.
    """
    for path in (folder / "tensorboard").iterdir():
        path.rename(path.with_name(path.name.replace("tfevents.", "tfevents.0")))


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file grows beyond `free` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# The table


def test_rows_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "exp" / "run"
    with RunLog(folder) as log:
        assert log.rows() == []
        log.append({"epoch": 1, "loss": 0.1 + 0.2, "note": 'a, "b"'})
        log.append({"epoch": 2, "loss": np.float64(1e-7), "note": ""})
        log.append({"loss": float("nan"), "epoch": 3, "note": "Größe"})
        rows = log.rows()
    assert rows == [
        {"epoch": "1", "loss": "0.30000000000000004", "note": 'a, "b"'},
        {"epoch": "2", "loss": "1e-07", "note": ""},
        {"epoch": "3", "loss": "nan", "note": "Größe"},
    ]
    assert read_rows(folder / "log.csv") == rows
    lines = (folder / "log.csv").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "epoch,loss,note" and len(lines) == 5 and lines[-1] == ""
    with RunLog(folder) as log:
        assert log.rows() == rows


def test_the_rows_given_out_are_copies(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.append({"epoch": 1})
        log.rows()[0]["epoch"] = "7"
        log.rows().clear()
        assert log.rows() == [{"epoch": "1"}]


def test_a_new_column_widens_the_table(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.append({"epoch": 1, "loss": 0.5})
    with RunLog(tmp_path) as log:
        log.append({"epoch": 2, "coco/val": 12.5, "loss": 0.4})
        log.append({"epoch": 3, "loss": 0.3})
    assert (tmp_path / "log.csv").read_text() == "epoch,loss,coco/val\n1,0.5,\n2,0.4,12.5\n3,0.3,\n"


def test_a_row_needs_its_epoch(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log, pytest.raises(ValueError, match="needs its epoch; it has loss"):
        log.append({"loss": 0.5})


words = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
others = words.filter(lambda word: word not in ("epoch", "iteration"))
values = st.dictionaries(others, st.one_of(st.integers(), st.floats(), words), max_size=4)


@settings(max_examples=25)
@given(added=st.lists(values, max_size=5))
def test_whatever_is_added_is_there(
    tmp_path_factory: pytest.TempPathFactory, added: list[dict[str, float | int | str]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    for epoch, values in enumerate(added, start=1):  # resumed before every epoch
        RunLog(folder).append({"epoch": epoch, **values})
    columns = {"epoch", *(column for values in added for column in values)}
    rows = RunLog(folder).rows()
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(added) + 1))
    for row, values in zip(rows, added, strict=True):
        assert set(row) == columns
        assert {column: text for column, text in row.items() if column != "epoch" and text} == {
            column: str(value) for column, value in values.items()
        }


def test_rewinding_drops_what_is_done_again(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for epoch in (1, 2, 3):
            log.append({"epoch": epoch, "loss": 1 / epoch})
    with RunLog(tmp_path) as log:  # killed between the third row and the saving of the third epoch
        log.rewind(2)
        assert [row["epoch"] for row in read_rows(tmp_path / "log.csv")] == ["1", "2"]
        log.append({"epoch": 3, "loss": 0.25})
    assert [(row["epoch"], row["loss"]) for row in read_rows(tmp_path / "log.csv")][1:] == [("2", "0.5"), ("3", "0.25")]
    with RunLog(tmp_path) as log:
        log.rewind(9)
        assert len(log.rows()) == 3
        log.rewind(0)
        assert log.rows() == read_rows(tmp_path / "log.csv") == []


@pytest.mark.parametrize("left", ["", "epoch,loss\r\n", "epoch,loss", "epoch,loss\n\n"])
def test_a_log_without_a_row_is_begun_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "log.csv").write_text(left)
    with RunLog(tmp_path) as log:
        assert log.rows() == []
        log.append({"epoch": 1, "size": 64})
    assert (tmp_path / "log.csv").read_text() == "epoch,size\n1,64\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"time,value\n1,2\n", "no column 'epoch'"),
        (b"\n", "no column 'epoch'"),
        (b"epoch;loss\n1;0.5\n", "no column 'epoch'"),
        (b"epoch,loss,loss\n1,2,3\n", "two columns of one name"),
        (b"epoch,loss\n1,0.5\n2\n", "Line 3 has 1 cells, the header 2"),
        (b"epoch,loss\n1,0.5,7\n", "Line 2 has 3 cells"),
        (b"epoch,loss\none,0.5\n", "Line 2 has the epoch 'one'"),
        (b"epoch,iteration\n1,1.5\n", "Line 2 has the iteration '1.5'"),
        (b'epoch,loss\n1,"0.5\n', "unexpected end of data"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
    ],
)
def test_a_foreign_or_broken_table_is_left_alone(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(HgrtError, match="is not the log of a run") as caught:
        RunLog(tmp_path)
    assert why in caught.value.why and caught.value.fix.startswith("Move it away")
    assert path.read_bytes() == content


def test_a_log_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HgrtError, match="log.csv cannot be"):
        RunLog(tmp_path / "file")
    (tmp_path / "run" / "log.csv").mkdir(parents=True)
    with pytest.raises(HgrtError, match="log.csv cannot be read"):
        RunLog(tmp_path / "run")
    (tmp_path / "run" / "log.csv").rmdir()
    (tmp_path / "run" / "log.csv.partial").mkdir()  # not even root can write there
    with pytest.raises(HgrtError, match="log.csv cannot be written"):
        RunLog(tmp_path / "run")


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.append({"epoch": 1})
        before = (tmp_path / "log.csv").read_bytes()
        with full_disk(free=100), pytest.raises(HgrtError, match="log.csv cannot be written"):
            log.append({"epoch": 2, "note": "x" * 1000})
        assert (tmp_path / "log.csv").read_bytes() == before and log.rows() == [{"epoch": "1"}]
        assert not list(tmp_path.glob("*.partial"))
        log.append({"epoch": 2})
    assert [row["epoch"] for row in read_rows(tmp_path / "log.csv")] == ["1", "2"]


# TensorBoard


def test_tensorboard_reads_scalars_and_pictures(tmp_path: Path) -> None:
    blue = np.zeros((20, 30, 3), np.uint8)
    blue[..., 0] = 255  # BGR
    with RunLog(tmp_path) as log:
        log.append({"epoch": 1, "loss": 9.0})
        assert not (tmp_path / "tensorboard").exists()  # rows are for the table only
        log.scalars(10, {"loss": 0.5, "PCKh/coco/val": 12.5})
        log.scalars(20, {"loss": 0.25})
        assert curve(tmp_path, "loss") == [(10, 0.5), (20, 0.25)]  # read while the run goes on
        log.picture(20, "worst", blue)
    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("PCKh/coco/val")] == [(10, 12.5)]
    (picture,) = found.Images("worst")
    assert (picture.step, picture.width, picture.height) == (20, 30, 20)
    decoded = cv2.imdecode(np.frombuffer(picture.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, blue)


@pytest.mark.parametrize(
    ("rewind", "kept"),
    [
        ({"epoch": 1}, [5, 10]),  # by the iteration of the last row left
        ({"epoch": 1, "iteration": 15}, [5, 10, 15]),  # saved in the middle of the second epoch
        ({"epoch": 0}, []),
    ],
)
def test_tensorboard_forgets_what_is_done_again(tmp_path: Path, rewind: dict[str, int], kept: list[int]) -> None:
    killed = RunLog(tmp_path)  # never closed
    for step in (5, 10, 15, 20, 25):
        killed.scalars(step, {"loss": 1.0})
        if step % 10 == 0:
            killed.append({"epoch": step // 10, "iteration": step})
    age(tmp_path)
    with RunLog(tmp_path) as log:
        log.rewind(**rewind)
        log.scalars(17, {"loss": 2.0})
    assert curve(tmp_path, "loss") == [*((step, 1.0) for step in kept), (17, 2.0)]
    killed.close()


def test_without_iterations_the_steps_are_epochs(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for epoch in (1, 2, 3):
            log.append({"epoch": epoch})
            log.scalars(epoch, {"loss": 1.0})
    age(tmp_path)
    with RunLog(tmp_path) as log:
        log.rewind(2)
        log.scalars(3, {"loss": 2.0})
    assert curve(tmp_path, "loss") == [(1, 1.0), (2, 1.0), (3, 2.0)]


def test_closing_twice_does_no_harm_and_a_later_word_is_not_lost(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.scalars(1, {"loss": 1.0})
    log.close()
    log.close()
    age(tmp_path)
    log.scalars(2, {"loss": 0.5})
    log.close()
    assert curve(tmp_path, "loss") == [(1, 1.0), (2, 0.5)]


def test_events_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    with RunLog(tmp_path) as log, pytest.raises(HgrtError, match="tensorboard cannot be written"):
        log.scalars(1, {"loss": 1.0})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # SummaryWriter's thread dies of it
def test_a_full_disk_is_noticed_at_once_and_closing_is_quiet(tmp_path: Path) -> None:
    threads = threading.active_count()
    with RunLog(tmp_path) as log:
        log.scalars(1, {"loss": 1.0})
        with full_disk(free=100), pytest.raises(HgrtError, match="tensorboard cannot be written"):
            log.scalars(2, {"loss": 1.0})
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:  # its complaint belongs to this test
        time.sleep(0.01)
    assert curve(tmp_path, "loss") == [(1, 1.0)]


def test_the_module_alone_imports_nothing_slow(tmp_path: Path) -> None:
    code = "import sys, hgrt.train.log; print(sorted({'tensorboard', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
