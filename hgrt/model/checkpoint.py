"""Weights on disk: our own checkpoints, and the published ones.

Files are read with `weights_only=True`, so nothing in them is executed. A file whose weights do not fit exactly is
refused with the names that differ; nothing is ever loaded in part.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hgrt.errors import HgrtError
from hgrt.files import written_whole
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import METADATA_KEY, ModelSpec, Ramp
from hgrt.runtime.base import bundled_or_given

PREFIXES = ("model.module.", "module.model.", "module.", "model.")
"""What trainers and data-parallel wrappers put in front of a weight's name."""


def save_checkpoint(path: Path, model: StackedHourglass, half: bool = False, **extra: object) -> None:
    """Write weights and spec, and `extra` plain values or tensors beside them; the file appears whole or not at all.

    With `half` the weights of convolutions and linear layers are rounded to half precision, which makes half the file.
    """
    weights = model.state_dict()
    if half:  # what norms know stays: a variance may be beyond what half precision holds
        weights = {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}
    content = {METADATA_KEY: asdict(model.spec), "state_dict": weights, **extra}
    with written_whole(path) as partial, partial.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())


def load_checkpoint(path: str | Path, ramp: Ramp = "linear") -> StackedHourglass:
    """The network in a checkpoint of ours or in a published `checkpoint.pth.tar` / `checkpoint.pt`, in eval mode and in
    single precision.

    `ramp` matters for published files only: the coordinate channels they were trained with (see `ModelSpec`).
    HgrtError where the file is missing, foreign or does not fit; it names the keys that differ.
    """
    content = read_checkpoint(path)
    if METADATA_KEY in content:
        try:
            spec = ModelSpec.from_mapping(content[METADATA_KEY])
        except (TypeError, ValueError) as error:
            raise HgrtError(f"The description of the network in {path} cannot be read.", str(error)) from error
        weights = content.get("state_dict", {})
    else:
        spec, weights = translate(content, path, ramp)
    model = StackedHourglass(spec)
    _fit(model, weights, path)
    return model.eval()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The mapping stored in a torch file, or in a bundled one that is named; HgrtError for anything else."""
    path = bundled_or_given(path)
    if not path.is_file():
        raise HgrtError(f"There is no checkpoint at {path}.", fix="Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's thoughts on foreign files
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler answers foreign bytes with almost any exception
        reason = str(error).strip().partition("\n")[0]
        if "weights_only" in reason:  # torch's own advice there is to give up the protection
            reason = "It is no torch file, or it holds more than weights."
        reason = reason or "It is empty or cut off."
        raise HgrtError(f"{path} is not a torch checkpoint that can be loaded safely.", reason) from error
    if not isinstance(content, Mapping):
        raise HgrtError(f"{path} holds a {type(content).__name__}, not a checkpoint.")
    return dict(content)


def translate(content: Mapping[str, Any], path: str | Path, ramp: Ramp) -> tuple[ModelSpec, dict[str, Tensor]]:
    """Spec and weights, under our names, of a published checkpoint: its sizes tell its shape."""
    weights = content.get("state_dict", content)
    foreign = HgrtError(
        f"{path} is not a stacked-hourglass checkpoint.",
        f"Its first keys: {', '.join(map(str, list(weights)[:3])) or 'none'}" if isinstance(weights, Mapping) else "",
        "hgrt reads its own checkpoints and those of the published pytorch_stacked_hourglass code.",
    )
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise foreign
    plain = {_without_prefix(str(key)): value for key, value in weights.items()}
    stem, outs = (
        plain.get("pre.4.conv3.conv.weight"),
        [key for key in plain if re.fullmatch(r"outs\.\d\.conv\.weight", key)],
    )
    if stem is None or not outs or stem.ndim != 4:
        raise foreign
    joints = plain[outs[0]].shape[0]
    latent = plain.get("fcin1.0.fc.weight")
    try:
        spec = ModelSpec(
            stacks=len(outs),
            channels=stem.shape[0],
            gate="none" if latent is None else "raw",
            latent=128 if latent is None else latent.shape[0],
            ramp=ramp,
        )
    except ValueError as error:
        raise HgrtError(f"{path} has a shape that hgrt does not build.", str(error)) from error
    if joints != len(spec.joints):
        raise HgrtError(f"{path} predicts {joints} joints; the MPII skeleton has {len(spec.joints)}.")
    return spec, {ours: value for key, value in plain.items() if (ours := published_to_ours(key)) is not None}


_RULES = (
    (r"pre\.(\d)\.", r"stem.\1."),
    (r"hgs\.(\d)\.0\.", r"stacks.\1.hourglass."),
    (r"features\.(\d)\.", r"stacks.\1.feature."),
    (r"outs\.(\d)\.conv\.", r"stacks.\1.heatmap."),
    (r"merge_features\.(\d)\.conv\.conv\.", r"stacks.\1.merge_feature."),
    (r"merge_preds\.(\d)\.conv\.conv\.", r"stacks.\1.merge_heatmap."),
    (r"fcin1\.(\d)\.fc\.", r"stacks.\1.modulation.encode."),
    (r"decoders\.(\d)\.0\.fc\.", r"stacks.\1.modulation.decode."),
    (r"decoders\.(\d)\.2\.", r"stacks.\1.modulation.up.0."),
    (r"decoders\.(\d)\.3\.", r"stacks.\1.modulation.up.1."),
    (r"decoders\.(\d)\.5\.", r"stacks.\1.modulation.up.2."),
)


def published_to_ours(key: str) -> str | None:
    """Our name of a published weight (without prefix); None for those that the published network never uses."""
    for pattern, ours in _RULES:
        name, hits = re.subn("^" + pattern, ours, key)
        if hits:
            break
    else:
        return key  # unknown: refused later, by name
    # The published residual builds a shortcut convolution even where input and output have the same width.
    if "skip_layer" in name and not name.startswith(("stem.1.", "stem.4.")):
        return None
    name = name.replace("skip_layer.conv.", "shortcut.").replace("conv_tr_layer.", "conv.")
    return re.sub(r"\.conv([123])\.conv\.", r".conv\1.", name)


def _without_prefix(key: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
    return key[len(prefix) :]


def _fit(model: StackedHourglass, weights: Mapping[str, Tensor], path: str | Path) -> None:
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise HgrtError(f"The weights in {path} are not a mapping of names to tensors.")
    wanted = model.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}  # torch 0.4 wrote none
    problems = {
        "missing": [key for key in wanted if key not in weights and key not in counters],
        "unexpected": [key for key in weights if key not in wanted],
        "of another shape": [key for key in wanted if key in weights and weights[key].shape != wanted[key].shape],
    }
    said = [
        f"{len(keys)} {kind}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if said:
        raise HgrtError(f"The weights in {path} do not fit a network of {model.spec}.", "; ".join(said))
    model.load_state_dict({**{key: wanted[key] for key in counters}, **weights})
