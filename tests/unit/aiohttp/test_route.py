"""What `websocket` returns: an aiohttp route handler that keeps the handler and its options."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pytest
import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import Connection, RouteHandler, codecs
from rxws._core.frames import Opcode
from rxws.testing import pair, serve, simulate

TEXT = codecs.text


@rxws.websocket(codec=TEXT, max_buffer=5000, origins=iter(["https://a.example"]))
def shout(conn: Connection[str, str]) -> Observable[str]:
    """Reply in capitals."""
    return conn.incoming.pipe(ops.map(str.upper))


@rxws.websocket
def echo(conn: Connection) -> Observable[str | bytes]:
    return conn.incoming


class Greeter:
    greeting = "hello"

    @rxws.websocket(codec=TEXT)
    def greet(self, conn: Connection[str, str]) -> Observable[str]:
        """Greet by name."""
        return conn.incoming.pipe(ops.map(lambda name: f"{self.greeting} {name}"))

    @rxws.websocket(codec=TEXT)
    async def later(self, conn: Connection[str, str]) -> None:
        conn.outgoing.on_next(self.greeting)

    @staticmethod
    @rxws.websocket(codec=TEXT)
    def static(conn: Connection[str, str]) -> Observable[str]:
        return conn.incoming

    lower = rxws.websocket(rxws.pipeline(ops.map(str.lower)), codec=TEXT)


class Callee:
    def __call__(self, conn: Connection) -> Observable[str | bytes]:
        return conn.incoming


def test_a_route_keeps_its_handler_and_options() -> None:
    """A route handler has the handler, its name and docstring, and the options."""
    assert shout.handler.__name__ == shout.__name__ == "shout"
    assert shout.__qualname__ == "shout"
    assert shout.__module__ == __name__
    assert shout.__doc__ == "Reply in capitals."
    assert shout.options == {
        "codec": TEXT,
        "max_buffer": 5000,
        "origins": ("https://a.example",),
    }
    assert echo.options == {}
    assert repr(shout) == f"<RouteHandler {__name__}.shout>"
    assert list(inspect.signature(shout).parameters) == ["conn"]


@pytest.mark.parametrize(
    "handler",
    [Callee(), [].append, functools.partial(Callee.__call__, Callee()), lambda conn: None],
)
def test_any_callable_makes_a_route(handler: Any) -> None:
    """A route handler keeps any callable, also one without a name."""
    route: Any = rxws.websocket(handler)
    assert route.handler is handler
    assert inspect.iscoroutinefunction(route)
    web.get("/", route)
    assert repr(route).startswith("<RouteHandler ")


def test_an_option_can_not_be_changed_afterwards() -> None:
    """The options of a route handler are read-only."""
    options: Any = shout.options
    with pytest.raises(TypeError):
        options["max_buffer"] = 1


# --- testing a route --------------------------------------------------------------------------


def test_simulate_accepts_a_route() -> None:
    """`simulate` takes a route handler, with its options as defaults."""
    assert simulate(shout, "a").outgoing.values == ["A"]
    assert simulate(echo, "a").outgoing.values == ["a"]
    assert simulate(shout.handler, "a", codec=TEXT).outgoing.values == ["A"]
    quick = rxws.websocket(shout.handler, codec=TEXT, heartbeat=1, origins="*")
    assert [sent.kind for sent in simulate(quick, until=2.5).wire] == [Opcode.PING] * 2
    assert simulate(quick, until=2.5, heartbeat=None).wire == []


async def test_pair_accepts_a_route() -> None:
    """`pair` takes a route handler; its options hold for the server's end, its codec for both."""
    ends: list[object] = []

    @rxws.websocket(codec=TEXT, completes=lambda close: close.code != 1000, origins="*")
    def handler(conn: Connection[str, str]) -> Observable[str]:
        conn.incoming.subscribe(on_error=ends.append, on_completed=lambda: ends.append(None))
        return conn.incoming.pipe(ops.map(str.upper), ops.catch(rx.empty()))

    async with pair(handler) as (_, client):
        client.outgoing.on_next("hey")
        assert await client.incoming.pipe(ops.first()) == "HEY"
    assert [type(end) for end in ends] == [rxws.ConnectionClosed]
    async with pair(handler, completes=rxws.closing.is_clean, peer_codec=codecs.raw) as (_, other):
        other.outgoing.on_next("hey")
        assert await other.incoming.pipe(ops.first()) == "HEY"
    assert ends[1:] == [None]


async def test_serve_accepts_a_route() -> None:
    """`serve` takes a route handler, with its options as defaults."""
    async with serve(shout) as server:
        async with rxws.connect(server.url, codec=TEXT) as conn:
            conn.outgoing.on_next("hey")
            assert await conn.incoming.pipe(ops.first()) == "HEY"
        with pytest.raises(rxws.HandshakeError) as refused:
            await rxws.connect(server.url, origin="https://b.example")
        assert refused.value.status == 403
    async with serve(shout, origins="*") as server:
        conn = await rxws.connect(server.url, codec=TEXT, origin="https://b.example")
        conn.outgoing.on_next("hey")
        assert await conn.incoming.pipe(ops.first()) == "HEY"


async def test_upgrade_and_websocket_accept_a_route() -> None:
    """`upgrade` and `websocket` take a route handler, with its options as defaults."""

    async def checked(request: web.Request) -> web.StreamResponse:
        return await rxws.upgrade(request, shout, max_buffer=6000)

    again: Any = rxws.websocket(shout, heartbeat=None)  # type: ignore[arg-type]
    assert again.handler is shout.handler
    assert again.options == {**shout.options, "heartbeat": None}
    app = web.Application()
    app.add_routes([web.get("/upgrade", checked), web.get("/again", again)])
    rxws.setup(app)
    async with web_server(app) as port:
        for path in ("upgrade", "again"):
            async with rxws.connect(f"ws://127.0.0.1:{port}/{path}", codec=TEXT) as conn:
                conn.outgoing.on_next("hey")
                assert await conn.incoming.pipe(ops.first()) == "HEY"


class web_server:  # noqa: N801 # used as a function
    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> int:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


# --- methods ----------------------------------------------------------------------------------


def test_a_method_can_be_a_handler() -> None:
    """The decorator works on methods: `instance.method` is a route handler of that instance."""
    hello, bye = Greeter(), Greeter()
    bye.greeting = "bye"
    assert simulate(hello.greet, "ann").outgoing.values == ["hello ann"]
    assert simulate(bye.greet, "ann").outgoing.values == ["bye ann"]
    assert simulate(bye.later, "").outgoing.values == ["bye"]
    assert isinstance(bye.greet, RouteHandler)
    assert bye.greet.options == {"codec": TEXT}
    assert bye.greet.__name__ == "greet"
    assert bye.greet.__doc__ == "Greet by name."
    assert inspect.iscoroutinefunction(bye.greet)
    assert isinstance(Greeter.greet, RouteHandler)


def test_a_function_in_a_class_is_not_bound() -> None:
    """A static method, and a route handler that is a class attribute, get only the connection."""
    assert simulate(Greeter.static, "a").outgoing.values == ["a"]
    assert simulate(Greeter().static, "a").outgoing.values == ["a"]
    assert simulate(Greeter().lower, "A").outgoing.values == ["a"]


def test_a_wrapped_method_is_bound() -> None:
    """A method that another decorator wraps is bound, too; a callable object is not."""

    def passing(handler: Any) -> Any:
        return lambda *args: handler(*args)

    class Wrapped:
        @rxws.websocket
        @passing
        def echo(self, conn: Connection) -> Observable[str | bytes]:
            return conn.incoming

        called = rxws.websocket(Callee())
        builtin = rxws.websocket(print)

    assert simulate(Wrapped().echo, "a").outgoing.values == ["a"]
    assert simulate(Wrapped().called, "a").outgoing.values == ["a"]
    assert Wrapped().builtin.handler is print


async def test_a_method_serves_a_request() -> None:
    """A method serves requests as a route of aiohttp."""
    app = web.Application()
    app.add_routes([web.get("/", Greeter().greet)])
    rxws.setup(app)
    async with web_server(app) as port, asyncio.timeout(10):
        conn = await rxws.connect(f"ws://127.0.0.1:{port}/", codec=TEXT)
        conn.outgoing.on_next("ann")
        assert await conn.incoming.pipe(ops.first()) == "hello ann"
