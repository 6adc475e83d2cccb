"""Runs a handler on a connection, and puts what it returns to its place."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase

from .connection import Composed, Handler
from .errors import RxwsError
from .session import Session, State

__all__ = ["check_handler", "handle"]

_FOUR = "an Observable, a Disposable, None, or a coroutine of one of these"


def check_handler(handler: object) -> None:
    """Refuse what cannot be a handler.

    Raises:
        TypeError: It is not callable.
    """
    if not callable(handler):
        raise TypeError(
            f"a handler is a function from Connection to {_FOUR}; {handler!r} is not callable"
        )


def handle(handler: Handler[Any, Any], session: Session[Any, Any]) -> None:
    """Compose a connection's pipeline; an exception closes it as `outgoing.on_error` does."""
    try:
        result = handler(session.face.connection)
        if isinstance(result, Awaitable) and not isinstance(result, Observable):
            session.spawn(_wait_for(result, session))
        else:
            _adopt(result, session)
    except Exception as exc:
        session.face.outgoing.on_error(exc)


async def _wait_for(result: Awaitable[Composed], session: Session[Any, Any]) -> None:
    try:
        _adopt(await result, session)
    except Exception as exc:
        session.face.outgoing.on_error(exc)
    except BaseException:  # cancelled: by the end of the connection, or else it is an end itself
        if session.state is State.OPEN:
            session.face.outgoing.on_error(RxwsError("the handler's coroutine was cancelled"))
        raise


def _adopt(result: object, session: Session[Any, Any]) -> None:
    if result is None:
        return
    if isinstance(result, Observable):
        source: Observable[Any] = result  # pyright: ignore[reportUnknownVariableType] # of whatever
        session.face.hold(_feed(source, session))
        if not session.face.incoming.ever_observed:
            session.face.scheduler.when_settled(session.face.incoming.discard_unobserved)
    elif isinstance(result, DisposableBase):
        session.face.hold(result)
    else:
        hint = "; use rxws.iterate and outgoing.on_next" if inspect.isasyncgen(result) else ""
        raise TypeError(
            f"a handler returns {_FOUR}, not {type(result).__name__} {result!r:.80}{hint}"
        )


def _feed(source: Observable[Any], session: Session[Any, Any]) -> DisposableBase:
    outgoing = session.face.outgoing
    return source.subscribe(
        outgoing.push, outgoing.on_error, outgoing.on_completed, scheduler=session.face.scheduler
    )
