"""One process or several: what a training needs to know of the others when torchrun started it.

Several processes do what one would with the whole batch: gradients are summed over all of them, and batch norm takes
its statistics from all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from hgrt.errors import HgrtError

PATIENCE = timedelta(hours=3)  # the others wait while the process that leads evaluates, which on a CPU may take long


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
        """Average gradients and share batch statistics over all processes; with one process nothing changes."""
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            shared = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
            return DistributedDataParallel(shared, device_ids=[self.device.index])
        share_statistics(model)
        return DistributedDataParallel(model)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            value = value.to(self.device, copy=True)
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in at least one process."""
        return bool(self.sum(torch.tensor(int(flag))))

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1:
            dist.destroy_process_group()


def join() -> World:
    """The world that torchrun set up (gloo on CPU, NCCL on GPUs), or a single process.

    HgrtError where a machine has fewer GPUs than processes.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    if cuda and local >= torch.cuda.device_count():
        raise HgrtError(
            f"There is no GPU for process {local}.",
            f"This machine shows {torch.cuda.device_count()}.",
            "Start one process a GPU: torchrun --nproc-per-node gpu -m hgrt train ...",
        )
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    return World(int(os.environ.get("RANK", "0")), size, device)


@contextmanager
def holding_back(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Keep gradients to this process while `wanted`: of several parts of a batch only the last one exchanges them."""
    if wanted and isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
    else:
        yield


def share_statistics(model: nn.Module) -> None:
    """Make every batch norm of `model` take its statistics over all processes (torch's own does so on GPUs only)."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = _SharedBatchNorm


class _SharedBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        running_mean, running_var = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            # torch's own pass over a batch. What it would move, by nothing, also tells it to answer in full precision.
            scratch = torch.zeros_like(running_mean), torch.ones_like(running_var)
            mean, variance = torch.ops.aten.batch_norm_update_stats(x.detach(), *scratch, 0.0)
            # Squares of means and their differences: in double, because the means may be large (Chan et al. 1979).
            moments = torch.stack([torch.ones_like(mean), mean, variance]).double()
            moments[2] += moments[1].square()
            shared = moments * count
            dist.all_reduce(shared)
            total = shared[0, 0]
            mean, square = shared[1:] / total
            variance = (square - mean.square()).clamp(min=0)
            momentum = cast(float, self.momentum)
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * total / (total - 1)).to(running_var), momentum)
            cast(Tensor, self.num_batches_tracked).add_(1)
        result = _Normalize.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, mean.to(running_mean), variance.to(running_var), self.eps, float(total)
        )
        return cast(Tensor, result)


class _Normalize(torch.autograd.Function):
    """Batch norm with given statistics, whose gradient knows that they came from every process's batch.

    With y = w (x - m) / s + b over N values a channel and g the gradient of y:
    dx = w / s (g - sum(g) / N - xhat sum(g xhat) / N), sums over all processes (Ioffe and Szegedy 2015, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float, count: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.count = eps, count
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, variance, mean, scale, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        # So far of_x = w g / s. What is missing, - w / s (sum(g) + xhat sum(g xhat)) / N, is a batch norm of x.
        of_mean, of_xhat = -weight * scale * sums / ctx.count
        of_x += F.batch_norm(x, mean, variance, of_xhat, of_mean, training=False, eps=ctx.eps)
        return of_x, of_weight, of_bias, None, None, None, None
