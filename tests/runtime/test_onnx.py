"""What an ONNX file says of itself is what the runtime says: half precision is never passed off as full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from hgrt.errors import HgrtError  # noqa: E402
from hgrt.runtime.base import PRECISION_KEY, open_backend  # noqa: E402
from tiny_engine import SPEC, write  # noqa: E402


def test_half_precision_is_not_passed_off_as_full(tmp_path: Path) -> None:
    path = write(tmp_path / "half.onnx")
    with pytest.raises(HgrtError, match="runs fp16 where fp32 was asked for"):
        open_backend("onnxruntime", path, "fp32")
    with open_backend("onnxruntime", path, "fp16") as backend:
        assert backend.info.running == "fp16" == backend.info.asked
        maps = backend.infer(np.zeros((1, SPEC.input, SPEC.input, 3), np.uint8))
        assert maps.shape == (1, 16, SPEC.heatmap, SPEC.heatmap)


def test_full_precision_is_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "full.onnx", "fp32", {"precision": "fp32", "crop": False})
    with open_backend("onnxruntime", path) as backend:
        assert backend.info.running == "fp32"


def test_a_file_for_cpus_says_its_own_precision(tmp_path: Path) -> None:
    proto = onnx.load(write(tmp_path / "bytes.onnx", "fp32", {}))
    entry = proto.metadata_props.add()
    entry.key, entry.value = PRECISION_KEY, "int8"
    onnx.save(proto, tmp_path / "bytes.onnx")
    with open_backend("onnxruntime", tmp_path / "bytes.onnx") as backend:
        assert backend.info.running == "int8" == backend.info.asked
    pytest.importorskip("openvino")
    with pytest.raises(HgrtError, match="8-bit file"):
        open_backend("openvino", tmp_path / "bytes.onnx")


def test_a_file_that_takes_frames_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.onnx", "fp32", {"precision": "fp32", "crop": True})
    with pytest.raises(HgrtError, match="whole frames"):
        open_backend("onnxruntime", path)
