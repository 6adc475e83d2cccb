"""One connection's life in virtual time: faults that are not the end, and exceptions."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxws import Close, ConnectionClosed, DecodeError, EncodeError, codecs
from rxws._session.session import State
from support.virtual.session import VirtualSession


def fail(*_: object) -> NoReturn:
    raise ValueError("secret")


def one_error(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one record that was logged, an error on `rxws` with its traceback."""
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.ERROR)
    assert record.exc_info is not None
    return record


# --- faults -----------------------------------------------------------------------------------


FAULTS = pytest.mark.parametrize(
    ("provoke", "kind", "code"),
    [
        (lambda virtual: virtual.peer.message("{"), DecodeError, 1007),
        (lambda virtual: virtual.peer.message(b"{}"), DecodeError, 1003),
        (lambda virtual: virtual.conn.outgoing.on_next(object()), EncodeError, 1011),
        (
            lambda virtual: (virtual.conn.incoming.subscribe(fail), virtual.peer.message("1")),
            ValueError,
            1011,
        ),
        (
            lambda virtual: (
                virtual.conn.outgoing.subscribe(fail),
                virtual.conn.outgoing.on_next(1),
            ),
            ValueError,
            1011,
        ),
        (lambda virtual: virtual.conn.flow.writable.subscribe(fail), ValueError, 1011),
    ],
    ids=["decode", "kind", "encode", "incoming", "outgoing", "writable"],
)


@FAULTS
def test_a_fault_that_is_observed_is_not_the_end(
    provoke: Any, kind: type[Exception], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One notification on `errors`, nothing on the log, and the connection goes on."""
    del code
    virtual = VirtualSession(watch=True, codec=codecs.json)
    errors, others = virtual.watch(virtual.conn.errors), virtual.watch(virtual.conn.errors)
    provoke(virtual)
    assert [type(error) for error in errors.values] == [kind]
    assert errors.values == others.values
    assert virtual.session.state is State.OPEN
    assert caplog.records == []
    virtual.peer.close(1000)
    assert errors.ends == [None]


@pytest.mark.promise("faults")
@FAULTS
def test_a_fault_that_nobody_observes_ends_the_connection(
    provoke: Any, kind: type[Exception], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With its code, logged once, and as the cause of what ends `incoming`."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    provoke(virtual)
    assert virtual.close_frame.code == code
    virtual.check_over(Close(code, virtual.close_frame.reason), ConnectionClosed)
    assert virtual.incoming.error is not None
    assert type(virtual.incoming.error.__cause__) is kind
    assert "secret" not in virtual.close_frame.reason
    record = one_error(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is virtual.incoming.error.__cause__


def test_who_raises_while_told_of_a_fault_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody observes that one; the other subscribers of `errors` are told of the first."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    virtual.conn.errors.subscribe(fail)
    others = virtual.watch(virtual.conn.errors)
    virtual.peer.message("{")
    assert [type(error) for error in others.values] == [DecodeError]
    virtual.check_over(Close(1011, "Unexpected Error"), ConnectionClosed)
    one_error(caplog)


def test_who_raises_at_the_end_is_a_fault_of_a_connection_that_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Observed or logged, but no second end."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.subscribe(on_completed=fail)
    virtual.conn.closed.subscribe(fail)
    virtual.peer.close(1000)
    virtual.check_over(Close(1000, by="peer"))
    assert len(caplog.records) == 2
    other = VirtualSession(watch=True)
    errors = other.watch(other.conn.errors)
    other.conn.incoming.subscribe(on_completed=fail)
    other.peer.close(1000)
    assert [type(error) for error in errors.values] == [ValueError]


def test_a_fault_at_an_end_within_a_notification_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Observed or logged."""
    virtual = VirtualSession(max_message_size=10)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(lambda _: virtual.session.on_violation(1002), fail)
    virtual.peer.message("x")
    assert errors.values or caplog.records


def test_an_exception_in_the_pipeline_is_logged_once_and_never_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """1011 "Unexpected Error"."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.map(fail)), watch=True)
    virtual.peer.message("x")
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1011, "Unexpected Error")
    one_error(caplog)


@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_a_proxy_that_passes_an_unsendable_end_on_closes_with_1011(code: int) -> None:
    """The other side's 1006 is no code for this one's wire."""
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.on_error(ConnectionClosed(Close(code)))
    assert virtual.close_frame.code == 1011


def test_an_exception_after_the_end_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """But for the end itself, which comes back through an echo."""
    virtual = VirtualSession(lambda conn: conn.incoming, watch=True)
    virtual.peer.close(4001)
    assert caplog.records == []
    virtual.conn.outgoing.on_error(ValueError("late"))
    one_error(caplog)


# --- the streams of one connection as its user sees them: one verdict, and nothing after it ----


def raise_mine(*_: object) -> NoReturn:
    raise ValueError("mine")


async def test_closed_can_be_awaited() -> None:
    """During the connection's life and after it."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(1000)
    assert await virtual.conn.closed == Close(1000)


def test_the_end_is_told_in_an_order_that_can_be_relied_on() -> None:
    """`incoming` first, then what follows from it; `errors` last, so that it has all faults."""
    virtual = VirtualSession()
    told: list[str] = []
    for name in ("errors", "closed", "outgoing", "incoming"):
        getattr(virtual.conn, name).subscribe(
            on_error=lambda _, name=name: told.append(name),
            on_completed=lambda name=name: told.append(name),
        )
    virtual.peer.close(4001)
    assert told == ["incoming", "outgoing", "closed", "errors"]


def test_every_stream_ends() -> None:
    """Nobody waits for ever for what cannot come."""
    virtual = VirtualSession()
    streams = [
        virtual.conn.incoming,
        virtual.conn.outgoing,
        virtual.conn.errors,
        virtual.conn.closed,
        virtual.conn.flow.writable,
        virtual.conn.flow.latency,
    ]
    before = [virtual.watch(stream) for stream in streams]
    virtual.peer.close(1000)
    after = [virtual.watch(stream) for stream in streams]
    assert [notes.ends for notes in before + after] == [[None]] * 12


def test_who_subscribes_when_told_of_the_end_is_told_of_it_too() -> None:
    """From within: of the end of `incoming`, and of the verdict."""
    virtual = VirtualSession()
    inner: list[Any] = []

    def on_error(error: Exception) -> None:
        inner.extend(
            [error, virtual.watch(virtual.conn.incoming), virtual.watch(virtual.conn.closed)]
        )

    virtual.conn.incoming.subscribe(on_error=on_error)
    virtual.peer.close(4001)
    error, incoming, closed = inner
    assert incoming.ends == [error]
    assert closed.values == [Close(4001)]
    assert closed.ends == [None]


def test_who_leaves_when_told_of_the_end_may() -> None:
    """Disposing then does no harm, to oneself or another."""
    virtual = VirtualSession(watch=True)
    virtual.conn.closed.subscribe(lambda _: virtual.closed.subscription.dispose())
    virtual.conn.incoming.subscribe(on_error=lambda _: virtual.incoming.subscription.dispose())
    virtual.peer.close(4001)
    assert len(virtual.incoming.ends) == 1
    assert virtual.closed.values == [Close(4001)]


def test_what_is_held_is_disposed_at_the_end_and_later_at_once() -> None:
    """One that raises is a fault and keeps no other from being disposed."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    disposed: list[str] = []
    dispose_at_end = virtual.session.dispose_at_end
    dispose_at_end(Disposable(lambda: disposed.append("first")))
    dispose_at_end(Disposable(raise_mine))
    dispose_at_end(Disposable(lambda: disposed.append("second")))
    assert disposed == []
    virtual.peer.close(1000)
    assert disposed == ["first", "second"]
    dispose_at_end(Disposable(lambda: disposed.append("late")))
    assert disposed[-1] == "late"
    assert errors.ends == [None]


def test_one_who_raises_when_disposed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is over by then: there is nobody else to tell."""
    virtual = VirtualSession(watch=True)
    virtual.session.dispose_at_end(Disposable(raise_mine))
    virtual.peer.close(1000)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["mine"]


def test_the_subscriber_of_errors_may_end_the_connection() -> None:
    """As one who answers a bad message with a close."""
    virtual = VirtualSession(watch=True)
    virtual.conn.errors.subscribe(lambda _: virtual.conn.outgoing.on_next(Close(4001)))
    virtual.conn.incoming.subscribe(raise_mine)
    virtual.peer.message("a")
    virtual.peer.close(4001)
    virtual.settle()
    virtual.check_over(Close(4001))


def test_the_subscriber_of_errors_may_leave_after_the_first() -> None:
    """Then the next fault is unobserved."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.errors.subscribe(lambda _: errors.subscription.dispose())
    virtual.conn.incoming.subscribe(raise_mine)
    virtual.peer.message("a")
    assert len(errors.values) == 1
    assert virtual.closed.values == []


def test_all_of_a_connection_takes_turns() -> None:
    """What a notification sets off comes after it: messages, faults, writable, the end."""
    virtual = VirtualSession()
    told: list[str] = []

    def on_next(value: str) -> None:
        told.append(f"{value}(")
        virtual.session.on_writable(False)
        virtual.session.report_fault(ValueError("x"))
        virtual.session.on_lost()
        told.append(")")

    virtual.conn.errors.subscribe(lambda _: told.append("fault"))
    virtual.conn.flow.writable.subscribe(lambda w: told.append(f"writable={w}"))
    virtual.conn.incoming.subscribe(on_next, lambda _: told.append("x"))
    virtual.conn.closed.subscribe(lambda close: told.append(str(close.code)))
    virtual.peer.message("a")
    assert told == ["writable=True", "a(", ")", "writable=False", "fault", "x", "1006"]
    assert isinstance(virtual.watch(virtual.conn.incoming).error, ConnectionClosed)
