"""Errors for attributes that rxws names differently than other WebSocket libraries do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import getattr_static
from typing import Any, NoReturn, TypeVar

__all__ = ["CHANNEL", "CONNECTION", "SUBJECT", "with_hints"]

C = TypeVar("C", bound=type[Any])


def _each(names: str, remedy: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), remedy)


def _receive(stream: str) -> str:
    return f"loop with 'async for message in {stream}', or await {stream}.pipe(ops.first())"


def _client(name: str, close: str) -> dict[str, str]:
    return {
        **_each("send send_str send_bytes outgoing", f"use {name}.on_next(message)"),
        "send_json": f"use {name}.on_next(value), and codec=rxws.codecs.json for the subject",
        **_each("recv receive receive_str receive_bytes receive_json incoming", _receive(name)),
        "close": close,
    }


CONNECTION: Mapping[str, str] = {
    **_each("send send_str send_bytes on_next", "use conn.outgoing.on_next(message)"),
    "send_json": "use conn.outgoing.on_next(value), and codec=rxws.codecs.json for the connection",
    **_each("recv receive receive_str receive_bytes receive_json", _receive("conn.incoming")),
    "close": "use conn.outgoing.on_completed(), or conn.outgoing.on_next(rxws.Close(code, reason))",
    "on_completed": "use conn.outgoing.on_completed()",
    "on_error": "use conn.outgoing.on_error(error)",
    "wait_closed": "await conn.closed",
    "ping": "use 'await conn.flow.ping()'",
    **_each("close_code close_reason", "await conn.closed, which returns a rxws.Close"),
    "subscribe": "use conn.incoming.subscribe(on_next)",
    "pipe": "use conn.incoming.pipe(operators)",
    "__aiter__": "use 'async for message in conn.incoming'",
}
"""The remedy for each missing attribute of a connection and of its streams."""

SUBJECT: Mapping[str, str] = _client(
    "feed", "use feed.on_completed() to send what is queued and close, or feed.dispose() to drop it"
)
"""The remedy for each missing attribute of a `WebSocketSubject`."""

CHANNEL: Mapping[str, str] = _client(
    "channel", "dispose the subscriptions, or use channel.dispose() to remove all of them"
)
"""The remedy for each missing attribute of a channel."""


class _Missing:
    """A missing attribute. Unlike `__getattr__`, it does not slow down access to the others."""

    def __init__(self, name: str, remedy: str) -> None:
        self._name, self._remedy = name, remedy
        self.__doc__ = f"Does not exist: {remedy}."  # for `help`

    def __get__(self, instance: object, owner: type[Any]) -> NoReturn:
        # With a name, Python doesn't ask "Did you mean: 'closed'?" after the remedy.
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}: {self._remedy}",
            name=self._name,
        )


def with_hints(remedies: Mapping[str, str]) -> Callable[[C], C]:
    """Decorate a class so that its errors for missing attributes name remedies.

    `hasattr` and `dir` do not find these attributes. Type checkers do not see them.
    """

    def decorate(cls: C) -> C:
        hidden: dict[str, object] = {
            name: _not_iterable(cls, remedy) if name == "__aiter__" else _Missing(name, remedy)
            for name, remedy in remedies.items()
            if not hasattr(cls, name)
        }

        def names(self: object) -> list[str]:
            return [
                name
                for name in object.__dir__(self)
                # A subclass or an instance may have the attribute.
                if name not in hidden or getattr_static(self, name) is not hidden[name]
            ]

        for name, value in {**hidden, "__dir__": names}.items():
            setattr(cls, name, value)
        return cls

    return decorate


def _not_iterable(cls: type[Any], remedy: str) -> Callable[[object], NoReturn]:
    """Return an `__aiter__`; Python would replace the error of a `_Missing`."""

    def __aiter__(_: object) -> NoReturn:  # noqa: N807 # the name in tracebacks
        raise TypeError(f"{cls.__name__!r} is not iterable: {remedy}")

    return __aiter__
