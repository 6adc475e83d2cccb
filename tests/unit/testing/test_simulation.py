"""`simulate`: a handler in virtual time."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import Any, cast

import pytest
import reactivex as rx
from msgspec import Struct
from reactivex import operators as ops
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler  # noqa: TID251
from yarl import URL

import rxws
from rxws import Close, Handshake, codecs
from rxws._core.frames import Opcode
from rxws.operators import map_async, on_loop
from rxws.testing import (
    Clock,
    NeedsEventLoop,
    NotVirtualTime,
    Simulation,
    Timeline,
    marbles,
    pair,
    simulate,
)
from support.callbacks import raising

AnyConnection = rxws.Connection[Any, Any]
ROOM_7 = "ws://localhost/?room=7"


def echo(conn: AnyConnection) -> rx.Observable[Any]:
    return conn.incoming


def shout(conn: AnyConnection) -> rx.Observable[Any]:
    return conn.incoming.pipe(ops.debounce(0.3), ops.map(str.upper))


fail = raising(KeyError, "mine")


def frames(sim: Simulation[Any, Any]) -> list[tuple[float, Opcode]]:
    return [(sent.at, sent.kind) for sent in sim.wire]


def test_a_debounced_echo() -> None:
    """A debounced message is sent at its time, and the peer's close ends the connection."""
    sim = simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing == marbles("-------C--|", step=0.1)
    assert sim.closed == Close(1000)
    assert sim.closed is not None
    assert sim.closed.by == "peer"
    assert sim.incoming == marbles("a-b-c-----|", step=0.1)
    assert (sim.failure, sim.open_subscriptions, sim.errors) == (None, 0, [])
    assert sim.stats.received_messages == 3
    assert sim.stats.sent_messages == 1
    assert repr(sim).startswith("<Simulation of 1.1 s: Close(code=1000")
    assert repr(simulate(echo, "a")).startswith("<Simulation of 1 s: open, outgoing=[0 s OnNext(a)")


@pytest.mark.parametrize(
    ("end", "code", "by", "incoming"),
    [
        ("|", 1000, "peer", "a-|"),
        ("{1001}", 1001, "peer", "a-|"),
        ("{4001 why}", 4001, "peer", "a-{4001 why}"),
        ("#", 1006, "network", "a-{1006}"),
        ("{1006}", 1002, "local", "a-{1002}"),
    ],
)
def test_the_peers_ends(end: str, code: int, by: str, incoming: str) -> None:
    """The peer may close, close with a code, be lost, or send an illegal code."""
    sim = simulate(echo, f"a-{end}")
    assert sim.closed
    assert (sim.closed.code, sim.closed.by) == (code, by)
    assert sim.incoming == marbles(incoming)
    assert sim.outgoing.values == ["a"]
    assert sim.failure is None
    assert sim.open_subscriptions == 0


def test_a_message_and_a_close_may_come_at_once() -> None:
    """A message at the time of a close is answered first."""
    sim = simulate(echo, "-(a,{4001})")
    assert sim.incoming == marbles("-(a,{4001})")
    assert sim.outgoing.values == ["a"]
    assert frames(sim) == [(1, Opcode.TEXT), (1, Opcode.CLOSE)]


def test_a_close_by_the_handler_ends_outgoing() -> None:
    """A `Close` by the handler ends `outgoing`, without a completion after it."""
    sim = simulate(lambda conn: conn.incoming.pipe(ops.map(lambda _: Close(4001, "no"))), "--a---")
    assert sim.outgoing == marbles("--{4001 no}")
    assert sim.closed == Close(4001, "no")
    assert sim.closed is not None
    assert sim.closed.by == "local"
    assert sim.incoming == marbles("--(a,|)")
    assert sim.wire[-1].code == 4001
    assert sim.wire[-1].reason == "no"
    assert repr(sim.wire[-1]) == "Sent(2 s, CLOSE 4001 'no')"


def test_a_completed_stream_closes_with_1000() -> None:
    """A completed stream closes with 1000, after its messages."""
    sim = simulate(lambda conn: rx.of("x", "y"), "---")
    assert sim.outgoing == marbles("(x,y,|)")
    assert sim.closed == Close(1000)
    assert repr(sim.wire[0]) == "Sent(0 s, TEXT 'x')"


def test_an_exception_of_the_handler_is_the_failure() -> None:
    """An exception of the handler or its pipeline is `failure` and closes with 1011."""
    sim = simulate(fail, "--")
    assert isinstance(sim.failure, KeyError)
    assert sim.closed == Close(1011, "Unexpected Error")
    assert sim.outgoing == marbles("#", error=KeyError("mine"))
    sim = simulate(lambda conn: conn.incoming.pipe(ops.map(fail)), "--a-")
    assert sim.outgoing == marbles("--#", error=KeyError("mine"))
    assert isinstance(sim.outgoing.failure, KeyError)
    with pytest.raises(TypeError, match="not callable"):
        simulate(3)  # type: ignore[call-overload] # on purpose


def test_an_unobserved_fault_is_the_failure() -> None:
    """An unobserved fault is `failure`, an observed one is not; both are in `errors`."""

    def handler(conn: AnyConnection) -> None:
        conn.incoming.subscribe(fail)

    sim = simulate(handler, "a-")
    assert isinstance(sim.failure, KeyError)
    assert sim.errors.values == [sim.failure]
    assert sim.closed == Close(1011, "Unexpected Error")

    def observing(conn: AnyConnection) -> None:
        conn.errors.subscribe(lambda _: None)
        conn.incoming.subscribe(fail)

    sim = simulate(observing, "a-b--")
    assert sim.failure is None
    assert [type(each) for each in sim.errors.values] == [KeyError] * 2
    assert sim.errors.times == [0, 2]
    assert sim.closed is None


def test_the_peers_close_is_no_failure() -> None:
    """The peer's close that passes through the pipeline is no failure."""
    sim = simulate(echo, "a-{4001}")
    assert sim.failure is None


def test_values_go_through_both_codecs() -> None:
    """The peer's values pass its codec; `outgoing` has the handler's values unencoded."""

    def number(value: Any) -> list[int]:
        return [value["n"]]

    sim = simulate(
        lambda conn: conn.incoming.pipe(ops.map(number)),
        "a-b|",
        codec=codecs.json,
        values={"a": {"n": 1}, "b": {"n": 2}},
    )
    assert sim.outgoing == marbles("x-y|", values={"x": [1], "y": [2]})
    assert sim.wire[0].message == "[1]"

    class Question(Struct):
        text: str

    def double(question: Question) -> Question:
        return Question(question.text * 2)

    typed = codecs.typed(Question)
    sim = simulate(
        lambda conn: conn.incoming.pipe(ops.map(double)),
        "a|",
        codec=typed,
        peer_codec=codecs.json,
        values={"a": {"text": "ho"}},
    )
    assert sim.outgoing.values == [Question("hoho")]
    assert sim.incoming.values == [Question("ho")]


def test_a_name_without_a_value_is_sent_unencoded() -> None:
    """A name without a value is sent unencoded, so a test can send an invalid frame."""
    sim = simulate(echo, "a-12-|", codec=codecs.json, values={"a": 1})
    assert sim.incoming.values == [1, 12]

    def observing(conn: AnyConnection) -> rx.Observable[Any]:
        conn.errors.subscribe(lambda _: None)
        return conn.incoming

    sim = simulate(observing, "a-oops-|", codec=codecs.json, values={"a": 1})
    [error] = sim.errors.values
    assert isinstance(error, rxws.DecodeError)
    assert error.raw == "oops"
    assert sim.errors.times == [2]
    assert sim.outgoing.values == [1]
    assert sim.closed == Close(1000)


def test_a_value_that_the_peer_cannot_send_is_refused() -> None:
    """A value that the peer's codec cannot encode raises a ValueError with a hint."""
    with pytest.raises(ValueError, match=r"the peer's codec cannot encode .* peer_codec"):
        simulate(echo, "a", values={"a": {1, 2}})


def test_a_minute_takes_milliseconds() -> None:
    """A timeout after a minute of virtual time is exact and takes no real time."""
    began = time.perf_counter()
    sim = simulate(lambda conn: conn.incoming.pipe(ops.timeout(60.0)), "a", until=70)
    assert time.perf_counter() - began < 5  # seconds, to be safe on a busy machine
    assert sim.outgoing == marbles("a" + "-" * 59 + "#")
    assert sim.time == 70
    assert frames(sim) == [
        (0, Opcode.TEXT),
        (20, Opcode.PING),
        (40, Opcode.PING),
        (60, Opcode.CLOSE),
    ]


def test_the_peer_answers_heartbeats_unless_it_is_stuck() -> None:
    """The peer answers heartbeats unless it has stopped reading."""
    assert simulate(echo, "", until=3600).closed is None
    sim = simulate(echo, "-a-<", until=120, heartbeat=10)
    assert sim.closed
    assert (sim.closed.code, sim.closed.by) == (1006, "network")


def test_until_sets_the_time_of_the_end() -> None:
    """`until` ends the simulation before or after the marbles end."""
    assert simulate(echo, "a-b-c|", until=3).incoming.values == ["a", "b"]
    sim = simulate(shout, "a", until=0.2)
    assert (sim.outgoing.values, sim.time) == ([], 0.2)
    assert simulate(shout, "a", until=0.3).outgoing.values == ["A"]
    assert simulate(shout, "a|", step=0.5).time == 1


def test_a_peer_that_stops_reading_gets_messages_later() -> None:
    """Messages are buffered while the peer does not read, and sent when it does."""
    sim = simulate(echo, "<-a-b-c->-|")
    assert sim.outgoing == marbles("--a-b-c---|")
    assert frames(sim) == [(at, Opcode.TEXT) for at in (2, 8, 8)] + [(10, Opcode.CLOSE)]
    assert sim.stats.dropped == {}


def test_a_peer_that_stays_behind_overflows() -> None:
    """A peer that stays behind overflows the buffer, by the policy."""
    sim = simulate(lambda conn: rx.interval(0.5).pipe(ops.map(str)), "<", until=5, max_buffer=256)
    assert sim.closed == Close(1013, "Try Again Later")
    error: Any = sim.incoming.end
    assert isinstance(error.exception, rxws.BufferOverflow)
    sim = simulate(echo, "<-a-b-c-d->", max_buffer=256, overflow="drop_newest")
    assert sim.closed is None
    assert sim.stats.dropped == {"overflow": 2}
    assert [sent.message for sent in sim.wire] == ["a", "b"]


def test_a_peer_that_stays_stuck_is_aborted() -> None:
    """A peer that reads nothing is aborted after `send_timeout`."""
    sim = simulate(echo, "<-a-b", until=30, send_timeout=7.0, heartbeat=None)
    assert sim.closed
    assert sim.closed.code == 1006
    assert sim.incoming == marbles("--a-b----{1006}")
    error: Any = sim.incoming.end
    assert isinstance(error.exception, rxws.SendTimeout)


@pytest.mark.parametrize(
    "handshake",
    [ROOM_7, URL(ROOM_7), Handshake(URL(ROOM_7), {})],
    ids=["str", "URL", "Handshake"],
)
async def test_the_handshake_may_be_given(handshake: Any) -> None:
    """The handler gets the URL or the `handshake` that the test passes."""
    found: list[Any] = []

    def handler(conn: rxws.Connection[Any, Any]) -> None:
        found.append(conn.handshake.url.query["room"])

    simulate(handler, handshake=handshake)
    async with pair(handler, handshake=handshake):
        assert found == ["7", "7"]


@pytest.mark.parametrize("handshake", [7, Handshake(cast(Any, ROOM_7), {})])
async def test_a_handshake_without_a_url_is_refused(handshake: Any) -> None:
    """A handshake of another type, or with a text as its URL, raises a TypeError."""
    for run in (simulate, pair):
        with pytest.raises(TypeError, match=r"^handshake=.* pass one, such as 'ws://"):
            run(echo, handshake=handshake)


@pytest.mark.parametrize(
    "compose",
    [
        lambda room: room,
        lambda room: rx.merge(room, rx.never()),
        lambda room: room.pipe(ops.start_with("hello"), ops.skip(1), on_loop()),
    ],
    ids=["room", "merge", "start_with"],
)
def test_the_first_message_arrives_after_the_handler_has_subscribed(compose: Any) -> None:
    """A message at 0 s arrives after `merge` and `start_with` have subscribed."""
    room: rx.Subject[Any] = rx.Subject()

    def chat(conn: AnyConnection) -> rx.Observable[Any]:
        conn.incoming.subscribe(room.on_next)
        return compose(room)  # type: ignore[no-any-return]

    assert simulate(chat, "a-b").outgoing == marbles("a-b")


def test_options_are_those_of_a_connection() -> None:
    """The options are those of a connection, and are checked."""
    with pytest.raises(ValueError, match="max_message_size"):
        simulate(echo, "", max_message_size=0)
    sim = simulate(echo, "a-{4001}", completes=lambda close: True)
    assert sim.incoming == marbles("a-|")
    with pytest.raises(ValueError, match="unexpected"):
        simulate(echo, "a,b")


# --- open subscriptions ---------------------------------------------------------------------------


def test_open_subscriptions_counts_the_handlers_leaks() -> None:
    """`open_subscriptions` counts subscriptions while open, and timers after the end."""

    def interval(conn: AnyConnection) -> None:
        rx.interval(1.0).subscribe(lambda _: None, scheduler=conn.scheduler)

    assert simulate(interval, "--|").open_subscriptions == 1
    assert simulate(interval, "---").open_subscriptions == 0

    def subscribed(conn: AnyConnection) -> None:
        conn.incoming.subscribe(lambda _: None)
        conn.errors.subscribe(lambda _: None)

    assert simulate(subscribed, "---").open_subscriptions == 2
    assert simulate(subscribed, "---|").open_subscriptions == 0

    def disposed(conn: AnyConnection) -> Any:
        return rx.interval(1.0).subscribe(lambda _: None, scheduler=conn.scheduler)

    assert simulate(disposed, "---|").open_subscriptions == 0


def test_timers_of_the_peer_and_the_session_are_no_leaks() -> None:
    """Timers of the script and of the session do not count as open."""
    sim = simulate(lambda conn: rx.of("x"), "---a---b|", until=1)
    assert (sim.closed, sim.open_subscriptions) == (Close(1000), 0)
    sim = simulate(echo, "<-a-b-c-d", max_buffer=256)
    assert sim.closed
    assert sim.closed.code == 1013
    assert sim.open_subscriptions == 0


def test_the_connection_is_garbage_after_the_simulation() -> None:
    """After a simulation its connection can be garbage-collected."""
    alive: list[weakref.ref[Any]] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        alive.append(weakref.ref(conn.incoming))
        return conn.incoming.pipe(ops.debounce(1.0))

    sims = [simulate(handler, text) for text in ("a-b|", "a-b", "a#", "<-a-b")]
    gc.collect()
    assert [ref() for ref in alive] == [None] * 4
    assert len(sims) == 4


# --- coroutines -----------------------------------------------------------------------------------


def test_a_coroutine_that_never_waits_is_a_handler() -> None:
    """A coroutine that never waits may be the handler."""

    async def handler(conn: AnyConnection) -> rx.Observable[Any]:
        return conn.incoming.pipe(ops.map(str.upper))

    assert simulate(handler, "-a|").outgoing == marbles("-A|")


async def await_sleep(conn: AnyConnection) -> None:
    await asyncio.sleep(1)


async def await_sleep_zero(conn: AnyConnection) -> None:
    await asyncio.sleep(0)


async def await_iterate(conn: AnyConnection) -> None:
    async for message in conn.incoming:
        conn.outgoing.on_next(message)


async def await_first(conn: AnyConnection) -> None:
    conn.outgoing.on_next(await conn.incoming.pipe(ops.first()))


def use_map_async(conn: AnyConnection) -> rx.Observable[Any]:
    async def answer(value: str) -> str:
        return value

    return conn.incoming.pipe(map_async(answer))


def create_task_on_message(conn: AnyConnection) -> None:
    tasks: list[asyncio.Task[None]] = []
    conn.incoming.subscribe(lambda _: tasks.append(asyncio.create_task(await_first(conn))))


def create_task_with_observed_errors(conn: AnyConnection) -> None:
    conn.errors.subscribe(lambda _: None)
    create_task_on_message(conn)


@pytest.mark.parametrize(
    "handler",
    [
        await_sleep,
        await_sleep_zero,
        await_iterate,
        await_first,
        use_map_async,
        create_task_on_message,
        create_task_with_observed_errors,
    ],
)
@pytest.mark.parametrize("in_a_loop", [False, True])
def test_a_handler_that_needs_an_event_loop_is_refused(handler: Any, in_a_loop: bool) -> None:
    """A handler that needs an event loop is refused, also within a running loop."""

    async def within() -> None:
        simulate(handler, "a--|")

    def run() -> None:
        if in_a_loop:
            asyncio.run(within())
        else:
            simulate(handler, "a--|")

    with pytest.raises(NeedsEventLoop, match=r"rxws\.testing\.pair or on a server"):
        run()


timeout_scheduler = TimeoutScheduler.singleton()


class OwnScheduler(NewThreadScheduler):
    """A scheduler of the user."""

    def schedule(self, action: Any, state: Any = None) -> Any:
        return super().schedule(action, state)


def asyncio_scheduler() -> AsyncIOScheduler:
    loop = asyncio.new_event_loop()
    loop.close()
    return AsyncIOScheduler(loop)


@pytest.mark.promise("real-time")
@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        (timeout_scheduler, "TimeoutScheduler"),
        (NewThreadScheduler(), "NewThreadScheduler"),
        (ThreadPoolScheduler(1), "ThreadPoolScheduler"),
        (EventLoopScheduler(), "EventLoopScheduler"),
        (OwnScheduler(), "OwnScheduler"),
        (asyncio_scheduler(), "AsyncIOScheduler"),
    ],
)
@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (lambda on: ops.debounce(0.1, on), "debounce"),
        (lambda on: ops.delay(0.1, on), "delay"),
        (lambda on: ops.timeout(10.0, None, on), "timeout"),
        (lambda on: ops.observe_on(on), "observe_on"),
        (lambda on: ops.subscribe_on(on), "subscribe_on"),
        (lambda on: ops.sample(1.0, on), r"timer \(or interval, sample\)"),
        (
            lambda on: ops.buffer_with_time(1.0, None, on),
            r"window_with_time \(or buffer_with_time\)",
        ),
        (lambda on: ops.throttle_first(1.0, on), "throttle_first"),  # only reads the time
        (lambda on: ops.timestamp(on), "timestamp"),
        (lambda on: lambda _: rx.interval(1.0, scheduler=on), r"timer \(or interval"),
    ],
)
def test_an_operator_in_real_time_is_named(
    scheduler: Any, name: str, operator: Any, said: str
) -> None:
    """`simulate` refuses an operator with its own scheduler, and names it; no thread starts."""
    threads = threading.active_count()

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        return conn.incoming.pipe(operator(scheduler), ops.map(str))

    with pytest.raises(
        NotVirtualTime, match=f"^{said}.* runs on its own {name}, whose time is not virtual: pass"
    ):
        simulate(handler, "a-b-c|")
    assert threading.active_count() == threads


def subscribe_without_a_scheduler(conn: AnyConnection) -> None:
    rx.merge(conn.incoming).pipe(ops.debounce(0.1)).subscribe(conn.outgoing)


def swallow_the_error(conn: AnyConnection) -> Any:
    slow = conn.incoming.pipe(ops.debounce(0.1, timeout_scheduler))
    return slow.pipe(ops.catch(rx.of("instead")))


def block(conn: AnyConnection) -> Any:
    return rx.timer(5.0, scheduler=CurrentThreadScheduler()).pipe(ops.map(str))


def run_within(conn: AnyConnection) -> Any:
    return rx.of(rx.of("a").run())


def use_it_directly(conn: AnyConnection) -> None:
    timeout_scheduler.schedule_relative(1.0, lambda *_: None)


def start_a_function(conn: AnyConnection) -> Any:
    return rx.start(lambda: "a")


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (subscribe_without_a_scheduler, "debounce runs on its own TimeoutScheduler"),
        (swallow_the_error, "debounce runs on its own TimeoutScheduler"),
        (block, r"timer \(or interval, sample\) runs on its own CurrentThreadScheduler"),
        (run_within, "from_iterable runs on its own NewThreadScheduler"),
        (use_it_directly, "a handler uses TimeoutScheduler"),
        (start_a_function, r"to_async \(or start\) runs on its own TimeoutScheduler"),
    ],
)
def test_other_ways_to_real_time_are_refused(handler: Any, said: str) -> None:
    """Real time is refused where a scheduler was forgotten, or blocks, or is used directly."""
    with pytest.raises(NotVirtualTime, match=f"^{said}"):
        simulate(handler, "a-b-c|")


def test_virtual_schedulers_are_not_refused() -> None:
    """Operators that need no time, and schedulers in virtual time, are not refused."""
    own = Clock()

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        timeout_scheduler.now  # noqa: B018 # reading the time oneself is no operator
        return rx.concat(
            rx.return_value("a", ImmediateScheduler()),
            rx.return_value("b", CurrentThreadScheduler()),
            conn.incoming.pipe(ops.start_with("c"), ops.debounce(0.1), ops.delay(1.0, own)),
        )

    sim = simulate(handler, "d-e-")
    assert sim.outgoing.values == ["a", "b"]
    assert own.pending


async def test_real_time_elsewhere_is_not_affected() -> None:
    """Other threads keep real time during a simulation, and this one gets it back after it."""
    done: list[float] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        def run() -> None:
            done.append(rx.timer(0.001, scheduler=TimeoutScheduler()).run())
            simulate(shout, "a")
            with pytest.raises(NotVirtualTime):
                simulate(subscribe_without_a_scheduler, "a")
            done.append(rx.timer(0.001, scheduler=TimeoutScheduler()).run())

        other = threading.Thread(target=run)
        other.start()
        other.join()
        with pytest.raises(NotVirtualTime):
            simulate(subscribe_without_a_scheduler, "a")
        return conn.incoming.pipe(ops.debounce(0.3, timeout_scheduler))

    methods = {kind: dict(vars(kind)) for kind in (TimeoutScheduler, NewThreadScheduler)}
    with pytest.raises(NotVirtualTime, match="debounce"):
        simulate(handler, "a")
    assert done == [0, 0]
    assert await asyncio.to_thread(rx.timer(0.001).run) == 0
    assert {kind: dict(vars(kind)) for kind in methods} == methods


async def test_simulate_within_a_coroutine() -> None:
    """`simulate` can be called within a coroutine, and leaves its loop as it was."""
    assert simulate(shout, "a-b-c-----|", step=0.1).outgoing.values == ["C"]
    assert asyncio.get_running_loop().is_running()


# --- recordings -----------------------------------------------------------------------------------


def test_taps_record_in_virtual_time() -> None:
    """A tap in the handler's pipeline records in virtual time."""
    recording = rxws.Recording()

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        return conn.incoming.pipe(ops.debounce(0.3), recording.tap("rare"), ops.map(str.upper))

    sim = simulate(handler, "--a-b-c-----|", step=0.1)
    assert Timeline.of(recording.lanes["rare"]) == marbles("---------c--|", step=0.1)
    assert sim.outgoing.values == ["C"]


@pytest.mark.parametrize("text", ["a-bc--d|", "a-{4001 why}", "a-b#", "a-b-"])
def test_a_recording_is_replayed_as_the_peer(text: str) -> None:
    """A recording is replayed as the peer: same messages, times and end."""
    recordings: list[rxws.Recording] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        recordings.append(rxws.Recording.of(conn))
        return conn.incoming

    first = simulate(handler, text, step=0.25)
    again = simulate(echo, recordings[0], until=first.time)
    assert again.incoming == first.incoming
    assert again.outgoing == first.outgoing
    assert again.closed == first.closed
    assert (again.closed and again.closed.by) == (first.closed and first.closed.by)


def test_a_recording_that_we_closed_replays_only_messages() -> None:
    """A recording whose end was ours replays only the messages."""
    recordings: list[rxws.Recording] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        recordings.append(rxws.Recording.of(conn))
        return conn.incoming.pipe(ops.take(2))

    assert simulate(handler, "a-b-c").closed == Close(1000)
    sim = simulate(echo, recordings[0])
    assert (sim.incoming.values, sim.closed) == (["a", "b"], None)


def test_a_recording_without_incoming_is_refused() -> None:
    """A recording without a lane `incoming` raises a ValueError."""
    with pytest.raises(ValueError, match="has no lane 'incoming'"):
        simulate(echo, rxws.Recording())
    empty = rxws.Recording()
    empty.lane("incoming")
    assert simulate(echo, empty).time == 0
