"""People with their pictures decoded once and kept in memory, so that training does not decode again and again.

Not the whole picture is kept but what a random view is likely to show, reduced as far as the network could not tell.
This module knows nothing of training: who asks says how large a person has to stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hgrt.data.sample import People, Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import Array, Box, Image

REACH = 3.0
"""Side of the square that is kept about a person, in sides of their box.

A view of 1.5 times the box, shifted as far as it may be (0.27 of its side) and turned at will, ends at 2.92.
"""
WHOLE = 512 * 512  # pixels; a picture that has no more, after its reduction, is not cut at all
PROBED = 32  # people from whom the memory for all is estimated


class Cached:
    """The people of a set, decoded once: `get` costs nothing. For training; evaluation takes the set itself.

    limit     pixels that the side of a person's box keeps at least; a larger one is halved as often as that allows
    progress  hears how many of how many people are in memory

    Views up to 1.5 times the box show what they show without the cache, unless they stray. Wider ones reach beyond what
    is kept where the picture is large: there the picture seems to end, and what lies beyond it is black, or other
    scenery, where it would have been the picture. In a picture without end that is so for 6 % of all views and 1.5 % of
    all pixels; for 13 % of the pixels of the wide views.
    Pictures are halved on a grid of their own, `geometry.warp` halves on that of the view: of a reduced picture a view
    is the same but for the smoothing of a fraction of a pixel. It is softer where it shows less than the box, as
    of half a body: there the person had more pixels than `limit` keeps.

    It is filled at once, by threads, and nothing is written to it afterwards: processes that fork later share it. The
    set itself is let go. HgrtError where the memory that is free would not do, or a picture cannot be read.
    """

    def __init__(
        self, people: People, limit: float, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        self.name = people.name
        _check_memory(people, limit)
        self._samples: list[Sample] = []
        threads = ThreadPoolExecutor(os.cpu_count())
        try:
            for sample in threads.map(lambda index: _kept(people.get(index), limit), range(len(people))):
                self._samples.append(sample)
                progress(len(self._samples), len(people))
        finally:  # whoever interrupts it does not wait for the rest
            threads.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int) -> Sample:
        """Person `index`; the picture can only be read. Joints, box and head size are in its pixels."""
        return self._samples[index]

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures together."""
        return sum(sample.image.nbytes for sample in self._samples)


def _check_memory(people: People, limit: float) -> None:
    free = _free_memory()
    if free is None or not len(people):
        return
    probed = np.unique(np.linspace(0, len(people) - 1, PROBED).astype(int))
    needed = len(people) * float(np.mean([_kept(people.get(int(i)), limit).image.nbytes for i in probed]))
    if needed > free:
        raise HgrtError(
            f"The decoded pictures of {people.name} do not fit in memory.",
            f"{len(people)} people need about {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free.",
            "Train without --cache, or on a machine with more memory.",
        )


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _kept(sample: Sample, limit: float) -> Sample:
    """The sample with as much of its picture as is kept, halved as far as `limit` allows."""
    height, width = sample.image.shape[:2]
    labelled = sample.joints[sample.labelled]
    for halvings in range(max(0, int(np.log2(sample.box.side / limit))), -1, -1):
        step = 1 << halvings
        whole = width * height <= WHOLE * step * step
        side = np.inf if whole else REACH * sample.box.side
        x0, x1 = _span(sample.box.cx, side, labelled[:, 0], width, step)
        y0, y1 = _span(sample.box.cy, side, labelled[:, 1], height, step)
        # Joints in the strip that fills the last group would count as inside the picture, which they are not.
        beyond = (labelled >= [width - 0.5, height - 0.5]).any(axis=1) & (labelled < [x1 - 0.5, y1 - 0.5]).all(axis=1)
        if not beyond.any():
            break
    image = _cut(sample.image, (x0, y0, x1, y1), halvings).view()
    image.flags.writeable = False
    origin = np.array([x0, y0]) + (step - 1) / 2  # of small pixel (0, 0), which is the mean of `step` by `step`
    cx, cy = (np.array([sample.box.cx, sample.box.cy]) - origin) / step
    return replace(
        sample,
        image=image,
        joints=(sample.joints - origin) / step,
        box=Box(float(cx), float(cy), sample.box.side / step),
        normalize=sample.normalize / step,
    )


def _span(middle: float, side: float, joints: Array, extent: int, step: int) -> tuple[int, int]:
    """First pixel and the one after the last, along one axis, of what is kept of `extent` pixels.

    It holds the joints that lie in the picture, and whole groups of `step`: beyond the picture's end where it must.
    """
    inside = joints[(joints > -0.5) & (joints < extent - 0.5)]
    low = np.floor(min([middle - side / 2, *inside]))
    high = np.ceil(max([middle + side / 2, *inside])) + 1
    start = int(np.clip(low, 0, extent - 1))
    stop = int(np.clip(high, start + 1, extent))
    stop += min(-(stop - start) % step, extent - stop)
    start -= min(-(stop - start) % step, start)
    return start, stop + -(stop - start) % step


def _cut(image: Image, part: tuple[int, int, int, int], halvings: int) -> Image:
    """`part` (x0, y0, x1, y1) of a picture, black beyond it, halved by means of 2x2 pixels; the picture itself if all.

    The memory is the result's own: a view would keep the whole picture alive.
    """
    x0, y0, x1, y1 = part
    height, width = image.shape[:2]
    if part == (0, 0, width, height) and not halvings:
        return image
    cut = image[y0:y1, x0:x1]
    missing = (y1 - y0 - cut.shape[0], x1 - x0 - cut.shape[1])
    if any(missing):
        cut = np.asarray(cv2.copyMakeBorder(cut, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT), dtype=np.uint8)
    for _ in range(halvings):
        cut = np.asarray(cv2.resize(cut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return cut if halvings else cut.copy()
