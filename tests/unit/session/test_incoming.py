"""The stream `incoming`: messages that are held for a subscriber, and the end after them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxws import Close, ConnectionClosed, DecodeError, codecs
from rxws._core.upstream import Upstreams, collect_upstreams
from rxws.testing import Clock
from support.virtual.session import VirtualSession


@pytest.mark.promise("first")
@pytest.mark.parametrize("overrun", [0, 1, 3])
def test_messages_are_held_for_the_first_subscriber(overrun: int) -> None:
    """Messages wait for the first subscriber, which gets them in order; a full queue stops reading.

    A message counts 128 bytes more than its payload.
    """
    virtual = VirtualSession(overrun=overrun, high_water=2 * 129)
    virtual.peer.message("a", "b", "c", "d", "e")
    assert virtual.transport.times("pause") == [0]
    assert virtual.session.incoming.waiting == 2 + overrun
    seen = virtual.watch(virtual.conn.incoming)
    assert seen.values == []
    virtual.run(1)
    assert seen.values == ["a", "b", "c", "d", "e"]
    assert virtual.transport.reading
    assert virtual.dropped == {}


@pytest.mark.parametrize("overrun", [0, 1, 3])
def test_messages_are_held_between_two_subscribers(overrun: int) -> None:
    """No message is lost between one subscriber and the next."""
    virtual = VirtualSession(overrun=overrun)
    seen: list[str] = []
    for message in "abcdef":
        virtual.peer.message(message)
    for _ in "abcdef":
        virtual.conn.incoming.pipe(ops.first()).subscribe(seen.append)
        virtual.run(1)
    assert seen == ["a", "b", "c", "d", "e", "f"]
    assert virtual.dropped == {}


def test_a_subscription_within_a_notification_gets_the_next_message() -> None:
    """A subscription from within `on_next` gets the next message."""
    virtual = VirtualSession(overrun=1)
    seen: list[str] = []

    def compose(first: str) -> None:
        seen.append(first)
        virtual.conn.incoming.subscribe(seen.append)

    virtual.conn.incoming.pipe(ops.first()).subscribe(compose)
    virtual.peer.message("a", "b", "c")
    assert seen == ["a", "b", "c"]


@pytest.mark.promise("first")
def test_all_subscribers_of_the_same_turn_get_the_first_message() -> None:
    """All observers that subscribe in the same turn of the loop get the waiting messages."""
    virtual = VirtualSession()
    virtual.peer.message("a", "b")
    first, second = virtual.watch(virtual.conn.incoming), virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    third = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert first.values == second.values == ["a", "b"]
    assert third.values == []


def test_a_send_between_two_subscriptions_delivers_nothing() -> None:
    """A send between two subscriptions does not deliver the held message too early."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    first = virtual.watch(virtual.conn.incoming)
    virtual.conn.outgoing.on_next("hello")
    second = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert first.values == second.values == ["a"]


def test_a_pause_between_two_subscriptions_delivers_nothing() -> None:
    """A pause that ends between two subscriptions does not deliver the held message too early."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    first = virtual.watch(virtual.conn.incoming)
    virtual.conn.flow.pause().dispose()
    second = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert first.values == second.values == ["a"]


def test_subscribing_and_disposing_in_the_same_turn_takes_nothing() -> None:
    """A subscription that is disposed in the same turn takes no message."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    virtual.watch(virtual.conn.incoming).subscription.dispose()
    virtual.run(1)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a"]


def test_messages_wait_for_a_subscriber_and_the_end_of_pauses() -> None:
    """Held messages are delivered once there is a subscriber and no pause."""
    virtual = VirtualSession(overrun=1)
    virtual.peer.message("a", "b")
    pause = virtual.conn.flow.pause()
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == []
    pause.dispose()
    virtual.run(1)
    assert seen.values == ["a", "b"]


def test_a_subscriber_that_pauses_gets_one_message_at_a_time() -> None:
    """A subscriber that pauses in `on_next` gets one message at a time, held ones too."""
    virtual = VirtualSession(overrun=2)
    virtual.peer.message("a", "b", "c")
    seen: list[str] = []
    pauses: list[Any] = []

    def take(message: str) -> None:
        seen.append(message)
        pauses.append(virtual.conn.flow.pause())

    virtual.conn.incoming.subscribe(take)
    for count in (1, 2, 3):
        virtual.run(1)
        assert len(seen) == count
        pauses.pop().dispose()
    assert seen == ["a", "b", "c"]


def test_the_end_is_delivered_after_held_messages() -> None:
    """A late subscriber gets the held messages and then the end; `closed` reports it at once."""
    virtual = VirtualSession()
    virtual.peer.message("a", "b")
    virtual.peer.close(4001)
    closed = virtual.watch(virtual.conn.closed)
    virtual.run(10)
    assert closed.times == [0]
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a", "b"]
    assert isinstance(seen.error, ConnectionClosed)
    assert closed.values == [Close(4001)]


def test_without_messages_the_end_needs_no_subscriber() -> None:
    """Pings and the end are processed without a subscriber, as only messages are held."""
    virtual = VirtualSession()
    virtual.peer.ping(b"x")
    virtual.peer.close(1000)
    closed = virtual.watch(virtual.conn.closed)
    assert closed.values == [Close(1000)]
    assert [sent.payload for sent in virtual.transport.sent] == [b"x", b"\x03\xe8"]


@pytest.mark.parametrize("result", [None, Disposable()])
def test_messages_are_held_for_a_handler_that_returns_no_observable(result: object) -> None:
    """After None or a Disposable, messages are held for a later subscriber."""
    virtual = VirtualSession(lambda _: result)
    virtual.peer.message("a")
    virtual.run(1)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a"]


@pytest.mark.parametrize("wait", [0.0, 29.0])
def test_a_pipeline_that_subscribes_late_loses_nothing(wait: float) -> None:
    """If a pipeline subscribes to `incoming` later, it gets all messages from the first on."""

    def handler(conn: Any) -> rx.Observable[Any]:
        return rx.concat(rx.timer(wait).pipe(ops.ignore_elements()), conn.incoming)

    virtual = VirtualSession(handler)
    virtual.peer.message("ONE", "TWO")
    virtual.run(wait + 0.1)
    assert virtual.messages == ["ONE", "TWO"]
    assert virtual.dropped == {}


def test_a_pipeline_that_never_subscribes_holds_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a pipeline does not subscribe to `incoming`, `hold_timeout` logs that and drops them."""
    virtual = VirtualSession(lambda _: rx.never(), hold_timeout=30.0)
    virtual.peer.message("a", "b")
    virtual.run(29.9)
    assert virtual.dropped == {}
    virtual.run(0.2)
    assert virtual.dropped == {"unobserved": 2}
    assert len(caplog.records) == 1


def test_incoming_discard_drops_messages() -> None:
    """With `incoming="discard"` unobserved messages are dropped and counted."""
    virtual = VirtualSession(lambda _: rx.never(), incoming="discard")
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a", "b")
    virtual.peer.close(1000)
    virtual.settle()
    assert closed.values == [Close(1000)]
    assert virtual.dropped == {"unobserved": 2}


def test_a_pipeline_that_subscribed_once_has_its_messages_held() -> None:
    """If a pipeline did subscribe once, messages are held for the next subscriber."""
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
def test_a_pipeline_that_subscribes_through_the_scheduler_loses_nothing(
    compose: Callable[[rx.Observable[str]], rx.Observable[str]],
) -> None:
    """Operators that subscribe through the scheduler a turn later lose no message."""

    async def handler(conn: Any) -> rx.Observable[str]:
        return compose(conn.incoming)

    virtual = VirtualSession(handler)
    virtual.peer.message("early")
    virtual.run(1)
    assert virtual.messages == ["welcome", "early"]
    assert virtual.dropped == {}


def test_a_frame_that_cannot_be_decoded_is_one_fault_and_the_stream_goes_on() -> None:
    """A frame that cannot be decoded is one fault; the others are delivered."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    errors = virtual.watch(virtual.conn.errors)
    for frame in ("1", "{", b"2", "3"):
        virtual.peer.message(frame)
    assert virtual.incoming.values == [1, 3]
    raws = [error.raw for error in errors.values if isinstance(error, DecodeError)]
    assert raws == ["{", b"2"]
    assert virtual.closed.values == []


@pytest.mark.promise("starve")
def test_a_subscriber_that_raises_starves_no_other() -> None:
    """If a subscriber raises, `errors` emits the exception, and the others get the message."""
    virtual = VirtualSession(watch=True)

    def fail(_: str) -> NoReturn:
        raise ValueError("mine")

    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(fail)
    after = virtual.watch(virtual.conn.incoming)
    virtual.peer.message("a", "b")
    assert virtual.incoming.values == after.values == ["a", "b"]
    assert [str(error) for error in errors.values] == ["mine"] * 2


def test_collect_upstreams_finds_the_flows_behind_a_chain() -> None:
    """`collect_upstreams` finds the connections behind a chain of operators, each once."""
    one, other = VirtualSession(), VirtualSession()
    chain = one.conn.incoming.pipe(
        ops.map(str), ops.combine_latest(other.conn.incoming.pipe(ops.debounce(1.0)))
    )
    flows = Upstreams()
    with collect_upstreams(flows):
        subscription = chain.subscribe(scheduler=one.conn.scheduler)
    one.conn.incoming.subscribe()
    assert list(flows) == [one.conn.flow, other.conn.flow]
    subscription.dispose()
    assert list(flows) == []


def test_a_connection_is_collected_once_until_its_last_subscription_ends() -> None:
    """A connection that is subscribed several times is listed once, until the last one ends."""
    virtual = VirtualSession()
    flows = Upstreams()
    with collect_upstreams(flows):
        subscriptions = [virtual.conn.incoming.subscribe() for _ in range(2)]
    assert list(flows) == [virtual.conn.flow]
    subscriptions[0].dispose()
    assert list(flows) == [virtual.conn.flow]
    virtual.peer.close(1000)
    virtual.settle()
    assert list(flows) == []
    with collect_upstreams(flows):
        virtual.conn.incoming.subscribe()
    assert list(flows) == [], "it has ended"


def test_a_pause_earlier_in_the_turn_does_not_deliver_too_early() -> None:
    """A pause that ended earlier in the turn does not deliver the message too early."""
    virtual = VirtualSession()
    virtual.peer.message("a")
    seen: list[Any] = []
    virtual.clock.schedule(lambda *_: seen.append(virtual.watch(virtual.conn.incoming)))
    virtual.conn.flow.pause().dispose()
    virtual.clock.schedule(lambda *_: seen.append(virtual.watch(virtual.conn.incoming)))
    virtual.settle()
    assert [subscriber.values for subscriber in seen] == [["a"], ["a"]]


def test_a_held_message_that_cannot_be_decoded_is_a_fault() -> None:
    """A held message that cannot be decoded is a fault, and the next one is delivered."""
    virtual = VirtualSession(codec=codecs.text, overrun=2)
    faults = virtual.watch(virtual.conn.errors)
    virtual.peer.message("a", b"b", "c")
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["a", "c"]
    assert [type(fault) for fault in faults.values] == [DecodeError]


def test_a_subscriber_that_raises_on_a_held_message_is_a_fault() -> None:
    """If a subscriber raises on a held message, it is a fault, and the others get them all."""
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


# --- `hold_timeout`, and the end of holding ---------------------------------------------------


def test_after_hold_timeout_held_messages_are_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After `hold_timeout` held messages are dropped, with one warning, and `incoming` ends.

    `closed` has reported the end at once.
    """
    virtual = VirtualSession(hold_timeout=30.0)
    closed = virtual.watch(virtual.conn.closed)
    virtual.run(5)
    virtual.peer.message("a", "b", "c")
    virtual.peer.close(1000)
    ended = virtual.session.over
    virtual.run(29.9)
    assert closed.times == [5]
    assert caplog.records == []
    assert not ended
    assert not virtual.session.over
    virtual.run(1)
    assert virtual.session.over
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.WARNING)
    assert "conn.incoming.subscribe()" in record.getMessage()
    assert virtual.dropped == {"unobserved": 3}
    assert virtual.stats.received_messages == 3


def test_a_subscriber_after_hold_timeout_gets_later_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A subscriber that comes after `hold_timeout` gets the messages from then on."""
    virtual = VirtualSession(hold_timeout=30.0)
    virtual.peer.message("a")
    virtual.run(31)
    virtual.peer.message("b")
    seen = virtual.watch(virtual.conn.incoming)
    virtual.peer.message("c")
    assert seen.values == ["c"]
    assert virtual.dropped == {"unobserved": 2}
    assert len(caplog.records) == 1


def test_hold_timeout_starts_with_the_first_held_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`hold_timeout` starts with the first held message and ends with a subscriber."""
    virtual = VirtualSession(hold_timeout=30.0)
    virtual.run(100)
    virtual.peer.message("a")
    virtual.run(29)
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(100)
    assert seen.values == ["a"]
    assert caplog.records == []


def test_hold_timeout_does_not_apply_to_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    """`hold_timeout` does not apply to messages that wait for the end of a pause."""
    virtual = VirtualSession(hold_timeout=30.0, overrun=1)
    virtual.peer.message("a")
    pause = virtual.conn.flow.pause()
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(100)
    assert (seen.values, virtual.dropped, caplog.records) == ([], {}, [])
    pause.dispose()
    virtual.run(1)
    assert seen.values == ["a"]


def test_nothing_is_held_while_closing(caplog: pytest.LogCaptureFixture) -> None:
    """Once we close, held messages are dropped and counted, so that the answer is read."""
    virtual = VirtualSession(overrun=1)
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a", "b", "c")
    virtual.peer.close(1000)
    virtual.conn.outgoing.on_completed()
    virtual.run(1)
    assert closed.times == [0]
    assert virtual.dropped == {"unobserved": 3}
    assert caplog.records == []


def test_subscribers_get_messages_while_closing() -> None:
    """Once we close, subscribers still get messages, whatever pauses there are."""
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
def test_messages_before_the_end_are_delivered_before_it(code: int) -> None:
    """Messages that a pause delayed are delivered before the end, if our close ends the pause."""
    virtual = VirtualSession(watch=True, overrun=1)
    virtual.conn.flow.pause()
    virtual.peer.message("a", "b")
    virtual.peer.close(code)
    virtual.conn.outgoing.on_completed()
    virtual.settle()
    assert virtual.incoming.values == ["a", "b"]
    assert virtual.dropped == {}
    virtual.check_over(Close())


def test_hold_timeout_restarts_when_the_last_subscriber_leaves() -> None:
    """`hold_timeout` starts again when the last subscriber has left."""
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


# --- resubscribing after the end ----------------------------------------------------------------


def ended_session(code: int | None) -> VirtualSession:
    """Return a session that the peer has closed with a code, or lost if that is None."""
    virtual = VirtualSession(watch=True)
    if code is None:
        virtual.peer.lost()
    else:
        virtual.peer.close(code)
    virtual.settle()
    return virtual


@pytest.mark.promise("replay")
@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize(
    ("stream", "operator", "code"),
    [
        ("incoming", ops.retry, None),
        ("incoming", ops.retry, 4001),
        ("incoming", ops.repeat, 1000),
        ("closed", ops.repeat, 1000),
        ("outgoing", ops.repeat, 1000),
        ("errors", ops.repeat, None),
    ],
)
def test_resubscribing_after_the_end_does_not_block(
    stream: str,
    operator: Callable[[], Any],
    code: int | None,
    when: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`retry` and `repeat` above a stream that has ended neither block the loop nor spin."""
    subscribed = 0

    def count(source: Any) -> Any:
        nonlocal subscribed
        subscribed += 1
        return source

    virtual = VirtualSession(watch=True) if when == "early" else ended_session(code)
    source: Any = getattr(virtual.conn, stream)
    endless = rx.defer(lambda _: count(source)).pipe(operator())
    subscription = endless.subscribe(scheduler=virtual.conn.scheduler if when == "early" else None)
    if when == "early":
        if code is None:
            virtual.peer.lost()
        else:
            virtual.peer.close(code)
    virtual.run(1.0)
    assert 50 <= subscribed <= 200
    [warning] = caplog.records
    assert "use rxws.connections or rxws.WebSocketSubject" in warning.message
    subscription.dispose()
    virtual.run(1.0)
    after = subscribed
    virtual.run(1.0)
    assert subscribed == after


@pytest.mark.parametrize("code", [None, 1000])
def test_late_subscribers_get_the_end_at_once(
    code: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Late subscribers get the end during `subscribe`; after fifty in a row, 10 ms later."""
    virtual = ended_session(code)
    late = [virtual.watch(virtual.conn.incoming) for _ in range(50)]
    assert all(len(each.ends) == 1 for each in late)
    assert caplog.records == []
    more = [virtual.watch(virtual.conn.incoming) for _ in range(50)]
    disposed = virtual.watch(virtual.conn.incoming)
    disposed.subscription.dispose()
    assert not any(each.ends for each in more)
    virtual.run(0.01)
    assert all(each.ends == late[0].ends for each in more)
    assert not disposed.ends
    virtual.run(0.2)
    assert virtual.watch(virtual.conn.incoming).ends == late[0].ends
    assert len(caplog.records) == 1


def test_resubscribing_after_the_loop_is_closed_ends(caplog: pytest.LogCaptureFixture) -> None:
    """If the loop is closed, `retry` above the ended stream stops, with a warning."""
    virtual = ended_session(None)
    dispatcher = virtual.session.incoming._dispatcher

    class ClosedClock(Clock):
        def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> NoReturn:
            raise RuntimeError("the loop is closed")

    dispatcher.scheduler = ClosedClock()
    virtual.conn.incoming.pipe(ops.retry()).subscribe()
    assert "in a row after its end" in caplog.text


def test_a_thread_may_come_and_go_while_others_take_the_kept_messages() -> None:
    """A thread may subscribe or unsubscribe while others get the kept messages; none is lost."""
    virtual = VirtualSession()
    incoming = virtual.conn.incoming
    got: list[Any] = []
    late: list[Any] = []
    virtual.peer.message("a")
    subscription = incoming.subscribe(got.append)
    thread = threading.Thread(target=lambda: incoming.subscribe(late.append))
    thread.start()
    thread.join()
    virtual.settle()
    pause = virtual.conn.flow.pause()
    virtual.peer.message("b")
    pause.dispose()
    thread = threading.Thread(target=subscription.dispose)
    thread.start()
    thread.join()
    virtual.settle()
    assert (got, late) == (["a"], ["a", "b"])
