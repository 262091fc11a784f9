"""Makes `golden.npz`: what every runtime must answer, from the unfolded network in double precision.

    python tests/runtime/make_golden.py

Weights and crops come from a recipe, so that only a sample of the answers is stored.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import golden
from hgrt.engine.onnx import export_onnx
from hgrt.model.checkpoint import load_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec

LITE = ModelSpec(stacks=1, channels=24, growth=8, gate="bounded", latent=16, block="postact", stem="light", input=192)
CROPS, STEP = 3, 3  # crops of each network; every third row and column of their heatmaps is stored


def published(folder: Path) -> Path:
    """A file as the published training writes them, with its weights by recipe."""
    return golden.published_checkpoint(folder / "published.pt", stacks=1, modulated=True, channels=32)


def lite(folder: Path) -> Path:
    """A checkpoint of ours: every weight and every batch statistic drawn by its name."""
    net = StackedHourglass(LITE)
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            for leaf, low, high in (("weight", 0.75, 1.25), ("bias", -0.1, 0.1)):
                draw(getattr(module, leaf).data, f"{name}.{leaf}", low, high)
            draw(module.running_mean, f"{name}.running_mean", -0.1, 0.1)
            draw(module.running_var, f"{name}.running_var", 0.5, 1.5)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            reach = (3.0 / module.weight[0].numel()) ** 0.5
            draw(module.weight.data, f"{name}.weight", -reach, reach)
            if module.bias is not None:
                draw(module.bias.data, f"{name}.bias", -0.1, 0.1)
    path = folder / "lite.pt"
    save_checkpoint(path, net)
    return path


def draw(tensor: torch.Tensor | None, name: str, low: float, high: float) -> None:
    """Fill a tensor with the numbers that belong to its name."""
    assert tensor is not None
    values = golden.stream(name).random_sample(tuple(tensor.shape))
    tensor.copy_(torch.from_numpy(low + (high - low) * values))


NETWORKS = {"published": published, "lite": lite}


def crops(size: int) -> NDArray[np.uint8]:
    """What the networks look at, (N, size, size, 3) BGR."""
    images = [golden.image(f"runtime{i}")[:size, :size, ::-1] for i in range(CROPS)]
    return np.floor(256 * np.stack(images)).clip(0, 255).astype(np.uint8)


def exact(path: Path) -> NDArray[np.float64]:
    """The last stack's heatmaps of the network as it was trained: nothing folded, double precision."""
    net = load_checkpoint(path).double()
    rgb = crops(net.spec.input)[..., ::-1] / 255.0
    with torch.inference_mode():
        return np.asarray(net(torch.from_numpy(rgb).permute(0, 3, 1, 2).contiguous())[:, -1].numpy())


SHARED = "HGRT_TESTS_SHARED"
"""The environment names a folder for what the processes of one test run need not make twice."""


@functools.cache
def files(name: str) -> dict[str, Path]:
    """The network as files, by suffix. Made once in a test run, because an export takes seconds."""
    folder = Path(os.environ[SHARED]) / f"golden-{name}"
    with TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "files"
        if not folder.exists():
            made.mkdir()
            checkpoint = NETWORKS[name](made)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch's exporter about torch itself
                export_onnx(load_checkpoint(checkpoint), checkpoint.with_suffix(".onnx"))
            with suppress(OSError):  # another process was faster
                made.rename(folder)
    return {path.suffix: path for path in folder.iterdir()}


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        answers = {name: exact(make(Path(scratch))) for name, make in NETWORKS.items()}
    stored = {name: maps[..., ::STEP, ::STEP].astype(np.float32) for name, maps in answers.items()}
    places = {f"{name}_argmax": maps.reshape(*maps.shape[:2], -1).argmax(-1) for name, maps in answers.items()}
    target = Path(__file__).with_name("golden.npz")
    np.savez_compressed(target, **stored, **places)
    for name, maps in answers.items():
        print(f"{name}: range {maps.min():.3g} .. {maps.max():.3g}")
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")
