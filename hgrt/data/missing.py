"""What to say when there are no data where they should be. Imports nothing heavy, so that it can be said at once."""

from __future__ import annotations

from hgrt.errors import HgrtError

WHERE_FROM = """\
Data are folders (or a folder of such folders) in one of these forms; docs/data.md describes them:
  MPII    images/ and annot/train.h5, annot/valid.h5; or their .json; or mpii_human_pose_v1_u12_1.mat
          25,000 pictures, 12.9 GB, at human-pose.mpi-inf.mpg.de after accepting its licence
  COCO    train2017/, val2017/ and annotations/person_keypoints_train2017.json, ..._val2017.json
          118,000 pictures, 19 GB, at cocodataset.org; other pictures labelled in that form
  packed  train.h5, val.h5 and the tar files they name: your own pictures
Look what is in them:                    hgrt data check FOLDER
Try the training without any data:       hgrt train --synthetic 500 --epochs 2 --preset lite"""


def no_data(what: str, looked_for: str) -> HgrtError:
    """The error: `what` is missing, what was `looked_for`, and where data come from."""
    return HgrtError(what, looked_for, WHERE_FROM)
