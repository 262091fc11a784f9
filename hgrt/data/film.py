"""A film of one person whose joints are known in every frame, as labelled people: the bundled clip is one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from hgrt.data.sample import JOINTS, Sample
from hgrt.errors import HgrtError
from hgrt.pose.geometry import MARGIN, Array, Box, Image


def read_truth(path: Path) -> tuple[Array, Array]:
    """Joints (frames, 16, 2) and head sizes (frames,), pixels, float64: "joints" and "head_size" of the JSON that
    `hgrt.data.clip` writes. HgrtError where it holds something else."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        joints = np.array(known["joints"], dtype=np.float64).reshape(-1, JOINTS, 2)
        return joints, np.array(known["head_size"], dtype=np.float64).reshape(len(joints))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HgrtError(f"{path} does not hold the joints of a clip.", str(error)) from error


class FilmPeople:
    """Person k is the one in frame k of `film`; `truth` is what `read_truth` reads.

    Only the frame at hand is in memory, so going through in order is fast and going back starts from the beginning.
    HgrtError where the truth cannot be read, and from `get` where the film ends too early.
    """

    def __init__(self, film: Path, truth: Path) -> None:
        self.name = film.stem
        self._path = film
        self._joints, self._head_size = read_truth(truth)
        self._capture = cv2.VideoCapture(str(film))
        self._next = 0

    def __len__(self) -> int:
        return len(self._joints)

    def get(self, index: int) -> Sample:
        """The person in frame `index`, from 0; all sixteen joints are labelled, seen and count."""
        every = np.ones(JOINTS, dtype=bool)
        joints = self._joints[index]
        return Sample(
            name=f"frame {index}",
            image=self._frame(index),
            joints=joints,
            labelled=every,
            visible=every,
            evaluate=every,
            box=Box.around(joints, MARGIN),
            normalize=float(self._head_size[index]),
        )

    def _frame(self, index: int) -> Image:
        if index < self._next:
            self._capture.release()
            self._capture = cv2.VideoCapture(str(self._path))
            self._next = 0
        read = True
        while read and self._next < index:
            read = self._capture.grab()
            self._next += 1
        read, frame = self._capture.read() if read else (False, None)
        self._next += 1
        if not read:
            raise HgrtError(f"{self._path} cannot be read to its end.", f"There is no frame {index}.")
        return np.asarray(frame, dtype=np.uint8)
