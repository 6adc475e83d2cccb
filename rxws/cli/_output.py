"""Output: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import os
import re
import select
import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

import click

__all__ = [
    "discard_unwritable",
    "note",
    "printable",
    "styled",
    "to_terminal",
    "write",
    "write_soon",
]

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


async def write_soon(data: str | bytes) -> None:
    """Write data to stdout, while the event loop goes on even if the reader is slow.

    Raises:
        BrokenPipeError: Nobody reads stdout any more.
    """
    if isinstance(data, str):
        data = data.encode(sys.stdout.encoding, "backslashreplace")
    sys.stdout.flush()
    file = sys.stdout.fileno()
    if _has_room(file, len(data)):
        os.write(file, data)
        return
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()

    def report(error: OSError | None) -> None:
        if written.done():  # cancelled
            return
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)

    def run(rest: bytes) -> None:
        error = None
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(report, error)

    # A daemon, as a write that blocks must not keep the process. It holds no lock of `sys.stdout`,
    # which Python needs at its exit.
    threading.Thread(target=run, args=(data,), daemon=True).start()
    await written


def _has_room(file: int, size: int) -> bool:
    """Return whether a write is known not to block."""
    try:
        return size <= select.PIPE_BUF and bool(select.select([], [file], [], 0)[1])
    except (AttributeError, OSError, ValueError):  # on Windows, only sockets can be selected
        return False


def styled(text: str, **style: Any) -> str:
    """Return a text in a colour or dim, unless NO_COLOR is set."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def note(message: str) -> None:
    """Print a message about the connection to stderr, dim on a terminal."""
    click.secho(printable(message), err=True, dim=True)


def discard_unwritable(stream: TextIO) -> None:
    """Discard buffered data that cannot be written; Python would try again, and fail, at exit."""
    try:
        stream.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
