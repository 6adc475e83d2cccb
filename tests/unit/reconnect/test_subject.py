"""`WebSocketSubject` in virtual time: who opens and closes it, and how it ends."""

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
    """Nothing is dialled before the first subscriber, once for two, and the last closes 1000."""
    client = VirtualSubject()
    assert client.network.dials == []
    first, second = client.notes(), client.notes()
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
    """After the last has left, one who comes finds a new connection, while the old one closes."""
    client = VirtualSubject()
    client.notes().subscription.dispose()
    again = client.notes()
    assert len(client.dials) == 2
    client.dials[0].peer.message("late")
    client.dials[1].peer.message("new")
    assert again.values == ["new"]
    again.subscription.dispose()
    client.check_nothing_left()


def test_a_lost_connection_is_dialled_again() -> None:
    """Subscribers see what comes on every connection as one stream."""
    client = VirtualSubject()
    notes = client.notes()
    for number in range(3):
        client.dials[-1].peer.message(f"{number}")
        client.dials[-1].peer.lost()
        client.run(1.0)
    assert notes.values == ["0", "1", "2"]
    assert notes.ends == []
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
    client.check_nothing_left(notes.subscription.dispose)


def test_messages_wait_until_there_is_a_connection() -> None:
    """What is pushed before the first subscriber, while dialling and while waiting is sent then."""
    client = VirtualSubject(fail_with(ConnectError("nobody")), open_at_once())
    client.feed.on_next("before")
    notes = client.notes()
    client.feed.on_next("waiting")
    assert client.feed.stats.queued == 2
    assert client.feed.stats.queued_bytes == len("before") + len("waiting")
    client.run(1.0)
    client.feed.on_next("open")
    assert received_by(client.dials[1]) == ["before", "waiting", "open"]
    assert client.feed.stats.sent == 3
    assert client.feed.stats.queued == 0
    client.check_nothing_left(notes.subscription.dispose)


@pytest.mark.parametrize(
    ("pushed", "wire"),
    [(None, 1000), (Close(4001, "why"), 4001), (Close(1001), 1001), (Close(1012), 1012)],
)
def test_an_end_that_is_pushed_is_final(pushed: Close | None, wire: int) -> None:
    """A completion or a `Close` is sent after what waits, completes, and nothing is dialled."""
    client = VirtualSubject(never_open, open_at_once())
    notes = client.notes()
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
    assert close_code_of(dial) == wire
    assert notes.ends == [None]
    last = client.statuses.values[-1]
    assert last == Closed(Close(wire, pushed.reason if pushed else ""))
    assert len(client.dials) == 2
    client.check_nothing_left()


@pytest.mark.parametrize(
    ("error", "wire"), [(ValueError("x"), 1011), (ConnectionClosed(Close(4003)), 4003)]
)
def test_an_error_that_is_pushed_closes(
    error: Exception, wire: int, caplog: pytest.LogCaptureFixture
) -> None:
    """`on_error` closes with 1011 or the code of a `ConnectionClosed`, and completes."""
    client = VirtualSubject()
    notes = client.notes()
    client.feed.on_error(error)
    client.answer_close(client.dials[0])
    assert close_code_of(client.dials[0]) == wire
    assert notes.ends == [None]
    assert len(caplog.records) == (wire == 1011)
    client.check_nothing_left()


def test_after_the_end_nothing_is_sent() -> None:
    """What is pushed after the end is dropped, counted and told, until it is subscribed again."""
    client = VirtualSubject()
    client.watch_drops()
    client.notes()
    client.feed.on_completed()
    client.feed.on_next("late")
    client.feed.on_completed()
    assert client.dropped == [("late", "closed")]
    client.answer_close(client.dials[0])
    client.feed.on_next("again")
    notes = client.notes()
    assert received_by(client.dials[1]) == ["again"]
    client.check_nothing_left(notes.subscription.dispose)


def test_completed_where_nothing_waits_stops_dialling() -> None:
    """An end while dialling or waiting, with nothing to send, is the end at once."""
    for meets in (never_open, fail_with(ConnectError("nobody"))):
        client = VirtualSubject(meets)
        notes = client.notes()
        client.feed.on_completed()
        assert notes.ends == [None]
        assert client.names[-1] == "Closed"
        client.check_nothing_left()


def test_who_comes_over_the_status_of_an_end_is_not_of_it() -> None:
    """One who subscribes as soon as it is `Closed` has a connection, not one that nobody has."""
    client = VirtualSubject(never_open, open_at_once())
    first = client.notes()
    later: list[Any] = []

    def come(status: object) -> None:
        if isinstance(status, Closed) and not later:
            later.append(client.notes())

    client.feed.status.subscribe(come)
    client.feed.on_completed()
    assert first.ends == [None]
    client.dials[1].peer.message("a")
    assert later[0].values == ["a"]
    assert later[0].ends == []
    client.check_nothing_left(later[0].subscription.dispose)


def test_an_end_of_nothing_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing is open and nothing waits an end has no effect; an error is logged."""
    client = VirtualSubject()
    client.feed.on_completed()
    client.feed.on_error(ValueError("lost"))
    assert "lost" in caplog.text
    notes = client.notes()
    client.feed.on_next("a")
    assert received_by(client.dials[0]) == ["a"]
    client.check_nothing_left(notes.subscription.dispose)


def test_what_waits_is_sent_before_an_end_that_came_before_the_first_subscriber() -> None:
    """Messages and an end that wait for the first subscriber are sent, and it completes."""
    client = VirtualSubject()
    client.feed.on_next("a")
    client.feed.on_completed()
    notes = client.notes()
    assert received_by(client.dials[0]) == ["a"]
    client.answer_close(client.dials[0])
    assert notes.ends == [None]
    client.check_nothing_left()


def test_final_ends_are_told_and_subscribing_again_dials() -> None:
    """What is not retryable fails all subscribers with it; a 1000 of the peer completes them."""
    client = VirtualSubject(fail_with(REFUSED), open_at_once())
    notes = client.notes()
    assert notes.ends == [REFUSED]
    assert client.statuses.values[-1] == Closed(None, REFUSED)
    again = client.notes()
    client.dials[1].peer.close(1000)
    client.run()
    assert again.ends == [None]
    client.check_nothing_left()


def test_a_final_end_that_nobody_takes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber without `on_error` does not make a final error vanish."""
    client = VirtualSubject(fail_with(REFUSED))
    client.feed.subscribe(print)
    assert "no on_error handles it" in caplog.text
    client.check_nothing_left()


def test_one_who_subscribes_again_on_an_error_is_not_told_it_twice() -> None:
    """Who subscribes again while the end is told waits for the next connection."""
    client = VirtualSubject(fail_with(REFUSED), never_open)
    second = []
    client.feed.subscribe(on_error=lambda error: second.append(client.notes()))
    other = client.notes()
    client.run()
    assert len(client.dials) == 2
    assert [notes.ends for notes in second] == [[]]
    other.subscription.dispose()
    client.check_nothing_left(second[0].subscription.dispose)


@pytest.mark.promise("greeting")
def test_opening_goes_first() -> None:
    """`opening` messages go first on every new connection, ahead of what waits."""
    seen = []

    def opening(conn: rxws.Connection[str, str]) -> list[str]:
        seen.append(conn)
        return ["login", "hello"]

    client = VirtualSubject(opening=opening)
    client.feed.on_next("a")
    client.feed.status.subscribe(lambda status: client.feed.on_next(type(status).__name__))
    notes = client.notes()
    [dial] = client.dials
    assert received_by(dial) == ["login", "hello", "a", "Closed", "Connecting", "Open"]
    assert seen == [client.conn]
    dial.peer.lost()
    client.run(1.0)
    assert received_by(client.dials[1])[:2] == ["login", "hello"]
    client.check_nothing_left(notes.subscription.dispose)


def test_opening_that_fails_is_final(caplog: pytest.LogCaptureFixture) -> None:
    """An `opening` that raises closes with 1011, and all subscribers are told a typed error."""

    def opening(conn: rxws.Connection[str, str]) -> list[str]:
        raise ValueError("no ticket")

    client = VirtualSubject(opening=opening)
    notes = client.notes()
    client.feed.on_next("a")
    [dial] = client.dials
    client.answer_close(dial)
    assert close_code_of(dial) == 1011
    assert received_by(dial) == []
    assert isinstance(notes.error, OpeningError)
    assert isinstance(notes.error.__cause__, ValueError)
    last = client.statuses.values[-1]
    assert isinstance(last, Closed)
    assert last.error is notes.error
    assert "no ticket" in caplog.text
    assert client.feed.stats.queued == 1
    client.check_nothing_left()


def test_connection_is_there_when_open_is_told() -> None:
    """Who is told `Open` finds the connection; in every other state there is none."""
    client = VirtualSubject()
    there = []
    client.feed.status.subscribe(lambda status: there.append(client.feed.connection is not None))
    notes = client.notes()
    client.dials[0].peer.lost()
    client.run()
    assert there == [False, False, True, False, False]
    client.check_nothing_left(notes.subscription.dispose)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("at", ["Connecting", "Open", "Closed", "Waiting"])
def test_who_leaves_over_a_status_leaves_nothing(at: str, late: bool) -> None:
    """Leaving within any status is as good as at any other time, and nothing is sent after it."""

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


def test_who_comes_back_over_a_status_keeps_the_run() -> None:
    """Leaving and subscribing again within one status opens nothing twice."""
    client = VirtualSubject(never_open)
    notes: list[Any] = []

    def swap(status: object) -> None:
        if type(status).__name__ == "Connecting" and len(notes) == 1:
            notes[0].subscription.dispose()
            notes.append(client.notes())

    client.feed.status.subscribe(swap)
    notes.append(client.notes())
    client.run()
    assert "Connecting" in client.names
    client.check_nothing_left(notes[-1].subscription.dispose)


def test_a_subscriber_that_replaces_the_last_on_a_final_status_is_not_failed() -> None:
    """The final error of one run does not reach a subscriber that `Closed` brought."""
    client = VirtualSubject(never_open, open_at_once())
    notes = [client.notes()]

    def swap(status: object) -> None:
        if isinstance(status, Closed) and status.error is not None:
            notes[0].subscription.dispose()
            notes.append(client.notes())

    client.feed.status.subscribe(swap)
    client.dials[0].observer.on_error(REFUSED)
    client.dials[1].peer.message("a")
    assert [each.values for each in notes] == [[], ["a"]]
    assert [each.ends for each in notes] == [[], []]
    client.check_nothing_left(notes[1].subscription.dispose)


def test_a_subscriber_that_raises_is_a_fault_of_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With `errors` observed it is told there and all goes on; else the connection closes 1011."""

    def failing(value: str) -> None:
        raise ValueError(value)

    client = VirtualSubject()
    client.feed.subscribe(failing)
    notes = client.notes()
    faults = errors_of(client)
    client.dials[0].peer.message("a")
    assert [str(fault) for fault in faults] == ["a"]
    assert notes.values == ["a"]
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
    assert "fault that nobody observes" in caplog.text
    client.feed.dispose()
    client.check_nothing_left()


def errors_of(client: VirtualSubject) -> list[Exception]:
    told: list[Exception] = []
    client.feed.errors.subscribe(told.append)
    return told


def test_errors_can_be_left() -> None:
    """When the last has left `errors`, the rules of the connection hold again."""
    client = VirtualSubject()
    client.notes()
    told: list[Exception] = []
    subscription = client.feed.errors.subscribe(told.append)
    client.conn.outgoing.on_next(object())
    assert len(told) == 1
    subscription.dispose()
    client.conn.outgoing.on_next(object())
    assert close_code_of(client.dials[0]) == 1011
    client.feed.dispose()
    client.check_nothing_left()


def test_a_subscriber_of_status_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing but the log comes of it."""
    client = VirtualSubject()

    def failing(status: object) -> None:
        raise ValueError("status")

    client.feed.status.subscribe(failing)
    notes = client.notes()
    assert client.names[-1] == "Open"
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    client.check_nothing_left(notes.subscription.dispose)


def test_watching_does_not_count() -> None:
    """Who only watches sees all and opens nothing."""
    client = VirtualSubject()
    seen: list[object] = []
    client.feed.watch(Observer(seen.append))
    assert client.dials == []
    notes = client.notes()
    client.dials[0].peer.message("a")
    assert seen == ["a"]
    notes.subscription.dispose()
    assert close_code_of(client.dials[0]) == 1000
    client.check_nothing_left()


def test_repr() -> None:
    """The repr says where it goes, where it stands, who is there and what waits."""
    client = VirtualSubject(never_open)
    feed = client.feed
    assert repr(feed) == "<WebSocketSubject Closed, 0 subscribers, 0 channels, 0 queued>"
    notes = client.notes()
    feed.channel("a", "b", bool).subscribe()
    feed.on_next("x")
    assert repr(feed) == "<WebSocketSubject Connecting, 1 subscriber, 1 channel, 1 queued>"
    open_at_once()(client.dials[0])
    assert repr(feed) == (
        "<WebSocketSubject ws://peer.example/ Open, 1 subscriber, 1 channel, 0 queued>"
    )
    feed.dispose()
    client.check_nothing_left(notes.subscription.dispose)
    url = "ws://me:secret@peer.example/x?token=1"
    assert "ws://peer.example/x Closed" in repr(rxws.WebSocketSubject(url))

    def ticket() -> str:
        return url

    assert "ticket() Closed" in repr(rxws.WebSocketSubject(ticket))
    assert "secret" not in repr(rxws.WebSocketSubject(url))


def test_leaving_a_peer_that_takes_nothing_closes() -> None:
    """Where nothing waits the close is sent at once, be it that the wire is full; likewise ends."""
    for act in ("leave", "complete"):
        client = VirtualSubject()
        notes = client.notes()
        dial = client.dials[0]
        dial.peer.stop()
        client.feed.on_next("fills")
        if act == "leave":
            notes.subscription.dispose()
            assert client.names[-1] == "Closed"
        else:
            client.feed.on_completed()
        dial.peer.go()
        client.run()
        assert (received_by(dial), close_code_of(dial)) == (["fills"], 1000)
        client.answer_close(dial)
        client.check_nothing_left()


def test_an_error_while_there_is_no_connection_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What would close with 1011 ends the dialling, and the log has the error."""
    client = VirtualSubject(never_open)
    notes = client.notes()
    client.feed.on_error(ValueError("mine"))
    assert notes.ends == [None]
    assert "mine" in caplog.text
    client.check_nothing_left()


def test_an_end_that_dies_with_its_connection() -> None:
    """If TCP is lost before the end could be sent, the subscribers are told the loss, for good."""
    client = VirtualSubject()
    notes = client.notes()
    client.dials[0].peer.stop()
    client.feed.on_next("fills")
    client.feed.on_completed()
    client.dials[0].peer.lost()
    client.run(5.0)
    assert isinstance(notes.error, ConnectionClosed)
    assert notes.error.close.code == 1006
    assert len(client.dials) == 1
    client.check_nothing_left()


def test_an_end_whose_messages_have_not_left_dials_again() -> None:
    """As long as something waits before the end, a lost connection is dialled again for it."""
    client = VirtualSubject()
    notes = client.notes()
    client.dials[0].peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("x")
    client.feed.on_completed()
    client.dials[0].peer.lost()
    client.run(1.0)
    assert (received_by(client.dials[1]), close_code_of(client.dials[1])) == (["x"], 1000)
    client.answer_close(client.dials[1])
    assert notes.ends == [None]
    client.check_nothing_left()


def test_who_leaves_with_an_end_to_come_leaves_it_to_the_next() -> None:
    """An end that waits behind messages is sent for who subscribes next."""
    client = VirtualSubject(never_open, open_at_once())
    notes = client.notes()
    client.feed.on_next("x")
    client.feed.on_completed()
    notes.subscription.dispose()
    again = client.notes()
    client.answer_close(client.dials[1])
    assert (received_by(client.dials[1]), again.ends) == (["x"], [None])
    client.check_nothing_left()


def test_opening_may_leave() -> None:
    """Who leaves while the first messages are asked for leaves nothing behind."""
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


def test_a_subscriber_that_raises_over_the_end_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others are told the end all the same."""
    client = VirtualSubject()

    def failing() -> None:
        raise ValueError("over")

    client.feed.subscribe(on_completed=failing)
    notes = client.notes()
    client.dials[0].peer.close(1000)
    client.run()
    assert notes.ends == [None]
    assert "over" in caplog.text
    client.check_nothing_left()


def test_completing_a_first_subscriber_elsewhere_needs_a_loop() -> None:
    """Where no loop is known subscribing raises, and leaves nobody subscribed."""
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


def test_who_leaves_while_it_is_closing_seals_nothing() -> None:
    """After a completion and the last leaving, what is pushed waits for the next who comes."""
    client = VirtualSubject()
    notes = client.notes()
    client.feed.on_completed()
    notes.subscription.dispose()
    client.feed.on_next("x")
    again = client.notes()
    assert received_by(client.dials[1]) == ["x"]
    client.check_nothing_left(again.subscription.dispose)


async def test_a_scheduler_that_is_given_is_used_on_a_loop_as_well() -> None:
    """Virtual time stays virtual where an event loop is running."""
    client = VirtualSubject(fail_with(ConnectError("nobody")), open_at_once())
    notes = client.notes()
    client.run(1.0)
    assert client.names[-1] == "Open"
    thread = threading.Thread(target=client.feed.on_next, args=("a",))
    thread.start()
    thread.join()
    client.run()
    assert received_by(client.dials[1]) == ["a"]
    client.check_nothing_left(notes.subscription.dispose)
