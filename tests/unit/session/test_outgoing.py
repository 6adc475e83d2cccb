"""The Subject that messages are pushed through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import BufferOverflow, Close, ConnectionClosed, EncodeError, codecs
from rxws.overflow import OVERHEAD, Overflow, latest
from support.virtual.session import VirtualSession


def in_thread(*pushes: Any) -> None:
    """Make these calls, each in the same other thread."""

    def run() -> None:
        for push, *arguments in pushes:
            push(*arguments)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def fail(*_: object) -> NoReturn:
    raise ValueError("mine")


def test_messages_leave_at_once_and_in_order() -> None:
    """Within the call that pushes them."""
    virtual = VirtualSession(watch=True)
    for message in ("a", b"b", "c"):
        virtual.conn.outgoing.on_next(message)
    assert virtual.messages == ["a", b"b", "c"]


def test_it_is_a_subject_and_takes_part_in_pipelines_as_one() -> None:
    """Anything that feeds an observer feeds it, and its end ends the connection."""
    virtual = VirtualSession(watch=True)
    assert isinstance(virtual.conn.outgoing, Subject)
    rx.of("a", "b").subscribe(virtual.conn.outgoing)
    assert virtual.messages == ["a", "b"]
    assert virtual.close_frame.code == 1000


def test_who_subscribes_sees_what_is_sent_and_the_end() -> None:
    """The `Close`, too; the connection as well as the user may be the one who ends it."""
    virtual = VirtualSession(watch=True)
    seen = virtual.watch(virtual.conn.outgoing)
    assert virtual.conn.outgoing.observers != []
    virtual.conn.outgoing.on_next("a")
    virtual.conn.outgoing.on_next(Close(4001))
    assert seen.values == ["a", Close(4001)]
    assert seen.ends == virtual.watch(virtual.conn.outgoing).ends == [None]
    assert virtual.conn.outgoing.observers == []

    other = VirtualSession(watch=True)
    seen = other.watch(other.conn.outgoing)
    other.peer.close(1000)
    assert seen.ends == [None]


def test_who_subscribes_sees_its_error() -> None:
    """The exception itself; only the peer does not get to see it."""
    virtual = VirtualSession(watch=True)
    seen = virtual.watch(virtual.conn.outgoing)
    error = ConnectionClosed(Close(4003, "no"))
    virtual.conn.outgoing.on_error(error)
    assert seen.ends == virtual.watch(virtual.conn.outgoing).ends == [error]


def test_a_send_by_who_watches_outgoing_follows_what_it_saw() -> None:
    """The wire has the order in which they were pushed."""
    virtual = VirtualSession(watch=True)
    answers: dict[Any, str] = {"1": "2", "2": "3"}
    virtual.conn.outgoing.subscribe(
        lambda value: virtual.conn.outgoing.on_next(answers[value]) if value in answers else None
    )
    virtual.conn.outgoing.on_next("1")
    assert virtual.messages == ["1", "2", "3"]


def test_a_long_chain_of_sends_does_not_recurse() -> None:
    """A ping-pong of 20,000 within one push."""
    virtual = VirtualSession(watch=True, max_buffer=1 << 30)

    def more(value: Any) -> None:
        if value != "0":
            virtual.conn.outgoing.on_next(str(int(value) - 1))

    virtual.conn.outgoing.subscribe(more)
    virtual.conn.outgoing.on_next("20000")
    assert virtual.messages == [str(number) for number in range(20_000, -1, -1)]


def test_a_ping_pong_with_a_peer_that_answers_at_once_does_not_recurse() -> None:
    """Nor does one between two who watch, of `incoming` and of `outgoing`."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.pipe(ops.take_while(lambda value: value != "done")).subscribe(
        lambda value: virtual.conn.outgoing.on_next(str(int(value) + 1))
    )
    virtual.conn.outgoing.subscribe(
        lambda value: virtual.session.on_message("done" if value == "10000" else str(value), 5)
    )
    virtual.peer.message("0")
    assert virtual.messages == [str(n) for n in range(1, 10_001)]


def test_a_send_within_incoming_keeps_order_for_all() -> None:
    """The answers leave in the order of the questions, whoever gives them."""
    virtual = VirtualSession(watch=True)
    for name in "xy":
        virtual.conn.incoming.pipe(ops.map(name.__add__)).subscribe(virtual.conn.outgoing.on_next)
    virtual.peer.message("1", "2")
    assert virtual.messages == ["x1", "y1", "x2", "y2"]


def test_one_who_raises_while_watching_is_a_fault_and_the_message_is_sent() -> None:
    """It starves neither the others nor the peer."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.subscribe(fail)
    seen = virtual.watch(virtual.conn.outgoing)
    virtual.conn.outgoing.on_next("a")
    assert (seen.values, virtual.messages) == (["a"], ["a"])
    assert [type(error) for error in errors.values] == [ValueError]


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015, 1016, 2999])
def test_a_close_that_may_not_be_sent_is_refused_in_the_caller(code: int) -> None:
    """ValueError, from any thread, and the connection stays open."""
    virtual = VirtualSession(watch=True)
    with pytest.raises(ValueError, match=f"close code {code} must not be sent"):
        virtual.conn.outgoing.on_next(Close(code))
    refused: list[ValueError] = []

    def push() -> None:
        try:
            virtual.conn.outgoing.on_next(Close(code))
        except ValueError as error:
            refused.append(error)

    in_thread((push,))
    virtual.settle()
    assert len(refused) == 1
    virtual.conn.outgoing.on_next("still open")
    assert virtual.messages == ["still open"]


@pytest.mark.parametrize(
    "end",
    [
        lambda outgoing: outgoing.on_completed(),
        lambda outgoing: outgoing.dispose(),
        lambda outgoing: outgoing.on_next(Close(1000)),
        lambda outgoing: outgoing.on_error(ConnectionClosed(Close(1000))),
    ],
    ids=["completed", "disposed", "Close", "error"],
)
def test_what_is_pushed_after_the_end_is_dropped_and_counted(end: Any) -> None:
    """It never raises; a second end changes nothing."""
    virtual = VirtualSession(watch=True)
    seen = virtual.watch(virtual.conn.outgoing)
    end(virtual.conn.outgoing)
    virtual.conn.outgoing.on_next("late")
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.conn.outgoing.on_completed()
    virtual.conn.outgoing.on_error(ConnectionClosed(Close(4002)))
    in_thread((virtual.conn.outgoing.on_next, "later"))
    virtual.settle()
    assert virtual.messages == []
    assert virtual.close_frame.code == 1000
    assert virtual.dropped == {"closed": 2}
    assert "late" not in seen.values
    assert not virtual.conn.outgoing.is_disposed


def test_a_message_pushed_by_who_is_told_of_the_end_is_dropped_too() -> None:
    """It comes after the end, however early."""
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.subscribe(on_completed=lambda: virtual.conn.outgoing.on_next("late"))
    virtual.conn.outgoing.on_completed()
    assert virtual.messages == []
    assert virtual.dropped == {"closed": 1}


def test_an_error_of_who_is_told_of_the_end_changes_no_code() -> None:
    """The first end counts."""
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.subscribe(
        on_completed=lambda: virtual.conn.outgoing.on_error(ConnectionClosed(Close(4002)))
    )
    virtual.conn.outgoing.on_next(Close(4001))
    assert virtual.close_frame.code == 4001


def test_who_watches_is_not_shown_what_is_flushed_into_a_closed_socket() -> None:
    """It was not sent."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.debounce(1.0)))
    seen = virtual.watch(virtual.conn.outgoing)
    virtual.peer.message("flushed")
    virtual.peer.close(1000)
    assert virtual.dropped == {"closed": 1}
    assert seen.values == []


def test_a_value_that_cannot_be_encoded_is_a_fault_and_the_stream_goes_on() -> None:
    """It carries the value; the messages around it leave."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    errors = virtual.watch(virtual.conn.errors)
    value = object()
    for each in (1, value, 2):
        virtual.conn.outgoing.on_next(each)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    assert error.value is value
    assert virtual.messages == ["1", "2"]


def test_pushes_from_another_thread_come_in_order_on_the_sessions() -> None:
    """Messages, and the end after them."""
    virtual = VirtualSession(watch=True)
    threads: list[int] = []
    virtual.conn.outgoing.subscribe(lambda _: threads.append(threading.get_ident()))
    push = virtual.conn.outgoing.on_next
    in_thread((push, "a"), (push, b"b"), (push, "c"), (virtual.conn.outgoing.on_completed,))
    assert virtual.messages == [], "nothing happens on the other thread"
    virtual.settle()
    assert virtual.messages == ["a", b"b", "c"]
    assert virtual.close_frame.code == 1000
    assert set(threads) == {threading.get_ident()}


def test_an_error_from_another_thread_ends_the_connection() -> None:
    """As one from this thread does."""
    virtual = VirtualSession(watch=True)
    in_thread((virtual.conn.outgoing.on_error, ConnectionClosed(Close(4003, "no"))))
    virtual.settle()
    assert virtual.close_frame.code == 4003


def test_what_threads_push_before_the_loop_comes_is_bounded() -> None:
    """By max_buffer, each message counting 128 more; above it, 1013 as everywhere."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    push = virtual.conn.outgoing.on_next
    in_thread(*[(push, "x" * 128)] * 6)
    virtual.settle()
    virtual.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert virtual.stats.sent_messages == 4
    assert virtual.dropped == {"overflow": 2}


def test_an_end_from_a_thread_is_never_what_the_bound_refuses() -> None:
    """It costs nothing and is not to be lost."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    push = virtual.conn.outgoing.on_next
    in_thread(*[(push, "x" * 128)] * 4, (virtual.conn.outgoing.on_completed,))
    virtual.settle()
    assert len(virtual.messages) == 4
    assert virtual.close_frame.code == 1000


def test_a_large_message_from_a_thread_that_finds_nothing_waiting_is_sent() -> None:
    """Whatever its size, as it is from the session's own thread."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    in_thread((virtual.conn.outgoing.on_next, "x" * 2000))
    virtual.settle()
    assert virtual.messages == ["x" * 2000]


def test_an_overflow_of_threads_after_the_end_is_only_counted() -> None:
    """The end had come first."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    in_thread(*[(virtual.conn.outgoing.on_next, "x" * 128)] * 6)
    virtual.conn.outgoing.on_completed()
    virtual.settle()
    assert virtual.close_frame.code == 1000
    assert virtual.dropped == {"closed": 4, "overflow": 2}


# --- what other threads push above the bound before the session comes to take it ---------------


FIT = 10
ROOM = FIT * (OVERHEAD + 2)
MANY = [f"{number:02}" for number in range(50)]
DROPPING: list[Overflow] = ["drop_oldest", "drop_newest", latest(), latest(hash)]


def named(policy: Overflow) -> str:
    """How a test names a policy."""
    if isinstance(policy, str):
        return policy
    return "latest()" if policy.key is None else "latest(key)"


def elsewhere(push: Callable[[], object]) -> None:
    """Run in another thread, to its end."""
    thread = threading.Thread(target=push)
    thread.start()
    thread.join()


def flooded(policy: Overflow, *ends: Callable[[Any], object]) -> VirtualSession:
    """A connection that a thread pushed more to than fits, and then an end."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)

    def push() -> None:
        for message in MANY:
            virtual.conn.outgoing.on_next(message)
        for end in ends:
            end(virtual.conn.outgoing)

    elsewhere(push)
    virtual.settle()
    return virtual


def test_by_close_it_ends_the_connection() -> None:
    """With 1013, and what did not fit is counted."""
    virtual = flooded("close")
    assert virtual.close_frame.code == 1013
    virtual.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert virtual.messages == MANY[:FIT]
    assert virtual.dropped == {"overflow": len(MANY) - FIT}


def test_by_drop_newest_the_first_are_sent() -> None:
    """As many as fit; the connection goes on."""
    virtual = flooded("drop_newest")
    assert virtual.messages == MANY[:FIT]
    assert virtual.dropped == {"overflow": len(MANY) - FIT}
    assert virtual.closed.values == []


def test_by_drop_oldest_the_last_are_sent() -> None:
    """As many as fit."""
    virtual = flooded("drop_oldest")
    assert virtual.messages == MANY[-FIT:]
    assert virtual.dropped == {"overflow": len(MANY) - FIT}


@pytest.mark.parametrize("policy", [latest(), latest(lambda value: value[1])], ids=named)
def test_by_latest_the_newest_is_sent(policy: Overflow) -> None:
    """It is what conflating is for."""
    assert flooded(policy).messages[-1] == MANY[-1]


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_every_message_is_accounted_for(policy: Overflow) -> None:
    """Sent or counted as dropped, and never out of order."""
    virtual = flooded(policy)
    assert virtual.stats.sent_messages + sum(virtual.dropped.values()) == len(MANY)
    assert virtual.messages == sorted(set(virtual.messages))
    assert virtual.closed.values == []


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_completion_is_never_dropped(policy: Overflow) -> None:
    """Nor is an error: they come behind the messages."""
    virtual = flooded(policy, lambda outgoing: outgoing.on_completed())
    assert virtual.close_frame.code == 1000
    virtual = flooded(policy, lambda outgoing: outgoing.on_error(ValueError("mine")))
    assert virtual.close_frame.code == 1011


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_close_from_a_thread_is_never_dropped(policy: Overflow) -> None:
    """However much was pushed before it."""
    virtual = flooded(policy, lambda outgoing: outgoing.on_next(Close(4001)))
    assert virtual.close_frame.code == 4001


@pytest.mark.parametrize("policy", ["drop_oldest", latest(hash)], ids=named)
@pytest.mark.parametrize("code", [1000, 4001])
def test_what_is_pushed_behind_an_end_costs_nothing_before_it(policy: Overflow, code: int) -> None:
    """It is dropped itself, however much it is: nothing follows an end."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)

    def push() -> None:
        for message in MANY[:FIT]:
            virtual.conn.outgoing.on_next(message)
        if code == 1000:
            virtual.conn.outgoing.on_completed()
        else:
            virtual.conn.outgoing.on_next(Close(code))
        for message in MANY[FIT:]:
            virtual.conn.outgoing.on_next(message)

    elsewhere(push)
    virtual.settle()
    assert virtual.close_frame.code == code
    assert virtual.messages == MANY[:FIT]
    assert sum(virtual.dropped.values()) == len(MANY) - FIT


@pytest.mark.parametrize("policy", ["close", *DROPPING], ids=named)
def test_what_was_pushed_after_the_end_counts_as_closed_or_overflow(policy: Overflow) -> None:
    """And does not end the connection another way."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)
    virtual.conn.outgoing.on_next(Close(4001))

    def push() -> None:
        for message in MANY:
            virtual.conn.outgoing.on_next(message)

    elsewhere(push)
    virtual.settle()
    assert virtual.close_frame.code == 4001
    assert sum(virtual.dropped.values()) == len(MANY)
    virtual.peer.close(4001)
    virtual.check_over(Close(4001))


@pytest.mark.parametrize("policy", ["close", *DROPPING], ids=named)
def test_a_single_message_of_any_size_is_sent(policy: Overflow) -> None:
    """What finds nothing waiting is sent, from a thread as well."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)
    elsewhere(lambda: virtual.conn.outgoing.on_next("x" * 10 * ROOM))
    virtual.settle()
    assert virtual.messages == ["x" * 10 * ROOM]
    assert virtual.dropped == {}


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_thread_faces_the_bound_of_what_waits_too(policy: Overflow) -> None:
    """What it hands over in small portions meets the policy on the session's thread."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM, send_timeout=1e6)
    virtual.peer.stop()
    for message in MANY:
        elsewhere(lambda message=message: virtual.conn.outgoing.on_next(message))  # type: ignore[misc] # mypy infers no lambda with a default
        virtual.settle()
    assert len(virtual.session.flow.outbox) <= FIT
    virtual.peer.go()
    assert virtual.messages[0] == MANY[0], "it had begun to leave"
    assert virtual.stats.sent_messages + sum(virtual.dropped.values()) == len(MANY)
    if policy != "drop_newest":
        assert virtual.messages[-1] == MANY[-1]
