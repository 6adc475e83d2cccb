"""The peer behind a fake transport, controlled by the test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rxws._session.encoding import size

from .fake_transport import FakeTransport

__all__ = ["Peer"]


class Peer:
    """The peer behind a `FakeTransport`, controlled by the test.

    Its frames arrive in order. They wait while the session has paused reading.

    Args:
        transport: The transport.
        overrun: How many frames arrive although the session has paused reading, as frames that were
            already read from a socket do.
    """

    def __init__(self, transport: FakeTransport, overrun: int = 0) -> None:
        self._transport = transport
        self._overrun = self._overrun_left = overrun
        self._in_flight: deque[Callable[[], None]] = deque()
        self._finished = False
        transport.on_resumed = self._deliver

    def message(self, *messages: str | bytes) -> None:
        """Send messages."""
        for message in messages:
            self._send(partial(self._transport.receiver.on_message, message, size(message)))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self._send(lambda: self._transport.receiver.on_ping(payload))

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong."""
        self._send(lambda: self._transport.receiver.on_pong(payload))

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Send a close frame. After it, the session reads only the end of TCP."""
        self._send(lambda: self._finish(self._transport.receiver.on_close, code, reason))

    def violation(self, code: int) -> None:
        """Send invalid data that the parser rejects with this close code."""
        self._send(lambda: self._finish(self._transport.receiver.on_violation, code))

    def lost(self) -> None:
        """End TCP. The session still reads frames sent before, but cannot send any more."""
        self._transport.sever()
        self._in_flight.append(self._transport.lose)
        self._deliver()

    def stop(self) -> None:
        """Stop reading: the next frame that the session writes fills the transport."""
        self._transport.room = 0

    def take(self, size: int) -> None:
        """Read this many of the buffered bytes, which must be less than all, and stop again."""
        self._transport.drain(size)

    def go(self, frames: int | None = None) -> None:
        """Read the buffered data and then this number of frames, or all if None."""
        self._transport.room = frames
        if not self._transport.writable:
            self._transport.set_writable(True)

    def _finish(self, notify: Callable[..., None], *args: Any) -> None:
        self._finished = True
        notify(*args)

    def _send(self, arrive: Callable[[], None]) -> None:
        def read() -> None:
            self._transport.received += 1
            if not (self._transport.over or self._transport.lingering or self._finished):
                arrive()

        self._in_flight.append(read)
        self._deliver()

    def _deliver(self) -> None:
        while self._in_flight:
            if self._transport.reading:
                self._overrun_left = self._overrun
            elif self._overrun_left:
                self._overrun_left -= 1
            else:
                return
            self._in_flight.popleft()()
