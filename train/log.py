"""What a run writes down for people: `log.csv`, one row an epoch, and TensorBoard's event files beside it.

The table is small and replaced whole with every row, so it is readable at any moment and never torn. Knows nothing of
networks or data: what the columns mean is the loop's business.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hgrt.closing import Closing
from hgrt.errors import HgrtError
from hgrt.files import unwritable, written_whole
from hgrt.pose.geometry import Image
from hgrt.require import require

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

WHOLE = ("epoch", "iteration")  # columns that a resumed run reads back as numbers


class RunLog(Closing):
    """`folder/log.csv` and `folder/tensorboard/`, going on with what is there.

    Missing folders are made. HgrtError where something cannot be written, here or later, and where `log.csv` is not
    the table of a run. Only one process may hold the log of a folder.
    """

    def __init__(self, folder: Path) -> None:
        self._table, self._events = folder / "log.csv", folder / "tensorboard"
        self._rows = read_rows(self._table)
        self._new_writer = _summary_writer()
        self._writer: SummaryWriter | None = None
        self._purge_step: int | None = None
        self._write(self._rows)  # what cannot be written is said before the training and not after its first epoch

    def append(self, row: Mapping[str, float | int | str]) -> None:
        """Add an epoch's row; it needs an `epoch`. A new column widens the table, older rows get an empty cell."""
        if "epoch" not in row:
            raise ValueError(f"a row needs its epoch; it has {', '.join(row)}")
        self._write([*self._rows, {column: str(value) for column, value in row.items()}])

    def rewind(self, epoch: int, iteration: int | None = None) -> None:
        """Forget what was written after `epoch` epochs were done: the run goes on from there and writes it anew.

        TensorBoard forgets the steps after `iteration`; by default that of the last row left, or `epoch` if the rows
        have no iterations. After none, everything is forgotten, step 0 too.
        """
        kept = [row for row in self._rows if int(row["epoch"]) <= epoch]
        if len(kept) < len(self._rows):
            self._write(kept)
        if iteration is None:
            iteration = int((kept[-1].get("iteration") if kept else None) or epoch)
        self.close()
        self._purge_step = iteration + 1 if iteration > 0 else 0

    def rows(self) -> list[dict[str, str]]:
        """The table as it stands, oldest first: every row with every column, an empty string where it has no value."""
        return [dict(row) for row in self._rows]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values at a step, by name, to TensorBoard only."""
        with self._written() as writer:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

    def picture(self, step: int, tag: str, bgr: Image) -> None:
        """A picture (H, W, 3) uint8 BGR at a step, to TensorBoard only."""
        with self._written() as writer:
            writer.add_image(tag, bgr[..., ::-1], step, dataformats="HWC")

    def close(self) -> None:
        """Close the event file. What is written later begins another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                raise unwritable(self._events, error) from error

    def _write(self, rows: Sequence[Mapping[str, str]]) -> None:
        columns = list(dict.fromkeys(["epoch", *(column for row in rows for column in row)]))
        with written_whole(self._table) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        self._rows = [{column: row.get(column, "") for column in columns} for row in rows]

    @contextmanager
    def _written(self) -> Iterator[SummaryWriter]:
        """The open event file. Flushed after every use, so that a killed run leaves all it said and a full disk is
        noticed where it happens.
        """
        try:
            if self._writer is None:
                self._writer, self._purge_step = self._new_writer(self._events, self._purge_step), None
            yield self._writer
            self._writer.flush()
        except OSError as error:
            self._writer = None  # its thread is dead, closing it would only raise the same again
            raise unwritable(self._events, error) from error


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a run's table, each with every column; none where there is no file or an empty one.

    HgrtError where the file is something else or broken.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            columns, *cells = list(csv.reader(stream, strict=True)) or [["epoch"]]
        if "epoch" not in columns:
            raise ValueError("It has no column 'epoch'.")
        if len(set(columns)) < len(columns):
            raise ValueError("It has two columns of one name.")
        rows = [_row(columns, line, number) for number, line in enumerate(cells, start=2) if line]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HgrtError(f"{path} cannot be read.", error.strerror or str(error)) from error
    except (ValueError, csv.Error) as error:
        why = "It is not UTF-8 text." if isinstance(error, UnicodeDecodeError) else str(error)
        raise HgrtError(f"{path} is not the log of a run.", why, "Move it away; a new one is begun.") from error
    return rows


def _row(columns: list[str], cells: list[str], number: int) -> dict[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"Line {number} has {len(cells)} cells, the header {len(columns)}.")
    row = dict(zip(columns, cells, strict=True))
    for name in WHOLE:
        text = row.get(name, "")
        if not text.isdecimal() and (text or name == "epoch"):
            raise ValueError(f"Line {number} has the {name} '{text}'.")
    return row


def _summary_writer() -> Callable[[Path, int | None], SummaryWriter]:
    """What opens an event file; asked for here because importing TensorBoard takes a while."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorBoard and protobuf lag behind Python and numpy
        require("tensorboard", "train")
        from torch.utils.tensorboard import SummaryWriter

    return lambda folder, purge_step: SummaryWriter(str(folder), purge_step=purge_step)
