"""Light Observables that tell newcomers the present."""

from __future__ import annotations

from typing import Any, NoReturn

import reactivex as rx
from reactivex import operators as ops

from rxws._core.streams import Dispatcher, ReplayStream, Stream


class Bench:
    """A stream with the faults that it told."""

    def __init__(self, kind: type[Stream[Any]] = Stream, *initial: object) -> None:
        self.dispatcher = Dispatcher()
        self.faults: list[Exception] = []
        self.stream = kind(self.dispatcher, self.faults.append, *initial)


class Seen:
    """What a subscriber was told."""

    def __init__(self, stream: rx.Observable[Any]) -> None:
        self.told: list[object] = []
        self.subscription = stream.subscribe(
            self.told.append, lambda e: self.told.append(e), lambda: self.told.append("|")
        )


def fail(*_: object) -> NoReturn:
    raise ValueError("mine")


def test_a_replay_tells_newcomers_the_latest() -> None:
    """The initial value, then whatever came last, also after the end."""
    bench = Bench(ReplayStream, "initial")
    seen = [Seen(bench.stream)]
    bench.stream.emit("second")
    seen.append(Seen(bench.stream))
    bench.stream.end()
    seen.append(Seen(bench.stream))
    assert [one.told for one in seen] == [
        ["initial", "second", "|"],
        ["second", "|"],
        ["second", "|"],
    ]


def test_a_replay_without_a_value_has_nothing_to_tell() -> None:
    """Until there is one."""
    bench = Bench(ReplayStream)
    early = Seen(bench.stream)
    bench.stream.end()
    assert early.told == Seen(bench.stream).told == ["|"]


def test_a_newcomer_who_raises_is_a_fault() -> None:
    """As any subscriber who does; it stays subscribed."""
    bench = Bench(ReplayStream, 1)
    bench.stream.subscribe(fail)
    assert len(bench.faults) == 1
    bench.stream.emit(2)
    assert len(bench.faults) == 2


def test_who_comes_within_a_notification_of_a_replay_is_told_it_once() -> None:
    """As its latest."""
    bench = Bench(ReplayStream, 0)
    came: list[Seen] = []
    bench.stream.pipe(ops.skip(1), ops.take(1)).subscribe(lambda _: came.append(Seen(bench.stream)))
    bench.stream.emit(1)
    bench.stream.emit(2)
    assert came[0].told == [1, 2]
