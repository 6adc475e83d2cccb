"""Peers that say a script's lines and note what they hear: raw, of `websockets`, of aiohttp."""

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
    """Say the peer's lines, and close if it is the peer's to close."""
    for number, pieces in enumerate(script.inbound, 1):
        await send(pieces)
        if number % script.bursts == 0:
            await asyncio.sleep(0)
    if script.peer_closes:
        await close(script.theirs)


class RawScriptPeer:
    """A raw peer; what it heard is read by the parser of `websockets`."""

    def __init__(self, script: Script, peer: Peer, extension: str | None) -> None:
        self._script = script
        self._peer = peer
        self._extension = extension
        self._has_closed = False
        self._pings = 0

    @property
    def count(self) -> int:
        """How many messages it has heard."""
        return len(self._peer.data)

    @property
    def heard(self) -> Messages:
        """The messages."""
        side = Side.CLIENT if self._peer.masks else Side.SERVER
        return decode(bytes(self._peer.received), side, self._extension).messages

    async def until(self, count: int) -> None:
        """Wait until so many messages were heard, or TCP has ended."""
        await self._peer.until(lambda: self._peer.ended or self.count >= count)

    async def run(self) -> None:
        """Talk until TCP has ended, however it does."""
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
    """The data in so many fragments, the last of which has the most."""
    step = len(data) // count
    return [data[at * step : (at + 1) * step] for at in range(count - 1)] + [
        data[(count - 1) * step :]
    ]


class ScriptPeer:
    """A peer of another library: notes what it heard, and can be waited for."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.heard: Messages = []
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def count(self) -> int:
        """How many messages it has heard."""
        return len(self.heard)

    async def until(self, count: int) -> None:
        """Wait until so many messages were heard, or the connection has ended."""
        while not self._ended and len(self.heard) < count:
            self._changed.clear()
            await self._changed.wait()

    def hear(self, message: str | bytes) -> None:
        """Note a message."""
        self.heard.append(message)
        self._changed.set()

    def end(self) -> None:
        """Note the end."""
        self._ended = True
        self._changed.set()


class WebsocketsScriptPeer(ScriptPeer):
    """A peer of `websockets`, client or server."""

    async def run(self, ws: Any) -> None:
        """Talk until the connection has ended, however it does."""

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
    """A server's end by aiohttp."""

    async def run(self, ws: web.WebSocketResponse) -> None:
        """Talk until the connection has ended, however it does."""

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
