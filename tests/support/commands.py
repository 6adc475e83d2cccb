"""Run `rxws` in this process, where a process of its own would show nothing more."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from io import TextIOWrapper
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from rxws.cli import _run
from rxws.cli._main import root
from support.processes.command_line import PATIENCE, Result, decoded

__all__ = ["RunningCommand", "run_command", "run_command_here", "running_command"]


async def run_command(*arguments: str, stdin: str | bytes = "") -> Result:
    """Run a command in a thread, with its own event loop, while this one serves it.

    Its standard streams are those of this process: run one command at a time.
    """
    async with running_command(*arguments, stdin=stdin) as command:
        return await command.ended()


class RunningCommand:
    """A command that runs in a thread.

    Args:
        result: The future result; without what was read of `stderr`.
        stderr: What it prints there.
    """

    def __init__(
        self, result: asyncio.Future[tuple[int, str]], stderr: asyncio.StreamReader
    ) -> None:
        self._result = result
        self._stderr = stderr
        self.on_signal: dict[int, Callable[..., Any]] = {}

    async def note(self) -> str:
        """Return the next line on stderr, without its end."""
        line = await asyncio.wait_for(self._stderr.readline(), PATIENCE)
        return line.decode().removesuffix("\n")

    def interrupt(self) -> None:
        """Call the handler of Ctrl-C, as Python does."""
        self.on_signal[signal.SIGINT]()

    async def ended(self) -> Result:
        """Wait for the end; return what was printed, of stderr what was not read."""
        error = await asyncio.wait_for(self._stderr.read(), PATIENCE)
        code, out = await self._result
        return Result(code, out, decoded(error))


@asynccontextmanager
async def running_command(
    *arguments: str, stdin: str | bytes = ""
) -> AsyncGenerator[RunningCommand]:
    """Run a command as `run_command` does; at the end, interrupt it if it still runs."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    stderr = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(reading, "rb")
    )
    result = asyncio.ensure_future(asyncio.to_thread(_run_to, writing, arguments, stdin))
    command = RunningCommand(result, stderr)

    # Only the main thread may set signal handlers.
    def set_handler(number: int, handler: Any) -> None:
        command.on_signal[number] = handler

    signals = SimpleNamespace(SIGINT=signal.SIGINT, SIGTERM=signal.SIGTERM, signal=set_handler)
    with patch.object(_run, "signal", signals):
        try:
            yield command
        finally:
            if not result.done() and command.on_signal:
                command.interrupt()
            await asyncio.wait([result])
            transport.close()


def run_command_here(*arguments: str, stdin: str | bytes = "") -> Result:
    """Run a command in this thread; its standard streams are files."""
    with _file() as stderr:
        code, out = _run_to(os.dup(stderr.fileno()), arguments, stdin)
        return Result(code, out, _content(stderr))


def _run_to(stderr: int, arguments: tuple[str, ...], stdin: str | bytes) -> tuple[int, str]:
    """Run a command; return its exit code and its output."""
    with _file() as given, _file() as out, os.fdopen(stderr, "w", encoding="utf-8") as err:
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
        return code, _content(out)


def _file() -> TextIOWrapper:
    return TextIOWrapper(tempfile.TemporaryFile(), "utf-8", newline="")  # used in `with`


def _content(file: TextIOWrapper) -> str:
    file.flush()
    file.seek(0)
    return decoded(bytes(file.buffer.read()))
