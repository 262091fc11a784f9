"""`hgrt export` as a user runs it: a published checkpoint in, a file that every runtime takes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

import golden
from fakes import hgrt, hgrt_here, refused
from hgrt.cli.export import export
from hgrt.errors import HgrtError
from packing import pack

if TYPE_CHECKING:
    from hgrt.model.hourglass import StackedHourglass

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
        (["checkpoint.pth.tar", "--int8"], ["--int8 was given, and no --data", "docs/data.md"]),
        (["checkpoint.pth.tar", "--data", "."], ["--data is for --int8 only", "Add --int8"]),
        (["checkpoint.pth.tar", "--int8", "--data", "none"], ["There is no data folder none"]),
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


def test_8_bits_are_measured_on_the_train_split(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the export itself does stands in `tests/engine/test_quantize.py`."""
    pytest.importorskip("h5py")
    from hgrt.engine import quantize
    from hgrt.engine.verify import Parity

    seen: list[tuple[int, ...]] = []

    def export_int8(model: StackedHourglass, path: Path, crops: NDArray[np.uint8]) -> Parity:
        seen.append((model.spec.channels, *crops.shape))
        path.write_bytes(bytes(1_500_000))
        return Parity(32, 0.5, 0.4, 0.75, 0, 0.01)

    monkeypatch.setattr(quantize, "export_int8", export_int8)
    (tmp_path / "mine.pt").write_bytes((folder / "checkpoint.pth.tar").read_bytes())
    pack(tmp_path / "data", "train", 3)
    pack(tmp_path / "data", "val", 5)
    done = hgrt_here("export", "mine.pt", "--int8", "--data", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert seen == [(8, 3, 256, 256, 3)]
    compared, written = done.stdout.splitlines()
    assert compared.startswith("Against single precision: 32 joints, 75.00% within 0.25 cells")
    assert written == "mine.int8.onnx: 1 x 8, gate none, preact, int8, 1.5 MB"
