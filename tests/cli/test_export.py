"""`hgrt export` as a user runs it: a published checkpoint in, a file that every runtime takes out."""

from __future__ import annotations

from pathlib import Path

import pytest

import golden
from fakes import hgrt, refused

pytest.importorskip("torch")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small published checkpoint, and files that are none."""
    folder = tmp_path_factory.mktemp("export")
    golden.published_checkpoint(folder / "checkpoint.pth.tar", 1, modulated=False, channels=8)
    (folder / "text.pt").write_text("words\n" * 100)
    (folder / "blocked").write_text("a file, not a folder")
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.pt"], ["no checkpoint at missing.pt"]),
        (["."], ["no checkpoint at ."]),
        (["text.pt"], ["text.pt is not a torch checkpoint"]),
        (["checkpoint.pth.tar", "--ramp", "cubic"], ["--ramp cubic", "linear", "integer"]),
        (["checkpoint.pth.tar", "--out", "blocked/net.onnx"], ["blocked/net.onnx cannot be written"]),
        (["checkpoint.pth.tar", "--out", "checkpoint.pth.tar"], ["checkpoint.pth.tar"]),
        ([], ["CHECKPOINT"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_mistake_is_said_in_plain_words_and_changes_nothing(
    arguments: list[str], words: list[str], folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused(hgrt("export", *arguments, cwd=folder), *words)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_published_checkpoint_becomes_a_file_beside_it(folder: Path, tmp_path: Path) -> None:
    from hgrt.runtime.base import open_backend

    checkpoint = tmp_path / "mine.pt"
    checkpoint.write_bytes((folder / "checkpoint.pth.tar").read_bytes())
    done = hgrt("export", "mine.pt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.onnx", "mine.pt"]
    assert done.stdout.startswith("mine.onnx: ") and "MB" in done.stdout
    assert "Warning" not in done.stderr, "the exporter's own warnings are no business of the user's"
    with open_backend("onnxruntime", tmp_path / "mine.onnx") as backend:
        assert (backend.info.spec.stacks, backend.info.spec.channels, backend.info.spec.gate) == (1, 8, "none")
