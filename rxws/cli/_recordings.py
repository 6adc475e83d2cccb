"""Recordings in files, whose errors end a command with a message."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

import click

from rxws import Recording
from rxws._recording.jsonl import parse_line

from ._exit_codes import ExitCode
from ._failures import Failure
from ._output import printable

__all__ = ["STDIN", "load", "recording_errors"]

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


def load(name: str) -> Recording:
    """Load a recording.

    Raises:
        Failure: See `recording_errors`; or the file has no events.
    """
    with recording_errors(name):
        recording = _load_stdin() if name == STDIN else Recording.load(name)
    if not recording.lanes:
        raise Failure(printable(f"{name} is empty: it has no events."), ExitCode.USAGE)
    return recording


def _load_stdin() -> Recording:
    lines = sys.stdin.buffer.readlines()
    recording = Recording(keep=max(len(lines), 1))
    for number, line in enumerate(lines, 1):
        event = parse_line(line, number, "stdin")
        if event is not None:
            recording.add(event)
    return recording
