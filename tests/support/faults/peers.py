"""Peers that play a script and record messages: raw sockets, `websockets` and aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import websockets
from aiohttp import WSMsgType, web
from websockets.protocol import Side

from support.faults.script import Script
from support.peers.decoder import decode
from support.peers.frames import Op, deflate
from support.peers.raw import Peer

Messages = list[str | bytes]
Pieces = list[str] | list[bytes]


async def play_script(
    script: Script,
    send: Callable[[Pieces], Awaitable[None]],
    close: Callable[[int | None], Awaitable[None]],
) -> None:
    """Send the peer's messages, and close if the script says so."""
    for number, pieces in enumerate(script.inbound, 1):
        await send(pieces)
        if number % script.bursts == 0:
            await asyncio.sleep(0)
    if script.peer_closes:
        await close(script.theirs)


class RawScriptPeer:
    """A raw peer; the parser of `websockets` decodes what it received."""

    def __init__(self, script: Script, peer: Peer, extension: str | None) -> None:
        self._script = script
        self._peer = peer
        self._extension = extension
        self._has_closed = False
        self._pings = 0

    @property
    def count(self) -> int:
        """The number of messages received."""
        return len(self._peer.data)

    @property
    def heard(self) -> Messages:
        """The messages."""
        side = Side.CLIENT if self._peer.masks else Side.SERVER
        return decode(bytes(self._peer.received), side, self._extension).messages

    async def until(self, count: int) -> None:
        """Wait for `count` messages or the end of TCP."""
        await self._peer.until(lambda: self._peer.ended or self.count >= count)

    async def run(self) -> None:
        """Play the script until TCP has ended."""
        peer = self._peer
        with suppress(OSError):
            await play_script(self._script, self._send, self._close)
            await peer.until(lambda: peer.closes or peer.ended)
            if peer.closes and not self._has_closed:
                await peer.frame(Op.CLOSE, peer.closes[0].payload)
            if peer.closes:
                peer.fin()
        await peer.until_ended()
        await peer.rst()

    async def _close(self, code: int | None) -> None:
        self._has_closed = True
        await self._peer.close(code)

    async def _send(self, pieces: Pieces) -> None:
        payloads = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        opcode = Op.TEXT if isinstance(pieces[0], str) else Op.BINARY
        rsv = 0
        if self._extension is not None:
            payloads, rsv = in_thirds(deflate(b"".join(payloads)), len(payloads)), 4
        for number, payload in enumerate(payloads, 1):
            await self._peer.frame(opcode, payload, fin=number == len(payloads), rsv=rsv)
            opcode, rsv = Op.CONT, 0
            self._pings += 1
            if self._pings % 5 == 0:
                await self._peer.frame(Op.PING, b"%d" % self._pings)


def in_thirds(data: bytes, count: int) -> list[bytes]:
    """Split data into fragments; the last is the longest."""
    step = len(data) // count
    return [data[at * step : (at + 1) * step] for at in range(count - 1)] + [
        data[(count - 1) * step :]
    ]


class ScriptPeer:
    """A peer of another library that records messages."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.heard: Messages = []
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def count(self) -> int:
        """The number of messages received."""
        return len(self.heard)

    async def until(self, count: int) -> None:
        """Wait for `count` messages or the end of the connection."""
        while not self._ended and len(self.heard) < count:
            self._changed.clear()
            await self._changed.wait()

    def hear(self, message: str | bytes) -> None:
        """Record a message."""
        self.heard.append(message)
        self._changed.set()

    def end(self) -> None:
        """Record the end."""
        self._ended = True
        self._changed.set()


class WebsocketsScriptPeer(ScriptPeer):
    """A peer of `websockets`, client or server."""

    async def run(self, ws: Any) -> None:
        """Play the script until the connection has ended."""

        async def send(pieces: Pieces) -> None:
            await ws.send(pieces if len(pieces) > 1 else pieces[0])

        async def close(code: int | None) -> None:
            await ws.close(code)

        async def listen() -> None:
            with suppress(websockets.ConnectionClosed):
                async for message in ws:
                    self.hear(message)

        async def say() -> None:
            with suppress(websockets.ConnectionClosed):
                await play_script(self.script, send, close)

        try:
            await asyncio.gather(listen(), say())
            await ws.wait_closed()
        finally:
            self.end()


class AiohttpScriptPeer(ScriptPeer):
    """A server by aiohttp."""

    async def run(self, ws: web.WebSocketResponse) -> None:
        """Play the script until the connection has ended."""

        async def send(pieces: Pieces) -> None:
            (message,) = pieces
            await (ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message))

        async def close(code: int | None) -> None:
            assert code is not None
            await ws.close(code=code)

        async def say() -> None:
            with suppress(ConnectionError):
                await play_script(self.script, send, close)

        saying = asyncio.create_task(say())
        try:
            async for message in ws:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.hear(message.data)
            await saying
        finally:
            saying.cancel()
            self.end()
