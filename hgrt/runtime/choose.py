"""Which runtime and which file a request comes down to, and why.

Looks at files, hashes and the GPU, and opens nothing. A runtime asked for by name is the only choice; "auto" has
several in order, and torch and TensorRT are imported for them only where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hgrt.errors import HgrtError
from hgrt.files import sha256
from hgrt.runtime.base import Precision, bundled_weights
from hgrt.runtime.library import Flavour, Gpu, load_library, no_gpu, probe
from hgrt.runtime.passport import Candidate, candidates, read_passport

ENGINES = Path("engines")
"""Where engines are looked for, from the folder that the program was started in."""

SUFFIX = ".engine"


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to open. `last`: nothing comes after it, so that its failure is the failure."""

    runtime: str
    weights: Path
    precision: Precision
    why: str = ""
    last: bool = True


def choices(runtime: str, weights: Path | None, precision: Precision | None) -> Iterator[Choice]:
    """What to try, in order, for `weights` (None: the bundled ones) in `precision` (None: whichever they have).

    HgrtError where "tensorrt" was asked for and there is no GPU, or no engine that was built from these weights.
    """
    if weights is not None and weights.suffix == SUFFIX and runtime in ("auto", "tensorrt"):
        yield Choice("tensorrt", weights, precision or read_passport(weights).precision)
        return
    if runtime not in ("auto", "tensorrt"):
        chosen = weights or bundled_weights(".pt" if runtime == "torch" else ".onnx")
        yield Choice(runtime, chosen, precision or "fp32")
        return
    gpu = probe()
    if isinstance(gpu, str):
        if runtime == "tensorrt":
            raise no_gpu("TensorRT", gpu)
        yield from _without_engine(False, weights, precision or "fp32", "auto: no NVIDIA GPU was found")
        return
    engine, reason = engine_here(gpu, weights, precision)
    if engine is not None:
        named = runtime == "tensorrt"
        why = "" if named else f"auto: {reason}"
        yield Choice("tensorrt", engine, precision or read_passport(engine).precision, why, named)
    elif runtime == "tensorrt":
        source = weights or bundled_weights(".pt")
        raise HgrtError(
            f"There is no engine to run for {source}.",
            f"{reason[0].upper()}{reason[1:]}.",
            f"On the machine that is to run it: hgrt build-engine {source}",
        )
    if runtime == "auto":
        why = f"auto: {reason}" if engine is None else "auto"
        yield from _without_engine(True, weights, precision or "fp32", why)


def _without_engine(gpu: bool, weights: Path | None, precision: Precision, why: str) -> Iterator[Choice]:
    if weights is not None:
        yield Choice("onnxruntime" if weights.suffix == ".onnx" else "torch", weights, precision, why)
        return
    if gpu:
        if _torch_sees_it():
            yield Choice("torch", bundled_weights(".pt"), precision, why, last=False)
        else:
            why += ", and no torch that can use the GPU"
    yield Choice("onnxruntime", bundled_weights(), precision, why)


def engine_here(gpu: Gpu, weights: Path | None, precision: Precision | None) -> tuple[Path | None, str]:
    """The newest engine in ./engines that runs here and was built from `weights`, or None; and why, or why not."""
    source = sha256(weights or bundled_weights(".pt"))
    nearest = ""
    for flavour in _flavours():
        try:
            library = load_library(flavour)
        except HgrtError as error:
            nearest = nearest or _clause(error.what)
            continue
        for one in candidates(ENGINES, source, library, gpu):
            against = _against(one, source, precision)
            if against is None:
                return one.engine, f"{one.engine} was built from these weights for {gpu.name}"
            nearest = nearest or against
    return None, nearest or f"no engine in ./{ENGINES} was built from these weights"


def _flavours() -> list[Flavour]:
    """Those that the engines here are of: no other library is worth importing."""
    found: set[Flavour] = set()
    for engine in ENGINES.glob("*" + SUFFIX):
        try:
            found.add(read_passport(engine).flavour)
        except HgrtError:
            continue  # what has no readable passport is never chosen
    return sorted(found, reverse=True)


def _against(one: Candidate, source: str, precision: Precision | None) -> str | None:
    """None for an engine to take; else what speaks against it, "" where it is of other weights altogether."""
    if one.passport is None or source not in (one.passport.checkpoint_sha256, one.passport.onnx_sha256):
        return ""
    if one.reasons:
        return _clause(one.reasons[0])
    if precision not in (None, one.passport.precision):
        return f"{one.engine} is {one.passport.precision}, not {precision}"
    return None


def _clause(sentence: str) -> str:
    return sentence.rstrip(".")


def _torch_sees_it() -> bool:
    if find_spec("torch") is None:
        return False
    try:
        import torch
    except (ImportError, OSError):
        return False  # installed and broken: not the business of who did not ask for it
    return torch.cuda.is_available()
