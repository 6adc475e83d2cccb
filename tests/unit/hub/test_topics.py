"""`Hub` and its topics, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from typing import Any, cast

import pytest
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops

import rxws
from rxws.hub import (
    Away,
    BackplaneError,
    Connected,
    Gap,
    Hub,
    Keep,
    LocalBackplane,
    Message,
    Position,
    Publication,
    Unconfirmed,
)
from rxws.testing import Clock
from support.faulty_backplane import FaultyBackplane
from support.virtual.fake_backplane import FakeBackplane
from support.virtual.two_hubs import KEEP, TwoHubs, offsets


@pytest.fixture
def world() -> TwoHubs:
    return TwoHubs()


@pytest.mark.promise("hub-order")
def test_all_subscribers_of_all_hubs_get_what_is_published(world: TwoHubs) -> None:
    """A message reaches the subscribers of both hubs, also in the publishing one."""
    here, there = (world.collect(hub.topic("a")) for hub in (world.first, world.second))
    world.publish({"x": 1}, topic="a")
    assert here == there == [{"x": 1}]


def test_all_subscribers_of_a_hub_get_one_decoded_object(world: TwoHubs) -> None:
    """A message is decoded once, and never the pushed object itself."""
    one, other = world.collect(world.first.topic("a")), world.collect(world.first.topic("a"))
    value = {"x": 1}
    world.publish(value, topic="a")
    assert one[0] is other[0]
    assert one[0] is not value


def test_whoever_subscribes_and_then_pushes_sees_the_message(world: TwoHubs) -> None:
    """Messages wait while their topic is being attached."""
    world.faulty.delay = True
    topic = world.second.topic("kept:a")
    got = world.collect(topic)
    topic.on_next(1)
    world.clock.run(0)
    assert world.second.stats.queued == 1
    world.faulty.answer()
    world.faulty.delay = False
    world.clock.run(0)
    assert got == [1]


@pytest.mark.promise("hub-order")
def test_messages_that_waited_come_before_new_ones(world: TwoHubs) -> None:
    """A message that is pushed when the topic has just been attached does not overtake."""
    world.faulty.delay = True
    topic = world.second.topic("a")
    got = world.collect(topic)
    topic.on_next(1)
    world.clock.run(0)
    world.faulty.delay = False
    world.faulty.answer()
    topic.on_next(2)
    world.clock.run(0)
    assert got == [1, 2]


def test_messages_have_consecutive_positions(world: TwoHubs) -> None:
    """`messages()` emits values with positions of one epoch."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1, 2, 3)
    assert [e.value for e in events] == [1, 2, 3]
    assert offsets(events) == [1, 2, 3]


def test_an_unnumbered_topic_has_no_positions(world: TwoHubs) -> None:
    """A topic without a `Keep` emits messages without positions."""
    events = world.collect(world.second.topic("a").messages())
    world.publish(1, topic="a")
    assert events == [Message(1, None)]


@pytest.mark.promise("hub-gaps")
def test_lost_messages_are_read(world: TwoHubs) -> None:
    """A message that did not arrive is read when the next one shows that it is missing."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1)
    world.faulty.lose = 2
    world.publish(2, 3, 4)
    assert offsets(events) == [1, 2, 3, 4]
    assert world.second.stats.healed == 3


@pytest.mark.promise("hub-gaps")
def test_a_probe_finds_the_last_message(world: TwoHubs) -> None:
    """If the last message was lost, the position that a probe finds heals it."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.faulty.lose = 1
    world.publish(1)
    assert events == []
    world.faulty.probe()
    world.clock.run(0)
    assert offsets(events) == [1]


@pytest.mark.promise("hub-restart")
def test_a_view_that_begins_at_a_restart_gets_the_gap(world: TwoHubs) -> None:
    """Resuming after the last message of the old order shows that a new order has begun."""
    world.publish(1)
    topic = world.second.topic("kept:a")
    live = world.collect(topic.messages())
    world.publish(2)
    last = live[-1].position
    world.faulty.delay = True
    world.backplane.restart()
    world.clock.run(0)
    events: list[Any] = []
    world.faulty.answer()
    topic.since(last).subscribe(events.append)
    world.faulty.delay = False
    world.clock.run(0)
    world.publish(3)
    assert offsets(events) == ["restarted", 1]


@pytest.mark.promise("hub-since")
def test_repeated_messages_are_dropped(world: TwoHubs) -> None:
    """A message that arrives twice is emitted once."""
    world.faulty.repeat = True
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1, 2)
    assert offsets(events) == [1, 2]


@pytest.mark.promise("hub-gaps")
def test_trimmed_messages_are_a_gap(world: TwoHubs) -> None:
    """A gap reports missing messages that are no longer kept."""
    world = TwoHubs(topics={"kept:*": Keep(2)})
    topic = world.second.topic("kept:a")
    events, values, gaps = map(world.collect, (topic.messages(), topic, topic.gaps))
    world.publish(1)
    world.faulty.lose = 4
    world.publish(2, 3, 4, 5, 6)
    epoch = events[0].position.epoch
    gap = Gap(Position(epoch, 1), Position(epoch, 5), "trimmed")
    assert events[1] == gap
    assert offsets(events) == [1, "trimmed", 5, 6]
    assert values == [1, 5, 6]
    assert gaps == [gap]
    assert world.second.stats.gaps == {"trimmed": 1}


@pytest.mark.promise("hub-restart")
def test_a_restart_of_the_backplane_is_a_gap(world: TwoHubs) -> None:
    """A gap reports another epoch, although nothing was lost."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1)
    world.backplane.restart()
    world.publish(2)
    assert offsets(events) == [1, "restarted", 1]
    assert events[1].before == events[2].position


@pytest.mark.promise("hub-restart")
def test_a_message_of_another_epoch_is_a_gap(world: TwoHubs) -> None:
    """A restart that nobody reports is found by the next message."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1)
    world.faulty.lose = 1
    world.backplane.restart()
    world.faulty.lose = 0
    world.publish(2)
    assert offsets(events) == [1, "restarted", 1]


@pytest.mark.promise("hub-since")
def test_since_continues_after_a_position(world: TwoHubs) -> None:
    """`since` emits what is kept after a position, then live messages; nothing twice."""
    events = world.collect(world.first.topic("kept:a").messages())
    world.publish(1, 2, 3)
    view = world.collect(world.second.topic("kept:a").since(events[0].position))
    world.publish(4)
    assert offsets(view) == [2, 3, 4]
    text = world.collect(
        world.second.topic("kept:a").since(Position.parse(str(events[2].position)))
    )
    assert offsets(text) == [4]


@pytest.mark.promise("hub-since")
def test_since_an_unknown_position_begins_with_a_gap(world: TwoHubs) -> None:
    """A gap reports a position of another epoch, or one in the future."""
    world.publish(1, 2)
    view = world.collect(world.second.topic("kept:a").since(Position("other", 1)))
    assert offsets(view) == ["restarted", 1, 2]
    assert view[0].after == Position("other", 1)
    assert view[0].before == view[1].position
    future = Position(view[1].position.epoch, 9)
    assert offsets(world.collect(world.first.topic("kept:a").since(future)))[:1] == ["unavailable"]


@pytest.mark.promise("hub-since")
def test_since_a_trimmed_position_begins_with_a_gap(world: TwoHubs) -> None:
    """If messages after the position are gone, a gap comes before the rest."""
    events = world.collect(world.first.topic("kept:a").messages())
    world.publish(*range(15))
    view = world.collect(world.second.topic("kept:a").since(events[1].position))
    assert offsets(view) == ["trimmed", *range(6, 16)]


@pytest.mark.promise("hub-since")
def test_messages_that_arrive_while_history_is_read_come_once(world: TwoHubs) -> None:
    """A view emits history, then what was delivered meanwhile, then live messages."""
    live = world.collect(world.second.topic("kept:a").messages())
    start = Position("", 0)
    world.publish(1, 2)
    start = Position(live[0].position.epoch, 0)
    world.clock.run(61)  # the ring must not answer
    world.publish(3)
    world.faulty.delay = True
    view = world.collect(world.second.topic("kept:a").since(start))
    rewound = world.collect(world.second.topic("kept:a").rewind(10))
    world.publish(4)
    assert view == rewound == []
    world.faulty.delay = False
    world.faulty.answer()
    world.clock.run(0)
    world.publish(5)
    assert offsets(view) == ["trimmed", 3, 4, 5]
    assert rewound == [3, 4, 5]


def test_a_view_that_waits_too_long_gets_a_gap(world: TwoHubs) -> None:
    """What was delivered beyond a bound while the history was read is a gap."""
    world.publish(0)
    topic = world.second.topic("kept:a")
    live, gaps = world.collect(topic.messages()), world.collect(topic.gaps)
    world.faulty.delay = True
    view = world.collect(topic.since(Position("other", 1)))
    rewound = world.collect(topic.rewind(3))
    backplane = world.backplane
    answers: list[Any] = []
    backplane.read("kept:a", None, None, answers.append)
    world.faulty._broker.read = lambda *_, **__: answers[0]  # type: ignore[method-assign]
    world.publish(*range(1, 101))
    world.faulty.delay = False
    world.faulty.answer()
    world.clock.run(0)
    world.publish(101)
    assert len(live) == 101
    assert offsets(view) == ["restarted", 1, "overflow", 102]
    assert view[2] == Gap(view[1].position, view[3].position, "overflow")
    assert rewound == [98, 99, 100, 101]  # it began later, with the recent messages
    assert gaps == []


def test_rewind_emits_the_newest_first(world: TwoHubs) -> None:
    """`rewind(n)` emits n kept values, then live ones, and gets the rest from the ring."""
    world.publish(*range(15))
    topic = world.second.topic("kept:a")
    assert world.collect(topic.rewind(3)) == [12, 13, 14]
    assert world.collect(topic.rewind(99)) == list(range(5, 15))
    reads = len(world.faulty.reads)
    view = world.collect(topic.rewind(99))
    world.publish(*range(15, 27))
    assert view == list(range(5, 27))
    assert world.collect(topic.rewind(99)) == list(range(17, 27))
    assert len(world.faulty.reads) == reads


def test_messages_may_begin_with_the_newest(world: TwoHubs) -> None:
    """`messages(last=n)` emits n kept messages with their positions, then live ones."""
    world.publish(*range(15))
    events = world.collect(world.second.topic("kept:a").messages(last=3))
    world.publish(15)
    assert offsets(events) == [13, 14, 15, 16]
    assert [each.value for each in events] == [12, 13, 14, 15]


def test_rewind_does_not_emit_expired_messages(world: TwoHubs) -> None:
    """What is older than `Keep.seconds` is not rewound, though the process still has it."""
    topic = world.second.topic("kept:a")
    world.collect(topic)
    world.publish(1)
    world.clock.run(61)
    world.publish(2)
    assert world.collect(topic.rewind(5)) == [2]


def test_many_views_share_one_read(world: TwoHubs) -> None:
    """5000 views that resume within some turns share two reads at most, and all continue."""
    events = world.collect(world.first.topic("kept:a").messages())
    world.publish(*range(8))
    views: list[list[Any]] = []
    for n in range(5000):
        got: list[Any] = []
        views.append(got)
        world.second.topic("kept:a").since(events[n % 8].position).subscribe(got.append)
        if n % 500 == 0:
            world.clock.run(0)
    world.clock.run(0)
    world.publish(8)
    for n, got in enumerate(views):
        assert offsets(got) == list(range(n % 8 + 2, 10))
    assert len(world.faulty.reads) <= 2


def test_a_view_that_takes_enough_ends(world: TwoHubs) -> None:
    """A view may be disposed while it emits its history, or before."""
    world.publish(1, 2, 3)
    topic = world.second.topic("kept:a")
    assert world.collect(topic.rewind(3).pipe(ops.take(2))) == [1, 2]
    got: list[Any] = []
    topic.rewind(3).subscribe(got.append).dispose()
    world.clock.run(10)
    assert got == []
    assert world.second.stats.topics == 0


def test_a_topic_without_subscribers_is_detached(world: TwoHubs) -> None:
    """Nothing is left 5 s after the last subscriber has left; a new one in between keeps it."""
    for _ in range(300):
        subscription = world.second.topic("kept:a").subscribe()
        world.clock.run(0.01)
        subscription.dispose()
    assert world.second.stats.topics == 1
    subscription = world.second.topic("kept:a").subscribe()
    world.clock.run(10)
    assert world.second.stats.topics == 1
    subscription.dispose()
    world.clock.run(4.9)
    assert world.second.stats.topics == 1
    world.clock.run(0.2)
    assert world.second.stats.topics == 0
    assert not world.faulty.attached
    assert world.clock.pending == 0


@pytest.mark.parametrize("stop", [False, True])
def test_a_detached_topic_is_freed_at_once(world: TwoHubs, stop: bool) -> None:
    """It is in no reference cycle, so that it needs no garbage collector."""
    hub = world.second
    topic = hub.topic("kept:a")
    subscriptions = [topic.subscribe(), topic.rewind(2).subscribe(), topic.gaps.subscribe()]
    world.publish(1, topic="kept:a")
    attached = weakref.ref(cast(Any, hub._registry.find("kept:a")))
    gc.disable()
    try:
        if stop:
            hub._registry._close_topics()
        for subscription in subscriptions:
            subscription.dispose()
        world.clock.run(5)
        assert attached() is None
    finally:
        gc.enable()


def test_a_hold_keeps_a_topic_attached(world: TwoHubs) -> None:
    """`hold` does as a subscriber."""
    registry = world.second._registry
    hold = registry.hold("a")
    world.clock.run(10)
    assert registry.is_attached("a")
    hold.dispose()
    hold.dispose()
    world.clock.run(10)
    assert not registry.is_attached("a")


def test_a_subscriber_that_raises_does_not_stop_the_others(
    world: TwoHubs, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception is logged once with the topic's name; the others get all messages."""

    def fail(value: Any) -> None:
        raise KeyError(value)

    topic = world.first.topic("kept:a")
    topic.subscribe(fail)
    topic.rewind(3).subscribe(fail)
    got = world.collect(topic)
    world.publish(1, 2)
    assert got == [1, 2]
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "a subscriber of topic 'kept:a' raised: 1" in record.getMessage()


def test_an_interrupt_reaches_the_loop_after_all_were_notified(world: TwoHubs) -> None:
    """A KeyboardInterrupt propagates, and nobody misses a message."""

    def interrupt(value: Any) -> None:
        if value == 1:
            raise KeyboardInterrupt

    topic = world.first.topic("kept:a")
    topic.subscribe(interrupt)
    got = world.collect(topic)
    with pytest.raises(KeyboardInterrupt):
        world.publish(1, 2)
    world.clock.run(0)
    assert got == [1, 2]


def test_subscribers_may_publish_subscribe_and_dispose(world: TwoHubs) -> None:
    """All is possible inside `on_next`: messages stay in order, and a view continues there."""
    topic = world.first.topic("kept:a")
    views: list[list[Any]] = []

    def on_next(value: int) -> None:
        if value < 3:
            topic.on_next(value + 1)
        got: list[Any] = []
        views.append(got)
        topic.rewind(10).subscribe(got.append)
        if value == 2:
            subscription.dispose()

    subscription = topic.subscribe(on_next)
    got = world.collect(topic)
    world.publish(1)
    assert got == [1, 2, 3]
    assert views == [[1, 2, 3], [1, 2, 3]]


def test_the_end_of_a_publisher_leaves_a_topic_open(
    world: TwoHubs, caplog: pytest.LogCaptureFixture
) -> None:
    """`on_completed`, `on_error` and `dispose` of one publisher end nothing."""
    topic = world.first.topic("a")
    got = world.collect(topic)
    rx.of(1).subscribe(topic)
    topic.on_error(rxws.ConnectionClosed(rxws.Close(1006)))
    assert not caplog.records
    topic.on_error(ValueError("mistake"))
    assert "a publisher of topic 'a' failed: mistake" in caplog.text
    topic.dispose()
    topic.on_next(2)
    world.clock.run(0)
    assert got == [1, 2]


def test_a_value_that_cannot_be_encoded_raises(world: TwoHubs) -> None:
    """The publisher gets the `EncodeError`."""
    with pytest.raises(rxws.EncodeError, match="not JSON serializable"):
        world.first.topic("a").on_next(object())


def test_a_message_that_cannot_be_decoded_is_a_gap(
    world: TwoHubs, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process has published with another codec: that is told, and logged once."""
    events = world.collect(world.second.topic("kept:a").messages())
    raw = Hub(backplane=world.backplane.peer(), scheduler=world.clock, topics=KEEP)
    world.publish(1)
    for text in ("{", "["):
        raw.topic("kept:a").on_next(text)
    world.clock.run(0)
    world.publish(4)
    assert offsets(events) == [1, "undecodable", "undecodable", 4]
    assert events[1].before == Position(events[0].position.epoch, 3)
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1


def test_messages_that_arrive_too_early_are_bounded_and_counted(
    world: TwoHubs, caplog: pytest.LogCaptureFixture
) -> None:
    """Of unnumbered messages of a topic that is being attached, 1 MiB waits; the log says so."""
    world.faulty.delay = True
    got = world.collect(world.second.topic("a"))
    early = Publication('"' + 600_000 * "x" + '"', None)
    for _ in range(4):
        world.faulty._receiver.on_publication("a", early)
    world.faulty.answer()
    world.clock.run(0)
    assert len(got) == 1
    assert world.second.stats.dropped == 3
    (warning,) = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.startswith("topic 'a': dropped a message without a position: more than 1000")


@pytest.mark.promise("hub-away")
def test_while_away_numbered_messages_wait(world: TwoHubs) -> None:
    """They are published when the backplane is back; unnumbered ones are handed over at once."""
    topic = world.second.topic("kept:a")
    statuses, got = world.collect(world.second.status), world.collect(topic)
    world.faulty.go_away()
    topic.on_next(1)
    topic.on_next(2)
    world.clock.run(5)
    assert got == []
    assert world.second.stats.queued == 2
    assert world.second.stats.lag == 5
    world.faulty.come_back()
    world.clock.run(0)
    assert got == [1, 2]
    assert [type(each) for each in statuses] == [Connected, Away, Connected]
    assert world.second.stats.reconnects == 1


def test_messages_that_fail_while_away_are_published_later(world: TwoHubs) -> None:
    """A message that the backplane certainly did not take waits, in its order."""
    topic = world.second.topic("kept:a")
    got = world.collect(topic)
    world.faulty.delay = True
    topic.on_next(1)
    topic.on_next(2)
    world.clock.run(0)
    world.faulty.go_away()
    world.faulty.answer()
    world.clock.run(0)
    topic.on_next(3)
    world.clock.run(0)
    world.faulty.delay = False
    world.faulty.come_back()
    world.clock.run(0)
    assert got == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "field"), [(BackplaneError, "refused"), (Unconfirmed, "unconfirmed")]
)
def test_failed_publishes_are_counted(world: TwoHubs, error: type[Exception], field: str) -> None:
    """Without an answer to give to, the failure is counted, and refusals are logged."""
    world.collect(world.second.topic("kept:a"))
    world.faulty.fail = error("no")
    world.second.topic("kept:a").on_next(1)
    world.clock.run(0)
    assert getattr(world.second.stats, field) == 1
    assert world.second.stats.confirmed == 0


@pytest.mark.parametrize(
    ("overflow", "left"),
    [
        ("drop_oldest", [2, 3]),
        ("drop_newest", [0, 1]),
        (rxws.overflow.latest(lambda value: value % 2), [2, 3]),
    ],
)
def test_waiting_messages_are_bounded(overflow: Any, left: list[int]) -> None:
    """Beyond `max_buffer` messages are dropped as `overflow` says, and counted."""
    world = TwoHubs(max_buffer=2 * 129, overflow=overflow)
    topic = world.second.topic("kept:a")
    got = world.collect(topic)
    world.faulty.go_away()
    for n in range(4):
        topic.on_next(n)
    world.clock.run(0)
    world.faulty.come_back()
    world.clock.run(0)
    assert got == left
    assert world.second.stats.dropped == 2


@pytest.mark.promise("hub-away")
def test_missed_messages_are_healed_or_a_gap_after_an_absence(world: TwoHubs) -> None:
    """When the backplane is back, the messages published meanwhile are read."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1)
    world.faulty.go_away()
    world.publish(2, 3)
    view = world.collect(world.second.topic("kept:a").since(Position("old", 1)))
    world.clock.run(30)
    assert offsets(events) == [1]
    assert view == []
    world.faulty.come_back()
    world.clock.run(0)
    assert offsets(events) == [1, 2, 3]
    assert offsets(view) == ["restarted", 1, 2, 3]


def test_a_topic_is_attached_when_the_backplane_is_back(world: TwoHubs) -> None:
    """Subscribing works while it is away."""
    world.collect(world.second.topic("kept:b"))
    world.faulty.go_away()
    got = world.collect(world.second.topic("kept:a"))
    world.faulty.come_back()
    world.publish(1)
    assert got == [1]


@pytest.mark.promise("hub-gaps")
def test_failed_reads_are_tried_again_and_then_a_gap(world: TwoHubs) -> None:
    """If reading fails three times though the backplane is connected, a gap takes its place."""
    events = world.collect(world.second.topic("kept:a").messages())
    world.publish(1)
    world.faulty.lose, world.faulty.fail = 1, BackplaneError("no")
    world.publish(2, 3)
    assert offsets(events) == [1]
    world.clock.run(3)
    assert offsets(events) == [1, "unavailable", 3]
    assert len(world.faulty.reads) == 3
    assert offsets(world.collect(world.second.topic("kept:a").since(Position("x", 1)))) == [
        "unavailable"
    ]


def test_a_failed_attach_is_tried_again(world: TwoHubs, caplog: pytest.LogCaptureFixture) -> None:
    """Attaching is tried every second, and the failure is logged."""
    world.faulty.fail = BackplaneError("no")
    got = world.collect(world.second.topic("kept:a"))
    world.clock.run(2)
    world.faulty.fail = None
    world.clock.run(1)
    world.publish(1)
    assert got == [1]
    assert "cannot attach topic 'kept:a': no" in caplog.text


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda hub: hub.topic(5), TypeError, "no str"),
        (lambda hub: hub.topic("$rxws:x"), ValueError, "reserved"),
        (lambda hub: hub.topic("a").rewind(3), ValueError, r"Hub\(topics="),
        (lambda hub: hub.topic("a").since(Position("e", 1)), ValueError, "keeps no messages"),
        (lambda hub: hub.topic("kept:a").since(5), TypeError, "message.position"),
        (
            lambda hub: hub.topic("kept:a").since(cast(Any, "garbage")),
            TypeError,
            r"'garbage' is a text: use since\(Position\.parse\(text\)\)",
        ),
        (lambda hub: hub.topic("kept:a").since(cast(Any, "e:1")), TypeError, "Position.parse"),
        (lambda hub: hub.topic("kept:a").since(None), TypeError, "message.position"),
        (
            lambda hub: hub.topic("kept:a").since(Position("e", cast(Any, "5"))),
            TypeError,
            "a str and",
        ),
        (
            lambda hub: hub.topic("kept:a").since(Position(cast(Any, None), 5)),
            TypeError,
            "a str and",
        ),
        (lambda hub: hub.topic("kept:a").since(Position("e", -1)), ValueError, "below 0"),
        (lambda hub: hub.topic("kept:a").rewind(0), ValueError, "count=0"),
        (lambda hub: hub.topic("kept:a").messages(last=-1), ValueError, "last=-1"),
        (lambda hub: hub.topic("a").messages(last=3), ValueError, "keeps no messages"),
        (lambda hub: Hub(codec=cast(Any, 1)), TypeError, "codec=1"),
        (
            lambda hub: Hub(backplane=cast(Any, "redis://x")),
            TypeError,
            "redis://x'.*RedisBackplane",
        ),
        (lambda hub: Hub(backplane=cast(Any, LocalBackplane)), TypeError, "backplane=<class"),
        (lambda hub: Hub(scheduler=cast(Any, 5)), TypeError, "scheduler=5"),
        (lambda hub: LocalBackplane(cast(Any, 5)), TypeError, "scheduler=5"),
        (lambda hub: Hub(max_buffer=0), ValueError, "max_buffer=0"),
        (lambda hub: Hub(overflow="close"), ValueError, "overflow='close'"),
        (lambda hub: Hub(topics={"a*b": Keep(1)}), ValueError, "last character"),
    ],
)
def test_mistakes_are_told(world: TwoHubs, call: Any, error: type[Exception], text: str) -> None:
    """The error names the value and the remedy."""
    with pytest.raises(error, match=text):
        call(world.first)


def test_without_a_loop_subscribing_raises() -> None:
    """A hub needs an event loop or a scheduler; what is pushed before waits."""
    hub = Hub()
    hub.topic("a").on_next("early")
    with pytest.raises(RuntimeError, match=r"Hub\(scheduler=\.\.\.\)"):
        hub.topic("a").subscribe()
    assert hub.stats.queued == 1


# --- with an event loop -------------------------------------------------------------------------


@pytest.mark.promise("hub-publish")
async def test_publish_returns_the_position() -> None:
    """`await publish` confirms; the same id is published once."""
    async with Hub(topics={"a": Keep(3)}) as hub:
        topic = hub.topic("a")
        first = await topic.publish("x", id="1")
        assert first is not None
        assert await topic.publish("again", id="1") == first
        assert await topic.publish("y") == (first.epoch, 2)
        assert await hub.topic("unnumbered").publish("z") is None
        with pytest.raises(ValueError, match="keeps no messages"):
            await hub.topic("unnumbered").publish("z", id="1")
        with pytest.raises(ValueError, match="empty"):
            await topic.publish("z", id="")
        with pytest.raises(TypeError, match="id=5"):
            await topic.publish("z", id=5)  # type: ignore[arg-type]


@pytest.mark.promise("hub-publish")
async def test_publish_raises_what_the_backplane_says() -> None:
    """`Unconfirmed` and `BackplaneError` reach the caller."""
    backplane = FaultyBackplane()
    async with Hub(topics={"a": Keep(3)}, backplane=backplane) as hub:
        backplane.fail = Unconfirmed("lost")
        with pytest.raises(Unconfirmed, match="lost"):
            await hub.topic("a").publish("x")
        backplane.fail = None


async def test_a_cancelled_publish_is_withdrawn_if_it_waits() -> None:
    """Whoever stops waiting for a message that was never handed over does not publish it."""
    backplane = FaultyBackplane()
    async with Hub(topics={"a": Keep(3)}, backplane=backplane) as hub:
        backplane.go_away()
        publishing = asyncio.ensure_future(hub.topic("a").publish("x"))
        await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait([publishing])
        assert publishing.cancelled()
        backplane.come_back()
        assert await hub.topic("a").publish("y") is not None
        assert hub.stats.published == 1


async def test_a_dropped_publish_raises() -> None:
    """A message that is dropped because too many wait raises `BackplaneError`."""
    backplane = FaultyBackplane()
    async with Hub(topics={"a": Keep(3)}, backplane=backplane, max_buffer=1) as hub:
        backplane.go_away()
        publishing = asyncio.ensure_future(hub.topic("a").publish("x"))
        await asyncio.sleep(0)
        hub.topic("a").on_next("y")
        with pytest.raises(BackplaneError, match="max_buffer"):
            await publishing
    assert hub.stats.dropped == 2


async def test_stopping_publishes_what_waits_and_completes_subscribers() -> None:
    """The end of a hub confirms its last messages, and completes the streams of its topics."""
    backplane = LocalBackplane()
    other = Hub(backplane=backplane.peer())
    got: list[str] = []
    other.topic("a").subscribe(got.append)
    ends: list[str] = []
    async with Hub(backplane=backplane, topics={"k": Keep(1)}) as hub:
        hub.topic("k").subscribe(on_completed=lambda: ends.append("topic"))
        hub.topic("k").rewind(1).subscribe(on_completed=lambda: ends.append("view"))
        await asyncio.sleep(0)
        hub.topic("a").on_next("last")
    assert ends == ["topic", "view"]
    assert hub.stats.confirmed == 1
    await asyncio.sleep(0)
    assert got == ["last"]


async def test_any_thread_may_push_but_not_subscribe() -> None:
    """`on_next` is passed to the loop in order; `subscribe` raises in other threads."""
    async with Hub() as hub:
        topic = hub.topic("a")
        got: list[str] = []
        done = asyncio.Event()

        def on_next(value: str) -> None:
            got.append(value)
            if value == "99":
                done.set()

        subscription = topic.subscribe(on_next)
        errors: list[Exception] = []

        def work() -> None:
            for n in range(100):
                topic.on_next(str(n))
            try:
                topic.subscribe()
            except RuntimeError as exc:
                errors.append(exc)
            subscription_2.dispose()

        subscription_2 = topic.subscribe()
        thread = threading.Thread(target=work)
        thread.start()
        async with asyncio.timeout(10):
            await done.wait()
        thread.join()
        assert got == [str(n) for n in range(100)]
        assert "topic 'a' was subscribed from another thread" in str(errors[0])
        subscription.dispose()


def test_a_hub_outlives_its_event_loop() -> None:
    """A hub of a module is used in the next loop after its own was closed without `stop`."""
    hub = Hub(topics={"a": Keep(5)})
    got: list[str] = []

    async def use(value: str) -> None:
        hub.topic("a").rewind(5).subscribe(got.append)
        await hub.topic("a").publish(value)
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(use("1"))
    asyncio.run(use("2"))
    assert got == ["1", "1", "2"]
    assert hub.stats.topics == 1


async def test_a_backplane_that_must_connect_needs_a_start() -> None:
    """Using a hub that was not started raises an error that says how to start it."""
    hub = Hub(backplane=FakeBackplane())
    with pytest.raises(RuntimeError, match=r"hub\.setup\(app\)"):
        hub.topic("a").subscribe()
    with pytest.raises(RuntimeError, match=r"hub\.setup\(app\)"):
        await hub.topic("a").publish(1)


async def test_an_application_runs_a_hub() -> None:
    """`setup` starts a hub with an application, and stops it at the cleanup."""
    app = web.Application()
    hub = Hub(topics={"a": Keep(1)})
    hub.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    ends: list[str] = []
    hub.topic("a").gaps.subscribe(on_completed=lambda: ends.append("gaps"))
    assert repr(hub) == "<Hub 1 topic>"
    assert repr(hub.topic("a")) == "<Topic 'a'>"
    assert hub.topic("a").name == "a"
    await runner.cleanup()
    assert ends == ["gaps"]
    assert repr(hub) == "<Hub 0 topics>"


async def test_a_backplane_that_cannot_start_fails_the_application() -> None:
    """A backplane's error at the start reaches the application."""

    class Remote(FakeBackplane):
        async def start(self, receiver: Any) -> None:
            raise BackplaneError("wrong password")

    app = web.Application()
    Hub(backplane=Remote()).setup(app)
    runner = web.AppRunner(app)
    with pytest.raises(BackplaneError, match="wrong password"):
        await runner.setup()
    await runner.cleanup()


@pytest.mark.parametrize("backplane", [FakeBackplane, LocalBackplane])
async def test_a_hub_starts_once(backplane: Any) -> None:
    """The second start of a running hub raises, and does not end it."""
    async with Hub(backplane=backplane()) as hub:
        ends: list[str] = []
        hub.topic("a").subscribe(on_completed=lambda: ends.append("a"))
        with pytest.raises(RuntimeError, match="runs already"):
            await hub.__aenter__()
        assert ends == []
    async with hub:
        assert ends == ["a"]


async def test_a_hub_that_was_used_can_start() -> None:
    """A hub in one process works before its start, which may come later."""
    hub = Hub()
    got: list[str] = []
    hub.topic("a").subscribe(got.append)
    async with hub:
        hub.topic("a").on_next("x")
    assert got == ["x"]


async def test_publish_before_the_start_raises() -> None:
    """A hub that has not started, or has stopped, lets nobody wait for a confirmation."""
    hub = Hub(backplane=FakeBackplane())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="has not started"):
            await hub.topic("a").publish("x")
        assert hub.stats.queued == 0
        async with hub:
            pass


async def test_stopping_does_not_wait_for_an_engine_that_is_away() -> None:
    """What could not be published is counted as dropped."""
    backplane = FaultyBackplane()
    async with Hub(topics={"a": Keep(3)}, backplane=backplane) as hub:
        hub.topic("a").subscribe()
        backplane.go_away()
        hub.topic("a").on_next("x")
    assert hub.stats.dropped == 1


@pytest.mark.promise("hub-order")
def test_messages_of_a_topic_do_not_overtake_each_other(world: TwoHubs) -> None:
    """Messages that wait for answers stay in their order."""
    world = TwoHubs(max_buffer=300)
    got = world.collect(world.second.topic("kept:a"))
    world.faulty.delay = True
    for n in range(4):
        world.second.topic("kept:a").on_next(n)
        world.clock.run(0)
    assert world.second.stats.queued == 1
    for _ in range(3):
        world.faulty.answer()
        world.clock.run(0)
    assert got == [0, 1, 2, 3]
    assert world.second.stats.dropped == 0


def test_observers_lists_the_subscribers(world: TwoHubs) -> None:
    """As with RxPY's Subject; a topic that is not attached has none."""
    topic = world.first.topic("a")
    assert topic.observers == []
    subscription = topic.subscribe()
    assert len(topic.observers) == 1
    subscription.dispose()
    assert topic.observers == []


def test_a_repeated_subscriber_of_status_is_logged(
    world: TwoHubs, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of a subscriber to `status` does not stop the hub."""

    def fail(_: object) -> None:
        raise ValueError("mistake")

    world.second.status.subscribe(fail)
    world.collect(world.second.topic("a"))
    world.faulty.go_away()
    assert "a subscriber of a hub raised: mistake" in caplog.text


async def test_stopping_waits_for_answers(caplog: pytest.LogCaptureFixture) -> None:
    """A hub stops when the backplane has answered its last message, or after a while."""
    backplane = FaultyBackplane()
    async with Hub(topics={"a": Keep(3)}, backplane=backplane) as hub:
        hub.topic("a").on_next("x")
        backplane.delay = True
        asyncio.get_running_loop().call_later(0.01, backplane.answer)
    assert hub.stats.confirmed == 1
    assert not caplog.records


async def test_stopping_does_not_wait_forever(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that does not answer is left after a while, which is logged."""
    monkeypatch.setattr("rxws.hub._registry._STOP_TIMEOUT", 0.01)
    backplane = FaultyBackplane()
    async with Hub(topics={"a": Keep(3)}, backplane=backplane) as hub:
        hub.topic("a").on_next("x")
        backplane.delay = True
    assert "a hub stopped before 1 of its messages were confirmed" in caplog.text


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Keep(cast(Any, "5")), TypeError, "number of messages"),
        (lambda: Keep(-1), ValueError, "0 or more"),
        (lambda: Keep(1, seconds=0), ValueError, "seconds"),
        (lambda: Hub(topics={"": Keep(1)}), ValueError, "empty"),
        (lambda: Hub(topics={"\ud800": Keep(1)}), ValueError, "surrogate"),
        (lambda: Hub(topics={"$rxws:*": Keep(1)}), ValueError, "reserved"),
        (lambda: Hub(topics={cast(Any, 5): Keep(1)}), TypeError, "5 is no str"),
        (lambda: Hub(topics=cast(Any, ["room:*"])), TypeError, "use a dict"),
        (lambda: Hub(topics=cast(Any, 0)), TypeError, "topics=0: use a dict"),
        (lambda: Hub(topics={"a": cast(Any, 5)}), TypeError, "rxws.Keep"),
        (lambda: Position.parse("5"), ValueError, "no position"),
        (lambda: Position.parse("e:" + "9" * 5000), ValueError, "999 is no position"),
        (lambda: Position.parse(cast(Any, None)), TypeError, "None is no str"),
    ],
)
def test_mistakes_in_what_topics_keep_are_told(
    make: Any, error: type[Exception], text: str
) -> None:
    """The error names the value and the remedy."""
    with pytest.raises(error, match=text):
        make()


def test_the_longest_pattern_decides() -> None:
    """Exact names come first, then the longest prefix."""
    clock = Clock()
    topics = {"a": Keep.latest(), "a*": Keep(2), "ab*": Keep(3), "*": Keep(4)}
    hub = Hub(scheduler=clock, topics=topics)
    for name, count in (("a", 1), ("ax", 2), ("abx", 3), ("x", 4)):
        topic = hub.topic(name)
        for n in range(6):
            topic.on_next(str(n))
        clock.run(0)
        got: list[str] = []
        topic.rewind(9).subscribe(got.append)
        clock.run(0)
        assert len(got) == count


def test_a_view_waits_for_an_engine_that_fails_and_goes_away(world: TwoHubs) -> None:
    """A read that fails while the backplane is away is done when it is back."""
    world.publish(1, 2)
    world.collect(world.second.topic("kept:a"))
    world.faulty.delay = True
    view = world.collect(world.second.topic("kept:a").rewind(5))
    world.faulty.go_away()
    world.faulty.answer()
    world.clock.run(5)
    assert view == []
    world.faulty.delay = False
    world.faulty.come_back()
    world.clock.run(0)
    assert view == [1, 2]


def test_a_topic_that_is_detached_ignores_late_answers(world: TwoHubs) -> None:
    """Whoever leaves while the topic is being attached or read leaves nothing behind."""
    world.faulty.delay = True
    world.second.topic("kept:a").rewind(5).subscribe().dispose()
    world.clock.run(6)
    world.faulty.answer()
    world.clock.run(6)
    world.second.topic("kept:a").rewind(5).subscribe().dispose()
    world.faulty.answer()
    world.clock.run(1)
    world.second.topic("kept:a").rewind(5).subscribe().dispose()
    world.clock.run(6)
    world.faulty.answer()
    world.clock.run(0)
    assert world.second.stats.topics == 0
    assert world.clock.pending == 0
