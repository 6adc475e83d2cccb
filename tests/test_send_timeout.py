"""How long what waits may take to leave, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from rig import Rig

from rxws import Close, SendTimeout
from rxws.overflow import Overflow, latest

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
