"""Subscribers that raise a KeyboardInterrupt or the like: the others lose nothing."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from rxws.hub import Keep
from support.virtual.two_hubs import TwoHubs, offsets


class Interrupt(BaseException):
    """Interrupts the event loop, as Ctrl-C in a notebook does; the loop then continues."""


def interrupt(_: object) -> NoReturn:
    raise Interrupt


@pytest.fixture
def hubs() -> TwoHubs:
    return TwoHubs()


def run(hubs: TwoHubs) -> int:
    """Run again after each interrupt, and return their number."""
    interrupts = 0
    while True:
        try:
            hubs.clock.run(0)
        except Interrupt:
            interrupts += 1
        else:
            return interrupts


def test_an_interrupted_message_reaches_all_streams(hubs: TwoHubs) -> None:
    """Subscribers to the messages and with history get it as well."""
    topic = hubs.second.topic("kept:a")
    topic.subscribe(interrupt)
    events: list[Any] = []
    view: list[Any] = []
    topic.messages().subscribe(events.append)
    topic.rewind(3).subscribe(view.append)
    run(hubs)
    for n in (1, 2, 3):
        hubs.first.topic("kept:a").on_next(n)
    assert run(hubs)
    assert offsets(events) == [1, 2, 3]
    assert view == [1, 2, 3]


def test_an_interrupted_history_is_complete(hubs: TwoHubs) -> None:
    """The view whose subscriber raises, and the next one, get all of it, then live messages."""
    hubs.publish(1, 2, 3)
    first: list[Any] = []
    second: list[Any] = []

    def on_next(value: Any) -> None:
        first.append(value)
        raise Interrupt

    for subscriber in (on_next, second.append):
        hubs.second.topic("kept:a").rewind(3).subscribe(subscriber)
    assert run(hubs)
    hubs.first.topic("kept:a").on_next(4)
    assert run(hubs)
    assert first == second == [1, 2, 3, 4]


def test_an_interrupted_history_of_several_turns_is_complete() -> None:
    """The view gets all of it, although its subscriber raises at each message."""
    hubs = TwoHubs(topics={"kept:*": Keep(500)})
    hubs.publish(*range(300))
    got: list[Any] = []

    def on_next(value: Any) -> None:
        got.append(value)
        raise Interrupt

    hubs.second.topic("kept:a").rewind(300).subscribe(on_next)
    assert run(hubs)
    hubs.first.topic("kept:a").on_next(300)
    assert run(hubs) == 1
    assert got == list(range(301))


def test_an_interrupted_begin_reaches_the_next_view(hubs: TwoHubs) -> None:
    """Views that begin in one turn from the recent messages of the hub all begin."""
    topic = hubs.second.topic("kept:a")
    topic.subscribe()
    hubs.publish(1)
    view: list[Any] = []
    topic.rewind(1).subscribe(interrupt)
    topic.rewind(1).subscribe(view.append)
    assert run(hubs) == 1
    assert view == [1]


def test_an_interrupt_in_one_topic_reaches_the_others(hubs: TwoHubs) -> None:
    """Messages of several topics arrive in one turn: each topic delivers its own."""
    got: list[Any] = []
    hubs.second.topic("kept:a").subscribe(got.append)
    hubs.second.topic("kept:b").subscribe(interrupt)
    hubs.second.topic("kept:c").subscribe(got.append)
    run(hubs)
    for name in "abc":
        hubs.first.topic(f"kept:{name}").on_next(name)
    assert run(hubs) == 1
    assert got == ["a", "c"]
