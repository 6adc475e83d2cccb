"""A value that cannot be encoded: whose fault it is, and which line pushed it."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.subject import BehaviorSubject, ReplaySubject, Subject

from rxws import Close, Codec, Connection, ConnectionClosed, EncodeError, codecs, overflow
from rxws._session.session import State
from rxws.testing import pair
from support.callbacks import one_error
from support.virtual.session import VirtualSession

BAD = object()

# Decodes "!" to a value that it cannot encode.
LOSSY: Codec[Any, Any] = Codec(codecs.json.encode, lambda frame: BAD if frame == "!" else frame)

AnyConnection = Connection[Any, Any]


def line_of(function: Callable[..., object], text: str) -> str:
    """Return file and number of the line of a function that has a text."""
    lines, first = inspect.getsourcelines(function)
    number = next(first + index for index, line in enumerate(lines) if text in line)
    return f"{__file__}:{number} in "


# --- shared values ----------------------------------------------------------------------------

Receive = Callable[[AnyConnection, "Subject[Any]"], "rx.Observable[Any] | DisposableBase"]

RECEIVERS: dict[str, Receive] = {
    "returned": lambda conn, room: room,
    "operators": lambda conn, room: room.pipe(ops.filter(bool), ops.map(lambda value: value)),
    "subscribed": lambda conn, room: room.subscribe(conn.outgoing),
    "callback": lambda conn, room: room.subscribe(lambda value: conn.outgoing.on_next(value)),
    "merged": lambda conn, room: rx.merge(conn.incoming.pipe(ops.ignore_elements()), room),
    "shared": lambda conn, room: room.pipe(ops.share()),
}


def receivers(receive: Receive, room: Subject[Any], count: int) -> list[VirtualSession]:
    return [
        VirtualSession(lambda conn: receive(conn, room), watch=True, codec=LOSSY)
        for _ in range(count)
    ]


@pytest.mark.promise("shared")
@pytest.mark.parametrize("receive", RECEIVERS.values(), ids=RECEIVERS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_shared_value_closes_no_receiver(
    receive: Receive, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """If a value of a shared Subject cannot be encoded, it is dropped, counted and logged once."""
    room: Subject[Any] = Subject()
    members = receivers(receive, room, count)
    for member in members:
        member.settle()
    room.on_next(BAD)
    for member in members:
        member.settle()
        assert member.session.state is State.OPEN
        assert member.dropped == {"fault": 1}
    record = one_error(caplog)
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, EncodeError)
    here = line_of(test_a_shared_value_closes_no_receiver, "room.on_next(BAD)")
    if receive is not RECEIVERS["callback"]:
        assert error.pushed_at.startswith(here)
    assert error.pushed_at in caplog.text
    room.on_next("next")
    assert [member.messages for member in members] == [['"next"']] * count


@pytest.mark.promise("shared")
def test_what_one_peer_sends_closes_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """If a decoded value cannot be encoded for the others, all connections stay open."""
    room: Subject[Any] = Subject()

    def handler(conn: AnyConnection) -> Subject[Any]:
        conn.incoming.subscribe(room.on_next)
        return room

    members = [VirtualSession(handler, watch=True, codec=LOSSY) for _ in range(3)]
    members[0].peer.message("!")
    assert [member.session.state for member in members] == [State.OPEN] * 3
    members[1].peer.message("hello")
    assert [member.messages for member in members] == [['"hello"']] * 3
    one_error(caplog)


@pytest.mark.promise("shared")
def test_a_set_of_connections_is_a_room(caplog: pytest.LogCaptureFixture) -> None:
    """If a value pushed to a set of connections cannot be encoded, all of them stay open."""
    room: list[AnyConnection] = []

    def handler(conn: AnyConnection) -> None:
        room.append(conn)
        conn.incoming.subscribe(broadcast)

    def broadcast(value: Any) -> None:
        for conn in room[1:]:  # without the sender
            conn.outgoing.on_next(value)

    members = [VirtualSession(handler, watch=True, codec=LOSSY) for _ in range(3)]
    members[0].peer.message("!")
    assert [member.session.state for member in members] == [State.OPEN] * 3
    record = one_error(caplog)
    assert line_of(broadcast, "on_next(value)") in record.getMessage()


@pytest.mark.parametrize("kind", [BehaviorSubject, ReplaySubject])
def test_a_value_that_a_subject_replays_is_shared(kind: Any) -> None:
    """A value that a BehaviorSubject or ReplaySubject keeps does not close who comes later."""
    room = kind(BAD) if kind is BehaviorSubject else kind()
    room.on_next(BAD)
    [late] = receivers(RECEIVERS["returned"], room, 1)
    late.settle()
    assert late.session.state is State.OPEN
    room.on_next("next")
    late.settle()
    assert late.messages == ['"next"']


@pytest.mark.parametrize("bad", [{"n": float("inf")}, [BAD], BAD, float("nan"), "\ud83d"])
def test_a_shared_value_from_a_thread(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A shared value that a thread pushes closes no receiver either, of whatever type it is."""
    room: Subject[Any] = Subject()
    members = receivers(RECEIVERS["returned"], room, 2)

    def push() -> None:
        room.on_next(bad)

    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    for member in members:
        member.settle()
        assert member.session.state is State.OPEN
        assert member.dropped == {"fault": 1}
    assert line_of(push, "on_next(bad)") in caplog.text


def test_a_shared_value_without_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """A shared value whose key of `overflow.latest` fails closes no receiver either."""
    room: Subject[Any] = Subject()
    policy = overflow.latest(lambda value: value["key"])
    member = VirtualSession(lambda conn: room, watch=True, codec=codecs.json, overflow=policy)
    room.on_next({})
    assert member.session.state is State.OPEN
    assert "the key of overflow.latest failed" in one_error(caplog).getMessage()


def test_a_subscriber_of_errors_gets_shared_values(caplog: pytest.LogCaptureFixture) -> None:
    """If `errors` has a subscriber, it gets the error, and nothing is logged."""
    room: Subject[Any] = Subject()
    [member] = receivers(RECEIVERS["returned"], room, 1)
    errors = member.watch(member.conn.errors)
    room.on_next(BAD)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    assert (error.value, error.shared) == (BAD, True)
    assert error.pushed_at.startswith(
        line_of(test_a_subscriber_of_errors_gets_shared_values, "BAD)")
    )
    assert caplog.records == []


def test_each_shared_value_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Each shared value is logged once, however many connections should send it."""
    room: Subject[Any] = Subject()
    members = receivers(RECEIVERS["returned"], room, 3)
    for _ in range(2):
        room.on_next(BAD)
        for member in members:
            member.settle()
    room.on_next([BAD])
    assert len(caplog.records) == 3
    for member in members:
        member.settle()


# --- a connection's own values ----------------------------------------------------------------


def of_incoming(conn: AnyConnection) -> rx.Observable[Any]:
    return conn.incoming


def mapped(conn: AnyConnection) -> rx.Observable[Any]:
    return conn.incoming.pipe(ops.map(lambda _: BAD))


def pushed(conn: AnyConnection) -> None:
    conn.outgoing.on_next(BAD)


def emitted(conn: AnyConnection) -> rx.Observable[Any]:
    return rx.of(BAD)


def replied(conn: AnyConnection) -> DisposableBase:
    return conn.incoming.subscribe(lambda _: conn.outgoing.on_next(BAD))


async def later(conn: AnyConnection) -> None:
    conn.outgoing.on_next(BAD)


async def later_through_a_subject(conn: AnyConnection) -> None:
    replies: Subject[Any] = Subject()
    replies.subscribe(conn.outgoing)
    replies.on_next(BAD)


def through_a_subject(conn: AnyConnection) -> Subject[Any]:
    replies: Subject[Any] = Subject()
    conn.incoming.subscribe(replies)
    return replies


def timed(conn: AnyConnection) -> rx.Observable[Any]:
    return rx.timer(1).pipe(ops.map(lambda _: BAD))


@pytest.mark.parametrize(
    "handler",
    [
        of_incoming,
        mapped,
        pushed,
        emitted,
        replied,
        through_a_subject,
        timed,
    ],
)
def test_an_own_value_closes_the_connection(
    handler: Callable[[AnyConnection], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A value of the connection's own handler or pipeline closes it with 1011, as any fault."""
    virtual = VirtualSession(handler, watch=True, codec=LOSSY)
    virtual.settle()
    if virtual.session.state is State.OPEN:
        virtual.peer.message("!")
    virtual.run(2)
    virtual.check_over(Close(1011, "Unexpected Error"), ConnectionClosed)
    message = one_error(caplog).getMessage()
    assert f"handler {__name__}.{handler.__name__}" in message


@pytest.mark.parametrize("handler", [later, later_through_a_subject])
async def test_an_own_value_of_a_coroutine_closes_the_connection(
    handler: Callable[[AnyConnection], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A value that the coroutine of a handler pushes closes the connection, too."""
    async with pair(handler, codec=LOSSY) as (_, client):
        with suppress(ConnectionClosed):
            await client.incoming.pipe(ops.ignore_elements(), ops.default_if_empty())
        assert await client.closed == Close(1011, "Unexpected Error")
    assert line_of(handler, "on_next(BAD)") in one_error(caplog).getMessage()


@pytest.mark.parametrize("handler", [pushed, replied])
def test_the_error_names_the_line_that_pushed(
    handler: Callable[[AnyConnection], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The log, the notes and `pushed_at` of an EncodeError name the line that pushed the value."""
    virtual = VirtualSession(watch=True, codec=LOSSY)
    errors = virtual.watch(virtual.conn.errors)
    other = VirtualSession(handler, codec=LOSSY)
    assert errors.values == []
    other.settle()
    other.peer.message("x")
    other.settle()
    assert line_of(handler, "on_next(BAD)") in one_error(caplog).getMessage()
    virtual.conn.outgoing.on_next(BAD)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    here = line_of(test_the_error_names_the_line_that_pushed, "virtual.conn.outgoing.on_next(BAD)")
    assert error.pushed_at == f"{here}test_the_error_names_the_line_that_pushed"
    assert error.__notes__ == [f"pushed at {error.pushed_at}"]


def test_an_error_that_a_codec_raises_again_is_blamed_anew() -> None:
    """A codec may raise the same error each time: it names the last line that pushed."""
    error = EncodeError("never", None)

    def fail(_: object) -> str:
        raise error

    virtual = VirtualSession(watch=True, codec=Codec(fail, fail))
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.on_next("first")
    before = error.pushed_at
    virtual.conn.outgoing.on_next("second")
    assert errors.values == [error, error]
    assert before != error.pushed_at
    assert error.__notes__ == [f"pushed at {error.pushed_at}"]


class Broken:
    def __repr__(self) -> str:
        raise ValueError


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("codec", [codecs.json, codecs.text])
@pytest.mark.parametrize(
    "value", [Broken(), [Broken()], nested(100_000)], ids=["repr", "in", "deep"]
)
def test_a_value_without_a_repr_is_an_encode_error(codec: Codec[Any, Any], value: Any) -> None:
    """A value whose `repr` fails, or that is nested too deeply, is an EncodeError as well."""
    virtual = VirtualSession(watch=True, codec=codec)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.on_next(value)
    assert [type(error) for error in errors.values] == [EncodeError]


# --- what a peer sends ------------------------------------------------------------------------


def quiet(conn: AnyConnection) -> None:
    conn.incoming.subscribe()


def test_rubbish_of_a_peer_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A frame that cannot be decoded is one WARNING with URL, handler and reason, in one line."""
    virtual = VirtualSession(quiet, watch=True, codec=codecs.json)
    virtual.peer.message("rubbish")
    [record] = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("rxws", logging.WARNING, None)
    assert record.getMessage() == (
        f"closing with 1007, ws://peer.example/, handler {__name__}.quiet: "
        "cannot decode 'rubbish': Expecting value: line 1 column 1 (char 0) (JSONDecodeError)"
    )


def test_the_log_of_rubbish_has_a_traceback_at_the_level_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the level DEBUG the warning has the traceback, to find a mistake in a codec."""
    caplog.set_level(logging.DEBUG, "rxws")
    virtual = VirtualSession(quiet, watch=True, codec=codecs.json)
    virtual.peer.message("rubbish")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info


@pytest.mark.parametrize("text", ["a\nb", "a\r\n2026 ERROR forged", "a\x1b[31m\x00", "x" * 100_000])
def test_a_peer_cannot_forge_the_log(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a codec's error quotes of a message stays in one short line without control codes."""

    def fail(frame: Any) -> None:
        raise ValueError(f"multi\nline: {frame}")

    virtual = VirtualSession(quiet, watch=True, codec=Codec(codecs.text.encode, fail))
    virtual.peer.message(text)
    [record] = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 700


def test_a_decode_error_after_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A frame that cannot be decoded behind our close says so."""
    virtual = VirtualSession(quiet, codec=codecs.json)
    virtual.conn.outgoing.on_completed()
    virtual.peer.message("rubbish")
    [record] = caplog.records
    assert record.getMessage().startswith("after the end, ws://peer.example/, ")


def test_a_failure_of_a_handler_names_it(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a 1011 names the handler and the URL."""

    def fails(conn: AnyConnection) -> None:
        raise ValueError("mine")

    VirtualSession(fails)
    assert one_error(caplog).getMessage() == (
        "the handler or its pipeline failed: closing with 1011, ws://peer.example/, "
        f"handler {__name__}.test_a_failure_of_a_handler_names_it.<locals>.fails: mine"
    )
