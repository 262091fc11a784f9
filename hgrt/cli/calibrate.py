"""`hgrt calibrate`: what a joint's score means, as a chance that it is right, measured on labelled people."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hgrt.errors import HgrtError

if TYPE_CHECKING:
    from hgrt.pose.confidence import Knots

BATCH = 16  # people at a time


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="The weights; to write a calibration, a checkpoint.")],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Folder of data or annotation file; may be given several times."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data; none that was trained on.")] = "val",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the checkpoint with its calibration here.")
    ] = None,
    crop: Annotated[
        float | None,
        typer.Option(min=0.25, max=4.0, help="How much of a person's box to look at from now on: side over side."),
    ] = None,
    found: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            help="How sure to be from now on, before a search says that somebody is there (benchmarks/nobody.py).",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Write the weights in half precision: half the file.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw how true scores and chances are here: .png or .jpg.")] = None,
) -> None:
    """Measure how likely a joint of a given score is right (PCKh@0.5), so that the demo can say it.

    Every data set weighs the same. The numbers of the chances are cross-validated, 5 folds over people; what is written
    is fitted on all of them.
    """
    from hgrt.cli.evaluate import predict_all, refuse_overwriting
    from hgrt.data.find import open_sets
    from hgrt.data.missing import no_data
    from hgrt.evaluation.predict import View, refuse_other_joints
    from hgrt.evaluation.reliability import calibration, diagram, held_out, judge, table
    from hgrt.evaluation.report import distinct
    from hgrt.evaluation.sheet import check_sheet, write_sheet
    from hgrt.files import check_writable
    from hgrt.require import require
    from hgrt.runtime.base import open_backend

    if not data:
        raise no_data("There is nothing to calibrate on.", "No --data was given.")
    refuse_overwriting({"--out": out, "--plot": plot}, [checkpoint, *data])
    if plot is not None:
        check_sheet(plot)
    if out is not None:
        _check_checkpoint(checkpoint, out)
        check_writable(out)
        require("torch", "train")
    console = Console(highlight=False, soft_wrap=True)
    sets = open_sets(data, split, partial(console.print, style="yellow", markup=False))
    with open_backend("auto", checkpoint) as backend:
        refuse_other_joints(backend.info)
        console.print(f"{checkpoint}: {backend.info}", style="dim", markup=False)
        seen = crop or backend.info.spec.crop
        joints = judge(distinct(predict_all(backend, sets, View(crop=seen), BATCH)))
    claimed, knots = held_out(joints), calibration(joints)
    console.print(table(joints, claimed))
    console.print("score -> chance: " + ", ".join(f"{score:.2f} -> {chance:.2f}" for score, chance in knots))
    if plot is not None:
        write_sheet(plot, diagram(joints, claimed))
        console.print(f"Written: {plot}", markup=False)
    if out is None:
        console.print("No calibration was written: that takes --out.")
    else:
        write_calibrated(checkpoint, out, knots, seen, found, half)
        console.print(f"Written: {out}", markup=False)


def write_calibrated(
    checkpoint: Path, out: Path, knots: Knots, crop: float, found: float | None, half: bool = False
) -> None:
    """Write the checkpoint with another calibration, measured with `crop`, and perhaps `found` (both of `ModelSpec`),
    and with all that ours hold beside the weights, to `out`; with `half` in half precision.
    """
    from dataclasses import replace

    from hgrt.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
    from hgrt.model.spec import METADATA_KEY

    model, content = load_checkpoint(checkpoint), read_checkpoint(checkpoint)
    model.spec = replace(model.spec, calibration=knots, crop=crop, found=found or model.spec.found)
    beside = set(content) - {METADATA_KEY, "state_dict"} if METADATA_KEY in content else ()
    save_checkpoint(out, model, half, **{name: content[name] for name in beside})


def _check_checkpoint(checkpoint: Path, out: Path) -> None:
    for path in (checkpoint, out):
        if path.suffix in (".onnx", ".engine"):
            raise HgrtError(
                f"{path} is no checkpoint.",
                "A calibration is written into a checkpoint, and ONNX files and engines get it from there.",
                "Calibrate the checkpoint, then export it again.",
            )
