"""What to say when there is nothing to train on. Imports nothing heavy, so that it can be said at once."""

from __future__ import annotations

from hgrt.errors import HgrtError

WHERE_FROM = """\
MPII Human Pose (25,000 pictures, 12.9 GB) is at human-pose.mpi-inf.mpg.de after accepting its licence; pack it as
docs/data.md describes and pass the folder:  hgrt train --data FOLDER
To try the training without any data:        hgrt train --synthetic 500 --epochs 2 --preset lite"""


def no_data(what: str, looked_for: str) -> HgrtError:
    """The error: `what` is missing, what was `looked_for`, and where data come from."""
    return HgrtError(what, looked_for, WHERE_FROM)
