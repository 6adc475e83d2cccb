"""Heartbeats, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rxws import Close, ConnectionClosed
from rxws._core.frames import Opcode
from rxws._session.liveness import KeepAlive
from rxws.testing.clock import Clock
from support.virtual.session import VirtualSession

INTERVAL = 10.0


def beating(**options: Any) -> VirtualSession:
    return VirtualSession(watch=True, heartbeat=INTERVAL, **options)


def answer(virtual: VirtualSession) -> None:
    """Answer the latest ping."""
    virtual.peer.pong(virtual.frames(Opcode.PING)[-1].payload)


def test_a_peer_that_answers_is_pinged_every_interval() -> None:
    """Each ping another payload, so that an old answer is told from a new one."""
    virtual = beating()
    for _ in range(5):
        virtual.run(INTERVAL)
        answer(virtual)
    pings = virtual.frames(Opcode.PING)
    assert [ping.at for ping in pings] == [10, 20, 30, 40, 50]
    assert len({ping.payload for ping in pings}) == 5
    assert virtual.closed.values == []


def test_a_silent_peer_is_dead_after_one_and_a_half_intervals() -> None:
    """1006, nothing on the wire, TCP aborted."""
    virtual = beating()
    virtual.run(14.9)
    assert virtual.closed.values == []
    virtual.run(10)
    assert virtual.closed.times == [15]
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.transport.times("abort") == [15]
    assert virtual.frames(Opcode.CLOSE) == []
    virtual.run(100)
    assert len(virtual.frames(Opcode.PING)) == 1


def test_a_peer_that_falls_silent_is_dead_within_one_and_a_half_intervals() -> None:
    """From its last sign of life on, whenever that was."""
    virtual = beating()
    virtual.run(10)
    answer(virtual)
    virtual.run(3)
    virtual.peer.message("the last")
    virtual.run(50)
    [died] = virtual.closed.times
    assert died == 25
    assert died - 13 <= 1.5 * INTERVAL


def test_any_byte_is_a_sign_of_life() -> None:
    """A large message may keep the pong waiting behind it."""
    virtual = beating()
    for _ in range(100):
        virtual.run(1)
        virtual.transport.received += 1  # a part of a frame
    assert virtual.closed.values == []


def test_a_pong_for_another_ping_is_a_sign_of_life_and_no_latency() -> None:
    """So is one that nobody asked for."""
    virtual = beating()
    latency = virtual.watch(virtual.conn.flow.latency)
    virtual.peer.pong(b"unasked")
    virtual.run(10)
    [first] = virtual.frames(Opcode.PING)
    virtual.peer.pong(b"other")
    virtual.run(10)
    virtual.peer.pong(first.payload)
    virtual.run(4)
    assert latency.values == []
    assert virtual.closed.values == []


def test_latency_is_the_time_between_ping_and_pong() -> None:
    """In seconds, once per ping."""
    virtual = beating()
    latency = virtual.watch(virtual.conn.flow.latency)
    virtual.run(INTERVAL + 0.25)
    answer(virtual)
    answer(virtual)
    virtual.run(INTERVAL - 0.25 + 1.5)
    answer(virtual)
    assert latency.values == [0.25, 1.5]
    virtual.peer.lost()
    virtual.settle()
    assert latency.ends == [None]


def test_while_reading_is_paused_no_answer_is_demanded() -> None:
    """None could be seen; pings are still sent, so that the peer's own patience is kept."""
    virtual = beating()
    hold = virtual.conn.flow.pause()
    virtual.run(100)
    assert [ping.at for ping in virtual.frames(Opcode.PING)] == [10 * n for n in range(1, 11)]
    assert virtual.closed.values == []
    hold.dispose()
    virtual.run(20)
    assert virtual.closed.values == [Close(1006)], "now an answer can be seen, and is demanded"


@pytest.mark.parametrize(("start", "seconds"), [(9, 2), (11, 1), (14, 2), (9, 7)])
def test_a_pause_within_the_waiting_takes_nobody_for_dead(start: float, seconds: float) -> None:
    """However it lies: the answer may have waited behind it."""
    virtual = beating()
    virtual.run(start)
    hold = virtual.conn.flow.pause()
    virtual.run(seconds)
    hold.dispose()
    virtual.run(max(15.5 - virtual.clock.time, 0.5))
    assert virtual.closed.values == []


def test_nobody_subscribed_is_a_pause_too() -> None:
    """An honest peer whose data waits is not taken for dead."""
    virtual = VirtualSession(heartbeat=INTERVAL, hold_timeout=1000.0)
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("kept")
    virtual.run(200)
    assert closed.values == []


def test_no_heartbeat_no_pings() -> None:
    """None turns them off; a pong then means nothing."""
    virtual = VirtualSession(watch=True, heartbeat=None)
    virtual.peer.pong(b"1")
    virtual.run(1000)
    assert virtual.transport.sent == []
    assert virtual.closed.values == []


def test_while_our_close_is_unanswered_the_close_decides() -> None:
    """A dead peer then does not make a 1006 of our 4001."""
    virtual = beating(close_timeout=50.0)
    virtual.run(9)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.run(200)
    assert virtual.closed.times == [59]
    virtual.check_over(Close(4001))
    assert virtual.frames(Opcode.PING) == [], "nothing follows a close frame"


def test_a_ping_waits_while_the_wire_is_full_and_only_the_latest_leaves() -> None:
    """Pings do not pile up."""
    virtual = beating(send_timeout=1000.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    for _ in range(4):
        virtual.run(INTERVAL)
        virtual.transport.received += 1
    virtual.peer.go()
    assert len(virtual.frames(Opcode.PING)) == 1


def test_a_ping_that_cannot_be_sent_tells_of_a_loss_during_a_pause() -> None:
    """A failing write tells that the peer is gone, whatever it was to write."""
    virtual = beating()
    virtual.conn.flow.pause()
    virtual.peer.lost()
    virtual.run(9)
    assert virtual.closed.values == []
    virtual.run(2)
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


# --- unsolicited pongs while reading is paused, in virtual time --------------------------------


@dataclass
class Setup:
    paused: bool = True
    clock: Clock = field(default_factory=Clock)
    pongs: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.keep_alive = KeepAlive(self.clock, lambda: self.paused, self._pong)

    def _pong(self, payload: bytes) -> None:
        assert payload == b""
        self.pongs.append(self.clock.time)


def pongs(virtual: VirtualSession) -> list[float]:
    """When unsolicited pongs were sent."""
    return [frame.at for frame in virtual.frames(Opcode.PONG) if not frame.payload]


def test_pongs_come_every_quarter_second_while_paused() -> None:
    """Until the pause is over, and not once after it."""
    setup = Setup()
    setup.keep_alive.watch()
    setup.clock.run(1.1)
    assert setup.pongs == [0.25, 0.5, 0.75, 1]
    setup.paused = False
    setup.clock.run(10)
    assert setup.pongs == [0.25, 0.5, 0.75, 1]


def test_a_pause_that_is_over_before_costs_none() -> None:
    """Most are."""
    setup = Setup()
    setup.keep_alive.watch()
    setup.clock.run(0.2)
    setup.paused = False
    setup.clock.run(10)
    assert setup.pongs == []


def test_it_begins_anew_with_the_next_pause() -> None:
    """After an end of its own, and after a stop."""
    setup = Setup(paused=False)
    setup.keep_alive.watch()
    setup.clock.run(1)
    setup.paused = True
    setup.keep_alive.watch()
    setup.clock.run(0.3)
    assert setup.pongs == [1.25]
    setup.keep_alive.stop()
    setup.clock.run(1)
    assert setup.pongs == [1.25]
    setup.keep_alive.watch()
    setup.clock.run(0.3)
    assert setup.pongs == [1.25, 2.55]


def test_pauses_that_follow_one_another_do_not_add_pongs() -> None:
    """There is one timer, however often reading is paused."""
    setup = Setup()
    for _ in range(10):
        setup.keep_alive.watch()
        setup.clock.run(0.1)
    assert setup.pongs == [0.25, 0.5, 0.75, 1]


def test_stopping_what_does_not_run_does_nothing() -> None:
    """Once or twice."""
    setup = Setup()
    setup.keep_alive.stop()
    setup.keep_alive.watch()
    setup.keep_alive.stop()
    setup.keep_alive.stop()
    setup.clock.run(10)
    assert setup.pongs == []


def test_a_connection_that_is_held_sends_pongs() -> None:
    """From a quarter second on; the hold that ends them is the last."""
    virtual = VirtualSession(watch=True)
    virtual.run(1)
    assert pongs(virtual) == []
    first, second = virtual.conn.flow.pause(), virtual.conn.flow.pause()
    virtual.run(0.5)
    first.dispose()
    virtual.run(0.5)
    assert pongs(virtual) == [1.25, 1.5, 1.75, 2]
    second.dispose()
    virtual.run(10)
    assert pongs(virtual) == [1.25, 1.5, 1.75, 2]


def test_keep_alive_counts_nobody_subscribed_as_a_pause() -> None:
    """What holds the reading does not matter to the peer."""
    virtual = VirtualSession()
    virtual.peer.message("kept")
    virtual.run(1)
    assert pongs(virtual) == [0.25, 0.5, 0.75, 1]
    virtual.conn.incoming.subscribe(scheduler=virtual.conn.scheduler)
    virtual.run(10)
    assert len(pongs(virtual)) == 4


def test_pongs_do_not_pile_up_where_the_peer_takes_nothing() -> None:
    """One waits at the most."""
    virtual = VirtualSession(watch=True, high_water=1, send_timeout=1000.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("more than high water")
    virtual.run(10)
    assert pongs(virtual) == []
    virtual.peer.go()
    virtual.run(10)
    assert len(pongs(virtual)) == 1


def test_the_answer_to_a_ping_is_not_overwritten() -> None:
    """It waits behind a full wire while pauses go on; then it, and no other, is sent."""
    virtual = VirtualSession(watch=True, send_timeout=1000.0, overrun=1)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    virtual.peer.ping(b"answer me")
    hold = virtual.conn.flow.pause()
    virtual.run(5)
    hold.dispose()
    virtual.peer.go()
    assert [frame.payload for frame in virtual.frames(Opcode.PONG)] == [b"answer me"]


def test_a_ping_has_its_answer_though_an_unsolicited_pong_waits() -> None:
    """The answer takes its place."""
    virtual = VirtualSession(watch=True, send_timeout=1000.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    hold = virtual.conn.flow.pause()
    virtual.run(0.3)
    hold.dispose()
    virtual.settle()
    virtual.peer.ping(b"answer me")
    virtual.peer.go()
    assert [frame.payload for frame in virtual.frames(Opcode.PONG)] == [b"answer me"]


@pytest.mark.parametrize("end", ["close", "lost", "overflow", "stuck"])
def test_after_the_end_there_are_none(end: str) -> None:
    """However it ended, with a hold alive."""
    virtual = VirtualSession(watch=True, max_buffer=200, send_timeout=5.0, close_timeout=1.0)
    virtual.conn.flow.pause()
    virtual.run(0.6)
    assert len(pongs(virtual)) == 2
    if end == "close":
        virtual.conn.outgoing.on_next(Close(4001))
    elif end == "lost":
        virtual.peer.lost()
        virtual.session.on_lost()
    else:
        virtual.peer.stop()
        for _ in range(9 if end == "overflow" else 1):
            virtual.conn.outgoing.on_next("x" * 100)
    virtual.run(30)
    virtual.peer.go()
    sent = len(virtual.transport.sent)
    virtual.run(30)
    assert virtual.closed.ends == [None]
    assert len(virtual.transport.sent) == sent
    if end != "stuck":
        assert len(pongs(virtual)) == 2


def test_none_follows_a_close_frame() -> None:
    """RFC 6455, section 5.5.1; while the answer is waited for a hold holds nothing."""
    virtual = VirtualSession(watch=True, close_timeout=100.0)
    virtual.conn.flow.pause()
    virtual.run(0.3)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.conn.flow.pause()
    virtual.run(50)
    assert virtual.close_frame.code == 4001
    assert len(pongs(virtual)) == 1


def test_pongs_are_no_messages() -> None:
    """They are not counted, and take no room."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    virtual.run(10)
    assert len(pongs(virtual)) == 40
    assert (virtual.stats.sent_messages, virtual.stats.sent_bytes, virtual.conn.flow.buffered) == (
        0,
        0,
        0,
    )


def test_a_heartbeat_and_pongs_go_side_by_side() -> None:
    """Paused, pings are still sent, and no answer is demanded."""
    virtual = VirtualSession(watch=True, heartbeat=1.0)
    virtual.conn.flow.pause()
    virtual.run(4.1)
    assert [frame.at for frame in virtual.frames(Opcode.PING)] == [1, 2, 3, 4]
    assert len(pongs(virtual)) == 16
    assert virtual.closed.values == []


@pytest.mark.parametrize(("lateness", "expected"), [(0.01, 0), (0.05, 1)])
def test_a_loop_that_is_busy_gives_a_sign_of_life(lateness: float, expected: int) -> None:
    """A peer's ping may wait behind messages then, though nothing is paused."""
    setup = Setup(paused=False)
    setup.keep_alive.watch()
    setup.clock.sleep(0.25 + lateness)  # nothing that is due is run meanwhile
    setup.clock.turn()
    assert len(setup.pongs) == expected


def test_messages_make_it_look_whether_the_loop_is_busy() -> None:
    """The first message begins it, and what comes after the end does not."""
    virtual = VirtualSession(watch=True)
    virtual.peer.message("a")
    virtual.clock.sleep(0.5)
    virtual.clock.turn()
    assert len(pongs(virtual)) == 1
    virtual.peer.close(1000)
    virtual.clock.sleep(0.5)
    virtual.clock.turn()
    assert len(pongs(virtual)) == 1
