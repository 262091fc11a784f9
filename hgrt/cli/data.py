"""`hgrt data check`: what is in data sets, what is odd about them, and a sheet of their people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hgrt.errors import HgrtError

if TYPE_CHECKING:
    from hgrt.data.check import Checked
    from hgrt.data.find import Found
    from hgrt.data.sample import People

SHOWN = 3  # names of odd people that are printed; the rest are counted
COLUMNS = 8  # of the sheet

app = typer.Typer(help="Look at data sets before training on them.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    pass


@app.command()
def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Folders of data, or annotation files.", show_default=False)
    ],
    split: Annotated[
        str | None, typer.Option(help="Only this split: train, val, test, ...", show_default="all")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Where the sheet goes.", show_default="data-check-NAME-SPLIT.png")
    ] = None,
    people: Annotated[int, typer.Option(min=0, help="People on the sheet; 0: no sheet.")] = 48,
) -> None:
    """Decode every picture, look at every label, and draw some people with their joints.

    Exit code 0 if all is sound, 1 if pictures are missing or unreadable or nobody has joints, 2 if there are no data.
    """
    from hgrt.data.find import look_all
    from hgrt.evaluation.sheet import check_sheet

    found = look_all(paths, "skip")
    wanted = [one for one in found if split in (None, one.split)]
    if not wanted:
        there = ", ".join(f"{one.name}/{one.split}" for one in found)
        raise HgrtError(f"There is no {split} split in these data.", f"There is: {there}.")
    sheets = _sheets(wanted, sheet)
    if people:
        for path in sheets:
            check_sheet(path)
    console = Console(highlight=False, soft_wrap=True)
    flaws: list[str] = []
    pictures: list[tuple[str, set[bytes]]] = []
    for one, path in zip(wanted, sheets, strict=True):
        try:
            opened = one.open()
        except HgrtError as error:
            if len(wanted) == 1:
                raise
            flaws.append(f"{one.name}/{one.split} cannot be used")
            console.print(f"{one.name}/{one.split}: {error}\n", markup=False)
            continue
        checked = _read(console, opened)
        console.print(f"{opened.name}: {one.form}, {getattr(opened, 'note', '')}", style="bold", markup=False)
        _print(console, checked)
        if people and len(checked.names):
            _draw(opened, checked.spread(people), path)
            console.print(f"sheet: {path}", markup=False)
        console.print()
        flaws += [f"{opened.name} {flaw}" for flaw in _flaws(opened, checked)]
        pictures.append((opened.name, set(checked.pictures)))
    _print_shared(console, pictures)
    console.print(f"Not sound: {'; '.join(flaws)}." if flaws else "Sound.", markup=False)
    raise typer.Exit(bool(flaws))


def _read(console: Console, people: People) -> Checked:
    from hgrt.data.check import check as examine

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    hidden = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task(people.name, total=len(people))
        return examine(people, lambda count: bar.update(task, completed=count))


def _sheets(wanted: Sequence[Found], given: Path | None) -> list[Path]:
    """A file for each set: the one given if there is one set, else each set's name in it."""
    if given is not None and len(wanted) == 1:
        return [given]
    base = given or Path("data-check.png")
    names: list[str] = []
    for one in wanted:
        name = f"{base.stem}-{one.name}-{one.split}"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return [base.with_name(name + base.suffix) for name in names]


def _flaws(people: People, checked: Checked) -> list[str]:
    absent, unreadable = getattr(people, "absent", 0), len(checked.unreadable)
    flaws = []
    if absent:
        flaws.append(f"lacks the pictures of {absent:,} people")
    if unreadable:
        flaws.append(f"has {unreadable:,} people whose picture cannot be read")
    if not checked.labelled.any():
        flaws.append("has no labelled joints")
    return flaws


def _print(console: Console, checked: Checked) -> None:
    """Joints, sizes, and whatever is odd."""
    import numpy as np
    from rich.table import Table

    from hgrt.data.check import FAR
    from hgrt.pose.skeleton import MPII

    count = len(checked.names)
    if count:
        table = Table("joint", box=None, pad_edge=False)
        for title in ("labelled", "share", "hidden", "share of those", "evaluated", "outside"):
            table.add_column(title, justify="right")
        columns = (checked.labelled, checked.labelled & ~checked.visible, checked.evaluate, checked.outside)
        rows = [(name, [int(mask[:, k].sum()) for mask in columns]) for k, name in enumerate(MPII.joints)]
        rows.append(("all", [int(mask.sum()) for mask in columns]))
        for name, (labelled, hidden, evaluated, outside) in rows:
            share = labelled / count / (len(MPII) if name == "all" else 1)
            cells = (f"{labelled:,}", f"{share:.0%}", f"{hidden:,}", f"{hidden / max(labelled, 1):.0%}")
            table.add_row(name, *cells, f"{evaluated:,}", f"{outside:,}" if outside else "")
        console.print(table)
        console.print(f"pictures         {len(set(checked.pictures)):,} different ones")
        for title, values in (("box side", checked.sides), ("head size", checked.heads)):
            low, middle, high = np.nanpercentile(values, (5, 50, 95))
            console.print(f"{title:16} {low:.0f} / {middle:.0f} / {high:.0f} px  (5 / 50 / 95 %)")
    if checked.cut.any():
        console.print(f"{checked.cut.sum():,} people: their box reaches beyond the picture")
    odd = {
        "a joint labelled outside the picture": checked.outside.any(axis=1),
        f"a joint more than {FAR:.0f} box sides from the box": checked.far.any(axis=1),
        "no joint labelled": ~checked.labelled.any(axis=1),
        "no head size": ~(checked.heads > 0),
        "same picture and joints as another": checked.again,
    }
    for title, which in odd.items():
        if np.any(which):
            names = [checked.names[i] for i in np.flatnonzero(which)]
            console.print(f"{len(names):,} people: {title} ({_some(names)})", markup=False)
    for said in checked.unreadable[:SHOWN]:
        console.print(said, markup=False)
    if len(checked.unreadable) > SHOWN:
        console.print(f"and {len(checked.unreadable) - SHOWN:,} more that cannot be read")


def _print_shared(console: Console, pictures: Sequence[tuple[str, set[bytes]]]) -> None:
    """Pictures that stand in two of the sets: bad where one is trained on and the other judges."""
    for (one, first), (other, second) in combinations(pictures, 2):
        if first & second:
            console.print(f"{one} and {other} share {len(first & second):,} pictures.", markup=False)


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _draw(people: People, indices: Sequence[int], path: Path) -> None:
    from hgrt.evaluation.sheet import contact_sheet, tile, write_sheet

    samples = [people.get(index) for index in indices]
    tiles = [tile(one.image, one.box, one.joints, one.labelled, one.visible) for one in samples]
    captions = [f"{index}: {one.name}" for index, one in zip(indices, samples, strict=True)]
    write_sheet(path, contact_sheet(tiles, COLUMNS, captions))
