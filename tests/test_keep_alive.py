"""Unsolicited pongs while reading is paused, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from rig import Rig

from rxws import Close
from rxws._core.frames import Opcode
from rxws._session.liveness import KeepAlive
from rxws.testing.clock import Clock


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


def pongs(rig: Rig) -> list[float]:
    """When unsolicited pongs were sent."""
    return [frame.at for frame in rig.frames(Opcode.PONG) if not frame.payload]


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
    rig = Rig(watch=True)
    rig.run(1)
    assert pongs(rig) == []
    first, second = rig.conn.flow.pause(), rig.conn.flow.pause()
    rig.run(0.5)
    first.dispose()
    rig.run(0.5)
    assert pongs(rig) == [1.25, 1.5, 1.75, 2]
    second.dispose()
    rig.run(10)
    assert pongs(rig) == [1.25, 1.5, 1.75, 2]


def test_nobody_subscribed_is_a_pause_too() -> None:
    """What holds the reading does not matter to the peer."""
    rig = Rig()
    rig.peer.message("kept")
    rig.run(1)
    assert pongs(rig) == [0.25, 0.5, 0.75, 1]
    rig.conn.incoming.subscribe(scheduler=rig.conn.scheduler)
    rig.run(10)
    assert len(pongs(rig)) == 4


def test_pongs_do_not_pile_up_where_the_peer_takes_nothing() -> None:
    """One waits at the most."""
    rig = Rig(watch=True, high_water=1, send_timeout=1000.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("more than high water")
    rig.run(10)
    assert pongs(rig) == []
    rig.peer.go()
    rig.run(10)
    assert len(pongs(rig)) == 1


def test_the_answer_to_a_ping_is_not_overwritten() -> None:
    """It waits behind a full wire while pauses go on; then it, and no other, is sent."""
    rig = Rig(watch=True, send_timeout=1000.0, overrun=1)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    rig.peer.ping(b"answer me")
    hold = rig.conn.flow.pause()
    rig.run(5)
    hold.dispose()
    rig.peer.go()
    assert [frame.payload for frame in rig.frames(Opcode.PONG)] == [b"answer me"]


def test_a_ping_has_its_answer_though_an_unsolicited_pong_waits() -> None:
    """The answer takes its place."""
    rig = Rig(watch=True, send_timeout=1000.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    hold = rig.conn.flow.pause()
    rig.run(0.3)
    hold.dispose()
    rig.settle()
    rig.peer.ping(b"answer me")
    rig.peer.go()
    assert [frame.payload for frame in rig.frames(Opcode.PONG)] == [b"answer me"]


@pytest.mark.parametrize("end", ["close", "lost", "overflow", "stuck"])
def test_after_the_end_there_are_none(end: str) -> None:
    """However it ended, with a hold alive."""
    rig = Rig(watch=True, max_buffer=200, send_timeout=5.0, close_timeout=1.0)
    rig.conn.flow.pause()
    rig.run(0.6)
    assert len(pongs(rig)) == 2
    if end == "close":
        rig.conn.outgoing.on_next(Close(4001))
    elif end == "lost":
        rig.peer.lost()
        rig.session.on_lost()
    else:
        rig.peer.stop()
        for _ in range(9 if end == "overflow" else 1):
            rig.conn.outgoing.on_next("x" * 100)
    rig.run(30)
    rig.peer.go()
    sent = len(rig.transport.sent)
    rig.run(30)
    assert rig.closed.ends == [None]
    assert len(rig.transport.sent) == sent
    if end != "stuck":
        assert len(pongs(rig)) == 2


def test_none_follows_a_close_frame() -> None:
    """RFC 6455, section 5.5.1; while the answer is waited for a hold holds nothing."""
    rig = Rig(watch=True, close_timeout=100.0)
    rig.conn.flow.pause()
    rig.run(0.3)
    rig.conn.outgoing.on_next(Close(4001))
    rig.conn.flow.pause()
    rig.run(50)
    assert rig.close_frame.code == 4001
    assert len(pongs(rig)) == 1


def test_pongs_are_no_messages() -> None:
    """They are not counted, and take no room."""
    rig = Rig(watch=True)
    rig.conn.flow.pause()
    rig.run(10)
    assert len(pongs(rig)) == 40
    assert (rig.stats.sent_messages, rig.stats.sent_bytes, rig.conn.flow.buffered) == (0, 0, 0)


def test_a_heartbeat_and_pongs_go_side_by_side() -> None:
    """Paused, pings are still sent, and no answer is demanded."""
    rig = Rig(watch=True, heartbeat=1.0)
    rig.conn.flow.pause()
    rig.run(4.1)
    assert [frame.at for frame in rig.frames(Opcode.PING)] == [1, 2, 3, 4]
    assert len(pongs(rig)) == 16
    assert rig.closed.values == []


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
    rig = Rig(watch=True)
    rig.peer.message("a")
    rig.clock.sleep(0.5)
    rig.clock.turn()
    assert len(pongs(rig)) == 1
    rig.peer.close(1000)
    rig.clock.sleep(0.5)
    rig.clock.turn()
    assert len(pongs(rig)) == 1
