"""Parse typed lines: messages, `/commands` and `@files`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import click

from rxws import Close
from rxws.closing import check_sendable

__all__ = [
    "COMMANDS",
    "Entry",
    "Help",
    "Ping",
    "Send",
    "list_commands",
    "parse_entry",
    "parse_message",
]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping, and show its round-trip time."""


@dataclass(frozen=True, slots=True)
class Help:
    """Show the commands."""


Entry: TypeAlias = Send | Ping | Help | Close

COMMANDS = {
    "/ping": ("", "ping the server, and show the round-trip time"),
    "/close": ("[CODE [REASON]]", "close the connection"),
    "/hex": ("00ff", "send a binary message"),
    "/binary": ("TEXT | @FILE", "send a binary message"),
    "/help": ("", "show this list"),
}
"""The arguments and the help of each command."""

_OTHERS = {
    "@FILE": "send a file, as a binary message unless it is UTF-8",
    "//… @@…": "send a text that begins with / or @",
}


def list_commands(commands: Mapping[str, tuple[str, str]]) -> str:
    """Return the list that `/help` shows."""
    rows = {f"{name} {arguments}": text for name, (arguments, text) in commands.items()}
    return "\n".join(f"  {usage:24} {text}" for usage, text in {**rows, **_OTHERS}.items())


def parse_entry(text: str) -> Entry:
    """Return what to do for a line.

    Raises:
        click.UsageError: The command is unknown or its argument is wrong, or the file cannot be
            read. The message says what to write instead.
    """
    if text.startswith(("//", "@@")):
        return Send(text[1:])
    if text.startswith("@"):
        data = _read(text[1:])
        try:
            return Send(data.decode())
        except UnicodeDecodeError:
            return Send(data)
    if not text.startswith("/"):
        return Send(text)
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    match name:
        case "/close":
            return _close(rest)
        case "/hex":
            try:
                return Send(bytes.fromhex(rest))
            except ValueError:
                raise click.UsageError(f"/hex {rest}: use hex digits, such as /hex 00ff.") from None
        case "/binary":
            return Send(_read(rest[1:]) if rest.startswith("@") else rest.encode())
        case "/ping":
            return Ping()
        case "/help":
            return Help()
        case _:
            raise click.UsageError(
                f"{name} is not a command: use one of {', '.join(COMMANDS)}, or start with // to "
                "send this text."
            )


def parse_message(text: str) -> str | bytes:
    """Return the message of an option; it may be in a file.

    Raises:
        click.UsageError: It is another command.
    """
    match parse_entry(text):
        case Send(data):
            return data
        case _:
            raise click.BadParameter(f"{text!r} is not a message: to send it, write /{text}.")


def _close(rest: str) -> Close:
    code, _, reason = rest.partition(" ")
    try:
        return check_sendable(Close(int(code), reason.strip()) if code else Close())
    except ValueError as error:
        raise click.UsageError(f"/close {rest}: {error}.") from error


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.UsageError(
            f"@{path}: {reason}. To send this text itself, start with @@."
        ) from error
