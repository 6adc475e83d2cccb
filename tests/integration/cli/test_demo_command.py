"""`rxws demo` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from asyncio.subprocess import Process
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

import rxws
from rxws.cli._main import root
from rxws.cli.demo import command
from support.processes.command_line import PATIENCE, environment, running_rxws


def running(
    *arguments: str, **variables: str
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Run `rxws demo`; a warning is an error."""
    return running_rxws("demo", *arguments, env=environment(PYTHONWARNINGS="error", **variables))


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


def test_without_a_browser_the_address_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is served all the same."""
    opened: list[str] = []

    def find_none(url: str) -> bool:
        opened.append(url)
        signal.raise_signal(signal.SIGINT)  # once it serves
        return False

    monkeypatch.setattr("webbrowser.open", find_none)
    result = CliRunner().invoke(root, ["demo", "--open", "--port", "0", "--host", "0.0.0.0"])
    [url] = opened
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
    assert result.stderr.splitlines() == [
        f"rxws playground: {url}   (press Ctrl+C to stop)",
        "no browser was found: open the address yourself",
    ]
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_port_in_use() -> None:
    """The message names the port and the remedy; the exit code is that of a failed connection."""
    with socket.create_server(("127.0.0.1", 0)) as in_use:
        port = in_use.getsockname()[1]
        result = CliRunner().invoke(root, ["demo", "--port", str(port)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; use another "
        "--port, or 0 for a free one\n"
    )


def test_a_host_of_another_machine() -> None:
    """The message names the host."""
    result = CliRunner().invoke(root, ["demo", "--host", "192.0.2.1", "--port", "0"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: cannot listen on 192.0.2.1 port 0: ")


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
