"""Run `rxws` in this process, where a process of its own would show nothing more."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from io import TextIOWrapper
from types import SimpleNamespace
from unittest.mock import patch

from rxws.cli import _run
from rxws.cli._main import root
from support.processes.command_line import Result, decoded

__all__ = ["run_command", "run_command_here"]


async def run_command(*arguments: str, stdin: str | bytes = "") -> Result:
    """Run a command in a thread, with its own event loop, while this one serves it.

    Its standard streams are those of this process: run one command at a time.
    """
    # Only the main thread may set signal handlers.
    signals = SimpleNamespace(SIGINT=2, SIGTERM=15, signal=lambda *_: None)
    with patch.object(_run, "signal", signals):
        return await asyncio.to_thread(run_command_here, *arguments, stdin=stdin)


def run_command_here(*arguments: str, stdin: str | bytes = "") -> Result:
    """Run a command in this thread; its standard streams are files."""
    with _file() as given, _file() as out, _file() as err:
        given.buffer.write(stdin.encode() if isinstance(stdin, str) else stdin)
        given.seek(0)
        code = 0
        with (
            patch.object(sys, "stdin", given),
            patch.object(sys, "stdout", out),
            patch.object(sys, "stderr", err),
        ):
            try:
                root.main(list(arguments), prog_name="rxws")
            except SystemExit as end:
                code = int(end.code or 0)
        return Result(code, _content(out), _content(err))


def _file() -> TextIOWrapper:
    return TextIOWrapper(tempfile.TemporaryFile(), "utf-8", newline="")  # used in `with`


def _content(file: TextIOWrapper) -> str:
    file.flush()
    file.seek(0)
    return decoded(bytes(file.buffer.read()))
