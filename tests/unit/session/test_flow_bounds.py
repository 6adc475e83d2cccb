"""Flow control: how much may wait to go out, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from rxws import BufferOverflow, Close, ConnectionClosed, SendTimeout
from rxws._core.frames import Opcode
from rxws.overflow import Overflow, latest
from support.virtual.session import Rig

KIB = 1024


def test_above_max_buffer_the_connection_ends_with_1013() -> None:
    """BufferOverflow, also while the close frame cannot be written; then abort by the deadline."""
    rig = Rig(watch=True, max_buffer=4 * KIB, close_timeout=5.0)
    rig.peer.stop()
    for _ in range(4):
        rig.conn.outgoing.on_next("x" * (KIB - 128))
    assert rig.closed.values == []
    rig.conn.outgoing.on_next("one more")
    rig.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert rig.frames(Opcode.CLOSE) == []
    rig.run(10)
    assert rig.transport.times("abort") == [5]
    assert rig.dropped == {"overflow": 1, "closed": 3}


def test_after_an_overflow_the_peer_gets_the_close_and_no_old_messages() -> None:
    """If it takes anything at all by then."""
    rig = Rig(watch=True, max_buffer=KIB)
    rig.peer.stop()
    for _ in range(8):
        rig.conn.outgoing.on_next("x" * 256)
    rig.peer.go()
    assert rig.messages == ["x" * 256]
    assert (rig.close_frame.code, rig.close_frame.reason) == (1013, "Try Again Later")


def test_tiny_messages_are_bounded_too() -> None:
    """Each counts 128 bytes more than its payload."""
    rig = Rig(watch=True, max_buffer=1280)
    rig.peer.stop()
    sent = 0
    while not rig.closed.values:
        rig.conn.outgoing.on_next("")
        sent += 1
    assert sent <= 12


def test_a_message_that_finds_nothing_waiting_is_sent_whatever_its_size() -> None:
    """The bound is for what waits."""
    rig = Rig(watch=True, max_buffer=KIB)
    rig.conn.outgoing.on_next("x" * 10 * KIB)
    assert len(rig.messages) == 1
    assert rig.closed.values == []


def test_who_takes_nothing_within_send_timeout_is_aborted() -> None:
    """1006 by us, SendTimeout, no close frame, and what waited is counted as dropped."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.run(1)
    rig.peer.stop()
    rig.conn.outgoing.on_next("in the transport")
    rig.conn.outgoing.on_next("waits")
    rig.run(100)
    assert rig.closed.times == [21]
    rig.check_over(Close(1006, by="local"), SendTimeout)
    assert rig.transport.times("abort") == [21]
    assert rig.frames(Opcode.CLOSE) == []
    assert rig.dropped == {"closed": 1}


def test_who_trickles_is_aborted_too() -> None:
    """What waited when the time began must have left; that something did is not enough."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.peer.stop()
    for _ in range(100):
        rig.conn.outgoing.on_next("x")
    while not rig.closed.values and rig.clock.time < 100:
        rig.run(1)
        rig.peer.go(0)
    # Only the first waited when the time began; the rest had to wait for the next to begin.
    assert rig.closed.times == [40]
    assert isinstance(rig.incoming.error, SendTimeout)


def test_who_is_always_a_little_behind_is_not() -> None:
    """What waited left in time; that more waits now begins the time anew."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.peer.stop()
    for _ in range(200):
        rig.conn.outgoing.on_next("x")
        rig.conn.outgoing.on_next("y")
        rig.run(1)
        rig.peer.go(1)
    assert rig.closed.values == []


def test_who_catches_up_is_safe() -> None:
    """The time begins when something waits, and ends when nothing does."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    rig.run(19)
    rig.peer.go()
    rig.run(100)
    assert rig.closed.values == []
    assert rig.messages == ["x"]


def test_a_loss_during_a_pause_is_told_when_a_send_fails() -> None:
    """Or on resume: a paused socket cannot notice that the peer is gone."""
    rig = Rig(watch=True)
    rig.conn.flow.pause()
    rig.peer.lost()
    rig.settle()
    assert rig.closed.values == []
    rig.conn.outgoing.on_next("into the void")
    rig.settle()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.dropped == {"closed": 1}

    rig = Rig(watch=True)
    hold = rig.conn.flow.pause()
    rig.peer.message("before")
    rig.peer.lost()
    rig.settle()
    hold.dispose()
    rig.settle()
    assert rig.incoming.values == ["before"]
    rig.check_over(Close(1006, by="network"), ConnectionClosed)


def test_a_send_after_a_loss_does_not_overtake_what_came_before_it() -> None:
    """What the peer sent before it left is delivered first."""
    rig = Rig(watch=True)
    rig.session.on_unsendable()
    rig.conn.outgoing.on_next("into the void")
    rig.peer.message("before")
    rig.conn.outgoing.on_next("into the void")
    assert rig.closed.values == []
    assert rig.incoming.values == ["before"]
    rig.session.on_lost()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.dropped == {"closed": 2}


def test_what_waits_when_tcp_is_lost_holds_up_reading_no_more() -> None:
    """It will never leave; what came in before the loss is delivered."""
    rig = Rig(watch=True, high_water=KIB, overrun=1)
    rig.peer.stop()
    for _ in range(3):
        rig.conn.outgoing.on_next("x" * KIB)
    rig.peer.message("a", "b")
    assert rig.incoming.values == []
    rig.peer.lost()
    rig.settle()
    assert rig.incoming.values == ["a", "b"]
    assert rig.closed.values == [Close(1006)]
    assert rig.dropped == {"closed": 2}


# --- how long what waits may take to leave, in virtual time ------------------------------------


POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest()]


@pytest.mark.parametrize("policy", POLICIES)
def test_who_takes_nothing_is_aborted_by_every_policy(policy: Overflow) -> None:
    """When `send_timeout` has passed since it fell behind, whatever is pushed meanwhile."""
    rig = Rig(watch=True, send_timeout=20.0, overflow=policy)
    rig.run(3)
    rig.peer.stop()
    for _ in range(60):
        rig.conn.outgoing.on_next("x")
        rig.run(0.5)
    assert rig.transport.times("abort") == [23]
    rig.check_over(Close(1006), SendTimeout)
    assert rig.stats.sent_messages + sum(rig.dropped.values()) == 60


def test_a_trickling_peer_is_aborted_within_twice_send_timeout() -> None:
    """A message that came just after the time began has the next one; no longer."""
    rig = Rig(watch=True, send_timeout=10.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("begins the time")
    rig.run(0.1)
    for _ in range(1000):
        rig.conn.outgoing.on_next("x")
    while not rig.closed.values and rig.clock.time < 100:
        rig.run(0.5)
        rig.peer.go(0)  # one frame each half second: 20 in the time that 1000 have
    assert rig.closed.times == [20]
    rig.check_over(Close(1006), SendTimeout)


def test_a_peer_that_gets_all_just_in_time_is_not_aborted() -> None:
    """What waited when the time began has left."""
    rig = Rig(watch=True, send_timeout=10.0)
    rig.peer.stop()
    for _ in range(5):
        rig.conn.outgoing.on_next("x")
    for _ in range(5):
        rig.run(1.9)
        rig.peer.go(0)
    rig.peer.go()
    rig.run(100)
    assert rig.closed.values == []
    assert rig.stats.sent_messages == 5


def test_a_peer_that_takes_no_ping_is_aborted() -> None:
    """Control frames fill the wire as well; nothing but them was sent."""
    rig = Rig(watch=True, heartbeat=5.0, send_timeout=20.0)
    rig.peer.stop()
    rig.conn.flow.pause()
    rig.run(60)
    [ended] = rig.closed.times
    assert ended <= 0.25 + 20
    rig.check_over(Close(1006), SendTimeout)


def test_a_close_has_send_timeout_for_what_is_queued_however_it_trickles() -> None:
    """Then the peer is aborted; the time runs from the close on."""
    rig = Rig(watch=True, send_timeout=10.0, close_timeout=5.0)
    rig.peer.stop()
    for _ in range(1000):
        rig.conn.outgoing.on_next("x")
    rig.run(3)
    rig.conn.outgoing.on_next(Close(4001))
    while not rig.closed.values and rig.clock.time < 100:
        rig.run(0.5)
        rig.peer.go(0)
    [ended] = rig.closed.times
    assert ended <= 13
    rig.check_over(Close(1006), SendTimeout)


def test_nothing_is_timed_where_nothing_waits() -> None:
    """An idle connection with no heartbeat has no timer at all."""
    rig = Rig(watch=True)
    for _ in range(10):
        rig.conn.outgoing.on_next("x")
    pending: Any = rig.clock._queue
    assert len(pending) == 0


def test_a_peer_that_has_caught_up_has_the_whole_time_when_it_falls_behind_again() -> None:
    """The time that began while it was behind before is over: all that waited then has left."""
    rig = Rig(watch=True, send_timeout=10.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    rig.conn.outgoing.on_next("waits")
    rig.conn.outgoing.on_next("waits behind that")
    rig.run(5)
    rig.peer.go(0)  # takes the first, so that at 10 s the time begins anew
    rig.run(14)
    rig.peer.go()
    rig.run(0.5)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire again at 19.5 s")
    rig.run(9.9)
    assert not rig.closed.values
    rig.run(0.1)
    rig.check_over(Close(1006), SendTimeout)
    assert rig.closed.times == [29.5]


def test_a_wire_that_takes_frames_is_not_stuck_though_some_have_not_left() -> None:
    """The time ends without an end: whatever a transport still has, it takes more."""
    rig = Rig(watch=True, send_timeout=10.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    rig.run(1)
    rig.transport.set_writable(True, buffered=5)
    rig.run(20)
    assert not rig.closed.values
