"""Channels of a `WebSocketSubject`, in virtual time: one message each way, however many listen."""

from __future__ import annotations

import gc
import json
import logging
from typing import Any

import pytest

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


def name(value: str) -> str:
    """The channel of a value like `a:1`."""
    return value.split(":")[0]


def channel(client: VirtualSubject, key: str, **options: Any) -> Channel[Any]:
    return client.feed.channel(f"+{key}", f"-{key}", name, key=key, **options)


@pytest.mark.promise("channel")
def test_subscribers_share_one_subscription() -> None:
    """Two subscribe and one message is sent; one leaves, nothing; the last leaves, one message."""
    client = VirtualSubject()
    keep = client.notes()
    a = channel(client, "a")
    first, second = client.notes(a), client.notes(a)
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
    """Who subscribes a channel counts as a subscriber of the subject."""
    client = VirtualSubject()
    notes = client.notes(channel(client, "a"))
    [dial] = client.dials
    assert received_by(dial) == ["+a"]
    notes.subscription.dispose()
    assert received_by(dial) == ["+a", "-a"]
    assert close_code_of(dial) == 1000
    client.check_nothing_left()


@pytest.mark.promise("greeting")
def test_each_connection_is_asked_once_before_what_waits() -> None:
    """A new connection is sent `opening`, then the channels' messages, then the buffer."""
    client = VirtualSubject(opening=lambda conn: ["login"])
    a, b = client.notes(channel(client, "a")), client.notes(channel(client, "b"))
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


def test_who_leaves_while_nothing_is_open_is_not_asked_for() -> None:
    """A channel that is left between two connections costs the next one nothing."""
    client = VirtualSubject(open_at_once(), open_at_once())
    keep = client.notes()
    notes = client.notes(channel(client, "a"))
    client.dials[0].peer.lost()
    client.run()
    notes.subscription.dispose()
    client.run(1.0)
    assert received_by(client.dials[1]) == []
    client.check_nothing_left(keep.subscription.dispose)


def test_a_subscription_that_has_not_left_is_taken_back() -> None:
    """What waits for a slow peer and is not wanted any more is not sent, nor is its opposite."""
    client = VirtualSubject()
    keep = client.notes()
    [dial] = client.dials
    dial.peer.stop()
    client.feed.on_next("fills")
    notes = client.notes(channel(client, "a"))
    client.feed.on_next("x")
    notes.subscription.dispose()
    other = client.notes(channel(client, "b"))
    dial.peer.go()
    client.run()
    assert received_by(dial) == ["fills", "x", "+b"]
    other.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_what_is_for_one_connection_is_not_sent_on_the_next() -> None:
    """Of what waits when a connection dies, only what was pushed goes with the next one."""
    client = VirtualSubject()
    keep = client.notes()
    notes = client.notes(channel(client, "a"))
    [dial] = client.dials
    dial.peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("x")
    notes.subscription.dispose()
    b = client.notes(channel(client, "b"))
    dial.peer.lost()
    client.run(1.0)
    assert received_by(dial) == ["+a", "fills"]
    assert received_by(client.dials[1]) == ["+b", "x"]
    b.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_the_last_to_leave_unsubscribes_before_the_close_of_a_slow_peer() -> None:
    """Where the wire is full, the unsubscribe message and what waits go ahead of the close."""
    client = VirtualSubject()
    notes = client.notes(channel(client, "a"))
    [dial] = client.dials
    dial.peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("x")
    notes.subscription.dispose()
    assert client.names[-1] == "Open"
    dial.peer.go()
    client.run()
    assert received_by(dial) == ["+a", "fills", "x", "-a"]
    assert close_code_of(dial) == 1000
    client.check_nothing_left()


def test_one_who_comes_while_the_last_leaves_keeps_the_connection() -> None:
    """A connection that has yet to send what waits before it closes is used by who comes then."""
    client = VirtualSubject()
    notes = client.notes()
    [dial] = client.dials
    dial.peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("x")
    notes.subscription.dispose()
    again = client.notes()
    dial.peer.go()
    client.run()
    dial.peer.message("a")
    assert again.values == ["a"]
    assert received_by(dial) == ["fills", "x"]
    assert len(client.dials) == 1
    client.check_nothing_left(again.subscription.dispose)


def test_what_could_not_leave_waits_for_the_next_who_comes() -> None:
    """If the connection dies while the last leaves, nothing is dialled and what waits is kept."""
    client = VirtualSubject()
    notes = client.notes()
    client.dials[0].peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("x")
    notes.subscription.dispose()
    client.dials[0].peer.lost()
    client.run(100.0)
    assert len(client.dials) == 1
    assert client.feed.stats.queued == 1
    again = client.notes()
    assert received_by(client.dials[1]) == ["x"]
    client.check_nothing_left(again.subscription.dispose)


@pytest.mark.promise("channel")
def test_a_channel_sends() -> None:
    """What is pushed into a channel is sent; its end, and an error, leave the socket open."""
    client = VirtualSubject()
    a = channel(client, "a")
    notes = client.notes(a)
    a.on_next("x")
    a.on_completed()
    faults: list[Exception] = []
    client.feed.errors.subscribe(faults.append)
    failed = ValueError("a pipeline of somebody's")
    a.on_error(failed)
    a.on_next("y")
    assert faults == [failed]
    assert received_by(client.dials[0]) == ["+a", "x", "y"]
    assert client.names[-1] == "Open"
    with pytest.raises(TypeError, match="push the Close into the subject"):
        a.on_next(Close())
    client.check_nothing_left(notes.subscription.dispose)


def test_messages_may_be_made_when_they_are_needed() -> None:
    """A function makes the message anew each time; None is for no message."""
    client = VirtualSubject()
    keep = client.notes()
    tickets = iter("123456")
    notes = client.notes(
        client.feed.channel(lambda: f"+{next(tickets)}", lambda: f"-{next(tickets)}", bool)
    )
    silent = client.notes(client.feed.channel(None, None, bool))
    client.dials[0].peer.lost()
    client.run(1.0)
    silent.subscription.dispose()
    notes.subscription.dispose()
    assert [received_by(dial) for dial in client.dials] == [["+1"], ["+2", "-3"]]
    client.check_nothing_left(keep.subscription.dispose)


def failing(*_: object) -> Any:
    raise ValueError("mine")


def test_a_subscribe_message_that_cannot_be_made_fails_its_channel_only() -> None:
    """Its subscribers are told what the function raised; the others and the socket go on."""
    client = VirtualSubject()
    good = client.notes(channel(client, "a"))
    bad = client.notes(client.feed.channel(failing, "-", name, key="b"))
    assert isinstance(bad.error, ValueError)
    client.dials[0].peer.message("a:1", "b:1")
    assert good.values == ["a:1"]
    assert bad.values == []
    assert received_by(client.dials[0]) == ["+a"]
    client.check_nothing_left(good.subscription.dispose)


def test_one_that_fails_before_it_is_open_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A channel that cannot be subscribed and was alone closes the socket; the log tells of it."""
    client = VirtualSubject()
    client.feed.channel(failing, None, bool).subscribe()
    assert close_code_of(client.dials[0]) == 1000
    assert "a channel failed: mine" in caplog.text
    client.check_nothing_left()


def test_an_unsubscribe_message_that_cannot_be_made_is_a_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who leaves is told nothing, the log is."""
    client = VirtualSubject()
    keep = client.notes()
    notes = client.notes(client.feed.channel("+", failing, bool))
    notes.subscription.dispose()
    assert "a channel failed: mine" in caplog.text
    assert client.names[-1] == "Open"
    client.check_nothing_left(keep.subscription.dispose)


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.promise("sisters")
def test_what_raises_in_a_channel_leaves_the_others(
    observed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber that raises, and a `match`, are told by `errors` or logged once; all go on."""
    caplog.set_level(logging.ERROR)
    client = VirtualSubject()
    faults: list[Exception] = []
    if observed:
        client.feed.errors.subscribe(faults.append)
    a, b = channel(client, "a"), channel(client, "b")
    a.subscribe(failing)
    sisters = [client.notes(a), client.notes(b), client.notes(client.feed.channel("+", "-", bool))]
    client.feed.channel(None, None, failing).subscribe()
    client.feed.channel(None, None, lambda value: value + 1, key=1).subscribe()
    client.feed.channel(None, None, lambda value: [value], key="not hashable").subscribe()
    for message in ("a:1", "b:1", "a:2"):
        client.dials[0].peer.message(message)
    assert [notes.values for notes in sisters] == [
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
def test_channels_of_one_key_share_the_look_up() -> None:
    """One call of `match` for each frame, however many channels have a key of it."""
    calls: list[str] = []

    def match(value: str) -> str:
        calls.append(value)
        return name(value)

    client = VirtualSubject()
    all_notes = [
        client.notes(client.feed.channel(None, None, match, key=f"{number % 500}"))
        for number in range(1000)
    ]
    client.dials[0].peer.message("7:x", "499:y", "500:z")
    assert len(calls) == 3
    assert all_notes[7].values == all_notes[507].values == ["7:x"]
    assert all_notes[499].values == all_notes[999].values == ["499:y"]
    assert sum(len(notes.values) for notes in all_notes) == 4
    all_notes[7].subscription.dispose()
    client.dials[0].peer.message("7:again")
    assert all_notes[507].values == ["7:x", "7:again"]
    client.feed.dispose()
    assert client.feed._lifecycle.channels._keyed == {}
    client.check_nothing_left()


def test_a_key_may_be_none() -> None:
    """None is a key as any other: the channel of what has no name."""
    client = VirtualSubject()
    notes = client.notes(client.feed.channel(None, None, lambda value: None, key=None))
    client.dials[0].peer.message("a")
    assert notes.values == ["a"]
    client.check_nothing_left(notes.subscription.dispose)


def test_the_end_is_told_to_channels() -> None:
    """A final end ends a channel's subscribers as the subject's; both can be subscribed again."""
    refusal = HandshakeError("no", 403, {})
    client = VirtualSubject(fail_with(refusal), open_at_once())
    a = channel(client, "a")
    second = []

    def again(_: Exception) -> None:
        second.append(client.notes(a))

    a.subscribe(on_error=again)
    # The first has failed within the subscribing, and the second has opened since.
    client.run()
    assert len(second) == 1
    assert received_by(client.dials[1]) == ["+a"]
    client.dials[1].peer.close(1000)
    client.run()
    assert second[0].ends == [None]
    client.check_nothing_left()


def test_who_comes_within_a_status_or_opening_is_asked_for_once() -> None:
    """A channel that comes while a connection is being opened is asked for once, in its place."""
    notes: list[Any] = []

    def opening(conn: rxws.Connection[Any, Any]) -> list[str]:
        notes.append(client.notes(channel(client, "b")))
        return ["login"]

    client = VirtualSubject(opening=opening)
    client.feed.on_next("x")

    def come(status: object) -> None:
        if type(status).__name__ == "Open":
            notes.append(client.notes(channel(client, "a")))

    client.feed.status.subscribe(come)
    notes.append(client.notes())
    assert received_by(client.dials[0]) == ["login", "+a", "+b", "x"]
    client.feed.dispose()
    client.check_nothing_left()


def test_who_comes_while_channels_are_asked_for() -> None:
    """A channel that comes within another's subscribe function is asked for on that connection."""
    client = VirtualSubject()
    notes: list[Any] = []

    def ask() -> str:
        if not notes:
            notes.append(client.notes(channel(client, "b")))
        return "+a"

    client.feed.on_next("x")
    client.feed.channel(ask, None, bool).subscribe()
    assert received_by(client.dials[0]) == ["+a", "+b", "x"]
    client.feed.dispose()
    client.check_nothing_left()


def test_disposing_a_channel_lets_go_of_its_subscribers() -> None:
    """It is as if all of them had left; it can be subscribed again."""
    client = VirtualSubject()
    keep = client.notes()
    a = channel(client, "a")
    first = client.notes(a)
    a.dispose()
    client.dials[0].peer.message("a:1")
    assert (first.values, first.ends) == ([], [])
    again = client.notes(a)
    assert received_by(client.dials[0]) == ["+a", "-a", "+a"]
    client.feed.dispose()
    again.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_what_a_channel_cannot_be_made_of() -> None:
    """A `match` that is no function, and a key that no dictionary takes, are refused at once."""
    client = VirtualSubject()
    with pytest.raises(TypeError, match="is not callable"):
        client.feed.channel(None, None, "a")  # type: ignore[arg-type] # that is the test
    with pytest.raises(TypeError, match="unhashable"):
        client.feed.channel(None, None, name, key=[])  # type: ignore[arg-type] # likewise


def test_repr() -> None:
    """A channel says which it is and how many are there."""
    client = VirtualSubject(never_open)
    a = channel(client, "a")
    assert a.observers == []
    notes = client.notes(a)
    assert len(a.observers) == 1
    assert repr(a) == "<Channel 'a', 1 subscriber>"
    assert "<Channel name, 0 subscribers>" in repr(client.feed.channel(None, None, name))
    client.check_nothing_left(notes.subscription.dispose)


def test_values_go_through_a_codec() -> None:
    """Messages of channels are encoded as all others, and `match` is given what was decoded."""
    client = VirtualSubject(open_at_once(codec=rxws.codecs.json))
    notes = client.notes(
        client.feed.channel({"sub": "a"}, {"unsub": "a"}, lambda tick: tick.get("sym"), key="a")
    )
    client.dials[0].peer.message(json.dumps({"sym": "a", "price": 1}), json.dumps({"ack": True}))
    assert notes.values == [{"sym": "a", "price": 1}]
    notes.subscription.dispose()
    assert [json.loads(message) for message in received_by(client.dials[0])] == [
        {"sub": "a"},
        {"unsub": "a"},
    ]
    client.check_nothing_left()


def test_refused_while_waiting_is_not_asked() -> None:
    """Subscribing and leaving while dialling sends nothing at all."""
    client = VirtualSubject(fail_with(ConnectError("nobody")), open_at_once())
    keep = client.notes()
    notes = client.notes(channel(client, "a"))
    notes.subscription.dispose()
    client.run(1.0)
    assert received_by(client.dials[1]) == []
    client.check_nothing_left(keep.subscription.dispose)


def test_who_leaves_while_the_subscribe_message_is_made_is_not_asked_for() -> None:
    """A function that makes the message and lets its only subscriber go: nothing is sent."""
    client = VirtualSubject()
    keep = client.notes()

    def made() -> str:
        one.dispose()
        return "+"

    one = client.feed.channel(made, "-", bool)
    one.subscribe()
    assert received_by(client.dials[0]) == []
    client.check_nothing_left(keep.subscription.dispose)


def test_who_comes_back_while_the_subscribe_message_is_made_is_asked_for_once() -> None:
    """The server hears one subscribe message, of who is there then."""
    client = VirtualSubject()
    keep = client.notes()

    def made() -> str:
        calls.append("+")
        if len(calls) == 1:
            one.dispose()
            again.append(client.notes(one))
        return "+"

    calls: list[str] = []
    again: list[Any] = []
    one = client.feed.channel(made, "-", bool)
    one.subscribe()
    assert received_by(client.dials[0]) == ["+"]
    again[0].subscription.dispose()
    assert received_by(client.dials[0]) == ["+", "-"]
    client.check_nothing_left(keep.subscription.dispose)


def test_who_comes_while_the_unsubscribe_message_is_made_stays_subscribed() -> None:
    """The server hears of the end first, and then of who came, and not the other way round."""
    client = VirtualSubject()
    keep = client.notes()
    again: list[Any] = []

    def made() -> str:
        if not again:
            again.append(client.notes(one))
        return "-"

    one = client.feed.channel("+", made, bool)
    client.notes(one).subscription.dispose()
    assert received_by(client.dials[0]) == ["+", "-", "+"]
    client.dials[0].peer.message("a")
    assert again[0].values == ["a"]
    again[0].subscription.dispose()
    assert received_by(client.dials[0]) == ["+", "-", "+", "-"]
    client.check_nothing_left(keep.subscription.dispose)


def test_a_connection_that_is_left_while_a_message_is_made_is_not_the_one_asked() -> None:
    """All leave and one comes back while a message is made: the new connection is asked once."""
    client = VirtualSubject(open_at_once(), never_open, open_at_once())
    client.notes()
    calls: list[str] = []
    again: list[Any] = []

    def made() -> str:
        calls.append("+")
        if len(calls) == 1:
            client.feed.dispose()
            again.append(client.notes(one))
        return "+"

    one = client.feed.channel(made, "-", bool)
    one.subscribe()
    assert len(client.dials) == 2
    client.dials[1].fail(ConnectError("nobody"))
    client.run(1.0)
    assert [received_by(dial) for dial in client.dials] == [[], [], ["+"]]
    client.check_nothing_left(again[0].subscription.dispose)


def test_a_connection_that_is_left_over_an_unsubscribe_message_is_not_told() -> None:
    """The message of a connection that is gone is not sent on the next one."""
    client = VirtualSubject()
    keep = client.notes()
    later: list[Any] = []

    def made() -> str:
        keep.subscription.dispose()
        later.append(client.notes())
        return "-"

    one = client.feed.channel("+", made, bool)
    client.notes(one).subscription.dispose()
    assert [received_by(dial) for dial in client.dials] == [["+"], []]
    client.check_nothing_left(later[0].subscription.dispose)


def test_coming_and_leaving_behind_a_full_wire_gathers_nothing() -> None:
    """However often somebody comes and leaves, what waits is what the server has yet to hear."""
    client = VirtualSubject()
    keep = client.notes()
    dial = client.dials[0]
    one = channel(client, "a")
    notes = client.notes(one)
    dial.peer.stop()
    client.feed.on_next("fills the wire")
    before = sum(isinstance(each, PinnedMessage) for each in gc.get_objects())
    for _ in range(100):
        notes.subscription.dispose()
        notes = client.notes(one)
    assert sum(isinstance(each, PinnedMessage) for each in gc.get_objects()) - before < 5
    dial.peer.go()
    client.run()
    assert received_by(dial) == ["+a", "fills the wire", "-a", "+a"]
    notes.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)
