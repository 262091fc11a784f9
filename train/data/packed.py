"""Reader of packed data: JPEGs in uncompressed tar files, annotations in an HDF5 file beside them.

The folder holds `train.h5` and `val.h5` (or one of them) and the tar files that their attribute `tars` names. The JPEGs
stay compressed in memory: a tar is read once, and a picture is decoded each time it is asked for.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import h5py
import numpy as np

from hgrt.errors import HgrtError
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII
from hgrt.train.data.sample import Sample

FIELDS = ("imgname", "part", "label", "visible", "evaluate", "center", "scale", "normalize")


class PackedPeople:
    """The people of one split of a packed set. HgrtError where files are missing, broken or of another skeleton."""

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"{folder.name}/{split}"
        annotations = folder / f"{split}.h5"
        if not annotations.is_file():
            raise HgrtError(f"There is no {split} split in {folder}.", f"{annotations} does not exist.")
        try:
            with h5py.File(annotations, "r") as file:
                missing = [field for field in FIELDS if field not in file]
                if missing:
                    raise HgrtError(f"{annotations} is not a packed data set.", f"It lacks {', '.join(missing)}.")
                if str(file.attrs["joint_names"]) != ",".join(MPII.joints):
                    raise HgrtError(f"{annotations} has another skeleton.", f"Its joints: {file.attrs['joint_names']}")
                rows = {field: file[field][()] for field in FIELDS}
                tars = [folder / name for name in str(file.attrs["tars"]).split(",")]
        except (OSError, KeyError) as error:
            raise HgrtError(f"{annotations} cannot be read as HDF5.", str(error)) from error
        self._names = [name.decode() for name in rows["imgname"]]
        self._joints = rows["part"].astype(np.float64)
        self._label, self._visible, self._evaluate = rows["label"], rows["visible"] > 0, rows["evaluate"] > 0
        self._center, self._scale = rows["center"].astype(np.float64), rows["scale"].astype(np.float64)
        self._normalize = rows["normalize"].astype(np.float64)
        self._jpegs = _read_tars(tars)
        absent = sorted(set(self._names) - set(self._jpegs))
        if absent:
            raise HgrtError(f"{len(absent)} pictures of {annotations} are not in its tar files.", f"First: {absent[0]}")

    def __len__(self) -> int:
        return len(self._names)

    def get(self, index: int) -> Sample:
        name = self._names[index]
        jpeg = self._jpegs[name]
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR) if len(jpeg) else None
        if image is None:
            raise HgrtError(f"The picture {name} of {self.name} cannot be decoded.")
        return Sample(
            image=np.asarray(image, dtype=np.uint8),
            joints=self._joints[index],
            labelled=self._label[index] > 0,
            visible=self._visible[index],
            evaluate=self._evaluate[index],
            box=Box.from_mpii(self._center[index], float(self._scale[index])),
            normalize=float(self._normalize[index]),
        )


def _read_tars(paths: list[Path]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    jpegs = {}
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    stream = tar.extractfile(member)
                    if stream is not None:
                        jpegs[member.name] = np.frombuffer(stream.read(), dtype=np.uint8)
        except (OSError, tarfile.TarError) as error:
            raise HgrtError(f"{path} cannot be read.", str(error)) from error
    return jpegs
