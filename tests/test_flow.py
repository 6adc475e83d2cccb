"""Flow control: when reading waits, what may wait to go out, and for how long."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops
from rig import Rig

from rxws import Close, ConnectionClosed

KIB = 1024


def fail(*_: object) -> NoReturn:
    raise ValueError("mine")


def test_a_hold_stops_reading_until_it_is_disposed() -> None:
    """While any lives; disposing one twice frees no other."""
    rig = Rig(watch=True)
    first, second = rig.conn.flow.pause(), rig.conn.flow.pause()
    rig.peer.message("a")
    first.dispose()
    first.dispose()
    rig.settle()
    assert rig.incoming.values == []
    second.dispose()
    rig.settle()
    assert rig.incoming.values == ["a"]
    assert [call.name for call in rig.transport.calls] == ["pause", "resume"]


def test_a_hold_takes_effect_before_the_next_frame() -> None:
    """Also if it is taken in the middle of a notification."""
    rig = Rig(watch=True)
    holds: list[Any] = []
    rig.conn.incoming.subscribe(lambda _: holds.append(rig.conn.flow.pause()))
    for message in "abc":
        rig.peer.message(message)
    assert rig.incoming.values == ["a"]
    holds.pop().dispose()
    rig.settle()
    assert rig.incoming.values == ["a", "b"]


@pytest.mark.parametrize("overrun", [1, 2])
def test_frames_that_were_on_their_way_wait_in_order(overrun: int) -> None:
    """On a wire that cannot stop at once; nothing is lost, and nothing overtakes."""
    rig = Rig(watch=True, overrun=overrun)
    hold = rig.conn.flow.pause()
    rig.peer.message("a", "b", "c", "d")
    assert rig.incoming.values == []
    hold.dispose()
    rig.settle()
    assert rig.incoming.values == ["a", "b", "c", "d"]
    assert rig.dropped == {}


def test_a_hold_is_a_context_manager() -> None:
    """For the time of a `with`."""
    rig = Rig(watch=True)
    with rig.conn.flow.pause():
        assert not rig.transport.reading
    assert rig.transport.reading


def test_a_hold_may_be_disposed_from_any_thread() -> None:
    """It lets go on the session's thread."""
    rig = Rig(watch=True)
    hold = rig.conn.flow.pause()
    thread = threading.Thread(target=hold.dispose)
    thread.start()
    thread.join()
    assert not rig.transport.reading
    rig.settle()
    assert rig.transport.reading


def test_the_time_of_pauses_is_counted() -> None:
    """In seconds, the present one included."""
    rig = Rig(watch=True)
    hold = rig.conn.flow.pause()
    rig.run(2)
    assert rig.stats.paused == 2
    hold.dispose()
    rig.run(3)
    assert rig.stats.paused == 2
    for _ in range(2):
        with rig.conn.flow.pause():
            rig.run(0.1)
        with rig.conn.flow.pause():
            rig.run(0.7)
    assert repr(rig.stats.paused) == "3.6"  # and reads well in a cell, whatever floats add up to


def test_writable_tells_whether_the_peer_keeps_up() -> None:
    """True at first, False once something waits; who comes late is told the present."""
    rig = Rig(watch=True)
    writable = rig.watch(rig.conn.flow.writable)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    late = rig.watch(rig.conn.flow.writable)
    rig.peer.go()
    rig.peer.lost()
    rig.settle()
    assert writable.values == [True, False, True]
    assert late.values == [False, True]
    assert writable.ends == late.ends == [None]


def test_writable_is_told_once_per_change() -> None:
    """A wire that says the same twice says nothing new."""
    rig = Rig(watch=True)
    writable = rig.watch(rig.conn.flow.writable)
    for state in (True, False, False, True, True):
        rig.session.on_writable(state)
    assert writable.values == [True, False, True]


def test_buffered_counts_what_the_kernel_has_not_taken() -> None:
    """In bytes: what waits here and what waits in the transport."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("12345")
    assert rig.conn.flow.buffered == 5
    rig.conn.outgoing.on_next("123")
    assert rig.conn.flow.buffered == 8
    rig.peer.go()
    assert rig.conn.flow.buffered == 0


def test_above_high_water_reading_pauses_and_goes_on_below_half_of_it() -> None:
    """So a peer that sends and does not read is not read for ever, and nothing flutters."""
    rig = Rig(watch=True, high_water=4 * KIB)
    rig.peer.stop()
    for _ in range(4):
        rig.conn.outgoing.on_next("x" * KIB)
    assert rig.transport.reading, "at the mark, not above it"
    rig.conn.outgoing.on_next("x" * KIB)
    assert not rig.transport.reading
    for _ in range(3):
        rig.peer.go(0)
    assert rig.conn.flow.buffered == 2 * KIB
    assert rig.transport.times("resume") == [0]
    assert [call.name for call in rig.transport.calls] == ["pause", "resume"]


def test_between_half_and_high_water_nothing_changes() -> None:
    """Neither way: that is the hysteresis."""
    rig = Rig(watch=True, high_water=4 * KIB)
    rig.peer.stop()
    for _ in range(5):
        rig.conn.outgoing.on_next("x" * KIB)
    rig.peer.go(0)
    rig.peer.go(0)
    assert rig.conn.flow.buffered == 3 * KIB
    assert not rig.transport.reading
    rig.peer.go(0)
    assert rig.transport.reading
    rig.conn.outgoing.on_next("x" * KIB)
    rig.conn.outgoing.on_next("x" * KIB)
    assert rig.conn.flow.buffered == 4 * KIB
    assert rig.transport.reading


def test_what_came_in_while_the_peer_was_behind_is_delivered_when_it_catches_up() -> None:
    """The message that was on its way is not forgotten."""
    rig = Rig(watch=True, high_water=KIB, overrun=1)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x" * 2 * KIB)
    rig.peer.message("on its way")
    assert rig.incoming.values == []
    rig.peer.go()
    rig.settle()
    assert rig.incoming.values == ["on its way"]


async def test_drained_waits_until_the_peer_keeps_up() -> None:
    """At once where it does."""
    rig = Rig(watch=True)
    await rig.conn.flow.drained()
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(rig.conn.flow.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    rig.peer.go()
    await asyncio.wait_for(waiting, 10)


async def test_drained_raises_when_the_connection_is_over() -> None:
    """For those who wait, and for those who ask later."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(rig.conn.flow.drained())
    await asyncio.sleep(0)
    rig.peer.close(4001)
    for late in (waiting, rig.conn.flow.drained()):
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(late, 10)
        assert caught.value.close == Close(4001)


def test_one_who_raises_on_writable_is_a_fault_and_starves_nobody() -> None:
    """As everywhere."""
    rig = Rig(watch=True)
    errors = rig.watch(rig.conn.errors)
    rig.conn.flow.writable.pipe(ops.skip(1)).subscribe(fail)
    other = rig.watch(rig.conn.flow.writable)
    rig.session.on_writable(False)
    assert other.values == [True, False]
    assert [type(error) for error in errors.values] == [ValueError]
