"""The life of one connection in virtual time: faults, exceptions and the end of its streams."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxws import Close, Codec, ConnectionClosed, DecodeError, EncodeError, closing, codecs
from rxws._session.session import State
from support.callbacks import one_error, raising
from support.virtual.session import VirtualSession

fail = raising(ValueError, "secret")


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
def test_an_observed_fault_keeps_the_connection_open(
    provoke: Any, kind: type[Exception], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault goes to all subscribers of `errors`; the connection stays open."""
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
def test_an_unobserved_fault_closes_the_connection(
    provoke: Any, kind: type[Exception], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a subscriber to `errors`, an error is logged once, and closes the connection."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    provoke(virtual)
    assert virtual.close_frame.code == code
    virtual.check_over(Close(code, virtual.close_frame.reason), ConnectionClosed)
    assert virtual.incoming.error is not None
    assert type(virtual.incoming.error.__cause__) is kind
    assert "secret" not in virtual.close_frame.reason
    if kind is DecodeError:  # the peer's fault: see below
        [record] = caplog.records
        assert (record.levelno, record.exc_info) == (logging.WARNING, None)
        return
    record = one_error(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is virtual.incoming.error.__cause__


def test_a_subscriber_of_errors_that_raises_closes_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a subscriber of `errors` raises, the connection closes; the others get the first fault."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    virtual.conn.errors.subscribe(fail)
    others = virtual.watch(virtual.conn.errors)
    virtual.peer.message("{")
    assert [type(error) for error in others.values] == [DecodeError]
    virtual.check_over(Close(1011, "Unexpected Error"), ConnectionClosed)
    one_error(caplog)


def test_a_subscriber_that_raises_at_the_end_is_a_fault_without_a_second_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception at the end is emitted on `errors` or logged, and does not end it again."""
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


def test_a_fault_while_a_notification_ends_the_connection_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fault that occurs while a notification ends the connection is emitted or logged."""
    virtual = VirtualSession(max_message_size=10)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(lambda _: virtual.session.on_violation(1002), fail)
    virtual.peer.message("x")
    assert errors.values or caplog.records


def test_an_exception_in_the_pipeline_is_logged_and_hidden_from_the_peer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception in the pipeline is logged once; the peer gets 1011 "Unexpected Error"."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.map(fail)), watch=True)
    virtual.peer.message("x")
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1011, "Unexpected Error")
    one_error(caplog)


@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_an_error_with_an_unsendable_code_closes_with_1011(code: int) -> None:
    """A `ConnectionClosed` with a code that must not be sent closes with 1011."""
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.on_error(ConnectionClosed(Close(code)))
    assert virtual.close_frame.code == 1011


def test_an_exception_after_the_end_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """An exception after the end is logged, except for the end itself that an echo passes on."""
    virtual = VirtualSession(lambda conn: conn.incoming, watch=True)
    virtual.peer.close(4001)
    assert caplog.records == []
    virtual.conn.outgoing.on_error(ValueError("late"))
    one_error(caplog)


# --- how the streams of a connection end ------------------------------------------------------


def raise_error(*_: object) -> NoReturn:
    raise ValueError("mine")


async def test_closed_can_be_awaited() -> None:
    """`await conn.closed` returns the `Close`."""
    virtual = VirtualSession(watch=True)
    virtual.peer.close(1000)
    assert await virtual.conn.closed == Close(1000)


def test_the_streams_end_in_a_fixed_order() -> None:
    """The streams end in a fixed order: `incoming` first, and `errors` last to get all faults."""
    virtual = VirtualSession()
    order: list[str] = []
    for name in ("errors", "closed", "outgoing", "incoming"):
        getattr(virtual.conn, name).subscribe(
            on_error=lambda _, name=name: order.append(name),
            on_completed=lambda name=name: order.append(name),
        )
    virtual.peer.close(4001)
    assert order == ["incoming", "outgoing", "closed", "errors"]


def test_every_stream_ends() -> None:
    """Every stream of a connection ends, for early and for late subscribers."""
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
    assert [subscriber.ends for subscriber in before + after] == [[None]] * 12


def test_a_subscription_within_the_end_notification_gets_the_end() -> None:
    """A stream subscribed from within the end notification ends as well."""
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


def test_disposing_within_the_end_notification_is_allowed() -> None:
    """A subscriber may dispose its subscription from within the end notification."""
    virtual = VirtualSession(watch=True)
    virtual.conn.closed.subscribe(lambda _: virtual.closed.subscription.dispose())
    virtual.conn.incoming.subscribe(on_error=lambda _: virtual.incoming.subscription.dispose())
    virtual.peer.close(4001)
    assert len(virtual.incoming.ends) == 1
    assert virtual.closed.values == [Close(4001)]


def test_dispose_at_end_disposes_at_the_end_or_at_once_after_it() -> None:
    """`dispose_at_end` disposes at the end, at once after it, and all even if one raises."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    disposed: list[str] = []
    dispose_at_end = virtual.session.dispose_at_end
    dispose_at_end(Disposable(lambda: disposed.append("first")))
    dispose_at_end(Disposable(raise_error))
    dispose_at_end(Disposable(lambda: disposed.append("second")))
    assert disposed == []
    virtual.peer.close(1000)
    assert disposed == ["first", "second"]
    dispose_at_end(Disposable(lambda: disposed.append("late")))
    assert disposed[-1] == "late"
    assert errors.ends == [None]


def test_an_exception_on_dispose_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception raised while disposing at the end is logged."""
    virtual = VirtualSession(watch=True)
    virtual.session.dispose_at_end(Disposable(raise_error))
    virtual.peer.close(1000)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["mine"]


def test_a_subscriber_of_errors_may_close_the_connection() -> None:
    """A subscriber of `errors` may close the connection, say after a bad message."""
    virtual = VirtualSession(watch=True)
    virtual.conn.errors.subscribe(lambda _: virtual.conn.outgoing.on_next(Close(4001)))
    virtual.conn.incoming.subscribe(raise_error)
    virtual.peer.message("a")
    virtual.peer.close(4001)
    virtual.settle()
    virtual.check_over(Close(4001))


def test_a_subscriber_of_errors_may_unsubscribe_after_the_first() -> None:
    """A subscriber of `errors` may dispose another subscription after the first fault."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.errors.subscribe(lambda _: errors.subscription.dispose())
    virtual.conn.incoming.subscribe(raise_error)
    virtual.peer.message("a")
    assert len(errors.values) == 1
    assert virtual.closed.values == []


def test_an_error_closes_if_the_subscriber_of_errors_leaves_before_it_gets_it() -> None:
    """An error counts as unobserved if its only subscriber leaves before the delivery."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(raise_error)
    virtual.conn.incoming.subscribe(lambda _: errors.subscription.dispose())
    virtual.peer.message("a")
    assert errors.values == []
    virtual.check_over(closing.UNEXPECTED, ConnectionClosed)


class Unprintable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


raise_unprintable = raising(Unprintable)


@pytest.mark.parametrize(
    ("options", "act", "code"),
    [
        ({}, lambda virtual: virtual.conn.incoming.subscribe(raise_unprintable), 1011),
        ({"codec": Codec(raise_unprintable, str)}, lambda _: None, 1011),
        ({"codec": Codec(str, raise_unprintable)}, lambda _: None, 1007),
    ],
    ids=["subscriber", "encode", "decode"],
)
def test_an_exception_without_a_text_is_a_fault(
    options: dict[str, Any], act: Callable[[VirtualSession], object], code: int
) -> None:
    """An exception whose `__str__` raises is reported as any other."""
    virtual = VirtualSession(watch=True, **options)
    act(virtual)
    virtual.conn.outgoing.on_next("a")
    virtual.peer.message("a")
    assert virtual.closed.values[0].code == code


def test_all_notifications_of_a_connection_are_queued() -> None:
    """Whatever a notification triggers is delivered after it: faults, `writable` and the end."""
    virtual = VirtualSession()
    order: list[str] = []

    def on_next(value: str) -> None:
        order.append(f"{value}(")
        virtual.session.on_writable(False)
        virtual.session.errors.report(ValueError("x"))
        virtual.session.on_lost()
        order.append(")")

    virtual.conn.errors.subscribe(lambda _: order.append("fault"))
    virtual.conn.flow.writable.subscribe(lambda w: order.append(f"writable={w}"))
    virtual.conn.incoming.subscribe(on_next, lambda _: order.append("x"))
    virtual.conn.closed.subscribe(lambda close: order.append(str(close.code)))
    virtual.peer.message("a")
    assert order == ["writable=True", "a(", ")", "writable=False", "fault", "x", "1006"]
    assert isinstance(virtual.watch(virtual.conn.incoming).error, ConnectionClosed)


def test_a_released_session_still_counts_and_cannot_be_aborted_again() -> None:
    """Once a session has dropped its parts, they can still count messages with it."""
    virtual = VirtualSession()
    conn, session, transport = virtual.conn, virtual.session, virtual.transport
    session.on_lost()
    session.on_released()
    aborted = len(transport.times("abort"))
    session.terminate()
    session.shutdown()
    assert len(transport.times("abort")) == aborted
    with pytest.raises(EncodeError):
        session.encode(object())
    conn.outgoing.on_next("late")
    assert conn.flow.stats.dropped == {"closed": 1}
