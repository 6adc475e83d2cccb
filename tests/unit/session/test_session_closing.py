"""One connection's life in virtual time: closes that cross, wait, and what comes after them."""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxws import Close, ConnectionClosed
from rxws._session.session import State
from support.virtual.session import Rig


def state(rig: Rig) -> State:
    return rig.session.state


def answered(rig: Rig) -> None:
    """The peer answers our close frame, and TCP ends."""
    rig.peer.close(rig.close_frame.code, rig.close_frame.reason)
    rig.settle()


def complete(rig: Rig) -> None:
    rig.conn.outgoing.on_completed()


def send_close(rig: Rig) -> None:
    rig.conn.outgoing.on_next(Close(4001, "why"))


def test_a_peers_close_that_crosses_ours_counts_if_ours_had_not_left() -> None:
    """It is answered instead, after the messages that waited."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("first")
    rig.conn.outgoing.on_next("second")
    send_close(rig)
    rig.peer.close(4002, "theirs")
    rig.check_over(Close(4002, "theirs", by="peer"), ConnectionClosed)
    rig.peer.go()
    assert rig.messages == ["first", "second"]
    assert rig.close_frame.code == 4002


def test_tcp_lost_before_our_close_left_is_1006() -> None:
    """What waited is dropped and counted."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("in the transport")
    rig.conn.outgoing.on_next("waits")
    send_close(rig)
    rig.peer.lost()
    rig.settle()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.dropped == {"closed": 1}


def test_a_violation_before_our_close_left_is_that_violation() -> None:
    """Our close was nobody's business yet."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    send_close(rig)
    rig.peer.violation(1007)
    rig.check_over(Close(1007, "Invalid Data"), ConnectionClosed)
    rig.peer.go()
    assert rig.close_frame.code == 1007


@pytest.mark.promise("once")
def test_the_first_end_counts() -> None:
    """What comes after it changes nothing."""
    rig = Rig(watch=True)
    send_close(rig)
    complete(rig)
    rig.conn.outgoing.on_next(Close(4002))
    answered(rig)
    rig.check_over(Close(4001, "why"))


def test_while_our_close_is_unanswered_messages_still_come() -> None:
    """The peer had sent them before it saw it."""
    rig = Rig(watch=True)
    complete(rig)
    rig.peer.message("late")
    answered(rig)
    assert rig.incoming.values == ["late"]


def test_once_closing_has_begun_holds_do_not_stop_reading() -> None:
    """Else the answer would never be read."""
    rig = Rig(watch=True)
    rig.conn.flow.pause()
    complete(rig)
    rig.conn.flow.pause()
    rig.peer.message("late")
    answered(rig)
    rig.settle()
    rig.check_over(Close())
    assert rig.incoming.values == ["late"]


def test_a_close_of_ours_waits_for_what_is_queued_at_most_send_timeout() -> None:
    """Then the peer is aborted: 1006 and SendTimeout."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x")
    complete(rig)
    rig.run(100)
    assert rig.closed.times == [20]
    assert rig.closed.values == [Close(1006)]
    assert rig.transport.times("abort") == [20]


def test_a_close_of_ours_on_a_wire_full_of_pongs_ends_too() -> None:
    """Nothing of ours waits but the close frame, which must not wait for ever."""
    rig = Rig(watch=True, send_timeout=20.0, heartbeat=20.0)
    rig.transport.set_writable(False, 4096)
    complete(rig)
    rig.run(100)
    assert len(rig.closed.values) == 1


def test_a_close_of_ours_behind_a_trickle_waits_no_longer() -> None:
    """At most send_timeout from the close on."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.peer.stop()
    rig.conn.outgoing.on_next("first")
    rig.run(10)
    for _ in range(100):
        rig.conn.outgoing.on_next("x")
    rig.run(5)
    complete(rig)
    rig.run(4)
    rig.peer.go(0)
    rig.run(15.9)
    assert rig.closed.values == []
    rig.run(0.2)
    assert len(rig.closed.values) == 1


# --- the flush --------------------------------------------------------------------------------


def test_what_is_flushed_at_completion_is_dropped_and_counted() -> None:
    """CLOSED comes before the end of `incoming`: a debounced value is not written after it."""
    states: list[State] = []
    rig = Rig(lambda conn: conn.incoming.pipe(ops.debounce(1.0)), watch=True)
    rig.conn.incoming.subscribe(on_completed=lambda: states.append(rig.session.state))
    rig.peer.message("pending")
    rig.peer.close(1000)
    rig.run(5)
    assert rig.messages == []
    assert rig.dropped == {"closed": 1}
    assert states == [State.CLOSED]


@pytest.mark.promise("once")
def test_after_the_end_nothing_is_told_and_nothing_sent() -> None:
    """Whatever the wire or the user still says."""
    rig = Rig(watch=True)
    errors = rig.watch(rig.conn.errors)
    rig.peer.close(1000)
    sent = list(rig.transport.sent)
    for late in ("x", b"y"):
        rig.session.on_message(late, len(late))
    rig.session.on_ping(b"1")
    rig.session.on_pong(b"1")
    rig.session.on_close(4001, "")
    rig.session.on_violation(1002)
    rig.session.on_writable(False)
    rig.session.on_lost()
    rig.conn.outgoing.on_next("z")
    rig.session.shutdown()
    rig.run(100)
    rig.check_over(Close(1000, by="peer"))
    assert rig.transport.sent == sent
    assert errors.ends == [None]
    assert rig.dropped == {"closed": 3}


def test_a_pipeline_is_disposed_at_the_end() -> None:
    """Whatever it was doing."""
    disposed: list[float] = []

    def push(_: object) -> rx.Observable[str]:
        return rx.never().pipe(ops.finally_action(lambda: disposed.append(1)))

    rig = Rig(push, watch=True)
    rig.peer.close(1000)
    assert disposed == [1]
