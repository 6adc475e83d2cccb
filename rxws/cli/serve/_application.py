"""Make an aiohttp application of what a user's module has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from aiohttp import web

import rxws
from rxws._aiohttp.shutdown import CONNECTIONS
from rxws._session.handler import handler_hint

from ._load import user_failure

__all__ = ["RouteOptions", "make_application"]


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """The options for a handler.

    Args:
        path: The path of its URL; None for `/`.
        options: The options of `rxws.websocket`.
        given: Those of the command line that have set `options`, to name them.
        drain: Seconds to wait for the peers' close frames at the end.
    """

    path: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    given: Sequence[str] = ()
    drain: float = 2.0


async def make_application(value: Any, target: str, how: RouteOptions) -> web.Application:
    """Return the application to run.

    Args:
        value: A handler, a dict of handlers by path, a route or routes of aiohttp, a handler of
            aiohttp, an application, or a function or coroutine function that returns one of these.
        target: Names it in errors.
        how: The options; they are for handlers only.

    Raises:
        click.UsageError: It is none of these, or has no use for an option.
        Failure: The user's function has raised an exception.
    """
    if _is_factory(value):
        try:
            value = value()
            if inspect.isawaitable(value):
                value = await value
        except Exception as error:
            raise user_failure(f"{target} has raised an exception:", error) from error
    app = value if isinstance(value, web.Application) else web.Application()
    try:
        _add_routes(app, value, how)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{target} cannot be served: {error}") from error
    if CONNECTIONS not in app:
        rxws.setup(app, how.drain)
    return app


def _add_routes(app: web.Application, value: Any, how: RouteOptions) -> None:
    if hint := handler_hint(value):
        raise TypeError(f"{value!r:.100} is no handler{hint}")
    if isinstance(value, web.Application):
        _check_unused(how.path, how)
    elif isinstance(value, web.AbstractRouteDef):
        _add_routes(app, [value], how)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        _check_unused(how.path, how)
        # A web.RouteTableDef is one.
        routes: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for route in routes:
            if not isinstance(route, web.AbstractRouteDef):
                raise TypeError(f"{route!r:.100} is no route: use web.get(path, handler)")
            route.register(app.router)
    elif isinstance(value, Mapping):
        handlers: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        if how.path is not None:
            raise ValueError(f"the paths are the keys of the dict: omit --path={how.path}")
        if not handlers:
            raise ValueError("there is no handler in the dict")
        for path, handler in handlers.items():
            _add_route(app, path, handler, how)
    else:
        _add_route(app, "/" if how.path is None else how.path, value, how)


def _add_route(app: web.Application, path: str, handler: Any, how: RouteOptions) -> None:
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} does not start with a slash: use {'/' + path!r}")
    if _takes_request(handler):
        _check_unused(None, how)
        app.router.add_route("*", path, handler)
    else:
        route: Any = rxws.websocket(handler, **how.options)
        app.router.add_get(path, route)


def _check_unused(path: str | None, how: RouteOptions) -> None:
    given = [*([] if path is None else ["--path"]), *how.given]
    if given:
        raise ValueError(f"its code decides that: omit {', '.join(given)}")


def _is_factory(value: Any) -> bool:
    """Return whether it can be called without arguments, which a handler cannot."""
    if not callable(value) or isinstance(value, type | rxws.RouteHandler | web.Application):
        return False
    parameters = _parameters(value)
    return parameters is not None and all(
        each.default is not each.empty or each.kind is each.VAR_KEYWORD for each in parameters
    )


def _takes_request(value: Any) -> bool:
    """Return whether it is a route handler, of aiohttp or made by `rxws.websocket`."""
    if isinstance(value, type):
        return issubclass(value, web.View)
    if isinstance(value, rxws.RouteHandler):
        return False
    parameters = _parameters(value) if callable(value) else None
    if not parameters:
        return False
    first = parameters[0]
    annotation = getattr(first.annotation, "__name__", str(first.annotation))
    return first.name == "request" or annotation.rpartition(".")[2] in ("Request", "BaseRequest")


def _parameters(function: Any) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a built-in function
        return None
