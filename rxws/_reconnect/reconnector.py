"""The redial loop: one stream of connections, made of single dials.

A dial is any cold Observable that emits one connection when it is open, or fails.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import get_ident
from typing import Generic, TypeAlias, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SingleAssignmentDisposable

from rxws._core.checks import check_seconds
from rxws._core.connection import Close, Connection
from rxws._core.errors import ConnectionClosed
from rxws._core.log import logger
from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import call_later, seconds_of
from rxws.backoff import DEFAULT, Backoff, is_retryable, retry_after
from rxws.closing import is_clean
from rxws.status import Closed, Connecting, Open, Status, Waiting, moved

__all__ = ["Dialer", "ReconnectPolicy", "Reconnector", "observable_of", "reconnector_of"]

In = TypeVar("In")
Out = TypeVar("Out")

OnStatus: TypeAlias = Callable[[Status], object] | None

# A final close with one of these completes; with any other code it fails.
_COMPLETES = frozenset({1000, 1005})


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """When to dial again; see `ReconnectOptions`.

    Raises:
        TypeError: `backoff` or `retryable` is not callable.
        ValueError: `stable_after` is out of range.
    """

    backoff: Backoff = DEFAULT
    retryable: Callable[[Exception], bool] = is_retryable
    stable_after: float = 10.0

    def __post_init__(self) -> None:
        for name in ("backoff", "retryable"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}={getattr(self, name)!r} is not callable")
        hint = "use a number of seconds, 0 or more"
        check_seconds("stable_after", self.stable_after, hint, zero=True)


class Reconnector(DisposableBase, Generic[In, Out]):
    """One subscription: dials, emits the connection, and dials again when that is closed.

    Create and use it on the scheduler's thread; only `dispose` may be called on any thread.

    Args:
        dial: Dials once for each subscription.
        observer: Notified of each connection while it is open, and of the end.
        policy: When to dial again.
        scheduler: Runs the waits; by default the running event loop.
        on_status: Called with every status after the first, which is `Closed(None)`.
        on_end: Called once, at the end before `observer` is notified, or by `dispose`.
    """

    def __init__(
        self,
        dial: Observable[Connection[In, Out]],
        observer: ObserverBase[Connection[In, Out]],
        policy: ReconnectPolicy,
        scheduler: SchedulerBase | None,
        on_status: OnStatus = None,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self._dial = dial
        self._observer: ObserverBase[Connection[In, Out]] | None = observer  # None: it has ended
        self._policy = policy
        self._scheduler = scheduler or LoopScheduler.running()
        self._on_status = on_status
        self._on_end = on_end
        self._seconds = seconds_of(self._scheduler)
        self._thread = get_ident()
        self._status: Status = Closed(None)
        self._attempt = 0
        self._delays: Iterator[float] | None = None  # since the first failure of a series
        self._opened = 0.0  # when the connection was
        self._connection: Connection[In, Out] | None = None  # to be closed by `dispose`
        self._redials = True
        self._disposed = False
        self._error: Exception | None = None  # what `stop_redialing` was given
        # Of the current status: the dial and the connection's `closed`, or the timer.
        self._subscriptions: list[DisposableBase] = []

    @property
    def _ended(self) -> bool:
        return self._observer is None

    def start(self) -> None:
        """Dial."""
        self._attempt += 1
        self._set_status(Connecting(self._attempt))
        if self._ended:  # disposed by a subscriber of the status
            return
        # A dial may notify before `subscribe` returns what to dispose.
        dialing = SingleAssignmentDisposable()
        self._subscriptions = [dialing]
        dialing.disposable = self._dial.subscribe(
            self._on_open, self._on_failed, self._on_nothing, scheduler=self._scheduler
        )

    def stop_redialing(self, error: Exception | None = None) -> None:
        """Make the open connection, which this side closes now, the last one.

        Without an `error` to end with, it completes if this side closed first or the close is
        clean. Otherwise it fails with a `ConnectionClosed`.
        """
        self._redials = False
        self._error = error

    def dispose(self) -> None:
        """Close an open connection with 1000, and stop dialing and waiting; on any thread."""
        if get_ident() == self._thread:
            self._dispose()
            return
        try:
            call_later(self._scheduler, 0, self._dispose)
        except RuntimeError:  # there is nothing left to close
            logger.debug("dropped a call from another thread: the loop is closed")

    # --- what the dial and the connection report ----------------------------------------------

    def _on_open(self, connection: Connection[In, Out]) -> None:
        if not isinstance(self._status, Connecting):
            logger.warning("closing %r: a dial may open only one connection", connection)
            connection.outgoing.on_next(Close())
            return
        self._opened = self._seconds()
        self._set_status(Open(connection.handshake))
        failed: Exception | None = None
        if self._observer is not None:
            try:
                self._observer.on_next(connection)
            except Exception as exc:
                failed = exc
        # `dispose` closes it only from here on: if a subscriber disposes and raises, 1011 is sent.
        if failed is not None:
            connection.outgoing.on_error(failed)  # 1011 and a log entry, as for a handler
        elif self._observer is None:
            connection.outgoing.on_next(Close())
        if self._observer is not None:
            self._connection = connection
            # If it is closed by now, this notifies before it returns.
            closed = SingleAssignmentDisposable()
            self._subscriptions.append(closed)
            closed.disposable = connection.closed.subscribe(
                self._on_closed, scheduler=self._scheduler
            )

    def _on_failed(self, error: Exception) -> None:
        if isinstance(self._status, Connecting):
            self._retry(error)
        else:  # as an `ops.timeout` above the dial does
            logger.warning("a dial failed after its connection was opened: %r", error)

    def _on_nothing(self) -> None:
        if isinstance(self._status, Connecting):
            self._end(None, None)

    def _on_closed(self, close: Close) -> None:
        if self._seconds() - self._opened >= self._policy.stable_after:
            self._attempt = 0
            self._delays = None
        self._retry(ConnectionClosed(close), close)

    # --- what follows -------------------------------------------------------------------------

    def _retry(self, cause: Exception, close: Close | None = None) -> None:
        """Wait for the next attempt, or end."""
        self._release()
        if close is not None and not self._redials:
            _note(cause, "Not retried: this side closed the connection.")
            completes = close.by == "local" or is_clean(close)
            self._end(close, self._error or (None if completes else cause))
            return
        try:
            delay = self._delay(cause)
        except Exception as exc:  # raised by the policy
            self._end(close, exc)
            return
        if self._ended:  # disposed by the policy
            return
        if delay is None:
            self._end(close, None if close is not None and close.code in _COMPLETES else cause)
            return
        if close is not None:
            self._set_status(Closed(close))
        if not self._ended:
            self._set_status(Waiting(delay, cause))
        if not self._ended:
            # Even for 0 seconds, or dials that fail at once would recurse.
            self._subscriptions = [call_later(self._scheduler, delay, self._redial)]

    def _redial(self) -> None:
        self._subscriptions = []  # the timer has run
        self.start()

    def _delay(self, cause: Exception) -> float | None:
        """Return the seconds to wait, None if the cause is final."""
        retryable = self._policy.retryable
        if not retryable(cause):
            name = getattr(retryable, "__qualname__", repr(retryable))
            _note(cause, f"Not retried: {name} returned False.")
            return None
        if self._delays is None:
            self._delays = iter(self._policy.backoff())
        delay = next(self._delays, None)
        if delay is None:
            _note(cause, f"Not retried: the backoff ended after attempt {self._attempt}.")
            return None
        if not 0 <= delay < math.inf:
            raise ValueError(
                f"the backoff returned a wait of {delay!r}: use a number of seconds, 0 or more"
            ) from cause
        # Added, so that jitter spreads the clients that got the same Retry-After. That may be a
        # date, so it needs the time of day, not the loop's.
        return delay + (retry_after(cause, time.time()) or 0.0)

    # --- ends ---------------------------------------------------------------------------------

    def _end(self, close: Close | None, error: Exception | None) -> None:
        observer = self._stop(Closed(close, error))
        if observer is None or self._disposed:  # by a policy that then raised, or by the status
            return
        try:
            if error is None:
                observer.on_completed()
            else:
                observer.on_error(error)
        except Exception as exc:
            # RxPY raises the error itself if a subscriber has no on_error.
            what = "failed, and no on_error handles it" if exc is error else "ended, which raised"
            logger.error("the connections %s: %s", what, exc, exc_info=exc)

    def _dispose(self) -> None:
        self._disposed = True
        self._stop(Closed(Close() if isinstance(self._status, Open) else None))

    def _stop(self, status: Closed) -> ObserverBase[Connection[In, Out]] | None:
        """Close and release everything; return the observer, None if it had ended before."""
        observer, self._observer = self._observer, None
        if observer is None:
            return None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.outgoing.on_next(Close())
        self._release()
        if not isinstance(self._status, Closed):
            self._set_status(status)
        if self._on_end is not None:
            self._on_end()
        return observer

    def _release(self) -> None:
        self._connection = None
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.dispose()

    def _set_status(self, status: Status) -> None:
        self._status = moved(self._status, status)
        if self._on_status is not None:
            try:
                self._on_status(status)
            except Exception as exc:
                logger.error("a subscriber of the status raised: %s", exc, exc_info=exc)


Dialer: TypeAlias = Callable[
    [ObserverBase[Connection[In, Out]], OnStatus, SchedulerBase | None], Reconnector[In, Out]
]
"""Makes a `Reconnector` with this observer, `on_status` and scheduler; the caller starts it."""


def reconnector_of(
    dial: Observable[Connection[In, Out]],
    policy: ReconnectPolicy,
    scheduler: SchedulerBase | None = None,
) -> Dialer[In, Out]:
    """Return the dialer of an Observable that dials once for each subscription."""
    return lambda observer, on_status, subscribed_on: Reconnector(
        dial, observer, policy, scheduler or subscribed_on, on_status
    )


def observable_of(
    dialer: Dialer[In, Out], status: ObserverBase[Status] | None
) -> Observable[Connection[In, Out]]:
    """Return a cold Observable of connections: each subscription dials for itself."""

    def subscribe(
        observer: ObserverBase[Connection[In, Out]], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        run = dialer(observer, None if status is None else status.on_next, scheduler)
        run.start()
        return run

    return Observable(subscribe)


def _note(error: Exception, note: str) -> None:
    """Add a note, but only once: a dial may fail with the same error again."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
