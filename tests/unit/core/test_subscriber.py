"""Subscribing to operators behind `incoming` does as RxPY's `subscribe`, with fewer objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex.abc import ObserverBase
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import Subject

from rxws._core.streams.scheduled import LoopObservable

Make = Callable[[Callable[..., Any]], rx.Observable[Any]]


@pytest.fixture(params=[rx.Observable, LoopObservable], ids=["RxPY", "rxws"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make an Observable of a subscribe function."""
    made: Make = request.param
    return made


def emits(*values: Any) -> Callable[..., Any]:
    """Return a subscribe function that emits values and completes before it returns."""

    def subscribe(observer: ObserverBase[Any], _: Any = None) -> Disposable:
        for value in values:
            observer.on_next(value)
        observer.on_completed()
        return Disposable()

    return subscribe


@pytest.mark.parametrize("error", [None, ValueError("mine")])
def test_the_end_unsubscribes(make: Make, error: Exception | None) -> None:
    """A source is unsubscribed when it completes or fails, and its later values are ignored."""
    seen: list[Any] = []
    observers: list[ObserverBase[Any]] = []

    def subscribe(observer: ObserverBase[Any], _: Any) -> Disposable:
        observers.append(observer)
        return Disposable(lambda: seen.append("unsubscribed"))

    make(subscribe).subscribe(seen.append, seen.append, lambda: seen.append("completed"))
    (observer,) = observers
    observer.on_next(1)
    if error is None:
        observer.on_completed()
    else:
        observer.on_error(error)
    observer.on_next(2)
    observer.on_completed()
    observer.on_error(ValueError("late"))
    assert seen == [1, error or "completed", "unsubscribed"]


def test_a_disposed_subscription_gets_nothing(make: Make) -> None:
    """After dispose, neither values nor the end arrive, and the source is unsubscribed once."""
    seen: list[Any] = []
    source = Subject[Any]()
    subscription = make(source.subscribe).subscribe(
        seen.append, seen.append, lambda: seen.append(0)
    )
    source.on_next(1)
    subscription.dispose()
    subscription.dispose()
    source.on_next(2)
    source.on_completed()
    assert seen == [1]
    assert not source.observers


def test_an_end_during_subscribe_unsubscribes(make: Make) -> None:
    """A source that completes before its subscribe function returns is unsubscribed after that."""
    seen: list[Any] = []

    def subscribe(observer: ObserverBase[Any], _: Any) -> Callable[[], None]:
        emits(1)(observer)
        return lambda: seen.append("unsubscribed")

    make(subscribe).subscribe(seen.append)
    assert seen == [1, "unsubscribed"]


def test_a_subscribe_function_may_return_nothing(make: Make) -> None:
    """A subscribe function may return None instead of a Disposable."""
    seen: list[Any] = []
    make(lambda observer, _: observer.on_next(1)).subscribe(seen.append).dispose()
    assert seen == [1]


def test_a_subscribe_function_that_raises_fails_the_subscriber(make: Make) -> None:
    """What a subscribe function raises goes to `on_error`, or to the caller after the end."""
    error = ValueError("mine")
    seen: list[Any] = []

    def subscribe(observer: ObserverBase[Any], _: Any) -> Disposable:
        if seen:
            observer.on_completed()
        raise error

    make(subscribe).subscribe(on_error=seen.append)
    assert seen == [error]
    with pytest.raises(ValueError, match="mine"):
        make(subscribe).subscribe(on_error=seen.append)
    assert seen == [error]


@pytest.mark.parametrize("end", ["on_completed", "on_error"])
def test_a_subscriber_that_raises_at_the_end_is_unsubscribed(make: Make, end: str) -> None:
    """A subscriber that raises when its source ends is unsubscribed all the same."""
    source = Subject[Any]()

    def fail(*_: Any) -> None:
        raise ValueError("mine")

    make(source.subscribe).subscribe(None, fail, fail)
    with pytest.raises(ValueError, match="mine"):
        getattr(source, end)(*[ValueError("source")] * (end == "on_error"))
    assert not source.observers


def test_values_wait_until_all_operators_are_subscribed(make: Make) -> None:
    """Values on a CurrentThreadScheduler are emitted once all sources are subscribed."""
    seen: list[Any] = []
    scheduler = CurrentThreadScheduler.singleton()

    def subscribe(observer: ObserverBase[Any], _: Any) -> Any:
        subscription = rx.range(2, scheduler=scheduler).subscribe(observer.on_next)
        seen.append("subscribed")
        return subscription

    make(subscribe).subscribe(seen.append)
    assert seen == ["subscribed", 0, 1]


def test_an_observer_may_subscribe_to_it_in_a_subscription(make: Make) -> None:
    """A subscription within another one starts at once."""
    seen: list[Any] = []
    inner = make(emits(1))

    def subscribe(observer: ObserverBase[Any], _: Any) -> Any:
        subscription = inner.subscribe(observer.on_next)
        seen.append("subscribed")
        return subscription

    make(subscribe).subscribe(seen.append)
    assert seen == [1, "subscribed"]
