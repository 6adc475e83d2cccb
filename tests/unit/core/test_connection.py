"""The value that users hold."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from reactivex import Observable
from reactivex.abc import SchedulerBase
from reactivex.subject import Subject
from yarl import URL

import rxws
from rxws import Close, Connection, Handshake, Stats
from rxws._core.frames import Frame, Opcode
from support.virtual.session import HANDSHAKE, VirtualSession


def test_a_connection_is_three_streams_and_what_is_around_them() -> None:
    """Nothing more, so that it can be read at a glance."""
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
    """It is handed around; nobody changes it for another."""
    conn: Any = VirtualSession().conn
    with pytest.raises(dataclasses.FrozenInstanceError):
        conn.outgoing = None
    assert not hasattr(conn, "__dict__")


def test_a_stream_says_who_listens() -> None:
    """Its repr tells its kind, how many are subscribed, and whether it is over."""
    virtual = VirtualSession()
    streams = [
        virtual.conn.incoming,
        virtual.conn.outgoing,
        virtual.conn.errors,
        virtual.conn.closed,
    ]
    assert [repr(stream).split()[0] for stream in streams] == [
        "<IncomingStream", "<Outgoing", "<Stream", "<ReplayStream",
    ]  # fmt: skip
    subscription = virtual.conn.incoming.subscribe()
    assert repr(virtual.conn.incoming) == "<IncomingStream subscribers=1>"
    subscription.dispose()
    assert repr(virtual.conn.incoming) == "<IncomingStream subscribers=0>"
    virtual.peer.lost()
    virtual.settle()
    assert repr(virtual.conn.closed) == "<ReplayStream ended subscribers=0>"


def test_a_connection_keeps_secrets() -> None:
    """Neither its repr nor a recording's title has a token: notebooks are saved with them."""
    address = URL("wss://me:secret@peer.example/x?token=secret")
    conn = dataclasses.replace(VirtualSession().conn, handshake=Handshake(address, {}))
    assert repr(conn).startswith("<Connection wss://peer.example/x remote")
    assert rxws.Recording.of(conn).title == "wss://peer.example/x"


def test_a_connection_shows_itself_in_a_line() -> None:
    """In a notebook or a log: where to, and how much went through."""
    virtual = VirtualSession(watch=True)
    virtual.peer.message("a")
    virtual.conn.outgoing.on_next("b")
    assert repr(virtual.conn) == (
        "<Connection ws://peer.example/ remote=None <Flow flowing in=1 out=1 buffered=0>>"
    )
    hold = virtual.conn.flow.pause()
    assert "<Flow paused" in repr(virtual.conn)
    hold.dispose()
    assert "<Flow flowing" in repr(virtual.conn)
    virtual.peer.lost()
    virtual.settle()
    assert "<Flow closed 1006" in repr(virtual.conn)


def test_stats_are_a_value() -> None:
    """Two of nothing are equal, and what was read stays as it was."""
    assert Stats() == Stats()
    virtual = VirtualSession(watch=True)
    before = virtual.stats
    virtual.conn.outgoing.on_next("four")
    assert (before.sent_messages, before.sent_bytes) == (0, 0)
    assert (virtual.stats.sent_messages, virtual.stats.sent_bytes) == (1, 4)


# --- the vocabulary: values that check themselves ----------------------------------------------


def test_a_close_is_a_plain_1000_unless_told_otherwise() -> None:
    """Without arguments it is the normal closure, by us, without a reason."""
    close = Close()
    assert (close.code, close.reason, close.by) == (1000, "", "local")


def test_who_closed_takes_no_part_in_equality() -> None:
    """Closes are equal where code and reason are, whoever ended the connection."""
    assert Close(4001, "why") == Close(4001, "why", by="peer")
    assert hash(Close(4001, "why")) == hash(Close(4001, "why", by="network"))
    assert Close(4001, "why") != Close(4001, "else")
    assert Close(4001) != Close(4002)


@pytest.mark.parametrize("value", [Close(), Handshake(URL("ws://peer.example/"), {})])
def test_values_are_frozen(value: Any) -> None:
    """What was said once stays as it was."""
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("code", [1000, 1005, 1006, 2999, 3000, 4999])
def test_codes_from_1000_to_4999_can_be_reported(code: int) -> None:
    """Also those that may not be sent, as `closed` has to name them."""
    assert Close(code).code == code


@pytest.mark.parametrize("code", [-1, 0, 999, 5000, 70000])
def test_a_code_out_of_range_is_refused(code: int) -> None:
    """The error names the code and where one's own codes go."""
    with pytest.raises(ValueError, match=rf"{code} is not in 1000\.\.4999; use 4000\.\.4999"):
        Close(code)


@pytest.mark.parametrize("code", ["1000", 1000.0, None, True])
def test_a_code_is_an_int(code: Any) -> None:
    """Anything else is a TypeError that names it."""
    with pytest.raises(TypeError, match=re.escape(repr(code))):
        Close(code)


@pytest.mark.parametrize("reason", [b"why", None, 7])
def test_a_reason_is_a_str(reason: Any) -> None:
    """Anything else is a TypeError that names it."""
    with pytest.raises(TypeError, match=re.escape(repr(reason))):
        Close(1000, reason)


@pytest.mark.parametrize("reason", ["x" * 123, "é" * 61 + "x", "🐛" * 30 + "xyz"])
def test_a_reason_may_have_123_bytes_of_utf8(reason: str) -> None:
    """With the two bytes of the code that fills a control frame."""
    assert len(reason.encode()) == 123
    assert Close(4000, reason).reason == reason


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62, "🐛" * 31])
def test_a_longer_reason_is_refused(reason: str) -> None:
    """Bytes count, not characters; the error says how many there are and what fits."""
    with pytest.raises(ValueError, match=r"of 124 bytes: at most 123 bytes"):
        Close(4000, reason)


def test_a_reason_that_is_no_unicode_is_refused() -> None:
    """A lone surrogate has no UTF-8."""
    with pytest.raises(ValueError, match="cannot be sent as UTF-8"):
        Close(4000, "\ud800")


def test_a_handshake_needs_an_address_and_headers_only() -> None:
    """What is not known is None."""
    handshake = Handshake(URL("ws://peer.example/path"), {"Host": "peer.example"})
    assert handshake.url.path == "/path"
    assert (handshake.subprotocol, handshake.remote, handshake.request) == (None, None, None)


def test_kinds_are_the_opcodes_of_the_rfc() -> None:
    """RFC 6455, section 5.2."""
    assert {kind.name: kind.value for kind in Opcode} == {
        "TEXT": 0x1,
        "BINARY": 0x2,
        "CLOSE": 0x8,
        "PING": 0x9,
        "PONG": 0xA,
    }
    assert Frame(Opcode.TEXT, b"x") == (1, b"x")
