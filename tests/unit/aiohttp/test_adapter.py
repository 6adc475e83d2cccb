"""The adapter and its wire on a bare socket pair, with scripts for aiohttp and for the session."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType

from rxws._aiohttp.transport.adapter import AiohttpTransport
from rxws._aiohttp.transport.socket_protocol import SocketProtocol
from rxws._core.frames import Frame, Opcode
from support.peers.raw import PATIENCE
from support.receiver import RecordingReceiver


class Inner(asyncio.Protocol):
    """What aiohttp's protocol is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._note(data.decode())

    def eof_received(self) -> None:
        self._note("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost")

    def _note(self, what: str) -> None:
        self.told.append(what)
        self.changed.set()

    async def until(self, what: str) -> None:
        """Wait until it was told so."""
        async with asyncio.timeout(PATIENCE):
            while what not in self.told:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def paired() -> AsyncIterator[tuple[asyncio.Transport, Inner, socket.socket]]:
    """A transport with its protocol, and the socket at the other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, inner = await asyncio.get_running_loop().create_connection(Inner, sock=ours)
    try:
        yield transport, inner, theirs
    finally:
        transport.abort()
        theirs.close()
        await inner.until("lost")


class Deaf:
    """Who is told of all that a wire sees, and does nothing about it."""

    def on_writable(self) -> None: ...

    def on_eof(self) -> None: ...

    def on_lost(self) -> None: ...


def wire_on(transport: asyncio.Transport) -> SocketProtocol:
    return SocketProtocol(transport, Deaf())


class Script:
    """aiohttp's WebSocket: gives what it is told to give, writes nothing."""

    def __init__(self, refuses: bool = False) -> None:
        self.messages: asyncio.Queue[WSMessage] = asyncio.Queue()
        self.written: list[bytes] = []
        self._refuses = refuses

    async def receive(self) -> Any:
        return await self.messages.get()

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        del opcode
        if self._refuses:
            raise ClientConnectionResetError("Cannot write to closing transport")
        self.written.append(message)

    compress = 0

    def end(self) -> None:
        self.messages.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))


async def test_a_transport_that_is_closing_already() -> None:
    """A wire on a transport that is being closed is lost from the start, and stays out of it."""
    async with paired() as (transport, inner, _):
        transport.close()
        wire = wire_on(transport)
        assert wire.lost.done()
        assert wire.buffered == 0
        assert transport.get_protocol() is inner


async def test_to_linger_after_the_peers_eof_is_to_close() -> None:
    """Where the peer has half-closed already, nothing more can come: there is no waiting for it."""
    async with paired() as (transport, inner, theirs):
        wire = wire_on(transport)
        theirs.shutdown(socket.SHUT_WR)
        await inner.until("eof")
        assert not transport.is_closing()  # we may still have something to say
        wire.linger()
        async with asyncio.timeout(PATIENCE):
            await wire.lost
            assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""


async def test_what_comes_while_lingering_is_discarded() -> None:
    """After our close nothing that comes is passed on, but all of it is read."""
    async with paired() as (transport, inner, theirs):
        wire = wire_on(transport)
        theirs.send(b"before")
        await inner.until("before")
        wire.linger()
        theirs.send(b"after")
        theirs.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE):
            await wire.lost
        assert wire.received == len(b"before" + b"after")
        assert inner.told == ["before", "eof", "lost"]


async def test_a_loss_that_is_told_twice() -> None:
    """A transport that says twice that it is lost, as asyncio's may, does no harm."""
    async with paired() as (transport, inner, _):
        wire = wire_on(transport)
        transport.abort()
        await wire.lost
        wire.connection_lost(None)
        assert inner.told == ["lost", "lost"]


async def test_what_happens_before_a_session_is_there() -> None:
    """A wire that fills, empties and is lost before it has its session tells it when it has."""
    async with paired() as (transport, inner, _):
        script, receiver = Script(), RecordingReceiver(Frame(Opcode.BINARY, b"never"))
        adapter = AiohttpTransport(script, transport, 1 << 20)
        protocol: Any = transport.get_protocol()
        protocol.pause_writing()
        protocol.resume_writing()
        transport.abort()
        await inner.until("lost")
        script.end()
        async with asyncio.timeout(PATIENCE):
            await adapter.run(receiver)
        assert receiver.notifications[0] == ("lost",)
        assert not script.written


async def test_a_write_that_aiohttp_refuses() -> None:
    """A frame refused because TCP is lost is no failure: the reading side tells the loss."""
    async with paired() as (transport, _, _theirs):
        receiver = RecordingReceiver(*[Frame(Opcode.BINARY, data) for data in (b"one", b"two")])
        script = Script(refuses=True)
        adapter = AiohttpTransport(script, transport, 1 << 20)
        script.end()
        async with asyncio.timeout(PATIENCE):
            await adapter.run(receiver)
        assert not receiver.frames
        assert ("lost",) in receiver.notifications


async def test_to_pause_and_resume_more_than_once() -> None:
    """Reading is paused or not: to pause what is paused, or resume what is not, changes nothing."""
    async with paired() as (transport, _, _theirs):
        script, receiver = Script(), RecordingReceiver()
        adapter = AiohttpTransport(script, transport, 1 << 20)
        adapter.resume_reading()
        adapter.pause_reading()
        adapter.pause_reading()
        script.messages.put_nowait(WSMessage(WSMsgType.TEXT, "one", None))
        script.end()
        running = asyncio.create_task(adapter.run(receiver))
        for _ in range(5):
            await asyncio.sleep(0)
        assert receiver.notifications == []
        adapter.resume_reading()
        async with asyncio.timeout(PATIENCE):
            await running
        assert receiver.notifications[0] == "one"


async def test_reading_cancelled_during_a_pause() -> None:
    """To resume a reading that was cancelled meanwhile does nothing; the loss is told later."""
    async with paired() as (transport, inner, _):
        receiver = RecordingReceiver()
        adapter = AiohttpTransport(Script(), transport, 1 << 20)
        adapter.pause_reading()
        running = asyncio.create_task(adapter.run(receiver))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        adapter.resume_reading()
        adapter.abort()
        await inner.until("lost")
        await asyncio.sleep(0)
        assert receiver.notifications == [("cancelled",), ("unsendable",), ("lost",)]


async def test_a_half_close_of_a_peer_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that vanishes in the very turn in which we half-close costs no traceback."""

    def gone() -> None:
        raise OSError(errno.ENOTCONN, "the peer is gone")

    async with paired() as (transport, inner, _):
        wire = wire_on(transport)
        monkeypatch.setattr(transport, "write_eof", gone)
        wire.linger()
        async with asyncio.timeout(PATIENCE):
            await wire.lost
        assert inner.told == ["lost"]
