"""Where in a heatmap is the joint? The same maps decoded in several ways.

    python benchmarks/decoding.py --data DATA --out decoding.json

Labelled people (split val, or --split) in their labelled boxes, as `hgrt eval` looks at them. Before its highest cell
is looked for, a map is smoothed by binomial means of cells some `reaches` apart, one after another along each axis
(`hgrt.pose.heatmaps.smoothed`), and beyond its edge there is either nothing or what is at the edge. PCKh `standard` at
0.5 and 0.1 and the area under the curve, in percent, of each way. The way that is in use is marked.

Exit codes: 0, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from clips import WIDTH, provenance
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hgrt.data.find import open_sets
from hgrt.data.sample import People
from hgrt.errors import EXIT_USAGE, HgrtError
from hgrt.evaluation.export import write_json
from hgrt.evaluation.predict import View, predict
from hgrt.evaluation.report import summarise
from hgrt.files import written_whole
from hgrt.pose import heatmaps
from hgrt.pose.heatmaps import Maps
from hgrt.runtime.base import Backend, open_backend

REACHES = ((), (1,), (1, 1), (2,), (1, 2), (1, 1, 2), (1, 2, 2), (1, 2, 3))
BEYOND = ("nothing", "as at the edge")


@contextmanager
def decoded_with(reaches: tuple[int, ...], beyond: str) -> Iterator[None]:
    """While it lasts, joints are found in maps that are smoothed so."""
    usual, smoothed, edge = heatmaps.SMOOTHINGS, heatmaps.smoothed, sum(reaches)

    def going_on(maps: NDArray[Any]) -> NDArray[Any]:
        wide = np.pad(maps, [(0, 0), (0, 0), (edge, edge), (edge, edge)], mode="edge")
        return smoothed(wide)[:, :, edge : edge + maps.shape[2], edge : edge + maps.shape[3]]

    heatmaps.SMOOTHINGS = reaches
    if beyond == BEYOND[1]:
        heatmaps.smoothed = going_on
    try:
        yield
    finally:
        heatmaps.SMOOTHINGS, heatmaps.smoothed = usual, smoothed


def measure(backend: Backend, sets: Sequence[People]) -> list[dict[str, Any]]:
    """Every way on every set; the network is asked once."""
    info, rows = backend.info, []
    answers: list[list[Maps]] = [[] for _ in sets]
    for reaches in REACHES:
        for beyond in BEYOND if reaches else BEYOND[:1]:
            row: dict[str, Any] = {"reaches": list(reaches), "beyond": beyond, "sets": {}}
            row["in_use"] = reaches == heatmaps.SMOOTHINGS and beyond == BEYOND[0]
            for people, known in zip(sets, answers, strict=True):
                again = iter(list(known))

                def infer(crops: NDArray[np.uint8], known: list[Maps] = known, again: Iterator[Maps] = again) -> Maps:
                    maps = next(again, None)
                    if maps is None:
                        maps = np.array(backend.infer(crops))
                        known.append(maps)
                    return maps

                with decoded_with(reaches, beyond):
                    found = summarise(predict(infer, people, info.spec.input, View(crop=info.spec.crop)))
                half, tenth = (round(100 * result.total.rate, 2) for result in found.results.values())
                row["sets"][people.name] = {"0.5": half, "0.1": tenth, "auc": round(100 * found.auc, 2)}
            rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """For the terminal: a row for each way; PCKh@0.5, PCKh@0.1 and AUC of each set."""
    made = Table("reaches", "beyond the edge", box=None, header_style="dim", title="PCKh@0.5, PCKh@0.1, AUC, percent")
    for name in rows[0]["sets"]:
        made.add_column(name, justify="right")
    for row in rows:
        cells = [" ".join(f"{one[key]:.1f}" for key in ("0.5", "0.1", "auc")) for one in row["sets"].values()]
        said = ", ".join(map(str, row["reaches"])) or "not smoothed"
        made.add_row(said, row["beyond"] if row["reaches"] else "", *cells, style="bold" if row["in_use"] else "")
    return made


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the JSON. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--weights", type=Path, help="the bundled ones if left out")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    options = parser.parse_args(arguments)
    try:
        sets = open_sets(options.data, options.split, lambda text: print(text, file=sys.stderr))
        with open_backend("auto", options.weights) as backend, written_whole(options.out) as path:
            rows = measure(backend, sets)
            said = provenance("decoding", arguments, backend.info)
            write_json(path, said | {"people": {one.name: len(one) for one in sets}, "ways": rows})
    except HgrtError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    Console(highlight=False, width=WIDTH).print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
