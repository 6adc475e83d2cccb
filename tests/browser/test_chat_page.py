"""The page of the chat, which speaks the hub's protocol, in a headless Chromium."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from support.peers.browser import Page
from support.processes.examples import PATIENCE, ExampleServer, receive_text, running_example
from support.processes.redis_server import RedisServer, free_port, redis_servers


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
    assert not page.exceptions


async def test_the_page_reconnects_and_continues(
    page: Page, redis: RedisServer, other: ExampleServer
) -> None:
    """The page reconnects to a process that was killed, and shows what it has missed, once."""
    port = free_port()
    async with running_chat(redis, port) as server, bob_at(other) as bob:
        await open_room(page, server)
        await say(page, "before")
        await hear(bob, "before")
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
    assert not page.exceptions


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
    assert not page.exceptions


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
