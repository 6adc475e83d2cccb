"""A handler in virtual time: what a simulation plays, and what it notes."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest
import reactivex as rx
from msgspec import Struct
from reactivex import operators as ops
from yarl import URL

import rxws
from rxws import Close, Handshake, codecs
from rxws._core.frames import Opcode
from rxws.operators import map_async
from rxws.testing import NeedsEventLoop, Simulation, Timeline, marbles, simulate
from support.callbacks import raising

AnyConnection = rxws.Connection[Any, Any]


def echo(conn: AnyConnection) -> rx.Observable[Any]:
    return conn.incoming


def shout(conn: AnyConnection) -> rx.Observable[Any]:
    return conn.incoming.pipe(ops.debounce(0.3), ops.map(str.upper))


fail = raising(KeyError, "mine")


def frames(sim: Simulation[Any, Any]) -> list[tuple[float, Opcode]]:
    return [(sent.at, sent.kind) for sent in sim.wire]


def test_the_design_s_example() -> None:
    """A debounce is seen at its time, and the peer's close as the peer's."""
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
def test_the_peer_ends_as_the_close_table_has_it(
    end: str, code: int, by: str, incoming: str
) -> None:
    """A clean close, one with a code, a lost connection, and a code that may not be sent."""
    sim = simulate(echo, f"a-{end}")
    assert sim.closed
    assert (sim.closed.code, sim.closed.by) == (code, by)
    assert sim.incoming == marbles(incoming)
    assert sim.outgoing.values == ["a"]
    assert sim.failure is None
    assert sim.open_subscriptions == 0


def test_a_message_and_a_close_may_come_at_once() -> None:
    """The message is answered before the close."""
    sim = simulate(echo, "-(a,{4001})")
    assert sim.incoming == marbles("-(a,{4001})")
    assert sim.outgoing.values == ["a"]
    assert frames(sim) == [(1, Opcode.TEXT), (1, Opcode.CLOSE)]


def test_a_close_that_is_pushed_is_the_end_of_outgoing() -> None:
    """`outgoing` shows it, and no completion behind it."""
    sim = simulate(lambda conn: conn.incoming.pipe(ops.map(lambda _: Close(4001, "no"))), "--a---")
    assert sim.outgoing == marbles("--{4001 no}")
    assert sim.closed == Close(4001, "no")
    assert sim.closed is not None
    assert sim.closed.by == "local"
    assert sim.incoming == marbles("--(a,|)")
    assert sim.wire[-1].code == 4001
    assert sim.wire[-1].reason == "no"
    assert repr(sim.wire[-1]) == "Sent(2 s, CLOSE 4001 'no')"


def test_a_stream_that_ends_closes() -> None:
    """With 1000, after what it sent."""
    sim = simulate(lambda conn: rx.of("x", "y"), "---")
    assert sim.outgoing == marbles("(x,y,|)")
    assert sim.closed == Close(1000)
    assert repr(sim.wire[0]) == "Sent(0 s, TEXT 'x')"


def test_what_the_handler_raises_is_told() -> None:
    """At once, or in its pipeline; the connection is closed with 1011."""
    sim = simulate(fail, "--")
    assert isinstance(sim.failure, KeyError)
    assert sim.closed == Close(1011, "Unexpected Error")
    assert sim.outgoing == marbles("#", error=KeyError("mine"))
    sim = simulate(lambda conn: conn.incoming.pipe(ops.map(fail)), "--a-")
    assert sim.outgoing == marbles("--#", error=KeyError("mine"))
    assert isinstance(sim.outgoing.failure, KeyError)
    with pytest.raises(TypeError, match="not callable"):
        simulate(3)  # type: ignore[call-overload] # that is the point


def test_a_fault_that_nobody_observes_is_a_failure_too() -> None:
    """One that somebody observes is not; both are noted."""

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


def test_a_failure_is_not_what_ended_the_connection_otherwise() -> None:
    """The peer's 4001, come through the pipeline, is no failure of the handler's."""
    sim = simulate(echo, "a-{4001}")
    assert sim.failure is None


def test_values_go_through_both_codecs() -> None:
    """What the peer sends is encoded by its own, and what the handler sends is noted as a value."""

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


def test_a_name_without_a_value_is_a_message_as_it_stands() -> None:
    """So what cannot be decoded is written by hand: it is a fault."""
    sim = simulate(echo, "a-12-|", codec=codecs.json, values={"a": 1})
    assert sim.incoming.values == [1, 12]

    def brave(conn: AnyConnection) -> rx.Observable[Any]:
        conn.errors.subscribe(lambda _: None)
        return conn.incoming

    sim = simulate(brave, "a-oops-|", codec=codecs.json, values={"a": 1})
    [error] = sim.errors.values
    assert isinstance(error, rxws.DecodeError)
    assert error.raw == "oops"
    assert sim.errors.times == [2]
    assert sim.outgoing.values == [1]
    assert sim.closed == Close(1000)


def test_a_value_that_the_peer_cannot_send_is_refused() -> None:
    """With what to give instead."""
    with pytest.raises(ValueError, match=r"the peer's codec cannot encode .* peer_codec"):
        simulate(echo, "a", values={"a": {1, 2}})


def test_a_minute_takes_milliseconds() -> None:
    """The time-out strikes at its time, though heartbeats go on meanwhile."""
    began = time.perf_counter()
    sim = simulate(lambda conn: conn.incoming.pipe(ops.timeout(60.0)), "a", until=70)
    assert time.perf_counter() - began < 5  # a promise is milliseconds; this is no minute
    assert sim.outgoing == marbles("a" + "-" * 59 + "#")
    assert sim.time == 70
    assert frames(sim) == [
        (0, Opcode.TEXT),
        (20, Opcode.PING),
        (40, Opcode.PING),
        (60, Opcode.PING),
        (60, Opcode.CLOSE),
    ]


def test_the_peer_answers_heartbeats_unless_it_is_stuck() -> None:
    """An hour of silence is no end; one that takes nothing more is, when its time is over."""
    assert simulate(echo, "", until=3600).closed is None
    sim = simulate(echo, "-a-<", until=120, heartbeat=10)
    assert sim.closed
    assert (sim.closed.code, sim.closed.by) == (1006, "network")


def test_until_cuts_off_or_waits() -> None:
    """Without it the time is that of the marbles."""
    assert simulate(echo, "a-b-c|", until=3).incoming.values == ["a", "b"]
    sim = simulate(shout, "a", until=0.2)
    assert (sim.outgoing.values, sim.time) == ([], 0.2)
    assert simulate(shout, "a", until=0.3).outgoing.values == ["A"]
    assert simulate(shout, "a|", step=0.5).time == 1


def test_a_peer_that_stops_taking_is_waited_for() -> None:
    """What is written next fills the wire, the rest waits, and all leaves when it goes on."""
    sim = simulate(echo, "<-a-b-c->-|")
    assert sim.outgoing == marbles("--a-b-c---|")
    assert frames(sim) == [(at, Opcode.TEXT) for at in (2, 8, 8)] + [(10, Opcode.CLOSE)]
    assert sim.stats.dropped == {}


def test_a_peer_that_stays_behind_overflows() -> None:
    """With 1013, which it takes when it goes on."""
    sim = simulate(lambda conn: rx.interval(0.5).pipe(ops.map(str)), "<", until=5, max_buffer=256)
    assert sim.closed == Close(1013, "Try Again Later")
    error: Any = sim.incoming.end
    assert isinstance(error.exception, rxws.BufferOverflow)
    sim = simulate(echo, "<-a-b-c-d->", max_buffer=256, overflow="drop_newest")
    assert sim.closed is None
    assert sim.stats.dropped == {"overflow": 2}
    assert [sent.message for sent in sim.wire] == ["a", "b"]


def test_a_peer_that_stays_stuck_is_given_up() -> None:
    """After `send_timeout`; its bytes are thrown away."""
    sim = simulate(echo, "<-a-b", until=30, send_timeout=7.0, heartbeat=None)
    assert sim.closed
    assert sim.closed.code == 1006
    assert sim.incoming == marbles("--a-b----{1006}")
    error: Any = sim.incoming.end
    assert isinstance(error.exception, rxws.SendTimeout)


def test_the_handshake_may_be_given() -> None:
    """A handler that looks at the query finds what the test says."""
    found: list[Any] = []
    simulate(
        lambda conn: found.append(conn.handshake.url.query["room"]),
        "",
        handshake=Handshake(URL("ws://localhost/?room=7"), {}),
    )
    assert found == ["7"]


def test_options_are_those_of_a_connection() -> None:
    """And checked as they are there."""
    with pytest.raises(ValueError, match="max_message_size"):
        simulate(echo, "", max_message_size=0)
    sim = simulate(echo, "a-{4001}", completes=lambda close: True)
    assert sim.incoming == marbles("a-|")
    with pytest.raises(ValueError, match="unexpected"):
        simulate(echo, "a,b")


# --- what is left open ----------------------------------------------------------------------------


def test_subscriptions_and_timers_that_are_left_are_counted() -> None:
    """Of the handler's: those to the streams while it is open, those to time after the end."""

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


def test_what_the_peer_and_the_session_have_yet_to_do_is_no_leak() -> None:
    """The script that goes on behind `until`, and the deadline of a close that is not answered."""
    sim = simulate(lambda conn: rx.of("x"), "---a---b|", until=1)
    assert (sim.closed, sim.open_subscriptions) == (Close(1000), 0)
    sim = simulate(echo, "<-a-b-c-d", max_buffer=256)
    assert sim.closed
    assert sim.closed.code == 1013
    assert sim.open_subscriptions == 0


def test_nothing_is_left_of_the_connection() -> None:
    """When a simulation is over, its connection is garbage, whatever the handler did."""
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
    """Its result is treated as any."""

    async def handler(conn: AnyConnection) -> rx.Observable[Any]:
        return conn.incoming.pipe(ops.map(str.upper))

    assert simulate(handler, "-a|").outgoing == marbles("-A|")


async def sleeps(conn: AnyConnection) -> None:
    await asyncio.sleep(1)


async def yields(conn: AnyConnection) -> None:
    await asyncio.sleep(0)


async def iterates(conn: AnyConnection) -> None:
    async for message in rxws.iterate(conn.incoming):
        conn.outgoing.on_next(message)


async def awaits(conn: AnyConnection) -> None:
    conn.outgoing.on_next(await conn.incoming.pipe(ops.first()))


def maps(conn: AnyConnection) -> rx.Observable[Any]:
    async def answer(value: str) -> str:
        return value

    return conn.incoming.pipe(map_async(answer))


def spawns(conn: AnyConnection) -> None:
    tasks: list[asyncio.Task[None]] = []
    conn.incoming.subscribe(lambda _: tasks.append(asyncio.create_task(awaits(conn))))


def spawns_unseen(conn: AnyConnection) -> None:
    conn.errors.subscribe(lambda _: None)
    spawns(conn)


@pytest.mark.parametrize("handler", [sleeps, yields, iterates, awaits, maps, spawns, spawns_unseen])
@pytest.mark.parametrize("in_a_loop", [False, True])
def test_what_needs_an_event_loop_is_refused(handler: Any, in_a_loop: bool) -> None:
    """Also in a test that is a coroutine: its loop would not get on with virtual time."""

    async def within() -> None:
        simulate(handler, "a--|")

    def run() -> None:
        if in_a_loop:
            asyncio.run(within())
        else:
            simulate(handler, "a--|")

    with pytest.raises(NeedsEventLoop, match=r"rxws\.testing\.pair or on a server"):
        run()


async def test_it_runs_within_a_coroutine() -> None:
    """Which has its loop again behind it."""
    assert simulate(shout, "a-b-c-----|", step=0.1).outgoing.values == ["C"]
    assert asyncio.get_running_loop().is_running()


# --- recordings -----------------------------------------------------------------------------------


def test_the_steps_of_a_chain_are_seen_by_taps() -> None:
    """In the same virtual time, from the beginning of the connection."""
    recording = rxws.Recording()

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        return conn.incoming.pipe(ops.debounce(0.3), recording.tap("rare"), ops.map(str.upper))

    sim = simulate(handler, "--a-b-c-----|", step=0.1)
    assert Timeline.of(recording.lanes["rare"]) == marbles("---------c--|", step=0.1)
    assert sim.outgoing.values == ["C"]


@pytest.mark.parametrize("text", ["a-bc--d|", "a-{4001 why}", "a-b#", "a-b-"])
def test_a_recording_plays_its_peer_again(text: str) -> None:
    """With the same messages at the same times, and the same end."""
    kept: list[rxws.Recording] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        kept.append(rxws.Recording.of(conn))
        return conn.incoming

    first = simulate(handler, text, step=0.25)
    again = simulate(echo, kept[0], until=first.time)
    assert again.incoming == first.incoming
    assert again.outgoing == first.outgoing
    assert again.closed == first.closed
    assert (again.closed and again.closed.by) == (first.closed and first.closed.by)


def test_a_recording_of_an_end_of_ours_plays_messages_only() -> None:
    """The handler under test decides how it ends."""
    kept: list[rxws.Recording] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        kept.append(rxws.Recording.of(conn))
        return conn.incoming.pipe(ops.take(2))

    assert simulate(handler, "a-b-c").closed == Close(1000)
    sim = simulate(echo, kept[0])
    assert (sim.incoming.values, sim.closed) == (["a", "b"], None)


def test_a_recording_that_is_no_connection_s_is_refused() -> None:
    """It has no lane `incoming`."""
    with pytest.raises(ValueError, match="has no lane 'incoming'"):
        simulate(echo, rxws.Recording())
    empty = rxws.Recording()
    empty.lane("incoming")
    assert simulate(echo, empty).time == 0
