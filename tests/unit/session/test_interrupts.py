"""A `BaseException` of user code, such as a CancelledError: 1011, then the exception goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops
from reactivex.disposable import Disposable

import rxws
from rxws import Close, Codec, Recording, closing, codecs, overflow
from rxws._session.session import State
from support.virtual.session import VirtualSession


class Interrupt(BaseException):
    """An exception that `except Exception` does not catch, such as pytest's `Failed`."""


KINDS = [Interrupt, asyncio.CancelledError, KeyboardInterrupt]


def interrupt(*_: object) -> NoReturn:
    raise Interrupt


def check_interrupted(virtual: VirtualSession, act: Callable[[], object]) -> None:
    """Check that `act` raises, and that the connection has then ended with 1011."""
    closed = virtual.watch(virtual.conn.closed)
    with pytest.raises(Interrupt):
        act()
    virtual.settle()
    assert closed.values == [closing.UNEXPECTED]
    assert closed.values[0].by == "local"
    assert closed.ends == [None]
    assert virtual.session.state is State.CLOSED
    assert virtual.close_frame.code == 1011


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.promise("faults")
def test_a_handler_that_raises_a_base_exception(kind: type[BaseException]) -> None:
    """If a handler raises a `BaseException`, the peer gets 1011, and the exception propagates."""
    closes: list[Close] = []
    seen: list[VirtualSession] = []

    def handler(conn: Any) -> NoReturn:
        conn.closed.subscribe(closes.append)
        raise kind

    class Kept(VirtualSession):
        def watch(self, observable: Any) -> Any:
            seen.append(self)
            return super().watch(observable)

    with pytest.raises(kind):
        Kept(handler, watch=True)
    virtual = seen[0]
    assert closes == [closing.UNEXPECTED]
    virtual.transport.attach(virtual.session)
    assert virtual.close_frame.code == 1011


def test_the_other_subscribers_get_the_message_and_the_end() -> None:
    """If a subscriber raises a `BaseException`, the others get the message and the end."""
    virtual = VirtualSession()
    first = virtual.watch(virtual.conn.incoming)
    virtual.conn.incoming.subscribe(interrupt)
    last = virtual.watch(virtual.conn.incoming)
    check_interrupted(virtual, lambda: virtual.peer.message("a"))
    assert first.values == last.values == ["a"]
    assert [type(seen.error).__name__ for seen in (first, last)] == ["ConnectionClosed"] * 2


def raising_codec(encode: Any = codecs.text.encode, decode: Any = codecs.text.decode) -> Any:
    return Codec(encode, decode)


def at_incoming(one: VirtualSession) -> None:
    one.conn.incoming.subscribe(interrupt)
    one.peer.message("a")


def at_chain(one: VirtualSession) -> None:
    one.conn.incoming.pipe(ops.map(interrupt)).subscribe()
    one.peer.message("a")


def at_outgoing(one: VirtualSession) -> None:
    one.conn.outgoing.subscribe(interrupt)
    one.conn.outgoing.on_next("a")


def at_errors(one: VirtualSession) -> None:
    one.conn.incoming.subscribe()
    one.conn.errors.subscribe(interrupt)
    one.peer.message("{")


def at_timer(one: VirtualSession) -> None:
    one.conn.scheduler.schedule_relative(1, interrupt)
    one.run(2)


def at_push(one: VirtualSession) -> None:
    one.conn.outgoing.on_next("a")


def at_message(one: VirtualSession) -> None:
    one.conn.incoming.subscribe()
    one.peer.message("a")


def at_kept(one: VirtualSession) -> None:
    one.peer.message("a")
    one.conn.incoming.subscribe(interrupt)
    one.settle()


PLACES: dict[str, tuple[dict[str, Any], Callable[[VirtualSession], None]]] = {
    "incoming": ({}, at_incoming),
    "chain": ({}, at_chain),
    "outgoing": ({}, at_outgoing),
    "errors": ({"codec": codecs.json}, at_errors),
    "timer": ({}, at_timer),
    "encode": ({"codec": raising_codec(encode=interrupt)}, at_push),
    "decode": ({"codec": raising_codec(decode=interrupt)}, at_message),
    "kept": ({}, at_kept),
    "key": ({"overflow": overflow.latest(interrupt)}, at_push),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_call_into_user_code_is_guarded(place: str) -> None:
    """Wherever user code raises a `BaseException`, the connection ends with 1011 first."""
    options, act = PLACES[place]
    virtual = VirtualSession(**options)
    check_interrupted(virtual, lambda: act(virtual))


def test_a_recorded_connection_is_guarded() -> None:
    """An encoder that raises a `BaseException` ends a connection that is recorded, too."""
    virtual = VirtualSession(codec=raising_codec(encode=interrupt))
    Recording.of(virtual.conn)
    check_interrupted(virtual, lambda: virtual.conn.outgoing.on_next("a"))


def test_the_comparison_of_keys_is_guarded_after_a_push_from_a_thread() -> None:
    """A key that raises a `BaseException` when it is compared ends the connection, too."""

    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, _: object) -> NoReturn:
            raise Interrupt

    virtual = VirtualSession(codec=codecs.json, overflow=overflow.latest(lambda _: Key()))
    virtual.peer.stop()

    def push() -> None:
        for number in range(3):
            virtual.conn.outgoing.on_next([number])

    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    closed = virtual.watch(virtual.conn.closed)
    with pytest.raises(Interrupt):
        virtual.settle()
    assert closed.values == [closing.UNEXPECTED]


def test_try_send_is_guarded() -> None:
    """An encoder that raises a `BaseException` in `try_send` ends the connection, too."""
    virtual = VirtualSession(codec=raising_codec(encode=interrupt))
    outgoing: Any = virtual.conn.outgoing
    check_interrupted(virtual, lambda: outgoing.try_send("a"))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("place", ["codec", "key"])
def test_an_encoder_in_another_thread_is_guarded(place: str, recorded: bool) -> None:
    """An encoder that raises in the thread of a push ends the connection; the thread gets it."""
    virtual = VirtualSession(
        codec=codecs.json if place == "key" else raising_codec(encode=interrupt),
        overflow=overflow.latest(interrupt) if place == "key" else "close",
    )
    closed = virtual.watch(virtual.conn.closed)
    recording = rxws.Recording.of(virtual.conn) if recorded else None
    raised: list[BaseException] = []

    def push() -> None:
        try:
            virtual.conn.outgoing.on_next([])
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    assert closed.values == [], "nothing happens on the other thread"
    virtual.settle()
    assert [type(error) for error in raised] == [Interrupt]
    assert closed.values == [closing.UNEXPECTED]
    assert virtual.close_frame.code == 1011
    assert recording is None or len(recording.lanes["closed"].events)


def test_a_recorded_encoder_is_guarded() -> None:
    """An encoder of a recorded connection is guarded, too."""
    virtual = VirtualSession(codec=raising_codec(encode=interrupt))
    recording = rxws.Recording.of(virtual.conn)
    check_interrupted(virtual, lambda: virtual.conn.outgoing.on_next("a"))
    assert recording.lanes["closed"].events


def test_an_encoder_after_the_end_changes_nothing() -> None:
    """An encoder that raises for a connection that is gone raises in the thread of the push."""
    virtual = VirtualSession(watch=True, codec=raising_codec(encode=interrupt))
    outgoing = virtual.conn.outgoing
    virtual.peer.close(4001)
    virtual.settle()
    virtual.session.on_released()
    threads = ThreadPoolExecutor(1)
    with pytest.raises(Interrupt), threads:
        threads.submit(outgoing.on_next, []).result()
    assert virtual.closed.values == [Close(4001)]


def test_messages_of_a_thread_after_an_interrupt_are_counted() -> None:
    """Messages of a thread behind one whose delivery raised are dropped and counted."""
    virtual = VirtualSession(max_buffer=1000)
    virtual.conn.outgoing.subscribe(interrupt)
    threads = ThreadPoolExecutor(1)
    with threads:
        for value in "abc":
            threads.submit(virtual.conn.outgoing.on_next, value).result()
        threads.submit(virtual.conn.outgoing.on_next, "x" * 1000).result()
    check_interrupted(virtual, lambda: virtual.clock.turn())
    assert virtual.messages == ["a"]
    assert virtual.dropped == {"closed": 2, "overflow": 1}


async def interrupted_coroutine(_: object) -> None:
    raise Interrupt


def test_a_coroutine_handler_that_raises_a_base_exception() -> None:
    """A coroutine handler that raises a `BaseException` closes with 1011."""
    virtual = VirtualSession(interrupted_coroutine, watch=True)
    with pytest.raises(Interrupt):
        virtual.settle()
    assert virtual.close_frame.code == 1011
    virtual.peer.close(1011)
    virtual.settle()
    assert virtual.closed.values == [closing.UNEXPECTED]


@pytest.mark.parametrize("stream", ["incoming", "outgoing", "closed", "errors", "disposable"])
def test_an_interrupt_at_the_end_keeps_the_verdict(stream: str) -> None:
    """If user code raises a `BaseException` at the end, the end is reported, and it goes on."""
    virtual = VirtualSession(
        lambda _: Disposable(interrupt) if stream == "disposable" else None, watch=True
    )
    if stream != "disposable":
        getattr(virtual.conn, stream).subscribe(noop, interrupt, interrupt)
    others = virtual.watch(virtual.conn.errors)
    virtual.transport.receiver.on_close(4001, "")
    with pytest.raises(Interrupt):
        virtual.settle()
    virtual.settle()
    assert virtual.closed.values == [Close(4001)]
    assert virtual.closed.values[0].by == "peer"
    assert virtual.close_frame.code == 4001
    assert others.ends == [None]


def noop(*_: object) -> None:
    pass


@pytest.mark.parametrize("code", [1000, 4001])
def test_completes_that_raises_a_base_exception(code: int) -> None:
    """If `completes=` raises a `BaseException`, `closing.is_clean` decides, and it goes on."""
    virtual = VirtualSession(watch=True, completes=interrupt)
    virtual.transport.receiver.on_close(code, "")
    with pytest.raises(Interrupt):
        virtual.settle()
    assert virtual.closed.values == [Close(code)]
    assert virtual.close_frame.code == code
    assert (virtual.incoming.error is None) == (code == 1000)


@pytest.mark.parametrize("answered", [False, True])
def test_an_interrupt_while_closing_keeps_our_code(answered: bool) -> None:
    """A `BaseException` after our close ends the connection with our code."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.subscribe(interrupt)
    virtual.conn.outgoing.on_next(Close(4002))
    with pytest.raises(Interrupt):
        virtual.peer.message("a")
    if answered:
        virtual.peer.close(4002)
    virtual.settle()
    assert virtual.closed.values == [Close(4002)]
    assert virtual.close_frame.code == 4002


def test_a_second_interrupt_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """If subscribers raise a `BaseException` at a message and at the end, the second is logged."""
    virtual = VirtualSession()
    virtual.conn.incoming.subscribe(interrupt, interrupt)
    check_interrupted(virtual, lambda: virtual.peer.message("a"))
    assert "after Interrupt()" in caplog.text


def test_a_long_notification_is_no_dead_peer() -> None:
    """While a subscriber runs a nested event loop, the heartbeat does not end the connection."""
    virtual = VirtualSession(watch=True, heartbeat=1)
    virtual.conn.incoming.subscribe(lambda _: virtual.run(10))
    virtual.peer.message("a")
    virtual.run(0.4)
    assert virtual.session.state is State.OPEN
    virtual.run(10)
    assert virtual.closed.values == [Close(1006)]  # now the peer is dead
