"""A room on a real server: no value of one client ends the connections of the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from reactivex.subject import Subject

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection

HOSTILE = [
    (r'{"text":"\ud83d"}', 1007),
    ('{"n":1e999}', 1007),
    ("rubbish", 1007),
]


@pytest.mark.promise("shared")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize(("message", "code"), HOSTILE)
async def test_a_hostile_message_ends_its_own_connection_only(
    serve: Serve, raw_client: Dial, caplog: pytest.LogCaptureFixture, message: str, code: int
) -> None:
    """A message that `json` refuses closes only its sender's connection (1007), with a warning."""
    room: Subject[Any] = Subject()
    route = rxws.websocket(room_of(room), codec=rxws.codecs.json)
    app = web.Application()
    app.router.add_get("/room/{name}", route)
    rxws.setup(app)
    port = await serve(app)
    hostile, other, third = [
        await raw_client(port, path=f"/room/a?token=secret{index}") for index in range(3)
    ]
    await hostile.text(message)
    assert (await hostile.closing()).code == code
    await hostile.answer_close()
    await hostile.until_ended()
    await other.text('"hello"')
    for client in (other, third):
        assert [frame.payload for frame in await client.messages(1)] == [b'"hello"']
    [record] = [one for one in caplog.records if one.name == "rxws"]
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    text = record.getMessage()
    assert text.isprintable()
    assert "/room/a, peer 127.0.0.1:" in text
    assert "secret" not in text
    assert "room_of.<locals>.chat" in text
    for client in (other, third):
        await client.rst()


@pytest.mark.promise("shared")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("path", ["/subject", "/set"])
async def test_a_posted_value_ends_no_connection(
    serve: Serve, raw_client: Dial, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """A value from another HTTP request that cannot be encoded does not close any connection."""
    room: Subject[Any] = Subject()
    members: set[AnyConnection] = set()

    @rxws.websocket(codec=rxws.codecs.json)
    def chat(conn: AnyConnection) -> Subject[Any]:
        members.add(conn)
        conn.closed.subscribe(lambda _: members.discard(conn))
        conn.incoming.subscribe()
        return room

    async def post(request: web.Request) -> web.Response:
        value = await request.json()
        if path == "/subject":
            room.on_next(value)
        else:
            for conn in members:
                conn.outgoing.on_next(value)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", chat), web.post(path, post)])
    rxws.setup(app)
    port = await serve(app)
    clients = [await raw_client(port) for _ in range(2)]
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        for data in ('{"n":1e999}', r'"\ud83d"', '"next"'):
            await session.post(f"http://127.0.0.1:{port}{path}", data=data)
    for client in clients:
        assert [frame.payload for frame in await client.messages(1)] == [b'"next"']
    assert all(conn.flow.stats.dropped == {"fault": 2} for conn in members)
    records = [one for one in caplog.records if one.name == "rxws"]
    assert len(records) == 2
    assert "test_rooms.py" in records[0].getMessage()
    assert ".post" in records[0].getMessage()
    for client in clients:
        await client.rst()


def room_of(room: Subject[Any]) -> Any:
    def chat(conn: AnyConnection) -> Subject[Any]:
        conn.incoming.subscribe(room.on_next)
        return room

    return chat
