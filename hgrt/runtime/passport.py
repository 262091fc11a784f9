"""Beside every engine lies its passport: what it was built from, by what, for which GPU, and how well it answers.

A TensorRT plan is native code that fits one library and one kind of GPU, and the library's own way to say no is a null
pointer or a dead process. So nothing is deserialised before its passport was read and compared with the machine. A
passport proves that a file is the one that was built, not that its builder meant well: it is no signature. This module
reads and compares; it must not import TensorRT, CUDA or torch.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hgrt.errors import HgrtError
from hgrt.files import sha256, written_whole
from hgrt.model.spec import ModelSpec

if TYPE_CHECKING:
    from hgrt.runtime.library import Flavour, Gpu, Library

SCHEMA = 1
LIBRARIES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
"""The flavours of the library, and what people call them."""

VERSION_COMPATIBLE = "VERSION_COMPATIBLE"
"""Name of a flag: true where the engine may run on the later versions that NVIDIA documents."""

HARDWARE = "hardware_compatibility_level"
"""Name of a flag: "NONE", "SAME_COMPUTE_CAPABILITY" (any GPU of that capability) or "AMPERE_PLUS" (8.0 and later)."""

_NEXT_MAJOR = {8: 10, 10: 11}  # across majors NVIDIA supports these two steps and no other
_AMPERE = (8, 0)
_TEXTS = (
    *("flavour", "version", "gpu", "capability", "driver", "cuda_layer", "precision"),
    *("engine_sha256", "onnx_sha256", "checkpoint_sha256", "onnx", "built", "command"),
)


@dataclass(frozen=True, slots=True)
class Passport:
    """Everything that is known about an engine. ValueError where a value makes no sense.

    schema          of this description: `SCHEMA`
    flavour         of the library, with its full `version`
    gpu             name of the GPU it was built on; "" where there was none (only "rtx" can)
    capability      compute capability it is for, as "9.0"; "" for RTX's default, which is 8.0 and later
    driver          version at build time, or the driver's CUDA version where only that is known; "" without a GPU
    cuda_layer      which CUDA package checked the engine, with its version; "" if none did
    precision       of the network's body; `half_share` of its layers (0 to 1) really compute in half
    profiles        (smallest, best, largest) batch of each optimisation profile
    crop_in_engine  whether it takes a whole frame and crops it itself
    spec            of the network
    engine_sha256   of the engine; the others of the ONNX and of the checkpoint ("" if there was none) it came from
    onnx            file name of the ONNX, kept beside the engine
    parity          how far its answers lie from the original's: names and numbers
    built           when, ISO 8601 (UTC unless it says otherwise), within how many `seconds`
    flags           of the build: names and plain values, among them `VERSION_COMPATIBLE` and `HARDWARE`
    command         the line that builds it again
    """

    schema: int
    flavour: Flavour
    version: str
    gpu: str
    capability: str
    driver: str
    cuda_layer: str
    precision: Literal["fp16", "fp32"]
    half_share: float
    profiles: tuple[tuple[int, int, int], ...]
    crop_in_engine: bool
    spec: ModelSpec
    engine_sha256: str
    onnx_sha256: str
    checkpoint_sha256: str
    onnx: str
    parity: Mapping[str, float]
    built: str
    seconds: float
    flags: Mapping[str, str | float | bool]
    command: str

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema!r}, and this hgrt writes {SCHEMA}")
        self._check_texts()
        self._check_numbers()

    def _check_texts(self) -> None:
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a text")
        for name, allowed in (("flavour", tuple(LIBRARIES)), ("precision", ("fp16", "fp32"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        for name in ("engine_sha256", "onnx_sha256", "checkpoint_sha256"):
            absent = name == "checkpoint_sha256" and not self.checkpoint_sha256
            if not absent and not re.fullmatch("[0-9a-f]{64}", getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not 64 hexadecimal digits")
        if not re.fullmatch(r"\d+\.\d+", self.capability) and (self.capability or self.flavour == "tensorrt"):
            raise ValueError(f"capability is {self.capability!r}, not of the form 9.0")
        if re.search(r"[/\\]", self.onnx):
            raise ValueError(f"onnx is {self.onnx!r}, not the name of a file beside the engine")
        _moment(self.built)

    def _check_numbers(self) -> None:
        if not isinstance(self.crop_in_engine, bool):
            raise ValueError(f"crop_in_engine is {self.crop_in_engine!r}, neither true nor false")
        if not self.profiles or not all(map(_is_profile, self.profiles)):
            raise ValueError(f"profiles are {self.profiles!r}, not triples of rising batches")
        if not _is_number(self.half_share) or not 0 <= self.half_share <= 1:
            raise ValueError(f"half_share is {self.half_share!r}, not between 0 and 1")
        if not _is_number(self.seconds) or self.seconds < 0:
            raise ValueError(f"seconds is {self.seconds!r}, not a duration")
        for name, values in (("parity", self.parity), ("flags", self.flags)):
            if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
                raise ValueError(f"{name} is {values!r}, not names and values")
            for key, value in values.items():
                if not _is_number(value) and not (name == "flags" and isinstance(value, bool | str)):
                    raise ValueError(
                        f"{name} has {key} = {value!r}, not a {'plain value' if name == 'flags' else 'number'}"
                    )

    def to_json(self) -> str:
        """As indented JSON in ASCII, one value a line, in the order of the fields, mappings in that of their names."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values["spec"] = asdict(self.spec)
        for name in ("parity", "flags"):
            values[name] = dict(sorted(values[name].items()))
        return _indented(values) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Passport:
        """The inverse of `to_json`; ValueError or TypeError for anything else."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"expected names and values, not {type(values).__name__}")
        names = {field.name for field in fields(cls)}
        for said, keys in (("missing", names - set(values)), ("unknown", set(values) - names)):
            if keys:
                raise ValueError(f"{said}: {', '.join(sorted(keys))}")
        values["spec"] = ModelSpec.from_mapping(values["spec"])
        values["profiles"] = tuple(tuple(profile) for profile in values["profiles"])
        return cls(**values)


# Files


def passport_path(engine: Path) -> Path:
    """Where the passport of an engine lies: NAME.engine.json beside NAME.engine."""
    return engine.with_name(engine.name + ".json")


def write(passport: Passport, engine: Path) -> None:
    """Write the passport beside its engine, whole or not at all.

    HgrtError unless the engine lies there already and is, byte for byte, the one that the passport describes.
    """
    found = sha256(engine)
    if found != passport.engine_sha256:
        raise HgrtError(
            f"{engine} is not the engine that its passport is to describe.",
            f"SHA-256 found: {found[:12]}, wanted: {passport.engine_sha256[:12]}.",
            "Make sure that no other build writes there, then build again.",
        )
    with written_whole(passport_path(engine)) as partial:
        partial.write_text(passport.to_json(), encoding="ascii")


def read_passport(engine: Path) -> Passport:
    """The passport beside an engine; HgrtError where there is none, or none that this version understands."""
    path = passport_path(engine)
    build = f"hgrt build-engine CKPT --out {shlex.quote(str(engine))}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if not engine.is_file():
            raise HgrtError(f"There is no engine at {engine}.", "No such file.", f"Build it here: {build}") from error
        raise HgrtError(
            f"{engine} has no passport, so it is not loaded.",
            f"An engine is native code, and without {path.name} nothing says what it is.",
            f"Build it here: {build}",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise HgrtError(f"The passport {path} cannot be read.", str(error), f"Build it here: {build}") from error
    try:
        newer = _newer_schema(text)
        if not newer:
            return Passport.from_json(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise HgrtError(f"The passport {path} is broken.", str(error), f"Build it here: {build}") from error
    raise HgrtError(
        f"The passport {path} was written by a newer hgrt.",
        f"Its schema is {newer}, and this version reads {SCHEMA}.",
        f"Update hgrt, or build it again: {build}",
    )


# Rules


def mismatches(passport: Passport, engine: Path, library: Library, gpu: Gpu | None, trust: bool = False) -> list[str]:
    """Why an engine must not be loaded here, one sentence each, naming what is found and what is wanted; [] if it may.

    `gpu` None: there is none. `trust` leaves the engine's hash unchecked, nothing else. HgrtError if the engine cannot
    be read.
    """
    said = [] if trust else [_changed(passport, engine)]
    said.append(_other_library(passport, engine, library))
    if gpu is None:
        wanted = passport.capability if _one_capability(passport) else "8.0 or later"
        said.append(f"{engine.name} needs an NVIDIA GPU of compute capability {wanted}, and none was found.")
    else:
        said += [_other_gpu(passport, engine, gpu), _older_driver(passport, engine, gpu)]
    return [sentence for sentence in said if sentence]


def check(passport: Passport, engine: Path, library: Library, gpu: Gpu | None, trust: bool = False) -> None:
    """HgrtError, with the command that rebuilds the engine, where `mismatches` has something to say."""
    said = mismatches(passport, engine, library, gpu, trust)
    if said:
        raise HgrtError(said[0], " ".join(said[1:]), passport.command)


def _changed(passport: Passport, engine: Path) -> str:
    found, wanted = sha256(engine), passport.engine_sha256
    if found == wanted:
        return ""
    return f"{engine.name} was changed since it was built: its SHA-256 begins with {found[:12]}, not {wanted[:12]}."


def _other_library(passport: Passport, engine: Path, library: Library) -> str:
    built, here = (f"{LIBRARIES[one.flavour]} {one.version}" for one in (passport, library))
    if passport.flavour == library.flavour:
        if passport.version == library.version:
            return ""
        if passport.flavour == "tensorrt" and passport.flags.get(VERSION_COMPATIBLE) is True:
            if _documented(_numbers(passport.version), _numbers(library.version)):
                return ""
            return f"{engine.name} runs on {built} and the later versions that NVIDIA documents, and here is {here}."
    return f"{engine.name} was built with {built}, and here is {here}."


def _documented(built: tuple[int, ...], here: tuple[int, ...]) -> bool:
    if not built or not here:
        return False
    return here >= built if here[0] == built[0] else _NEXT_MAJOR.get(built[0]) == here[0]


def _one_capability(passport: Passport) -> bool:
    return passport.capability != "" and passport.flags.get(HARDWARE) != "AMPERE_PLUS"


def _other_gpu(passport: Passport, engine: Path, gpu: Gpu) -> str:
    if not _one_capability(passport):
        if _numbers(gpu.capability) >= _AMPERE:
            return ""
        return f"{engine.name} needs compute capability 8.0 or later, and {gpu.name} has {gpu.capability}."
    if gpu.capability != passport.capability:
        return f"{engine.name} is for compute capability {passport.capability}, and {gpu.name} has {gpu.capability}."
    any_such = passport.flavour == "rtx" or passport.flags.get(HARDWARE) == "SAME_COMPUTE_CAPABILITY"
    if any_such or gpu.name == passport.gpu:
        return ""
    return f"{engine.name} was built on {passport.gpu}, and the GPU here is {gpu.name}."


def _older_driver(passport: Passport, engine: Path, gpu: Gpu) -> str:
    built, here = _numbers(passport.driver), _numbers(gpu.driver)
    # A driver is 580.65 or, where only that is known, the CUDA version 13.0: the two cannot be compared.
    if not built or not here or (built[0] < 100) != (here[0] < 100) or here >= built:
        return ""
    return f"{engine.name} was built with driver {passport.driver}, and the driver here is older: {gpu.driver}."


# Search


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine in a folder, its passport if it has a readable one, and `reasons` against it, one sentence each."""

    engine: Path
    passport: Passport | None
    reasons: tuple[str, ...]


def candidates(folder: Path, source_sha256: str, library: Library, gpu: Gpu | None) -> Iterator[Candidate]:
    """The engines in a folder, newest first by their passports, those without one last.

    An engine without reasons against it was built from the checkpoint or ONNX of that hash and may be loaded here.
    Nothing is deserialised, and only engines whose passports speak for them are read at all.
    """
    found, strangers = [], []
    for engine in sorted(folder.glob("*.engine")):
        try:
            found.append((engine, read_passport(engine)))
        except HgrtError as error:
            strangers.append(Candidate(engine, None, (error.what,)))
    for engine, passport in sorted(found, key=lambda pair: _moment(pair[1].built), reverse=True):
        yield Candidate(engine, passport, tuple(_against(passport, engine, source_sha256, library, gpu)))
    yield from strangers


def newest(folder: Path, source_sha256: str, library: Library, gpu: Gpu | None) -> Path | None:
    """The newest engine in a folder that was built from weights of that hash and may be loaded here.

    None if there is none; `candidates` says why.
    """
    every = candidates(folder, source_sha256, library, gpu)
    return next((one.engine for one in every if not one.reasons), None)


def _against(passport: Passport, engine: Path, source_sha256: str, library: Library, gpu: Gpu | None) -> list[str]:
    if source_sha256 not in {passport.onnx_sha256, passport.checkpoint_sha256} - {""}:
        came = passport.checkpoint_sha256 or passport.onnx_sha256
        return [f"{engine.name} was built from other weights: {came[:12]}, not {source_sha256[:12]}."]
    try:  # the hash last: it is the one rule that reads the whole file
        return mismatches(passport, engine, library, gpu, trust=True) or mismatches(passport, engine, library, gpu)
    except HgrtError as error:
        return [error.what]


# Values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_profile(profile: object) -> bool:
    if not isinstance(profile, tuple) or len(profile) != 3 or not all(type(batch) is int for batch in profile):
        return False
    return bool(1 <= profile[0] <= profile[1] <= profile[2])


def _moment(iso: str) -> datetime:
    moment = datetime.fromisoformat(iso)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d{1,9}", version)))


def _newer_schema(text: str) -> int:
    """The schema of a passport from the future, 0 for any other text that is JSON."""
    values = json.loads(text)
    schema = values.get("schema") if isinstance(values, dict) else None
    return schema if type(schema) is int and schema > SCHEMA else 0


def _indented(value: object, indent: str = "") -> str:
    """Mappings one entry a line, lists in one line: `json.dumps` would give every number of a profile its own."""
    if not isinstance(value, Mapping) or not value:
        return json.dumps(value, allow_nan=False)
    inner = indent + "  "
    entries = (f"{inner}{json.dumps(name)}: {_indented(entry, inner)}" for name, entry in value.items())
    return "{\n" + ",\n".join(entries) + "\n" + indent + "}"
