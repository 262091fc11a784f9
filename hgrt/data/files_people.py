"""What the readers share whose pictures are files in a folder: reading one, and finding out which are absent.

It knows nothing of annotations and of no data set by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from hgrt.errors import HgrtError
from hgrt.pose.geometry import Image

AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # labels were drawn on the pixels as they lie in the file


def read_image(path: Path) -> Image:
    """The picture in a file, (H, W, 3) uint8 BGR, unturned by its EXIF; HgrtError where it cannot be read."""
    try:
        stored = np.fromfile(path, np.uint8)
    except OSError as error:
        raise HgrtError(f"The picture {path} cannot be read.", error.strerror or str(error)) from error
    # imread would return what there is of a file that is cut short.
    image = cv2.imdecode(stored, AS_STORED) if len(stored) else None
    if image is None:
        raise HgrtError(f"The picture {path} cannot be read.", "It is no picture, or it is cut short.")
    return np.asarray(image, dtype=np.uint8)


def missing_images(folder: Path, names: Iterable[str]) -> list[str]:
    """Which of `names` are no entries of `folder`, sorted and each once; all of them where there is no such folder.

    The folder is listed once: asking for tens of thousands of files one by one takes minutes on a network disk.
    """
    wanted = set(names)
    try:
        with os.scandir(folder) as entries:
            wanted.difference_update([entry.name for entry in entries])
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise HgrtError(f"The folder {folder} cannot be read.", str(error)) from error
    return sorted(wanted)
