"""Where a picture is shown that changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol, Self

import click

__all__ = ["FileScreen", "Screen", "open_screen"]


class Screen(Protocol):
    """A place for a picture that changes.

    Attributes:
        interval: Seconds between two drawings.
        flows: Whether to draw again as time passes, although nothing has happened.
    """

    interval: float
    flows: bool

    def show(self, drawn: str) -> None:
        """Replace the picture."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class FileScreen:
    """A file, which always contains a whole picture."""

    interval = 1.0
    flows = False

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def show(self, drawn: str) -> None:
        """See `Screen.show`.

        Raises:
            click.FileError: The file cannot be written.
        """
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            beside.write_text(drawn + "\n", "utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise click.FileError(str(self._path), error.strerror or str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _TerminalScreen:
    """The terminal; each picture takes the place of the one before it."""

    interval = 1 / 8
    flows = True

    def __init__(self) -> None:
        # Importing them takes a while.
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, redirect_stdout=False)

    def show(self, drawn: str) -> None:
        """See `Screen.show`."""
        from rich.text import Text

        self._live.update(Text(drawn, no_wrap=True, overflow="crop"), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def open_screen(output: str | None) -> Screen:
    """Return the place for a live picture.

    Raises:
        click.UsageError: There is no file, and stdout is not a terminal.
    """
    if output is None and sys.stdout.isatty():
        return _TerminalScreen()
    if output is None or output == "-":
        raise click.UsageError("A picture that changes needs a terminal, or a file: use -o FILE.")
    return FileScreen(output)
