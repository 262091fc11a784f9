"""`hgrt eval`: how right weights are on labelled people, as a table and as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console

from hgrt.errors import HgrtError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from hgrt.data.sample import People
    from hgrt.evaluation.predict import Cut, Predictions, View
    from hgrt.evaluation.report import Summary
    from hgrt.runtime.base import Backend, BackendInfo, Precision


def evaluate(
    weights: Annotated[
        Path | None,
        typer.Argument(
            help="Weights file (.onnx, .engine, or a checkpoint, ours or published); bundled ones if left out.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Folder of data or annotation file; may be given several times."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data.")] = "val",
    protocol: Annotated[
        str,
        typer.Option(
            help="Which PCKh: standard (as HRNet and mmpose report it), limbs (12 joints, no head), or reference (the "
            "published code's)."
        ),
    ] = "standard",
    flip: Annotated[
        bool, typer.Option("--flip", help="Look at the mirrored person too, as the published evaluation does.")
    ] = False,
    multi_scale: Annotated[bool, typer.Option("--multi-scale", help="Look at three sizes of box.")] = False,
    cut: Annotated[
        str | None,
        typer.Option(
            help="Crop and decoding: exact, published (as the published code, since 2020) or legacy (2019).",
            show_default="published for the protocol reference, else exact",
        ),
    ] = None,
    runtime: Annotated[
        str, typer.Option("--runtime", "-r", help="auto, onnxruntime, openvino, torch or tensorrt.")
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, bf16, fp16 or int8.", show_default="that of an engine or 8-bit file, else fp32"),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Load an engine that was changed since it was built.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads to compute with; 0: the physical cores.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="People at a time.")] = 16,
    json: Annotated[Path | None, typer.Option(help="Write the numbers here.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Write everybody's joints here: .json, .h5 or .mat.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the largest errors here: .png or .jpg.")] = None,
) -> None:
    """Measure weights on labelled people: PCKh by joint, and what went most wrong."""
    from hgrt.data.find import look, open_sets
    from hgrt.data.missing import no_data
    from hgrt.evaluation.export import check_predictions, write_json, write_predictions
    from hgrt.evaluation.predict import refuse_other_joints
    from hgrt.evaluation.report import distinct, pooled, summarise
    from hgrt.evaluation.sheet import check_sheet, write_sheet
    from hgrt.evaluation.worst import worst_sheet
    from hgrt.files import check_writable, written_whole
    from hgrt.runtime.base import open_backend

    view = parse_view(protocol, cut, flip, multi_scale)
    asked = parse_precision(precision) if precision is not None else None
    if not data:
        raise no_data("There is nothing to evaluate on.", "No --data was given.")
    outputs = {"--json": json, "--predictions": predictions, "--sheet": sheet}
    refuse_overwriting(outputs, [path for path in (weights, *data) if path is not None])
    for path, check in ((json, check_writable), (predictions, check_predictions), (sheet, check_sheet)):
        if path is not None:
            check(path)
    console = Console(highlight=False, soft_wrap=True)
    sets = open_sets(data, split, partial(console.print, style="yellow", markup=False))
    if not any(len(people) for people in sets):
        raise HgrtError(f"There is nobody in the {split} split of {', '.join(map(str, data))}.")
    for path in data:
        if not any(one.split == split for one in look(path)):
            console.print(f"Note: {path} has no {split} split.", style="yellow", markup=False)
    with open_backend(runtime, weights, asked, threads, trust) as backend:
        info = backend.info
        refuse_other_joints(info)
        view = replace(view, crop=info.spec.crop)
        console.print(f"{info.weights}: {info}; {view}", style="dim", markup=False)
        found = distinct(predict_all(backend, sets, view, batch))
    summaries = [summarise(one, protocol) for one in found]
    total = summarise(pooled(found), protocol)
    show(console, summaries, total)
    if json is not None:
        with written_whole(json) as scratch:
            write_json(scratch, document(info, data, split, view, summaries, total))
    if predictions is not None:
        write_predictions(predictions, found, sets)
    if sheet is not None:
        write_sheet(sheet, worst_sheet(sets, found, protocol))
    for path in (json, predictions, sheet):
        if path is not None:
            console.print(f"Written: {path}", markup=False)


def parse_view(protocol: str, cut: str | None, flip: bool, multi_scale: bool) -> View:
    """The options that say how people are shown to the network; the protocol decides what is left out."""
    from hgrt.evaluation.predict import SCALES, Cut, View
    from hgrt.pose.pckh import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise HgrtError(f"There is no protocol '{protocol}'.", f"Known: {', '.join(PROTOCOLS)}.")
    chosen = cut or ("published" if protocol == "reference" else "exact")
    if chosen not in get_args(Cut):
        raise HgrtError(f"--cut {chosen} is unknown.", f"Known: {', '.join(get_args(Cut))}.")
    if multi_scale and chosen != "exact":
        why = f"The cut is {chosen}" + (", as always with the protocol reference." if cut is None else ".")
        raise HgrtError("--multi-scale goes with the exact cut only.", why, "Add --cut exact, or leave it out.")
    return View(cast("Cut", chosen), flip, SCALES if multi_scale else (1.0,))


def parse_precision(text: str) -> Precision:
    """One of the precisions that runtimes know."""
    from hgrt.runtime.base import Precision

    if text not in get_args(Precision):
        raise HgrtError(f"--precision {text} is unknown.", f"Known: {', '.join(get_args(Precision))}.")
    return cast("Precision", text)


def refuse_overwriting(outputs: Mapping[str, Path | None], inputs: Sequence[Path]) -> None:
    """Weights and data must survive, and no two outputs may be one file."""
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        target = path.resolve()
        if target in taken:
            raise HgrtError(f"{path} is asked for twice.", f"As {taken[target]} and as {option}.")
        taken[target] = option
        if target.exists() and any(target.is_relative_to(one.resolve()) for one in inputs):
            raise HgrtError(
                f"{path} is there already, among the weights and data.",
                "Writing there might destroy them.",
                f"Give another {option}.",
            )


def predict_all(backend: Backend, sets: Sequence[People], view: View, batch: int) -> list[Predictions]:
    """What the network finds in every set, with a bar on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hgrt.evaluation.predict import predict

    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found = []
    info, locate = backend.info, backend.keypoints if backend.info.decodes else None
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bar:
        for people in sets:
            task = bar.add_task(people.name, total=len(people))
            seen = partial(_advance, bar, task)
            found.append(predict(backend.infer, people, info.spec.input, view, batch, seen, locate))
    return found


def _advance(bar: Progress, task: TaskID, count: int) -> None:
    bar.update(task, completed=count)


def show(console: Console, summaries: Sequence[Summary], total: Summary) -> None:
    """Tables of every set, then the totals, each with what is wrong."""
    from hgrt.evaluation.report import line, table, visibility_table, wrong_line

    for summary in summaries:
        console.print(table(summary))
        if summary.protocol == "reference":
            console.print(visibility_table(summary))
    for summary in summaries:
        console.print(line(summary), markup=False)
        console.print(wrong_line(summary), style="dim", markup=False)
    if len(summaries) > 1:
        console.print(line(total), style="bold", markup=False)
        console.print(wrong_line(total), style="dim", markup=False)


def document(
    info: BackendInfo,
    data: Sequence[Path],
    split: str,
    view: View,
    summaries: Sequence[Summary],
    total: Summary,
) -> dict[str, object]:
    """The JSON of an evaluation: what was measured, how, and the numbers."""
    from dataclasses import asdict

    from hgrt import __version__
    from hgrt.evaluation.report import BOUNDS, as_json
    from hgrt.files import sha256

    return {
        "hgrt": __version__,
        "weights": {"path": str(info.weights), "sha256": sha256(info.weights), "spec": asdict(info.spec)},
        "runtime": {
            "runtime": info.runtime,
            "device": info.device,
            "asked": info.asked,
            "running": info.running,
            "threads": info.threads,
            "versions": dict(info.versions),
        },
        "data": [str(path) for path in data],
        "split": split,
        "sets": [summary.set for summary in summaries],
        "people": total.people,
        "protocol": total.protocol,
        "cut": view.cut,
        "flip": view.flip,
        "scales": list(view.scales),
        "thresholds": list(BOUNDS),
        **as_json(total),
        "by_set": {summary.set: {"people": summary.people, **as_json(summary)} for summary in summaries},
    }
