"""A server in its own process, so that tests measure the server alone.

`/NAME?options=JSON` upgrades with a handler of `HANDLERS` and these options. `/raw` is aiohttp
without rxws. `/topic`, `/room` and `/hub` are those of a hub. `/stats` returns what the process
holds. The process prints its port at the start, and a line of JSON about its shutdown after
SIGTERM.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import reactivex as rx
from aiohttp import web
from reactivex import Observable, Observer

import rxws
from rxws._session.session import Session
from rxws.operators import map_async

MIB = 1 << 20


def echo(conn: rxws.Connection) -> Observable[str | bytes]:
    return conn.incoming


def slow(conn: rxws.Connection) -> None:
    """Block the loop for a millisecond with each message."""

    def take(message: str | bytes) -> None:
        time.sleep(0.001)
        if message == "are you there?":
            conn.outgoing.on_next("yes")

    conn.incoming.subscribe(take)


def push(conn: rxws.Connection) -> None:
    """Send more than the kernel buffers for a peer that does not read."""
    conn.incoming.subscribe(lambda _: conn.outgoing.on_next(bytes(16 * MIB)))


async def look_up(message: str | bytes) -> str | bytes:
    await asyncio.sleep(0.005)
    return message


HANDLERS: dict[str, Callable[[rxws.Connection], Any]] = {
    "echo": echo,
    "slow": slow,
    "push": push,
    "map_1": rxws.pipeline(map_async(look_up)),
    "map_16": rxws.pipeline(map_async(look_up, max_concurrent=16, ordered=True)),
}


async def connection(request: web.Request) -> web.StreamResponse:
    options = json.loads(request.query.get("options", "{}"))
    return await rxws.upgrade(request, HANDLERS[request.match_info["name"]], **options)


def add_hub(app: web.Application) -> None:
    """Add handlers of a hub; all connections subscribe to the same topic."""
    hub = rxws.Hub(codec=rxws.codecs.json, topics={"room:*": rxws.Keep(100)})
    names = (f"user{number}" for number in count())

    def topic(_: rxws.Connection[Any, Any]) -> Observable[Any]:
        return hub.topic("room:1")

    def room(conn: rxws.Connection[Any, Any]) -> Observable[Any]:
        topic = hub.topic("room:1")
        conn.incoming.subscribe(topic)
        return rx.merge(topic.rewind(20), topic.joined(next(names)))

    json = rxws.codecs.json
    app.router.add_get("/topic", rxws.websocket(topic, codec=json, incoming="discard"))
    app.router.add_get("/room", rxws.websocket(room, codec=json))
    app.router.add_get("/hub", hub.serve(user=lambda *_: next(names), allow=lambda *_: True))
    hub.setup(app)


async def raw(request: web.Request) -> web.WebSocketResponse:
    """Echo with aiohttp alone."""
    ws = web.WebSocketResponse(heartbeat=20.0)
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


async def stats(_: web.Request) -> web.Response:
    return web.json_response(held())


def held() -> dict[str, int]:
    """Return what the process holds after garbage collection."""
    for _ in range(3):
        gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    found = gc.get_objects()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "tasks": len(asyncio.all_tasks()),
        "fds": len(os.listdir("/proc/self/fd")),
        "observers": sum(isinstance(one, Observer) for one in found),
        "sessions": sum(isinstance(one, Session) for one in found),
    }


async def main() -> None:
    app = web.Application()
    app.router.add_get("/stats", stats)
    app.router.add_get("/raw", raw)
    app.router.add_get("/route", rxws.websocket(echo))  # as users write it, options read once
    add_hub(app)
    app.router.add_get("/{name}", connection)
    rxws.setup(app, drain=float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
    asked_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_end.set)
    before = held()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asked_to_end.wait()
    began = time.monotonic()
    await runner.cleanup()
    seconds = time.monotonic() - began
    left = {name: count - before[name] for name, count in held().items() if name != "rss"}
    print(json.dumps({"seconds": seconds, "left": left}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
