"""Clients of `hub.serve` whose connections are cut at random continue where they were."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rxws.hub import Keep
from support.faults.relay import Relay
from support.peers.centrifuge_js import CentrifugeJs
from support.peers.centrifuge_python import Events
from support.peers.hub_peer import ServeHub, Serving, until

CLIENTS = 10
CUTS = 100 if sys.flags.dev_mode else 1000  # debug mode is slow
TOPIC = "room"


class Checker(Events):
    """Checks that positions follow each other, unless the server has said that some are unknown."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.begun = 0
        self.resumed = 0
        self.lost = 0
        self.problems: list[str] = []

    async def until(self, offset: int) -> None:
        """Wait until everything up to a position was seen."""
        await until(lambda: self.last is not None and self.last >= offset)

    def see_subscribed(self, offset: int, recovering: bool, recovered: bool) -> None:
        self.begun += 1
        if recovering and recovered:
            self.resumed += 1
            if offset != self.last:
                self.problems.append(f"resumed at {offset} after {self.last}")
            return
        if recovering:
            self.lost += 1
        if self.last is not None and offset < self.last:
            self.problems.append(f"back to {offset} after {self.last}")
        self.last = offset

    def see_publication(self, offset: int, data: Any) -> None:
        if self.last is None or offset != self.last + 1:
            self.problems.append(f"{offset} after {self.last}")
        if data != {"n": offset}:
            self.problems.append(f"{data} at {offset}")
        self.last = offset

    async def on_subscribed(self, ctx: Any) -> None:
        self.see_subscribed(ctx.stream_position.offset, ctx.was_recovering, ctx.recovered)

    async def on_publication(self, ctx: Any) -> None:
        self.see_publication(ctx.pub.offset, ctx.pub.data)


@asynccontextmanager
async def publishing(serving: Serving) -> AsyncIterator[list[int]]:
    """Publish numbers all the time; the list has the last one."""
    published = [0]

    async def publish() -> None:
        topic = serving.hub.topic(TOPIC)
        while True:
            published[0] += 1
            topic.on_next({"n": published[0]})
            await asyncio.sleep(0.01)

    task = asyncio.create_task(publish())
    try:
        yield published
    finally:
        task.cancel()
        await asyncio.wait([task])


async def subscribed(client: CentrifugeJs, count: int) -> None:
    """Wait until a client has subscribed more often than this."""
    await client.until(lambda: len(client.named("subscribed")) > count)


def port_of(serving: Serving) -> int:
    return int(serving.url.rpartition(":")[2].partition("/")[0])


@pytest.mark.parametrize("seed", [1])
@pytest.mark.promise("hub-resume")
async def test_centrifuge_python_continues_after_cuts(
    serve_hub: ServeHub, centrifuge: Any, seed: int
) -> None:
    """In 1000 random cuts no message is lost, repeated or out of order."""
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(
            serve_hub(topics={TOPIC: Keep(1000)}, allow=lambda *asked: asked[2] == "subscribe")
        )
        relays = [
            await stack.enter_async_context(Relay.open(port_of(serving))) for _ in range(CLIENTS)
        ]
        published = await stack.enter_async_context(publishing(serving))
        checkers = [Checker() for _ in relays]
        clients: list[Any] = []
        for relay, checker in zip(relays, checkers, strict=True):
            client = centrifuge.Client(
                f"ws://127.0.0.1:{relay.port}/", token="ann",
                min_reconnect_delay=0.001, max_reconnect_delay=0.01,
            )  # fmt: skip
            await client.connect()
            await client.new_subscription(TOPIC, checker).subscribe()
            clients.append(client)
        await until(lambda: all(checker.last for checker in checkers))
        cuts = 0
        begun = [0] * CLIENTS  # subscriptions of each client before its last cut
        while cuts < CUTS:
            number = rng.randrange(CLIENTS)
            # Most cuts hit a client that has subscribed again, the others may hit at any time.
            ready = checkers[number].begun > begun[number] or rng.random() < 0.2
            if relays[number].connections and ready:
                begun[number] = checkers[number].begun
                relays[number].cut(reset=rng.random() < 0.5)
                cuts += 1
            await asyncio.sleep(rng.random() * 0.004)
        goal = published[0]
        await until(lambda: all((checker.last or 0) >= goal for checker in checkers))
        for client in clients:
            await client.disconnect()
        assert [problem for checker in checkers for problem in checker.problems] == []
        assert sum(checker.resumed for checker in checkers) > CUTS / 4
        assert not any(checker.lost for checker in checkers)


@pytest.mark.promise("hub-resume")
async def test_centrifuge_js_continues_after_cuts(serve_hub: ServeHub, node_scripts: Path) -> None:
    """The same holds for centrifuge-js."""
    rng = random.Random(2)
    async with (
        serve_hub(topics={TOPIC: Keep(1000)}) as serving,
        Relay.open(port_of(serving)) as relay,
        publishing(serving) as published,
        CentrifugeJs.open(
            node_scripts, f"ws://127.0.0.1:{relay.port}/", token="ann",
            minReconnectDelay=1, maxReconnectDelay=5,
        ) as client,
    ):  # fmt: skip
        await client.call("connect")
        await client.call("subscribe", channel=TOPIC, options={})
        for number in range(CUTS):
            if number % 4:
                await subscribed(client, number // 2)
            else:
                await until(lambda: relay.connections)
            relay.cut(reset=rng.random() < 0.5)
            await asyncio.sleep(rng.random() * 0.004)
        goal = published[0]
        await client.until(
            lambda: any(one["offset"] >= goal for one in client.named("publication")[-5:])
        )
        checker = Checker()
        for event in client.events:
            if event["event"] == "subscribed":
                position = event["streamPosition"]["offset"]
                checker.see_subscribed(position, event["wasRecovering"], event["recovered"])
            elif event["event"] == "publication":
                checker.see_publication(event["offset"], event["data"])
        assert checker.problems == []
        assert checker.resumed >= CUTS / 2 - 1
        assert not checker.lost


@pytest.mark.promise("hub-resume")
async def test_a_client_hears_that_messages_are_lost(serve_hub: ServeHub, centrifuge: Any) -> None:
    """A client that was away for more than the topic keeps is told so each time."""
    async with (
        serve_hub(topics={TOPIC: Keep(10)}) as serving,
        Relay.open(port_of(serving)) as relay,
    ):
        topic, checker = serving.hub.topic(TOPIC), Checker()
        client = centrifuge.Client(
            f"ws://127.0.0.1:{relay.port}/", token="ann",
            min_reconnect_delay=0.001, max_reconnect_delay=0.01,
        )  # fmt: skip
        await client.connect()
        room = client.new_subscription(TOPIC, checker)
        await room.subscribe()
        await room.ready()
        number = 0
        for missed in (5, 100, 10, 101, 3):
            relay.refusing = True
            relay.cut()
            for _ in range(missed):
                number += 1
                topic.on_next({"n": number})
            await until(lambda: not relay.connections)
            relay.refusing = False
            await checker.until(number)
        assert checker.problems == []
        assert (checker.resumed, checker.lost) == (3, 2)
        await client.disconnect()
