"""The value that users hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from reactivex import Observable
from reactivex.abc import SchedulerBase
from reactivex.subject import Subject
from rig import HANDSHAKE, Rig
from yarl import URL

import rxws
from rxws import Connection, Handshake, Stats


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
    conn = Rig().conn
    for stream in (conn.incoming, conn.outgoing, conn.errors, conn.closed, conn.flow.writable):
        assert isinstance(stream, Observable)
    assert isinstance(conn.outgoing, Subject)
    assert isinstance(conn.scheduler, SchedulerBase)
    assert conn.handshake is HANDSHAKE


def test_a_connection_is_frozen() -> None:
    """It is handed around; nobody changes it for another."""
    conn: Any = Rig().conn
    with pytest.raises(dataclasses.FrozenInstanceError):
        conn.outgoing = None
    assert not hasattr(conn, "__dict__")


def test_a_stream_says_who_listens() -> None:
    """Its repr tells its kind, how many are subscribed, and whether it is over."""
    rig = Rig()
    streams = [rig.conn.incoming, rig.conn.outgoing, rig.conn.errors, rig.conn.closed]
    assert [repr(stream).split()[0] for stream in streams] == [
        "<IncomingStream", "<Outgoing", "<Stream", "<ReplayStream",
    ]  # fmt: skip
    subscription = rig.conn.incoming.subscribe()
    assert repr(rig.conn.incoming) == "<IncomingStream subscribers=1>"
    subscription.dispose()
    assert repr(rig.conn.incoming) == "<IncomingStream subscribers=0>"
    rig.peer.lost()
    rig.settle()
    assert repr(rig.conn.closed) == "<ReplayStream ended subscribers=0>"


def test_a_connection_keeps_secrets() -> None:
    """Neither its repr nor a recording's title has a token: notebooks are saved with them."""
    address = URL("wss://me:secret@peer.example/x?token=secret")
    conn = dataclasses.replace(Rig().conn, handshake=Handshake(address, {}))
    assert repr(conn).startswith("<Connection wss://peer.example/x remote")
    assert rxws.Recording.of(conn).title == "wss://peer.example/x"


def test_a_connection_shows_itself_in_a_line() -> None:
    """In a notebook or a log: where to, and how much went through."""
    rig = Rig(watch=True)
    rig.peer.message("a")
    rig.conn.outgoing.on_next("b")
    assert repr(rig.conn) == (
        "<Connection ws://peer.example/ remote=None <Flow flowing in=1 out=1 buffered=0>>"
    )
    hold = rig.conn.flow.pause()
    assert "<Flow paused" in repr(rig.conn)
    hold.dispose()
    assert "<Flow flowing" in repr(rig.conn)
    rig.peer.lost()
    rig.settle()
    assert "<Flow closed 1006" in repr(rig.conn)


def test_stats_are_a_value() -> None:
    """Two of nothing are equal, and what was read stays as it was."""
    assert Stats() == Stats()
    rig = Rig(watch=True)
    before = rig.stats
    rig.conn.outgoing.on_next("four")
    assert (before.sent_messages, before.sent_bytes) == (0, 0)
    assert (rig.stats.sent_messages, rig.stats.sent_bytes) == (1, 4)
