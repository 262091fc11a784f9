"""The same network with more channels.

    python -m hgrt.train.widen CKPT --channels 256 --growth 0 --data DATA --synthetic 1600 --out wide.pt

What is there stays, and what is added is not listened to yet, but may be at the next step (after T. Chen et al.,
"Net2Net: Accelerating learning via knowledge transfer", ICLR 2016). So a training goes on from there instead of from
nothing. As long as it grows from size to size the network answers as before. With --growth 0 the bottlenecks between
one size and the next have no convolution in their shortcut any more; what that did their spare channels do as nearly
as they can on views of the recipe, and the network answers about as before. What `hgrt calibrate` writes is left out:
calibrate anew.

Exit codes: 0, 2 a checkpoint, size or data that cannot be used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint
from hgrt.model.hourglass import Conv, PostactResidual, StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train.average import measure_norms, views
from hgrt.train.remake import parser_of, people_of, write

QUIET = 0.1  # scale of batch norms that are added, so that new channels hardly disturb
OFFSET = 4.0  # standard deviations by which what is carried through a ReLU is lifted above zero
SEEN = 256  # views on which what is to be carried is measured
SEED = 0  # of what new channels begin with


@torch.no_grad()
def widen(model: StackedHourglass, channels: int, growth: int, images: Sequence[Tensor]) -> StackedHourglass:
    """The network with so many channels, in eval mode and not calibrated.

    `images`: batches (B, 3, S, S) float RGB in 0..1, of which only as much is looked at as the change of shape needs.
    The statistics of batch norms that are added are not measured. HgrtError where no network is so wide, or this one is
    wider somewhere.
    """
    try:
        spec = replace(model.spec.unmeasured(), channels=channels, growth=growth)
    except ValueError as error:
        raise HgrtError("The network cannot be made.", str(error), "Set other --channels or --growth.") from error
    made = StackedHourglass(spec).eval()
    lost = _embed(model.eval(), made)
    if lost and spec.block != "postact":
        raise HgrtError(
            f"The network cannot be widened from {model.spec} to {spec}.",
            "What its shortcuts do has no place there, and is carried by conv-BN-ReLU bottlenecks only.",
            f"Set --growth {model.spec.growth}.",
        )
    for name, inputs in _inputs(model, lost, images).items():
        old, new = (cast(PostactResidual, net.get_submodule(name)) for net in (model, made))
        _carry(old, new, inputs)
    return made


def _embed(old: StackedHourglass, new: StackedHourglass) -> list[str]:
    """Give `new` the weights of `old`, and zeros between what is added and what is there; names of what has no place:
    bottlenecks whose shortcut is a convolution no longer. HgrtError where something does not fit.
    """
    given, wanted, lost = old.state_dict(), new.state_dict(), set()
    if not given.keys() >= wanted.keys():  # a convolution where there was none
        raise _too_narrow(old.spec, new.spec)
    for name, value in given.items():
        path, _, leaf = name.rpartition(".")
        if name not in wanted:
            lost.add(path.partition(".shortcut")[0])
            continue
        weight, module = wanted[name], new.get_submodule(path)
        if any(a < b for a, b in zip(weight.shape, value.shape, strict=True)):
            raise _too_narrow(old.spec, new.spec)
        if isinstance(module, nn.BatchNorm2d) and leaf == "weight":
            weight.fill_(QUIET)
        elif weight.ndim > 1:
            outputs = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            weight.narrow(outputs, 0, value.shape[outputs]).zero_()
        weight[tuple(slice(extent) for extent in value.shape)] = value
    return sorted(lost)


def _too_narrow(old: ModelSpec, new: ModelSpec) -> HgrtError:
    return HgrtError(
        f"The network cannot be widened from {old} to {new}.",
        "Some of its layers would be narrower, or the network would grow more from size to size than it does.",
        "Set more --channels, or less --growth.",
    )


def _inputs(model: StackedHourglass, names: Sequence[str], images: Sequence[Tensor]) -> dict[str, Tensor]:
    """What each of these modules is given while the network looks at the images, all batches in one."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        return model.get_submodule(name).register_forward_pre_hook(lambda _, given: seen[name].append(given[0]))

    hooks = [keep(name) for name in names]
    for image in images if names else ():
        model(image)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(given) for name, given in seen.items()}


def _carry(old: PostactResidual, new: PostactResidual, x: Tensor) -> None:
    """Let spare channels of a bottleneck without a convolution in its shortcut do what that did, as nearly as they can.

    The difference between the convolution and the identity is a matrix; of that the part of the rank that there is room
    for which explains most of its outputs for the inputs `x`. It passes the ReLUs of the body by being lifted.
    """
    shortcut, last = (fuse_conv_bn_eval(*_conv_and_norm(part)) for part in (old.shortcut, old.body))
    first, middle = (cast(Conv, new.body[k]) for k in (0, 1))
    final, norm = _conv_and_norm(new.body)
    outputs, inputs = shortcut.weight.shape[:2]
    used = last.in_channels

    difference = shortcut.weight[:, :, 0, 0] - torch.eye(outputs, inputs)
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    mean, covariance = pixels.mean(0), torch.cov(pixels.T)
    values, vectors = torch.linalg.eigh(covariance)
    directions = torch.linalg.svd(difference @ (vectors * values.clamp(min=0).sqrt()), full_matrices=False)[0]
    directions = directions[:, : final.in_channels - used]
    carried = directions.T @ difference
    variance = ((carried @ covariance) * carried).sum(1).clamp(min=0)
    spread = (variance + first.bn.eps).sqrt()

    spare = slice(used, used + len(carried))
    first.conv.weight[spare] = 0
    first.conv.weight[spare, :inputs, 0, 0] = carried
    middle.conv.weight[spare] = 0
    middle.conv.weight[spare, spare, 1, 1] = torch.eye(len(carried))
    lifted = torch.full_like(spread, OFFSET)
    for layer, centre, square in ((first, carried @ mean, variance), (middle, lifted, torch.ones_like(spread))):
        cast(Tensor, layer.conv.bias)[spare] = 0
        _set(layer.bn, spare, centre, square, torch.ones_like(spread), lifted)
    final.weight[:outputs] = 0
    final.weight[:outputs, :used] = last.weight
    final.weight[:outputs, spare, 0, 0] = directions * spread

    # What the last batch norm takes away it must give again, and what has been lifted must come down.
    wide = torch.zeros(len(x), first.conv.in_channels, *x.shape[2:])
    wide[:, :inputs] = x
    sums = final(middle(first(wide)))[:, :outputs]
    centre, square = sums.mean((0, 2, 3)), sums.var((0, 2, 3))
    bias = cast(Tensor, last.bias) + cast(Tensor, shortcut.bias) + directions @ (carried @ mean - OFFSET * spread)
    _set(norm, slice(outputs), centre, square, (square + norm.eps).sqrt(), centre + bias)


def _conv_and_norm(part: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The two layers that a shortcut consists of and a body ends with."""
    convolution, norm = list(part.children())[-2:]
    return cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm)


def _set(norm: nn.BatchNorm2d, part: slice, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> None:
    """These channels' numbers."""
    own = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    for tensor, values in zip(own, (mean, variance, weight, bias), strict=True):
        cast(Tensor, tensor)[part] = values


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code."""
    parser = parser_of(__doc__, looks=True)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--growth", type=int, required=True)
    options = parser.parse_args(arguments)

    def make() -> StackedHourglass:
        torch.manual_seed(SEED)
        people, model = people_of(options, "the channels"), load_checkpoint(options.checkpoint)
        made = widen(model, options.channels, options.growth, list(views(people, model.spec, SEEN)))
        measure_norms(made, people)
        return made

    return write(options.out, make)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
