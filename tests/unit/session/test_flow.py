"""Flow control: pauses of reading, high-water mark, `writable` and `drained`."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops

from rxws import Close, ConnectionClosed
from rxws._core.streams.stream import Dispatcher
from rxws._session.flow import FlowControl
from rxws._session.options import Options
from rxws._session.read_gate import HIGH_WATER, UNDELIVERED, Hold, ReadGate
from rxws._session.send_buffer import SendBuffer
from rxws.overflow import Overflow, latest
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport
from support.virtual.session import VirtualSession

KIB = 1024


def raise_error(*_: object) -> NoReturn:
    raise ValueError("mine")


def test_a_pause_stops_delivery_until_it_is_disposed() -> None:
    """Delivery stops until every pause is disposed; disposing one twice ends no other."""
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
    assert virtual.transport.calls == [], "reading goes on"


def test_a_pause_takes_effect_before_the_next_frame() -> None:
    """A pause takes effect before the next frame, also from within a notification."""
    virtual = VirtualSession(watch=True)
    pauses: list[Any] = []
    virtual.conn.incoming.subscribe(lambda _: pauses.append(virtual.conn.flow.pause()))
    for message in "abc":
        virtual.peer.message(message)
    assert virtual.incoming.values == ["a"]
    pauses.pop().dispose()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b"]


@pytest.mark.parametrize("overrun", [1, 2])
def test_frames_that_arrive_during_a_pause_are_kept_in_order(overrun: int) -> None:
    """Frames that the transport delivers during a pause are kept, and delivered in order."""
    virtual = VirtualSession(watch=True, overrun=overrun)
    pause = virtual.conn.flow.pause()
    virtual.peer.message("a", "b", "c", "d")
    assert virtual.incoming.values == []
    pause.dispose()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b", "c", "d"]
    assert virtual.dropped == {}


def test_a_pause_is_a_context_manager() -> None:
    """A pause can be used in a `with` statement."""
    virtual = VirtualSession(watch=True)
    with virtual.conn.flow.pause():
        assert virtual.session.gate.held
    assert not virtual.session.gate.held


def test_a_pause_may_be_disposed_from_any_thread() -> None:
    """A pause disposed in another thread ends on the session's thread."""
    virtual = VirtualSession(watch=True)
    pause = virtual.conn.flow.pause()
    thread = threading.Thread(target=pause.dispose)
    thread.start()
    thread.join()
    assert virtual.session.gate.held
    virtual.settle()
    assert not virtual.session.gate.held


def test_stats_count_the_seconds_paused() -> None:
    """`stats.paused` counts the seconds of all pauses, the current one included."""
    virtual = VirtualSession(watch=True)
    pause = virtual.conn.flow.pause()
    virtual.run(2)
    assert virtual.stats.paused == 2
    pause.dispose()
    virtual.run(3)
    assert virtual.stats.paused == 2
    for _ in range(2):
        with virtual.conn.flow.pause():
            virtual.run(0.1)
        with virtual.conn.flow.pause():
            virtual.run(0.7)
    assert (
        repr(virtual.stats.paused) == "3.6"
    )  # rounded, so that a notebook does not show 3.6000000000000005


def test_writable_emits_whether_the_peer_keeps_up() -> None:
    """`writable` emits False while something is buffered, and the current value on subscribe."""
    virtual = VirtualSession(watch=True)
    writable = virtual.watch(virtual.conn.flow.writable)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    late = virtual.watch(virtual.conn.flow.writable)
    virtual.peer.go()
    virtual.peer.lost()
    virtual.settle()
    assert writable.values == [True, False, True]
    assert late.values == [False, True]
    assert writable.ends == late.ends == [None]


def test_writable_emits_only_changes() -> None:
    """`writable` emits only changes."""
    virtual = VirtualSession(watch=True)
    writable = virtual.watch(virtual.conn.flow.writable)
    for state in (True, False, False, True, True):
        virtual.session.on_writable(state)
    assert writable.values == [True, False, True]


def test_buffered_counts_bytes_here_and_in_the_transport() -> None:
    """`buffered` counts the bytes buffered by the session and by the transport."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("12345")
    assert virtual.conn.flow.buffered == 5
    virtual.conn.outgoing.on_next("123")
    assert virtual.conn.flow.buffered == 8
    virtual.peer.go()
    assert virtual.conn.flow.buffered == 0


def test_delivery_is_held_above_high_water_until_half_of_it() -> None:
    """Delivery is held above `high_water`, and resumes at half of it."""
    virtual = VirtualSession(watch=True, high_water=4 * KIB)
    virtual.peer.stop()
    for _ in range(4):
        virtual.conn.outgoing.on_next("x" * KIB)
    assert not virtual.session.gate.held, "at the mark, not above it"
    virtual.conn.outgoing.on_next("x" * KIB)
    assert virtual.session.gate.held
    for _ in range(3):
        virtual.peer.go(0)
    assert virtual.conn.flow.buffered == 2 * KIB
    assert not virtual.session.gate.held


def test_between_half_and_high_water_nothing_changes() -> None:
    """Between half of `high_water` and `high_water` delivery is neither held nor resumed."""
    virtual = VirtualSession(watch=True, high_water=4 * KIB)
    virtual.peer.stop()
    for _ in range(5):
        virtual.conn.outgoing.on_next("x" * KIB)
    virtual.peer.go(0)
    virtual.peer.go(0)
    assert virtual.conn.flow.buffered == 3 * KIB
    assert virtual.session.gate.held
    virtual.peer.go(0)
    assert not virtual.session.gate.held
    virtual.conn.outgoing.on_next("x" * KIB)
    virtual.conn.outgoing.on_next("x" * KIB)
    assert virtual.conn.flow.buffered == 4 * KIB
    assert not virtual.session.gate.held


def test_a_message_that_arrives_above_high_water_is_delivered_later() -> None:
    """A message that arrives above `high_water` is delivered when the peer catches up."""
    virtual = VirtualSession(watch=True, high_water=KIB, overrun=1)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    virtual.peer.message("on its way")
    assert virtual.incoming.values == []
    virtual.peer.go()
    virtual.settle()
    assert virtual.incoming.values == ["on its way"]


async def test_drained_waits_until_the_peer_keeps_up() -> None:
    """`drained()` waits until the peer has caught up, and returns at once if it has."""
    virtual = VirtualSession(watch=True)
    await virtual.conn.flow.drained()
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(virtual.conn.flow.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    virtual.peer.go()
    await asyncio.wait_for(waiting, 10)


async def test_drained_raises_when_the_connection_ends() -> None:
    """`drained()` raises ConnectionClosed when the connection ends, and after it."""
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


def test_a_subscriber_of_writable_that_raises_starves_no_other() -> None:
    """If a subscriber of `writable` raises, it is a fault, and the others get the value."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.flow.writable.pipe(ops.skip(1)).subscribe(raise_error)
    other = virtual.watch(virtual.conn.flow.writable)
    virtual.session.on_writable(False)
    assert other.values == [True, False]
    assert [type(error) for error in errors.values] == [ValueError]


# --- pauses, high-water mark and timeouts combined --------------------------------------------


POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest()]


def raise_assertion(error: Exception | None = None) -> NoReturn:
    raise AssertionError(error)


class PausingGate:
    """A gate that counts its pauses."""

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


def test_a_gate_notifies_once_per_pause() -> None:
    """A gate calls `on_paused` once per pause, when reading is paused already."""
    setup = PausingGate()
    for _ in range(2):
        setup.gate.pause()
        setup.gate.pause()
        setup.gate.resume()
        setup.gate.resume()
    assert setup.pauses == 2
    assert setup.calls == ["pause", "resume"] * 2


def test_gates_share_no_holds() -> None:
    """Holding one gate leaves another one open."""
    held, other = PausingGate(), PausingGate()
    held.gate.hold("a")
    assert held.gate.held
    assert not other.gate.held
    other.gate.release("a")
    assert held.gate.held
    assert other.calls == []


def test_a_permanently_open_gate_cannot_be_paused() -> None:
    """A permanently open gate cannot be paused."""
    setup = PausingGate()
    setup.gate.open_permanently()
    setup.gate.hold("a")
    setup.gate.pause()
    assert not setup.gate.held
    assert not setup.gate.paused
    assert (setup.pauses, setup.calls, setup.gate.held_seconds) == (0, [], 0.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_high_water_has_hysteresis_with_every_policy(policy: Overflow) -> None:
    """With every policy delivery is held above `high_water`, and resumes at half of it."""
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
        queue = virtual.session.send_buffer.queue
        virtual.transport.buffered = buffered - (queue.bytes if queue else 0)
        virtual.transport.writable = False
        virtual.conn.outgoing.on_next("")  # each send compares `buffered` with `high_water`
        assert virtual.session.gate.held is not reading, buffered


def test_delivery_resumes_after_both_a_pause_and_high_water() -> None:
    """Delivery is held while there is a pause or the peer is behind."""
    virtual = VirtualSession(watch=True, high_water=KIB)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    pause = virtual.conn.flow.pause()
    virtual.peer.go()
    assert virtual.session.gate.held
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    pause.dispose()
    assert virtual.session.gate.held
    virtual.peer.go()
    assert not virtual.session.gate.held


def test_an_echo_stops_reading_a_peer_that_never_reads() -> None:
    """An echo stops reading from a peer that never reads, so the buffer is bounded."""
    virtual = VirtualSession(lambda conn: conn.incoming, high_water=4 * KIB, send_timeout=1e6)
    virtual.peer.stop()
    for _ in range(1000):
        virtual.peer.message("x" * KIB)
    assert virtual.conn.flow.buffered == 5 * KIB
    assert virtual.stats.received_messages == 9, "five that it has sent, four in the read-ahead"
    virtual.peer.go()
    virtual.settle()
    virtual.run(1)
    assert virtual.stats.sent_messages == 1000
    assert virtual.dropped == {}


def test_a_conflated_message_lowers_buffered() -> None:
    """Replacing a large message by a small one resumes delivery."""
    virtual = VirtualSession(watch=True, high_water=KIB, overflow=latest())
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    virtual.conn.outgoing.on_next("x" * 2 * KIB)
    assert virtual.session.gate.held
    virtual.conn.outgoing.on_next("x")
    assert not virtual.session.gate.held


def test_neither_high_water_nor_pauses_stop_delivery_while_closing() -> None:
    """Once we close, neither `high_water` nor a pause stops delivery."""
    virtual = VirtualSession(watch=True, high_water=KIB)
    virtual.peer.stop()
    for _ in range(4):
        virtual.conn.outgoing.on_next("x" * KIB)
    pause = virtual.conn.flow.pause()
    assert virtual.session.gate.held
    virtual.conn.outgoing.on_next(Close(4001))
    assert not virtual.session.gate.held
    pause.dispose()
    virtual.conn.flow.pause()
    assert not virtual.session.gate.held


def test_pauses_have_no_effect_after_the_end() -> None:
    """After the end, neither a new pause nor disposing an old one has an effect."""
    virtual = VirtualSession(watch=True)
    before = virtual.conn.flow.pause()
    virtual.peer.lost()
    virtual.session.on_lost()
    virtual.settle()
    after = virtual.conn.flow.pause()
    for pause in (before, after):
        thread = threading.Thread(target=pause.dispose)
        thread.start()
        thread.join()
        pause.dispose()
    virtual.settle()
    assert not virtual.session.gate.held
    assert virtual.stats.paused == 0


def test_a_pause_ends_without_a_release_callback() -> None:
    """A pause ends also if `on_released` is not set yet."""
    transport = FakeTransport(Clock())
    gate = ReadGate(transport, transport.scheduler)
    session = VirtualSession().session
    send_buffer = SendBuffer(transport, transport.scheduler, Options(), gate, session)
    flow = FlowControl(
        transport, transport.scheduler, Dispatcher(), raise_assertion, gate, send_buffer
    )
    with flow.pause():
        assert gate.held
    assert not gate.held


def test_writable_and_latency_complete_after_the_end() -> None:
    """`writable` and `latency` complete when subscribed for the first time after the end."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(1000)
    virtual.settle()
    for _ in range(2):
        for stream in (virtual.conn.flow.writable, virtual.conn.flow.latency):
            assert virtual.watch(stream).ends == [None]


def test_writable_emits_false_first_while_the_peer_is_behind() -> None:
    """A first subscriber of `writable` gets False while the peer is behind."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    writable = virtual.watch(virtual.conn.flow.writable)
    virtual.peer.go()
    assert writable.values == [False, True]


def test_repr_of_flow() -> None:
    """The repr of `flow` shows whether it flows, is paused or closed."""
    virtual = VirtualSession(watch=True)
    assert repr(virtual.conn.flow) == "<Flow flowing in=0 out=0 buffered=0>"
    pause = virtual.conn.flow.pause()
    assert "paused" in repr(virtual.conn.flow)
    pause.dispose()
    virtual.peer.close()
    assert "closed 1005" in repr(virtual.conn.flow)


async def test_drained_serves_several_waiters() -> None:
    """All waiters of `drained()` return together, and cancelling one affects no other."""
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


async def test_drained_raises_after_a_send_timeout() -> None:
    """`drained()` raises when `send_timeout` ends the connection."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    waiting = asyncio.ensure_future(virtual.conn.flow.drained())
    await asyncio.sleep(0)
    virtual.run(20)
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(waiting, 10)
    assert caught.value.close == Close(1006)


async def test_many_producers_that_await_drained_never_overflow() -> None:
    """Many producers that await `drained()` before each send never exceed `max_buffer`."""
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


async def test_a_producer_that_awaits_drained_never_overflows() -> None:
    """A producer that awaits `drained()` after each send loses nothing, with any buffer."""
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


# --- the read gate ----------------------------------------------------------------------------


@dataclass
class GateSetup:
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.transport = FakeTransport(self.clock)
        self.gate = ReadGate(self.transport, self.clock)

    @property
    def calls(self) -> list[str]:
        return [call.name for call in self.transport.calls]


@pytest.fixture
def setup() -> GateSetup:
    return GateSetup()


def test_delivery_is_held_from_the_first_hold_to_the_last_release(setup: GateSetup) -> None:
    """Delivery is held from the first hold to the last release, while reading goes on."""
    setup.gate.hold("a")
    setup.gate.hold("b")
    setup.gate.release("a")
    assert setup.gate.held
    setup.gate.release("b")
    assert not setup.gate.held
    assert setup.calls == []


def test_holding_twice_needs_one_release(setup: GateSetup) -> None:
    """Two holds by the same holder need one release."""
    setup.gate.hold("a")
    setup.gate.hold("a")
    setup.gate.release("a")
    assert not setup.gate.held
    setup.gate.release("a")
    assert not setup.gate.held


def test_held_besides_ignores_ones_own_hold(setup: GateSetup) -> None:
    """`held_besides` ignores the hold of the holder given."""
    setup.gate.hold("a")
    assert not setup.gate.held_besides("a")
    assert setup.gate.held_besides("b")
    setup.gate.hold("b")
    assert setup.gate.held_besides("a")


def test_open_permanently_ends_all_holds(setup: GateSetup) -> None:
    """`open_permanently` ends all holds and pauses; later ones have no effect."""
    setup.gate.hold("a")
    setup.gate.pause()
    setup.gate.open_permanently()
    assert setup.calls == ["pause", "resume"]
    setup.gate.hold("b")
    setup.gate.pause()
    setup.gate.release("a")
    setup.gate.open_permanently()
    assert not setup.gate.held
    assert setup.calls == ["pause", "resume"]


def test_held_seconds_adds_up(setup: GateSetup) -> None:
    """`held_seconds` adds up the seconds of all holds, the current one included."""
    assert setup.gate.held_seconds == 0
    setup.gate.hold("a")
    setup.clock.run(2)
    setup.gate.hold("b")
    setup.clock.run(1)
    assert setup.gate.held_seconds == 3
    setup.gate.release("a")
    setup.gate.release("b")
    setup.clock.run(10)
    assert setup.gate.held_seconds == 3
    setup.gate.hold("a")
    setup.clock.run(0.5)
    setup.gate.open_permanently()
    setup.clock.run(10)
    assert setup.gate.held_seconds == 3.5


def test_paused_seconds_adds_up(setup: GateSetup) -> None:
    """`paused_seconds` adds up the seconds for which reading was paused."""
    assert setup.gate.paused_seconds == 0
    setup.gate.pause()
    setup.clock.run(2)
    assert setup.gate.paused_seconds == 2
    setup.gate.resume()
    setup.clock.run(10)
    setup.gate.pause()
    setup.clock.run(1)
    setup.gate.open_permanently()
    setup.clock.run(10)
    assert setup.gate.paused_seconds == 3


def test_held_by_user_ignores_the_holds_of_rxws(setup: GateSetup) -> None:
    """`held_by_user` ignores the hold of a full send buffer, and that of waiting messages."""
    setup.gate.hold(HIGH_WATER)
    setup.gate.hold(UNDELIVERED)
    assert not setup.gate.held_by_user
    setup.gate.hold("a")
    assert setup.gate.held_by_user


def test_a_hold_is_released_when_disposed() -> None:
    """A `Hold` passes itself to its release callback when disposed."""
    released: list[object] = []
    with Hold(released.append) as hold:
        assert released == []
    assert released == [hold]


def test_an_operator_that_fails_a_closing_connection_changes_nothing() -> None:
    """A failure that an operator reports has no effect while the connection closes, and after."""
    virtual = VirtualSession(watch=True)
    flow = virtual.session.flow
    virtual.conn.outgoing.on_next(Close(4000, "mine"))
    flow.fail(4029, "too late")
    virtual.peer.close(4000)
    virtual.settle()
    flow.fail(4029, "too late")
    virtual.settle()
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4000, "mine")
    assert [close.code for close in virtual.closed.values] == [4000]
