"""The training loop, top to bottom.

A run is a folder: `config.json` (network, recipe, data), `log.csv`, `last.pt` (everything needed to go on) and
`best.pt` (averaged weights with the highest mean PCKh so far). Stopped anywhere, it goes on exactly where it was.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import read_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import METADATA_KEY, ModelSpec
from hgrt.train.batches import Batch, batches, steps_in
from hgrt.train.data.find import DataSets
from hgrt.train.data.generated import scenery
from hgrt.train.distributed import World
from hgrt.train.ema import Ema
from hgrt.train.evaluate import evaluate, to_tensor
from hgrt.train.log import append
from hgrt.train.loss import heatmap_loss
from hgrt.train.recipe import Recipe

SAVE_EVERY_S = 300.0
SCENES = 48


class InterruptedTraining(HgrtError):  # noqa: N818  # not a mistake of anybody's
    """The user asked to stop; everything is saved."""


def train(
    run: Path, spec: ModelSpec, recipe: Recipe, data: DataSets, world: World, workers: int, console: Console
) -> Path:
    """Train to the recipe's last epoch, going on from `run/last.pt` if it is there; returns the path of `best.pt`."""
    torch.manual_seed(recipe.seed)
    cv2.setNumThreads(0)
    device = world.device
    net = StackedHourglass(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(_groups(net, recipe.weight_decay), lr=recipe.learning_rate)
    ema = Ema(net, recipe.ema)
    state = _resume(run, net, ema, optimizer, device)
    if world.leads:
        config = {"spec": asdict(spec), "recipe": asdict(recipe), "data": data.parts, "processes": world.size}
        _write_config(run / "config.json", config, console)
    model = world.wrap(net)
    scenes = scenery(SCENES, recipe.seed)
    with _stoppable(world) as stopping, _bar(world, console) as bar:
        for epoch in range(state["epoch"], recipe.epochs):
            stage, steps = recipe.stage(epoch), steps_in(data.train, recipe, epoch)
            began, saved, done, first = time.monotonic(), time.monotonic(), 0, state["step"]
            task = bar.add_task(f"epoch {epoch + 1}/{recipe.epochs}, {stage.size} px", total=steps, completed=first)
            loader = batches(data.train, scenes, recipe, epoch, first, world.rank, world.size, workers)
            for step, batch in enumerate(loader, start=first):
                loss, finite = _step(model, net, optimizer, batch, recipe.rate(epoch + step / steps), recipe, device)
                state["skipped"] += not finite
                if finite:
                    ema.update(net)
                    state["loss"] = loss if state["loss"] is None else 0.98 * state["loss"] + 0.02 * loss
                done += stage.batch
                state["step"] = step + 1
                bar.update(task, completed=step + 1, description=_said(epoch, recipe, stage.size, state))
                stop = stopping()
                if world.leads and (stop or time.monotonic() - saved > SAVE_EVERY_S):
                    _save(run, net, ema, optimizer, state)
                    saved = time.monotonic()
                if stop:
                    raise InterruptedTraining(
                        f"Stopped in epoch {epoch + 1}.", fix=f"Everything is in {run}; --resume goes on."
                    )
            state["epoch"], state["step"] = epoch + 1, 0
            if world.leads:
                rate, seconds = recipe.rate(epoch + (steps - 1) / steps), time.monotonic() - began
                pace = {"lr": rate, "images_per_s": round(done / seconds, 1), "seconds": round(seconds, 1)}
                _measure(run, ema, data, stage.size, device, state, pace, console)
                _save(run, net, ema, optimizer, state)
            bar.remove_task(task)
            world.wait()
    return run / "best.pt"


def _step(
    model: nn.Module,
    net: StackedHourglass,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rate: float,
    recipe: Recipe,
    device: torch.device,
) -> tuple[float, bool]:
    """One optimizer step; returns the loss and whether the step was taken (a non-finite gradient skips it)."""
    images, targets, known = batch
    net.train()
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16(device)):
        heatmaps: Tensor = model(to_tensor(images.numpy(), device))
    loss = heatmap_loss(heatmaps, targets.to(device), known.to(device), recipe.peak_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
    finite = bool(torch.isfinite(norm))
    if finite:
        optimizer.step()
    return float(loss.detach()), finite


def _write_config(path: Path, config: dict[str, Any], console: Console) -> None:
    """What the run is, for whoever finds its folder; says where a resumed run departs from how it began."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=1)
    if path.exists():
        before, now = json.loads(path.read_text()), json.loads(text)
        for part in sorted(key for key in now if before.get(key) != now[key]):
            console.print(f"Note: '{part}' is not what this run began with; it goes on from here as {now[part]}")
    path.write_text(text)


def _measure(
    run: Path,
    ema: Ema,
    data: DataSets,
    size: int,
    device: torch.device,
    state: dict[str, Any],
    pace: dict[str, float],
    console: Console,
) -> None:
    """After an epoch: PCKh@0.5 of the averaged weights on every validation set, a row in the log, and the best kept."""
    rates = {people.name: round(100 * evaluate(ema.model, people, size, device).total.rate, 2) for people in data.val}
    loss = round(state["loss"] or 0.0, 6)
    row = {"epoch": state["epoch"], "size": size, "loss": loss, **pace, "skipped": state["skipped"], **rates}
    append(run / "log.csv", row)
    console.print(f"epoch {state['epoch']:3d}  {size} px  loss {loss:.5f}  {pace['images_per_s']} images/s  {rates}")
    mean = float(np.mean(list(rates.values()))) if rates else -loss
    # Scores at different sizes do not compare, and the last size is the one that is used.
    if state["best"] is None or mean > state["best"] or size > state["best_size"]:
        state["best"], state["best_size"] = mean, size
        save_checkpoint(run / "best.pt", ema.model, epoch=state["epoch"], pckh=rates)


def bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only: not for biases and batch norm."""
    many = [p for p in net.parameters() if p.ndim > 1]
    few = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": many, "weight_decay": decay}, {"params": few, "weight_decay": 0.0}]


def _said(epoch: int, recipe: Recipe, size: int, state: dict[str, Any]) -> str:
    skipped = f", {state['skipped']} non-finite steps skipped" if state["skipped"] else ""
    loss = f", loss {state['loss']:.5f}" if state["loss"] is not None else ""
    return f"epoch {epoch + 1}/{recipe.epochs}, {size} px{loss}{skipped}"


def _save(run: Path, net: StackedHourglass, ema: Ema, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    averaged = {"weights": ema.model.state_dict(), "updates": ema.updates}
    save_checkpoint(run / "last.pt", net, ema=averaged, optimizer=optimizer.state_dict(), state=state)


def _resume(
    run: Path, net: StackedHourglass, ema: Ema, optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Any]:
    """Fill everything from `last.pt` where it exists; returns the position in the run."""
    fresh: dict[str, Any] = {"epoch": 0, "step": 0, "loss": None, "best": None, "best_size": 0, "skipped": 0}
    if not (run / "last.pt").exists():
        return fresh
    content = read_checkpoint(run / "last.pt")
    try:
        spec = ModelSpec.from_mapping(content[METADATA_KEY])
        if spec != net.spec:
            raise HgrtError(f"{run} is a training of another network.", f"There: {spec}. Asked for: {net.spec}.")
        net.load_state_dict(content["state_dict"])
        ema.model.load_state_dict(content["ema"]["weights"])
        ema.updates = content["ema"]["updates"]
        optimizer.load_state_dict(content["optimizer"])
        return {**fresh, **content["state"]}
    except (KeyError, ValueError, RuntimeError) as error:
        raise HgrtError(f"{run / 'last.pt'} cannot be resumed.", str(error).partition("\n")[0]) from error


@contextmanager
def _stoppable(world: World) -> Iterator[Any]:
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


def _bar(world: World, console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not (world.leads and console.is_terminal), transient=True)
