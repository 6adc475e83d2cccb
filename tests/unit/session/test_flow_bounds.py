"""Flow control: how much may be buffered for the peer, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from rxws import BufferOverflow, Close, ConnectionClosed, SendTimeout
from rxws._core.frames import Opcode
from rxws.overflow import Overflow, latest
from support.virtual.session import VirtualSession

KIB = 1024


def test_above_max_buffer_the_connection_ends_with_1013() -> None:
    """Above `max_buffer` the connection ends with 1013; a stalled peer is aborted."""
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
    """After an overflow the peer gets the close frame, but no buffered messages."""
    virtual = VirtualSession(watch=True, max_buffer=KIB)
    virtual.peer.stop()
    for _ in range(8):
        virtual.conn.outgoing.on_next("x" * 256)
    virtual.peer.go()
    assert virtual.messages == ["x" * 256]
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1013, "Try Again Later")


def test_tiny_messages_are_bounded_too() -> None:
    """Tiny messages are bounded, as each counts 128 bytes more than its payload."""
    virtual = VirtualSession(watch=True, max_buffer=1280)
    virtual.peer.stop()
    sent = 0
    while not virtual.closed.values:
        virtual.conn.outgoing.on_next("")
        sent += 1
    assert sent <= 12


def test_a_single_message_may_exceed_max_buffer() -> None:
    """A message of any size is sent if nothing is buffered."""
    virtual = VirtualSession(watch=True, max_buffer=KIB)
    virtual.conn.outgoing.on_next("x" * 10 * KIB)
    assert len(virtual.messages) == 1
    assert virtual.closed.values == []


def test_a_peer_that_reads_nothing_is_aborted_after_send_timeout() -> None:
    """A peer that reads nothing for `send_timeout` is aborted without a close frame."""
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


def test_a_peer_that_reads_too_slowly_is_aborted() -> None:
    """A peer is aborted if it reads too slowly to catch up within `send_timeout`."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(100):
        virtual.conn.outgoing.on_next("x")
    while not virtual.closed.values and virtual.clock.time < 100:
        virtual.run(1)
        virtual.peer.go(0)
    # Only the first was buffered at the start of the first period; the others in the second.
    assert virtual.closed.times == [40]
    assert isinstance(virtual.incoming.error, SendTimeout)


def test_a_peer_that_is_always_slightly_behind_is_not_aborted() -> None:
    """A peer that reads each message within `send_timeout` is not aborted."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(200):
        virtual.conn.outgoing.on_next("x")
        virtual.conn.outgoing.on_next("y")
        virtual.run(1)
        virtual.peer.go(1)
    assert virtual.closed.values == []


def test_a_peer_that_catches_up_is_not_aborted() -> None:
    """`send_timeout` runs only while something is buffered."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    virtual.run(19)
    virtual.peer.go()
    virtual.run(100)
    assert virtual.closed.values == []
    assert virtual.messages == ["x"]


def test_a_loss_during_a_pause_is_detected_by_a_send_or_on_resume() -> None:
    """A connection lost during a pause is detected when a send fails or reading resumes."""
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
    pause = virtual.conn.flow.pause()
    virtual.peer.message("before")
    virtual.peer.lost()
    virtual.settle()
    pause.dispose()
    virtual.settle()
    assert virtual.incoming.values == ["before"]
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


def test_a_failed_send_does_not_end_before_received_messages() -> None:
    """After a failed send, received messages are still delivered before the end."""
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


def test_buffered_messages_do_not_pause_reading_after_a_loss() -> None:
    """Once TCP is lost, buffered messages no longer pause reading."""
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


# --- `send_timeout` ---------------------------------------------------------------------------


POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest()]


@pytest.mark.parametrize("policy", POLICIES)
def test_send_timeout_applies_to_every_policy(policy: Overflow) -> None:
    """With every policy, a peer that reads nothing is aborted after `send_timeout`."""
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
    """A peer that reads too slowly is aborted within twice `send_timeout`."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("begins the time")
    virtual.run(0.1)
    for _ in range(1000):
        virtual.conn.outgoing.on_next("x")
    while not virtual.closed.values and virtual.clock.time < 100:
        virtual.run(0.5)
        virtual.peer.go(0)  # one frame each half second: 20 of 1000 in `send_timeout`
    assert virtual.closed.times == [20]
    virtual.check_over(Close(1006), SendTimeout)


def test_a_peer_that_reads_everything_just_in_time_is_not_aborted() -> None:
    """A peer that reads everything within `send_timeout` is not aborted."""
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


def test_a_peer_that_reads_no_pings_is_aborted() -> None:
    """A peer that reads nothing is aborted even if only pings and pongs were sent."""
    virtual = VirtualSession(watch=True, heartbeat=5.0, send_timeout=20.0)
    virtual.peer.stop()
    virtual.pause_reading()
    virtual.run(60)
    [ended] = virtual.closed.times
    assert ended <= 0.25 + 20
    virtual.check_over(Close(1006), SendTimeout)


def test_a_close_waits_send_timeout_for_buffered_messages() -> None:
    """After a close, buffered messages have `send_timeout` to be sent; then TCP is aborted."""
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


def test_an_idle_connection_has_no_timer() -> None:
    """A connection without heartbeat and buffered messages has no timer."""
    virtual = VirtualSession(watch=True)
    for _ in range(10):
        virtual.conn.outgoing.on_next("x")
    pending: Any = virtual.clock._queue
    assert len(pending) == 0


def test_a_peer_that_falls_behind_again_has_the_full_send_timeout() -> None:
    """A peer that caught up and falls behind again has the full `send_timeout`."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    virtual.conn.outgoing.on_next("waits")
    virtual.conn.outgoing.on_next("waits behind that")
    virtual.run(5)
    virtual.peer.go(0)  # takes the first, so that at 10 s a new period starts
    virtual.run(14)
    virtual.peer.go()
    virtual.run(0.5)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer again at 19.5 s")
    virtual.run(9.9)
    assert not virtual.closed.values
    virtual.run(0.1)
    virtual.check_over(Close(1006), SendTimeout)
    assert virtual.closed.times == [29.5]


def test_a_writable_transport_with_buffered_bytes_is_not_aborted() -> None:
    """A transport that is writable is not aborted, even if it has unsent bytes."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    virtual.run(1)
    virtual.transport.set_writable(True, buffered=5)
    virtual.run(20)
    assert not virtual.closed.values


def test_a_loss_of_tcp_during_a_pause_stops_send_timeout() -> None:
    """Once TCP is lost, `send_timeout` ends nothing, also when the wire becomes ready again."""
    virtual = VirtualSession(watch=True, send_timeout=10.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    virtual.conn.flow.pause()
    virtual.session.on_unsendable()
    virtual.session.on_writable(True)
    virtual.run(60)
    assert virtual.closed.values == []
