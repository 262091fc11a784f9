"""A run's folder: `last.pt` (all that is needed to go on), `best.pt`, and what `config`, `log` and `report`
write.

Nothing in it is ever half written, and a run that was stopped anywhere goes on exactly where it was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import read_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import METADATA_KEY, ModelSpec
from hgrt.train.ema import Ema
from hgrt.train.health import Health


@dataclass(slots=True)
class Position:
    """Where a run is: `epoch` epochs are done and `step` steps of the next; the best score and its input size."""

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_size: int = 0
    health: Health = field(default_factory=Health)


class Run:
    """The folder of one run. Only the process that leads writes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last, self.best = folder / "last.pt", folder / "best.pt"

    def save(self, net: StackedHourglass, ema: Ema, optimizer: torch.optim.Optimizer, position: Position) -> None:
        """Everything that the next step depends on. The order of examples and their randomness are functions of the
        position, and the network draws nothing, so no generator has a state to keep.
        """
        averaged = {"weights": ema.model.state_dict(), "updates": ema.updates}
        save_checkpoint(self.last, net, ema=averaged, optimizer=optimizer.state_dict(), position=asdict(position))

    def restore(self, net: StackedHourglass, ema: Ema, optimizer: torch.optim.Optimizer) -> Position:
        """Fill everything from `last.pt` where it exists; the position it was saved at.

        HgrtError where the file holds another network or cannot be read.
        """
        if not self.last.exists():
            return Position()
        content: dict[str, Any] = read_checkpoint(self.last)
        try:
            spec = ModelSpec.from_mapping(content[METADATA_KEY])
            if spec.shape() != net.spec.shape():
                raise HgrtError(f"{self.last} is of another network.", f"There: {spec}. Here: {net.spec}.")
            net.load_state_dict(content["state_dict"])
            ema.model.load_state_dict(content["ema"]["weights"])
            ema.updates = content["ema"]["updates"]
            optimizer.load_state_dict(content["optimizer"])
            position = dict(content["position"])
            return Position(**{**position, "health": Health(**position["health"])})
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise HgrtError(f"{self.last} cannot be resumed.", str(error).partition("\n")[0]) from error

    def keep_best(self, ema: Ema, position: Position, score: float, size: int, rates: dict[str, float]) -> None:
        """Keep the averaged weights if they are the best so far, or the first at a larger input: scores at different
        sizes do not compare, and the last size is the one that is used.
        """
        if position.best is None or score > position.best or size > position.best_size:
            position.best, position.best_size = score, size
            save_checkpoint(self.best, ema.model, epoch=position.epoch, pckh=rates)
