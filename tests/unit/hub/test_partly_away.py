"""Hubs with several engines, such as Redis servers: one is away, and the others work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from rxws.hub import Away, BackplaneError, Connected, Hub, Position
from support.faulty_backplane import FaultyBackplane
from support.subscriber import PATIENCE
from support.virtual.two_hubs import KEEP, TwoHubs, offsets


@pytest.fixture
def world() -> TwoHubs:
    return TwoHubs()


@pytest.mark.promise("hub-away")
def test_messages_wait_only_in_topics_whose_engine_is_away(world: TwoHubs) -> None:
    """Numbered messages of other topics are published, and the status is `Away` meanwhile."""
    statuses = world.collect(world.second.status)
    away, works = world.second.topic("kept:a"), world.second.topic("kept:b")
    got_away, got = world.collect(away), world.collect(works)
    world.faulty.go_away("kept:a")
    away.on_next(1)
    works.on_next(2)
    world.clock.run(0)
    assert (got_away, got) == ([], [2])
    assert world.second.stats.queued == 1
    world.faulty.come_back()
    world.clock.run(0)
    assert got_away == [1]
    assert [type(each) for each in statuses] == [Connected, Away, Connected]
    assert world.second.stats.reconnects == 1


@pytest.mark.promise("hub-away")
def test_topics_go_on_when_their_engine_is_back_while_another_is_away(world: TwoHubs) -> None:
    """They read what they have missed, publish what has waited, and attach, as if it were alone."""
    names = ("kept:a", "kept:b", "kept:new")
    events = {name: world.collect(world.second.topic(name).messages()) for name in names[:2]}
    world.faulty.go_away(*names)
    world.publish(1, topic="kept:a")
    world.faulty.probe()
    events["kept:new"] = world.collect(world.second.topic("kept:new").messages())
    for name in names:
        world.second.topic(name).on_next(2)
    world.clock.run(5)
    world.faulty.come_back("kept:a", "kept:new")
    world.clock.run(0)
    got = {name: offsets(each) for name, each in events.items()}
    assert got == {"kept:a": [1, 2], "kept:b": [], "kept:new": [1]}
    assert world.second.stats.reconnects == 0
    world.faulty.come_back()
    world.clock.run(0)
    assert offsets(events["kept:b"]) == [1]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_a_full_queue_does_not_concern_topics_that_work(overflow: Any) -> None:
    """Messages that wait for one engine take no room from those for another."""
    world = TwoHubs(max_buffer=2 * 129, overflow=overflow)
    away, works = world.second.topic("kept:a"), world.second.topic("kept:b")
    got_away, got = world.collect(away), world.collect(works)
    world.faulty.go_away("kept:a")
    for n in range(3):
        away.on_next(n)
        world.clock.run(0)
    works.on_next(7)
    world.clock.run(0)
    assert got == [7]
    assert (world.second.stats.queued, world.second.stats.dropped) == (2, 1)
    world.faulty.come_back()
    world.clock.run(0)
    assert got_away == ([1, 2] if overflow == "drop_oldest" else [0, 1])


def test_messages_that_wait_are_not_tried_for_each_other_message() -> None:
    """A message for an engine that works costs the same, however many wait for another one."""
    world = TwoHubs()
    away, works = world.second.topic("kept:a"), world.second.topic("kept:b")
    world.collect(away)
    world.collect(works)
    asked: list[str] = []
    available = world.faulty.available

    def count(topic: str) -> bool:
        asked.append(topic)
        return available(topic)

    world.faulty.go_away("kept:a")
    away.on_next(1)
    world.clock.run(0)
    world.faulty.available = count  # type: ignore[method-assign]
    for n in range(3):
        works.on_next(n)
        world.clock.run(0)
    assert asked == ["kept:b"] * 3


def test_topics_whose_messages_were_dropped_are_forgotten() -> None:
    """A long absence with many topics takes no more memory than the messages that wait."""
    world = TwoHubs(max_buffer=4 * 129)
    world.second.topic("kept:0").subscribe()
    world.faulty.go_away(*(f"kept:{n}" for n in range(100)))
    for n in range(100):
        world.second.topic(f"kept:{n}").on_next(1)
        world.clock.run(0)
    assert world.second.stats.queued == 4
    assert len(world.second._registry.publisher._waiting_topics) < 12


def test_cancelled_publishes_take_no_room() -> None:
    """A withdrawn message does not displace one that waits."""
    world = TwoHubs(max_buffer=2 * 129)
    topic = world.second.topic("kept:a")
    got = world.collect(topic)
    world.faulty.go_away("kept:a")

    async def give_up() -> None:
        publishing = asyncio.ensure_future(topic.publish(9))
        await asyncio.sleep(0)
        world.clock.run(0)
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        world.clock.run(0)

    for n in (1, 2):
        asyncio.run(give_up())
        topic.on_next(n)
        world.clock.run(0)
    world.faulty.come_back()
    world.clock.run(0)
    assert got == [1, 2]
    assert world.second.stats.dropped == 0


def test_a_stalled_read_goes_on_when_its_engine_is_back(world: TwoHubs) -> None:
    """A hole is read as soon as the topic's own engine answers."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.faulty.lose = 1
    world.publish(1)
    world.faulty.delay = True
    world.publish(2)  # the hole is being read
    world.faulty.go_away("kept:a", "kept:b")
    world.faulty.answer()
    world.faulty.delay = False
    world.clock.run(5)
    assert events == []
    world.faulty.come_back("kept:a")
    world.clock.run(0)
    assert offsets(events) == [1, 2]


def test_a_refused_message_is_not_tried_again_because_another_engine_is_away(
    world: TwoHubs,
) -> None:
    """What the engine of a topic refuses while another one is away counts as refused."""
    topic = world.second.topic("kept:b")
    world.collect(topic)
    world.faulty.go_away("kept:a")
    world.faulty.fail = BackplaneError("out of memory")
    world.faulty.available = lambda topic: topic != "kept:a"  # type: ignore[method-assign]
    topic.on_next(1)
    world.clock.run(0)
    assert (world.second.stats.refused, world.second.stats.queued) == (1, 0)


def test_failures_of_another_engine_are_no_absence(world: TwoHubs) -> None:
    """While one engine is away, a failed read of another is a gap, a failed attach is retried."""
    topic = world.second.topic("kept:b")
    world.collect(topic)
    world.faulty.go_away("kept:a")
    world.faulty.available = lambda topic: topic != "kept:a"  # type: ignore[method-assign]
    world.faulty.fail = BackplaneError("no")
    view = world.collect(topic.since(Position("old", 1)))
    assert offsets(view) == ["unavailable"]
    new = world.collect(world.second.topic("kept:new").messages())
    world.faulty.fail = None
    world.clock.run(1)
    world.publish(1, topic="kept:new")
    assert offsets(new) == [1]


async def test_stopping_waits_for_the_engines_that_work() -> None:
    """A hub that stops while one engine is away still waits for the answers of the others."""
    backplane = FaultyBackplane()
    results: list[Any] = []
    async with Hub(topics=KEEP, backplane=backplane) as hub:
        topic = hub.topic("kept:b")
        topic.messages().subscribe(results.append)
        backplane.go_away("kept:a")
        backplane.delay = True
        topic.on_next("x")
        hub._registry.publisher.flush()
        assert hub._registry.publisher.in_flight == 1
        hub._registry.post(backplane.answer)
        hub._registry.post(backplane.answer)
    assert hub.stats.confirmed == 1


async def test_messages_that_fail_at_the_end_are_not_left_behind() -> None:
    """If an engine that is away fails a message at the stop, `publish` raises."""

    class Ending(FaultyBackplane):
        async def stop(self) -> None:
            self.answer()
            await super().stop()

    backplane = Ending()
    async with Hub(topics=KEEP, backplane=backplane) as hub:
        topic = hub.topic("kept:a")
        topic.subscribe()
        backplane.delay = True
        publishing = asyncio.ensure_future(topic.publish("x"))
        while not hub._registry.publisher.in_flight:  # noqa: ASYNC110  # no event says it
            await asyncio.sleep(0)
        backplane.go_away("kept:a")
    with pytest.raises(BackplaneError, match="has stopped"):
        async with asyncio.timeout(PATIENCE):
            await publishing
    assert (hub.stats.queued, hub.stats.dropped) == (0, 1)


@pytest.mark.promise("hub-order")
def test_messages_that_an_engine_returns_come_first_when_it_is_back_at_once() -> None:
    """A message that was published meanwhile does not overtake one that failed."""
    world = TwoHubs()
    topic = world.second.topic("kept:a")
    got = world.collect(topic)
    world.faulty.delay = True
    topic.on_next(1)
    world.clock.run(0)
    topic.on_next(2)
    world.faulty.go_away("kept:a")
    world.faulty.answer()
    world.faulty.delay = False
    world.faulty.come_back()
    world.clock.run(0)
    assert got == [1, 2]
