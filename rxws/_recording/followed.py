"""Observables that behave as others do, and report what their subscribers get."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from reactivex import ConnectableObservable, Observable
from reactivex.abc import (
    DisposableBase,
    ObserverBase,
    OnCompleted,
    OnError,
    OnNext,
    SchedulerBase,
)
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.internal import default_error, noop

from rxws._core.streams.subscriber import callbacks_of

__all__ = ["Begin", "SubscriptionRecord", "derived", "followed", "label_of"]

S = TypeVar("S", bound=Observable[Any])


class SubscriptionRecord(Protocol):
    """Records one subscription. It raises nothing."""

    def next(self, value: Any) -> None: ...
    def end(self, kind: str, error: Exception | None = None) -> None: ...


Subscribe: TypeAlias = Callable[[ObserverBase[Any], SchedulerBase | None], DisposableBase]

Begin = Callable[[], SubscriptionRecord | None]
"""Called for each subscription; returns None if it is not to be recorded."""


class _Followed(Observable[Any]):
    """A base of types that `_type_of` makes. Each has the methods of another type, too."""

    __slots__ = ()

    _rxws_source: Observable[Any]
    _rxws_label: str
    _rxws_begin: Begin

    def subscribe(
        self,
        on_next: ObserverBase[Any] | OnNext[Any] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        record = self._rxws_begin()
        if record is None:
            return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)
        next_, error, completed = callbacks_of(on_next, on_error, on_completed)

        def record_next(value: Any) -> None:
            record.next(value)
            (next_ or noop)(value)

        def record_error(exception: Exception) -> None:
            record.end("error", exception)
            (error or default_error)(exception)

        def record_completed() -> None:
            record.end("completed")
            (completed or noop)()

        try:
            subscription = super().subscribe(
                record_next, record_error, record_completed, scheduler=scheduler
            )
        except BaseException:
            record.end("disposed")
            raise
        return CompositeDisposable(subscription, Disposable(lambda: record.end("disposed")))

    def __eq__(self, other: object) -> bool:
        return self._rxws_source is getattr(other, "_rxws_source", other)

    def __hash__(self) -> int:
        return hash(self._rxws_source)

    def __repr__(self) -> str:
        return repr(self._rxws_source)


def label_of(source: Observable[Any]) -> str | None:
    """Return the label of a followed Observable; None for others."""
    return getattr(source, "_rxws_label", None)


def followed(source: S, label: str, begin: Begin) -> S:
    """Return an Observable like `source` whose subscriptions are recorded.

    It has the source's type, attributes and methods, is equal to it, and shares its state. A
    source of a type that does not allow this is returned unchanged.
    """
    kind = type(source)
    try:
        if hasattr(kind, "__del__"):
            return source  # it would run twice
        made: Any = object.__new__(_type_of(kind))
        made.__dict__ = source.__dict__
        made._rxws_source, made._rxws_label, made._rxws_begin = source, label, begin
    except Exception:  # a metaclass or a base that refuses subclasses may raise anything
        return source
    return cast("S", made)


def derived(source: Any, subscribe: Subscribe) -> Observable[Any]:
    """Return an Observable that is subscribed to in this way.

    Like its source it has the method `connect`, or not.
    """
    if isinstance(source, ConnectableObservable):
        return _Connectable(cast("Any", source), subscribe)
    return _Derived(subscribe)


class _Derived(Observable[Any]):
    def __add__(self, other: Observable[Any]) -> Observable[Any]:
        """Concatenate, or raise now: RxPY notices only at the end of the source."""
        return super().__add__(other) if isinstance(other, Observable) else NotImplemented


class _Connectable(ConnectableObservable[Any]):
    def __init__(self, source: ConnectableObservable[Any], subscribe: Subscribe) -> None:
        super().__init__(source, source.subject)
        self._connect = source.connect
        self._subscribe_to = subscribe

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self._subscribe_to(observer, scheduler)

    def connect(self, scheduler: SchedulerBase | None = None) -> DisposableBase | None:
        return self._connect(scheduler)


@lru_cache(maxsize=128)
def _type_of(kind: type[Any]) -> type[Any]:
    """Make a subclass whose instances share the state of another instance of `kind`."""
    members: dict[str, Any] = {
        name: property(*_access(slot))
        for base in reversed(kind.__mro__)
        for name, slot in vars(base).items()
        if isinstance(slot, types.MemberDescriptorType)
    }
    members |= {
        "__slots__": ("_rxws_begin", "_rxws_label", "_rxws_source"),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    return types.new_class(
        kind.__name__, (_Followed, kind), exec_body=lambda ns: ns.update(members)
    )


def _access(slot: Any) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
    return (
        lambda made: slot.__get__(made._rxws_source),
        lambda made, value: slot.__set__(made._rxws_source, value),
    )
