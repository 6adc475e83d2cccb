"""The life of one connection in virtual time: the close table, row by row.

`tests/integration` has the same table on sockets, at both ends.
"""

from __future__ import annotations

from typing import Any

import pytest

from rxws import Close, ConnectionClosed
from rxws._core.frames import Frame, Opcode
from rxws._session.session import State
from support.callbacks import one_error, raising
from support.virtual.session import VirtualSession

CLEAN = [1000, 1001]
OTHER = [1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
ILLEGAL = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]


def state(virtual: VirtualSession) -> State:
    return virtual.session.state


def answer_close(virtual: VirtualSession) -> None:
    """Answer our close frame and end TCP."""
    virtual.peer.close(virtual.close_frame.code, virtual.close_frame.reason)
    virtual.settle()


# --- the peer closes --------------------------------------------------------------------------


@pytest.mark.parametrize("code", CLEAN)
def test_a_clean_close_completes_incoming_and_is_echoed(code: int) -> None:
    """A close with 1000 or 1001 completes `incoming` and is echoed with the same code."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(code, "bye")
    virtual.check_over(Close(code, "bye", by="peer"))
    assert virtual.close_frame.code == code
    assert virtual.transport.times("finish") == [0]


def test_a_close_without_a_code_is_1005_and_echoed_without_one() -> None:
    """A close without a code completes `incoming` and is echoed without a code."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close()
    virtual.check_over(Close(1005, by="peer"))
    assert virtual.close_frame.payload == b""


@pytest.mark.parametrize("code", OTHER)
def test_any_other_legal_code_fails_incoming_and_is_echoed(code: int) -> None:
    """Any other legal code fails `incoming` with its code and reason, and is echoed."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(code, "why")
    virtual.check_over(Close(code, "why", by="peer"), ConnectionClosed)
    assert virtual.close_frame.code == code


@pytest.mark.parametrize("code", ILLEGAL)
def test_an_illegal_code_is_a_violation(code: int) -> None:
    """An illegal code is answered with 1002; TCP is half-closed so that the peer can read it."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(code, "why")
    virtual.check_over(Close(1002, "Protocol Error", by="local"), ConnectionClosed)
    assert virtual.close_frame.code == 1002
    assert virtual.transport.times("linger") == [0]


def test_a_lost_tcp_connection_is_1006() -> None:
    """A lost TCP connection is a 1006 by the network, and nothing is written."""
    virtual = VirtualSession(watch=True)
    virtual.peer.lost()
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.transport.sent == []


@pytest.mark.parametrize("code", [1002, 1007, 1009])
def test_a_violation_closes_with_its_code_and_aborts_after_close_timeout(code: int) -> None:
    """A violation sends its code, half-closes TCP and aborts it after `close_timeout`."""
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


# --- we close ---------------------------------------------------------------------------------


def complete(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_completed()


def send_close(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_next(Close(4001, "why"))


def raise_closed(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_error(ConnectionClosed(Close(4003, "no")))


def fail(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_error(ValueError("secret"))


OUR_ENDS = pytest.mark.parametrize(
    ("end", "close"),
    [
        (complete, Close(1000)),
        (send_close, Close(4001, "why")),
        (raise_closed, Close(4003, "no")),
        (fail, Close(1011, "Unexpected Error")),
    ],
    ids=["completed", "Close", "ConnectionClosed", "exception"],
)


@OUR_ENDS
def test_our_close_completes_incoming_when_the_peer_answers(end: Any, close: Close) -> None:
    """Our close frame follows all queued messages; the peer's answer completes `incoming`."""
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
    answer_close(virtual)
    virtual.check_over(Close(close.code, close.reason, by="local"))
    assert virtual.transport.times("finish") == [1]
    assert virtual.transport.times("abort") == []


@OUR_ENDS
def test_our_close_stands_if_the_peer_never_answers(end: Any, close: Close) -> None:
    """If the peer does not answer, TCP is aborted after `close_timeout` and our code stands."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.run(1)
    end(virtual)
    virtual.run(4.9)
    assert virtual.closed.values == []
    virtual.run(1)
    assert virtual.closed.times == [6]
    virtual.check_over(close)
    assert virtual.transport.times("abort") == [6]


@OUR_ENDS
@pytest.mark.parametrize(
    "answer",
    [
        lambda peer: peer.lost(),
        lambda peer: peer.close(),
        lambda peer: peer.close(1011, "other"),
        lambda peer: peer.close(1006),
        lambda peer: peer.violation(1002),
    ],
    ids=["lost", "no code", "other code", "illegal code", "violation"],
)
def test_our_close_stands_whatever_the_peer_answers(answer: Any, end: Any, close: Close) -> None:
    """Once our close frame is sent, nothing that the peer does changes the reported close."""
    virtual = VirtualSession(watch=True)
    end(virtual)
    answer(virtual.peer)
    virtual.settle()
    virtual.check_over(close)
    assert virtual.frames(Opcode.CLOSE) == [virtual.close_frame]


raise_secret = raising(ValueError, "secret")


# --- the `completes` option -------------------------------------------------------------------


def test_completes_decides_which_closes_complete_incoming() -> None:
    """`completes` decides which closes complete `incoming`, here all but 1006 as in RxJS."""

    def rxjs(close: Close) -> bool:
        return close.code != 1006

    virtual = VirtualSession(watch=True, completes=rxjs)
    virtual.peer.close(4001)
    virtual.check_over(Close(4001, by="peer"))
    virtual = VirtualSession(watch=True, completes=rxjs)
    virtual.peer.lost()
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)


def test_completes_is_not_called_for_a_close_by_outgoing() -> None:
    """`completes` is not called if `outgoing` closed the connection."""
    virtual = VirtualSession(watch=True, completes=raise_secret)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.peer.close(4001)
    virtual.check_over(Close(4001))


def test_completes_may_turn_a_clean_close_into_an_error() -> None:
    """`completes` may turn any close but one by `outgoing` into an error, even a shutdown."""
    virtual = VirtualSession(watch=True, completes=lambda _: False)
    virtual.session.shutdown()
    virtual.check_over(Close(1001, "Going Away"), ConnectionClosed)


def test_a_completes_that_raises_is_logged_and_the_default_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If `completes` raises, the exception is logged and the default rule decides."""
    virtual = VirtualSession(watch=True, completes=raise_secret)
    virtual.peer.close(1001)
    virtual.check_over(Close(1001, by="peer"))
    assert "completes" in one_error(caplog).getMessage()


# --- shutdown ---------------------------------------------------------------------------------


def test_shutdown_ends_the_streams_at_once_with_1001() -> None:
    """A shutdown completes `incoming` at once; the peer has `close_timeout` to disconnect."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.session.shutdown()
    virtual.check_over(Close(1001, "Going Away"))
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1001, "Going Away")
    virtual.run(10)
    assert [(call.at, call.name) for call in virtual.transport.calls] == [
        (0, "linger"),
        (5, "abort"),
    ]


def test_shutdown_within_replaces_close_timeout() -> None:
    """`shutdown(within=...)` replaces `close_timeout`."""
    virtual = VirtualSession(watch=True, close_timeout=5.0)
    virtual.session.shutdown(within=2.0)
    virtual.run(10)
    assert virtual.transport.times("abort") == [2]


def test_shutdown_of_a_closing_connection_keeps_its_code() -> None:
    """A shutdown keeps the code of an earlier close, whether its frame was sent or not."""
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


def test_kill_aborts_tcp_at_once() -> None:
    """`kill` aborts TCP and reports 1001 unless the connection was closed before."""
    virtual = VirtualSession(watch=True)
    virtual.session.terminate()
    virtual.check_over(Close(1001, "Going Away"))
    assert virtual.transport.times("abort") == [0]
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.session.terminate()
    virtual.check_over(Close(4001))
    virtual = VirtualSession(watch=True)
    virtual.peer.close(1000)
    virtual.session.terminate()
    virtual.check_over(Close(1000, by="peer"))


# --- control frames ---------------------------------------------------------------------------


@pytest.mark.promise("pings")
def test_a_ping_is_answered_with_its_payload() -> None:
    """A ping is answered at once with a pong that has its payload."""
    virtual = VirtualSession(watch=True)
    virtual.peer.ping(b"payload")
    assert [tuple(sent)[1:] for sent in virtual.transport.sent] == [Frame(Opcode.PONG, b"payload")]


@pytest.mark.promise("pings")
def test_only_the_latest_unanswered_ping_is_answered() -> None:
    """Only the latest unanswered ping is answered, so a flood of pings uses no memory."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the buffer")
    for number in range(100):
        virtual.peer.ping(b"%d" % number)
    virtual.peer.go()
    assert [sent.payload for sent in virtual.frames(Opcode.PONG)] == [b"99"]


def test_without_a_subscriber_pings_are_answered() -> None:
    """Without a subscriber, pings are answered, also behind messages that wait for one."""
    virtual = VirtualSession()
    virtual.peer.ping(b"before")
    virtual.peer.message("held")
    virtual.peer.ping(b"after")
    assert [sent.payload for sent in virtual.frames(Opcode.PONG)] == [b"before", b"after"]


# --- several ends at once ---------------------------------------------------------------------

ENDS: dict[str, Any] = {
    "close": lambda virtual: virtual.session.on_close(4001, "x"),
    "violation": lambda virtual: virtual.session.on_violation(1002),
    "lost": lambda virtual: virtual.session.on_lost(),
    "complete": lambda virtual: virtual.conn.outgoing.on_completed(),
    "error": lambda virtual: virtual.conn.outgoing.on_error(ConnectionClosed(Close(4002))),
    "shutdown": lambda virtual: virtual.session.shutdown(),
    "kill": lambda virtual: virtual.session.terminate(),
}


@pytest.mark.promise("once")
@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("where", ["on_next", "on_error", "on_completed", "closed"])
def test_an_end_within_an_end_is_reported_once(first: str, second: str, where: str) -> None:
    """If something ends a connection that is ending, each stream still reports only one end."""
    virtual = VirtualSession(watch=True)

    def end_again(*_: object) -> None:
        ENDS[second](virtual)

    if where == "closed":
        virtual.conn.closed.subscribe(end_again)
    else:
        handlers: dict[str, Any] = {"on_error": lambda _: None, where: end_again}
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
