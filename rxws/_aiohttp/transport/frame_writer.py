"""The way out of an adapter: a session's frames, written by aiohttp, joined where they can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from aiohttp import WSMsgType

from rxws._core.frames import Opcode
from rxws._session.transport import Receiver

from .private_api import Pieces, WriteFrame, frame_writer
from .socket_protocol import SocketProtocol

__all__ = ["FrameSender", "FrameWriter"]

_OPCODES = {kind: WSMsgType(kind) for kind in Opcode}

# Bytes that are collected before they are written in any case: what a pipeline makes of one chunk
# may be much more than the chunk.
_JOINED = 64 << 10


class FrameSender(Protocol):
    """What both of aiohttp's WebSockets have to write with."""

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        """Write one frame."""
        ...


class Begun:
    """A coroutine that was run by hand up to its first await; awaiting it runs the rest."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                value = yield waits_for
            except BaseException as exc:
                resume: Callable[[], Any] = _thrower(self._coroutine, exc)
            else:
                resume = _sender(self._coroutine, value)
            try:
                waits_for = resume()
            except StopIteration:
                return


def _sender(coroutine: Coroutine[Any, Any, None], value: Any) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def _thrower(coroutine: Coroutine[Any, Any, None], exc: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(exc)


class FrameWriter:
    """Takes frames from a session while the wire is writable.

    While it is corked, what is written is collected; one write carries it all.

    Args:
        ws: aiohttp's WebSocket.
        wire: The wire below it.
        direct: Whether aiohttp's frame writer is used without the WebSocket around it. Only then
            can be collected.
    """

    __slots__ = (
        "_busy",
        "_collected",
        "_compressing",
        "_direct",
        "_finish",
        "_loop",
        "_receiver",
        "_resuming",
        "_wire",
        "_write_frame",
        "_ws",
        "corked",
        "pieces",
        "task",
    )

    def __init__(self, ws: FrameSender, wire: SocketProtocol, direct: bool) -> None:
        self._ws = ws
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver | None = None
        self._busy = False  # while frames are being taken, or one is being compressed
        self._compressing = False  # while one is, in another thread
        self.task: asyncio.Task[None] | None = None  # the latest that waited for that
        self._finish: Callable[[], None] | None = None  # how TCP is ended once all is written
        self._resuming = False  # whether this is within the transport's `resume_writing`
        self.corked = False  # whether what is written is collected, until `flush`
        self._collected = 0  # bytes in the pieces, but for the headers
        pieces = Pieces(wire.transport.is_closing)
        self.pieces = pieces.pieces
        self._direct = frame_writer(ws, pieces) if direct else None
        self._write_frame: WriteFrame | None = None  # there once this has begun

    @property
    def buffered(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._wire.buffered + self._collected

    def start(self, receiver: Receiver) -> None:
        """Write what a session has to write."""
        self._receiver = receiver
        self._write_frame = self._direct
        self.wake()

    def wake(self) -> None:
        """See `Transport.wake`."""
        if self._busy or self._receiver is None:
            return
        self._busy = True
        while self._wire.writable and not self._wire.transport.is_closing():
            frame = self._receiver.take()
            if frame is not None:
                if not self._write(*frame):
                    return  # goes on when the frame is compressed
                continue
            if self._finish is not None:
                self.flush()
                if self._wire.writable:
                    self._end(self._finish)
            break
        self._busy = False
        if not self.corked:
            self.flush()

    def write(self, kind: Opcode, payload: bytes) -> bool:
        """See `Transport.write`."""
        if self._write_frame is None:
            return self._write_slowly(kind, payload)
        try:
            self._write_frame(payload, kind, 0)
        except ConnectionError:
            return False  # TCP is lost, which the reading side tells
        self._collected += len(payload)
        if not self.corked or self._collected > _JOINED:
            self.flush()
        return True

    def _write_slowly(self, kind: Opcode, payload: bytes) -> bool:
        if self._receiver is None or self._wire.transport.is_closing():
            return False
        self._busy = True
        if self._write(kind, payload):
            self._busy = False
            if not self.corked:
                self.flush()
        return True

    def _write(self, kind: Opcode, payload: bytes) -> bool:
        """Write a frame, and tell whether that is done.

        `send_frame` is a coroutine, but it waits for nothing unless it has a large message to
        compress in an executor; a task for each message would cost more than the message.
        """
        coroutine = self._ws.send_frame(payload, _OPCODES[kind])
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            self._collected += len(payload)
            if self._collected > _JOINED:
                self.flush()
            return True
        except ConnectionError:
            return True  # TCP is lost, which the reading side tells
        self._compressing = True
        self.flush()  # what was collected does not wait for it
        self.tell_writable()
        self.task = self._loop.create_task(self._write_on(Begun(coroutine, waits_for)))
        return False

    async def _write_on(self, begun: Begun) -> None:
        try:
            await begun
        except ConnectionError:
            pass  # TCP is lost, which the reading side tells
        finally:
            self._compressing = self._busy = False
        self.flush()
        self.tell_writable()
        self.wake()

    def flush(self) -> None:
        """Write what was collected so far."""
        self._collected = 0
        if self.pieces:
            data = b"".join(self.pieces)
            self.pieces.clear()
            self._wire.transport.write(data)

    def finish(self, end: Callable[[], None]) -> None:
        """End TCP in this manner, once all is written."""
        self._finish = end
        self.wake()

    def _end(self, end: Callable[[], None]) -> None:
        self._finish = None
        if self._resuming:
            self._loop.call_soon(end)  # asyncio's transport would be lost twice
        else:
            end()

    def on_writable(self) -> None:
        """Go on, or stop, as the wire says."""
        self.tell_writable()
        if self._wire.writable:
            self._resuming = True
            self.wake()
            self._resuming = False

    def tell_writable(self) -> None:
        """Tell the session whether frames are taken."""
        if self._receiver is not None:
            self._receiver.on_writable(self._wire.writable and not self._compressing)
