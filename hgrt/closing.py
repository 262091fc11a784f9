"""Things that hold a device, a file or a thread, and are closed by `with` or by hand."""

from __future__ import annotations

from typing import Self


class Closing:
    """Leaving a `with` block closes it; closing twice does no harm."""

    def close(self) -> None:
        """Let go of everything held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
