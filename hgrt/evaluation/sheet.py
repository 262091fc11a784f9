"""People on one sheet: each in a tile of their own, joints drawn in, a caption below. To look at labels and at errors.

Knows pictures and joints only: which people are worth a look, and what the captions say, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.draw import FRACTION, LIMBS, draw_joints
from hgrt.errors import HgrtError
from hgrt.files import check_writable, written_whole
from hgrt.pose.geometry import Array, Box, Image, apply, warp

WIDER = 1.15  # of the person's box: what stands just outside it often explains an error
SUFFIXES = (".png", ".jpg", ".jpeg")
LINE = 14  # pixels a line of a caption takes
GAP = 4  # pixels between tiles
DARK = (24, 24, 24)
WHITE = (255, 255, 255)


def tile(
    image: Image,
    box: Box,
    xy: Array,
    drawn: NDArray[np.bool_],
    solid: NDArray[np.bool_],
    truth: Array | None = None,
    wrong: int | None = None,
    size: int = 192,
) -> Image:
    """A person's square, a little widened, as (size, size, 3) uint8 BGR, with the joints drawn in.

    image   (H, W, 3) uint8 BGR; it stays as it is
    xy      (16, 2) image pixels, drawn bold: labels, or what was predicted
    drawn   (16,) bool, the joints to draw; `solid` (16,) bool, those that are not hollow (seen, or sure)
    truth   (16, 2) image pixels, drawn thin beneath, NaN where unknown
    wrong   a joint that a white line joins to its true place
    """
    wide = box.scaled(WIDER)
    affine = wide.to_crop(size)
    picture = warp(image, affine, size)
    if truth is not None:
        _draw_thin(picture, apply(affine, truth))
    here = apply(affine, np.where(np.asarray(drawn)[:, None], xy, 0.0))
    if wrong is not None and truth is not None:
        ends = _fixed(np.stack([here[wrong], apply(affine, truth[wrong])]))
        cv2.line(picture, ends[0], ends[1], WHITE, 1, cv2.LINE_AA, FRACTION)
    draw_joints(picture, here, drawn, solid, size / WIDER)
    return picture


def contact_sheet(tiles: Sequence[Image], columns: int, captions: Sequence[str]) -> Image:
    """Tiles of one size side by side, `columns` in a row, each over its caption (lines parted by newlines).

    (H, W, 3) uint8 BGR. ValueError where there are no tiles, their sizes differ, or captions are too few or too many.
    """
    if not tiles or columns < 1 or len(captions) != len(tiles) or len({one.shape for one in tiles}) > 1:
        raise ValueError(f"{len(tiles)} tiles and {len(captions)} captions: one each, at least one, all of one size")
    lines = max(caption.count("\n") + 1 for caption in captions)
    height, width = tiles[0].shape[:2]
    across, down = width + GAP, height + LINE * lines + 2 * GAP
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * down + GAP, columns * across + GAP, 3), DARK, np.uint8)
    for k, (one, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = GAP + k % columns * across, GAP + k // columns * down
        sheet[y : y + height, x : x + width] = one
        for n, text in enumerate(caption.split("\n")):
            _write(sheet[y + height + n * LINE : y + height + (n + 1) * LINE, x : x + width], text)
    return sheet


def check_sheet(path: Path) -> None:
    """HgrtError unless a sheet can be written to `path`: its suffix, and the place."""
    if path.suffix.lower() not in SUFFIXES:
        raise HgrtError(
            f"A sheet cannot be written as '{path.name}'.",
            f"Its suffix is none of {', '.join(SUFFIXES)}.",
            "Give a name such as sheet.png",
        )
    check_writable(path)


def write_sheet(path: Path, sheet: Image) -> None:
    """Write a (H, W, 3) uint8 BGR sheet as PNG or JPEG by its suffix, whole or not at all; else HgrtError."""
    check_sheet(path)
    with written_whole(path) as partial:
        partial.write_bytes(cv2.imencode(path.suffix.lower(), sheet)[1].tobytes())


def _draw_thin(picture: Image, xy: Array) -> None:
    known = np.asarray(np.isfinite(xy).all(axis=1))
    points = _fixed(np.where(known[:, None], xy, 0.0))
    for i, j, colour in LIMBS:
        if known[i] and known[j]:
            cv2.line(picture, points[i], points[j], colour, 1, cv2.LINE_AA, FRACTION)
    for k in np.flatnonzero(known):
        cv2.circle(picture, points[k], 2 << FRACTION, WHITE, cv2.FILLED, cv2.LINE_AA, FRACTION)


def _fixed(xy: Array) -> list[tuple[int, int]]:
    """As OpenCV takes sub-pixel positions, and never too far out for it."""
    return [(int(x), int(y)) for x, y in np.clip(np.round(xy * (1 << FRACTION)), -(1 << 24), 1 << 24)]


def _write(strip: Image, text: str) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.36
    text = text.encode("ascii", "replace").decode()  # the font has no other letters
    while text and cv2.getTextSize(text, font, scale, 1)[0][0] > strip.shape[1]:
        text = text[:-1]
    cv2.putText(strip, text, (1, LINE - 4), font, scale, WHITE, 1, cv2.LINE_AA)
