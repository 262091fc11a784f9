"""The house rules that a machine can hold: who imports whom, what costs nothing, how long and how well described."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import environment

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "hgrt").rglob("*.py"), *(ROOT / "train").rglob("*.py"), *(ROOT / "assets").glob("*.py")])

BASE = {"errors", "require", "closing", "files", "pose", "draw"}
NETWORK = BASE | {"model", "runtime", "estimator"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "require": {"errors"},
    "closing": set(),
    "files": {"errors"},
    "pose": BASE - {"draw"},
    "draw": BASE - {"draw"},
    "data": BASE | {"data"},
    "model": NETWORK,
    "runtime": NETWORK,
    "estimator": NETWORK,
    "engine": NETWORK | {"data", "engine"},
    "evaluation": NETWORK | {"data", "evaluation"},
    "live": NETWORK | {"data", "engine", "live"},
    "bench": NETWORK | {"engine", "live", "data", "evaluation", "bench"},
    "cli": NETWORK | {"engine", "live", "data", "evaluation", "bench", "cli"},
    "train": BASE | {"model", "data", "evaluation", "train"},
    "assets": set(),
    "__main__": {"cli"},
}
"""Rooms (or modules) under `hgrt`, and the rooms whose names may stand in their imports, at any depth."""

HEAVY = ["torch", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "pycuda", "cv2", "h5py", "numpy"]


def module_of(path: Path) -> str:
    """The dotted name a file has once installed."""
    relative = path.relative_to(ROOT).with_suffix("")
    parts = [part for part in relative.parts if part != "__init__"]
    return ".".join(parts if parts[0] == "hgrt" else ["hgrt", *parts])


def imports_of(tree: ast.Module, module: str, package: bool) -> set[str]:
    """Every `hgrt...` name that a module imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = module.split(".")
            above = ".".join(start[: len(start) - node.level + package]) if node.level else ""
            name = ".".join(filter(None, [above, node.module]))
            found |= {f"{name}.{alias.name}" for alias in node.names} if name == "hgrt" else {name}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "import_module",
            "__import__",
        ):
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return {name for name in found if name.split(".")[0] == "hgrt"}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def trespasses(module: str, imports: set[str]) -> list[str]:
    """The imports of a module that its room does not allow. `hgrt` itself is only a shop window, open to all for its
    version; nothing may reach the rest of the package through it."""
    if module == "hgrt":
        return []
    allowed = MAY_IMPORT.get(room(module), set())
    if module == "hgrt.cli.train":
        allowed = allowed | {"train"}
    return sorted(name for name in imports if name != "hgrt.__version__" and room(name) not in allowed)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    module = module_of(path)
    assert module == "hgrt" or room(module) in MAY_IMPORT, f"{module} is in no known room: say what it may import"
    imports = imports_of(ast.parse(path.read_text()), module, path.name == "__init__.py")
    assert trespasses(module, imports) == []


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("hgrt.pose.a", "from hgrt.model.spec import ModelSpec", ["hgrt.model.spec"]),
        ("hgrt.model.a", "def f():\n    import hgrt.train.loop", ["hgrt.train.loop"]),
        ("hgrt.live.a", "from hgrt import train", ["hgrt.train"]),
        ("hgrt.cli.demo", "from hgrt.train import loop", ["hgrt.train"]),
        ("hgrt.cli.train", "from hgrt.train import loop", []),
        ("hgrt.train.a", "from hgrt.runtime.base import Backend", ["hgrt.runtime.base"]),
        ("hgrt.train.a", "from .loop import train\nfrom hgrt.model import ModelSpec", []),
        ("hgrt.data.a", "from ..live import loop", ["hgrt.live"]),
        ("hgrt.runtime.a", "from importlib import import_module\nimport_module('hgrt.live.loop')", ["hgrt.live.loop"]),
        ("hgrt.pose.a", "from hgrt import PoseEstimator", ["hgrt.PoseEstimator"]),
        ("hgrt.engine.a", "import numpy\nfrom hgrt.model.fold import folded", []),
    ],
)
def test_a_trespasser_would_be_caught(module: str, source: str, caught: list[str]) -> None:
    assert trespasses(module, imports_of(ast.parse(source), module, package=False)) == caught


# What costs nothing


@pytest.mark.parametrize(
    "code",
    [
        "import hgrt",
        "import hgrt, hgrt.errors, hgrt.require, hgrt.model, hgrt.cli.main, hgrt.assets",
        "import sys; sys.argv = ['hgrt', '--help']\n"
        "from hgrt.cli.main import main\ntry: main()\nexcept SystemExit as end: assert not end.code",
        "import sys; sys.argv = ['hgrt', 'train', '--help']\n"
        "from hgrt.cli.main import main\ntry: main()\nexcept SystemExit as end: assert not end.code",
    ],
    ids=["import hgrt", "its light parts", "hgrt --help", "hgrt train --help"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str, tmp_path: Path) -> None:
    code += f"\nimport sys; print('heavy:', *sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_the_estimator_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    code = (
        "import hgrt, sys; hgrt.PoseEstimator; print(sorted(set(sys.modules) & {'torch', 'onnx', 'openvino', 'h5py'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_no_other() -> None:
    import hgrt

    assert len(set(hgrt.__all__)) == len(hgrt.__all__)
    for name in hgrt.__all__:
        assert getattr(hgrt, name) is not None
    assert set(hgrt._HOME) == set(hgrt.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = hgrt.no_such_name


# How it is written


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_module_is_short_and_opens_with_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    if text.strip():  # an empty __init__.py has nothing to say
        assert ast.get_docstring(ast.parse(text)), "no docstring"


def undescribed(tree: ast.Module) -> list[str]:
    """Public functions and classes of a module without a docstring."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    return [node.name for node in public if not ast.get_docstring(node)]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_what_is_public_is_described(path: Path) -> None:
    assert undescribed(ast.parse(path.read_text())) == []


def test_an_undescribed_name_would_be_caught() -> None:
    source = 'def a(): ...\ndef _b(): ...\nclass C: ...\nclass D:\n    """Is."""\n    def e(self): ...'
    assert undescribed(ast.parse(source)) == ["a", "C"]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_bare_except(path: Path) -> None:
    bare = [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ExceptHandler) and not n.type]
    assert bare == []
