"""A `BaseException` of a callback acts as an `Exception` there; then the event loop raises it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import Disposable, SerialDisposable

from rxws import Codec, backoff, codecs
from rxws._core.errors import ConnectError, ConnectionClosed, OpeningError, RxwsError
from rxws.operators import reconnect
from rxws.status import Closed
from support.subscriber import Subscriber
from support.virtual.servers import Dial, VirtualServers, fail_with, open_for
from support.virtual.subject import (
    VirtualSubject,
    close_code_of,
    never_open,
    open_at_once,
    received_by,
)


class Interrupt(BaseException):
    """An exception that `except Exception` does not catch, as KeyboardInterrupt."""


def interrupt(*_: object) -> NoReturn:
    raise Interrupt


def interrupted_waits() -> Iterator[float]:
    raise Interrupt
    yield 1.0


def run_interrupted(client: VirtualSubject) -> None:
    """Check that the event loop raises the exception in the next turn."""
    with pytest.raises(Interrupt):
        client.run()


def check_cause(error: Exception | None, kind: type[Exception] = RxwsError) -> None:
    assert error is not None
    assert type(error) is kind
    assert "Interrupt()" in str(error)
    assert error.__cause__ is not None


POLICIES: dict[str, dict[str, Any]] = {
    "backoff": {"backoff": interrupt},
    "waits": {"backoff": interrupted_waits},
    "retryable": {"retryable": interrupt},
}


@pytest.mark.promise("faults")
@pytest.mark.parametrize("lost", [False, True], ids=["refused", "lost"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy(policy: str, lost: bool) -> None:
    """A `BaseException` of `backoff=` or `retryable=` fails the subject and reaches the loop."""
    client = VirtualSubject(
        open_at_once() if lost else fail_with(ConnectError("nobody")), **POLICIES[policy]
    )
    subscriber = client.subscribe()
    if lost:
        client.dials[0].peer.lost()
    run_interrupted(client)
    check_cause(subscriber.error)
    [*_, last] = client.statuses.values
    assert isinstance(last, Closed)
    assert last.error is subscriber.error
    again = client.subscribe()
    if lost:
        client.dials[1].peer.lost()
    run_interrupted(client)
    check_cause(again.error)
    if policy != "retryable":  # the delay of the next subscription comes from the backoff, too
        run_interrupted(client)
    client.check_nothing_left()


@pytest.mark.promise("faults")
def test_opening() -> None:
    """A `BaseException` of `opening=` sends 1011, fails the subject and reaches the loop."""
    client = VirtualSubject(opening=interrupt)
    subscriber = client.subscribe()
    run_interrupted(client)
    [dial] = client.dials
    client.answer_close(dial)
    assert close_code_of(dial) == 1011
    check_cause(subscriber.error, OpeningError)
    client.check_nothing_left()


@pytest.mark.parametrize("after", ["nothing", "open"])
def test_a_dial(after: str) -> None:
    """If a dial raises a `BaseException` within `subscribe`, the subject fails or stays open."""

    def dial(one: Dial) -> None:
        if after == "open":
            open_at_once()(one)
        raise Interrupt

    client = VirtualSubject(dial, never_open)
    subscriber = client.subscribe()
    run_interrupted(client)
    if after == "open":
        client.dials[0].peer.message("a")
        assert subscriber.values == ["a"]
        client.dials[0].disposed = True  # it has returned nothing to dispose
    else:
        check_cause(subscriber.error)
        client.dials[0].disposed = True
    client.check_nothing_left(subscriber.subscription.dispose)


@pytest.mark.parametrize("status", ["Connecting", "Open", "Closed", "Waiting"])
def test_a_subscriber_of_the_status(status: str) -> None:
    """If a subscriber of `status` raises a `BaseException`, the subject goes on as before."""
    client = VirtualSubject(backoff=backoff.constant(1.0), opening=lambda _: ["login"])
    subscriber = client.subscribe()
    client.dials[0].peer.lost()  # a first series, so that `Closed` is a change, too
    client.run(1.0)

    def raise_at(each: object) -> None:
        if type(each).__name__ == status:
            raise Interrupt

    client.feed.status.pipe(ops.skip(1)).subscribe(raise_at)
    client.dials[1].peer.lost()
    with pytest.raises(Interrupt):
        client.run(1.0)
    client.run(1.0)
    client.run(1.0)
    client.dials[2].peer.message("a")
    assert subscriber.values == ["a"]
    assert received_by(client.dials[2]) == ["login"]


@pytest.mark.parametrize("status", ["Connecting", "Open", "Waiting", "Closed"])
def test_the_status_observer_of_reconnect(status: str) -> None:
    """If `status=` of `reconnect` raises a `BaseException`, the client goes on as before."""

    def raise_at(each: object) -> None:
        if type(each).__name__ == status:
            raise Interrupt

    servers = VirtualServers(open_for(1.0, lost=True), open_for())
    operator = reconnect(
        backoff.constant(1.0), scheduler=servers.clock, status=rx.Observer(raise_at)
    )
    seen = Subscriber(servers.source.pipe(operator), servers.clock)
    interrupts = 0
    for _ in range(4):
        try:
            servers.clock.run(1.0)
        except Interrupt:
            interrupts += 1
    assert interrupts
    assert len(seen.values) == len(servers.dials) == 2


@pytest.mark.promise("faults")
@pytest.mark.parametrize("disposes", [False, True])
def test_a_subscriber_of_the_connections(disposes: bool) -> None:
    """A `BaseException` of a subscriber of `connections` sends 1011 and reaches the loop."""
    servers = VirtualServers(open_for(), open_for())
    connections = servers.source.pipe(reconnect(backoff.constant(1.0), scheduler=servers.clock))
    subscription = SerialDisposable()
    seen: list[object] = []

    def use(connection: object) -> None:
        seen.append(connection)
        if disposes:
            subscription.dispose()
        if len(seen) == 1:
            raise Interrupt

    subscription.disposable = connections.subscribe(use, scheduler=servers.clock)
    with pytest.raises(Interrupt):
        servers.clock.run(0)
    assert close_code_of(servers.dials[0]) == 1011
    servers.dials[0].peer.close(1011)
    servers.clock.run(2.0)
    assert len(seen) == (1 if disposes else 2)
    subscription.dispose()
    servers.check_nothing_left()


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_subscriber_at_the_end(end: str) -> None:
    """If a subscriber raises a `BaseException` at the end, the others still get the end."""
    client = VirtualSubject()
    client.feed.subscribe(on_error=interrupt, on_completed=interrupt)
    channel = client.feed.channel(None, None, bool)
    channel.subscribe(on_error=interrupt, on_completed=interrupt)
    seen = [client.subscribe(), client.subscribe(channel)]
    client.dials[0].peer.close(1000 if end == "complete" else 4000)
    run_interrupted(client)
    error = type(None) if end == "complete" else ConnectionClosed
    assert [type(one.error) for one in seen] == [error, error]
    assert [len(one.ends) for one in seen] == [1, 1]
    client.check_nothing_left()


def test_a_subscriber_of_a_message() -> None:
    """If a subscriber raises a `BaseException`, the others and channels get the message; 1011."""
    client = VirtualSubject()
    client.feed.subscribe(interrupt)
    channels = [client.feed.channel(None, None, str, key="a") for _ in range(2)]
    channels.append(client.feed.channel(None, None, bool))
    channels[0].subscribe(interrupt)
    channels[2].subscribe(interrupt)
    seen = [client.subscribe(), *map(client.subscribe, channels)]
    with pytest.raises(Interrupt):
        client.dials[0].peer.message("a")
    assert [one.values for one in seen] == [["a"]] * 4
    assert close_code_of(client.dials[0]) == 1011


def first_error(client: VirtualSubject) -> list[Exception]:
    errors: list[Exception] = []
    client.feed.errors.subscribe(errors.append)
    return errors


def test_a_subscribe_message() -> None:
    """If the function for a subscribe message raises a `BaseException`, its channel fails."""
    client = VirtualSubject()
    keep = client.subscribe()
    subscriber = client.subscribe(client.feed.channel(interrupt, None, str, key="a"))
    other = client.subscribe(client.feed.channel("+b", None, str, key="b"))
    run_interrupted(client)
    check_cause(subscriber.error)
    assert received_by(client.dials[0]) == ["+b"]
    client.dials[0].peer.message("b")
    assert keep.values == other.values == ["b"]
    other.subscription.dispose()
    client.check_nothing_left(keep.subscription.dispose)


def test_a_subscribe_message_and_a_subscriber() -> None:
    """If the channel's subscriber raises a `BaseException`, too, the socket is not kept open."""
    client = VirtualSubject()
    client.feed.channel(interrupt, None, str, key="a").subscribe(on_error=interrupt)
    run_interrupted(client)
    run_interrupted(client)
    assert close_code_of(client.dials[0]) == 1000
    client.check_nothing_left()


@pytest.mark.parametrize("callback", ["unsubscribe", "match", "keyed"])
def test_the_other_callbacks_of_a_channel(callback: str) -> None:
    """If another function of a channel raises a `BaseException`, `errors` reports it, too."""
    client = VirtualSubject()
    errors, keep = first_error(client), client.subscribe()
    key = {"key": "a"} if callback == "keyed" else {}
    is_match = callback != "unsubscribe"
    channel = client.feed.channel(
        "+a", None if is_match else interrupt, interrupt if is_match else str, **key
    )
    subscriber = client.subscribe(channel)
    if is_match:
        client.dials[0].peer.message("a")
    subscriber.subscription.dispose()
    run_interrupted(client)
    check_cause(errors[0])
    client.dials[0].peer.message("b")
    assert keep.values[-1] == "b"
    client.check_nothing_left(keep.subscription.dispose)


@pytest.mark.parametrize("stream", ["drops", "errors"])
def test_a_subscriber_of_drops_and_errors(stream: str) -> None:
    """If a subscriber of `drops` or `errors` raises a `BaseException`, queued messages are sent."""
    client = VirtualSubject(never_open, queue=3 * 129, queue_overflow="drop_oldest")
    subscriber = client.subscribe()
    getattr(client.feed, stream).subscribe(interrupt)
    if stream == "drops":
        for value in "abcd":
            client.feed.on_next(value)
        run_interrupted(client)
    else:
        client.feed.channel(None, None, str).on_error(ValueError("x"))
        run_interrupted(client)
        client.feed.on_next("d")
    client.dials[0].open()
    assert received_by(client.dials[0])[-1] == "d"
    client.check_nothing_left(subscriber.subscription.dispose)


def test_a_subscriber_of_drops_without_a_loop() -> None:
    """Without an event loop, what a subscriber of `drops` raises reaches the caller."""
    client = VirtualSubject(scheduler=None)
    client.feed.drops.subscribe(interrupt)
    client.feed.on_next("a")
    with pytest.raises(Interrupt):
        client.feed.dispose()


@pytest.mark.parametrize("queued", [False, True])
def test_a_codec(queued: bool) -> None:
    """A message whose encoding raises a `BaseException` is counted; the connection ends: 1011."""
    values = codecs.json
    raising: list[bool] = []

    def encode(value: Any) -> str | bytes:
        if raising and value == ["a"]:
            raise Interrupt
        return values.encode(value)

    codec: Any = Codec(encode, values.decode)
    client = VirtualSubject(open_at_once(codec=codec), codec=codec)
    client.watch_drops()
    if queued:
        client.feed.on_next(["a"])
        raising.append(True)
        client.subscribe()
        run_interrupted(client)
    else:
        client.subscribe()
        raising.append(True)
        with pytest.raises(Interrupt):
            client.feed.on_next(["a"])
    client.run(1.0)  # the next status reports drops
    assert client.feed.stats.dropped == {"fault": 1}
    assert client.dropped == [(["a"], "fault")]
    assert close_code_of(client.dials[0]) == 1011


def test_a_subscriber_of_outgoing() -> None:
    """A message that was sent before a subscriber of `outgoing` raised counts as sent."""
    client = VirtualSubject()
    client.subscribe()
    client.conn.outgoing.subscribe(interrupt)
    with pytest.raises(Interrupt):
        client.feed.on_next("a")
    assert client.feed.stats.sent == 1
    assert client.feed.stats.dropped == {}
    assert received_by(client.dials[0]) == ["a"]


@pytest.mark.parametrize("kind", [Interrupt, ValueError])
def test_what_disposing_a_dial_raises(kind: type[BaseException]) -> None:
    """If disposing the dial raises, the client still ends, and the loop raises the exception."""

    def raise_it() -> NoReturn:
        raise kind

    def dial(_: ObserverBase[Any], __: object = None) -> DisposableBase:
        return Disposable(raise_it)

    servers = VirtualServers()
    ended: list[object] = []
    operator = reconnect(scheduler=servers.clock, status=rx.Observer(ended.append))
    subscription = rx.create(dial).pipe(operator).subscribe(scheduler=servers.clock)
    subscription.dispose()
    with pytest.raises(kind):
        servers.clock.run(0)
    assert isinstance(ended[-1], Closed)
