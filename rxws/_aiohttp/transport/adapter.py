"""A session's transport on aiohttp's WebSockets, for both clients and servers.

aiohttp parses and writes frames, including masks and compression. Its own answers to close frames
and pings are switched off, because only the session decides when and how a connection ends.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, Protocol

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core.broadcast import Wire
from rxws._core.frames import Opcode
from rxws._core.log import logger
from rxws._core.schedulers.loop_scheduler import may_run_here, running_loop
from rxws._session.transport import Delivery, Receiver, Transport

from .frame_writer import FrameSender, FrameWriter
from .private_api import early_bytes_of
from .pull_reader import MessageSource, PullReader
from .push_reader import PushReader
from .reader import Reader, pass_on
from .socket_protocol import SocketListener, SocketProtocol
from .tasks import Tasks

__all__ = ["AiohttpTransport", "WebSocket"]


class WebSocket(MessageSource, FrameSender, Protocol):
    """The part of aiohttp's client and server WebSockets that rxws uses."""

    @property
    def compress(self) -> int | bool:
        """Whether messages may be compressed."""
        ...


class AiohttpTransport(Transport, SocketListener):
    """A `Transport` on a WebSocket whose handshake is complete.

    The WebSocket must be opened with `autoclose=False`, `autoping=False` and no heartbeat, and its
    `close` method must do nothing. `max_size` limits the messages of the peer, in bytes.
    """

    __slots__ = (
        "_context",
        "_loop",
        "_protocol",
        "_reader",
        "_receiver",
        "_tasks",
        "_thread",
        "_writer",
        "wake",
        "write",
    )

    # The writer's methods, stored as attributes: a method that calls them would cost one more call
    # for each message. pyright reads the annotations as methods without `self`.
    wake: Callable[[], None]  # pyright: ignore[reportIncompatibleMethodOverride]
    write: Callable[[Opcode, bytes], bool]  # pyright: ignore[reportIncompatibleMethodOverride]

    def __init__(self, ws: WebSocket, transport: asyncio.Transport, max_size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._context = contextvars.copy_context()
        self._receiver: Receiver | None = None
        self._tasks: Tasks | None = None  # made when the first one is spawned
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
    def wire(self) -> Wire:
        return self._writer

    @property
    def running(self) -> bool:
        return self._receiver is not None

    @property
    def buffered(self) -> int:
        return self._writer.buffered

    @property
    def deferred(self) -> int:
        return self._reader.deferred

    @property
    def received(self) -> int:
        return self._protocol.received

    def delivery(self) -> Delivery:
        return self._protocol.delivery()

    def pause_reading(self) -> None:
        self._reader.pause()

    def resume_reading(self) -> None:
        self._reader.resume()

    def on_writable(self) -> None:
        self._writer.on_writable()

    def on_eof(self) -> None:
        self._reader.on_eof()

    def on_lost(self) -> None:
        if self._receiver is not None:
            self._receiver.on_unsendable()
        self._reader.on_lost()

    async def run(self, receiver: Receiver) -> None:
        """Run a session on the socket until TCP has ended and all tasks of the session are done."""
        self._receiver = receiver
        # Copied again: subscribers must see the context variables that the handler has set.
        self._context = contextvars.copy_context()
        try:
            self._deliver(lambda: self._writer.start(receiver))
            await self._reader.run(receiver, self._context)
            if not self._protocol.finishing and not receiver.end_deferred:
                self._protocol.close_or_abort()
            if not self._protocol.is_lost:
                await self._protocol.lost
            receiver.on_lost()
            if not receiver.over:
                await self._wait_until_over(receiver)
        except asyncio.CancelledError:
            if self._protocol.is_lost:  # aiohttp can cancel a handler when its connection is lost
                receiver.on_lost()
                receiver.on_cancelled()  # messages may still wait for a subscriber
            else:
                receiver.on_cancelled()
                self._protocol.lost.add_done_callback(lambda _: receiver.on_lost())
            raise
        finally:
            if self._tasks is not None:
                await self._tasks.finish(receiver)
            # Wait for a compression, but do not cancel it: that would break aiohttp's compressor.
            if (compression := self._writer.compression) is not None:
                await asyncio.wait([compression])
            if self._protocol.is_lost:
                self._release(receiver)
            else:
                self._protocol.lost.add_done_callback(lambda _: self._release(receiver))

    def _release(self, receiver: Receiver) -> None:
        """Cut all reference cycles; see `Session.on_released`."""
        if not receiver.over:  # after a cancellation, messages may still wait for a subscriber
            return
        self._receiver = None
        self._reader.release()
        self._writer.release()
        self._protocol.release()
        receiver.on_released()

    async def _wait_until_over(self, receiver: Receiver) -> None:
        """Wait until all received messages are delivered or dropped."""
        over = asyncio.Event()
        receiver.when_over(over.set)
        await over.wait()
        receiver.on_lost()

    def finish(self, linger: bool) -> bool:
        self._protocol.finishing = True
        self._writer.finish(self._protocol.linger if linger else self._protocol.transport.close)
        return self._protocol.is_lost or (not linger and self._protocol.is_ending)

    def abort(self) -> None:
        self._protocol.abort()
        if self._tasks is not None:
            self._tasks.stop_waiting()

    def call_soon(self, deliver: Callable[[], None]) -> DisposableBase:
        handle = self._loop.call_soon(self._deliver, deliver, context=self._context.copy())
        return Disposable(handle.cancel)

    def _deliver(self, deliver: Callable[[], None]) -> None:
        try:
            deliver()
        except BaseException as exc:
            if self._receiver is not None:
                self._receiver.on_cancelled()  # unless the session has ended already
            pass_on(exc)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        return self._get_tasks().spawn(self._loop, coroutine)

    def let_finish(self, task: asyncio.Task[Any]) -> None:
        self._get_tasks().let_finish(task)

    def _get_tasks(self) -> Tasks:
        if self._tasks is None:
            self._tasks = Tasks()
        return self._tasks

    locate = staticmethod(running_loop)

    def may_run_here(self) -> bool:
        return may_run_here(self._loop, self._thread, "this connection")

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        try:
            # A copy, as in `call_soon`: a context cannot be entered twice, and a subscriber that
            # runs in it may run a nested event loop.
            self._loop.call_soon_threadsafe(callback, context=self._context.copy())
        except RuntimeError:
            logger.debug("dropped a call from another thread: the event loop is closed")
