"""`Stream` and `ReplayStream`: one notification at a time, in order, to every subscriber."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observer
from reactivex import operators as ops

from rxws._core.streams import stream as stream_module
from rxws._core.streams.stream import Dispatcher, ReplayStream, RestartableStream, Stream
from rxws._core.upstream import Upstreams, collect_upstreams
from support.callbacks import raising
from support.subscriber import Subscriber


class FaultRecordingStream:
    """A stream, and the faults that it reported."""

    def __init__(self, kind: type[Stream[Any]] = Stream, *initial: object) -> None:
        self.dispatcher = Dispatcher()
        self.faults: list[Exception] = []
        self.stream = kind(self.dispatcher, self.faults.append, *initial)


raise_error = raising(ValueError, "mine")


def test_a_value_reaches_current_subscribers() -> None:
    """A stream is hot: a value reaches only those who are subscribed at that moment."""
    recorded = FaultRecordingStream()
    recorded.stream.emit(1)
    first = Subscriber(recorded.stream)
    recorded.stream.emit(2)
    second = Subscriber(recorded.stream)
    recorded.stream.emit(3)
    first.subscription.dispose()
    recorded.stream.emit(4)
    assert (first.notifications, second.notifications) == ([2, 3], [3, 4])


def test_observed_is_true_while_there_is_a_subscriber() -> None:
    """`observed` is true while there is a subscriber, until the end."""
    recorded = FaultRecordingStream()
    assert not recorded.stream.observed
    seen = Subscriber(recorded.stream)
    assert recorded.stream.observed
    seen.subscription.dispose()
    seen.subscription.dispose()
    assert not recorded.stream.observed
    Subscriber(recorded.stream)
    recorded.stream.end()
    assert not recorded.stream.observed


@pytest.mark.parametrize("error", [None, KeyError("end")])
def test_the_end_reaches_early_and_late_subscribers_once(error: Exception | None) -> None:
    """The end reaches early and late subscribers once, and nothing follows it."""
    recorded = FaultRecordingStream()
    early = Subscriber(recorded.stream)
    recorded.stream.end(error)
    recorded.stream.end(RuntimeError("another"))
    recorded.stream.emit(1)
    late = Subscriber(recorded.stream)
    assert early.notifications == late.notifications == [error or "|"]
    late.subscription.dispose()
    assert recorded.faults == []


@pytest.mark.promise("starve")
def test_a_subscriber_that_raises_starves_no_other_and_stays_subscribed() -> None:
    """If a subscriber raises, the error is reported, all stay subscribed and get each value."""
    recorded = FaultRecordingStream()
    before = Subscriber(recorded.stream)
    recorded.stream.subscribe(raise_error, on_completed=raise_error)
    after = Subscriber(recorded.stream)
    recorded.stream.emit(1)
    recorded.stream.emit(2)
    recorded.stream.end()
    assert before.notifications == after.notifications == [1, 2, "|"]
    assert [str(fault) for fault in recorded.faults] == ["mine"] * 3


def test_a_subscriber_without_on_error_is_no_fault() -> None:
    """A subscriber without `on_error` is no fault when the stream fails."""
    recorded = FaultRecordingStream()
    recorded.stream.subscribe(lambda _: None)
    recorded.stream.subscribe(lambda _: None, raise_error)
    recorded.stream.end(KeyError("end"))
    recorded.stream.subscribe(lambda _: None)
    recorded.stream.subscribe(lambda _: None, raise_error)
    assert [str(fault) for fault in recorded.faults] == ["mine"] * 2


def test_a_value_emitted_within_a_notification_follows_it() -> None:
    """A value emitted within a notification follows it, for all subscribers in one order."""
    recorded = FaultRecordingStream()
    first: list[int] = []

    def emit_next(value: int) -> None:
        first.append(value)
        if value < 3:
            recorded.stream.emit(value + 1)
        first.append(-value)

    recorded.stream.subscribe(emit_next)
    second = Subscriber(recorded.stream)
    recorded.stream.emit(1)
    assert first == [1, -1, 2, -2, 3, -3]
    assert second.notifications == [1, 2, 3]


def test_values_emitted_within_notifications_do_not_recurse() -> None:
    """A long chain of values emitted within notifications does not recurse."""
    recorded = FaultRecordingStream()
    count = 0

    def emit_next(value: int) -> None:
        nonlocal count
        count += 1
        if value:
            recorded.stream.emit(value - 1)

    recorded.stream.subscribe(emit_next)
    recorded.stream.emit(100_000)
    assert count == 100_001


def test_streams_of_one_dispatcher_notify_one_after_the_other() -> None:
    """A notification of one stream waits for that of another with the same dispatcher."""
    recorded = FaultRecordingStream()
    other: Stream[str] = Stream(recorded.dispatcher, raise_error)
    order: list[object] = []

    def forward(value: int) -> None:
        other.emit(f"{value}")
        order.append(value)

    recorded.stream.subscribe(forward)
    other.subscribe(order.append)
    recorded.stream.emit(1)
    assert order == [1, "1"]


def test_an_end_within_a_notification_follows_it() -> None:
    """An end within a notification follows it for all subscribers."""
    recorded = FaultRecordingStream()
    order: list[object] = []
    recorded.stream.subscribe(
        lambda _: recorded.stream.end(), on_completed=lambda: order.append("|")
    )
    recorded.stream.subscribe(order.append)
    recorded.stream.emit(1)
    assert order == [1, "|"]


def test_disposing_within_a_notification_takes_effect_at_once() -> None:
    """A subscription that is disposed within a notification does not get it any more."""
    recorded = FaultRecordingStream()
    seconds: list[Subscriber[Any]] = []
    recorded.stream.subscribe(lambda _: seconds[0].subscription.dispose())
    seconds.append(Subscriber(recorded.stream))
    recorded.stream.emit(1)
    assert seconds[0].notifications == []


def test_subscribing_within_a_notification_gets_the_next() -> None:
    """A subscription within a notification gets the next value, not the current one."""
    recorded = FaultRecordingStream()
    came: list[Subscriber[Any]] = []
    recorded.stream.pipe(ops.take(1)).subscribe(lambda _: came.append(Subscriber(recorded.stream)))
    recorded.stream.emit(1)
    recorded.stream.emit(2)
    assert came[0].notifications == [2]


def test_a_keyboard_interrupt_passes_through() -> None:
    """A KeyboardInterrupt is no fault: it reaches the caller, and later values are delivered."""
    recorded = FaultRecordingStream()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    subscription = recorded.stream.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        recorded.stream.emit(1)
    subscription.dispose()
    seen = Subscriber(recorded.stream)
    recorded.stream.emit(2)
    assert (seen.notifications, recorded.faults) == ([2], [])


def test_all_observers_get_an_end_that_one_of_them_interrupts() -> None:
    """A KeyboardInterrupt at the end of a restartable stream is raised after all got the end."""
    stream: RestartableStream[int] = RestartableStream(Dispatcher(), raise_error, lambda: None)
    stream.subscribe(on_completed=raising(KeyboardInterrupt))
    seen = Subscriber(stream)
    finish = stream.finish_subscribers()
    with pytest.raises(KeyboardInterrupt):
        finish(None)
    assert seen.ends == [None]


def test_a_signal_handler_may_subscribe_while_a_subscription_ends() -> None:
    """A subscription that a signal handler makes while another one is disposed is kept."""
    recorded = FaultRecordingStream()
    first = Subscriber(recorded.stream)
    made: list[Subscriber[Any]] = []

    class Interrupted(tuple[Any, ...]):
        """Calls a signal handler when it is iterated over."""

        __slots__ = ()

        def __iter__(self) -> Any:
            recorded.stream._observers = tuple(super().__iter__())
            made.append(Subscriber(recorded.stream))
            return super().__iter__()

    recorded.stream._observers = Interrupted(recorded.stream._observers)
    first.subscription.dispose()
    recorded.stream.emit(1)
    assert [seen.values for seen in (first, *made)] == [[], [1]]


def test_the_order_is_kept_after_a_keyboard_interrupt() -> None:
    """After a KeyboardInterrupt queued notifications are delivered first."""
    recorded = FaultRecordingStream()
    seen = Subscriber(recorded.stream)

    def interrupt(value: int) -> None:
        if value == 1:
            recorded.stream.emit(2)
            raise KeyboardInterrupt

    recorded.stream.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        recorded.stream.emit(1)
    recorded.stream.emit(3)
    assert seen.notifications == [1, 2, 3]


def test_a_streams_lock_is_made_on_demand() -> None:
    """A stream's `lock` is made on demand, once for all threads."""
    recorded = FaultRecordingStream()
    locks: list[object] = []
    threads = [
        threading.Thread(target=lambda: locks.append(recorded.stream.lock)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(lock) for lock in locks}) == 1
    assert isinstance(locks[0], type(threading.RLock()))


def test_a_lock_made_by_another_thread_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that another thread made meanwhile is used."""
    recorded = FaultRecordingStream()
    other_lock = threading.RLock()

    class OtherThreadIsFirst:
        def __enter__(self) -> None:
            recorded.stream.lock = other_lock  # the other thread was first

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(stream_module, "_OBSERVERS_LOCK", OtherThreadIsFirst())
    assert recorded.stream.lock is other_lock


def test_an_unknown_attribute_raises() -> None:
    """An unknown attribute raises AttributeError."""
    recorded = FaultRecordingStream()
    stream: Any = recorded.stream
    with pytest.raises(AttributeError, match="absent"):
        _ = stream.absent


def test_operators_and_sharing_work_as_on_any_observable() -> None:
    """Operators such as `share` and `merge` work on a stream."""
    recorded = FaultRecordingStream()
    shared = recorded.stream.pipe(ops.map(str), ops.share())
    first, second = Subscriber(shared), Subscriber(rx.merge(shared, rx.of(0)))
    recorded.stream.emit(1)
    recorded.stream.end()
    assert first.notifications == ["1", "|"]
    assert second.notifications == [0, "1", "|"]


def test_the_class_makes_no_lock() -> None:
    """Reading `Stream.lock` on the class, as `help()` does, makes no lock."""
    assert not isinstance(Stream.lock, type(threading.RLock()))


class OwnObserver(Observer[Any]):
    """A subclass of RxPY's Observer."""


def test_an_observer_may_be_given_instead_of_callbacks() -> None:
    """`subscribe` accepts any object with `on_next`, as RxPY does."""
    recorded = FaultRecordingStream()
    order: list[object] = []
    recorded.stream.subscribe(OwnObserver(order.append, order.append, lambda: order.append("|")))
    recorded.stream.emit(1)
    recorded.stream.end()
    assert order == [1, "|"]


def test_a_subscription_disposed_by_another_subscriber_gets_nothing() -> None:
    """A subscription that another subscriber disposes gets neither value nor end."""
    recorded = FaultRecordingStream()
    leaving: list[Subscriber[Any]] = []
    recorded.stream.subscribe(
        lambda _: leaving[0].subscription.dispose(),
        lambda _: leaving[1].subscription.dispose(),
        lambda: None,
    )
    leaving += [Subscriber(recorded.stream), Subscriber(recorded.stream)]
    recorded.stream.emit(1)
    recorded.stream.end(KeyError("end"))
    assert [seen.notifications for seen in leaving] == [[], [1]]


def test_a_subscription_disposed_within_the_end_does_not_get_it() -> None:
    """A subscription that is disposed within the end does not get it."""
    recorded = FaultRecordingStream()
    leaving: list[Subscriber[Any]] = []
    recorded.stream.subscribe(on_completed=lambda: leaving[0].subscription.dispose())
    leaving.append(Subscriber(recorded.stream))
    recorded.stream.end()
    assert leaving[0].notifications == []


def test_repr_of_a_subscription() -> None:
    """The repr of a subscription shows whether it is active."""
    recorded = FaultRecordingStream()
    left, ended = Subscriber(recorded.stream).subscription, Subscriber(recorded.stream).subscription
    assert repr(left) == "<Subscription active>"
    left.dispose()
    assert repr(left) == "<Subscription over>"
    recorded.stream.end()
    assert repr(ended) == "<Subscription over>"


# --- ReplayStream ------------------------------------------------------------------------------


def test_a_replay_stream_emits_its_latest_value_on_subscribe() -> None:
    """A ReplayStream emits its initial or latest value on subscribe, also after the end."""
    recorded = FaultRecordingStream(ReplayStream, "initial")
    seen = [Subscriber(recorded.stream)]
    recorded.stream.emit("second")
    seen.append(Subscriber(recorded.stream))
    recorded.stream.end()
    seen.append(Subscriber(recorded.stream))
    assert [one.notifications for one in seen] == [
        ["initial", "second", "|"],
        ["second", "|"],
        ["second", "|"],
    ]


def test_a_replay_stream_without_a_value_emits_nothing_on_subscribe() -> None:
    """A ReplayStream without a value emits nothing on subscribe."""
    recorded = FaultRecordingStream(ReplayStream)
    early = Subscriber(recorded.stream)
    recorded.stream.end()
    assert early.notifications == Subscriber(recorded.stream).notifications == ["|"]


def test_a_new_subscriber_that_raises_is_a_fault() -> None:
    """A subscriber that raises on the replayed value is a fault and stays subscribed."""
    recorded = FaultRecordingStream(ReplayStream, 1)
    recorded.stream.subscribe(raise_error)
    assert len(recorded.faults) == 1
    recorded.stream.emit(2)
    assert len(recorded.faults) == 2


def test_subscribing_within_a_notification_replays_the_value_once() -> None:
    """A subscription within a notification gets the current value once, by replay."""
    recorded = FaultRecordingStream(ReplayStream, 0)
    came: list[Subscriber[Any]] = []
    recorded.stream.pipe(ops.skip(1), ops.take(1)).subscribe(
        lambda _: came.append(Subscriber(recorded.stream))
    )
    recorded.stream.emit(1)
    recorded.stream.emit(2)
    assert came[0].notifications == [1, 2]


def test_a_stream_without_a_connection_is_not_collected_upstream() -> None:
    """A stream that comes from no connection adds nothing to the connections upstream."""
    stream: RestartableStream[int] = RestartableStream(Dispatcher(), print, lambda: None)
    upstreams = Upstreams()
    with collect_upstreams(upstreams):
        stream.subscribe()
    assert list(upstreams) == []
