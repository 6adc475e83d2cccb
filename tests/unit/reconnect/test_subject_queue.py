"""The messages that a `WebSocketSubject` sends, in virtual time: at most once and in order."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
import rxws.testing
from rxws import overflow
from rxws._core.connection import Close
from rxws._core.errors import ConnectError, EncodeError
from support.subscriber import Subscriber
from support.virtual.servers import fail_with
from support.virtual.subject import (
    VirtualSubject,
    close_code_of,
    never_open,
    open_at_once,
    received_by,
)


@pytest.mark.promise("at-most-once")
def test_unsent_messages_go_to_the_next_connection_and_none_twice() -> None:
    """Unsent messages of a lost connection are sent on the next one; no message is sent twice."""
    client = VirtualSubject()
    subscriber = client.subscribe()
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
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_connection_gets_no_messages_before_its_transport_runs() -> None:
    """A connection that is lost before its transport runs takes no message with it."""
    client = VirtualSubject(open_at_once(begun=False), open_at_once())
    subscriber = client.subscribe()
    client.feed.on_next("a")
    dial = client.dials[0]
    assert dial.session is not None
    assert dial.session.flow.buffered == 0 or client.feed.stats.queued == 1
    dial.transport.attach(dial.session)
    dial.peer.lost()
    client.run(1.0)
    sent = [received_by(dial) for dial in client.dials]
    assert sent == [[], ["a"]]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_queued_messages_are_sent_when_the_transport_runs() -> None:
    """Queued messages are sent in order when the connection's transport starts."""
    client = VirtualSubject(open_at_once(begun=False), opening=lambda conn: ["login"])
    client.feed.on_next("a")
    subscriber = client.subscribe()
    client.feed.on_next("b")
    dial = client.dials[0]
    assert received_by(dial) == []
    assert dial.session is not None
    dial.transport.attach(dial.session)
    client.run()
    assert received_by(dial) == ["login", "a", "b"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_each_message_is_encoded_once_on_a_connection_that_begins_later() -> None:
    """Each message is encoded once, after the connection's transport runs."""
    encoded: list[str] = []

    def encode(value: str) -> str:
        encoded.append(value)
        return value

    codec: rxws.Codec[str | bytes, str] = rxws.Codec(encode, lambda frame: frame)
    client = VirtualSubject(open_at_once(begun=False, codec=codec))
    for value in "012":
        client.feed.on_next(value)
    subscriber = client.subscribe()
    client.feed.on_next("3")
    [dial] = client.dials
    assert dial.session is not None
    dial.transport.attach(dial.session)
    client.run()
    assert encoded == ["0", "1", "2", "3"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_slow_peer_gets_all_messages_in_order() -> None:
    """A slow peer gets all messages in order, as it reads."""
    client = VirtualSubject()
    subscriber = client.subscribe()
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
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_send_detects_a_loss_during_a_pause() -> None:
    """A send detects a lost connection while reading is paused."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    pause = client.conn.flow.pause()
    client.dials[0].peer.lost()
    client.run()
    assert client.names[-1] == "Open"
    client.feed.on_next("a")
    client.run(1.0)
    assert received_by(client.dials[1]) == ["a"]
    pause.dispose()
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_send_detects_a_loss_behind_a_full_transport() -> None:
    """A send detects a lost connection even if the transport's buffer was full."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    pause = client.conn.flow.pause()
    client.dials[0].peer.stop()
    client.feed.on_next("fills")
    client.feed.on_next("waits")
    client.dials[0].peer.lost()
    client.run()
    assert client.names[-1] == "Open"
    client.feed.on_next("a")
    client.run(1.0)
    assert received_by(client.dials[1]) == ["waits", "a"]
    pause.dispose()
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_connection_that_cannot_send_is_read_to_its_end() -> None:
    """If sending is lost, queued messages do not pause reading, so what came is delivered."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    dial = client.dials[0]
    dial.transport.sever()
    client.run()
    for _ in range(70):
        client.feed.on_next("x" * 1000)
    assert dial.transport.reading
    dial.peer.message("last words")
    dial.peer.lost()
    client.run(1.0)
    assert subscriber.values == ["last words"]
    assert len(received_by(client.dials[1])) == 70
    client.check_nothing_left(subscriber.subscription.dispose)


def test_messages_after_an_end_from_another_thread_are_dropped() -> None:
    """An end from another thread counts from the moment of the call."""
    client = VirtualSubject()
    client.watch_drops()
    client.subscribe()
    thread = threading.Thread(target=client.feed.on_completed)
    thread.start()
    thread.join()
    client.feed.on_next("late")
    client.run()
    assert client.dropped == [("late", "closed")]
    assert (received_by(client.dials[0]), close_code_of(client.dials[0])) == ([], 1000)
    client.check_nothing_left()


def test_queued_messages_pause_delivery() -> None:
    """More than 64 KiB of queued messages pause delivery until the peer has caught up."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    dial = client.dials[0]
    dial.peer.stop()
    for _ in range(70):
        client.feed.on_next("x" * 1000)
    dial.peer.message("waits")
    assert subscriber.values == []
    dial.peer.go()
    client.run()
    assert subscriber.values == ["waits"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_loss_is_detected_while_queued_messages_pause_reading() -> None:
    """A lost connection is detected even while queued messages pause reading."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    client.dials[0].peer.stop()
    for _ in range(70):
        client.feed.on_next("x" * 1000)
    client.dials[0].peer.lost()
    client.run(1.0)
    assert [len(received_by(dial)) for dial in client.dials] == [1, 69]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_stalled_peer_is_aborted_and_the_next_connection_gets_the_queue() -> None:
    """After `send_timeout` the connection is aborted; the next one gets the queue."""
    client = VirtualSubject(open_at_once(send_timeout=5.0), open_at_once())
    subscriber = client.subscribe()
    client.dials[0].peer.stop()
    client.feed.on_next("a")
    client.feed.on_next("b")
    client.run(6.5)
    assert [received_by(dial) for dial in client.dials] == [["a"], ["b"]]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_sends_within_on_next_keep_order() -> None:
    """Messages sent from within `on_next` keep their order."""
    client = VirtualSubject()
    client.feed.pipe(ops.map(lambda value: f"{value}{value}")).subscribe(client.feed)
    client.dials[0].peer.message("a", "b")
    assert received_by(client.dials[0]) == ["aa", "bb"]
    client.feed.dispose()
    client.check_nothing_left()


def test_a_subscriber_of_outgoing_may_send() -> None:
    """A message sent from within a subscriber of `outgoing` goes to the end of the queue."""
    client = VirtualSubject(never_open)
    subscriber = client.subscribe()
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
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.promise("stale")
def test_expired_messages_are_never_sent() -> None:
    """A message older than `ttl` is dropped and reported instead of sent."""
    client = VirtualSubject(never_open, ttl=5.0)
    client.watch_drops()
    client.feed.on_next("old")
    client.run(3.0)
    subscriber = client.subscribe()
    client.feed.on_next("young")
    client.run(2.5)
    open_at_once()(client.dials[0])
    assert received_by(client.dials[0]) == ["young"]
    assert client.dropped == [("old", "expired")]
    assert client.feed.stats.dropped == {"expired": 1}
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.promise("stale")
def test_a_full_queue_drops_and_reports() -> None:
    """A full queue drops the oldest or the newest message, counts and reports it."""
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
        subscriber = client.subscribe()
        assert received_by(client.dials[0]) == kept
        client.check_nothing_left(subscriber.subscription.dispose)


def test_latest_replaces_queued_messages() -> None:
    """With `overflow.latest` the newest message of each key is queued, in the key's place."""
    client = VirtualSubject(queue_overflow=overflow.latest(lambda value: value[0]))
    client.watch_drops()
    for value in ("a1", "b1", "a2"):
        client.feed.on_next(value)
    assert client.dropped == [("a1", "conflated")]
    subscriber = client.subscribe()
    assert received_by(client.dials[0]) == ["a2", "b1"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_key_that_fails_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """If the key function raises, the message is dropped, counted and reported."""
    client = VirtualSubject(never_open, queue_overflow=overflow.latest(lambda value: value[0]))
    client.watch_drops()
    subscriber = client.subscribe()
    client.feed.on_next("")
    assert client.dropped == [("", "fault")]
    assert "the key of overflow.latest failed" in caplog.text
    client.check_nothing_left(subscriber.subscription.dispose)


def test_unobserved_drops_are_logged_once_per_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a subscriber of `drops`, counts are logged once, when a connection opens."""
    client = VirtualSubject(never_open, queue=300, ttl=5.0)
    subscriber = client.subscribe()
    for number in range(10):
        client.feed.on_next(f"{number}")
    client.run(6.0)
    assert not caplog.records
    open_at_once()(client.dials[0])
    [record] = caplog.records
    assert "8 overflow, 2 expired" in record.getMessage()
    client.feed.on_next("x")
    assert len(caplog.records) == 1
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize("leaves", ["at a drop", "before a drop"])
def test_drops_are_logged_if_their_subscriber_leaves(
    leaves: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A drop that no subscriber of `drops` got is logged, whenever the last one has left."""
    client = VirtualSubject(never_open, queue=1)
    seen: list[str] = []
    leave = client.feed.drops.subscribe(lambda drop: seen.append(drop.value))
    if leaves == "at a drop":
        leave.dispose()
        client.feed.drops.pipe(ops.take(1)).subscribe(lambda drop: seen.append(drop.value))
        thread = threading.Thread(target=lambda: any(map(client.feed.on_next, "abcd")))
        thread.start()
        thread.join()
    else:

        def push_and_leave(_: object) -> None:
            for each in "abc":
                client.feed.on_next(each)  # reported after this call
            leave.dispose()

        client.feed.on_next("x")
        client.feed.status.pipe(ops.skip(1), ops.take(1)).subscribe(push_and_leave)
    subscriber = client.subscribe()
    client.run()
    assert seen == (["a"] if leaves == "at a drop" else [])
    open_at_once()(client.dials[0])
    [record] = caplog.records
    assert record.getMessage().endswith(f": {3 - len(seen)} overflow")
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize("observed", [False, True])
def test_disposing_an_idle_subject_reports_its_queue(
    observed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """`dispose` of a subject that is not connected emits or logs the messages that it drops."""
    client = VirtualSubject()
    if observed:
        client.watch_drops()
    client.feed.on_next("a")
    client.feed.dispose()
    assert client.dropped == [("a", "closed")] * observed
    assert [": 1 closed" in record.getMessage() for record in caplog.records] == [True] * (
        not observed
    )


def test_drops_above_the_bound_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Of the drops by a thread, the latest 1000 are emitted and the rest are logged as a count."""
    client = VirtualSubject(never_open, queue=1)
    client.watch_drops()
    subscriber = client.subscribe()

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
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_message_that_cannot_be_encoded_is_dropped_as_a_fault() -> None:
    """A message that cannot be encoded is a fault, counted as dropped; later ones are sent."""
    client = VirtualSubject(never_open)
    client.watch_drops()
    faults: list[Exception] = []
    client.feed.errors.subscribe(faults.append)
    subscriber = client.subscribe()
    thing = object()
    client.feed.on_next(thing)
    client.feed.on_next("b")
    assert client.feed.stats.queued_bytes > 1
    open_at_once()(client.dials[0])
    assert received_by(client.dials[0]) == ["b"]
    assert client.dropped == [(thing, "fault")]
    assert [type(fault) for fault in faults] == [EncodeError]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_queued_bytes_are_those_of_encoded_messages() -> None:
    """`queued_bytes` counts the bytes of the encoded messages."""
    client = VirtualSubject(never_open, codec=rxws.codecs.json)
    client.feed.on_next({"a": 1})
    assert client.feed.stats.queued_bytes == len('{"a":1}')


def test_messages_from_threads_keep_each_threads_order() -> None:
    """Messages from threads are sent in the order of each thread."""
    client = VirtualSubject()
    subscriber = client.subscribe()

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
            of_thread = [message for message in sent if str(message)[1] == name]
            assert of_thread == [f"{round_}{name}{number}" for number in range(100)]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_another_thread_may_end_or_dispose() -> None:
    """Another thread may dispose, complete, close or fail the subject."""
    for act in ("leave", "complete", "close", "fail", "dispose"):
        client = VirtualSubject()
        subscriber = client.subscribe()
        do = {
            "leave": subscriber.subscription.dispose,
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


def test_a_pause_outlives_a_connection() -> None:
    """A pause of the subject also pauses the next connection, until it is disposed."""
    client = VirtualSubject()
    subscriber = client.subscribe()
    pause = client.feed._lifecycle.pauses.pause()
    client.dials[0].peer.message("waits")
    assert subscriber.values == []
    client.conn.outgoing.on_next(Close(1012))
    client.dials[0].peer.close(1012)
    client.run(1.0)
    assert len(client.dials) == 2
    client.dials[1].peer.message("a")
    assert subscriber.values == ["waits"], "our close ended the pause"
    pause.dispose()
    pause.dispose()
    client.run()
    assert subscriber.values == ["waits", "a"]
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.promise("at-most-once")
def test_over_random_faults_messages_are_sent_once_and_in_order(seed: int) -> None:
    """Over random losses, stops and restarts every message is sent once and in order."""
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
    other, subscriber = client.subscribe(), client.subscribe(channel)
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
            subscriber.subscription.dispose()
            subscriber = client.subscribe(channel)
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
        channel_messages = [message for message in sent if message in {"+", "-"}]
        assert channel_messages == (["+", "-"] * len(channel_messages))[: len(channel_messages)], (
            f"seed {seed}"
        )
    assert client.dropped == []
    subscriber.subscription.dispose()
    client.check_nothing_left(other.subscription.dispose)


@pytest.mark.promise("pushed")
def test_changes_of_a_queued_value_do_not_matter() -> None:
    """A value that is changed while it waits in the queue is sent as it was when pushed."""
    for codec, value in (
        (rxws.codecs.raw, bytearray(b"0")),
        (rxws.codecs.raw, memoryview(bytearray(b"0"))),
        (rxws.codecs.json, [0]),
    ):
        client = VirtualSubject(open_at_once(codec=codec), codec=codec)
        for number in range(3):
            value[0] = number if isinstance(value, list) else ord(f"{number}")
            client.feed.on_next(value)
        subscriber = client.subscribe()
        expected = ["[0]", "[1]", "[2]"] if isinstance(value, list) else [b"0", b"1", b"2"]
        assert received_by(client.dials[0]) == expected
        client.check_nothing_left(subscriber.subscription.dispose)


def test_a_value_that_cannot_be_copied_is_sent_as_it_is_then() -> None:
    """A value that cannot be copied is sent as it is when the connection opens."""

    class Locked:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    codec: Any = rxws.Codec[Any, Any](lambda value: type(value).__name__, str)
    client = VirtualSubject(open_at_once(codec=codec), codec=codec)
    for value in (Locked(), 7, None):
        client.feed.on_next(value)
    subscriber = client.subscribe()
    assert received_by(client.dials[0]) == ["Locked", "int", "NoneType"]
    client.check_nothing_left(subscriber.subscription.dispose)


def test_changes_of_a_message_of_opening_do_not_matter() -> None:
    """A message of `opening` that waits for the socket is sent as it was returned."""
    login = {"token": 1}
    client = VirtualSubject(
        open_at_once(begun=False, codec=rxws.codecs.json), opening=lambda _: [login, object()]
    )
    subscriber = client.subscribe()
    faults = Subscriber(client.feed.errors)
    login["token"] = 2
    dial = client.dials[0]
    assert dial.session is not None
    dial.transport.attach(dial.session)
    client.run()
    assert received_by(dial) == ['{"token":1}']
    assert [type(fault) for fault in faults.values] == [EncodeError]
    faults.subscription.dispose()
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize("make", [bytearray, lambda size: memoryview(bytes(size))])
@pytest.mark.parametrize("codec", [rxws.codecs.raw, rxws.codecs.text])
def test_the_queue_is_bounded_for_all_types_of_bytes(make: Any, codec: Any) -> None:
    """Queued messages count with the size of their payload, whatever their type."""
    client = VirtualSubject(codec=codec, queue=(1 << 20) + 1024)
    client.watch_drops()
    for _ in range(64):
        client.feed.on_next(make(1 << 20))
    assert client.feed.stats.queued == 1
    assert len(client.dropped) == 63
    client.feed.dispose()


@pytest.mark.promise("pushed")
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_changes_before_a_subject_opens_do_not_matter(where: str) -> None:
    """A value pushed before the socket opens is sent as it was then, and encoded once."""
    encoded: list[Any] = []

    def encode(value: Any) -> str | bytes:
        encoded.append(dict(value))
        return rxws.codecs.json.encode(value)

    def push() -> None:
        for number in range(4):
            value["n"] = number
            feed.on_next(value)

    value = {"n": 0}
    codec = rxws.Codec[Any, Any](encode, rxws.codecs.json.decode)
    received: list[Any] = []

    async def handler(conn: rxws.Connection[Any, Any]) -> None:
        messages = rxws.iterate(conn.incoming.pipe(ops.take(4)))
        received.extend([message async for message in messages])
        conn.outgoing.on_completed()

    async with rxws.testing.serve(handler, codec=rxws.codecs.json) as server:
        feed = rxws.WebSocketSubject[Any, Any](server.url, codec=codec)
        if where == "loop":
            push()
        else:
            await asyncio.to_thread(push)
        await Subscriber(feed).end()
    assert received == [{"n": number} for number in range(4)]
    assert encoded == received
