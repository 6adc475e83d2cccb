"""What `rxws serve` makes an application of."""

from __future__ import annotations

from typing import Any

import click
import pytest
from aiohttp import web

import rxws
from rxws._aiohttp.shutdown import CONNECTIONS
from rxws.cli._failures import Failure
from rxws.cli.serve._application import RouteOptions, make_application


def handler(conn: rxws.Connection[Any, Any]) -> None: ...


async def route(request: web.Request) -> web.StreamResponse:
    raise NotImplementedError


async def annotated(asked: web.Request) -> web.StreamResponse:
    raise NotImplementedError


class View(web.View):
    async def get(self) -> web.StreamResponse:
        raise NotImplementedError


def make_app(debug: bool = False) -> web.Application:
    app = web.Application()
    app.router.add_get("/made", route)
    return app


async def make_app_later() -> web.Application:
    return make_app()


def fail() -> web.Application:
    raise LookupError("no database")


TABLE = web.RouteTableDef()
TABLE.get("/table")(route)


def paths(app: web.Application) -> list[str]:
    return sorted(resource.canonical for resource in app.router.resources())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (handler, ["/"]),
        (rxws.websocket(handler), ["/"]),
        (rxws.rpc.serve(rxws.rpc.Methods()), ["/"]),
        (rxws.pipeline(), ["/"]),
        (route, ["/"]),
        (annotated, ["/"]),
        (View, ["/"]),
        ({"/a": handler, "/b": route}, ["/a", "/b"]),
        (web.get("/get", route), ["/get"]),
        ([web.get("/get", route), web.get("/other", route)], ["/get", "/other"]),
        (TABLE, ["/table"]),
        (make_app(), ["/made"]),
        (make_app, ["/made"]),
        (make_app_later, ["/made"]),
        (lambda: handler, ["/"]),
        (lambda: {"/a": handler}, ["/a"]),
    ],
)
async def test_many_kinds_can_be_served(value: Any, expected: list[str]) -> None:
    """A handler, routes, an application, or a function that returns one of them."""
    app = await make_application(value, "chat:it", RouteOptions())
    assert paths(app) == expected
    assert CONNECTIONS in app


async def test_an_application_that_is_set_up_stays_as_it_is() -> None:
    """`rxws.setup` is called only if the application has not done so."""
    app = make_app()
    rxws.setup(app, drain=7.0)
    before = app[CONNECTIONS]
    assert await make_application(app, "chat:app", RouteOptions()) is app
    assert app[CONNECTIONS] is before


async def test_the_options_are_those_of_the_route() -> None:
    """The options of the command line override those of the decorator."""
    decorated = rxws.websocket(handler, codec=rxws.codecs.json, heartbeat=7.0)
    options = RouteOptions("/room", {"codec": rxws.codecs.text}, ["--codec"])
    app = await make_application(decorated, "chat:room", options)
    [made] = [each for each in app.router.routes() if each.method == "GET"]
    found: Any = made.handler
    assert paths(app) == ["/room"]
    assert found.options == {"codec": rxws.codecs.text, "heartbeat": 7.0}


CODEC = RouteOptions(None, {"codec": rxws.codecs.text}, ["--codec"])


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (5, RouteOptions(), "5 is not callable"),
        ("text", RouteOptions(), "'text' is not callable"),
        (rxws.rpc.Methods(), RouteOptions(), "use rxws.rpc.serve"),
        ([handler], RouteOptions(), "is no route: use web.get(path, handler)"),
        (handler, RouteOptions("room"), "'room' does not start with a slash: use '/room'"),
        ({"/": handler}, RouteOptions("/x"), "the paths are the keys of the dict: omit --path=/x"),
        ({}, RouteOptions(), "there is no handler in the dict"),
        (make_app, RouteOptions("/x"), "its code decides that: omit --path"),
        (make_app, CODEC, "its code decides that: omit --codec"),
        (route, CODEC, "its code decides that: omit --codec"),
        (TABLE, CODEC, "its code decides that: omit --codec"),
    ],
)
async def test_what_cannot_be_served_is_explained(
    value: Any, options: RouteOptions, message: str
) -> None:
    """The message names the target, and what to do."""
    with pytest.raises(click.UsageError, match="chat:it cannot be served: ") as caught:
        await make_application(value, "chat:it", options)
    assert message in caught.value.message


async def test_an_exception_of_a_factory_has_its_traceback() -> None:
    """The traceback begins in the user's function."""
    with pytest.raises(Failure) as caught:
        await make_application(fail, "chat:fail", RouteOptions())
    lines = caught.value.message.splitlines()
    assert lines[0] == "chat:fail has raised an exception:"
    assert lines[2] == f'  File "{__file__}", line {fail.__code__.co_firstlineno + 1}, in fail'
    assert lines[-1] == "LookupError: no database"
