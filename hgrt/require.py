"""Imports that a base install does not have, asked for at the moment of use and nowhere else.

`require("torch", "train")` returns the module or raises an error with the one line that installs the extra. Nothing is
ever installed from here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from hgrt.errors import HgrtError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, which the extra `extra` brings; HgrtError with the install line if it is absent or broken."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # torch opens its libraries by itself: OSError where one is missing
        missing = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        why = "It is not installed." if missing else f"It is installed but does not load: {error}"
        raise HgrtError(
            f"This needs the Python package '{module.partition('.')[0]}'.",
            why,
            f'Install it with: pip install "hgrt[{extra}]"   (in a checkout: pip install -e ".[{extra}]")',
        ) from error
