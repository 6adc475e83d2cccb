"""Light Observables: one notification at a time, in order, and nobody starves."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observer
from reactivex import operators as ops

from rxws._core import streams
from rxws._core.streams import Dispatcher, ReplayStream, Stream
from support.callbacks import raising
from support.subscriber import Subscriber


class FaultRecordingStream:
    """A stream, and the faults that it reported."""

    def __init__(self, kind: type[Stream[Any]] = Stream, *initial: object) -> None:
        self.dispatcher = Dispatcher()
        self.faults: list[Exception] = []
        self.stream = kind(self.dispatcher, self.faults.append, *initial)


fail = raising(ValueError, "mine")


def test_a_value_reaches_those_who_are_subscribed_then() -> None:
    """It is hot: who comes later missed it, who left is not told."""
    recorded = FaultRecordingStream()
    recorded.stream.emit(1)
    first = Subscriber(recorded.stream)
    recorded.stream.emit(2)
    second = Subscriber(recorded.stream)
    recorded.stream.emit(3)
    first.subscription.dispose()
    recorded.stream.emit(4)
    assert (first.notifications, second.notifications) == ([2, 3], [3, 4])


def test_it_knows_whether_anybody_is_subscribed() -> None:
    """Until the last one leaves, or the end."""
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
def test_the_end_reaches_all_who_ever_come_once(error: Exception | None) -> None:
    """Nothing follows it, neither a value nor another end."""
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
def test_one_who_raises_starves_nobody_and_stays_subscribed() -> None:
    """What is raised is a fault, told once each."""
    recorded = FaultRecordingStream()
    before = Subscriber(recorded.stream)
    recorded.stream.subscribe(fail, on_completed=fail)
    after = Subscriber(recorded.stream)
    recorded.stream.emit(1)
    recorded.stream.emit(2)
    recorded.stream.end()
    assert before.notifications == after.notifications == [1, 2, "|"]
    assert [str(fault) for fault in recorded.faults] == ["mine"] * 3


def test_who_takes_no_errors_is_no_fault_at_the_end() -> None:
    """RxPY raises the stream's own error there; another one is a fault."""
    recorded = FaultRecordingStream()
    recorded.stream.subscribe(lambda _: None)
    recorded.stream.subscribe(lambda _: None, fail)
    recorded.stream.end(KeyError("end"))
    recorded.stream.subscribe(lambda _: None)
    recorded.stream.subscribe(lambda _: None, fail)
    assert [str(fault) for fault in recorded.faults] == ["mine"] * 2


def test_what_is_emitted_within_a_notification_follows_it() -> None:
    """All see the same order: RxPY's Subject would show the second subscriber 3, 2, 1."""
    recorded = FaultRecordingStream()
    first: list[int] = []

    def more(value: int) -> None:
        first.append(value)
        if value < 3:
            recorded.stream.emit(value + 1)
        first.append(-value)

    recorded.stream.subscribe(more)
    second = Subscriber(recorded.stream)
    recorded.stream.emit(1)
    assert first == [1, -1, 2, -2, 3, -3]
    assert second.notifications == [1, 2, 3]


def test_it_does_not_recurse() -> None:
    """However long the chain of answers is."""
    recorded = FaultRecordingStream()
    count = 0

    def more(value: int) -> None:
        nonlocal count
        count += 1
        if value:
            recorded.stream.emit(value - 1)

    recorded.stream.subscribe(more)
    recorded.stream.emit(100_000)
    assert count == 100_001


def test_streams_of_one_connection_take_turns() -> None:
    """A notification of one waits for that of another."""
    recorded = FaultRecordingStream()
    other: Stream[str] = Stream(recorded.dispatcher, fail)
    told: list[object] = []

    def forward(value: int) -> None:
        other.emit(f"{value}")
        told.append(value)

    recorded.stream.subscribe(forward)
    other.subscribe(told.append)
    recorded.stream.emit(1)
    assert told == [1, "1"]


def test_an_end_within_a_notification_follows_it() -> None:
    """All have seen the value before anybody sees the end."""
    recorded = FaultRecordingStream()
    told: list[object] = []
    recorded.stream.subscribe(
        lambda _: recorded.stream.end(), on_completed=lambda: told.append("|")
    )
    recorded.stream.subscribe(told.append)
    recorded.stream.emit(1)
    assert told == [1, "|"]


def test_who_leaves_within_a_notification_is_told_no_more() -> None:
    """Also if it is another who makes it leave, before its turn."""
    recorded = FaultRecordingStream()
    seconds: list[Subscriber[Any]] = []
    recorded.stream.subscribe(lambda _: seconds[0].subscription.dispose())
    seconds.append(Subscriber(recorded.stream))
    recorded.stream.emit(1)
    assert seconds[0].notifications == []


def test_who_comes_within_a_notification_is_told_the_next() -> None:
    """Not the one that is under way."""
    recorded = FaultRecordingStream()
    came: list[Subscriber[Any]] = []
    recorded.stream.pipe(ops.take(1)).subscribe(lambda _: came.append(Subscriber(recorded.stream)))
    recorded.stream.emit(1)
    recorded.stream.emit(2)
    assert came[0].notifications == [2]


def test_what_python_raises_to_end_a_program_passes_and_loses_nothing() -> None:
    """KeyboardInterrupt is no fault."""
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


def test_after_an_interruption_the_order_is_kept() -> None:
    """What waited goes first."""
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


def test_operators_find_the_lock_they_ask_for() -> None:
    """One per stream, though it is only made then."""
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


def test_who_finds_the_lock_made_meanwhile_takes_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that ask for it at the same time get the same."""
    recorded = FaultRecordingStream()
    others = threading.RLock()

    class Guard:
        def __enter__(self) -> None:
            recorded.stream.lock = others  # the other thread was first

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(streams, "_OBSERVERS_LOCK", Guard())
    assert recorded.stream.lock is others


def test_nothing_else_is_made_up() -> None:
    """An attribute that a stream does not have is an error, as ever."""
    recorded = FaultRecordingStream()
    stream: Any = recorded.stream
    with pytest.raises(AttributeError, match="absent"):
        _ = stream.absent


def test_operators_and_sharing_work_as_on_any_observable() -> None:
    """`share` and `merge` among them."""
    recorded = FaultRecordingStream()
    shared = recorded.stream.pipe(ops.map(str), ops.share())
    first, second = Subscriber(shared), Subscriber(rx.merge(shared, rx.of(0)))
    recorded.stream.emit(1)
    recorded.stream.end()
    assert first.notifications == ["1", "|"]
    assert second.notifications == [0, "1", "|"]


def test_the_class_has_no_lock_of_its_own() -> None:
    """Who looks at the class, as `help()` does, makes none."""
    assert not isinstance(Stream.lock, type(threading.RLock()))


class _Watcher(Observer[Any]):
    """An observer of RxPY's."""


def test_an_observer_may_be_given_instead_of_callbacks() -> None:
    """Any that has an `on_next`, as RxPY has it."""
    recorded = FaultRecordingStream()
    told: list[object] = []
    recorded.stream.subscribe(_Watcher(told.append, told.append, lambda: told.append("|")))
    recorded.stream.emit(1)
    recorded.stream.end()
    assert told == [1, "|"]


def test_a_subscriber_is_told_nothing_after_it_left_or_ended() -> None:
    """Though another, told before, or the end itself, made it leave meanwhile."""
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


def test_who_left_in_the_turn_of_the_end_is_not_told_it() -> None:
    """Completion is no exception."""
    recorded = FaultRecordingStream()
    leaving: list[Subscriber[Any]] = []
    recorded.stream.subscribe(on_completed=lambda: leaving[0].subscription.dispose())
    leaving.append(Subscriber(recorded.stream))
    recorded.stream.end()
    assert leaving[0].notifications == []


def test_a_subscription_says_whether_it_is_over() -> None:
    """In a notebook it is what `subscribe` shows."""
    recorded = FaultRecordingStream()
    left, ended = Subscriber(recorded.stream).subscription, Subscriber(recorded.stream).subscription
    assert repr(left) == "<Subscription active>"
    left.dispose()
    assert repr(left) == "<Subscription over>"
    recorded.stream.end()
    assert repr(ended) == "<Subscription over>"


# --- light Observables that tell newcomers the present -----------------------------------------


def test_a_replay_tells_newcomers_the_latest() -> None:
    """The initial value, then whatever came last, also after the end."""
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


def test_a_replay_without_a_value_has_nothing_to_tell() -> None:
    """Until there is one."""
    recorded = FaultRecordingStream(ReplayStream)
    early = Subscriber(recorded.stream)
    recorded.stream.end()
    assert early.notifications == Subscriber(recorded.stream).notifications == ["|"]


def test_a_newcomer_who_raises_is_a_fault() -> None:
    """As any subscriber who does; it stays subscribed."""
    recorded = FaultRecordingStream(ReplayStream, 1)
    recorded.stream.subscribe(fail)
    assert len(recorded.faults) == 1
    recorded.stream.emit(2)
    assert len(recorded.faults) == 2


def test_who_comes_within_a_notification_of_a_replay_is_told_it_once() -> None:
    """As its latest."""
    recorded = FaultRecordingStream(ReplayStream, 0)
    came: list[Subscriber[Any]] = []
    recorded.stream.pipe(ops.skip(1), ops.take(1)).subscribe(
        lambda _: came.append(Subscriber(recorded.stream))
    )
    recorded.stream.emit(1)
    recorded.stream.emit(2)
    assert came[0].notifications == [1, 2]
