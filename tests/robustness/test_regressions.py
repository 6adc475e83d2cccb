"""Bugs that the mutations found, at both ends and on both read paths."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

import rxws
from rxws._aiohttp.transport.pull_reader import PullReader
from support.fixtures import Serve
from support.peers.endpoints import Links, open_links
from support.peers.frames import Op, deflate
from support.peers.handshake import encode_head
from support.peers.raw import PATIENCE, RawClient

SIZE = 10_000
HEADERS = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(params=["server", "client"])
async def link(
    request: pytest.FixtureRequest, serve: Serve, read_path: str
) -> AsyncIterator[Links]:
    """Open a connection with a raw peer."""
    del read_path  # chosen before anything is opened
    async with open_links(request.param, serve) as links:
        yield links


async def test_an_incompressible_message_may_be_of_max_message_size(link: Links) -> None:
    """A message of `max_message_size` is accepted even if it is larger when compressed."""
    one = await link(max_message_size=SIZE, deflate=True)
    noise = random.Random(1).randbytes(SIZE + 1)
    assert len(deflate(noise[:SIZE])) > SIZE + 1
    await one.peer.deflated(Op.BINARY, noise[:SIZE])
    await one.peer.deflated(Op.BINARY, noise)
    await one.ended(1009, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == [noise[:SIZE]]
    await one.wire(1009)


async def test_a_violation_before_a_fin_is_1002(
    link: Links, read_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protocol violation before a FIN is a 1002, even if it is read after the FIN arrived."""
    ended = asyncio.Event()
    original = PullReader.on_eof

    def on_eof(self: PullReader) -> None:
        original(self)
        ended.set()

    monkeypatch.setattr(PullReader, "on_eof", on_eof)
    one = await link()
    pause = one.conn.flow.pause()
    await one.peer.text("fine")
    await one.peer.frame(0x3)
    one.peer.fin()
    if read_path == "pull":  # the push reader does not read TCP during a pause
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    pause.dispose()
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == ["fine"]
    assert (await one.peer.closing()).code == 1002


async def test_codes_of_violations_are_numbers(link: Links) -> None:
    """The close code of a protocol violation prints as a number, as any other code."""
    one = await link()
    await one.peer.frame(0x3)
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert repr(one.seen.closes[0]).startswith("Close(code=1002, ")


async def test_a_client_that_leaves_during_the_handshake(
    serve: Serve, read_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves before the upgrade is answered makes no connection and no error log."""
    del read_path
    asked = asyncio.Event()
    done = asyncio.Event()
    connections: list[object] = []

    async def upgrade(request: web.Request) -> web.StreamResponse:
        asked.set()
        assert request.transport is not None
        while not request.transport.is_closing():  # noqa: ASYNC110 # aiohttp has no event for it
            await asyncio.sleep(0)
        try:
            return await rxws.upgrade(request, connections.append)
        finally:
            done.set()

    app = web.Application()
    app.router.add_get("/", upgrade)
    rxws.setup(app)
    port = await serve(app)
    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.WARNING), socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, encode_head("GET / HTTP/1.1", HEADERS))
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            await done.wait()
        await asyncio.sleep(0)  # let aiohttp handle what the handler returned
    assert caplog.messages == []
    assert connections == []


KEYS = {"not ASCII": "\xe9" * 24, "not base64": "?" * 24, "empty": "", "short": "dGhlIHNhbXBsZQ=="}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_an_invalid_key(serve: Serve, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """A `Sec-WebSocket-Key` that is not 16 bytes in base64 gets a 400 and no error log."""
    app = web.Application()
    app.router.add_get("/", rxws.websocket(lambda _: None))
    rxws.setup(app)
    port = await serve(app)
    with caplog.at_level(logging.WARNING):
        peer = await RawClient.connect(port, headers={"Sec-WebSocket-Key": key})
        await peer.rst()
    assert peer.head.status == 400
    assert caplog.messages == []


@pytest.mark.promise("turns")
async def test_other_tasks_run_while_a_chunk_is_delivered(link: Links) -> None:
    """Other tasks run while a slow subscriber handles the messages of one chunk."""
    turns: list[int] = []
    done = asyncio.Event()

    def take(_: Any) -> None:
        turns.append(turn)
        time.sleep(0.002)  # block the loop on purpose
        if len(turns) == 50:
            done.set()

    one = await link()
    one.conn.incoming.subscribe(take)
    turn = 0
    await one.peer.send(one.peer.build(Op.TEXT, b"x") * 50)
    async with asyncio.timeout(PATIENCE):
        while not done.is_set():  # each round is a turn of the loop
            await asyncio.sleep(0)
            turn += 1
    assert max(turns.count(each) for each in set(turns)) <= 10


MALFORMED = [
    (b"Connection: Upgrade", b"Connection: Upgra\xe4e"),
    (b"Upgrade: websocket", b"Upgrade: webs\xf6cket"),
    (b"Version: 13", b"Version: \xb3"),
    (b"Host: 127.0.0.1", b"Host: h\xf6st"),
    (b"Host: 127.0.0.1", b"Host: a:port"),
    (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: \xe9\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate; \xe9\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nOrigin: http://\xe9\r\n\r\n"),
    (b"\r\n\r\n", b"\r\nOrigin: http://[::\r\n\r\n"),
]


@pytest.mark.parametrize(("right", "wrong"), MALFORMED)
async def test_a_malformed_header_is_refused(
    serve: Serve, right: bytes, wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed header in a handshake request gets a 4xx and no error log."""
    app = web.Application()
    app.router.add_get("/", rxws.websocket(lambda _: None, protocols=["chat"]))
    rxws.setup(app)
    port = await serve(app)
    request = encode_head("GET / HTTP/1.1", HEADERS)
    assert right in request
    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.WARNING), socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, request.replace(right, wrong))
        async with asyncio.timeout(PATIENCE):
            answer = await loop.sock_recv(sock, 1 << 16)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert caplog.messages == []
