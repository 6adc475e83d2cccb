"""The fake transport and its peer: they behave as real ones do."""

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


class TransportSetup:
    def __init__(self, *payloads: bytes, overrun: int = 0) -> None:
        self.clock = Clock()
        self.transport = FakeTransport(self.clock)
        self.peer = Peer(self.transport, overrun)
        self.receiver = RecordingReceiver(*[Frame(Opcode.BINARY, payload) for payload in payloads])

    def attach(self) -> TransportSetup:
        self.transport.attach(self.receiver)
        return self

    @property
    def sent(self) -> list[bytes]:
        return [sent.payload for sent in self.transport.sent]


def test_a_clock_runs_turns_and_time() -> None:
    """An action scheduled within a turn runs in the next; an exception stops no other."""
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


def test_frames_are_taken_once_a_session_is_attached() -> None:
    """Frames are taken once a session is attached, and recorded with their time."""
    setup = TransportSetup(b"1", b"2")
    setup.transport.wake()
    assert setup.sent == []
    setup.clock.run(2)
    setup.attach()
    assert setup.transport.sent == [Sent(2, Opcode.BINARY, b"1"), Sent(2, Opcode.BINARY, b"2")]


def test_a_sent_frame_has_message_code_and_reason() -> None:
    """A sent frame has its message, or its close code and reason."""
    assert Sent(0, Opcode.TEXT, "é".encode()).message == "é"
    assert Sent(0, Opcode.BINARY, b"\xff").message == b"\xff"
    close = Sent(0, Opcode.CLOSE, b"\x0f\xa1why")
    assert (close.code, close.reason) == (4001, "why")
    assert Sent(0, Opcode.CLOSE, b"").code is None


def test_a_peer_that_stops_leaves_one_frame_buffered() -> None:
    """When the peer stops, one frame is buffered; `go(n)` takes n more."""
    setup = TransportSetup(b"1").attach()
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
    setup.peer.go()  # a second `go` changes nothing
    assert setup.receiver.notifications == [FULL, FREE, FULL, FREE]


def test_messages_during_a_pause_are_delivered_in_a_later_turn() -> None:
    """Messages during a pause are delivered after it, not within `resume_reading`."""
    setup = TransportSetup().attach()
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


def test_overrun_delivers_some_frames_after_a_pause() -> None:
    """With `overrun` so many frames are still delivered after a pause."""
    setup = TransportSetup(overrun=2).attach()
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


def test_nothing_is_read_after_a_close_but_the_end() -> None:
    """After a close frame or a loss, nothing but the end is read."""
    for notification in (("close", 4001, "x"), ("lost",)):
        setup = TransportSetup().attach()
        if notification == ("lost",):
            setup.peer.lost()
        else:
            setup.peer.close(4001, "x")
        setup.peer.message("late")
        setup.peer.violation(1002)
        setup.clock.turn()
        setup.peer.lost()
        setup.clock.turn()
        assert setup.receiver.notifications == (
            [notification, *LOST] if notification != ("lost",) else LOST
        )


def test_finish_writes_all_frames_first() -> None:
    """`finish` writes all frames, then ends TCP, or waits for the peer if lingering."""
    setup = TransportSetup(b"1", b"2")
    setup.peer.stop()
    setup.attach()
    setup.transport.finish(linger=False)
    setup.clock.turn()
    assert not setup.transport.over
    setup.peer.go()
    setup.clock.turn()
    assert setup.sent == [b"1", b"2"]
    assert setup.receiver.notifications == [FULL, FREE, *LOST]

    setup = TransportSetup().attach()
    setup.transport.finish(linger=True)
    setup.peer.message("discarded")
    setup.clock.turn()
    assert setup.receiver.notifications == []
    setup.peer.lost()
    setup.clock.turn()
    assert setup.receiver.notifications == LOST


def test_a_loss_is_reported_after_earlier_messages() -> None:
    """A loss is reported after earlier messages, but that sending fails at once."""
    setup = TransportSetup().attach()
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


def test_abort_is_reported_once() -> None:
    """`abort` is reported once, in the next turn, and drops unsent frames."""
    setup = TransportSetup().attach()
    setup.transport.abort()
    setup.transport.abort()
    assert setup.receiver.notifications == []
    setup.clock.turn()
    assert setup.receiver.notifications == LOST
    setup.receiver.frames.append(Frame(Opcode.TEXT, b"late"))
    setup.transport.wake()
    assert setup.sent == []


def test_a_coroutine_runs_in_the_next_turn() -> None:
    """A spawned coroutine runs in the next turn, unless it was cancelled."""
    ran: list[int] = []

    async def record(number: int) -> None:
        ran.append(number)

    setup = TransportSetup()
    setup.transport.spawn(record(1))
    setup.transport.spawn(record(2)).dispose()
    assert ran == []
    setup.clock.turn()
    assert ran == [1]
    assert [call.name for call in setup.transport.calls] == ["spawn", "spawn", "cancel"]
    assert setup.transport.times("spawn") == [0, 0]


def test_a_coroutine_that_waits_is_refused() -> None:
    """A coroutine that waits is refused, as it needs an event loop."""
    left: list[int] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            left.append(1)

    setup = TransportSetup()
    setup.transport.spawn(wait())
    with pytest.raises(NeedsEventLoop, match="needs an event loop"):
        setup.clock.turn()
    assert left == [1]


def test_calls_from_other_threads_come_in_a_later_turn() -> None:
    """Calls from other threads run in order in a later turn."""
    setup = TransportSetup()
    called: list[int] = []
    for number in range(3):
        setup.transport.call_soon_threadsafe(partial(called.append, number))
    assert called == []
    setup.clock.turn()
    assert called == [0, 1, 2]


# --- the ports Transport and Receiver ----------------------------------------------------------


if TYPE_CHECKING:  # checked by the type checker

    def ports(fake: FakeTransport, adapter: AiohttpTransport, session: Session[Any, Any]) -> None:
        transports: list[Transport] = [fake, adapter]
        receiver: Receiver = session
        del transports, receiver


def methods(protocol: type) -> dict[str, list[str]]:
    """The methods of a protocol with the names of their parameters."""
    return {
        name: list(inspect.signature(member).parameters)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("protocol", "implementation"),
    [(Transport, FakeTransport), (Transport, AiohttpTransport), (Receiver, Session)],
)
def test_implementations_have_all_methods_of_the_port(protocol: type, implementation: type) -> None:
    """An implementation has all methods of its port with the same parameters."""
    for name, parameters in methods(protocol).items():
        member = getattr(implementation, name)
        if inspect.ismemberdescriptor(member):  # the adapter copies this from its writer
            member = getattr(FrameWriter, name)
        assert list(inspect.signature(member).parameters) == parameters, name
    for name, member in vars(protocol).items():
        if isinstance(member, property):
            assert hasattr(implementation, name) or hasattr(implementation(Clock()), name)


def test_the_protocols_do_nothing() -> None:
    """The methods of the protocols themselves do nothing."""
    stub: Any = object()
    for protocol in (Transport, Receiver):
        for name, parameters in methods(protocol).items():
            assert getattr(protocol, name)(*[stub] * len(parameters)) is None
    for name in ("buffered", "deferred", "received"):
        assert getattr(Transport, name).fget(stub) is None
    assert vars(Receiver)["on_message"].fget(stub) is None


def test_a_session_needs_no_event_loop() -> None:
    """A session runs without an event loop."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    virtual = VirtualSession(lambda conn: conn.incoming)
    virtual.peer.message("echo")
    assert virtual.messages == ["echo"]
