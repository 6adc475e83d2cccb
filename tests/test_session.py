"""One connection's life in virtual time: the close table, row by row.

`tests/conformance` has the same table on sockets, at both ends.
"""

from __future__ import annotations

from typing import Any

import pytest
from rig import Rig

from rxws import Close, ConnectionClosed
from rxws._core.frames import Opcode
from rxws._session.session import State

CLEAN = [1000, 1001]
OTHER = [1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
ILLEGAL = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]


def state(rig: Rig) -> State:
    return rig.session.state


def answered(rig: Rig) -> None:
    """The peer answers our close frame, and TCP ends."""
    rig.peer.close(rig.close_frame.code, rig.close_frame.reason)
    rig.settle()


# --- the peer ends it -------------------------------------------------------------------------


@pytest.mark.parametrize("code", CLEAN)
def test_a_polite_peer_completes_the_stream_and_is_answered(code: int) -> None:
    """With its own code."""
    rig = Rig(watch=True)
    rig.peer.close(code, "bye")
    rig.check_over(Close(code, "bye", by="peer"))
    assert rig.close_frame.code == code
    assert rig.transport.times("finish") == [0]


def test_a_peers_close_without_a_code_is_1005_and_answered_without_one() -> None:
    """It is clean."""
    rig = Rig(watch=True)
    rig.peer.close()
    rig.check_over(Close(1005, by="peer"))
    assert rig.close_frame.payload == b""


@pytest.mark.parametrize("code", OTHER)
def test_any_other_legal_code_is_an_error_and_answered(code: int) -> None:
    """The error carries code and reason."""
    rig = Rig(watch=True)
    rig.peer.close(code, "why")
    rig.check_over(Close(code, "why", by="peer"), ConnectionClosed)
    assert rig.close_frame.code == code


@pytest.mark.parametrize("code", ILLEGAL)
def test_an_illegal_code_is_a_violation(code: int) -> None:
    """1002, by us, and told to the peer; TCP is half-closed, so that it gets to read that."""
    rig = Rig(watch=True)
    rig.peer.close(code, "why")
    rig.check_over(Close(1002, "Protocol Error", by="local"), ConnectionClosed)
    assert rig.close_frame.code == 1002
    assert rig.transport.times("linger") == [0]


def test_a_lost_tcp_is_1006() -> None:
    """By the network, and nothing is written."""
    rig = Rig(watch=True)
    rig.peer.lost()
    rig.settle()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)
    assert rig.transport.sent == []


@pytest.mark.parametrize("code", [1002, 1007, 1009])
def test_a_violation_is_told_to_the_peer(code: int) -> None:
    """By us; half-close, wait, then abort."""
    rig = Rig(watch=True, close_timeout=5.0)
    rig.run(1)
    rig.peer.violation(code)
    assert rig.closed.values[0].code == code
    rig.check_over(Close(code, rig.close_frame.reason, by="local"), ConnectionClosed)
    assert rig.close_frame.code == code
    rig.run(10)
    assert [(call.at, call.name) for call in rig.transport.calls] == [(1, "linger"), (6, "abort")]


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
    rig.peer.stop()
    rig.conn.outgoing.on_next("first")
    rig.conn.outgoing.on_next("second")
    end(rig)
    assert state(rig) is State.DRAINING
    rig.run(1)
    rig.peer.go()
    assert rig.messages == ["first", "second"]
    assert (rig.close_frame.code, rig.close_frame.reason) == (close.code, close.reason)
    assert state(rig) is State.CLOSING
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
    answer(rig.peer)
    rig.settle()
    rig.check_over(close)
    assert rig.frames(Opcode.CLOSE) == [rig.close_frame]
