"""Long histories, which views get in several turns of the loop while messages go on arriving."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.disposable import SerialDisposable

import rxws
from rxws._core.schedulers.timers import call_later
from rxws.hub import Gap, Hub, Keep, Message, Position, _attached, _turns, _view
from support.virtual.two_hubs import TwoHubs

TURN = 1000  # messages of history in one turn


def hubs_that_keep(count: int) -> TwoHubs:
    return TwoHubs(topics={"kept:*": Keep(count, seconds=60)})


def publish_in_each_turn(hubs: TwoHubs, batches: list[int], first: int) -> Callable[[], int]:
    """Publish some numbers in each of the next turns; the result returns the last one."""
    last = first - 1
    rest = iter(batches)

    def publish() -> None:
        nonlocal last
        batch = next(rest, None)
        if batch is None:
            return
        for _ in range(batch):
            last += 1
            hubs.first.topic("kept:a").on_next(last)
        call_later(hubs.clock, 0, publish)

    call_later(hubs.clock, 0, publish)
    return lambda: last


def turns_of(hubs: TwoHubs, turns: int) -> list[int]:
    """Return a list with the number of the current turn, for this number of turns."""
    current = [0]

    def tick() -> None:
        current[0] += 1
        if current[0] < turns:
            call_later(hubs.clock, 0, tick)

    call_later(hubs.clock, 0, tick)
    return current


@pytest.mark.parametrize("how", ["rewind", "messages", "since"])
def test_a_long_history_takes_several_turns(how: str) -> None:
    """No turn has more than 1000 messages of it; the view gets all, in order, then live ones."""
    hubs = hubs_that_keep(5000)
    hubs.publish(*range(1, 5001))
    topic = hubs.second.topic("kept:a")
    turn = turns_of(hubs, 1000)
    got: list[tuple[int, int]] = []
    since = Position(epoch_of(hubs), 0)
    views: dict[str, Any] = {
        "rewind": topic.rewind(5000),
        "messages": topic.messages(last=5000).pipe(ops.map(value_of)),
        "since": topic.since(since).pipe(ops.map(value_of)),
    }
    views[how].subscribe(lambda value: got.append((turn[0], value)))
    last = publish_in_each_turn(hubs, [1] * 30, 5001)
    hubs.clock.run(0)
    assert [value for _, value in got] == list(range(1, last() + 1))
    assert last() == 5030
    assert max(Counter(turn for turn, _ in got).values()) <= TURN + 100
    assert hubs.second.stats.gaps == {}


def epoch_of(hubs: TwoHubs) -> str:
    top = hubs.backplane._broker.read("kept:a", None, 0).top
    return top.epoch


def value_of(event: Message[Any] | Gap) -> Any:
    return event.value if isinstance(event, Message) else event


def test_what_was_missed_is_delivered_in_several_turns() -> None:
    """Messages that a hub has missed while its backplane was away reach all subscribers."""
    hubs = hubs_that_keep(5000)
    topic = hubs.second.topic("kept:a")
    turn = [0]
    got: list[tuple[int, int]] = []
    topic.subscribe(lambda value: got.append((turn[0], value)))
    hubs.publish(1)
    hubs.faulty.go_away()
    hubs.publish(*range(2, 5001))
    turn = turns_of(hubs, 1000)
    hubs.faulty.come_back()
    publish_in_each_turn(hubs, [1] * 20, 5001)
    hubs.clock.run(0)
    assert [value for _, value in got] == list(range(1, 5021))
    assert max(Counter(turn for turn, _ in got).values()) <= TURN
    assert hubs.second.stats.healed == 4999


def test_a_view_that_is_disposed_gets_no_more_history() -> None:
    """Nothing arrives after `dispose`, within the history and after it; other views get all."""
    hubs = hubs_that_keep(3000)
    hubs.publish(*range(3000))
    topic = hubs.second.topic("kept:a")
    for at in (0, 99, 100, 150, 2999):
        subscription, got = SerialDisposable(), list[int]()

        def on_next(
            value: int, at: int = at, got: list[int] = got, its: SerialDisposable = subscription
        ) -> None:
            if not got:
                hubs.first.topic("kept:a").on_next(9000)  # it arrives while history is emitted
            got.append(value)
            if value == at:
                its.dispose()

        subscription.disposable = topic.rewind(3000).subscribe(on_next)
        others = hubs.collect(topic.rewind(3000))
        hubs.publish(9001)
        assert got == list(range(at + 1))
        assert others == [*range(3000), 9000, 9001]
        hubs.publish(*range(3000))


async def test_a_hub_that_stops_emits_the_rest_of_a_history() -> None:
    """The view gets what was read, and then completes."""
    hub = Hub(codec=rxws.codecs.json, topics={"*": Keep(5000)})
    got: list[Any] = []
    begun = asyncio.Event()

    def on_next(value: int) -> None:
        got.append(value)
        begun.set()

    async with hub:
        topic: rxws.hub.Topic[int] = hub.topic("a")
        for n in range(5000):
            topic.on_next(n)
        await topic.publish(5000)
        topic.rewind(5000).subscribe(on_next, on_completed=lambda: got.append("completed"))
        await begun.wait()
        assert len(got) < 5000
    assert got == [*range(1, 5001), "completed"]


def test_a_history_of_an_earlier_order_ends_with_a_gap() -> None:
    """The backplane restarts while history is emitted: all of it comes, then the gap, then live."""
    hubs = hubs_that_keep(3000)
    hubs.publish(*range(3000))
    topic = hubs.second.topic("kept:a")
    got: list[Any] = []

    def on_next(event: Any) -> None:
        got.append(value_of(event))
        if len(got) == 500:
            hubs.backplane.restart()
            hubs.first.topic("kept:a").on_next("new")

    topic.messages(last=3000).subscribe(on_next)
    hubs.clock.run(0)
    assert got[:3000] == list(range(3000))
    gap, new = got[3000:]
    assert (gap.reason, new) == ("restarted", "new")


@given(
    st.integers(0, 30),
    st.lists(st.lists(st.integers(0, 6), max_size=12), min_size=1, max_size=3),
    st.integers(4, 40),
    st.integers(0, 40),
    st.sampled_from(["since", "rewind"]),
)
def test_any_history_is_followed_by_live_messages(
    before: int, batches: list[list[int]], keep: int, count: int, how: str
) -> None:
    """Whatever arrives between the turns of a history, positions follow each other, or a gap says.

    Steps, turns and the memory of recent messages are small here.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_view, "STEP", 3)
        patch.setattr(_attached, "STEP", 3)
        patch.setattr(_turns, "_MAX_MESSAGES", 3)
        patch.setattr(_attached, "_MIN_RING", 4)
        patch.setattr(_attached, "_MAX_RING", 5)
        patch.setattr(_attached, "_MAX_BURST", 4)
        hubs = hubs_that_keep(keep)
        hubs.publish(*range(1, before + 1))
        topic = hubs.second.topic("kept:a")
        live = hubs.collect(topic.messages())
        start = Position(epoch_of(hubs), min(count, before))
        last, got = before, list[Any]()
        view = topic.since(start) if how == "since" else topic.messages(last=max(count, 1))
        view.subscribe(got.append)
        for some in batches:
            last = max(publish_in_each_turn(hubs, some, last + 1)(), last)
            hubs.clock.run(0)
            last = hubs.backplane._broker.read("kept:a", None, 0).top.offset
        hubs.publish(last + 1)
        if how == "since":
            expected = start.offset
        else:
            expected = got[0].position.offset - 1
            assert expected >= max(before - min(max(count, 1), keep), 0)
        for event in got:
            if isinstance(event, Gap):
                assert event.after is None or event.after.offset == expected
                assert event.before is not None
                assert event.before.offset > expected + 1
                assert event.reason == "trimmed"
                expected = event.before.offset - 1
                continue
            expected += 1
            assert (event.position.offset, event.value) == (expected, expected)
        assert expected == last + 1
        assert [event.value for event in live] == list(range(before + 1, last + 2))


def test_views_that_begin_in_several_turns_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The read waits until all of them have said how much they want."""
    monkeypatch.setattr(_turns, "TURN", 0.0)  # each takes a turn of its own
    hubs = hubs_that_keep(100)
    hubs.publish(*range(1, 101))
    topic = hubs.second.topic("kept:a")
    seen: list[list[Any]] = [[] for _ in range(20)]
    for count, values in enumerate(seen, 1):
        topic.rewind(count).subscribe(values.append)
    hubs.clock.run(0)
    assert [len(values) for values in seen] == list(range(1, 21))
    assert len(hubs.faulty.reads) == 1
