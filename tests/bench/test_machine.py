"""The machine is described from the system's own files, and its key is the same in every run and gives nothing away."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hgrt.bench import machine
from hgrt.bench.machine import describe, governor, said, told
from hgrt.runtime.library import Gpu

CPU = "processor\t: 0\nmodel name\t: Acme  Fast CPU @ 3.00GHz\ncpu MHz\t\t: 2600.5\nflags\t\t: fpu sse avx2{flag}\n"


def tree(root: Path, **files: str) -> Path:
    """Files under a folder; "__" in a name stands for "/"."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_gpu", lambda: None)


def test_this_machine_is_described_twice_in_the_same_way() -> None:
    first = describe()
    assert first == describe()
    assert len(first.key) == 12 and int(first.key, 16) >= 0
    assert first.cpu and first.cores >= 1 and first.memory_mb > 100
    assert first.python == ".".join(map(str, sys.version_info[:3]))


def test_the_processor_is_read_from_its_file(tmp_path: Path) -> None:
    governed = {"sys__devices__system__cpu__cpu0__cpufreq__scaling_governor": "powersave\n"}
    tree(tmp_path, proc__cpuinfo=CPU.format(flag=" hypervisor"), **governed)
    found = describe(tmp_path)
    assert (found.cpu, found.virtual, found.governor) == ("Acme Fast CPU @ 3.00GHz", True, "powersave")
    tree(tmp_path, proc__cpuinfo=CPU.format(flag=""))
    assert describe(tmp_path).virtual is False


def test_where_nothing_is_told_nothing_is_invented(tmp_path: Path) -> None:
    found = describe(tmp_path)
    assert found.virtual is None and found.governor == governor(tmp_path) == "" and found.gpu == found.driver == ""
    assert found.cpu  # from Python, if need be


def test_the_key_tells_machines_apart_and_hides_their_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, proc__cpuinfo=CPU.format(flag=""), **{"etc__machine-id": "0123456789abcdef" * 2})
    first = describe(tmp_path)
    assert first.key not in "0123456789abcdef" * 3
    tree(tmp_path, **{"etc__machine-id": "0" * 32})
    other = describe(tmp_path)
    assert other.key != first.key and replace(other, key=first.key) == first
    card = Gpu("Acme 9000", "9.0", "580.1", 1 << 34, 1)
    monkeypatch.setattr(machine, "find_gpu", lambda: card)
    with_card = describe(tmp_path)
    assert with_card.key != other.key and (with_card.gpu, with_card.driver) == ("Acme 9000", "580.1")
    monkeypatch.setattr(machine, "find_gpu", lambda: replace(card, driver="590.2"))
    assert describe(tmp_path).key == with_card.key  # a new driver is worth a comparison, not a new machine


def test_files_and_programs_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    assert told("none", tmp_path) == told(".", tmp_path) == ""
    assert said(["hgrt-no-such-program"]) == ""
    assert said([sys.executable, "-c", "print('half'); raise SystemExit(3)"]) == ""
    assert said([sys.executable, "-c", "print(' whole ')"]) == "whole"
