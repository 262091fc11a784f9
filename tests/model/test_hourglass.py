"""The network against the published numbers, and its own variants against what is promised of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import golden
from hgrt.model.checkpoint import load_checkpoint, published_to_ours
from hgrt.model.hourglass import Modulation, StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train.loss import heatmap_loss

TINY = ModelSpec(stacks=2, channels=8, latent=4)
VARIANTS = [
    TINY,
    ModelSpec(stacks=1, channels=8, gate="none"),
    ModelSpec(stacks=1, channels=8, growth=4, gate="bounded", latent=4, block="postact", stem="light"),
    ModelSpec(stacks=2, channels=12, growth=8, gate="raw", latent=3, block="postact"),
    ModelSpec(stacks=3, channels=8, gate="bounded", latent=4, stem="light"),
    ModelSpec(stacks=8, channels=8, gate="none", block="postact"),
]


def make(spec: ModelSpec, seed: int = 0) -> StackedHourglass:
    """A network with weights and batch statistics that are not the trivial initial ones."""
    torch.manual_seed(seed)
    net = StackedHourglass(spec)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.75, 1.25)
            module.bias.data.uniform_(-0.1, 0.1)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def pictures(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(seed))


def inputs(*names: str) -> Tensor:
    # Contiguous: torch's batch statistics of channels-last tensors are only good to 5e-5 on a CPU.
    return torch.from_numpy(np.stack([golden.image(name) for name in names])).permute(0, 3, 1, 2).contiguous()


# The published network


@pytest.fixture(scope="module")
def two_stacks(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> StackedHourglass:
    return load_checkpoint(golden.published_checkpoint(tmp_path_factory.mktemp("two") / "checkpoint.pth.tar", 2, True))


def test_one_stack_without_modulation(fixtures: Path, tmp_path: Path) -> None:
    net = load_checkpoint(golden.published_checkpoint(tmp_path / "checkpoint.pt", 1, False))
    assert net.spec == ModelSpec(stacks=1, gate="none")
    with torch.inference_mode(), np.load(fixtures / "net_1hg_base.npz") as file:
        np.testing.assert_allclose(net(inputs("input0")).numpy(), file["heatmaps"], atol=1e-5)


@contextmanager
def tapped(modules: dict[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """What each module returns, by name, of the last call."""
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    yield seen
    for handle in handles:
        handle.remove()


def test_two_stacks_with_modulation(fixtures: Path, two_stacks: StackedHourglass) -> None:
    net = two_stacks.eval()
    assert net.spec == ModelSpec()
    modules: dict[str, nn.Module] = {"stem": net.stem}
    for s, stack in enumerate(net.stacks):
        modulation = stack.modulation
        assert isinstance(modulation, Modulation)
        modules |= {f"hourglass_{s}": stack.hourglass, f"raw_{s}": stack.heatmap}
        modules |= {f"latent_{s}": modulation.encode, f"modulation_{s}": modulation}
    with torch.inference_mode(), tapped(modules) as seen:
        heatmaps = net(inputs("input0", "input1"))
    with np.load(fixtures / "net_2hg_modulated.npz") as file:
        pairs = {
            "heatmaps": heatmaps,
            "pre_sub": seen["stem"][0, ::16, ::4, ::4],
            "raw_heatmaps_0": seen["raw_0"][0],
        }
        for s in range(2):
            pairs[f"lowest_{s}"] = seen[f"hourglass_{s}"][1][0]
            pairs[f"latent_{s}"] = seen[f"latent_{s}"][0]
            pairs[f"modulation_{s}"] = seen[f"modulation_{s}"][0]
        assert set(pairs) == set(file)
        for name, value in pairs.items():
            np.testing.assert_allclose(value.numpy(), file[name], atol=1e-5, err_msg=name)


def test_eight_stacks(fixtures: Path, tmp_path: Path) -> None:
    net = load_checkpoint(golden.published_checkpoint(tmp_path / "checkpoint.pt", 8, True))
    with torch.inference_mode(), np.load(fixtures / "net_8hg_modulated_final.npz") as file:
        assert np.abs(file["heatmaps"]).max() > 10
        np.testing.assert_allclose(net(inputs("input0"))[:, -1].numpy(), file["heatmaps"], atol=1e-3)


def test_one_training_step(fixtures: Path, tmp_path: Path) -> None:
    expected = json.loads((fixtures / "train_step_2hg_modulated.json").read_text())
    net = load_checkpoint(golden.published_checkpoint(tmp_path / "checkpoint.pt", 2, True)).train()
    with np.load(fixtures / "targets.npz") as file:
        targets = torch.from_numpy(file["heatmaps"][:2])
    heatmaps = net(inputs("input0", "input1"))
    known = torch.ones(2, 16)
    for sample in range(2):
        for stack in range(2):
            maps = heatmaps[sample : sample + 1, stack : stack + 1]
            one = heatmap_loss(maps, targets[sample : sample + 1], known[:1])
            assert one.item() == pytest.approx(expected["loss_per_sample_per_stack"][sample][stack], rel=1e-5)
    loss = heatmap_loss(heatmaps, targets, known)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    norms = {published_to_ours(key): norm for key, norm in expected["grad_l2"].items()}
    assert set(norms) == set(parameters) and len(norms) == expected["num_parameters_with_gradient"]
    for name, norm in norms.items():
        gradient = parameters[str(name)].grad
        assert gradient is not None
        # In float64 or with one thread the sums differ by up to 1.6e-3, by AVX2 alone 4.2e-3; with AVX-512, 1e-5.
        assert gradient.norm().item() == pytest.approx(norm, rel=5e-3, abs=1e-4), name
    statistics = {published_to_ours(key): norm for key, norm in expected["bn_running_l2_after_one_forward"].items()}
    floats = {name for name in buffers if "running_" in name}
    assert set(statistics) == floats
    for name, norm in statistics.items():
        assert buffers[str(name)].norm().item() == pytest.approx(norm, rel=1e-4), name


def test_the_coordinate_ramps(fixtures: Path, two_stacks: StackedHourglass, tmp_path: Path) -> None:
    lines = {
        "linear": ([-1, -1 / 3, 1 / 3, 1], [-1, -0.6, -0.2, 0.2, 0.6, 1]),
        "integer": ([-1, -1, 0, 1], [-1, -1, -1, 0, 0, 1]),
    }
    whole = load_checkpoint(golden.published_checkpoint(tmp_path / "checkpoint.pt", 2, True), ramp="integer")
    for net, name in ((two_stacks.eval(), "linear"), (whole, "integer")):
        assert net.spec.ramp == name
        for size, line in zip((4, 6), lines[name], strict=True):
            coordinates = net.get_buffer(f"stacks.1.modulation.up.{(size - 4) // 2}.coordinates")
            rows, columns = np.meshgrid(line, line, indexing="ij")
            np.testing.assert_allclose(coordinates[0].numpy(), [rows, columns], atol=1e-6)
    with torch.inference_mode():
        difference = (whole(inputs("input0")) - two_stacks(inputs("input0"))).abs().max().item()
    assert 0.05 < difference < 0.5


@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("gate", ["none", "raw"])
def test_parameters_are_those_that_the_published_network_uses(gate: Any, stacks: int, fixtures: Path) -> None:
    summary = json.loads((fixtures / "key_summary.json").read_text())
    counts = summary[f"{stacks}hg_{'base' if gate == 'none' else 'modulated'}"]
    net = StackedHourglass(ModelSpec(stacks=stacks, gate=gate))
    assert sum(p.numel() for p in net.parameters()) == counts["parameters"] - counts["parameters_unused"]


# Any network


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_every_parameter_learns(spec: ModelSpec) -> None:
    net = make(spec).train()
    heatmaps = net(pictures(2, 128))
    heatmaps.square().mean().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    # A bias directly before a batch norm has no effect: its gradient is zero but for rounding.
    removed = re.compile(r"(conv1|conv2|\.conv)\.bias$")
    still = [name for name, g in gradients.items() if g is not None and not g.any() and not removed.search(name)]
    assert still == []
    assert all(bool(g.isfinite().all()) for g in gradients.values() if g is not None)


@pytest.mark.parametrize("size", [64, 128, 192, 320])
@pytest.mark.parametrize("gate", ["none", "raw", "bounded"])
def test_any_multiple_of_64(gate: Any, size: int) -> None:
    spec = ModelSpec(stacks=2, channels=8, gate=gate, latent=4)
    heatmaps = make(spec).train()(pictures(2, size))
    assert heatmaps.shape == (2, 2, 16, size // 4, size // 4)
    assert heatmaps.isfinite().all()


@pytest.mark.parametrize("stacks", range(1, 9))
def test_one_to_eight_stacks(stacks: int) -> None:
    net = make(ModelSpec(stacks=stacks, channels=8, latent=4))
    with torch.inference_mode():
        heatmaps = net(pictures(1, 64))
        first = make(ModelSpec(stacks=1, channels=8, latent=4))
        weights = net.state_dict()
        first.load_state_dict({name: weights[name] for name in first.state_dict()})
        np.testing.assert_allclose(heatmaps[:, :1], first(pictures(1, 64)), atol=1e-5)
    assert heatmaps.shape == (1, stacks, 16, 16, 16)
    assert len({float(one.sum()) for one in heatmaps[0]}) == stacks  # each stack says something of its own


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_memory_format_does_not_matter(spec: ModelSpec) -> None:
    net, image = make(spec), pictures(2, 256)
    with torch.inference_mode():
        plain = net(image)
        last = image.contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(net(last), plain, atol=1e-5)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        np.testing.assert_allclose(net(last), plain, atol=1e-5)
        np.testing.assert_allclose(net(image), plain, atol=1e-5)
        nhwc = image.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        np.testing.assert_allclose(net(nhwc), plain, atol=1e-5)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float16, 0.01), (torch.bfloat16, 0.06), (torch.float64, 1e-5)])
@pytest.mark.parametrize("spec", VARIANTS[:3], ids=str)
def test_other_precisions_are_near(spec: ModelSpec, dtype: torch.dtype, share: float) -> None:
    net, image = make(spec), pictures(1, 256)
    with torch.inference_mode():
        plain = net(image)
        other = net.to(dtype)(image.to(dtype))
    assert other.dtype == dtype
    assert (other.double() - plain.double()).abs().max() < share * plain.abs().max()


def test_a_batch_is_its_pictures() -> None:
    net, image = make(TINY), pictures(3, 256)
    with torch.inference_mode():
        together, alone = net(image), torch.cat([net(one[None]) for one in image])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_gates() -> None:
    """With one set of weights: the gates act on the same maps, by the rule in the spec."""
    nets = {gate: make(ModelSpec(stacks=1, channels=8, latent=4, gate=gate)) for gate in ("raw", "bounded")}
    nets["bounded"].load_state_dict(nets["raw"].state_dict())
    base = make(ModelSpec(stacks=1, channels=8, gate="none"))
    base.load_state_dict({name: value for name, value in nets["raw"].state_dict().items() if "modulation" not in name})
    image = pictures(2, 256)
    with torch.inference_mode():
        plain = base(image)[:, 0]
        modulation = nets["raw"].stacks[0].modulation
        assert isinstance(modulation, Modulation)
        with tapped({"map": modulation}) as seen:
            raw = nets["raw"](image)[:, 0]
        assert seen["map"].shape == (2, 16, 16, 16)
        enlarged = seen["map"].repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        np.testing.assert_allclose(raw, plain * enlarged, atol=1e-5)
        np.testing.assert_allclose(nets["bounded"](image)[:, 0], plain * (1 + torch.tanh(enlarged)), atol=1e-5)
        assert (nets["bounded"](image)[:, 0].abs() <= 2 * plain.abs() + 1e-6).all()


def test_the_network_looks_at_rows_before_columns() -> None:
    """A network whose bottom sees nothing modulates by coordinates alone, and they are not symmetric."""
    net = make(TINY)
    modulation = net.stacks[0].modulation
    assert isinstance(modulation, Modulation)
    with torch.inference_mode():
        out = modulation(torch.zeros(1, 8, 4, 4))
    assert (out - out.transpose(2, 3)).abs().max() > 1e-3
    with pytest.raises(KeyError):
        _ = net.state_dict()["stacks.0.modulation.up.0.coordinates"]  # they are facts, not weights
