"""Where messages come from, and where they are shown."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Protocol, Self

from rxws.cli import _output
from rxws.cli._lines import read_lines

from ._plan import Action, Plan

__all__ = ["Console", "Pipe"]


class Console(Protocol):
    """A person at a terminal, or a pipe."""

    def actions(self) -> AsyncIterator[Action]:
        """Yield what to do, until the end of the input."""
        ...

    async def show(self, text: str | bytes) -> None:
        """Show a formatted message."""
        ...

    def note(self, text: str) -> None:
        """Show something about the connection."""
        ...

    def end(self) -> None:
        """Stop reading: the conversation is over."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Pipe(AbstractContextManager["Pipe"]):
    """Takes the messages of the command line, or else lines of stdin; writes to stdout."""

    def __init__(self, plan: Plan, file: _output.Output | None) -> None:
        self._plan = plan
        self._file = file

    async def actions(self) -> AsyncIterator[Action]:
        """See `Console.actions`.

        Raises:
            click.UsageError: See `Plan.typed` and `Plan.piped`.
        """
        if self._plan.messages:
            for text in self._plan.messages:
                yield self._plan.typed(text)
            return
        number = 0
        async for line in read_lines(sys.stdin.fileno()):
            number += 1
            yield self._plan.piped(line, number)

    async def show(self, text: str | bytes) -> None:
        """See `Console.show`."""
        if self._file is None:
            await _output.write_soon(text)
        else:
            self._file.write(text if isinstance(text, bytes) else text.encode())
            await self._file.drained()

    def note(self, text: str) -> None:
        """See `Console.note`."""
        _output.note(text)

    def end(self) -> None:
        """See `Console.end`."""

    def __exit__(self, *_: object) -> None: ...
