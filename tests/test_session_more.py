"""One connection's life in virtual time: shutdown, pings, many ends at once, and who decides."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import pytest
from rig import Rig

from rxws import Close, ConnectionClosed
from rxws._core.frames import Frame, Opcode


def fail(*_: object) -> NoReturn:
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

    rig = Rig(watch=True, completes=rxjs)
    rig.peer.close(4001)
    rig.check_over(Close(4001, by="peer"))
    rig = Rig(watch=True, completes=rxjs)
    rig.peer.lost()
    rig.settle()
    rig.check_over(Close(1006, by="network"), ConnectionClosed)


def test_completes_has_no_say_in_an_end_that_outgoing_caused() -> None:
    """It is not even asked."""
    rig = Rig(watch=True, completes=fail)
    rig.conn.outgoing.on_next(Close(4001))
    rig.peer.close(4001)
    rig.check_over(Close(4001))


def test_completes_may_make_an_error_of_a_clean_end() -> None:
    """Of all that `outgoing` did not cause, shutdown included."""
    rig = Rig(watch=True, completes=lambda _: False)
    rig.session.shutdown()
    rig.check_over(Close(1001, "Going Away"), ConnectionClosed)


def test_a_completes_that_raises_is_logged_and_the_default_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There is an end either way."""
    rig = Rig(watch=True, completes=fail)
    rig.peer.close(1001)
    rig.check_over(Close(1001, by="peer"))
    assert "completes" in one_error(caplog).getMessage()


# --- shutdown ---------------------------------------------------------------------------------


def test_shutdown_is_1001_and_does_not_wait_to_tell() -> None:
    """The stream completes, and the peer has close_timeout to leave."""
    rig = Rig(watch=True, close_timeout=5.0)
    rig.session.shutdown()
    rig.check_over(Close(1001, "Going Away"))
    assert (rig.close_frame.code, rig.close_frame.reason) == (1001, "Going Away")
    rig.run(10)
    assert [(call.at, call.name) for call in rig.transport.calls] == [(0, "linger"), (5, "abort")]


def test_shutdown_has_the_time_it_is_given() -> None:
    """Instead of close_timeout."""
    rig = Rig(watch=True, close_timeout=5.0)
    rig.session.shutdown(within=2.0)
    rig.run(10)
    assert rig.transport.times("abort") == [2]


def test_shutdown_of_a_connection_that_closes_already_keeps_its_code() -> None:
    """Left or not."""
    for stopped in (False, True):
        rig = Rig(watch=True)
        if stopped:
            rig.peer.stop()
            rig.conn.outgoing.on_next("waits")
        rig.conn.outgoing.on_next(Close(4001, "why"))
        rig.session.shutdown()
        rig.check_over(Close(4001, "why"))
        rig.peer.go()
        assert rig.close_frame.code == 4001


def test_kill_ends_at_once() -> None:
    """TCP is aborted; the verdict is that of a shutdown unless there is one."""
    rig = Rig(watch=True)
    rig.session.kill()
    rig.check_over(Close(1001, "Going Away"))
    assert rig.transport.times("abort") == [0]
    rig = Rig(watch=True)
    rig.conn.outgoing.on_next(Close(4001))
    rig.session.kill()
    rig.check_over(Close(4001))
    rig = Rig(watch=True)
    rig.peer.close(1000)
    rig.session.kill()
    rig.check_over(Close(1000, by="peer"))


# --- control frames ---------------------------------------------------------------------------


@pytest.mark.promise("pings")
def test_a_ping_is_answered_with_its_payload() -> None:
    """At once."""
    rig = Rig(watch=True)
    rig.peer.ping(b"payload")
    assert [tuple(sent)[1:] for sent in rig.transport.sent] == [Frame(Opcode.PONG, b"payload")]


@pytest.mark.promise("pings")
def test_only_the_latest_of_pings_that_wait_is_answered() -> None:
    """A peer that pings and does not read makes nothing grow."""
    rig = Rig(watch=True)
    rig.peer.stop()
    rig.conn.outgoing.on_next("fills the wire")
    for number in range(100):
        rig.peer.ping(b"%d" % number)
    rig.peer.go()
    assert [sent.payload for sent in rig.frames(Opcode.PONG)] == [b"99"]


def test_while_nobody_subscribes_pings_are_answered_up_to_the_first_message() -> None:
    """TCP has an order: what comes after the message waits with it."""
    rig = Rig()
    rig.peer.ping(b"before")
    rig.peer.message("held")
    rig.peer.ping(b"after")
    assert [sent.payload for sent in rig.frames(Opcode.PONG)] == [b"before"]
    rig.watch(rig.conn.incoming)
    rig.run(1)
    assert [sent.payload for sent in rig.frames(Opcode.PONG)] == [b"before", b"after"]


# --- many ends at once ------------------------------------------------------------------------

ENDS: dict[str, Any] = {
    "close": lambda rig: rig.session.on_close(4001, "x"),
    "violation": lambda rig: rig.session.on_violation(1002),
    "lost": lambda rig: rig.session.on_lost(),
    "complete": lambda rig: rig.conn.outgoing.on_completed(),
    "error": lambda rig: rig.conn.outgoing.on_error(ConnectionClosed(Close(4002))),
    "shutdown": lambda rig: rig.session.shutdown(),
    "kill": lambda rig: rig.session.kill(),
}


@pytest.mark.promise("once")
@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("where", ["on_next", "on_error", "on_completed", "closed"])
def test_ends_within_ends_are_told_once(first: str, second: str, where: str) -> None:
    """Exactly one terminal notification, one `Close`, and nothing after either."""
    rig = Rig(watch=True)

    def again(*_: object) -> None:
        ENDS[second](rig)

    if where == "closed":
        rig.conn.closed.subscribe(again)
    else:
        handlers: dict[str, Any] = {"on_error": lambda _: None, where: again}
        rig.conn.incoming.subscribe(**handlers)
    after = rig.watch(rig.conn.incoming)
    if where == "on_next":
        rig.conn.incoming.subscribe(lambda _: ENDS[first](rig))
        rig.peer.message("go")
    else:
        ENDS[first](rig)
    rig.run(100)
    assert len(rig.closed.values) == len(rig.incoming.ends) == len(after.ends) == 1
    rig.check_over(rig.closed.values[0], None if after.error is None else type(after.error))
    assert len(rig.frames(Opcode.CLOSE)) <= 1
