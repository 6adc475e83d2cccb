"""Measure the CPU time of a heartbeat, as shown in docs/howto/many-machines.md.

Run `python benchmarks/heartbeats.py` from the root of the repository, on Linux. It takes a minute.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.processes.server import Server, running

CONNECTIONS = 1000
HEARTBEAT = 2.0  # seconds
NEVER = 600.0
SETTLE, SECONDS = 3.0, 20.0


def cpu(server: Server) -> float:
    """Return the seconds of CPU that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def idle(heartbeat: float) -> float:
    """Return the CPU time of a server while its connections answer pings only, in seconds."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running())
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        tasks: list[asyncio.Task[aiohttp.WSMessage]] = []
        for _ in range(CONNECTIONS):
            ws = await session.ws_connect(server.url("echo", heartbeat=heartbeat))
            tasks.append(asyncio.create_task(ws.receive()))  # it answers pings
        await asyncio.sleep(SETTLE)
        before = cpu(server)
        await asyncio.sleep(SECONDS)
        used = cpu(server) - before
        for task in tasks:
            task.cancel()
        return used


async def main() -> None:
    used = await idle(HEARTBEAT) - await idle(NEVER)
    count = CONNECTIONS * SECONDS / HEARTBEAT
    print(f"a heartbeat, with {CONNECTIONS} connections: {used / count * 1e6:.0f} µs of CPU time")


if __name__ == "__main__":
    asyncio.run(main())
