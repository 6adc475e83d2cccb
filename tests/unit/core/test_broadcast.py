"""The delivery of one value to many connections: what is computed once, and when a burst ends."""

from __future__ import annotations

import asyncio

from rxws._core import broadcast
from rxws._core.broadcast import Broadcast, Burst
from rxws._core.frames import Opcode


def test_a_function_of_the_value_is_computed_once() -> None:
    """The second caller gets the result of the first; another function has its own result."""
    calls: list[str] = []

    def shout(value: str) -> str:
        calls.append(value)
        return value.upper()

    with Broadcast("a") as delivery:
        assert [delivery.once(shout, shout, "a") for _ in range(2)] == ["A", "A"]
        assert delivery.once(str.title, shout, "a") == "A"
    assert calls == ["a", "a"]


def test_deliveries_nest() -> None:
    """A subscriber may deliver another value; after that, the outer delivery goes on."""
    with Broadcast("outer") as outer:
        with Broadcast("inner") as inner:
            assert broadcast.current is inner
        assert broadcast.current is outer
    assert broadcast.current.value not in ("outer", "inner")


def test_a_delivery_that_is_over_shares_nothing() -> None:
    """Deliveries on several threads may end in any order: none finds a value that is over."""
    first, second = Broadcast("first"), Broadcast("second")
    first.__enter__()
    first.encode("codec", lambda value: (Opcode.TEXT, value.encode()), "first")
    second.__enter__()
    first.__exit__()
    second.__exit__()
    left = broadcast.current
    assert left.value not in ("first", "second")
    assert left.encoding.payload != b"first"
    with Broadcast("third") as third:
        assert broadcast.current is third


class Writer:
    """Counts the ends of bursts."""

    def __init__(self) -> None:
        self.ends = 0

    def end_burst(self) -> None:
        self.ends += 1


async def test_a_burst_within_a_burst_is_part_of_it() -> None:
    """The outer burst ends for all writers at once."""
    writer = Writer()
    call_soon = asyncio.get_running_loop().call_soon
    with Burst() as outer:
        with Burst():
            assert broadcast.burst is outer
            outer.add(writer, call_soon)
        assert writer.ends == 0
    assert writer.ends == 1
    assert broadcast.burst is None
    await asyncio.sleep(0)
    assert writer.ends == 1


async def test_a_burst_ends_in_the_next_turn_of_a_nested_loop() -> None:
    """The scheduled end writes what was collected; after that, nothing is collected."""
    writer = Writer()
    scheduled: list[object] = []
    with Burst() as burst:
        burst.add(writer, scheduled.append)
        (end,) = scheduled
        assert callable(end)
        end()
        assert writer.ends == 1
        assert burst.location is not asyncio.get_running_loop()
    assert writer.ends == 1
