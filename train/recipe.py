"""How to train: every number that shapes a run, in one frozen description that is written beside its results.

Two recipes have names. `reference` is the published one, for whoever wants its numbers; `modern` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hgrt.train.augment import Augmentation
from hgrt.train.published import PublishedAugmentation

OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True, slots=True)
class Stage:
    """From the share `start` of the run on: inputs of `size` pixels, `batch` examples a step over all processes."""

    start: float
    size: int
    batch: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run.

    epochs          how often everybody is seen; `max_iters`, if not 0, is the run's length in steps instead
    epoch_iters     steps from one evaluation to the next; 0: until everybody was seen once
    stages          inputs grow, because most of what there is to learn shows in small pictures at a quarter of the cost
    accumulate      parts that a step's batch is worked through in, for memory; batch norm sees one part at a time
    learning_rate   rises over the first share `warmup` of the run, stays, falls linearly to zero over the last share
                    `cooldown`; from step `drop_at` on (0: never) it is multiplied by `drop_to`
    optimizer       "muon", or "adamw", which with a weight decay of 0 is Adam
    weight_decay    of matrices, decoupled
    clip            largest norm of the gradient; 0: any
    ema             decay of the averaged weights, which are evaluated and kept; 0: the last weights themselves
    sigma           width of the targets in heatmap cells (published targets: always 1, about truncated positions)
    peak_weight     each pixel weighs 1 + this x target in the loss, because all but a few are background
    side_weight     times peak_weight the place of the other side's joint weighs, so that a joint is not found there too
    hidden_weight   weight of joints that are labelled but hidden
    suspect_weight  times this joints weigh whose labels are doubtful; the published views know no doubt
    calm            share of the run at its end, in whole epochs, in which views are `calmer`: what wild ones taught
                    stays, and the last steps see people as they will be seen; published views stay as they are
    teacher_weight  share of the loss that asks to answer like the teacher, where there is one
    inner_weight    so much of a loss is added that asks the earlier stacks to answer like the last, which does not
                    learn from it (L. Zhang et al., "Be Your Own Teacher", ICCV 2019), before `restack` cuts them off
    bf16            compute in bfloat16 where the device does
    augmentation    how views are drawn; its type says whether ours or the published way
    """

    epochs: int = 32
    max_iters: int = 0
    epoch_iters: int = 0
    stages: tuple[Stage, ...] = (Stage(0.0, 128, 64), Stage(0.5, 192, 32), Stage(0.75, 256, 32))
    accumulate: int = 1
    learning_rate: float = 3e-3
    warmup: float = 0.02
    cooldown: float = 0.4
    drop_at: int = 0
    drop_to: float = 1.0
    optimizer: str = "muon"
    weight_decay: float = 1e-2
    clip: float = 1.0
    ema: float = 0.999
    sigma: float = 2.0
    peak_weight: float = 9.0
    side_weight: float = 0.0
    hidden_weight: float = 1.0
    suspect_weight: float = 0.3
    calm: float = 0.15
    teacher_weight: float = 0.5
    inner_weight: float = 0.0
    bf16: bool = True
    seed: int = 0
    augmentation: Augmentation | PublishedAugmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.max_iters < 0 or self.epoch_iters < 0 or self.accumulate < 1:
            raise ValueError("epochs and accumulate are at least 1, max_iters and epoch_iters at least 0")
        if not self.stages or self.stages[0].start != 0 or self.seed < 0:
            raise ValueError("the first stage starts at 0, the seed is at least 0")
        if any(stage.size < 64 or stage.size % 64 or stage.batch < 1 for stage in self.stages):
            raise ValueError("sizes of stages are multiples of 64, their batches at least 1")
        if any(one.start >= other.start for one, other in zip(self.stages, self.stages[1:], strict=False)):
            raise ValueError("stages start one after another")
        if min(self.warmup, self.cooldown, self.drop_at, self.drop_to, self.weight_decay, self.clip) < 0:
            raise ValueError("warmup, cooldown, drop_at, drop_to, weight_decay and clip are at least 0")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}, not one of {', '.join(OPTIMIZERS)}")
        if not self.sigma > 0 or min(self.peak_weight, self.side_weight, self.hidden_weight, self.suspect_weight) < 0:
            raise ValueError(
                "sigma is positive; peak_weight, side_weight, hidden_weight and suspect_weight are not negative"
            )
        if not 0 <= self.ema < 1 or not self.learning_rate > 0 or not 0 <= self.teacher_weight <= 1:
            raise ValueError("ema is in 0..1, learning_rate positive, teacher_weight in 0..1")
        if not 0 <= self.calm <= 1 or not self.inner_weight >= 0:
            raise ValueError("calm is in 0..1, inner_weight at least 0")

    def rate(self, step: int, total: int) -> float:
        """Learning rate of step `step`, counted from 0, of a run of `total`."""
        done = step / total
        rise = min(1.0, (step + 1) / (self.warmup * total)) if self.warmup else 1.0
        fall = min(1.0, (1 - done) / self.cooldown) if self.cooldown else 1.0
        drop = self.drop_to if self.drop_at and step >= self.drop_at else 1.0
        return self.learning_rate * rise * fall * drop


REFERENCE = Recipe(
    max_iters=200_000,
    epoch_iters=1000,
    stages=(Stage(0.0, 256, 16),),
    learning_rate=1e-3,
    warmup=0.0,
    cooldown=0.0,
    drop_at=100_000,
    drop_to=0.2,
    optimizer="adamw",
    weight_decay=0.0,
    clip=0.0,
    ema=0.0,
    sigma=1.0,
    peak_weight=0.0,
    suspect_weight=1.0,
    calm=0.0,
    bf16=False,
    augmentation=PublishedAugmentation(),
)


def recipe_for(name: str, size: int) -> Recipe:
    """The recipe `name` for a network with inputs of `size` pixels: inputs grow to it and stay there to the end."""
    recipe = {"reference": REFERENCE, "modern": Recipe()}[name]
    if name == "reference":
        return replace(recipe, stages=(replace(recipe.stages[0], size=size),))
    stages = tuple(stage for stage in recipe.stages if stage.size <= size) or (recipe.stages[0],)
    return replace(recipe, stages=(*stages[:-1], replace(stages[-1], size=size)))


RECIPES = ("modern", "reference")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One stretch between evaluations: `steps` steps from step `first` of the run on, as the stage says; `calm`, with
    views as they are to be at the end of a run.
    """

    number: int
    first: int
    steps: int
    size: int
    batch: int
    calm: bool = False


def plan(recipe: Recipe, people: int) -> tuple[Epoch, ...]:
    """The whole run over a set of `people`, epoch by epoch; the few that do not fill a last batch wait for another."""
    epochs: list[Epoch] = []
    first = 0
    while first < recipe.max_iters if recipe.max_iters else len(epochs) < recipe.epochs:
        done = first / recipe.max_iters if recipe.max_iters else len(epochs) / recipe.epochs
        stage = [stage for stage in recipe.stages if stage.start <= done][-1]
        steps = recipe.epoch_iters or max(1, people // stage.batch)
        if recipe.max_iters:
            steps = min(steps, recipe.max_iters - first)
        epochs.append(Epoch(len(epochs), first, steps, stage.size, stage.batch, done >= 1 - recipe.calm))
        first += steps
    return tuple(epochs)
