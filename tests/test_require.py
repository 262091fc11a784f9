"""Packages that a base install does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from hgrt.errors import HgrtError
from hgrt.require import require


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (None, "It is not installed."),
        ("import no_such_part_of_it", "It is installed but does not load: No module named 'no_such_part_of_it'"),
        ("raise ImportError('libsome.so: cannot open')", "It is installed but does not load: libsome.so: cannot open"),
        ("raise OSError('libglobal.so: cannot open')", "It is installed but does not load: libglobal.so: cannot open"),
    ],
)
def test_a_package_that_is_absent_or_broken_is_one_clear_error(
    code: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    if code is not None:
        (tmp_path / "no_such_package.py").write_text(code)
    with pytest.raises(HgrtError, match="needs the Python package 'no_such_package'") as raised:
        require("no_such_package", "train")
    assert raised.value.why == why
    assert 'pip install "hgrt[train]"' in raised.value.fix


def test_a_package_that_is_there_is_returned() -> None:
    assert require("json.decoder", "train").__name__ == "json.decoder"
