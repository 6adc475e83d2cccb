"""A session in virtual time, and its peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase
from yarl import URL

from rxws._core.connection import Close, Connection, Handshake, Stats
from rxws._core.frames import Opcode
from rxws._core.instrumentation import NO_TELEMETRY, ConnectionTelemetry
from rxws._session.handler import run_handler
from rxws._session.options import Options
from rxws._session.session import Session, State
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport, Sent
from rxws.testing.peer import Peer
from support.subscriber import Subscriber

T = TypeVar("T")

HANDSHAKE = Handshake(URL("ws://peer.example/"), {})


class VirtualSession:
    """A session on a `FakeTransport`.

    Args:
        handler: Run on the connection before the first frame, as the server does.
        watch: Whether to subscribe `incoming` and `closed` first.
        overrun: As for `Peer`.
        telemetry: What the session reports to.
        options: The session's; the default has no heartbeat.
    """

    def __init__(
        self,
        handler: Callable[[Connection[Any, Any]], Any] | None = None,
        *,
        watch: bool = False,
        overrun: int = 0,
        telemetry: ConnectionTelemetry = NO_TELEMETRY,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.transport = FakeTransport(self.clock)
        self.peer = Peer(self.transport, overrun)
        options.setdefault("heartbeat", None)
        self.session: Session[Any, Any] = Session(
            self.transport, self.clock, Options(**options), HANDSHAKE, telemetry
        )
        self.conn: Connection[Any, Any] = self.session.connection
        if watch:
            self.incoming = self.watch(self.conn.incoming)
            self.closed = self.watch(self.conn.closed)
        if handler is not None:
            run_handler(handler, self.session)
        self.transport.attach(self.session)

    def watch(self, observable: Observable[T]) -> Subscriber[T]:
        """Subscribe, and record the notifications."""
        return Subscriber(observable, self.clock, scheduler=self.conn.scheduler)

    def run(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock.run(seconds)

    def settle(self) -> None:
        """Run turns until nothing more happens without time passing."""
        for _ in range(10):
            self.clock.turn()

    def pause_reading(self) -> DisposableBase:
        """Pause the flow, and fill the read-ahead, so that reading is really paused."""
        pause = self.conn.flow.pause()
        self.peer.message("x" * self.session._options.high_water)
        assert not self.transport.reading
        return pause

    @property
    def messages(self) -> list[str | bytes]:
        """The messages sent."""
        return [sent.message for sent in self.transport.sent if sent.kind < Opcode.CLOSE]

    def frames(self, kind: Opcode) -> list[Sent]:
        """Return the frames of a kind that were sent."""
        return [sent for sent in self.transport.sent if sent.kind is kind]

    @property
    def queued(self) -> int:
        """The number of messages in the send buffer."""
        return len(self.session.send_buffer.queue or ())

    @property
    def close_frame(self) -> Sent:
        """The one close frame that was sent, as the last frame."""
        [sent] = self.frames(Opcode.CLOSE)
        assert self.transport.sent[-1] is sent, "something was sent after the close frame"
        return sent

    @property
    def stats(self) -> Stats:
        """The connection's statistics."""
        return self.conn.flow.stats

    @property
    def dropped(self) -> dict[str, int]:
        """Messages dropped, by reason."""
        return dict(self.stats.dropped or {})

    def check_over(self, close: Close, error: type[Exception] | None = None) -> None:
        """Check that each stream ended once, and that late subscribers get the same end.

        Args:
            close: What `closed` emitted, `by` included.
            error: What ended `incoming`; None for completion.
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
