"""Output: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import os
import re
import select
import stat
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, TextIO
from weakref import WeakKeyDictionary

import click

__all__ = [
    "Output",
    "discard_unwritable",
    "note",
    "open_output",
    "open_stdout",
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


class Output:
    """A file whose reader may be slow. A write never blocks the event loop: it may be queued.

    Args:
        file: The file descriptor.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._is_regular = stat.S_ISREG(os.fstat(file).st_mode)
        self._waiting: list[bytes] = []
        self._idle: asyncio.Event | None = None  # while a thread is writing
        self._error: OSError | None = None

    @property
    def is_behind(self) -> bool:
        """Whether something is queued."""
        return self._idle is not None

    def write(self, data: bytes | memoryview) -> int:
        """Write now, or after what was queued before.

        Raises:
            OSError: It cannot be written, or what was queued could not; BrokenPipeError if nobody
                reads any more.
        """
        if self._error is not None:
            raise self._error
        if self._idle is None and self._has_room(len(data)):
            self._write_all(data)
            return len(data)
        self._waiting.append(bytes(data))
        if self._idle is None:
            self._idle = asyncio.Event()
            self._write_waiting()
        return len(data)

    def flush(self) -> None:
        """Do nothing, as a file without a buffer does."""

    async def drained(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: See `write`.
        """
        if self._idle is not None:
            await self._idle.wait()
        if self._error is not None:
            raise self._error

    def _has_room(self, size: int) -> bool:
        """Return whether a write is known not to block."""
        if self._is_regular:
            return True
        try:
            return size <= select.PIPE_BUF and bool(select.select([], [self._file], [], 0)[1])
        except (AttributeError, OSError, ValueError):  # on Windows, only sockets can be selected
            return False

    def _write_all(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def _write_waiting(self) -> None:
        loop, data = asyncio.get_running_loop(), b"".join(self._waiting)
        self._waiting.clear()

        def run() -> None:
            error = None
            try:
                self._write_all(data)
            except OSError as raised:
                error = raised
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._on_written, error)

        # A daemon, as a write that blocks must not keep the process. It holds no lock of
        # `sys.stdout`, which Python needs at its exit.
        threading.Thread(target=run, daemon=True).start()

    def _on_written(self, error: OSError | None) -> None:
        self._error = error
        if self._waiting and error is None:
            self._write_waiting()
            return
        assert self._idle is not None
        self._idle.set()
        self._idle = None


@contextmanager
def open_output(path: str | os.PathLike[str]) -> Generator[Output]:
    """Open a file for writing; of a named pipe, wait for the reader.

    Raises:
        OSError: It cannot be opened.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        yield Output(file)
    finally:
        os.close(file)


_outputs: WeakKeyDictionary[TextIO, Output] = WeakKeyDictionary()


def open_stdout() -> Output:
    """Return stdout, as the same object each time, so that writes do not mix."""
    sys.stdout.flush()
    if sys.stdout not in _outputs:
        _outputs[sys.stdout] = Output(sys.stdout.fileno())
    return _outputs[sys.stdout]


async def write_soon(data: str | bytes) -> None:
    """Write data to stdout, and wait until it is written; the event loop goes on meanwhile.

    Raises:
        BrokenPipeError: Nobody reads stdout any more.
    """
    if isinstance(data, str):
        data = data.encode(sys.stdout.encoding, "backslashreplace")
    stdout = open_stdout()
    stdout.write(data)
    await stdout.drained()


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
