"""More stacks answer as before and can learn; fewer are what they were; what cannot be is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, save_checkpoint
from hgrt.model.spec import ModelSpec
from hgrt.train.restack import main, restack
from networks import lively

SPEC = ModelSpec(stacks=1, channels=8, gate="bounded", latent=4, block="postact", stem="light", input=64)
IMAGE = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "shape", [{}, {"growth": 4}, {"gate": "none"}, {"block": "preact", "stem": "published"}], ids=str
)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (1, 4), (2, 3), (2, 2)])
def test_stacks_that_are_added_answer_like_the_last(before: int, after: int, shape: dict[str, object]) -> None:
    net = lively(replace(SPEC, stacks=before, calibration=((0.0, 0.0), (1.0, 1.0)), **shape))  # type: ignore[arg-type]
    more = restack(net, after)
    assert more.spec == replace(net.spec, stacks=after, calibration=()) and not more.training
    with torch.inference_mode():
        own, found = net(IMAGE), more(IMAGE)
    assert own.std() > 0.01
    expected = torch.cat([own, own[:, -1:].expand(-1, after - before, -1, -1, -1)], dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_what_is_added_is_another_s_and_learns() -> None:
    """After one step down the last answer's gradient stacks differ, and the given network is as it was."""
    net = lively(SPEC)
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    more = restack(net, 3)
    optimizer = torch.optim.SGD(more.parameters(), lr=0.1)
    more(IMAGE)[:, -1].square().mean().backward()
    for stack in more.stacks[:-1]:
        for name in ("merge_feature", "merge_heatmap"):
            assert stack.get_submodule(name).weight.grad.abs().max() > 0, name  # type: ignore[union-attr, operator]
    optimizer.step()
    with torch.inference_mode():
        first, second, third = more(IMAGE).unbind(1)
    assert not torch.equal(first, second) and not torch.equal(second, third)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in kept.items())


@pytest.mark.parametrize("stacks", [1, 2])
def test_fewer_are_the_first(stacks: int) -> None:
    net = lively(replace(SPEC, stacks=3))
    with torch.inference_mode():
        torch.testing.assert_close(restack(net, stacks)(IMAGE), net(IMAGE)[:, :stacks], rtol=0, atol=0)


def test_there_and_back_is_the_same_network() -> None:
    net = lively(SPEC)
    again = restack(restack(net, 4), 1)
    assert again.spec == net.spec
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("stacks", [-1, 0, 9])
def test_as_many_as_no_network_has(stacks: int) -> None:
    with pytest.raises(HgrtError, match=f"stacks is {stacks}; a network has 1 to 8"):
        restack(lively(SPEC), stacks)


def test_a_checkpoint_becomes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "one.pt", lively(SPEC))
    assert main(["one.pt", "--stacks", "2", "--out", "two.pt"]) == 0
    assert capsys.readouterr().out == "two.pt: 2 x 8, gate bounded, postact\n"
    with torch.inference_mode():
        one, two = (load_checkpoint(tmp_path / name).eval()(IMAGE)[:, -1] for name in ("one.pt", "two.pt"))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("checkpoint", "stacks", "out", "words"),
    [
        ("gone.pt", "2", "two.pt", "gone.pt"),
        ("notes.txt", "2", "two.pt", "notes.txt is not a torch checkpoint"),
        ("one.pt", "9", "two.pt", "a network has 1 to 8"),
        ("one.pt", "2", "no/two.pt", "no"),
    ],
)
def test_a_mistake_is_said_in_plain_words(
    checkpoint: str,
    stacks: str,
    out: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "one.pt", lively(SPEC))
    (tmp_path / "notes.txt").write_text("no weights")
    assert main([checkpoint, "--stacks", stacks, "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and words in said and len(said.splitlines()) <= 3, said
    assert not (tmp_path / "two.pt").exists()
