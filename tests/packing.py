"""Small packed data sets, written to a folder for tests that read them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hgrt.pose.skeleton import MPII

COUNT = 5


def jpeg(index: int) -> bytes:
    """A picture of one colour, which tells its number."""
    picture = np.full((40 + index, 60, 3), (10 * index, 100, 200), np.uint8)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def rows(count: int) -> dict[str, NDArray[Any]]:
    """The fields of so many people, joints within the picture."""
    rng = np.random.default_rng(count)
    label = rng.integers(0, 3, (count, 16)).astype(np.uint8)
    return {
        "imgname": np.array([f"{i}.jpg".encode() for i in range(count)]),
        "part": rng.uniform(1, 39, (count, 16, 2)).astype(np.float32),
        "label": label,
        "visible": ((label > 0) & (rng.random((count, 16)) < 0.5)).astype(np.uint8),
        "evaluate": (label == 1).astype(np.uint8),
        "center": rng.uniform(10, 30, (count, 2)),
        "scale": rng.uniform(0.1, 0.4, count),
        "normalize": rng.uniform(5, 10, count),
    }


def tar(path: Path, files: dict[str, bytes]) -> None:
    """A plain tar file of `files` by name."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def pack(folder: Path, split: str = "train", count: int = COUNT, **changed: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A set in two tar files, pictures of even numbers in the first; fields may be replaced."""
    import h5py

    folder.mkdir(exist_ok=True, parents=True)
    values = rows(count) | changed
    with h5py.File(folder / f"{split}.h5", "w") as file:
        for name, value in values.items():
            file[name] = value
        file.attrs["joint_names"] = ",".join(MPII.joints)
        file.attrs["tars"] = f"{split}_0.tar,{split}_1.tar"
    for part in (0, 1):
        tar(folder / f"{split}_{part}.tar", {f"{i}.jpg": jpeg(i) for i in range(part, count, 2)})
    return values
