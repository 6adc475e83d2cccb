"""Write a session's frames with aiohttp, and combine several of them into one write."""

from __future__ import annotations

import asyncio
import enum
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from aiohttp import WSMsgType

from rxws._core import broadcast
from rxws._core.broadcast import MAX_COLLECTED, Encoding, Wire
from rxws._core.frames import Opcode
from rxws._session.transport import Receiver

from .private_api import WriteCollector, WriteFrame, redirect_frames, shared_window
from .reader import pass_on
from .socket_protocol import SocketProtocol

__all__ = ["FrameSender", "FrameWriter"]

_OPCODES = {opcode: WSMsgType(opcode) for opcode in Opcode}


class FrameSender(Protocol):
    """The part of aiohttp's client and server WebSockets that writes."""

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        """Write one frame."""
        ...


class _State(enum.Enum):
    IDLE = enum.auto()
    WRITING = enum.auto()
    COMPRESSING = enum.auto()  # a large message, in another thread; the next frame must wait


# Module variables, because looking up an enum's member takes longer than comparing with it.
_IDLE, _WRITING, _COMPRESSING = _State


@types.coroutine
def finish_coroutine(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any]:
    """Await the rest of a coroutine that was started by `send(None)`; this returned `awaited`."""
    try:
        while True:
            try:
                value = yield awaited
            except BaseException as exc:
                awaited = coroutine.throw(exc)
            else:
                awaited = coroutine.send(value)
    except StopIteration:
        return


class FrameWriter(Wire):
    """Takes frames from a session while the socket is writable.

    On the push path, `direct` is True: it then calls aiohttp's frame writer instead of the
    WebSocket, and collects the frames until `flush` writes all of them at once. Each method that
    writes also flushes, unless the writer is `corked` or a burst is running (see
    `rxws._core.broadcast`).
    """

    __slots__ = (
        "_direct_write",
        "_end_tcp",
        "_loop",
        "_protocol",
        "_receiver",
        "_resuming",
        "_state",
        "_window",
        "_write_frame",
        "_ws",
        "compression",
        "corked",
    )

    def __init__(self, ws: FrameSender, protocol: SocketProtocol, direct: bool) -> None:
        self._ws = ws
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        super().__init__(self._loop)
        self._receiver: Receiver | None = None
        self._state = _IDLE
        self.compression: asyncio.Task[None] | None = None  # the latest one
        self._end_tcp: Callable[[], None] | None = None  # called once everything is written
        self._resuming = False  # whether the call comes from asyncio's `resume_writing`
        self.corked = False
        collector = WriteCollector(protocol.transport.is_closing)
        self.chunks = collector.chunks
        self._direct_write = redirect_frames(ws, collector) if direct else None
        self._window = shared_window(ws) if direct else None
        if self._window == 0:
            self.target = protocol.transport
        self._write_frame: WriteFrame | None = None  # `_direct_write`, once started

    @property
    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._protocol.buffered + self.collected

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._write_frame = self._direct_write
        self.wake()

    def wake(self) -> None:
        """See `Transport.wake`."""
        if self._state is not _IDLE or self._receiver is None:
            return
        self._state = _WRITING
        while self._protocol.writable and not self._protocol.transport.is_closing():
            frame = self._receiver.take()
            if frame is not None:
                if not self._send_frame(*frame):
                    return  # `_finish_compressing` calls `wake` again
                continue
            if self._end_tcp is not None:
                self.flush()
                if self._protocol.writable:
                    self._call_end_tcp(self._end_tcp)
            break
        self._state = _IDLE
        if not self.corked:
            self.flush()

    def write(self, opcode: Opcode, payload: bytes) -> bool:
        """See `Transport.write`."""
        write_frame = self._write_frame
        if write_frame is None:
            return self._write_slowly(opcode, payload)
        waiting = self.collected
        encoding = broadcast.current.encoding
        if encoding.payload is payload and encoding.opcode is opcode and self._window == 0:
            if self._protocol.transport.is_closing():
                return False
            self.chunks.append(encoding.frame or self._build_frame(encoding, write_frame))
        else:
            try:
                write_frame(payload, opcode, 0)
            except ConnectionError:
                return False  # TCP is lost, which the reader reports
        self.collected += len(payload) or 1
        if self.collected > MAX_COLLECTED or not (self.corked or self._in_burst(waiting)):
            self.flush()
        return True

    def _build_frame(self, encoding: Encoding, write_frame: WriteFrame) -> bytes:
        """Build a frame for all connections whose frames are neither masked nor compressed."""
        before = len(self.chunks)
        write_frame(encoding.payload, encoding.opcode, 0)
        encoding.frame = b"".join(self.chunks[before:])
        del self.chunks[before:]
        return encoding.frame

    def _write_slowly(self, opcode: Opcode, payload: bytes) -> bool:
        if self._receiver is None or self._protocol.transport.is_closing():
            return False
        waiting = len(self.chunks)
        encoding = broadcast.current.encoding
        is_shared = encoding.payload is payload and encoding.opcode is opcode
        window = self._window if is_shared else None
        if window is not None and (frame := encoding.deflated.get(window)) is not None:
            self.chunks.append(frame)
            self.collected += len(payload) or 1
        else:
            self._state = _WRITING
            if not self._send_frame(opcode, payload):
                return True
            self._state = _IDLE
            if window is not None and len(self.chunks) > waiting:
                encoding.deflated[window] = b"".join(self.chunks[waiting:])
        if not (self.corked or self._in_burst(waiting)):
            self.flush()
        return True

    def _in_burst(self, waiting: int) -> bool:
        """Return whether a burst will flush; it knows this writer if frames were `waiting`."""
        burst = broadcast.burst
        if burst is None or burst.location is not self._loop:
            return False
        if self.chunks and not waiting:
            burst.add(self, self._loop.call_soon)
        return True

    def end_burst(self) -> None:
        """See `BurstWriter`."""
        try:
            self.flush()
        except BaseException as exc:
            self._protocol.abort()  # no close frame could be sent either
            pass_on(exc)

    def _send_frame(self, opcode: Opcode, payload: bytes) -> bool:
        """Send a frame; return False if it is still being compressed.

        `send_frame` is a coroutine that suspends only to compress a large message in an executor.
        It is run without a task, because a task for each message would cost more than the message.
        """
        rest: Awaitable[None] | None = None
        try:
            if self._write_frame is not None:
                self._write_frame(payload, opcode, 0)
            else:
                coroutine = self._ws.send_frame(payload, _OPCODES[opcode])
                rest = finish_coroutine(coroutine, coroutine.send(None))
        except StopIteration:
            pass  # it has written the frame
        except ConnectionError:
            return True  # TCP is lost, which the reader reports
        except Exception as exc:
            # From Python 3.12 on, compression starts here: an executor that is shut down raises.
            rest = _raise(exc)
        if rest is None:
            self.collected += len(payload) or 1
            if self.collected > MAX_COLLECTED:
                self.flush()
            return True
        self._state = _COMPRESSING
        rest = self._finish_compressing(rest)
        self.compression = self._loop.create_task(rest)
        self.flush()  # earlier frames need not wait for the compression
        self._report_writable()
        return False

    async def _finish_compressing(self, rest: Awaitable[None]) -> None:
        try:
            try:
                await rest
            except ConnectionError:
                pass  # TCP is lost, which the reader reports
            finally:
                self._state = _IDLE
            self.flush()
            self._report_writable()
            self.wake()
        except BaseException as exc:  # such as a RuntimeError of an executor that is shut down
            if self._receiver is not None:  # the message is lost, so the connection must end
                self._receiver.on_cancelled()
            if isinstance(exc, asyncio.CancelledError):
                raise
            pass_on(exc)

    def flush(self) -> None:
        """Write the collected frames."""
        self.collected = 0
        if self.chunks:
            data = b"".join(self.chunks)
            self.chunks.clear()
            self._protocol.transport.write(data)

    def finish(self, end_tcp: Callable[[], None]) -> None:
        """Call `end_tcp` once everything is written."""
        self._end_tcp = end_tcp
        self.wake()

    def _call_end_tcp(self, end_tcp: Callable[[], None]) -> None:
        self._end_tcp = None
        if self._resuming:
            self._loop.call_soon(end_tcp)  # otherwise asyncio would call connection_lost twice
        else:
            end_tcp()

    def on_writable(self) -> None:
        """Continue or stop writing, because `SocketProtocol.writable` has changed."""
        self._report_writable()
        if self._protocol.writable:
            self._resuming = True
            self.wake()
            self._resuming = False

    def release(self) -> None:
        """Drop the receiver and aiohttp's WebSocket with its compressor, after the end."""
        self._receiver = self._write_frame = self._direct_write = self._end_tcp = None
        self._window = self.target = None
        del self._ws

    def _report_writable(self) -> None:
        if self._receiver is not None:
            writable = self._protocol.writable and self._state is not _COMPRESSING
            self._receiver.on_writable(writable)


async def _raise(error: Exception) -> None:
    raise error
