"""A subscription of `hub.serve` while the application has not answered yet, in virtual time."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from rxws.hub import Gap, Hub, Keep, Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.schema import SubscribeRequest
from rxws.hub._server.options import Limits
from rxws.hub._server.owner import DENIED
from rxws.hub._server.served import Served
from rxws.hub._server.subscription import Subscription
from rxws.hub._server.topics import ServedTopics
from rxws.testing import Clock


class Rights:
    """Keeps the questions until the test answers them."""

    member = None

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def ask(self, topic: str, action: str, then: Any, seconds: float | None = None) -> None:
        self.asked.append(then)

    def answer(self, right: float | ErrorReply) -> None:
        self.asked.pop(0)(right)


class Connection:
    """The owner of one subscription; it keeps what is sent."""

    def __init__(self, **request: Any) -> None:
        self.clock = Clock()
        self.hub = Hub(scheduler=self.clock, topics={"kept:*": Keep(10)})
        self.identity = Rights()
        self.sent: list[Any] = []
        self.unsendable = 0
        topics = ServedTopics(self.hub._registry)
        self.served = Served(topics, None, lambda *_: True, Limits(), 1 << 16)
        owner: Any = self
        self.subscription = Subscription(
            owner, self.served, self.clock, 1, SubscribeRequest("kept:a", **request)
        )
        self.subscription.start()

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def finish(self, id_: int, topic: str, answer: Any) -> None:
        self.sent.append(answer)

    def on_ended(self, channel: str) -> None:
        self.sent.append(channel)

    def on_unsendable(self) -> None:
        self.unsendable += 1

    def begin(self) -> None:
        """Allow everything, and let it become live."""
        self.identity.answer(math.inf)
        self.identity.answer(math.inf)
        self.clock.run(0)
        self.sent.clear()

    @property
    def codes(self) -> list[int]:
        """Return the codes of the pushes that end the subscription."""
        pushed = [each["push"] for each in self.sent if isinstance(each, dict) and "push" in each]
        return [push["unsubscribe"]["code"] for push in pushed]


@pytest.mark.parametrize("answered", [0, 1])
def test_a_right_that_is_revoked_before_the_answer(answered: int) -> None:
    """The subscription is denied, although `allow` has not known that."""
    connection = Connection()
    for _ in range(answered):
        connection.identity.answer(math.inf)
    connection.subscription.revoke()
    connection.subscription.revoke()
    connection.identity.answer(math.inf)
    assert connection.sent == ["kept:a", DENIED]
    assert connection.identity.asked == []
    assert connection.served.starting == 0


def test_a_subscription_that_begins_is_not_checked() -> None:
    """Its rights have just been asked for."""
    connection = Connection()
    connection.subscription.check()
    connection.identity.answer(math.inf)
    connection.subscription.check()
    assert len(connection.identity.asked) == 1


def test_a_check_that_is_answered_after_the_end_is_ignored() -> None:
    """It is also asked only once at the same time."""
    connection = Connection()
    connection.begin()
    connection.subscription.check()
    connection.subscription.check()
    connection.subscription.remove()
    connection.subscription.remove()
    connection.subscription.revoke()
    connection.identity.answer(DENIED)
    assert (connection.sent, connection.identity.asked) == (["kept:a"], [])


def test_a_check_that_denies_ends_the_subscription() -> None:
    """A check that fails for another reason ends it, too, and lets the client try again."""
    for answer, code in ((DENIED, 2000), (ErrorReply.of(ErrorCode.INTERNAL), 2501)):
        connection = Connection()
        connection.begin()
        connection.subscription.check()
        connection.identity.answer(answer)
        assert connection.codes == [code]


def test_a_refresh_is_answered_however_it_ends() -> None:
    """A denied one leaves the subscription as it was; one after the end is too late."""
    connection = Connection()
    connection.begin()
    connection.subscription.refresh(2)
    connection.identity.answer(DENIED)
    assert connection.sent == [DENIED]
    connection.subscription.refresh(3)
    connection.identity.answer(60.0)
    assert connection.sent[1:] == [(True, 45)]
    connection.subscription.refresh(4)
    connection.subscription.remove()
    connection.identity.answer(60.0)
    assert connection.sent[-1] == ErrorReply.of(ErrorCode.EXPIRED)


def test_nothing_is_pushed_before_the_reply() -> None:
    """Messages that are delivered meanwhile belong into the reply."""
    connection = Connection()
    subscription = connection.subscription
    subscription.on_message(Position("e", 1), "{}")
    subscription.on_gap(Gap(None, None, "unavailable"))
    subscription.on_change(["{}"])
    subscription.on_unsendable()
    assert (connection.sent, connection.unsendable) == ([], 0)


def test_a_gap_that_was_sent_already_is_no_end() -> None:
    """The reply to the subscribe command may have contained what is missing in a gap."""
    connection = Connection()
    connection.begin()
    subscription = connection.subscription
    subscription.on_message(Position("e", 5), '{"n": 5}')
    subscription.on_message(Position("e", 4), '{"n": 4}')
    subscription.on_gap(Gap(Position("e", 1), Position("e", 6), "trimmed"))
    assert connection.sent == [{"n": 5}]
    subscription.on_gap(Gap(Position("e", 5), Position("e", 7), "trimmed"))
    assert connection.codes == [2500]
