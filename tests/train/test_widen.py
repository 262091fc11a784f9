"""A wider network answers as before, or about so where its shape leaves no place for a shortcut, and can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hgrt.errors import HgrtError
from hgrt.model.checkpoint import load_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import ModelSpec
from hgrt.train import widen as module
from hgrt.train.widen import main, widen
from networks import lively

SPEC = ModelSpec(stacks=2, channels=8, growth=4, gate="bounded", latent=4, block="postact", stem="light", input=64)


def smooth(count: int, seed: int) -> Tensor:
    """Pictures with something in them, (count, 3, 64, 64)."""
    noise = torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=64, mode="bicubic").clamp(0, 1)


IMAGE, OTHERS = smooth(8, 1), [smooth(32, 2), smooth(32, 3)]


def answer(net: StackedHourglass) -> Tensor:
    with torch.inference_mode():
        return net(IMAGE)


@pytest.mark.parametrize(
    "shape", [{}, {"growth": 0}, {"gate": "none"}, {"gate": "raw"}, {"block": "preact", "stem": "published"}], ids=str
)
@pytest.mark.parametrize("channels", [8, 12, 32])
def test_as_many_more_at_every_size_answer_as_before(channels: int, shape: dict[str, object]) -> None:
    net = lively(replace(SPEC, calibration=((0.0, 0.0), (1.0, 1.0)), **shape))  # type: ignore[arg-type]
    wide = widen(net, channels, net.spec.growth, [])
    assert wide.spec == replace(net.spec, channels=channels, calibration=()) and not wide.training
    own = answer(net)
    assert own.std() > 0.01
    torch.testing.assert_close(answer(wide), own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "growth"), [(8, 8), (12, 8), (16, 4)])
def test_more_growth_answers_as_before(channels: int, growth: int) -> None:
    net = lively(SPEC)
    torch.testing.assert_close(answer(widen(net, channels, growth, [])), answer(net), rtol=1e-4, atol=1e-5)


def test_what_is_added_learns() -> None:
    """Weights between what is added and what was there are zeros with a gradient; the given network stays as it is."""
    net = lively(SPEC)
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    wide = widen(net, 16, 4, [])
    wide.train()
    wide(IMAGE).square().mean().backward()
    for weight in (wide.get_parameter(f"stacks.{stack}.heatmap.weight") for stack in range(2)):
        assert weight.shape[1] == 16 and not weight[:, 8:].any()
        assert weight.grad is not None and weight.grad[:, 8:].abs().min() > 0
    assert all(torch.equal(net.state_dict()[name], value) for name, value in kept.items())


def difference(net: StackedHourglass, wide: StackedHourglass) -> float:
    """Squared, as a share of the answers' own variance."""
    own = answer(net)
    return float((answer(wide) - own).square().mean() / own.var())


def test_shortcuts_without_a_convolution_are_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for all that they do the answer stays about as it was, with less it is less alike, and it is not for
    nothing: without being carried they are missed.
    """
    net = lively(SPEC)
    roomy, narrow = (difference(net, widen(net, channels, 0, OTHERS)) for channels in (64, 24))
    assert roomy < 0.002 < narrow < 0.1
    monkeypatch.setattr(module, "_carry", lambda *_: None)
    missed = difference(net, widen(net, 64, 0, OTHERS))
    assert missed > 0.1


@pytest.mark.parametrize(
    ("channels", "growth", "words"),
    [
        (4, 4, "channels (at least 8)"),
        (10, 4, "multiples of 4"),
        (8, 0, "Some of its layers would be narrower"),
        (20, 0, "Some of its layers would be narrower"),
    ],
)
def test_a_shape_that_does_not_fit(channels: int, growth: int, words: str) -> None:
    with pytest.raises(HgrtError) as error:
        widen(lively(SPEC), channels, growth, [])
    assert words in str(error.value)


def test_shortcuts_that_were_identities_stay() -> None:
    with pytest.raises(HgrtError, match="grow more from size to size"):
        widen(lively(replace(SPEC, growth=0)), 16, 4, [])


def test_published_bottlenecks_have_no_room() -> None:
    with pytest.raises(HgrtError, match="conv-BN-ReLU bottlenecks only") as error:
        widen(lively(replace(SPEC, block="preact", stem="published")), 64, 0, [])
    assert "--growth 4" in str(error.value)


def test_a_checkpoint_becomes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "slim.pt", lively(SPEC))
    asked = ["slim.pt", "--channels", "32", "--growth", "0", "--synthetic", "16", "--out", "wide.pt"]
    assert main(asked) == 0
    assert capsys.readouterr().out == "wide.pt: 2 x 32, gate bounded, postact\n"
    assert answer(load_checkpoint(tmp_path / "wide.pt")).isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slim.pt": "gone.pt"}, "gone.pt"),
        ({"32": "9"}, "multiples of 4"),
        ({"--synthetic": "", "16": ""}, "nobody to measure the channels on"),
        ({"wide.pt": "no/wide.pt"}, "no"),
    ],
    ids=str,
)
def test_a_mistake_is_said_in_plain_words(
    change: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "slim.pt", lively(SPEC))
    asked = ["slim.pt", "--channels", "32", "--growth", "0", "--synthetic", "16", "--out", "wide.pt"]
    assert main([new for one in asked if (new := change.get(one, one))]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and words in said and "Traceback" not in said, said
    assert not (tmp_path / "wide.pt").exists()
