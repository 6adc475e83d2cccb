"""The streams of one connection as its user sees them: one verdict, and nothing after it."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from reactivex.disposable import Disposable
from rig import Rig

from rxws import Close, ConnectionClosed


def fail(*_: object) -> NoReturn:
    raise ValueError("mine")


async def test_closed_can_be_awaited() -> None:
    """During the connection's life and after it."""
    rig = Rig(watch=True)
    rig.peer.close(1000)
    assert await rig.conn.closed == Close(1000)


def test_the_end_is_told_in_an_order_that_can_be_relied_on() -> None:
    """`incoming` first, then what follows from it; `errors` last, so that it has all faults."""
    rig = Rig()
    told: list[str] = []
    for name in ("errors", "closed", "outgoing", "incoming"):
        getattr(rig.conn, name).subscribe(
            on_error=lambda _, name=name: told.append(name),
            on_completed=lambda name=name: told.append(name),
        )
    rig.peer.close(4001)
    assert told == ["incoming", "outgoing", "closed", "errors"]


def test_every_stream_ends() -> None:
    """Nobody waits for ever for what cannot come."""
    rig = Rig()
    streams = [
        rig.conn.incoming,
        rig.conn.outgoing,
        rig.conn.errors,
        rig.conn.closed,
        rig.conn.flow.writable,
        rig.conn.flow.latency,
    ]
    before = [rig.watch(stream) for stream in streams]
    rig.peer.close(1000)
    after = [rig.watch(stream) for stream in streams]
    assert [notes.ends for notes in before + after] == [[None]] * 12


def test_who_subscribes_when_told_of_the_end_is_told_of_it_too() -> None:
    """From within: of the end of `incoming`, and of the verdict."""
    rig = Rig()
    inner: list[Any] = []

    def on_error(error: Exception) -> None:
        inner.extend([error, rig.watch(rig.conn.incoming), rig.watch(rig.conn.closed)])

    rig.conn.incoming.subscribe(on_error=on_error)
    rig.peer.close(4001)
    error, incoming, closed = inner
    assert incoming.ends == [error]
    assert closed.values == [Close(4001)]
    assert closed.ends == [None]


def test_who_leaves_when_told_of_the_end_may() -> None:
    """Disposing then does no harm, to oneself or another."""
    rig = Rig(watch=True)
    rig.conn.closed.subscribe(lambda _: rig.closed.subscription.dispose())
    rig.conn.incoming.subscribe(on_error=lambda _: rig.incoming.subscription.dispose())
    rig.peer.close(4001)
    assert len(rig.incoming.ends) == 1
    assert rig.closed.values == [Close(4001)]


def test_what_is_held_is_disposed_at_the_end_and_later_at_once() -> None:
    """One that raises is a fault and keeps no other from being disposed."""
    rig = Rig(watch=True)
    errors = rig.watch(rig.conn.errors)
    disposed: list[str] = []
    face = rig.session.face
    face.hold(Disposable(lambda: disposed.append("first")))
    face.hold(Disposable(fail))
    face.hold(Disposable(lambda: disposed.append("second")))
    assert disposed == []
    rig.peer.close(1000)
    assert disposed == ["first", "second"]
    face.hold(Disposable(lambda: disposed.append("late")))
    assert disposed[-1] == "late"
    assert errors.ends == [None]


def test_one_who_raises_when_disposed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is over by then: there is nobody else to tell."""
    rig = Rig(watch=True)
    rig.session.face.hold(Disposable(fail))
    rig.peer.close(1000)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["mine"]


def test_the_subscriber_of_errors_may_end_the_connection() -> None:
    """As one who answers a bad message with a close."""
    rig = Rig(watch=True)
    rig.conn.errors.subscribe(lambda _: rig.conn.outgoing.on_next(Close(4001)))
    rig.conn.incoming.subscribe(fail)
    rig.peer.message("a")
    rig.peer.close(4001)
    rig.settle()
    rig.check_over(Close(4001))


def test_the_subscriber_of_errors_may_leave_after_the_first() -> None:
    """Then the next fault is unobserved."""
    rig = Rig(watch=True)
    errors = rig.watch(rig.conn.errors)
    rig.conn.errors.subscribe(lambda _: errors.subscription.dispose())
    rig.conn.incoming.subscribe(fail)
    rig.peer.message("a")
    assert len(errors.values) == 1
    assert rig.closed.values == []


def test_all_of_a_connection_takes_turns() -> None:
    """What a notification sets off comes after it: messages, faults, writable, the end."""
    rig = Rig()
    told: list[str] = []

    def on_next(value: str) -> None:
        told.append(f"{value}(")
        rig.session.on_writable(False)
        rig.session.face.fault(ValueError("x"))
        rig.session.on_lost()
        told.append(")")

    rig.conn.errors.subscribe(lambda _: told.append("fault"))
    rig.conn.flow.writable.subscribe(lambda w: told.append(f"writable={w}"))
    rig.conn.incoming.subscribe(on_next, lambda _: told.append("x"))
    rig.conn.closed.subscribe(lambda close: told.append(str(close.code)))
    rig.peer.message("a")
    assert told == ["writable=True", "a(", ")", "writable=False", "fault", "x", "1006"]
    assert isinstance(rig.watch(rig.conn.incoming).error, ConnectionClosed)
