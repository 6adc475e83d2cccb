"""`rate_limit`: how many values pass, what happens to the others, and in which order they leave."""

from __future__ import annotations

import threading
from itertools import accumulate
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

import rxws
from rxws import Close, ConnectionClosed
from rxws._core.frames import Opcode
from rxws.operators import Backlog, rate_limit
from rxws.testing import simulate
from rxws.testing.clock import Clock
from support.subscriber import Subscriber
from support.virtual.manual_calls import settle
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject, close_code_of

TOO_FAST = Close(4029, "too fast")


class Limited:
    """A connection whose messages pass a `rate_limit`."""

    def __init__(self, *args: Any, session: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.virtual = VirtualSession(**session or {})
        self.peer = self.virtual.peer
        self.closed = self.virtual.watch(self.virtual.conn.closed)
        self.out: Subscriber[Any] = self.virtual.watch(
            self.virtual.conn.incoming.pipe(rate_limit(*args, **kwargs))
        )

    def send(self, *messages: str) -> None:
        self.peer.message(*messages)

    @property
    def timed(self) -> list[tuple[Any, float]]:
        return list(zip(self.out.values, self.out.times, strict=True))


class Values:
    """Values of a Subject, without a connection, that pass a `rate_limit`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.clock = Clock()
        self.source: Subject[Any] = Subject()
        self.out: Subscriber[Any] = Subscriber(
            self.source.pipe(rate_limit(*args, **kwargs)), self.clock, scheduler=self.clock
        )

    def push(self, *values: Any) -> None:
        for value in values:
            self.source.on_next(value)


# --- the bucket -------------------------------------------------------------------------------


def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    """The first `burst` values pass at once, and the others one per `per / count` seconds."""
    limited = Limited(2, 1.0, burst=3)
    limited.send(*"abcdef")
    limited.virtual.run(10.0)
    assert limited.timed == [("a", 0), ("b", 0), ("c", 0), ("d", 0.5), ("e", 1.0), ("f", 1.5)]


def test_the_burst_is_count_by_default() -> None:
    """Without `burst`, `count` values pass at once."""
    limited = Limited(2, 1.0)
    limited.send(*"abc")
    limited.virtual.run(10.0)
    assert limited.timed == [("a", 0), ("b", 0), ("c", 0.5)]


def test_tokens_come_back_while_nothing_arrives_up_to_the_burst() -> None:
    """A pause of the peer earns tokens, but never more than `burst`."""
    values = Values(1, 1.0, burst=2, excess="drop")
    values.push(*"abc")
    values.clock.run(1.0)
    values.push(*"de")
    values.clock.run(100.0)
    values.push(*"fgh")
    assert values.out.values == [*"abdfg"]


def test_a_wait_ends_exactly_when_a_token_comes() -> None:
    """Each value leaves at its own time, computed from the first: rounding does not add up."""
    values = Values(3, 0.1, burst=1)
    values.push(*range(1000))
    values.clock.run(100.0)
    assert values.out.values == [*range(1000)]
    for number, time in enumerate(values.out.times):
        assert abs(time - number * 0.1 / 3) <= 1e-6


@pytest.mark.promise("rate")
def test_a_rate_does_not_drift_over_a_long_time() -> None:
    """After 100,000 values without a pause, the next one still leaves to the microsecond."""
    times: list[float] = []
    clock = Clock()
    source: Subject[int] = Subject()
    limited = source.pipe(rate_limit(7, 1.0, burst=1))
    limited.subscribe(lambda _: times.append(clock.time), scheduler=clock)
    for number in range(100_000):
        source.on_next(number)
        if number - len(times) >= 1000:
            clock.run(100.0)
    clock.run(1000.0)
    assert len(times) == 100_000
    assert abs(times[-1] - 99_999 / 7) <= 1e-6


def test_each_wait_takes_one_timer() -> None:
    """A value that waits costs one timer, also if the clock cannot show the exact time."""
    values = Values(3, 1.0, burst=1)
    values.push(*range(10))
    scheduled: list[int] = []
    for _ in range(9):
        scheduled.append(values.clock.pending)
        values.clock.run(1 / 3)
    values.clock.run(1e-5)
    assert scheduled == [1] * 9
    assert values.out.values == [*range(10)]
    assert values.clock._count == 9


def test_a_value_that_arrives_with_its_token_needs_no_timer() -> None:
    """A value passes at once if its token comes within the clock's resolution, a microsecond."""
    values = Values(3, 1.0, burst=1)
    for number in range(4):
        values.push(number)
        assert values.clock.pending == 0
        values.clock.run(1 / 3)
    assert values.out.values == [0, 1, 2, 3]


class LateClock(Clock):
    """A clock whose timers run late, as those of a busy loop do."""

    late = 0.0

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> Any:
        return super().schedule_relative(duetime + self.late, action, state)


@pytest.mark.promise("rate")
@given(
    count=st.integers(1, 7),
    per=st.sampled_from([0.1, 0.3, 1.0, 7.0]),
    burst=st.none() | st.integers(1, 9),
    pauses=st.lists(st.just(0.0) | st.floats(0.0, 3.0), min_size=1, max_size=60),
    late=st.sampled_from([0.0, 0.01, 2.0]),
    excess=st.sampled_from(["hold", "drop"]),
)
def test_no_window_passes_more_than_the_bucket_allows(
    count: int,
    per: float,
    burst: int | None,
    pauses: list[float],
    late: float,
    excess: Any,
) -> None:
    """In any window at most `burst` plus the rate times its length pass; "hold" loses none."""
    virtual = VirtualSession()
    clock: Any = virtual.clock
    clock.__class__, clock.late = LateClock, late
    out = virtual.watch(virtual.conn.incoming.pipe(rate_limit(count, per, burst, excess)))
    for number, pause in enumerate(pauses):
        virtual.clock.run(pause)
        virtual.peer.message(str(number))
    virtual.run(60 * (per / count + late) + 1)
    for first, start in enumerate(out.times):
        for last in range(first, len(out.times)):
            window = out.times[last] - start + late + 2e-6  # with the clock's rounding
            assert last - first + 1 <= (burst or count) + count * window / per
    sent = [str(number) for number in range(len(pauses))]
    if excess == "hold":
        assert out.values == sent
    assert out.values == [each for each in sent if each in out.values], "in order"
    dropped = len(sent) - len(out.values)
    assert virtual.dropped == ({"rate_limit": dropped} if dropped else {})
    arrivals = list(accumulate(pauses))
    assert all(
        time >= arrivals[int(value)] - 1e-3
        for value, time in zip(out.values, out.times, strict=True)
    )


# --- hold -------------------------------------------------------------------------------------


@pytest.mark.promise("memory-in")
def test_hold_pauses_the_connection() -> None:
    """While a message waits for a token, the connection is paused; TCP holds the peer back."""
    limited = Limited(1, 1.0, session={"high_water": 1000})
    limited.send("a")
    assert not limited.virtual.session.gate.held, "nothing waits"
    limited.send("b", "c")
    assert limited.virtual.session.gate.held
    limited.send("x" * 1000)
    assert not limited.virtual.transport.reading
    limited.virtual.run(3.0)
    assert limited.virtual.transport.reading
    assert limited.out.times == [0.0, 1.0, 2.0, 3.0]
    assert limited.virtual.dropped == {}
    assert not limited.virtual.session.gate.held


def test_a_thousand_messages_are_not_kept_by_the_operator() -> None:
    """Of any number of messages one waits in the operator; the connection keeps the others."""
    limited = Limited(1000, 1.0, burst=1, session={"high_water": 1 << 20})
    limited.send(*map(str, range(3000)))
    assert limited.virtual.conn.incoming.waiting == 2998  # type: ignore[attr-defined]
    limited.virtual.run(3.0)
    assert limited.out.values == [str(number) for number in range(3000)]


@pytest.mark.parametrize("code", [1000, 4001])
def test_the_peers_close_comes_after_the_messages_that_wait(code: int) -> None:
    """A close of the peer waits behind held messages, and then ends the stream."""
    limited = Limited(1, 1.0)
    limited.send(*"abc")
    limited.peer.close(code)
    limited.virtual.run(10.0)
    assert limited.timed == [("a", 0), ("b", 1), ("c", 2)]
    error = limited.out.error
    if code == 1000:
        assert error is None
    else:
        assert isinstance(error, ConnectionClosed)
        assert error.close.code == code


def test_an_idle_limit_does_not_delay_the_peers_close() -> None:
    """If no message waits, the connection ends at once, however few tokens there are."""
    limited = Limited(1, 100.0)
    limited.send("a")
    limited.peer.close(1000)
    assert limited.closed.times == [0.0]


def test_pings_are_answered_while_messages_wait() -> None:
    """A held connection answers pings."""
    limited = Limited(1, 100.0)
    limited.send("a", "b")
    limited.peer.ping(b"hi")
    limited.virtual.settle()
    [pong] = limited.virtual.frames(Opcode.PONG)
    assert pong.payload == b"hi"


@pytest.mark.parametrize("error", [None, ValueError("mine")])
def test_the_end_of_another_source_comes_after_the_values_that_wait(
    error: Exception | None,
) -> None:
    """A completion or an error of the source waits behind held values."""
    values = Values(1, 1.0)
    values.push(*"abc")
    if error is None:
        values.source.on_completed()
    else:
        values.source.on_error(error)
    assert values.out.ends == []
    values.clock.run(10.0)
    assert values.out.values == [*"abc"]
    assert values.out.ends == [error]
    assert values.out.ended_at == 2.0


def test_the_end_passes_at_once_if_nothing_waits() -> None:
    """Without a value that waits, the end of the source passes at once."""
    values = Values(1, 1.0)
    values.push("a")
    values.source.on_completed()
    assert values.out.ends == [None]
    assert values.clock.pending == 0


def test_a_source_that_cannot_be_paused_fails_with_a_backlog() -> None:
    """Above 1024 values that wait, without a connection, the stream fails and says what to do."""
    values = Values(1, 1.0)
    values.push(*range(1 + 1024))
    assert values.out.ends == []
    values.push(1025)
    assert isinstance(values.out.error, Backlog)
    assert (values.out.error.waiting, values.out.error.operator) == (1024, "rate_limit")
    assert str(values.out.error) == (
        "1024 values are waiting for rate_limit, whose source cannot be paused: "
        'pass flow=conn.flow, raise count, or pass excess="drop"'
    )
    assert values.clock.pending == 0


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_source_that_floods_within_subscribe_fails_once(end: str) -> None:
    """A source that floods within `subscribe`, and then ends, fails with one Backlog."""

    def flood(observer: Any, _: Any = None) -> Disposable:
        for number in range(2000):
            observer.on_next(number)
        if end == "completed":
            observer.on_completed()
        else:
            observer.on_error(ValueError("mine"))
        return Disposable()

    clock = Clock()
    limited = rx.create(flood).pipe(rate_limit(1, 1.0))
    out: Subscriber[Any] = Subscriber(limited, clock, scheduler=clock)
    assert isinstance(out.error, Backlog)
    assert clock.pending == 0


def test_values_that_wait_behind_a_late_timer_leave_together() -> None:
    """If the loop was busy, the values whose time has passed leave at once, up to the burst."""
    values = Values(1, 1.0, burst=2)
    values.push(*"abcdef")
    values.clock.sleep(10.0)
    values.clock.run(1.0)
    assert values.out.values == [*"abcdef"]
    assert values.out.times == [0.0, 0.0, 10.0, 10.0, 10.0, 11.0]


def test_flow_names_the_connection_behind_a_subject() -> None:
    """With `flow=`, the connection is paused although a Subject is in between."""
    virtual, subject = VirtualSession(), Subject[Any]()
    virtual.conn.incoming.subscribe(subject)
    limited = subject.pipe(rate_limit(1, 1.0, flow=virtual.conn.flow))
    out = virtual.watch(limited)
    virtual.peer.message(*"abc")
    assert virtual.session.gate.held
    virtual.run(5.0)
    assert out.times == [0.0, 1.0, 2.0]


def test_our_close_drops_and_counts_what_cannot_wait() -> None:
    """A connection that we close ignores pauses: of what it kept, 1024 wait, the rest counts."""
    limited = Limited(1, 1.0)
    limited.send(*map(str, range(3000)))
    limited.virtual.conn.outgoing.on_completed()
    limited.virtual.settle()
    assert limited.out.ends == []
    assert limited.virtual.dropped == {"closed": 3000 - 1 - 1024}
    limited.out.subscription.dispose()
    assert limited.virtual.dropped == {"closed": 3000 - 1 - 1024, "unobserved": 1024}


def test_disposing_counts_the_value_that_waits_and_resumes() -> None:
    """Disposing drops and counts the value that waits, stops the timer, and ends the pause."""
    limited = Limited(1, 1.0)
    limited.send(*"abc")
    limited.out.subscription.dispose()
    assert not limited.virtual.session.gate.held_by_user
    late = limited.virtual.watch(limited.virtual.conn.incoming)
    limited.virtual.run(5.0)
    assert limited.out.values == ["a"]
    assert late.values == ["c"]
    assert limited.virtual.dropped == {"unobserved": 1}


def test_disposing_within_on_next_emits_nothing_more() -> None:
    """A subscriber that unsubscribes in `on_next` gets nothing more, also of a late timer."""
    clock, got = Clock(), list[str]()
    source: Subject[str] = Subject()
    limited = source.pipe(rate_limit(1, 1.0), ops.take(2))
    limited.subscribe(got.append, scheduler=clock)
    for value in "abc":
        source.on_next(value)
    clock.sleep(5.0)
    clock.run(5.0)
    source.on_next("d")
    assert got == ["a", "b"]
    assert clock.pending == 0


def test_a_value_pushed_within_on_next_keeps_its_place() -> None:
    """A value that a subscriber pushes while values leave comes after those that wait."""
    clock, source, got = Clock(), Subject[str](), list[tuple[str, float]]()

    def push_upper(value: str) -> None:
        got.append((value, clock.time))
        if value in "bc":
            source.on_next(value.upper())

    source.pipe(rate_limit(1, 1.0)).subscribe(push_upper, scheduler=clock)
    for value in "abc":
        source.on_next(value)
    clock.run(10.0)
    assert got == [("a", 0), ("b", 1), ("c", 2), ("B", 3), ("C", 4)]


def test_a_subscriber_that_raises_is_a_fault_of_the_connection() -> None:
    """An exception of a subscriber goes to `errors`, also if its value has waited."""
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    error = ValueError("mine")

    def fail_at_b(value: str) -> None:
        if value == "b":
            raise error

    limited = virtual.conn.incoming.pipe(rate_limit(1, 1.0))
    limited.subscribe(fail_at_b, scheduler=virtual.conn.scheduler)
    virtual.peer.message(*"abc")
    virtual.run(10.0)
    assert errors.values == [error]
    assert not virtual.session.gate.held_by_user


def test_values_of_another_thread_move_to_the_scheduler() -> None:
    """Values that another thread emits pass on the subscriber's thread, in order."""
    values = Values(2, 1.0)
    thread = threading.Thread(target=values.push, args=(1, 2, 3))
    thread.start()
    thread.join()
    assert values.out.values == []
    values.clock.run(10.0)
    assert values.out.values == [1, 2, 3]
    assert values.out.threads == {threading.get_ident()}


# --- drop and Close ---------------------------------------------------------------------------


@pytest.mark.promise("rate")
def test_drop_drops_and_counts() -> None:
    """With "drop", a message without a token is dropped and counted; nothing is paused."""
    limited = Limited(1, 1.0, excess="drop")
    limited.send(*"abc")
    assert not limited.virtual.session.gate.held
    limited.virtual.run(1.0)
    limited.send("d")
    assert limited.timed == [("a", 0), ("d", 1)]
    assert limited.virtual.dropped == {"rate_limit": 2}


def test_dropped_messages_of_a_subject_count_for_its_connection() -> None:
    """Behind a `WebSocketSubject`, drops count in the statistics of its connection."""
    client = VirtualSubject()
    limited = client.feed.pipe(rate_limit(1, 1.0, excess="drop"))
    limited.subscribe(scheduler=client.clock)
    client.dials[0].peer.message("a", "b", "c")
    assert client.conn.flow.stats.dropped == {"rate_limit": 2}


@pytest.mark.parametrize("how", ["handler", "subscriber"])
def test_a_close_closes_with_its_code_and_reason(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a `Close`, the first message too many closes the connection, and nothing is logged."""
    polite = rate_limit(2, 1.0, excess=TOO_FAST)
    seen: list[Any] = []

    def handler(conn: rxws.Connection[Any, Any]) -> Any:
        limited = conn.incoming.pipe(polite, ops.do_action(seen.append))
        return limited if how == "handler" else limited.subscribe(scheduler=conn.scheduler)

    virtual = VirtualSession(handler, watch=True)
    virtual.peer.message(*"abcd")
    virtual.run(10.0)
    assert seen == ["a", "b"]
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4029, "too fast")
    assert virtual.closed.values == [TOO_FAST]
    assert virtual.closed.values[0].by == "local"
    assert virtual.dropped == {"rate_limit": 1}
    assert caplog.records == []


def test_a_close_fails_the_stream() -> None:
    """The stream that exceeded its limit fails with `ConnectionClosed`, as `incoming` does."""
    limited = Limited(1, 1.0, excess=Close(1008, by="peer"))
    limited.send("a", "b")
    error = limited.out.error
    assert isinstance(error, ConnectionClosed)
    assert (error.close.code, error.close.by) == (1008, "local")


def test_a_clean_close_completes_the_stream() -> None:
    """A `Close(1000)` completes the stream, as it does for `incoming`."""
    limited = Limited(1, 1.0, excess=Close())
    limited.send("a", "b")
    assert limited.out.ends == [None]
    assert limited.closed.values == [Close()]


def test_a_close_of_a_subject_closes_its_connection() -> None:
    """Behind a `WebSocketSubject`, the connection closes, and the policy decides what follows."""
    client = VirtualSubject()
    limited = client.feed.pipe(rate_limit(1, 1.0, excess=Close(1012)))
    out: Subscriber[Any] = Subscriber(limited, scheduler=client.clock)
    client.dials[0].peer.message("a", "b")
    assert close_code_of(client.dials[0]) == 1012
    client.dials[0].peer.close(1012)
    client.run(5.0)
    client.dials[1].peer.message("c")
    assert out.notifications == ["a", "c"]


def test_a_close_without_a_connection_fails_the_stream() -> None:
    """Without a connection, a `Close` fails the stream with `ConnectionClosed`."""
    values = Values(1, 1.0, excess=TOO_FAST)
    values.push("a", "b", "c")
    assert values.out.values == ["a"]
    assert isinstance(values.out.error, ConnectionClosed)
    assert values.out.error.close == TOO_FAST


# --- buckets ----------------------------------------------------------------------------------


@pytest.mark.promise("rate")
def test_each_connection_has_its_own_bucket() -> None:
    """Two connections that use one operator do not share a bucket."""
    polite = rate_limit(2, 1.0, excess="drop")
    virtuals = [VirtualSession(), VirtualSession()]
    outs = [virtual.watch(virtual.conn.incoming.pipe(polite)) for virtual in virtuals]
    for virtual in virtuals:
        virtual.peer.message(*"abc")
    assert [out.values for out in outs] == [["a", "b"], ["a", "b"]]
    assert [virtual.dropped for virtual in virtuals] == [{"rate_limit": 1}] * 2


async def test_merged_connections_share_a_bucket_and_are_both_paused() -> None:
    """Behind `merge`, one subscription has one bucket, and pauses all of its connections."""
    one, other = VirtualSession(), VirtualSession()
    merged = rx.merge(one.conn.incoming, other.conn.incoming).pipe(rate_limit(1, 1.0))
    subscription = merged.subscribe()
    await settle(one, other)
    one.peer.message("a", "b")
    assert one.session.gate.held
    assert other.session.gate.held
    subscription.dispose()
    assert not one.session.gate.held


def test_a_connection_behind_merge_is_found_in_virtual_time() -> None:
    """Behind `merge`, the connection is paused in virtual time, too."""
    virtual = VirtualSession()
    merged = rx.merge(virtual.conn.incoming, rx.never()).pipe(rate_limit(1, 1.0))
    subscription = merged.subscribe(scheduler=virtual.clock)
    virtual.clock.run(0)
    virtual.peer.message("a", "b")
    assert virtual.session.gate.held
    subscription.dispose()


def test_it_runs_in_simulate() -> None:
    """`simulate` shows the times."""
    sim = simulate(rxws.pipeline(rate_limit(1, per=0.3)), "-(a,b,c)----", step=0.1)
    assert sim.outgoing.times == [0.1, 0.4, 0.7]


def test_without_a_loop_and_a_scheduler_subscribing_raises() -> None:
    """`subscribe` raises a RuntimeError if it can find no event loop."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        rx.never().pipe(rate_limit(1, 1.0)).subscribe()


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"count": 0}, ValueError, "count=0: use 1 or more"),
        ({"count": 1.5}, TypeError, r"count=1\.5 is not a number of values: use an int"),
        ({"count": True}, TypeError, "count=True is not a number of values"),
        ({"per": 0}, ValueError, "per=0 is not a duration.*use a number above 0"),
        ({"per": float("inf")}, ValueError, "per=inf is not a duration"),
        ({"per": "1s"}, TypeError, "per='1s' is not a number of seconds"),
        ({"burst": 0}, ValueError, "burst=0: use 1 or more"),
        ({"burst": "2"}, TypeError, "burst='2' is not a number of values: use an int"),
        ({"excess": "close"}, ValueError, "excess='close' is unknown: use .* or a rxws.Close"),
        ({"excess": 1008}, ValueError, "excess=1008 is unknown"),
        ({"excess": Close(1006)}, ValueError, "close code 1006 must not be sent"),
    ],
)
def test_a_bad_argument_raises_at_once(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """A bad argument raises an error that names it, its value and what to use."""
    used: dict[str, Any] = {"count": 1, "per": 1.0, **arguments}
    with pytest.raises(error, match=says):
        rate_limit(**used)
