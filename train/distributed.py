"""One process or several: what a training needs to know of the others when torchrun started it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class World:
    """This process's `rank` among `size`, and the device it works on."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, prints and writes."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Average gradients over all processes; with one process nothing changes."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in at least one process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1:
            dist.destroy_process_group()


def join() -> World:
    """The world that torchrun set up (gloo on CPU, NCCL on GPUs), or a single process."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    return World(int(os.environ.get("RANK", "0")), size, device)
