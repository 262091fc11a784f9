"""How fast each kernel was, kept between builds, so that the next engine for this very machine builds much faster.

Several builds may share one folder: they read and write under a lock, and none throws away what another measured. A
cache is a convenience: whatever is wrong with it is said, and the build goes on. Only TensorRT proper has one; for RTX
it is a no-op.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hgrt.errors import HgrtError
from hgrt.files import written_whole
from hgrt.runtime.library import Gpu, Library


@dataclass(slots=True)
class TimingCache:
    """The timings of one library on one kind of GPU, in use by one build; `cache` must live as long as that."""

    path: Path
    config: Any
    cache: Any
    read: bytes
    notes: tuple[str, ...]

    @classmethod
    def open(cls, library: Library, gpu: Gpu, config: Any, folder: Path) -> Self:
        """Hand what `folder` holds for this library and GPU to the build's `config`; nothing if it does not fit."""
        path = folder / file_name(library, gpu)
        notes: tuple[str, ...] = ()
        try:
            with locked(folder):
                known = path.read_bytes() if path.exists() else b""
        except OSError as error:
            known, notes = b"", (f"The timing cache {path} cannot be read: {error.strerror}.",)
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, False):
            notes = (*notes, f"The timing cache {path} is not for this machine, or is damaged; a new one replaces it.")
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        return cls(path, config, cache, known, notes)

    def save(self) -> tuple[str, ...]:
        """Write what is known now, together with what others wrote meanwhile; returns what the user should know."""
        try:
            with locked(self.path.parent):
                there = self.path.read_bytes() if self.path.exists() else b""
                others = self.config.create_timing_cache(there) if there not in (b"", self.read) else None
                timings = self.config.get_timing_cache()
                if others is not None:
                    timings.combine(others, False)
                with written_whole(self.path) as partial:
                    partial.write_bytes(bytes(timings.serialize()))
        except (OSError, HgrtError) as error:
            why = error.why if isinstance(error, HgrtError) else error.strerror
            return (*self.notes, f"The timing cache {self.path} cannot be written: {why}")
        return self.notes


def file_name(library: Library, gpu: Gpu) -> str:
    """All that timings depend on: library and version, GPU, compute capability and driver."""
    parts = (library.flavour, library.version, gpu.name, gpu.capability, gpu.driver)
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in ("timing", *parts)) + ".cache"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else is in such a block for the same folder, in any process; OSError where it cannot be opened."""
    if sys.platform == "win32":  # no such lock there: two builds at once may lose the timings of one
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)  # the folder itself, so that no lock file is left lying about
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
