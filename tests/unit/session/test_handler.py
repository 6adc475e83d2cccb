"""What a handler returns, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
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


def failed(virtual: VirtualSession, caplog: pytest.LogCaptureFixture) -> BaseException:
    """The exception that ended the connection with 1011 and was logged, once."""
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1011, "Unexpected Error")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    return record.exc_info[1]


# --- what may be a handler --------------------------------------------------------------------


@pytest.mark.parametrize("handler", [None, 7, "handler", rx.never()])
def test_what_is_not_callable_is_no_handler(handler: object) -> None:
    """The error names it and what would do."""
    with pytest.raises(TypeError, match=r"a function from Connection to an Observable, .* is not"):
        check_handler(handler)


def test_whatever_is_callable_may_be_one() -> None:
    """A function, a lambda, a class."""
    for handler in (check_handler, lambda _: None, dict):
        check_handler(handler)


# --- the four kinds ---------------------------------------------------------------------------


def test_an_observable_feeds_outgoing_and_its_end_closes() -> None:
    """With 1000, after all messages."""
    source: Subject[str] = Subject()
    virtual = VirtualSession(lambda _: source, watch=True)
    source.on_next("a")
    assert virtual.messages == ["a"]
    source.on_completed()
    assert virtual.close_frame.code == 1000


def test_an_observables_error_closes() -> None:
    """With the code that it names."""
    virtual = VirtualSession(lambda _: rx.throw(ConnectionClosed(Close(4003, "no"))), watch=True)
    virtual.settle()
    assert virtual.close_frame.code == 4003


def test_an_observable_is_disposed_at_the_end() -> None:
    """Not before."""
    source: Subject[str] = Subject()
    virtual = VirtualSession(lambda _: source, watch=True)
    assert source.observers != []
    virtual.peer.close(1000)
    assert source.observers == []


def test_a_close_in_an_observable_closes_with_its_code() -> None:
    """What it emits later is dropped."""

    def handler(conn: AnyConnection) -> rx.Observable[Close]:
        return conn.incoming.pipe(ops.map(lambda reason: Close(4001, str(reason))))

    virtual = VirtualSession(handler, watch=True)
    virtual.peer.message("why", "late")
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4001, "why")
    virtual.peer.close(4001)
    virtual.settle()
    virtual.check_over(Close(4001, "why"))


def test_a_close_that_may_not_be_sent_is_a_fault_of_the_pipeline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """1011 where nobody observes it."""
    virtual = VirtualSession(
        lambda conn: conn.incoming.pipe(ops.map(lambda _: Close(1006))), watch=True
    )
    virtual.peer.message("x")
    assert isinstance(failed(virtual, caplog), ValueError)


def test_a_disposable_is_disposed_at_the_end() -> None:
    """Not before."""
    disposed: list[int] = []
    virtual = VirtualSession(lambda _: Disposable(lambda: disposed.append(1)), watch=True)
    virtual.run(10)
    assert disposed == []
    virtual.peer.close(1000)
    assert disposed == [1]


def test_what_subscribe_returns_will_do() -> None:
    """The echo by hand, with its subscription returned."""
    virtual = VirtualSession(lambda conn: conn.incoming.subscribe(conn.outgoing), watch=True)
    virtual.peer.message("a")
    assert virtual.messages == ["a"]


def test_none_leaves_the_connection_as_it_is() -> None:
    """A handler that returns never closes; the end of outgoing does."""
    virtual = VirtualSession(lambda conn: conn.outgoing.on_next("hello"), watch=True)
    virtual.run(1000)
    assert virtual.messages == ["hello"]
    assert virtual.closed.values == []


@pytest.mark.parametrize("result", [None, rx.never(), Disposable()])
def test_an_async_handlers_result_is_treated_alike(result: Any) -> None:
    """An Observable feeds, a Disposable is kept, None means nothing."""

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
    """From when it is there."""

    async def handler(conn: AnyConnection) -> rx.Observable[str]:
        return conn.incoming.pipe(ops.map(str.upper))

    virtual = VirtualSession(handler)
    virtual.peer.message("early")
    virtual.run(1)
    virtual.peer.message("later")
    assert virtual.messages == ["EARLY", "LATER"]


# --- what is none of the four -----------------------------------------------------------------


async def generator(_: AnyConnection) -> AsyncGenerator[str]:
    yield "never reached"


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        (lambda _: 7, "int 7"),
        (lambda _: "text", "str 'text'"),
        (lambda _: [rx.never()], "list"),
        (generator, "async_generator"),
        (lambda conn: conn, "Connection"),
    ],
    ids=["int", "str", "list", "async generator", "connection"],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "async"])
def test_anything_else_is_a_type_error_that_names_the_four(
    handler: Any, named: str, wrapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """On the log; the peer sees 1011 and no more."""

    async def coroutine(conn: AnyConnection) -> Any:
        return handler(conn)

    virtual = VirtualSession(coroutine if wrapped else handler, watch=True)
    virtual.settle()
    error = failed(virtual, caplog)
    assert isinstance(error, TypeError)
    for word in ("Observable", "Disposable", "None", "coroutine", named):
        assert word in str(error)


def test_an_async_generator_is_told_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    """It looks like what other libraries take."""
    virtual = VirtualSession(generator, watch=True)
    assert "rxws.iterate" in str(failed(virtual, caplog))


# --- what raises ------------------------------------------------------------------------------


def test_a_handler_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """The exception is logged and never told."""

    def handler(_: AnyConnection) -> NoReturn:
        raise ValueError("secret")

    assert str(failed(VirtualSession(handler, watch=True), caplog)) == "secret"


def test_a_coroutine_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """As a plain handler that does."""

    async def handler(_: AnyConnection) -> NoReturn:
        raise ValueError("secret")

    virtual = VirtualSession(handler, watch=True)
    virtual.settle()
    assert str(failed(virtual, caplog)) == "secret"


def test_a_connection_closed_says_how_to_close(caplog: pytest.LogCaptureFixture) -> None:
    """And is nothing to log."""

    async def handler(_: AnyConnection) -> NoReturn:
        raise ConnectionClosed(Close(4003, "no"))

    virtual = VirtualSession(handler, watch=True)
    virtual.settle()
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4003, "no")
    assert caplog.records == []


# --- handlers that are coroutines and wait: they run on a loop, until the end of the connection ---


@asynccontextmanager
async def on_loop(handler: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualSession]:
    """A virtual whose coroutines run as tasks."""
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


async def test_a_coroutine_is_cancelled_when_the_connection_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in the middle of something; that is no exception to close or log for."""
    done: list[str] = []

    async def handler(_: AnyConnection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    async with on_loop(handler, monkeypatch) as virtual:
        assert done == []
        virtual.peer.close(1000)
    assert done == ["cancelled"]
    virtual.check_over(Close(1000, by="peer"))


async def test_while_a_coroutine_runs_messages_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may want them later, or return a pipeline for them."""
    go = asyncio.Event()

    async def handler(conn: AnyConnection) -> rx.Observable[str]:
        await go.wait()
        return conn.incoming

    async with on_loop(handler, monkeypatch) as virtual:
        virtual.incoming.subscription.dispose()
        virtual.peer.message("a", "b")
        assert not virtual.transport.reading
        go.set()
        await asyncio.sleep(0)
        virtual.run(1)
        assert virtual.messages == ["a", "b"]
        virtual.peer.close(1000)


async def test_a_cancellation_that_is_not_the_connections_is_an_exception_as_any(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a handler waited for was cancelled: it will send nothing more, so the peer is told."""

    async def handler(_: AnyConnection) -> None:
        other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    async with on_loop(handler, monkeypatch) as virtual:
        await asyncio.sleep(0)
        assert virtual.close_frame.code == 1011
        assert len(caplog.records) == 1


async def test_a_future_is_awaited_as_a_coroutine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is awaitable."""
    future: asyncio.Future[rx.Observable[str]] = asyncio.get_running_loop().create_future()
    future.set_result(rx.never())

    async with on_loop(lambda _: future, monkeypatch) as virtual:
        await asyncio.sleep(0)
        assert virtual.session.outgoing.is_stopped is False
        virtual.peer.close(1000)


# --- `listener` and `pipeline`: handlers made of streams and of operators ----------------------


def test_a_listener_joins_three_streams_of_ones_own() -> None:
    """What comes in is observed, what the other emits is sent, and faults are told."""
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


def test_the_end_of_a_listeners_outgoing_closes() -> None:
    """With 1000."""
    outgoing: Subject[Any] = Subject()
    virtual = VirtualSession(rxws.listener(Subject(), outgoing), watch=True)
    outgoing.on_completed()
    assert virtual.close_frame.code == 1000


def test_a_listener_echoes_through_its_own_streams() -> None:
    """The example of its documentation."""
    incoming: Subject[Any] = Subject()
    outgoing: Subject[Any] = Subject()
    incoming.subscribe(outgoing)
    virtual = VirtualSession(rxws.listener(incoming, outgoing), watch=True)
    virtual.peer.message("a")
    assert virtual.messages == ["a"]


def test_a_listener_serves_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Used for a second it raises, which closes that one with 1011 and leaves the first alone."""
    outgoing: Subject[Any] = Subject()
    handler = rxws.listener(Subject(), outgoing)
    first = VirtualSession(handler, watch=True)
    second = VirtualSession(handler, watch=True)
    assert second.close_frame.code == 1011
    assert "has served a connection already" in caplog.text
    outgoing.on_next("to the first")
    assert (first.messages, second.messages) == (["to the first"], [])


def test_a_pipeline_is_composed_afresh_for_each_connection() -> None:
    """What one connection said is not known to the next."""
    handler = rxws.pipeline(ops.distinct_until_changed(), ops.map(str.upper))
    for _ in range(2):
        virtual = VirtualSession(handler, watch=True)
        virtual.peer.message("a", "a", "b")
        assert virtual.messages == ["A", "B"]
        virtual.peer.close(1000)
        virtual.check_over(Close(1000, by="peer"))


def test_a_pipeline_of_nothing_echoes() -> None:
    """As it is."""
    virtual = VirtualSession(rxws.pipeline())
    virtual.peer.message("a")
    assert virtual.messages == ["a"]
