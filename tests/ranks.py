"""What several processes must do exactly as one does: the jobs, and this file as one of the processes.

    python ranks.py RANK SIZE FOLDER

does every job as process RANK of SIZE, and leaves what came out in FOLDER/RANK.pt. Processes meet through a file in
FOLDER, and give up after a minute without an answer, so nothing here can hang.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from hgrt.data.find import DataSets
from hgrt.data.generated import GeneratedPeople
from hgrt.data.sample import People, Sample
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train import loop
from hgrt.train.batches import Batch
from hgrt.train.config import Config
from hgrt.train.distributed import World, share_statistics
from hgrt.train.loop import InterruptedTraining
from hgrt.train.overfit import overfit
from hgrt.train.recipe import Recipe, Stage
from hgrt.train.run import Run

ALONE = World(0, 1, torch.device("cpu"))
SPEC = ModelSpec(stacks=2, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)
RECIPE = Recipe(epochs=2, stages=(Stage(0.0, 64, 3),), seed=1, ema=0.9, bf16=False, learning_rate=1e-2, warmup=0.0)
CONFIG = Config("lite", "modern", replace(SPEC, stacks=1), RECIPE)
STEPS = 3  # of each epoch: nine people in threes, so that two processes have two and one of each batch
PEOPLE, JUDGES = GeneratedPeople(9, 0), GeneratedPeople(4, 1)

SHARES = {"even": (3, 3), "4+2": (4, 2), "3+1": (3, 1), "1+5": (1, 5)}
LAYOUTS = {"plain": torch.contiguous_format, "channels last": torch.channels_last}
NORMS = [
    *((torch.float32, layout, shares, 0.3) for layout in LAYOUTS for shares in SHARES),
    *((torch.bfloat16, layout, "4+2", 0.3) for layout in LAYOUTS),
    *((torch.float64, layout, "3+1", 0.3) for layout in LAYOUTS),
    *((torch.float32, layout, "4+2", 1e4) for layout in LAYOUTS),
]
"""Type of the input, its layout, examples of each process, and how far its mean lies from 0, in deviations."""

STEP_KINDS = ("plain", "accumulated", "teacher", "accumulated, teacher", "clipped", "preact")


def norm_inputs(dtype: torch.dtype, layout: str, shares: str, mean: float) -> tuple[Tensor, Tensor]:
    """The whole batch and the gradient of what is made of it, (N, 5, 6, 7)."""
    rng = torch.Generator().manual_seed(len(shares))
    shape = (sum(SHARES[shares]), 5, 6, 7)
    x, g = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    x = x * torch.linspace(0.5, 4, 5).view(1, 5, 1, 1) + mean + torch.arange(shape[0]).view(-1, 1, 1, 1)
    return tuple(one.to(dtype).to(memory_format=LAYOUTS[layout]) for one in (x, g))  # type: ignore[return-value]


def normalized(layer: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """What a batch norm layer makes of a batch, forwards and backwards, and what it remembers."""
    (norm,) = (one for one in layer.modules() if isinstance(one, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 5))
        norm.bias.copy_(torch.linspace(-1, 1, 5))
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    assert norm.running_mean is not None and norm.running_var is not None
    return {
        "output": y.detach(),
        "of input": x.grad,
        "of weight": norm.weight.grad,
        "of bias": norm.bias.grad,
        "mean": norm.running_mean,
        "variance": norm.running_var,
        "evaluated": layer.eval()(x).detach(),
    }


def norms(world: World) -> list[dict[str, Tensor]]:
    """Shared batch norm over this process's part of each batch."""
    found = []
    for dtype, layout, shares, mean in NORMS:
        before = sum(SHARES[shares][: world.rank])
        mine = slice(before, before + SHARES[shares][world.rank])
        layer = nn.Sequential(nn.BatchNorm2d(5, dtype=None if dtype == torch.bfloat16 else dtype))
        share_statistics(layer)
        x, g = norm_inputs(dtype, layout, shares, mean)
        found.append(normalized(layer, x[mine], g[mine]))
    return found


def likeness(image: Tensor) -> Tensor:
    """A teacher for networks in double precision: it sees joints where the picture is bright."""
    maps = nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4).clamp(0, 1)
    return maps.expand(-1, 16, -1, -1).float()


def parts_of(world: World, accumulate: int) -> list[Batch]:
    """This process's parts of a batch of ten examples: every other one of each part of the whole batch."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(10, 64, 64, 3, generator=rng, dtype=torch.float64)
    targets = torch.rand(10, 16, 16, 16, generator=rng).pow(8)
    known = torch.ones(10, 16)
    known[1::2] = 0  # nearly all that is known, one process knows alone
    known[1, :3] = 0.5
    return [
        (images[part::accumulate][rows], targets[part::accumulate][rows], known[part::accumulate][rows])
        for part in range(accumulate)
        for rows in [slice(world.rank, None, world.size)]
    ]


def steps(world: World) -> dict[str, dict[str, Any]]:
    """The same step of every kind: loss, gradients, and the network after it. In double precision, where the order of
    a sum shows in the last of sixteen digits, not of seven.
    """
    found = {}
    for kind in STEP_KINDS:
        torch.manual_seed(0)
        block = "preact" if kind == "preact" else "postact"
        net = StackedHourglass(replace(SPEC, block=block)).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload,arg-type]
        model = world.wrap(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        accumulate = 2 if "accumulated" in kind else 1
        recipe = replace(RECIPE, accumulate=accumulate, clip=1e-3 if kind == "clipped" else 0.0, peak_weight=3.0)
        teacher: Any = likeness if "teacher" in kind else None
        loss, blank, taken = loop._step(model, net, optimizer, parts_of(world, accumulate), 0.1, recipe, world, teacher)
        gradients = {name: one.grad for name, one in net.named_parameters()}
        found[kind] = {
            "loss": loss,
            "blank": blank,
            "taken": bool(taken),
            "gradients": gradients,
            "after": net.state_dict(),
        }
    return found


class Watched:
    """People who write down whom they are asked for, and send this process a signal at the `after`-th (0: never)."""

    def __init__(self, people: People, after: int = 0) -> None:
        self.name, self._people, self._after, self.asked = people.name, people, after, list[int]()

    def __len__(self) -> int:
        return len(self._people)

    def get(self, index: int) -> Sample:
        self.asked.append(index)
        if len(self.asked) == self._after:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._people.get(index)


@contextmanager
def precisely() -> Iterator[None]:
    """Training in double precision.

    In single precision nothing could be compared: Adam divides a gradient by its size, so that one which is zero but
    for rounding, as that of a bias in front of a batch norm, becomes a full step in a random direction.
    """
    to_network, dtype = loop.to_network, torch.get_default_dtype()
    loop.to_network = lambda images: to_network(images).double()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        loop.to_network = to_network
        torch.set_default_dtype(dtype)


@contextmanager
def few_scenes() -> Iterator[None]:
    """Training with little scenery, which takes time to draw."""
    scenes, loop.SCENES = loop.SCENES, 2
    try:
        yield
    finally:
        loop.SCENES = scenes


def train(world: World, folder: Path, stop_after: int = 0, config: Config = CONFIG) -> dict[str, Any]:
    """A whole tiny training; whom this process looked at, what it printed, and whether it was stopped."""
    still = replace(config.recipe.augmentation, paste_p=0, backdrop_p=0)  # type: ignore[arg-type]
    config = replace(config, recipe=replace(config.recipe, augmentation=still))
    people, console, stopped = Watched(PEOPLE, stop_after), Console(file=io.StringIO(), width=200), ""
    with precisely(), few_scenes():
        try:
            loop.train(Run(folder), config, DataSets(people, (JUDGES,), ()), world, 0, console)
        except InterruptedTraining as stop:
            stopped = stop.what
    assert isinstance(console.file, io.StringIO)
    return {"asked": people.asked, "printed": console.file.getvalue(), "stopped": stopped}


def self_test(world: World, folder: Path) -> dict[str, Any]:
    """Two steps by heart, in a folder that is there already: the verdict, and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    config = CONFIG.changed("recipe.max_iters", 2, "--max-iters")
    with few_scenes():
        passed = overfit(Run(folder), config, DataSets(PEOPLE, (), ()), 3, world, 0, console)
    assert isinstance(console.file, io.StringIO)
    return {"passed": passed, "printed": console.file.getvalue()}


def jobs(world: World, folder: Path) -> dict[str, Any]:
    """Everything, one after another. In the folder `alone` one process was stopped; here they go on with it. In the
    folder `two` they are stopped.
    """
    follower = folder / "written by a follower"
    run = folder / "straight" if world.leads else follower
    found: dict[str, Any] = {"norms": norms(world), "steps": steps(world), "straight": train(world, run)}
    # The follower alone hears the signal, while it makes its only example of the second step.
    found["stopped"] = train(world, folder / "two", 0 if world.leads else 2)
    found["resumed"] = train(world, folder / "alone")
    found["self-test"] = self_test(world, folder / "overfit")
    return found


def main(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    world = World(rank, size, torch.device("cpu"))
    torch.save(jobs(world, folder), folder / f"{rank}.pt")
    world.wait()
    world.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
