"""A server in its own process, and the load on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

import rxws
from support import TESTS
from support.peers.frames import Op
from support.peers.raw import RawClient

SOAK = os.environ.get("RXWS_SOAK") == "1"  # the figures of the documentation, in full
PATIENCE = 60.0  # seconds; how long anything is waited for before a test fails
KIB = 1 << 10
MIB = 1 << 20
HAS_PROC = Path("/proc/self/status").exists()


@dataclass
class Server:
    """A running server."""

    process: asyncio.subprocess.Process
    port: int

    def path(self, name: str, **options: Any) -> str:
        """Return the path of a handler with these options."""
        return f"/{name}?options={quote(json.dumps(options))}"

    def url(self, name: str, **options: Any) -> str:
        """Return the URL of a handler with these options."""
        return f"ws://127.0.0.1:{self.port}{self.path(name, **options)}"

    async def held(self) -> dict[str, int]:
        """Return what the process holds: see `loaded_server.held`."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(f"http://127.0.0.1:{self.port}/stats") as response,
        ):
            found: dict[str, int] = await response.json()
            return found

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * KIB
        raise LookupError(name)

    @property
    def rss(self) -> int:
        """Current RSS, in bytes."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """Peak RSS, in bytes."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Reset the peak."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    async def end(self) -> dict[str, Any]:
        """Send SIGTERM, and return the report of the shutdown."""
        self.process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        assert self.process.returncode == 0, err.decode()
        assert not err, err.decode()
        said: dict[str, Any] = json.loads(out)
        return said


@contextlib.asynccontextmanager
async def running(
    drain: float = 2.0, module: str = "support.processes.loaded_server", **environment: str
) -> AsyncGenerator[Server]:
    """Run a server; kill it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        module,
        str(drain),
        # Where the rxws under test is found, whatever is installed. And not in asyncio's debug
        # mode, which adds its own to what is measured, and to stderr.
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(rxws.__file__).parents[1]), str(TESTS)]),
            "PYTHONASYNCIODEBUG": "",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        if not port:
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
            raise AssertionError(f"the server did not start:\n{err.decode()}")
        yield Server(process, int(port))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def flood(server: Server, name: str, seconds: float) -> tuple[int, int]:
    """Send 1 KiB messages and read nothing; return the growth of RSS and the number sent."""
    peer = await RawClient.connect(
        server.port, server.path(name, send_timeout=600.0, heartbeat=600.0), reads=False
    )
    server.forget_peak()
    before = server.rss
    block = b"".join(peer.build(Op.TEXT, bytes(KIB)) for _ in range(16))
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            await peer.send(block)
            sent += 16

    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(send(), seconds)
        return server.peak - before, sent
    finally:
        await peer.rst()


async def one_cycle(server: Server) -> None:
    """Connect, exchange a message, close, and wait for the end of TCP."""
    peer = await RawClient.connect(server.port, "/echo")
    await peer.text("word")
    await peer.messages(1)
    await peer.close(1000)
    assert (await peer.closing()).code == 1000
    peer.fin()
    await peer.until_ended()
    await peer.rst()


async def cycles(server: Server, count: int) -> None:
    """Open and close `count` connections, ten at a time."""
    await at_once([lambda: one_cycle(server)] * count, width=10)


async def at_once(jobs: list[Callable[[], Awaitable[None]]], width: int) -> None:
    """Run all jobs, `width` at a time."""
    left = iter(jobs)

    async def work() -> None:
        for job in left:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(work())


async def idle_cost(name: str, count: int, *texts: str) -> float:
    """Return the bytes of RSS that each of `count` idle connections costs a new server.

    Each connection sends the texts at its beginning.
    """
    async with running() as server:
        peers: list[RawClient] = []

        async def connect() -> None:
            peers.append(peer := await RawClient.connect(server.port, f"/{name}", reads=False))
            for text in texts:
                await peer.text(text)

        try:
            await at_once([connect] * 100, width=10)  # what the first ones bring with them
            before = (await server.held())["rss"]
            await at_once([connect] * count, width=10)
            return ((await server.held())["rss"] - before) / count
        finally:
            for peer in peers:
                await peer.rst()
