"""`RouteHandler`: what `websocket` makes of a handler, for a function or a method."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, overload

from aiohttp import web

from rxws._core.connection import Connection, Handler, HandlerResult
from rxws._core.log import name_of
from rxws._session.handler import check_handler

from .acceptor import Acceptor

__all__ = ["MethodRoute", "RouteDecorator", "RouteHandler", "frozen", "handler_and_options"]

In = TypeVar("In")
Out = TypeVar("Out")
Self = TypeVar("Self", contravariant=True)
Owner = TypeVar("Owner")


class RouteHandler(functools.partial[Awaitable[web.StreamResponse]], Generic[In, Out]):
    """A handler as an aiohttp route handler; `websocket` returns it.

    It has the name and the docstring of the handler. `simulate`, `pair` and `serve` accept it, and
    use its options. If the handler is a method, `instance.method` is a route handler, too.

    Attributes:
        handler: The handler itself.
        options: The options that were given to `websocket`.

    Examples:
        ```python
        @rxws.websocket(codec=rxws.codecs.text)
        def shout(conn):
            return conn.incoming.pipe(ops.map(str.upper))

        assert simulate(shout, "a").outgoing.values == ["A"]
        ```
    """

    # A partial, because a coroutine function that awaits `accept` would keep one more frame in
    # memory for each open connection; and aiohttp recognizes a partial of a coroutine function.

    __name__: str
    __qualname__: str
    handler: Handler[In, Out]
    options: Mapping[str, Any]
    _acceptor: Acceptor

    def __new__(
        cls, handler: Handler[In, Out], acceptor: Acceptor, options: Mapping[str, Any]
    ) -> RouteHandler[In, Out]:
        check_handler(handler)
        self = super().__new__(cls, acceptor.accept, handler=handler)
        functools.update_wrapper(self, handler)
        self.handler = handler
        self.options = options
        self._acceptor = acceptor
        return self

    @classmethod
    def of(cls, handler: Handler[In, Out], options: Mapping[str, Any]) -> RouteHandler[In, Out]:
        """Create a route handler, and check its options."""
        options = frozen(options)
        return cls(handler, Acceptor(**options), options)

    def __get__(self, instance: object, owner: type | None = None) -> RouteHandler[In, Out]:
        """Bind a method. A function of a connection stays as it is, also as a class attribute."""
        if instance is None or not _is_method(self.handler):
            return self
        bound = self.handler.__get__(instance, owner)
        return RouteHandler(bound, self._acceptor, self.options)

    def __repr__(self) -> str:
        return f"<RouteHandler {name_of(self.handler)}>"


class MethodRoute(Protocol[Self, In, Out]):
    """A method as a route handler: `instance.method` is one."""

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> MethodRoute[Self, In, Out]: ...
    @overload
    def __get__(self, instance: Self, owner: type | None = None) -> RouteHandler[In, Out]: ...


class RouteDecorator(Protocol[In, Out]):
    """Makes a route handler of a function or a method."""

    @overload
    def __call__(self, handler: Handler[In, Out], /) -> RouteHandler[In, Out]: ...
    @overload
    def __call__(
        self,
        handler: Callable[[Owner, Connection[In, Out]], HandlerResult | Awaitable[HandlerResult]],
        /,
    ) -> MethodRoute[Owner, In, Out]: ...


def handler_and_options(
    handler: Any, options: dict[str, Any], *, without: str = ""
) -> tuple[Handler[Any, Any], dict[str, Any]]:
    """Return the handler itself, and all options: those of a `RouteHandler` are the defaults.

    Args:
        handler: A handler or a `RouteHandler`.
        options: The options that override those of the `RouteHandler`.
        without: The option of a `RouteHandler` to leave out.
    """
    route: Any = handler
    if not isinstance(handler, RouteHandler):
        return handler, options
    own = {name: value for name, value in route.options.items() if name != without}
    return route.handler, {**own, **options}


def frozen(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a read-only copy of options that can be used several times."""
    reusable = dict(options)
    for name in ("origins", "protocols"):
        value: Any = options.get(name)
        if not isinstance(value, str) and hasattr(value, "__iter__"):
            reusable[name] = tuple(value)  # an iterator would be empty the next time
    return MappingProxyType(reusable)


def _is_method(handler: Any) -> bool:
    """Return whether a handler takes an instance before the connection."""
    if not hasattr(handler, "__get__"):
        return False
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return True
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return sum(one.kind in positional and one.default is one.empty for one in parameters) > 1
