"""Coroutine functions where a plain function is expected: an error that names `map_async`."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws._core.streams.coroutines import is_async
from rxws._core.streams.subscriber import DerivedSubscriber
from rxws.operators import map_async, on_loop, rate_limit
from support.subscriber import Subscriber
from support.virtual.manual_calls import settle
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject, received_by


async def save(*_: Any) -> None: ...


async def fetch(word: str) -> str:
    await asyncio.sleep(0)
    return word.upper()


async def generate(_: Any) -> AsyncIterator[None]:
    yield


class Service:
    async def save(self, _: Any) -> None: ...

    @staticmethod
    async def store(_: Any) -> None: ...

    def plain(self, _: Any) -> None: ...


class AsyncCallable:
    async def __call__(self, _: Any) -> None: ...


class PlainCallable:
    def __call__(self, _: Any = None) -> None: ...


class AsyncObserver(Subject[Any]):
    async def on_next(self, value: Any) -> None: ...  # type: ignore[override]


ASYNC: dict[str, Callable[..., Any]] = {
    "function": save,
    "lambda's": functools.partial(save, 1),
    "method": Service().save,
    "static method": Service.store,
    "partial of a method": functools.partial(functools.partial(Service().save), 1),
    "callable object": AsyncCallable(),
    "partial of a callable object": functools.partial(AsyncCallable()),
    "method of a callable object": AsyncCallable().__call__,
    "async generator": generate,
    "mock": AsyncMock(),
}

PLAIN: dict[str, Callable[..., Any]] = {
    "function": lambda _: None,
    "builtin": print,
    "builtin method": list[Any]().append,
    "method": Service().plain,
    "partial": functools.partial(Service().plain),
    "partial of a builtin": functools.partial(print),
    "callable object": PlainCallable(),
    "class": PlainCallable,
    "mock": Mock(),
}


@pytest.mark.parametrize("fn", ASYNC.values(), ids=ASYNC)
def test_an_async_callable_is_recognized(fn: Any) -> None:
    """Every kind of callable whose call returns a coroutine is recognized."""
    assert is_async(fn)


@pytest.mark.parametrize("fn", PLAIN.values(), ids=PLAIN)
def test_a_plain_callable_is_accepted(fn: Any) -> None:
    """Every kind of plain callable may subscribe."""
    assert not is_async(fn)
    virtual = VirtualSession()
    virtual.conn.incoming.subscribe(fn)
    virtual.conn.incoming.pipe(ops.map(str)).subscribe(fn)
    virtual.peer.message("a")
    virtual.settle()


def streams(virtual: VirtualSession) -> dict[str, rx.Observable[Any]]:
    conn, feed = virtual.conn, rxws.WebSocketSubject[Any, Any]("ws://unused.invalid")
    channel = feed.channel(None, None, bool)
    return {
        "incoming": conn.incoming,
        "outgoing": conn.outgoing,
        "errors": conn.errors,
        "closed": conn.closed,
        "writable": conn.flow.writable,
        "latency": conn.flow.latency,
        "chain": conn.incoming.pipe(ops.map(str), ops.filter(bool)),
        "longer chain": conn.incoming.pipe(ops.map(str)).pipe(ops.filter(bool)),
        "map_async": conn.incoming.pipe(map_async(fetch)),
        "rate_limit": conn.incoming.pipe(rate_limit(1, 1.0)),
        "subject's chain": feed.pipe(ops.map(str), ops.debounce(1.0)),
        "published": conn.incoming.pipe(ops.publish(), ops.ref_count()),
        "on_loop": rx.never().pipe(on_loop()),
        "connections": rxws.connections("ws://unused.invalid"),
        "subject": feed,
        "status": feed.status,
        "subject's errors": feed.errors,
        "drops": feed.drops,
        "channel": channel,
    }


STREAMS = list(streams(VirtualSession()))


@pytest.mark.promise("coroutine")
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("role", ["on_next", "on_error", "on_completed"])
async def test_subscribing_a_coroutine_function_raises_at_once(name: str, role: str) -> None:
    """`subscribe(async_fn)` raises a TypeError that names the argument and `map_async`."""
    stream = streams(VirtualSession())[name]
    wrong: dict[str, Any] = {role: save}
    with pytest.raises(
        TypeError, match=rf"^{role}=<function save at .* is a coroutine function.*map_async\("
    ):
        stream.subscribe(**wrong)
    assert not getattr(stream, "observed", False)


@pytest.mark.parametrize("name", STREAMS)
async def test_an_observer_with_an_async_method_raises_at_once(name: str) -> None:
    """An observer object is checked, too."""
    stream = streams(VirtualSession())[name]
    with pytest.raises(TypeError, match=r"^on_next=<bound method AsyncObserver\.on_next"):
        stream.subscribe(AsyncObserver())


@pytest.mark.parametrize("name", ["incoming", "outgoing", "errors", "closed", "writable", "chain"])
def test_a_stream_that_has_ended_checks_as_well(name: str) -> None:
    """It makes no difference whether the stream has ended, or replays a value."""
    virtual = VirtualSession()
    virtual.peer.close(1000)
    virtual.settle()
    wrong: Any = save
    with pytest.raises(TypeError, match="map_async"):
        streams(virtual)[name].subscribe(wrong)


def test_it_makes_no_difference_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, where callbacks are wrapped, the error is the same."""
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: Mock(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    wrong: Any = save
    with pytest.raises(TypeError, match=r"^on_error=<function save"):
        VirtualSession().conn.incoming.subscribe(print, wrong)


# --- coroutines as values ---------------------------------------------------------------------


class Fetched:
    """An `ops.map` with a coroutine function, and the coroutines that it made."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, word: str) -> Any:
        self.made.append(fetch(word))
        return self.made[-1]

    @property
    def closed(self) -> list[bool]:
        return [inspect.getcoroutinestate(each) == inspect.CORO_CLOSED for each in self.made]


@pytest.mark.promise("coroutine")
@pytest.mark.parametrize("callback", [None, print, lambda _: None])
def test_a_coroutine_that_reaches_a_subscriber_is_a_fault(callback: Any) -> None:
    """A coroutine at the end of a chain is closed, and a fault names `map_async`."""
    virtual, fetched = VirtualSession(), Fetched()
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.pipe(ops.map(fetched), ops.filter(bool)).subscribe(callback)
    virtual.peer.message("a", "b")
    virtual.settle()
    assert [type(error) for error in errors.values] == [TypeError, TypeError]
    assert str(errors.values[0]).startswith("<coroutine object fetch at 0x")
    assert "use rxws.operators.map_async instead of ops.map" in str(errors.values[0])
    assert fetched.closed == [True, True]


def test_without_a_subscriber_to_errors_it_closes(caplog: pytest.LogCaptureFixture) -> None:
    """As any fault, it is logged and closes with 1011 if nobody subscribes to `errors`."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.pipe(ops.map(fetch)).subscribe(print)
    virtual.peer.message("a")
    assert virtual.close_frame.code == 1011
    assert "map_async" in caplog.text
    gc.collect()  # no coroutine is left that was never awaited


def test_the_check_costs_nothing_after_the_first_value() -> None:
    """After the first value, the subscriber is an ordinary one; a later coroutine passes."""
    virtual, got = VirtualSession(), list[Any]()
    coroutine = fetch("late")
    subscription = virtual.conn.incoming.pipe(
        ops.map(lambda word: coroutine if word == "b" else word)
    ).subscribe(got.append)
    virtual.peer.message("a")
    assert type(subscription) is DerivedSubscriber
    virtual.peer.message("b")
    assert got == ["a", coroutine]
    coroutine.close()


def test_a_subscriber_that_has_left_gets_no_error() -> None:
    """A value that arrives after `dispose` is ignored, whatever it is."""
    virtual, coroutine = VirtualSession(watch=True), fetch("a")
    errors = virtual.watch(virtual.conn.errors)
    chain = virtual.conn.incoming.pipe(
        ops.do_action(lambda _: subscription.dispose()), ops.map(lambda _: coroutine)
    )
    subscription = chain.subscribe(print)
    virtual.peer.message("a")
    assert errors.values == []
    coroutine.close()


def unchanged(coroutine: Any) -> Any:
    return coroutine


def as_stream(coroutine: Any) -> rx.Observable[Any]:
    return rx.from_future(asyncio.ensure_future(coroutine))


def await_each(source: rx.Observable[Any]) -> rx.Observable[Any]:
    """Await coroutines, as an operator that a user writes does."""

    def subscribe(observer: Any, scheduler: Any = None) -> Any:
        async def emit(coroutine: Any) -> None:
            observer.on_next(await coroutine)

        def on_next(coroutine: Any) -> None:
            tasks.append(asyncio.ensure_future(emit(coroutine)))

        tasks: list[Any] = []
        return source.subscribe(on_next, observer.on_error, scheduler=scheduler)

    return rx.Observable(subscribe)


@pytest.mark.parametrize(
    "awaiting",
    [map_async(unchanged), ops.flat_map(as_stream), await_each],
    ids=["map_async", "flat_map", "own operator"],
)
async def test_operators_may_take_coroutines(awaiting: Any) -> None:
    """Operators that await coroutines get them, also from a chain that was composed before."""
    virtual = VirtualSession()
    chain = virtual.conn.incoming.pipe(ops.map(fetch))
    out: Subscriber[Any] = Subscriber(chain.pipe(awaiting))
    virtual.peer.message("a")
    await settle(virtual)
    assert out.values == ["A"]
    out.subscription.dispose()


async def test_await_and_loops_may_take_coroutines() -> None:
    """A coroutine that awaits a chain, or loops over it, gets its coroutines and awaits them."""
    virtual = VirtualSession()
    chain = virtual.conn.incoming.pipe(ops.map(fetch), ops.take(1))
    virtual.peer.message("a", "b")

    async def await_one() -> str:
        coroutine: Any = await chain
        return str(await coroutine)

    async def await_each() -> list[str]:
        return [await coroutine async for coroutine in rxws.iterate(chain)]

    one = asyncio.ensure_future(await_one())
    await settle(virtual)
    each = asyncio.ensure_future(await_each())
    await settle(virtual)
    assert (await one, await each) == ("A", ["B"])


CODECS = {name: getattr(rxws.codecs, name) for name in ("raw", "text", "binary", "json")} | {
    "typed": rxws.codecs.typed(dict)
}


@pytest.mark.promise("coroutine")
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("how", ["push", "handler"])
def test_a_coroutine_that_reaches_outgoing_is_a_fault(
    codec: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that is sent is closed, and an EncodeError names `map_async`."""
    fetched = Fetched()
    errors: list[Exception] = []

    def handler(conn: rxws.Connection[Any, Any]) -> Any:
        conn.errors.subscribe(errors.append)
        if how == "handler":
            return rx.merge(conn.closed, rx.timer(1.0)).pipe(ops.map(fetched))
        conn.outgoing.on_next(fetched("a"))
        return None

    virtual = VirtualSession(handler, codec=codec)
    virtual.run(2.0)
    [error] = errors
    assert isinstance(error, rxws.EncodeError)
    assert str(error).startswith("cannot send coroutine: <coroutine object fetch at 0x")
    assert "use rxws.operators.map_async instead of ops.map" in str(error)
    assert fetched.closed == [True]
    assert virtual.messages == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (rx.of(1), "is a stream, not a message: .* use ops.flat_map"),
        (Subject[Any](), "is a stream, not a message: .* use ops.flat_map"),
        (
            generate(None),
            "was never looped over: to emit its items for each value, use rxws.operators.map_async",
        ),
    ],
    ids=["Observable", "Subject", "async generator"],
)
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_stream_that_reaches_outgoing_is_a_fault(value: Any, text: str, codec: Any) -> None:
    """An Observable or an async generator that is sent is an EncodeError with its own remedy."""
    virtual = VirtualSession(codec=codec)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.on_next(value)
    [error] = errors.values
    assert re.match(f"cannot send {type(value).__name__}: .* {text}", str(error))
    assert virtual.messages == []


def test_groups_that_reach_outgoing_are_a_fault() -> None:
    """The groups of `group_by` are streams, too; the error names the operator to add."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.group_by(str)))
    errors = virtual.watch(virtual.conn.errors)
    virtual.peer.message("a")
    virtual.settle()
    [error] = errors.values
    assert "add ops.merge_all() after operators such as group_by and window" in str(error)


@pytest.mark.parametrize("role", ["on_next", "on_error", "on_completed"])
def test_subscribing_an_async_generator_function_raises_at_once(role: str) -> None:
    """`subscribe(async_generator_fn)` raises a TypeError that shows the loop to write."""
    wrong: dict[str, Any] = {role: generate}
    with pytest.raises(TypeError, match=rf"^{role}=<function generate at .* async generator"):
        VirtualSession().conn.incoming.subscribe(**wrong)


async def test_another_awaitable_is_named_but_not_cancelled() -> None:
    """A task that is sent is named in the error, and goes on."""
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    task = asyncio.ensure_future(fetch("a"))
    virtual.conn.outgoing.on_next(task)
    assert "cannot send Task: <Task pending" in str(errors.values[0])
    assert await task == "A"


async def test_a_coroutine_that_runs_is_not_closed() -> None:
    """A coroutine that a task awaits is named in the error, and goes on."""
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    coroutine = fetch("a")
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    virtual.conn.outgoing.on_next(coroutine)
    assert "cannot send coroutine" in str(errors.values[0])
    assert await task == "A"


@pytest.mark.promise("coroutine")
@pytest.mark.parametrize("online", [True, False])
def test_a_coroutine_pushed_into_a_subject_is_a_fault(online: bool) -> None:
    """`WebSocketSubject.on_next` closes a coroutine, and `errors` names `map_async`."""
    client, fetched = VirtualSubject(), Fetched()
    client.watch_drops()
    errors: Subscriber[Any] = Subscriber(client.feed.errors)
    if online:
        client.subscribe()
    client.feed.on_next(fetched("a"))
    assert fetched.closed == [True]
    if not online:
        client.subscribe()
    client.run()
    [error] = errors.values
    assert "use rxws.operators.map_async instead of ops.map" in str(error)
    assert client.feed.stats.dropped == {"fault": 1}
    assert received_by(client.dials[0]) == []
