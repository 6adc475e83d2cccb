"""The types that type checkers infer for `WebSocketSubject`; checked, never run."""

from typing import Any, assert_type

from reactivex import Observable

import rxws
from rxws._reconnect.channels import Channel


def of_an_address() -> None:
    """A subject has the types of its codec, or text and binary without one."""
    raw = rxws.WebSocketSubject("ws://peer.example/", ttl=5.0, headers=lambda: {"X": "y"})
    assert_type(raw, rxws.WebSocketSubject[str | bytes, str | bytes])
    text = rxws.WebSocketSubject(lambda: "ws://peer.example/", codec=rxws.codecs.text, queue=1000)
    assert_type(text, rxws.WebSocketSubject[str, str])
    text.on_next("a")
    text.on_next(rxws.Close(4001))
    text.on_next(b"a")  # type: ignore[arg-type] # on purpose
    assert_type(text.connection, rxws.Connection[str, str] | None)
    assert_type(text.drops, Observable[rxws.Dropped[str]])
    assert_type(text.status, Observable[rxws.Status])
    assert_type(text.channel("+", None, str.upper, key="A"), Channel[str])


async def in_loops(feed: rxws.WebSocketSubject[str, str], channel: Channel[int]) -> None:
    """`async for` yields messages of the codec's type."""
    async for message in feed:
        assert_type(message, str)
    async for number in channel:
        assert_type(number, int)
    async with rxws.WebSocketSubject("ws://peer.example/", codec=rxws.codecs.text) as texts:
        assert_type(texts, rxws.WebSocketSubject[str, str])


def of_connections(connections: "Observable[rxws.Connection[int, Any]]") -> None:
    """A subject of an Observable has the types of its connections."""
    assert_type(rxws.WebSocketSubject(connections), rxws.WebSocketSubject[int, Any])
