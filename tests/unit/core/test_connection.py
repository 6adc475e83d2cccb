"""`Connection` and the values `Close`, `Handshake`, `Stats` and `Frame`."""

from __future__ import annotations

import dataclasses
import gc
import re
import weakref
from typing import Any

import pytest
from multidict import CIMultiDict
from reactivex import Observable
from reactivex.abc import SchedulerBase
from reactivex.subject import Subject
from yarl import URL

import rxws
from rxws import Close, Connection, Handshake, Stats
from rxws._core.frames import Frame, Opcode
from support.virtual.session import HANDSHAKE, VirtualSession


def test_the_fields_of_a_connection() -> None:
    """A Connection has exactly these fields; its streams are Observables."""
    names = [field.name for field in dataclasses.fields(Connection)]
    assert names == [
        "incoming",
        "outgoing",
        "errors",
        "closed",
        "flow",
        "handshake",
        "scheduler",
    ]
    conn = VirtualSession().conn
    for stream in (conn.incoming, conn.outgoing, conn.errors, conn.closed, conn.flow.writable):
        assert isinstance(stream, Observable)
    assert isinstance(conn.outgoing, Subject)
    assert isinstance(conn.scheduler, SchedulerBase)
    assert conn.handshake is HANDSHAKE


def test_a_connection_is_frozen() -> None:
    """A Connection is frozen and has no `__dict__`."""
    conn: Any = VirtualSession().conn
    with pytest.raises(dataclasses.FrozenInstanceError):
        conn.outgoing = None
    assert not hasattr(conn, "__dict__")


def test_a_connection_has_an_identity() -> None:
    """A Connection is hashed and compared by identity, in sets, dicts and lists."""
    one, other = VirtualSession().conn, VirtualSession().conn
    room = {one, other}
    assert room == {other, one}
    room.discard(one)
    assert room == {other}
    assert {one: "ann"}[one] == "ann"
    assert one != dataclasses.replace(one)
    assert [other, one].index(one) == 1


def test_a_connection_may_be_weakly_referenced() -> None:
    """A WeakSet keeps a Connection as long as others do."""
    virtual = VirtualSession()
    room = weakref.WeakSet([virtual.conn])
    assert virtual.conn in room
    assert weakref.ref(virtual.conn)() is virtual.conn
    virtual.peer.close(1000)
    del virtual
    gc.collect()
    assert not room


@pytest.mark.parametrize(
    "value",
    [
        Close(4001, "why"),
        Handshake(URL("ws://peer.example/"), CIMultiDict({"a": "b"}), None, ("::1", 1, 0, 0)),
        Stats(dropped={"closed": 1}),
        rxws.SubjectStats(dropped={"closed": 1}),
        rxws.Dropped("x", "expired"),
        rxws.status.Open(Handshake(URL("ws://peer.example/"), {})),
        rxws.status.Waiting(1.0, ValueError()),
        rxws.status.Closed(Close()),
        rxws.codecs.json,
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_value_is_hashable(value: Any) -> None:
    """Each frozen value of rxws can be in a set, and equal values have equal hashes."""
    again = dataclasses.replace(value)
    assert again == value
    assert {value, again} == {value}


def test_repr_of_the_streams() -> None:
    """The repr of a stream shows its kind, its subscribers and whether it has ended."""
    virtual = VirtualSession()
    streams = [
        virtual.conn.incoming,
        virtual.conn.outgoing,
        virtual.conn.errors,
        virtual.conn.closed,
    ]
    assert [repr(stream).split()[0] for stream in streams] == [
        "<IncomingStream", "<Outgoing", "<ErrorStream", "<ClosedStream",
    ]  # fmt: skip
    subscription = virtual.conn.incoming.subscribe()
    assert repr(virtual.conn.incoming) == "<IncomingStream subscribers=1>"
    subscription.dispose()
    assert repr(virtual.conn.incoming) == "<IncomingStream subscribers=0>"
    virtual.peer.lost()
    virtual.settle()
    assert repr(virtual.conn.closed) == "<ClosedStream ended subscribers=0>"


def test_repr_of_a_connection_has_no_secrets() -> None:
    """Neither the repr nor a recording's title has credentials or the query of the URL."""
    address = URL("wss://me:secret@peer.example/x?token=secret")
    conn = dataclasses.replace(VirtualSession().conn, handshake=Handshake(address, {}))
    assert repr(conn).startswith("<Connection wss://peer.example/x remote")
    assert rxws.Recording.of(conn).title == "wss://peer.example/x"


def test_repr_of_a_connection() -> None:
    """The repr of a Connection shows URL, remote address and flow in one line."""
    virtual = VirtualSession(watch=True)
    virtual.peer.message("a")
    virtual.conn.outgoing.on_next("b")
    assert repr(virtual.conn) == (
        "<Connection ws://peer.example/ remote=None <Flow flowing in=1 out=1 buffered=0>>"
    )
    pause = virtual.conn.flow.pause()
    assert "<Flow paused" in repr(virtual.conn)
    pause.dispose()
    assert "<Flow flowing" in repr(virtual.conn)
    virtual.peer.lost()
    virtual.settle()
    assert "<Flow closed 1006" in repr(virtual.conn)


def test_stats_are_a_value() -> None:
    """`Stats` compare by value and do not change after they are read."""
    assert Stats() == Stats()
    virtual = VirtualSession(watch=True)
    before = virtual.stats
    virtual.conn.outgoing.on_next("four")
    assert (before.sent_messages, before.sent_bytes) == (0, 0)
    assert (virtual.stats.sent_messages, virtual.stats.sent_bytes) == (1, 4)


# --- values that are checked on creation -------------------------------------------------------


def test_close_defaults_to_1000_by_local() -> None:
    """`Close()` is 1000 without a reason, by "local"."""
    close = Close()
    assert (close.code, close.reason, close.by) == (1000, "", "local")


def test_by_is_not_compared() -> None:
    """Closes are equal if code and reason are, whatever `by` is."""
    assert Close(4001, "why") == Close(4001, "why", by="peer")
    assert hash(Close(4001, "why")) == hash(Close(4001, "why", by="network"))
    assert Close(4001, "why") != Close(4001, "else")
    assert Close(4001) != Close(4002)


@pytest.mark.parametrize("value", [Close(), Handshake(URL("ws://peer.example/"), {})])
def test_values_are_frozen(value: Any) -> None:
    """`Close` and `Handshake` are frozen and have no `__dict__`."""
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("code", [1000, 1005, 1006, 2999, 3000, 4999])
def test_codes_from_1000_to_4999_can_be_reported(code: int) -> None:
    """Codes from 1000 to 4999 are accepted, also those that must not be sent."""
    assert Close(code).code == code


@pytest.mark.parametrize("code", [-1, 0, 999, 5000, 70000])
def test_a_code_out_of_range_is_refused(code: int) -> None:
    """A code out of range raises a ValueError that names the range for own codes."""
    with pytest.raises(ValueError, match=rf"{code} is not in 1000\.\.4999; use 4000\.\.4999"):
        Close(code)


@pytest.mark.parametrize("code", ["1000", 1000.0, None, True])
def test_a_code_that_is_no_int_is_a_type_error(code: Any) -> None:
    """A code that is no int raises a TypeError that names it."""
    with pytest.raises(TypeError, match=re.escape(repr(code))):
        Close(code)


@pytest.mark.parametrize("reason", [b"why", None, 7])
def test_a_reason_that_is_no_str_is_a_type_error(reason: Any) -> None:
    """A reason that is no str raises a TypeError that names it."""
    with pytest.raises(TypeError, match=re.escape(repr(reason))):
        Close(1000, reason)


@pytest.mark.parametrize("reason", ["x" * 123, "é" * 61 + "x", "🐛" * 30 + "xyz"])
def test_a_reason_may_have_123_bytes_of_utf8(reason: str) -> None:
    """A reason may have 123 bytes of UTF-8, which with the code fill a control frame."""
    assert len(reason.encode()) == 123
    assert Close(4000, reason).reason == reason


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62, "🐛" * 31])
def test_a_longer_reason_is_refused(reason: str) -> None:
    """A longer reason raises a ValueError that names its bytes and the limit."""
    with pytest.raises(ValueError, match=r"of 124 bytes: at most 123 bytes"):
        Close(4000, reason)


def test_a_reason_with_a_lone_surrogate_is_refused() -> None:
    """A reason with a lone surrogate raises a ValueError, as it has no UTF-8."""
    with pytest.raises(ValueError, match="cannot be sent as UTF-8"):
        Close(4000, "\ud800")


def test_a_handshake_needs_only_url_and_headers() -> None:
    """A Handshake needs only URL and headers; the other fields default to None."""
    handshake = Handshake(URL("ws://peer.example/path"), {"Host": "peer.example"})
    assert handshake.url.path == "/path"
    assert (handshake.subprotocol, handshake.remote, handshake.request) == (None, None, None)


def test_opcodes_are_those_of_the_rfc() -> None:
    """`Opcode` has the values of RFC 6455, section 5.2."""
    assert {kind.name: kind.value for kind in Opcode} == {
        "TEXT": 0x1,
        "BINARY": 0x2,
        "CLOSE": 0x8,
        "PING": 0x9,
        "PONG": 0xA,
    }
    assert Frame(Opcode.TEXT, b"x") == (1, b"x")
