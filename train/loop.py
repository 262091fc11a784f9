"""The training loop, top to bottom.

Everything around it has a file of its own: what a run is (`config`, `recipe`), its folder (`run`), what it writes down
(`log`, `curves`), the examples (`batches`), the other processes (`distributed`).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from hgrt.data.find import DataSets
from hgrt.data.generated import scenery
from hgrt.data.sample import People
from hgrt.errors import HgrtError
from hgrt.evaluation.predict import View, predict
from hgrt.evaluation.report import distinct, numbered
from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.pose.heatmaps import Maps
from hgrt.train.batches import Batch, batches
from hgrt.train.config import Config
from hgrt.train.distributed import World, holding_back
from hgrt.train.ema import Ema
from hgrt.train.log import RunLog
from hgrt.train.loss import heatmap_loss, likeness
from hgrt.train.muon import Muon
from hgrt.train.recipe import Epoch, Recipe, plan
from hgrt.train.report import report
from hgrt.train.run import Position, Run
from hgrt.train.teacher import Teacher

SAVE_EVERY_S = 300.0
SCENES = 48


class InterruptedTraining(HgrtError):  # noqa: N818  # not a mistake of anybody's
    """The user asked to stop; everything is saved."""


def train(
    run: Run, config: Config, data: DataSets, world: World, workers: int, console: Console, compiled: str = ""
) -> Position:
    """Train to the end of the recipe, going on from the run's `last.pt` if it is there; returns where it ended.

    `compiled` is the mode of `torch.compile`; empty where the network runs as it is.
    """
    recipe, crop = config.recipe, config.spec.crop
    torch.manual_seed(recipe.seed)
    cv2.setNumThreads(0)
    net = StackedHourglass(config.spec)
    if config.init and not run.last.exists():
        net.load_state_dict(load_checkpoint(config.init).state_dict())
    net = net.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer_for(net, recipe)
    ema = Ema(net, recipe.ema)
    position = run.restore(net, ema, optimizer)
    teacher = Teacher(config.teacher, world.device) if config.teacher else None
    model = world.wrap(net)
    if compiled:
        model = torch.compile(model, mode=compiled)  # type: ignore[assignment]
    scenes = scenery(SCENES, recipe.seed)
    epochs = plan(recipe, len(data.train))
    select = selected(config.select, data.val)
    _check_shares(min(epoch.batch for epoch in epochs), recipe.accumulate, world.size)
    total = epochs[-1].first + epochs[-1].steps
    with _stoppable(world) as stopping, _bar(world, console) as bar, _log(run, world, position) as log:
        for epoch in epochs[position.epoch :]:
            task = bar.add_task("", total=epoch.steps, completed=position.step)
            pace, saved = Pace(), time.monotonic()
            parts: list[Batch] = []
            loader = batches(data.train, scenes, recipe, epoch, position.step, world.rank, world.size, workers, crop)
            for parts in pace.waited(_grouped(loader, recipe.accumulate)):
                rate = recipe.rate(epoch.first + position.step, total)
                loss, blank, taken = _step(model, net, optimizer, parts, rate, recipe, world, teacher)
                if taken:
                    ema.update(net)
                position.health.step(loss, blank, taken)
                position.step += 1
                pace.images += epoch.batch
                bar.update(task, completed=position.step, description=_said(epoch, len(epochs), position))
                stop = stopping()
                if world.leads and (stop or time.monotonic() - saved > SAVE_EVERY_S):
                    run.save(net, ema, optimizer, position)
                    saved = time.monotonic()
                if stop:
                    raise InterruptedTraining(
                        f"Stopped in epoch {epoch.number + 1}.",
                        fix=f"Everything is in {run.folder}; go on with: hgrt train --resume {run.folder.name}",
                    )
            position.epoch, position.step = epoch.number + 1, 0
            measured = pace.row()
            if log is not None:
                if not parts:  # the run was stopped after the epoch's last step
                    first = replace(epoch, steps=1)
                    parts = list(batches(data.train, scenes, recipe, first, 0, world.rank, world.size, 0, crop))
                infer, view = answer(ema.model, world.device), View(crop=crop)
                judged = distinct([predict(infer, people, epoch.size, view) for people in data.val])
                rates = {one.set: round(100 * one.pckh().total.rate, 2) for one in judged}
                steps = epoch.first + epoch.steps
                row = {"epoch": position.epoch, "iteration": steps, "size": epoch.size, **position.health.row()}
                row |= {"lr": recipe.rate(steps - 1, total), **measured}
                diagnosis = position.health.diagnose(steps, judged)
                report(run, log, row, rates, data, judged, parts[0], diagnosis, console)
                counted = [rates[name] for name in select if np.isfinite(rates[name])]  # sets where joints count at all
                score = float(np.mean(counted)) if counted else -(position.health.loss or 0.0)
                run.keep_best(ema, position, score, epoch.size, rates)
                run.save(net, ema, optimizer, position)
            bar.remove_task(task)
            world.wait()
    return position


def _step(
    model: nn.Module,
    net: StackedHourglass,
    optimizer: torch.optim.Optimizer,
    parts: list[Batch],
    rate: float,
    recipe: Recipe,
    world: World,
    teacher: Teacher | None = None,
) -> tuple[float, float, bool]:
    """One optimizer step on this process's `parts` of a batch.

    Returns the loss over the whole batch, the loss that empty heatmaps would have had, and whether the step was taken:
    a gradient that is not finite skips it, and nothing of this batch stays.
    """
    device = world.device
    net.train()
    statistics = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    before = torch._foreach_mul(statistics, 1.0)  # a copy in one call
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    # What a joint counts depends on how many are known in the whole batch, here and elsewhere.
    known_in_all = world.sum(torch.stack([known.sum() for _, _, known in parts]).sum()).to(device)
    examples = world.sum(torch.tensor(float(sum(len(images) for images, _, _ in parts)))).to(device)
    sums = torch.zeros(2, device=device)
    peak, side = recipe.peak_weight, recipe.side_weight
    from_truth = partial(heatmap_loss, peak_weight=peak, total=known_in_all, side_weight=side)
    share = partial(likeness, peak_weight=peak, examples=examples, side_weight=side)
    for k, part in enumerate(parts):
        images, targets, known = (tensor.to(device, non_blocking=True) for tensor in part)
        image = to_network(images)
        with holding_back(model, k + 1 < len(parts)):
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16 and has_bf16(device)):
                heatmaps: Tensor = model(image)
                taught = None if teacher is None else teacher(image)
            loss = from_truth(heatmaps, targets, known)
            blank = from_truth(torch.zeros_like(targets)[:, None], targets, known)
            sums += torch.stack([loss.detach(), blank])
            if taught is not None:
                # Whom a teacher sees where it is known that nobody is, nobody is to see.
                nobody = (known > 0).all(1) & (targets.flatten(1).amax(1) == 0)
                taught = torch.where(nobody[:, None, None, None], 0, taught)
                loss = (1 - recipe.teacher_weight) * loss + recipe.teacher_weight * share(heatmaps, taught)
            if recipe.inner_weight and heatmaps.shape[1] > 1:
                last = heatmaps[:, -1].detach().float().clamp(0, 1)
                loss = loss + recipe.inner_weight * share(heatmaps[:, :-1], last)
            # The processes' gradients are averaged, but their losses add up to the batch's.
            (loss * world.size).backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(net.parameters(), recipe.clip or float("inf"))
    loss, blank = world.sum(sums).tolist()
    taken = bool(torch.isfinite(norm)) and math.isfinite(loss)
    if taken:
        optimizer.step()
    else:
        torch._foreach_copy_(statistics, before)
    return loss, blank, taken


def to_network(images: Tensor) -> Tensor:
    """(B, S, S, 3) BGR, uint8 or float in 0..1 -> (B, 3, S, S) float32 RGB in 0..1, channels last in memory."""
    rgb = images.flip(-1)
    return (rgb if rgb.is_floating_point() else rgb.float() / 255).permute(0, 3, 1, 2)


def answer(model: StackedHourglass, device: torch.device) -> Callable[[NDArray[np.uint8]], Maps]:
    """The network in eval mode as `evaluation` asks it: crops in, the last stack's heatmaps out."""

    @torch.inference_mode()
    def infer(crops: NDArray[np.uint8]) -> Maps:
        maps: Maps = model(to_network(torch.from_numpy(crops).to(device)))[:, -1].float().cpu().numpy()
        return maps

    return infer


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Pace:
    """How fast an epoch goes, and how much of its time the loader kept it waiting."""

    def __init__(self) -> None:
        self.images, self._began, self._waiting = 0, time.monotonic(), 0.0

    def waited(self, steps: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
        """Pass on `steps`, timing how long each took to come."""
        steps = iter(steps)
        while True:
            asked = time.monotonic()
            step = next(steps, None)
            self._waiting += time.monotonic() - asked
            if step is None:
                return
            yield step

    def row(self) -> dict[str, float]:
        """As the log takes it; `waiting` in percent."""
        seconds = time.monotonic() - self._began
        return {
            "images_per_s": round(self.images / seconds, 1),
            "waiting": round(100 * self._waiting / seconds, 1),
            "seconds": round(seconds, 1),
        }


def _check_shares(batch: int, parts: int, processes: int) -> None:
    if batch < parts * processes:
        raise HgrtError(
            f"A batch of {batch} cannot be worked through in {parts} parts by {processes} processes.",
            "Each part needs somebody.",
            "Set a larger batch in recipe.stages, or a smaller recipe.accumulate.",
        )


def selected(names: Sequence[str], val: Sequence[People]) -> list[str]:
    """Which validation sets decide, as the scores call them, all without `names`; HgrtError where there is none so."""
    there = numbered([people.name for people in val])
    unknown = [name for name in names if name not in {one.partition("/")[0] for one in there}]
    if unknown:
        raise HgrtError(
            f"There is no validation set '{unknown[0]}' to select weights by.",
            f"There is: {', '.join(there) or 'none'}.",
        )
    return [one for one in there if not names or one.partition("/")[0] in names]


def _grouped(loader: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    items = iter(loader)
    while group := list(islice(items, size)):
        yield group


def optimizer_for(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's; weight decay is for matrices only, not for biases and batch norm."""
    if recipe.optimizer == "muon":
        return Muon(net.parameters(), recipe.learning_rate, recipe.weight_decay)
    many = [p for p in net.parameters() if p.ndim > 1]
    few = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": many, "weight_decay": recipe.weight_decay}, {"params": few, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _said(epoch: Epoch, epochs: int, position: Position) -> str:
    health = position.health
    skipped = f", {health.skipped} non-finite steps skipped" if health.skipped else ""
    loss = f", loss {health.loss:.5f}" if health.loss is not None else ""
    return f"epoch {epoch.number + 1}/{epochs}, {epoch.size} px{loss}{skipped}"


@contextmanager
def _stoppable(world: World) -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into an orderly stop after the current step, agreed on by all processes."""
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: world.any(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _log(run: Run, world: World, position: Position) -> Iterator[RunLog | None]:
    """The log, for the process that leads, without what a killed run wrote after its last state was saved."""
    if not world.leads:
        yield None
        return
    with RunLog(run.folder) as log:
        log.rewind(position.epoch)
        yield log


def _bar(world: World, console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not (world.leads and console.is_terminal), transient=True)
