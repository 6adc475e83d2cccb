"""The main features of hubs together, in two applications on one Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops
from websockets.asyncio.client import ClientConnection, connect

import rxws
from rxws.hub import Gap, Keep, Message, RedisBackplane
from support.fixtures import Serve
from support.peers.hub_peer import until
from support.peers.raw import PATIENCE
from support.processes.redis_server import StartRedis


def make_app(url: str) -> tuple[web.Application, rxws.Hub]:
    @web.middleware
    async def log_in(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        request["user"] = request.query.get("user")
        return await handler(request)

    app = web.Application(middlewares=[log_in])
    hub = rxws.Hub(
        codec=rxws.codecs.json,
        backplane=RedisBackplane(url),
        topics={
            "room:*": Keep(100, seconds=600),
            "px:*": Keep.latest(),
            "news:*": Keep(1000, seconds=86400),
        },
    )
    hub.setup(app)

    @rxws.websocket(codec=rxws.codecs.json)
    def room(conn: Any) -> rx.Observable[Any]:
        who = conn.handshake.request["user"]
        topic = hub.topic("room:" + conn.handshake.url.query["room"])
        conn.incoming.pipe(ops.map(lambda text: {"from": who, "text": text})).subscribe(topic)
        return rx.merge(
            topic.rewind(20),
            topic.presence.pipe(ops.map(show)),
            topic.joined(who),
        )

    @rxws.websocket(
        codec=rxws.codecs.json, overflow=rxws.overflow.latest(key=lambda quote: quote["sym"])
    )
    def prices(conn: Any) -> rx.Observable[Any]:
        return rx.merge(*(hub.topic("px:" + s) for s in conn.handshake.url.query["s"].split(",")))

    @rxws.websocket(codec=rxws.codecs.json)
    def desk(conn: Any) -> rx.Observable[Any]:
        return hub.attach(conn, conn.handshake.request["user"])

    async def login(request: web.Request, token: str) -> str | None:
        return {"token of 42": "42"}.get(token)

    def allow(user: str, topic: str, action: str) -> bool | float:
        return 60 if topic.startswith("news:") else False

    app.add_routes([web.get("/room", room), web.get("/prices", prices), web.get("/desk", desk)])
    app.add_routes([web.get("/hub", hub.serve(user=login, allow=allow))])
    rxws.setup(app)
    return app, hub


def show(here: frozenset[str]) -> dict[str, list[str]]:
    return {"here": sorted(here)}


async def receive(peer: ClientConnection) -> Any:
    async with asyncio.timeout(PATIENCE):
        return json.loads(await peer.recv())


@pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning")
async def test_two_applications(start_redis: StartRedis, serve: Serve) -> None:
    """A room, prices, news with ids, and a user, each across both applications."""
    url = start_redis().url
    (app, hub), (other_app, other) = make_app(url), make_app(url)
    first, second = [f"ws://127.0.0.1:{await serve(each)}" for each in (app, other_app)]
    async with AsyncExitStack() as stack:

        async def enter(address: str) -> ClientConnection:
            return await stack.enter_async_context(connect(address))

        ann = await enter(f"{first}/room?room=a&user=ann")
        assert await receive(ann) == {"here": ["ann"]}
        await ann.send('"hello"')
        assert await receive(ann) == {"from": "ann", "text": "hello"}
        bob = await enter(f"{second}/room?room=a&user=bob")
        told = [await receive(bob), await receive(bob)]
        assert {"from": "ann", "text": "hello"} in told
        assert {"here": ["ann", "bob"]} in told
        assert await receive(ann) == {"here": ["ann", "bob"]}

        watcher = await enter(f"{second}/prices?s=x,y")
        await until(lambda: all(other.topic(f"px:{each}").observers for each in "xy"))
        # These wait until their topics are attached here, so that the others are not too early.
        for symbol in "xyz":
            await other.topic(f"px:{symbol}").publish({"sym": symbol, "bid": 1})
        for symbol in "xyz":
            await hub.topic(f"px:{symbol}").publish({"sym": symbol, "bid": 2})
        quotes = [await receive(watcher) for _ in range(4)]
        quotes.sort(key=lambda quote: (quote["sym"], quote["bid"]))
        assert [(each["sym"], each["bid"]) for each in quotes] == [
            ("x", 1), ("x", 2), ("y", 1), ("y", 2)
        ]  # fmt: skip

        item = {"id": "7", "title": "one"}
        position = await hub.topic("news:42").publish(item, id=item["id"])
        assert await other.topic("news:42").publish(item, id=item["id"]) == position
        events: list[Message[Any] | Gap] = []
        assert position is not None
        client = rxws.hub.connect(f"{second}/hub", token=lambda: "token of 42")
        await stack.enter_async_context(client)
        sent: list[Any] = []
        client.messages.subscribe(sent.append)
        errors: list[Exception] = []
        client.topic("news:42").since(position).subscribe(events.append, errors.append)
        later = await hub.topic("news:42").publish("two")
        await until(lambda: events)
        assert events == [Message("two", later)]

        desk = await enter(f"{second}/desk?user=42")
        await until(lambda: len(other._registry.users) == 1)
        hub.user("42").on_next({"type": "logged-out"})
        assert await receive(desk) == {"type": "logged-out"}
        await until(lambda: sent[-1:] == [{"type": "logged-out"}])
        hub.user("42").close(rxws.Close(4001, "logged out"))
        async with asyncio.timeout(PATIENCE):
            await desk.wait_closed()
        assert (desk.close_code, desk.close_reason) == (4001, "logged out")
        last = await hub.topic("news:42").publish("three")
        await until(lambda: len(events) == 2)  # the client has connected again
        assert events[-1] == Message("three", last)
        hub.user("42").revoke("news:*")
        await until(lambda: errors)
