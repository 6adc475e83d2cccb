"""What a `WebSocketSubject` sends, in virtual time: at most once, in order, nothing stale."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws import overflow
from rxws._core.connection import Close
from rxws._core.errors import ConnectError, EncodeError
from support.virtual.servers import fail_with
from support.virtual.subject import (
    VirtualSubject,
    close_code_of,
    never_open,
    open_at_once,
    received_by,
)


@pytest.mark.promise("at-most-once")
def test_what_had_not_left_goes_with_the_next_and_nothing_twice() -> None:
    """Of messages pushed towards a peer that has stopped, those that left are not sent again."""
    client = VirtualSubject()
    notes = client.notes()
    client.dials[0].peer.stop()
    for number in range(5):
        client.feed.on_next(f"{number}")
    assert client.feed.stats.queued == 4
    assert client.feed.stats.sent == 1
    client.dials[0].peer.lost()
    client.run()
    client.feed.on_next("5")
    client.run(1.0)
    assert [received_by(dial) for dial in client.dials] == [["0"], ["1", "2", "3", "4", "5"]]
    assert client.feed.stats.dropped == {}
    client.check_nothing_left(notes.subscription.dispose)


def test_nothing_is_handed_to_a_connection_that_has_not_begun() -> None:
    """A connection that dies before its wire has begun takes no message with it."""
    client = VirtualSubject(open_at_once(begun=False), open_at_once())
    notes = client.notes()
    client.feed.on_next("a")
    dial = client.dials[0]
    assert dial.session is not None
    assert dial.session.flow.buffered == 0 or client.feed.stats.queued == 1
    dial.transport.attach(dial.session)
    dial.peer.lost()
    client.run(1.0)
    sent = [received_by(dial) for dial in client.dials]
    assert sent == [[], ["a"]]
    client.check_nothing_left(notes.subscription.dispose)


def test_what_waits_leaves_when_the_wire_begins() -> None:
    """A connection that begins later than it is told of is sent all then, in order."""
    client = VirtualSubject(open_at_once(begun=False), opening=lambda conn: ["login"])
    client.feed.on_next("a")
    notes = client.notes()
    client.feed.on_next("b")
    dial = client.dials[0]
    assert received_by(dial) == []
    assert dial.session is not None
    dial.transport.attach(dial.session)
    client.run()
    assert received_by(dial) == ["login", "a", "b"]
    client.check_nothing_left(notes.subscription.dispose)


def test_each_message_is_encoded_once_on_a_connection_that_begins_later() -> None:
    """Nothing is encoded in vain before the connection's transport runs."""
    encoded: list[str] = []

    def encode(value: str) -> str:
        encoded.append(value)
        return value

    codec: rxws.Codec[str | bytes, str] = rxws.Codec(encode, lambda frame: frame)
    client = VirtualSubject(open_at_once(begun=False, codec=codec))
    for value in "012":
        client.feed.on_next(value)
    notes = client.notes()
    client.feed.on_next("3")
    [dial] = client.dials
    assert dial.session is not None
    dial.transport.attach(dial.session)
    client.run()
    assert encoded == ["0", "1", "2", "3"]
    client.check_nothing_left(notes.subscription.dispose)


def test_a_wire_that_takes_again_is_sent_what_waits() -> None:
    """A slow peer gets all, in order, as it takes it."""
    client = VirtualSubject()
    notes = client.notes()
    peer = client.dials[0].peer
    peer.stop()
    for number in range(6):
        client.feed.on_next(f"{number}")
    for taken in range(2, 6):
        peer.go(0)
        client.run()
        assert received_by(client.dials[0]) == [f"{number}" for number in range(taken)]
    client.feed.on_next("6")
    peer.go()
    client.run()
    assert received_by(client.dials[0]) == [f"{number}" for number in range(7)]
    client.check_nothing_left(notes.subscription.dispose)


def test_a_loss_while_paused_is_told_by_a_send() -> None:
    """A subscriber that holds reading does not hide from the queue that TCP is lost."""
    client = VirtualSubject()
    notes = client.notes()
    hold = client.conn.flow.pause()
    client.dials[0].peer.lost()
    client.run()
    assert client.names[-1] == "Open"
    client.feed.on_next("a")
    client.run(1.0)
    assert received_by(client.dials[1]) == ["a"]
    hold.dispose()
    client.check_nothing_left(notes.subscription.dispose)


def test_a_loss_behind_a_full_wire_is_told_by_a_send() -> None:
    """Neither does it where the peer had stopped to take before."""
    client = VirtualSubject()
    notes = client.notes()
    hold = client.conn.flow.pause()
    client.dials[0].peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("waits")
    client.dials[0].peer.lost()
    client.run()
    assert client.names[-1] == "Open"
    client.feed.on_next("a")
    client.run(1.0)
    assert received_by(client.dials[1]) == ["waits", "a"]
    hold.dispose()
    client.check_nothing_left(notes.subscription.dispose)


def test_a_wire_that_is_severed_is_read_to_its_end() -> None:
    """What waits while nothing can be sent any more does not hold up reading what came before."""
    client = VirtualSubject()
    notes = client.notes()
    dial = client.dials[0]
    dial.transport.sever()
    client.run()
    for _ in range(70):
        client.feed.on_next("x" * 1000)
    assert dial.transport.reading
    dial.peer.message("last words")
    dial.peer.lost()
    client.run(1.0)
    assert notes.values == ["last words"]
    assert len(received_by(client.dials[1])) == 70
    client.check_nothing_left(notes.subscription.dispose)


def test_what_is_pushed_behind_an_end_of_another_thread_is_dropped() -> None:
    """An end counts from the moment it is pushed, not from when the subject's thread sees it."""
    client = VirtualSubject()
    client.watch_drops()
    client.notes()
    thread = threading.Thread(target=client.feed.on_completed)
    thread.start()
    thread.join()
    client.feed.on_next("late")
    client.run()
    assert client.dropped == [("late", "closed")]
    assert (received_by(client.dials[0]), close_code_of(client.dials[0])) == ([], 1000)
    client.check_nothing_left()


def test_what_waits_holds_up_reading() -> None:
    """A peer that takes nothing is read no further above 64 KiB, and again when it has taken."""
    client = VirtualSubject()
    notes = client.notes()
    dial = client.dials[0]
    dial.peer.stop()
    for _ in range(70):
        client.feed.on_next("x" * 1000)
    assert not dial.transport.reading
    dial.peer.message("waits")
    assert notes.values == []
    dial.peer.go()
    client.run()
    assert notes.values == ["waits"]
    client.check_nothing_left(notes.subscription.dispose)


def test_a_loss_with_much_waiting_is_seen() -> None:
    """What waits holds up reading of a live peer, not the news that it is dead."""
    client = VirtualSubject()
    notes = client.notes()
    client.dials[0].peer.stop()
    for _ in range(70):
        client.feed.on_next("x" * 1000)
    client.dials[0].peer.lost()
    client.run(1.0)
    assert [len(received_by(dial)) for dial in client.dials] == [1, 69]
    client.check_nothing_left(notes.subscription.dispose)


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """After `send_timeout` the connection is aborted, and the next gets what waits."""
    client = VirtualSubject(open_at_once(send_timeout=5.0), open_at_once())
    notes = client.notes()
    client.dials[0].peer.stop()
    client.feed.on_next("a")
    client.feed.on_next("b")
    client.run(6.5)
    assert [received_by(dial) for dial in client.dials] == [["a"], ["b"]]
    client.check_nothing_left(notes.subscription.dispose)


def test_sends_within_a_value_keep_order() -> None:
    """What is sent while a value is passed on leaves in the order in which it was pushed."""
    client = VirtualSubject()
    client.feed.pipe(ops.map(lambda value: f"{value}{value}")).subscribe(client.feed)
    client.dials[0].peer.message("a", "b")
    assert received_by(client.dials[0]) == ["aa", "bb"]
    client.feed.dispose()
    client.check_nothing_left()


def test_who_watches_what_leaves_may_send() -> None:
    """A message pushed while another one leaves goes behind all that waits."""
    client = VirtualSubject(never_open)
    notes = client.notes()
    for value in "abc":
        client.feed.on_next(value)

    def answer(value: Any) -> None:
        if len(value) == 1:
            client.feed.on_next(value * 2)

    def watch(status: object) -> None:
        if type(status).__name__ == "Open":
            client.conn.outgoing.subscribe(answer)

    client.feed.status.subscribe(watch)
    open_at_once()(client.dials[0])
    assert received_by(client.dials[0]) == ["a", "b", "c", "aa", "bb", "cc"]
    client.check_nothing_left(notes.subscription.dispose)


@pytest.mark.promise("stale")
def test_expired_messages_are_never_sent() -> None:
    """What has waited for longer than `ttl` is dropped, counted and told when it would leave."""
    client = VirtualSubject(never_open, ttl=5.0)
    client.watch_drops()
    client.feed.on_next("old")
    client.run(3.0)
    notes = client.notes()
    client.feed.on_next("young")
    client.run(2.5)
    open_at_once()(client.dials[0])
    assert received_by(client.dials[0]) == ["young"]
    assert client.dropped == [("old", "expired")]
    assert client.feed.stats.dropped == {"expired": 1}
    client.check_nothing_left(notes.subscription.dispose)


@pytest.mark.promise("stale")
def test_a_full_queue_drops_and_tells() -> None:
    """Above its bound the oldest give way, or the newest is refused; each is counted and told."""
    for policy, kept, dropped in (
        ("drop_oldest", ["2", "3"], ["0", "1"]),
        ("drop_newest", ["0", "1"], ["2", "3"]),
    ):
        client = VirtualSubject(queue=2 * 129, queue_overflow=policy)
        client.watch_drops()
        for number in range(4):
            client.feed.on_next(f"{number}")
        assert client.dropped == [(value, "overflow") for value in dropped]
        assert client.feed.stats.dropped == {"overflow": 2}
        assert client.feed.stats.queued == 2
        notes = client.notes()
        assert received_by(client.dials[0]) == kept
        client.check_nothing_left(notes.subscription.dispose)


def test_latest_replaces_what_waits() -> None:
    """With `overflow.latest` only the newest message of each key waits, in the key's place."""
    client = VirtualSubject(queue_overflow=overflow.latest(lambda value: value[0]))
    client.watch_drops()
    for value in ("a1", "b1", "a2"):
        client.feed.on_next(value)
    assert client.dropped == [("a1", "conflated")]
    notes = client.notes()
    assert received_by(client.dials[0]) == ["a2", "b1"]
    client.check_nothing_left(notes.subscription.dispose)


def test_a_key_that_cannot_be_told_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A key function that raises loses that message, which is counted and told."""
    client = VirtualSubject(never_open, queue_overflow=overflow.latest(lambda value: value[0]))
    client.watch_drops()
    notes = client.notes()
    client.feed.on_next("")
    assert client.dropped == [("", "fault")]
    assert "the key of overflow.latest failed" in caplog.text
    client.check_nothing_left(notes.subscription.dispose)


def test_drops_that_nobody_observes_are_logged_once_for_each_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log is told numbers when there is a connection again, not each message."""
    client = VirtualSubject(never_open, queue=300, ttl=5.0)
    notes = client.notes()
    for number in range(10):
        client.feed.on_next(f"{number}")
    client.run(6.0)
    assert not caplog.records
    open_at_once()(client.dials[0])
    [record] = caplog.records
    assert "8 overflow, 2 expired" in record.getMessage()
    client.feed.on_next("x")
    assert len(caplog.records) == 1
    client.check_nothing_left(notes.subscription.dispose)


def test_drops_that_are_too_many_to_be_told_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Of what a thread lost at once `drops` tells the latest thousand, the log how many more."""
    client = VirtualSubject(never_open, queue=1)
    client.watch_drops()
    notes = client.notes()

    def push() -> None:
        for number in range(1501):
            client.feed.on_next(f"{number}")

    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    client.run()
    assert client.dropped == [(f"{number}", "overflow") for number in range(500, 1500)]
    assert client.feed.stats.dropped == {"overflow": 1500}
    open_at_once()(client.dials[0])
    [record] = caplog.records
    assert record.getMessage().endswith(": 500 overflow")
    client.check_nothing_left(notes.subscription.dispose)


def test_what_cannot_be_encoded_is_told_and_not_tried_again() -> None:
    """A message that the codec refuses is a fault, counted; those behind it are sent."""
    client = VirtualSubject(never_open)
    client.watch_drops()
    faults: list[Exception] = []
    client.feed.errors.subscribe(faults.append)
    notes = client.notes()
    thing = object()
    client.feed.on_next(thing)
    client.feed.on_next("b")
    assert client.feed.stats.queued_bytes > 1
    open_at_once()(client.dials[0])
    assert received_by(client.dials[0]) == ["b"]
    assert client.dropped == [(thing, "fault")]
    assert [type(fault) for fault in faults] == [EncodeError]
    client.check_nothing_left(notes.subscription.dispose)


def test_a_codec_measures_what_waits() -> None:
    """The bytes of a queue are those of encoded messages."""
    client = VirtualSubject(never_open, codec=rxws.codecs.json)
    client.feed.on_next({"a": 1})
    assert client.feed.stats.queued_bytes == len('{"a":1}')


def test_other_threads_push_in_order() -> None:
    """What threads push is sent in the order of each, be there a connection or not."""
    client = VirtualSubject()
    notes = client.notes()

    def push(name: str) -> None:
        for number in range(100):
            client.feed.on_next(f"{name}{number}")

    for round_ in range(2):
        threads = [threading.Thread(target=push, args=(f"{round_}{name}",)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.feed.stats.queued == 200
        assert client.clock.pending == 1, "one turn takes all that was handed over"
        client.run()
        sent = [
            message for message in received_by(client.dials[0]) if str(message)[0] == str(round_)
        ]
        for name in "ab":
            mine = [message for message in sent if str(message)[1] == name]
            assert mine == [f"{round_}{name}{number}" for number in range(100)]
    client.check_nothing_left(notes.subscription.dispose)


def test_another_thread_may_end_and_leave() -> None:
    """An end and a leaving from another thread come to the subject's own."""
    for act in ("leave", "complete", "close", "fail", "dispose"):
        client = VirtualSubject()
        notes = client.notes()
        do = {
            "leave": notes.subscription.dispose,
            "complete": client.feed.on_completed,
            "close": lambda: client.feed.on_next(Close(4001)),  # noqa: B023 # runs in this round
            "fail": lambda: client.feed.on_error(  # noqa: B023 # likewise
                rxws.ConnectionClosed(Close(4003))
            ),
            "dispose": client.feed.dispose,
        }[act]
        client.feed.on_next("a")
        thread = threading.Thread(target=do)
        thread.start()
        thread.join()
        client.run()
        expected = {"close": 4001, "fail": 4003}.get(act, 1000)
        assert (received_by(client.dials[0]), close_code_of(client.dials[0])) == (["a"], expected)
        client.check_nothing_left()


def test_map_async_holds_whatever_connection_there_is() -> None:
    """What holds reading holds it on the next connection as well, and lets go of it there."""
    client = VirtualSubject()
    notes = client.notes()
    hold = client.feed._lifecycle.pauses.pause()
    assert not client.dials[0].transport.reading
    client.conn.outgoing.on_next(Close(1012))
    client.dials[0].peer.close(1012)
    client.run(1.0)
    assert len(client.dials) == 2
    assert not client.dials[1].transport.reading
    client.dials[1].peer.message("a")
    assert notes.values == []
    hold.dispose()
    hold.dispose()
    client.run()
    assert notes.values == ["a"]
    client.check_nothing_left(notes.subscription.dispose)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.promise("at-most-once")
def test_whatever_happens_messages_are_sent_at_most_once_and_in_order(seed: int) -> None:
    """Over random losses, stops and starts every message is sent once, in order, or dropped."""
    rng = random.Random(seed)
    meets: list[Any] = [
        rng.choice(
            [
                open_at_once(),
                open_at_once(begun=False),
                fail_with(ConnectError("nobody")),
                open_at_once(send_timeout=2),
            ]
        )
        for _ in range(12)
    ]
    client = VirtualSubject(*meets, open_at_once(), opening=lambda conn: ["login"])
    client.watch_drops()
    channel = client.feed.channel("+", "-", lambda value: True)
    keep, notes = client.notes(), client.notes(channel)
    pushed: list[str] = []
    for step in range(200):
        dial = client.dials[-1]
        opened = dial.session is not None and not dial.transport.over
        act = rng.random()
        if act < 0.5:
            pushed.append(f"m{step}")
            client.feed.on_next(pushed[-1])
        elif act < 0.6 and opened and dial.transport._receiver is not None:
            if rng.random() < 0.4:
                dial.peer.stop()
            else:
                dial.peer.go(rng.choice([None, 0, 1, 2]))
        elif act < 0.65 and opened:
            if dial.transport._receiver is None:
                dial.transport.attach(dial.session)  # type: ignore[arg-type] # it is open
            else:
                dial.peer.lost() if rng.random() < 0.5 else dial.peer.close(1012)
        elif act < 0.7:
            notes.subscription.dispose()
            notes = client.notes(channel)
        else:
            client.run(rng.choice([0.0, 0.1, 1.0]))
    dial = client.dials[-1]
    while client.feed.stats.queued:
        dial = client.dials[-1]
        if dial.session is not None and dial.transport._receiver is None:
            dial.transport.attach(dial.session)
        if dial.session is not None and not dial.transport.send_lost:
            dial.peer.go()
        client.run(1.0)
    arrived = [
        message for dial in client.dials for message in received_by(dial) if message[0] == "m"
    ]
    assert arrived == pushed, f"seed {seed}"
    for dial in client.dials:
        sent = received_by(dial)
        assert sent[:1] in ([], ["login"]), f"seed {seed}"
        asked = [message for message in sent if message in {"+", "-"}]
        assert asked == (["+", "-"] * len(asked))[: len(asked)], f"seed {seed}"
    assert client.dropped == []
    notes.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)
