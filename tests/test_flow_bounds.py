"""Flow control: how much may wait to go out, and for how long."""

from __future__ import annotations

from rig import Rig

from rxws import BufferOverflow, Close, ConnectionClosed, SendTimeout
from rxws._core.frames import Opcode

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
