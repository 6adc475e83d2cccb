"""`rxws demo` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest

import rxws
from rxws.cli.demo import command
from support import ROOT

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails


@contextlib.asynccontextmanager
async def running(
    *arguments: str, **environment: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run `rxws demo`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "rxws", "demo", *arguments),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def address(process: Process) -> str:
    """Return the address that it prints."""
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), PATIENCE)).decode()
    found = re.fullmatch(r"rxws playground: (http://\S+/)   \(press Ctrl\+C to stop\)\n", line)
    assert found, line
    return found[1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_serves_the_playground_until_it_is_stopped(name: str) -> None:
    """The address serves the page; Ctrl-C closes its WebSocket with 1001, and exits with 0."""
    async with running("--port", "0") as process:
        url = await address(process)
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            assert "rxws playground" in await answer.text()
        async with rxws.connect(f"{url.replace('http', 'ws')}playground/ws") as conn:
            caller = rxws.rpc.Caller(conn)
            await caller.call("start", steps=[{"name": "upper"}], options={})
            process.send_signal(getattr(signal, name))
            close = await asyncio.wait_for(conn.closed, PATIENCE)
            assert (close.code, close.by) == (1001, "peer")
        assert await asyncio.wait_for(process.communicate(), PATIENCE) == (b"", b"")
        assert process.returncode == 0


async def test_a_port_in_use() -> None:
    """The message names the port and the remedy; the exit code is that of a failed connection."""
    with socket.create_server(("127.0.0.1", 0)) as in_use:
        port = in_use.getsockname()[1]
        async with running("--port", str(port)) as process:
            out, error = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert (process.returncode, out) == (2, b"")
            assert error.decode() == (
                f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; use "
                "another --port, or 0 for a free one\n"
            )


async def test_a_host_of_another_machine() -> None:
    """The message names the host."""
    async with running("--host", "192.0.2.1", "--port", "0") as process:
        _, error = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 2
        assert b"cannot listen on 192.0.2.1 port 0: " in error
        assert b"Traceback" not in error


EXAMPLES = [line.split() for line in command.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
async def test_each_example_of_the_help_runs(example: list[str], tmp_path: Path) -> None:
    """The commands of the help serve the page; with --open, a browser gets its address."""
    assert example[:2] == ["rxws", "demo"]
    os.mkfifo(tmp_path / "opened")
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho \"$1\" > '{tmp_path / 'opened'}'\n")
    browser.chmod(0o755)
    opened = asyncio.Event()
    pipe = os.open(tmp_path / "opened", os.O_RDONLY | os.O_NONBLOCK)
    try:
        asyncio.get_running_loop().add_reader(pipe, opened.set)
        async with running(*example[2:], "--port", "0", BROWSER=str(browser)) as process:
            url = await address(process)
            async with aiohttp.ClientSession() as client, client.get(url) as answer:
                assert answer.status == 200
            if "--open" in example:
                await asyncio.wait_for(opened.wait(), PATIENCE)
                assert os.read(pipe, 100).decode() == f"{url}\n"
    finally:
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)


def test_the_help_has_examples() -> None:
    """The help teaches by example."""
    assert len(EXAMPLES) == 4
