"""Run `python -m rxws` as a user does: in a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import coverage

from support import ROOT

__all__ = [
    "PATIENCE",
    "Result",
    "decoded",
    "end_rxws",
    "environment",
    "read_line",
    "run_rxws",
    "running_rxws",
    "start_rxws",
]

PATIENCE = 60.0  # seconds; how long anything is waited for before the test fails


class Result(NamedTuple):
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str


def environment(**changes: str) -> dict[str, str]:
    """Return the variables for a process that imports this checkout, with changes."""
    # In its debug mode asyncio writes to stderr, where tests expect nothing.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    for name in list(kept):
        if name.lower().endswith("_proxy"):
            del kept[name]
    path = str(ROOT)
    if coverage.Coverage.current() is not None:
        measured = ROOT / "tests/support/measured"
        path = f"{path}{os.pathsep}{measured}"
        kept["COVERAGE_PROCESS_START"] = str(measured / "coveragerc")
        kept["COVERAGE_FILE"] = str(ROOT / ".coverage")
    return {**kept, "PYTHONPATH": path, "NO_COLOR": "1", **changes}


async def start_rxws(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
    """Start `rxws` with pipes for its input and output."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    settings: dict[str, Any] = {"env": environment(), **pipes, **options}
    command = sys.executable, "-m", "rxws", *arguments
    return await asyncio.create_subprocess_exec(*command, **settings)


@asynccontextmanager
async def running_rxws(
    *arguments: str, **options: Any
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run `rxws` with pipes; at the end, kill it if it still runs."""
    process = await start_rxws(*arguments, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_line(pipe: asyncio.StreamReader | None) -> str:
    """Return the next line of a process, without its end."""
    assert pipe is not None
    return (await asyncio.wait_for(pipe.readline(), PATIENCE)).decode().removesuffix("\n")


async def end_rxws(
    process: asyncio.subprocess.Process, how: signal.Signals = signal.SIGINT
) -> Result:
    """Send a signal, and return what the process has printed since."""
    process.send_signal(how)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return Result(process.returncode, decoded(out), decoded(err))


async def run_rxws(*arguments: str, stdin: str | bytes = "", **options: Any) -> Result:
    """Run `rxws` with this input; output that is not UTF-8 is decoded as Latin-1."""
    process = await start_rxws(*arguments, **options)
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        out, err = await asyncio.wait_for(process.communicate(data), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Result(process.returncode, decoded(out), decoded(err))


def decoded(data: bytes) -> str:
    """Return output as text; what is not UTF-8 as Latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
