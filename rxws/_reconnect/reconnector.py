"""The redial loop: it subscribes to a dial again and again, and emits every connection.

A dial is a cold Observable that tries once: it emits one open connection, or fails.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Generic, TypeAlias

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SingleAssignmentDisposable

from rxws._core import instrumentation
from rxws._core.checks import check_seconds
from rxws._core.connection import Close, Connection, In, Out
from rxws._core.errors import ConnectionClosed, as_exception
from rxws._core.log import logger
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._core.schedulers.threads import run_on
from rxws._core.schedulers.timers import call_later, raise_soon, seconds_of
from rxws._core.streams.scheduled import LoopObservable
from rxws._core.streams.stream import end_observer
from rxws.backoff import DEFAULT, Backoff, is_retryable, retry_after
from rxws.status import Closed, Connecting, Open, Status, Waiting, moved

__all__ = [
    "FailurePacing",
    "ReconnectPolicy",
    "Reconnector",
    "ReconnectorFactory",
    "factory_for_dial",
    "to_observable",
]

OnStatus: TypeAlias = Callable[[Status], object] | None

# If the last connection closes with one of these, the stream completes; otherwise it fails.
_COMPLETES = frozenset({1000, 1005})

# Seconds. A failure is forgotten if nobody subscribes for that long, or for `stable_after`.
_QUIET = 1.0

# Seconds in which a dial may fail without a turn of the loop, as a dial of a test does.
_SAME_TURN = 0.001


_CALLABLE = {
    "backoff": "a function that returns an iterator of seconds, such as rxws.backoff.constant(5)",
    "retryable": "a function of an exception, such as rxws.backoff.is_retryable",
}


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """When to dial again; see `ReconnectOptions`."""

    backoff: Backoff = DEFAULT
    retryable: Callable[[Exception], bool] = is_retryable
    stable_after: float = 10.0

    def __post_init__(self) -> None:
        for name, remedy in _CALLABLE.items():
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}={getattr(self, name)!r} is not callable: use {remedy}")
        hint = "use a number of seconds, 0 or more"
        check_seconds("stable_after", self.stable_after, hint, zero=True)


class FailurePacing:
    """Delays new subscriptions to one Observable after earlier ones have failed.

    `ops.retry()` subscribes again at once after a final error, such as a 401. The first time the
    client dials at once, too. If that fails as well, it waits as long as the backoff says.
    """

    def __init__(self, policy: ReconnectPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._delays: Iterator[float] | None = None
        self._failed_at = 0.0
        self._delay = 0.0  # from then on
        self._cause: Exception | None = None

    def failed(self, cause: Exception, now: float) -> None:
        """Note that a subscription has failed."""
        self._failures += 1
        self._failed_at, self._delay = now, 0.0
        if self._failures > 1:
            self._cause = cause
            self._delay = self._next_delay()

    def reset(self) -> None:
        """Forget all failures: a connection was stable."""
        self._failures = 0
        self._delays = self._cause = None

    def wait(self, now: float) -> Waiting | None:
        """Return how long a new subscription has to wait; None if it may dial at once."""
        elapsed = now - self._failed_at
        if elapsed > max(self._delay, self._policy.stable_after, _QUIET):
            self.reset()
        if self._failures < 2 or elapsed > self._delay + _SAME_TURN:
            return None
        assert self._cause is not None
        return Waiting(max(self._delay - elapsed, 0.0), self._cause)

    def _next_delay(self) -> float:
        """Return the backoff's next delay, or a default one if it gives up."""
        try:
            if self._delays is None:
                self._delays = iter(self._policy.backoff())
            delay = next(self._delays)
            if 0 <= delay < math.inf:
                return delay
        except Exception:  # the user gets it from the run that needs a delay
            pass
        self._delays = DEFAULT()
        return next(self._delays)


class Reconnector(DisposableBase, Generic[In, Out]):
    """One subscription: dials, emits the connection, and dials again when it closes.

    Create and use it on the scheduler's thread; only `dispose` may be called on any thread.

    Args:
        pacing: Shared by all subscriptions to the same Observable.
        scheduler: Runs the waits; by default the running event loop.
        on_status: Called with every status but the first, `Closed(None)`.
        on_end: Called once: by `dispose`, or at the end before the observer is notified.
    """

    def __init__(
        self,
        dial: Observable[Connection[In, Out]],
        observer: ObserverBase[Connection[In, Out]],
        policy: ReconnectPolicy,
        pacing: FailurePacing,
        scheduler: SchedulerBase | None,
        on_status: OnStatus = None,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self._dial = dial
        self._observer: ObserverBase[Connection[In, Out]] | None = observer  # None after the end
        self._policy = policy
        self._pacing = pacing
        self._scheduler = LoopScheduler.thread_safe(scheduler)
        self._on_status = on_status
        self._on_end = on_end
        self._report = instrumentation.active.reconnecting()
        self._seconds = seconds_of(self._scheduler)
        self._thread = get_ident()
        self._status: Status = Closed(None)
        self._attempt = 0
        self._delays: Iterator[float] | None = None  # None before a series of failures
        self._opened_at = 0.0
        self._connection: Connection[In, Out] | None = None  # set if `dispose` must close it
        self._redials = True
        self._disposed = False
        self._final_error: Exception | None = None  # given to `stop_redialing`
        # The dial while connecting, also `connection.closed` while open, the timer while waiting.
        self._subscriptions: list[DisposableBase] = []

    @property
    def _ended(self) -> bool:
        return self._observer is None

    def start(self) -> None:
        """Dial: at once, unless earlier subscriptions have failed."""
        waiting = self._pacing.wait(self._seconds())
        if waiting is None:
            self._connect()
        else:
            self._wait(waiting)

    def _connect(self) -> None:
        self._subscriptions = []  # the timer has run
        self._attempt += 1
        self._set_status(Connecting(self._attempt))
        if self._ended:  # disposed by an observer of the status
            return
        # A dial may emit or fail before `subscribe` returns.
        dialing = SingleAssignmentDisposable()
        self._subscriptions = [dialing]
        on_failed, on_completed = self._on_dial_failed, self._on_dial_completed
        try:
            dialing.disposable = self._dial.subscribe(
                self._on_open, on_failed, on_completed, scheduler=self._scheduler
            )
        except BaseException as exc:  # RxPY passes on what is no Exception
            self._on_dial_failed(as_exception(self._scheduler, exc))

    def stop_redialing(self, error: Exception | None = None) -> None:
        """Do not dial again after the open connection, which the caller is about to close.

        The stream then fails with `error`. Without an error, it completes if this side closed
        first, or after a close with 1000 or no code, and fails with a `ConnectionClosed` otherwise.
        """
        self._redials = False
        self._final_error = error

    def dispose(self) -> None:
        """Close an open connection with 1000, and stop dialing and waiting; on any thread."""
        run_on(self._scheduler, self._thread, self._dispose)

    # --- called by the dial and the connection ------------------------------------------------

    def _on_open(self, connection: Connection[In, Out]) -> None:
        if not isinstance(self._status, Connecting):
            logger.warning("closing %r: each attempt may open only one connection", connection)
            connection.outgoing.on_next(Close())
            return
        self._opened_at = self._seconds()
        self._set_status(Open(connection.handshake))
        failed: Exception | None = None
        if self._observer is not None:
            try:
                self._observer.on_next(connection)
            except BaseException as exc:
                failed = as_exception(self._scheduler, exc)
        # `_connection` is not set yet: if the observer disposes and then raises, 1011 is sent.
        if failed is not None:
            self._guard(
                connection.outgoing.on_error, failed
            )  # 1011 and a log entry, as for a handler
        elif self._observer is None:
            self._guard(connection.outgoing.on_next, Close())
        if self._observer is not None:
            self._connection = connection
            # If the connection is closed already, `subscribe` calls `_on_closed` before it returns.
            closed = SingleAssignmentDisposable()
            self._subscriptions.append(closed)
            closed.disposable = connection.closed.subscribe(
                self._on_closed, scheduler=self._scheduler
            )

    def _on_dial_failed(self, error: Exception) -> None:
        if isinstance(self._status, Connecting):
            self._retry(error)
        else:  # for example by an `ops.timeout` applied to the dial
            logger.warning("an attempt failed after its connection was opened: %r", error)

    def _on_dial_completed(self) -> None:
        if isinstance(self._status, Connecting):
            self._end(None, None)

    def _on_closed(self, close: Close) -> None:
        if self._seconds() - self._opened_at >= self._policy.stable_after:
            self._attempt = 0
            self._delays = None
            self._pacing.reset()
        self._retry(ConnectionClosed(close), close)

    # --- retries ------------------------------------------------------------------------------

    def _retry(self, cause: Exception, close: Close | None = None) -> None:
        """Wait for the next attempt, or end."""
        self._release()
        if close is not None and not self._redials:
            _add_note_once(cause, "Not retried: this side closed the connection.")
            completes = close.by == "local" or close.code in _COMPLETES
            self._end(close, self._final_error or (None if completes else cause))
            return
        try:
            delay = self._delay(cause)
        except BaseException as exc:  # raised by the policy
            self._end(close, as_exception(self._scheduler, exc))
            return
        if self._ended:  # disposed by the policy
            return
        if delay is None:
            self._end(close, None if close is not None and close.code in _COMPLETES else cause)
            return
        if close is not None:
            self._set_status(Closed(close))
        if not self._ended:
            self._wait(Waiting(delay, cause))

    def _wait(self, waiting: Waiting) -> None:
        self._set_status(waiting)
        if not self._ended:
            # A timer even for 0 seconds: otherwise dials that fail at once would recurse.
            self._subscriptions = [call_later(self._scheduler, waiting.delay, self._connect)]

    def _delay(self, cause: Exception) -> float | None:
        """Return the seconds to wait, or None to give up."""
        retryable = self._policy.retryable
        if not retryable(cause):
            name = getattr(retryable, "__qualname__", repr(retryable))
            _add_note_once(cause, f"Not retried: {name} returned False.")
            return None
        if self._delays is None:
            self._delays = iter(self._policy.backoff())
        delay = next(self._delays, None)
        if delay is None:
            _add_note_once(cause, f"Not retried: the backoff ended after attempt {self._attempt}.")
            return None
        if not 0 <= delay < math.inf:
            raise ValueError(
                f"the backoff returned a wait of {delay!r}: use a number of seconds, 0 or more"
            ) from cause
        # The sum: jitter then also spreads clients that got the same Retry-After. That header may
        # hold a date, so `retry_after` needs the time of day, not the loop's time.
        return delay + (retry_after(cause, time.time()) or 0.0)

    # --- ends ---------------------------------------------------------------------------------

    def _end(self, close: Close | None, error: Exception | None) -> None:
        if error is not None:
            self._guard(self._pacing.failed, error, self._seconds())
        observer = self._stop(Closed(close, error))
        if observer is None or self._disposed:  # a callback may have disposed
            return
        try:
            if end_observer(observer, error, _log_end_fault) and error is not None:
                text = "the connections failed, and no on_error handles it: %s"
                logger.error(text, error, exc_info=error)
        except BaseException as exc:
            raise_soon(self._scheduler, exc)

    def _dispose(self) -> None:
        self._disposed = True
        self._stop(Closed(Close() if isinstance(self._status, Open) else None))

    def _stop(self, status: Closed) -> ObserverBase[Connection[In, Out]] | None:
        """Close and release everything; return the observer, or None if it was stopped before."""
        observer, self._observer = self._observer, None
        if observer is None:
            return None
        connection, self._connection = self._connection, None
        if connection is not None:
            self._guard(connection.outgoing.on_next, Close())
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
            self._guard(subscription.dispose)

    def _guard(self, step: Callable[..., object], *args: Any) -> None:
        """Take a step; if a callback raises in it, raise that in the scheduler's next turn."""
        try:
            step(*args)
        except BaseException as exc:
            raise_soon(self._scheduler, exc)

    def _set_status(self, status: Status) -> None:
        self._status = moved(self._status, status)
        self._report(status)
        if self._on_status is not None:
            try:
                self._on_status(status)
            except Exception as exc:
                logger.error("a subscriber of the status raised: %s", exc, exc_info=exc)
            except BaseException as exc:
                raise_soon(self._scheduler, exc)


def _log_end_fault(error: Exception) -> None:
    logger.error("a subscriber raised when the connections ended: %s", error, exc_info=error)


ReconnectorFactory: TypeAlias = Callable[
    [ObserverBase[Connection[In, Out]], OnStatus, SchedulerBase | None], Reconnector[In, Out]
]
"""Makes a `Reconnector` from an observer, `on_status` and a scheduler; the caller starts it."""


def factory_for_dial(
    dial: Observable[Connection[In, Out]],
    policy: ReconnectPolicy,
    scheduler: SchedulerBase | None = None,
) -> ReconnectorFactory[In, Out]:
    """Return a factory for an Observable that dials once per subscription."""
    pacing = FailurePacing(policy)
    return lambda observer, on_status, subscribed_on: Reconnector(
        dial, observer, policy, pacing, scheduler or subscribed_on, on_status
    )


def to_observable(
    factory: ReconnectorFactory[In, Out],
    status: ObserverBase[Status] | None,
    default: SchedulerBase | None = None,
) -> Observable[Connection[In, Out]]:
    """Return a cold Observable of connections, with one reconnector per subscription.

    Args:
        factory: Makes the reconnectors.
        status: An observer of the status.
        default: The default scheduler of chains; by default the running event loop.
    """

    def subscribe(
        observer: ObserverBase[Connection[In, Out]], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        reconnector = factory(observer, None if status is None else status.on_next, scheduler)
        reconnector.start()
        return reconnector

    return LoopObservable(subscribe, default)


def _add_note_once(error: Exception, note: str) -> None:
    """Add a note unless it is there: a dial may fail with the same error object again."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
