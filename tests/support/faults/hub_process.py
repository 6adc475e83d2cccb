"""A process of the fault run: it publishes unique values, and logs what it sees.

`python hub_process.py URL NAME LOG`. It publishes from SIGUSR1 to SIGTERM, and ends when it
has seen the last messages of both processes.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import rxws
from rxws.hub import (
    Away,
    BackplaneError,
    Gap,
    Hub,
    HubStatus,
    Keep,
    Message,
    Position,
    RedisBackplane,
)
from support.processes.parent import end_with_parent

TOPICS = ("t0", "t1", "t2")
NAMES = ("left", "right")


class Log:
    """Writes JSON, one event a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def write(self, *event: Any) -> None:
        self._file.write(json.dumps(event) + "\n")


async def publish(hub: Hub, name: str, topic: str, log: Log, stop: asyncio.Event) -> None:
    number = 0

    async def one(value: str) -> bool:
        try:
            position = await hub.topic(topic).publish(value, id=value)
        except BackplaneError as exc:
            log.write("failed", topic, value, type(exc).__name__)
            return False
        assert position is not None
        log.write("confirmed", topic, value, position.epoch, position.offset)
        return True

    while not stop.is_set():
        # Some of each batch is under way when a connection breaks.
        await asyncio.gather(*(one(f"{name}:{number + i}") for i in range(5)))
        number += 5
        await asyncio.sleep(0.01)
    while not await one(f"{name}:end"):  # noqa: ASYNC110  # nothing says when to retry
        await asyncio.sleep(0.1)


async def main(url: str, name: str, log: Log) -> None:
    stop = asyncio.Event()
    seen: set[tuple[str, str]] = set()
    begun, begin, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin.set)
    backplane = RedisBackplane(url, probe_interval=0.5, timeout=1.0, lease=3.0)
    topics = {"t*": Keep(500, seconds=600)}
    async with Hub(codec=rxws.codecs.json, backplane=backplane, topics=topics) as hub:

        def record(topic: str, event: Message[Any] | Gap) -> None:
            if isinstance(event, Gap):
                log.write("gap", topic, event.after, event.before, event.reason)
                return
            position: Position | None = event.position
            assert position is not None
            log.write("message", topic, event.value, position.epoch, position.offset)
            seen.add((topic, event.value))
            if all((topic, f"{name}:begin") in seen for topic in TOPICS):
                begun.set()
            if all((topic, f"{each}:end") in seen for topic in TOPICS for each in NAMES):
                ended.set()

        def record_status(status: HubStatus) -> None:
            cause = str(status.cause) if isinstance(status, Away) else None
            log.write("status", time.time(), type(status).__name__, cause)

        hub.status.subscribe(record_status)
        subscriptions = [
            hub.topic(topic).messages().subscribe(partial(record, topic)) for topic in TOPICS
        ]
        for topic in TOPICS:
            await hub.topic(topic).publish(f"{name}:begin")
        await begun.wait()
        print("subscribed", flush=True)
        await begin.wait()
        await asyncio.gather(*(publish(hub, name, topic, log, stop) for topic in TOPICS))
        log.write("status", time.time(), "published all", None)
        await ended.wait()
        for subscription in subscriptions:
            subscription.dispose()
    print("ended", flush=True)


if __name__ == "__main__":
    end_with_parent()
    asyncio.run(main(sys.argv[1], sys.argv[2], Log(Path(sys.argv[3]))))
