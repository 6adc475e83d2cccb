"""Each time operator of RxPY in a chain that is subscribed without a scheduler.

The chain begins with a stream in virtual time, so an operator that uses a scheduler of its own
raises `NotVirtualTime`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from rxws.testing.real_time import refuse_real_time
from support.virtual.session import VirtualSession

Chain: TypeAlias = tuple[Any, ...]
Timed: TypeAlias = list[tuple[float, Any]]

END = (1.0, "|")
"""The end of the source."""


def soon(_: Any = None) -> Observable[int]:
    return rx.timer(0.2)


def numbered(letter: Any, seconds: float) -> Observable[str]:
    return rx.interval(seconds).pipe(ops.map(lambda number: f"{letter}{number}"))


def time_of(stamp: Any) -> Any:
    return stamp.timestamp


def seconds_between(gap: Any) -> float:
    return float(gap.interval / timedelta(seconds=1))


def matches(pair: Any) -> Observable[str]:
    """Emit a letter of `group_join` with each number that belongs to it."""
    letter, numbers = pair
    result: Observable[str] = numbers.pipe(ops.map(lambda number: f"{letter}{number}"))
    return result


count_to_two: Any = (0, lambda n: n < 2, lambda n: n + 1, lambda _: 0.2)


def joined(windows: Observable[Observable[str]]) -> Observable[str]:
    """Emit the letters of each window."""
    return windows.pipe(ops.flat_map(letters_of))


def letters_of(window: Observable[str]) -> Observable[str]:
    return window.pipe(ops.to_list(), ops.map("".join))


def date(seconds: float) -> datetime:
    """Return a date of the virtual clock, which starts in 1970; RxPY 4 takes naive dates."""
    zone = VirtualSession().clock.now.tzinfo
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=zone)


# What each chain emits of a at 0 s, b at 0.1 s, c at 0.5 s, d at 0.6 s, and the end at 1 s.
EXPECTED: dict[str, tuple[Chain, Timed]] = {
    "debounce": ((ops.debounce(0.2),), [(0.3, "b"), (0.8, "d"), END]),
    "throttle_with_timeout": (
        (ops.throttle_with_timeout(0.2),),
        [(0.3, "b"), (0.8, "d"), END],
    ),
    "throttle_with_mapper": ((ops.throttle_with_mapper(soon),), [(0.3, "b"), (0.8, "d"), END]),
    "throttle_first": ((ops.throttle_first(0.3),), [(0.0, "a"), (0.5, "c"), END]),
    "sample": (
        (ops.sample(0.2),),
        [(0.2, "b"), (0.6, "c"), (0.8, "d"), (1.2, "|")],
    ),
    "sample, by an interval": (
        (ops.sample(rx.interval(0.2)),),
        [(0.2, "b"), (0.6, "c"), (0.8, "d"), (1.2, "|")],
    ),
    "delay": (
        (ops.delay(0.2),),
        [(0.2, "a"), (0.3, "b"), (0.7, "c"), (0.8, "d"), (1.2, "|")],
    ),
    "delay, until a date": (
        (ops.delay(date(0.2)),),
        [(0.2, "a"), (0.3, "b"), (0.7, "c"), (0.8, "d"), (1.2, "|")],
    ),
    "delay_subscription": (
        (ops.delay_subscription(0.05),),
        [(0.05, "a"), (0.1, "b"), (0.5, "c"), (0.6, "d"), END],
    ),
    "delay_with_mapper": (
        (ops.delay_with_mapper(soon),),
        [(0.2, "a"), (0.3, "b"), (0.7, "c"), (0.8, "d"), END],
    ),
    "timeout": ((ops.timeout(0.3),), [(0.0, "a"), (0.1, "b"), (0.4, Exception)]),
    "timeout, with another source": (
        (ops.timeout(0.3, rx.timer(0.1)),),
        [(0.0, "a"), (0.1, "b"), (0.5, 0), (0.5, "|")],
    ),
    "timeout, at a date": (
        (ops.timeout(date(0.3)),),
        [(0.0, "a"), (0.1, "b"), (0.3, Exception)],
    ),
    "timeout_with_mapper": (
        (ops.timeout_with_mapper(rx.timer(0.2), soon),),
        [(0.0, "a"), (0.1, "b"), (0.3, Exception)],
    ),
    "buffer_with_time": (
        (ops.buffer_with_time(0.3), ops.map("".join)),
        [(0.3, "ab"), (0.6, "c"), (0.9, "d"), (1.0, ""), END],
    ),
    "buffer_with_time, overlapping": (
        (ops.buffer_with_time(0.3, 0.2), ops.map("".join)),
        [(0.3, "ab"), (0.5, ""), (0.7, "cd"), (0.9, "d"), (1.0, ""), (1.0, ""), END],
    ),
    "buffer_with_time_or_count": (
        (ops.buffer_with_time_or_count(0.5, 2), ops.map("".join)),
        [(0.1, "ab"), (0.6, "c"), (1.0, "d"), END],
    ),
    "buffer": (
        (ops.buffer(rx.interval(0.3)), ops.map("".join)),
        [(0.3, "ab"), (0.6, "c"), (0.9, "d"), (1.0, ""), END],
    ),
    "buffer_when": (
        (ops.buffer_when(soon), ops.take(4), ops.map("".join)),
        [(0.2, "ab"), (0.4, ""), (0.6, "c"), (0.8, "d"), (0.8, "|")],
    ),
    "buffer_toggle": (
        (ops.buffer_toggle(rx.interval(0.3), soon), ops.take(2), ops.map("".join)),
        [(0.5, ""), (0.8, "d"), (0.8, "|")],
    ),
    "window_with_time": (
        (ops.window_with_time(0.3), joined),
        [(0.3, "ab"), (0.6, "c"), (0.9, "d"), (1.0, ""), END],
    ),
    "window_with_time_or_count": (
        (ops.window_with_time_or_count(0.5, 2), joined),
        [(0.1, "ab"), (0.6, "c"), (1.0, "d"), END],
    ),
    "window": (
        (ops.window(rx.interval(0.3)), joined),
        [(0.3, "ab"), (0.6, "c"), (0.9, "d"), (1.0, ""), END],
    ),
    "window_when": (
        (ops.window_when(soon), joined, ops.take(4)),
        [(0.2, "ab"), (0.4, ""), (0.6, "c"), (0.8, "d"), (0.8, "|")],
    ),
    "window_toggle": (
        (ops.window_toggle(rx.interval(0.3), soon), joined, ops.take(2)),
        [(0.5, ""), (0.8, "d"), (0.8, "|")],
    ),
    "timestamp": (
        (ops.timestamp(), ops.map(time_of)),
        [(0.0, date(0)), (0.1, date(0.1)), (0.5, date(0.5)), (0.6, date(0.6)), END],
    ),
    "time_interval": (
        (ops.time_interval(), ops.map(seconds_between)),
        [(0.0, 0.0), (0.1, 0.1), (0.5, 0.4), (0.6, 0.1), END],
    ),
    "skip_with_time": ((ops.skip_with_time(0.3),), [(0.5, "c"), (0.6, "d"), END]),
    "skip_until_with_time": ((ops.skip_until_with_time(0.3),), [(0.5, "c"), (0.6, "d"), END]),
    "skip_until_with_time, a date": (
        (ops.skip_until_with_time(date(0.3)),),
        [(0.5, "c"), (0.6, "d"), END],
    ),
    "skip_last_with_time": (
        (ops.skip_last_with_time(0.3),),
        [(0.5, "a"), (0.5, "b"), (1.0, "c"), (1.0, "d"), END],
    ),
    "take_with_time": ((ops.take_with_time(0.3),), [(0.0, "a"), (0.1, "b"), (0.3, "|")]),
    "take_until_with_time": (
        (ops.take_until_with_time(0.3),),
        [(0.0, "a"), (0.1, "b"), (0.3, "|")],
    ),
    "take_until_with_time, a date": (
        (ops.take_until_with_time(date(0.3)),),
        [(0.0, "a"), (0.1, "b"), (0.3, "|")],
    ),
    "take_last_with_time": ((ops.take_last_with_time(0.6),), [(1.0, "c"), (1.0, "d"), END]),
    "skip_until": ((ops.skip_until(rx.timer(0.3)),), [(0.5, "c"), (0.6, "d"), END]),
    "take_until": ((ops.take_until(rx.timer(0.3)),), [(0.0, "a"), (0.1, "b"), (0.3, "|")]),
    "flat_map to an interval": (
        (ops.flat_map(lambda letter: numbered(letter, 0.25)), ops.take(4)),
        [(0.25, "a0"), (0.35, "b0"), (0.5, "a1"), (0.6, "b1"), (0.6, "|")],
    ),
    "switch_latest of intervals": (
        (ops.map(lambda letter: numbered(letter, 0.15)), ops.switch_latest(), ops.take(3)),
        [(0.25, "b0"), (0.4, "b1"), (0.75, "d0"), (0.75, "|")],
    ),
    "merge with a timer": (
        (ops.merge(rx.timer(0.3)),),
        [(0.0, "a"), (0.1, "b"), (0.3, 0), (0.5, "c"), (0.6, "d"), END],
    ),
    "merge with a timer, at a date": (
        (ops.merge(rx.timer(date(0.3), 0.4)), ops.take(6)),
        [(0.0, "a"), (0.1, "b"), (0.3, 0), (0.5, "c"), (0.6, "d"), (0.7, 1), (0.7, "|")],
    ),
    "merge with generate_with_relative_time": (
        (ops.merge(rx.generate_with_relative_time(*count_to_two)),),
        [(0.0, "a"), (0.1, "b"), (0.2, 0), (0.4, 1), (0.5, "c"), (0.6, "d"), END],
    ),
    "concat with a timer": (
        (ops.concat(rx.timer(0.3)),),
        [(0.0, "a"), (0.1, "b"), (0.5, "c"), (0.6, "d"), (1.3, 0), (1.3, "|")],
    ),
    "with_latest_from an interval": (
        (ops.with_latest_from(rx.interval(0.35)),),
        [(0.5, ("c", 0)), (0.6, ("d", 0)), END],
    ),
    "combine_latest with a timer": (
        (ops.combine_latest(rx.timer(0.3)),),
        [(0.3, ("b", 0)), (0.5, ("c", 0)), (0.6, ("d", 0)), END],
    ),
    "zip with an interval": (
        (ops.zip(rx.interval(0.3)), ops.take(2)),
        [(0.3, ("a", 0)), (0.6, ("b", 1)), (0.6, "|")],
    ),
    "amb with a timer": ((ops.skip(3), ops.amb(rx.timer(0.3))), [(0.3, 0), (0.3, "|")]),
    "group_by_until": (
        (ops.group_by_until(lambda _: 0, None, soon), joined),
        [(0.2, "ab"), (0.7, "cd"), END],
    ),
    "group_join": (
        (
            ops.group_join(rx.interval(0.25), soon, soon),
            ops.flat_map(matches),
        ),
        [(0.25, "b0"), (0.5, "c1"), (0.6, "d1"), (0.75, "d2"), END],
    ),
    "join": (
        (ops.join(rx.interval(0.25), soon, soon),),
        [(0.25, ("b", 0)), (0.5, ("c", 1)), (0.6, ("d", 1)), (0.75, ("d", 2)), END],
    ),
    "expand to timers": (
        (
            ops.take(1),
            ops.expand(lambda text: rx.timer(0.3).pipe(ops.map(lambda _: text + "+"))),
            ops.take(3),
        ),
        [(0.0, "a"), (0.3, "a+"), (0.6, "a++"), (0.6, "|")],
    ),
    "repeat of take_with_time": (
        (ops.take_with_time(0.3), ops.repeat(2)),
        [(0.0, "a"), (0.1, "b"), (0.5, "c"), (0.6, "|")],
    ),
    "retry of timeout": (
        (ops.timeout(0.3), ops.retry(2)),
        [(0.0, "a"), (0.1, "b"), (0.5, "c"), (0.6, "d"), (0.9, Exception)],
    ),
    "replay with a window": (
        (ops.replay(window=0.3), ops.ref_count(), ops.take(2)),
        [(0.0, "a"), (0.1, "b"), (0.1, "|")],
    ),
}


def timed(chain: Observable[Any], virtual: VirtualSession) -> Timed:
    """Subscribe without a scheduler; return the notifications so far and to come, with times."""
    seen: Timed = []

    def add(value: Any) -> None:
        seen.append((round(virtual.clock.time, 3), value))

    chain.subscribe(add, lambda error: add(type(error)), lambda: add("|"))
    return seen


def send_letters(virtual: VirtualSession) -> None:
    for letter, seconds in {"a": 0.1, "b": 0.4, "c": 0.1, "d": 0.4}.items():
        virtual.peer.message(letter)
        virtual.run(seconds)
    virtual.peer.close()
    virtual.run(0.5)


@pytest.mark.promise("scheduler")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_time_operator_uses_the_scheduler_of_the_connection(name: str) -> None:
    """Without a scheduler, a time operator behind `incoming` uses that of the connection."""
    if name == "delay_subscription" and not hasattr(Observable, "map"):
        pytest.skip("reactivex 4.1 passes it no scheduler")
    operators, expected = EXPECTED[name]
    virtual = VirtualSession()
    with refuse_real_time() as uses:
        seen = timed(virtual.conn.incoming.pipe(*operators), virtual)
        send_letters(virtual)
    assert uses.first is None
    assert seen == [
        (at, pytest.approx(value) if isinstance(value, float) else value) for at, value in expected
    ]
