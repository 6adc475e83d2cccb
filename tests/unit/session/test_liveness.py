"""Heartbeats and keep-alive pongs, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from rxws import Close, ConnectionClosed
from rxws._core.frames import Opcode
from rxws._session.liveness import KeepAlive
from rxws._session.transport import Delivery
from rxws.testing.clock import Clock
from support.virtual.session import VirtualSession

INTERVAL = 10.0


def with_heartbeat(**options: Any) -> VirtualSession:
    return VirtualSession(watch=True, heartbeat=INTERVAL, **options)


def answer_ping(virtual: VirtualSession) -> None:
    """Answer the latest ping."""
    virtual.peer.pong(virtual.frames(Opcode.PING)[-1].payload)


def test_a_peer_that_answers_is_pinged_every_interval() -> None:
    """A peer is pinged every interval, each time with another payload."""
    virtual = with_heartbeat()
    for _ in range(5):
        virtual.run(INTERVAL)
        answer_ping(virtual)
    pings = virtual.frames(Opcode.PING)
    assert [ping.at for ping in pings] == [10, 20, 30, 40, 50]
    assert len({ping.payload for ping in pings}) == 5
    assert virtual.closed.values == []


def test_a_silent_peer_is_dead_after_one_and_a_half_intervals() -> None:
    """A silent peer is a 1006 after 1.5 intervals; TCP is aborted without a close frame."""
    virtual = with_heartbeat()
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
    """A peer that falls silent is detected within 1.5 intervals of its last sign of life."""
    virtual = with_heartbeat()
    virtual.run(10)
    answer_ping(virtual)
    virtual.run(3)
    virtual.peer.message("the last")
    virtual.run(50)
    [died] = virtual.closed.times
    assert died == 25
    assert died - 13 <= 1.5 * INTERVAL


def test_any_byte_is_a_sign_of_life() -> None:
    """Any received byte is a sign of life, since a large message may delay the pong."""
    virtual = with_heartbeat()
    for _ in range(100):
        virtual.run(1)
        virtual.transport.received += 1  # a part of a frame
    assert virtual.closed.values == []


def test_an_unexpected_pong_is_a_sign_of_life_but_no_latency() -> None:
    """A pong without our latest payload is a sign of life, but yields no latency."""
    virtual = with_heartbeat()
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
    """`latency` emits the seconds between a ping and its pong, once per ping."""
    virtual = with_heartbeat()
    latency = virtual.watch(virtual.conn.flow.latency)
    virtual.run(INTERVAL + 0.25)
    answer_ping(virtual)
    answer_ping(virtual)
    virtual.run(INTERVAL - 0.25 + 1.5)
    answer_ping(virtual)
    assert latency.values == [0.25, 1.5]
    virtual.peer.lost()
    virtual.settle()
    assert latency.ends == [None]


def test_no_pong_is_required_while_reading_is_paused() -> None:
    """While reading is paused, pings are sent but no pong is required."""
    virtual = with_heartbeat()
    pause = virtual.pause_reading()
    virtual.run(100)
    assert [ping.at for ping in virtual.frames(Opcode.PING)] == [10 * n for n in range(1, 11)]
    assert virtual.closed.values == []
    pause.dispose()
    virtual.run(20)
    assert virtual.closed.values == [Close(1006)], "now an answer can be seen, and is demanded"


@pytest.mark.parametrize(("start", "seconds"), [(9, 2), (11, 1), (14, 2), (9, 7)])
def test_a_pause_while_a_pong_is_awaited_is_not_a_dead_peer(start: float, seconds: float) -> None:
    """A pause while a pong is awaited does not make the peer dead, wherever it lies."""
    virtual = with_heartbeat()
    virtual.run(start)
    pause = virtual.pause_reading()
    virtual.run(seconds)
    pause.dispose()
    virtual.run(max(15.5 - virtual.clock.time, 0.5))
    assert virtual.closed.values == []


def test_a_missing_subscriber_counts_as_a_pause() -> None:
    """While reading is paused because nobody subscribes, the peer does not count as dead."""
    virtual = VirtualSession(heartbeat=INTERVAL, hold_timeout=1000.0)
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("x" * (64 << 10))
    virtual.run(200)
    assert closed.values == []


def test_heartbeat_none_sends_no_pings() -> None:
    """`heartbeat=None` sends no pings and ignores pongs."""
    virtual = VirtualSession(watch=True, heartbeat=None)
    virtual.peer.pong(b"1")
    virtual.run(1000)
    assert virtual.transport.sent == []
    assert virtual.closed.values == []


def test_no_heartbeat_after_our_close_frame() -> None:
    """After our close frame `close_timeout` decides, and no ping is sent."""
    virtual = with_heartbeat(close_timeout=50.0)
    virtual.run(9)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.run(200)
    assert virtual.closed.times == [59]
    virtual.check_over(Close(4001))
    assert virtual.frames(Opcode.PING) == [], "nothing follows a close frame"


def test_only_the_latest_ping_is_buffered() -> None:
    """While the transport is full, only the latest ping is buffered."""
    virtual = with_heartbeat(send_timeout=1000.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    for _ in range(4):
        virtual.run(INTERVAL)
        virtual.transport.received += 1
    virtual.peer.go()
    assert len(virtual.frames(Opcode.PING)) == 1


def test_a_failing_ping_detects_a_lost_connection_during_a_pause() -> None:
    """A ping that cannot be written detects a lost connection while reading is paused."""
    virtual = with_heartbeat()
    virtual.pause_reading()
    virtual.peer.lost()
    virtual.run(9)
    assert virtual.closed.values == []
    virtual.run(2)
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


# --- a ping that waits behind earlier data ------------------------------------------------------


def with_backlog(size: int, **options: Any) -> VirtualSession:
    """Return a session that has sent a message of this size, of which the peer has read nothing."""
    virtual = with_heartbeat(send_timeout=1000.0, **options)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next(bytes(size))
    return virtual


@pytest.mark.promise("taking")
@pytest.mark.parametrize("every", [1.0, INTERVAL])
def test_a_peer_that_takes_a_backlog_is_alive(every: float) -> None:
    """A peer that reads some earlier data in every interval need not answer the ping yet."""
    virtual = with_backlog(1000)
    virtual.run(0.5)
    for _ in range(int(10 * INTERVAL / every)):
        virtual.run(every)
        virtual.peer.take(1)
    assert virtual.closed.values == []
    assert virtual.frames(Opcode.PING) == []
    virtual.peer.go()
    answer_ping(virtual)
    virtual.run(INTERVAL)
    assert virtual.closed.values == []
    assert len(virtual.frames(Opcode.PING)) == 2


@pytest.mark.promise("dead")
@pytest.mark.parametrize("last", [1, 9, 11, 14, 16, 19, 22, 31])
def test_a_peer_that_takes_nothing_more_is_dead_within_one_and_a_half_intervals(last: int) -> None:
    """A peer that stops reading buffered data is detected within 1.5 heartbeat intervals."""
    virtual = with_backlog(1000)
    for _ in range(last):
        virtual.run(1)
        virtual.peer.take(1)
    assert virtual.closed.values == []
    virtual.run(100)
    [at] = virtual.closed.times
    assert at <= max(last, 0) + 1.5 * INTERVAL
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


@pytest.mark.promise("dead")
def test_a_peer_that_takes_all_but_answers_nothing_is_dead() -> None:
    """A peer that reads all buffered data and the ping, but does not answer, is detected."""
    virtual = with_backlog(1000)
    virtual.run(12)
    virtual.peer.go()
    assert len(virtual.frames(Opcode.PING)) == 1
    while virtual.closed.values == []:  # data that is written after the ping does not count
        virtual.conn.outgoing.on_next("more")
        virtual.run(1)
        assert virtual.clock.time < 100
    assert virtual.closed.times == [25], "the progress at 12 s is seen at 15 s"


@pytest.mark.promise("dead")
def test_data_in_flight_is_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that reaches the peer's kernel without waiting does not prolong the wait for a pong."""
    virtual = with_heartbeat()

    def one_byte_in_flight() -> Delivery:
        return Delivery(int(virtual.clock.time * 100), 1, False)

    monkeypatch.setattr(virtual.transport, "delivery", one_byte_in_flight)
    virtual.run(100)
    assert virtual.closed.times == [15]


def test_a_ping_in_flight_behind_a_large_message_may_take_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large message in flight counts as a backlog while the ping behind it is not delivered."""
    virtual = with_heartbeat()

    def large_message_in_flight() -> Delivery:
        delivered = min(3000, int(virtual.clock.time * 100))
        return Delivery(delivered, 3000 - delivered, False)

    monkeypatch.setattr(virtual.transport, "delivery", large_message_in_flight)
    virtual.run(100)
    assert virtual.closed.times == [35], "it is delivered at 30 s; seen at 25 s, it counts for 10 s"


# --- keep-alive: unsolicited pongs while reading is paused ------------------------------------


@dataclass
class KeepAliveSetup:
    paused: bool = True
    clock: Clock = field(default_factory=Clock)
    pongs: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.keep_alive = KeepAlive(self.clock, lambda: self.paused, self._pong)

    def _pong(self) -> None:
        self.pongs.append(self.clock.time)


def pongs(virtual: VirtualSession) -> list[float]:
    """Return the times at which unsolicited pongs were sent."""
    return [frame.at for frame in virtual.frames(Opcode.PONG) if not frame.payload]


def test_pongs_are_sent_every_quarter_second_while_paused() -> None:
    """While reading is paused a pong is sent every quarter second, and none after it."""
    setup = KeepAliveSetup()
    setup.keep_alive.start()
    setup.clock.run(1.1)
    assert setup.pongs == [0.25, 0.5, 0.75, 1]
    setup.paused = False
    setup.clock.run(10)
    assert setup.pongs == [0.25, 0.5, 0.75, 1]


def test_a_short_pause_sends_no_pong() -> None:
    """A pause shorter than a quarter second sends no pong."""
    setup = KeepAliveSetup()
    setup.keep_alive.start()
    setup.clock.run(0.2)
    setup.paused = False
    setup.clock.run(10)
    assert setup.pongs == []


def test_keep_alive_restarts_with_the_next_pause() -> None:
    """Keep-alive starts again with the next pause, also after `stop`."""
    setup = KeepAliveSetup(paused=False)
    setup.keep_alive.start()
    setup.clock.run(1)
    setup.paused = True
    setup.keep_alive.start()
    setup.clock.run(0.3)
    assert setup.pongs == [1.25]
    setup.keep_alive.stop()
    setup.clock.run(1)
    assert setup.pongs == [1.25]
    setup.keep_alive.start()
    setup.clock.run(0.3)
    assert setup.pongs == [1.25, 2.55]


def test_consecutive_pauses_share_one_timer() -> None:
    """Consecutive pauses share one timer."""
    setup = KeepAliveSetup()
    for _ in range(10):
        setup.keep_alive.start()
        setup.clock.run(0.1)
    assert setup.pongs == [0.25, 0.5, 0.75, 1]


def test_stopping_twice_does_nothing() -> None:
    """`stop` does nothing if keep-alive is not running."""
    setup = KeepAliveSetup()
    setup.keep_alive.stop()
    setup.keep_alive.start()
    setup.keep_alive.stop()
    setup.keep_alive.stop()
    setup.clock.run(10)
    assert setup.pongs == []


def test_a_paused_connection_sends_pongs_until_the_last_pause_ends() -> None:
    """A paused connection sends pongs until its last pause ends."""
    virtual = VirtualSession(watch=True)
    virtual.run(1)
    assert pongs(virtual) == []
    first, second = virtual.pause_reading(), virtual.conn.flow.pause()
    virtual.run(0.5)
    first.dispose()
    virtual.run(0.5)
    assert pongs(virtual) == [1.25, 1.5, 1.75, 2]
    second.dispose()
    virtual.run(10)
    assert pongs(virtual) == [1.25, 1.5, 1.75, 2]


def test_keep_alive_counts_a_missing_subscriber_as_a_pause() -> None:
    """Pongs are sent while reading is paused because nobody subscribes."""
    virtual = VirtualSession()
    virtual.peer.message("x" * (64 << 10))
    virtual.run(1)
    assert pongs(virtual) == [0.25, 0.5, 0.75, 1]
    virtual.conn.incoming.subscribe(scheduler=virtual.conn.scheduler)
    virtual.run(10)
    assert len(pongs(virtual)) == 4


def test_at_most_one_pong_is_buffered_for_a_stalled_peer() -> None:
    """At most one pong is buffered for a peer that reads nothing."""
    virtual = VirtualSession(watch=True, high_water=1, send_timeout=1000.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("more than high water")
    virtual.peer.message("fills the read-ahead")
    virtual.run(10)
    assert pongs(virtual) == []
    virtual.peer.go()
    virtual.run(10)
    assert len(pongs(virtual)) == 1


def test_a_keep_alive_pong_does_not_replace_the_answer_to_a_ping() -> None:
    """A buffered answer to a ping is not replaced by a keep-alive pong."""
    virtual = VirtualSession(watch=True, send_timeout=1000.0, overrun=1)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    virtual.peer.ping(b"answer me")
    pause = virtual.conn.flow.pause()
    virtual.run(5)
    pause.dispose()
    virtual.peer.go()
    assert [frame.payload for frame in virtual.frames(Opcode.PONG)] == [b"answer me"]


def test_the_answer_to_a_ping_replaces_a_buffered_keep_alive_pong() -> None:
    """The answer to a ping replaces a buffered keep-alive pong."""
    virtual = VirtualSession(watch=True, send_timeout=1000.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    pause = virtual.conn.flow.pause()
    virtual.run(0.3)
    pause.dispose()
    virtual.settle()
    virtual.peer.ping(b"answer me")
    virtual.peer.go()
    assert [frame.payload for frame in virtual.frames(Opcode.PONG)] == [b"answer me"]


@pytest.mark.parametrize("end", ["close", "lost", "overflow", "stuck"])
def test_no_pongs_after_the_end(end: str) -> None:
    """No pong is sent after the end, even if a pause is never disposed."""
    virtual = VirtualSession(watch=True, max_buffer=200, send_timeout=5.0, close_timeout=1.0)
    virtual.pause_reading()
    virtual.run(0.6)
    assert len(pongs(virtual)) == 2
    if end == "close":
        virtual.conn.outgoing.on_next(Close(4001))
    elif end == "lost":
        virtual.peer.lost()
        virtual.settle()
        virtual.conn.outgoing.on_next("reveals the loss")
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


def test_no_pong_follows_our_close_frame() -> None:
    """No pong follows our close frame (RFC 6455, section 5.5.1), and pauses have no effect."""
    virtual = VirtualSession(watch=True, close_timeout=100.0)
    virtual.pause_reading()
    virtual.run(0.3)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.conn.flow.pause()
    virtual.run(50)
    assert virtual.close_frame.code == 4001
    assert len(pongs(virtual)) == 1


def test_pongs_are_not_counted_as_messages() -> None:
    """Pongs are not counted in `stats` and take no room in the buffer."""
    virtual = VirtualSession(watch=True)
    virtual.pause_reading()
    virtual.run(10)
    assert len(pongs(virtual)) == 40
    assert (virtual.stats.sent_messages, virtual.stats.sent_bytes, virtual.conn.flow.buffered) == (
        0,
        0,
        0,
    )


def test_heartbeat_pings_and_keep_alive_pongs_coexist() -> None:
    """While paused, both pings and pongs are sent, and no pong is required of the peer."""
    virtual = VirtualSession(watch=True, heartbeat=1.0)
    virtual.pause_reading()
    virtual.run(4.1)
    assert [frame.at for frame in virtual.frames(Opcode.PING)] == [1, 2, 3, 4]
    assert len(pongs(virtual)) == 16
    assert virtual.closed.values == []


@pytest.mark.parametrize(("lateness", "expected"), [(0.01, 0), (0.05, 1)])
def test_a_busy_loop_sends_a_keep_alive_pong(lateness: float, expected: int) -> None:
    """A busy loop sends a pong, as the answer to a ping may be delayed behind messages."""
    setup = KeepAliveSetup(paused=False)
    setup.keep_alive.start()
    setup.clock.sleep(0.25 + lateness)  # no due action runs meanwhile
    setup.clock.turn()
    assert len(setup.pongs) == expected


def test_the_first_message_starts_the_check_for_a_busy_loop() -> None:
    """The first message starts the check for a busy loop; the end stops it."""
    virtual = VirtualSession(watch=True)
    virtual.peer.message("a")
    virtual.clock.sleep(0.5)
    virtual.clock.turn()
    assert len(pongs(virtual)) == 1
    virtual.peer.close(1000)
    virtual.clock.sleep(0.5)
    virtual.clock.turn()
    assert len(pongs(virtual)) == 1


async def test_a_ping_returns_the_round_trip_time() -> None:
    """`flow.ping()` sends a ping at once, and returns the seconds until its pong."""
    virtual = VirtualSession(watch=True)
    waiting = asyncio.ensure_future(virtual.conn.flow.ping())
    await asyncio.sleep(0)
    [ping] = virtual.frames(Opcode.PING)
    virtual.run(0.25)
    virtual.peer.pong(b"of another")
    virtual.peer.pong(b"7")
    await asyncio.sleep(0)
    assert not waiting.done()
    virtual.peer.pong(ping.payload)
    assert await waiting == 0.25


async def test_a_pong_answers_all_pings_before_its_own() -> None:
    """A peer may answer only the latest of several pings, whether yours or of the heartbeat."""
    virtual = with_heartbeat()
    latency = virtual.watch(virtual.conn.flow.latency)
    first = asyncio.ensure_future(virtual.conn.flow.ping())
    second = asyncio.ensure_future(virtual.conn.flow.ping())
    await asyncio.sleep(0)
    early, _ = virtual.frames(Opcode.PING)
    virtual.run(INTERVAL)
    virtual.peer.pong(early.payload)
    assert await first == INTERVAL
    assert not second.done()
    answer_ping(virtual)
    assert await second == INTERVAL
    assert latency.values == [0]


async def test_a_ping_fails_when_the_connection_ends() -> None:
    """A ping without a pong, and one after the end, raise ConnectionClosed."""
    virtual = VirtualSession(watch=True)
    waiting = asyncio.ensure_future(virtual.conn.flow.ping())
    await asyncio.sleep(0)
    virtual.peer.close(4001)
    virtual.settle()
    for late in (waiting, virtual.conn.flow.ping()):
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(late, 10)
        assert caught.value.close == Close(4001)


async def test_a_ping_waits_for_the_end_after_a_loss() -> None:
    """If TCP is lost for sending, a ping fails once the messages before the loss are delivered."""
    virtual = VirtualSession(watch=True)
    virtual.session.on_unsendable()
    waiting = asyncio.ensure_future(virtual.conn.flow.ping())
    await asyncio.sleep(0)
    virtual.session.on_lost()
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(waiting, 10)
    assert virtual.frames(Opcode.PING) == []
