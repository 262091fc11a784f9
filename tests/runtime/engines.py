"""Engine files with passports, of which no byte is an engine: what is decided before anything is deserialised."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hgrt.model.spec import PRESETS
from hgrt.runtime.library import Gpu, Library
from hgrt.runtime.passport import HARDWARE, SCHEMA, Passport, write

GPU = Gpu("NVIDIA H200", "9.0", "580.65.06", 141 << 30, 1)
TRT = Library(None, "tensorrt", "11.4.0.106")
PLAN = b"a plan, which nobody must run"


def passport(plan: bytes = PLAN, **more: Any) -> Passport:
    """The passport of an engine `plan` that fits `TRT` and `GPU`."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "flavour": TRT.flavour,
        "version": TRT.version,
        "gpu": GPU.name,
        "capability": GPU.capability,
        "driver": GPU.driver,
        "cuda_layer": "fake 1.0",
        "precision": "fp16",
        "half_share": 0.9,
        "profiles": ((1, 1, 1), (2, 4, 4), (5, 16, 16)),
        "crop_in_engine": False,
        "spec": PRESETS["lite"],
        "engine_sha256": hashlib.sha256(plan).hexdigest(),
        "onnx_sha256": "0" * 64,
        "checkpoint_sha256": "c" * 64,
        "onnx": "lite.onnx",
        "parity": {},
        "built": "2026-11-22T10:00:00+00:00",
        "seconds": 41.5,
        "flags": {HARDWARE: "NONE"},
        "command": "hgrt build-engine --rebuild lite.engine",
    }
    return Passport(**{**values, **more})


def place(path: Path, plan: bytes = PLAN, **more: Any) -> Path:
    """An engine file `path` and its passport beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plan)
    write(passport(plan, **more), path)
    return path
