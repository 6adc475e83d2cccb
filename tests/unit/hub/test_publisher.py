"""The queue of messages that wait to be published."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import rxws
from rxws.hub import Done, PublishOverflow, PublishRequest
from support.virtual.two_hubs import TwoHubs

COST = 129
"""Bytes that a message with a payload of one digit counts."""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("drop_oldest", [5, 6, 7, 8]),
        ("drop_newest", [1, 2, 3, 4]),
        (rxws.overflow.latest(lambda value: value % 4), [5, 6, 7, 8]),
    ],
    ids=["drop_oldest", "drop_newest", "latest"],
)
def test_returned_messages_obey_the_bound(
    policy: PublishOverflow, expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Messages that an engine returns, as it is away, and newer ones wait within one bound."""
    hubs = TwoHubs(max_buffer=4 * COST, overflow=policy)
    got = hubs.collect(hubs.first.topic("kept:a"))
    topic = hubs.second.topic("kept:a")
    topic.subscribe()
    hubs.faulty.delay = True
    for n in (1, 2, 3, 4):
        topic.on_next(n)
    hubs.clock.run(0)
    for n in (5, 6, 7, 8):
        topic.on_next(n)
    hubs.faulty.go_away()
    hubs.faulty.answer()
    hubs.clock.run(0)
    assert hubs.second.stats.queued == 4
    assert hubs.second.stats.dropped == 4
    hubs.faulty.delay = False
    hubs.faulty.come_back()
    hubs.clock.run(0)
    assert got == expected


class _Incomparable:
    """A key that equals no other, and raises once it is compared."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot be compared")


def test_a_key_that_cannot_be_compared_drops_its_message_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Messages with such keys that an engine returns do not stop the others."""
    hubs = TwoHubs(overflow=rxws.overflow.latest(lambda v: _Incomparable(v) if v < 3 else v))
    got = hubs.collect(hubs.first.topic("kept:a"))
    topic = hubs.second.topic("kept:a")
    topic.subscribe()
    hubs.faulty.delay = True
    for n in (1, 2, 3):
        topic.on_next(n)
        hubs.clock.run(0)
    hubs.faulty.go_away()
    hubs.faulty.answer()
    with caplog.at_level(logging.ERROR):
        hubs.clock.run(0)
    hubs.faulty.delay = False
    hubs.faulty.come_back()
    hubs.clock.run(0)
    assert got == [1, 3]
    assert "a message was dropped: the key of overflow.latest cannot be compared" in caplog.text
    hubs.faulty.go_away()
    topic.on_next(1)
    with pytest.raises(rxws.EncodeError, match="cannot be compared"):
        topic.on_next(2)


def test_a_topic_that_is_attached_within_a_publish_keeps_its_order() -> None:
    """A message does not overtake an earlier one of its topic that has to wait."""
    hubs = TwoHubs()
    got = hubs.collect(hubs.first.topic("a"))
    publish = hubs.faulty.publish

    def attach_then_publish(request: PublishRequest, done: Done[Any]) -> None:
        hubs.faulty.delay = False
        hubs.faulty.answer()
        publish(request, done)

    hubs.faulty.delay = True
    hubs.second.topic("a").subscribe()
    hubs.faulty.publish = attach_then_publish  # type: ignore[method-assign]
    hubs.second.topic("a").on_next(1)
    hubs.second.topic("b").on_next(0)
    hubs.second.topic("a").on_next(2)
    hubs.clock.run(0)
    assert got == [1, 2]
