"""Every `hgrt` command line in the documents is one that the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from hgrt.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "assets" / "README.md"]
LINE = re.compile(r"\bhgrt (?:demo|train|export|eval|calibrate|bench|data|build-engine)\b[^`#\n|]*")


def command_lines() -> list[str]:
    return [line.strip() for path in DOCUMENTS for line in LINE.findall(path.read_text())]


def test_the_readme_shows_every_command() -> None:
    shown = {line.split()[1] for line in command_lines()}
    assert shown == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", command_lines())
def test_a_documented_command_line_is_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    if name == "data":
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments)  # refuses unknown options and values


def test_a_line_that_is_not_understood_is_refused() -> None:
    command = typer.main.get_command(app).commands["demo"]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="No such option"):
        command.make_context("demo", ["--sauce", "0"])
