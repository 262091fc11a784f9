"""`hgrt data check`: what is in data sets, what is odd about them, and a sheet of their people to look at.
`hgrt data doubts`: which of their labels trained networks take for wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hgrt.errors import HgrtError

if TYPE_CHECKING:
    from hgrt.data.check import Checked
    from hgrt.data.doubts import Doubts, Judged
    from hgrt.data.find import Found
    from hgrt.data.sample import People
    from hgrt.evaluation.predict import Predictions
    from hgrt.pose.geometry import Image

SHOWN = 3  # names of odd people that are printed; the rest are counted
COLUMNS = 8  # of the sheet
DOUBTED = 24  # people on a sheet of doubts
BATCH = 16  # people at a time

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


@app.command()
def doubts(
    weights: Annotated[
        list[Path],
        typer.Argument(metavar="WEIGHTS", help="Trained networks, as `hgrt eval` takes them.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Write what is doubted here: .npz.", show_default=False)],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Folder of data or annotation file; may be given several times."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data.")] = "train",
    sheet: Annotated[Path | None, typer.Option(help="Draw the surest doubts here: .png or .jpg.")] = None,
) -> None:
    """Find labels that are likely wrong: where networks agree with each other, and not with the label.

    Give several, as different as there are. `hgrt train --doubts` trains less on such labels.
    """
    import numpy as np

    from hgrt.cli.evaluate import predict_all, refuse_overwriting
    from hgrt.data.doubts import judge, write_doubts
    from hgrt.data.find import open_sets
    from hgrt.data.missing import no_data
    from hgrt.evaluation.predict import View, refuse_other_joints
    from hgrt.evaluation.sheet import check_sheet
    from hgrt.files import check_writable
    from hgrt.runtime.base import open_backend

    if not data:
        raise no_data("There are no labels to doubt.", "No --data was given.")
    refuse_overwriting({"--out": out, "--sheet": sheet}, [*weights, *data])
    check_writable(out)
    if sheet is not None:
        check_sheet(sheet)
    console = Console(highlight=False, soft_wrap=True)
    sets = open_sets(data, split, partial(console.print, style="yellow", markup=False))
    members = []
    for path in weights:
        with open_backend("auto", path) as backend:
            refuse_other_joints(backend.info)
            console.print(f"{path}: {backend.info}", style="dim", markup=False)
            members.append(predict_all(backend, sets, View(flip=True, crop=backend.info.spec.crop), BATCH))
    labels, judged, found = members[0], [], []
    for people, of_all in zip(sets, zip(*members, strict=True), strict=True):
        xy, score = np.stack([one.xy for one in of_all]), np.stack([one.score for one in of_all])
        judged.append(judge(xy, score, of_all[0].truth, of_all[0].labelled, of_all[0].normalize))
        found.append(_doubts(len(people), of_all[0], judged[-1]))
    write_doubts(out, found)
    for one in found:
        console.print(str(one), markup=False)
    console.print(f"Written: {out}", markup=False)
    if sheet is not None:
        console.print(_draw_doubts(sets, labels, judged, sheet), markup=False)


def _doubts(count: int, labels: Predictions, judged: Judged) -> Doubts:
    """What was judged of the labels of a set of `count` people, scenery included."""
    import numpy as np

    from hgrt.data.doubts import Doubts, fingerprint
    from hgrt.data.sample import JOINTS

    marks = np.zeros((2, count, JOINTS), np.bool_)
    marks[:, labels.rows] = judged.exchange, judged.suspect
    marked = labels.only(np.asarray(marks[:, labels.rows].any(axis=(0, 2))))
    return Doubts(labels.set, fingerprint(marked.names, marked.truth, marked.labelled), *marks)


def _draw_doubts(sets: Sequence[People], labels: Sequence[Predictions], judged: Sequence[Judged], path: Path) -> str:
    """A sheet of the people of whom a joint is doubted with the highest scores; a line that says what was done."""
    import numpy as np

    from hgrt.evaluation.sheet import contact_sheet, write_sheet

    surest = []
    for k, one in enumerate(judged):
        score = np.where(one.exchange | one.suspect, one.score, -1.0)
        surest += [(float(row.max()), k, person, int(row.argmax())) for person, row in enumerate(score)]
    surest = sorted((one for one in surest if one[0] >= 0), reverse=True)[:DOUBTED]
    if not surest:
        return "No sheet: nothing is doubted."
    tiles = [_doubt(sets[k], labels[k], judged[k], person, joint) for _, k, person, joint in surest]
    write_sheet(path, contact_sheet([tile for tile, _ in tiles], COLUMNS, [caption for _, caption in tiles]))
    return f"sheet: {path}"


def _doubt(people: People, labels: Predictions, judged: Judged, person: int, joint: int) -> tuple[Image, str]:
    """A person, the ensemble's joints bold and the labels thin, and what is doubted."""
    import numpy as np

    from hgrt.data.doubts import SURE
    from hgrt.draw import shown
    from hgrt.evaluation.sheet import tile
    from hgrt.pose.skeleton import MPII

    sample, score = people.get(int(labels.rows[person])), judged.score[person]
    truth = np.where(sample.labelled[:, None], sample.joints, np.nan)
    wrong = joint if sample.labelled[joint] else None
    place = judged.place[person]
    picture = tile(sample.image, sample.box, place, shown(place, score), score >= SURE, truth, wrong)
    what = "sides exchanged" if judged.exchange[person, joint] else MPII.joints[joint]
    return picture, f"{labels.set.partition('/')[0]} {sample.name}\n{what}, score {score[joint]:.2f}"


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
        hips = checked.hips[np.isfinite(checked.hips)]
        if len(hips):
            low, middle, high = np.percentile(hips, (5, 50, 95))
            who = f"5 / 50 / 95 %; {len(hips):,} people seen from the front or the back"
            console.print(f"hips apart       {low:.2f} / {middle:.2f} / {high:.2f} of the shoulders  ({who})")
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
