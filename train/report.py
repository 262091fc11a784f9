"""What an epoch leaves for people: a printed line, a row in the log, curves, and a sheet of samples to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.console import Console
from torch import Tensor

from hgrt.data.find import DataSets
from hgrt.data.sample import People
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.sheet import contact_sheet, tile, write_sheet
from hgrt.pose.geometry import Box, Image, apply, heatmap_to_crop
from hgrt.pose.heatmaps import decode
from hgrt.train.batches import Batch
from hgrt.train.curves import draw_curves
from hgrt.train.log import RunLog
from hgrt.train.run import Run

COLUMNS = 8
TILE = 176
SURE = 0.3  # a prediction below this is drawn hollow
Row = Mapping[str, float]


def report(
    run: Run,
    log: RunLog,
    row: Row,
    rates: Row,
    data: DataSets,
    judged: list[Predictions],
    batch: Batch,
    diagnosis: str | None,
    console: Console,
) -> None:
    """Write down an epoch: its `row` of numbers, PCKh@0.5 `rates` by set, a training `batch`, and what is wrong."""
    log.append({**row, **rates})
    log.scalars(
        int(row["iteration"]),
        {**{f"train/{k}": v for k, v in row.items()}, **{f"PCKh@0.5/{k}": v for k, v in rates.items()}},
    )
    scores = "  ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
    said = [f"PCKh@0.5 {scores}"] if rates else []
    said += [f"{row['skipped']:.0f} non-finite steps skipped"] if row["skipped"] else []
    console.print(
        f"epoch {row['epoch']:3.0f}  {row['size']:.0f} px  "
        f"loss {row['loss']:.5f} ({row['explained']:.0f} % explained)  "
        f"{row['images_per_s']:.1f} images/s, {row['waiting']:.0f} % waiting  {'  '.join(said)}"
    )
    if diagnosis:
        console.print(diagnosis, style="bold red")
    draw_curves(log.rows(), run.folder / "curves.png")
    sheet = samples(data, judged, batch)
    folder = run.folder / "samples"
    folder.mkdir(exist_ok=True)
    write_sheet(folder / f"epoch_{row['epoch']:03.0f}.jpg", sheet)
    log.picture(int(row["iteration"]), "samples", sheet)


def samples(data: DataSets, judged: list[Predictions], batch: Batch) -> Image:
    """A sheet: a row of training views with their targets, then people of the validation sets as they are found now."""
    pairs = [_view(image, targets) for image, targets in zip(batch[0][:COLUMNS], batch[1][:COLUMNS], strict=True)]
    pairs += [(_blank(), "") for _ in range(COLUMNS - len(pairs))]
    each = max(1, 2 * COLUMNS // max(1, len(judged)))
    for people, predictions in zip(data.val, judged, strict=True):
        spread = np.linspace(0, len(predictions) - 1, each if len(predictions) else 0).astype(int)
        pairs += [_found(people, predictions, int(index)) for index in np.unique(spread)]
    return contact_sheet([picture for picture, _ in pairs], COLUMNS, [caption for _, caption in pairs])


def _view(image: Tensor, targets: Tensor) -> tuple[Image, str]:
    picture = image.numpy()
    if picture.dtype != np.uint8:
        picture = np.rint(picture * 255).astype(np.uint8)
    found = decode(targets.numpy()[None])
    size = len(picture)
    xy = apply(heatmap_to_crop(size // 4, size), found.xy_hm[0])
    seen = found.score[0] > 0
    return tile(picture, Box.whole(size, size), xy, seen, seen, size=TILE), "training view"


def _found(people: People, predictions: Predictions, index: int) -> tuple[Image, str]:
    score = predictions.score[index]
    truth = np.where(predictions.labelled[index][:, None], predictions.truth[index], np.nan)
    cx, cy, side = predictions.boxes[index]
    sample = people.get(predictions.rows[index])
    picture = tile(
        sample.image, Box(cx, cy, side), predictions.xy[index], score > 0, score >= SURE, truth=truth, size=TILE
    )
    return picture, predictions.set


def _blank() -> Image:
    return np.zeros((TILE, TILE, 3), np.uint8)
