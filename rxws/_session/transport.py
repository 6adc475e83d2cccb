"""The port between a session and the wire: what each may call on the other.

A session knows no socket, no event loop and no aiohttp; an adapter (or a fake in a test) stands
behind `Transport` and calls a `Receiver`. All calls happen on one thread, one at a time, but for
`call_soon_threadsafe`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from reactivex.abc import DisposableBase

from rxws._core.frames import Frame, Opcode

__all__ = ["Receiver", "Transport"]


class Transport(Protocol):
    """The wire, as a session sees it."""

    __slots__ = ()

    @property
    def running(self) -> bool:
        """Whether frames are taken from a session yet."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that were taken from the session and not yet by the kernel."""
        ...

    @property
    def received(self) -> int:
        """A number that grows with whatever comes in, be it part of a frame: signs of life."""
        ...

    @property
    def deferred(self) -> int:
        """A number that grows while what has come waits, for others to have their turn."""
        ...

    def write(self, kind: Opcode, payload: bytes, /) -> bool:
        """Write a message at once; only while the wire is writable and nothing waits.

        Returns:
            False where nothing is taken: the connection does not run yet, or TCP is lost.
        """
        ...

    def wake(self) -> None:
        """Frames may wait: call `Receiver.take` until it is dry or the wire is full."""
        ...

    def pause_reading(self) -> None:
        """Deliver no more frames; the one that is being delivered may be the last."""
        ...

    def resume_reading(self) -> None:
        """Deliver frames again, but never from within this call."""
        ...

    def finish(self, linger: bool) -> bool:
        """Write what is left to take, then end TCP.

        Args:
            linger: Half-close, read on and discard until the peer ends it too. Else (both close
                frames were exchanged, nothing can follow) close as soon as all is written.

        Returns:
            Whether that is done: there is nothing to wait for.
        """
        ...

    def abort(self) -> None:
        """End TCP at once and throw away what is not written."""
        ...

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine; disposing cancels it."""
        ...

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back on the session's thread, from any thread; dropped when the loop is gone."""
        ...


class Receiver(Protocol):
    """A session, as the wire sees it."""

    def take(self) -> Frame | None:
        """Return the next frame to write, or None. Nothing follows a close frame."""
        ...

    def on_writable(self, writable: bool) -> None:
        """The wire is full (False), or takes frames again (True)."""
        ...

    def on_unsendable(self) -> None:
        """TCP is lost for sending; what it brought before is still to be delivered."""
        ...

    @property
    def on_message(self) -> Callable[[str | bytes, int], None]:
        """To be called when a whole message came, with its bytes' number; looked up once."""
        ...

    def on_ping(self, payload: bytes) -> None:
        """A ping came."""
        ...

    def on_pong(self, payload: bytes) -> None:
        """A pong came."""
        ...

    def on_close(self, code: int | None, reason: str) -> None:
        """A close frame came; its code is None where it has none."""
        ...

    def on_violation(self, code: int) -> None:
        """The peer broke the protocol; the code says how (1002, 1007, 1009)."""
        ...

    def on_cancelled(self) -> None:
        """The task that the connection lives in is cancelled."""
        ...

    def on_lost(self) -> None:
        """TCP ended."""
        ...
