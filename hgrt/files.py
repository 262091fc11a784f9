"""Files that appear whole or not at all, plain words for those that cannot be written, and what tells two apart."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hgrt.errors import HgrtError


def unwritable(path: Path, error: OSError) -> HgrtError:
    """What the system said about a file that cannot be written, in our words."""
    missing = error.errno == errno.ENOENT and not path.parent.is_dir()
    return HgrtError(
        f"{path} cannot be written.",
        "The folder does not exist." if missing else (error.strerror or str(error)),
        "Give another path." if missing or error.errno in (errno.EACCES, errno.EROFS, errno.EISDIR) else "",
    )


def check_writable(path: Path) -> None:
    """HgrtError unless a file can be created or replaced at `path`; leaves what is there as it is."""
    try:
        existed = path.exists()
        with path.open("ab"):
            pass
    except OSError as error:
        raise unwritable(path, error) from error
    if not existed:
        path.unlink()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` to write to; it takes the place of `path` if all goes well and vanishes if not.

    Missing folders are made. HgrtError where the system refuses, before anything is computed in the block if it can.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "That is a folder.")
        partial.touch()
        yield partial
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, in bounded memory; HgrtError where the file cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HgrtError(f"{path} cannot be read.", error.strerror or str(error), "Check the path.") from error
