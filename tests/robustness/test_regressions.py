"""What the mutants have found, each by itself: at both ends, on both paths."""

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
from support.peers.fake_tcp import force_read_path
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


@pytest.fixture(params=["push", "pull"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test that asks for it runs once on each path."""
    chosen: str = request.param
    force_read_path(monkeypatch, chosen)
    return chosen


@pytest.fixture(params=["server", "client"])
async def link(request: pytest.FixtureRequest, serve: Serve, path: str) -> AsyncIterator[Links]:
    """Open a connection with a raw peer."""
    del path  # taken before anything is opened
    async with open_links(request.param, serve) as links:
        yield links


async def test_what_does_not_compress_may_be_as_large(link: Links) -> None:
    """A message of `max_message_size` is accepted though it is larger when compressed."""
    one = await link(max_message_size=SIZE, deflate=True)
    noise = random.Random(1).randbytes(SIZE + 1)
    assert len(deflate(noise[:SIZE])) > SIZE + 1
    await one.peer.deflated(Op.BINARY, noise[:SIZE])
    await one.peer.deflated(Op.BINARY, noise)
    await one.ended(1009, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == [noise[:SIZE]]
    await one.wire(1009)


async def test_a_violation_is_told_though_tcp_is_ended(
    link: Links, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What broke the protocol before a FIN is a 1002, also where it is read after the FIN came."""
    ended = asyncio.Event()
    told = PullReader.on_eof

    def on_eof(self: PullReader) -> None:
        told(self)
        ended.set()

    monkeypatch.setattr(PullReader, "on_eof", on_eof)
    one = await link()
    hold = one.conn.flow.pause()
    await one.peer.text("fine")
    await one.peer.frame(0x3)
    one.peer.fin()
    if path == "pull":  # on the other one TCP is not read while there is a hold
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    hold.dispose()
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == ["fine"]
    assert (await one.peer.closing()).code == 1002


async def test_codes_of_violations_are_numbers(link: Links) -> None:
    """The code of a verdict prints as a number, as that of any other close does."""
    one = await link()
    await one.peer.frame(0x3)
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert repr(one.seen.closes[0]).startswith("Close(code=1002, ")


async def test_who_leaves_within_the_handshake_is_no_error(
    serve: Serve, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that is gone before the upgrade is answered makes no connection and no error log."""
    del path
    asked = asyncio.Event()
    done = asyncio.Event()
    connections: list[object] = []

    async def upgrade(request: web.Request) -> web.StreamResponse:
        asked.set()
        assert request.transport is not None
        while not request.transport.is_closing():  # noqa: ASYNC110 # nothing tells a handler
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
        await asyncio.sleep(0)  # what aiohttp says to what comes back from the handler
    assert caplog.messages == []
    assert connections == []


KEYS = {"no ASCII": "\xe9" * 24, "no base64": "?" * 24, "empty": "", "short": "dGhlIHNhbXBsZQ=="}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_a_key_that_is_none(serve: Serve, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """A `Sec-WebSocket-Key` that is not 16 bytes as base64 is a 400, and no error log."""
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
async def test_others_get_their_turn_while_a_chunk_is_told(link: Links) -> None:
    """A subscriber that is slow with each of many messages leaves the loop to others in between."""
    turns: list[int] = []
    done = asyncio.Event()

    def take(_: Any) -> None:
        turns.append(turn)
        time.sleep(0.002)  # the very thing: it holds the loop
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
    """Whatever stands in a header of the handshake, the answer is a 4xx, and no error is logged."""
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
