"""Recordings in files, whose errors end a command with a message."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import BinaryIO

import click

from rxws import Recording
from rxws._recording.diagram.visible import Window
from rxws._recording.jsonl import read
from rxws._recording.window import within

from ._exit_codes import ExitCode
from ._failures import Failure
from ._output import printable

__all__ = ["STDIN", "load", "open_lines", "recording_errors", "shown_name"]

STDIN = "-"


@contextmanager
def recording_errors(name: str) -> Generator[None]:
    """Turn the errors of a file into those of a command.

    Raises:
        Failure: The file is not a recording, or cannot be read or written.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.FileError(name, error.strerror or str(error)) from error
    except ValueError as error:
        remedy = "Use a file that `rxws record` or `Recording.save` wrote, or delete that line."
        raise Failure(printable(f"{error}\n{remedy}"), ExitCode.USAGE) from error


def load(name: str, window: Window = None) -> Recording:
    """Load a recording, or the part of it that a diagram of a window needs.

    Raises:
        Failure: See `recording_errors`; or the file has no events.
    """
    recording = Recording(keep=sys.maxsize)
    with recording_errors(name), open_lines(name) as file:
        for event in within(read(file, shown_name(name)), window):
            recording.add(event)
    if not recording.lanes:
        raise Failure(printable(f"{name} is empty: it has no events."), ExitCode.USAGE)
    return recording


def open_lines(name: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading, or stdin."""
    return nullcontext(sys.stdin.buffer) if name == STDIN else open(name, "rb")


def shown_name(name: str) -> str:
    """Return how messages name the file."""
    return "stdin" if name == STDIN else name
