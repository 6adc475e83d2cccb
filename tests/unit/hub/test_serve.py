"""`hub.serve` in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

import rxws
from rxws._session.handler import run_handler
from rxws.hub import Credentials, Hub, Position, Unconfirmed
from rxws.hub._protocol.frames import PING
from support.virtual.served_client import Client, code_of
from support.virtual.session import VirtualSession


def test_pings() -> None:
    """The server pings at the interval that the connect reply has told."""
    client = Client(ping=10)
    client.run(35)
    assert client.virtual.messages[1:] == [PING] * 3


def test_a_client_must_connect_in_time() -> None:
    """A connection without a connect command ends with 3502."""
    client = Client(connect=False, connect_timeout=5.0)
    client.run(4.9)
    assert not client.virtual.messages
    client.run(0.2)
    assert client.code == 3502


def test_a_subscription_that_cannot_begin_gets_a_temporary_error() -> None:
    """While the backplane does not answer, a client is told to try again, and may do so."""
    client = Client(subscribe_timeout=4.0)
    client.backplane.holding.add("attach")
    client.send(subscribe={"channel": "kept:a"})
    client.run(3.9)
    assert client.lines() == []
    client.run(0.2)
    [reply] = client.lines()
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    client.send(subscribe={"channel": "kept:a"})
    client.backplane.release()
    [reply] = client.lines()
    assert reply["subscribe"]["recoverable"]


@pytest.mark.promise("hub-rights")
def test_a_right_ends_exactly_when_it_expires() -> None:
    """The client is told an earlier time, so that its refresh arrives before the end."""
    client = Client()
    client.right = 60
    assert client.call(subscribe={"channel": "a", "token": "t"})["subscribe"]["ttl"] == 45
    client.run(50)
    client.call(sub_refresh={"channel": "a", "token": "t"})
    client.run(59.9)
    assert client.lines() == []
    client.run(0.2)
    [line] = client.lines()
    assert line["push"]["unsubscribe"]["code"] == 2501


def test_a_user_ends_exactly_when_it_expires() -> None:
    """The same holds for the user of a connection, which is told once to be refreshed early."""
    client = Client(connect=False, user=lambda _, token: Credentials("ann", seconds=60))
    assert client.call(connect={"token": "t"})["connect"]["ttl"] == 45
    client.run(59.9)
    assert client.lines() == []
    client.run(0.2)
    assert client.code == 3005


def test_messages_during_a_recovery_are_sent_once() -> None:
    """What is published while the history is read follows it, without a repetition."""
    client = Client()
    topic = client.hub.topic("kept:a")
    topic.on_next(1)
    client.virtual.settle()
    epoch = client.call(subscribe={"channel": "kept:a"})["subscribe"]["epoch"]
    client.call(unsubscribe={"channel": "kept:a"})
    client.run(6)  # the topic is detached
    topic.on_next(2)
    client.virtual.settle()
    client.backplane.holding.add("read")
    client.send(subscribe={"channel": "kept:a", "recover": True, "epoch": epoch, "offset": 1})
    assert client.lines() == []
    topic.on_next(3)
    client.virtual.settle()
    client.backplane.release()
    topic.on_next(4)
    first, second = client.lines()
    assert first["subscribe"]["recovered"]
    assert [one["offset"] for one in first["subscribe"]["publications"]] == [2, 3]
    assert second["push"]["pub"] == {"data": 4, "offset": 4}


def test_a_recovery_that_is_ahead_of_the_process_repeats_nothing() -> None:
    """If the history has messages that this process has not received, they are not sent again."""
    client = Client()
    topic, registry = client.hub.topic("kept:a"), client.hub._registry
    topic.on_next(1)
    client.virtual.settle()
    epoch = client.call(subscribe={"channel": "kept:a"})["subscribe"]["epoch"]
    client.call(unsubscribe={"channel": "kept:a"})
    client.run(6)
    topic.on_next(2)
    client.virtual.settle()
    late: list[tuple[Any, ...]] = []
    on_publication = registry.on_publication
    registry.on_publication = lambda *args: late.append(args)  # type: ignore[method-assign]
    client.backplane.holding.add("read")
    client.send(subscribe={"channel": "kept:a", "recover": True, "epoch": epoch, "offset": 1})
    topic.on_next(3)
    client.virtual.settle()
    client.backplane.release()
    [reply] = client.lines()
    assert [one["offset"] for one in reply["subscribe"]["publications"]] == [2, 3]
    registry.on_publication = on_publication  # type: ignore[method-assign]
    for args in late:
        on_publication(*args)
    topic.on_next(4)
    [line] = client.lines()
    assert line["push"]["pub"]["offset"] == 4


def test_a_position_from_the_future_is_not_known() -> None:
    """A client that claims to be ahead of the topic is not believed."""
    client = Client()
    epoch = client.call(subscribe={"channel": "kept:a"})["subscribe"]["epoch"]
    client.call(unsubscribe={"channel": "kept:a"})
    fields = {"channel": "kept:a", "recover": True, "epoch": epoch, "offset": 10**15}
    result = client.call(subscribe=fields)["subscribe"]
    assert "recovered" not in result
    client.hub.topic("kept:a").on_next(1)
    [line] = client.lines()
    assert line["push"]["pub"]["offset"] == 1


def test_a_recovery_that_cannot_be_read_is_a_temporary_error() -> None:
    """If the backplane cannot be asked, the client tries again, and nothing is said to be lost."""
    client = Client()
    client.hub.topic("kept:a").on_next(1)
    client.virtual.settle()
    epoch = client.call(subscribe={"channel": "kept:a"})["subscribe"]["epoch"]
    client.call(unsubscribe={"channel": "kept:a"})
    client.run(6)
    client.hub.topic("kept:a").on_next(2)
    client.virtual.settle()
    client.backplane.errors["read"] = rxws.hub.BackplaneError("away")
    fields = {"channel": "kept:a", "recover": True, "epoch": epoch}
    error = client.call(subscribe=fields)["error"]
    assert (error["code"], error["temporary"]) == (100, True)


def test_failures_of_the_backplane_are_temporary_errors() -> None:
    """What the backplane cannot do is error 100, for each command."""
    client = Client()
    error = Unconfirmed("no answer")
    client.backplane.errors.update(read=error, members=error, publish=error)
    for request in (
        {"publish": {"channel": "kept:a", "data": 1}},
        {"history": {"channel": "kept:a", "limit": 5}},
        {"presence": {"channel": "kept:a"}},
        {"presence_stats": {"channel": "kept:a"}},
    ):
        assert client.call(**request)["error"]["code"] == 100


def test_a_right_that_is_revoked_while_a_subscription_begins() -> None:
    """The subscription does not begin: it is refused."""
    client = Client()
    client.backplane.holding.add("attach")
    client.send(subscribe={"channel": "kept:a"})
    client.hub.user("ann").revoke("kept:*")
    [reply] = client.lines()
    assert reply["error"]["code"] == 103


@pytest.mark.parametrize(("right", "code"), [(False, 2000), (ValueError("no"), 2501), (True, None)])
def test_rights_are_asked_for_again_when_revocations_may_be_lost(right: Any, code: int) -> None:
    """After the backplane was away, subscriptions whose right has ended meanwhile end."""
    client = Client()
    client.call(subscribe={"channel": "a"})
    client.right = right
    client.asked.clear()
    client.hub._registry.users.on_missed()
    codes = [line["push"]["unsubscribe"]["code"] for line in client.lines()]
    assert client.asked == [("ann", "a", "subscribe")]
    assert codes == ([] if code is None else [code])


def test_a_coroutine_function_needs_an_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    """In virtual time an async `allow` is an error that is logged, and answered with 100."""

    async def allow(*_: str) -> bool:
        return True

    client = Client(allow=allow)
    assert client.call(subscribe={"channel": "a"})["error"]["code"] == 100
    assert "event loop" in caplog.text


def test_a_hub_that_has_not_started_refuses_connections(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told to try again, and the log names the remedy."""
    client = Client()

    def start_if_local() -> None:
        raise RuntimeError("the hub has not started: call hub.setup(app)")

    client.hub._registry.start_if_local = start_if_local  # type: ignore[method-assign]
    other = VirtualSession()
    with caplog.at_level(logging.ERROR):
        run_handler(client.hub.serve(allow=client.allow).handler, other.session)
    other.settle()
    assert code_of(other) == 3004
    assert "hub.setup" in caplog.text


def test_all_subscribers_get_the_same_text() -> None:
    """A push is built once for each message, whatever the number of subscribers."""

    class Subscriber:
        join_leave = False

        def __init__(self) -> None:
            self.texts: list[str] = []

        def on_message(self, _: object, text: str) -> None:
            self.texts.append(text)

    client = Client()
    client.call(subscribe={"channel": "kept:a"})
    served: Any = client.hub._served
    subscribers: list[Any] = [Subscriber(), Subscriber()]
    for subscriber in subscribers:
        served.add("kept:a", subscriber)
    client.hub.topic("kept:a").on_next({"a": 1})
    client.virtual.settle()
    [first], [second] = (subscriber.texts for subscriber in subscribers)
    assert first is second
    assert json.loads(first) == client.lines()[0]


def test_clients_that_recover_cost_no_encoding() -> None:
    """Each message is encoded once, to publish it; a recovery is built once for all clients."""
    encoded: list[Any] = []

    def encode(value: Any) -> str | bytes:
        encoded.append(value)
        return rxws.codecs.json.encode(value)

    client = Client(codec=rxws.codecs.Codec(encode, rxws.codecs.json.decode))
    client.call(subscribe={"channel": "kept:a"})
    encoded.clear()
    for value in (1, 2, 3):
        client.hub.topic("kept:a").on_next(value)
    assert len(client.lines()) == 3
    topic = client.hub._served._topics["kept:a"]  # type: ignore[union-attr]
    entries, since = topic.attached.streams.ring._entries, Position("any", 0)
    first, second = (topic.texts_of(since, list(entries), 10_000) for _ in range(2))
    assert first is second
    assert first is not None
    assert [json.loads(text)["offset"] for text in first] == [1, 2, 3]
    assert topic.texts_of(since, list(entries), 20) is None
    assert encoded == [1, 2, 3]


def test_a_fault_of_the_server_is_no_1011(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong in the server is logged, and closes with 3004: the client reconnects."""
    client = Client()

    def publish(*_: object) -> None:
        raise RuntimeError("broken")

    client.hub._registry.publish = publish  # type: ignore[method-assign, assignment]
    client.send(publish={"channel": "a", "data": 1})
    assert client.code == 3004
    assert "broken" in caplog.text


def test_a_codec_with_different_types_for_both_directions() -> None:
    """The payload is served as it was published, not encoded again."""

    def encode(value: int) -> str:
        return json.dumps({"number": value} if isinstance(value, int) else value)

    client = Client(codec=rxws.codecs.Codec(encode, lambda frame: [json.loads(frame)]))
    client.call(subscribe={"channel": "a"})
    client.hub.topic("a").on_next(5)
    [line] = client.lines()
    assert line["push"]["pub"]["data"] == {"number": 5}


@pytest.mark.promise("hub-rights")
def test_a_right_that_is_revoked_in_another_process() -> None:
    """`revoke` and `close` reach the connections of all processes, within a second."""
    client = Client()
    client.call(subscribe={"channel": "kept:a"})
    other = Hub(
        codec=rxws.codecs.json,
        backplane=client.backplane.peer(),
        scheduler=client.virtual.clock,
    )
    other.user("ann").revoke("kept:*")
    client.run(1)
    [line] = client.lines()
    assert line["push"]["unsubscribe"]["code"] == 2000
    other.user("ann").close(rxws.Close(4001, "logged out"))
    client.run(1)
    assert client.code == 4001


@pytest.mark.promise("hub-hostile")
def test_many_commands_that_wait_on_one_topic_are_answered() -> None:
    """Commands behind a slow one run in their order, however many they are."""
    client = Client(max_pending=1000)
    client.backplane.holding.add("members")
    count = 900
    client.send(presence={"channel": "a"})
    ids = [client.send(publish={"channel": "a", "data": n, "type": 1}) for n in range(count)]
    client.backplane.release()
    assert [line["id"] for line in client.lines()[1:]] == ids


@pytest.mark.promise("hub-rights")
def test_a_user_who_is_closed_while_connecting_is_closed() -> None:
    """Another process closes the user after `user` was asked, and before messages arrive."""

    def user(_: object, token: str) -> str:
        client.backplane.holding.add("attach")
        return "ann"

    client = Client(connect=False, user=user)
    elsewhere = Hub(
        codec=rxws.codecs.json,
        backplane=client.backplane.peer(),
        scheduler=client.virtual.clock,
    )
    client.send(connect={})
    assert client.lines() == []
    elsewhere.user("ann").close(rxws.Close(4001, "logged out"))
    elsewhere.user("bob").close(rxws.Close(4002, "logged out"))
    client.virtual.settle()
    client.backplane.release()
    client.virtual.settle()
    assert code_of(client.virtual) == 4001
    client.virtual.clock.run(2)
    assert client.hub.stats.topics == 0


def test_a_misspelled_limit_is_corrected() -> None:
    """The error about an unknown option knows the limits of `hub.serve` as well."""
    options: dict[str, Any] = {"max_pendign": 5}
    with pytest.raises(TypeError, match=r"max_pendign= is not an option.*max_pending="):
        Hub().serve(allow=lambda *_: True, **options)


@pytest.mark.promise("hub-gaps")
def test_clients_subscribe_again_after_their_hub_has_stopped() -> None:
    """Otherwise they would miss what is published later, and not notice."""
    client = Client()
    epoch = client.call(subscribe={"channel": "kept:a"})["subscribe"]["epoch"]
    client.backplane.holding.add("attach")
    starting = client.send(subscribe={"channel": "kept:b"})
    asyncio.run(client.hub._registry.stop())
    unsubscribed, refused = client.lines()
    assert unsubscribed["push"]["unsubscribe"]["code"] == 2500
    assert (refused["id"], refused["error"]["code"]) == (starting, 100)
    client.backplane.holding.clear()
    client.send(subscribe={"channel": "kept:a", "recover": True, "epoch": epoch, "offset": 0})
    client.hub.topic("kept:a").on_next(1)
    reply, pushed = client.lines()
    assert "recovered" not in reply["subscribe"]  # a new order has begun
    assert pushed["push"]["pub"]["data"] == 1
