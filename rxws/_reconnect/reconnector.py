"""Dialling again: the machine that makes of single dials one stream of connections.

It knows neither sockets nor loops. A dial is any cold Observable that emits a connection when that
is open, or fails; time comes from a scheduler, and what to do next from policies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import get_ident
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SingleAssignmentDisposable

from rxws._core.connection import Close, Connection
from rxws._core.errors import ConnectionClosed
from rxws._core.log import logger
from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import call_later, seconds_of
from rxws.backoff import DEFAULT, Backoff, is_retryable, retry_after
from rxws.status import Closed, Connecting, Open, Status, Waiting, moved

__all__ = ["ReconnectPolicy", "Reconnector", "redial"]

In = TypeVar("In")
Out = TypeVar("Out")

# A final end by one of these completes; by any other code it fails.
_DONE = frozenset({1000, 1005})


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """When to dial again.

    Args:
        backoff: Begins a series of waits in seconds; its end means to give up.
        retryable: Tells whether to dial again after what happened; else it is final.
        stable_after: Seconds that a connection has to stand for the series to begin anew.

    Raises:
        TypeError: A policy is not callable.
        ValueError: A number is out of range.
    """

    backoff: Backoff = DEFAULT
    retryable: Callable[[Exception], bool] = is_retryable
    stable_after: float = 10.0

    def __post_init__(self) -> None:
        for name in ("backoff", "retryable"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}={getattr(self, name)!r} is not callable")
        if not 0 <= self.stable_after < math.inf:
            raise ValueError(
                f"stable_after={self.stable_after!r}: use a number of seconds, 0 or more"
            )


def redial(
    dial: Observable[Connection[In, Out]],
    policy: ReconnectPolicy,
    *,
    status: ObserverBase[Status] | None = None,
    scheduler: SchedulerBase | None = None,
) -> Observable[Connection[In, Out]]:
    """Return a cold Observable of connections: each subscription dials, and redials by the policy.

    Args:
        dial: Dials once for each subscription.
        policy: When to dial again.
        status: Receives every status after the first, which is `Closed(None)`.
        scheduler: The time; by default the subscription's scheduler, or else the running loop.
    """

    def subscribe(
        observer: ObserverBase[Connection[In, Out]], used: SchedulerBase | None = None
    ) -> DisposableBase:
        reconnecting = Reconnector(
            dial,
            observer,
            policy,
            scheduler or used or LoopScheduler.running(),
            time.time,  # asyncio's loops count from any point
            None if status is None else status.on_next,
        )
        reconnecting.start()
        return reconnecting

    return Observable(subscribe)


class Reconnector(DisposableBase, Generic[In, Out]):
    """One subscription: it dials, tells of each connection, and dials again when that is over.

    It is used on the thread that made it, which is the scheduler's; only `dispose` may be called
    from any.

    Args:
        dial: Dials once for each subscription.
        observer: Told of each connection while it is open, and of the end.
        policy: When to dial again.
        scheduler: The time.
        wall: The present in seconds since 1970, for what servers ask for by a date.
        status: Told of every status that follows the first, which is `Closed(None)`.
        on_over: Called at the end, before that is told, or when disposed.
    """

    def __init__(
        self,
        dial: Observable[Connection[In, Out]],
        observer: ObserverBase[Connection[In, Out]],
        policy: ReconnectPolicy,
        scheduler: SchedulerBase,
        wall: Callable[[], float],
        status: Callable[[Status], object] | None = None,
        on_over: Callable[[], object] | None = None,
    ) -> None:
        self._dial = dial
        self._observer: ObserverBase[Connection[In, Out]] | None = observer  # None: it is over
        self._policy = policy
        self._scheduler = scheduler
        self._wall = wall
        self._tell_status = status
        self._on_over = on_over
        self._seconds = seconds_of(scheduler)
        self._thread = get_ident()
        self._status: Status = Closed(None)
        self._attempt = 0
        self._waits: Iterator[float] | None = None  # begun with the first failure
        self._opened = 0.0  # when the connection was
        self._connection: Connection[In, Out] | None = None  # which is ours to close
        # What the present status stands on: a dial and the connection's end, or a timer.
        self._holds: list[DisposableBase] = []

    @property
    def over(self) -> bool:
        """Whether nothing more will be told."""
        return self._observer is None

    def start(self) -> None:
        """Dial."""
        self._attempt += 1
        self._become(Connecting(self._attempt))
        if self.over:  # disposed by who watches the status
            return
        # Not what `subscribe` returns: that comes too late where it notifies at once.
        dialling = SingleAssignmentDisposable()
        self._holds = [dialling]
        dialling.disposable = self._dial.subscribe(
            self._on_open, self._on_failed, self._on_nothing, scheduler=self._scheduler
        )

    def dispose(self) -> None:
        """Close what is open with 1000, and stop dialling and waiting; from any thread."""
        if get_ident() == self._thread:
            self._dispose()
            return
        try:
            call_later(self._scheduler, 0, self._dispose)
        except RuntimeError:  # the loop is closed, and all that ran on it is gone
            logger.debug("dropped a call from another thread: the loop is closed")

    # --- what the dial tells ------------------------------------------------------------------

    def _on_open(self, connection: Connection[In, Out]) -> None:
        if not isinstance(self._status, Connecting):
            logger.warning("a dial brought a second connection, %r: closing it", connection)
            connection.outgoing.on_next(Close())
            return
        self._opened = self._seconds()
        self._become(Open(connection.handshake))
        failed: Exception | None = None
        if self._observer is not None:
            try:
                self._observer.on_next(connection)
            except Exception as exc:
                failed = exc
        # Only from here on does disposing close it, so that who raised and disposed is told of.
        if failed is not None:
            connection.outgoing.on_error(failed)  # as a handler that raises: 1011, and logged
        elif self._observer is None:
            connection.outgoing.on_next(Close())
        if self._observer is not None:
            self._connection = connection
            # Not before: one that is closed by now tells so at once.
            ended = SingleAssignmentDisposable()
            self._holds.append(ended)
            ended.disposable = connection.closed.subscribe(
                self._on_closed, scheduler=self._scheduler
            )

    def _on_failed(self, error: Exception) -> None:
        if isinstance(self._status, Connecting):
            self._go_on(error)
        else:  # an `ops.timeout` above a dial does that
            logger.warning("a dial failed whose connection stands, which goes on: %r", error)

    def _on_nothing(self) -> None:
        if isinstance(self._status, Connecting):
            self._end(None, None)

    def _on_closed(self, close: Close) -> None:
        if self._seconds() - self._opened >= self._policy.stable_after:
            self._attempt = 0
            self._waits = None
        self._go_on(ConnectionClosed(close), close)

    # --- what follows -------------------------------------------------------------------------

    def _go_on(self, cause: Exception, close: Close | None = None) -> None:
        """Wait for the next attempt, or end."""
        self._let_go()
        try:
            delay = self._delay(cause)
        except Exception as exc:  # of a policy
            self._end(close, exc)
            return
        if self.over:  # disposed by a policy
            return
        if delay is None:
            self._end(close, None if close is not None and close.code in _DONE else cause)
            return
        if close is not None:
            self._become(Closed(close))
        if not self.over:
            self._become(Waiting(delay, cause))
        if not self.over:
            # Also for a delay of 0: dials that fail at once follow one another, without recursion.
            self._holds = [call_later(self._scheduler, delay, self._again)]

    def _again(self) -> None:
        self._holds = []  # the timer has run
        self.start()

    def _delay(self, cause: Exception) -> float | None:
        """Return how long to wait, None if it is final."""
        retryable = self._policy.retryable
        if not retryable(cause):
            name = getattr(retryable, "__qualname__", repr(retryable))
            _note(cause, f"Not dialled again: {name} takes it as final.")
            return None
        if self._waits is None:
            self._waits = iter(self._policy.backoff())
        delay = next(self._waits, None)
        if delay is None:
            _note(cause, f"Not dialled again: the backoff has ended, at attempt {self._attempt}.")
            return None
        if not 0 <= delay < math.inf:
            raise ValueError(
                f"the backoff asks to wait {delay!r}: use seconds, 0 or more"
            ) from cause
        # Added, so that those who were all told the same do not come back in one moment.
        return delay + (retry_after(cause, self._wall()) or 0.0)

    # --- ends ---------------------------------------------------------------------------------

    def _end(self, close: Close | None, error: Exception | None) -> None:
        observer = self._stop(Closed(close, error))
        if observer is None:  # disposed by a policy that raises
            return
        try:
            if error is None:
                observer.on_completed()
            else:
                observer.on_error(error)
        except Exception as exc:
            # RxPY raises the error itself where a subscriber gave no on_error.
            said = "took" if exc is error else "could take"
            logger.error("nobody %s the end of the connections: %s", said, exc, exc_info=exc)

    def _dispose(self) -> None:
        self._stop(Closed(Close() if isinstance(self._status, Open) else None))

    def _stop(self, status: Closed) -> ObserverBase[Connection[In, Out]] | None:
        """Let go of everything, and return who is to be told of it, None if it was over."""
        observer, self._observer = self._observer, None
        if observer is None:
            return None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.outgoing.on_next(Close())
        self._let_go()
        if not isinstance(self._status, Closed):  # disposed by who watches the status
            self._become(status)
        if self._on_over is not None:
            self._on_over()
        return observer

    def _let_go(self) -> None:
        self._connection = None
        holds, self._holds = self._holds, []
        for hold in holds:
            hold.dispose()

    def _become(self, status: Status) -> None:
        self._status = moved(self._status, status)
        if self._tell_status is not None:
            try:
                self._tell_status(status)
            except Exception as exc:
                logger.error("a subscriber of the status raised: %s", exc, exc_info=exc)


def _note(error: Exception, note: str) -> None:
    """Add a note, once: a source may fail with the same error again."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
