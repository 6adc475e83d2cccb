"""The types that type checkers infer for handlers on a server with each codec.

Nothing here runs: `make types` checks it with mypy and pyright.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, assert_type

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.subject import Subject

import rxws
from rxws import Close, Codec, Connection, Flow, Handshake, RouteHandler

Route = RouteHandler[str | bytes, str | bytes]
TextRoute = RouteHandler[str, str]
AiohttpRoute = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Question:
    text: str


# --- a connection is generic in its incoming and outgoing messages ----------------------------


def plain(conn: Connection) -> None:
    """Without parameters a connection has text and binary messages."""
    assert_type(conn, Connection[str | bytes, str | bytes])
    assert_type(conn.incoming.pipe(ops.first()), Observable[str | bytes])
    assert_type(conn.outgoing, Subject[str | bytes | Close])
    assert_type(conn.errors, Observable[Exception])
    assert_type(conn.closed, Observable[Close])
    assert_type(conn.flow, Flow)
    assert_type(conn.handshake, Handshake)
    assert_type(conn.handshake.request, web.Request | None)
    assert_type(conn.scheduler, SchedulerBase)


def one_parameter(conn: Connection[int]) -> None:
    """The type of outgoing messages has a default."""
    assert_type(conn.incoming.pipe(ops.first()), Observable[int])
    assert_type(conn.outgoing, Subject[str | bytes | Close])


def sends(conn: Connection[int, list[str]]) -> None:
    """`outgoing` accepts a `Close`."""
    conn.outgoing.on_next(["a"])
    conn.outgoing.on_next(Close(4001, "why"))


# --- a handler returns one of four things -----------------------------------------------------


def an_observable(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming.pipe(ops.map(str.upper))


def a_disposable(conn: Connection[str, str]) -> DisposableBase:
    return conn.incoming.subscribe(conn.outgoing)


def nothing(conn: Connection[str, str]) -> None:
    conn.outgoing.on_next("hello")


async def a_coroutine(conn: Connection[str, str]) -> Observable[str]:
    await conn.flow.drained()
    return conn.incoming


async def a_coroutine_of_nothing(conn: Connection[str, str]) -> None:
    async for message in conn.incoming:
        assert_type(message, str)


async def a_generator(conn: Connection[str, str]) -> AsyncIterator[str | Close]:
    async for message in conn.incoming:
        yield message.upper()
    yield Close(4001)


async def another_generator(conn: Connection[str, str]) -> AsyncGenerator[str]:
    yield "hello"


async def a_coroutine_of_a_generator(conn: Connection[str, str]) -> AsyncIterator[str]:
    return rxws.iterate(conn.incoming)


async def served(context: ssl.SSLContext) -> None:
    """`serve` takes a handler of the codec's types, a route handler, or a dict of both."""
    async with rxws.serve(plain) as server:
        assert_type(server, rxws.Server)
        assert_type(server.url, str)
        assert_type(server.port, int)
    assert_type(await rxws.serve(an_observable, codec=rxws.codecs.text), rxws.Server)
    await rxws.serve(rxws.websocket(an_observable, codec=rxws.codecs.text), "0.0.0.0", 8080)
    await rxws.serve({"/a": a_disposable, "/b": text}, codec=rxws.codecs.text, port=8080)
    await rxws.serve({"/b": text, "/r": raw})
    await rxws.serve(plain, origins=["https://a.example"], incoming="discard", heartbeat=None)
    options: rxws.ServerOptions = {"path": "/a", "drain": 1, "ssl_context": context}
    await rxws.serve(plain, **options)


any_of_them: list[rxws.Handler[str, str]] = [
    an_observable,
    a_disposable,
    nothing,
    a_coroutine,
    a_coroutine_of_nothing,
    a_generator,
    another_generator,
    rxws.pipeline(ops.distinct_until_changed()),
    rxws.listener(Subject[str](), rx.never()),
]


def values_of(message: dict[str, int]) -> list[int]:
    return [*message.values()]


def text_of(question: Question) -> str:
    return question.text


# --- as a decorator, with each codec ----------------------------------------------------------


@rxws.websocket
def bare(conn: Connection) -> Observable[str | bytes]:
    return conn.incoming


@rxws.websocket()
def called(conn: Connection) -> Observable[str | bytes]:
    return conn.incoming


@rxws.websocket(codec=rxws.codecs.raw)
def raw(conn: Connection[str | bytes, str | bytes]) -> Observable[str | bytes]:
    return conn.incoming


@rxws.websocket(codec=rxws.codecs.text)
def text(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming


@rxws.websocket(codec=rxws.codecs.binary)
def binary(conn: Connection[bytes, bytes]) -> Observable[bytes]:
    return conn.incoming


@rxws.websocket(codec=rxws.codecs.json)
def json(conn: Connection[Any, Any]) -> Observable[Any]:
    return conn.incoming


@rxws.websocket(codec=rxws.codecs.json)
def json_with_types(conn: Connection[dict[str, int], list[int]]) -> Observable[list[int]]:
    return conn.incoming.pipe(ops.map(values_of))


@rxws.websocket(codec=rxws.codecs.typed(Question))
def typed(conn: Connection[Question, Any]) -> Observable[str]:
    return conn.incoming.pipe(ops.map(text_of))


@rxws.websocket(codec=rxws.codecs.text)
async def generated(conn: Connection[str, str]) -> AsyncIterator[str]:
    async for message in conn.incoming:
        assert_type(message, str)
        yield message


@rxws.websocket(codec=Codec[int, float](encode=str, decode=int))
async def own(conn: Connection[int, float]) -> Observable[float]:
    return conn.incoming.pipe(ops.map(float))


def routes() -> None:
    """With any codec the result is an aiohttp route handler, which has the types of the codec."""
    assert_type(bare, Route)
    assert_type(called, Route)
    assert_type(raw, Route)
    assert_type(text, TextRoute)
    assert_type(binary, RouteHandler[bytes, bytes])
    assert_type(json, RouteHandler[Any, Any])
    assert_type(json_with_types, RouteHandler[Any, Any])
    assert_type(typed, RouteHandler[Question, Any])
    assert_type(own, RouteHandler[int, float])
    assert_type(generated, TextRoute)
    any_of_them: list[AiohttpRoute] = [bare, called, raw, text, binary, json, typed, own]
    web.get("/", any_of_them[0])
    web.get("/", text)
    assert_type(text.handler, rxws.Handler[str, str])
    assert_type(text.options["codec"], Any)


# --- as a decorator of methods ----------------------------------------------------------------


class Chat:
    @rxws.websocket
    def bare(self, conn: Connection) -> Observable[str | bytes]:
        return conn.incoming

    @rxws.websocket(codec=rxws.codecs.text, heartbeat=5)
    def text(self, conn: Connection[str, str]) -> Observable[str]:
        return conn.incoming

    @rxws.websocket(codec=rxws.codecs.text)
    async def later(self, conn: Connection[str, str]) -> None: ...

    @staticmethod
    @rxws.websocket(codec=rxws.codecs.text)
    def static(conn: Connection[str, str]) -> Observable[str]:
        return conn.incoming


def methods(chat: Chat) -> None:
    """A method of an instance is a route handler."""
    assert_type(chat.bare, Route)
    assert_type(chat.text, TextRoute)
    assert_type(chat.later, TextRoute)
    assert_type(chat.static, TextRoute)
    assert_type(Chat.static, TextRoute)
    web.get("/", chat.text)


# --- as a function, with each codec: the parameter of a lambda --------------------------------
#
# Without assert_type in the lambda: mypy first checks a lambda without its context and would fail.


def gets_both(conn: Connection[str | bytes, str | bytes]) -> None: ...
def gets_text(conn: Connection[str, str]) -> None: ...
def gets_bytes(conn: Connection[bytes, bytes]) -> None: ...
def gets_questions(conn: Connection[Question, Any]) -> None: ...


def lambdas() -> None:
    assert_type(rxws.websocket(lambda conn: gets_both(conn)), Route)
    assert_type(rxws.websocket(lambda conn: gets_both(conn), codec=rxws.codecs.raw), Route)
    assert_type(rxws.websocket(lambda conn: gets_text(conn), codec=rxws.codecs.text), TextRoute)
    assert_type(
        rxws.websocket(lambda conn: gets_bytes(conn), codec=rxws.codecs.binary),
        RouteHandler[bytes, bytes],
    )
    assert_type(
        rxws.websocket(lambda conn: gets_text(conn), codec=rxws.codecs.json), RouteHandler[Any, Any]
    )
    questions = rxws.codecs.typed(Question)
    assert_type(
        rxws.websocket(lambda conn: gets_questions(conn), codec=questions),
        RouteHandler[Question, Any],
    )
    rxws.websocket(lambda conn: conn.incoming, codec=rxws.codecs.text, origins="*", heartbeat=None)
    rxws.websocket(lambda conn: conn.outgoing.on_next("hello"), codec=rxws.codecs.text)
    rxws.websocket(lambda conn: conn.outgoing.on_next(Close(4001)), codec=rxws.codecs.text)


# --- after the user's own checks --------------------------------------------------------------


async def private(request: web.Request) -> web.StreamResponse:
    if "token" not in request.query:
        raise web.HTTPUnauthorized
    assert_type(await rxws.upgrade(request, plain), web.StreamResponse)
    assert_type(await rxws.upgrade(request, text, heartbeat=None), web.StreamResponse)
    assert_type(
        await rxws.upgrade(request, text_handler, codec=rxws.codecs.text, max_buffer=1024),
        web.StreamResponse,
    )
    return await rxws.upgrade(
        request,
        lambda conn: gets_bytes(conn),
        codec=rxws.codecs.binary,
        origins=["https://example.org"],
    )


def text_handler(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming


# --- codecs -----------------------------------------------------------------------------------


def codecs() -> None:
    assert_type(rxws.codecs.raw, Codec[str | bytes, str | bytes])
    assert_type(rxws.codecs.text, Codec[str, str])
    assert_type(rxws.codecs.binary, Codec[bytes, bytes])
    assert_type(rxws.codecs.json, Codec[Any, Any])
    assert_type(rxws.codecs.typed(Question), Codec[Question, Any])
    assert_type(rxws.codecs.typed(Question | None), Codec[Any, Any])
    assert_type(Codec(encode=str, decode=int).decode("7"), int)


def time_and_loop(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming.pipe(ops.debounce(0.3), rxws.operators.on_loop())
