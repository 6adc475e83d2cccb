"""The peer behind a fake transport: what it sends arrives in order, as far as reading goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rxws._session.encoding import size

from .fake_transport import FakeTransport

__all__ = ["Peer"]


class Peer:
    """The peer behind a `FakeTransport`.

    Args:
        transport: The transport.
        overrun: How many frames still arrive after reading was paused: 0 for a wire that stops at
            once, 1 for one that had a frame on its way.
    """

    def __init__(self, transport: FakeTransport, overrun: int = 0) -> None:
        self._transport = transport
        self._overrun = self._grace = overrun
        self._on_its_way: deque[Callable[[], None]] = deque()
        self._said_goodbye = False
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
        """Send a close frame. What follows it is not read, but for the end of TCP."""
        self._send(lambda: self._part(self._transport.receiver.on_close, code, reason))

    def violation(self, code: int) -> None:
        """Send what the parser refuses with this code."""
        self._send(lambda: self._part(self._transport.receiver.on_violation, code))

    def lost(self) -> None:
        """End TCP: nothing more can be sent; what was sent before is read first, then the end."""
        self._transport.sever()
        self._on_its_way.append(self._transport.lose)
        self._deliver()

    def stop(self) -> None:
        """Take nothing more: what is written next waits, and fills the wire."""
        self._transport.room = 0

    def go(self, frames: int | None = None) -> None:
        """Take what waits, and so many frames more (all, if None)."""
        self._transport.room = frames
        if not self._transport.writable:
            self._transport.set_writable(True)

    def _part(self, tell: Callable[..., None], *args: Any) -> None:
        self._said_goodbye = True
        tell(*args)

    def _send(self, arrive: Callable[[], None]) -> None:
        def read() -> None:
            self._transport.received += 1
            if not (self._transport.over or self._transport.lingering or self._said_goodbye):
                arrive()

        self._on_its_way.append(read)
        self._deliver()

    def _deliver(self) -> None:
        while self._on_its_way:
            if self._transport.reading:
                self._grace = self._overrun
            elif self._grace:
                self._grace -= 1
            else:
                return
            self._on_its_way.popleft()()
