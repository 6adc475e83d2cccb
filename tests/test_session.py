"""One connection's life in virtual time: the close table, row by row.

`tests/conformance` has the same table on sockets, at both ends.
"""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from rig import Rig

from rxws import Close, ConnectionClosed
from rxws.messages import Kind
from rxws.session import State

CLEAN = [1000, 1001]
OTHER = [1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
ILLEGAL = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]


def answered(rig: Rig) -> None:
    """The peer answers our close frame, and TCP ends."""
    rig.wire.close(rig.close_frame.code, rig.close_frame.reason)
    rig.turn()


# --- the peer ends it -------------------------------------------------------------------------


@pytest.mark.parametrize("code", CLEAN)
def test_a_polite_peer_completes_the_stream_and_is_answered(code: int) -> None:
    """With its own code."""
    rig = Rig(watch=True)
    rig.wire.close(code, "bye")
    rig.check_over(Close(code, "bye", by="peer"))
    assert rig.close_frame.code == code
    assert rig.transport.times("finish") == [0]


def test_a_peers_close_without_a_code_is_1005_and_answered_without_one() -> None:
    """It is clean."""
    rig = Rig(watch=True)
    rig.wire.close()
    rig.check_over(Close(1005, by="peer"))
    assert rig.close_frame.payload == b""


@pytest.mark.parametrize("code", OTHER)
def test_any_other_legal_code_is_an_error_and_answered(code: int) -> None:
    """The error carries code and reason."""
    rig = Rig(watch=True)
    rig.wire.close(code, "why")
    rig.check_over(Close(code, "why", by="peer"), ConnectionClosed)
    assert rig.close_frame.code == code


@pytest.mark.parametrize("code", ILLEGAL)
def test_an_illegal_code_is_a_violation(code: int) -> None:
    """1002, by us, and told to the peer; TCP is half-closed, so that it gets to read that."""
    rig = Rig(watch=True)
    rig.wire.close(code, "why")
    rig.check_over(Close(1002, "Protocol Error", by="local"), ConnectionClosed)
    assert rig.close_frame.code == 1002
    assert rig.transport.times("linger") == [0]


def test_a_lost_tcp_is_1006() -> None:
    """By the network, and nothing is written."""
    rig = Rig(watch=True)
    rig.wire.lost()
    rig.turn()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.transport.sent == []


@pytest.mark.parametrize("code", [1002, 1007, 1009])
def test_a_violation_is_told_to_the_peer(code: int) -> None:
    """By us; half-close, wait, then abort."""
    rig = Rig(watch=True, close_timeout=5.0)
    rig.run(1)
    rig.wire.violation(code)
    assert rig.closed.values[0].code == code
    rig.check_over(Close(code, rig.close_frame.reason, by="local"), ConnectionClosed)
    assert rig.close_frame.code == code
    rig.run(10)
    assert [(call.at, call.name) for call in rig.transport.calls] == [(1, "linger"), (6, "abort")]


def test_a_message_of_max_message_size_is_accepted_and_one_byte_more_is_1009() -> None:
    """In bytes of UTF-8, not characters."""
    rig = Rig(watch=True, max_message_size=4)
    rig.wire.message("abcd", "éé", b"\x00" * 4)
    assert len(rig.incoming.values) == 3
    rig.wire.message("éé.")
    rig.check_over(Close(1009, "Message Too Big"), ConnectionClosed)
    assert rig.close_frame.code == 1009


# --- we end it --------------------------------------------------------------------------------


def complete(rig: Rig) -> None:
    rig.conn.outgoing.on_completed()


def send_close(rig: Rig) -> None:
    rig.conn.outgoing.on_next(Close(4001, "why"))


def raise_closed(rig: Rig) -> None:
    rig.conn.outgoing.on_error(ConnectionClosed(Close(4003, "no")))


def fail(rig: Rig) -> None:
    rig.conn.outgoing.on_error(ValueError("secret"))


OURS = pytest.mark.parametrize(
    ("end", "close"),
    [
        (complete, Close(1000)),
        (send_close, Close(4001, "why")),
        (raise_closed, Close(4003, "no")),
        (fail, Close(1011, "Unexpected Error")),
    ],
    ids=["completed", "Close", "ConnectionClosed", "exception"],
)


@OURS
def test_our_end_completes_the_stream_when_it_is_answered(end: Any, close: Close) -> None:
    """The close frame follows all queued messages, and carries code and reason."""
    rig = Rig(watch=True)
    rig.wire.stop()
    rig.conn.outgoing.on_next("first")
    rig.conn.outgoing.on_next("second")
    end(rig)
    assert rig.session.state is State.DRAINING
    rig.run(1)
    rig.wire.go()
    assert rig.messages == ["first", "second"]
    assert (rig.close_frame.code, rig.close_frame.reason) == (close.code, close.reason)
    assert rig.session.state is State.CLOSING
    assert rig.closed.values == []
    answered(rig)
    rig.check_over(Close(close.code, close.reason, by="local"))
    assert rig.transport.times("finish") == [1]
    assert rig.transport.times("abort") == []


@OURS
def test_our_end_stands_if_it_is_never_answered(end: Any, close: Close) -> None:
    """After close_timeout, and TCP is aborted."""
    rig = Rig(watch=True, close_timeout=5.0)
    rig.run(1)
    end(rig)
    rig.run(4.9)
    assert rig.closed.values == []
    rig.run(1)
    assert rig.closed.times == [6]
    rig.check_over(close)
    assert rig.transport.times("abort") == [6]


@OURS
@pytest.mark.parametrize(
    "answer",
    [
        lambda wire: wire.lost(),
        lambda wire: wire.close(),
        lambda wire: wire.close(1011, "other"),
        lambda wire: wire.close(1006),
        lambda wire: wire.violation(1002),
    ],
    ids=["lost", "no code", "other code", "illegal code", "violation"],
)
def test_our_end_stands_however_it_is_answered(answer: Any, end: Any, close: Close) -> None:
    """Once our close frame has left, nothing else is the reason for the end."""
    rig = Rig(watch=True)
    end(rig)
    answer(rig.wire)
    rig.turn()
    rig.check_over(close)
    assert rig.frames(Kind.CLOSE) == [rig.close_frame]


def test_a_peers_close_that_crosses_ours_counts_if_ours_had_not_left() -> None:
    """It is answered instead, after the messages that waited."""
    rig = Rig(watch=True)
    rig.wire.stop()
    rig.conn.outgoing.on_next("first")
    rig.conn.outgoing.on_next("second")
    send_close(rig)
    rig.wire.close(4002, "theirs")
    rig.check_over(Close(4002, "theirs", by="peer"), ConnectionClosed)
    rig.wire.go()
    assert rig.messages == ["first", "second"]
    assert rig.close_frame.code == 4002


def test_tcp_lost_before_our_close_left_is_1006() -> None:
    """What waited is dropped and counted."""
    rig = Rig(watch=True)
    rig.wire.stop()
    rig.conn.outgoing.on_next("in the transport")
    rig.conn.outgoing.on_next("waits")
    send_close(rig)
    rig.wire.lost()
    rig.turn()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.dropped == {"closed": 1}


def test_a_violation_before_our_close_left_is_that_violation() -> None:
    """Our close was nobody's business yet."""
    rig = Rig(watch=True)
    rig.wire.stop()
    rig.conn.outgoing.on_next("x")
    send_close(rig)
    rig.wire.violation(1007)
    rig.check_over(Close(1007, "Invalid Data"), ConnectionClosed)
    rig.wire.go()
    assert rig.close_frame.code == 1007


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
    rig.wire.message("late")
    answered(rig)
    assert rig.incoming.values == ["late"]


def test_once_closing_has_begun_holds_do_not_stop_reading() -> None:
    """Else the answer would never be read."""
    rig = Rig(watch=True)
    rig.conn.flow.pause()
    complete(rig)
    rig.conn.flow.pause()
    rig.wire.message("late")
    answered(rig)
    rig.turn()
    rig.check_over(Close())
    assert rig.incoming.values == ["late"]


def test_a_close_of_ours_waits_for_what_is_queued_at_most_send_timeout() -> None:
    """Then the peer is aborted: 1006 and SendTimeout."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.wire.stop()
    rig.conn.outgoing.on_next("x")
    complete(rig)
    rig.run(100)
    assert rig.closed.times == [20]
    assert rig.closed.values == [Close(1006)]
    assert rig.transport.times("abort") == [20]


@pytest.mark.xfail(strict=True, reason="only messages make the time of send_timeout run")
def test_a_close_of_ours_on_a_wire_full_of_pongs_ends_too() -> None:
    """Nothing of ours waits but the close frame, which must not wait for ever."""
    rig = Rig(watch=True, send_timeout=20.0, heartbeat=20.0)
    rig.transport.set_writable(False, 4096)
    complete(rig)
    rig.run(100)
    assert len(rig.closed.values) == 1


@pytest.mark.xfail(strict=True, reason="the time begins anew with what came after it began")
def test_a_close_of_ours_behind_a_trickle_waits_no_longer() -> None:
    """At most send_timeout from the close on."""
    rig = Rig(watch=True, send_timeout=20.0)
    rig.wire.stop()
    rig.conn.outgoing.on_next("first")
    rig.run(10)
    for _ in range(100):
        rig.conn.outgoing.on_next("x")
    rig.run(5)
    complete(rig)
    rig.run(4)
    rig.wire.go(0)
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
    rig.wire.message("pending")
    rig.wire.close(1000)
    rig.run(5)
    assert rig.messages == []
    assert rig.dropped == {"closed": 1}
    assert states == [State.CLOSED]


def test_after_the_end_nothing_is_told_and_nothing_sent() -> None:
    """Whatever the wire or the user still says."""
    rig = Rig(watch=True)
    errors = rig.watch(rig.conn.errors)
    rig.wire.close(1000)
    sent = list(rig.transport.sent)
    for late in ("x", b"y"):
        rig.session.on_message(late)
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
    rig.wire.close(1000)
    assert disposed == [1]
