"""What a run writes down: one CSV row an epoch, appended and flushed, readable at any moment."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path


def append(path: Path, row: Mapping[str, object]) -> None:
    """Add a row; the header stands once. Columns that an older file lacks are left out; missing ones are empty."""
    if path.exists():
        with path.open(newline="") as stream:
            columns = next(csv.reader(stream))
    else:
        columns = list(row)
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerow(columns)
    with path.open("a", newline="") as stream:
        csv.DictWriter(stream, columns, extrasaction="ignore").writerow(row)
