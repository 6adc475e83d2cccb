"""The types that type checkers infer for clients with each codec.

Nothing here runs: `make types` checks it with mypy and pyright.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, assert_type

import aiohttp
from reactivex import Observable
from reactivex import operators as ops
from reactivex.subject import Subject
from yarl import URL

import rxws
from rxws import Close, ConnectCall, Connection

URL_ = "ws://peer.example/"


@dataclass
class Answer:
    text: str


async def by_async_with() -> None:
    """`async with connect(...)` gives a connection with the codec's types."""
    async with rxws.connect(URL_) as conn:
        assert_type(conn, Connection[str | bytes, str | bytes])
        assert_type(conn.incoming.pipe(ops.first()), Observable[str | bytes])
    async with rxws.connect(URL_, codec=rxws.codecs.raw) as conn_of_raw:
        assert_type(conn_of_raw, Connection[str | bytes, str | bytes])
    async with rxws.connect(URL_, codec=rxws.codecs.text) as conn_of_text:
        assert_type(conn_of_text, Connection[str, str])
        assert_type(conn_of_text.outgoing, Subject[str | Close])
        conn_of_text.outgoing.on_next("hello")
        conn_of_text.outgoing.on_next(Close(4001))
        async for message in rxws.iterate(conn_of_text.incoming):
            assert_type(message, str)
        async for message in conn_of_text.incoming:
            assert_type(message, str)
        assert_type([text async for text in conn_of_text.incoming], list[str])
    async with rxws.connect(URL_, codec=rxws.codecs.binary) as conn_of_binary:
        assert_type(conn_of_binary, Connection[bytes, bytes])
    async with rxws.connect(URL_, codec=rxws.codecs.json) as conn_of_json:
        assert_type(conn_of_json, Connection[Any, Any])
        async for _ in conn_of_json.outgoing:  # type: ignore[attr-defined] # messages go out
            pass
    async with rxws.connect(URL_, codec=rxws.codecs.typed(Answer)) as conn_of_typed:
        assert_type(conn_of_typed, Connection[Answer, Any])


async def by_task() -> None:
    """`connect(...)` is a coroutine, so asyncio's functions keep the types of the connection."""
    call = rxws.connect(URL_, codec=rxws.codecs.text)
    assert_type(asyncio.create_task(call), asyncio.Task[Connection[str, str]])
    assert_type(await asyncio.wait_for(rxws.connect(URL_), 5), Connection[str | bytes, str | bytes])
    one, other = await asyncio.gather(call, rxws.connect(URL_, codec=rxws.codecs.binary))
    assert_type(one, Connection[str, str])
    assert_type(other, Connection[bytes, bytes])
    async with asyncio.TaskGroup() as group:
        assert_type(await group.create_task(call), Connection[str, str])


async def by_await() -> None:
    """`await connect(...)` gives the same connection; the user closes it."""
    assert_type(rxws.connect(URL_), ConnectCall[str | bytes, str | bytes])
    assert_type(await rxws.connect(URL_), Connection[str | bytes, str | bytes])
    conn = await rxws.connect(URL(URL_), codec=rxws.codecs.text)
    assert_type(conn, Connection[str, str])
    conn.outgoing.on_completed()
    assert_type(await conn.closed, Close)


async def with_options(session: aiohttp.ClientSession) -> None:
    """Options of a connection, of the client and of aiohttp's `ws_connect` are accepted."""
    async with rxws.connect(
        URL_,
        protocols=["chat"],
        heartbeat=None,
        max_message_size=1 << 16,
        compress=False,
        completes=lambda close: close.code != 1006,
        high_water=1 << 12,
        max_buffer=1 << 14,
        overflow="close",
        send_timeout=1,
        close_timeout=1,
        hold_timeout=1,
        session=session,
        open_timeout=2.5,
        headers={"Authorization": "Bearer x"},
        params={"room": "a"},
        ssl=ssl.create_default_context(),
        proxy="http://proxy.example:3128",
        origin="https://peer.example",
    ) as conn:
        assert_type(conn, Connection[str | bytes, str | bytes])


async def by_exception() -> None:
    """Errors have the attributes that a program needs."""
    try:
        await rxws.connect(URL_)
    except rxws.HandshakeError as error:
        assert_type(error.status, int)
        assert_type(error.body, bytes)
    except rxws.ConnectError as error:
        assert_type(error.__cause__, BaseException | None)
    except rxws.ConnectionClosed as error:
        assert_type(error.close, Close)
        assert_type(error.close.code, int)


def by_connections() -> None:
    """`connections` gives connections with the codec's types."""
    assert_type(rxws.connections(URL_), Observable[Connection[str | bytes, str | bytes]])
    texts = rxws.connections(lambda: URL_, codec=rxws.codecs.text, headers=lambda: {"A": "b"})
    assert_type(texts, Observable[Connection[str, str]])
    again = texts.pipe(rxws.operators.reconnect(rxws.backoff.constant(1.0)))
    assert_type(again, Observable[Connection[str, str]])
