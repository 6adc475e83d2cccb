"""Mistakes that type checkers must report, one per line.

Nothing here runs: `make types` checks it. Both mypy (`warn_unused_ignores`) and pyright (see below)
report an ignore comment without a mistake.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from aiohttp import web
from reactivex import Observable

import rxws
from rxws import Close, Codec, Connection


def of_text(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming


def of_bytes(conn: Connection[bytes, bytes]) -> Observable[bytes]:
    return conn.incoming


def of_number(conn: Connection) -> int:
    return 7


async def save(_: object) -> None: ...


async def mistakes(request: web.Request) -> None:
    # A handler for other messages than the codec decodes.
    rxws.websocket(of_bytes, codec=rxws.codecs.text)  # type: ignore[arg-type]
    rxws.websocket(codec=rxws.codecs.text)(of_bytes)  # type: ignore[arg-type]
    rxws.websocket(of_text)  # type: ignore[arg-type]
    rxws.websocket()(of_text)  # type: ignore[arg-type]
    await rxws.upgrade(request, of_bytes, codec=rxws.codecs.text)  # type: ignore[arg-type]
    await rxws.upgrade(request, of_text)  # type: ignore[arg-type]

    await rxws.serve(of_bytes, codec=rxws.codecs.text)  # type: ignore[arg-type]
    await rxws.serve(of_text)  # type: ignore[arg-type]

    # A handler that returns another type, or no handler.
    rxws.websocket(of_number)  # type: ignore[arg-type]
    rxws.websocket("of_text")  # type: ignore[call-overload]
    await rxws.serve(of_number)  # type: ignore[arg-type]
    await rxws.serve({"/": 7})  # type: ignore[dict-item]
    rxws.websocket(lambda conn: 7)  # type: ignore[arg-type, return-value]

    # A lambda that expects another type of connection.
    rxws.websocket(lambda conn: of_bytes(conn), codec=rxws.codecs.text)  # type: ignore[arg-type]
    rxws.websocket(lambda conn: of_text(conn))  # type: ignore[arg-type]
    rxws.websocket(lambda conn: conn.outgoing.on_next(7), codec=rxws.codecs.text)  # type: ignore[arg-type]
    rxws.websocket(lambda conn: conn.closes, codec=rxws.codecs.text)  # type: ignore[attr-defined]

    # A coroutine function that subscribes: use map_async. A forgotten await.
    conn = await rxws.connect("ws://peer.example/", codec=rxws.codecs.text)
    conn.incoming.subscribe(save)  # type: ignore[arg-type]
    conn.incoming.subscribe(print, on_error=save)  # type: ignore[arg-type]
    print(rxws.connect("ws://peer.example/").incoming)  # type: ignore[attr-defined]

    # Unknown options and options of the wrong type.
    rxws.websocket(of_text, codec=rxws.codecs.text, heartbeats=5)  # type: ignore[call-overload]
    rxws.websocket(of_text, codec=rxws.codecs.text, heartbeat="5")  # type: ignore[call-overload]
    rxws.websocket(of_text, codec=rxws.codecs.text, overflow="explode")  # type: ignore[call-overload]
    rxws.websocket(of_text, codec="text")  # type: ignore[call-overload]
    rxws.websocket(of_text, codec=rxws.codecs.text, open_timeout=5.0)  # type: ignore[call-overload]
    await rxws.serve(of_text, codec=rxws.codecs.text, pth="/")  # type: ignore[call-overload]
    await rxws.serve(of_text, codec=rxws.codecs.text, open_timeout=5.0)  # type: ignore[call-overload]
    await rxws.serve({"/": of_text}, port="80")  # type: ignore[call-overload]
    rxws.connect("ws://peer.example/", heartbeats=5)  # type: ignore[call-overload]
    rxws.connect("ws://peer.example/", max_message_size="1 MiB")  # type: ignore[call-overload]
    rxws.connect("ws://peer.example/", completes=1000)  # type: ignore[call-overload]
    rxws.connect("ws://peer.example/", autoclose=False)  # type: ignore[call-overload]
    rxws.connect("ws://peer.example/", origins="*")  # type: ignore[call-overload]
    rxws.connect()  # type: ignore[call-overload]


def misspelt_names() -> None:
    # Names that are imported when they are first used have types nevertheless.
    print(rxws.Huub)  # type: ignore[attr-defined]
    print(rxws.hub.RedisBackplan)  # type: ignore[attr-defined]
    rxws.hub.RedisBackplane(7)  # type: ignore[arg-type]


async def messages(conn: Connection[str, str]) -> None:
    # Messages that the codec does not encode.
    conn.outgoing.on_next(b"bytes")  # type: ignore[arg-type]
    conn.outgoing.on_next(7)  # type: ignore[arg-type]
    async with rxws.connect("ws://peer.example/", codec=rxws.codecs.binary) as client:
        client.outgoing.on_next("text")  # type: ignore[arg-type]
    url = "ws://peer.example/"
    wrong: Connection[bytes, bytes] = await rxws.connect(url, codec=rxws.codecs.text)  # type: ignore[arg-type]
    wrong.outgoing.on_next(b"")
    # Attributes of other libraries.
    conn.send("text")  # type: ignore[attr-defined]
    rxws.WebSocketSubject(url).close()  # type: ignore[attr-defined]
    async for _ in conn:  # type: ignore[attr-defined]
        pass
    # Read-only attributes, and values of the wrong type.
    conn.outgoing = conn.outgoing  # type: ignore[misc]
    Close("4001")  # type: ignore[arg-type]
    Close(4001, b"why")  # type: ignore[arg-type]
    Close(4001, by="me")  # type: ignore[arg-type]
    Codec[int, int](encode=int, decode=int)  # type: ignore[arg-type]
