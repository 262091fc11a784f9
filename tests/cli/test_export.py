"""`hgrt export` as a user runs it: a published checkpoint in, a file that every runtime takes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import golden
from fakes import hgrt, hgrt_here, refused
from hgrt.cli.export import export
from hgrt.errors import HgrtError

pytest.importorskip("torch")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small published checkpoint, and files that are none."""
    folder = tmp_path_factory.mktemp("export")
    golden.published_checkpoint(folder / "checkpoint.pth.tar", 1, modulated=False, channels=8)
    (folder / "text.pt").write_text("words\n" * 100)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.pt"], ["no checkpoint at missing.pt"]),
        (["text.pt"], ["text.pt is not a torch checkpoint"]),
        (["checkpoint.pth.tar", "--ramp", "cubic"], ["--ramp cubic", "linear", "integer"]),
        ([], ["Missing argument"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_mistake_is_said_in_plain_words_and_changes_nothing(
    arguments: list[str], words: list[str], folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused(hgrt_here("export", *arguments, cwd=folder), *words)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("given", ["checkpoint.pth.tar", "./net.onnx"])
def test_the_checkpoint_is_never_overwritten(
    given: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint may even be named like an ONNX file, which is then where its export would go."""
    checkpoint = tmp_path / given
    checkpoint.write_bytes(kept := (folder / "checkpoint.pth.tar").read_bytes())
    monkeypatch.setattr("hgrt.engine.onnx.export_onnx", lambda model, path, **_: path.write_bytes(b"onnx"))
    with pytest.raises(HgrtError, match=re.escape(Path(given).name)):
        export(checkpoint, None if checkpoint.suffix == ".onnx" else checkpoint)
    assert checkpoint.read_bytes() == kept


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
