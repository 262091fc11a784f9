"""The network, its description and its files. `ModelSpec` needs no torch; the rest loads it when first touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hgrt.model.spec import PRESETS, ModelSpec

if TYPE_CHECKING:
    from hgrt.model.checkpoint import load_checkpoint, save_checkpoint
    from hgrt.model.hourglass import StackedHourglass

__all__ = ["PRESETS", "ModelSpec", "StackedHourglass", "load_checkpoint", "save_checkpoint"]


def __getattr__(name: str) -> object:
    if name == "StackedHourglass":
        from hgrt.require import require

        require("torch", "train")
        from hgrt.model.hourglass import StackedHourglass

        return StackedHourglass
    if name in ("load_checkpoint", "save_checkpoint"):
        from hgrt.require import require

        require("torch", "train")
        from hgrt.model import checkpoint

        return getattr(checkpoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
