"""Ctrl-C, and the end of a pipe, in real processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from support import ROOT

# A command that reports the first Ctrl-C, and then waits.
COMMAND = """
import asyncio, sys
from importlib import import_module
import click
from rxws.cli import main
from rxws.cli._output import write
from rxws.cli._run import run

async def wait(stop):
    write("started\\n")
    await stop.wait()
    write("stopping\\n")
    await asyncio.Event().wait() if "forever" in sys.argv else None

async def flood(stop):
    while True:
        write("x" * 100_000)

@click.command("demo")
@click.argument("how")
def command(how):
    run(flood if how == "flood" else wait)

import_module("rxws.cli.demo").command = command
main()
"""


def start(how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "demo", how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_lets_a_command_end(sent: signal.Signals) -> None:
    """The command closes what it has open, and the exit code is that of its result."""
    with start("politely") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(sent)
        assert process.communicate(timeout=30) == (b"stopping\n", b"")
    assert process.returncode == 0


def test_the_second_interrupt_gives_up() -> None:
    """A command that waits, for a close handshake, say, ends with 130."""
    with start("forever") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


def test_a_closed_pipe_ends_a_command_quietly() -> None:
    """`rxws … | head -1` prints no error, and the exit code is 0."""
    with start("flood") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
