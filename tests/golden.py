"""The deterministic recipe behind the reference fixtures: everything is generated from names, so no weights are stored.

`fixtures/reference/README.md` in the shared folder describes it in words; this is that description, executable. It
knows the published names and conventions and nothing of hgrt, so that a mistake there cannot cancel out here.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, tuple[int, ...]]

SALT = "hgrt-ref-1"
PREFIX = "model.module."
PAIR = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]
USED_SHORTCUTS = ("pre.1.", "pre.4.")


def shared_folder() -> Path:
    """HGRT_SHARED, or `shared` next to the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("HGRT_SHARED", beside))


def stream(name: str) -> np.random.RandomState:
    """The generator that belongs to a name."""
    return np.random.RandomState(zlib.crc32(f"{SALT}:{name}".encode()))


def sha256(array: NDArray[Any]) -> str:
    """Of the bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# Weights


def weight(key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The value of a published parameter or buffer; `key` without prefix."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros((), dtype=np.int64)
    r = stream(key).random_sample(int(np.prod(shape))).reshape(shape)
    if leaf in ("running_mean", "bias"):
        r = 0.2 * r - 0.1
    elif leaf == "running_var":
        r = 0.5 + r
    elif len(shape) == 1:
        r = 0.75 + 0.5 * r
    else:
        r = (2 * r - 1) / np.sqrt(np.prod(shape[1:]))
    return r.astype(np.float32)


def _conv(name: str, inputs: int, outputs: int, kernel: int) -> Iterator[Key]:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[Key]:
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{leaf}", (width,)
    yield f"{name}.num_batches_tracked", ()


def _residual(name: str, inputs: int, outputs: int) -> Iterator[Key]:
    half = outputs // 2
    for i, (a, b, kernel) in enumerate([(inputs, half, 1), (half, half, 3), (half, outputs, 1)], start=1):
        yield from _norm(f"{name}.bn{i}", a)
        yield from _conv(f"{name}.conv{i}.conv", a, b, kernel)
    yield from _conv(f"{name}.skip_layer.conv", inputs, outputs, 1)  # present even where it is never used


def _hourglass(name: str, depth: int, width: int) -> Iterator[Key]:
    yield from _residual(f"{name}.up1", width, width)
    yield from _residual(f"{name}.low1", width, width)
    if depth > 1:
        yield from _hourglass(f"{name}.low2", depth - 1, width)
    else:
        yield from _residual(f"{name}.low2", width, width)
    yield from _residual(f"{name}.low3", width, width)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[Key]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def published_keys(stacks: int, modulated: bool, channels: int = 256, latent: int = 128) -> list[Key]:
    """Names (without prefix) and shapes of a published state_dict, in its order; 256 channels as published."""
    c, joints = channels, 16
    keys = [*_conv("pre.0.conv", 3, c // 4, 7), *_norm("pre.0.bn", c // 4)]
    keys += [*_residual("pre.1", c // 4, c // 2), *_residual("pre.3", c // 2, c // 2), *_residual("pre.4", c // 2, c)]
    for s in range(stacks):
        keys += _hourglass(f"hgs.{s}.0", 4, c)
    for s in range(stacks):
        keys += [*_residual(f"features.{s}.0", c, c), *_conv(f"features.{s}.1.conv", c, c, 1)]
        keys += _norm(f"features.{s}.1.bn", c)
    for s in range(stacks):
        keys += _conv(f"outs.{s}.conv", c, joints, 1)
    for s in range(stacks - 1):
        keys += _conv(f"merge_features.{s}.conv.conv", c, c, 1)
    for s in range(stacks - 1):
        keys += _conv(f"merge_preds.{s}.conv.conv", joints, c, 1)
    if modulated:
        for s in range(stacks):
            keys += _linear(f"fcin1.{s}.fc", 16 * c, latent)
        for s in range(stacks):
            keys += _linear(f"decoders.{s}.0.fc", latent, 16 * c)
            layers = [(2, c, c // 2, 3), (3, c // 2, c // 4, 5), (5, c // 4, joints, 7)]
            for i, inputs, outputs, kernel in layers:
                keys.append((f"decoders.{s}.{i}.conv_tr_layer.weight", (inputs + 2, outputs, kernel, kernel)))
                keys.append((f"decoders.{s}.{i}.conv_tr_layer.bias", (outputs,)))
                keys += _norm(f"decoders.{s}.{i}.bn", outputs)
    return keys


def unused(key: str) -> bool:
    """Whether a published weight never reaches the output."""
    return ".skip_layer." in key and not key.startswith(USED_SHORTCUTS)


def published_checkpoint(
    path: Path,
    stacks: int,
    modulated: bool,
    *,
    channels: int = 256,
    latent: int = 128,
    prefix: str = PREFIX,
    counters: bool = True,
    bare: bool = False,
    old_container: bool = True,
    change: Callable[[dict[str, Any]], object] | None = None,
) -> Path:
    """Write recipe weights as the published training writes them; `change` may alter the state_dict before."""
    import torch

    weights = {
        prefix + key: torch.from_numpy(np.asarray(weight(key, shape)))
        for key, shape in published_keys(stacks, modulated, channels, latent)
        if counters or not key.endswith("num_batches_tracked")
    }
    if change is not None:
        change(weights)
    optimizer = {"state": {}, "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999), "params": [0]}]}
    content = weights if bare else {"state_dict": weights, "optimizer": optimizer, "epoch": 200}
    torch.save(content, path, _use_new_zipfile_serialization=not old_container)
    return path


# Inputs


def image(name: str) -> NDArray[np.float32]:
    """A network input, (256, 256, 3) RGB in 0..1."""
    g = stream(name)
    a = g.random_sample((16, 16, 3)).repeat(16, axis=0).repeat(16, axis=1)
    b = g.random_sample((256, 256, 3))
    return (0.75 * a + 0.25 * b).astype(np.float32)


def crop_image() -> NDArray[np.uint8]:
    """The picture that the crops are cut from, (360, 480, 3)."""
    im = image("crop")
    tall = np.floor(256 * np.concatenate([im, im[:104]], axis=0))
    return np.concatenate([tall, tall[:, :224]], axis=1).astype(np.uint8)


def decode_heatmaps(case: int, kind: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Network outputs (16, 64, 64) for a crop and for the mirrored crop."""
    g = stream(f"decode/{case}/peaks")
    p = np.floor(64 * g.random_sample((16, 2))).astype(int)
    j = np.floor(3 * g.random_sample((16, 2))).astype(int) - 1
    if kind == "border":
        for k in range(0, 16, 2):
            p[k] = [(0, 0), (63, 0), (0, 63), (63, 63)][(k // 2) % 4]
            p[k + 1, 0] = 0 if (k // 2) % 2 == 0 else 63
    if kind in ("border", "symmetric", "saturated"):
        j[:] = 0
    noise = 0.0 if kind == "symmetric" else 0.25
    a = noise * stream(f"decode/{case}/plain").random_sample((16, 64, 64))
    b = noise * stream(f"decode/{case}/flip").random_sample((16, 64, 64))
    y, x = np.mgrid[:64, :64]
    for k in range(16):
        for maps, (x0, y0) in ((a, p[k]), (b, np.clip(p[k] + j[k], 0, 63))):
            maps[k] += 0.6 * np.maximum(0, 1 - ((x - x0) ** 2 + (y - y0) ** 2) / 9)
        if kind == "saturated":
            a[k, p[k, 1], p[k, 0]], b[k, p[k, 1], p[k, 0]] = 3.0, 2.0
    return a.astype(np.float32), b.astype(np.float32)[PAIR][:, :, ::-1]


def pckh_predictions(part: NDArray[Any], normalize: NDArray[Any]) -> NDArray[np.float64]:
    """Predictions that miss by up to a known share of the head size, more for later joints."""
    r = stream("pckh/pred").random_sample((*part.shape[:2], 2))
    amplitude = 0.2 + 0.06 * np.arange(part.shape[1])
    return part + (2 * r - 1) * amplitude[None, :, None] * normalize[:, None, None]
