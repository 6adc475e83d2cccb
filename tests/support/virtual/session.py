"""A session in virtual time with the peer in hand, and all that it told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import Observable
from yarl import URL

from rxws._core.connection import Close, Connection, Handshake, Stats
from rxws._core.frames import Opcode
from rxws._session.handler import run_handler
from rxws._session.options import Options
from rxws._session.session import Session, State
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport, Sent
from rxws.testing.peer import Peer

T = TypeVar("T")

HANDSHAKE = Handshake(URL("ws://peer.example/"), {})


class Subscriber(Generic[T]):
    """What one subscriber was told, and when.

    Attributes:
        values: The values.
        times: When each came.
        ends: What ended it: an exception, or None for a completion. More than one is a bug.
        ended_at: When.
    """

    def __init__(self, observable: Observable[T], clock: Clock, **options: Any) -> None:
        self.values: list[T] = []
        self.times: list[float] = []
        self.ends: list[Exception | None] = []
        self.ended_at: float | None = None
        self._clock = clock
        self.subscription = observable.subscribe(
            self._next, self._end, lambda: self._end(None), **options
        )

    def _next(self, value: T) -> None:
        assert not self.ends, f"{value!r} came after the end"
        self.values.append(value)
        self.times.append(self._clock.time)

    def _end(self, error: Exception | None) -> None:
        self.ends.append(error)
        self.ended_at = self._clock.time

    @property
    def error(self) -> Exception | None:
        """The one end: an exception, or None for a completion."""
        [error] = self.ends
        return error


class VirtualSession:
    """A session on a `FakeTransport`.

    Args:
        handler: Run on the connection before the first frame, as the server does.
        watch: Whether to subscribe `incoming` and `closed` first.
        overrun: As for `Peer`.
        options: The session's; there is no heartbeat unless asked for.
    """

    def __init__(
        self,
        handler: Callable[[Connection[Any, Any]], Any] | None = None,
        *,
        watch: bool = False,
        overrun: int = 0,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.transport = FakeTransport(self.clock)
        self.peer = Peer(self.transport, overrun)
        options.setdefault("heartbeat", None)
        self.session: Session[Any, Any] = Session(
            self.transport, self.clock, Options(**options), HANDSHAKE
        )
        self.conn: Connection[Any, Any] = self.session.connection
        if watch:
            self.incoming = self.watch(self.conn.incoming)
            self.closed = self.watch(self.conn.closed)
        if handler is not None:
            run_handler(handler, self.session)
        self.transport.attach(self.session)

    def watch(self, observable: Observable[T]) -> Subscriber[T]:
        """Subscribe, and note all that comes."""
        return Subscriber(observable, self.clock, scheduler=self.conn.scheduler)

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.clock.run(seconds)

    def settle(self) -> None:
        """Let turns of the loop pass until all that follows at once has happened."""
        for _ in range(10):
            self.clock.turn()

    @property
    def messages(self) -> list[str | bytes]:
        """The messages that were written."""
        return [sent.message for sent in self.transport.sent if sent.kind < Opcode.CLOSE]

    def frames(self, kind: Opcode) -> list[Sent]:
        """The frames of a kind that were written."""
        return [sent for sent in self.transport.sent if sent.kind is kind]

    @property
    def close_frame(self) -> Sent:
        """The one close frame that was written, after which nothing was."""
        [sent] = self.frames(Opcode.CLOSE)
        assert self.transport.sent[-1] is sent, "something was sent after the close frame"
        return sent

    @property
    def stats(self) -> Stats:
        """What went through."""
        return self.conn.flow.stats

    @property
    def dropped(self) -> dict[str, int]:
        """Messages dropped, by reason."""
        return dict(self.stats.dropped or {})

    def check_over(self, close: Close, error: type[Exception] | None = None) -> None:
        """All was told, once and for good, also to who comes late.

        Args:
            close: What `closed` told, `by` included.
            error: What ended `incoming`, None for a completion.
        """
        late_incoming, late_closed = self.watch(self.conn.incoming), self.watch(self.conn.closed)
        for closed in (self.closed, late_closed):
            assert closed.values == [close]
            assert closed.values[0].by == close.by
            assert closed.ends == [None]
        assert late_incoming.values == []
        for incoming in (self.incoming, late_incoming):
            assert type(incoming.error) is (error or type(None))
            assert getattr(incoming.error, "close", close) == close
        assert late_incoming.error is self.incoming.error
        assert self.session.state is State.CLOSED
