"""How to train: every number that shapes a run, in one frozen description that is written beside its results."""

from __future__ import annotations

from dataclasses import dataclass, field

from hgrt.train.augment import Augmentation


@dataclass(frozen=True, slots=True)
class Stage:
    """From the share `start` of the run on: inputs of `size` pixels, `batch` examples a step over all processes."""

    start: float
    size: int
    batch: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run.

    The learning rate rises over `warmup` epochs, stays, and falls linearly to zero over the last share `cooldown` of
    the run; inputs grow with the stages, because most of what there is to learn shows in small pictures at a quarter
    of the cost. `sigma` is the width of the targets in heatmap cells.
    """

    epochs: int = 32
    stages: tuple[Stage, ...] = (Stage(0.0, 128, 64), Stage(0.5, 192, 32), Stage(0.75, 256, 32))
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: float = 0.5
    cooldown: float = 0.4
    ema: float = 0.999
    sigma: float = 1.5
    peak_weight: float = 9.0
    clip: float = 1.0
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def growing(cls, size: int, epochs: int, seed: int) -> Recipe:
        """The recipe whose inputs grow to `size`, which they keep to the end: for 192, from 128 at half of the run."""
        stages = tuple(stage for stage in cls().stages if stage.size <= size)
        return cls(epochs=epochs, stages=stages or (Stage(0.0, size, 64),), seed=seed)

    def stage(self, epoch: int) -> Stage:
        """The stage that epoch `epoch` belongs to."""
        return [stage for stage in self.stages if stage.start * self.epochs <= epoch][-1]

    def rate(self, position: float) -> float:
        """Learning rate at `position` epochs into the run."""
        rise = min(1.0, position / self.warmup) if self.warmup else 1.0
        fall = min(1.0, (self.epochs - position) / (self.cooldown * self.epochs)) if self.cooldown else 1.0
        return self.learning_rate * rise * max(0.0, fall)
