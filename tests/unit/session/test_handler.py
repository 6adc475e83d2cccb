"""The results that a handler may return."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.subject import Subject

import rxws
from rxws import Close, Connection, ConnectionClosed, DecodeError
from rxws._session.handler import check_handler
from rxws.testing.fake_transport import FakeTransport
from support.virtual.session import VirtualSession

AnyConnection = Connection[Any, Any]


def logged_failure(virtual: VirtualSession, caplog: pytest.LogCaptureFixture) -> BaseException:
    """Return the logged exception that closed the connection with 1011."""
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1011, "Unexpected Error")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    return record.exc_info[1]


# --- handlers are callables -------------------------------------------------------------------


@pytest.mark.parametrize("handler", [None, 7, "handler", rx.never()])
def test_a_handler_that_is_not_callable_is_a_type_error(handler: object) -> None:
    """A handler that is not callable raises a TypeError that says what to pass."""
    with pytest.raises(TypeError, match=r"a function from Connection to an Observable, .* is not"):
        check_handler(handler)


def test_any_callable_may_be_a_handler() -> None:
    """A function, a lambda and a class are accepted as handlers."""
    for handler in (check_handler, lambda _: None, dict):
        check_handler(handler)


# --- the five kinds of results ----------------------------------------------------------------


def test_a_returned_observable_feeds_outgoing_and_its_completion_closes() -> None:
    """A returned Observable feeds `outgoing`; its completion closes with 1000."""
    source: Subject[str] = Subject()
    virtual = VirtualSession(lambda _: source, watch=True)
    source.on_next("a")
    assert virtual.messages == ["a"]
    source.on_completed()
    assert virtual.close_frame.code == 1000


def test_a_returned_observables_error_closes_with_its_code() -> None:
    """A `ConnectionClosed` in a returned Observable closes with its code."""
    virtual = VirtualSession(lambda _: rx.throw(ConnectionClosed(Close(4003, "no"))), watch=True)
    virtual.settle()
    assert virtual.close_frame.code == 4003


def test_a_returned_observable_is_disposed_at_the_end() -> None:
    """The subscription to a returned Observable lasts until the end of the connection."""
    source: Subject[str] = Subject()
    virtual = VirtualSession(lambda _: source, watch=True)
    assert source.observers != []
    virtual.peer.close(1000)
    assert source.observers == []


def test_a_close_that_a_returned_observable_emits_closes() -> None:
    """A `Close` that a returned Observable emits closes; later messages are dropped."""

    def handler(conn: AnyConnection) -> rx.Observable[Close]:
        return conn.incoming.pipe(ops.map(lambda reason: Close(4001, str(reason))))

    virtual = VirtualSession(handler, watch=True)
    virtual.peer.message("why", "late")
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4001, "why")
    virtual.peer.close(4001)
    virtual.settle()
    virtual.check_over(Close(4001, "why"))


def test_an_unsendable_close_in_the_pipeline_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A `Close` with a code that must not be sent is a fault, unobserved a 1011."""
    virtual = VirtualSession(
        lambda conn: conn.incoming.pipe(ops.map(lambda _: Close(1006))), watch=True
    )
    virtual.peer.message("x")
    assert isinstance(logged_failure(virtual, caplog), ValueError)


def test_a_returned_disposable_is_disposed_at_the_end() -> None:
    """A returned Disposable is disposed at the end, not before."""
    disposed: list[int] = []
    virtual = VirtualSession(lambda _: Disposable(lambda: disposed.append(1)), watch=True)
    virtual.run(10)
    assert disposed == []
    virtual.peer.close(1000)
    assert disposed == [1]


def test_a_handler_may_return_its_subscription() -> None:
    """A handler may return the subscription that `subscribe` returned."""
    virtual = VirtualSession(lambda conn: conn.incoming.subscribe(conn.outgoing), watch=True)
    virtual.peer.message("a")
    assert virtual.messages == ["a"]


def test_none_leaves_the_connection_open() -> None:
    """A handler that returns None leaves the connection open."""
    virtual = VirtualSession(lambda conn: conn.outgoing.on_next("hello"), watch=True)
    virtual.run(1000)
    assert virtual.messages == ["hello"]
    assert virtual.closed.values == []


@pytest.mark.parametrize("result", [None, rx.never(), Disposable()])
def test_an_async_handler_may_return_the_same_results(result: Any) -> None:
    """An async handler may return None, an Observable or a Disposable."""

    async def handler(conn: AnyConnection) -> Any:
        conn.outgoing.on_next("from within")
        return result

    virtual = VirtualSession(handler, watch=True)
    assert virtual.messages == []
    virtual.settle()
    assert virtual.messages == ["from within"]
    virtual.run(100)
    assert virtual.closed.values == []


def test_an_async_handlers_observable_feeds_outgoing() -> None:
    """The Observable that an async handler returns feeds `outgoing`, early messages included."""

    async def handler(conn: AnyConnection) -> rx.Observable[str]:
        return conn.incoming.pipe(ops.map(str.upper))

    virtual = VirtualSession(handler)
    virtual.peer.message("early")
    virtual.run(1)
    virtual.peer.message("later")
    assert virtual.messages == ["EARLY", "LATER"]


# --- other results ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        (lambda _: 7, "int 7"),
        (lambda _: "text", "str 'text'"),
        (lambda _: [rx.never()], "list"),
        (lambda conn: conn, "Connection"),
    ],
    ids=["int", "str", "list", "connection"],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "async"])
def test_any_other_result_is_a_type_error_that_names_the_kinds(
    handler: Any, named: str, wrapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other result closes with 1011; the logged TypeError names the kinds."""

    async def coroutine(conn: AnyConnection) -> Any:
        return handler(conn)

    virtual = VirtualSession(coroutine if wrapped else handler, watch=True)
    virtual.settle()
    error = logged_failure(virtual, caplog)
    assert isinstance(error, TypeError)
    for word in ("Observable", "async generator", "Disposable", "None", "coroutine", named):
        assert word in str(error)


# --- handlers that raise ----------------------------------------------------------------------


def test_a_handler_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises closes with 1011; the exception is logged, not sent."""

    def handler(_: AnyConnection) -> NoReturn:
        raise ValueError("secret")

    assert str(logged_failure(VirtualSession(handler, watch=True), caplog)) == "secret"


def test_a_coroutine_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine that raises closes with 1011, as a plain handler does."""

    async def handler(_: AnyConnection) -> NoReturn:
        raise ValueError("secret")

    virtual = VirtualSession(handler, watch=True)
    virtual.settle()
    assert str(logged_failure(virtual, caplog)) == "secret"


def test_a_handler_that_raises_connection_closed_closes_with_its_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that raises `ConnectionClosed` closes with its code, and nothing is logged."""

    async def handler(_: AnyConnection) -> NoReturn:
        raise ConnectionClosed(Close(4003, "no"))

    virtual = VirtualSession(handler, watch=True)
    virtual.settle()
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4003, "no")
    assert caplog.records == []


# --- coroutines that wait ---------------------------------------------------------------------


@asynccontextmanager
async def session_with_tasks(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VirtualSession]:
    """Yield a virtual session that runs the handler's coroutine as a task."""
    tasks: list[asyncio.Task[None]] = []

    def spawn(_: FakeTransport, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        tasks.append(task := asyncio.create_task(coroutine))

        def cancel() -> None:
            task.cancel()

        return Disposable(cancel)

    monkeypatch.setattr(FakeTransport, "spawn", spawn)
    virtual = VirtualSession(handler, watch=True)
    await asyncio.sleep(0)
    yield virtual
    if tasks:
        await asyncio.wait(tasks, timeout=10)


async def test_a_coroutine_is_cancelled_when_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler's coroutine is cancelled when the connection ends; that is no error."""
    done: list[str] = []

    async def handler(_: AnyConnection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    async with session_with_tasks(handler, monkeypatch) as virtual:
        assert done == []
        virtual.peer.close(1000)
    assert done == ["cancelled"]
    virtual.check_over(Close(1000, by="peer"))


async def test_messages_are_buffered_while_a_coroutine_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages are buffered while a coroutine runs, and go to the pipeline that it returns."""
    go = asyncio.Event()

    async def handler(conn: AnyConnection) -> rx.Observable[str]:
        await go.wait()
        return conn.incoming

    async with session_with_tasks(handler, monkeypatch) as virtual:
        virtual.incoming.subscription.dispose()
        virtual.peer.message("a", "b")
        assert virtual.session.incoming.waiting == 2
        go.set()
        await asyncio.sleep(0)
        virtual.run(1)
        assert virtual.messages == ["a", "b"]
        virtual.peer.close(1000)


async def test_a_handler_that_is_cancelled_from_elsewhere_closes_with_1011(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A CancelledError that the connection did not cause closes with 1011 and is logged."""

    async def handler(_: AnyConnection) -> None:
        other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    async with session_with_tasks(handler, monkeypatch) as virtual:
        await asyncio.sleep(0)
        assert virtual.close_frame.code == 1011
        assert len(caplog.records) == 1


async def test_a_returned_future_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A returned future is awaited as a coroutine is."""
    future: asyncio.Future[rx.Observable[str]] = asyncio.get_running_loop().create_future()
    future.set_result(rx.never())

    async with session_with_tasks(lambda _: future, monkeypatch) as virtual:
        await asyncio.sleep(0)
        assert virtual.session.outgoing.is_stopped is False
        virtual.peer.close(1000)


# --- `listener` and `pipeline` ----------------------------------------------------------------


def test_a_listener_connects_the_users_three_streams() -> None:
    """`listener` passes messages and faults to the user's Subjects, and sends from the third."""
    incoming: Subject[Any] = Subject()
    outgoing: Subject[Any] = Subject()
    errors: Subject[Exception] = Subject()
    virtual = VirtualSession(
        rxws.listener(incoming, outgoing, errors), watch=True, codec=rxws.codecs.json
    )
    seen, faults = virtual.watch(incoming), virtual.watch(errors)
    virtual.peer.message("1", "{")
    outgoing.on_next([2])
    assert seen.values == [1]
    assert [type(fault) for fault in faults.values] == [DecodeError]
    assert virtual.messages == ["[2]"]
    virtual.peer.close(4001)
    assert isinstance(seen.error, ConnectionClosed)


def test_completing_a_listeners_outgoing_closes() -> None:
    """Completing the listener's outgoing Observable closes with 1000."""
    outgoing: Subject[Any] = Subject()
    virtual = VirtualSession(rxws.listener(Subject(), outgoing), watch=True)
    outgoing.on_completed()
    assert virtual.close_frame.code == 1000


def test_a_listener_can_echo() -> None:
    """A listener whose incoming Subject feeds its outgoing one echoes, as its docs show."""
    incoming: Subject[Any] = Subject()
    outgoing: Subject[Any] = Subject()
    incoming.subscribe(outgoing)
    virtual = VirtualSession(rxws.listener(incoming, outgoing), watch=True)
    virtual.peer.message("a")
    assert virtual.messages == ["a"]


def test_a_listener_serves_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that gets a second connection closes that one with 1011, not the first."""
    outgoing: Subject[Any] = Subject()
    handler = rxws.listener(Subject(), outgoing)
    first = VirtualSession(handler, watch=True)
    second = VirtualSession(handler, watch=True)
    assert second.close_frame.code == 1011
    assert "has already served a connection" in caplog.text
    outgoing.on_next("to the first")
    assert (first.messages, second.messages) == (["to the first"], [])


def test_a_pipeline_keeps_no_state_between_connections() -> None:
    """`pipeline` composes its operators anew for each connection, so no state is shared."""
    handler = rxws.pipeline(ops.distinct_until_changed(), ops.map(str.upper))
    for _ in range(2):
        virtual = VirtualSession(handler, watch=True)
        virtual.peer.message("a", "a", "b")
        assert virtual.messages == ["A", "B"]
        virtual.peer.close(1000)
        virtual.check_over(Close(1000, by="peer"))


def test_a_pipeline_without_operators_echoes() -> None:
    """`pipeline()` without operators echoes."""
    virtual = VirtualSession(rxws.pipeline())
    virtual.peer.message("a")
    assert virtual.messages == ["a"]
