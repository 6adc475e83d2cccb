"""Measure how old the data is that a client gets after a pause, as shown in docs/concepts/flow.md.

A server sends 1000 values per second over 50 keys, with `overflow.latest`. The client, a process
of its own, is stopped for some seconds and then reads on. Run `python benchmarks/staleness.py` from
the root of the repository, on Linux or macOS. It takes half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from typing import Any, NamedTuple

from aiohttp import web

import rxws

KEYS = 50
RATE = 1000  # values per second
BATCH = 10
FILLER = "x" * 60  # a value then has about 125 bytes, a usual tick
WARM_UP = 1.0  # seconds
AFTER = 2.0  # seconds
CURRENT = 0.1  # seconds; a younger value is current

CLIENT = """
import asyncio, json, sys, time

async def main(url):
    received = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        print(flush=True)
        async for message in ws:
            received.append((time.monotonic(), json.loads(message.data)["at"]))
    json.dump(received, sys.stdout)

asyncio.run(main(sys.argv[1]))
"""


class Staleness(NamedTuple):
    """What a client got after a pause."""

    oldest: float  # seconds; the age of the first value
    outdated: int  # values that were not current, before the first one that was
    seconds: float  # until the first value that was current
    conflated: int  # values that were not sent, as newer ones replaced them


async def _send(conn: rxws.Connection[Any, Any]) -> None:
    due = time.monotonic()
    for number in range(1 << 40):
        now = time.monotonic()
        value = {"key": number % KEYS, "at": now, "number": number, "filler": FILLER}
        conn.outgoing.on_next(value)
        if number % BATCH == BATCH - 1:
            due += BATCH / RATE
            await asyncio.sleep(max(0.0, due - now))


async def staleness(seconds: float, **options: Any) -> Staleness:
    """Stop a client for some seconds, and measure what it gets afterwards."""
    connected: asyncio.Future[rxws.Connection[Any, Any]] = asyncio.Future()

    async def feed(conn: rxws.Connection[Any, Any]) -> None:
        conn.incoming.subscribe()
        connected.set_result(conn)
        await _send(conn)

    latest = rxws.overflow.latest(lambda value: value["key"])
    app = web.Application()
    route = rxws.websocket(
        feed, codec=rxws.codecs.json, overflow=latest, send_timeout=60.0, **options
    )
    app.add_routes([web.get("/", route)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT,
            f"http://127.0.0.1:{port}/",
            stdout=asyncio.subprocess.PIPE,
        )
        conn = await connected
        await asyncio.sleep(WARM_UP)
        client.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        resumed = time.monotonic()
        client.send_signal(signal.SIGCONT)
        await asyncio.sleep(AFTER)
        conflated = conn.flow.stats.dropped.get("conflated", 0)
        conn.outgoing.on_completed()
        output, _ = await client.communicate()
    finally:
        await runner.cleanup()
    received = [(at, at - sent) for at, sent in json.loads(output) if at > resumed]
    outdated = next(n for n, (_, age) in enumerate(received) if age < CURRENT)
    return Staleness(received[0][1], outdated, received[outdated][0] - resumed, conflated)


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of the pause (default: 6)")
    seconds = parser.parse_args().seconds
    for name, options in (("default", {}),):
        print(name, await staleness(seconds, **options), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
