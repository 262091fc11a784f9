"""`hgrt train` as a user runs it: what it says when there is nothing to do, and a whole tiny training."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import hgrt, refused

pytest.importorskip("torch")
pytest.importorskip("h5py")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["nothing to train on", "packed data in", "/data", "MPII", "human-pose.mpi-inf.mpg.de", "--synthetic"]),
        (["--preset", "huge", "--synthetic", "2"], ["no preset 'huge'", "lite", "reference"]),
        (["--resume", "--exp", "gone", "--synthetic", "2"], ["no run in exp/gone", "last.pt"]),
        (["--epochs", "0"], ["--epochs"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_mistake_is_said_in_plain_words(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    refused(hgrt("train", *arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_training_makes_weights_and_is_not_overwritten(tmp_path: Path) -> None:
    from hgrt.model.checkpoint import load_checkpoint
    from hgrt.model.spec import PRESETS

    arguments = ["train", "--synthetic", 2, "--epochs", 1, "--preset", "lite", "--exp", "try"]
    done = hgrt(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = tmp_path / "exp" / "try" / "best.pt"
    assert done.stdout.rstrip().endswith("exp/try/best.pt")
    assert load_checkpoint(best).spec == PRESETS["lite"]
    assert (best.parent / "last.pt").is_file()
    kept = best.read_bytes()
    refused(hgrt(*arguments, cwd=tmp_path), "a run in exp/try already", "overwritten", "--resume")
    assert best.read_bytes() == kept
