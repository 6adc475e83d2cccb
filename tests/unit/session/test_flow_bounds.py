"""Flow control: how much may wait to go out, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from rxws import BufferOverflow, Close, ConnectionClosed, SendTimeout
from rxws._core.frames import Opcode
from rxws.overflow import Overflow, latest
from support.virtual.session import VirtualSession

KIB = 1024


def test_above_max_buffer_the_connection_ends_with_1013() -> None:
    """BufferOverflow, also while the close frame cannot be written; then abort by the deadline."""
    virtual = VirtualSession(watch=True, max_buffer=4 * KIB, close_timeout=5.0)
    virtual.peer.stop()
    for _ in range(4):
        virtual.conn.outgoing.on_next("x" * (KIB - 128))
    assert virtual.closed.values == []
    virtual.conn.outgoing.on_next("one more")
    virtual.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert virtual.frames(Opcode.CLOSE) == []
    virtual.run(10)
    assert virtual.transport.times("abort") == [5]
    assert virtual.dropped == {"overflow": 1, "closed": 3}


def test_after_an_overflow_the_peer_gets_the_close_and_no_old_messages() -> None:
    """If it takes anything at all by then."""
    virtual = VirtualSession(watch=True, max_buffer=KIB)
    virtual.peer.stop()
    for _ in range(8):
        virtual.conn.outgoing.on_next("x" * 256)
    virtual.peer.go()
    assert virtual.messages == ["x" * 256]
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1013, "Try Again Later")


def test_tiny_messages_are_bounded_too() -> None:
    """Each counts 128 bytes more than its payload."""
    virtual = VirtualSession(watch=True, max_buffer=1280)
    virtual.peer.stop()
    sent = 0
    while not virtual.closed.values:
        virtual.conn.outgoing.on_next("")
        sent += 1
    assert sent <= 12


def test_a_message_that_finds_nothing_waiting_is_sent_whatever_its_size() -> None:
    """The bound is for what waits."""
    virtual = VirtualSession(watch=True, max_buffer=KIB)
    virtual.conn.outgoing.on_next("x" * 10 * KIB)
    assert len(virtual.messages) == 1
    assert virtual.closed.values == []


def test_who_takes_nothing_within_send_timeout_is_aborted() -> None:
    """1006 by us, SendTimeout, no close frame, and what waited is counted as dropped."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.run(1)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("in the transport")
    virtual.conn.outgoing.on_next("waits")
    virtual.run(100)
    assert virtual.closed.times == [21]
    virtual.check_over(Close(1006, by="local"), SendTimeout)
    assert virtual.transport.times("abort") == [21]
    assert virtual.frames(Opcode.CLOSE) == []
    assert virtual.dropped == {"closed": 1}


def test_who_trickles_is_aborted_too() -> None:
    """What waited when the time began must have left; that something did is not enough."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(100):
        virtual.conn.outgoing.on_next("x")
    while not virtual.closed.values and virtual.clock.time < 100:
        virtual.run(1)
        virtual.peer.go(0)
    # Only the first waited when the time began; the rest had to wait for the next to begin.
    assert virtual.closed.times == [40]
    assert isinstance(virtual.incoming.error, SendTimeout)


def test_who_is_always_a_little_behind_is_not() -> None:
    """What waited left in time; that more waits now begins the time anew."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(200):
        virtual.conn.outgoing.on_next("x")
        virtual.conn.outgoing.on_next("y")
        virtual.run(1)
        virtual.peer.go(1)
    assert virtual.closed.values == []


def test_who_catches_up_is_safe() -> None:
    """The time begins when something waits, and ends when nothing does."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    virtual.run(19)
    virtual.peer.go()
    virtual.run(100)
    assert virtual.closed.values == []
    assert virtual.messages == ["x"]


def test_a_loss_during_a_pause_is_told_when_a_send_fails() -> None:
    """Or on resume: a paused socket cannot notice that the peer is gone."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    virtual.peer.lost()
    virtual.settle()
    assert virtual.closed.values == []
    virtual.conn.outgoing.on_next("into the void")
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.dropped == {"closed": 1}

    virtual = VirtualSession(watch=True)
    hold = virtual.conn.flow.pause()
    virtual.peer.message("before")
    virtual.peer.lost()
    virtual.settle()
    hold.dispose()
    virtual.settle()
    assert virtual.incoming.values == ["before"]
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


def test_a_send_after_a_loss_does_not_overtake_what_came_before_it() -> None:
    """What the peer sent before it left is delivered first."""
    virtual = VirtualSession(watch=True)
    virtual.session.on_unsendable()
    virtual.conn.outgoing.on_next("into the void")
    virtual.peer.message("before")
    virtual.conn.outgoing.on_next("into the void")
    assert virtual.closed.values == []
    assert virtual.incoming.values == ["before"]
    virtual.session.on_lost()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.dropped == {"closed": 2}


def test_what_waits_when_tcp_is_lost_holds_up_reading_no_more() -> None:
    """It will never leave; what came in before the loss is delivered."""
    virtual = VirtualSession(watch=True, high_water=KIB, overrun=1)
    virtual.peer.stop()
    for _ in range(3):
        virtual.conn.outgoing.on_next("x" * KIB)
    virtual.peer.message("a", "b")
    assert virtual.incoming.values == []
    virtual.peer.lost()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b"]
    assert virtual.closed.values == [Close(1006)]
    assert virtual.dropped == {"closed": 2}


# --- how long what waits may take to leave, in virtual time ------------------------------------


POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest()]


@pytest.mark.parametrize("policy", POLICIES)
def test_who_takes_nothing_is_aborted_by_every_policy(policy: Overflow) -> None:
    """When `send_timeout` has passed since it fell behind, whatever is pushed meanwhile."""
    virtual = VirtualSession(watch=True, send_timeout=20.0, overflow=policy)
    virtual.run(3)
    virtual.peer.stop()
    for _ in range(60):
        virtual.conn.outgoing.on_next("x")
        virtual.run(0.5)
    assert virtual.transport.times("abort") == [23]
    virtual.check_over(Close(1006), SendTimeout)
    assert virtual.stats.sent_messages + sum(virtual.dropped.values()) == 60


def test_a_trickling_peer_is_aborted_within_twice_send_timeout() -> None:
    """A message that came just after the time began has the next one; no longer."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("begins the time")
    virtual.run(0.1)
    for _ in range(1000):
        virtual.conn.outgoing.on_next("x")
    while not virtual.closed.values and virtual.clock.time < 100:
        virtual.run(0.5)
        virtual.peer.go(0)  # one frame each half second: 20 in the time that 1000 have
    assert virtual.closed.times == [20]
    virtual.check_over(Close(1006), SendTimeout)


def test_a_peer_that_gets_all_just_in_time_is_not_aborted() -> None:
    """What waited when the time began has left."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    for _ in range(5):
        virtual.conn.outgoing.on_next("x")
    for _ in range(5):
        virtual.run(1.9)
        virtual.peer.go(0)
    virtual.peer.go()
    virtual.run(100)
    assert virtual.closed.values == []
    assert virtual.stats.sent_messages == 5


def test_a_peer_that_takes_no_ping_is_aborted() -> None:
    """Control frames fill the wire as well; nothing but them was sent."""
    virtual = VirtualSession(watch=True, heartbeat=5.0, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.flow.pause()
    virtual.run(60)
    [ended] = virtual.closed.times
    assert ended <= 0.25 + 20
    virtual.check_over(Close(1006), SendTimeout)


def test_a_close_has_send_timeout_for_what_is_queued_however_it_trickles() -> None:
    """Then the peer is aborted; the time runs from the close on."""
    virtual = VirtualSession(watch=True, send_timeout=10.0, close_timeout=5.0)
    virtual.peer.stop()
    for _ in range(1000):
        virtual.conn.outgoing.on_next("x")
    virtual.run(3)
    virtual.conn.outgoing.on_next(Close(4001))
    while not virtual.closed.values and virtual.clock.time < 100:
        virtual.run(0.5)
        virtual.peer.go(0)
    [ended] = virtual.closed.times
    assert ended <= 13
    virtual.check_over(Close(1006), SendTimeout)


def test_nothing_is_timed_where_nothing_waits() -> None:
    """An idle connection with no heartbeat has no timer at all."""
    virtual = VirtualSession(watch=True)
    for _ in range(10):
        virtual.conn.outgoing.on_next("x")
    pending: Any = virtual.clock._queue
    assert len(pending) == 0


def test_a_peer_that_has_caught_up_has_the_whole_time_when_it_falls_behind_again() -> None:
    """The time that began while it was behind before is over: all that waited then has left."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    virtual.conn.outgoing.on_next("waits")
    virtual.conn.outgoing.on_next("waits behind that")
    virtual.run(5)
    virtual.peer.go(0)  # takes the first, so that at 10 s the time begins anew
    virtual.run(14)
    virtual.peer.go()
    virtual.run(0.5)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire again at 19.5 s")
    virtual.run(9.9)
    assert not virtual.closed.values
    virtual.run(0.1)
    virtual.check_over(Close(1006), SendTimeout)
    assert virtual.closed.times == [29.5]


def test_a_wire_that_takes_frames_is_not_stuck_though_some_have_not_left() -> None:
    """The time ends without an end: whatever a transport still has, it takes more."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    virtual.run(1)
    virtual.transport.set_writable(True, buffered=5)
    virtual.run(20)
    assert not virtual.closed.values
