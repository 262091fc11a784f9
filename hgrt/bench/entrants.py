"""Who takes part: from the weights that were named to networks, and from runtimes to what can be opened on each.

Looks at files and at what is installed; opens nothing. The only work done here is the export of a checkpoint for the
runtimes that take ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import cast, get_args

from hgrt.errors import HgrtError
from hgrt.files import sha256
from hgrt.runtime.base import BACKENDS, Backend, Precision, Request, bundled_weights, open_backend, weights_file
from hgrt.runtime.choose import SUFFIX, engine_here
from hgrt.runtime.library import probe
from hgrt.runtime.passport import read_passport


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens a backend, here or in another process; see `open_backend`."""

    runtime: str
    weights: Path
    precision: Precision | None
    threads: int
    trust: bool

    def __call__(self) -> Backend:
        return open_backend(self.runtime, self.weights, self.precision, self.threads, self.trust)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A network on a runtime. `open` can be sent to another process; `source` says where `weights` are from."""

    network: str
    runtime: str
    weights: Path
    precision: Precision
    open: Callable[[], Backend]
    source: str

    @property
    def name(self) -> str:
        """As in the tables: runtime and precision."""
        return f"{self.runtime} {self.precision}"


@dataclass(frozen=True, slots=True)
class Network:
    """Files of the same weights, in the forms that runtimes take; None where there is none.

    `exported`: the ONNX file was made of the checkpoint just now.
    """

    name: str
    checkpoint: Path | None = None
    onnx: Path | None = None
    engine: Path | None = None
    exported: bool = False

    def file(self, runtime: str) -> Path | None:
        """What `runtime` opens."""
        return {"torch": self.checkpoint, "tensorrt": self.engine}.get(runtime, self.onnx)

    def source(self, path: Path) -> str:
        """Where one of its files is from, without the places that only this machine has."""
        if self.exported and path == self.onnx and self.checkpoint is not None:
            return f"{self.source(self.checkpoint)}, exported"
        bundled = path in (bundled_weights(".pt"), bundled_weights(".onnx"))
        return f"{path.name}, bundled" if bundled else str(path)


Wanted = tuple[str, Precision | None]
"""A runtime and the precision it is asked for; None where it is the file's own."""


def networks(weights: Sequence[Path]) -> list[Network]:
    """The networks that the files hold; none given are the bundled ones.

    A checkpoint and an ONNX file of one name in one folder belong together, and so does an engine with what its
    passport says it was built from. That they do hold the same weights is not believed: their answers are compared.
    """
    if not weights:
        return [Network("lite", bundled_weights(".pt"), bundled_weights())]
    found: dict[tuple[Path, str], Network] = {}
    for path in map(weights_file, weights):
        if path.suffix != SUFFIX:
            place = (path.parent.resolve(), path.name.partition(".")[0])
            network = found.get(place, Network(place[1]))
            onnx = path.suffix == ".onnx"
            if (network.onnx if onnx else network.checkpoint) is not None:  # another of that name
                network, place = Network(path.name), (place[0], path.name)
            found[place] = replace(network, onnx=path) if onnx else replace(network, checkpoint=path)
    for path in weights:
        if path.suffix == SUFFIX:
            own = (path.parent.resolve(), path.name)
            place = _source(path, found) or own
            network = found.get(place, Network(path.name))
            if network.engine is not None:  # a second one of these weights
                network, place = replace(network, name=path.name), own
            found[place] = replace(network, engine=path)
    return _told_apart(found)


def _source(engine: Path, found: dict[tuple[Path, str], Network]) -> tuple[Path, str] | None:
    """Which of the networks the engine was built from. What is wrong with a passport is for the runtime to say."""
    try:
        passport = read_passport(engine)
    except HgrtError:
        return None
    for place, network in found.items():
        hashes = {sha256(path) for path in (network.checkpoint, network.onnx) if path is not None}
        if hashes & {passport.checkpoint_sha256, passport.onnx_sha256}:
            return place
    return None


def _told_apart(found: dict[tuple[Path, str], Network]) -> list[Network]:
    names = [network.name for network in found.values()]
    return [
        replace(network, name=f"{folder.name}/{network.name}" if names.count(network.name) > 1 else network.name)
        for (folder, _), network in found.items()
    ]


def runtimes(text: str) -> list[Wanted]:
    """What `--runtimes` asks for: "all", or names separated by commas, with ":PRECISION" where it is not the usual.

    HgrtError for an unknown name, and where one of these cannot run here. "auto" is not a list: see `available`.
    """
    wanted: list[Wanted] = []
    for part in BACKENDS if text == "all" else text.split(","):
        name, _, precision = part.strip().partition(":")
        if name not in BACKENDS:
            raise HgrtError(f"There is no runtime '{name}'.", f"Known: auto, all, {', '.join(BACKENDS)}.")
        if precision and precision not in get_args(Precision):
            raise HgrtError(f"There is no precision '{precision}'.", f"Known: {', '.join(get_args(Precision))}.")
        against = unavailable(name)
        if against:
            raise HgrtError(f"The runtime {name} cannot run here.", against, "Leave --runtimes out for those that can.")
        wanted.append((name, cast("Precision", precision) if precision else None))
    return list(dict.fromkeys(wanted))


def available() -> tuple[list[Wanted], list[str]]:
    """Every runtime that can run here, and for each other one a line that says why not.

    Where there is a GPU torch takes part in half precision, too, since that is what an engine runs.
    """
    wanted: list[Wanted] = []
    notes = []
    for name in BACKENDS:
        against = unavailable(name)
        if against:
            notes.append(f"{name} was left out: {against[0].lower()}{against[1:]}")
            continue
        wanted.append((name, None))
        if name == "torch" and not isinstance(probe(), str):
            wanted.append((name, "fp16"))
    return wanted, notes


def unavailable(runtime: str) -> str:
    """Why a runtime cannot run on this machine, "" where it can."""
    if runtime == "tensorrt":
        gpu = probe()
        return f"No NVIDIA GPU: {gpu}" if isinstance(gpu, str) else ""
    return "" if find_spec(runtime) is not None else "It is not installed."


def completed(network: Network, wanted: Iterable[Wanted], scratch: Path) -> tuple[Network, list[str]]:
    """The network with the files that the runtimes need and that can be had here, and a line for each that cannot.

    A checkpoint is exported to ONNX into the folder `scratch`; an engine built from it is looked for in ./engines.
    """
    names = list(dict.fromkeys(name for name, _ in wanted))
    why = dict.fromkeys(names, "it takes an ONNX file, or a checkpoint to export") | {"torch": "it takes a checkpoint"}
    gpu = probe()
    if "tensorrt" in names and network.engine is None and not isinstance(gpu, str):
        engine, reason = engine_here(gpu, network.checkpoint or network.onnx, None)
        network = replace(network, engine=engine)
        why["tensorrt"] = f"{reason}; hgrt build-engine makes an engine"
    if {"onnxruntime", "openvino"} & set(names) and network.onnx is None and network.checkpoint is not None:
        target = scratch / f"{len(list(scratch.iterdir()))}.onnx"
        try:
            network = replace(network, onnx=_exported(network.checkpoint, target), exported=True)
        except HgrtError as error:
            why |= dict.fromkeys(("onnxruntime", "openvino"), f"{error.what} {error.fix}")
    absent = [name for name in names if network.file(name) is None]
    return network, [f"{name} was left out for {network.name}: {why[name]}" for name in absent]


def _exported(checkpoint: Path, path: Path) -> Path:
    from hgrt.require import require

    require("torch", "train")
    require("onnx", "train")
    from hgrt.engine.onnx import export_onnx
    from hgrt.model import load_checkpoint

    export_onnx(load_checkpoint(checkpoint), path)
    return path


def entrants(network: Network, wanted: Iterable[Wanted], threads: int, trust: bool) -> list[Entrant]:
    """A network on every wanted runtime that there is a file for."""
    found = []
    for runtime, asked in wanted:
        path = network.file(runtime)
        if path is None:
            continue
        precision = asked or own_precision(path)
        if asked is not None or runtime != "openvino" or precision == "fp32":  # few CPUs run half precision there
            found.append(_entrant(network, runtime, path, precision, threads, trust))
    return found


def reference(network: Network, threads: int) -> Entrant | None:
    """Who is taken to be right: the network itself in torch, else ONNX Runtime on its export, in single precision."""
    for runtime in ("torch", "onnxruntime"):
        path = network.file(runtime)
        if path is not None and not unavailable(runtime) and own_precision(path) == "fp32":
            return _entrant(network, runtime, path, "fp32", threads, trust=False)
    return None


def _entrant(network: Network, runtime: str, path: Path, precision: Precision, threads: int, trust: bool) -> Entrant:
    opener = Opener(runtime, path, precision, threads, trust)
    return Entrant(network.name, runtime, path, precision, opener, network.source(path))


def own_precision(path: Path) -> Precision:
    """What a file of weights is in: that of an engine's passport, of an ONNX file for engines; else single precision.

    HgrtError for an ONNX file that is none of ours.
    """
    if path.suffix == SUFFIX:
        try:
            return read_passport(path).precision
        except HgrtError:
            return "fp16"  # opening it will say what is wrong with it
    if path.suffix == ".onnx":
        from hgrt.runtime.onnx import OnnxBackend

        with OnnxBackend(Request(path)) as backend:
            return backend.info.running
    return "fp32"
