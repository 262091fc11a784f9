"""The one error type a user ever sees: what went wrong, why, and how to fix it.

A mistake in the input raises `HgrtError`; the command line prints its three lines and exits with `EXIT_USAGE`. A bug
raises anything else and keeps its traceback. This module knows nothing about the rest of the package.
"""

from __future__ import annotations

EXIT_USAGE = 2  # the input, the options or the machine are not what the command needs
EXIT_INTERRUPTED = 130  # what shells give a program that Ctrl-C ended


class HgrtError(Exception):
    """A problem the user can act on.

    `what` went wrong (one sentence), `why` (the evidence), `fix` (what to do or to type). `why` and `fix` may be empty.
    """

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.fix) if line)
