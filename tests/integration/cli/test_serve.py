"""`rxws serve` in real processes, with clients that are not rxws."""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from support.peers.raw import RawClient
from support.peers.tls import PEM
from support.processes.command_line import (
    PATIENCE,
    end_rxws,
    read_line,
    run_rxws,
    running_rxws,
)
from support.terminal import open_terminal

ROOM = """
import logging
import rxws
from aiohttp import web
from reactivex import operators as ops

@rxws.websocket(codec=rxws.codecs.text)
def room(conn):
    return conn.incoming.pipe(ops.map(str.upper))

def size(conn):
    return conn.incoming.pipe(ops.map(lambda value: {"size": len(value)}))

def fail(conn):
    conn.incoming.subscribe(lambda text: 1 / 0)

def make_app():
    sub = web.Application()
    sub.router.add_get("/room", room)
    rxws.setup(sub)
    app = web.Application()
    app.add_subapp("/sub", sub)
    return app

def broken_app():
    async def start(app):
        raise LookupError("no database")
    app = web.Application()
    app.on_startup.append(start)
    return app

async def away():
    app = web.Application()
    rxws.Hub(backplane=rxws.hub.RedisBackplane("redis://127.0.0.1:1")).setup(app)
    return app
"""


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """A directory with the module `chat`."""
    (tmp_path / "chat.py").write_text(ROOM)
    return tmp_path


@asynccontextmanager
async def serving(
    *arguments: str, cwd: Path | None = None
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Run `rxws serve` on a free port; yield the process and the URL that it prints."""
    async with running_rxws("serve", *arguments, "--port", "0", cwd=cwd) as process:
        yield process, await read_line(process.stdout)


async def ask(client: ClientConnection, text: str) -> str | bytes:
    await client.send(text)
    return await client.recv()


async def test_a_handler_is_served_at_the_printed_url(chat: Path) -> None:
    """`--port 0` takes a free port; stdout has the URL, and stderr nothing."""
    async with serving("chat:room", cwd=chat) as (process, url):
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/", url)
        async with connect(url) as client:
            assert await ask(client, "hi") == "HI"
        assert await end_rxws(process) == (0, "", "")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_closes_connections_with_1001(chat: Path, sent: signal.Signals) -> None:
    """Ctrl-C and SIGTERM close connections, also those of subapplications."""
    async with serving("chat:make_app", cwd=chat) as (process, url):
        async with connect(f"{url}sub/room") as client:
            assert await ask(client, "hi") == "HI"
            ended = asyncio.create_task(end_rxws(process, sent))
            with pytest.raises(websockets.ConnectionClosedOK):
                await client.recv()
            assert (client.close_code, client.close_reason) == (1001, "Going Away")
        assert await ended == (0, "", "")


async def test_the_server_stops_after_drain_if_a_client_is_stuck(chat: Path) -> None:
    """A client that does not answer the close frame is aborted; the exit code is 0."""
    async with serving("chat.py:room", "--drain", "0.1", cwd=chat) as (process, url):
        client = await RawClient.connect(int(url.rpartition(":")[2].strip("/")))
        assert (await end_rxws(process)).code == 0
        assert (await client.closing()).code == 1001
        await client.rst()


async def test_options_reach_the_handler(chat: Path) -> None:
    """Path, codec, subprotocol, origin, TLS and the limit of sizes are those of the options."""
    async with serving(
        *("chat:size", "--path", "/size", "--codec", "json", "-s", "v2", "--max-size", "100"),
        *("--origin", "https://app.example", "--tls", str(PEM), "--no-compress"),
        cwd=chat,
    ) as (_, url):
        assert re.fullmatch(r"wss://127\.0\.0\.1:\d+/size", url)
        trust = ssl.create_default_context(cafile=PEM)
        trust.check_hostname = False
        async with connect(
            url, ssl=trust, origin=websockets.Origin("https://app.example"),
            subprotocols=[websockets.Subprotocol("v2")],
        ) as client:  # fmt: skip
            assert client.subprotocol == "v2"
            assert client.response is not None
            assert "Sec-WebSocket-Extensions" not in client.response.headers
            assert await ask(client, '"four"') == '{"size":4}'
            with pytest.raises(websockets.ConnectionClosedError):
                await ask(client, "1" * 101)
            assert client.close_code == 1009
        with pytest.raises(websockets.InvalidStatus, match="403"):
            await connect(url, ssl=trust, origin=websockets.Origin("https://other.example"))


async def test_verbose_prints_a_line_when_a_connection_opens_and_ends(chat: Path) -> None:
    """The lines name the client, the path, the close code and the counts."""
    async with serving("chat:room", "-v", cwd=chat) as (process, url):
        async with connect(f"{url}?user=ann") as client:
            assert await ask(client, "hi") == "HI"
            opened = await read_line(process.stderr)
            await client.close(4001, "bye")
        closed = await read_line(process.stderr)
        port = client.local_address[1]
        assert re.fullmatch(rf"\d\d:\d\d:\d\d 127\.0\.0\.1:{port} opened /\?user=ann", opened)
        assert closed[9:] == (
            f"127.0.0.1:{port} closed with 4001 'bye' by the client; 1 received, 1 sent"
        )


async def test_an_exception_of_the_handler_is_logged(chat: Path) -> None:
    """The traceback is on stderr, without `-v`, too."""
    async with serving("chat:fail", cwd=chat) as (process, url):
        async with connect(url) as client:
            with pytest.raises(websockets.ConnectionClosedError):
                await ask(client, "hi")
        _, _, err = await end_rxws(process)
        assert err.startswith("ERROR rxws: ")
        assert "ZeroDivisionError" in err


async def test_echo_returns_messages() -> None:
    """`--echo` needs no module."""
    async with serving("--echo") as (_, url), connect(url) as client:
        assert await ask(client, "hi") == "hi"
        await client.send(b"\x00")
        assert await client.recv() == b"\x00"


async def test_broadcast_sends_to_all_clients() -> None:
    """`--broadcast` is a chat room."""
    async with (
        serving("--broadcast") as (_, url),
        connect(url) as first,
        connect(url) as second,
    ):
        await first.send("hi")
        assert await second.recv() == "hi"
        assert await first.recv() == "hi"


async def test_a_pipe_is_sent_to_the_first_client() -> None:
    """`echo hi | rxws serve -n 1` sends the lines, prints one answer, and ends with 0."""
    async with running_rxws("serve", "--port", "0", "-n", "1") as process:
        url = (await read_line(process.stderr)).removeprefix("serving ")
        assert process.stdin is not None
        process.stdin.write("hi\nñ".encode())
        process.stdin.write_eof()
        async with connect(url) as client:
            assert [await client.recv(), await client.recv()] == ["hi", "ñ"]
            await client.send("an answer")
            with pytest.raises(websockets.ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1000
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, out) == (0, b"an answer\n")
    opened, closed = err.decode().splitlines()
    assert re.fullmatch(r"#1 connected from 127\.0\.0\.1:\d+ to /", opened)
    assert closed == "#1 closed with 1000 (normal closure) by this side"


async def test_a_line_that_is_no_text_is_named() -> None:
    """Nothing is sent with other characters than those of the file."""
    async with running_rxws("serve", "--port", "0") as process:
        url = (await read_line(process.stderr)).removeprefix("serving ")
        assert process.stdin is not None
        process.stdin.write(b"good\n\xff\n")
        async with connect(url) as client:
            assert await client.recv() == "good"
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 64
    assert "Line 2 of the input is not UTF-8: b'\\xff'." in err.decode()


async def test_a_reader_that_has_gone_ends_the_server() -> None:
    """`rxws serve | head -1` ends quietly."""
    async with running_rxws("serve", "--port", "0") as process:
        url = (await read_line(process.stderr)).removeprefix("serving ")
        transport: Any = process
        transport._transport.get_pipe_transport(1).close()
        async with connect(url) as client:
            await client.send("hi")
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


async def test_a_person_types_to_all_clients() -> None:
    """At a terminal: messages of all, commands, and what happens to connections."""
    async with open_terminal() as terminal:
        await terminal.run("serve", "--port", "0")
        lines = await terminal.until(lambda lines: any("serving ws" in each for each in lines))
        [url] = [each.split()[-1] for each in lines if each.startswith("serving ws")]
        await terminal.enter("too early")
        await terminal.shows("nobody is connected: this was not sent")
        async with connect(f"{url}?one") as first:
            await first.send("from \x1b the first")
            await terminal.shows("< from \\x1b the first")
            async with connect(url) as second:
                await second.send("from the second")
                await terminal.shows("< #2 from the second")
                await terminal.enter("to all")
                assert await first.recv() == await second.recv() == "to all"
                await terminal.enter("/ping")
                await terminal.until(lambda lines: sum("pong after" in line for line in lines) == 2)
                await terminal.enter("/close 4001 bye")
                await second.wait_closed()
                assert (second.close_code, first.close_code) == (4001, 4001)
        await terminal.shows("#2 closed with 4001 'bye' by this side")
        await terminal.enter("/help")
        await terminal.until(lambda lines: any("show this list" in each for each in lines))
        await terminal.press("C-d")
        await terminal.ends_with("$")


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("chat:nothing", 64, "has no 'nothing'; it has room, size, fail, make_app, broken_app"),
        ("chat:broken_app", 64, "chat:broken_app has failed to start:\nTraceback"),
        ("chat:away", 2, "Error: Redis at redis://127.0.0.1:1 cannot be reached"),
    ],
)
async def test_a_server_that_cannot_start_says_why(
    chat: Path, target: str, code: int, message: str
) -> None:
    """The message is on stderr, without frames of rxws or aiohttp."""
    result = await run_rxws("serve", target, "--port", "0", cwd=chat)
    assert message in result.err
    assert "/aiohttp/" not in result.err
    assert result.code == code


async def test_a_port_in_use_is_named() -> None:
    """The remedy is another port."""
    async with serving("--echo") as (_, url):
        port = url.rpartition(":")[2].strip("/")
        result = await run_rxws("serve", "--echo", "--port", port)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; use another "
        "--port, or 0 for a free one\n"
    )
