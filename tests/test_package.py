"""What is installed is what was written: the wheel holds everything and works alone, the checkout works in place."""

from __future__ import annotations

import configparser
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hgrt import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays clean. Large weights are left out: they are only data."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("wheel")
    tree = place / "tree"
    tree.mkdir()
    without = shutil.ignore_patterns("__pycache__", "*.onnx", "*.pt")
    for name in ("hgrt", "train", "assets"):
        shutil.copytree(ROOT / name, tree / name, ignore=without)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    for name in ("lite.onnx", "lite.pt"):
        (tree / "assets" / name).write_bytes(b"weights")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = place.glob("*.whl")
    return built


def in_checkout(folder: str, package: str) -> set[str]:
    """The Python files of a folder, by the name they have once installed."""
    return {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}" for path in (ROOT / folder).rglob("*.py")
    }  # fmt: skip


def test_the_wheel_holds_every_module_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = in_checkout("hgrt", "hgrt") | in_checkout("train", "hgrt/train") | in_checkout("assets", "hgrt/assets")
    assert {name for name in names if name.endswith(".py")} == expected
    assert {"hgrt/py.typed", "hgrt/assets/clip.mp4", "hgrt/assets/clip.json"} <= names
    assert {"hgrt/assets/lite.onnx", "hgrt/assets/lite.pt"} <= names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"hgrt", f"hgrt-{__version__}.dist-info"}
    assert sum(name.endswith("licenses/LICENSE") for name in names) == 1


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    info = f"hgrt-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{info}/METADATA").decode()
        scripts = configparser.ConfigParser()
        scripts.read_string(archive.read(f"{info}/entry_points.txt").decode())
    assert dict(scripts["console_scripts"]) == {"hgrt": "hgrt.cli.main:main"}
    for line in (f"Version: {__version__}", "License-Expression: Apache-2.0", "Requires-Python: >=3.11"):
        assert line in metadata
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    base = [line for line in needed if "extra ==" not in line]
    assert not any(heavy in line for line in base for heavy in ("torch", "onnx>", "openvino", "tensorrt", "h5py"))
    assert any("torch" in line for line in needed if "extra ==" in line)


def test_the_wheel_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    # The editable install's import hook would answer first, so the unpacked wheel is asked without it.
    code = (
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '') + repr(f)]\n"
        f"sys.path.insert(0, {str(place)!r})\n"
        "import hgrt, hgrt.train, hgrt.assets, hgrt.data, hgrt.cli.main\n"
        "from hgrt.runtime.base import asset, bundled_weights\n"
        "modules = [hgrt.__file__, hgrt.train.__file__, hgrt.assets.__file__]\n"
        "print(*modules, asset('clip.mp4'), bundled_weights(), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(Path(line).is_relative_to(place) for line in lines), lines


@pytest.mark.parametrize(("module", "folder"), [("hgrt", "hgrt"), ("hgrt.train", "train"), ("hgrt.assets", "assets")])
def test_an_editable_install_is_the_checkout(module: str, folder: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    where = Path(spec.origin).resolve()
    if "site-packages" in where.parts:
        pytest.skip("hgrt is installed as a wheel here")
    assert where == ROOT / folder / "__init__.py"


def test_every_package_folder_is_listed() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"hgrt.assets"}
    for top, name in (("hgrt", "hgrt"), ("train", "hgrt.train")):
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / top).parts]))
    assert set(listed) == found
