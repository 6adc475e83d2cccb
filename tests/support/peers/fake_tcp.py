"""A connection on the push path over a fake TCP transport.

The test decides which chunks arrive in which turn of the loop, and sees each call of asyncio's
transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from aiohttp import WSMsgType
from aiohttp.http import WebSocketWriter
from yarl import URL

import rxws
from rxws._aiohttp.transport.adapter import AiohttpTransport
from rxws._aiohttp.transport.private_api import EarlyBytes, PushServerSocket
from rxws._core import instrumentation
from rxws._core.connection import Handshake
from rxws._core.frames import Opcode
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._session.options import Options
from rxws._session.session import Session
from rxws._session.transport import Receiver
from support.peers.endpoints import ConnectionSubscriber
from support.peers.frames import Decoder
from support.peers.frames import Frame as Read
from support.peers.raw import PATIENCE
from support.receiver import RecordingReceiver


async def wait_for_messages(seen: ConnectionSubscriber, count: int) -> None:
    """Wait until a connection has emitted `count` messages."""
    await seen.until(lambda: len(seen.values) >= count)
    assert len(seen.values) == count


async def loop_turns(count: int = 10) -> None:
    """Run `count` turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class FakeTcp(asyncio.Transport):
    """A fake of asyncio's transport, and the peer behind it.

    Attributes:
        writes: The argument of each call of `write`.
        calls: The names of the other calls, in order.
        reading: Whether reading is not paused.
        takes: Whether the kernel accepts writes at once.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.reading = True
        self.takes = True
        self._loop = asyncio.get_running_loop()
        self._protocol: Any = protocol
        self._on_its_way: deque[bytes | None] = deque()  # None is the end
        self._waiting = 0
        self._closing = self._lost = self._half_closed = False

    # --- what the peer does

    def arrive(self, *chunks: bytes) -> None:
        """Deliver chunks, each in its own call, once reading is not paused."""
        self._on_its_way += chunks
        self._deliver()

    def eof(self) -> None:
        """Half-close by the peer, after the chunks that are still undelivered."""
        self._on_its_way.append(None)
        self._deliver()

    def reset(self) -> None:
        """Reset by the peer; the protocol learns of it in the next turn."""
        self._close(ConnectionResetError())

    def take(self) -> None:
        """Accept all that waits, and later writes."""
        self.takes = True
        if self._waiting:
            self._waiting = 0
            self._protocol.resume_writing()

    def _deliver(self) -> None:
        while self._on_its_way and self.reading and not self._closing:
            data = self._on_its_way.popleft()
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self._close()

    @property
    def frames(self) -> list[Read]:
        """The frames that were written."""
        return Decoder().feed(b"".join(self.writes))

    @property
    def texts(self) -> list[str]:
        """The messages that were written, all of them text."""
        return [one.payload.decode() for one in self.frames if one.opcode == WSMsgType.TEXT]

    # --- what asyncio's transport has

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self._lost
        assert not self._half_closed
        self.writes.append(bytes(data))
        if not self.takes:
            self._waiting += len(data)
            if self._waiting == len(data):
                self._protocol.pause_writing()

    def pause_reading(self) -> None:
        assert self.reading, "paused what was paused"
        self.calls.append("pause")
        self.reading = False

    def resume_reading(self) -> None:
        self.calls.append("resume")
        self.reading = True
        self._loop.call_soon(self._deliver)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("write_eof")
        self._half_closed = True

    def close(self) -> None:
        self.calls.append("close")
        self._close()

    def abort(self) -> None:
        self.calls.append("abort")
        self._close()

    def _close(self, exc: Exception | None = None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lose, exc)

    def _lose(self, exc: Exception | None) -> None:
        self._lost = True
        self._protocol.connection_lost(exc)


class FakeHandler(asyncio.Protocol):
    """A fake of aiohttp's protocol, which gets no data on the push path."""

    _paused = False  # aiohttp's writer asks

    def data_received(self, data: bytes) -> None:
        raise AssertionError(f"{data!r} went to aiohttp")


class FakeWebSocket(PushServerSocket):
    """aiohttp's WebSocket in its state after a handshake."""

    def __init__(self, line: FakeTcp, compress: int) -> None:
        super().__init__(autoclose=False, autoping=False)
        self.early = self.early_bytes = EarlyBytes()
        self._compress = compress
        self._writer = WebSocketWriter(cast(Any, FakeHandler()), line, compress=compress)

    async def receive(self, timeout: float | None = None) -> Any:
        raise AssertionError("nobody pulls on the push path")


class PushConnection:
    """A transport adapter on a `FakeTcp`.

    Args:
        max_size: The largest message, in bytes.
        compress: Whether messages may be compressed.
    """

    def __init__(self, max_size: int = 1 << 20, compress: bool = False) -> None:
        self.line = FakeTcp(FakeHandler())
        self.socket = FakeWebSocket(self.line, 15 if compress else 0)
        self.adapter = AiohttpTransport(self.socket, self.line, max_size)
        self.receiver = RecordingReceiver()
        self.running: asyncio.Task[None] | None = None

    def start(self, receiver: Receiver | None = None) -> asyncio.Task[None]:
        """Start to run it; the first step runs in the next turn of the loop."""
        self.running = asyncio.create_task(self.adapter.run(receiver or self.receiver))
        return self.running

    def session(self, **options: Any) -> Session[Any, Any]:
        """Return a real session to run it with."""
        options.setdefault("heartbeat", None)
        handshake = Handshake(URL("ws://peer.example/"), {})
        scheduler = LoopScheduler.running()
        with instrumentation.active.client(handshake.url) as telemetry:
            return Session(self.adapter, scheduler, Options(**options), handshake, telemetry)

    def reply(self, text: str) -> None:
        """Send a message at once, as a session does while the transport is writable."""
        assert self.adapter.write(Opcode.TEXT, text.encode())

    async def end(self) -> None:
        """Abort, and wait for the end."""
        if self.running is None:
            return
        self.adapter.resume_reading()
        self.line.abort()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self.running])
        if not self.running.cancelled():
            self.running.result()


@asynccontextmanager
async def push_connection(*, start: bool = True, **options: Any) -> AsyncIterator[PushConnection]:
    """Run a `PushConnection`, and end it."""
    one = PushConnection(**options)
    if start:
        one.start()
        await loop_turns(1)
    try:
        yield one
    finally:
        await one.end()


def force_read_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Make new connections use this read path, at both ends."""
    info = replace(rxws.transport_info(), path=cast(Any, path), reason="a test wants it")
    for module in ("acceptor", "client"):
        monkeypatch.setattr(f"rxws._aiohttp.{module}.transport_info", lambda: info)


def record_read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each new connection appends its read path."""
    taken: list[str] = []

    class Spy(AiohttpTransport):
        __slots__ = ()

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            taken.append({"PushReader": "push", "PullReader": "pull"}[type(self._reader).__name__])

    for module in ("acceptor", "client"):
        monkeypatch.setattr(f"rxws._aiohttp.{module}.AiohttpTransport", Spy)
    return taken
