"""Channels of a `WebSocketSubject` in virtual time: one subscribe message for all subscribers."""

from __future__ import annotations

import gc
import json
import logging
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws._core.connection import Close
from rxws._core.errors import ConnectError, HandshakeError
from rxws._reconnect.channels import Channel
from rxws._reconnect.link import PinnedMessage
from support.virtual.servers import fail_with
from support.virtual.subject import (
    VirtualSubject,
    close_code_of,
    never_open,
    open_at_once,
    received_by,
)


def channel_of(value: str) -> str:
    """The channel of a value like `a:1`."""
    return value.split(":")[0]


def channel(client: VirtualSubject, key: str, **options: Any) -> Channel[Any]:
    return client.feed.channel(f"+{key}", f"-{key}", channel_of, key=key, **options)


@pytest.mark.promise("channel")
def test_subscribers_share_one_subscribe_message() -> None:
    """A channel subscribes for its first subscriber, and unsubscribes when the last one leaves."""
    client = VirtualSubject()
    keep = client.subscribe()
    a = channel(client, "a")
    first, second = client.subscribe(a), client.subscribe(a)
    [dial] = client.dials
    assert received_by(dial) == ["+a"]
    dial.peer.message("a:1", "b:1")
    assert first.values == second.values == ["a:1"]
    assert keep.values == ["a:1", "b:1"]
    first.subscription.dispose()
    assert received_by(dial) == ["+a"]
    dial.peer.message("a:2")
    assert second.values == ["a:1", "a:2"]
    second.subscription.dispose()
    assert received_by(dial) == ["+a", "-a"]
    dial.peer.message("a:3")
    assert second.values == ["a:1", "a:2"]
    client.check_nothing_left(keep.subscription.dispose)


def test_a_channel_alone_opens_and_closes_the_socket() -> None:
    """A subscriber of a channel counts as a subscriber of the subject."""
    client = VirtualSubject()
    subscriber = client.subscribe(channel(client, "a"))
    [dial] = client.dials
    assert received_by(dial) == ["+a"]
    subscriber.subscription.dispose()
    assert received_by(dial) == ["+a", "-a"]
    assert close_code_of(dial) == 1000
    client.check_nothing_left()


@pytest.mark.promise("greeting")
def test_each_connection_gets_subscribe_messages_before_the_queue() -> None:
    """A new connection gets `opening`, then the subscribe messages, then the queue."""
    client = VirtualSubject(opening=lambda conn: ["login"])
    a, b = client.subscribe(channel(client, "a")), client.subscribe(channel(client, "b"))
    client.dials[0].peer.lost()
    client.run()
    client.feed.on_next("x")
    client.run(1.0)
    assert received_by(client.dials[1]) == ["login", "+a", "+b", "x"]
    client.dials[1].peer.message("b:1")
    assert (a.values, b.values) == ([], ["b:1"])
    b.subscription.dispose()
    client.dials[1].peer.lost()
    client.run(1.0)
    assert received_by(client.dials[2]) == ["login", "+a"]
    client.check_nothing_left(a.subscription.dispose)


@pytest.mark.parametrize("before", ["the first", "the next"])
def test_a_channel_left_without_a_connection_sends_nothing(before: str) -> None:
    """A channel left before the first connection, or between two, sends nothing."""
    fails = fail_with(ConnectError("nobody"))
    client = VirtualSubject(fails if before == "the first" else open_at_once(), open_at_once())
    keep = client.subscribe()
    subscriber = client.subscribe(channel(client, "a"))
    if before == "the next":
        client.dials[0].peer.lost()
        client.run()
    subscriber.subscription.dispose()
    client.run(1.0)
    assert received_by(client.dials[1]) == []
    client.check_nothing_left(keep.subscription.dispose)


def test_a_queued_subscribe_message_is_withdrawn() -> None:
    """A queued subscribe message is withdrawn when its channel is left."""
    client = VirtualSubject()
    keep = client.subscribe()
    [dial] = client.dials
    dial.peer.stop()
    client.feed.on_next("fills")
    subscriber = client.subscribe(channel(client, "a"))
    client.feed.on_next("x")
    subscriber.subscription.dispose()
    other = client.subscribe(channel(client, "b"))
    dial.peer.go()
    client.run()
    assert received_by(dial) == ["fills", "x", "+b"]
    other.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_channel_messages_of_a_lost_connection_are_not_sent_on_the_next() -> None:
    """When a connection is lost, queued channel messages are dropped, others are kept."""
    client = VirtualSubject()
    keep = client.subscribe()
    subscriber = client.subscribe(channel(client, "a"))
    [dial] = client.dials
    client.queue_behind_full_wire("x")
    subscriber.subscription.dispose()
    b = client.subscribe(channel(client, "b"))
    dial.peer.lost()
    client.run(1.0)
    assert received_by(dial) == ["+a", "fills"]
    assert received_by(client.dials[1]) == ["+b", "x"]
    b.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_the_unsubscribe_message_precedes_the_close_to_a_slow_peer() -> None:
    """Queued messages and the unsubscribe message are sent to a slow peer before the close."""
    client = VirtualSubject()
    subscriber = client.subscribe(channel(client, "a"))
    [dial] = client.dials
    client.queue_behind_full_wire("x")
    subscriber.subscription.dispose()
    assert client.names[-1] == "Open"
    dial.peer.go()
    client.run()
    assert received_by(dial) == ["+a", "fills", "x", "-a"]
    assert close_code_of(dial) == 1000
    client.check_nothing_left()


def test_a_subscriber_while_draining_keeps_the_connection() -> None:
    """A subscriber that comes while queued messages are drained keeps the connection."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    [dial] = client.dials
    client.queue_behind_full_wire("x")
    subscriber.subscription.dispose()
    again = client.subscribe()
    dial.peer.go()
    client.run()
    dial.peer.message("a")
    assert again.values == ["a"]
    assert received_by(dial) == ["fills", "x"]
    assert len(client.dials) == 1
    client.check_nothing_left(again.subscription.dispose)


def test_a_loss_while_draining_keeps_the_queue_and_dials_nothing() -> None:
    """If the connection is lost while draining, nothing is dialled and the queue is kept."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    client.queue_behind_full_wire("x")
    subscriber.subscription.dispose()
    client.dials[0].peer.lost()
    client.run(100.0)
    assert len(client.dials) == 1
    assert client.feed.stats.queued == 1
    again = client.subscribe()
    assert received_by(client.dials[1]) == ["x"]
    client.check_nothing_left(again.subscription.dispose)


@pytest.mark.promise("channel")
def test_a_channel_sends_and_its_end_leaves_the_socket_open() -> None:
    """Messages of a channel are sent; its completion or error leaves the connection open."""
    client = VirtualSubject()
    a = channel(client, "a")
    subscriber = client.subscribe(a)
    a.on_next("x")
    a.on_completed()
    faults: list[Exception] = []
    client.feed.errors.subscribe(faults.append)
    failed = ValueError("from a user's pipeline")
    a.on_error(failed)
    a.on_next("y")
    assert faults == [failed]
    assert received_by(client.dials[0]) == ["+a", "x", "y"]
    assert client.names[-1] == "Open"
    with pytest.raises(TypeError, match="push the Close into the subject"):
        a.on_next(Close())
    client.check_nothing_left(subscriber.subscription.dispose)


def test_channel_messages_may_be_functions_or_none() -> None:
    """A function makes a new channel message each time; None sends no message."""
    client = VirtualSubject()
    keep = client.subscribe()
    tickets = iter("123456")
    subscriber = client.subscribe(
        client.feed.channel(lambda: f"+{next(tickets)}", lambda: f"-{next(tickets)}", bool)
    )
    silent = client.subscribe(client.feed.channel(None, None, bool))
    client.dials[0].peer.lost()
    client.run(1.0)
    silent.subscription.dispose()
    subscriber.subscription.dispose()
    assert [received_by(dial) for dial in client.dials] == [["+1"], ["+2", "-3"]]
    client.check_nothing_left(keep.subscription.dispose)


def raise_error(*_: object) -> Any:
    raise ValueError("mine")


def test_a_subscribe_function_that_raises_fails_only_its_channel() -> None:
    """If a subscribe function raises, only its channel's subscribers fail."""
    client = VirtualSubject()
    good = client.subscribe(channel(client, "a"))
    bad = client.subscribe(client.feed.channel(raise_error, "-", channel_of, key="b"))
    assert isinstance(bad.error, ValueError)
    client.dials[0].peer.message("a:1", "b:1")
    assert good.values == ["a:1"]
    assert bad.values == []
    assert received_by(client.dials[0]) == ["+a"]
    client.check_nothing_left(good.subscription.dispose)


def test_a_single_channel_whose_subscribe_function_raises_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the only channel fails to subscribe, the connection is closed and it is logged."""
    client = VirtualSubject()
    client.feed.channel(raise_error, None, bool).subscribe()
    assert close_code_of(client.dials[0]) == 1000
    assert "a channel failed: mine" in caplog.text
    client.check_nothing_left()


def test_an_unsubscribe_function_that_raises_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If an unsubscribe function raises, it is logged and the connection stays open."""
    client = VirtualSubject()
    keep = client.subscribe()
    subscriber = client.subscribe(client.feed.channel("+", raise_error, bool))
    subscriber.subscription.dispose()
    assert "a channel failed: mine" in caplog.text
    assert client.names[-1] == "Open"
    client.check_nothing_left(keep.subscription.dispose)


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.promise("sisters")
def test_an_exception_in_a_channel_does_not_affect_the_others(
    observed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """If a subscriber or `match` raises, `errors` or the log gets it; all channels continue."""
    caplog.set_level(logging.ERROR)
    client = VirtualSubject()
    faults: list[Exception] = []
    if observed:
        client.feed.errors.subscribe(faults.append)
    a, b = channel(client, "a"), channel(client, "b")
    a.subscribe(raise_error)
    others = [
        client.subscribe(a),
        client.subscribe(b),
        client.subscribe(client.feed.channel("+", "-", bool)),
    ]
    client.feed.channel(None, None, raise_error).subscribe()
    client.feed.channel(None, None, lambda value: value + 1, key=1).subscribe()
    client.feed.channel(None, None, lambda value: [value], key="not hashable").subscribe()
    for message in ("a:1", "b:1", "a:2"):
        client.dials[0].peer.message(message)
    assert [subscriber.values for subscriber in others] == [
        ["a:1", "a:2"],
        ["b:1"],
        ["a:1", "b:1", "a:2"],
    ]
    assert len(faults) == (3 * 3 + 2 if observed else 0)
    assert len(caplog.records) == (0 if observed else 4)
    assert client.names[-1] == "Open"
    client.feed.dispose()
    client.check_nothing_left()


@pytest.mark.promise("look-up")
def test_channels_with_one_match_function_share_the_look_up() -> None:
    """Channels with the same `match` and a `key` share one call of `match` per message."""
    calls: list[str] = []

    def match(value: str) -> str:
        calls.append(value)
        return channel_of(value)

    client = VirtualSubject()
    all_subscribers = [
        client.subscribe(client.feed.channel(None, None, match, key=f"{number % 500}"))
        for number in range(1000)
    ]
    client.dials[0].peer.message("7:x", "499:y", "500:z")
    assert len(calls) == 3
    assert all_subscribers[7].values == all_subscribers[507].values == ["7:x"]
    assert all_subscribers[499].values == all_subscribers[999].values == ["499:y"]
    assert sum(len(subscriber.values) for subscriber in all_subscribers) == 4
    all_subscribers[7].subscription.dispose()
    client.dials[0].peer.message("7:again")
    assert all_subscribers[507].values == ["7:x", "7:again"]
    client.feed.dispose()
    assert client.feed._lifecycle.channels._keyed == {}
    client.check_nothing_left()


def test_a_key_may_be_none() -> None:
    """None is a valid key."""
    client = VirtualSubject()
    subscriber = client.subscribe(client.feed.channel(None, None, lambda value: None, key=None))
    client.dials[0].peer.message("a")
    assert subscriber.values == ["a"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_final_end_ends_channels() -> None:
    """A final end ends a channel's subscribers; the channel can be subscribed again."""
    refusal = HandshakeError("no", 403, {})
    client = VirtualSubject(fail_with(refusal), open_at_once())
    a = channel(client, "a")
    second = []

    def subscribe_again(_: Exception) -> None:
        second.append(client.subscribe(a))

    a.subscribe(on_error=subscribe_again)
    # The first dial failed within `subscribe`; the second one is open by now.
    client.run()
    assert len(second) == 1
    assert received_by(client.dials[1]) == ["+a"]
    client.dials[1].peer.close(1000)
    client.run()
    assert second[0].ends == [None]
    client.check_nothing_left()


def test_a_channel_subscribed_while_opening_sends_one_subscribe_message() -> None:
    """A channel subscribed within a status or `opening` sends one subscribe message."""
    subscribers: list[Any] = []

    def opening(conn: rxws.Connection[Any, Any]) -> list[str]:
        subscribers.append(client.subscribe(channel(client, "b")))
        return ["login"]

    client = VirtualSubject(opening=opening)
    client.feed.on_next("x")

    def subscribe(status: object) -> None:
        if type(status).__name__ == "Open":
            subscribers.append(client.subscribe(channel(client, "a")))

    client.feed.status.subscribe(subscribe)
    subscribers.append(client.subscribe())
    assert received_by(client.dials[0]) == ["login", "+a", "+b", "x"]
    client.feed.dispose()
    client.check_nothing_left()


def test_a_channel_subscribed_within_a_subscribe_function_is_subscribed() -> None:
    """A channel subscribed from within a subscribe function is subscribed on that connection."""
    client = VirtualSubject()
    subscribers: list[Any] = []

    def subscribe() -> str:
        if not subscribers:
            subscribers.append(client.subscribe(channel(client, "b")))
        return "+a"

    client.feed.on_next("x")
    client.feed.channel(subscribe, None, bool).subscribe()
    assert received_by(client.dials[0]) == ["+a", "+b", "x"]
    client.feed.dispose()
    client.check_nothing_left()


def test_disposing_a_channel_removes_its_subscribers() -> None:
    """`dispose` removes a channel's subscribers; it can be subscribed again."""
    client = VirtualSubject()
    keep = client.subscribe()
    a = channel(client, "a")
    first = client.subscribe(a)
    a.dispose()
    client.dials[0].peer.message("a:1")
    assert (first.values, first.ends) == ([], [])
    again = client.subscribe(a)
    assert received_by(client.dials[0]) == ["+a", "-a", "+a"]
    client.feed.dispose()
    again.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_invalid_channel_arguments_are_refused() -> None:
    """A `match` that is not callable and an unhashable key raise a TypeError."""
    client = VirtualSubject()
    with pytest.raises(TypeError, match="is not callable"):
        client.feed.channel(None, None, "a")  # type: ignore[arg-type] # that is the test
    with pytest.raises(TypeError, match="unhashable"):
        client.feed.channel(None, None, channel_of, key=[])  # type: ignore[arg-type] # likewise


def test_repr() -> None:
    """The repr of a channel shows its key and its subscribers."""
    client = VirtualSubject(never_open)
    a = channel(client, "a")
    assert a.observers == []
    subscriber = client.subscribe(a)
    assert len(a.observers) == 1
    assert repr(a) == "<Channel 'a', 1 subscriber>"
    assert "<Channel channel_of, 0 subscribers>" in repr(
        client.feed.channel(None, None, channel_of)
    )
    client.check_nothing_left(subscriber.subscription.dispose)


def test_values_go_through_a_codec() -> None:
    """Channel messages are encoded by the codec; `match` gets decoded values."""
    client = VirtualSubject(open_at_once(codec=rxws.codecs.json))
    subscriber = client.subscribe(
        client.feed.channel({"sub": "a"}, {"unsub": "a"}, lambda tick: tick.get("sym"), key="a")
    )
    client.dials[0].peer.message(json.dumps({"sym": "a", "price": 1}), json.dumps({"ack": True}))
    assert subscriber.values == [{"sym": "a", "price": 1}]
    subscriber.subscription.dispose()
    assert [json.loads(message) for message in received_by(client.dials[0])] == [
        {"sub": "a"},
        {"unsub": "a"},
    ]
    client.check_nothing_left()


def test_leaving_within_the_subscribe_function_sends_nothing() -> None:
    """If the last subscriber leaves within the subscribe function, nothing is sent."""
    client = VirtualSubject()
    keep = client.subscribe()

    def make_message() -> str:
        one.dispose()
        return "+"

    one = client.feed.channel(make_message, "-", bool)
    one.subscribe()
    assert received_by(client.dials[0]) == []
    client.check_nothing_left(keep.subscription.dispose)


def test_resubscribing_within_the_subscribe_function_sends_one_message() -> None:
    """Leaving and subscribing again within the subscribe function sends one message."""
    client = VirtualSubject()
    keep = client.subscribe()

    def make_message() -> str:
        calls.append("+")
        if len(calls) == 1:
            one.dispose()
            again.append(client.subscribe(one))
        return "+"

    calls: list[str] = []
    again: list[Any] = []
    one = client.feed.channel(make_message, "-", bool)
    one.subscribe()
    assert received_by(client.dials[0]) == ["+"]
    again[0].subscription.dispose()
    assert received_by(client.dials[0]) == ["+", "-"]
    client.check_nothing_left(keep.subscription.dispose)


def test_subscribing_within_the_unsubscribe_function_subscribes_after_it() -> None:
    """Subscribing within the unsubscribe function sends unsubscribe, then subscribe."""
    client = VirtualSubject()
    keep = client.subscribe()
    again: list[Any] = []

    def make_message() -> str:
        if not again:
            again.append(client.subscribe(one))
        return "-"

    one = client.feed.channel("+", make_message, bool)
    client.subscribe(one).subscription.dispose()
    assert received_by(client.dials[0]) == ["+", "-", "+"]
    client.dials[0].peer.message("a")
    assert again[0].values == ["a"]
    again[0].subscription.dispose()
    assert received_by(client.dials[0]) == ["+", "-", "+", "-"]
    client.check_nothing_left(keep.subscription.dispose)


def test_a_subscribe_function_that_replaces_the_connection() -> None:
    """If a subscribe function replaces the connection, the new one gets the message once."""
    client = VirtualSubject(open_at_once(), never_open, open_at_once())
    client.subscribe()
    calls: list[str] = []
    again: list[Any] = []

    def make_message() -> str:
        calls.append("+")
        if len(calls) == 1:
            client.feed.dispose()
            again.append(client.subscribe(one))
        return "+"

    one = client.feed.channel(make_message, "-", bool)
    one.subscribe()
    assert len(client.dials) == 2
    client.dials[1].fail(ConnectError("nobody"))
    client.run(1.0)
    assert [received_by(dial) for dial in client.dials] == [[], [], ["+"]]
    client.check_nothing_left(again[0].subscription.dispose)


def test_an_unsubscribe_message_is_not_sent_on_another_connection() -> None:
    """The unsubscribe message of a replaced connection is not sent on the next one."""
    client = VirtualSubject()
    keep = client.subscribe()
    later: list[Any] = []

    def make_message() -> str:
        keep.subscription.dispose()
        later.append(client.subscribe())
        return "-"

    one = client.feed.channel("+", make_message, bool)
    client.subscribe(one).subscription.dispose()
    assert [received_by(dial) for dial in client.dials] == [["+"], []]
    client.check_nothing_left(later[0].subscription.dispose)


def test_subscribing_and_leaving_repeatedly_does_not_grow_the_queue() -> None:
    """Subscribing and leaving repeatedly while the transport is full does not grow the queue."""
    client = VirtualSubject()
    keep = client.subscribe()
    dial = client.dials[0]
    one = channel(client, "a")
    subscriber = client.subscribe(one)
    dial.peer.stop()
    client.feed.on_next("fills the buffer")
    before = sum(isinstance(each, PinnedMessage) for each in gc.get_objects())
    for _ in range(100):
        subscriber.subscription.dispose()
        subscriber = client.subscribe(one)
    assert sum(isinstance(each, PinnedMessage) for each in gc.get_objects()) - before < 5
    dial.peer.go()
    client.run()
    assert received_by(dial) == ["+a", "fills the buffer", "-a", "+a"]
    subscriber.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


@pytest.mark.parametrize("opens", ["first", "later"])
def test_retry_above_a_channel_that_cannot_subscribe(
    opens: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If a subscribe function fails again and again, `retry` does not block the event loop."""
    calls = 0

    def fail() -> str:
        nonlocal calls
        calls += 1
        raise LookupError("no token")

    client = VirtualSubject()
    other = client.subscribe() if opens == "first" else None
    subscription = client.feed.channel(fail, None, bool).pipe(ops.retry()).subscribe()
    if other is None:
        other = client.subscribe()
    assert calls < 20
    client.run(1.0)
    assert 50 <= calls <= 150
    assert "failed 10 times in a row" in caplog.text
    subscription.dispose()
    client.check_nothing_left(other.subscription.dispose)


def test_a_channel_that_subscribes_again_within_on_error_is_subscribed() -> None:
    """A subscriber that comes back within `on_error` is subscribed at the server."""
    answers: list[Any] = [LookupError("no token"), "+a"]

    def subscribe_message() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    client = VirtualSubject()
    other = client.subscribe()
    a = client.feed.channel(subscribe_message, "-a", bool)
    second: list[Any] = []
    a.subscribe(on_error=lambda _: second.append(client.subscribe(a)))
    assert received_by(client.dials[0]) == ["+a"]
    second[0].subscription.dispose()
    client.check_nothing_left(other.subscription.dispose)


def test_a_channel_that_fails_while_the_connection_is_lost() -> None:
    """If the connection is lost before a delayed failure, the channel subscribes on the next."""
    broken = True

    def subscribe_message() -> str:
        if broken:
            raise LookupError("no token")
        return "+a"

    client = VirtualSubject()
    other = client.subscribe()
    a = client.feed.channel(subscribe_message, "-a", bool)
    retried = client.subscribe(a.pipe(ops.retry()))
    broken = False
    client.dials[0].peer.lost()
    client.run(2.0)
    assert received_by(client.dials[-1]) == ["+a"]
    assert retried.ends == []
    retried.subscription.dispose()
    client.check_nothing_left(other.subscription.dispose)
