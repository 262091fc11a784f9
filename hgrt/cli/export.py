"""`hgrt export`: a checkpoint becomes an ONNX file that every other runtime takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of ours, or a published checkpoint.pth.tar.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The ONNX file; beside the checkpoint if left out.")
    ] = None,
    ramp: Annotated[
        str, typer.Option(help="Coordinate channels of a published checkpoint: linear or integer.")
    ] = "linear",
) -> None:
    """Export a checkpoint to ONNX: uint8 BGR crops in, float32 heatmaps out."""
    from typing import cast, get_args

    from hgrt.engine.onnx import export_onnx
    from hgrt.errors import HgrtError
    from hgrt.model import load_checkpoint
    from hgrt.model.spec import Ramp

    if ramp not in get_args(Ramp):
        raise HgrtError(f"--ramp {ramp} is unknown.", f"Known: {', '.join(get_args(Ramp))}.")
    target = out or checkpoint.with_suffix(".onnx")
    if target.resolve() == checkpoint.resolve():
        raise HgrtError(f"{target} is the checkpoint.", "Writing there would destroy it.", "Give another --out.")
    model = load_checkpoint(checkpoint, cast(Ramp, ramp))
    export_onnx(model, target)
    print(f"{target}: {model.spec}, {target.stat().st_size / 1e6:.1f} MB")
