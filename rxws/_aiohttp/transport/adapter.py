"""The only frame I/O of rxws, for both ends: a session's transport on aiohttp's WebSockets.

aiohttp parses, masks, inflates and writes frames. When a connection ends, and how, is the
session's to say: aiohttp is told not to answer closes and pings by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core.log import logger
from rxws._session.transport import Receiver

from .frame_writer import FrameSender, FrameWriter
from .private_api import feed_of
from .pull_reader import MessageSource, PullReader
from .push_reader import PushReader
from .reader import Reader
from .socket_protocol import SocketProtocol

__all__ = ["AiohttpTransport", "WebSocket"]


class WebSocket(MessageSource, FrameSender, Protocol):
    """What both of aiohttp's WebSockets have, as far as it is used here."""

    @property
    def compress(self) -> int | bool:
        """Whether messages may be compressed."""
        ...


class AiohttpTransport:
    """A `Transport` on a WebSocket whose handshake is done.

    Args:
        ws: The WebSocket, opened with `autoclose=False`, `autoping=False` and no heartbeat, and
            whose own `close` does nothing.
        transport: The asyncio transport below it.
        max_size: Bytes of the largest message that the peer may send.
    """

    __slots__ = (
        "_context",
        "_loop",
        "_reading",
        "_receiver",
        "_tasks",
        "_wire",
        "_writing",
        "wake",
        "write",
    )

    def __init__(self, ws: WebSocket, transport: asyncio.Transport, max_size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._receiver: Receiver | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}  # a set, but smaller while it is empty
        wire = self._wire = SocketProtocol(transport, self)
        feed = feed_of(ws)
        writing = self._writing = FrameWriter(ws, wire, direct=feed is not None)
        self._reading: Reader = (
            PullReader(ws, max_size)
            if feed is None
            else PushReader(feed, wire, writing, max_size, bool(ws.compress))
        )
        # See `Transport`. Not methods: each message takes this way.
        self.wake = writing.wake
        self.write = writing.write

    @property
    def buffered(self) -> int:
        """See `Transport.buffered`."""
        return self._writing.buffered

    @property
    def deferred(self) -> int:
        """See `Transport.deferred`."""
        return self._reading.deferred

    @property
    def received(self) -> int:
        """See `Transport.received`."""
        return self._wire.received

    def pause_reading(self) -> None:
        """See `Transport.pause_reading`."""
        self._reading.pause()

    def resume_reading(self) -> None:
        """See `Transport.resume_reading`."""
        self._reading.resume()

    # --- what the wire tells ------------------------------------------------------------------

    def on_writable(self) -> None:
        """See `Listener.on_writable`."""
        self._writing.on_writable()

    def on_eof(self) -> None:
        """See `Listener.on_eof`."""
        self._reading.on_eof()

    def on_lost(self) -> None:
        """See `Listener.on_lost`."""
        if self._receiver is not None:
            self._receiver.on_unsendable()
        self._reading.on_lost()

    # --- running ------------------------------------------------------------------------------

    async def run(self, receiver: Receiver) -> None:
        """Be the wire of a session until TCP is gone and all that it began is done."""
        self._receiver = receiver
        # Pipelines run in the context that the handler left, as they would in a task.
        self._context = contextvars.copy_context()
        try:
            self._writing.start(receiver)
            await self._reading.run(receiver, self._context)
            if not self._wire.finishing:
                self._wire.give_up()
            await self._wire.lost
            receiver.on_lost()
        except asyncio.CancelledError:
            if self._wire.is_lost:  # aiohttp cancels a handler whose peer is gone, if told to
                receiver.on_lost()
            else:
                receiver.on_cancelled()
                self._wire.lost.add_done_callback(lambda _: receiver.on_lost())
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            # What is being compressed is not cancelled: aiohttp's compressor would be in pieces.
            compressing = self._writing.task
            if left := [*self._tasks, *([compressing] if compressing else [])]:
                await asyncio.wait(left)

    # --- ending -----------------------------------------------------------------------------

    def finish(self, linger: bool) -> bool:
        """See `Transport.finish`."""
        self._wire.finishing = True
        self._writing.finish(self._wire.linger if linger else self._wire.transport.close)
        return not linger and self._wire.is_ending

    def abort(self) -> None:
        """See `Transport.abort`."""
        self._wire.abort()

    # --- the loop ---------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """See `Transport.spawn`.

        Disposing cancels in the loop's next turn, so that a coroutine that was just told of the
        end, as by `iterate`, gets to see it.
        """
        task = self._spawn(coroutine)

        def cancel() -> None:
            self._loop.call_soon(task.cancel)

        return Disposable(cancel)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """See `Transport.call_soon_threadsafe`."""
        try:
            self._loop.call_soon_threadsafe(callback, context=self._context)
        except RuntimeError:  # the loop is closed, and the connection with it
            logger.debug("dropped a call from another thread: the loop is closed")
