"""From weights to the three files that belong together: NAME.engine, NAME.onnx and the passport NAME.engine.json.

Nothing is taken on trust: half precision must hold the network's values, the engine must really be in half precision,
and its answers must be the network's. What fails leaves no file behind, and what was there before stays as it is.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from hgrt.engine import answers
from hgrt.engine.answers import People
from hgrt.engine.build import Built, Profile, Watch, build_engine
from hgrt.engine.inspect import Half, engine_half
from hgrt.engine.onnx import EngineOnnx, EnginePrecision, export_engine_onnx, read_engine_onnx
from hgrt.engine.verify import Parity, overflow, parity
from hgrt.errors import HgrtError
from hgrt.files import check_writable, sha256, unwritable, written_whole
from hgrt.model.spec import Ramp
from hgrt.pose.heatmaps import Keypoints
from hgrt.runtime.base import bundled_or_given, bundled_weights
from hgrt.runtime.choose import SUFFIX
from hgrt.runtime.cuda import open_cuda
from hgrt.runtime.library import Flavour, Gpu, Library, find_gpu, load_library, need_gpu
from hgrt.runtime.passport import HARDWARE, LIBRARIES, SCHEMA, Passport, passport_path, read_passport, write

PEOPLE = 64
"""People of the bundled clip that answers are compared on: a thousand joints, so that a thousandth is one of them."""

TRIED = 16
"""How many of them half precision is tried on before anything is built."""

GATE = 0.999
"""Share of the joints that must be where the network finds them, to within `hgrt.engine.verify.NEAR` cells."""

Say = Callable[[str], None]
"""Called with each stage as it begins, and with what the user should know."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to build: the file `out`, for batches up to those of `profiles`, with a `flavour` of TensorRT.

    `precision` and `crop` None are fp16 and no crop for a checkpoint, and as it is for an ONNX file. `ramp` is for
    published checkpoints, see `ModelSpec`.
    """

    out: Path
    profiles: tuple[Profile, ...]
    precision: EnginePrecision | None = None
    crop: bool | None = None
    flavour: Flavour | Literal["auto"] = "auto"
    ramp: Ramp = "linear"


@dataclass(frozen=True, slots=True)
class Made:
    """An engine with its passport. `parity` None: nothing was there to compare its answers with."""

    engine: Path
    passport: Passport
    layers: int
    half: Half
    parity: Parity | None


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """The ONNX to build and what is known of it; `expected` is what the network itself finds, if it is at hand."""

    onnx: Path
    facts: EngineOnnx
    seen: People
    expected: Keypoints | None
    checkpoint_sha256: str
    command: str


@dataclass(frozen=True, slots=True)
class _Shop:
    """Where and with what an engine is made: the file `out`, and a scratch `folder` for what is not finished."""

    out: Path
    folder: Path
    library: Library
    gpu: Gpu | None
    say: Say
    watch: Watch


def make_engine(weights: Path | None, order: Order, say: Say, watch: Watch) -> Made:
    """Build the engine of a checkpoint, or of an ONNX file that `export_engine_onnx` wrote, and write its three files.

    `weights` None are the bundled ones. HgrtError where weights, machine or options do not allow it, and where the
    engine fails a check; KeyboardInterrupt after Ctrl-C. Either leaves no new file.
    """
    path = bundled_or_given(weights or bundled_weights(".pt"))
    _check_places(path, order.out)
    with _shop(order.out, order.flavour, say, watch) as shop:
        find = _from_onnx if path.suffix == ".onnx" else _from_checkpoint
        return _make(find(path, order, _command(weights, order), shop), order.profiles, shop)


def remake_engine(engine: Path, say: Say, watch: Watch) -> Made:
    """Build an engine again, from the ONNX kept beside it, as its passport says; for the GPU and library of today.

    HgrtError as `make_engine`, and where passport or ONNX are missing or not those that belong to the engine.
    """
    known = read_passport(engine)
    onnx = engine.with_name(known.onnx)
    again = str(known.flags.get("built_by", "hgrt build-engine CKPT"))
    if not onnx.is_file():
        raise HgrtError(f"The ONNX that {engine} was built from is not there.", f"Looked for {onnx}.", again)
    if sha256(onnx) != known.onnx_sha256:
        raise HgrtError(f"{onnx} is not the ONNX that {engine} was built from.", "Its SHA-256 is another one.", again)
    with _shop(engine, known.flavour, say, watch) as shop:
        facts = read_engine_onnx(onnx)
        seen = answers.people(facts.spec, PEOPLE)
        source = _Source(_copied(onnx, shop), facts, seen, None, known.checkpoint_sha256, again)
        return _make(source, known.profiles, shop)


def _check_places(weights: Path, out: Path) -> None:
    if out.suffix != SUFFIX:
        raise HgrtError(f"{out} is no name for an engine.", f"It does not end in {SUFFIX}.", f"Add {SUFFIX}.")
    if not weights.is_file():
        raise HgrtError(f"There are no weights at {weights}.", fix="Check the path.")
    if weights.resolve() == out.resolve():
        raise HgrtError(f"{out} is the weights.", "Writing there would destroy them.", "Give another --out.")
    keep = out.with_suffix(".onnx")
    if keep.exists() and keep.resolve() != weights.resolve():
        try:
            read_engine_onnx(keep)
        except HgrtError as error:
            raise HgrtError(
                f"{keep} would be overwritten, and is no engine's ONNX.", error.why, "Give another --out."
            ) from error


@contextmanager
def _shop(out: Path, flavour: Flavour | Literal["auto"], say: Say, watch: Watch) -> Iterator[_Shop]:
    """What it takes to make an engine, looked for before anything is computed.

    Its folder lies beside the engine to be, on the same disk, and vanishes with all that is in it.
    """
    library = load_library(flavour)
    gpu = need_gpu(library) if library.flavour == "tensorrt" else find_gpu()
    if gpu is not None:
        open_cuda().close()  # the finished engine is tried with it
    made = not out.parent.exists()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        check_writable(out)
        folder = TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent)
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        with folder as name:
            yield _Shop(out, Path(name), library, gpu, say, watch)
    finally:
        if made:
            with suppress(OSError):  # it holds the engine: all went well
                out.parent.rmdir()


def _from_onnx(onnx: Path, order: Order, command: str, shop: _Shop) -> _Source:
    facts = read_engine_onnx(onnx)
    if order.precision not in (None, facts.precision):
        raise HgrtError(f"{onnx} is {facts.precision}, not {order.precision}.", fix="Build from the checkpoint.")
    if order.crop not in (None, facts.crop):
        raise HgrtError(f"{onnx} was exported without the crop inside.", fix="Build from the checkpoint.")
    copy, seen = _copied(onnx, shop), answers.people(facts.spec, PEOPLE)
    return _Source(copy, facts, seen, None, "", command)


def _from_checkpoint(checkpoint: Path, order: Order, command: str, shop: _Shop) -> _Source:
    from hgrt.model import load_checkpoint

    model = load_checkpoint(checkpoint, order.ramp)
    facts = EngineOnnx(model.spec, order.precision or "fp16", bool(order.crop))
    seen = answers.people(model.spec, PEOPLE)
    if facts.precision == "fp16":
        shop.say(f"Trying half precision on {TRIED} people")
        found = overflow(model, seen.crops[:TRIED])
        if not found.ok:
            raise HgrtError(
                f"{checkpoint} does not fit half precision.", f"{found}.", "Build it with --precision fp32."
            )
    shop.say("Exporting to ONNX")
    onnx = shop.folder / order.out.with_suffix(".onnx").name
    export_engine_onnx(model, onnx, facts.precision, facts.crop)
    shop.say("Asking the network itself")
    expected = answers.of_network(model, seen)
    return _Source(onnx, facts, seen, expected, sha256(checkpoint), command)


def _make(source: _Source, profiles: tuple[Profile, ...], shop: _Shop) -> Made:
    library, gpu = shop.library, shop.gpu
    shop.say(f"Building with {LIBRARIES[library.flavour]} {library.version}")
    built = build_engine(library, gpu, source.onnx, profiles, shop.watch, shop.out.parent)
    for note in built.notes:
        shop.say(note)
    half = (engine_half(library, built.data) if gpu else None) or built.half
    short = [str(counted) for counted in (built.half, half) if not counted.enough]
    if source.facts.precision == "fp16" and short:
        raise HgrtError("Half precision was asked for, and this engine is not.", f"In half: {short[0]}.")
    engine = shop.folder / shop.out.name
    with written_whole(engine) as partial:
        partial.write_bytes(built.data)
    shop.say("Comparing answers")
    measured, passport = _compared(source, engine, _passport(source, profiles, engine, built, half, shop), gpu)
    _put(source.onnx, engine, passport, shop.out)
    return Made(shop.out, passport, built.layers, half, measured)


def _passport(
    source: _Source, profiles: tuple[Profile, ...], engine: Path, built: Built, half: Half, shop: _Shop
) -> Passport:
    """All that is known before the answers are compared."""
    flags: dict[str, str | float | bool] = {
        HARDWARE: "NONE",
        "built_by": source.command,
        "half_counted_in": half.of,
        "profiling_verbosity": "DETAILED",
        "tf32": False,
    }
    return Passport(
        schema=SCHEMA,
        flavour=shop.library.flavour,
        version=shop.library.version,
        gpu=shop.gpu.name if shop.gpu else "",
        capability=built.capability,
        driver=shop.gpu.driver if shop.gpu else "",
        cuda_layer="",
        precision=source.facts.precision,
        half_share=half.share,
        profiles=profiles,
        crop_in_engine=source.facts.crop,
        spec=source.facts.spec,
        engine_sha256=sha256(engine),
        onnx_sha256=sha256(source.onnx),
        checkpoint_sha256=source.checkpoint_sha256,
        onnx=source.onnx.name,
        parity={},
        built=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(built.seconds, 3),
        flags=flags,
        command=f"hgrt build-engine --rebuild {shlex.quote(str(shop.out))}",
    )


def _compared(source: _Source, engine: Path, passport: Passport, gpu: Gpu | None) -> tuple[Parity | None, Passport]:
    """How far the engine's answers lie from the network's, or from its ONNX file's where there is no network to ask.

    Without a GPU the ONNX file answers for the engine, and the passport says so. HgrtError beyond the gate.
    """
    facts, seen, expected, cuda_layer = source.facts, source.seen, source.expected, ""
    if gpu is None:
        answering, found = "onnxruntime", answers.of_onnx(source.onnx, facts, seen)
    else:
        write(passport, engine)
        answering = "engine"
        found, cuda_layer = answers.of_engine(engine, facts, passport.profiles, seen)
    if not (np.isfinite(found.xy_hm).all() and np.isfinite(found.score).all()):
        raise HgrtError("The engine's answers are not finite.", f"Computed by: {answering}.")
    against = "network"
    if expected is None:
        against, expected = ("onnx", answers.of_onnx(source.onnx, facts, seen)) if gpu else ("nothing", None)
    measured = None if expected is None else parity(answers.repeated(expected, len(found.score)), found)
    if measured is not None and not (measured.ok and measured.near >= GATE):
        fix = "Build it with --precision fp32." if facts.precision == "fp16" else ""
        raise HgrtError("The engine does not answer as the network does.", str(measured), fix)
    return measured, replace(
        passport,
        cuda_layer=cuda_layer,
        parity={} if measured is None else asdict(measured),
        flags={**passport.flags, "answers_of": answering, "compared_with": against},
    )


def _put(onnx: Path, engine: Path, passport: Passport, out: Path) -> None:
    """Move the three files to their place: in the end only names change, so that a full disk cannot tear them apart."""
    write(passport, engine)
    try:
        onnx.replace(out.with_suffix(".onnx"))
        engine.replace(out)
        passport_path(engine).replace(passport_path(out))
    except OSError as error:
        raise unwritable(out, error) from error


def _copied(onnx: Path, shop: _Shop) -> Path:
    copy = shop.folder / shop.out.with_suffix(".onnx").name
    with written_whole(copy) as partial:
        shutil.copyfile(onnx, partial)
    return copy


def _command(weights: Path | None, order: Order) -> str:
    """The line that does it all again."""
    words = ["hgrt", "build-engine", *([] if weights is None else [str(weights)]), "--out", str(order.out)]
    words += ["--batch", ",".join(str(most) for *_, most in order.profiles), "--flavour", order.flavour]
    words += ["--precision", order.precision] if order.precision else []
    words += ["--crop-in-engine"] if order.crop else []
    words += ["--ramp", order.ramp] if order.ramp != "linear" else []
    return shlex.join(words)
