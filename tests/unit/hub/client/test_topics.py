"""Topics of a client: one order, positions, and gaps, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from rxws.hub import Gap, Message, Position, Refused
from support.virtual.hub_client import VirtualHubClient


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def message(offset: int, epoch: str = "e") -> Message[Any]:
    """Return a message whose value is its offset."""
    return Message(offset, at(offset, epoch))


def pubs(*offsets: int) -> list[Any]:
    return [{"offset": offset, "data": offset} for offset in offsets]


@pytest.fixture
def virtual() -> Iterator[VirtualHubClient]:
    """Return a client; at the end nothing may be left."""
    virtual = VirtualHubClient()
    yield virtual
    virtual.check_nothing_left()


def connected(virtual: VirtualHubClient, stream: Any) -> Any:
    """Subscribe a stream, and accept the connection."""
    subscriber = virtual.subscribe(stream)
    virtual.answer("connect", client="c")
    return subscriber


def test_the_first_subscriber_connects_and_the_last_one_leaves(virtual: VirtualHubClient) -> None:
    """There is one subscription at the server, while the topic has subscribers."""
    topic = virtual.client.topic("news")
    first = connected(virtual, topic)
    request = virtual.subscribed()
    assert request == {
        "channel": "news", "positioned": True, "recoverable": True,
    }  # fmt: skip
    second = virtual.subscribe(topic)
    third = virtual.subscribe(topic.messages())
    virtual.check_silent()
    virtual.publish("news", "a", {"b": 1})
    assert first.values == second.values == ["a", {"b": 1}]
    assert third.values == [Message("a"), Message({"b": 1})]
    first.subscription.dispose()
    second.subscription.dispose()
    virtual.check_silent()
    third.subscription.dispose()
    virtual.expect("unsubscribe")
    assert virtual.close_code() == 1000
    assert virtual.client.stats.topics == 0


def test_a_topic_without_subscribers_is_unsubscribed_while_others_go_on(
    virtual: VirtualHubClient,
) -> None:
    """Leaving one topic keeps the connection of the other."""
    other = connected(virtual, virtual.client.topic("other"))
    virtual.subscribed()
    one = virtual.subscribe(virtual.client.topic("one"))
    virtual.subscribed()
    one.subscription.dispose()
    assert virtual.expect("unsubscribe")[1] == {"channel": "one"}
    virtual.publish("one", "late")
    virtual.publish("other", 1)
    assert (one.values, other.values) == ([], [1])


def test_subscribing_again_before_the_reply(virtual: VirtualHubClient) -> None:
    """A reply to a subscribe command of a subscriber that has left is ignored."""
    other = connected(virtual, virtual.client.topic("other"))
    virtual.subscribed()
    topic = virtual.client.topic("news")
    virtual.subscribe(topic).subscription.dispose()
    again = virtual.subscribe(topic.messages())
    old, _ = virtual.expect("subscribe")
    virtual.expect("unsubscribe")
    new, _ = virtual.expect("subscribe")
    virtual.send({"id": old, "subscribe": {"epoch": "e", "offset": 1, "recoverable": True}})
    virtual.publish("news", (2, 2))
    assert again.values == []
    virtual.send({"id": new, "subscribe": {"epoch": "e", "offset": 2, "recoverable": True}})
    virtual.publish("news", (3, 3))
    assert again.values == [message(3)]
    assert other.ends == []


def test_repeated_publications_are_dropped(virtual: VirtualHubClient) -> None:
    """A position is emitted once."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 3)
    virtual.publish("news", (3, 3), (4, 4), (4, 4), (2, 2), (5, 5))
    assert seen.values == [message(4), message(5)]


def test_a_hole_is_recovered(virtual: VirtualHubClient) -> None:
    """If a publication is missing, the client subscribes again, and the server sends it."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 1)
    virtual.publish("news", (2, 2), (4, 4))
    virtual.expect("unsubscribe")
    request = virtual.subscribed(
        "e", 5, recovered=True, was_recovering=True, publications=pubs(3, 4, 5)
    )
    assert (request["recover"], request["epoch"], request["offset"]) == (True, "e", 2)
    virtual.publish("news", (5, 5), (6, 6))
    assert seen.values == [message(number) for number in (2, 3, 4, 5, 6)]


def test_a_hole_that_the_server_does_not_fill_is_a_gap(virtual: VirtualHubClient) -> None:
    """The client asks once; then it tells the gap, and goes on."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 1)
    virtual.publish("news", (3, 3))
    virtual.expect("unsubscribe")
    virtual.subscribed("e", 1, recovered=True, was_recovering=True)
    virtual.publish("news", (4, 4), (5, 5))
    virtual.check_silent()
    assert seen.values == [Gap(at(1), at(4), "unavailable"), message(4), message(5)]


def test_a_hole_at_a_server_without_recovery_is_a_gap(virtual: VirtualHubClient) -> None:
    """A server that numbers but does not recover is not asked."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 1, recoverable=False)
    virtual.publish("news", (3, 3))
    virtual.check_silent()
    assert seen.values == [Gap(at(1), at(3), "unavailable"), message(3)]


def test_a_topic_continues_after_a_reconnect(virtual: VirtualHubClient) -> None:
    """Every subscriber gets what was missed, once."""
    topic = virtual.client.topic("news")
    seen = connected(virtual, topic.messages())
    values = virtual.subscribe(topic)
    virtual.subscribed("e", 1)
    virtual.publish("news", (2, 2))
    virtual.reconnect()
    request = virtual.subscribed(
        "e", 2, recovered=True, was_recovering=True, publications=pubs(3, 4)
    )
    assert (request["recover"], request["epoch"], request["offset"]) == (True, "e", 2)
    virtual.publish("news", (5, 5))
    assert seen.values == [message(number) for number in (2, 3, 4, 5)]
    assert values.values == [2, 3, 4, 5]
    assert virtual.client.stats.reconnects == 1


def test_a_topic_continues_if_nothing_was_missed(virtual: VirtualHubClient) -> None:
    """A reply without publications leaves the position where it was."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 2)
    virtual.reconnect()
    virtual.subscribed("e", 2, recovered=True, was_recovering=True)
    virtual.publish("news", (3, 3))
    assert seen.values == [message(3)]


@pytest.mark.parametrize(
    ("epoch", "offset", "kept", "gap"),
    [
        ("e", 9, (), Gap(at(2), at(10), "trimmed")),
        ("e", 9, (8, 9), Gap(at(2), at(8), "trimmed")),
        ("e", 2, (), Gap(at(2), at(3), "unavailable")),
        ("e", 1, (), Gap(at(2), at(2), "unavailable")),
        ("new", 4, (), Gap(at(2), at(5, "new"), "restarted")),
        ("new", 2, (), Gap(at(2), at(3, "new"), "restarted")),
    ],
)
def test_what_cannot_be_recovered_is_a_gap(
    virtual: VirtualHubClient, epoch: str, offset: int, kept: tuple[int, ...], gap: Gap
) -> None:
    """The gap comes before what the server still has, and live messages follow."""
    topic = virtual.client.topic("news")
    seen, gaps = connected(virtual, topic.messages()), virtual.subscribe(topic.gaps)
    virtual.subscribed("e", 2)
    virtual.reconnect()
    virtual.subscribed(epoch, offset, was_recovering=True, publications=pubs(*kept))
    virtual.publish("news", (offset + 1, offset + 1))
    expected = [message(each, epoch) for each in (*kept, offset + 1)]
    assert seen.values == [gap, *expected]
    assert gaps.values == [gap]
    assert virtual.client.stats.gaps == {gap.reason: 1}


def test_error_112_is_a_gap(virtual: VirtualHubClient) -> None:
    """A server that refuses a position is asked without one, and the gap is told."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 2)
    virtual.reconnect()
    virtual.refuse("subscribe", 112, "unrecoverable position")
    request = virtual.subscribed("e", 7)
    assert "recover" not in request
    virtual.publish("news", (8, 8))
    assert seen.values == [Gap(at(2), at(8), "trimmed"), message(8)]


def test_a_topic_that_is_not_numbered_any_more(virtual: VirtualHubClient) -> None:
    """The end of the numbers is a gap of unknown length."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 2)
    virtual.reconnect()
    virtual.subscribed(publications=[{"data": "x"}])
    virtual.publish("news", "y")
    assert seen.values == [Gap(at(2), None, "restarted"), Message("x"), Message("y")]
    virtual.reconnect()
    assert "recover" not in virtual.subscribed()


def test_insufficient_state_recovers_at_once(virtual: VirtualHubClient) -> None:
    """After an unsubscribe push of 2500 or more the client continues after its position."""
    seen = connected(virtual, virtual.client.topic("news").messages())
    virtual.subscribed("e", 2)
    virtual.send({"push": {"channel": "news", "unsubscribe": {"code": 2500, "reason": "gone"}}})
    virtual.subscribed("e", 4, recovered=True, was_recovering=True, publications=pubs(3, 4))
    assert seen.values == [message(3), message(4)]
    virtual.send({"push": {"channel": "news", "unsubscribe": {"code": 2500}}})
    virtual.check_silent()  # the second time in a row it waits
    virtual.run(1.0)
    virtual.subscribed("e", 4, recovered=True, was_recovering=True)
    virtual.run(20.0)
    virtual.send({"push": {"channel": "news", "unsubscribe": {"code": 2501}}})
    assert virtual.subscribed("e", 4, recovered=True, was_recovering=True)["offset"] == 4


# --- since and rewind -------------------------------------------------------------------------


def test_since_continues_where_an_earlier_run_was(virtual: VirtualHubClient) -> None:
    """The first subscriber gets everything after its position with the reply."""
    topic = virtual.client.topic("news")
    since, live = virtual.subscribe(topic.since(at(2))), virtual.subscribe(topic)
    virtual.answer("connect", client="c")
    request = virtual.subscribed(
        "e", 4, recovered=True, was_recovering=True, publications=pubs(3, 4)
    )
    assert (request["recover"], request["epoch"], request["offset"]) == (True, "e", 2)
    virtual.publish("news", (5, 5))
    assert since.values == [message(3), message(4), message(5)]
    assert live.values == [5]


def test_several_positions_are_one_request(virtual: VirtualHubClient) -> None:
    """The earliest position is asked for, and each view begins after its own."""
    topic = virtual.client.topic("news")
    views = [virtual.subscribe(topic.since(at(offset))) for offset in (3, 2, 4)]
    virtual.answer("connect", client="c")
    request = virtual.subscribed(
        "e", 4, recovered=True, was_recovering=True, publications=pubs(3, 4)
    )
    assert request["offset"] == 2
    virtual.publish("news", (5, 5))
    assert [[each.value for each in view.values] for view in views] == [[4, 5], [3, 4, 5], [5]]


def test_since_begins_with_a_gap_if_the_position_is_unknown(virtual: VirtualHubClient) -> None:
    """The server has lost its state while the program did not run."""
    since = connected(virtual, virtual.client.topic("news").since(at(2)))
    virtual.subscribed("new", 7, was_recovering=True)
    virtual.publish("news", (8, 8))
    assert since.values == [Gap(at(2), at(8, "new"), "restarted"), message(8, "new")]


def test_since_of_a_topic_without_numbers_begins_with_a_gap(virtual: VirtualHubClient) -> None:
    """Nothing can be proven then."""
    since = connected(virtual, virtual.client.topic("news").since(at(2)))
    virtual.subscribed()
    virtual.publish("news", 1)
    assert since.values == [Gap(at(2), None, "unavailable"), Message(1)]


def test_since_after_error_112_begins_with_a_gap(virtual: VirtualHubClient) -> None:
    """The server refuses the position with the subscribe and the history command."""
    since = connected(virtual, virtual.client.topic("news").since(at(2)))
    virtual.refuse("subscribe", 112)
    virtual.subscribed("new", 7)
    virtual.refuse("history", 112)
    virtual.publish("news", (8, 8))
    assert since.values == [Gap(at(2), at(8, "new"), "restarted"), message(8, "new")]


def test_a_later_since_reads_history(virtual: VirtualHubClient) -> None:
    """A view that comes later reads what it wants page by page, and goes on live."""
    topic = virtual.client.topic("news")
    connected(virtual, topic)
    virtual.subscribed("e", 5)
    since = virtual.subscribe(topic.since(at(2)))
    assert virtual.answer("history", epoch="e", offset=5, publications=pubs(3, 4)) == {
        "channel": "news", "limit": -1, "since": {"offset": 2, "epoch": "e"},
    }  # fmt: skip
    virtual.publish("news", (6, 6))
    request = virtual.answer("history", epoch="e", offset=6, publications=pubs(5, 6))
    assert request["since"]["offset"] == 4
    virtual.publish("news", (7, 7))
    assert [each.value for each in since.values] == [3, 4, 5, 6, 7]


def test_recent_messages_answer_a_later_since(virtual: VirtualHubClient) -> None:
    """What the client has received itself is not read again."""
    topic = virtual.client.topic("news")
    connected(virtual, topic)
    virtual.subscribed("e", 5)
    virtual.publish("news", (6, 6), (7, 7))
    since = virtual.subscribe(topic.since(at(6)))
    virtual.check_silent()
    assert since.values == [message(7)]


def test_since_without_the_right_to_read_history_begins_with_a_gap(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The gap says that messages may be missing, and the log says why, once."""
    topic = virtual.client.topic("news")
    connected(virtual, topic)
    virtual.subscribed("e", 5)
    for _ in range(2):
        since = virtual.subscribe(topic.since(at(2)))
        virtual.refuse("history", 103, "permission denied")
        assert since.values == [Gap(at(2), at(6), "unavailable")]
    [record] = caplog.records
    assert "history of topic 'news' was refused with 103" in record.getMessage()


def test_rewind_reads_the_newest_messages(virtual: VirtualHubClient) -> None:
    """The messages come in their order, and live ones follow without a hole."""
    topic = virtual.client.topic("news")
    rewound = connected(virtual, topic.rewind(2))
    virtual.subscribed("e", 5)
    request = virtual.answer("history", epoch="e", offset=5, publications=pubs(5, 4))
    assert request == {"channel": "news", "limit": 2, "reverse": True}
    virtual.publish("news", (6, 6))
    assert rewound.values == [4, 5, 6]


def test_messages_may_begin_with_the_newest(virtual: VirtualHubClient) -> None:
    """`messages(last=n)` emits n kept messages with their positions, then live ones."""
    events = connected(virtual, virtual.client.topic("news").messages(last=2))
    virtual.subscribed("e", 5)
    virtual.answer("history", epoch="e", offset=5, publications=pubs(5, 4))
    virtual.publish("news", (6, 6))
    assert events.values == [Message(number, at(number)) for number in (4, 5, 6)]


def test_rewind_without_the_right_fails(virtual: VirtualHubClient) -> None:
    """The error names the topic, the command and the remedy; others go on."""
    topic = virtual.client.topic("news")
    rewound, live = connected(virtual, topic.rewind(2)), virtual.subscribe(topic)
    virtual.subscribed("e", 5)
    virtual.refuse("history", 103, "permission denied")
    virtual.publish("news", (6, 6))
    error: Any = rewound.error
    assert isinstance(error, Refused)
    assert (error.action, error.topic, error.code) == ("history", "news", 103)
    assert "the server must allow it to this user" in str(error)
    assert live.values == [6]


def test_rewind_of_a_topic_without_numbers(virtual: VirtualHubClient) -> None:
    """A server may keep messages of a topic whose subscribers get no positions."""
    rewound = connected(virtual, virtual.client.topic("news").rewind(2))
    virtual.subscribed()
    virtual.answer("history", epoch="e", offset=5, publications=pubs(5, 4))
    virtual.publish("news", (6, 6))
    assert rewound.values == [4, 5, 6]


def test_history_is_read_again_after_a_temporary_error(virtual: VirtualHubClient) -> None:
    """A view waits until the server can answer."""
    rewound = connected(virtual, virtual.client.topic("news").rewind(2))
    virtual.subscribed("e", 5)
    virtual.refuse("history", 100, temporary=True)
    virtual.run(1.0)
    virtual.answer("history", epoch="e", offset=5, publications=pubs(5, 4))
    assert rewound.values == [4, 5]


def test_history_is_read_again_after_a_reconnect(virtual: VirtualHubClient) -> None:
    """A view whose read was lost begins on the next connection."""
    rewound = connected(virtual, virtual.client.topic("news").rewind(2))
    virtual.subscribed("e", 5)
    virtual.expect("history")
    virtual.reconnect()
    virtual.subscribed("e", 5, recovered=True, was_recovering=True)
    virtual.run(1.0)
    virtual.answer("history", epoch="e", offset=5, publications=pubs(5, 4))
    assert rewound.values == [4, 5]


def test_a_view_that_leaves_before_it_begins(virtual: VirtualHubClient) -> None:
    """Its position is not asked for."""
    topic = virtual.client.topic("news")
    gone, live = virtual.subscribe(topic.since(at(2))), virtual.subscribe(topic)
    gone.subscription.dispose()
    virtual.answer("connect", client="c")
    assert "recover" not in virtual.subscribed("e", 5)
    assert (gone.values, live.values) == ([], [])


@pytest.mark.parametrize(
    ("position", "error"),
    [(Position("e", -1), ValueError), ("e:1", TypeError), (7, TypeError), (("e", 1), TypeError)],
)
def test_wrong_positions(virtual: VirtualHubClient, position: Any, error: type[Exception]) -> None:
    """What is no position raises at once."""
    with pytest.raises(error, match=r"is no position|is a text: use .*Position\.parse"):
        virtual.client.topic("news").since(position)


@pytest.mark.parametrize(("count", "error"), [(0, ValueError), ("2", TypeError)])
def test_wrong_counts(virtual: VirtualHubClient, count: Any, error: type[Exception]) -> None:
    """What is no number of messages raises at once."""
    with pytest.raises(error, match="count"):
        virtual.client.topic("news").rewind(count)


# --- refusals -----------------------------------------------------------------------------------


def test_a_refused_subscription_fails_its_subscribers_only(virtual: VirtualHubClient) -> None:
    """The error names the topic, the code and the remedy; other topics go on."""
    secret = virtual.client.topic("secret")
    failed = [connected(virtual, secret), virtual.subscribe(secret.since(at(1)))]
    other = virtual.subscribe(virtual.client.topic("other"))
    virtual.refuse("subscribe", 103, "permission denied")
    virtual.subscribed()
    virtual.publish("other", 1)
    for each in failed:
        error: Any = each.error
        assert isinstance(error, Refused)
        assert (error.action, error.topic, error.code) == ("subscribe", "secret", 103)
        assert str(error) == (
            "subscribe of topic 'secret' was refused with 103 'permission denied': the server "
            "must allow it to this user"
        )
    assert other.values == [1]
    virtual.check_silent()


def test_retrying_a_refused_subscription_waits(virtual: VirtualHubClient) -> None:
    """`ops.retry()` asks at once the first time, and then as the backoff says."""
    other = connected(virtual, virtual.client.topic("other"))
    virtual.subscribed()
    topic = virtual.client.topic("secret")
    for _ in range(2):
        virtual.subscribe(topic)
        virtual.refuse("subscribe", 103)
    virtual.subscribe(topic)
    virtual.run(0.9)
    virtual.check_silent()
    virtual.run(0.2)
    virtual.subscribed()
    assert other.ends == []


@pytest.mark.parametrize(("code", "temporary"), [(100, False), (42, False), (111, True)])
def test_temporary_errors_are_retried(
    virtual: VirtualHubClient, code: int, temporary: bool
) -> None:
    """The client subscribes again when the backoff says so, also for the position."""
    seen = connected(virtual, virtual.client.topic("news").since(at(1)))
    virtual.refuse("subscribe", code, temporary=temporary)
    virtual.run(0.9)
    virtual.check_silent()
    virtual.run(0.1)
    request = virtual.subscribed("e", 2, recovered=True, was_recovering=True, publications=pubs(2))
    assert request["offset"] == 1
    assert seen.values == [message(2)]


def test_a_backoff_that_ends_starts_over_for_topics() -> None:
    """A topic is retried for as long as it has subscribers."""
    virtual = VirtualHubClient(backoff=lambda: iter([1.0]))
    seen = connected(virtual, virtual.client.topic("news"))
    for _ in range(3):
        virtual.refuse("subscribe", 100)
        virtual.run(1.0)
    virtual.subscribed()
    virtual.publish("news", 1)
    assert seen.values == [1]
    virtual.check_nothing_left()


def test_a_retry_that_falls_into_a_lost_connection(virtual: VirtualHubClient) -> None:
    """The topic is then subscribed on the next connection, once."""
    connected(virtual, virtual.client.topic("news"))
    virtual.refuse("subscribe", 100)
    virtual.dial.peer.lost()
    virtual.run(1.0)
    virtual.answer("connect", client="c")
    virtual.run(1.0)
    virtual.subscribed()
    virtual.check_silent()


def test_the_server_ends_a_subscription(virtual: VirtualHubClient) -> None:
    """An unsubscribe push below 2500 fails the subscribers."""
    seen = connected(virtual, virtual.client.topic("news"))
    virtual.subscribed()
    virtual.send(
        {"push": {"channel": "news", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}}
    )
    error: Any = seen.error
    assert (error.action, error.topic, error.code) == ("subscribe", "news", 2000)
    assert virtual.close_code() == 1000


def test_an_unhandled_refusal_is_logged(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber without on_error does not hide it."""
    virtual.client.topic("secret").subscribe(print)
    virtual.answer("connect", client="c")
    virtual.refuse("subscribe", 103)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "topic 'secret' failed, and no on_error handles it" in record.getMessage()


def test_a_subscriber_that_raises_stops_nobody(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception is logged once, and the others go on."""

    def fail(_: object) -> None:
        raise ValueError("mine")

    topic = virtual.client.topic("news")
    topic.subscribe(fail)
    topic.since(at(1)).subscribe(fail)
    seen = connected(virtual, topic)
    virtual.subscribed("e", 2, recovered=True, was_recovering=True, publications=pubs(2))
    virtual.publish("news", (3, 3), (4, 4))
    assert seen.values == [3, 4]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        "a subscriber of topic 'news' raised: mine"
    ]


# --- presence -----------------------------------------------------------------------------------


def info(client: str, user: str) -> Any:
    return {"client": client, "user": user}


def test_presence(virtual: VirtualHubClient) -> None:
    """The names are read once, and follow the joins and leaves."""
    presence = connected(virtual, virtual.client.topic("room").presence)
    assert virtual.subscribed()["join_leave"] is True
    id_, _ = virtual.expect("presence")
    virtual.send(  # these come before the reply
        {"push": {"channel": "room", "join": {"info": info("3", "cid")}}},
        {"push": {"channel": "room", "leave": {"info": info("2", "bob")}}},
    )
    members = {key: info(key, name) for key, name in (("1", "ann"), ("2", "bob"), ("9", ""))}
    virtual.send({"id": id_, "presence": {"presence": members}})
    assert presence.values[-1] == {"ann", "cid"}
    virtual.send({"push": {"channel": "room", "join": {"info": info("4", "ann")}}})
    virtual.send({"push": {"channel": "room", "leave": {"info": info("1", "ann")}}})
    assert presence.values[-1] == {"ann", "cid"}
    virtual.send(
        {"push": {"channel": "room", "leave": {"info": info("4", "ann")}}},
        {"push": {"channel": "room", "join": {"info": info("5", "dot")}}},
    )
    assert presence.values[-1] == {"cid", "dot"}
    late = virtual.subscribe(virtual.client.topic("room").presence)
    assert late.values == [{"cid", "dot"}]
    virtual.check_silent()


def test_presence_of_a_topic_that_is_subscribed_already(virtual: VirtualHubClient) -> None:
    """The client subscribes again, for the joins and leaves, and misses nothing."""
    topic = virtual.client.topic("room")
    seen = connected(virtual, topic.messages())
    assert "join_leave" not in virtual.subscribed("e", 1)
    presence = virtual.subscribe(topic.presence)
    virtual.expect("unsubscribe")
    virtual.subscribed("e", 2, recovered=True, was_recovering=True, publications=pubs(2))
    virtual.answer("presence", presence={"1": info("1", "ann")})
    assert presence.values == [{"ann"}]
    assert seen.values == [message(2)]


def test_presence_is_read_again_after_a_reconnect(virtual: VirtualHubClient) -> None:
    """The names stay as they were until then."""
    presence = connected(virtual, virtual.client.topic("room").presence)
    virtual.subscribed()
    virtual.answer("presence", presence={"1": info("1", "ann")})
    virtual.reconnect()
    virtual.subscribed()
    virtual.answer("presence", presence={"2": info("2", "bob")})
    assert presence.values == [{"ann"}, {"bob"}]


def test_presence_that_the_server_refuses(virtual: VirtualHubClient) -> None:
    """Only the stream of the names fails."""
    topic = virtual.client.topic("room")
    presence, values = connected(virtual, topic.presence), virtual.subscribe(topic)
    virtual.subscribed()
    virtual.refuse("presence", 108, "not available")
    error: Any = presence.error
    assert (error.action, error.topic, error.code) == ("presence", "room", 108)
    virtual.publish("room", 1)
    assert values.values == [1]


def test_presence_is_read_again_after_a_temporary_error(virtual: VirtualHubClient) -> None:
    """A server that cannot answer is asked again."""
    presence = connected(virtual, virtual.client.topic("room").presence)
    virtual.subscribed()
    virtual.refuse("presence", 100)
    virtual.run(1.0)
    virtual.answer("presence", presence={})
    assert presence.values == [frozenset()]
