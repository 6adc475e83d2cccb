"""Half-open, endless and oversized handshakes are bounded in memory and time."""

from __future__ import annotations

import asyncio
import functools
import socket
import zlib
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from aiohttp import web

import rxws
from support.attack.attackers import Target, attack
from support.fixtures import Serve
from support.peers.raw import Peer, RawServer
from support.processes.server import HAS_PROC, MIB, PATIENCE, SOAK

Respond = Callable[[Peer], Coroutine[Any, Any, None]]

needs_proc = pytest.mark.skipif(not HAS_PROC, reason="memory is read from /proc")

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


async def connect_tcp(port: int) -> socket.socket:
    """Open a TCP connection to 127.0.0.1."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def read_to_end(sock: socket.socket) -> bytes:
    """Return all bytes until TCP ends."""
    received = b""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            while more := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
                received += more
    return received


# --- the server end ---------------------------------------------------------------------------


@pytest.mark.promise("half-open")
@needs_proc
@pytest.mark.soak
@pytest.mark.parametrize("process", [("server", "push")], ids="-".join, indirect=True)
async def test_half_open_requests_do_not_affect_others(target: Target) -> None:
    """Hundreds of unfinished requests take little memory, and other clients are served."""
    async with AsyncExitStack() as stack, attack(target):
        for _ in range(900 if SOAK else 300):
            sock = stack.enter_context(await connect_tcp(target.process.port))
            await asyncio.get_running_loop().sock_sendall(sock, REQUEST)
        peer = await target.peer("echo")
        await peer.text("served")
        assert [one.payload for one in await peer.messages(1)] == [b"served"]
        await peer.close(1000)
        assert (await peer.closing()).code == 1000


async def test_a_request_that_is_never_finished() -> None:
    """An unfinished request ends after aiohttp's `keepalive_timeout` (75 s by default)."""
    app = web.Application()
    app.router.add_get("/", rxws.websocket(lambda _: None))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=0.3)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with await connect_tcp(runner.addresses[0][1]) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, REQUEST)
            assert await read_to_end(sock) == b""
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(REQUEST + b"X-Large: " + b"x" * 10_000, id="one large header"),
        pytest.param(REQUEST + b"X-Many: x\r\n" * 1000, id="many headers"),
        pytest.param(b"GET /" + b"x" * 10_000, id="a long path"),
    ],
)
async def test_a_head_that_is_too_large(serve: Serve, head: bytes) -> None:
    """Above aiohttp's limits of 8190 bytes a line and 128 headers, the response is a 400."""
    handled: list[object] = []
    port = await serve(rxws.websocket(handled.append))
    with await connect_tcp(port) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, head + b"\r\n\r\n")
        assert (await read_to_end(sock)).startswith(b"HTTP/1.0 400 ")
    assert handled == []


# --- the client end ---------------------------------------------------------------------------


async def no_response(_: Peer) -> None:
    """Never respond."""
    await asyncio.Event().wait()


async def endless_trickle(peer: Peer) -> None:
    """Send an endless response byte by byte."""
    while True:
        for byte in SWITCHING + b"X-More: x\r\n" * 100:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.02)


@pytest.mark.promise("half-open")
@pytest.mark.parametrize("answer", [no_response, endless_trickle])
async def test_a_handshake_that_never_finishes(answer: Respond) -> None:
    """If a handshake takes longer than `open_timeout`, `connect` raises a `ConnectError`."""
    async with RawServer() as server:
        connecting = asyncio.ensure_future(rxws.connect(server.url, open_timeout=0.5))
        peer = await server.accept_tcp()
        answering = asyncio.create_task(answer(peer))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(rxws.ConnectError, match=r"no answer in open_timeout=0\.5 s"):
                await connecting
        answering.cancel()
        await asyncio.wait([answering])


async def endless_headers(peer: Peer) -> None:
    await peer.send(SWITCHING)
    while True:
        await peer.send(b"X-More: " + b"x" * 1000 + b"\r\n")


async def endless_line(peer: Peer) -> None:
    await peer.send(SWITCHING + b"X-Large: ")
    while True:
        await peer.send(b"x" * 65536)


async def endless_reason(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 101 ")
    while True:
        await peer.send(b"x" * 65536)


async def endless_refusal(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 403 No\r\n\r\n")
    while True:
        await peer.send(b"x" * 65536)


@functools.cache
def gzip_bomb() -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return b"".join(compressor.compress(bytes(MIB)) for _ in range(64)) + compressor.flush()


async def refusal_bomb(peer: Peer) -> None:
    data = gzip_bomb()
    head = f"HTTP/1.1 403 No\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    await peer.send(head.encode() + data)


async def endless_interim(peer: Peer) -> None:
    while True:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


@needs_proc
@pytest.mark.parametrize("process", [("client", "push")], ids="-".join, indirect=True)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (endless_headers, "ConnectError"),
        (endless_line, "ConnectError"),
        (endless_reason, "ConnectError"),
        (endless_interim, "ConnectError"),
        (endless_refusal, "HandshakeError 403"),
        (refusal_bomb, "HandshakeError 403"),
    ],
)
async def test_an_endless_response(target: Target, answer: Respond, error: str) -> None:
    """aiohttp's limits bound an endless head; 64 KiB and one second bound a refusal's body.

    `open_timeout` bounds the whole handshake.
    """
    async with attack(target) as cost:
        await target.dial("sink", open_timeout=1.0 if answer is endless_interim else 30.0)
        peer = await target.server.accept_tcp()
        await peer.read_head()
        answering = asyncio.create_task(answer(peer))
        await target.calm()
        answering.cancel()
        with suppress(ConnectionError, asyncio.CancelledError):
            await answering
    assert cost.said["refused"] == {error: 1}
