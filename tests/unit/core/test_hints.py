"""Errors for attributes that other WebSocket libraries have."""

from __future__ import annotations

import pydoc
import re
import traceback
from typing import Any

import pytest
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws._core import hints
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject


def connection() -> Any:
    return VirtualSession().conn


def subject() -> Any:
    return VirtualSubject().feed


def channel() -> Any:
    return subject().channel(None, None, bool)


@pytest.mark.parametrize(
    ("make", "name", "remedy"),
    [
        (connection, "send", "use conn.outgoing.on_next(message)"),
        (connection, "send_str", "use conn.outgoing.on_next(message)"),
        (connection, "send_bytes", "use conn.outgoing.on_next(message)"),
        (connection, "send_json", "codec=rxws.codecs.json"),
        (connection, "close", "conn.outgoing.on_next(rxws.Close(code, reason))"),
        (connection, "recv", "'async for message in conn.incoming'"),
        (connection, "receive", "await conn.incoming.pipe(ops.first())"),
        (connection, "subscribe", "use conn.incoming.subscribe(on_next)"),
        (connection, "pipe", "use conn.incoming.pipe(operators)"),
        (lambda: connection().outgoing, "send", "use conn.outgoing.on_next(message)"),
        (lambda: connection().incoming, "recv", "'async for message in conn.incoming'"),
        (subject, "send", "use feed.on_next(message)"),
        (subject, "close", "use feed.on_completed() to send what is queued and close"),
        (channel, "send_json", "use channel.on_next(value)"),
        (channel, "close", "channel.dispose()"),
    ],
)
def test_a_missing_attribute_names_the_remedy(make: Any, name: str, remedy: str) -> None:
    """An attribute that other libraries have raises an AttributeError with the remedy only."""
    target = make()
    with pytest.raises(AttributeError) as caught:
        getattr(target, name)
    error = caught.value
    kind = type(target).__name__
    assert str(error).startswith(f"{kind!r} object has no attribute {name!r}: ")
    assert remedy in str(error)
    assert error.name == name
    assert "Did you mean" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("make", [connection, subject, channel])
def test_a_missing_attribute_stays_missing(make: Any) -> None:
    """`hasattr` and `dir`, and so tab completion, do not know the missing attributes."""
    target = make()
    table = {
        connection: hints.CONNECTION,
        subject: hints.SUBJECT,
        channel: hints.CHANNEL,
    }[make]
    names = set(table) - {"__aiter__"}
    assert not [name for name in names if hasattr(target, name)]
    assert not names & {*dir(target)}
    with pytest.raises(AttributeError, match=r"no attribute 'other'$"):
        _ = target.other


def test_dir_of_a_connection() -> None:
    """`dir` of a Connection lists its fields and no other public name."""
    public = [name for name in dir(connection()) if not name.startswith("_")]
    assert public == sorted(rxws.Connection.__dataclass_fields__)
    assert "__aiter__" not in dir(connection())


async def test_async_for_over_a_connection() -> None:
    """`async for` over a connection raises a TypeError that names `conn.incoming`."""
    with pytest.raises(TypeError, match=r"not iterable: use 'async for message in conn\.incoming'"):
        async for _ in connection():
            pass


@pytest.mark.parametrize(
    "stream", [lambda: connection().incoming, lambda: connection().outgoing, subject, channel]
)
def test_what_exists_is_untouched(stream: Any) -> None:
    """A stream keeps the methods whose names are remedies for a connection."""
    assert isinstance(stream().pipe(ops.take(1)), Observable)
    assert isinstance(stream(), Observable)


def test_a_subclass_may_have_the_attribute() -> None:
    """A subclass may define a missing attribute, and `dir` lists it then."""

    class Feed(rxws.WebSocketSubject[str, str]):
        def send(self, message: str) -> None:
            self.on_next(message)

    feed = Feed("ws://localhost/")
    feed.send("a")
    assert feed.stats.queued == 1
    assert "send" in dir(feed)
    with pytest.raises(AttributeError, match="'Feed' object has no attribute 'close': use feed"):
        _ = feed.close  # type: ignore[attr-defined]
    feed.dispose()


@pytest.mark.parametrize("kind", [rxws.Connection, rxws.WebSocketSubject])
def test_help_shows_the_remedies(kind: type[Any]) -> None:
    """`help` of a class shows that an attribute does not exist, and its remedy."""
    text = pydoc.plain(pydoc.render_doc(kind))
    assert re.search(r"\|  send\n +\|      Does not exist: use .*on_next\(message\)\.\n", text)
