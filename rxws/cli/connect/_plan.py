"""The options of `rxws connect`, and what to do for each line of input."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import click

from rxws.cli._chain import Chain
from rxws.cli._connection import Target
from rxws.cli._entries import COMMANDS, Entry, Send, parse_entry
from rxws.cli._format import Format

from ._calls import COMMANDS as CALL_COMMANDS
from ._calls import Call, parse_call

__all__ = ["Action", "Plan"]

Action: TypeAlias = Entry | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of `rxws connect`; see its help."""

    target: Target
    messages: tuple[str, ...]
    count: int | None
    timeout: float | None
    wait: float | None
    chain: Chain
    format: Format
    binary: bool
    obey: bool
    reconnect: bool
    rpc: bool
    output: Path | None
    verbose: bool

    @property
    def interactive(self) -> bool:
        """Whether a person types."""
        return not self.messages and sys.stdin.isatty() and sys.stdout.isatty()

    @property
    def talkative(self) -> bool:
        """Whether to show how the connection begins and ends."""
        return (self.interactive or self.verbose) and not self.reconnect  # which shows its states

    @property
    def commands(self) -> dict[str, tuple[str, str]]:
        """The arguments and the help of each command."""
        return {**COMMANDS, **CALL_COMMANDS} if self.rpc else COMMANDS

    def typed(self, text: str) -> Action:
        """Return what to do for a message that a person has typed.

        Raises:
            click.UsageError: It is a wrong command, or names a file that cannot be read.
        """
        is_command = text.partition(" ")[0] in COMMANDS
        return parse_call(text) if self.rpc and not is_command else parse_entry(text)

    def piped(self, line: bytes, number: int) -> Action:
        """Return what to do for a line of a pipe.

        Raises:
            click.UsageError: It is not UTF-8; or as for `typed`.
        """
        if self.binary:
            return Send(line)
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise click.UsageError(
                f"Line {number} of the input is not UTF-8: {line[:40]!r}. Use --binary to send "
                "binary messages."
            ) from error
        return self.typed(text) if self.obey or self.rpc else Send(text)
