"""One connection's life in virtual time: closes that cross, wait, and what comes after them."""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxws import Close, ConnectionClosed
from rxws._session.session import State
from support.virtual.session import VirtualSession


def state(virtual: VirtualSession) -> State:
    return virtual.session.state


def answered(virtual: VirtualSession) -> None:
    """The peer answers our close frame, and TCP ends."""
    virtual.peer.close(virtual.close_frame.code, virtual.close_frame.reason)
    virtual.settle()


def complete(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_completed()


def send_close(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_next(Close(4001, "why"))


def test_a_peers_close_that_crosses_ours_counts_if_ours_had_not_left() -> None:
    """It is answered instead, after the messages that waited."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("first")
    virtual.conn.outgoing.on_next("second")
    send_close(virtual)
    virtual.peer.close(4002, "theirs")
    virtual.check_over(Close(4002, "theirs", by="peer"), ConnectionClosed)
    virtual.peer.go()
    assert virtual.messages == ["first", "second"]
    assert virtual.close_frame.code == 4002


def test_tcp_lost_before_our_close_left_is_1006() -> None:
    """What waited is dropped and counted."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("in the transport")
    virtual.conn.outgoing.on_next("waits")
    send_close(virtual)
    virtual.peer.lost()
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.dropped == {"closed": 1}


def test_a_violation_before_our_close_left_is_that_violation() -> None:
    """Our close was nobody's business yet."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    send_close(virtual)
    virtual.peer.violation(1007)
    virtual.check_over(Close(1007, "Invalid Data"), ConnectionClosed)
    virtual.peer.go()
    assert virtual.close_frame.code == 1007


@pytest.mark.promise("once")
def test_the_first_end_counts() -> None:
    """What comes after it changes nothing."""
    virtual = VirtualSession(watch=True)
    send_close(virtual)
    complete(virtual)
    virtual.conn.outgoing.on_next(Close(4002))
    answered(virtual)
    virtual.check_over(Close(4001, "why"))


def test_while_our_close_is_unanswered_messages_still_come() -> None:
    """The peer had sent them before it saw it."""
    virtual = VirtualSession(watch=True)
    complete(virtual)
    virtual.peer.message("late")
    answered(virtual)
    assert virtual.incoming.values == ["late"]


def test_once_closing_has_begun_holds_do_not_stop_reading() -> None:
    """Else the answer would never be read."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    complete(virtual)
    virtual.conn.flow.pause()
    virtual.peer.message("late")
    answered(virtual)
    virtual.settle()
    virtual.check_over(Close())
    assert virtual.incoming.values == ["late"]


def test_a_close_of_ours_waits_for_what_is_queued_at_most_send_timeout() -> None:
    """Then the peer is aborted: 1006 and SendTimeout."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    complete(virtual)
    virtual.run(100)
    assert virtual.closed.times == [20]
    assert virtual.closed.values == [Close(1006)]
    assert virtual.transport.times("abort") == [20]


def test_a_close_of_ours_on_a_wire_full_of_pongs_ends_too() -> None:
    """Nothing of ours waits but the close frame, which must not wait for ever."""
    virtual = VirtualSession(watch=True, send_timeout=20.0, heartbeat=20.0)
    virtual.transport.set_writable(False, 4096)
    complete(virtual)
    virtual.run(100)
    assert len(virtual.closed.values) == 1


def test_a_close_of_ours_behind_a_trickle_waits_no_longer() -> None:
    """At most send_timeout from the close on."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("first")
    virtual.run(10)
    for _ in range(100):
        virtual.conn.outgoing.on_next("x")
    virtual.run(5)
    complete(virtual)
    virtual.run(4)
    virtual.peer.go(0)
    virtual.run(15.9)
    assert virtual.closed.values == []
    virtual.run(0.2)
    assert len(virtual.closed.values) == 1


# --- the flush --------------------------------------------------------------------------------


def test_what_is_flushed_at_completion_is_dropped_and_counted() -> None:
    """CLOSED comes before the end of `incoming`: a debounced value is not written after it."""
    states: list[State] = []
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.debounce(1.0)), watch=True)
    virtual.conn.incoming.subscribe(on_completed=lambda: states.append(virtual.session.state))
    virtual.peer.message("pending")
    virtual.peer.close(1000)
    virtual.run(5)
    assert virtual.messages == []
    assert virtual.dropped == {"closed": 1}
    assert states == [State.CLOSED]


@pytest.mark.promise("once")
def test_after_the_end_nothing_is_told_and_nothing_sent() -> None:
    """Whatever the wire or the user still says."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.peer.close(1000)
    sent = list(virtual.transport.sent)
    for late in ("x", b"y"):
        virtual.session.on_message(late, len(late))
    virtual.session.on_ping(b"1")
    virtual.session.on_pong(b"1")
    virtual.session.on_close(4001, "")
    virtual.session.on_violation(1002)
    virtual.session.on_writable(False)
    virtual.session.on_lost()
    virtual.conn.outgoing.on_next("z")
    virtual.session.shutdown()
    virtual.run(100)
    virtual.check_over(Close(1000, by="peer"))
    assert virtual.transport.sent == sent
    assert errors.ends == [None]
    assert virtual.dropped == {"closed": 3}


def test_a_pipeline_is_disposed_at_the_end() -> None:
    """Whatever it was doing."""
    disposed: list[float] = []

    def push(_: object) -> rx.Observable[str]:
        return rx.never().pipe(ops.finally_action(lambda: disposed.append(1)))

    virtual = VirtualSession(push, watch=True)
    virtual.peer.close(1000)
    assert disposed == [1]
