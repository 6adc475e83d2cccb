"""The demo as a process: its page, its sources, a port in use, and how it stops."""

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
    start_example,
)


async def run_demo(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Return the exit code, stdout and stderr of a demo that ends by itself."""
    process = await start_example("demo", *arguments, **environment)
    try:
        out, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode, out.decode(), error.decode()


async def test_serves_the_page_and_the_sources() -> None:
    """The demo serves the page of the examples, which links the source of each."""
    async with running_demo() as demo, aiohttp.ClientSession() as client:
        assert demo.greeting == f"rxws demo: {demo.url}   (press Ctrl+C to stop)\n"
        async with client.get(f"{demo.url}examples") as answer:
            page = await answer.text()
            assert answer.status == 200
            assert answer.content_type == "text/html"
        files = re.findall(r'file: "([\w.]+)"', page)
        assert len(files) == 9
        for file in files:
            async with client.get(f"{demo.url}source/{file}") as answer:
                assert answer.content_type == "text/plain"
                assert await answer.text() == (EXAMPLES / file).read_text()
        for file in ("client.py", "demo.html", "..%2Fpyproject.toml"):
            async with client.get(f"{demo.url}source/{file}") as answer:
                assert answer.status == 404


async def test_serves_each_example_of_the_page() -> None:
    """Each path on the page accepts a WebSocket."""
    page = (EXAMPLES / "demo.html").read_text()
    paths = re.findall(r'path: "(/\w+)"', page)
    assert len(paths) == 9
    async with running_demo() as demo, aiohttp.ClientSession() as client:
        for path in paths:
            url = f"ws://127.0.0.1:{demo.port}{path}"
            async with client.ws_connect(url, params={"token": "sesame"}) as ws:
                await asyncio.wait_for(ws.close(), PATIENCE)
                assert ws.close_code == 1000


def test_page_is_self_contained() -> None:
    """The page loads nothing from other hosts."""
    page = (EXAMPLES / "demo.html").read_text()
    assert set(re.findall(r"https?://[^'\"\s)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    assert "<script src" not in page


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_stopping_the_demo_closes_with_1001(name: str) -> None:
    """Ctrl-C and SIGTERM close every connection with 1001; the exit code is 0."""
    async with running_demo() as demo, aiohttp.ClientSession() as client:
        base = f"ws://127.0.0.1:{demo.port}"
        async with (
            client.ws_connect(f"{base}/shout") as shout,
            client.ws_connect(f"{base}/chat") as chat,
        ):
            await shout.send_str("hello")
            assert await receive_text(shout) == "HELLO"
            await chat.send_str('{"join": "kitchen"}')
            assert await receive_text(chat) == '{"room":"kitchen","joined":"somebody"}'
            ending = asyncio.create_task(demo.end(getattr(signal, name)))
            for ws in (shout, chat):
                assert await receive_close(ws) == (1001, "Going Away")
            assert await ending == (0, "")


async def test_a_port_in_use() -> None:
    """For a port in use, stderr names it and suggests another; the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as in_use:
        port = in_use.getsockname()[1]
        for result in (
            await run_demo("--port", str(port)),
            await run_demo(PORT=str(port)),
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
async def test_an_invalid_port(port: str) -> None:
    """stderr names an invalid port, from the command line or the environment."""
    for result in (await run_demo(f"--port={port}"), await run_demo(PORT=port)):
        code, out, error = result
        assert (code, out) == (2, "")
        assert f"{port!r}" in error
        assert "Traceback" not in error
