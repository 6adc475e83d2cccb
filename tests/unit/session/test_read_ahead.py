"""The read-ahead: what happens to pings, closes and losses behind messages that wait."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from rxws import Close, Connection, ConnectionClosed, Recording, SendTimeout, listener
from rxws._core.connection import EndedBy
from rxws._core.frames import Opcode
from rxws._session.options import Options
from support.virtual.session import VirtualSession

AnyConnection = Connection[Any, Any]

# Each end that the peer or the network causes, what `closed` reports, and what the peer gets.
ENDS: dict[str, tuple[Callable[[VirtualSession], None], int, EndedBy, int | None]] = {
    "close": (lambda virtual: virtual.peer.close(4001, "bye"), 4001, "peer", 4001),
    "clean close": (lambda virtual: virtual.peer.close(1000), 1000, "peer", 1000),
    "illegal close": (lambda virtual: virtual.peer.close(1006), 1002, "local", 1002),
    "violation": (lambda virtual: virtual.peer.violation(1009), 1009, "local", 1009),
    "lost": (lambda virtual: virtual.peer.lost(), 1006, "network", None),
}
every_end = pytest.mark.parametrize("end", ENDS)


def end_connection(virtual: VirtualSession, end: str) -> None:
    ENDS[end][0](virtual)


def check_closed(virtual: VirtualSession, end: str) -> None:
    """Check what `closed` reports, and the close frame that the peer got."""
    _, code, by, wire = ENDS[end]
    [close] = virtual.watch(virtual.conn.closed).values
    assert (close.code, close.by) == (code, by)
    assert [sent.code for sent in virtual.frames(Opcode.CLOSE)] == ([wire] if wire else [])


def pongs(virtual: VirtualSession) -> list[bytes]:
    """Return the payloads of the answers to pings."""
    return [sent.payload for sent in virtual.frames(Opcode.PONG) if sent.payload]


# --- nobody subscribes ------------------------------------------------------------------------


@pytest.mark.promise("verdict")
@every_end
def test_without_a_subscriber_the_end_is_reported_at_once(end: str) -> None:
    """If nobody subscribes to `incoming`, `closed` reports the end although messages wait."""
    virtual = VirtualSession(heartbeat=20.0)
    closed = virtual.watch(virtual.conn.closed)
    virtual.run(2)
    virtual.peer.message("a", "b")
    end_connection(virtual, end)
    virtual.run(100)
    assert closed.times == [2]
    check_closed(virtual, end)


@pytest.mark.promise("first")
@every_end
def test_the_messages_and_the_end_stay_for_a_later_subscriber(end: str) -> None:
    """After the end, a subscriber within `hold_timeout` gets the messages, then the end."""
    virtual = VirtualSession(hold_timeout=30.0)
    virtual.peer.message("a", "b", "c")
    end_connection(virtual, end)
    virtual.run(10)
    first = virtual.watch(virtual.conn.incoming.pipe(ops.first()))
    virtual.run(29)
    assert first.values == ["a"]
    rest = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert rest.values == ["b", "c"]
    code = ENDS[end][1]
    assert len(rest.ends) == 1
    assert (rest.error is None) == (code == 1000)
    assert getattr(rest.error, "close", Close(code)).code == code
    assert virtual.dropped == {}
    assert virtual.clock.pending == 0


@pytest.mark.promise("counted")
@every_end
def test_after_hold_timeout_the_messages_are_dropped(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When `hold_timeout` has passed since the end, waiting messages are dropped and counted."""
    virtual = VirtualSession(hold_timeout=30.0)
    virtual.peer.message("a", "b")
    end_connection(virtual, end)
    virtual.run(29)
    assert virtual.dropped == {}
    virtual.run(2)
    assert virtual.dropped == {"unobserved": 2}
    late = virtual.watch(virtual.conn.incoming)
    assert (late.values, len(late.ends)) == ([], 1)
    assert len(caplog.records) == 1
    assert virtual.clock.pending == 0
    assert virtual.session.over


def test_the_handler_ends_after_incoming() -> None:
    """What the handler returned is disposed after `incoming` has ended, not before."""
    events: list[str] = []
    virtual = VirtualSession(lambda _: Disposable(lambda: events.append("disposed")))
    virtual.peer.message("a")
    virtual.peer.close(1000)
    virtual.run(1)
    assert virtual.conn.flow.stats.dropped == {}
    assert not virtual.session.over
    over: list[None] = []
    virtual.session.when_over(lambda: over.append(None))
    virtual.conn.incoming.subscribe(events.append, on_completed=lambda: events.append("end"))
    errors = virtual.watch(virtual.conn.errors)
    virtual.run(1)
    assert events == ["a", "end", "disposed"]
    assert errors.ends == [None]
    assert over == [None]


def test_a_subscriber_that_comes_in_the_same_turn_may_still_answer() -> None:
    """Messages and a close in one chunk: code that subscribes again and again answers each."""
    virtual = VirtualSession()
    seen: list[str] = []

    def ask(*_: object) -> None:
        virtual.conn.incoming.pipe(ops.first()).subscribe(answer, seen_end)

    def answer(message: str) -> None:
        # A turn later, as a coroutine that awaits the message does.
        def resume(*_: object) -> None:
            seen.append(message)
            virtual.conn.outgoing.on_next(message.upper())
            ask()

        virtual.clock.schedule(resume)

    def seen_end(error: Exception) -> None:
        seen.append(type(error).__name__)

    ask()
    virtual.peer.message("a", "b", "c")
    virtual.peer.close(4001)
    virtual.settle()
    assert seen == ["a", "b", "c", "ConnectionClosed"]
    assert virtual.messages == ["A", "B", "C"]
    assert virtual.close_frame.code == 4001


def test_a_full_send_buffer_does_not_delay_a_close_without_a_subscriber() -> None:
    """A handler that only sends sees the peer's close, although the peer reads nothing."""
    virtual = VirtualSession(high_water=100, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 1000)
    assert virtual.session.gate.held
    virtual.peer.close(4001)
    assert virtual.watch(virtual.conn.closed).values == [Close(4001)]


@pytest.mark.promise("pings")
@pytest.mark.parametrize("held", ["no subscriber", "a pause", "a full send buffer"])
def test_pings_are_answered_behind_messages_that_wait(held: str) -> None:
    """A ping behind messages that wait is answered at once, whatever they wait for."""
    virtual = VirtualSession(watch=held != "no subscriber", high_water=1000, send_timeout=100.0)
    if held == "a pause":
        virtual.conn.flow.pause()
    elif held == "a full send buffer":
        virtual.peer.stop()
        virtual.conn.outgoing.on_next("x" * 2000)
    virtual.peer.message("waits")
    virtual.peer.ping(b"1")
    virtual.peer.message("waits, too")
    virtual.peer.ping(b"2")
    if held == "a full send buffer":
        virtual.peer.go()
        assert pongs(virtual) == [b"2"], "the latest"
    else:
        assert pongs(virtual) == [b"1", b"2"]


@pytest.mark.promise("memory-in")
def test_beyond_the_read_ahead_tcp_holds_the_peer_back() -> None:
    """Reading stops above `high_water` bytes of waiting messages, and resumes at half of that."""
    virtual = VirtualSession(watch=True, high_water=10 * 1128)
    with virtual.conn.flow.pause():
        for number in range(20):
            virtual.peer.message(f"{number:01000}")
        virtual.peer.ping(b"behind")
        virtual.run(5)
        assert virtual.session.incoming.waiting == 10
        assert pongs(virtual) == []
        assert not virtual.transport.reading
    virtual.settle()
    assert [int(value) for value in virtual.incoming.values] == list(range(20))
    assert pongs(virtual) == [b"behind"]
    assert virtual.transport.reading


def test_one_message_of_any_size_fits() -> None:
    """A message larger than `high_water` is read, and nothing behind it."""
    virtual = VirtualSession(high_water=1)
    virtual.peer.message("x" * 1000, "y")
    assert virtual.session.incoming.waiting == 1
    assert not virtual.transport.reading


def test_nothing_is_left_when_nothing_waits() -> None:
    """An empty read-ahead uses no memory."""
    virtual = VirtualSession(watch=True)
    with virtual.conn.flow.pause():
        virtual.peer.message("a")
        assert virtual.session.incoming._ahead is not None
    virtual.run(1)
    assert virtual.session.incoming._ahead is None
    assert virtual.clock.pending == 0


# --- a subscriber holds -----------------------------------------------------------------------


@pytest.mark.promise("before-end")
@pytest.mark.parametrize("waiting", [0, 3])
@every_end
def test_the_end_waits_for_a_subscriber_that_pauses(end: str, waiting: int) -> None:
    """While a subscriber pauses, the end waits behind the messages, and answers can be sent."""
    virtual = VirtualSession(watch=True)
    pause = virtual.conn.flow.pause()
    messages = [str(number) for number in range(waiting)]
    virtual.peer.message(*messages)
    end_connection(virtual, end)
    virtual.run(10)
    assert virtual.closed.values == []
    assert virtual.session.end_deferred
    if end != "lost":
        virtual.conn.outgoing.on_next("answer")
        assert virtual.messages == ["answer"]
    pause.dispose()
    virtual.settle()
    assert virtual.incoming.values == messages
    assert virtual.closed.times == [10]
    check_closed(virtual, end)


def test_a_pause_without_a_subscriber_delays_the_end() -> None:
    """A pause delays the end also between two subscriptions, as an answer may follow it."""
    virtual = VirtualSession()
    closed = virtual.watch(virtual.conn.closed)
    with virtual.conn.flow.pause():
        virtual.peer.message("a")
        virtual.peer.close(1000)
        virtual.run(5)
        assert closed.values == []
        virtual.conn.outgoing.on_next("answer")
    virtual.settle()
    assert virtual.messages == ["answer"]
    assert closed.times == [5]


def test_the_end_waits_until_the_last_subscriber_leaves() -> None:
    """If the subscriber that holds messages leaves, nobody subscribes: the end is reported."""
    virtual = VirtualSession(high_water=200, send_timeout=1000.0)
    seen = virtual.watch(virtual.conn.incoming)
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 300)
    virtual.peer.message("a")
    virtual.peer.close(4001)
    virtual.run(5)
    assert closed.values == []
    seen.subscription.dispose()
    virtual.run(1)
    assert closed.times == [5]
    assert seen.values == []


def test_an_end_without_messages_waits_for_no_subscriber_that_left() -> None:
    """If the last subscriber leaves while the peer is slow, an end without messages is reported."""
    virtual = VirtualSession(high_water=200, send_timeout=1000.0)
    seen = virtual.watch(virtual.conn.incoming)
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 300)
    virtual.peer.close(4001)
    virtual.run(5)
    assert closed.values == []
    seen.subscription.dispose()
    virtual.run(1)
    assert closed.times == [5]


def test_a_send_into_a_lost_connection_ends_the_wait() -> None:
    """A send that fails reveals a loss during a pause: the messages come first, then the end."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    virtual.peer.message("a")
    virtual.peer.lost()
    virtual.run(1)
    assert virtual.closed.values == []
    virtual.conn.outgoing.on_next("too late")
    virtual.settle()
    assert virtual.incoming.values == ["a"]
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


@pytest.mark.promise("verdict")
def test_a_loss_behind_a_close_frame_does_not_hide_it() -> None:
    """If TCP is lost after the peer's close frame has arrived, `closed` reports the frame."""
    virtual = VirtualSession(watch=True, heartbeat=10.0)
    virtual.conn.flow.pause()
    virtual.peer.message("a")
    virtual.peer.close(4001)
    virtual.peer.lost()
    virtual.session.on_lost()
    virtual.run(100)
    virtual.check_over(Close(4001, by="peer"), ConnectionClosed)
    assert virtual.incoming.values == ["a"]
    assert virtual.closed.times == [10], "the heartbeat finds out"


@pytest.mark.promise("verdict")
def test_a_send_timeout_behind_a_close_frame_does_not_hide_it() -> None:
    """If a send timeout follows the peer's close frame, `closed` reports the close frame."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.flow.pause()
    virtual.peer.close(4001)
    virtual.conn.outgoing.on_next("fills the wire")
    virtual.run(30)
    virtual.check_over(Close(4001, by="peer"), ConnectionClosed)
    assert not isinstance(virtual.incoming.error, SendTimeout)
    assert virtual.transport.over


@pytest.mark.parametrize("how", ["shutdown", "terminate", "on_cancelled"])
def test_a_shutdown_behind_a_close_frame_does_not_hide_it(how: str) -> None:
    """If the application ends after the peer's close has arrived, `closed` reports the peer's."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    virtual.peer.message("a")
    virtual.peer.close(4001)
    getattr(virtual.session, how)()
    virtual.settle()
    assert virtual.incoming.values == ["a"]
    virtual.check_over(Close(4001, by="peer"), ConnectionClosed)


def test_a_shutdown_drops_what_waits_for_a_subscriber() -> None:
    """A shutdown drops messages without a subscriber, before and after the end."""
    for ended in (False, True):
        virtual = VirtualSession()
        virtual.peer.message("a")
        if ended:
            virtual.peer.close(1000)
            virtual.settle()
        virtual.session.shutdown()
        virtual.settle()
        assert virtual.dropped == {"unobserved": 1}
        late = virtual.watch(virtual.conn.incoming)
        assert (late.values, late.ends) == ([], [None])
        assert virtual.watch(virtual.conn.closed).values[0].code == (1000 if ended else 1001)


def test_our_close_does_not_wait_for_a_pause() -> None:
    """If we close while the peer's close waits, both closes cross, and ours counts."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    virtual.peer.message("a")
    virtual.peer.close(4001)
    virtual.conn.outgoing.on_next(Close(4002))
    virtual.settle()
    assert virtual.incoming.values == ["a"]
    virtual.check_over(Close(4002))


def test_an_end_that_waited_until_tcp_was_lost_leaves_no_timer() -> None:
    """If TCP is lost while an invalid frame waits behind a pause, the end waits for nothing."""
    virtual = VirtualSession()
    incoming = virtual.watch(virtual.conn.incoming)
    pause = virtual.conn.flow.pause()
    virtual.peer.violation(1009)
    virtual.transport.lose()
    virtual.settle()
    assert not incoming.ends
    pause.dispose()
    virtual.settle()
    assert isinstance(incoming.error, ConnectionClosed)
    assert incoming.error.close.code == 1009
    assert virtual.clock.pending == 0


# --- a server push: incoming="discard" ----------------------------------------------------------


def push(_: AnyConnection) -> rx.Observable[Any]:
    return rx.never()


@pytest.mark.promise("counted")
@pytest.mark.parametrize("paused", [False, True])
@every_end
def test_incoming_discard_sees_the_end_at_once(
    end: str, paused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With `incoming="discard"` messages are dropped and counted; the end is seen at once."""
    virtual = VirtualSession(push, incoming="discard")
    closed = virtual.watch(virtual.conn.closed)
    if paused:
        virtual.conn.flow.pause()
    virtual.peer.message("a", "b")
    end_connection(virtual, end)
    if end != "lost":
        assert closed.times == [0]
    virtual.settle()
    assert closed.times == [0]
    check_closed(virtual, end)
    assert virtual.dropped == {"unobserved": 2}
    assert virtual.stats.received_messages == 2
    assert virtual.session.over
    assert caplog.records == []


def test_a_subscriber_gets_messages_despite_discard() -> None:
    """With `incoming="discard"` a subscriber gets the messages while it is subscribed."""
    virtual = VirtualSession(incoming="discard")
    virtual.peer.message("before")
    seen = virtual.watch(virtual.conn.incoming)
    virtual.peer.message("a")
    seen.subscription.dispose()
    virtual.peer.message("after")
    assert seen.values == ["a"]
    assert virtual.dropped == {"unobserved": 2}


@pytest.mark.parametrize("waiting", [0, 2])
def test_with_discard_the_end_does_not_wait_for_a_subscriber_that_left(waiting: int) -> None:
    """With `incoming="discard"` an end that waited is seen when the last subscriber leaves."""
    virtual = VirtualSession(incoming="discard")
    seen = virtual.watch(virtual.conn.incoming)
    closed = virtual.watch(virtual.conn.closed)
    virtual.conn.flow.pause()
    virtual.peer.message(*"ab"[:waiting])
    virtual.peer.close(4001)
    virtual.run(5)
    assert closed.values == []
    seen.subscription.dispose()
    virtual.settle()
    assert closed.times == [5]
    assert virtual.stats.dropped == ({"unobserved": waiting} if waiting else {})


def test_a_listener_may_discard() -> None:
    """`listener("discard", outgoing)` only sends."""
    outgoing: Subject[str] = Subject()
    virtual = VirtualSession(listener("discard", outgoing))
    virtual.peer.message("a")
    outgoing.on_next("pushed")
    assert virtual.messages == ["pushed"]
    assert virtual.dropped == {"unobserved": 1}
    virtual.peer.close(1000)
    assert virtual.watch(virtual.conn.closed).values == [Close(1000)]


def test_a_listener_discards_nothing_of_another_stream() -> None:
    """`listener("discard", outgoing)` leaves an `incoming` that is no connection's alone."""
    incoming: Any = Subject()
    conn = dataclasses.replace(VirtualSession().conn, incoming=incoming)
    outgoing: Subject[str] = Subject()
    assert listener("discard", outgoing)(conn) is outgoing


def test_incoming_takes_hold_or_discard() -> None:
    """Another value of `incoming` is refused."""
    bad: Any = "drop"
    with pytest.raises(ValueError, match=r'incoming=.drop. is unknown: use "hold" or "discard"'):
        Options(incoming=bad)


# --- the warning ------------------------------------------------------------------------------


def test_subscribing_closed_while_messages_wait_logs_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Subscribing to `closed` while messages wait logs one warning that names the remedy."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    virtual.conn.closed.subscribe()
    virtual.conn.closed.subscribe()
    virtual.settle()
    virtual.conn.closed.subscribe()
    virtual.settle()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.WARNING)
    assert "conn.incoming.subscribe()" in record.getMessage()


@pytest.mark.promise("verdict")
async def test_awaiting_closed_while_messages_wait_logs_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Awaiting `closed` logs one warning as soon as a message waits, and gets the peer's close."""
    virtual = VirtualSession()
    waiting = asyncio.ensure_future(virtual.conn.closed)
    await asyncio.sleep(0)
    virtual.peer.message("a")
    virtual.settle()
    assert len(caplog.records) == 1
    virtual.peer.message("b")
    virtual.peer.close(4001)
    virtual.settle()
    assert await asyncio.wait_for(waiting, 10) == Close(4001)
    assert len(caplog.records) == 1
    virtual.conn.incoming.subscribe(on_error=lambda _: None)
    virtual.settle()


@pytest.mark.parametrize("first", ["closed", "incoming"])
def test_no_warning_if_incoming_is_subscribed_in_the_same_turn(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Subscribing to both streams in the same turn logs nothing, in either order."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    for stream in (first, "incoming", "closed"):
        getattr(virtual.conn, stream).subscribe()
    virtual.settle()
    virtual.conn.closed.subscribe()
    assert caplog.records == []


def test_no_warning_if_the_messages_are_gone_in_the_next_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Messages that are delivered before the warning is due log nothing."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    virtual.conn.incoming.subscribe()
    virtual.clock.turn()
    subscription = virtual.conn.incoming.subscribe()
    subscription.dispose()
    virtual.conn.closed.subscribe()
    virtual.peer.message("b")
    virtual.settle()
    assert caplog.records == []


def test_a_recording_causes_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """What watches `closed`, such as a recording, does not count as a subscriber."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    Recording.of(virtual.conn)
    virtual.settle()
    assert caplog.records == []


def test_a_warning_that_proved_needless_may_come_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a subscriber came in time but left again, the next subscription to `closed` warns."""
    virtual = VirtualSession()
    pause = virtual.conn.flow.pause()
    virtual.peer.message("a")
    virtual.conn.closed.subscribe()
    subscription = virtual.conn.incoming.subscribe()
    virtual.settle()
    assert caplog.records == []
    subscription.dispose()
    virtual.conn.closed.subscribe()
    virtual.settle()
    assert len(caplog.records) == 1
    pause.dispose()


# --- delivery of what waited ------------------------------------------------------------------


@pytest.mark.promise("turns")
@pytest.mark.parametrize("ended", [False, True])
def test_slow_delivery_of_waiting_messages_leaves_turns_to_the_loop(ended: bool) -> None:
    """If subscribers are slow to take waiting messages, the loop gets a turn every 10 ms."""
    virtual = VirtualSession()
    virtual.peer.message(*"abcdefgh")
    if ended:
        virtual.peer.close(1000)
        virtual.settle()
        assert virtual.watch(virtual.conn.closed).values == [Close(1000)]
    seen: list[str] = []

    def take(message: str) -> None:
        seen.append(message)
        virtual.clock.sleep(0.004)

    virtual.conn.incoming.subscribe(take)
    for count in (3, 6, 8):
        virtual.clock.turn()
        assert len(seen) == count
    assert seen == list("abcdefgh")


def test_a_shutdown_delivers_all_waiting_messages_at_once() -> None:
    """At a shutdown a slow subscriber gets all messages now, as the loop may not run again."""
    virtual = VirtualSession()
    seen: list[str] = []

    def take(message: str) -> None:
        seen.append(message)
        virtual.clock.sleep(0.004)

    virtual.conn.incoming.subscribe(take)
    virtual.conn.flow.pause()
    virtual.peer.message(*"abcdefgh")
    virtual.peer.close(1000)
    virtual.session.shutdown()
    assert seen == list("abcdefgh")
    assert virtual.session.over


def test_a_base_exception_ends_the_delivery() -> None:
    """A KeyboardInterrupt in a subscriber goes on; waiting messages are dropped and counted."""
    virtual = VirtualSession()
    virtual.peer.message("a", "b", "c")

    def fail(_: str) -> None:
        raise KeyboardInterrupt

    subscription = virtual.conn.incoming.subscribe(fail)
    with pytest.raises(KeyboardInterrupt):
        virtual.settle()
    assert virtual.dropped == {"closed": 2}
    subscription.dispose()
    virtual.settle()
    assert virtual.watch(virtual.conn.closed).values[0].code == 1011
    assert virtual.close_frame.code == 1011


def test_a_base_exception_of_the_last_message_drops_nothing() -> None:
    """A KeyboardInterrupt in the delivery of the last message leaves nothing to count."""
    virtual = VirtualSession()
    virtual.peer.message("a")

    def fail(_: str) -> None:
        raise KeyboardInterrupt

    virtual.conn.incoming.subscribe(fail)
    with pytest.raises(KeyboardInterrupt):
        virtual.settle()
    assert virtual.dropped == {}


def test_a_message_that_is_put_back_after_the_end_is_counted() -> None:
    """A message that is put back when `incoming` has ended is dropped and counted."""
    virtual = VirtualSession(watch=True)
    virtual.peer.message("a")
    virtual.peer.close(1000)
    virtual.session.incoming.put_back("a")
    assert virtual.dropped == {"unobserved": 1}


def test_the_last_message_may_be_put_back_in_the_turn_of_its_delivery() -> None:
    """If nobody is left after the last message, `incoming` ends a turn later: it may come back."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    virtual.peer.close(1000)
    virtual.settle()
    first = virtual.watch(virtual.conn.incoming.pipe(ops.take(1)))
    virtual.clock.turn()
    assert first.values == ["a"]
    assert not virtual.session.over
    virtual.session.incoming.put_back("a")  # as a cancelled coroutine does
    virtual.settle()
    later = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert (later.values, later.ends) == (["a"], [None])
    assert virtual.session.over
    assert virtual.dropped == {}


def test_a_base_exception_at_the_end_goes_on_after_it() -> None:
    """A KeyboardInterrupt in a subscriber at the end is raised after all streams have ended."""
    virtual = VirtualSession()

    def fail(_: str) -> None:
        raise KeyboardInterrupt

    virtual.conn.incoming.subscribe(fail)
    virtual.conn.flow.pause()
    virtual.peer.message("a", "b")
    virtual.session.shutdown()
    assert virtual.watch(virtual.conn.closed).values[0].code == 1001
    with pytest.raises(KeyboardInterrupt):
        virtual.settle()
    virtual.settle()
    assert virtual.session.over
