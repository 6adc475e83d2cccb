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
from support.virtual.session import VirtualSession

KIB = 1024


def fail(*_: object) -> NoReturn:
    raise ValueError("mine")


def test_a_hold_stops_reading_until_it_is_disposed() -> None:
    """While any lives; disposing one twice frees no other."""
    virtual = VirtualSession(watch=True)
    first, second = virtual.conn.flow.pause(), virtual.conn.flow.pause()
    virtual.peer.message("a")
    first.dispose()
    first.dispose()
    virtual.settle()
    assert virtual.incoming.values == []
    second.dispose()
    virtual.settle()
    assert virtual.incoming.values == ["a"]
    assert [call.name for call in virtual.transport.calls] == ["pause", "resume"]


def test_a_hold_takes_effect_before_the_next_frame() -> None:
    """Also if it is taken in the middle of a notification."""
    virtual = VirtualSession(watch=True)
    holds: list[Any] = []
    virtual.conn.incoming.subscribe(lambda _: holds.append(virtual.conn.flow.pause()))
    for message in "abc":
        virtual.peer.message(message)
    assert virtual.incoming.values == ["a"]
    holds.pop().dispose()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b"]


@pytest.mark.parametrize("overrun", [1, 2])
def test_frames_that_were_on_their_way_wait_in_order(overrun: int) -> None:
    """On a wire that cannot stop at once; nothing is lost, and nothing overtakes."""
    virtual = VirtualSession(watch=True, overrun=overrun)
    hold = virtual.conn.flow.pause()
    virtual.peer.message("a", "b", "c", "d")
    assert virtual.incoming.values == []
    hold.dispose()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b", "c", "d"]
    assert virtual.dropped == {}


def test_a_hold_is_a_context_manager() -> None:
    """For the time of a `with`."""
    virtual = VirtualSession(watch=True)
    with virtual.conn.flow.pause():
        assert not virtual.transport.reading
    assert virtual.transport.reading


def test_a_hold_may_be_disposed_from_any_thread() -> None:
    """It lets go on the session's thread."""
    virtual = VirtualSession(watch=True)
    hold = virtual.conn.flow.pause()
    thread = threading.Thread(target=hold.dispose)
    thread.start()
    thread.join()
    assert not virtual.transport.reading
    virtual.settle()
    assert virtual.transport.reading


def test_the_time_of_pauses_is_counted() -> None:
    """In seconds, the present one included."""
    virtual = VirtualSession(watch=True)
    hold = virtual.conn.flow.pause()
    virtual.run(2)
    assert virtual.stats.paused == 2
    hold.dispose()
    virtual.run(3)
    assert virtual.stats.paused == 2
    for _ in range(2):
        with virtual.conn.flow.pause():
            virtual.run(0.1)
        with virtual.conn.flow.pause():
            virtual.run(0.7)
    assert (
        repr(virtual.stats.paused) == "3.6"
    )  # and reads well in a cell, whatever floats add up to


def test_writable_tells_whether_the_peer_keeps_up() -> None:
    """True at first, False once something waits; who comes late is told the present."""
    virtual = VirtualSession(watch=True)
    writable = virtual.watch(virtual.conn.flow.writable)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    late = virtual.watch(virtual.conn.flow.writable)
    virtual.peer.go()
    virtual.peer.lost()
    virtual.settle()
    assert writable.values == [True, False, True]
    assert late.values == [False, True]
    assert writable.ends == late.ends == [None]


def test_writable_is_told_once_per_change() -> None:
    """A wire that says the same twice says nothing new."""
    virtual = VirtualSession(watch=True)
    writable = virtual.watch(virtual.conn.flow.writable)
    for state in (True, False, False, True, True):
        virtual.session.on_writable(state)
    assert writable.values == [True, False, True]


def test_buffered_counts_what_the_kernel_has_not_taken() -> None:
    """In bytes: what waits here and what waits in the transport."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("12345")
    assert virtual.conn.flow.buffered == 5
    virtual.conn.outgoing.on_next("123")
    assert virtual.conn.flow.buffered == 8
    virtual.peer.go()
    assert virtual.conn.flow.buffered == 0


def test_above_high_water_reading_pauses_and_goes_on_below_half_of_it() -> None:
    """So a peer that sends and does not read is not read for ever, and nothing flutters."""
    virtual = VirtualSession(watch=True, high_water=4 * KIB)
    virtual.peer.stop()
    for _ in range(4):
        virtual.conn.outgoing.on_next("x" * KIB)
    assert virtual.transport.reading, "at the mark, not above it"
    virtual.conn.outgoing.on_next("x" * KIB)
    assert not virtual.transport.reading
    for _ in range(3):
        virtual.peer.go(0)
    assert virtual.conn.flow.buffered == 2 * KIB
    assert virtual.transport.times("resume") == [0]
    assert [call.name for call in virtual.transport.calls] == ["pause", "resume"]


def test_between_half_and_high_water_nothing_changes() -> None:
    """Neither way: that is the hysteresis."""
    virtual = VirtualSession(watch=True, high_water=4 * KIB)
    virtual.peer.stop()
    for _ in range(5):
        virtual.conn.outgoing.on_next("x" * KIB)
    virtual.peer.go(0)
    virtual.peer.go(0)
    assert virtual.conn.flow.buffered == 3 * KIB
    assert not virtual.transport.reading
    virtual.peer.go(0)
    assert virtual.transport.reading
    virtual.conn.outgoing.on_next("x" * KIB)
    virtual.conn.outgoing.on_next("x" * KIB)
    assert virtual.conn.flow.buffered == 4 * KIB
    assert virtual.transport.reading


def test_what_came_in_while_the_peer_was_behind_is_delivered_when_it_catches_up() -> None:
    """The message that was on its way is not forgotten."""
    virtual = VirtualSession(watch=True, high_water=KIB, overrun=1)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    virtual.peer.message("on its way")
    assert virtual.incoming.values == []
    virtual.peer.go()
    virtual.settle()
    assert virtual.incoming.values == ["on its way"]


async def test_drained_waits_until_the_peer_keeps_up() -> None:
    """At once where it does."""
    virtual = VirtualSession(watch=True)
    await virtual.conn.flow.drained()
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(virtual.conn.flow.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    virtual.peer.go()
    await asyncio.wait_for(waiting, 10)


async def test_drained_raises_when_the_connection_is_over() -> None:
    """For those who wait, and for those who ask later."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(virtual.conn.flow.drained())
    await asyncio.sleep(0)
    virtual.peer.close(4001)
    for late in (waiting, virtual.conn.flow.drained()):
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(late, 10)
        assert caught.value.close == Close(4001)


def test_one_who_raises_on_writable_is_a_fault_and_starves_nobody() -> None:
    """As everywhere."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.flow.writable.pipe(ops.skip(1)).subscribe(fail)
    other = virtual.watch(virtual.conn.flow.writable)
    virtual.session.on_writable(False)
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
    virtual = VirtualSession(watch=True, high_water=4 * KIB, max_buffer=100 * KIB, overflow=policy)
    virtual.session.on_writable(False)
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
        virtual.transport.buffered = buffered - virtual.session.flow.outbox.bytes
        virtual.transport.writable = False
        virtual.conn.outgoing.on_next("")  # when something is sent, the marks are looked at
        assert virtual.transport.reading is reading, buffered


def test_a_hold_and_a_peer_that_is_behind_add_up() -> None:
    """Either keeps reading paused."""
    virtual = VirtualSession(watch=True, high_water=KIB)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    hold = virtual.conn.flow.pause()
    virtual.peer.go()
    assert not virtual.transport.reading
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    hold.dispose()
    assert not virtual.transport.reading
    virtual.peer.go()
    assert virtual.transport.reading


def test_an_echo_stops_reading_a_peer_that_never_reads() -> None:
    """So what waits is bounded by the mark and one message, however much the peer sends."""
    virtual = VirtualSession(lambda conn: conn.incoming, high_water=4 * KIB, send_timeout=1e6)
    virtual.peer.stop()
    for _ in range(1000):
        virtual.peer.message("x" * KIB)
    assert virtual.conn.flow.buffered == 5 * KIB
    assert virtual.stats.received_messages == 5
    virtual.peer.go()
    virtual.settle()
    virtual.run(1)
    assert virtual.stats.sent_messages == 1000
    assert virtual.dropped == {}


def test_what_was_conflated_lowers_the_mark() -> None:
    """A large message that a small one replaces waits no more."""
    virtual = VirtualSession(watch=True, high_water=KIB, overflow=latest())
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    assert not virtual.transport.reading
    virtual.conn.outgoing.on_next("x")
    assert virtual.transport.reading


def test_once_closing_has_begun_no_mark_stops_reading() -> None:
    """The answer is waited for."""
    virtual = VirtualSession(watch=True, high_water=KIB)
    virtual.peer.stop()
    for _ in range(4):
        virtual.conn.outgoing.on_next("x" * KIB)
    hold = virtual.conn.flow.pause()
    assert not virtual.transport.reading
    virtual.conn.outgoing.on_next(Close(4001))
    assert virtual.transport.reading
    hold.dispose()
    virtual.conn.flow.pause()
    assert virtual.transport.reading


def test_a_hold_of_a_connection_that_is_over_does_nothing() -> None:
    """Neither taking it nor letting go, from whatever thread."""
    virtual = VirtualSession(watch=True)
    before = virtual.conn.flow.pause()
    virtual.peer.lost()
    virtual.session.on_lost()
    virtual.settle()
    after = virtual.conn.flow.pause()
    for hold in (before, after):
        thread = threading.Thread(target=hold.dispose)
        thread.start()
        thread.join()
        hold.dispose()
    virtual.settle()
    assert virtual.transport.reading
    assert virtual.stats.paused == 0


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
    virtual = VirtualSession(watch=True)
    virtual.peer.close(1000)
    virtual.settle()
    for _ in range(2):
        for stream in (virtual.conn.flow.writable, virtual.conn.flow.latency):
            assert virtual.watch(stream).ends == [None]


def test_writable_tells_the_present_to_who_asks_first_while_the_peer_is_behind() -> None:
    """It is looked at late, and still right."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    writable = virtual.watch(virtual.conn.flow.writable)
    virtual.peer.go()
    assert writable.values == [False, True]


def test_a_connection_says_how_its_flow_is() -> None:
    """In its repr."""
    virtual = VirtualSession(watch=True)
    assert repr(virtual.conn.flow) == "<Flow flowing in=0 out=0 buffered=0>"
    hold = virtual.conn.flow.pause()
    assert "paused" in repr(virtual.conn.flow)
    hold.dispose()
    virtual.peer.close()
    assert "closed 1005" in repr(virtual.conn.flow)


async def test_drained_waits_for_each_who_waits() -> None:
    """All are let go at once, and one that is cancelled meanwhile harms none."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    waiting = [asyncio.ensure_future(virtual.conn.flow.drained()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    assert not waiting[0].done()
    virtual.peer.go()
    await asyncio.wait_for(asyncio.gather(waiting[0], waiting[2]), 10)
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]


async def test_drained_raises_what_a_send_timeout_ended() -> None:
    """A producer learns of the end where it waits."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(virtual.conn.flow.drained())
    await asyncio.sleep(0)
    virtual.run(20)
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(waiting, 10)
    assert caught.value.close == Close(1006)


async def test_of_many_producers_that_wait_none_meets_the_bound() -> None:
    """Each is let go when the peer keeps up at that moment, not when it did a moment ago."""
    virtual = VirtualSession(watch=True, max_buffer=300)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("first")

    async def produce(name: str) -> None:
        await virtual.conn.flow.drained()
        virtual.conn.outgoing.on_next(name)

    producing = [asyncio.ensure_future(produce(f"{number}")) for number in range(20)]
    async with asyncio.timeout(10):
        while not all(task.done() for task in producing):
            await asyncio.sleep(0)
            virtual.peer.go(0)
    await asyncio.gather(*producing, return_exceptions=True)
    virtual.peer.go()
    assert virtual.closed.values == []
    assert sorted(virtual.messages[1:], key=int) == [f"{number}" for number in range(20)]


async def test_a_producer_that_waits_meets_no_bound() -> None:
    """However small the buffer is, and nothing is dropped."""
    virtual = VirtualSession(watch=True, max_buffer=1)
    virtual.peer.stop()

    async def produce() -> None:
        for number in range(50):
            virtual.conn.outgoing.on_next(f"{number}")
            await virtual.conn.flow.drained()

    producing = asyncio.ensure_future(produce())
    async with asyncio.timeout(10):
        while not producing.done():
            await asyncio.sleep(0)
            virtual.peer.go(0)
    await producing
    assert virtual.messages == [f"{number}" for number in range(50)]
    assert virtual.dropped == {}


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
