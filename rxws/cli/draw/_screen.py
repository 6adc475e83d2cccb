"""Where a picture is shown that changes."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Protocol, Self

import click

from rxws.cli._output import open_stdout

__all__ = ["FileScreen", "Screen", "TerminalScreen", "open_screen"]


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

    async def drained(self) -> None:
        """Wait until the last picture is shown."""
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

    async def drained(self) -> None:
        """See `Screen.drained`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class TerminalScreen:
    """The terminal; each picture takes the place of the one before it.

    While the terminal is stopped, as by Ctrl-S, pictures are left out.
    """

    interval = 1 / 8
    flows = True

    def __init__(self) -> None:
        # Importing them takes a while.
        from rich.console import Console
        from rich.live import Live

        self._output = open_stdout()
        self._text = StringIO()  # what is not written yet
        console = Console(file=self._text, force_terminal=True)
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)

    def show(self, drawn: str) -> None:
        """See `Screen.show`."""
        from rich.text import Text

        picture = Text(drawn, no_wrap=True, overflow="crop")
        self._live.update(picture, refresh=not self._output.is_behind)
        self._write()

    async def drained(self) -> None:
        """See `Screen.drained`."""
        await self._output.drained()

    def _write(self) -> None:
        if text := self._text.getvalue():
            self._text.seek(0)
            self._text.truncate()
            self._output.write(text.encode(sys.stdout.encoding, "replace"))

    def __enter__(self) -> Self:
        self._live.start()
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()  # draws the last picture
        self._write()


def open_screen(output: str | None) -> Screen:
    """Return the place for a live picture.

    Raises:
        click.UsageError: There is no file, and stdout is not a terminal.
    """
    if output is None and sys.stdout.isatty():
        return TerminalScreen()
    if output is None or output == "-":
        raise click.UsageError("A picture that changes needs a terminal, or a file: use -o FILE.")
    return FileScreen(output)
