"""Light hot Observables. The streams of a connection share a `Dispatcher`.

They differ from RxPY's subjects: all streams share one lock, notifications never nest, and if a
subscriber raises, the others still receive the value.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, OnCompleted, OnError, OnNext, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.internal import noop

from rxws._core.errors import without_traceback
from rxws._core.log import logger
from rxws._core.schedulers.connection_scheduler import DefaultScheduler, Fault, SchedulerOwner
from rxws._core.upstream import Upstream, UpstreamMembers, collectors

from .cell_context import in_cell_context
from .scheduled import SchedulerCarrier
from .subscriber import Subscriber

__all__ = [
    "Dispatcher",
    "DispatcherOwner",
    "EndLimiter",
    "Fault",
    "PausableStream",
    "ReplayStream",
    "RestartableStream",
    "Stream",
    "call_each",
    "end_observer",
]

T = TypeVar("T")
R = TypeVar("R")

# Low enough for a subscriber that subscribes again within its own `on_error`, which recurses.
_MAX_REPLAYS = 50

# Guards the observers of all streams: subscribing is rare and quick, so one lock is enough. It is
# reentrant, because a signal handler may subscribe while it interrupts the code that holds the
# lock. CPython runs signal handlers only after calls and at backward jumps: an assignment that
# calls nothing is never interrupted.
_OBSERVERS_LOCK = threading.RLock()


def call_each(call: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call with each item and return the results; if calls raise, raise the first error at last."""
    results: list[R] = []
    interrupt: BaseException | None = None
    for item in items:
        try:
            results.append(call(item))
        except BaseException as exc:
            interrupt = interrupt or exc
    if interrupt is not None:
        raise interrupt
    return results


def end_observer(observer: ObserverBase[T], error: Exception | None, fault: Fault) -> bool:
    """Complete or fail an observer, and return whether it raised `error` itself.

    RxPY raises it for a subscriber that has no `on_error`. Users may omit `on_error`, so this is
    not reported as a fault.
    """
    traceback = None if error is None else error.__traceback__
    try:
        if error is None:
            observer.on_completed()
        else:
            observer.on_error(error)
    except Exception as exc:
        if exc is error:
            exc.__traceback__ = traceback  # not that of RxPY's raise, a reference cycle
            return True
        fault(exc)
    return False


class DispatcherOwner(SchedulerOwner, Protocol):
    """The connection whose streams share a `Dispatcher`; see `Session`."""

    def fail(self, code: int, reason: str) -> None:
        """End with a `ConnectionClosed`, and send its close, unless the connection is closing."""
        ...

    def may_run_here(self) -> bool:
        """See `rxws._core.schedulers.loop_scheduler.may_run_here`."""
        ...


class Dispatcher:
    """Runs notifications one at a time, in the order in which they are posted.

    A notification that is posted while another runs is queued. So messages that a subscriber sends
    inside `on_next` stay in order, and nothing recurses.

    If a notification raises, such as a KeyboardInterrupt, the owner is notified and the queued
    notifications run. Then the exception propagates.

    Args:
        scheduler: The scheduler of the streams, and of the chains that begin with them.
    """

    __slots__ = ("busy", "owner", "scheduler", "waiting")

    def __init__(self, scheduler: SchedulerBase | None = None) -> None:
        self.busy = False
        self.scheduler = scheduler
        self.waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
        self.owner: DispatcherOwner | None = None

    def default_scheduler(self, fault: Fault) -> SchedulerBase | None:
        """Return the default scheduler of chains, which calls `fault` with what they raise."""
        if self.scheduler is None:
            return None
        return DefaultScheduler(self.scheduler, fault, self.owner)

    def post(self, notify: Callable[..., object], *args: Any) -> None:
        """Run `notify(*args)` now, or after the notifications that are running or queued."""
        if self.busy:
            if self.waiting is None:  # most connections never need the queue
                self.waiting = deque()
            self.waiting.append((notify, args))
            return
        self.busy = True
        try:
            notify(*args)
            if self.waiting:
                self.run_waiting()
        except BaseException as exc:
            self.run_interrupted(exc)
            raise
        finally:
            self.busy = False

    def run_waiting(self) -> None:
        """Run the queued notifications; the caller must have set `busy`."""
        while self.waiting:
            notify, args = self.waiting.popleft()
            notify(*args)

    def run_interrupted(self, error: BaseException) -> None:
        """Run the queued notifications although one has raised; the caller re-raises its error."""
        if self.owner is not None:
            self.owner.on_interrupt(error)
        while self.waiting:
            try:
                self.run_waiting()
            except BaseException as exc:
                logger.error("a subscriber raised after %r: %r", error, exc, exc_info=exc)


class EndLimiter:
    """Detects that an operator such as `retry` subscribes again at each end, in an endless loop.

    The first ends without a pause of `QUIET` seconds are notified at once. Each end after that must
    wait for `DELAY` seconds, so that the event loop can run.
    """

    QUIET = 0.1
    DELAY = 0.01

    __slots__ = ("_count", "_latest", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._latest = 0.0

    def must_wait(self, now: float, warning: str, stream: object) -> bool:
        """Count an end, and return whether its notification must wait; then log once."""
        self._count = 1 if now - self._latest > self.QUIET else self._count + 1
        self._latest = now
        if self._count == self._limit + 1:
            logger.warning(warning, stream, self._limit)
        return self._count > self._limit


class _Lock:
    """The lock that some RxPY operators expect of their source, created on first use."""

    def __get__(self, stream: Stream[Any] | None, _: type) -> Any:
        if stream is None:
            return self
        with _OBSERVERS_LOCK:
            return vars(stream).setdefault("lock", threading.RLock())


class Stream(SchedulerCarrier[T]):
    """A hot Observable. New subscribers miss earlier values, but never the end.

    It calls `fault` with every exception that a subscriber raises.
    """

    # RxPY's Observable has a __dict__; Python creates it when the first attribute is stored there.
    __slots__ = (
        "_all_observers",
        "_dispatcher",
        "_ended",
        "_error",
        "_fault",
        "_observers",
        "_watchers",
    )

    _latest: tuple[T, ...] = ()  # what a new subscriber receives at once

    _end_limiter: EndLimiter | None = None  # in the __dict__ from the first late subscriber on

    def __init__(self, dispatcher: Dispatcher, fault: Fault) -> None:
        # Without super().__init__(), which would create a lock for each stream.
        self._dispatcher = dispatcher
        self._fault = fault
        self._observers: tuple[ObserverBase[T], ...] = ()
        self._watchers: tuple[ObserverBase[T], ...] = ()
        self._all_observers: tuple[ObserverBase[T], ...] = ()  # watchers first
        self._ended = False
        self._error: Exception | None = None

    lock: Any = _Lock()

    def _default_scheduler(self) -> SchedulerBase | None:
        return self._dispatcher.default_scheduler(self._fault)

    def __repr__(self) -> str:
        ended = " ended" if self._ended else ""
        return f"<{type(self).__name__}{ended} subscribers={len(self._observers)}>"

    @property
    def observed(self) -> bool:
        """Whether there is a subscriber; watchers do not count."""
        return bool(self._observers)

    @property
    def subscriptions(self) -> int:
        """The number of subscribers, without watchers."""
        return len(self._observers)

    def watch(self, observer: ObserverBase[T]) -> DisposableBase:
        """Notify an observer before the subscribers, without counting it as one.

        Use it to draw or record a stream: a watcher does not change which messages are received or
        dropped.
        """
        with _OBSERVERS_LOCK:
            if not self._ended:
                self._watchers = (*self._watchers, observer)
                self._all_observers = (*self._watchers, *self._observers)
                return _Subscription(self, observer)
        self._notify_end(observer, self._error)
        return Disposable()

    def emit(self, value: T) -> None:
        """Deliver a value to all observers, after the notifications that are running or queued."""
        self._dispatcher.post(self.deliver, value)

    def end(self, error: Exception | None = None) -> None:
        """Complete, or fail with an error, after the notifications that are running or queued."""
        if self._all_observers or self._dispatcher.busy or self._dispatcher.waiting:
            self._dispatcher.post(self._finish, error)
        else:
            self._finish(error)

    def deliver(self, value: T) -> None:
        """Deliver a value to all observers now; call this only as the dispatcher's notification."""
        interrupt: BaseException | None = None
        for observer in self._all_observers:
            try:
                observer.on_next(value)
            except Exception as exc:
                self._on_fault(exc)
            except BaseException as exc:  # such as a KeyboardInterrupt: the others get the value
                interrupt = interrupt or exc
        if interrupt is not None:
            raise interrupt

    def _finish(self, error: Exception | None) -> None:
        if self._ended:
            return
        # Set these first: another thread that subscribes meanwhile then either adds its observer
        # before `detach_all`, or sees that the stream has ended.
        self._error, self._ended = error, True
        if observers := self.detach_all():
            self._notify_ends(observers, error)

    def _notify_ends(self, observers: tuple[ObserverBase[T], ...], error: Exception | None) -> bool:
        """Complete or fail observers, and return whether one raised `error` itself."""
        return any(call_each(lambda observer: self._notify_end(observer, error), observers))

    def _notify_end(self, observer: ObserverBase[T], error: Exception | None) -> bool:
        return end_observer(observer, error, self._on_fault)

    def _on_fault(self, error: Exception) -> None:
        """Report what an observer has raised."""
        self._fault(error)

    def subscribe(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """Subscribe, with one object instead of the ten that RxPY creates.

        A stream that has ended or that replays notifies during `subscribe`. Only then is RxPY's own
        `subscribe` needed, which has a trampoline for that.
        """
        if "ipykernel" in sys.modules:
            on_next, on_error, on_completed = in_cell_context(on_next, on_error, on_completed)
        if self._ended or self._latest:
            return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)
        subscriber = _Subscriber(on_next, on_error, on_completed)
        subscriber.stream = self
        self._subscribe_core(subscriber, scheduler)
        return subscriber

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        if self._dispatcher.owner is not None:
            self._dispatcher.owner.may_run_here()  # or raise
        with _OBSERVERS_LOCK:
            ended = self._ended
            if not ended:
                self._observers = (*self._observers, observer)
                self._all_observers = (*self._watchers, *self._observers)
        self._on_subscribe(observer)
        return self._replay_end(observer) if ended else _Subscription(self, observer)

    def _replay_end(self, observer: ObserverBase[T]) -> DisposableBase:
        """Notify a late subscriber of the end: now, or soon if it subscribes in an endless loop."""
        scheduler = self._dispatcher.scheduler
        if scheduler is None or not self._must_wait(scheduler.to_seconds(scheduler.now)):
            self._notify_end(observer, self._error)
            return Disposable()

        def notify(*_: object) -> None:
            self._notify_end(observer, self._error)

        try:
            return scheduler.schedule_relative(EndLimiter.DELAY, notify)
        except RuntimeError:  # the loop is closed, and a notification now would bring the next
            return Disposable()

    def _must_wait(self, now: float) -> bool:
        if self._end_limiter is None:
            self._end_limiter = EndLimiter(_MAX_REPLAYS)
        warning = (
            "%r was subscribed %s times in a row after its end: ops.retry() and ops.repeat() "
            "cannot reopen a connection, use rxws.connections or rxws.WebSocketSubject"
        )
        return self._end_limiter.must_wait(now, warning, self)

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        """Do nothing; subclasses may notify a new observer here, before anything else does."""

    def detach_all(self) -> tuple[ObserverBase[T], ...]:
        """Remove all observers and watchers without notifying them, and return them."""
        with _OBSERVERS_LOCK:
            observers, self._all_observers = self._all_observers, ()
            self._observers = self._watchers = ()
        return observers

    def drop_traceback(self) -> None:
        """Keep the error for late subscribers without its traceback, which may refer to them."""
        if self._error is not None:
            self._error = without_traceback(self._error)

    def remove(self, observer: ObserverBase[T]) -> None:
        """Remove an observer or a watcher."""
        with _OBSERVERS_LOCK:
            while True:
                observers, watchers = self._observers, self._watchers
                others = tuple(each for each in observers if each is not observer)
                other_watchers = tuple(each for each in watchers if each is not observer)
                # A signal handler may have changed them meanwhile.
                if observers is self._observers and watchers is self._watchers:
                    self._observers, self._watchers = others, other_watchers
                    self._all_observers = (*self._watchers, *self._observers)
                    return


class _Subscription(DisposableBase):
    """Removes an observer when disposed; smaller than RxPY's Disposable, which has a lock."""

    __slots__ = ("_observer", "_stream")

    def __init__(self, stream: Stream[Any], observer: ObserverBase[Any]) -> None:
        self._stream = stream
        self._observer = observer

    def dispose(self) -> None:
        self._stream.remove(self._observer)


class _Subscriber(Subscriber[T]):
    """A subscriber of a stream.

    `on_next` is the user's callback itself: a method that calls it would cost one more call for
    each value. pyright reads the annotation as a method without `self`.
    """

    __slots__ = ("on_next", "stream")

    on_next: OnNext[T]  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride]
    stream: Stream[T]

    def __init__(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None,
        on_error: OnError | None,
        on_completed: OnCompleted | None,
    ) -> None:
        super().__init__(on_next, on_error, on_completed)
        self.on_next = self._on_next

    def dispose(self) -> None:
        self.on_next = noop
        if not self.stopped:
            self.stopped = True
            self.stream.remove(self)


class ReplayStream(Stream[T]):
    """A stream that replays its latest value to each new observer, also after its end."""

    __slots__ = ("_latest",)

    def __init__(self, dispatcher: Dispatcher, fault: Fault, *initial: T) -> None:
        super().__init__(dispatcher, fault)
        self._latest = initial

    def deliver(self, value: T) -> None:
        self._latest = (value,)
        super().deliver(value)

    def watch(self, observer: ObserverBase[T]) -> DisposableBase:
        self._on_subscribe(observer)
        return super().watch(observer)

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        for value in self._latest:
            try:
                observer.on_next(value)
            except Exception as exc:
                self._on_fault(exc)


class PausableStream(Stream[T]):
    """A stream that comes from a connection, which operators behind it can pause."""

    __slots__ = ("_members",)

    def __init__(self, dispatcher: Dispatcher, fault: Fault) -> None:
        super().__init__(dispatcher, fault)
        self._members: UpstreamMembers | None = None  # most connections never need it

    @property
    def _pausable(self) -> Upstream | None:
        """What pauses the connection, if anything does."""
        return None

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        if collectors() and not self._ended and (flow := self._pausable) is not None:
            if self._members is None:
                self._members = UpstreamMembers(flow)
            self._members.enter(observer)

    def remove(self, observer: ObserverBase[T]) -> None:
        super().remove(observer)
        if self._members is not None:
            self._members.leave(observer)

    def detach_all(self) -> tuple[ObserverBase[T], ...]:
        observers = super().detach_all()
        if self._members is not None:
            self._members.clear()
        return observers


class RestartableStream(PausableStream[T]):
    """A hot Observable that can end for its current subscribers and start again for new ones.

    It calls `on_changed` after each subscribe and unsubscribe, on the same thread. If that raises
    during `subscribe`, the subscription is undone and the exception propagates.
    """

    def __init__(
        self, dispatcher: Dispatcher, fault: Fault, on_changed: Callable[[], object]
    ) -> None:
        super().__init__(dispatcher, fault)
        self._on_changed = on_changed

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        subscription = super()._subscribe_core(observer, scheduler)
        try:
            self._on_changed()
        except BaseException:
            super().remove(observer)
            raise
        return subscription

    def remove(self, observer: ObserverBase[T]) -> None:
        super().remove(observer)
        self._on_changed()

    def forget_owner(self) -> None:
        """Call `on_changed` no more, and hold no reference to what it belongs to."""
        self._on_changed = noop

    def finish_subscribers(self) -> Callable[[Exception | None], bool]:
        """Detach the current observers, and return a function that completes or fails them.

        The two steps are separate because an observer may subscribe again when notified. The
        function returns whether an observer raised the error that it got (see `end_observer`).
        """
        return partial(self._notify_ends, self.detach_all())
