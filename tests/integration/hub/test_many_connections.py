"""Many connections of one hub, with real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import reactivex as rx
from reactivex import operators as ops
from websockets.asyncio.client import ClientConnection, connect

import rxws
from rxws.hub import Hub, Keep
from support.nested_loop import run_nested
from support.peers.hub_peer import HubPeer, until
from support.peers.raw import PATIENCE, RawClient

KEEP = {"kept": Keep(20)}


@asynccontextmanager
async def serving(hub: Hub, handler: Any, **options: Any) -> AsyncIterator[str]:
    """Serve a handler, or what `hub.serve` has returned; return the URL."""
    async with hub, rxws.serve(handler, **options) as server:
        yield server.url


async def receive(peer: ClientConnection, count: int) -> list[str]:
    """Return the next messages, which must be texts."""
    async with asyncio.timeout(PATIENCE):
        return [str(await peer.recv()) for _ in range(count)]


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.promise("hub-idle")
@pytest.mark.parametrize("end", ["close", "abort"])
async def test_connections_that_come_and_go_leave_nothing(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 300 connections that were closed or lost: no observer, topic, member or task."""
    monkeypatch.setattr("rxws.hub._attached.DETACH_DELAY", 0.05)
    hub = Hub(codec=rxws.codecs.json, topics=KEEP)
    sessions: weakref.WeakSet[Any] = weakref.WeakSet()

    def room(conn: Any) -> rx.Observable[Any]:
        sessions.add(conn)
        topic = hub.topic("kept")
        conn.incoming.subscribe(topic)
        here = topic.presence.pipe(ops.map(sorted))
        user = hub.attach(conn, "ann")
        return rx.merge(topic.rewind(5), topic, here, topic.joined("ann"), user)

    async with serving(hub, room, codec=rxws.codecs.json) as url:
        before = others()
        for n in range(300):
            peer = await connect(url, compression=None)
            if not n % 10:
                await peer.send("1")
                await receive(peer, 1)
            if end == "close":
                await peer.close()
            else:
                peer.transport.abort()
                await peer.wait_closed()
        await until(lambda: not hub.stats.topics and others() <= before)
        assert hub.topic("kept").observers == []
        assert (hub.stats.members, hub.stats.queued) == (0, 0)
        assert not hub._registry._topics
        gc.collect()
        await until(lambda: len(sessions) <= 1)


async def test_clients_of_the_protocol_that_come_and_go_leave_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After 300 clients of `hub.serve` that subscribe and leave: no topic, member or task."""
    monkeypatch.setattr("rxws.hub._attached.DETACH_DELAY", 0.05)
    hub = Hub(codec=rxws.codecs.json, topics=KEEP)
    route = hub.serve(user=lambda _, token: token, allow=lambda *_: True)
    async with serving(hub, route) as url:
        before = others()
        for n in range(300):
            async with HubPeer.open(url) as peer:
                assert "subscribe" in await peer.call(
                    subscribe={"channel": "kept", "join_leave": True}
                )
                if n % 2:
                    peer.socket.transport.abort()
        await until(lambda: not hub.stats.topics and others() <= before)
        assert hub.stats.members == 0
        assert hub._served is not None
        assert len(hub._served) == 0


@pytest.mark.promise("hub-slow")
@pytest.mark.parametrize(("overflow", "left"), [("close", 99), ("drop_oldest", 100)])
async def test_a_stuck_subscriber_delays_nobody(overflow: str, left: int) -> None:
    """One client of 100 reads nothing: it is closed or misses some, 99 others get every message."""
    asyncio.get_running_loop().slow_callback_duration = 0.5  # debug mode is slow
    hub = Hub(topics={"kept": Keep(1)})
    count, text = 150, "x" * 2000
    options: dict[str, Any] = {
        "codec": rxws.codecs.text,
        "max_buffer": 1 << 16,
        "overflow": overflow,
    }
    conns: list[Any] = []

    def room(conn: Any) -> rx.Observable[Any]:
        conns.append(conn)
        sock = conn.handshake.request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 10)
        return hub.topic("kept")

    async with serving(hub, room, **options) as url, AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(url, compression=None)) for _ in range(99)
        ]
        port = urlsplit(url).port
        assert port is not None
        stuck = await RawClient.connect(port, receive_buffer=4096, reads=False)
        await until(lambda: len(hub.topic("kept").observers) == 100)
        receiving = [asyncio.ensure_future(receive(each, count)) for each in sockets]
        for n in range(count):
            await hub.topic("kept").publish(f"{n} {text}")
        expected = [f"{n} {text}" for n in range(count)]
        for each in await asyncio.gather(*receiving):
            assert each == expected
        await until(lambda: len(hub.topic("kept").observers) == left)
        assert (left == 99) or [n for n, conn in enumerate(conns) if conn.flow.stats.dropped] == [
            99
        ]
        await stuck.rst()
    assert hub.stats.received == count


@pytest.mark.skipif(
    os.environ.get("RXWS_TEST_LOOP") == "uvloop"
    or sys.flags.dev_mode
    or bool(os.environ.get("PYTHONASYNCIODEBUG")),
    reason="only asyncio's own loop can run nested, and its debug mode reports slow callbacks",
)
async def test_a_burst_continues_after_a_nested_loop() -> None:
    """A subscriber runs a nested loop in a burst: what came before it is sent meanwhile."""
    hub = Hub()
    async with (
        serving(hub, lambda conn: hub.topic("a"), codec=rxws.codecs.text) as url,
        connect(url, compression=None) as peer,
    ):
        await until(lambda: hub.topic("a").observers)
        meanwhile: list[list[str]] = []

        def on_next(value: str) -> None:
            if value == "2":
                task = asyncio.ensure_future(receive(peer, 2))
                run_nested(task.done)
                meanwhile.append(task.result())

        hub.topic("a").subscribe(on_next)
        for n in (1, 2, 3, 4):
            hub.topic("a").on_next(str(n))
        await until(lambda: meanwhile)
        assert meanwhile == [["1", "2"]]
        hub.topic("a").on_next("5")
        assert await receive(peer, 3) == ["3", "4", "5"]
