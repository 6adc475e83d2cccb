"""WebSocket peers on raw sockets, which can send any bytes.

They use neither rxws nor aiohttp, so they see what another implementation would see. `Peer.ended`
is how TCP ended: "eof" (FIN) or "reset".
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

from support.peers.frames import Decoder, Frame, Op, close_body, deflate, frame, new_mask
from support.peers.handshake import Head, accept_key, encode_head

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails


class Peer:
    """One end of a connection. It reads in the background and answers nothing by itself."""

    def __init__(self, sock: socket.socket, *, masks: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.masks = masks
        self.head = Head("", {})
        self.received = bytearray()  # every byte after the upgrade
        self.frames: list[Frame] = []
        self.ended: str | None = None
        self._decoder = Decoder()
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    # --- what this peer sends

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def build(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
        """Encode a frame, masked if this peer is a client."""
        mask = new_mask() if self.masks else None
        return frame(opcode, payload, fin=fin, rsv=rsv, mask=mask)

    async def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
    ) -> None:
        """Send one frame, masked if this peer is a client."""
        await self.send(self.build(opcode, payload, fin=fin, rsv=rsv))

    async def text(self, text: str) -> None:
        """Send a text message."""
        await self.frame(Op.TEXT, text.encode())

    async def deflated(self, opcode: int, payload: bytes) -> None:
        """Send a message compressed, for connections that negotiated permessage-deflate."""
        await self.frame(opcode, deflate(payload), rsv=4)

    async def close(self, code: int | None = None, reason: str | bytes = b"") -> None:
        """Send a close frame; leave TCP open."""
        await self.frame(Op.CLOSE, close_body(code, reason))

    async def flood(self, data: bytes, first: bytes = b"") -> int:
        """Send the same bytes until TCP refuses them; return how often they were sent."""
        sent = 0
        with suppress(ConnectionError):
            await self.send(first + data)
            while True:
                await self.send(data)
                sent += 1
                await asyncio.sleep(0)  # a fast receiver must not keep the loop from everyone else
        return sent

    # --- what this peer reads

    def start_reading(self) -> None:
        """Read in the background until TCP ends."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())

    async def stop_reading(self) -> None:
        """Stop reading, so that TCP applies back-pressure."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            self._reader = None

    async def read_some(self, size: int) -> None:
        """Read at most this number of bytes, while this peer does not read in the background."""
        self._feed(await asyncio.get_running_loop().sock_recv(self.sock, size))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while self.ended is None:
            try:
                data = await loop.sock_recv(self.sock, 1 << 16)
            except ConnectionError:
                self.ended = "reset"
            else:
                self._feed(data)
                if not data:
                    self.ended = "eof"
            self._changed.set()

    def _feed(self, data: bytes) -> None:
        self.received += data
        self.frames += self._decoder.feed(data)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on what was read holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_ended(self) -> str:
        """Wait for the end of TCP: "eof" or "reset"."""
        await self.until(lambda: self.ended)
        assert self.ended is not None
        return self.ended

    async def messages(self, count: int) -> list[Frame]:
        """Wait for `count` data frames; return all data frames."""
        await self.until(lambda: len(self.data) >= count or self.ended)
        return self.data

    async def ping(self, index: int) -> Frame:
        """Wait for ping number `index`, counted from 0."""

        def pings() -> list[Frame]:
            return [one for one in self.frames if one.opcode == Op.PING]

        await self.until(lambda: len(pings()) > index)
        return pings()[index]

    async def closing(self) -> Frame:
        """Wait for the close frame of the other end."""
        await self.until(lambda: self.closes or self.ended)
        assert self.closes, f"TCP ended ({self.ended}) without a close frame"
        return self.closes[0]

    @property
    def data(self) -> list[Frame]:
        """The data frames so far."""
        return [one for one in self.frames if one.opcode < Op.CLOSE]

    @property
    def closes(self) -> list[Frame]:
        """The close frames so far."""
        return [one for one in self.frames if one.opcode == Op.CLOSE]

    async def answer_close(self) -> Frame:
        """Wait for a close frame, echo it and half-close TCP."""
        got = await self.closing()
        with suppress(ConnectionError):
            await self.frame(Op.CLOSE, got.payload)
        self.fin()
        return got

    # --- how this peer leaves

    def fin(self) -> None:
        """Half-close TCP: the other end sees EOF; this end still reads."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    async def rst(self) -> None:
        """Reset TCP."""
        await self.stop_reading()
        if self.sock.fileno() >= 0:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()

    async def read_head(self) -> Head:
        """Read up to the empty line that ends the head of a request or a response."""
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(PATIENCE):
            while b"\r\n\r\n" not in data:
                more = await loop.sock_recv(self.sock, 1 << 16)
                if not more:
                    raise ConnectionError(f"TCP ended within the head of the handshake: {data!r}")
                data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        self._feed(rest)
        return Head.parse(head)


class RawClient(Peer):
    """A client; `head` is the response, and after a refusal `received` holds its body."""

    @classmethod
    async def connect(
        cls,
        port: int,
        path: str = "/",
        *,
        headers: Mapping[str, str | None] | None = None,
        receive_buffer: int | None = None,
        reads: bool = True,
        then: bytes = b"",
    ) -> Self:
        """Connect to 127.0.0.1 and request the upgrade; leave out headers that are None.

        The bytes `then` are sent in the same write as the request.
        """
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self = cls(sock, masks=True)
        key = base64.b64encode(os.urandom(16)).decode()
        send: dict[str, str | None] = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            **(headers or {}),
        }
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            await self.send(encode_head(f"GET {path} HTTP/1.1", send) + then)
            self.head = await self.read_head()
        except BaseException:
            sock.close()
            raise
        if self.head.status == 101:
            assert self.head.headers["sec-websocket-accept"] == accept_key(key)
        if reads:
            self.start_reading()
        return self


class RawServer:
    """A server on 127.0.0.1; `accept` returns a `Peer`, upgraded or refused."""

    def __init__(self, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:  # what is accepted inherits it
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen()
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.peers: list[Peer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for peer in self.peers:
            await peer.rst()
        self.sock.close()

    async def accept_tcp(self) -> Peer:
        """Accept one connection and send nothing."""
        async with asyncio.timeout(PATIENCE):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        self.peers.append(peer := Peer(sock, masks=False))
        return peer

    async def accept(
        self,
        headers: Mapping[str, str | None] | None = None,
        *,
        reply: bytes | None = None,
        then: bytes = b"",
        reads: bool = True,
    ) -> Peer:
        """Accept one connection, read its request (`head`), and answer 101 or `reply`.

        The bytes `then` are sent in the same write as the answer.
        """
        peer = await self.accept_tcp()
        peer.head = await peer.read_head()
        if reply is None:
            answer: dict[str, str | None] = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": accept_key(peer.head.headers["sec-websocket-key"]),
                **(headers or {}),
            }
            reply = encode_head("HTTP/1.1 101 Switching Protocols", answer)
        await peer.send(reply + then)
        if reads:
            peer.start_reading()
        return peer
