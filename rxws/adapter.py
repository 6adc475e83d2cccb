"""The only frame I/O of rxws, for both ends: a session's transport on aiohttp's WebSockets.

aiohttp parses, masks, inflates and writes frames. When a connection ends, and how, is the
session's to say: aiohttp is told not to answer closes and pings by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from aiohttp import ClientError, WSCloseCode, WSMsgType
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from .internals import end_of_stream
from .log import logger
from .messages import Frame, Kind
from .transport import Receiver
from .wire import Begun, Wire

__all__ = ["Adapter", "WebSocket"]


# What aiohttp reports as an error of its own and is the end of TCP.
_LOST = (OSError, ClientError, EOFError)

_OPCODES = {kind: WSMsgType(kind) for kind in Kind}


class WebSocket(Protocol):
    """What both of aiohttp's WebSockets have, as far as it is used here."""

    async def receive(self) -> Any:
        """Return the next message, whatever it is."""
        ...

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        """Write one frame."""
        ...


class Adapter:
    """A `Transport` on a WebSocket whose handshake is done.

    Args:
        ws: The WebSocket, opened with `autoclose=False`, `autoping=False` and no heartbeat, and
            whose own `close` does nothing.
        transport: The asyncio transport below it.
    """

    __slots__ = (
        "_compressing",
        "_context",
        "_finish",
        "_gate",
        "_loop",
        "_receiver",
        "_tasks",
        "_wire",
        "_writer",
        "_writing",
        "_ws",
    )

    def __init__(self, ws: WebSocket, transport: asyncio.Transport) -> None:
        self._ws = ws
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._receiver: Receiver | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}  # a set, but smaller while it is empty
        self._gate: asyncio.Future[None] | None = None  # there while reading is paused
        self._writing = False  # while frames are being written, or one is being compressed
        self._compressing = False  # while one is, in another thread
        self._writer: asyncio.Task[None] | None = None  # the task that waits for that
        self._finish: Callable[[], None] | None = None  # how TCP is ended once all is written
        self._wire = Wire(transport, self._on_writable, self._on_lost, self._on_eof)

    @property
    def buffered(self) -> int:
        """See `Transport.buffered`."""
        return self._wire.buffered

    @property
    def received(self) -> int:
        """See `Transport.received`."""
        return self._wire.received

    # --- writing ----------------------------------------------------------------------------

    def wake(self) -> None:
        """See `Transport.wake`."""
        if self._writing or self._receiver is None:
            return
        self._writing = True
        while self._wire.writable and not self._wire.transport.is_closing():
            frame = self._receiver.take()
            if frame is None:
                finish, self._finish = self._finish, None
                if finish is not None:
                    # Not within `resume_writing`: asyncio's transport would be lost twice.
                    self._loop.call_soon(finish)
                break
            if not self._write(frame):
                return  # goes on when the frame is compressed
        self._writing = False

    def _write(self, frame: Frame) -> bool:
        """Write a frame at once, if that is possible.

        `send_frame` is a coroutine, but it waits for nothing unless it has a large message to
        compress in an executor; a task for each message would cost more than the message.
        """
        coroutine = self._ws.send_frame(frame.payload, _OPCODES[frame.kind])
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return True
        except ConnectionError:
            return True  # TCP is lost, which the reading side tells
        self._compressing = True
        self._tell_writable()
        self._writer = self._loop.create_task(self._write_on(Begun(coroutine, waits_for)))
        return False

    async def _write_on(self, begun: Begun) -> None:
        try:
            await begun
        except ConnectionError:
            pass  # TCP is lost, which the reading side tells
        finally:
            self._compressing = self._writing = False
        self._tell_writable()
        self.wake()

    def _on_eof(self) -> None:
        end_of_stream(self._ws)

    def _on_lost(self) -> None:
        if self._receiver is not None:
            self._receiver.on_unsendable()

    def _on_writable(self, writable: bool) -> None:
        self._tell_writable()
        if writable:
            self.wake()

    def _tell_writable(self) -> None:
        if self._receiver is not None:
            self._receiver.on_writable(self._wire.writable and not self._compressing)

    # --- reading ----------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """See `Transport.pause_reading`."""
        if self._gate is None:
            self._gate = self._loop.create_future()

    def resume_reading(self) -> None:
        """See `Transport.resume_reading`."""
        if self._gate is not None:
            if not self._gate.done():
                self._gate.set_result(None)
            self._gate = None

    async def run(self, receiver: Receiver) -> None:
        """Be the wire of a session until TCP is gone and all that it began is done."""
        self._receiver = receiver
        try:
            self.wake()
            while True:
                while self._gate is not None:
                    await self._gate
                if not self._pass_on(await self._ws.receive(), receiver):
                    break
            if not self._wire.finishing:
                self._wire.give_up()
            await asyncio.shield(self._wire.lost)
            receiver.on_lost()
        except asyncio.CancelledError:
            if self._wire.lost.done():  # aiohttp cancels a handler whose peer is gone, if told to
                receiver.on_lost()
            else:
                receiver.on_cancelled()
                self._wire.lost.add_done_callback(lambda _: receiver.on_lost())
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            # What is being compressed is not cancelled: aiohttp's compressor would be in pieces.
            if left := [*self._tasks, *([self._writer] if self._writer else [])]:
                await asyncio.wait(left)

    @staticmethod
    def _pass_on(message: Any, receiver: Receiver) -> bool:
        """Tell the session of a message, and whether there may be another."""
        kind = message.type
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
            receiver.on_message(message.data)
        elif kind is WSMsgType.PING:
            receiver.on_ping(bytes(message.data))
        elif kind is WSMsgType.PONG:
            receiver.on_pong(bytes(message.data))
        else:
            if kind is WSMsgType.CLOSE:
                # aiohttp says 0 for a close frame without a code, and refuses a 0 on the wire.
                receiver.on_close(message.data or None, message.extra or "")
            elif kind is WSMsgType.ERROR and not isinstance(message.data, _LOST):
                # Besides its own error the parser lets through what zlib raises on broken data.
                code = getattr(message.data, "code", WSCloseCode.INVALID_TEXT)
                receiver.on_violation(code)
            else:
                receiver.on_lost()
            return False
        return True

    # --- ending -----------------------------------------------------------------------------

    def finish(self, linger: bool) -> None:
        """See `Transport.finish`."""
        self._wire.finishing = True
        self._finish = self._wire.linger if linger else self._wire.transport.close
        self.wake()

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
