"""hgrt: real-time human pose for one camera.

    from hgrt import PoseEstimator

Names load what they need when they are first used, so that `import hgrt` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hgrt.errors import HgrtError
    from hgrt.estimator import PoseEstimator
    from hgrt.pose.geometry import Box
    from hgrt.pose.pose import Pose
    from hgrt.pose.skeleton import MPII, Skeleton

__version__ = "0.1.0"
__all__ = ["MPII", "Box", "HgrtError", "Pose", "PoseEstimator", "Skeleton", "__version__"]

_HOME = {
    "MPII": "hgrt.pose.skeleton",
    "Box": "hgrt.pose.geometry",
    "HgrtError": "hgrt.errors",
    "Pose": "hgrt.pose.pose",
    "PoseEstimator": "hgrt.estimator",
    "Skeleton": "hgrt.pose.skeleton",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
