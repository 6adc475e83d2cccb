"""The page of the chat, which speaks the hub's protocol, in a headless Chromium."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from support.fixtures import Serve
from support.peers.browser import Page
from support.processes.examples import (
    EXAMPLES,
    PATIENCE,
    ExampleServer,
    receive_text,
    running_example,
)
from support.processes.redis_server import RedisServer, free_port, redis_servers

Told = dict[str, Any]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis server."""
    with redis_servers(tmp_path) as start:
        yield start()


@pytest.fixture
async def other(redis: RedisServer) -> AsyncIterator[ExampleServer]:
    """Start the process that the page is not connected to."""
    async with running_chat(redis, free_port()) as server:
        yield server


def running_chat(redis: RedisServer, port: int) -> AbstractAsyncContextManager[ExampleServer]:
    return running_example("chat_cluster", "--redis", redis.url, port=port)


async def open_room(page: Page, server: ExampleServer, name: str = "ann") -> None:
    """Open the page, and wait until it is connected."""
    await page.open(f"{server.url}?name={name}&room=kitchen")
    await state(page, "connected")


async def state(page: Page, text: str) -> None:
    """Wait until the page shows a state of its connection."""
    await page.wait(f"document.querySelector('#state').textContent === {text!r}")


async def shows(page: Page, *lines: str) -> None:
    """Wait until the page shows exactly these messages."""
    found = "[...document.querySelectorAll('#lines li')].map((line) => line.innerText)"
    await page.wait(f"JSON.stringify({found}) === JSON.stringify({json.dumps(lines)})")


async def here(page: Page, *names: str) -> None:
    """Wait until the page shows exactly these people."""
    text = "Here: " + ", ".join(names)
    await page.wait(f"document.querySelector('#here').textContent === {text!r}")


async def say(page: Page, text: str) -> None:
    """Type a message, and press Enter."""
    await page.evaluate("document.querySelector('#text').focus()")
    await page.call("Input.insertText", text=text)
    for kind in ("keyDown", "keyUp"):
        return_key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await page.call("Input.dispatchKeyEvent", type=kind, **return_key)


@asynccontextmanager
async def bob_at(server: ExampleServer) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Enter the room as bob."""
    url = f"ws://127.0.0.1:{server.port}/room?name=bob&room=kitchen"
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as ws:
        yield ws


async def hear(ws: aiohttp.ClientWebSocketResponse, text: str) -> None:
    """Wait until a person hears a message."""
    async with asyncio.timeout(PATIENCE):
        while json.loads(await receive_text(ws)).get("text") != text:
            pass


async def test_the_page_shares_a_room_with_another_process(
    page: Page, redis: RedisServer, other: ExampleServer
) -> None:
    """The page shows what was said before, who is there, and new messages as text, not as HTML."""
    async with running_chat(redis, free_port()) as server, bob_at(other) as bob:
        for number in range(25):
            await bob.send_json({"text": str(number)})
        await hear(bob, "24")
        await open_room(page, server)
        before = [f"bob {number}" for number in range(5, 25)]
        await shows(page, *before)
        await here(page, "ann", "bob")
        await say(page, "<b>hello</b>")
        await hear(bob, "<b>hello</b>")
        await bob.send_json({"text": "hi"})
        await shows(page, *before, "ann <b>hello</b>", "bob hi")
        await bob.close()
        await here(page, "ann")


async def test_the_page_reconnects_and_continues(
    page: Page, redis: RedisServer, other: ExampleServer
) -> None:
    """The page reconnects to a process that was killed, and shows what it has missed, once."""
    port = free_port()
    async with running_chat(redis, port) as server, bob_at(other) as bob:
        await open_room(page, server)
        await say(page, "before")
        await shows(page, "ann before")  # otherwise the page cannot know that it was published
        await server.end(signal.SIGKILL)
        await state(page, "reconnecting")
        missed = [str(number) for number in range(30)]  # more than the page loads at its start
        for text in missed:
            await bob.send_json({"text": text})
        await hear(bob, missed[-1])
        async with running_chat(redis, port):
            await state(page, "connected")
            await bob.send_json({"text": "after"})
            await shows(page, "ann before", *(f"bob {text}" for text in missed), "bob after")
            await here(page, "ann", "bob")


async def test_the_page_loads_again_what_it_cannot_recover(
    page: Page, redis: RedisServer, other: ExampleServer
) -> None:
    """If more was said than the room keeps, the page shows the latest messages only."""
    port = free_port()
    async with running_chat(redis, port) as server, bob_at(other) as bob:
        await open_room(page, server)
        await bob.send_json({"text": "before"})
        await shows(page, "bob before")
        await server.end(signal.SIGTERM)
        await state(page, "reconnecting")
        for number in range(150):
            await bob.send_json({"text": str(number)})
        await hear(bob, "149")
        async with running_chat(redis, port):
            await shows(page, *(f"bob {number}" for number in range(130, 150)))


@pytest.mark.parametrize("width", [390, 1200])
async def test_the_page_fits(page: Page, other: ExampleServer, width: int) -> None:
    """Nothing overflows a narrow or a wide window."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=844,
        deviceScaleFactor=1,
        mobile=False,
    )
    await open_room(page, other, "a" * 60)
    await say(page, "w" * 1000)
    await page.wait("document.querySelectorAll('#lines li').length === 1")
    size = "const {scrollWidth, clientWidth, scrollHeight, clientHeight} = document.documentElement"
    assert await page.evaluate(
        f"(() => {{{size}; return scrollWidth <= clientWidth && scrollHeight <= clientHeight}})()"
    )


class ScriptedHub:
    """Serves the page, and answers its commands with what the test says."""

    def __init__(self) -> None:
        self._sockets: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()
        self._end = asyncio.Event()

    def app(self) -> web.Application:
        """Return an application for `serve`."""

        async def show(_: web.Request) -> web.FileResponse:
            return web.FileResponse(EXAMPLES / "chat_cluster.html")

        async def hub(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            self._sockets.put_nowait(socket)
            await self._end.wait()
            return socket

        app = web.Application()
        app.add_routes([web.get("/", show), web.get("/hub", hub)])
        return app

    def end(self) -> None:
        """Let the server end."""
        self._end.set()

    async def accept(self) -> web.WebSocketResponse:
        """Wait for a connection, and answer its connect command."""
        socket = await asyncio.wait_for(self._sockets.get(), PATIENCE)
        id_, command = await self.command(socket, "connect")
        assert command == {"token": "ann"}
        await reply(socket, {"id": id_, "connect": {"client": "1", "ping": 25}})
        return socket

    async def command(self, socket: web.WebSocketResponse, name: str) -> tuple[int, Told]:
        """Return the id and the fields of the next command."""
        command = await socket.receive_json(timeout=PATIENCE)
        assert command.keys() == {"id", name}
        return command["id"], command[name]


async def reply(socket: web.WebSocketResponse, *lines: Told) -> None:
    """Send lines in one frame."""
    await socket.send_str("\n".join(json.dumps(line) for line in lines))


def published(text: str, offset: int) -> Told:
    publication = {"data": {"name": "bob", "text": text}, "offset": offset}
    return {"push": {"channel": "room:kitchen", "pub": publication}}


@pytest.fixture
async def hub(page: Page, serve: Serve) -> AsyncIterator[ScriptedHub]:
    """Open the page of a scripted hub."""
    hub = ScriptedHub()
    port = await serve(hub.app())
    await page.open(f"http://127.0.0.1:{port}/?name=ann")
    yield hub
    hub.end()


async def test_the_page_reads_frames_of_several_lines(page: Page, hub: ScriptedHub) -> None:
    """Live messages in the frame of a reply follow the older messages that the page loads."""
    socket = await hub.accept()
    id_, command = await hub.command(socket, "subscribe")
    assert command == {"channel": "room:kitchen", "join_leave": True, "recover": False}
    subscribed = {"id": id_, "subscribe": {"recoverable": True, "epoch": "e", "offset": 7}}
    await reply(socket, subscribed, published("eight", 8), published("nine", 9))
    id_, command = await hub.command(socket, "history")
    since = {"epoch": "e", "offset": 8}
    assert command == {"channel": "room:kitchen", "since": since, "reverse": True, "limit": 20}
    older = [published(text, offset)["push"]["pub"] for text, offset in (("seven", 7), ("six", 6))]
    await reply(socket, {"id": id_, "history": {"publications": older}})
    id_, _ = await hub.command(socket, "presence")
    await reply(socket, {"id": id_, "presence": {}}, {})
    await state(page, "connected")
    await shows(page, "bob six", "bob seven", "bob eight", "bob nine")

    await reply(socket, {"push": {"unsubscribe": {"code": 2500, "reason": "insufficient state"}}})
    socket = await hub.accept()
    id_, command = await hub.command(socket, "subscribe")
    assert {"recover": True, "epoch": "e", "offset": 9}.items() <= command.items()
    missed = {"recovered": True, "publications": [published("ten", 10)["push"]["pub"]]}
    await reply(socket, {"id": id_, "subscribe": missed}, published("eleven", 11))
    await hub.command(socket, "presence")
    texts = ["six", "seven", "eight", "nine", "ten", "eleven"]
    await shows(page, *(f"bob {text}" for text in texts))


async def test_the_page_tries_again_after_a_temporary_error(page: Page, hub: ScriptedHub) -> None:
    """After a temporary error the page reconnects; after another one it shows the error."""
    socket = await hub.accept()
    id_, _ = await hub.command(socket, "subscribe")
    await reply(socket, {"id": id_, "error": {"code": 100, "message": "later", "temporary": True}})
    socket = await hub.accept()
    id_, _ = await hub.command(socket, "subscribe")
    await reply(socket, {"id": id_, "error": {"code": 103, "message": "permission denied"}})
    await state(page, "permission denied")


@pytest.mark.parametrize("code", [3500, 4500])
async def test_the_page_stays_away_if_it_is_refused(
    page: Page, hub: ScriptedHub, code: int
) -> None:
    """After close codes that mean so, the page does not reconnect."""
    socket = await hub.accept()
    await hub.command(socket, "subscribe")
    await page.evaluate(
        """(() => {
            const real = setTimeout;
            window.timers = [];
            window.setTimeout = (call, time) => {
                timers.push(call.name);
                return real(call, time);
            };
        })()"""
    )
    await socket.close(code=code)
    await state(page, f"refused with {code}")
    assert await page.evaluate("timers") == []


async def test_the_page_notices_a_dead_connection(page: Page, other: ExampleServer) -> None:
    """If nothing arrives for longer than the server's interval, the page reconnects."""
    await open_room(page, other)
    await page.evaluate(
        """(() => {
            const real = setTimeout;  // 35 seconds pass at once
            window.setTimeout = (call, time) => real(call, time === 35000 ? 0 : time);
        })()"""
    )
    await say(page, "the last message")
    await state(page, "reconnecting")


async def test_the_page_reports_a_message_that_was_not_confirmed(
    page: Page, hub: ScriptedHub
) -> None:
    """If the connection is lost before a message is confirmed, the page shows the message."""
    socket = await hub.accept()
    for name in ("subscribe", "history", "presence"):
        id_, _ = await hub.command(socket, name)
        await reply(socket, {"id": id_, name: {}})
    await state(page, "connected")
    await say(page, "hello")
    _, command = await hub.command(socket, "publish")
    assert command == {"channel": "room:kitchen", "data": {"name": "ann", "text": "hello"}}
    await socket.close()
    await shows(page, "not confirmed hello")
