"""`LocalBackplane`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rxws.hub import Backplane, Keep, LocalBackplane, Member, PublishRequest
from rxws.testing import Clock
from support.backplane_contract import BackplaneContract, Link


class TestContract(BackplaneContract):
    @pytest.fixture
    def connect(self) -> Callable[[], Backplane]:
        return LocalBackplane().peer


def publish(backplane: LocalBackplane, topic: str, keep: Keep) -> Any:
    results: list[Any] = []
    backplane.publish(PublishRequest(topic, "x", keep), results.append)
    return results[0]


def test_serves_one_hub() -> None:
    """A second hub needs a backplane of its own."""
    backplane = LocalBackplane()
    backplane.connect(Link(backplane))
    with pytest.raises(RuntimeError, match=r"backplane\.peer\(\)"):
        backplane.connect(Link(backplane))


def test_a_read_leaves_nothing_behind() -> None:
    """Whoever asks for the history of many empty topics takes no memory."""
    backplane = LocalBackplane()
    for n in range(10):
        backplane.read(f"topic {n}", None, None, lambda history: None)
    assert not backplane._broker._topics


def test_serves_one_thread() -> None:
    """Hubs on two threads cannot share it."""
    backplane = LocalBackplane()
    backplane.connect(Link(backplane))
    errors: list[Exception] = []

    def connect() -> None:
        try:
            backplane.peer().connect(Link(backplane))
        except RuntimeError as exc:
            errors.append(exc)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    assert "one thread" in str(errors[0])


def test_forgets_topics_that_keep_nothing_any_more() -> None:
    """While others are published, topics whose messages have expired are removed."""
    clock = Clock()
    backplane = LocalBackplane(clock)
    for n in range(100):
        publish(backplane, f"old{n}", Keep(5, seconds=10))
    clock.run(11)
    for _ in range(60):
        publish(backplane, "new", Keep(5, seconds=10))
    assert list(backplane._broker._topics) == ["new"]


def test_a_topic_with_receivers_keeps_its_numbers() -> None:
    """An attached topic does not expire: its subscribers would see a gap for nothing."""
    clock = Clock()
    backplane = LocalBackplane(clock)
    link = Link(backplane)
    backplane.connect(link)
    backplane.attach("a", Keep(5, seconds=10), lambda _: None)
    first = publish(backplane, "a", Keep(5, seconds=10))
    clock.run(1000)
    second = publish(backplane, "a", Keep(5, seconds=10))
    assert second == (first.epoch, 2)
    backplane.detach("a")
    assert list(backplane._broker._topics) == ["a"]


async def test_leaves_nothing_behind() -> None:
    """After detach, leave and stop, the topics are gone."""
    backplane = LocalBackplane()
    link = Link(backplane)
    await backplane.start(link)
    backplane.attach("a", Keep.nothing(), lambda _: None)
    backplane.join("b", Member("1", "ann"))
    backplane.leave("b", Member("2", "unknown"))
    publish(backplane, "c", Keep.nothing())
    backplane.detach("unknown")
    await backplane.stop()
    await backplane.stop()
    assert not backplane._broker._topics
