"""The operator `rate_limit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.checks import check_count, check_seconds
from rxws._core.connection import Close, Flow
from rxws._core.errors import ConnectionClosed
from rxws._core.schedulers.connection_scheduler import scheduler_of_chain
from rxws._core.schedulers.timers import Deadline, seconds_of
from rxws.closing import check_sendable

from ._backlog import BacklogSubscription

__all__ = ["rate_limit"]

T = TypeVar("T")

# Virtual time and `datetime` count whole microseconds: a timer may fire by that much too early.
_RESOLUTION = 1e-6


def rate_limit(
    count: int,
    per: float,
    burst: int | None = None,
    excess: Literal["hold", "drop"] | Close = "hold",
    flow: Flow | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Let at most `count` values pass per `per` seconds, after a burst.

    It is a token bucket: it holds up to `burst` tokens, is full at first, and gains `count` tokens
    in `per` seconds. Each value takes one. So at most `burst + count * seconds / per` values pass
    in any period. Each subscription, and so each connection, has its own bucket.

    ```
    in         --1-2-3-4-------5--|
    rate_limit --1-2---3---4---5--|   count=1, per=0.4, burst=2: hold
    rate_limit --1-2---------- 5--|   drop; 3 and 4 are counted
    rate_limit --1-2-#                Close(1008)
    ```

    Args:
        count: How many values may pass per `per` seconds in the long run.
        per: The period in seconds.
        burst: How many values may pass at once after a pause; by default `count`.
        excess: What happens to a value that finds no token. `"hold"`: it waits for one, and the
            connection is paused meanwhile, so TCP slows down the peer, and no value is lost.
            `"drop"`: it is dropped. A `Close`: it is dropped, and the connection closes with that
            code and reason. Dropped values are counted in `conn.flow.stats` as `"rate_limit"`.
        flow: The flow to use if `rate_limit` cannot find the connection. Pass `conn.flow` if your
            own Subject is between the connection and `rate_limit`.

    Returns:
        An operator. With `"hold"`, its result ends after the values that wait. If the source has no
        connection behind it, values are queued; if more than 1024 are waiting, the stream fails
        with a `Backlog`. A `Close` then fails the stream with a `ConnectionClosed`, and dropped
        values are not counted.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or the code of the `Close` must not be sent.
        RuntimeError: Raised by `subscribe` if no event loop is running and no scheduler is passed.

    Examples:
        ```python
        polite = rxws.operators.rate_limit(20, per=1, burst=50, excess=rxws.Close(1008, "too fast"))
        return conn.incoming.pipe(polite, ops.map(answer))
        ```
    """
    check_count("count", count, "values")
    check_seconds("per", per)
    if burst is None:
        burst = count
    check_count("burst", burst, "values")
    if isinstance(excess, Close):
        check_sendable(excess)
    elif excess not in ("hold", "drop"):
        raise ValueError(f'excess={excess!r} is unknown: use "hold", "drop" or a rxws.Close')

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: ObserverBase[T], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            used = scheduler_of_chain(scheduler)
            bucket = _TokenBucket(count, per, burst, seconds_of(used))
            subscription = _Subscription(bucket, excess, observer, used)
            subscription.start(source, flow)
            return subscription

        return Observable(subscribe)

    return operator


class _TokenBucket:
    """Counts tokens since the bucket was last full; so rounding errors do not add up."""

    __slots__ = ("_burst", "_count", "_full_at", "_per", "_seconds", "_taken")

    def __init__(self, count: int, per: float, burst: int, seconds: Callable[[], float]) -> None:
        self._count = count
        self._per = per
        self._burst = burst
        self._seconds = seconds
        self._full_at = 0.0  # when the bucket was last full
        self._taken = 0  # since then

    def take(self) -> bool:
        """Take a token if there is one."""
        now = self._seconds()
        if now >= self._time_of(self._taken):
            self._full_at, self._taken = now, 0
        if self._time_of(self._taken + 1 - self._burst) > now + _RESOLUTION:
            return False
        self._taken += 1
        return True

    def take_due(self) -> None:
        """Take the token that `wait` was for, as of its time: a late timer costs no tokens."""
        self._taken += 1

    def wait(self) -> float:
        """Return the seconds until there is a token."""
        return self._time_of(self._taken + 1 - self._burst) - self._seconds()

    def _time_of(self, tokens: int) -> float:
        """Return when the bucket has gained this many tokens."""
        return self._full_at + tokens * self._per / self._count


class _Subscription(BacklogSubscription[T, T]):
    """One subscription of `rate_limit`."""

    operator = "rate_limit"

    def __init__(
        self,
        bucket: _TokenBucket,
        excess: Literal["hold", "drop"] | Close,
        observer: ObserverBase[T],
        scheduler: SchedulerBase,
    ) -> None:
        super().__init__(observer, scheduler)
        self._bucket = bucket
        self._excess = excess
        self._timer = Deadline(scheduler)

    def dispose(self) -> None:
        """Stop the timer, count the values that wait as dropped, and release the flows."""
        self._timer.clear()
        super().dispose()

    def on_next(self, value: T) -> None:
        if self.over:
            return
        if self.waiting:
            self.keep(value)
        elif self._bucket.take():
            self.observer.on_next(value)
        elif self._excess == "hold":
            self.keep(value)
            self.upstreams.pause()
            self._timer.set(self._bucket.wait(), self._release)
        else:
            self._refuse()

    def on_error(self, error: Exception) -> None:
        self.end(error)

    def _refuse(self) -> None:
        self.upstreams.count_dropped("rate_limit")
        if isinstance(self._excess, Close):
            code, reason = self._excess.code, self._excess.reason
            # The stream then ends as the connection does.
            if not self.upstreams.fail(code, reason):
                self.fail(ConnectionClosed(Close(code, reason)))

    def _release(self) -> None:
        """Emit the first value that waits, and those that find a token, too."""
        self._bucket.take_due()
        try:
            self.observer.on_next(self.waiting.popleft())
            while self.waiting and self._bucket.take():
                self.observer.on_next(self.waiting.popleft())
        finally:
            if self.waiting:
                self._timer.set(self._bucket.wait(), self._release)
            else:
                self.upstreams.resume()
                self.end_if_done()
