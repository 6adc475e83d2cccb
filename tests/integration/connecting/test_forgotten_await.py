"""A connection that was never awaited, and other wrong uses of what `connect` returns."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest

import rxws
from rxws.testing import serve

URL = "ws://me:secret@unused.invalid/?token=secret"


def handler(conn: rxws.Connection) -> None: ...


@pytest.mark.promise("coroutine")
def test_a_call_that_is_never_awaited_warns() -> None:
    """A forgotten `await` gives a RuntimeWarning with the URL, as for a coroutine."""
    with pytest.warns(RuntimeWarning, match="never awaited: use 'await rxws.connect") as caught:
        rxws.connect(URL)
    assert "unused.invalid" in str(caught[0].message)
    assert "secret" not in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.promise("coroutine")
@pytest.mark.parametrize(
    "name",
    ["incoming", "outgoing", "errors", "closed", "flow", "handshake", "scheduler", "recv"],
)
def test_an_attribute_of_a_connection_that_is_not_open(name: str) -> None:
    """The attributes of a Connection raise an AttributeError that says to await it first."""
    call: Any = rxws.connect(URL)
    with pytest.raises(AttributeError, match=f"'{name}': .* not open yet, use 'await rxws.connect"):
        getattr(call, name)
    with pytest.raises(AttributeError, match=r"no attribute 'other'$"):
        _ = call.other
    assert not hasattr(call, name)
    with pytest.raises(
        TypeError, match=r"not open yet: use 'await .*, and conn\.outgoing\.on_next"
    ):
        call.send("hello")
    with pytest.warns(RuntimeWarning, match="never awaited"):
        del call


def test_with_instead_of_async_with() -> None:
    """`with` and `async for` raise a TypeError that names what to use."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call: Any = rxws.connect(URL)
        with pytest.raises(TypeError, match="'async with' instead of 'with'"), call:
            pass
        with pytest.raises(TypeError, match=r"rxws\.connections .* 'async for message in"):
            aiter(call)
        del call
        gc.collect()


async def test_no_warning_for_a_call_that_is_used() -> None:
    """A call that is awaited, entered, or has failed or been refused does not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with serve(handler) as server:
            async with rxws.connect(server.url):
                pass
            conn = await rxws.connect(server.url)
            conn.outgoing.on_completed()
            conn = await asyncio.wait_for(rxws.connect(server.url), 10)
            conn.outgoing.on_completed()
        with pytest.raises(rxws.ConnectError):
            await rxws.connect(server.url)
        refused: Any = rxws.connect
        with pytest.raises(TypeError):
            refused(server.url, pingg=1)
        rxws.connections(server.url)
        gc.collect()


START = {
    "create_task": asyncio.create_task,
    "ensure_future": asyncio.ensure_future,
    "gather": lambda call: asyncio.gather(call),
    "wait_for": lambda call: asyncio.wait_for(call, 10),
    "shield": asyncio.shield,
    "loop": lambda call: asyncio.get_running_loop().create_task(call, name="mine"),
    "run_coroutine_threadsafe": lambda call: asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(call, asyncio.get_running_loop())
    ),
}


@pytest.mark.parametrize("start", START.values(), ids=START)
async def test_a_call_is_a_coroutine_for_asyncio(start: Any) -> None:
    """Everything of asyncio that takes a coroutine takes what `connect` returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with serve(handler) as server:
            call = rxws.connect(server.url)
            assert asyncio.iscoroutine(call)
            opened = await start(call)
            conn = opened[0] if isinstance(opened, list) else opened
            assert isinstance(conn, rxws.Connection)
            conn.outgoing.on_completed()
            await conn.closed
            with pytest.raises(RuntimeError, match="already"):
                await call
            call.close()  # does nothing any more
        del call
        gc.collect()


async def test_a_task_group_opens_connections_at_the_same_time() -> None:
    """`TaskGroup.create_task` takes what `connect` returns; a failure cancels the others."""
    async with serve(handler) as server:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(rxws.connect(server.url)) for _ in range(3)]
        for task in tasks:
            task.result().outgoing.on_completed()
            await task.result().closed
    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.TaskGroup() as group:
            group.create_task(rxws.connect(server.url))
    assert isinstance(failed.value.exceptions[0], rxws.ConnectError)


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_cancelled_task_leaves_nothing_open(turns: int) -> None:
    """A task can be cancelled before it has begun, or while it dials."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with serve(handler) as server:
            task = asyncio.create_task(rxws.connect(server.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            assert "rxws.connect" in repr(task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
        gc.collect()


def test_closing_a_call_discards_it() -> None:
    """`close()` discards a call without a warning, also in the middle, as for any coroutine."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call = rxws.connect(URL)
        call.close()
        call.close()
        del call
        gc.collect()


def test_throwing_into_a_call_raises_there() -> None:
    """`throw` raises the exception in the call, given as an instance or as a class."""
    for error in (ValueError("mine"), ValueError):
        with pytest.raises(ValueError):
            rxws.connect(URL).throw(error)
    try:
        raise ValueError("mine")
    except ValueError as exc:
        mine = exc
    with pytest.raises(ValueError, match="mine"):
        rxws.connect(URL).throw(ValueError, mine, mine.__traceback__)
