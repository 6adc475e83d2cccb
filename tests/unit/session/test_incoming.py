"""The stream of what comes in: held back while nobody is subscribed, and told of once ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxws import Close, ConnectionClosed, DecodeError, codecs
from rxws._core.upstream import collect_upstreams
from support.virtual.session import VirtualSession


@pytest.mark.promise("first")
@pytest.mark.parametrize("overrun", [0, 1, 3])
def test_before_the_first_subscriber_messages_are_held_back(overrun: int) -> None:
    """However many come; reading pauses with the first, and the subscriber gets all in order."""
    virtual = VirtualSession(overrun=overrun)
    virtual.peer.message("a", "b", "c", "d", "e")
    assert virtual.transport.times("pause") == [0]
    seen = virtual.watch(virtual.conn.incoming)
    assert seen.values == []
    virtual.run(1)
    assert seen.values == ["a", "b", "c", "d", "e"]
    assert virtual.transport.reading
    assert virtual.dropped == {}


@pytest.mark.parametrize("overrun", [0, 1, 3])
def test_between_two_subscribers_messages_are_held_back(overrun: int) -> None:
    """One after the other takes what it wants, and none is lost between them."""
    virtual = VirtualSession(overrun=overrun)
    seen: list[str] = []
    for message in "abcdef":
        virtual.peer.message(message)
    for _ in "abcdef":
        virtual.conn.incoming.pipe(ops.first()).subscribe(seen.append)
        virtual.run(1)
    assert seen == ["a", "b", "c", "d", "e", "f"]
    assert virtual.dropped == {}


def test_who_subscribes_within_a_notification_gets_the_next_message() -> None:
    """The reply to the first message composes the pipeline for the rest."""
    virtual = VirtualSession(overrun=1)
    seen: list[str] = []

    def compose(first: str) -> None:
        seen.append(first)
        virtual.conn.incoming.subscribe(seen.append)

    virtual.conn.incoming.pipe(ops.first()).subscribe(compose)
    virtual.peer.message("a", "b", "c")
    assert seen == ["a", "b", "c"]


@pytest.mark.promise("first")
def test_all_who_subscribe_in_the_same_turn_see_the_first_message() -> None:
    """Nobody misses what the other got for having come second."""
    virtual = VirtualSession()
    virtual.peer.message("a", "b")
    first, second = virtual.watch(virtual.conn.incoming), virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    third = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert first.values == second.values == ["a", "b"]
    assert third.values == []


def test_a_send_between_two_subscriptions_changes_nothing() -> None:
    """Both still see the first message."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    first = virtual.watch(virtual.conn.incoming)
    virtual.conn.outgoing.on_next("hello")
    second = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert first.values == second.values == ["a"]


def test_a_hold_let_go_between_two_subscriptions_changes_nothing() -> None:
    """Both still see the first message."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    first = virtual.watch(virtual.conn.incoming)
    virtual.conn.flow.pause().dispose()
    second = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert first.values == second.values == ["a"]


def test_one_who_subscribes_and_leaves_in_the_same_turn_takes_nothing() -> None:
    """The message waits on."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    virtual.watch(virtual.conn.incoming).subscription.dispose()
    virtual.run(1)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a"]


def test_subscribing_while_the_flow_is_held_waits_for_both() -> None:
    """A subscriber, and nobody who holds."""
    virtual = VirtualSession(overrun=1)
    virtual.peer.message("a", "b")
    hold = virtual.conn.flow.pause()
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == []
    hold.dispose()
    virtual.run(1)
    assert seen.values == ["a", "b"]


def test_a_subscriber_that_holds_the_flow_gets_one_at_a_time() -> None:
    """Also of those that were kept."""
    virtual = VirtualSession(overrun=2)
    virtual.peer.message("a", "b", "c")
    seen: list[str] = []
    holds: list[Any] = []

    def take(message: str) -> None:
        seen.append(message)
        holds.append(virtual.conn.flow.pause())

    virtual.conn.incoming.subscribe(take)
    for count in (1, 2, 3):
        virtual.run(1)
        assert len(seen) == count
        holds.pop().dispose()
    assert seen == ["a", "b", "c"]


def test_the_end_waits_behind_what_is_held() -> None:
    """Messages and then a close: a late subscriber sees both, in this order."""
    virtual = VirtualSession()
    virtual.peer.message("a", "b")
    virtual.peer.close(4001)
    closed = virtual.watch(virtual.conn.closed)
    virtual.run(10)
    assert closed.values == []
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a", "b"]
    assert isinstance(seen.error, ConnectionClosed)
    assert closed.values == [Close(4001)]


def test_without_data_the_end_needs_no_subscriber() -> None:
    """Only data is held: control frames and the end of TCP are handled."""
    virtual = VirtualSession()
    virtual.peer.ping(b"x")
    virtual.peer.close(1000)
    closed = virtual.watch(virtual.conn.closed)
    assert closed.values == [Close(1000)]
    assert [sent.payload for sent in virtual.transport.sent] == [b"x", b"\x03\xe8"]


@pytest.mark.parametrize("result", [None, Disposable()])
def test_a_handler_that_pushes_by_hand_has_its_data_held(result: object) -> None:
    """After None or a Disposable a subscriber may be to come."""
    virtual = VirtualSession(lambda _: result)
    virtual.peer.message("a")
    virtual.run(1)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a"]


def test_a_server_push_drops_and_counts_and_sees_a_close_at_once() -> None:
    """Who returned an Observable and did not subscribe is not going to."""
    virtual = VirtualSession(lambda _: rx.never())
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a", "b")
    virtual.peer.close(1000)
    virtual.settle()
    assert closed.values == [Close(1000)]
    assert virtual.dropped == {"unobserved": 2}


def test_a_server_push_that_had_a_subscriber_is_none() -> None:
    """If it was subscribed once, the next subscriber is waited for."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.take(1), ops.zip(rx.never())))
    virtual.peer.message("a", "b")
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["b"]
    assert virtual.dropped == {}


@pytest.mark.parametrize(
    "compose",
    [
        lambda incoming: incoming.pipe(ops.start_with("welcome")),
        lambda incoming: rx.merge(rx.of("welcome"), incoming),
        lambda incoming: rx.concat(rx.of("welcome"), incoming),
    ],
    ids=["start_with", "merge", "concat"],
)
def test_a_pipeline_that_subscribes_in_its_first_turns_loses_nothing(
    compose: Callable[[rx.Observable[str]], rx.Observable[str]],
) -> None:
    """RxPY subscribes all but the simplest chains by way of the scheduler: no server push, that."""

    async def handler(conn: Any) -> rx.Observable[str]:
        return compose(conn.incoming)

    virtual = VirtualSession(handler)
    virtual.peer.message("early")
    virtual.run(1)
    assert virtual.messages == ["welcome", "early"]
    assert virtual.dropped == {}


def test_a_frame_that_cannot_be_decoded_is_one_fault_and_the_stream_goes_on() -> None:
    """The others are delivered."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    errors = virtual.watch(virtual.conn.errors)
    for frame in ("1", "{", b"2", "3"):
        virtual.peer.message(frame)
    assert virtual.incoming.values == [1, 3]
    raws = [error.raw for error in errors.values if isinstance(error, DecodeError)]
    assert raws == ["{", b"2"]
    assert virtual.closed.values == []


@pytest.mark.promise("starve")
def test_one_subscriber_who_raises_starves_no_other() -> None:
    """Each message is one fault of the one, and a message to the others."""
    virtual = VirtualSession(watch=True)

    def fail(_: str) -> NoReturn:
        raise ValueError("mine")

    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(fail)
    after = virtual.watch(virtual.conn.incoming)
    virtual.peer.message("a", "b")
    assert virtual.incoming.values == after.values == ["a", "b"]
    assert [str(error) for error in errors.values] == ["mine"] * 2


def test_who_subscribes_a_chain_learns_whose_flow_it_is() -> None:
    """Through whatever operators, and of each connection once per subscription."""
    one, other = VirtualSession(), VirtualSession()
    chain = one.conn.incoming.pipe(
        ops.map(str), ops.combine_latest(other.conn.incoming.pipe(ops.debounce(1.0)))
    )
    with collect_upstreams() as flows:
        chain.subscribe(scheduler=one.conn.scheduler)
    one.conn.incoming.subscribe()
    assert flows == [one.conn.flow, other.conn.flow]


def test_all_who_subscribe_in_a_turn_see_the_first_also_if_something_was_due_in_it() -> None:
    """A hold that was let go in the turn before, say."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    seen: list[Any] = []
    virtual.clock.schedule(lambda *_: seen.append(virtual.watch(virtual.conn.incoming)))
    virtual.conn.flow.pause().dispose()
    virtual.clock.schedule(lambda *_: seen.append(virtual.watch(virtual.conn.incoming)))
    virtual.settle()
    assert [notes.values for notes in seen] == [["a"], ["a"]]


def test_a_message_that_was_kept_may_be_undecodable() -> None:
    """Its fault is told when it is delivered, and the next message comes."""
    virtual = VirtualSession(codec=codecs.text, overrun=2)
    faults = virtual.watch(virtual.conn.errors)
    virtual.peer.message("a", b"b", "c")
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a", "c"]
    assert [type(fault) for fault in faults.values] == [DecodeError]


def test_a_subscriber_may_raise_on_a_message_that_was_kept() -> None:
    """It is a fault as on any other message, and its neighbour sees them all."""
    virtual = VirtualSession(overrun=2)
    faults = virtual.watch(virtual.conn.errors)
    virtual.peer.message("a", "b", "c")

    def fail(value: Any) -> None:
        raise LookupError(value)

    virtual.conn.incoming.subscribe(fail)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a", "b", "c"]
    assert [str(fault) for fault in faults.values] == ["a", "b", "c"]


# --- the stream of what comes in: what is not held back for ever -------------------------------


def test_after_hold_timeout_what_waits_is_dropped_and_the_end_is_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged once with the remedy; from then on dropped and counted."""
    virtual = VirtualSession(hold_timeout=30.0)
    closed = virtual.watch(virtual.conn.closed)
    virtual.run(5)
    virtual.peer.message("a", "b", "c")
    virtual.peer.close(1000)
    virtual.run(29.9)
    assert closed.values == []
    assert caplog.records == []
    virtual.run(1)
    assert closed.times == [35]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.WARNING)
    assert "conn.incoming.subscribe()" in record.getMessage()
    assert virtual.dropped == {"unobserved": 3}
    assert virtual.stats.received_messages == 3


def test_a_subscriber_after_hold_timeout_sees_what_comes_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was dropped is gone; while it is subscribed nothing is."""
    virtual = VirtualSession(hold_timeout=30.0)
    virtual.peer.message("a")
    virtual.run(31)
    virtual.peer.message("b")
    seen = virtual.watch(virtual.conn.incoming)
    virtual.peer.message("c")
    assert seen.values == ["c"]
    assert virtual.dropped == {"unobserved": 2}
    assert len(caplog.records) == 1


def test_the_time_out_is_for_data_that_waits_not_for_an_idle_peer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody there and nothing to take: nothing to say. Nor if somebody comes in time."""
    virtual = VirtualSession(hold_timeout=30.0)
    virtual.run(100)
    virtual.peer.message("a")
    virtual.run(29)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(100)
    assert seen.values == ["a"]
    assert caplog.records == []


def test_the_time_out_is_not_for_a_subscriber_who_holds(caplog: pytest.LogCaptureFixture) -> None:
    """Who is subscribed and busy may be so for long."""
    virtual = VirtualSession(hold_timeout=30.0, overrun=1)
    virtual.peer.message("a")
    hold = virtual.conn.flow.pause()
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(100)
    assert (seen.values, virtual.dropped, caplog.records) == ([], {}, [])
    hold.dispose()
    virtual.run(1)
    assert seen.values == ["a"]


def test_once_closing_has_begun_nothing_is_held(caplog: pytest.LogCaptureFixture) -> None:
    """The peer's answer is behind it: what nobody takes is dropped and counted."""
    virtual = VirtualSession(overrun=1)
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a", "b", "c")
    virtual.peer.close(1000)
    virtual.conn.outgoing.on_completed()
    virtual.run(1)
    assert closed.times == [0]
    assert virtual.dropped == {"unobserved": 3}
    assert caplog.records == []


def test_once_closing_has_begun_who_is_there_still_gets_what_comes() -> None:
    """Holds or not; who comes only then, too."""
    virtual = VirtualSession(watch=True, overrun=1)
    virtual.conn.flow.pause()
    virtual.peer.message("a", "b")
    virtual.conn.outgoing.on_completed()
    virtual.conn.flow.pause()
    late = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    virtual.peer.message("c")
    assert virtual.incoming.values == ["a", "b", "c"]
    assert late.values[-1] == "c"


@pytest.mark.parametrize("code", [1000, 4001])
def test_a_message_that_came_before_the_end_is_delivered_before_it(code: int) -> None:
    """It was kept for a hold that our close has lifted; the peer's answer comes right behind."""
    virtual = VirtualSession(watch=True, overrun=1)
    virtual.conn.flow.pause()
    virtual.peer.message("a", "b")
    virtual.peer.close(code)
    virtual.conn.outgoing.on_completed()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b"]
    assert virtual.dropped == {}
    virtual.check_over(Close())


def test_the_time_out_begins_anew_when_the_last_subscriber_has_left() -> None:
    """Who was there meanwhile, and waited for a hold to go, was there."""
    virtual = VirtualSession(hold_timeout=10.0)
    virtual.peer.message("a")
    virtual.conn.flow.pause()
    virtual.run(3)
    subscription = virtual.conn.incoming.subscribe()
    virtual.run(4)
    subscription.dispose()
    virtual.run(9.9)
    assert virtual.dropped == {}
    virtual.run(0.2)
    assert virtual.dropped == {"unobserved": 1}
