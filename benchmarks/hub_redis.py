"""How fast `RedisBackplane` publishes, what that and its topics cost, and how long one hop takes.

Run `python benchmarks/hub_redis.py [messages]`. It starts a `redis-server` of its own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rxws.hub import Keep, Member, PublishRequest, RedisBackplane
from support.backplane import RecordingHub
from support.processes.redis_server import RedisServer, redis_servers

KEEP = Keep(100)
PAYLOAD = "x" * 100
HOPS = 2000
RECEIVERS = 16
TOPICS = 1000


def redis_memory(server: RedisServer) -> int:
    """Return how many bytes Redis has allocated."""
    info: dict[str, int] = server.command("INFO", "memory")
    return info["used_memory"]


def redis_cpu(server: RedisServer) -> float:
    """Return the seconds of CPU that Redis has used."""
    info: dict[str, float] = server.command("INFO", "cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


async def publish(hub: RecordingHub, count: int, batch: int, topics: int, ids: bool) -> None:
    """Publish in batches; each waits until the one before is confirmed."""
    loop = asyncio.get_running_loop()
    for start in range(0, count, batch):
        future: asyncio.Future[None] = loop.create_future()
        left = batch

        def done(result: Any, future: asyncio.Future[None] = future) -> None:
            nonlocal left
            left -= 1
            if isinstance(result, Exception):
                raise result
            if not left:
                future.set_result(None)

        for i in range(start, start + batch):
            name = f"{batch}-{topics}-{i}" if ids else None
            hub.backplane.publish(PublishRequest(f"t{i % topics}", PAYLOAD, KEEP, name), done)
        await future


async def hops(hub: RecordingHub, other: RecordingHub) -> list[float]:
    """Return how many seconds messages take from one process's backplane to another's."""
    await other.attach("hop", KEEP)
    times: list[float] = []
    for i in range(HOPS):
        start = time.perf_counter()
        hub.backplane.publish(PublishRequest("hop", PAYLOAD, KEEP), lambda _: None)
        await other.until_count(i + 1)
        times.append(time.perf_counter() - start)
    return sorted(times)


async def receive(server: RedisServer, hub: RecordingHub, count: int) -> None:
    """Compare what messages cost with and without other processes that receive them."""
    receivers: list[RecordingHub] = []
    costs: list[tuple[float, float]] = []
    try:
        for number in (0, RECEIVERS):
            for _ in range(number):
                backplane = RedisBackplane(server.url)
                receivers.append(receiver := RecordingHub(backplane))
                await backplane.start(receiver)
                await receiver.attach("t0", KEEP)
            cpu, own = redis_cpu(server), time.process_time()
            await publish(hub, count, 10, 1, False)
            for receiver in receivers:
                await receiver.until_count(count)
            costs.append((redis_cpu(server) - cpu, time.process_time() - own))
    finally:
        for receiver in receivers:
            await receiver.backplane.stop()
    redis, process = (
        (with_receivers - alone) / RECEIVERS / count * 1e6
        for alone, with_receivers in zip(*costs, strict=True)
    )
    print(
        f"each of {RECEIVERS} receiving processes, batches of 10: "
        f"Redis {redis:.1f} µs, the process {process:.1f} µs for a message"
    )


async def keep(server: RedisServer, hub: RecordingHub) -> None:
    """Print how much memory Redis needs for topics and for members."""
    for count in (1, 100):
        before = redis_memory(server)
        for i in range(TOPICS):
            name = f"kept-{count}-{i}"
            for _ in range(count - 1):
                hub.backplane.publish(PublishRequest(name, PAYLOAD, Keep(count)), lambda _: None)
            loop = asyncio.get_running_loop()
            last: asyncio.Future[Any] = loop.create_future()
            hub.backplane.publish(PublishRequest(name, PAYLOAD, Keep(count)), last.set_result)
            await last
        bytes_ = (redis_memory(server) - before) / TOPICS
        print(f"a topic that keeps {count:3} messages of {len(PAYLOAD)} bytes: {bytes_:.0f} bytes")
    before = redis_memory(server)
    for i in range(100 * TOPICS):
        hub.backplane.join(f"joined-{i % TOPICS}", Member(f"0123456789abcdef-{i:x}", f"user{i}"))
        if not i % TOPICS:
            last = asyncio.get_running_loop().create_future()
            hub.backplane.members("joined-0", last.set_result)
            await last
    bytes_ = (redis_memory(server) - before) / TOPICS / 100
    print(f"each of 100 members of a topic: {bytes_:.0f} bytes")


async def main(server: RedisServer, count: int) -> None:
    hubs: list[RecordingHub] = []
    for _ in range(2):
        backplane = RedisBackplane(server.url)
        hubs.append(hub := RecordingHub(backplane))
        await backplane.start(hub)
    try:
        for topics, batch, ids in (
            (1, 1, False),
            (1, 10, False),
            (1, 100, False),
            (1, 100, True),
            (100, 100, False),
        ):
            cpu, own, start = redis_cpu(server), time.process_time(), time.perf_counter()
            await publish(hubs[0], count, batch, topics, ids)
            seconds = time.perf_counter() - start
            print(
                f"{topics:4} topics, batches of {batch:3}, {'with' if ids else 'no'} ids: "
                f"{count / seconds:7.0f} confirmed a second, "
                f"Redis {(redis_cpu(server) - cpu) / count * 1e6:5.1f} µs each, "
                f"the process {(time.process_time() - own) / count * 1e6:5.1f} µs"
            )
        times = await hops(*hubs)
        median, p99 = (times[int(HOPS * share)] * 1e3 for share in (0.5, 0.99))
        print(f"one hop: median {median:.2f} ms, p99 {p99:.2f} ms")
        await receive(server, hubs[0], count)
        await keep(server, hubs[0])
    finally:
        for hub in hubs:
            await hub.backplane.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory, redis_servers(Path(directory)) as start_redis:
        asyncio.run(main(start_redis(), int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
