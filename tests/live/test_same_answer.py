"""Whatever runtime follows the person, the boxes and the joints are the same, frame after frame."""

from __future__ import annotations

import numpy as np
import pytest

from hgrt.estimator import PoseEstimator
from hgrt.live.person import Tracker
from hgrt.live.source import open_source
from hgrt.pose.pose import Pose
from hgrt.runtime.base import asset

FRAMES = 60


def followed(runtime: str) -> list[Pose | None]:
    with PoseEstimator(runtime=runtime, threads=1) as estimator, open_source(str(asset("clip.mp4"))) as clip:
        tracker = Tracker(estimator)
        return [tracker(frame.bgr) for frame, _ in zip(clip, range(FRAMES), strict=False)]


@pytest.fixture(scope="module")
def reference() -> list[Pose | None]:
    return followed("onnxruntime")


@pytest.mark.parametrize(("runtime", "library"), [("torch", "torch"), ("openvino", "openvino")])
def test_following_does_not_depend_on_the_runtime(runtime: str, library: str, reference: list[Pose | None]) -> None:
    pytest.importorskip(library)
    for ours, theirs in zip(followed(runtime), reference, strict=True):
        assert ours is not None and theirs is not None
        assert ours.box == theirs.box
        np.testing.assert_allclose(ours.xy, theirs.xy, atol=0.02)
        np.testing.assert_allclose(ours.score, theirs.score, atol=1e-4)
