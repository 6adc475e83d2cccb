"""One connection's life in virtual time: the close table, row by row.

`tests/integration` has the same table on sockets, at both ends.
"""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import pytest

from rxws import Close, ConnectionClosed
from rxws._core.frames import Frame, Opcode
from rxws._session.session import State
from support.virtual.session import VirtualSession

CLEAN = [1000, 1001]
OTHER = [1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
ILLEGAL = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]


def state(virtual: VirtualSession) -> State:
    return virtual.session.state


def answered(virtual: VirtualSession) -> None:
    """The peer answers our close frame, and TCP ends."""
    virtual.peer.close(virtual.close_frame.code, virtual.close_frame.reason)
    virtual.settle()


# --- the peer ends it -------------------------------------------------------------------------


@pytest.mark.parametrize("code", CLEAN)
def test_a_polite_peer_completes_the_stream_and_is_answered(code: int) -> None:
    """With its own code."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(code, "bye")
    virtual.check_over(Close(code, "bye", by="peer"))
    assert virtual.close_frame.code == code
    assert virtual.transport.times("finish") == [0]


def test_a_peers_close_without_a_code_is_1005_and_answered_without_one() -> None:
    """It is clean."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close()
    virtual.check_over(Close(1005, by="peer"))
    assert virtual.close_frame.payload == b""


@pytest.mark.parametrize("code", OTHER)
def test_any_other_legal_code_is_an_error_and_answered(code: int) -> None:
    """The error carries code and reason."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(code, "why")
    virtual.check_over(Close(code, "why", by="peer"), ConnectionClosed)
    assert virtual.close_frame.code == code


@pytest.mark.parametrize("code", ILLEGAL)
def test_an_illegal_code_is_a_violation(code: int) -> None:
    """1002, by us, and told to the peer; TCP is half-closed, so that it gets to read that."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(code, "why")
    virtual.check_over(Close(1002, "Protocol Error", by="local"), ConnectionClosed)
    assert virtual.close_frame.code == 1002
    assert virtual.transport.times("linger") == [0]


def test_a_lost_tcp_is_1006() -> None:
    """By the network, and nothing is written."""
    virtual = VirtualSession(watch=True)
    virtual.peer.lost()
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.transport.sent == []


@pytest.mark.parametrize("code", [1002, 1007, 1009])
def test_a_violation_is_told_to_the_peer(code: int) -> None:
    """By us; half-close, wait, then abort."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.run(1)
    virtual.peer.violation(code)
    assert virtual.closed.values[0].code == code
    virtual.check_over(Close(code, virtual.close_frame.reason, by="local"), ConnectionClosed)
    assert virtual.close_frame.code == code
    virtual.run(10)
    assert [(call.at, call.name) for call in virtual.transport.calls] == [
        (1, "linger"),
        (6, "abort"),
    ]


# --- we end it --------------------------------------------------------------------------------


def complete(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_completed()


def send_close(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_next(Close(4001, "why"))


def raise_closed(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_error(ConnectionClosed(Close(4003, "no")))


def fail(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_error(ValueError("secret"))


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
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("first")
    virtual.conn.outgoing.on_next("second")
    end(virtual)
    assert state(virtual) is State.DRAINING
    virtual.run(1)
    virtual.peer.go()
    assert virtual.messages == ["first", "second"]
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (close.code, close.reason)
    assert state(virtual) is State.CLOSING
    assert virtual.closed.values == []
    answered(virtual)
    virtual.check_over(Close(close.code, close.reason, by="local"))
    assert virtual.transport.times("finish") == [1]
    assert virtual.transport.times("abort") == []


@OURS
def test_our_end_stands_if_it_is_never_answered(end: Any, close: Close) -> None:
    """After close_timeout, and TCP is aborted."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.run(1)
    end(virtual)
    virtual.run(4.9)
    assert virtual.closed.values == []
    virtual.run(1)
    assert virtual.closed.times == [6]
    virtual.check_over(close)
    assert virtual.transport.times("abort") == [6]


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
    virtual = VirtualSession(watch=True)
    end(virtual)
    answer(virtual.peer)
    virtual.settle()
    virtual.check_over(close)
    assert virtual.frames(Opcode.CLOSE) == [virtual.close_frame]


# --- one connection's life in virtual time: shutdown, pings, many ends at once, and who decides ---


def raise_secret(*_: object) -> NoReturn:
    raise ValueError("secret")


def one_error(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one record that was logged, an error on `rxws` with its traceback."""
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.ERROR)
    assert record.exc_info is not None
    return record


# --- who decides what is an error -------------------------------------------------------------


def test_completes_moves_the_border() -> None:
    """RxJS's rule: all but 1006."""

    def rxjs(close: Close) -> bool:
        return close.code != 1006

    virtual = VirtualSession(watch=True, completes=rxjs)
    virtual.peer.close(4001)
    virtual.check_over(Close(4001, by="peer"))
    virtual = VirtualSession(watch=True, completes=rxjs)
    virtual.peer.lost()
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


def test_completes_has_no_say_in_an_end_that_outgoing_caused() -> None:
    """It is not even asked."""
    virtual = VirtualSession(watch=True, completes=raise_secret)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.peer.close(4001)
    virtual.check_over(Close(4001))


def test_completes_may_make_an_error_of_a_clean_end() -> None:
    """Of all that `outgoing` did not cause, shutdown included."""
    virtual = VirtualSession(watch=True, completes=lambda _: False)
    virtual.session.shutdown()
    virtual.check_over(Close(1001, "Going Away"), ConnectionClosed)


def test_a_completes_that_raises_is_logged_and_the_default_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There is an end either way."""
    virtual = VirtualSession(watch=True, completes=raise_secret)
    virtual.peer.close(1001)
    virtual.check_over(Close(1001, by="peer"))
    assert "completes" in one_error(caplog).getMessage()


# --- shutdown ---------------------------------------------------------------------------------


def test_shutdown_is_1001_and_does_not_wait_to_tell() -> None:
    """The stream completes, and the peer has close_timeout to leave."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.session.shutdown()
    virtual.check_over(Close(1001, "Going Away"))
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1001, "Going Away")
    virtual.run(10)
    assert [(call.at, call.name) for call in virtual.transport.calls] == [
        (0, "linger"),
        (5, "abort"),
    ]


def test_shutdown_has_the_time_it_is_given() -> None:
    """Instead of close_timeout."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.session.shutdown(within=2.0)
    virtual.run(10)
    assert virtual.transport.times("abort") == [2]


def test_shutdown_of_a_connection_that_closes_already_keeps_its_code() -> None:
    """Left or not."""
    for stopped in (False, True):
        virtual = VirtualSession(watch=True)
        if stopped:
            virtual.peer.stop()
            virtual.conn.outgoing.on_next("waits")
        virtual.conn.outgoing.on_next(Close(4001, "why"))
        virtual.session.shutdown()
        virtual.check_over(Close(4001, "why"))
        virtual.peer.go()
        assert virtual.close_frame.code == 4001


def test_kill_ends_at_once() -> None:
    """TCP is aborted; the verdict is that of a shutdown unless there is one."""
    virtual = VirtualSession(watch=True)
    virtual.session.kill()
    virtual.check_over(Close(1001, "Going Away"))
    assert virtual.transport.times("abort") == [0]
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.session.kill()
    virtual.check_over(Close(4001))
    virtual = VirtualSession(watch=True)
    virtual.peer.close(1000)
    virtual.session.kill()
    virtual.check_over(Close(1000, by="peer"))


# --- control frames ---------------------------------------------------------------------------


@pytest.mark.promise("pings")
def test_a_ping_is_answered_with_its_payload() -> None:
    """At once."""
    virtual = VirtualSession(watch=True)
    virtual.peer.ping(b"payload")
    assert [tuple(sent)[1:] for sent in virtual.transport.sent] == [Frame(Opcode.PONG, b"payload")]


@pytest.mark.promise("pings")
def test_only_the_latest_of_pings_that_wait_is_answered() -> None:
    """A peer that pings and does not read makes nothing grow."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    for number in range(100):
        virtual.peer.ping(b"%d" % number)
    virtual.peer.go()
    assert [sent.payload for sent in virtual.frames(Opcode.PONG)] == [b"99"]


def test_while_nobody_subscribes_pings_are_answered_up_to_the_first_message() -> None:
    """TCP has an order: what comes after the message waits with it."""
    virtual = VirtualSession()
    virtual.peer.ping(b"before")
    virtual.peer.message("held")
    virtual.peer.ping(b"after")
    assert [sent.payload for sent in virtual.frames(Opcode.PONG)] == [b"before"]
    virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert [sent.payload for sent in virtual.frames(Opcode.PONG)] == [b"before", b"after"]


# --- many ends at once ------------------------------------------------------------------------

ENDS: dict[str, Any] = {
    "close": lambda virtual: virtual.session.on_close(4001, "x"),
    "violation": lambda virtual: virtual.session.on_violation(1002),
    "lost": lambda virtual: virtual.session.on_lost(),
    "complete": lambda virtual: virtual.conn.outgoing.on_completed(),
    "error": lambda virtual: virtual.conn.outgoing.on_error(ConnectionClosed(Close(4002))),
    "shutdown": lambda virtual: virtual.session.shutdown(),
    "kill": lambda virtual: virtual.session.kill(),
}


@pytest.mark.promise("once")
@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("where", ["on_next", "on_error", "on_completed", "closed"])
def test_ends_within_ends_are_told_once(first: str, second: str, where: str) -> None:
    """Exactly one terminal notification, one `Close`, and nothing after either."""
    virtual = VirtualSession(watch=True)

    def again(*_: object) -> None:
        ENDS[second](virtual)

    if where == "closed":
        virtual.conn.closed.subscribe(again)
    else:
        handlers: dict[str, Any] = {"on_error": lambda _: None, where: again}
        virtual.conn.incoming.subscribe(**handlers)
    after = virtual.watch(virtual.conn.incoming)
    if where == "on_next":
        virtual.conn.incoming.subscribe(lambda _: ENDS[first](virtual))
        virtual.peer.message("go")
    else:
        ENDS[first](virtual)
    virtual.run(100)
    assert len(virtual.closed.values) == len(virtual.incoming.ends) == len(after.ends) == 1
    virtual.check_over(virtual.closed.values[0], None if after.error is None else type(after.error))
    assert len(virtual.frames(Opcode.CLOSE)) <= 1
