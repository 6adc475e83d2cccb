"""Runs a handler on a connection, and subscribes or disposes what it returns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase

from rxws._core.async_source import Pull
from rxws._core.connection import Connection, Handler, HandlerResult
from rxws._core.errors import RxwsError
from rxws._core.streams.scheduled import SchedulerCarrier

from .incoming import IncomingStream
from .session import Session, State

__all__ = ["check_handler", "handler_hint", "listener", "pipeline", "run_handler"]

_RESULTS = "an Observable, an async generator, a Disposable, None, or a coroutine of one of these"


def check_handler(handler: object) -> None:
    """Check that a handler is callable.

    Raises:
        TypeError: It is not.
    """
    if not callable(handler):
        raise TypeError(
            f"a handler is a function from Connection to {_RESULTS}; {handler!r} is not callable"
            + handler_hint(handler)
        )


def handler_hint(value: object) -> str:
    """Return how to make a handler of a value that names it, such as `rxws.rpc.Methods`."""
    as_handler = getattr(value, "_as_handler", None)
    return f": use {as_handler}" if as_handler else ""


def run_handler(handler: Handler[Any, Any], session: Session[Any, Any]) -> None:
    """Call a handler and use its result; an exception closes as `outgoing.on_error` does.

    Raises:
        BaseException: The handler raised an exception that is no `Exception`, such as a
            CancelledError.
            The connection has then ended with 1011; run its transport to send the close frame.
    """
    session.errors.handler = handler
    try:
        result = handler(session.connection)
        if isinstance(result, Observable):
            session.dispose_at_end(_send_all(result, session))
        elif isinstance(result, Awaitable):
            session.spawn(_await_result(result, session))
        elif isinstance(result, AsyncIterator):
            session.spawn(_await_result(_Generated(session).run(result), session))
        else:
            _use_result(result, session)
    except Exception as exc:
        session.outgoing.on_error(exc)
    except BaseException as exc:
        session.on_interrupt(exc)
        raise


async def _await_result(result: Awaitable[HandlerResult], session: Session[Any, Any]) -> None:
    outgoing = session.outgoing  # the session may be released before a task that is stuck ends
    try:
        made = await result
        if isinstance(made, AsyncIterator) and not isinstance(made, Observable):
            await _Generated(session).run(made)
        else:
            _use_result(made, session)
    except Exception as exc:
        outgoing.on_error(exc)
    except BaseException as exc:  # cancelled by the end of the connection, or by the user
        if session.state is State.OPEN:
            what = "was cancelled" if type(exc).__name__ == "CancelledError" else f"raised {exc!r}"
            outgoing.on_error(RxwsError(f"the handler's coroutine {what}"))
        raise
    finally:
        del outgoing  # otherwise it and an exception with this frame would form a cycle


def _use_result(result: object, session: Session[Any, Any]) -> None:
    if result is None:
        return
    if isinstance(result, Observable):
        source: Observable[Any] = result  # pyright: ignore[reportUnknownVariableType] # any value type
        session.dispose_at_end(_send_all(source, session))
    elif isinstance(result, DisposableBase):
        session.dispose_at_end(result)
    else:
        raise TypeError(f"a handler returns {_RESULTS}, not {type(result).__name__} {result!r:.80}")


class _Generated(Pull[Any]):
    """Sends what a handler yields; nothing more is requested once the connection is closing."""

    __slots__ = ("_session",)

    def __init__(self, session: Session[Any, Any]) -> None:
        super().__init__(session.scheduler)
        self._session = session

    async def run(self, items: AsyncIterator[Any]) -> None:
        await self.pull(items)
        if not self.is_stopped():
            self._session.outgoing.on_completed()

    def take(self, item: Any) -> None:
        if self.is_stopped():
            self._session.count_dropped("closed")
        else:
            self._session.outgoing.push(item)

    def is_stopped(self) -> bool:
        return self._session.state is not State.OPEN


def _send_all(source: Observable[Any], session: Session[Any, Any]) -> DisposableBase:
    outgoing, scheduler = session.outgoing, session.scheduler
    if isinstance(source, SchedulerCarrier):  # as if the handler had subscribed `outgoing` to it
        scheduler = scheduler.as_default()
        if source.is_shared:
            return source.subscribe(session.shared_observer(), scheduler=scheduler)
    return source.subscribe(
        outgoing.push, outgoing.on_error, outgoing.on_completed, scheduler=scheduler
    )


def pipeline(*operators: Callable[[Any], Any]) -> Handler[Any, Any]:
    """Make a handler that applies operators to `incoming` and sends the results.

    Each connection gets a chain of its own.

    Args:
        *operators: Operators of `reactivex.operators`, of `rxws.operators` or your own.

    Returns:
        A handler for any number of connections.

    Examples:
        ```python
        app.router.add_get("/lower", rxws.websocket(rxws.pipeline(ops.map(str.lower))))
        ```
    """

    def handler(conn: Connection[Any, Any]) -> Observable[Any]:
        return cast(Observable[Any], conn.incoming.pipe(*operators))

    return handler


def listener(
    incoming: ObserverBase[Any] | Literal["discard"],
    outgoing: Observable[Any],
    errors: ObserverBase[Exception] | None = None,
) -> Handler[Any, Any]:
    """Make a handler from your own streams, for one connection.

    Args:
        incoming: Observes the received messages and the end. Pass `"discard"` if you only send:
            received messages are then dropped and counted.
        outgoing: Emits the messages to send; its end closes the connection.
        errors: Observes the errors that don't end the connection.

    Returns:
        A handler for one connection; if you use it for a second one, that is closed with 1011.

    Examples:
        ```python
        async def route(request):
            incoming, outgoing = Subject(), Subject()
            incoming.subscribe(outgoing)
            return await rxws.upgrade(request, rxws.listener(incoming, outgoing))
        ```
    """
    used = False

    def handler(conn: Connection[Any, Any]) -> Observable[Any]:
        nonlocal used
        if used:
            raise RuntimeError(
                "this listener has already served a connection: make new streams for each one"
            )
        used = True
        if errors is not None:
            conn.errors.subscribe(errors, scheduler=conn.scheduler)
        if incoming != "discard":
            conn.incoming.subscribe(incoming, scheduler=conn.scheduler)
        elif isinstance(conn.incoming, IncomingStream):
            conn.incoming.discard_always()
        return outgoing

    return handler
