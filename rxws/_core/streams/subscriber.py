"""Subscribers: one object instead of the ten that RxPY creates for each subscription."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, OnCompleted, OnError, OnNext, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.internal import default_error, noop
from reactivex.internal.constants import UTC_ZERO
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.scheduler.scheduleditem import ScheduledItem

from .coroutines import check_callbacks, never_used

__all__ = ["DerivedSubscriber", "Subscriber", "callbacks_of"]

T = TypeVar("T")

_Source = Callable[[ObserverBase[T], SchedulerBase | None], DisposableBase]
"""The `_subscribe_core` of an Observable."""

# Their operators may take coroutines. An operator mostly subscribes while the trampoline runs, but
# some do so later.
_LIBRARIES = ("reactivex.", "rxws.")

# Each thread has a trampoline of its own behind this one object.
_CURRENT_THREAD = CurrentThreadScheduler.singleton()


def callbacks_of(
    on_next: Any, on_error: OnError | None, on_completed: OnCompleted | None
) -> tuple[OnNext[Any] | None, OnError | None, OnCompleted | None]:
    """Return the callbacks of a subscriber, which may be an observer."""
    if callable(getattr(on_next, "on_next", None)):
        return on_next.on_next, on_next.on_error, on_next.on_completed
    return on_next, on_error, on_completed


def _module_of(callback: Any) -> str:
    return getattr(callback, "__module__", None) or ""


class Subscriber(ObserverBase[T], DisposableBase):
    """Calls the callbacks of a subscriber until the end, which disposes it, or until `dispose`."""

    __slots__ = ("_on_completed", "_on_error", "_on_next", "stopped")

    def __init__(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None,
        on_error: OnError | None,
        on_completed: OnCompleted | None,
    ) -> None:
        on_next, on_error, on_completed = callbacks_of(on_next, on_error, on_completed)
        check_callbacks(on_next, on_error, on_completed)
        self._on_next: OnNext[T] = on_next or noop
        self._on_error: OnError = on_error or default_error
        self._on_completed: OnCompleted = on_completed or noop
        self.stopped = False

    def on_next(self, value: T) -> None:
        if not self.stopped:
            self._on_next(value)

    def on_error(self, error: Exception) -> None:
        if not self.stopped:
            self.stopped = True
            try:
                self._on_error(error)
            finally:
                self.dispose()

    def on_completed(self) -> None:
        if not self.stopped:
            self.stopped = True
            try:
                self._on_completed()
            finally:
                self.dispose()

    def __repr__(self) -> str:
        return f"<Subscription {'over' if self.stopped else 'active'}>"


class DerivedSubscriber(Subscriber[T]):
    """A subscriber behind operators."""

    __slots__ = ("_subscription",)

    def subscribe_to(self, source: _Source[T], scheduler: SchedulerBase | None) -> None:
        """Subscribe as RxPY's `subscribe` does; call it once."""
        self._subscription: DisposableBase | None = None
        trampoline = _CURRENT_THREAD.get_trampoline()
        item = _Subscribe(self, source, scheduler)
        if trampoline.idle():
            if self._on_next is noop or not _module_of(self._on_next).startswith(_LIBRARIES):
                this: Any = self
                this.__class__ = _LastSubscriber
            # Values that the source emits on a CurrentThreadScheduler then wait until all operators
            # are subscribed.
            trampoline.run(item)
        else:
            item.invoke()

    def on_subscribed(self, subscription: Any) -> None:
        """Keep a subscription, which may also be a function or None."""
        if not hasattr(subscription, "dispose"):
            subscription = Disposable(subscription)
        self._subscription = subscription
        if self.stopped:  # meanwhile
            self.dispose()

    def dispose(self) -> None:
        """Unsubscribe."""
        self.stopped = True
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.dispose()


class _LastSubscriber(DerivedSubscriber[T]):
    """A subscriber at the end of a chain, in the user's code, until its first value.

    A chain with a coroutine function in `ops.map` emits coroutines only. So the first value shows
    the mistake, and the others cost nothing.
    """

    __slots__ = ()

    def on_next(self, value: T) -> None:
        if self.stopped:
            return
        if type(value) is CoroutineType:
            raise TypeError(never_used(value))
        this: Any = self
        this.__class__ = DerivedSubscriber
        self._on_next(value)


class _Subscribe(ScheduledItem):
    """An item of a trampoline that subscribes; it cannot be cancelled."""

    scheduler = _CURRENT_THREAD
    duetime = UTC_ZERO

    def __init__(
        self,
        subscriber: DerivedSubscriber[Any],
        source: _Source[Any],
        scheduler: SchedulerBase | None,
    ) -> None:
        self._subscriber = subscriber
        self._source = source
        self._scheduler = scheduler

    def is_cancelled(self) -> bool:
        return False

    def invoke(self) -> None:
        subscriber = self._subscriber
        try:
            subscription = self._source(subscriber, self._scheduler)
        except Exception as exc:
            if subscriber.stopped:
                raise
            subscriber.on_error(exc)
        else:
            subscriber.on_subscribed(subscription)
