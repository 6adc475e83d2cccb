"""The demo as a process: its page, its address, a taken port, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket

import aiohttp
import pytest

from support.processes.examples import (
    EXAMPLES,
    PATIENCE,
    receive_close,
    receive_text,
    running_demo,
    start_demo,
)


async def finished(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a demo that ends by itself."""
    process = await start_demo(*arguments, **environment)
    try:
        out, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode, out.decode(), error.decode()


async def test_serves_the_page_and_the_sources() -> None:
    """The printed address leads to the page, and the page to the source of each example."""
    async with running_demo() as demo, aiohttp.ClientSession() as client:
        assert demo.greeting == f"rxws demo: {demo.url}   (press Ctrl+C to stop)\n"
        async with client.get(demo.url) as answer:
            page = await answer.text()
            assert answer.status == 200
            assert answer.content_type == "text/html"
        files = re.findall(r'file: "([\w.]+)"', page)
        assert len(files) == 7
        for file in files:
            async with client.get(f"{demo.url}source/{file}") as answer:
                assert answer.content_type == "text/plain"
                assert await answer.text() == (EXAMPLES / file).read_text()
        for file in ("client.py", "demo.html", "..%2Fpyproject.toml"):
            async with client.get(f"{demo.url}source/{file}") as answer:
                assert answer.status == 404


async def test_serves_each_example_of_the_page() -> None:
    """Each path that the page names is a WebSocket there."""
    page = (EXAMPLES / "demo.html").read_text()
    paths = re.findall(r'path: "(/\w+)"', page)
    assert len(paths) == 7
    async with running_demo() as demo, aiohttp.ClientSession() as client:
        for path in paths:
            url = f"ws://127.0.0.1:{demo.port}{path}"
            async with client.ws_connect(url, params={"token": "sesame"}) as ws:
                await asyncio.wait_for(ws.close(), PATIENCE)
                assert ws.close_code == 1000


def test_page_is_self_contained() -> None:
    """The page loads nothing from elsewhere: it names no address but its icon's XML namespace."""
    page = (EXAMPLES / "demo.html").read_text()
    assert set(re.findall(r"https?://[^'\"\s)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    assert "<script src" not in page


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_tells_everybody_when_it_stops(name: str) -> None:
    """ctrl-C and SIGTERM close every connection with 1001, then the demo exits with 0."""
    async with running_demo() as demo, aiohttp.ClientSession() as client:
        base = f"ws://127.0.0.1:{demo.port}"
        async with (
            client.ws_connect(f"{base}/shout") as shout,
            client.ws_connect(f"{base}/chat") as chat,
        ):
            await shout.send_str("hello")
            assert await receive_text(shout) == "HELLO"
            await chat.send_str("hello")
            assert await receive_text(chat) == "somebody: hello"
            ending = asyncio.create_task(demo.end(getattr(signal, name)))
            for ws in (shout, chat):
                assert await receive_close(ws) == (1001, "Going Away")
            assert await ending == (0, "")


async def test_a_taken_port_is_told() -> None:
    """A taken port is named on stderr, with how to choose another; the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for result in (
            await finished("--port", str(port)),
            await finished(PORT=str(port)),
        ):
            code, out, error = result
            assert (code, out) == (1, "")
            assert f"port {port} on 127.0.0.1 is already in use" in error
            other = re.search(r"make demo PORT=(\d+)", error)
            assert other is not None
            assert int(other[1]) != port
            assert f"examples/demo.py --port {other[1]}" in error
            assert "Traceback" not in error


@pytest.mark.parametrize("port", ["no-number", "-1", "65536"])
async def test_a_port_that_is_none_is_told(port: str) -> None:
    """What is no port is named, from the command line or from the environment."""
    for result in (await finished(f"--port={port}"), await finished(PORT=port)):
        code, out, error = result
        assert (code, out) == (2, "")
        assert f"{port!r}" in error
        assert "Traceback" not in error
