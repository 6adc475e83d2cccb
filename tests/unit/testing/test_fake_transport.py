"""The wire without a network: it behaves as a real one does."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from rxws._aiohttp.transport.adapter import AiohttpTransport
from rxws._aiohttp.transport.frame_writer import FrameWriter
from rxws._core.frames import Frame, Opcode
from rxws._session.session import Session
from rxws._session.transport import Receiver, Transport
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import Call, FakeTransport, NeedsEventLoop, Sent
from rxws.testing.peer import Peer
from support.receiver import RecordingReceiver
from support.virtual.session import VirtualSession

LOST: list[Any] = [("unsendable",), ("lost",)]
FULL, FREE = ("writable", False), ("writable", True)


class Setup:
    def __init__(self, *payloads: bytes, overrun: int = 0) -> None:
        self.clock = Clock()
        self.transport = FakeTransport(self.clock)
        self.peer = Peer(self.transport, overrun)
        self.receiver = RecordingReceiver(*[Frame(Opcode.BINARY, payload) for payload in payloads])

    def attach(self) -> Setup:
        self.transport.attach(self.receiver)
        return self

    @property
    def sent(self) -> list[bytes]:
        return [sent.payload for sent in self.transport.sent]


def test_a_clock_knows_turns_and_time() -> None:
    """What a turn puts on for now runs in the next; an action that raises stops nothing."""
    clock = Clock()
    ran: list[str] = []

    def first(*_: object) -> None:
        ran.append("first")
        clock.schedule(lambda *_: ran.append("next"))

    def fail(*_: object) -> NoReturn:
        raise ValueError

    clock.schedule(first)
    clock.schedule_relative(1, lambda *_: ran.append("later"))
    clock.turn()
    assert ran == ["first"]
    clock.turn()
    assert ran == ["first", "next"]
    clock.schedule(fail)
    with pytest.raises(ValueError):
        clock.turn()
    clock.schedule(fail)
    with pytest.raises(ValueError):
        clock.run(1)
    clock.run(2)
    assert ran == ["first", "next", "later"]


def test_frames_are_taken_when_a_session_is_there_and_noted_with_their_time() -> None:
    """All of them, until the peer stops."""
    setup = Setup(b"1", b"2")
    setup.transport.wake()
    assert setup.sent == []
    setup.clock.run(2)
    setup.attach()
    assert setup.transport.sent == [Sent(2, Opcode.BINARY, b"1"), Sent(2, Opcode.BINARY, b"2")]


def test_a_frame_says_what_it_carries() -> None:
    """For tests to read."""
    assert Sent(0, Opcode.TEXT, "é".encode()).message == "é"
    assert Sent(0, Opcode.BINARY, b"\xff").message == b"\xff"
    close = Sent(0, Opcode.CLOSE, b"\x0f\xa1why")
    assert (close.code, close.reason) == (4001, "why")
    assert Sent(0, Opcode.CLOSE, b"").code is None


def test_a_peer_that_stops_fills_the_wire_with_the_next_frame() -> None:
    """That one is buffered, and the rest is not taken; as many as it takes later then leave."""
    setup = Setup(b"1").attach()
    setup.peer.stop()
    assert setup.transport.writable
    setup.receiver.frames.extend(Frame(Opcode.BINARY, b"%d" % n) for n in range(10, 16))
    setup.transport.wake()
    assert setup.sent == [b"1", b"10"]
    assert (setup.transport.buffered, setup.receiver.notifications) == (2, [FULL])
    setup.peer.go(2)
    assert setup.sent == [b"1", b"10", b"11", b"12", b"13"]
    assert setup.receiver.notifications == [FULL, FREE, FULL]
    setup.peer.go()
    assert setup.sent[-1] == b"15"
    assert (setup.transport.buffered, setup.transport.writable) == (0, True)
    setup.peer.go()  # who takes all already goes on doing so
    assert setup.receiver.notifications == [FULL, FREE, FULL, FREE]


def test_messages_wait_while_reading_is_paused_and_come_in_a_later_turn() -> None:
    """Never from within `resume_reading`."""
    setup = Setup().attach()
    setup.peer.message("a")
    setup.transport.pause_reading()
    setup.peer.message("b", b"c")
    setup.peer.ping(b"i")
    assert setup.receiver.notifications == ["a"]
    setup.transport.resume_reading()
    assert setup.receiver.notifications == ["a"]
    setup.clock.turn()
    assert setup.receiver.notifications == ["a", "b", b"c", ("ping", b"i")]
    assert setup.transport.calls == [Call(0, "pause"), Call(0, "resume")]
    assert setup.transport.received == 4


def test_some_wires_cannot_stop_at_once() -> None:
    """So many frames still come, per pause."""
    setup = Setup(overrun=2).attach()
    for _ in range(2):
        setup.transport.pause_reading()
        setup.peer.message("a", "b", "c")
        setup.peer.pong()
        setup.transport.resume_reading()
        setup.transport.pause_reading()
        assert len(setup.receiver.notifications) % 4 == 2
        setup.transport.resume_reading()
        setup.clock.turn()
    assert setup.receiver.notifications == ["a", "b", "c", ("pong", b"")] * 2


def test_after_a_close_or_a_violation_nothing_is_read_but_the_end() -> None:
    """As aiohttp's reader does."""
    for said in (("close", 4001, "x"), ("lost",)):
        setup = Setup().attach()
        if said == ("lost",):
            setup.peer.lost()
        else:
            setup.peer.close(4001, "x")
        setup.peer.message("late")
        setup.peer.violation(1002)
        setup.clock.turn()
        setup.peer.lost()
        setup.clock.turn()
        assert setup.receiver.notifications == ([said, *LOST] if said != ("lost",) else LOST)


def test_finishing_writes_all_that_is_left_first() -> None:
    """Then TCP ends; lingering, when the peer ends it."""
    setup = Setup(b"1", b"2")
    setup.peer.stop()
    setup.attach()
    setup.transport.finish(linger=False)
    setup.clock.turn()
    assert not setup.transport.over
    setup.peer.go()
    setup.clock.turn()
    assert setup.sent == [b"1", b"2"]
    assert setup.receiver.notifications == [FULL, FREE, *LOST]

    setup = Setup().attach()
    setup.transport.finish(linger=True)
    setup.peer.message("discarded")
    setup.clock.turn()
    assert setup.receiver.notifications == []
    setup.peer.lost()
    setup.clock.turn()
    assert setup.receiver.notifications == LOST


def test_a_loss_is_seen_behind_what_came_before_it() -> None:
    """But that nothing more can be sent, at once."""
    setup = Setup().attach()
    setup.transport.pause_reading()
    setup.peer.message("a")
    setup.peer.lost()
    setup.clock.turn()
    assert setup.receiver.notifications == [("unsendable",)]
    setup.receiver.frames.append(Frame(Opcode.TEXT, b"late"))
    setup.transport.wake()
    assert setup.sent == []
    setup.transport.resume_reading()
    setup.clock.turn()
    setup.clock.turn()
    assert setup.receiver.notifications == [("unsendable",), "a", ("lost",)]


def test_aborting_ends_at_once_and_once() -> None:
    """What was not written is gone."""
    setup = Setup().attach()
    setup.transport.abort()
    setup.transport.abort()
    assert setup.receiver.notifications == []
    setup.clock.turn()
    assert setup.receiver.notifications == LOST
    setup.receiver.frames.append(Frame(Opcode.TEXT, b"late"))
    setup.transport.wake()
    assert setup.sent == []


def test_a_coroutine_that_never_waits_is_run_in_the_next_turn() -> None:
    """Unless it was cancelled by then."""
    ran: list[int] = []

    async def note(number: int) -> None:
        ran.append(number)

    setup = Setup()
    setup.transport.spawn(note(1))
    setup.transport.spawn(note(2)).dispose()
    assert ran == []
    setup.clock.turn()
    assert ran == [1]
    assert [call.name for call in setup.transport.calls] == ["spawn", "spawn", "cancel"]
    assert setup.transport.times("spawn") == [0, 0]


def test_a_coroutine_that_waits_is_refused() -> None:
    """There is no loop that could go on with it."""
    left: list[int] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            left.append(1)

    setup = Setup()
    setup.transport.spawn(wait())
    with pytest.raises(NeedsEventLoop, match="needs an event loop"):
        setup.clock.turn()
    assert left == [1]


def test_calls_from_other_threads_come_in_a_later_turn() -> None:
    """In their order."""
    setup = Setup()
    called: list[int] = []
    for number in range(3):
        setup.transport.call_soon_threadsafe(partial(called.append, number))
    assert called == []
    setup.clock.turn()
    assert called == [0, 1, 2]


# --- the port between a session and the wire: who stands on either side of it ------------------


if TYPE_CHECKING:  # what a type checker has to say to it

    def ports(fake: FakeTransport, adapter: AiohttpTransport, session: Session[Any, Any]) -> None:
        on_either: list[Transport] = [fake, adapter]
        behind: Receiver = session
        del on_either, behind


def calls(protocol: type) -> dict[str, list[str]]:
    """The names of a protocol's methods, with those of their parameters."""
    return {
        name: list(inspect.signature(member).parameters)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("protocol", "what"),
    [(Transport, FakeTransport), (Transport, AiohttpTransport), (Receiver, Session)],
)
def test_who_stands_at_the_port_has_all_its_calls(protocol: type, what: type) -> None:
    """With the same parameters by the same names."""
    for name, parameters in calls(protocol).items():
        member = getattr(what, name)
        if inspect.ismemberdescriptor(member):  # an adapter lends this from its way out
            member = getattr(FrameWriter, name)
        assert list(inspect.signature(member).parameters) == parameters, name
    for name, member in vars(protocol).items():
        if isinstance(member, property):
            assert hasattr(what, name) or hasattr(what(Clock()), name)


def test_the_port_itself_does_nothing() -> None:
    """It is a Protocol: what runs is what stands behind it."""
    stub: Any = object()
    for protocol in (Transport, Receiver):
        for name, parameters in calls(protocol).items():
            assert getattr(protocol, name)(*[stub] * len(parameters)) is None
    for name in ("buffered", "deferred", "received"):
        assert getattr(Transport, name).fget(stub) is None
    assert vars(Receiver)["on_message"].fget(stub) is None


def test_a_session_below_a_loop_needs_none() -> None:
    """From the session down the very code runs without asyncio's loop."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    virtual = VirtualSession(lambda conn: conn.incoming)
    virtual.peer.message("echo")
    assert virtual.messages == ["echo"]
