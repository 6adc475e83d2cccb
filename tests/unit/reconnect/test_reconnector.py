"""The `reconnect` operator in virtual time: final ends, the time of each dial, and `status`."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject

from rxws import backoff
from rxws._core.connection import Close
from rxws._core.errors import ConnectError, ConnectionClosed, HandshakeError, RxwsError
from rxws._core.schedulers.timers import call_later
from rxws.operators import reconnect
from rxws.status import Closed, Connecting, Open, Status, Waiting
from support.subscriber import StatusSubscriber, Subscriber
from support.virtual.servers import (
    AnyConnection,
    Dial,
    OnDial,
    VirtualServers,
    fail_with,
    open_for,
)

NOBODY = ConnectError("nobody listens")


class ReconnectingClient:
    """A subscriber of the `reconnect` operator, with virtual servers of its own."""

    def __init__(self, *meets: OnDial, **options: Any) -> None:
        self.servers = VirtualServers(*meets)
        self.clock = self.servers.clock
        self.status = StatusSubscriber()
        options.setdefault("backoff", backoff.constant(1.0))
        self.connections = self.servers.source.pipe(
            reconnect(status=self.status, scheduler=self.clock, **options)
        )
        self.subscriber: Subscriber[AnyConnection] = Subscriber(self.connections, self.clock)

    @property
    def times(self) -> list[float]:
        return self.servers.times

    def check_final(self, kind: type[Exception], note: str) -> Exception:
        """Check that it failed with this error and note, and left nothing open."""
        error = self.subscriber.error
        assert error is not None
        assert type(error) is kind
        assert any(note in line for line in error.__notes__), error.__notes__
        [*_, last] = self.status.values
        assert isinstance(last, Closed)
        assert last.error is error
        dials = len(self.times)
        self.servers.check_nothing_left()
        assert len(self.times) == dials
        return error


# --- retries ------------------------------------------------------------------------------------


def test_a_refused_dial_is_retried_after_each_delay_of_the_backoff() -> None:
    """The first dial is immediate; each retry waits for the backoff's next delay."""
    client = ReconnectingClient(fail_with(NOBODY), backoff=lambda: iter([1.0, 2.5, 0.5]))
    client.clock.run(10)
    assert client.times == [0.0, 1.0, 3.5, 4.0]


def test_a_lost_connection_is_dialled_again() -> None:
    """After a loss a new connection is emitted, and the old one is over by then."""
    client = ReconnectingClient(open_for(5.0, lost=True), open_for())
    client.clock.run(20)
    assert client.times == client.subscriber.times == [0.0, 6.0]
    assert len(set(map(id, client.subscriber.values))) == 2
    assert client.servers.dials[0].is_over
    assert client.servers.dials[0].disposed
    assert not client.servers.dials[1].disposed
    assert client.subscriber.ends == []
    assert [repr(status).split(" (")[0] for status in client.status.values] == [
        "Connecting, attempt 1",
        "Open ws://peer.example/",
        "Closed 1006 by network",
        "Waiting 1.0 s: ConnectionClosed(closed with 1006 by network)",
        "Connecting, attempt 2",
        "Open ws://peer.example/",
    ]


@pytest.mark.promise("transient")
@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1014])
def test_a_retryable_close_is_followed_by_another_dial(code: int) -> None:
    """A close with 1001, 1011, 1012, 1013 or 1014 is followed by another dial."""
    client = ReconnectingClient(open_for(0.5, code), open_for())
    client.clock.run(2)
    assert client.times == [0.0, 1.5]
    assert isinstance(cause := client.status.values[3].cause, ConnectionClosed)  # type: ignore[union-attr] # it is Waiting
    assert cause.close == Close(code)
    assert cause.close.by == "peer"


@pytest.mark.parametrize(
    ("status", "retry_after", "wait"),
    [
        (429, "30", 31.0),
        (503, "30", 31.0),
        (503, "Wed, 21 Oct 2015 07:28:00 GMT", 21.0),
        (503, "garbage", 1.0),
        (503, "999999999", 3601.0),
        (500, "30", 1.0),  # no meaning with a 500
    ],
)
@pytest.mark.promise("retry-after")
def test_retry_after_is_respected(status: int, retry_after: str, wait: float) -> None:
    """The delay is `Retry-After` plus the backoff's own delay, for a 429 and a 503."""
    headers = {"Retry-After": retry_after, "Date": "Wed, 21 Oct 2015 07:27:40 GMT"}
    client = ReconnectingClient(fail_with(HandshakeError("busy", status, headers)), open_for())
    client.clock.run(4000)
    assert client.times == [0.0, wait]


def test_retry_after_does_not_synchronise_a_thousand_clients() -> None:
    """Of 1000 clients with `Retry-After: 30`, at most a fifth connect in the same 100 ms."""
    seed = 3
    rng = random.Random(seed)
    busy = HandshakeError("busy", 503, {"Retry-After": "30"})
    servers = VirtualServers(*[fail_with(busy)] * 1000, lambda _: None)
    policy = backoff.exponential(random=rng.random)
    for _ in range(1000):
        servers.source.pipe(reconnect(policy, scheduler=servers.clock)).subscribe()
    servers.clock.run(40)
    again = servers.times[1000:]
    assert len(again) == 1000
    assert all(30.0 <= at <= 31.0 for at in again)
    assert max(dials_per_window(again, 0.1)) < 200, f"seed {seed}"


def dials_per_window(times: list[float], window: float) -> Iterator[int]:
    """For each time, count the times within the window that starts with it."""
    end = 0
    for begin, at in enumerate(times):
        while end < len(times) and times[end] < at + window:
            end += 1
        yield end - begin


@pytest.mark.promise("jitter")
def test_retries_of_a_thousand_clients_are_spread_over_the_cap() -> None:
    """Of 1000 clients waiting for the capped delay, at most 10 connect in the same 100 ms."""
    seed = 11
    rng = random.Random(seed)
    rounds = 3
    at_cap: list[list[float]] = [[] for _ in range(rounds)]
    servers = VirtualServers()

    def fail(dial: Dial) -> None:
        dial.fail(NOBODY)

    servers._last = fail
    policy = backoff.exponential(random=rng.random)
    below_cap = 6  # delays: 1, 2, 4, 8, 16, 32
    for _ in range(1000):
        subscriber = Subscriber(
            servers.source.pipe(
                reconnect(
                    policy, status=DialsAtCap(servers, at_cap, below_cap), scheduler=servers.clock
                )
            ),
            servers.clock,
        )
        assert subscriber.ends == []
    servers.clock.run(63 + 60 * rounds)
    for dials in at_cap:
        assert len(dials) == 1000
        assert max(dials_per_window(sorted(dials), 0.1)) <= 10, f"seed {seed}"


class DialsAtCap(StatusSubscriber):
    """Record the time of each attempt that follows a delay at the cap."""

    def __init__(self, servers: VirtualServers, at_cap: list[list[float]], below: int) -> None:
        super().__init__()
        self._servers, self._at_cap, self._below = servers, at_cap, below

    def on_next(self, value: Status) -> None:
        if isinstance(value, Connecting):
            nth = value.attempt - self._below - 2  # no delay precedes the first dial
            if 0 <= nth < len(self._at_cap):
                self._at_cap[nth].append(self._servers.clock.time)


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.promise("hammer")
def test_a_server_that_closes_at_once_is_dialled_at_most_ten_times(
    seed: int,
) -> None:
    """If a server accepts and closes immediately, the client tries at most 10 times in 10 s."""
    client = ReconnectingClient(
        open_for(0.0, 1001), backoff=backoff.exponential(random=random.Random(seed).random)
    )
    client.clock.run(10)
    assert 2 <= len(client.times) <= 10, f"seed {seed}"


@pytest.mark.parametrize(
    ("open_for_seconds", "waits"), [(9.9, [1.0, 2.0, 3.0]), (10.1, [1.0, 1.0, 1.0])]
)
def test_the_backoff_restarts_after_a_stable_connection(
    open_for_seconds: float, waits: list[float]
) -> None:
    """The backoff restarts after a connection that was open for `stable_after`."""
    client = ReconnectingClient(
        open_for(open_for_seconds, 1001), backoff=lambda: iter([1.0, 2.0, 3.0, 4.0])
    )
    client.clock.run(3 * open_for_seconds + sum(waits) + 0.5)
    waited = [status.delay for status in client.status.values if isinstance(status, Waiting)]
    assert waited == waits
    attempts = [status.attempt for status in client.status.values if isinstance(status, Connecting)]
    assert attempts == ([1, 2, 3, 4] if open_for_seconds < 10 else [1, 1, 1, 1])


def test_stable_after_zero_restarts_the_backoff_each_time() -> None:
    """With `stable_after=0` the backoff restarts after every connection."""
    client = ReconnectingClient(
        open_for(0.5, 1001), backoff=lambda: iter([1.0, 50.0]), stable_after=0.0
    )
    client.clock.run(5)
    assert client.times == [0.0, 1.5, 3.0, 4.5]


# --- final ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, None])
def test_a_close_with_1000_or_without_a_code_completes(code: int | None) -> None:
    """A close with 1000 or without a code completes the subscriber."""
    client = ReconnectingClient(open_for(2.0, code))
    client.clock.run(10)
    assert client.subscriber.error is None
    assert client.subscriber.ended_at == 2.0
    assert client.status.values[-1] == Closed(Close(code or 1005))
    client.servers.check_nothing_left()
    assert client.times == [0.0]


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4001, 4999])
@pytest.mark.promise("final")
def test_other_closes_are_final(code: int) -> None:
    """A close with a code such as 1008 or 4001 fails with a note that it is not retryable."""
    client = ReconnectingClient(open_for(2.0, code))
    client.clock.run(10)
    error = client.check_final(ConnectionClosed, "is_retryable returned False")
    assert isinstance(error, ConnectionClosed)
    assert error.close == Close(code)
    assert client.status.values[-1] == Closed(Close(code), error)


@pytest.mark.parametrize("status", [101, 200, 400, 401, 403, 404, 410])
@pytest.mark.promise("final")
def test_other_http_statuses_are_final(status: int) -> None:
    """A status such as 400, 401 or 404 fails with the `HandshakeError` and a note that says why."""
    refusal = HandshakeError("no", status, {})
    client = ReconnectingClient(fail_with(refusal))
    client.clock.run(10)
    assert client.check_final(HandshakeError, "is_retryable returned False") is refusal
    assert client.status.values == [Connecting(1), Closed(None, refusal)]


def test_an_exception_that_is_no_network_error_is_final() -> None:
    """An exception that is no network error, such as a TypeError, is not retried."""
    client = ReconnectingClient(fail_with(TypeError("a mistake")))
    client.check_final(TypeError, "is_retryable returned False")


def test_retryable_decides_alone() -> None:
    """`retryable` alone decides; it may even retry a 1000 or a 404."""
    causes: list[Exception] = []

    def my_rule(cause: Exception) -> bool:
        causes.append(cause)
        return not isinstance(cause, ConnectError) or isinstance(cause, HandshakeError)

    client = ReconnectingClient(
        fail_with(HandshakeError("no", 404, {})),
        open_for(1.0, 1000),
        fail_with(NOBODY),
        retryable=my_rule,
    )
    client.clock.run(10)
    assert client.times == [0.0, 1.0, 3.0]
    assert len(causes) == 3
    assert "my_rule returned False" in client.check_final(ConnectError, "my_rule").__notes__[-1]


def test_a_backoff_that_ends_gives_up_with_the_last_cause() -> None:
    """When the backoff ends, the last error is final; its note names the attempt."""
    last = ConnectError("and again nobody")
    client = ReconnectingClient(
        fail_with(NOBODY), fail_with(NOBODY), fail_with(last), backoff=lambda: iter([1, 1])
    )
    client.clock.run(10)
    assert client.times == [0.0, 1.0, 2.0]
    assert client.check_final(ConnectError, "the backoff ended after attempt 3") is last


def test_a_note_is_added_to_an_error_once() -> None:
    """An error that several subscribers get has the note once."""
    error = TypeError("a mistake")
    for _ in range(3):
        ReconnectingClient(fail_with(error))
    assert len(error.__notes__) == 1


def test_a_source_that_completes_without_a_connection_completes() -> None:
    """A source that completes without a connection completes the subscriber."""
    client = ReconnectingClient(lambda dial: dial.observer.on_completed())
    assert client.subscriber.error is None
    assert client.status.values == [Connecting(1), Closed(None)]
    client.servers.check_nothing_left()


def raise_error(*_: object) -> Any:
    raise LookupError("raised by the user's policy")


def raise_after_one_delay() -> Iterator[float]:
    yield 1.0
    raise_error()


@pytest.mark.parametrize(
    ("options", "dials"),
    [
        ({"retryable": raise_error}, 1),
        ({"backoff": raise_error}, 1),
        ({"backoff": raise_after_one_delay}, 2),
    ],
)
@pytest.mark.parametrize("end", ["refused", "closed"])
def test_a_policy_that_raises_is_final(options: dict[str, Any], dials: int, end: str) -> None:
    """If `backoff` or `retryable` raises, the subscriber fails with that exception."""
    meet = fail_with(NOBODY) if end == "refused" else open_for(0.5, 1001)
    client = ReconnectingClient(meet, **options)
    client.clock.run(10)
    assert isinstance(client.subscriber.error, LookupError)
    assert len(client.times) == dials
    client.servers.check_nothing_left()


@pytest.mark.parametrize("wait", [-1.0, float("nan"), float("inf")])
def test_an_invalid_delay_is_a_value_error(wait: float) -> None:
    """A negative, infinite or NaN delay of the backoff is a ValueError."""
    client = ReconnectingClient(fail_with(NOBODY), backoff=lambda: iter([wait]))
    assert isinstance(error := client.subscriber.error, ValueError)
    assert error.__cause__ is NOBODY
    client.servers.check_nothing_left()


@pytest.mark.parametrize(
    ("options", "kind", "remedy"),
    [
        ({"backoff": 5.0}, TypeError, r"use a function .* rxws\.backoff\.constant\(5\)"),
        ({"backoff": iter([1.0])}, TypeError, "use a function that returns an iterator"),
        ({"retryable": True}, TypeError, r"use a function .* rxws\.backoff\.is_retryable"),
        ({"stable_after": -1.0}, ValueError, "0 or more"),
        ({"stable_after": float("nan")}, ValueError, "0 or more"),
    ],
)
def test_invalid_options_are_refused(
    options: dict[str, Any], kind: type[Exception], remedy: str
) -> None:
    """An invalid option raises at once, with its name and a remedy."""
    with pytest.raises(kind, match=f"^{next(iter(options))}=.*{remedy}"):
        reconnect(**options)


@pytest.mark.parametrize("code", [1000, None])
@pytest.mark.promise("clean-retry")
def test_a_clean_close_is_retried_on_request(code: int | None) -> None:
    """With `is_retryable_or_clean`, the client reconnects after 1000 or no code."""
    client = ReconnectingClient(
        open_for(2.0, code), open_for(), retryable=backoff.is_retryable_or_clean
    )
    client.clock.run(10)
    assert client.times == [0.0, 3.0]
    assert client.status.names[2:4] == ["Closed", "Waiting"]
    assert client.subscriber.ends == []
    client.servers.dials[1].peer.close(4001)
    client.clock.run(1)
    client.check_final(ConnectionClosed, "is_retryable_or_clean returned False")


@pytest.mark.parametrize("policy", [backoff.is_retryable, backoff.is_retryable_or_clean])
def test_your_own_close_is_final(policy: Callable[[Exception], bool]) -> None:
    """If you close the connection with 1000, the subscriber completes."""
    client = ReconnectingClient(open_for(), retryable=policy)
    client.subscriber.values[0].outgoing.on_completed()
    client.servers.dials[0].peer.close(1000)
    client.clock.run(10)
    assert client.subscriber.ends == [None]
    assert client.times == [0.0]


# --- subscribing again after a failure ----------------------------------------------------------


class RetryingClient:
    """A subscriber of `reconnect` below `ops.retry()`, with virtual servers of its own."""

    def __init__(self, *meets: OnDial, **options: Any) -> None:
        self.servers = VirtualServers(*meets)
        self.status = StatusSubscriber()
        options.setdefault("backoff", lambda: iter([1.0, 2.0, 4.0, 8.0]))
        clock = self.clock = self.servers.clock
        self.connections = self.servers.source.pipe(
            reconnect(status=self.status, scheduler=clock, **options)
        )
        self.subscription = self.connections.pipe(ops.retry()).subscribe()

    @property
    def times(self) -> list[float]:
        return self.servers.times

    def check_disposable(self) -> None:
        """Check that disposing ends it, whatever it waits for."""
        self.subscription.dispose()
        dials = len(self.times)
        self.servers.check_nothing_left()
        assert len(self.times) == dials
        assert self.status.names[-1] == "Closed"


REFUSED = HandshakeError("no", 401, {})


@pytest.mark.promise("hammer")
def test_retry_above_a_final_error_waits_for_the_backoff() -> None:
    """After a 401, `ops.retry()` dials once without a wait, then after the backoff's delays."""
    client = RetryingClient(fail_with(REFUSED))
    client.clock.run(10)
    assert client.times == [0.0, 0.0, 1.0, 3.0, 7.0]
    waits = [status for status in client.status.values if isinstance(status, Waiting)]
    assert [(each.delay, each.cause) for each in waits] == [
        (1.0, REFUSED),
        (2.0, REFUSED),
        (4.0, REFUSED),
        (8.0, REFUSED),
    ]
    client.check_disposable()


@pytest.mark.promise("hammer")
def test_retry_above_a_final_close_waits_for_the_backoff() -> None:
    """If a server closes immediately with 4001, `ops.retry()` follows the backoff, too."""
    client = RetryingClient(open_for(0.0, 4001))
    client.clock.run(10)
    assert client.times == [0.0, 0.0, 1.0, 3.0, 7.0]
    client.check_disposable()


@pytest.mark.parametrize(
    "policy", [lambda: iter(()), lambda: iter([1.0]), raise_error, lambda: iter([-1.0])]
)
def test_retry_above_a_backoff_that_gives_up(policy: Any) -> None:
    """If the backoff ends or fails, `ops.retry()` waits as long as the default backoff says."""
    client = RetryingClient(fail_with(REFUSED), backoff=policy)
    client.clock.run(600)
    # Without any wait it would never return. 600 s are 10 waits of at most 60 s, and more.
    assert 10 <= len(client.times) <= 100
    assert client.times[2] - client.times[1] <= 1.0
    client.check_disposable()


def test_retry_without_any_delay_leaves_the_loop_running() -> None:
    """With `constant(0)` even a dial that fails within `subscribe` does not block the loop."""
    client = RetryingClient(fail_with(REFUSED), backoff=backoff.constant(0.0))
    assert len(client.times) == 2
    client.clock.turn()
    assert len(client.times) == 3
    client.check_disposable()


def test_a_stable_connection_restarts_the_waits_of_retry() -> None:
    """After a connection that was open for `stable_after`, `ops.retry()` dials at once again."""
    client = RetryingClient(
        fail_with(REFUSED), fail_with(REFUSED), open_for(15.0, 4001), fail_with(REFUSED)
    )
    client.clock.run(20)
    assert client.times == [0.0, 0.0, 1.0, 16.0, 17.0, 19.0]
    client.check_disposable()


def test_a_late_resubscription_does_not_wait() -> None:
    """Whoever subscribes after the wait, or long after the failures, dials at once."""
    client = ReconnectingClient(fail_with(REFUSED))
    for _ in range(2):
        Subscriber(client.connections, client.clock)
    client.clock.run(0.5)
    assert len(client.times) == 2  # the third one waits for 1 s
    client.clock.run(0.5)
    assert len(client.times) == 3
    client.clock.run(1.5)
    Subscriber(client.connections, client.clock)
    assert len(client.times) == 4
    client.clock.run(60)
    Subscriber(client.connections, client.clock)
    Subscriber(client.connections, client.clock)
    assert len(client.times) == 6
    client.servers.check_nothing_left()


def test_a_status_subscriber_may_dispose_before_a_wait_of_retry() -> None:
    """If a subscriber of the status disposes at `Waiting`, nothing is left."""
    client = RetryingClient(fail_with(REFUSED))
    serial = SerialDisposable()

    class Leaves(StatusSubscriber):
        def on_next(self, value: Status) -> None:
            super().on_next(value)
            if isinstance(value, Waiting):
                serial.dispose()

    client.subscription.dispose()
    source = client.servers.source.pipe(
        reconnect(backoff.constant(1.0), status=Leaves(), scheduler=client.clock)
    )
    for _ in range(2):
        Subscriber(source, client.clock)
    serial.disposable = source.subscribe(scheduler=client.clock)
    client.servers.check_nothing_left()


# --- disposing ----------------------------------------------------------------------------------


def never_answer(dial: Dial) -> None:
    """A dial that is never answered."""


MOMENTS: dict[str, tuple[tuple[OnDial, ...], float, Status]] = {
    "dialling": ((never_answer,), 0.0, Connecting(1)),
    "dialling for the second time": ((fail_with(NOBODY), never_answer), 1.5, Connecting(2)),
    "waiting": ((fail_with(NOBODY),), 0.5, Waiting(1.0, NOBODY)),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_disposing_before_the_connection_is_open_leaves_nothing(moment: str) -> None:
    """Disposing while dialling or waiting leaves no dial and no timer, and notifies no end."""
    meets, seconds, status = MOMENTS[moment]
    client = ReconnectingClient(*meets)
    client.clock.run(seconds)
    assert client.status.values[-1] == status
    client.subscriber.subscription.dispose()
    assert client.servers.dials[-1].disposed
    assert client.clock.pending == 0
    assert client.status.values[-1] == Closed(None)
    dials = len(client.times)
    client.servers.check_nothing_left()
    assert client.subscriber.ends == []
    assert len(client.times) == dials


def test_disposing_closes_an_open_connection_with_1000() -> None:
    """Disposing closes an open connection with 1000; `status` emits `Closed` at once."""
    client = ReconnectingClient(open_for())
    client.clock.run(1)
    client.subscriber.subscription.dispose()
    assert client.status.values[-1] == Closed(Close(1000))
    [dial] = client.servers.dials
    client.clock.turn()
    [sent] = dial.transport.sent
    assert sent.code == 1000
    client.servers.check_nothing_left()
    assert client.subscriber.ends == []
    client.subscriber.subscription.dispose()  # the second call has no effect
    assert client.status.names == ["Connecting", "Open", "Closed"]


@pytest.mark.parametrize("answered", [True, False])
def test_disposing_while_closing_leaves_nothing(answered: bool) -> None:
    """Disposing while the user's own close is under way leaves nothing, answered or not."""
    client = ReconnectingClient(open_for())
    [connection] = client.subscriber.values
    connection.outgoing.on_next(Close(4001, "enough"))
    client.clock.turn()
    client.subscriber.subscription.dispose()
    [dial] = client.servers.dials
    if answered:
        dial.peer.close(4001)
    client.servers.check_nothing_left()
    assert [sent.code for sent in dial.transport.sent] == [4001]
    assert client.subscriber.ends == []
    assert client.times == [0.0]


def test_disposing_within_closed_prevents_another_dial() -> None:
    """A subscriber of `closed` that disposes prevents another dial."""
    client = ReconnectingClient(open_for(1.0, 1001))
    [connection] = client.subscriber.values
    connection.closed.subscribe(lambda _: client.subscriber.subscription.dispose())
    client.servers.check_nothing_left()
    assert client.times == [0.0]
    assert client.subscriber.ends == []


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("kind", [Connecting, Open, Waiting, Closed])
def test_a_subscriber_of_status_may_dispose_at_any_status(kind: type[Status], turn: int) -> None:
    """A subscriber of `status` may dispose at any status; the last one is `Closed`, once."""
    servers = VirtualServers(open_for(1.0, 1001))
    watched: Subject[Status] = Subject()
    told: list[Status] = []
    subscription = SerialDisposable()

    def watch(status: Status) -> None:
        told.append(status)
        if [type(each) for each in told].count(kind) == turn:
            subscription.dispose()

    watched.subscribe(watch)
    feed = servers.source.pipe(
        reconnect(backoff.constant(1.0), status=watched, scheduler=servers.clock)
    )
    subscription.disposable = feed.subscribe()
    servers.check_nothing_left()
    assert type(told[-1]) is Closed
    # Two per round: one when the connection ends, one when all is disposed.
    assert [type(each) for each in told].count(Closed) == turn + (kind is Waiting)
    assert len(servers.dials) <= turn


@pytest.mark.parametrize("result", [True, False, None])
def test_retryable_may_dispose(result: bool | None, caplog: pytest.LogCaptureFixture) -> None:
    """If `retryable` disposes, its result and its exception are ignored."""
    subscription = SerialDisposable()

    def leave(_: Exception) -> bool:
        subscription.dispose()
        return raise_error() if result is None else result

    client = ReconnectingClient(open_for(1.0, 1001), retryable=leave)
    subscription.disposable = client.subscriber.subscription
    client.servers.check_nothing_left()
    assert client.subscriber.ends == []
    assert client.times == [0.0]
    assert client.status.names == ["Connecting", "Open", "Closed"]
    assert caplog.records == []


def test_subscribing_again_dials_again() -> None:
    """Subscribing again starts with the first attempt and a new backoff (RxJS#3935, #4650)."""
    client = ReconnectingClient(fail_with(NOBODY), backoff=lambda: iter([1.0, 2.0, 3.0]))
    client.clock.run(1.5)
    client.subscriber.subscription.dispose()
    again = Subscriber(client.connections, client.clock)
    client.clock.run(1.2)
    assert client.times == [0.0, 1.0, 1.5, 2.5]
    again.subscription.dispose()
    client.servers.check_nothing_left()


def test_two_subscriptions_are_independent() -> None:
    """Each subscription dials for itself, and disposing one leaves the other open."""
    servers = VirtualServers(open_for())
    feed = servers.source.pipe(reconnect(scheduler=servers.clock))
    one, other = Subscriber(feed, servers.clock), Subscriber(feed, servers.clock)
    assert len(servers.dials) == 2
    one.subscription.dispose()
    servers.clock.run(10)
    assert [dial.is_over for dial in servers.dials] == [True, False]
    other.subscription.dispose()
    servers.check_nothing_left()


def test_another_thread_may_dispose() -> None:
    """Disposing in another thread takes effect on the scheduler's thread, in its next turn."""
    client = ReconnectingClient(open_for())
    thread = threading.Thread(target=client.subscriber.subscription.dispose)
    thread.start()
    thread.join()
    assert client.status.names == ["Connecting", "Open"]
    client.servers.check_nothing_left()
    assert client.status.names == ["Connecting", "Open", "Closed"]
    assert client.servers.dials[0].transport.sent[0].code == 1000


# --- subscribers --------------------------------------------------------------------------------


def test_a_subscriber_may_close_the_connection_within_on_next() -> None:
    """A close within `on_next` is final with 1000 and followed by a dial with 1001."""
    servers = VirtualServers(open_for())
    codes = iter([1001, 1000])
    ends: list[object] = []

    def close(connection: AnyConnection) -> None:
        connection.outgoing.on_next(Close(next(codes)))
        servers.dials[-1].peer.close(1000)

    servers.source.pipe(reconnect(scheduler=servers.clock)).subscribe(
        close, ends.append, lambda: ends.append("|")
    )
    servers.check_nothing_left()
    assert len(servers.dials) == 2
    assert ends == ["|"]


def test_a_connection_that_is_over_when_emitted_is_dialled_again() -> None:
    """A connection that is over when the source emits it is emitted and dialled again."""

    def lost(dial: Dial) -> None:
        observer, dial.observer = dial.observer, Subject()
        connection = dial.open()
        dial.peer.lost()
        dial.later(0.5, lambda: observer.on_next(connection))

    client = ReconnectingClient(lost, open_for())
    client.clock.run(3)
    assert client.subscriber.times == [0.5, 1.5]
    assert client.status.names == [
        *("Connecting", "Open", "Closed", "Waiting"),
        *("Connecting", "Open"),
    ]


def test_a_subscriber_that_raises_closes_with_1011_and_is_dialled_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A subscriber that raises closes with 1011; it is logged once, then dialled again."""
    servers = VirtualServers(open_for())
    told: list[AnyConnection] = []

    def use(connection: AnyConnection) -> None:
        told.append(connection)
        if len(told) == 1:
            call_later(servers.clock, 0.1, lambda: servers.dials[0].peer.close(1011))
            raise LookupError("a mistake")

    subscription = servers.source.pipe(
        reconnect(backoff.constant(1.0), scheduler=servers.clock)
    ).subscribe(use)
    servers.clock.run(2)
    assert servers.dials[0].transport.sent[0].code == 1011
    assert servers.times == [0.0, 1.1]
    [record] = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)
    subscription.dispose()
    servers.check_nothing_left()


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_subscriber_that_disposes_and_raises_closes_with_1011_too(
    seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber that disposes and then raises closes with 1011, not with 1000."""
    servers = VirtualServers(lambda dial: dial.later(seconds, lambda: open_for()(dial)))
    subscription = SerialDisposable()

    def use(_: AnyConnection) -> None:
        subscription.dispose()
        raise LookupError("a mistake")

    feed = servers.source.pipe(reconnect(scheduler=servers.clock))
    subscription.disposable = feed.subscribe(use)
    servers.check_nothing_left()
    [dial] = servers.dials
    assert [sent.code for sent in dial.transport.sent] == [1011]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_first_closes_the_connection_that_it_took(seconds: float) -> None:
    """`first()` disposes within `on_next`, which closes the connection with 1000."""
    servers = VirtualServers(lambda dial: dial.later(seconds, lambda: open_for()(dial)))
    connections = servers.source.pipe(reconnect(scheduler=servers.clock))
    taken = Subscriber(connections.pipe(ops.first()), servers.clock)
    servers.check_nothing_left()
    assert len(taken.values) == 1
    assert servers.dials[0].transport.sent[0].code == 1000


@pytest.mark.parametrize("meet", [fail_with(TypeError("final")), open_for(1.0, 4001)])
def test_an_error_without_on_error_is_logged_once(
    meet: OnDial, caplog: pytest.LogCaptureFixture
) -> None:
    """A final error is logged once if the subscriber has no `on_error`."""
    servers = VirtualServers(meet)
    servers.source.pipe(reconnect(scheduler=servers.clock)).subscribe()
    servers.check_nothing_left()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "no on_error handles it" in record.message


def test_a_subscriber_that_raises_in_on_completed_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception from `on_completed` is logged."""
    servers = VirtualServers(open_for(1.0, 1000))
    servers.source.pipe(reconnect(scheduler=servers.clock)).subscribe(on_completed=raise_error)
    servers.check_nothing_left()
    [record] = caplog.records
    assert "a subscriber raised when the connections ended" in record.message


def test_a_subscriber_of_status_that_raises_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception of a subscriber of `status` is logged each time and stops nothing."""
    servers = VirtualServers(open_for(1.0, 1001), open_for())
    statuses = Subject[Status]()
    statuses.subscribe(raise_error)
    subscriber: Subscriber[AnyConnection] = Subscriber(
        servers.source.pipe(
            reconnect(backoff.constant(1.0), status=statuses, scheduler=servers.clock)
        ),
        servers.clock,
    )
    servers.clock.run(3)
    assert len(subscriber.values) == 2
    assert len(caplog.records) == 6


# --- unusual sources ----------------------------------------------------------------------------


def test_a_second_connection_of_one_dial_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """A second connection of one dial is closed and logged; the first one stays open."""

    def open_two_connections(dial: Dial) -> None:
        dial.open()
        surplus.open()
        dial.observer.on_next(surplus.session.connection)  # type: ignore[union-attr] # it is open

    servers = VirtualServers(open_two_connections)
    surplus = Dial(servers.clock, Subject())
    subscriber = Subscriber(servers.source.pipe(reconnect(scheduler=servers.clock)), servers.clock)
    servers.clock.run(30)
    assert len(subscriber.values) == 1
    assert surplus.is_over
    assert not servers.dials[0].is_over
    assert "may open only one connection" in caplog.text


def test_an_error_of_the_source_after_its_connection_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the source fails after it emitted a connection, only the connection's end counts."""

    def fail_after_opening(dial: Dial) -> None:
        dial.open()
        dial.later(1.0, lambda: dial.fail(TimeoutError()))
        dial.later(2.0, lambda: dial.peer.close(1000))

    client = ReconnectingClient(fail_after_opening)
    client.clock.run(5)
    assert client.subscriber.ended_at == 2.0
    assert client.subscriber.error is None
    assert "failed after its connection was opened" in caplog.text


def test_a_source_may_complete_after_its_connection() -> None:
    """A source may complete after it emitted its connection."""

    def complete_after_opening(dial: Dial) -> None:
        dial.open()
        dial.observer.on_completed()
        dial.later(1.0, dial.peer.lost)

    client = ReconnectingClient(complete_after_opening, open_for())
    client.clock.run(3)
    assert client.times == [0.0, 2.0]


def test_a_source_that_raises_when_subscribed_fails() -> None:
    """A source that raises when subscribed fails the subscriber, as RxPY turns it into an error."""
    servers = VirtualServers()
    nothing: Observable[AnyConnection] = Observable(raise_error)
    subscriber = Subscriber(nothing.pipe(reconnect(scheduler=servers.clock)), servers.clock)
    assert isinstance(subscriber.error, LookupError)
    assert servers.clock.pending == 0


def test_ten_thousand_dials_that_fail_at_once_do_not_recurse() -> None:
    """10,000 dials that fail at once, without a delay, do not recurse."""
    client = ReconnectingClient(
        *[fail_with(NOBODY)] * 10_000, open_for(), backoff=backoff.constant(0.0)
    )
    client.clock.run(0)
    assert len(client.times) == 10_001
    assert len(client.subscriber.values) == 1


def test_a_thousand_connections_that_are_over_at_once_do_not_recurse() -> None:
    """1000 connections, each lost while it is emitted, do not recurse."""
    servers = VirtualServers(*[open_for()] * 1000, fail_with(TypeError("enough")))
    operator = reconnect(
        backoff.constant(0.0),
        lambda cause: not isinstance(cause, TypeError),
        scheduler=servers.clock,
    )
    told: list[AnyConnection] = []
    errors: list[Exception] = []

    def lose(connection: AnyConnection) -> None:
        told.append(connection)
        servers.dials[-1].peer.lost()

    servers.source.pipe(operator).subscribe(lose, errors.append)
    servers.clock.run(0)
    assert len(told) == 1000
    assert isinstance(errors[0], TypeError)


async def test_without_a_scheduler_the_running_loop_is_used() -> None:
    """Without a scheduler, the running event loop is used."""
    with pytest.raises(ConnectError, match="nobody listens"):
        await rx.throw(NOBODY).pipe(reconnect(lambda: iter([0.001])))


def test_without_a_scheduler_and_a_loop_the_subscription_fails() -> None:
    """Without a scheduler and a running event loop, the subscription fails with RuntimeError."""
    errors: list[Exception] = []
    rx.throw(NOBODY).pipe(reconnect()).subscribe(on_error=errors.append)
    [error] = errors
    assert isinstance(error, RuntimeError)
    assert "no running event loop" in str(error)


def test_the_scheduler_of_the_subscription_is_used() -> None:
    """Without a scheduler argument, the scheduler of the subscription is used."""
    servers = VirtualServers(fail_with(NOBODY))
    servers.source.pipe(reconnect(backoff.constant(2.0))).subscribe(scheduler=servers.clock)
    servers.clock.run(5)
    assert servers.times == [0.0, 2.0, 4.0]


# --- random faults ------------------------------------------------------------------------------

ENDS: list[Callable[[random.Random], OnDial]] = [
    lambda rng: fail_with(NOBODY),
    lambda rng: fail_with(HandshakeError("busy", 503, {"Retry-After": str(rng.randrange(9))})),
    lambda rng: fail_with(HandshakeError("error", rng.randrange(500, 600), {})),
    lambda rng: open_for(rng.choice([0.0, 0.1, 20.0]), rng.choice([1001, 1011, 1012, 1013, 1014])),
    lambda rng: open_for(rng.choice([0.0, 0.1, 20.0]), lost=True),
    lambda rng: lambda dial: dial.later(rng.random(), lambda: dial.fail(NOBODY)),
    lambda rng: lambda dial: dial.later(rng.random(), lambda: open_for(rng.random(), 1001)(dial)),
]
FINALS: list[OnDial] = [
    fail_with(HandshakeError("no", 404, {})),
    open_for(1.0, 1000),
    open_for(1.0, 4001),
    never_answer,
]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.promise("status")
def test_the_status_is_right_over_a_thousand_random_faults(seed: int) -> None:
    """Over 1000 random errors each `status` is a legal transition and matches the connection."""
    rng = random.Random(seed)
    client = ReconnectingClient(
        *[rng.choice(ENDS)(rng) for _ in range(1000)],
        open_for(),
        backoff=backoff.exponential(first=0.5, cap=2.0, random=rng.random),
    )
    steps = 0
    while len(client.times) <= 1000:
        client.clock.run(rng.random() * 5)
        steps += 1
        check_status(client, f"seed {seed}, step {steps}")
    assert len(client.status.values) >= 2000
    client.clock.run(1)
    assert isinstance(client.status.values[-1], Open)
    client.subscriber.subscription.dispose()
    client.servers.check_nothing_left()


def check_status(client: ReconnectingClient, where: str) -> None:
    """Check that the latest status matches the dials and connections."""
    status = client.status.values[-1]
    dial = client.servers.dials[-1]
    is_open = dial.session is not None and not dial.is_over
    assert isinstance(status, Open) == (is_open and not dial.disposed), where
    assert isinstance(status, Connecting) == (not dial.disposed and not is_open), where
    assert isinstance(status, Waiting) == dial.disposed, where
    assert all(each.is_over and each.disposed for each in client.servers.dials[:-1]), where


@settings(deadline=None, max_examples=200)
@given(
    ends=st.lists(st.integers(0, len(ENDS) - 1), max_size=6),
    final=st.integers(0, len(FINALS) - 1),
    seed=st.integers(0, 1000),
    dispose_at=st.floats(0, 60),
)
@pytest.mark.promise("left")
def test_disposing_at_any_time_leaves_nothing(
    ends: list[int], final: int, seed: int, dispose_at: float
) -> None:
    """Disposing at any time, after any errors, emits `Closed` and leaves nothing open."""
    rng = random.Random(seed)
    client = ReconnectingClient(
        *[ENDS[end](rng) for end in ends],
        FINALS[final],
        backoff=backoff.exponential(random=rng.random),
    )
    client.clock.run(dispose_at)
    client.subscriber.subscription.dispose()
    assert client.status.names[-1] == "Closed"
    dials = len(client.times)
    client.servers.check_nothing_left()
    assert len(client.times) == dials
    assert all(one <= other for one, other in pairwise(client.times))
    assert len(client.subscriber.ends) <= 1
    if client.subscriber.ends and (error := client.subscriber.ends[0]) is not None:
        assert isinstance(error, RxwsError)
