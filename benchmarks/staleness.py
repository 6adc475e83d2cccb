"""Measure how old the data is that a client gets after a pause, as shown in docs/concepts/flow.md.

A server sends 1000 values per second over 50 keys, with `overflow.latest`. The client, a process
of its own, is stopped for some seconds and then reads on. Run `python benchmarks/staleness.py` from
the root of the repository, on Linux or macOS. It takes half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import time
from typing import Any, NamedTuple

import rxws

KIB = 1 << 10
BUFFERS: dict[str, dict[str, Any]] = {
    "no limit": {"kernel_buffer": 1 << 30},
    "64 KiB": {"kernel_buffer": 64 * KIB},
    "16 KiB, the default of `latest`": {},
    "1 byte": {"kernel_buffer": 1},
}

KEYS = 50
RATE = 1000  # values per second
BATCH = 10
FILLER = "x" * 60  # a value then has about 125 bytes, a usual tick
WARM_UP = 1.0  # seconds
AFTER = 2.0  # seconds
CURRENT = 0.1  # seconds; a younger value is current

CLIENT = """
import asyncio, json, sys, time
import aiohttp

async def main(url):
    received = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        async for message in ws:
            at, size = json.loads(message.data)["at"], len(message.data)
            received.append((time.monotonic(), at, size))
    json.dump(received, sys.stdout)

asyncio.run(main(sys.argv[1]))
"""


class Staleness(NamedTuple):
    """The values that a client got after a pause."""

    outdated: int  # values that were not current, before the first one that was
    outdated_bytes: int  # their size
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
    options |= {"codec": rxws.codecs.json, "overflow": latest, "send_timeout": 60.0}
    async with rxws.serve(feed, **options) as server:
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT,
            f"http://127.0.0.1:{server.port}/",
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(10):
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
    received = [(at, at - sent, size) for at, sent, size in json.loads(output) if at > resumed]
    outdated = list(itertools.takewhile(lambda one: one[1] > CURRENT, received))
    return Staleness(
        len(outdated),
        sum(size for _, _, size in outdated),
        received[len(outdated)][0] - resumed,
        conflated,
    )


async def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description="Measure how old a client's data is after a pause."
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of the pause (default: 6)")
    seconds = parser.parse_args().seconds
    print("| `kernel_buffer` | outdated values that the client got | amount ", end="")
    print("| values replaced by newer ones | current again after |\n|---|---|---|---|---|")
    for name, options in BUFFERS.items():
        result = await staleness(seconds, **options)
        print(
            f"| {name} | {result.outdated:,} | {result.outdated_bytes / KIB:.0f} KiB "
            f"| {result.conflated:,} | {result.seconds * 1e3:.0f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(main())
