"""Heartbeats, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from rig import Rig

from rxws import Close, ConnectionClosed
from rxws._core.frames import Opcode

INTERVAL = 10.0


def beating(**options: Any) -> Rig:
    return Rig(watch=True, heartbeat=INTERVAL, **options)


def answer(rig: Rig) -> None:
    """Answer the latest ping."""
    rig.peer.pong(rig.frames(Opcode.PING)[-1].payload)


def test_a_peer_that_answers_is_pinged_every_interval() -> None:
    """Each ping another payload, so that an old answer is told from a new one."""
    rig = beating()
    for _ in range(5):
        rig.run(INTERVAL)
        answer(rig)
    pings = rig.frames(Opcode.PING)
    assert [ping.at for ping in pings] == [10, 20, 30, 40, 50]
    assert len({ping.payload for ping in pings}) == 5
    assert rig.closed.values == []


def test_a_silent_peer_is_dead_after_one_and_a_half_intervals() -> None:
    """1006, nothing on the wire, TCP aborted."""
    rig = beating()
    rig.run(14.9)
    assert rig.closed.values == []
    rig.run(10)
    assert rig.closed.times == [15]
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.transport.times("abort") == [15]
    assert rig.frames(Opcode.CLOSE) == []
    rig.run(100)
    assert len(rig.frames(Opcode.PING)) == 1


def test_a_peer_that_falls_silent_is_dead_within_one_and_a_half_intervals() -> None:
    """From its last sign of life on, whenever that was."""
    rig = beating()
    rig.run(10)
    answer(rig)
    rig.run(3)
    rig.peer.message("the last")
    rig.run(50)
    [died] = rig.closed.times
    assert died == 25
    assert died - 13 <= 1.5 * INTERVAL


def test_any_byte_is_a_sign_of_life() -> None:
    """A large message may keep the pong waiting behind it."""
    rig = beating()
    for _ in range(100):
        rig.run(1)
        rig.transport.received += 1  # a part of a frame
    assert rig.closed.values == []


def test_a_pong_for_another_ping_is_a_sign_of_life_and_no_latency() -> None:
    """So is one that nobody asked for."""
    rig = beating()
    latency = rig.watch(rig.conn.flow.latency)
    rig.peer.pong(b"unasked")
    rig.run(10)
    [first] = rig.frames(Opcode.PING)
    rig.peer.pong(b"other")
    rig.run(10)
    rig.peer.pong(first.payload)
    rig.run(4)
    assert latency.values == []
    assert rig.closed.values == []


def test_latency_is_the_time_between_ping_and_pong() -> None:
    """In seconds, once per ping."""
    rig = beating()
    latency = rig.watch(rig.conn.flow.latency)
    rig.run(INTERVAL + 0.25)
    answer(rig)
    answer(rig)
    rig.run(INTERVAL - 0.25 + 1.5)
    answer(rig)
    assert latency.values == [0.25, 1.5]
    rig.peer.lost()
    rig.settle()
    assert latency.ends == [None]


def test_while_reading_is_paused_no_answer_is_demanded() -> None:
    """None could be seen; pings are still sent, so that the peer's own patience is kept."""
    rig = beating()
    hold = rig.conn.flow.pause()
    rig.run(100)
    assert [ping.at for ping in rig.frames(Opcode.PING)] == [10 * n for n in range(1, 11)]
    assert rig.closed.values == []
    hold.dispose()
    rig.run(20)
    assert rig.closed.values == [Close(1006)], "now an answer can be seen, and is demanded"


@pytest.mark.parametrize(("start", "seconds"), [(9, 2), (11, 1), (14, 2), (9, 7)])
def test_a_pause_within_the_waiting_takes_nobody_for_dead(start: float, seconds: float) -> None:
    """However it lies: the answer may have waited behind it."""
    rig = beating()
    rig.run(start)
    hold = rig.conn.flow.pause()
    rig.run(seconds)
    hold.dispose()
    rig.run(max(15.5 - rig.clock.time, 0.5))
    assert rig.closed.values == []


def test_nobody_subscribed_is_a_pause_too() -> None:
    """An honest peer whose data waits is not taken for dead."""
    rig = Rig(heartbeat=INTERVAL, hold_timeout=1000.0)
    closed = rig.watch(rig.conn.closed)
    rig.peer.message("kept")
    rig.run(200)
    assert closed.values == []


def test_no_heartbeat_no_pings() -> None:
    """None turns them off; a pong then means nothing."""
    rig = Rig(watch=True, heartbeat=None)
    rig.peer.pong(b"1")
    rig.run(1000)
    assert rig.transport.sent == []
    assert rig.closed.values == []


def test_while_our_close_is_unanswered_the_close_decides() -> None:
    """A dead peer then does not make a 1006 of our 4001."""
    rig = beating(close_timeout=50.0)
    rig.run(9)
    rig.conn.outgoing.on_next(Close(4001))
    rig.run(200)
    assert rig.closed.times == [59]
    rig.check_over(Close(4001))
    assert rig.frames(Opcode.PING) == [], "nothing follows a close frame"


def test_a_ping_waits_while_the_wire_is_full_and_only_the_latest_leaves() -> None:
    """Pings do not pile up."""
    rig = beating(send_timeout=1000.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    for _ in range(4):
        rig.run(INTERVAL)
        rig.transport.received += 1
    rig.peer.go()
    assert len(rig.frames(Opcode.PING)) == 1


def test_a_ping_that_cannot_be_sent_tells_of_a_loss_during_a_pause() -> None:
    """A failing write tells that the peer is gone, whatever it was to write."""
    rig = beating()
    rig.conn.flow.pause()
    rig.peer.lost()
    rig.run(9)
    assert rig.closed.values == []
    rig.run(2)
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
