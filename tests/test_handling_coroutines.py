"""Handlers that are coroutines and wait: they run on a loop, until the end of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import reactivex as rx
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from rig import Rig

from rxws import Close, Connection
from rxws.testing.fake_transport import FakeTransport

AnyConnection = Connection[Any, Any]


@asynccontextmanager
async def on_loop(handler: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A rig whose coroutines run as tasks."""
    tasks: list[asyncio.Task[None]] = []

    def spawn(_: FakeTransport, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        tasks.append(task := asyncio.create_task(coroutine))

        def cancel() -> None:
            task.cancel()

        return Disposable(cancel)

    monkeypatch.setattr(FakeTransport, "spawn", spawn)
    rig = Rig(handler, watch=True)
    await asyncio.sleep(0)
    yield rig
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

    async with on_loop(handler, monkeypatch) as rig:
        assert done == []
        rig.peer.close(1000)
    assert done == ["cancelled"]
    rig.check_over(Close(1000, by="peer"))


async def test_while_a_coroutine_runs_messages_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may want them later, or return a pipeline for them."""
    go = asyncio.Event()

    async def handler(conn: AnyConnection) -> rx.Observable[str]:
        await go.wait()
        return conn.incoming

    async with on_loop(handler, monkeypatch) as rig:
        rig.incoming.subscription.dispose()
        rig.peer.message("a", "b")
        assert not rig.transport.reading
        go.set()
        await asyncio.sleep(0)
        rig.run(1)
        assert rig.messages == ["a", "b"]
        rig.peer.close(1000)


async def test_a_cancellation_that_is_not_the_connections_is_an_exception_as_any(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a handler waited for was cancelled: it will send nothing more, so the peer is told."""

    async def handler(_: AnyConnection) -> None:
        other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    async with on_loop(handler, monkeypatch) as rig:
        await asyncio.sleep(0)
        assert rig.close_frame.code == 1011
        assert len(caplog.records) == 1


async def test_a_future_is_awaited_as_a_coroutine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is awaitable."""
    future: asyncio.Future[rx.Observable[str]] = asyncio.get_running_loop().create_future()
    future.set_result(rx.never())

    async with on_loop(lambda _: future, monkeypatch) as rig:
        await asyncio.sleep(0)
        assert rig.session.face.outgoing.is_stopped is False
        rig.peer.close(1000)
