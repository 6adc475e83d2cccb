"""Dialling again, in virtual time: what is final, when the next dial is, what is told of it."""

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
from rxws._core.schedulers import call_later
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


class Client:
    """A subscriber of what dials again, on a network of its own."""

    def __init__(self, *meets: OnDial, **options: Any) -> None:
        self.network = VirtualServers(*meets)
        self.clock = self.network.clock
        self.status = StatusSubscriber()
        options.setdefault("backoff", backoff.constant(1.0))
        self.connections = self.network.source.pipe(
            reconnect(status=self.status, scheduler=self.clock, **options)
        )
        self.notes: Subscriber[AnyConnection] = Subscriber(self.connections, self.clock)

    @property
    def times(self) -> list[float]:
        return self.network.times

    def check_final(self, kind: type[Exception], said: str) -> Exception:
        """It has failed with a typed error that says why, and nothing is left."""
        error = self.notes.error
        assert error is not None
        assert type(error) is kind
        assert any(said in note for note in error.__notes__), error.__notes__
        [*_, last] = self.status.values
        assert isinstance(last, Closed)
        assert last.error is error
        dials = len(self.times)
        self.network.check_nothing_left()
        assert len(self.times) == dials
        return error


# --- what is dialled again, and when ------------------------------------------------------------


def test_a_refused_dial_is_made_again_after_each_wait_of_the_backoff() -> None:
    """The first at once, then as the series says."""
    client = Client(fail_with(NOBODY), backoff=lambda: iter([1.0, 2.5, 0.5]))
    client.clock.run(10)
    assert client.times == [0.0, 1.0, 3.5, 4.0]


def test_a_lost_connection_is_dialled_again() -> None:
    """Each connection is emitted while it is open, and the old one is over by then."""
    client = Client(open_for(5.0, lost=True), open_for())
    client.clock.run(20)
    assert client.times == client.notes.times == [0.0, 6.0]
    assert len(set(map(id, client.notes.values))) == 2
    assert client.network.dials[0].is_over
    assert client.network.dials[0].disposed
    assert not client.network.dials[1].disposed
    assert client.notes.ends == []
    assert [repr(status).split(" (")[0] for status in client.status.values] == [
        "Connecting, attempt 1",
        "Open ws://peer.example/",
        "Closed 1006 by network",
        "Waiting 1.0 s: ConnectionClosed(closed with 1006 by network)",
        "Connecting, attempt 2",
        "Open ws://peer.example/",
    ]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1014])
def test_a_close_that_says_nothing_against_it_is_followed_by_another_dial(code: int) -> None:
    """The peer goes away, restarts, or has an error."""
    client = Client(open_for(0.5, code), open_for())
    client.clock.run(2)
    assert client.times == [0.0, 1.5]
    assert isinstance(cause := client.status.values[3].cause, ConnectionClosed)  # type: ignore[union-attr] # it is Waiting
    assert cause.close == Close(code)
    assert cause.close.by == "peer"


@pytest.mark.parametrize(
    ("status", "asked", "wait"),
    [
        (429, "30", 31.0),
        (503, "30", 31.0),
        (503, "Wed, 21 Oct 2015 07:28:00 GMT", 21.0),
        (503, "garbage", 1.0),
        (503, "999999999", 3601.0),
        (500, "30", 1.0),  # there it means nothing
    ],
)
@pytest.mark.promise("retry-after")
def test_a_server_that_asks_to_be_left_alone_is(status: int, asked: str, wait: float) -> None:
    """`Retry-After`, and on top of it the backoff's own wait, with its jitter."""
    headers = {"Retry-After": asked, "Date": "Wed, 21 Oct 2015 07:27:40 GMT"}
    client = Client(fail_with(HandshakeError("busy", status, headers)), open_for())
    client.clock.run(4000)
    assert client.times == [0.0, wait]


def test_a_thousand_who_were_asked_to_wait_do_not_come_back_in_one_moment() -> None:
    """All were told 30 seconds; no 100 ms of the second after it see over a fifth of them."""
    seed = 3
    rng = random.Random(seed)
    busy = HandshakeError("busy", 503, {"Retry-After": "30"})
    network = VirtualServers(*[fail_with(busy)] * 1000, lambda _: None)
    policy = backoff.exponential(random=rng.random)
    for _ in range(1000):
        network.source.pipe(reconnect(policy, scheduler=network.clock)).subscribe()
    network.clock.run(40)
    again = network.times[1000:]
    assert len(again) == 1000
    assert all(30.0 <= at <= 31.0 for at in again)
    assert max(busiest(again, 0.1)) < 200, f"seed {seed}"


def busiest(times: list[float], window: float) -> Iterator[int]:
    """How many of these, sorted, are within the window that begins with each."""
    end = 0
    for begin, at in enumerate(times):
        while end < len(times) and times[end] < at + window:
            end += 1
        yield end - begin


@pytest.mark.promise("jitter")
def test_of_a_thousand_cut_off_at_once_no_moment_sees_over_a_hundredth_of_the_dials() -> None:
    """Of the dials after a wait at the cap, however the window of 100 ms is put."""
    seed = 11
    rng = random.Random(seed)
    rounds = 3
    at_cap: list[list[float]] = [[] for _ in range(rounds)]
    network = VirtualServers()

    def fail(dial: Dial) -> None:
        dial.fail(NOBODY)

    network._last = fail
    policy = backoff.exponential(random=rng.random)
    below_cap = 6  # waits: 1, 2, 4, 8, 16, 32
    for _ in range(1000):
        mine = Subscriber(
            network.source.pipe(
                reconnect(
                    policy, status=Attempts(network, at_cap, below_cap), scheduler=network.clock
                )
            ),
            network.clock,
        )
        assert mine.ends == []
    network.clock.run(63 + 60 * rounds)
    for dials in at_cap:
        assert len(dials) == 1000
        assert max(busiest(sorted(dials), 0.1)) <= 10, f"seed {seed}"


class Attempts(StatusSubscriber):
    """Notes when each attempt after a wait at the cap is made."""

    def __init__(self, network: VirtualServers, at_cap: list[list[float]], below: int) -> None:
        super().__init__()
        self._network, self._at_cap, self._below = network, at_cap, below

    def on_next(self, value: Status) -> None:
        if isinstance(value, Connecting):
            nth = value.attempt - self._below - 2  # the first dial has no wait before it
            if 0 <= nth < len(self._at_cap):
                self._at_cap[nth].append(self._network.clock.time)


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.promise("hammer")
def test_a_server_that_accepts_and_closes_at_once_is_dialled_ten_times_in_ten_seconds(
    seed: int,
) -> None:
    """At the most, by default."""
    client = Client(
        open_for(0.0, 1001), backoff=backoff.exponential(random=random.Random(seed).random)
    )
    client.clock.run(10)
    assert 2 <= len(client.times) <= 10, f"seed {seed}"


@pytest.mark.parametrize(("stood", "waits"), [(9.9, [1.0, 2.0, 3.0]), (10.1, [1.0, 1.0, 1.0])])
def test_the_backoff_starts_over_after_a_connection_that_was_stable(
    stood: float, waits: list[float]
) -> None:
    """One that stood for `stable_after`, and not one that was merely opened."""
    client = Client(open_for(stood, 1001), backoff=lambda: iter([1.0, 2.0, 3.0, 4.0]))
    client.clock.run(3 * stood + sum(waits) + 0.5)
    waited = [status.delay for status in client.status.values if isinstance(status, Waiting)]
    assert waited == waits
    attempts = [status.attempt for status in client.status.values if isinstance(status, Connecting)]
    assert attempts == ([1, 2, 3, 4] if stood < 10 else [1, 1, 1, 1])


def test_what_stable_means_can_be_said() -> None:
    """With 0 every connection is."""
    client = Client(open_for(0.5, 1001), backoff=lambda: iter([1.0, 50.0]), stable_after=0.0)
    client.clock.run(5)
    assert client.times == [0.0, 1.5, 3.0, 4.5]


# --- what is final ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, None])
def test_a_peer_that_is_done_completes_it(code: int | None) -> None:
    """1000, and a close without a code."""
    client = Client(open_for(2.0, code))
    client.clock.run(10)
    assert client.notes.error is None
    assert client.notes.ended_at == 2.0
    assert client.status.values[-1] == Closed(Close(code or 1005))
    client.network.check_nothing_left()
    assert client.times == [0.0]


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4001, 4999])
@pytest.mark.promise("final")
def test_other_closes_are_final(code: int) -> None:
    """With a `ConnectionClosed` that has the close, and says that it is not retryable."""
    client = Client(open_for(2.0, code))
    client.clock.run(10)
    error = client.check_final(ConnectionClosed, "is_retryable takes it as final")
    assert isinstance(error, ConnectionClosed)
    assert error.close == Close(code)
    assert client.status.values[-1] == Closed(Close(code), error)


@pytest.mark.parametrize("status", [101, 200, 400, 401, 403, 404, 410])
@pytest.mark.promise("final")
def test_other_answers_are_final(status: int) -> None:
    """With the `HandshakeError` of the dial, on which a note says why."""
    refusal = HandshakeError("no", status, {})
    client = Client(fail_with(refusal))
    client.clock.run(10)
    assert client.check_final(HandshakeError, "is_retryable takes it as final") is refusal
    assert client.status.values == [Connecting(1), Closed(None, refusal)]


def test_what_is_no_fault_of_the_net_is_final() -> None:
    """A mistake in the program is told, not tried again."""
    client = Client(fail_with(TypeError("a mistake")))
    client.check_final(TypeError, "is_retryable takes it as final")


def test_the_policy_alone_decides() -> None:
    """A `retryable` of the user's may take a 1000 or a 404 for a passing thing."""
    asked: list[Exception] = []

    def mine(cause: Exception) -> bool:
        asked.append(cause)
        return not isinstance(cause, ConnectError) or isinstance(cause, HandshakeError)

    client = Client(
        fail_with(HandshakeError("no", 404, {})),
        open_for(1.0, 1000),
        fail_with(NOBODY),
        retryable=mine,
    )
    client.clock.run(10)
    assert client.times == [0.0, 1.0, 3.0]
    assert len(asked) == 3
    assert "mine takes it as final" in client.check_final(ConnectError, "mine").__notes__[-1]


def test_a_backoff_that_ends_gives_up_with_the_last_cause() -> None:
    """Which says so, and at which attempt."""
    last = ConnectError("and again nobody")
    client = Client(
        fail_with(NOBODY), fail_with(NOBODY), fail_with(last), backoff=lambda: iter([1, 1])
    )
    client.clock.run(10)
    assert client.times == [0.0, 1.0, 2.0]
    assert client.check_final(ConnectError, "the backoff has ended, at attempt 3") is last


def test_a_note_is_put_on_an_error_once() -> None:
    """A source that fails with the same error for each subscriber does not pile them up."""
    error = TypeError("a mistake")
    for _ in range(3):
        Client(fail_with(error))
    assert len(error.__notes__) == 1


def test_a_source_that_ends_without_a_connection_ends_it() -> None:
    """There is nothing to dial any more."""
    client = Client(lambda dial: dial.observer.on_completed())
    assert client.notes.error is None
    assert client.status.values == [Connecting(1), Closed(None)]
    client.network.check_nothing_left()


def raises(*_: object) -> Any:
    raise LookupError("a policy of the user's")


def raises_in_time() -> Iterator[float]:
    yield 1.0
    raises()


@pytest.mark.parametrize(
    ("options", "dials"),
    [
        ({"retryable": raises}, 1),
        ({"backoff": raises}, 1),
        ({"backoff": raises_in_time}, 2),
    ],
)
@pytest.mark.parametrize("end", ["refused", "closed"])
def test_a_policy_that_raises_ends_it_with_that(
    options: dict[str, Any], dials: int, end: str
) -> None:
    """Nothing is left, after a refusal as after a close."""
    meet = fail_with(NOBODY) if end == "refused" else open_for(0.5, 1001)
    client = Client(meet, **options)
    client.clock.run(10)
    assert isinstance(client.notes.error, LookupError)
    assert len(client.times) == dials
    client.network.check_nothing_left()


@pytest.mark.parametrize("wait", [-1.0, float("nan"), float("inf")])
def test_a_wait_that_makes_no_sense_is_an_error(wait: float) -> None:
    """And not a dial at once, or never."""
    client = Client(fail_with(NOBODY), backoff=lambda: iter([wait]))
    assert isinstance(error := client.notes.error, ValueError)
    assert error.__cause__ is NOBODY
    client.network.check_nothing_left()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"backoff": 5.0}, TypeError),
        ({"retryable": True}, TypeError),
        ({"stable_after": -1.0}, ValueError),
        ({"stable_after": float("nan")}, ValueError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], kind: type[Exception]
) -> None:
    """At once, by name."""
    with pytest.raises(kind, match=next(iter(options))):
        reconnect(**options)


# --- leaving ------------------------------------------------------------------------------------


def waiting(dial: Dial) -> None:
    """A dial that is never answered."""


MOMENTS: dict[str, tuple[tuple[OnDial, ...], float, Status]] = {
    "dialling": ((waiting,), 0.0, Connecting(1)),
    "dialling for the second time": ((fail_with(NOBODY), waiting), 1.5, Connecting(2)),
    "waiting": ((fail_with(NOBODY),), 0.5, Waiting(1.0, NOBODY)),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_disposed_before_it_is_open_nothing_is_left(moment: str) -> None:
    """No dial, no timer; it is told that nothing is open, and no end."""
    meets, seconds, status = MOMENTS[moment]
    client = Client(*meets)
    client.clock.run(seconds)
    assert client.status.values[-1] == status
    client.notes.subscription.dispose()
    assert client.network.dials[-1].disposed
    assert client.clock.pending == 0
    assert client.status.values[-1] == Closed(None)
    dials = len(client.times)
    client.network.check_nothing_left()
    assert client.notes.ends == []
    assert len(client.times) == dials


def test_disposed_while_open_the_connection_is_closed_with_1000() -> None:
    """And it is told so at once, though the peer has not answered yet."""
    client = Client(open_for())
    client.clock.run(1)
    client.notes.subscription.dispose()
    assert client.status.values[-1] == Closed(Close(1000))
    [dial] = client.network.dials
    client.clock.turn()
    [sent] = dial.transport.sent
    assert sent.code == 1000
    client.network.check_nothing_left()
    assert client.notes.ends == []
    client.notes.subscription.dispose()  # again: nothing more
    assert client.status.names == ["Connecting", "Open", "Closed"]


@pytest.mark.parametrize("answered", [True, False])
def test_disposed_while_it_is_closing_nothing_is_left(answered: bool) -> None:
    """A close by the user's own hand is under way, and the peer answers, or never does."""
    client = Client(open_for())
    [connection] = client.notes.values
    connection.outgoing.on_next(Close(4001, "enough"))
    client.clock.turn()
    client.notes.subscription.dispose()
    [dial] = client.network.dials
    if answered:
        dial.peer.close(4001)
    client.network.check_nothing_left()
    assert [sent.code for sent in dial.transport.sent] == [4001]
    assert client.notes.ends == []
    assert client.times == [0.0]


def test_disposed_before_it_is_told_of_the_end_nothing_is_left() -> None:
    """A subscriber of `closed` disposes: it is not dialled again."""
    client = Client(open_for(1.0, 1001))
    [connection] = client.notes.values
    connection.closed.subscribe(lambda _: client.notes.subscription.dispose())
    client.network.check_nothing_left()
    assert client.times == [0.0]
    assert client.notes.ends == []


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("kind", [Connecting, Open, Waiting, Closed])
def test_who_watches_the_status_may_dispose_at_any(kind: type[Status], turn: int) -> None:
    """Nothing is left, and the last status is `Closed`, told once; also while it subscribes."""
    network = VirtualServers(open_for(1.0, 1001))
    watched: Subject[Status] = Subject()
    told: list[Status] = []
    subscription = SerialDisposable()

    def watch(status: Status) -> None:
        told.append(status)
        if [type(each) for each in told].count(kind) == turn:
            subscription.dispose()

    watched.subscribe(watch)
    feed = network.source.pipe(
        reconnect(backoff.constant(1.0), status=watched, scheduler=network.clock)
    )
    subscription.disposable = feed.subscribe()
    network.check_nothing_left()
    assert type(told[-1]) is Closed
    # Two to a round: at the connection's end, and at that of all.
    assert [type(each) for each in told].count(Closed) == turn + (kind is Waiting)
    assert len(network.dials) <= turn


@pytest.mark.parametrize("says", [True, False, None])
def test_a_policy_may_dispose(says: bool | None, caplog: pytest.LogCaptureFixture) -> None:
    """What it then says counts no more, nor what it raises."""
    subscription = SerialDisposable()

    def leave(_: Exception) -> bool:
        subscription.dispose()
        return raises() if says is None else says

    client = Client(open_for(1.0, 1001), retryable=leave)
    subscription.disposable = client.notes.subscription
    client.network.check_nothing_left()
    assert client.notes.ends == []
    assert client.times == [0.0]
    assert client.status.names == ["Connecting", "Open", "Closed"]
    assert caplog.records == []


def test_subscribed_again_it_dials_again() -> None:
    """From the first attempt, with a backoff that is new (RxJS#3935, #4650)."""
    client = Client(fail_with(NOBODY), backoff=lambda: iter([1.0, 2.0, 3.0]))
    client.clock.run(1.5)
    client.notes.subscription.dispose()
    again = Subscriber(client.connections, client.clock)
    client.clock.run(1.2)
    assert client.times == [0.0, 1.0, 1.5, 2.5]
    again.subscription.dispose()
    client.network.check_nothing_left()


def test_two_subscriptions_know_nothing_of_each_other() -> None:
    """Each dials for itself; one that leaves takes nothing from the other."""
    network = VirtualServers(open_for())
    feed = network.source.pipe(reconnect(scheduler=network.clock))
    one, other = Subscriber(feed, network.clock), Subscriber(feed, network.clock)
    assert len(network.dials) == 2
    one.subscription.dispose()
    network.clock.run(10)
    assert [dial.is_over for dial in network.dials] == [True, False]
    other.subscription.dispose()
    network.check_nothing_left()


def test_another_thread_may_dispose() -> None:
    """It happens on the scheduler's own thread, in its next turn."""
    client = Client(open_for())
    thread = threading.Thread(target=client.notes.subscription.dispose)
    thread.start()
    thread.join()
    assert client.status.names == ["Connecting", "Open"]
    client.network.check_nothing_left()
    assert client.status.names == ["Connecting", "Open", "Closed"]
    assert client.network.dials[0].transport.sent[0].code == 1000


# --- subscribers --------------------------------------------------------------------------------


def test_a_subscriber_may_close_the_connection_that_it_is_told_of() -> None:
    """With 1000 it is final, with 1001 it is dialled again."""
    network = VirtualServers(open_for())
    codes = iter([1001, 1000])
    ends: list[object] = []

    def close(connection: AnyConnection) -> None:
        connection.outgoing.on_next(Close(next(codes)))
        network.dials[-1].peer.close(1000)

    network.source.pipe(reconnect(scheduler=network.clock)).subscribe(
        close, ends.append, lambda: ends.append("|")
    )
    network.check_nothing_left()
    assert len(network.dials) == 2
    assert ends == ["|"]


def test_a_connection_that_is_over_when_it_is_told_of_is_dialled_again() -> None:
    """It is emitted, and its end follows at once."""

    def lost(dial: Dial) -> None:
        observer, dial.observer = dial.observer, Subject()
        connection = dial.open()
        dial.peer.lost()
        dial.later(0.5, lambda: observer.on_next(connection))

    client = Client(lost, open_for())
    client.clock.run(3)
    assert client.notes.times == [0.5, 1.5]
    assert client.status.names == [
        *("Connecting", "Open", "Closed", "Waiting"),
        *("Connecting", "Open"),
    ]


def test_a_subscriber_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """As a handler does; it is logged once, and dialled again, since the next may do better."""
    network = VirtualServers(open_for())
    told: list[AnyConnection] = []

    def use(connection: AnyConnection) -> None:
        told.append(connection)
        if len(told) == 1:
            call_later(network.clock, 0.1, lambda: network.dials[0].peer.close(1011))
            raise LookupError("a mistake")

    subscription = network.source.pipe(
        reconnect(backoff.constant(1.0), scheduler=network.clock)
    ).subscribe(use)
    network.clock.run(2)
    assert network.dials[0].transport.sent[0].code == 1011
    assert network.times == [0.0, 1.1]
    [record] = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)
    subscription.dispose()
    network.check_nothing_left()


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_subscriber_that_disposes_and_raises_closes_with_1011_too(
    seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer is told of the exception, not of the leaving."""
    network = VirtualServers(lambda dial: dial.later(seconds, lambda: open_for()(dial)))
    subscription = SerialDisposable()

    def use(_: AnyConnection) -> None:
        subscription.dispose()
        raise LookupError("a mistake")

    feed = network.source.pipe(reconnect(scheduler=network.clock))
    subscription.disposable = feed.subscribe(use)
    network.check_nothing_left()
    [dial] = network.dials
    assert [sent.code for sent in dial.transport.sent] == [1011]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_who_takes_one_connection_and_leaves_has_closed_it(seconds: float) -> None:
    """`first()` disposes while it is told of the connection."""
    network = VirtualServers(lambda dial: dial.later(seconds, lambda: open_for()(dial)))
    connections = network.source.pipe(reconnect(scheduler=network.clock))
    taken = Subscriber(connections.pipe(ops.first()), network.clock)
    network.check_nothing_left()
    assert len(taken.values) == 1
    assert network.dials[0].transport.sent[0].code == 1000


@pytest.mark.parametrize("meet", [fail_with(TypeError("final")), open_for(1.0, 4001)])
def test_an_error_that_nobody_takes_is_logged_once(
    meet: OnDial, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber without `on_error` hears of it on the logger."""
    network = VirtualServers(meet)
    network.source.pipe(reconnect(scheduler=network.clock)).subscribe()
    network.check_nothing_left()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "no on_error handles it" in record.message


def test_a_subscriber_that_raises_over_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It has nobody else to tell."""
    network = VirtualServers(open_for(1.0, 1000))
    network.source.pipe(reconnect(scheduler=network.clock)).subscribe(on_completed=raises)
    network.check_nothing_left()
    [record] = caplog.records
    assert "ended, which raised" in record.message


def test_a_watcher_of_the_status_that_raises_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each time is logged."""
    network = VirtualServers(open_for(1.0, 1001), open_for())
    watcher = Subject[Status]()
    watcher.subscribe(raises)
    notes: Subscriber[AnyConnection] = Subscriber(
        network.source.pipe(
            reconnect(backoff.constant(1.0), status=watcher, scheduler=network.clock)
        ),
        network.clock,
    )
    network.clock.run(3)
    assert len(notes.values) == 2
    assert len(caplog.records) == 6


# --- odd sources --------------------------------------------------------------------------------


def test_a_second_connection_of_one_dial_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody asked for it; that is logged, and the first goes on."""

    def twice(dial: Dial) -> None:
        dial.open()
        surplus.open()
        dial.observer.on_next(surplus.session.connection)  # type: ignore[union-attr] # it is open

    network = VirtualServers(twice)
    surplus = Dial(network.clock, Subject())
    notes = Subscriber(network.source.pipe(reconnect(scheduler=network.clock)), network.clock)
    network.clock.run(30)
    assert len(notes.values) == 1
    assert surplus.is_over
    assert not network.dials[0].is_over
    assert "may open only one connection" in caplog.text


def test_a_source_that_fails_while_its_connection_stands_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection's own end counts; as with an `ops.timeout` after the dial."""

    def fails_later(dial: Dial) -> None:
        dial.open()
        dial.later(1.0, lambda: dial.fail(TimeoutError()))
        dial.later(2.0, lambda: dial.peer.close(1000))

    client = Client(fails_later)
    client.clock.run(5)
    assert client.notes.ended_at == 2.0
    assert client.notes.error is None
    assert "failed after its connection was opened" in caplog.text


def test_a_source_that_completes_after_its_connection_is_as_any() -> None:
    """It has told all it had to."""

    def completes(dial: Dial) -> None:
        dial.open()
        dial.observer.on_completed()
        dial.later(1.0, dial.peer.lost)

    client = Client(completes, open_for())
    client.clock.run(3)
    assert client.times == [0.0, 2.0]


def test_a_source_that_raises_when_subscribed_is_as_one_that_fails() -> None:
    """RxPY makes an error of it."""
    network = VirtualServers()
    nothing: Observable[AnyConnection] = Observable(raises)
    notes = Subscriber(nothing.pipe(reconnect(scheduler=network.clock)), network.clock)
    assert isinstance(notes.error, LookupError)
    assert network.clock.pending == 0


def test_ten_thousand_dials_that_fail_at_once_do_not_recurse() -> None:
    """Without any wait between them, in one instant."""
    client = Client(*[fail_with(NOBODY)] * 10_000, open_for(), backoff=backoff.constant(0.0))
    client.clock.run(0)
    assert len(client.times) == 10_001
    assert len(client.notes.values) == 1


def test_a_thousand_connections_that_are_over_at_once_do_not_recurse() -> None:
    """Each opens, and is lost while its subscriber is told of it."""
    network = VirtualServers(*[open_for()] * 1000, fail_with(TypeError("enough")))
    operator = reconnect(
        backoff.constant(0.0),
        lambda cause: not isinstance(cause, TypeError),
        scheduler=network.clock,
    )
    told: list[AnyConnection] = []
    errors: list[Exception] = []

    def lose(connection: AnyConnection) -> None:
        told.append(connection)
        network.dials[-1].peer.lost()

    network.source.pipe(operator).subscribe(lose, errors.append)
    network.clock.run(0)
    assert len(told) == 1000
    assert isinstance(errors[0], TypeError)


async def test_without_a_scheduler_it_is_on_the_running_loop() -> None:
    """So that it is used in a program as any operator is."""
    with pytest.raises(ConnectError, match="nobody listens"):
        await rx.throw(NOBODY).pipe(reconnect(lambda: iter([0.001])))


def test_without_a_scheduler_and_a_loop_it_says_so() -> None:
    """From the subscription, as RxPY tells it."""
    errors: list[Exception] = []
    rx.throw(NOBODY).pipe(reconnect()).subscribe(on_error=errors.append)
    [error] = errors
    assert isinstance(error, RuntimeError)
    assert "no running event loop" in str(error)


def test_the_scheduler_of_the_subscription_is_the_time() -> None:
    """Where the operator was given none."""
    network = VirtualServers(fail_with(NOBODY))
    network.source.pipe(reconnect(backoff.constant(2.0))).subscribe(scheduler=network.clock)
    network.clock.run(5)
    assert network.times == [0.0, 2.0, 4.0]


# --- whatever happens ---------------------------------------------------------------------------

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
    waiting,
]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.promise("status")
def test_over_a_thousand_faults_the_status_is_a_walk_of_the_table(seed: int) -> None:
    """Each step is checked as it comes; what is open and what waits is as the status says."""
    rng = random.Random(seed)
    client = Client(
        *[rng.choice(ENDS)(rng) for _ in range(1000)],
        open_for(),
        backoff=backoff.exponential(first=0.5, cap=2.0, random=rng.random),
    )
    steps = 0
    while len(client.times) <= 1000:
        client.clock.run(rng.random() * 5)
        steps += 1
        check_truth(client, f"seed {seed}, step {steps}")
    assert len(client.status.values) >= 2000
    client.clock.run(1)
    assert isinstance(client.status.values[-1], Open)
    client.notes.subscription.dispose()
    client.network.check_nothing_left()


def check_truth(client: Client, where: str) -> None:
    """The status is what is."""
    status = client.status.values[-1]
    dial = client.network.dials[-1]
    is_open = dial.session is not None and not dial.is_over
    assert isinstance(status, Open) == (is_open and not dial.disposed), where
    assert isinstance(status, Connecting) == (not dial.disposed and not is_open), where
    assert isinstance(status, Waiting) == dial.disposed, where
    assert all(each.is_over and each.disposed for each in client.network.dials[:-1]), where


@settings(deadline=None, max_examples=200)
@given(
    ends=st.lists(st.integers(0, len(ENDS) - 1), max_size=6),
    final=st.integers(0, len(FINALS) - 1),
    seed=st.integers(0, 1000),
    leave=st.floats(0, 60),
)
@pytest.mark.promise("left")
def test_whenever_it_is_left_nothing_is_left(
    ends: list[int], final: int, seed: int, leave: float
) -> None:
    """Any faults, any time to dispose: the walk goes on to `Closed`, and nothing is open."""
    rng = random.Random(seed)
    client = Client(
        *[ENDS[end](rng) for end in ends],
        FINALS[final],
        backoff=backoff.exponential(random=rng.random),
    )
    client.clock.run(leave)
    client.notes.subscription.dispose()
    assert client.status.names[-1] == "Closed"
    dials = len(client.times)
    client.network.check_nothing_left()
    assert len(client.times) == dials
    assert all(one <= other for one, other in pairwise(client.times))
    assert len(client.notes.ends) <= 1
    if client.notes.ends and (error := client.notes.ends[0]) is not None:
        assert isinstance(error, RxwsError)
