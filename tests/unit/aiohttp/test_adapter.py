"""`AiohttpTransport` and `SocketProtocol` on a socket pair, without aiohttp and a session."""

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


class RecordingProtocol(asyncio.Protocol):
    """A protocol that records its calls, in place of aiohttp's."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._record(data.decode())

    def eof_received(self) -> None:
        self._record("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self._record("lost")

    def _record(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, event: str) -> None:
        """Wait until this event was recorded."""
        async with asyncio.timeout(PATIENCE):
            while event not in self.events:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def socket_pair() -> AsyncIterator[
    tuple[asyncio.Transport, RecordingProtocol, socket.socket]
]:
    """Yield a transport with its protocol, and the socket at the other end."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, inner = await asyncio.get_running_loop().create_connection(
        RecordingProtocol, sock=ours
    )
    try:
        yield transport, inner, peer
    finally:
        transport.abort()
        peer.close()
        await inner.until("lost")


class IgnoringListener:
    """A listener that ignores all events."""

    def on_writable(self) -> None: ...

    def on_eof(self) -> None: ...

    def on_lost(self) -> None: ...


def protocol_on(transport: asyncio.Transport) -> SocketProtocol:
    return SocketProtocol(transport, IgnoringListener())


class FakeWebSocket:
    """aiohttp's WebSocket: receives what the test puts, records what is written."""

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


async def test_a_protocol_on_a_closing_transport_is_lost() -> None:
    """On a transport that is closing, the protocol is lost at once and does not attach."""
    async with socket_pair() as (transport, inner, _):
        transport.close()
        protocol = protocol_on(transport)
        assert protocol.lost.done()
        assert protocol.buffered == 0
        assert transport.get_protocol() is inner


async def test_linger_after_the_peers_eof_closes() -> None:
    """`linger` closes at once if the peer has half-closed."""
    async with socket_pair() as (transport, inner, peer):
        protocol = protocol_on(transport)
        peer.shutdown(socket.SHUT_WR)
        await inner.until("eof")
        assert not transport.is_closing()  # we may still send
        protocol.linger()
        async with asyncio.timeout(PATIENCE):
            await protocol.lost
            assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""


async def test_bytes_received_while_lingering_are_discarded() -> None:
    """While lingering, all bytes are read and none is passed on."""
    async with socket_pair() as (transport, inner, peer):
        protocol = protocol_on(transport)
        peer.send(b"before")
        await inner.until("before")
        protocol.linger()
        peer.send(b"after")
        peer.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE):
            await protocol.lost
        assert protocol.received == len(b"before" + b"after")
        assert inner.events == ["before", "eof", "lost"]


async def test_a_second_connection_lost_is_harmless() -> None:
    """A second `connection_lost`, as some event loops send, is harmless."""
    async with socket_pair() as (transport, inner, _):
        protocol = protocol_on(transport)
        transport.abort()
        await protocol.lost
        protocol.connection_lost(None)
        assert inner.events == ["lost", "lost"]


async def test_a_loss_before_the_session_runs_is_reported_when_it_does() -> None:
    """A loss before the session runs is reported when it does."""
    async with socket_pair() as (transport, inner, _):
        websocket, receiver = FakeWebSocket(), RecordingReceiver(Frame(Opcode.BINARY, b"never"))
        adapter = AiohttpTransport(websocket, transport, 1 << 20)
        protocol: Any = transport.get_protocol()
        protocol.pause_writing()
        protocol.resume_writing()
        transport.abort()
        await inner.until("lost")
        websocket.end()
        async with asyncio.timeout(PATIENCE):
            await adapter.run(receiver)
        assert receiver.notifications[0] == ("lost",)
        assert not websocket.written


async def test_a_write_that_aiohttp_refuses_is_not_a_failure() -> None:
    """A write that aiohttp refuses because TCP is lost is ignored; the reader reports the loss."""
    async with socket_pair() as (transport, _, _theirs):
        receiver = RecordingReceiver(*[Frame(Opcode.BINARY, data) for data in (b"one", b"two")])
        websocket = FakeWebSocket(refuses=True)
        adapter = AiohttpTransport(websocket, transport, 1 << 20)
        websocket.end()
        async with asyncio.timeout(PATIENCE):
            await adapter.run(receiver)
        assert not receiver.frames
        assert ("lost",) in receiver.notifications


async def test_pausing_and_resuming_twice_is_harmless() -> None:
    """Pausing twice, and resuming without a pause, change nothing."""
    async with socket_pair() as (transport, _, _theirs):
        websocket, receiver = FakeWebSocket(), RecordingReceiver()
        adapter = AiohttpTransport(websocket, transport, 1 << 20)
        adapter.resume_reading()
        adapter.pause_reading()
        adapter.pause_reading()
        websocket.messages.put_nowait(WSMessage(WSMsgType.TEXT, "one", None))
        websocket.end()
        running = asyncio.create_task(adapter.run(receiver))
        for _ in range(5):
            await asyncio.sleep(0)
        assert receiver.notifications == []
        adapter.resume_reading()
        async with asyncio.timeout(PATIENCE):
            await running
        assert receiver.notifications[0] == "one"


async def test_resuming_after_a_cancellation_does_nothing() -> None:
    """Resuming after the run was cancelled does nothing; the loss is reported later."""
    async with socket_pair() as (transport, inner, _):
        receiver = RecordingReceiver()
        adapter = AiohttpTransport(FakeWebSocket(), transport, 1 << 20)
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


async def test_a_half_close_of_a_lost_connection_is_harmless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A half-close that fails because the peer is gone ends without a traceback."""

    def fail_to_write_eof() -> None:
        raise OSError(errno.ENOTCONN, "the peer is gone")

    async with socket_pair() as (transport, inner, _):
        protocol = protocol_on(transport)
        monkeypatch.setattr(transport, "write_eof", fail_to_write_eof)
        protocol.linger()
        async with asyncio.timeout(PATIENCE):
            await protocol.lost
        assert inner.events == ["lost"]
