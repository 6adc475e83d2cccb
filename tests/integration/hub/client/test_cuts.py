"""Clients whose connections are cut at random continue where they were."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest

import rxws
from rxws.hub import Gap, Keep, Message, Position
from support.faults.relay import Relay
from support.peers.hub_peer import ServeHub, Serving, until

CLIENTS = 10
CUTS = 1000
TOPIC = "room"


class Checker:
    """Checks that messages follow each other, with their numbers as values, or a gap is told."""

    def __init__(self, after: Position) -> None:
        self.last = after
        self.gaps: list[Gap] = []
        self.problems: list[str] = []

    async def until(self, offset: int) -> None:
        """Wait until everything up to a position was seen."""
        await until(lambda: self.last.offset == offset)

    def on_event(self, event: Message[Any] | Gap) -> None:
        if isinstance(event, Gap):
            self.gaps.append(event)
            if event.after != self.last or event.before is None:
                self.problems.append(f"{event} after {self.last}")
            else:
                self.last = Position(event.before.epoch, event.before.offset - 1)
            return
        position = event.position
        assert position is not None
        if position != (self.last.epoch, self.last.offset + 1):
            self.problems.append(f"{position} after {self.last}")
        if event.value != position.offset:
            self.problems.append(f"{event.value} at {position}")
        self.last = position


def port_of(serving: Serving) -> int:
    return int(serving.url.rpartition(":")[2].partition("/")[0])


@pytest.mark.promise("hub-client")
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_message_is_lost_repeated_or_out_of_order(serve_hub: ServeHub, seed: int) -> None:
    """In 1000 random cuts every position arrives once, in order, and no gap is told."""
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(
            serve_hub(topics={TOPIC: Keep(2000)}, allow=lambda *asked: asked[2] == "subscribe")
        )
        topic = serving.hub.topic(TOPIC)
        start = await topic.publish(1)
        relays = [
            await stack.enter_async_context(Relay.open(port_of(serving))) for _ in range(CLIENTS)
        ]
        checkers = [Checker(start) for _ in relays]
        for relay, checker in zip(relays, checkers, strict=True):
            client = rxws.hub.connect(
                f"ws://127.0.0.1:{relay.port}/", token="ann",
                backoff=rxws.backoff.exponential(0.001, cap=0.01), close_timeout=0.1,
            )  # fmt: skip
            await stack.enter_async_context(client)
            client.topic(TOPIC).since(start).subscribe(checker.on_event)
        published = 1
        cuts = 0
        while cuts < CUTS:
            for _ in range(rng.randrange(5)):
                published += 1
                topic.on_next(published)
            relay = rng.choice(relays)
            if relay.connections:
                relay.cut(reset=rng.random() < 0.5)
                cuts += 1
            await asyncio.sleep(rng.random() * 0.006)
        await until(lambda: all(each.last.offset == published for each in checkers))
        assert [problem for each in checkers for problem in each.problems] == []
        assert not any(each.gaps for each in checkers)


@pytest.mark.promise("hub-client")
async def test_a_gap_tells_that_messages_are_lost(serve_hub: ServeHub) -> None:
    """A client that was away for more than the topic keeps gets a gap, and what is kept."""
    async with (
        serve_hub(topics={TOPIC: Keep(10)}) as serving,
        Relay.open(port_of(serving)) as relay,
        rxws.hub.connect(
            f"ws://127.0.0.1:{relay.port}/", token="ann", backoff=rxws.backoff.constant(0.005)
        ) as client,
    ):
        topic = serving.hub.topic(TOPIC)
        checker = Checker(await topic.publish(1))
        client.topic(TOPIC).since(checker.last).subscribe(checker.on_event)
        number = 1
        for missed in (5, 100, 10, 101, 3):
            await until(lambda: relay.connections)
            relay.refusing = True
            relay.cut()
            for _ in range(missed):
                number += 1
                topic.on_next(number)
            await until(lambda: not relay.connections)
            relay.refusing = False
            await checker.until(number)
        assert checker.problems == []
        assert len(checker.gaps) == 2
        assert client.stats.gaps == {str(each.reason): 2 for each in checker.gaps}
