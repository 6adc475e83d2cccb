"""Servers in virtual time: each dial opens, fails or waits as the test decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.connection import Connection
from rxws._core.schedulers.timers import call_later
from rxws._session.options import Options
from rxws._session.session import Session, State
from rxws.testing import Clock
from rxws.testing.fake_transport import FakeTransport
from rxws.testing.peer import Peer
from support.virtual.session import HANDSHAKE

AnyConnection = Connection[Any, Any]
OnDial = Callable[["Dial"], object]
"""Called with each dial: opens it, fails it, or leaves it waiting."""


class Dial:
    """One dial and its server."""

    def __init__(self, clock: Clock, observer: ObserverBase[AnyConnection]) -> None:
        self.clock = clock
        self.observer = observer
        self.disposed = False
        self.session: Session[Any, Any] | None = None
        self.transport = FakeTransport(clock)
        self.peer = Peer(self.transport)

    def fail(self, error: Exception) -> None:
        self.observer.on_error(error)

    def open(self) -> AnyConnection:
        """Open a connection, and emit it."""
        self.session = Session(self.transport, self.clock, Options(heartbeat=None), HANDSHAKE)
        self.transport.attach(self.session)
        connection = self.session.connection
        connection.incoming.subscribe()
        self.observer.on_next(connection)
        return connection

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        call_later(self.clock, seconds, do)

    @property
    def is_over(self) -> bool:
        """Whether its connection has closed, or never opened."""
        return self.session is None or (self.session.state is State.CLOSED and self.transport.over)


def fail_with(error: Exception) -> OnDial:
    """Fail the dial at once."""
    return lambda dial: dial.fail(error)


def open_for(
    seconds: float | None = None, code: int | None = None, *, lost: bool = False
) -> OnDial:
    """Open at once; after `seconds` the peer closes with `code`, or is lost."""

    def meet(dial: Dial) -> None:
        dial.open()
        if seconds is not None:
            end = dial.peer.lost if lost else lambda: dial.peer.close(code)
            dial.later(seconds, end)

    return meet


class VirtualServers:
    """A cold Observable of connections; each subscription is a dial.

    Args:
        meets: Called with one dial each, in order; the last with all further dials.
    """

    def __init__(self, *meets: OnDial, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.dials: list[Dial] = []
        self.times: list[float] = []
        self._meets = iter(meets)
        self._last: OnDial = lambda dial: None
        self.source: Observable[AnyConnection] = Observable(self._subscribe)

    def _subscribe(
        self, observer: ObserverBase[AnyConnection], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        assert scheduler is not None, "a dial is told no scheduler"
        dial = Dial(self.clock, observer)
        self.dials.append(dial)
        self.times.append(self.clock.time)
        self._last = next(self._meets, self._last)
        self._last(dial)

        def gone() -> None:
            dial.disposed = True

        return Disposable(gone)

    def check_nothing_left(self) -> None:
        """Check that no connection, dial or timer is left after 60 seconds."""
        self.clock.run(60.0)
        assert all(dial.is_over and dial.disposed for dial in self.dials)
        assert self.clock.pending == 0
