"""Hubs that serve, Redis servers, and backplanes on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

import rxws
from rxws.hub import Hub, Keep, RedisBackplane
from support.backplane import RecordingHub
from support.peers.hub_peer import ServeHub, Serving
from support.processes.redis_server import StartRedis, redis_servers

TOPICS = {"kept:*": Keep(100), "last:*": Keep.latest()}


class OpenHub(Protocol):
    """Start a backplane with these arguments, and record what it reports."""

    async def __call__(self, *urls: str, **options: Any) -> RecordingHub: ...


@pytest.fixture
def start_redis(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartRedis]:
    """Start Redis servers, or those of Valkey: `server = start_redis("--appendonly", "yes")`."""
    with redis_servers(tmp_path, getattr(request, "param", "redis")) as start:
        yield start


@pytest.fixture
async def open_hub(start_redis: StartRedis) -> AsyncIterator[OpenHub]:
    """Start backplanes: `hub = await open_hub(server.url)`."""
    del start_redis  # requested so that backplanes stop before the servers
    opened: list[RecordingHub] = []

    async def start(*urls: str, **options: Any) -> RecordingHub:
        # Short, so that tests are; `timeout` is twice the interval as it is by default.
        options = {"probe_interval": 0.2, "timeout": 0.4, "lease": 1.0} | options
        backplane = RedisBackplane(list(urls), **options)
        hub = RecordingHub(backplane)
        await backplane.start(hub)
        opened.append(hub)
        return hub

    yield start
    for hub in opened:
        await hub.backplane.stop()


@pytest.fixture
def serve_hub() -> ServeHub:
    """Return a function that serves a hub; by default the token is the user's name."""

    @asynccontextmanager
    async def serving(
        codec: Any = rxws.codecs.json,
        topics: Mapping[str, Keep] = TOPICS,
        backplane: Any = None,
        **options: Any,
    ) -> AsyncIterator[Serving]:
        options.setdefault("user", lambda _, token: token or None)
        options.setdefault("allow", lambda *_: True)
        hub: Any = Hub(codec=codec, topics=topics, backplane=backplane)
        async with hub, rxws.serve(hub.serve(**options)) as server:
            yield Serving(hub, server.url)

    return serving
