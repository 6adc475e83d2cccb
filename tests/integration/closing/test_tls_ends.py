"""How connections over TLS end, with a peer whose TLS runs in memory.

Such a peer can send `close_notify` and stop reading; TLS has no half-close.
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

import rxws
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.frames import Decoder, Frame, Op, frame, new_mask
from support.peers.handshake import encode_head
from support.peers.raw import PATIENCE
from support.peers.tls import PEM


class SecurePeer:
    """A TLS client on a plain socket that controls every TLS record."""

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
        await self.send(encode_head("GET / HTTP/1.1", headers))
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
        """Return some decrypted bytes, or none at the end of TLS or TCP."""
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

    async def send_close_notify(self) -> None:
        """Send `close_notify`, the FIN of TLS."""
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
        """Read to the end of TLS or TCP."""
        async with asyncio.timeout(PATIENCE):
            try:
                while data := await self._read():
                    self.frames += self._decoder.feed(data)
            except ConnectionError:
                pass

    async def until_tcp_ends(self) -> None:
        """Read encrypted bytes to the end of TCP."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await asyncio.get_running_loop().sock_recv(self._sock, 1 << 20):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def secure_link(
    receive_buffer: int | None = None, **options: Any
) -> AsyncIterator[tuple[SecurePeer, ConnectionSubscriber]]:
    """Connect a `SecurePeer` to a TLS server."""
    ready: asyncio.Future[ConnectionSubscriber] = asyncio.get_running_loop().create_future()

    def handler(conn: AnyConnection) -> None:
        ready.set_result(ConnectionSubscriber(conn))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    serving = rxws.serve(handler, drain=1.0, ssl_context=context, **options)
    with socket.socket() as sock:
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with serving as server:
            peer = SecurePeer(sock)
            async with asyncio.timeout(PATIENCE):
                await peer.open(server.port)
                seen = await ready
            yield peer, seen


async def test_close_notify_while_messages_are_queued() -> None:
    """`close_notify` discards queued messages and is reported as 1006 with `by="network"`."""
    async with secure_link(receive_buffer=4096, max_buffer=64 << 20, send_timeout=600.0) as link:
        peer, seen = link
        for _ in range(16):
            seen.conn.outgoing.on_next(bytes(1 << 20))
        await peer.send_close_notify()
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        await peer.until_tcp_ends()


@pytest.mark.promise("cut")
async def test_close_notify_without_a_close_frame() -> None:
    """`close_notify` without a close frame is reported as 1006 with `by="network"`."""
    async with secure_link() as (peer, seen):
        await peer.send_close_notify()
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        await peer.until_tcp_ends()


async def test_our_close_reaches_a_peer_that_still_sends() -> None:
    """Our close reaches a peer that is still sending; once it is quiet, we end TCP."""
    async with secure_link(close_timeout=600.0) as (peer, seen):
        await peer.send(frame(Op.TEXT, b"\xff", mask=new_mask()))
        assert (await peer.closing()).code == 1007
        await peer.send(frame(Op.TEXT, b"ignored after the close", mask=new_mask()))
        await peer.until_ended()
        close = await seen.end()
        assert (close.code, close.by) == (1007, "local")
        assert not seen.values
        assert sum(one.opcode == Op.CLOSE for one in peer.frames) == 1
