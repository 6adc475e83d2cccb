"""Flow control: when reading waits, what may wait to go out, and for how long."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops

from rxws import Close, ConnectionClosed
from rxws._core.streams import Dispatcher
from rxws._session.flow import FlowControl
from rxws._session.options import Options
from rxws._session.read_gate import Hold, ReadGate
from rxws.overflow import Overflow, latest
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport
from support.virtual.session import Rig

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


# --- flow control: holds, marks and deadlines where they meet ----------------------------------


POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest()]


def raise_assertion(error: Exception | None = None) -> NoReturn:
    raise AssertionError(error)


class PausingGate:
    """A gate, and how often it told of a pause."""

    def __init__(self) -> None:
        self.transport = FakeTransport(Clock())
        self.pauses = 0
        self.gate = ReadGate(self.transport, self.transport.scheduler)
        self.gate.on_paused = self._on_paused

    def _on_paused(self) -> None:
        assert not self.transport.reading
        self.pauses += 1

    @property
    def calls(self) -> list[str]:
        return [call.name for call in self.transport.calls]


def test_a_gate_tells_of_each_pause_once() -> None:
    """With its first hold, when reading is paused already."""
    setup = PausingGate()
    for _ in range(2):
        setup.gate.hold("a")
        setup.gate.hold("a")
        setup.gate.hold("b")
        setup.gate.release("a")
        setup.gate.release("b")
    assert setup.pauses == 2
    assert setup.calls == ["pause", "resume"] * 2


def test_gates_do_not_share_their_holds() -> None:
    """An open gate stays open when another is held."""
    held, other = PausingGate(), PausingGate()
    held.gate.hold("a")
    assert held.gate.held
    assert not other.gate.held
    other.gate.release("a")
    assert held.gate.held
    assert other.calls == []


def test_a_gate_that_is_open_for_good_tells_of_no_pause() -> None:
    """There is none."""
    setup = PausingGate()
    setup.gate.open_permanently()
    setup.gate.hold("a")
    assert not setup.gate.held
    assert (setup.pauses, setup.calls, setup.gate.paused) == (0, [], 0.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_high_water_has_hysteresis_by_every_policy(policy: Overflow) -> None:
    """Paused above it, resumed at half of it, and in between as it was."""
    rig = Rig(watch=True, high_water=4 * KIB, max_buffer=100 * KIB, overflow=policy)
    rig.session.on_writable(False)
    for buffered, reading in (
        (4 * KIB, True),
        (4 * KIB + 1, False),
        (4 * KIB, False),
        (2 * KIB + 1, False),
        (2 * KIB, True),
        (2 * KIB + 1, True),
        (4 * KIB, True),
        (5 * KIB, False),
        (0, True),
    ):
        rig.transport.buffered = buffered - rig.session.flow.outbox.bytes
        rig.transport.writable = False
        rig.conn.outgoing.on_next("")  # when something is sent, the marks are looked at
        assert rig.transport.reading is reading, buffered


def test_a_hold_and_a_peer_that_is_behind_add_up() -> None:
    """Either keeps reading paused."""
    rig = Rig(watch=True, high_water=KIB)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x" * 2 * KIB)
    hold = rig.conn.flow.pause()
    rig.peer.go()
    assert not rig.transport.reading
    rig.peer.stop()
    rig.conn.outgoing.on_next("x" * 2 * KIB)
    hold.dispose()
    assert not rig.transport.reading
    rig.peer.go()
    assert rig.transport.reading


def test_an_echo_stops_reading_a_peer_that_never_reads() -> None:
    """So what waits is bounded by the mark and one message, however much the peer sends."""
    rig = Rig(lambda conn: conn.incoming, high_water=4 * KIB, send_timeout=1e6)
    rig.peer.stop()
    for _ in range(1000):
        rig.peer.message("x" * KIB)
    assert rig.conn.flow.buffered == 5 * KIB
    assert rig.stats.received_messages == 5
    rig.peer.go()
    rig.settle()
    rig.run(1)
    assert rig.stats.sent_messages == 1000
    assert rig.dropped == {}


def test_what_was_conflated_lowers_the_mark() -> None:
    """A large message that a small one replaces waits no more."""
    rig = Rig(watch=True, high_water=KIB, overflow=latest())
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    rig.conn.outgoing.on_next("x" * 2 * KIB)
    assert not rig.transport.reading
    rig.conn.outgoing.on_next("x")
    assert rig.transport.reading


def test_once_closing_has_begun_no_mark_stops_reading() -> None:
    """The answer is waited for."""
    rig = Rig(watch=True, high_water=KIB)
    rig.peer.stop()
    for _ in range(4):
        rig.conn.outgoing.on_next("x" * KIB)
    hold = rig.conn.flow.pause()
    assert not rig.transport.reading
    rig.conn.outgoing.on_next(Close(4001))
    assert rig.transport.reading
    hold.dispose()
    rig.conn.flow.pause()
    assert rig.transport.reading


def test_a_hold_of_a_connection_that_is_over_does_nothing() -> None:
    """Neither taking it nor letting go, from whatever thread."""
    rig = Rig(watch=True)
    before = rig.conn.flow.pause()
    rig.peer.lost()
    rig.session.on_lost()
    rig.settle()
    after = rig.conn.flow.pause()
    for hold in (before, after):
        thread = threading.Thread(target=hold.dispose)
        thread.start()
        thread.join()
        hold.dispose()
    rig.settle()
    assert rig.transport.reading
    assert rig.stats.paused == 0


def test_a_hold_is_let_go_though_nobody_waits_for_that() -> None:
    """Who is told of it is set when there is anything to deliver."""
    transport = FakeTransport(Clock())
    flow = FlowControl(
        transport,
        transport.scheduler,
        Options(),
        Dispatcher(),
        raise_assertion,
        lambda: raise_assertion(),
        lambda: raise_assertion(),
    )
    with flow.pause():
        assert not transport.reading
    assert transport.reading


def test_writable_and_latency_of_a_connection_that_is_over_complete() -> None:
    """For who asks for the first time then, too."""
    rig = Rig(watch=True)
    rig.peer.close(1000)
    rig.settle()
    for _ in range(2):
        for stream in (rig.conn.flow.writable, rig.conn.flow.latency):
            assert rig.watch(stream).ends == [None]


def test_writable_tells_the_present_to_who_asks_first_while_the_peer_is_behind() -> None:
    """It is looked at late, and still right."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    writable = rig.watch(rig.conn.flow.writable)
    rig.peer.go()
    assert writable.values == [False, True]


def test_a_connection_says_how_its_flow_is() -> None:
    """In its repr."""
    rig = Rig(watch=True)
    assert repr(rig.conn.flow) == "<Flow flowing in=0 out=0 buffered=0>"
    hold = rig.conn.flow.pause()
    assert "paused" in repr(rig.conn.flow)
    hold.dispose()
    rig.peer.close()
    assert "closed 1005" in repr(rig.conn.flow)


async def test_drained_waits_for_each_who_waits() -> None:
    """All are let go at once, and one that is cancelled meanwhile harms none."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    waiting = [asyncio.ensure_future(rig.conn.flow.drained()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    assert not waiting[0].done()
    rig.peer.go()
    await asyncio.wait_for(asyncio.gather(waiting[0], waiting[2]), 10)
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]


async def test_drained_raises_what_a_send_timeout_ended() -> None:
    """A producer learns of the end where it waits."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(rig.conn.flow.drained())
    await asyncio.sleep(0)
    rig.run(20)
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(waiting, 10)
    assert caught.value.close == Close(1006)


async def test_of_many_producers_that_wait_none_meets_the_bound() -> None:
    """Each is let go when the peer keeps up at that moment, not when it did a moment ago."""
    rig = Rig(watch=True, max_buffer=300)
    rig.peer.stop()
    rig.conn.outgoing.on_next("first")

    async def produce(name: str) -> None:
        await rig.conn.flow.drained()
        rig.conn.outgoing.on_next(name)

    producing = [asyncio.ensure_future(produce(f"{number}")) for number in range(20)]
    async with asyncio.timeout(10):
        while not all(task.done() for task in producing):
            await asyncio.sleep(0)
            rig.peer.go(0)
    await asyncio.gather(*producing, return_exceptions=True)
    rig.peer.go()
    assert rig.closed.values == []
    assert sorted(rig.messages[1:], key=int) == [f"{number}" for number in range(20)]


async def test_a_producer_that_waits_meets_no_bound() -> None:
    """However small the buffer is, and nothing is dropped."""
    rig = Rig(watch=True, max_buffer=1)
    rig.peer.stop()

    async def produce() -> None:
        for number in range(50):
            rig.conn.outgoing.on_next(f"{number}")
            await rig.conn.flow.drained()

    producing = asyncio.ensure_future(produce())
    async with asyncio.timeout(10):
        while not producing.done():
            await asyncio.sleep(0)
            rig.peer.go(0)
    await producing
    assert rig.messages == [f"{number}" for number in range(50)]
    assert rig.dropped == {}


# --- holds on reading --------------------------------------------------------------------------


@dataclass
class Setup:
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.transport = FakeTransport(self.clock)
        self.gate = ReadGate(self.transport, self.clock)

    @property
    def calls(self) -> list[str]:
        return [call.name for call in self.transport.calls]


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_reading_pauses_with_the_first_hold_and_goes_on_with_the_last(setup: Setup) -> None:
    """However many there are, the wire is told twice."""
    setup.gate.hold("a")
    setup.gate.hold("b")
    assert setup.calls == ["pause"]
    setup.gate.release("a")
    assert setup.gate.held
    setup.gate.release("b")
    assert not setup.gate.held
    assert setup.calls == ["pause", "resume"]


def test_one_holds_once(setup: Setup) -> None:
    """Holding twice and letting go once lets go."""
    setup.gate.hold("a")
    setup.gate.hold("a")
    setup.gate.release("a")
    assert not setup.gate.held
    setup.gate.release("a")
    assert setup.calls == ["pause", "resume"]


def test_it_knows_who_else_holds(setup: Setup) -> None:
    """Who waits for the others need not wait for itself."""
    setup.gate.hold("a")
    assert not setup.gate.held_besides("a")
    assert setup.gate.held_besides("b")
    setup.gate.hold("b")
    assert setup.gate.held_besides("a")


def test_once_closing_has_begun_nobody_stops_reading(setup: Setup) -> None:
    """The peer's answer is waited for."""
    setup.gate.hold("a")
    setup.gate.open_permanently()
    assert setup.calls == ["pause", "resume"]
    setup.gate.hold("b")
    setup.gate.release("a")
    setup.gate.open_permanently()
    assert not setup.gate.held
    assert setup.calls == ["pause", "resume"]


def test_the_time_of_pauses_adds_up(setup: Setup) -> None:
    """Of finished ones, and of the one that lasts."""
    assert setup.gate.paused == 0
    setup.gate.hold("a")
    setup.clock.run(2)
    setup.gate.hold("b")
    setup.clock.run(1)
    assert setup.gate.paused == 3
    setup.gate.release("a")
    setup.gate.release("b")
    setup.clock.run(10)
    assert setup.gate.paused == 3
    setup.gate.hold("a")
    setup.clock.run(0.5)
    setup.gate.open_permanently()
    setup.clock.run(10)
    assert setup.gate.paused == 3.5


def test_a_hold_lets_go_when_it_is_disposed() -> None:
    """It tells by itself who it is; it is a context manager, as every Disposable."""
    released: list[object] = []
    with Hold(released.append) as hold:
        assert released == []
    assert released == [hold]
