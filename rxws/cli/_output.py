"""Output: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import os
import re
import sys

import click

__all__ = ["discard_output", "note", "printable", "to_terminal", "write"]

# Control characters, which a terminal obeys, and the characters that reorder or hide text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def printable(text: str) -> str:
    r"""Escape what a terminal would obey or hide; tabs and line feeds stay.

    Examples:
        >>> printable("\x1b[2Jcleared")
        '\\x1b[2Jcleared'
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def to_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def write(data: str | bytes) -> None:
    """Write data to stdout unchanged, and flush it.

    Raises:
        BrokenPipeError: Nobody reads stdout any more.
    """
    if isinstance(data, bytes):
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data)
    sys.stdout.flush()


def note(message: str) -> None:
    """Print a message about the connection to stderr, dim on a terminal."""
    click.secho(printable(message), err=True, dim=True)


def discard_output() -> None:
    """Discard what stdout has buffered, which Python would otherwise write, and fail, at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
