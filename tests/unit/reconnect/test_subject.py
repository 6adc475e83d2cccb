"""`WebSocketSubject` in virtual time: what opens and closes it, and how it ends."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from reactivex import Observer

import rxws
from rxws._core.connection import Close
from rxws._core.errors import ConnectError, ConnectionClosed, HandshakeError, OpeningError
from rxws.status import Closed, Waiting
from support.virtual.servers import Dial, fail_with
from support.virtual.subject import (
    VirtualSubject,
    close_code_of,
    never_open,
    open_at_once,
    received_by,
)

REFUSED = HandshakeError("no", 401, {})


def test_the_first_subscriber_opens_and_the_last_closes() -> None:
    """The first subscriber opens the connection, the last one closes it with 1000."""
    client = VirtualSubject()
    assert client.servers.dials == []
    first, second = client.subscribe(), client.subscribe()
    [dial] = client.dials
    dial.peer.message("a")
    assert first.values == second.values == ["a"]
    first.subscription.dispose()
    dial.peer.message("b")
    assert second.values == ["a", "b"]
    second.subscription.dispose()
    assert close_code_of(dial) == 1000
    assert client.names == ["Closed", "Connecting", "Open", "Closed"]
    assert first.ends == second.ends == []
    client.check_nothing_left()


@pytest.mark.promise("left")
def test_subscribing_again_dials_again() -> None:
    """You can subscribe again while the old connection closes: the subject opens a new one."""
    client = VirtualSubject()
    client.subscribe().subscription.dispose()
    again = client.subscribe()
    assert len(client.dials) == 2
    client.dials[0].peer.message("late")
    client.dials[1].peer.message("new")
    assert again.values == ["new"]
    again.subscription.dispose()
    client.check_nothing_left()


def test_a_lost_connection_is_dialled_again() -> None:
    """Subscribers get the messages of all connections as one stream."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    for number in range(3):
        client.dials[-1].peer.message(f"{number}")
        client.dials[-1].peer.lost()
        client.run(1.0)
    assert subscriber.values == ["0", "1", "2"]
    assert subscriber.ends == []
    assert (
        client.names
        == ["Closed", "Connecting", "Open"]
        + ["Closed", "Waiting"] * 0
        + [
            "Closed",
            "Waiting",
            "Connecting",
            "Open",
        ]
        * 3
    )
    client.check_nothing_left(subscriber.subscription.dispose)


def test_messages_are_queued_until_there_is_a_connection() -> None:
    """Messages are queued while there is no connection, and sent once it is open."""
    client = VirtualSubject(fail_with(ConnectError("nobody")), open_at_once())
    client.feed.on_next("before")
    subscriber = client.subscribe()
    client.feed.on_next("waiting")
    assert client.feed.stats.queued == 2
    assert client.feed.stats.queued_bytes == len("before") + len("waiting")
    client.run(1.0)
    client.feed.on_next("open")
    assert received_by(client.dials[1]) == ["before", "waiting", "open"]
    assert client.feed.stats.sent == 3
    assert client.feed.stats.queued == 0
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize(
    ("pushed", "code"),
    [(None, 1000), (Close(4001, "why"), 4001), (Close(1001), 1001), (Close(1012), 1012)],
)
def test_a_completion_or_a_close_is_final(pushed: Close | None, code: int) -> None:
    """A completion or a `Close` is sent after queued messages, completes, and ends dialling."""
    client = VirtualSubject(never_open, open_at_once())
    subscriber = client.subscribe()
    client.dials[0].observer.on_error(ConnectError("nobody"))
    client.feed.on_next("last")
    if pushed is None:
        client.feed.on_completed()
    else:
        client.feed.on_next(pushed)
    client.run(1.0)
    dial = client.dials[1]
    assert received_by(dial) == ["last"]
    client.answer_close(dial)
    assert close_code_of(dial) == code
    assert subscriber.ends == [None]
    last = client.statuses.values[-1]
    assert last == Closed(Close(code, pushed.reason if pushed else ""))
    assert len(client.dials) == 2
    client.check_nothing_left()


@pytest.mark.parametrize("code", [1000, None, 1001, 4000])
@pytest.mark.parametrize("why", ["ended", "backoff"])
def test_a_final_close_of_the_peer(why: str, code: int | None) -> None:
    """The peer's final close completes with 1000 or no code, else it fails: one rule."""
    waits: list[float] = [] if why == "backoff" else [1.0] * 9
    client = VirtualSubject(backoff=lambda: iter(waits))
    subscriber = client.subscribe()
    [dial] = client.dials
    dial.peer.stop()
    client.feed.on_next("fills")
    if why == "ended":
        client.feed.on_completed()  # our close frame waits behind the message
    dial.peer.close(code)
    client.run(1.0)
    assert [type(end) for end in subscriber.ends] == [
        type(None) if code in (1000, None) else ConnectionClosed
    ]
    client.check_nothing_left()


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("x"), 1011), (ConnectionClosed(Close(4003)), 4003)]
)
def test_on_error_closes(error: Exception, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """`on_error` closes with 1011 or the code of a `ConnectionClosed`, and completes."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    client.feed.on_error(error)
    client.answer_close(client.dials[0])
    assert close_code_of(client.dials[0]) == code
    assert subscriber.ends == [None]
    assert len(caplog.records) == (code == 1011)
    client.check_nothing_left()


def test_after_the_end_nothing_is_sent() -> None:
    """Messages after the end are dropped and reported, until somebody subscribes again."""
    client = VirtualSubject()
    client.watch_drops()
    client.subscribe()
    client.feed.on_completed()
    client.feed.on_next("late")
    client.feed.on_completed()
    assert client.dropped == [("late", "closed")]
    client.answer_close(client.dials[0])
    client.feed.on_next("again")
    subscriber = client.subscribe()
    assert received_by(client.dials[1]) == ["again"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_on_completed_without_queued_messages_stops_dialling() -> None:
    """`on_completed` while dialling or waiting ends at once if no message is queued."""
    for meets in (never_open, fail_with(ConnectError("nobody"))):
        client = VirtualSubject(meets)
        subscriber = client.subscribe()
        client.feed.on_completed()
        assert subscriber.ends == [None]
        assert client.names[-1] == "Closed"
        client.check_nothing_left()


def test_subscribing_within_the_final_closed_status_opens_a_new_connection() -> None:
    """A subscription from within the `Closed` status of an end opens a new connection."""
    client = VirtualSubject(never_open, open_at_once())
    first = client.subscribe()
    later: list[Any] = []

    def subscribe(status: object) -> None:
        if isinstance(status, Closed) and not later:
            later.append(client.subscribe())

    client.feed.status.subscribe(subscribe)
    client.feed.on_completed()
    assert first.ends == [None]
    client.dials[1].peer.message("a")
    assert later[0].values == ["a"]
    assert later[0].ends == []
    client.check_nothing_left(later[0].subscription.dispose)


def test_an_end_without_a_connection_or_messages_has_no_effect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a connection and queued messages an end has no effect; an error is logged."""
    client = VirtualSubject()
    client.feed.on_completed()
    client.feed.on_error(ValueError("lost"))
    assert "lost" in caplog.text
    subscriber = client.subscribe()
    client.feed.on_next("a")
    assert received_by(client.dials[0]) == ["a"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_messages_and_an_end_wait_for_the_first_subscriber() -> None:
    """Messages and an end from before the first subscriber are sent when it subscribes."""
    client = VirtualSubject()
    client.feed.on_next("a")
    client.feed.on_completed()
    subscriber = client.subscribe()
    assert received_by(client.dials[0]) == ["a"]
    client.answer_close(client.dials[0])
    assert subscriber.ends == [None]
    client.check_nothing_left()


def test_final_ends_reach_subscribers_and_subscribing_again_dials() -> None:
    """A final error fails all subscribers, a 1000 completes them; subscribing again dials."""
    client = VirtualSubject(fail_with(REFUSED), open_at_once())
    subscriber = client.subscribe()
    assert subscriber.ends == [REFUSED]
    assert client.statuses.values[-1] == Closed(None, REFUSED)
    again = client.subscribe()
    client.dials[1].peer.close(1000)
    client.run()
    assert again.ends == [None]
    client.check_nothing_left()


def test_a_final_error_without_on_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A final error is logged if a subscriber has no `on_error`."""
    client = VirtualSubject(fail_with(REFUSED))
    client.feed.subscribe(print)
    assert "no on_error handles it" in caplog.text
    client.check_nothing_left()


def test_subscribing_again_within_on_error_waits_for_the_next_connection() -> None:
    """A subscription from within `on_error` does not get the same error."""
    client = VirtualSubject(fail_with(REFUSED), never_open)
    second = []
    client.feed.subscribe(on_error=lambda error: second.append(client.subscribe()))
    other = client.subscribe()
    client.run()
    assert len(client.dials) == 2
    assert [subscriber.ends for subscriber in second] == [[]]
    other.subscription.dispose()
    client.check_nothing_left(second[0].subscription.dispose)


@pytest.mark.promise("greeting")
def test_opening_messages_are_sent_first() -> None:
    """`opening` messages are sent first on every new connection, before queued ones."""
    seen = []

    def opening(conn: rxws.Connection[str, str]) -> list[str]:
        seen.append(conn)
        return ["login", "hello"]

    client = VirtualSubject(opening=opening)
    client.feed.on_next("a")
    client.feed.status.subscribe(lambda status: client.feed.on_next(type(status).__name__))
    subscriber = client.subscribe()
    [dial] = client.dials
    assert received_by(dial) == ["login", "hello", "a", "Closed", "Connecting", "Open"]
    assert seen == [client.conn]
    dial.peer.lost()
    client.run(1.0)
    assert received_by(client.dials[1])[:2] == ["login", "hello"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_an_opening_that_raises_is_final(caplog: pytest.LogCaptureFixture) -> None:
    """An `opening` that raises closes with 1011 and fails all subscribers with OpeningError."""

    def opening(conn: rxws.Connection[str, str]) -> list[str]:
        raise ValueError("no ticket")

    client = VirtualSubject(opening=opening)
    subscriber = client.subscribe()
    client.feed.on_next("a")
    [dial] = client.dials
    client.answer_close(dial)
    assert close_code_of(dial) == 1011
    assert received_by(dial) == []
    assert isinstance(subscriber.error, OpeningError)
    assert isinstance(subscriber.error.__cause__, ValueError)
    last = client.statuses.values[-1]
    assert isinstance(last, Closed)
    assert last.error is subscriber.error
    assert "no ticket" in caplog.text
    assert client.feed.stats.queued == 1
    client.check_nothing_left()


def test_connection_is_set_when_status_emits_open() -> None:
    """`connection` is set when `status` emits `Open`, and None in every other status."""
    client = VirtualSubject()
    is_set = []
    client.feed.status.subscribe(lambda status: is_set.append(client.feed.connection is not None))
    subscriber = client.subscribe()
    client.dials[0].peer.lost()
    client.run()
    assert is_set == [False, False, True, False, False]
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("at", ["Connecting", "Open", "Closed", "Waiting"])
def test_disposing_within_any_status_leaves_nothing(at: str, late: bool) -> None:
    """Disposing from within any status leaves nothing open, and nothing is sent after it."""

    def meet(dial: Dial) -> None:
        dial.later(0.1, lambda: dial.disposed or open_at_once()(dial)) if late else open_at_once()(
            dial
        )

    client = VirtualSubject(meet, opening=lambda _: ["never"] if at == "Open" else [])
    seen: list[str] = []

    def leave(status: object) -> None:
        seen.append(type(status).__name__)
        if len(seen) > 1 and seen[-1] == at:
            client.feed.dispose()

    client.feed.status.subscribe(leave)
    client.feed.subscribe()
    client.run(0.5)
    if at not in seen[1:]:
        client.dials[0].peer.lost()
        client.run(0.5)
    assert at in seen[1:]
    assert not any(received_by(dial) for dial in client.dials)
    client.run(20.0)
    assert len(client.dials) == 1
    client.check_nothing_left()


def test_replacing_the_subscription_within_a_status_dials_once() -> None:
    """Disposing and subscribing again within a status opens no second connection."""
    client = VirtualSubject(never_open)
    subscribers: list[Any] = []

    def swap(status: object) -> None:
        if type(status).__name__ == "Connecting" and len(subscribers) == 1:
            subscribers[0].subscription.dispose()
            subscribers.append(client.subscribe())

    client.feed.status.subscribe(swap)
    subscribers.append(client.subscribe())
    client.run()
    assert "Connecting" in client.names
    client.check_nothing_left(subscribers[-1].subscription.dispose)


def test_a_subscription_within_the_final_status_does_not_get_its_error() -> None:
    """A subscription from within the final `Closed` status does not get its error."""
    client = VirtualSubject(never_open, open_at_once())
    subscribers = [client.subscribe()]

    def swap(status: object) -> None:
        if isinstance(status, Closed) and status.error is not None:
            subscribers[0].subscription.dispose()
            subscribers.append(client.subscribe())

    client.feed.status.subscribe(swap)
    client.dials[0].observer.on_error(REFUSED)
    client.dials[1].peer.message("a")
    assert [each.values for each in subscribers] == [[], ["a"]]
    assert [each.ends for each in subscribers] == [[], []]
    client.check_nothing_left(subscribers[1].subscription.dispose)


def test_a_subscriber_that_raises_goes_to_errors_or_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A subscriber that raises is emitted on `errors`; unobserved it closes with 1011."""

    def failing(value: str) -> None:
        raise ValueError(value)

    client = VirtualSubject()
    client.feed.subscribe(failing)
    subscriber = client.subscribe()
    faults = errors_of(client)
    client.dials[0].peer.message("a")
    assert [str(fault) for fault in faults] == ["a"]
    assert subscriber.values == ["a"]
    assert client.names[-1] == "Open"
    client.dials[0].peer.lost()
    client.run(1.0)
    client.dials[1].peer.message("b")
    assert [str(fault) for fault in faults] == ["a", "b"]
    assert not caplog.records
    client.feed.dispose()
    client.check_nothing_left()

    client = VirtualSubject()
    client.feed.subscribe(failing)
    client.dials[0].peer.message("c")
    client.run()
    assert close_code_of(client.dials[0]) == 1011
    assert isinstance(client.statuses.values[-1], Waiting)
    assert "error without a subscriber" in caplog.text
    client.feed.dispose()
    client.check_nothing_left()


def errors_of(client: VirtualSubject) -> list[Exception]:
    errors: list[Exception] = []
    client.feed.errors.subscribe(errors.append)
    return errors


def test_faults_close_again_after_errors_is_unsubscribed() -> None:
    """After the last subscriber of `errors` left, a fault closes the connection again."""
    client = VirtualSubject()
    client.subscribe()
    errors: list[Exception] = []
    subscription = client.feed.errors.subscribe(errors.append)
    client.conn.outgoing.on_next(object())
    assert len(errors) == 1
    subscription.dispose()
    client.conn.outgoing.on_next(object())
    assert close_code_of(client.dials[0]) == 1011
    client.feed.dispose()
    client.check_nothing_left()


def test_a_subscriber_of_status_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a subscriber of `status` is logged and has no other effect."""
    client = VirtualSubject()

    def failing(status: object) -> None:
        raise ValueError("status")

    client.feed.status.subscribe(failing)
    subscriber = client.subscribe()
    assert client.names[-1] == "Open"
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_watcher_is_no_subscriber() -> None:
    """A watcher gets all messages but neither opens a connection nor keeps it open."""
    client = VirtualSubject()
    seen: list[object] = []
    client.feed.watch(Observer(seen.append))
    assert client.dials == []
    subscriber = client.subscribe()
    client.dials[0].peer.message("a")
    assert seen == ["a"]
    subscriber.subscription.dispose()
    assert close_code_of(client.dials[0]) == 1000
    client.check_nothing_left()


def test_repr() -> None:
    """The repr shows URL without secrets, status, subscribers, channels and queued messages."""
    client = VirtualSubject(never_open)
    feed = client.feed
    assert repr(feed) == "<WebSocketSubject Closed, 0 subscribers, 0 channels, 0 queued>"
    subscriber = client.subscribe()
    feed.channel("a", "b", bool).subscribe()
    feed.on_next("x")
    assert repr(feed) == "<WebSocketSubject Connecting, 1 subscriber, 1 channel, 1 queued>"
    open_at_once()(client.dials[0])
    assert repr(feed) == (
        "<WebSocketSubject ws://peer.example/ Open, 1 subscriber, 1 channel, 0 queued>"
    )
    feed.dispose()
    client.check_nothing_left(subscriber.subscription.dispose)
    url = "ws://me:secret@peer.example/x?token=1"
    assert "ws://peer.example/x Closed" in repr(rxws.WebSocketSubject(url))

    def ticket() -> str:
        return url

    assert "ticket() Closed" in repr(rxws.WebSocketSubject(ticket))
    assert "secret" not in repr(rxws.WebSocketSubject(url))


def test_a_close_is_sent_to_a_stalled_peer() -> None:
    """Disposing and completing send the close even if the transport's buffer is full."""
    for act in ("leave", "complete"):
        client = VirtualSubject()
        subscriber = client.subscribe()
        dial = client.dials[0]
        dial.peer.stop()
        client.feed.on_next("fills")
        if act == "leave":
            subscriber.subscription.dispose()
            assert client.names[-1] == "Closed"
        else:
            client.feed.on_completed()
        dial.peer.go()
        client.run()
        assert (received_by(dial), close_code_of(dial)) == (["fills"], 1000)
        client.answer_close(dial)
        client.check_nothing_left()


def test_on_error_without_a_connection_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`on_error` without a connection ends dialling, completes, and is logged."""
    client = VirtualSubject(never_open)
    subscriber = client.subscribe()
    client.feed.on_error(ValueError("mine"))
    assert subscriber.ends == [None]
    assert "mine" in caplog.text
    client.check_nothing_left()


def test_a_loss_before_the_end_is_sent_is_final() -> None:
    """If the connection is lost before the end is sent, subscribers get the loss as final."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    client.dials[0].peer.stop()
    client.feed.on_next("fills")
    client.feed.on_completed()
    client.dials[0].peer.lost()
    client.run(5.0)
    assert isinstance(subscriber.error, ConnectionClosed)
    assert subscriber.error.close.code == 1006
    assert len(client.dials) == 1
    client.check_nothing_left()


def test_an_end_behind_queued_messages_dials_again_after_a_loss() -> None:
    """If messages are queued before the end, a lost connection is dialled again."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    client.queue_behind_full_wire("x")
    client.feed.on_completed()
    client.dials[0].peer.lost()
    client.run(1.0)
    assert (received_by(client.dials[1]), close_code_of(client.dials[1])) == (["x"], 1000)
    client.answer_close(client.dials[1])
    assert subscriber.ends == [None]
    client.check_nothing_left()


def test_an_end_behind_queued_messages_waits_for_the_next_subscriber() -> None:
    """An end behind queued messages is kept if all leave, and sent for the next subscriber."""
    client = VirtualSubject(never_open, open_at_once())
    subscriber = client.subscribe()
    client.feed.on_next("x")
    client.feed.on_completed()
    subscriber.subscription.dispose()
    again = client.subscribe()
    client.answer_close(client.dials[1])
    assert (received_by(client.dials[1]), again.ends) == (["x"], [None])
    client.check_nothing_left()


def test_opening_and_subscribe_messages_may_dispose() -> None:
    """Disposing from within `opening` or a channel's subscribe message leaves nothing open."""
    for at in ("opening", "message"):
        held: list[Any] = []

        def leave(*_: object, held: list[Any] = held) -> list[str]:
            held[0].dispose()
            return ["never"]

        client = VirtualSubject(open_at_once(), opening=leave if at == "opening" else None)
        held.append(client.feed)
        client.feed.channel(leave if at == "message" else None, None, bool).subscribe()
        client.run()
        assert (received_by(client.dials[0]), close_code_of(client.dials[0])) == ([], 1000)
        client.check_nothing_left()


def test_a_subscriber_that_raises_in_on_completed_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception from `on_completed` is logged; the others are completed too."""
    client = VirtualSubject()

    def failing() -> None:
        raise ValueError("over")

    client.feed.subscribe(on_completed=failing)
    subscriber = client.subscribe()
    client.dials[0].peer.close(1000)
    client.run()
    assert subscriber.ends == [None]
    assert "over" in caplog.text
    client.check_nothing_left()


def test_subscribing_without_an_event_loop_raises() -> None:
    """Subscribing without an event loop raises and leaves no subscriber behind."""
    feed = rxws.WebSocketSubject("ws://127.0.0.1:1/")
    with pytest.raises(RuntimeError, match="no event loop is running"):
        feed.subscribe()
    with pytest.raises(RuntimeError, match="no event loop is running"):
        feed.channel(None, None, bool).subscribe()
    assert feed.observers == []
    feed.on_next("a")
    feed.dispose()
    assert feed.stats.dropped == {"closed": 1}
    assert " 'http://[' " in repr(rxws.WebSocketSubject("http://["))


def test_messages_after_a_completion_and_the_last_subscriber_are_kept() -> None:
    """After a completion and the last subscriber's leaving, messages wait for the next one."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    client.feed.on_completed()
    subscriber.subscription.dispose()
    client.feed.on_next("x")
    again = client.subscribe()
    assert received_by(client.dials[1]) == ["x"]
    client.check_nothing_left(again.subscription.dispose)


async def test_a_given_scheduler_is_used_on_a_running_loop() -> None:
    """A given scheduler is used even if an event loop is running."""
    client = VirtualSubject(fail_with(ConnectError("nobody")), open_at_once())
    subscriber = client.subscribe()
    client.run(1.0)
    assert client.names[-1] == "Open"
    thread = threading.Thread(target=client.feed.on_next, args=("a",))
    thread.start()
    thread.join()
    client.run()
    assert received_by(client.dials[1]) == ["a"]
    client.check_nothing_left(subscriber.subscription.dispose)
