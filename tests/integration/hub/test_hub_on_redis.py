"""A hub on a real Redis: what its users see when Redis restarts."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from reactivex import operators as ops
from websockets.asyncio.client import connect

import rxws
from rxws.hub import Away, Connected, Gap, Hub, HubStatus, Keep, Message, RedisBackplane
from rxws.hub._redis.backplane import choose
from support.backplane import PATIENCE, eventually
from support.peers.hub_peer import HubPeer, until
from support.processes.redis_server import StartRedis


@pytest.mark.promise("hub-away")
@pytest.mark.promise("hub-restart")
@pytest.mark.parametrize("start_redis", ["redis", "valkey"], indirect=True)
async def test_restart(start_redis: StartRedis) -> None:
    """A message waits for Redis, arrives behind a gap, and the stats say what has happened."""
    server = start_redis()
    backplane = RedisBackplane(server.url, probe_interval=0.2, timeout=0.4)
    statuses: list[HubStatus] = []
    events: list[Message[Any] | Gap] = []
    async with Hub(codec=rxws.codecs.json, backplane=backplane, topics={"t": Keep(10)}) as hub:
        topic = hub.topic("t")
        hub.status.subscribe(statuses.append)
        topic.messages().subscribe(events.append)
        before = await topic.publish(1)
        server.kill()

        async def is_away() -> bool:
            return isinstance(statuses[-1], Away)

        await eventually(is_away)
        waiting = asyncio.ensure_future(topic.publish(2))
        server.lose_data()
        server.start()
        after = await waiting

        async def has_arrived() -> bool:
            return events[-1] == Message(2, after)

        await eventually(has_arrived)
        assert events == [Message(1, before), Gap(before, after, "restarted"), Message(2, after)]
        stats = hub.stats
        assert stats.reconnects == sum(isinstance(each, Connected) for each in statuses) - 1 > 0
        assert stats.gaps == {"restarted": 1}
        assert (stats.published, stats.confirmed, stats.queued) == (2, 2, 0)


@pytest.mark.promise("hub-away")
@pytest.mark.promise("hub-restart")
async def test_connections_survive_and_are_told_the_gap(start_redis: StartRedis) -> None:
    """Redis ends and comes back without data: no connection ends, and each hears of the gap."""
    server = start_redis()
    hub = Hub(
        codec=rxws.codecs.json,
        backplane=RedisBackplane(server.url, probe_interval=0.2, timeout=0.4),
        topics={"t": Keep(10)},
    )
    topic = hub.topic("t")
    statuses: list[HubStatus] = []

    def describe(event: Message[Any] | Gap) -> Any:
        return event.reason if isinstance(event, Gap) else event.value

    async with (
        hub,
        rxws.serve(lambda conn: topic.messages().pipe(ops.map(describe)), codec=rxws.codecs.json)
        as own,
        rxws.serve(hub.serve(allow=lambda *_: True)) as served,
        AsyncExitStack() as stack,
    ):  # fmt: skip
        hub.status.subscribe(statuses.append)
        peers = [await stack.enter_async_context(connect(own.url)) for _ in range(20)]
        clients = [await stack.enter_async_context(HubPeer.open(served.url, "")) for _ in range(20)]
        for client in clients:
            assert "subscribe" in await client.call(subscribe={"channel": "t"})
        await topic.publish("before")
        server.kill()
        await until(lambda: isinstance(statuses[-1], Away))
        waiting = asyncio.ensure_future(topic.publish("meanwhile"))
        server.lose_data()
        server.start()
        await waiting
        for peer in peers:
            async with asyncio.timeout(PATIENCE):
                told = [json.loads(await peer.recv()) for _ in range(3)]
            assert told == ["before", "restarted", "meanwhile"]
        for client in clients:
            assert (await client.receive())["push"]["pub"]["data"] == "before"
            push = (await client.receive())["push"]
            assert (push["channel"], push["unsubscribe"]["code"]) == ("t", 2500)
            assert "ping" in await client.call(ping={})


@pytest.mark.promise("hub-away")
async def test_one_of_two_servers_is_away(start_redis: StartRedis) -> None:
    """Topics of the other server are published, and new ones attached; the rest wait."""
    servers = {each.url: each for each in (start_redis(), start_redis())}
    backplane = RedisBackplane(list(servers), probe_interval=0.2, timeout=0.4)
    names = {choose(name, list(servers)): name for name in map(str, range(50))}
    lost, healthy = servers
    statuses: list[HubStatus] = []
    got: list[Any] = []
    async with Hub(codec=rxws.codecs.json, backplane=backplane, topics={"*": Keep(10)}) as hub:
        hub.status.subscribe(statuses.append)
        waiting_topic = hub.topic(names[lost])
        waiting_topic.subscribe(got.append)
        servers[lost].kill()

        async def is_away() -> bool:
            return isinstance(statuses[-1], Away)

        await eventually(is_away)
        waiting = asyncio.ensure_future(waiting_topic.publish(1))
        topic = hub.topic(names[healthy])
        topic.subscribe(got.append)
        async with asyncio.timeout(PATIENCE):
            assert await topic.publish(2) is not None
        assert await is_away()
        assert (waiting.done(), hub.stats.queued) == (False, 1)
        servers[lost].start()
        await waiting
        assert isinstance(statuses[-1], Connected)

        async def both_have_arrived() -> bool:
            return got == [2, 1]

        await eventually(both_have_arrived)
