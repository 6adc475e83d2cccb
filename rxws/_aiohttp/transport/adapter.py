"""A session's transport on aiohttp's WebSockets, for both clients and servers.

aiohttp parses, masks, inflates and writes frames. The session alone decides when and how a
connection ends, so aiohttp's own answers to close frames and pings are switched off.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core.frames import Opcode
from rxws._core.log import logger
from rxws._session.transport import Receiver, Transport

from .frame_writer import FrameSender, FrameWriter
from .private_api import early_bytes_of
from .pull_reader import MessageSource, PullReader
from .push_reader import PushReader
from .reader import Reader
from .socket_protocol import SocketListener, SocketProtocol

__all__ = ["AiohttpTransport", "WebSocket"]


class WebSocket(MessageSource, FrameSender, Protocol):
    """The part of aiohttp's client and server WebSockets that rxws uses."""

    @property
    def compress(self) -> int | bool:
        """Whether messages may be compressed."""
        ...


class AiohttpTransport(Transport, SocketListener):
    """A `Transport` on a WebSocket whose handshake is complete.

    Args:
        ws: The WebSocket, opened with `autoclose=False`, `autoping=False` and no heartbeat, and
            with a `close` method that does nothing.
        transport: Its asyncio transport.
        max_size: Bytes of the largest message that the peer may send.
    """

    __slots__ = (
        "_context",
        "_loop",
        "_protocol",
        "_reader",
        "_receiver",
        "_tasks",
        "_writer",
        "wake",
        "write",
    )

    # Attributes instead of methods that delegate, because every message passes here. pyright takes
    # them for methods without `self`.
    wake: Callable[[], None]  # pyright: ignore[reportIncompatibleMethodOverride]
    write: Callable[[Opcode, bytes], bool]  # pyright: ignore[reportIncompatibleMethodOverride]

    def __init__(self, ws: WebSocket, transport: asyncio.Transport, max_size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._receiver: Receiver | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}  # an empty set would take more memory
        protocol = self._protocol = SocketProtocol(transport, self)
        early_bytes = early_bytes_of(ws)
        writer = self._writer = FrameWriter(ws, protocol, direct=early_bytes is not None)
        self._reader: Reader = (
            PullReader(ws, max_size)
            if early_bytes is None
            else PushReader(early_bytes, protocol, writer, max_size, bool(ws.compress))
        )
        self.wake = writer.wake
        self.write = writer.write

    @property
    def running(self) -> bool:
        """See `Transport.running`."""
        return self._receiver is not None

    @property
    def buffered(self) -> int:
        """See `Transport.buffered`."""
        return self._writer.buffered

    @property
    def deferred(self) -> int:
        """See `Transport.deferred`."""
        return self._reader.deferred

    @property
    def received(self) -> int:
        """See `Transport.received`."""
        return self._protocol.received

    def pause_reading(self) -> None:
        """See `Transport.pause_reading`."""
        self._reader.pause()

    def resume_reading(self) -> None:
        """See `Transport.resume_reading`."""
        self._reader.resume()

    def on_writable(self) -> None:
        """See `SocketListener.on_writable`."""
        self._writer.on_writable()

    def on_eof(self) -> None:
        """See `SocketListener.on_eof`."""
        self._reader.on_eof()

    def on_lost(self) -> None:
        """See `SocketListener.on_lost`."""
        if self._receiver is not None:
            self._receiver.on_unsendable()
        self._reader.on_lost()

    async def run(self, receiver: Receiver) -> None:
        """Connect a session to the socket, until TCP is gone and all tasks of the session end."""
        self._receiver = receiver
        # Subscribers run in the context that the handler leaves behind, as they would in a task.
        self._context = contextvars.copy_context()
        try:
            self._writer.start(receiver)
            await self._reader.run(receiver, self._context)
            if not self._protocol.finishing:
                self._protocol.close_or_abort()
            await self._protocol.lost
            receiver.on_lost()
        except asyncio.CancelledError:
            if self._protocol.is_lost:  # aiohttp may cancel a handler whose peer is gone
                receiver.on_lost()
            else:
                receiver.on_cancelled()
                self._protocol.lost.add_done_callback(lambda _: receiver.on_lost())
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            # A compression is not cancelled: that would leave aiohttp's compressor in a bad state.
            compression = self._writer.compression
            if left := [*self._tasks, *([compression] if compression else [])]:
                await asyncio.wait(left)

    def finish(self, linger: bool) -> bool:
        """See `Transport.finish`."""
        self._protocol.finishing = True
        self._writer.finish(self._protocol.linger if linger else self._protocol.transport.close)
        return not linger and self._protocol.is_ending

    def abort(self) -> None:
        """See `Transport.abort`."""
        self._protocol.abort()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """See `Transport.spawn`.

        Disposing cancels in the loop's next turn, so that a coroutine that has just been notified
        of the end, for instance by `iterate`, can still react to it.
        """
        task = self._loop.create_task(coroutine)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

        def cancel() -> None:
            self._loop.call_soon(task.cancel)

        return Disposable(cancel)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """See `Transport.call_soon_threadsafe`."""
        try:
            self._loop.call_soon_threadsafe(callback, context=self._context)
        except RuntimeError:  # the loop is closed, and the connection with it
            logger.debug("dropped a call from another thread: the event loop is closed")
