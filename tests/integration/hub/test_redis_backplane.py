"""`RedisBackplane` on real servers: what happens when they restart, fail over, or fall silent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from rxws.hub import (
    Away,
    BackplaneError,
    Connected,
    Keep,
    Member,
    Position,
    PublishRequest,
    RedisBackplane,
    Unconfirmed,
)
from support import TESTS
from support.backplane import PATIENCE, RecordingHub, eventually, network_close
from support.faults.network import FaultyNetwork
from support.processes.redis_server import (
    RedisServer,
    StartRedis,
    calls,
    free_port,
    replicate,
    sentinel_flags,
)

BOTH_ENGINES = pytest.mark.parametrize("start_redis", ["redis", "valkey"], indirect=True)
KEEP = Keep(100, seconds=600)
AOF = ("--appendonly", "yes", "--appendfsync", "always")


# Start


@BOTH_ENGINES
async def test_wrong_password(start_redis: StartRedis, open_hub: Any) -> None:
    """A wrong or missing password raises at start, with the URL without the password."""
    server = start_redis("--requirepass", "right")
    for credentials in ("", ":wrong@", "default:wrong@"):
        url = f"redis://{credentials}127.0.0.1:{server.port}/0"
        with pytest.raises(BackplaneError, match=f"127.0.0.1:{server.port}.*password") as caught:
            await open_hub(url)
        assert "wrong@" not in str(caught.value)
    hub = await open_hub(f"redis://:right@127.0.0.1:{server.port}/0")
    assert await hub.attach("a", KEEP) is not None
    assert "right" not in repr(hub.backplane)


async def test_unreachable_server(start_redis: StartRedis, open_hub: Any) -> None:
    """A server that is not there, or does not answer, raises at start and names the URL."""
    server = start_redis()
    server.pause()
    with pytest.raises(BackplaneError, match=f"127.0.0.1:{server.port}/0 did not answer"):
        await open_hub(server.url)
    server.kill()
    with pytest.raises(BackplaneError, match=f"127.0.0.1:{server.port}/0 cannot be reached"):
        await open_hub(server.url)


async def test_old_version(start_redis: StartRedis, open_hub: Any) -> None:
    """A server older than version 7, or without a run id, raises at start."""
    del start_redis
    for info, text in (
        ("redis_version:6.2.7", "6.2.7: use Redis 7"),
        ("redis_version:7.2.4", "run_id"),
    ):

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, info: str = info
        ) -> None:
            while line := await reader.readline():
                if line.upper().startswith(b"INFO"):
                    writer.write(f"${len(info)}\r\n{info}\r\n".encode())
                elif line.startswith(b"*"):
                    pass
                elif line.strip().upper() in (b"CLIENT", b"ID"):
                    writer.write(b":7\r\n" if line.strip().upper() == b"ID" else b"")
                elif line.strip().upper() == b"SETINFO":
                    writer.write(b"+OK\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(BackplaneError, match=text):
                await open_hub(f"redis://127.0.0.1:{port}")


async def test_replica_is_refused(start_redis: StartRedis, open_hub: Any) -> None:
    """A replica raises at start, as nothing can be published there."""
    server = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {server.port}")
    with pytest.raises(BackplaneError, match="is a replica: use the URL of the master"):
        await open_hub(replica.url)


async def test_refused_connection(start_redis: StartRedis, open_hub: Any) -> None:
    """If Redis refuses one of the connections, the start raises, and leaves none open."""
    server = start_redis()
    server.command("CONFIG", "SET", "maxclients", 1)
    with pytest.raises(BackplaneError, match="cannot be reached"):
        await open_hub(server.url)

    async def accepts() -> bool:
        try:
            return bool(server.command("PING"))
        except redis.ConnectionError:
            return False

    await eventually(accepts)


async def test_one_hub_for_each_backplane(start_redis: StartRedis, open_hub: Any) -> None:
    """A backplane raises if it is started twice, and if it is used before."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    with pytest.raises(RuntimeError, match="use one for each hub"):
        await hub.backplane.start(hub)
    with pytest.raises(RuntimeError, match="not started: use it after start"):
        RedisBackplane(server.url).detach("a")


# Publish


@pytest.mark.promise("hub-order")
async def test_one_order_for_all_processes(start_redis: StartRedis, open_hub: Any) -> None:
    """Two processes that publish at the same time see one order, which is the history's."""
    server = start_redis()
    hubs: list[RecordingHub] = [await open_hub(server.url) for _ in range(2)]
    for hub in hubs:
        await hub.attach("a", KEEP)
    await asyncio.gather(
        *(hub.publish("a", f"{n}:{i}", KEEP) for i in range(50) for n, hub in enumerate(hubs))
    )
    await asyncio.gather(*(hub.until_count(100) for hub in hubs))
    first, second = (hub.payloads("a") for hub in hubs)
    assert first == second
    assert first == [each.payload for each in (await hubs[0].read("a")).publications]
    for n in range(2):
        assert [p for p in first if str(p).startswith(f"{n}:")] == [f"{n}:{i}" for i in range(50)]


@pytest.mark.promise("hub-publish")
async def test_repeated_id(start_redis: StartRedis, open_hub: Any) -> None:
    """A message with the id of a published one is not published, and gets its position."""
    server = start_redis(*AOF)
    hub = await open_hub(server.url)
    first = await hub.publish("a", "one", KEEP, message_id="1")
    await hub.publish("a", "two", KEEP, message_id="2")
    again, other = await asyncio.gather(
        hub.publish("a", "one", KEEP, message_id="1"),
        hub.publish("a", "three", KEEP, message_id="3"),
    )
    assert (again, other.offset) == (first, 3)
    history = await hub.read("a")
    assert [each.payload for each in history.publications] == ["one", "two", "three"]


@pytest.mark.promise("hub-publish")
async def test_unconfirmed_and_repeated(start_redis: StartRedis, open_hub: Any) -> None:
    """A message without an answer is unconfirmed; repeated with its id it is published once."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url, timeout=PATIENCE)
    await hub.attach("a", KEEP)
    server.pause()
    lost = asyncio.gather(
        *(hub.publish("a", f"{i}", KEEP, message_id=f"{i}") for i in range(10)),
        return_exceptions=True,
    )
    await asyncio.sleep(0.05)  # until it is in the server's socket
    network_close(hub.backplane)
    results = await lost
    assert [type(each) for each in results] == [Unconfirmed] * 10
    assert "publish again with the same id" in str(results[0])
    server.resume()
    await hub.until(lambda: isinstance(hub.statuses[-1], Connected))
    await asyncio.gather(*(hub.publish("a", f"{i}", KEEP, message_id=f"{i}") for i in range(10)))
    history = await hub.read("a")
    assert [each.payload for each in history.publications] == [f"{i}" for i in range(10)]


async def test_kept_count_and_time(start_redis: StartRedis, open_hub: Any) -> None:
    """A topic keeps as many messages as told, and for that time, and its keys expire."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    top: Any = None
    for i in range(5):
        top = await hub.publish("a", f"{i}", Keep(3, seconds=600))
    history = await hub.read("a")
    assert [each.payload for each in history.publications] == ["2", "3", "4"]
    assert history.top == top
    for since, complete in ((1, False), (2, True), (4, True), (5, True)):
        history = await hub.read("a", Position(top.epoch, since))
        assert history.complete is complete
    for unknown in (Position("other", 4), Position(top.epoch, 6)):
        history = await hub.read("a", unknown)
        assert not history.complete
        assert len(history.publications) == 3
    await hub.publish("b", "short", Keep(3, seconds=0.05))

    async def expired() -> bool:
        return not (await hub.read("b")).publications

    await eventually(expired)
    for key in server.command("KEYS", "*"):
        if b"processes" not in key:
            assert server.command("PTTL", key) > 0, key


async def test_long_history_is_read_in_pages(start_redis: StartRedis, open_hub: Any) -> None:
    """A history longer than a page is read whole, in text and bytes, and its newest by limit."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    keep = Keep(2500)
    sent = [f"{i}" if i % 2 else f"{i}".encode() for i in range(2600)]
    await hub.publish_all("a", sent, keep)
    history = await hub.read("a")
    assert [each.payload for each in history.publications] == sent[100:]
    history = await hub.read("a", limit=3)
    assert [each.payload for each in history.publications] == sent[-3:]
    since = Position(history.top.epoch, 200)
    history = await hub.read("a", since)
    assert history.complete
    assert [each.payload for each in history.publications] == sent[200:]
    for limit in (0, 3, 1000, 5000):
        history = await hub.read("a", since, limit, oldest=True)
        assert (history.complete, history.top.offset) == (True, 2600)
        assert [each.payload for each in history.publications] == sent[200 : 200 + limit]


async def test_a_page_of_history_is_bounded(start_redis: StartRedis, open_hub: Any) -> None:
    """Redis returns no more than 250 messages or 256 KiB at once, and not what is not asked for."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    keep = Keep(2000)
    text = "x" * (50 << 10)
    sent = [text] * 20 + [f"{i}" for i in range(1000)]
    [epoch] = {each.epoch for each in await hub.publish_all("a", sent, keep)}
    before = calls(server, "xrange")

    async def count_of(since: int, limit: int | None, **options: Any) -> int:
        nonlocal before
        at = Position(epoch, since)
        history = await hub.read("a", at, limit, **options)
        payloads = [each.payload for each in history.publications]
        newest = len(sent) - since if limit is None else limit
        assert payloads == (sent[since:][:limit] if options else sent[len(sent) - newest :])
        before, count = calls(server, "xrange"), calls(server, "xrange") - before
        return count

    assert await count_of(0, None) == 4 + 4
    assert await count_of(20, None) == 4
    assert await count_of(0, 5) == 1
    assert await count_of(0, 300) == 2
    assert await count_of(20, 251, oldest=True) == 2
    assert await count_of(0, 5, oldest=True) == 1


async def test_messages_are_trimmed_between_two_pages(
    start_redis: StartRedis, open_hub: Any
) -> None:
    """If messages vanish while a history is read, it has no hole, and says that it lacks some."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    keep = Keep(1500)
    sent = [f"{i}" for i in range(3000)]
    await hub.publish_all("a", sent[:1500], keep)
    top = (await hub.read("a", limit=0)).top
    reading = asyncio.create_task(hub.read("a", Position(top.epoch, 0)))
    await hub.publish_all("a", sent[1500:], keep)
    history = await reading
    assert history.top.offset > 1500
    assert [each.payload for each in history.publications] == sent[1500 : history.top.offset]
    assert not history.complete


async def test_each_message_is_kept_for_its_own_time(
    start_redis: StartRedis, open_hub: Any
) -> None:
    """A message that is too old is not read, although later ones are."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    keep = Keep(10_000, seconds=0.5)
    first = await hub.publish("a", "old", keep)

    async def is_gone() -> bool:
        last = await hub.publish("a", "new", keep)
        history = await hub.read("a", Position(first.epoch, 0))
        payloads = [each.payload for each in history.publications]
        assert history.top == last
        assert history.complete is ("old" in payloads)
        return "old" not in payloads and "new" in payloads

    await eventually(is_gone)


async def rewrite_times(hub: RecordingHub, server: RedisServer, ages: list[float]) -> str:
    """Let a topic keep messages with these ages in seconds, and return its epoch."""
    top = await hub.publish("a", "1", Keep(10_000, seconds=60))
    [head], [stream] = server.command("KEYS", "*:head:*a}"), server.command("KEYS", "*:kept:*a}")
    server.command("DEL", stream)
    seconds, micros = server.command("TIME")
    for n, age in enumerate(ages, 1):
        milliseconds = int((seconds - age) * 1000 + micros / 1000)
        server.command("XADD", stream, f"{n}-{milliseconds}", "s", f"{n}")
    server.command("HSET", head, "top", len(ages))
    return str(top.epoch)


async def test_old_messages_are_not_read(start_redis: StartRedis, open_hub: Any) -> None:
    """Messages that are too old are skipped in Redis, however many they are."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    epoch = await rewrite_times(hub, server, [3600.0] * 600 + [0.0] * 3)
    for since, limit in ((0, None), (100, None), (300, 500), (600, None), (0, 3)):
        before = calls(server, "xrange")
        history = await hub.read("a", Position(epoch, since), limit)
        assert [each.payload for each in history.publications] == ["601", "602", "603"]
        assert history.complete is (since == 600)
        assert calls(server, "xrange") - before <= 2
    assert not (await hub.read("a", Position(epoch, 603))).publications
    await rewrite_times(hub, server, [3600.0] * 600)
    history = await hub.read("a")
    assert (list(history.publications), history.top.offset) == ([], 600)


async def test_the_clock_of_redis_is_set_back(start_redis: StartRedis, open_hub: Any) -> None:
    """Messages that seem to be older than those before them are no hole in the history."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    epoch = await rewrite_times(hub, server, [-3600.0, -3600.0, 3600.0, 0.0])
    for since in range(5):
        history = await hub.read("a", Position(epoch, since))
        payloads = [each.payload for each in history.publications]
        assert payloads == [f"{n}" for n in range(5 - len(payloads), 5)]
        assert history.complete is (len(payloads) == 4 - since)


# Restarts and failovers


@pytest.mark.parametrize("data", ["kept", "truncated", "lost"])
@pytest.mark.promise("hub-restart")
@BOTH_ENGINES
async def test_restart_is_another_epoch(start_redis: StartRedis, open_hub: Any, data: str) -> None:
    """After a restart positions have another epoch, whether data was lost or not."""
    server = start_redis(*AOF)
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    before: Any = None
    for i in range(20):
        before = await hub.publish("a", f"{i}", KEEP)
    server.kill()
    if data == "lost":
        server.lose_data()
    elif data == "truncated":
        server.truncate_data(1000)
    server.start()
    await hub.until(lambda: bool(hub.tops) and hub.tops[-1][1].epoch != before.epoch)
    history = await hub.read("a", before)
    assert not history.complete
    assert history.top == hub.tops[-1][1]
    kept = [each.payload for each in history.publications]
    assert kept == [f"{i}" for i in range(len(kept))]
    assert {"kept": len(kept) == 20, "truncated": 0 < len(kept) < 20, "lost": not kept}[data]
    after = await hub.publish("a", "after", KEEP)
    assert after == Position(history.top.epoch, len(kept) + 1)
    assert [type(each) for each in hub.statuses] == [Away, Connected]


@pytest.mark.promise("hub-restart")
@BOTH_ENGINES
async def test_failover_to_a_lagging_replica(start_redis: StartRedis, open_hub: Any) -> None:
    """A replica that lacks the newest messages begins another epoch when it takes over."""
    server = start_redis("--save", "", "--repl-diskless-sync-delay", "0")
    async with FaultyNetwork(server.port) as address, FaultyNetwork(server.port) as replication:
        replica = await asyncio.to_thread(replicate, start_redis, replication.port)
        hub: RecordingHub = await open_hub(f"redis://127.0.0.1:{address.port}/0")
        await hub.attach("a", KEEP)
        await hub.publish("a", "one", KEEP)
        assert await asyncio.to_thread(server.command, "WAIT", 1, 5000) == 1
        replication.black_hole()
        before = await hub.publish("a", "two", KEEP)
        replica.promote()
        address.target = replica.port
        address.reset()
        await hub.until(lambda: bool(hub.tops) and hub.tops[-1][1].epoch != before.epoch)
        assert hub.tops[-1][1].offset == 1
        assert (await hub.read("a", before)).complete is False


@pytest.mark.promise("hub-restart")
@BOTH_ENGINES
async def test_degraded_and_promoted_again(start_redis: StartRedis, open_hub: Any) -> None:
    """A master that was a replica for a while begins another epoch without a restart."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    before = await hub.publish("a", "one", KEEP)
    other = start_redis()
    server.command("REPLICAOF", "127.0.0.1", other.port)
    server.command("CLIENT", "KILL", "TYPE", "normal")
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await hub.until(lambda: bool(hub.statuses))
    server.command("REPLICAOF", "NO", "ONE")
    await hub.until(lambda: bool(hub.tops) and hub.tops[-1][1].epoch != before.epoch)


@pytest.mark.promise("hub-restart")
@BOTH_ENGINES
async def test_flushed_data(start_redis: StartRedis, open_hub: Any) -> None:
    """When all keys are deleted, the next probe reports another epoch."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    before = await hub.publish("a", "one", KEEP)
    server.command("FLUSHALL")
    await hub.until(lambda: bool(hub.tops) and hub.tops[-1][1].epoch != before.epoch)


async def test_flushed_scripts(start_redis: StartRedis, open_hub: Any) -> None:
    """When Redis has lost the scripts, it is away until they are loaded again."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    server.command("SCRIPT", "FLUSH")
    with pytest.raises(BackplaneError, match="is away: No matching script") as caught:
        await hub.publish("a", "one", KEEP)
    assert type(caught.value) is BackplaneError
    assert isinstance(hub.statuses[0], Away)
    await hub.until(lambda: isinstance(hub.statuses[-1], Connected))
    assert (await hub.publish("a", "two", KEEP)).offset == 1


@pytest.mark.parametrize("when", ["sent", "queued"])
@pytest.mark.promise("hub-away")
async def test_away_is_reported_before_anything_fails(
    start_redis: StartRedis, open_hub: Any, when: str
) -> None:
    """Whatever fails because Redis is away fails after the status, so that the hub waits."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url, timeout=PATIENCE)
    await hub.attach("a", KEEP)
    server.pause()
    if when == "queued":
        network_close(hub.backplane)
        await asyncio.sleep(0)  # the connection has ended, and nobody has handled it yet
    failed: list[tuple[str, int]] = []

    def start(name: str, call: Any, *arguments: Any) -> None:
        call(*arguments, lambda _: failed.append((name, len(hub.statuses))))

    calls: Any = hub.backplane
    start("read", calls.read, "a", None, None)
    start("members", calls.members, "a")
    start("publish", calls.publish, PublishRequest("a", "one", KEEP))
    start("local", calls.publish, PublishRequest("b", "one", Keep.nothing()))
    if when == "sent":
        await asyncio.sleep(0.05)  # until it is in the server's socket
        network_close(hub.backplane)
    await hub.until(lambda: bool(hub.statuses))
    assert isinstance(hub.statuses[0], Away)
    server.resume()
    await hub.until(lambda: isinstance(hub.statuses[-1], Connected))
    assert {name for name, _ in failed} == {"read", "members", "publish", "local"}
    assert min(statuses for _, statuses in failed) == 1


# Refused rights and writes

RIGHTS = (
    "on",
    ">p@ss:/?#word",
    "resetchannels",
    "~rxws:*",
    "&rxws:*",
    "+@read",
    "+@write",
    "+@connection",
    "+@pubsub",
    "+@scripting",
    "+info",
    "+time",
    "+client|kill",
)  # as in docs/howto/many-machines.md
USER = "app:p%40ss%3A%2F%3F%23word"


async def test_rights(start_redis: StartRedis, open_hub: Any) -> None:
    """The rights that the documentation lists are enough, with a password of any characters."""
    server = start_redis()
    server.command("ACL", "SETUSER", "app", *RIGHTS)
    hub: RecordingHub = await open_hub(f"redis://{USER}@127.0.0.1:{server.port}/3")
    await hub.attach("a", KEEP)
    await hub.publish("a", "one", KEEP, message_id="1")
    await hub.until_count(1)
    assert "word" not in repr(hub.backplane)


@pytest.mark.parametrize(
    "missing",
    [
        "resetchannels",
        "resetkeys",
        "-xadd",
        "-zadd",
        "-hdel",
        "-client|kill",
        "-subscribe",
    ],
)
async def test_missing_right(start_redis: StartRedis, open_hub: Any, missing: str) -> None:
    """If the user lacks a right that a hub needs, the start raises and says which."""
    server = start_redis()
    server.command("ACL", "SETUSER", "app", *RIGHTS, missing)
    with pytest.raises(BackplaneError, match=r"refuses what a hub needs.*give the user the rights"):
        async with asyncio.timeout(PATIENCE):
            await open_hub(f"redis://{USER}@127.0.0.1:{server.port}")


async def test_cluster_is_refused(start_redis: StartRedis, open_hub: Any) -> None:
    """A server of a cluster raises at start."""
    bus = str(free_port())  # by default 10,000 above the other port, which may be too high
    server = start_redis("--cluster-enabled", "yes", "--cluster-port", bus, "--save", "")
    with pytest.raises(BackplaneError, match="part of a cluster: use one server"):
        await open_hub(server.url)


async def test_database_that_does_not_exist(start_redis: StartRedis, open_hub: Any) -> None:
    """A wrong number of a database raises at start."""
    server = start_redis()
    with pytest.raises(BackplaneError, match="DB index is out of range"):
        await open_hub(f"redis://127.0.0.1:{server.port}/99")


@pytest.mark.promise("hub-away")
async def test_refused_writes(start_redis: StartRedis, open_hub: Any) -> None:
    """While Redis accepts no writes it is away, and not away and back again and again."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    server.command("CONFIG", "SET", "min-replicas-to-write", 1)
    with pytest.raises(BackplaneError, match="is away: NOREPLICAS"):
        await hub.publish("a", "one", KEEP)
    assert isinstance(hub.statuses[0], Away)
    assert "NOREPLICAS" in str(hub.statuses[0].cause)
    await until_calls(server, "client|id", 3)
    assert len(hub.statuses) == 1
    server.command("CONFIG", "SET", "min-replicas-to-write", 0)
    await hub.until(lambda: isinstance(hub.statuses[-1], Connected))
    assert (await hub.publish("a", "two", KEEP)).offset == 1


async def test_full_memory(start_redis: StartRedis, open_hub: Any) -> None:
    """If Redis has no memory left, it refuses messages, and the rest works."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    await hub.publish("a", "one", KEEP)
    server.command("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(BackplaneError, match=r"refuses a message of 'a'.*maxmemory") as caught:
        await hub.publish("a", "two", KEEP)
    assert type(caught.value) is BackplaneError
    hub.backplane.join("a", Member("1", "ann"))
    await hub.until(lambda: hub.present.get("a") == {"1"})
    await until_calls(server, "zadd", 5)  # its lease is renewed
    other: RecordingHub = await open_hub(server.url)
    assert (await other.attach("a", KEEP)).offset == 1
    assert [each.payload for each in (await other.read("a")).publications] == ["one"]
    assert list(await other.members("a")) == ["1"]
    assert not hub.statuses


@pytest.mark.parametrize("key", ["head", "kept"])
@pytest.mark.promise("hub-gaps")
async def test_evicted_key(start_redis: StartRedis, open_hub: Any, key: str) -> None:
    """If Redis evicts a key of a topic, reads after a position say that messages are missing."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    first = await hub.publish("a", "one", KEEP)
    last = await hub.publish("a", "two", KEEP)
    server.command("DEL", f"rxws:{key}:{{a}}")
    history = await hub.read("a", first)
    assert not history.complete
    assert history.top.offset == last.offset
    assert (history.top.epoch == last.epoch) is (key == "kept")


async def until_calls(server: RedisServer, command: str, count: int) -> None:
    """Wait until Redis has run a command this often from now on."""
    server.command("CONFIG", "RESETSTAT")

    async def has_run() -> bool:
        return calls(server, command) >= count

    await eventually(has_run)


async def test_foreign_messages(start_redis: StartRedis, open_hub: Any) -> None:
    """A message that no hub has published is reported to the event loop, and others arrive."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    server.command("PUBLISH", "rxws:0:topic:a", "?unknown kinds are ignored")
    server.command("PUBLISH", "rxws:0:topic:a", "s without a header")
    await hub.publish("a", "one", KEEP)
    await hub.until(lambda: hub.payloads("a") == ["one"])
    assert [context["message"] for context in reported] == [
        "a message of the channel 'rxws:0:topic:a' failed"
    ]
    assert not hub.statuses


async def test_stop_while_away(start_redis: StartRedis, open_hub: Any) -> None:
    """What still waits for Redis fails when the backplane stops."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    server.kill()
    await hub.until(lambda: bool(hub.statuses))
    attaching = asyncio.create_task(hub.attach("a", KEEP))
    await asyncio.sleep(0)
    await hub.backplane.stop()
    with pytest.raises(BackplaneError, match="the backplane is stopped"):
        await attaching


# Lost and deaf connections


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
@pytest.mark.promise("hub-gaps")
@BOTH_ENGINES
async def test_client_kill(start_redis: StartRedis, open_hub: Any, kind: str) -> None:
    """After CLIENT KILL the missed message is reported at once, and in the same epoch."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    other: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    await other.publish("a", "one", KEEP)
    await hub.until(lambda: len(hub.publications) == 1)
    server.command("CLIENT", "KILL", "TYPE", kind)
    await hub.until(lambda: bool(hub.statuses))
    assert isinstance(hub.statuses[0], Away)
    assert hub.statuses[0].since > 0
    await other.until(lambda: isinstance([None, *other.statuses][-1], Connected))
    top = await other.publish("a", "two", KEEP)
    assert top.offset == 2
    await hub.until(lambda: hub.payloads("a") == ["one", "two"] or ("a", top) in hub.tops)
    await hub.until(lambda: isinstance(hub.statuses[-1], Connected))


@pytest.mark.promise("hub-gaps")
@BOTH_ENGINES
async def test_output_buffer_kill(start_redis: StartRedis, open_hub: Any) -> None:
    """A process that Redis disconnects because it reads too slowly gets what it has missed."""
    server = start_redis("--client-output-buffer-limit", "pubsub 100kb 0 0")
    async with FaultyNetwork(server.port) as network:
        hub: RecordingHub = await open_hub(f"redis://127.0.0.1:{network.port}/0", timeout=PATIENCE)
        other: RecordingHub = await open_hub(server.url)
        await hub.attach("a", KEEP)
        network.black_hole()
        top: Any = None
        for _ in range(100):
            top = await other.publish("a", "x" * 200_000, KEEP)
        network.heal()
        await hub.until(lambda: ("a", top) in hub.tops)
        await hub.until(lambda: any(isinstance(each, Away) for each in hub.statuses))
        await hub.until(lambda: isinstance(hub.statuses[-1], Connected))


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.promise("hub-away")
async def test_black_hole(start_redis: StartRedis, open_hub: Any, forget: bool) -> None:
    """A network that swallows everything is noticed, and what was missed is reported after it."""
    server = start_redis()
    async with FaultyNetwork(server.port) as network:
        hub: RecordingHub = await open_hub(f"redis://127.0.0.1:{network.port}/0")
        other: RecordingHub = await open_hub(server.url)
        await hub.attach("a", KEEP)
        network.black_hole()
        await hub.until(lambda: bool(hub.statuses))
        top = await other.publish("a", "one", KEEP)
        network.heal(forget=forget)
        await hub.until(lambda: ("a", top) in hub.tops)
        await hub.until(lambda: isinstance(hub.statuses[-1], Connected))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.promise("hub-gaps")
async def test_one_deaf_connection(start_redis: StartRedis, open_hub: Any, index: int) -> None:
    """One of the two connections that is swallowed alone is replaced, and nothing stays missing."""
    server = start_redis()
    async with FaultyNetwork(server.port) as network:
        hub: RecordingHub = await open_hub(f"redis://127.0.0.1:{network.port}/0")
        other: RecordingHub = await open_hub(server.url)
        await hub.attach("a", KEEP)
        network.swallow(index)
        top = await other.publish("a", "one", KEEP)
        await hub.until(lambda: ("a", top) in hub.tops or hub.payloads("a") == ["one"])
        await hub.until(lambda: bool(hub.statuses) and isinstance(hub.statuses[-1], Connected))
        await other.publish("a", "two", KEEP)
        await hub.until(lambda: hub.payloads("a")[-1:] == ["two"])


@pytest.mark.promise("hub-gaps")
async def test_idle_topics_compare_positions(start_redis: StartRedis, open_hub: Any) -> None:
    """A message whose notification was lost is reported by the next probe."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", KEEP)
    top = await hub.publish("a", "one", KEEP)
    server.command("HSET", "rxws:head:{a}", "top", 2)
    await hub.until(lambda: ("a", Position(top.epoch, 2)) in hub.tops)


@pytest.mark.promise("hub-away")
async def test_away(start_redis: StartRedis, open_hub: Any) -> None:
    """While Redis is away messages of topics that keep nothing are local, and the rest fails."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("numbered", KEEP)
    await hub.attach("local", Keep.nothing())
    server.kill()
    await hub.until(lambda: bool(hub.statuses))
    with pytest.raises(BackplaneError, match="away") as caught:
        await hub.publish("numbered", "zero", KEEP)
    assert type(caught.value) is BackplaneError
    with pytest.raises(Unconfirmed, match=r"this process only: .* is away"):
        await hub.publish("local", "two", Keep.nothing())
    await hub.until(lambda: hub.payloads("local") == ["two"])
    assert await hub.attach("late", Keep.nothing()) is None
    with pytest.raises(BackplaneError, match="away"):
        await hub.read("numbered")
    with pytest.raises(BackplaneError, match="away"):
        await hub.members("numbered")
    attaching = asyncio.create_task(hub.attach("new", KEEP))
    assert not attaching.done()
    server.start()
    assert (await attaching).offset == 0
    assert (await hub.publish("numbered", "one", KEEP)).offset == 1
    await hub.until(lambda: hub.payloads("numbered") == ["one"] or bool(hub.tops))
    other: RecordingHub = await open_hub(server.url)
    await other.publish("late", "three", Keep.nothing())
    await hub.until(lambda: hub.payloads("late") == ["three"])
    assert hub.payloads("local") == ["two"]


async def test_unnumbered_messages_have_no_echo(start_redis: StartRedis, open_hub: Any) -> None:
    """An unnumbered message reaches each process once, in the publisher's order."""
    server = start_redis()
    hubs: list[RecordingHub] = [await open_hub(server.url) for _ in range(2)]
    for hub in hubs:
        await hub.attach("a", Keep.nothing())
    for i in range(10):
        assert await hubs[0].publish("a", f"{i}", Keep.nothing()) is None
    await hubs[0].publish("a", b"\xff\n", Keep.nothing())
    expected = [*(f"{i}" for i in range(10)), b"\xff\n"]
    for hub in hubs:
        await hub.until_count(11)
        assert hub.payloads("a") == expected


async def test_attach_and_detach_in_one_turn(start_redis: StartRedis, open_hub: Any) -> None:
    """A topic that is detached and attached again receives, and a detached one does not."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    first = asyncio.create_task(hub.attach("a", KEEP))
    await asyncio.sleep(0)
    hub.backplane.detach("a")
    second = await hub.attach("a", KEEP)
    assert second.offset == 0
    with pytest.raises(BackplaneError, match="detached"):
        await first
    await hub.publish("a", "one", KEEP)
    await hub.until(lambda: hub.payloads("a") == ["one"])
    hub.backplane.detach("a")
    hub.backplane.detach("a")
    await hub.publish("a", "two", KEEP)
    assert await hub.attach("b", KEEP)
    assert hub.payloads("a") == ["one"]


# Presence


async def test_members(start_redis: StartRedis, open_hub: Any) -> None:
    """Members of all processes are seen by all, and leave when they or their backplane do."""
    server = start_redis()
    one: RecordingHub = await open_hub(server.url)
    two: RecordingHub = await open_hub(server.url)
    for hub in (one, two):
        await hub.attach("a", Keep.nothing())
    ann, bob = Member("1", "ann", '{"x":1}'), Member("2", "bob")
    one.backplane.join("a", ann)
    two.backplane.join("a", bob)
    await one.until(lambda: one.present.get("a") == {"1", "2"})
    assert await two.members("a") == {"1": ann, "2": bob}
    one.backplane.leave("a", ann)
    one.backplane.leave("a", ann)
    await two.until(lambda: two.present.get("a") == {"2"})
    await two.backplane.stop()
    await one.until(lambda: one.present.get("a") == set())
    assert await one.members("a") == {}
    assert [
        key for key in server.command("KEYS", "*") if b"members" in key or b"topics" in key
    ] == []


@pytest.mark.promise("hub-presence")
@BOTH_ENGINES
async def test_members_after_data_loss(start_redis: StartRedis, open_hub: Any) -> None:
    """When Redis has lost its data, every process registers its members again."""
    server = start_redis()
    one: RecordingHub = await open_hub(server.url)
    two: RecordingHub = await open_hub(server.url)
    await two.attach("a", Keep.nothing())
    members = {each: Member(each, each) for each in "bc"}
    gone = Member("gone", "gone")
    for each in (*members.values(), gone):
        one.backplane.join("a", each)
    await two.until(lambda: two.present.get("a") == {*members, "gone"})
    server.kill()
    await one.until(lambda: bool(one.statuses))
    one.backplane.leave("a", gone)
    server.start()
    await two.until(lambda: two.unknown > 0)

    async def registered() -> bool:
        return await two.members("a") == members

    await eventually(registered)
    server.command("FLUSHALL")
    await eventually(registered)


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_members_are_unknown_until_all_topics_are_received(
    start_redis: StartRedis, open_hub: Any, kind: str
) -> None:
    """After a reconnection the hub asks again only when it can miss no change any more."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url, timeout=10.0)
    # Long names, so that Redis does not get all of them at once.
    topics = [f"{i:0>2000}" for i in range(3000)]
    await asyncio.gather(*(hub.attach(topic, Keep.nothing()) for topic in topics))
    received: list[int] = []

    def count() -> None:
        received.append(server.command("PUBSUB", "NUMSUB", f"rxws:0:topic:{topics[-1]}")[1])

    hub.when_unknown = count
    server.command("CLIENT", "KILL", "TYPE", kind)
    await hub.until(lambda: bool(received))
    assert set(received) == {1}


async def test_leave_while_away(start_redis: StartRedis, open_hub: Any) -> None:
    """A member that leaves while its process cannot reach Redis is gone when it can again."""
    server = start_redis()
    async with FaultyNetwork(server.port) as network:
        one: RecordingHub = await open_hub(f"redis://127.0.0.1:{network.port}/0", lease=60.0)
        two: RecordingHub = await open_hub(server.url)
        await two.attach("a", Keep.nothing())
        one.backplane.join("a", Member("1", "ann"))
        await two.until(lambda: two.present.get("a") == {"1"})
        network.black_hole()
        await one.until(lambda: bool(one.statuses))
        one.backplane.leave("a", Member("1", "ann"))
        one.backplane.join("a", Member("2", "bob"))
        network.heal()
        await two.until(lambda: two.present.get("a") == {"2"})


@pytest.mark.promise("hub-presence")
@BOTH_ENGINES
async def test_members_of_a_stopped_process(start_redis: StartRedis, open_hub: Any) -> None:
    """Members of a process that stands still vanish within its lease and 1 s, and come back."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    await hub.attach("a", Keep.nothing())
    process = await member_process(server)
    try:
        await hub.until(lambda: hub.present.get("a") == {"theirs"})
        process.send_signal(signal.SIGSTOP)
        # The lease is 1 s and may have been renewed just before; the probe comes every 0.2 s.
        await hub.until(lambda: hub.present.get("a") == set())
        assert await hub.members("a") == {}
        process.send_signal(signal.SIGCONT)
        await hub.until(lambda: hub.present.get("a") == {"theirs"})
        assert list(await hub.members("a")) == ["theirs"]
        process.kill()
        await hub.until(lambda: hub.present.get("a") == set())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    topics = [key for key in server.command("KEYS", "*") if b"members" in key or b"topics" in key]
    assert topics == []


@pytest.mark.promise("hub-presence")
async def test_members_of_dead_processes_are_not_read(
    start_redis: StartRedis, open_hub: Any
) -> None:
    """Reading leaves out the members of a dead process, even if nobody has swept them yet."""
    server = start_redis()
    hub: RecordingHub = await open_hub(server.url)
    server.command("HSET", "rxws:members:{a}", "dead:1", json.dumps(["1", "ann", ""]))
    assert await hub.members("a") == {}


async def test_leases_of_dead_processes_are_removed(start_redis: StartRedis, open_hub: Any) -> None:
    """The lease of a dead process that has no members is removed."""
    server = start_redis()
    server.command("ZADD", "rxws:processes", 1, "dead")
    await open_hub(server.url)

    async def is_removed() -> bool:
        return server.command("ZSCORE", "rxws:processes", "dead") is None

    await eventually(is_removed)


MEMBER = """
import asyncio, sys
from rxws.hub import Keep, Member, RedisBackplane
from support.backplane import RecordingHub
from support.processes.parent import end_with_parent

async def main():
    backplane = RedisBackplane(sys.argv[1], probe_interval=0.2, timeout=0.4, lease=1.0)
    await backplane.start(RecordingHub(backplane))
    backplane.join("a", Member("theirs", "ann"))
    await asyncio.Event().wait()

end_with_parent()
asyncio.run(main())
"""


async def member_process(server: RedisServer) -> asyncio.subprocess.Process:
    """Start a process with a member."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEMBER, server.url, env=environment
    )


# Several servers


async def test_shards(start_redis: StartRedis, open_hub: Any) -> None:
    """Each topic lives on one server, in every process, and the loss of one spares the others."""
    servers = [start_redis() for _ in range(3)]
    one: RecordingHub = await open_hub(*(each.url for each in servers))
    two: RecordingHub = await open_hub(*(each.url for each in reversed(servers)))
    topics = [f"topic-{i}" for i in range(30)]
    for topic in topics:
        await two.attach(topic, KEEP)
        await one.publish(topic, topic, KEEP)
    await two.until(lambda: len(two.publications) == 30)
    here = [len(each.command("KEYS", "rxws:kept:*")) for each in servers]
    assert sum(here) == 30
    assert min(here) > 0
    assert all(one.backplane.available(topic) for topic in topics)
    servers[0].kill()
    await one.until(lambda: bool(one.statuses))
    assert sum(not one.backplane.available(topic) for topic in topics) == here[0]
    lost = 0
    for topic in topics:
        try:
            await one.read(topic)
        except BackplaneError:
            lost += 1
    assert lost == here[0]
    servers[0].start()
    await one.until(lambda: isinstance(one.statuses[-1], Connected))
    await one.backplane.stop()
    assert not one.backplane.available(topics[0])


@BOTH_ENGINES
async def test_sentinel(start_redis: StartRedis, open_hub: Any, tmp_path: Path) -> None:
    """The master that a sentinel names is used, and the next one after a failover."""
    server = start_redis("--save", "", "--repl-diskless-sync-delay", "0")
    replica = replicate(start_redis, server.port)
    sentinel = start_redis(*sentinel_flags(tmp_path, "mine", server))
    hub: RecordingHub = await open_hub(f"redis+sentinel://127.0.0.1:{sentinel.port}/mine")
    await hub.attach("a", KEEP)
    before = await hub.publish("a", "one", KEEP)

    async def knows_the_replica() -> bool:
        return bool(sentinel.command("SENTINEL", "REPLICAS", "mine"))

    await eventually(knows_the_replica)
    server.kill()
    await hub.until(lambda: bool(hub.tops) and hub.tops[-1][1].epoch != before.epoch)
    assert (await hub.publish("a", "two", KEEP)).epoch != before.epoch
    assert replica.command("INFO", "replication")["role"] == "master"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((7,), TypeError, "redis://localhost"),
        (("http://localhost",), ValueError, "rediss://"),
        (("redis://:secret@localhost:x",), ValueError, "redis://host:port"),
        (("redis://localhost/shop",), ValueError, "'shop' is no number of a database"),
        (("redis+sentinel://localhost",), ValueError, "redis\\+sentinel://"),
        (("redis://:sec/ret@localhost",), ValueError, "redis://host:port"),
        (("redis://[::1",), ValueError, "redis://host:port"),
        (("redis://localhost?colour=red&password=secret",), ValueError, "colour"),
        (("redis+sentinel://localhost/a?sentinel_password=secret&x=1",), ValueError, "'x'"),
        (([],), ValueError, "one URL or more"),
        ((["redis://a", "redis://a"],), ValueError, "twice"),
    ],
)
def test_invalid_urls(arguments: tuple[Any], error: type[Exception], text: str) -> None:
    """An invalid URL raises at once, without showing the password."""
    with pytest.raises(error, match=text) as caught:
        RedisBackplane(*arguments)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"prefix": ""}, TypeError, "prefix=''"),
        ({"lease": 1.0}, ValueError, "at least twice that"),
        ({"timeout": 0}, ValueError, "timeout"),
    ],
)
def test_invalid_options(options: Any, error: type[Exception], text: str) -> None:
    """An invalid option raises at once, and names its value."""
    with pytest.raises(error, match=text):
        RedisBackplane("redis://localhost", **options)


async def test_backoff(start_redis: StartRedis, open_hub: Any) -> None:
    """The waits between attempts are those of `backoff`, then `probe_interval`."""
    server = start_redis()
    asked: list[float] = []

    def waits() -> Iterator[float]:
        for seconds in (0.01, 0.02):
            asked.append(seconds)
            yield seconds

    hub: RecordingHub = await open_hub(server.url, backoff=waits)
    server.kill()
    await hub.until(lambda: bool(hub.statuses))

    async def waited() -> bool:
        return sorted(asked) == [0.01, 0.01, 0.02, 0.02]  # two connections

    await eventually(waited)
    server.start()
    await hub.until(lambda: isinstance(hub.statuses[-1], Connected))
