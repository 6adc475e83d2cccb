"""A hub on a real Redis: what its users see when Redis restarts, or many resume."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from typing import Any

import pytest
from reactivex import operators as ops
from websockets.asyncio.client import connect

import rxws
from rxws.hub import Away, Connected, Gap, Hub, HubStatus, Keep, Message, Position, RedisBackplane
from rxws.hub._redis.backplane import choose
from support.backplane import PATIENCE, eventually, network_close
from support.peers.hub_peer import HubPeer, until
from support.processes.redis_server import RedisServer, StartRedis, calls

MESSAGES = 50


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


@pytest.mark.promise("hub-resume")
async def test_a_storm_of_views_is_one_read(start_redis: StartRedis) -> None:
    """5000 views that resume at once read each topic once, and miss and repeat nothing."""
    server = start_redis()
    names = ["a", "b", "c"]
    positions: dict[str, list[Position]] = {}
    async with hub_on(server.url) as other, hub_on(server.url) as hub:
        for name in names:
            publishing = [other.topic(name).publish(n) for n in range(MESSAGES)]
            positions[name] = [pos for pos in await asyncio.gather(*publishing) if pos is not None]
        views: list[tuple[int, list[Any]]] = []
        for n in range(5000):
            topic: rxws.hub.Topic[int] = hub.topic(names[n % 3])
            missed = n % MESSAGES
            got: list[Any] = []
            views.append((missed, got))
            if n % 2:
                since = positions[topic.name][MESSAGES - missed - 1]
                topic.since(since).pipe(ops.map(value_of)).subscribe(got.append)
            elif missed:
                topic.rewind(missed).subscribe(got.append)
            else:
                topic.subscribe(got.append)

        async def has_read() -> bool:
            return all(len(got) == missed for missed, got in views)

        await eventually(has_read)
        for name in names:
            await other.topic(name).publish(MESSAGES)

        async def has_received() -> bool:
            return all(got[-1:] == [MESSAGES] for _, got in views)

        await eventually(has_received)
        for missed, got in views:
            assert got == list(range(MESSAGES - missed, MESSAGES + 1))
        assert hub.stats.gaps == {}
        assert reads(server) == len(names)


@pytest.mark.soak
@pytest.mark.promise("hub-resume")
async def test_a_storm_of_clients_is_one_read(start_redis: StartRedis) -> None:
    """Clients of `hub.serve` that recover at once read each topic once, and get what they missed.

    `make soak` takes 5000 of them.
    """
    server = start_redis()
    count = 5000 if os.environ.get("RXWS_SOAK") == "1" else 200
    async with (
        hub_on(server.url) as other,
        hub_on(server.url) as hub,
        rxws.serve(hub.serve(user=lambda *_: "ann", allow=lambda *_: True)) as served,
        AsyncExitStack() as stack,
    ):
        tops = [await publish_all(other, name, 9) for name in "abc"]
        peers = [await stack.enter_async_context(HubPeer.open(served.url)) for _ in range(count)]

        async def recover(n: int) -> list[Any]:
            epoch, offset = tops[n % 3]
            place = {"recover": True, "epoch": epoch, "offset": offset}
            request = {"channel": "abc"[n % 3], **place}
            while "error" in (reply := await peers[n].call(subscribe=request)):
                assert reply["error"]["temporary"]  # the limit of `max_starting`
                await asyncio.sleep(0.01)
            return [each["data"] for each in reply["subscribe"]["publications"]]

        got = await asyncio.gather(*(recover(n) for n in range(count)))
        assert got == [list(range(1, 9))] * count
        # A read that is older than a second is not used again.
        assert reads(server) == 3 or count == 5000
        print(f"{count} clients: {reads(server)} reads")


def hub_on(url: str, backplane: RedisBackplane | None = None) -> Hub:
    """Return a hub on a Redis server that keeps all messages."""
    topics = {"*": Keep(MESSAGES + 1)}
    return Hub(codec=rxws.codecs.json, backplane=backplane or RedisBackplane(url), topics=topics)


async def publish_all(hub: Hub, name: str, count: int) -> Position:
    """Publish the numbers below a count, and return the position of the first one."""
    positions = [await hub.topic(name).publish(n) for n in range(count)]
    assert positions[0] is not None
    return positions[0]


def value_of(event: Message[Any] | Gap) -> Any:
    return event.value if isinstance(event, Message) else event


def reads(server: RedisServer) -> int:
    """Return how many histories were read, beside those by which backplanes check their rights."""
    return calls(server, "xrange") - 2


@pytest.mark.promise("hub-away")
async def test_a_view_waits_if_redis_goes_away_while_it_reads(start_redis: StartRedis) -> None:
    """A read that fails because Redis goes away is repeated, and the view gets no gap."""
    server = start_redis()
    backplane = RedisBackplane(server.url, timeout=PATIENCE)
    async with hub_on(server.url) as other, hub_on(server.url, backplane) as hub:
        before = await publish_all(other, "t", 4)
        topic = hub.topic("t")
        topic.subscribe()
        await hub.topic("t").publish(4)  # so that it is attached
        got: list[Any] = []
        statuses: list[HubStatus] = []
        hub.status.subscribe(statuses.append)
        server.pause()
        topic.since(before).pipe(ops.map(value_of)).subscribe(got.append)
        await asyncio.sleep(0.05)  # until the read is in the server's socket
        assert isinstance(statuses[-1], Connected)
        network_close(backplane)

        async def is_away() -> bool:
            return isinstance(statuses[-1], Away)

        await eventually(is_away)
        server.resume()

        async def has_begun() -> bool:
            return bool(got)

        await eventually(has_begun)
        assert got == [1, 2, 3, 4]
        assert hub.stats.gaps == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.promise("hub-publish")
async def test_a_cancelled_publish(start_redis: StartRedis, when: str) -> None:
    """Cancelled while it waits, a message is never published; later ones and its id are."""
    server = start_redis()
    backplane = RedisBackplane(server.url, timeout=PATIENCE)
    async with hub_on(server.url, backplane) as hub:
        topic, statuses = hub.topic("t"), list[HubStatus]()
        hub.status.subscribe(statuses.append)
        server.pause()

        async def is_away() -> bool:
            return isinstance(statuses[-1], Away)

        network_close(backplane)
        if when == "before":
            await eventually(is_away)
        # Otherwise it is handed to the backplane, which cannot send it.
        publishing = asyncio.ensure_future(topic.publish("cancelled", id="1"))
        await eventually(is_away)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await publishing
        later = asyncio.ensure_future(topic.publish("later", id="2"))
        server.resume()
        position = await later
        assert position is not None
        assert position.offset == 1
        again = await topic.publish("again", id="1")
        assert again is not None
        assert again.offset == 2
        assert (hub.stats.published, hub.stats.confirmed, hub.stats.queued) == (2, 2, 0)


async def test_a_publish_that_is_cancelled_after_it_was_sent(start_redis: StartRedis) -> None:
    """Cancelled before the answer, a message may be published; with its id only once."""
    server = start_redis()
    async with hub_on(server.url) as hub:
        topic = hub.topic("t")
        server.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await topic.publish("sent", id="1")
        server.resume()
        position = await topic.publish("sent", id="1")
        assert position is not None
        assert position.offset == 1
        assert (await topic.publish("next") or position).offset == 2
        assert hub.stats.queued == 0
