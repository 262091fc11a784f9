"""The loss counts what is known and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hgrt.pose.skeleton import ANKLES, MPII
from hgrt.train.loss import heatmap_loss, likeness


def case(seed: int = 0, batch: int = 3, stacks: int = 2) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn((batch, stacks, 16, 8, 8), generator=g), torch.rand((batch, 16, 8, 8), generator=g)


def test_published_loss() -> None:
    """Mean over joints and pixels of each sample and stack, then the mean of those."""
    heatmaps, targets = case()
    per_sample_and_stack = torch.stack([((heatmaps[:, s] - targets) ** 2).mean(dim=(1, 2, 3)) for s in range(2)], dim=1)
    loss = heatmap_loss(heatmaps, targets, torch.ones(3, 16))
    assert loss.shape == ()
    torch.testing.assert_close(loss, per_sample_and_stack.mean())


def test_perfect_maps_cost_nothing() -> None:
    _, targets = case()
    assert heatmap_loss(targets[:, None].expand(-1, 2, -1, -1, -1), targets, torch.ones(3, 16), 9.0) == 0


@pytest.mark.parametrize("weight", [0.0, 9.0])
def test_unknown_joints_do_not_matter(weight: float) -> None:
    heatmaps, targets = case()
    known = (torch.rand((3, 16), generator=torch.Generator().manual_seed(1)) < 0.6).float()
    assert 10 < known.sum() < 40
    before = heatmap_loss(heatmaps, targets, known, weight)
    changed, other = heatmaps.clone().requires_grad_(), targets.clone()
    with torch.no_grad():
        changed[(known == 0)[:, None].expand(-1, 2, -1)] += 100
        other[known == 0] = 50
    after = heatmap_loss(changed, other, known, weight)
    torch.testing.assert_close(after, before)
    after.backward()  # type: ignore[no-untyped-call]
    assert changed.grad is not None
    touched = changed.grad.abs().sum(dim=(1, 3, 4)) > 0
    assert torch.equal(touched, known > 0)


def test_known_joints_weigh_the_same_however_many_there_are() -> None:
    heatmaps, targets = case()
    known = torch.zeros(3, 16)
    known[1, 4] = known[2, 9] = 1
    one, other = ((heatmaps[i, :, j] - targets[i, j]).square().mean() for i, j in ((1, 4), (2, 9)))
    torch.testing.assert_close(heatmap_loss(heatmaps, targets, known), (one + other) / 2)


def test_nothing_known_costs_nothing() -> None:
    heatmaps, targets = case()
    heatmaps.requires_grad_()
    loss = heatmap_loss(heatmaps, targets, torch.zeros(3, 16))
    assert loss == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert heatmaps.grad is not None and not heatmaps.grad.any()


def test_peak_weight_makes_peaks_matter() -> None:
    targets = torch.zeros(1, 16, 4, 4)
    targets[:, :, 0, 0] = 1.0
    background, peak = torch.zeros(1, 1, 16, 4, 4), torch.zeros(1, 1, 16, 4, 4)
    background[..., 0, 0], background[..., 1, 1] = 1.0, 0.5  # wrong beside the peak
    peak[..., 0, 0] = 0.5  # as wrong at the peak
    known = torch.ones(1, 16)
    assert heatmap_loss(background, targets, known) == heatmap_loss(peak, targets, known) == pytest.approx(0.25 / 16)
    assert heatmap_loss(background, targets, known, 9.0) == pytest.approx(0.25 / 16)
    assert heatmap_loss(peak, targets, known, 9.0) == pytest.approx(10 * 0.25 / 16)


def test_side_weight_makes_the_other_sides_place_matter() -> None:
    right, left = ANKLES
    targets, known = torch.zeros(1, 16, 4, 4), torch.ones(1, 16)
    targets[0, right, 0, 0], targets[0, left, 3, 3] = 1.0, 0.6
    elsewhere, across, peak = (torch.zeros(1, 1, 16, 4, 4) + targets for _ in range(3))
    elsewhere[0, 0, right, 1, 2] = 0.5  # wrong where nothing is
    across[0, 0, right, 3, 3] = 0.5  # as wrong where the other ankle is
    peak[0, 0, right, 0, 0] = 0.5  # as wrong where it is
    plain = 0.25 / 16 / 16
    losses = [heatmap_loss(maps, targets, known, 9.0, side_weight=0.4) for maps in (elsewhere, across, peak)]
    assert losses == pytest.approx([plain, (1 + 0.4 * 9 * 0.6) * plain, 10 * plain])
    assert heatmap_loss(across, targets, known, 9.0) == pytest.approx(plain)
    shared = targets.clone()
    shared[0, left, 0, 0] = 0.6  # where both are, what weighs more counts
    expected = 10 * plain + 0.36 * (1 + 9 * 0.6) / 256
    assert heatmap_loss(peak, shared, known, 9.0, side_weight=0.4) == pytest.approx(expected)


def test_a_joint_of_the_middle_has_no_other_side() -> None:
    heatmaps, targets = case()
    known = torch.zeros(3, 16)
    known[:, [k for k, other in enumerate(MPII.flip) if k == other]] = 1
    plain = heatmap_loss(heatmaps, targets, known, 9.0)
    torch.testing.assert_close(heatmap_loss(heatmaps, targets, known, 9.0, side_weight=1.0), plain)


@pytest.mark.parametrize(("side_weight", "expected"), [(0.0, 10 * 0.3 / (1 + 9 * 0.3)), (1.0, 0.3)])
def test_at_what_height_two_places_cost_least(side_weight: float, expected: float) -> None:
    """Three times in ten the right ankle is here and the left one there, else the other way round."""
    right, left = ANKLES
    targets, known = torch.zeros(10, 16, 1, 2), torch.zeros(10, 16)
    targets[:3, right, 0, 0] = targets[:3, left, 0, 1] = 1.0
    targets[3:, right, 0, 1] = targets[3:, left, 0, 0] = 1.0
    known[:, right] = 1
    heights = torch.linspace(0, 1, 1001)
    losses = []
    for height in heights:
        maps = torch.zeros(10, 1, 16, 1, 2)
        maps[:, 0, right, 0, 0] = height
        losses.append(heatmap_loss(maps, targets, known, 9.0, side_weight=side_weight))
    assert heights[torch.stack(losses).argmin()].item() == pytest.approx(expected, abs=1e-3)


def test_likeness_weighs_as_the_loss_does() -> None:
    heatmaps, answers = case()
    expected = heatmap_loss(heatmaps, answers, torch.ones(3, 16), 9.0, side_weight=0.5)
    torch.testing.assert_close(likeness(heatmaps, answers, 9.0, torch.tensor(3), 0.5), expected)


def test_half_precision_maps_are_summed_in_float32() -> None:
    heatmaps, targets = case()
    loss = heatmap_loss(heatmaps.bfloat16(), targets, torch.ones(3, 16))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, heatmap_loss(heatmaps.bfloat16().float(), targets, torch.ones(3, 16)))


@pytest.mark.parametrize("weight", [0.0, 9.0])
@pytest.mark.parametrize("split", [1, 2, 3])
def test_parts_of_a_batch_add_up_to_it(weight: float, split: int) -> None:
    """However the known joints are spread over the parts, and however much each joint weighs."""
    heatmaps, targets = case(batch=4)
    known = torch.rand((4, 16), generator=torch.Generator().manual_seed(2)).round(decimals=1)
    known[0], known[1, 3:] = 0, 0
    whole = heatmap_loss(heatmaps, targets, known, weight)
    parts = [(heatmaps[:split], targets[:split], known[:split]), (heatmaps[split:], targets[split:], known[split:])]
    losses = [heatmap_loss(*part, weight, known.sum()) for part in parts]
    torch.testing.assert_close(sum(losses), whole)
    alone = [heatmap_loss(*part, weight).item() for part in parts]
    assert sum(alone) / 2 != pytest.approx(whole.item(), rel=1e-3)  # the plain mean of the parts would not do


def test_a_batch_whose_total_is_nothing_costs_nothing() -> None:
    heatmaps, targets = case()
    assert heatmap_loss(heatmaps, targets, torch.zeros(3, 16), 9.0, torch.tensor(0.0)) == 0
