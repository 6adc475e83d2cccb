"""Publishing through a client: the queue, replies, and lost connections, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws.hub import Message, NotPublished, Refused, Unconfirmed
from rxws.hub._client.publishing import Publication
from support.virtual.hub_client import VirtualHubClient


@pytest.fixture
def virtual() -> Iterator[VirtualHubClient]:
    """Return a client; at the end nothing may be left."""
    virtual = VirtualHubClient()
    yield virtual
    virtual.check_nothing_left()


class Awaited:
    """A message that somebody awaits."""

    def __init__(self, virtual: VirtualHubClient, value: Any, topic: str = "news") -> None:
        self.results: list[Exception | None] = []
        self.publication = Publication(topic, value, self.results.append)
        virtual.client._registry.publish(self.publication)

    @property
    def result(self) -> Exception | None:
        [result] = self.results
        return result


def open_with(virtual: VirtualHubClient) -> Any:
    """Subscribe a topic and accept it, so that the connection stays open."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    return seen


def test_messages_wait_for_the_connection(virtual: VirtualHubClient) -> None:
    """They go in their order once the server has accepted the connection."""
    topic = virtual.client.topic("news")
    value = {"a": 1}
    topic.on_next(value)
    value["a"] = 2  # changes after the push do not matter
    topic.on_next("b")
    assert virtual.client.stats.queued == 2
    virtual.answer("connect", client="c")
    assert virtual.answer("publish") == {"channel": "news", "data": {"a": 1}}
    assert virtual.answer("publish") == {"channel": "news", "data": "b"}
    stats = virtual.client.stats
    assert (stats.published, stats.confirmed, stats.queued) == (2, 2, 0)


def test_a_connection_for_messages_only_closes_after_5_seconds(virtual: VirtualHubClient) -> None:
    """The next message within that time uses it."""
    topic = virtual.client.topic("news")
    topic.on_next(1)
    virtual.answer("connect", client="c")
    virtual.answer("publish")
    virtual.run(4.9)
    topic.on_next(2)
    virtual.answer("publish")
    virtual.run(4.9)
    assert not virtual.dial.is_over
    virtual.run(0.2)
    assert virtual.close_code() == 1000
    assert len(virtual.servers.dials) == 1


def test_a_value_that_json_cannot_represent(virtual: VirtualHubClient) -> None:
    """It raises at once."""
    with pytest.raises(rxws.EncodeError, match="set"):
        virtual.client.topic("news").on_next({1})


def test_at_most_64_messages_have_no_reply(virtual: VirtualHubClient) -> None:
    """The others wait in the queue."""
    open_with(virtual)
    topic = virtual.client.topic("news")
    for number in range(100):
        topic.on_next(number)
    assert virtual.client.stats.queued == 36
    for number in range(100):
        assert virtual.answer("publish")["data"] == number
    assert virtual.client.stats.confirmed == 100


def test_a_refused_message(virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever awaits it gets the error; otherwise `errors` or, once, the log does."""
    open_with(virtual)
    awaited = Awaited(virtual, 1)
    virtual.refuse("publish", 103, "permission denied")
    error: Any = awaited.result
    assert isinstance(error, Refused)
    assert (error.action, error.topic, error.code) == ("publish", "news", 103)
    topic = virtual.client.topic("news")
    caplog.set_level(logging.INFO, "rxws")
    for _ in range(2):
        topic.on_next(2)
        virtual.refuse("publish", 103, "permission denied")
    [record] = caplog.records
    assert "publish of topic 'news' was refused with 103" in record.getMessage()
    errors = virtual.subscribe(virtual.client.errors)
    topic.on_next(3)
    virtual.refuse("publish", 111, "too many requests")
    assert [each.code for each in errors.values] == [111]
    assert virtual.client.stats.refused == 4


def test_a_server_that_fails_leaves_a_message_unconfirmed(virtual: VirtualHubClient) -> None:
    """After error 100 the message may have been published."""
    open_with(virtual)
    awaited = Awaited(virtual, 1)
    virtual.refuse("publish", 100, "internal server error")
    assert isinstance(awaited.result, Unconfirmed)
    assert virtual.client.stats.unconfirmed == 1


def test_a_lost_connection_leaves_sent_messages_unconfirmed(virtual: VirtualHubClient) -> None:
    """They are not sent again, as they may have been published."""
    open_with(virtual)
    awaited = Awaited(virtual, 1)
    virtual.expect("publish")
    virtual.reconnect()
    virtual.subscribed()
    virtual.check_silent()
    assert isinstance(awaited.result, Unconfirmed)
    assert "the connection was lost before the reply" in str(awaited.result)
    assert virtual.client.stats.unconfirmed == 1


def test_messages_that_were_not_written_go_with_the_next_connection(
    virtual: VirtualHubClient,
) -> None:
    """Nothing is lost, and the order is kept."""
    open_with(virtual)
    virtual.dial.peer.stop()
    topic = virtual.client.topic("news")
    for number in range(4):
        topic.on_next(number)
    virtual.run()
    written = [fields["publish"]["data"] for fields in virtual.lines()]
    virtual.reconnect()
    virtual.subscribed()
    rest = [virtual.answer("publish")["data"] for _ in range(4 - len(written))]
    assert written + rest == [0, 1, 2, 3]
    assert len(rest) > 1
    assert virtual.client.stats.unconfirmed == len(written)


def test_a_full_queue_drops_messages(virtual: VirtualHubClient) -> None:
    """`drops` emits them, and whoever awaits one gets an error."""
    virtual = VirtualHubClient(queue=400, backoff=rxws.backoff.constant(5.0))
    drops = virtual.subscribe(virtual.client.drops)
    topic = virtual.client.topic("news")
    awaited = Awaited(virtual, "awaited")
    for number in range(5):
        topic.on_next(number)
    assert isinstance(awaited.result, NotPublished)
    assert "the queue was full" in str(awaited.result)
    assert [(each.value, each.reason) for each in drops.values] == [
        (0, "overflow"),
        (1, "overflow"),
    ]
    virtual.answer("connect", client="c")
    assert [virtual.answer("publish")["data"] for _ in range(3)] == [2, 3, 4]
    assert virtual.client.stats.dropped == {"overflow": 3}
    virtual.check_nothing_left()


def test_drops_that_nobody_observes_are_logged(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """There is one line for all of them."""
    virtual = VirtualHubClient(queue=400)
    for number in range(10):
        virtual.client.topic("news").on_next(number)
    virtual.answer("connect", client="c")
    for _ in range(3):
        virtual.answer("publish")
    [record] = caplog.records
    assert "7 overflow" in record.getMessage()
    virtual.check_nothing_left()


def test_a_giant_message_that_displaces_thousands(virtual: VirtualHubClient) -> None:
    """Everybody who awaits one of them gets an error."""
    virtual = VirtualHubClient(queue=500_000)
    awaited = [Awaited(virtual, number) for number in range(2000)]
    Awaited(virtual, "x" * 500_000)
    assert all(isinstance(each.result, NotPublished) for each in awaited)
    virtual.check_nothing_left()


def test_conflation(virtual: VirtualHubClient) -> None:
    """The key function gets the value; topics do not replace each other's messages."""
    virtual = VirtualHubClient(queue_overflow=rxws.overflow.latest(lambda tick: tick["s"]))
    for topic, symbol, price in (("a", "X", 1), ("b", "X", 2), ("a", "Y", 3), ("a", "X", 4)):
        virtual.client.topic(topic).on_next({"s": symbol, "p": price})
    virtual.answer("connect", client="c")
    sent = [virtual.answer("publish") for _ in range(3)]
    assert [(each["channel"], each["data"]["p"]) for each in sent] == [("a", 4), ("b", 2), ("a", 3)]
    virtual.check_nothing_left()


def test_messages_expire(virtual: VirtualHubClient) -> None:
    """After `ttl` seconds in the queue they are dropped."""
    virtual = VirtualHubClient(ttl=0.5)
    awaited = Awaited(virtual, 1)
    virtual.dial.peer.lost()
    virtual.run(1.0)
    virtual.answer("connect", client="c")
    assert isinstance(awaited.result, NotPublished)
    virtual.check_silent()
    virtual.check_nothing_left()


def test_a_withdrawn_message_is_not_sent(virtual: VirtualHubClient) -> None:
    """Its coroutine was cancelled."""
    awaited = Awaited(virtual, 1)
    awaited.publication.withdrawn = True
    Awaited(virtual, 2)
    virtual.answer("connect", client="c")
    assert virtual.answer("publish")["data"] == 2
    virtual.check_silent()


def test_the_end_of_the_client_fails_waiting_messages(virtual: VirtualHubClient) -> None:
    """They can never be sent; the error names the cause."""
    awaited = Awaited(virtual, 1)
    virtual.refuse("connect", 101)
    virtual.close_code()
    assert isinstance(awaited.result, NotPublished)
    assert isinstance(awaited.result.__cause__, Refused)
    awaited = Awaited(virtual, 1)
    virtual.client.dispose()
    assert isinstance(awaited.result, NotPublished)
    assert awaited.result.__cause__ is None


def test_publishers_leave_a_topic_open(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The end or the error of one pipeline does not end the topic."""
    topic = virtual.client.topic("news")
    topic.on_completed()
    topic.on_error(rxws.ConnectionClosed(rxws.Close(1001)))
    topic.dispose()
    assert not caplog.records
    topic.on_error(ValueError("mine"))
    [record] = caplog.records
    assert record.getMessage() == "a publisher of topic 'news' failed: mine"
    topic.on_next(1)
    virtual.answer("connect", client="c")
    virtual.answer("publish")
    assert (topic.name, repr(topic)) == ("news", "<ClientTopic 'news'>")


async def test_publish_waits_for_the_reply() -> None:
    """It returns when the server has confirmed, and raises what it has refused."""
    virtual = VirtualHubClient()
    topic = virtual.client.topic("news")
    tasks = [asyncio.create_task(topic.publish(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.wait([tasks[2]])
    virtual.answer("connect", client="c")
    virtual.answer("publish")
    virtual.refuse("publish", 103)
    await tasks[0]
    with pytest.raises(Refused):
        await tasks[1]
    virtual.check_silent()
    virtual.check_nothing_left()


def test_chains_run_on_the_scheduler_of_the_client(virtual: VirtualHubClient) -> None:
    """Time operators behind a topic need no scheduler."""
    topic = virtual.client.topic("news")
    streams = [each.pipe(ops.delay(5.0)) for each in (topic, topic.messages())]
    seen = [virtual.subscribe(each) for each in streams]
    assert len(topic.observers) == 1
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.publish("news", 1)
    virtual.run(4.9)
    assert [each.values for each in seen] == [[], []]
    virtual.run(0.2)
    assert [each.values for each in seen] == [[1], [Message(1)]]
    for each in seen:
        each.subscription.dispose()
    assert topic.observers == []


async def test_threads() -> None:
    """Another thread may leave a topic, but not subscribe to it."""
    client = rxws.hub.connect("ws://127.0.0.1:1/", backoff=rxws.backoff.constant(60.0))
    subscription = client.topic("news").subscribe()
    assert client.stats.topics == 1
    with pytest.raises(RuntimeError, match="only on_next may be called from anywhere"):
        await asyncio.to_thread(client.topic("news").subscribe)
    await asyncio.to_thread(subscription.dispose)
    await asyncio.sleep(0)
    assert client.stats.topics == 0


def test_a_client_goes_on_in_the_next_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    """What was open in a loop that is closed is dropped, and the log says so."""

    async def use() -> None:
        client.topic("news").subscribe(on_error=lambda _: None)
        client.topic("news").on_next(1)
        assert client.stats.topics == 1

    client = rxws.hub.connect("ws://127.0.0.1:1/", backoff=rxws.backoff.constant(60.0))
    for count in (1, 2):
        asyncio.run(use())
        assert client.stats.dropped == {"closed": count}
    assert caplog.text.count("a client of a hub dropped messages") == 2


def test_without_an_event_loop_messages_wait_for_a_subscriber() -> None:
    """A client may be made and used before the event loop runs."""

    async def use() -> None:
        with pytest.raises(rxws.ConnectError):
            await client.topic("news")

    client = rxws.hub.connect("ws://127.0.0.1:1/", retryable=lambda _: False)
    client.topic("news").on_next(1)
    assert client.stats.queued == 1
    with pytest.raises(RuntimeError, match="no event loop is running"):
        client.topic("news").subscribe()
    assert client.stats.topics == 0
    for _ in range(2):
        asyncio.run(use())
