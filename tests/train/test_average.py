"""The mean of networks: of their weights, with batch norms that fit it, and only of networks that have one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hgrt.data.generated import GeneratedPeople, scenery
from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, save_checkpoint
from hgrt.model.spec import ModelSpec
from hgrt.train import average as module
from hgrt.train.average import average, averaged, main, measure_norms
from hgrt.train.batches import batches
from hgrt.train.loop import to_network
from hgrt.train.recipe import Epoch, recipe_for
from networks import lively

SPEC = ModelSpec(stacks=1, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little scenery and few views, which take time to draw."""
    monkeypatch.setattr(module, "SCENES", 2)
    monkeypatch.setattr(module, "BATCH", 8)


def test_the_mean_is_that_of_the_weights_and_twice_counts_twice() -> None:
    one, other = lively(replace(SPEC, calibration=((0.0, 0.0), (1.0, 1.0))), 0), lively(SPEC, 1)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    found = average([one, other, other])
    assert found.spec == SPEC and not found.training, "a calibration is of one network only"
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            expected = (before[name] + 2 * other.state_dict()[name]) / 3
            torch.testing.assert_close(value, expected, msg=name)
        assert torch.equal(one.state_dict()[name], before[name]), name


def test_networks_of_two_shapes_have_none() -> None:
    with pytest.raises(HgrtError, match="Network 2 is another than the first: 1 x 16"):
        average([lively(SPEC), lively(replace(SPEC, channels=16))])


def test_batch_norms_are_those_of_the_views() -> None:
    """The first one's statistics are those of what the layer in front of it makes of all views."""
    net, people = lively(SPEC), GeneratedPeople(8, 0)
    weights = {name: value.clone() for name, value in net.named_parameters()}
    seen = []
    norm = next(one for one in net.modules() if isinstance(one, nn.BatchNorm2d))
    handle = norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    measure_norms(net, people, 16)
    handle.remove()
    assert [len(one) for one in seen] == [8, 8] and not net.training
    assert norm.running_mean is not None and norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))
    for name, value in net.named_parameters():
        assert torch.equal(value, weights[name]), name
    views = batches(people, scenery(2, 0), recipe_for("modern", 64), Epoch(0, 0, 2, 64, 8), 0, 0, 1, 0)
    images, _, _ = next(iter(views))
    torch.testing.assert_close(net.stem.get_submodule("0.conv")(to_network(images)), seen[0])


def test_checkpoints_become_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "VIEWS", 8)
    for seed in (0, 1):
        save_checkpoint(tmp_path / f"{seed}.pt", lively(SPEC, seed))
    assert main(["0.pt", "1.pt", "--synthetic", "4", "--out", "mean.pt"]) == 0
    assert capsys.readouterr().out == "mean.pt: the mean of 2, 1 x 8, gate bounded, postact\n"
    first = [load_checkpoint(tmp_path / name).stacks[0].get_submodule("heatmap").weight for name in ("0.pt", "1.pt")]
    found = load_checkpoint(tmp_path / "mean.pt").stacks[0].get_submodule("heatmap").weight
    torch.testing.assert_close(found, (first[0] + first[1]) / 2)  # type: ignore[operator]


def test_of_a_run_s_last_state_the_averaged_weights_count(tmp_path: Path) -> None:
    net, other = lively(SPEC, 0), lively(SPEC, 1)
    save_checkpoint(tmp_path / "best.pt", net)
    save_checkpoint(tmp_path / "last.pt", net, ema={"weights": other.state_dict(), "updates": 5})
    for name, expected in (("best.pt", net), ("last.pt", other)):
        found = averaged(tmp_path / name).state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.state_dict().items()), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["0.pt"], ["nobody to measure the batch norms on", "--data"]),
        (["0.pt", "gone.pt", "--synthetic", "4"], ["gone.pt"]),
        (["0.pt", "notes.txt", "--synthetic", "4"], ["notes.txt is not a torch checkpoint"]),
        (["0.pt", "--data", "gone"], ["no data folder gone"]),
    ],
    ids=str,
)
def test_a_mistake_is_said_in_plain_words(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "0.pt", lively(SPEC))
    (tmp_path / "notes.txt").write_text("no weights")
    assert main([*arguments, "--out", "mean.pt"]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not (tmp_path / "mean.pt").exists()
