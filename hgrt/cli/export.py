"""`hgrt export`: a checkpoint becomes an ONNX file that every other runtime takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of ours or a published checkpoint.pth.tar, or a bundled one by name.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The ONNX file; beside the checkpoint if left out.")
    ] = None,
    ramp: Annotated[
        str, typer.Option(help="Coordinate channels of a published checkpoint: linear or integer.")
    ] = "linear",
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits, for ONNX Runtime on a CPU; needs --data.")
    ] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", "-d", help="Whose train split --int8 takes the ranges from; may be given several times."
        ),
    ] = None,
) -> None:
    """Export a checkpoint to ONNX: uint8 BGR crops in, float32 heatmaps out."""
    from functools import partial
    from typing import cast, get_args

    from rich.console import Console

    from hgrt.data.find import open_sets
    from hgrt.data.missing import no_data
    from hgrt.engine.onnx import export_onnx
    from hgrt.engine.quantize import calibration_crops, export_int8
    from hgrt.errors import HgrtError
    from hgrt.model import load_checkpoint
    from hgrt.model.spec import Ramp

    if ramp not in get_args(Ramp):
        raise HgrtError(f"--ramp {ramp} is unknown.", f"Known: {', '.join(get_args(Ramp))}.")
    if int8 and not data:
        raise no_data("There is nothing to take the ranges of 8 bits from.", "--int8 was given, and no --data.")
    if data and not int8:
        raise HgrtError("--data is for --int8 only.", "A file in single precision needs none.", "Add --int8.")
    target = out or checkpoint.with_suffix(".int8.onnx" if int8 else ".onnx")
    if target.resolve() == checkpoint.resolve():
        raise HgrtError(f"{target} is the checkpoint.", "Writing there would destroy it.", "Give another --out.")
    model = load_checkpoint(checkpoint, cast(Ramp, ramp))
    if data:
        console = Console(highlight=False, soft_wrap=True)
        sets = open_sets(data, "train", partial(console.print, style="yellow", markup=False))
        found = export_int8(model, target, calibration_crops(sets, model.spec.input, crop=model.spec.crop))
        print(f"Against single precision: {found}")
    else:
        export_onnx(model, target)
    print(f"{target}: {model.spec}{', int8' * int8}, {target.stat().st_size / 1e6:.1f} MB")
