"""Ends over TLS with a peer that shakes hands by itself: what a half-close is where there is none.

The peer runs TLS in memory on a bare socket, so that it may say `close_notify` and read nothing.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

import rxws
from support.peers.endpoints import AnyConnection, Seen
from support.peers.frames import Decoder, Frame, Op, frame, new_mask
from support.peers.handshake import written
from support.peers.raw import PATIENCE
from support.peers.tls import PEM


class SecurePeer:
    """A client that speaks TLS record by record."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(PEM))
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._decoder = Decoder()
        self.frames: list[Frame] = []

    async def open(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._sock, ("127.0.0.1", port))
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                break
        headers: dict[str, str | None] = {
            "Host": f"localhost:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        }
        await self.send(written("GET / HTTP/1.1", headers))
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._read()
        head, _, rest = data.partition(b"\r\n\r\n")
        assert b" 101 " in head
        self.frames += self._decoder.feed(rest)

    async def _flush(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, self._out.read())

    async def _fill(self) -> bool:
        data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
        self._in.write(data)
        return bool(data)

    async def _read(self) -> bytes:
        """Some plain bytes; none at the end of TLS or TCP."""
        while True:
            try:
                return self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not await self._fill():
                    return b""
            except ssl.SSLZeroReturnError:
                return b""

    async def send(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def say_notify(self) -> None:
        """Say that nothing follows, which is what TLS has for a FIN."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            await self._flush()

    async def closing(self) -> Frame:
        """Read up to the close frame."""
        async with asyncio.timeout(PATIENCE):
            while not (self.frames and self.frames[-1].opcode == Op.CLOSE):
                data = await self._read()
                assert data, "TLS ended without a close frame"
                self.frames += self._decoder.feed(data)
        return self.frames[-1]

    async def until_ended(self) -> None:
        """Read to the end of TLS or TCP, however that comes."""
        async with asyncio.timeout(PATIENCE):
            try:
                while data := await self._read():
                    self.frames += self._decoder.feed(data)
            except ConnectionError:
                pass

    async def until_gone(self) -> None:
        """Take what TCP brings, sealed as it is, to its end."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await asyncio.get_running_loop().sock_recv(self._sock, 1 << 20):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def dialled(
    receive_buffer: int | None = None, **options: Any
) -> AsyncIterator[tuple[SecurePeer, Seen]]:
    """A connection of a TLS server with such a peer."""
    ready: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()

    def handler(conn: AnyConnection) -> None:
        ready.set_result(Seen(conn))

    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler, **options))
    rxws.setup(app, drain=1.0)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    with socket.socket() as sock:
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            peer = SecurePeer(sock)
            async with asyncio.timeout(PATIENCE):
                await peer.open(runner.addresses[0][1])
                seen = await ready
            yield peer, seen
        finally:
            await runner.cleanup()


async def test_a_peer_that_ends_tls_while_output_waits() -> None:
    """What waits for a peer that has ended TLS is thrown away: a 1006 by the network, at once."""
    async with dialled(receive_buffer=4096, max_buffer=64 << 20, send_timeout=600.0) as link:
        peer, seen = link
        for _ in range(16):
            seen.conn.outgoing.on_next(bytes(1 << 20))
        await peer.say_notify()
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        await peer.until_gone()


@pytest.mark.promise("cut")
async def test_a_peer_that_ends_tls() -> None:
    """The end of TLS without a close frame is a 1006 by the network."""
    async with dialled() as (peer, seen):
        await peer.say_notify()
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        await peer.until_gone()


async def test_a_peer_that_neither_answers_nor_leaves() -> None:
    """Our close is read by a peer that was still sending; when it is quiet, we are gone."""
    async with dialled(close_timeout=600.0) as (peer, seen):
        await peer.send(frame(Op.TEXT, b"\xff", mask=new_mask()))
        assert (await peer.closing()).code == 1007
        await peer.send(frame(Op.TEXT, b"what nobody hears", mask=new_mask()))
        await peer.until_ended()
        close = await seen.end()
        assert (close.code, close.by) == (1007, "local")
        assert not seen.values
        assert sum(one.opcode == Op.CLOSE for one in peer.frames) == 1
