"""A Redis that answers but cannot work, or that is reached by a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

import rxws
from rxws.hub import (
    Away,
    BackplaneError,
    Connected,
    Gap,
    Hub,
    HubStatus,
    Keep,
    Message,
    RedisBackplane,
)
from support.backplane import PATIENCE, RecordingHub, eventually
from support.processes.redis_server import RedisServer, StartRedis

KEEP = Keep(100, seconds=600)
SLOW_LOADING = (
    "--save", "", "--rdbcompression", "no", "--enable-debug-command", "yes",
    "--key-load-delay", "10000",  # microseconds
    "--loading-process-events-interval-bytes", "1024",
)  # fmt: skip


class RunningHub:
    """A hub on a server, and what a subscriber of a topic sees."""

    def __init__(self, url: str) -> None:
        backplane = RedisBackplane(url, probe_interval=0.2, timeout=0.4)
        self.hub = Hub(codec=rxws.codecs.json, backplane=backplane, topics={"*": KEEP})
        self.statuses: list[HubStatus] = []
        self.events: list[Message[Any] | Gap] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningHub]:
        async with self.hub:
            self.hub.status.subscribe(self.statuses.append)
            self.hub.topic("t").messages().subscribe(self.events.append)
            yield self

    @property
    def values(self) -> list[Any]:
        return [each.reason if isinstance(each, Gap) else each.value for each in self.events]

    async def until(self, status: type[HubStatus]) -> None:
        async def has_come() -> bool:
            return isinstance(self.statuses[-1], status)

        await eventually(has_come)

    def cause(self) -> str:
        """Return why the hub is away."""
        away = self.statuses[-1]
        assert isinstance(away, Away)
        return str(away.cause)


async def fill(server: RedisServer) -> None:
    """Let the server have so much data that loading it takes a second."""
    await asyncio.to_thread(server.command, "DEBUG", "POPULATE", 100, "filler", 2000)


async def command(server: RedisServer, *arguments: Any) -> Any:
    return await asyncio.to_thread(server.command, *arguments)


# Loading


@pytest.mark.promise("hub-away")
async def test_redis_loads_its_data_while_a_hub_runs(start_redis: StartRedis) -> None:
    """The hub is away and says why; what is published meanwhile arrives, and nothing is missing."""
    server = start_redis(*SLOW_LOADING)
    async with RunningHub(server.url).running() as one:
        await one.hub.topic("t").publish(1)
        await fill(server)
        reloading = asyncio.create_task(command(server, "DEBUG", "RELOAD"))
        await one.until(Away)
        publishing = asyncio.create_task(one.hub.topic("t").publish(2))
        assert "is not ready (Redis is loading" in one.cause()
        assert "wait until it has loaded its data" in one.cause()
        await reloading
        async with asyncio.timeout(PATIENCE):
            await publishing
        await one.until(Connected)
        await eventually(lambda: arrived(one, 2))
        assert one.values == [1, 2]


@pytest.mark.promise("hub-restart")
async def test_redis_loads_its_data_after_a_restart(start_redis: StartRedis) -> None:
    """The hub stays away until all is loaded, and then reports the restart as a gap."""
    server = start_redis(*SLOW_LOADING)
    async with RunningHub(server.url).running() as one:
        await one.hub.topic("t").publish(1)
        await fill(server)
        await command(server, "SAVE")
        server.kill()
        server.start(until="Loading RDB")
        with pytest.raises(BackplaneError, match=r"is not ready .*: wait until it has loaded"):
            await RedisBackplane(server.url).start(RecordingHub(one.hub._registry.backplane))
        assert isinstance(one.statuses[-1], Away)
        async with asyncio.timeout(PATIENCE):
            await one.hub.topic("t").publish(2)
        await eventually(lambda: arrived(one, 2))
        assert one.values == [1, "restarted", 2]
        kept: list[Any] = []
        one.hub.topic("t").rewind(9).subscribe(kept.append)

        async def has_begun() -> bool:
            return kept == [1, 2]

        await eventually(has_begun)


async def arrived(one: RunningHub, value: Any) -> bool:
    return bool(one.values) and one.values[-1] == value


# Busy with a script


@pytest.mark.promise("hub-away")
async def test_redis_is_busy_with_a_script(start_redis: StartRedis) -> None:
    """The hub is away and says why, and goes on without a gap when the script has ended."""
    server = start_redis("--save", "", "--busy-reply-threshold", "50")
    async with RunningHub(server.url).running() as one:
        await one.hub.topic("t").publish(1)

        async def run_forever() -> None:
            with suppress(redis.ResponseError):  # the script is killed
                await command(server, "EVAL", "while true do end", 0)

        running = asyncio.create_task(run_forever())
        await one.until(Away)
        publishing = asyncio.create_task(one.hub.topic("t").publish(2))
        assert "is busy" in one.cause()
        assert "SCRIPT KILL" in one.cause()
        with pytest.raises(BackplaneError, match=r"is busy .*: end the script"):
            await RedisBackplane(server.url).start(RecordingHub(one.hub._registry.backplane))
        assert len(one.statuses) == 2
        await command(server, "SCRIPT", "KILL")
        await running
        async with asyncio.timeout(PATIENCE):
            await publishing
        await eventually(lambda: arrived(one, 2))
        assert isinstance(one.statuses[-1], Connected)
        assert one.values == [1, 2]


# Unix sockets


@pytest.mark.promise("hub-restart")
async def test_unix_socket(start_redis: StartRedis, tmp_path: Path) -> None:
    """A hub works over a Unix socket, also after a restart, and with a password and a database."""
    path = tmp_path / "redis.sock"
    server = start_redis("--save", "", "--unixsocket", str(path), "--requirepass", "p@ss")
    url = f"unix://:p%40ss@{path}?db=3"
    async with RunningHub(url).running() as one:
        other = Hub(codec=rxws.codecs.json, backplane=RedisBackplane(url), topics={"*": KEEP})
        async with other:
            await other.topic("t").publish(1)
            await eventually(lambda: arrived(one, 1))
        server.kill()
        await one.until(Away)
        assert "p@ss" not in one.cause()
        assert "p%40ss" not in one.cause()
        assert str(path) in one.cause()
        server.start()
        async with asyncio.timeout(PATIENCE):
            await one.hub.topic("t").publish(2)
        await eventually(lambda: arrived(one, 2))
        assert one.values == [1, "restarted", 2]
        with redis.Redis(unix_socket_path=str(path), password="p@ss", db=3) as client:
            assert client.dbsize() > 0


async def test_unix_socket_that_does_not_exist(tmp_path: Path) -> None:
    """A path without a server raises at start, and names the URL."""
    path = tmp_path / "no.sock"
    backplane = RedisBackplane(f"unix://{path}")
    with pytest.raises(BackplaneError, match=f"{path} cannot be reached"):
        await backplane.start(RecordingHub(backplane))
    path.write_text("no socket")
    with pytest.raises(BackplaneError, match=f"{path} cannot be reached"):
        await backplane.start(RecordingHub(backplane))
