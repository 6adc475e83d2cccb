"""What a `WebSocketSubject` is to type checkers; checked, never run."""

from typing import Any, assert_type

from reactivex import Observable

import rxws
from rxws._reconnect.channels import Channel


def of_an_address() -> None:
    """Without a codec it is of frames, with one of its values."""
    raw = rxws.WebSocketSubject("ws://peer.example/", ttl=5.0, headers=lambda: {"X": "y"})
    assert_type(raw, rxws.WebSocketSubject[str | bytes, str | bytes])
    text = rxws.WebSocketSubject(lambda: "ws://peer.example/", codec=rxws.codecs.text, queue=1000)
    assert_type(text, rxws.WebSocketSubject[str, str])
    text.on_next("a")
    text.on_next(rxws.Close(4001))
    text.on_next(b"a")  # type: ignore[arg-type] # that is the test
    assert_type(text.connection, rxws.Connection[str, str] | None)
    assert_type(text.drops, Observable[rxws.Dropped[str]])
    assert_type(text.status, Observable[rxws.Status])
    assert_type(text.channel("+", None, str.upper, key="A"), Channel[str])


def of_connections(connections: "Observable[rxws.Connection[int, Any]]") -> None:
    """An Observable says itself what its connections carry."""
    assert_type(rxws.WebSocketSubject(connections), rxws.WebSocketSubject[int, Any])
