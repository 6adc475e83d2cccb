"""A state machine for hypothesis: a session, its events in any order, and its invariants."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable
from typing import Any, cast

import reactivex as rx
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from reactivex import operators as ops

import rxws
from rxws._core.frames import Opcode
from rxws._session.handler import run_handler
from rxws._session.options import Options
from rxws._session.session import Session
from rxws.testing import Clock, Sent
from rxws.testing.fake_transport import FakeTransport
from rxws.testing.peer import Peer
from support.model.close_table import Completes, Phase
from support.model.ledger import (
    REFUSED,
    Ledger,
    LedgerOptions,
    LedgerReceiver,
    LedgerTransport,
    ledger_codec,
)
from support.subscriber import Subscriber
from support.virtual.session import HANDSHAKE

LEGAL = [None, 1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4001, 4999]
ILLEGAL = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]
SENDABLE = [1000, 1001, 1003, 1013, 3000, 4002, 4999]
UNSENDABLE = [1004, 1005, 1006, 1015, 1016, 2999]
COMPLETES: list[Completes] = [
    lambda code: code in (1000, 1001, 1005),
    lambda code: code != 1006,
    lambda code: code == 1000,
    lambda code: False,
]
POLICIES: list[Any] = [
    "close",
    "drop_oldest",
    "drop_newest",
    rxws.overflow.latest(),
    rxws.overflow.latest(len),
]
# The action that a message triggers in its subscriber; most trigger none.
KINDS = ["plain"] * 4 + [
    "undecodable",
    "undecodable kind",
    "raise",
    "reply",
    "hold",
    "close",
    "leave",
    "fail",
    "give up",
]
ENDING = {"undecodable", "undecodable kind", "raise", "close", "fail", "give up"}


class Boom(Exception):
    """Raised by subscribers and pipelines."""


class MessageSubscriber(Subscriber[str]):
    """A subscriber of `incoming` that does what each message asks for."""

    def __init__(self, machine: SessionMachine) -> None:
        self.machine = machine
        self.first = len(machine.ledger.delivered)
        self.last: int | None = None
        conn = machine.conn
        super().__init__(conn.incoming, machine.clock, scheduler=conn.scheduler)

    @property
    def due(self) -> list[str]:
        """The messages that it must have received."""
        return self.machine.ledger.delivered[self.first : self.last]

    def leave(self) -> None:
        """Unsubscribe."""
        if self.last is None:
            self.last = len(self.machine.ledger.delivered)
        self.machine.late.remove(self)
        self.subscription.dispose()

    def on_next(self, value: str) -> None:
        super().on_next(value)
        machine, kind = self.machine, value.split(":")[0]
        match kind:
            case "raise":
                machine.ledger.fault("Boom")
                raise Boom
            case "reply":
                machine.send(10)
            case "hold" if not machine.ending:
                machine.hold()
            case "close":
                machine.say(4005, "from within")
            case "leave":
                self.leave()
            case _:
                pass


class LateSubscribers:
    """The subscribers of an ended stream, and when each must get the end.

    It comes at once for the first 50 without a pause of 0.1 s, and 10 ms later for each further
    one: an operator such as `retry` may subscribe in an endless loop.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.latest = -math.inf
        self.count = 0
        self.due: dict[Subscriber[Any], float] = {}

    def add(self, subscriber: Subscriber[Any]) -> None:
        """Record a subscription, which happens now."""
        now = self.clock.time
        self.count = 1 if now - self.latest > 0.1 else self.count + 1
        self.latest = now
        self.due[subscriber] = round(now + (0.01 if self.count > 50 else 0.0), 6)

    def remove(self, subscriber: Subscriber[Any]) -> None:
        """Forget a subscriber that has unsubscribed."""
        self.due.pop(subscriber, None)

    @property
    def waiting(self) -> list[Subscriber[Any]]:
        """The subscribers whose end is not due yet."""
        now = round(self.clock.time, 6)
        return [subscriber for subscriber, due in self.due.items() if due > now]

    def check(self) -> None:
        """Check that each subscriber has got the end when it was due, and not before."""
        waiting = self.waiting
        for subscriber, due in self.due.items():
            if subscriber in waiting:
                assert not subscriber.ends, "the end comes too early"
            else:
                assert subscriber.ended_at is not None, "a late subscriber gets no end"
                assert round(subscriber.ended_at, 6) == due


def ending(step: Any) -> Any:
    """Mark a rule that may end the connection; it waits for `peace` steps."""
    return precondition(lambda self: self.peace <= 0)(step)


class SessionMachine(RuleBasedStateMachine):
    """A session on a fake transport, in virtual time."""

    @initialize(
        policy=st.sampled_from(POLICIES),
        completes=st.sampled_from(COMPLETES),
        heartbeat=st.sampled_from([None, None, 7.003]),
        overrun=st.sampled_from([0, 0, 1, 2]),
        handler=st.sampled_from(["none", "none", "maps", "pushes"]),
        unread=st.sampled_from(["hold", "hold", "discard"]),
        takes=st.sampled_from([True, True, False]),
        peace=st.sampled_from([0, 10, 20, 30]),
    )
    def open(
        self,
        policy: Any,
        completes: Completes,
        heartbeat: float | None,
        overrun: int,
        handler: str,
        unread: Any,
        takes: bool,
        peace: int,
    ) -> None:
        """Open a connection.

        No rule ends it during the first `peace` steps, so that some runs are long.
        """
        logging.disable(logging.CRITICAL)  # other tests check the log
        name: str = policy if isinstance(policy, str) else "latest"
        terms = LedgerOptions(name, getattr(policy, "key", None), completes, heartbeat)
        self.terms = terms
        self.clock = Clock()
        self.ledger = Ledger(terms, self.clock)
        self.wire = LedgerTransport(self.ledger, self.answer)
        self.peer = Peer(self.wire, overrun)
        self.overrun = overrun
        options = Options(
            codec=ledger_codec(self.ledger),
            overflow=cast(Any, policy),
            completes=lambda close: completes(close.code),
            heartbeat=heartbeat,
            max_buffer=terms.max_buffer,
            high_water=terms.high_water,
            send_timeout=terms.send_timeout,
            close_timeout=terms.close_timeout,
            hold_timeout=terms.hold_timeout,
            incoming=unread,
        )
        self.session: Session[Any, Any] = Session(self.wire, self.clock, options, HANDSHAKE)
        self.conn: rxws.Connection[Any, Any] = self.session.connection
        self.number = 0
        self.peace = peace
        self.ending = False
        self.alive = True  # whether the peer answers pings
        self.takers: list[MessageSubscriber] = []
        self.hearers: list[Subscriber[Exception]] = []
        self.mapping = handler == "maps"
        self.handler = handler
        self.discards = unread == "discard"
        self.unobserved = 0
        self.unobserved_before = 0  # when `incoming` was last subscribed
        self.untaken_since = 0.0
        self.kept_since: float | None = None
        self.late = LateSubscribers(self.clock)  # of `incoming`
        self.late_to_closed = LateSubscribers(self.clock)
        self.closed = self.watch(self.conn.closed)
        self.writable = self.watch(self.conn.flow.writable)
        self.outgoing = self.watch(self.conn.outgoing)
        if takes:
            self.take()
        run_handler(self.handle, self.session)
        self.wire.attach(LedgerReceiver(self.session, self.ledger, self.drops))
        self.settle()

    def handle(self, conn: rxws.Connection[Any, Any]) -> Any:
        """Handle the connection."""
        if self.handler == "maps":
            return conn.incoming.pipe(ops.map(self.map))
        return rx.never() if self.handler == "pushes" else None

    def map(self, value: str) -> str:
        """Map a message, as the pipeline does."""
        if value.startswith("fail"):
            self.mapping = False
            self.fail(Boom("secret"))
            raise Boom("secret")
        if value.startswith("give up"):
            self.mapping = False
            self.ledger.happens("we close", 4003, "no")
            raise rxws.ConnectionClosed(rxws.Close(4003, "no"))
        reply = value.replace(":", ";")
        self.ledger.push(reply)
        return reply

    def watch(self, observable: rx.Observable[Any]) -> Subscriber[Any]:
        return Subscriber(observable, self.clock, scheduler=self.conn.scheduler)

    def settle(self) -> None:
        """Run turns until nothing more happens without time passing."""
        self.peace -= 1
        for _ in range(10):
            self.clock.turn()
        self.ledger.settled()

    def answer(self, sent: Sent) -> None:
        """Answer pings, as the peer does."""
        if sent.kind is Opcode.PING and self.alive:
            self.clock.schedule(lambda *_: self.peer.pong(sent.payload))

    def text(self, size: int = 0) -> str:
        self.number += 1
        return f"{self.number}:".ljust(size, "x")

    # --- what we do

    def send(self, size: int) -> None:
        text = self.text(size)
        self.ledger.push(text)
        self.conn.outgoing.on_next(text)

    def say(self, code: int, reason: str) -> None:
        self.ledger.happens("we close", code, reason)
        self.conn.outgoing.on_next(rxws.Close(code, reason))

    def hold(self) -> None:
        self.ledger.holds.append(self.conn.flow.pause())

    def fail(self, error: Exception) -> None:
        """Tell the ledger of an exception in `outgoing`."""
        self.ledger.catch_up()
        if self.ledger.phase is not Phase.OPEN:
            self.ledger.fault(type(error).__name__)
        else:
            self.ledger.happens("we fail")

    def take(self) -> None:
        self.unobserved_before = self.dropped_unobserved
        ended = self.ledger.phase is Phase.CLOSED and not self.kept
        self.takers.append(MessageSubscriber(self))
        if ended:
            self.late.add(self.takers[-1])

    @rule(count=st.sampled_from([1, 1, 2, 30]), size=st.sampled_from([0, 1, 100, 500, 2000]))
    def sends(self, count: int, size: int) -> None:
        for _ in range(count):
            self.send(size)
        self.settle()

    @rule(count=st.integers(1, 3))
    def sends_from_a_thread(self, count: int) -> None:
        texts = [self.text() for _ in range(count)]

        def push() -> None:
            for text in texts:
                self.conn.outgoing.on_next(text)

        thread = threading.Thread(target=push)
        thread.start()
        thread.join()
        for text in texts:
            self.ledger.push(text)
        self.settle()

    @ending
    @rule()
    def sends_what_cannot_be_encoded(self) -> None:
        self.ledger.push(REFUSED)
        self.conn.outgoing.on_next(REFUSED)
        self.settle()

    @ending
    @rule(code=st.sampled_from(SENDABLE))
    def closes(self, code: int) -> None:
        self.say(code, "why")
        self.settle()

    @rule(count=st.integers(2, 40), size=st.sampled_from([0, 100, 500]))
    def falls_behind(self, count: int, size: int) -> None:
        """The peer stops reading while we send."""
        self.peer.stop()
        for _ in range(count):
            self.send(size)
        self.settle()

    @rule(count=st.integers(2, 25), times=st.integers(1, 10))
    def peer_takes_one_now_and_then(self, count: int, times: int) -> None:
        """The peer reads slowly."""
        self.falls_behind(count, 0)
        for _ in range(times):
            self.clock.run(2.1)
            self.peer.go(0)
        self.settle()

    @ending
    @rule(code=st.sampled_from(SENDABLE), count=st.integers(2, 5))
    def closes_behind_messages(self, code: int, count: int) -> None:
        """Our close frame waits in the send buffer."""
        self.peer.stop()
        for _ in range(count):
            self.send(0)
        self.say(code, "why")
        self.settle()

    @rule(code=st.sampled_from(UNSENDABLE))
    def closes_with_what_may_not_be_sent(self, code: int) -> None:
        try:
            self.conn.outgoing.on_next(rxws.Close(code))
        except ValueError:
            return
        raise AssertionError(f"a Close({code}) was taken")

    @ending
    @rule(dispose=st.booleans())
    def completes(self, dispose: bool) -> None:
        self.ledger.happens("we close", 1000, "")
        outgoing = self.conn.outgoing
        (outgoing.dispose if dispose else outgoing.on_completed)()
        self.settle()

    @ending
    @rule(close=st.sampled_from([None, 4004, 1006]))
    def fails(self, close: int | None) -> None:
        if close is None:
            error: Exception = Boom("secret")
            self.fail(error)
        else:
            error = rxws.ConnectionClosed(rxws.Close(close, "passed on"))
            event = ("we fail",) if close == 1006 else ("we close", close, "passed on")
            self.ledger.happens(*event)
        self.conn.outgoing.on_error(error)
        self.settle()

    @rule()
    def holds(self) -> None:
        self.hold()
        self.settle()

    @precondition(lambda self: self.ledger.holds)
    @rule(which=st.integers(0, 5), from_a_thread=st.booleans())
    def lets_go(self, which: int, from_a_thread: bool) -> None:
        hold = self.ledger.holds.pop(which % len(self.ledger.holds))
        if from_a_thread:
            thread = threading.Thread(target=hold.dispose)
            thread.start()
            thread.join()
        else:
            hold.dispose()
        self.settle()
        hold.dispose()  # the second time nothing happens

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def holds_and_is_sent_to(self, kinds: list[str]) -> None:
        """Messages wait for the end of a pause."""
        self.hold()
        self.peer_sends(kinds, False)

    @rule()
    def takes(self) -> None:
        self.take()
        self.settle()

    @precondition(lambda self: self.takers)
    @rule(which=st.integers(0, 5))
    def leaves(self, which: int) -> None:
        self.takers[which % len(self.takers)].leave()
        self.settle()

    @rule()
    def hears_errors(self) -> None:
        if self.ledger.phase is not Phase.CLOSED:
            self.ledger.observed = True
            self.ledger.errors_reported.clear()
            for one in self.hearers:
                one.subscription.dispose()
            self.hearers = [self.watch(self.conn.errors)]

    @precondition(lambda self: self.hearers)
    @rule()
    def hears_no_errors(self) -> None:
        self.check_errors()
        self.hearers.pop().subscription.dispose()
        self.ledger.observed = False

    @ending
    @rule()
    def application_shuts_down(self) -> None:
        self.ledger.happens("shutdown")
        self.session.shutdown(within=2.0)
        self.settle()

    @ending
    @rule()
    def task_is_cancelled(self) -> None:
        self.wire.receiver.on_cancelled()
        self.settle()

    @ending
    @rule()
    def is_killed(self) -> None:
        self.ledger.happens("kill")
        self.session.terminate()
        self.settle()

    # --- what the peer and the network do

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), ping=st.booleans())
    def peer_sends(self, kinds: list[str], ping: bool) -> None:
        for kind in kinds:
            if kind in ENDING and self.peace > 0:
                continue
            self.number += 1
            self.peer.message(f"{kind}:{self.number}")
        if ping:
            self.peer.ping(b"you there?")
        self.settle()

    @ending
    @rule(code=st.sampled_from(LEGAL), last=st.booleans())
    def peer_closes(self, code: int | None, last: bool) -> None:
        if last:
            self.peer.message("plain:last")
        self.peer.close(code, "" if code is None else "bye")
        self.settle()

    @ending
    @rule(code=st.sampled_from(ILLEGAL))
    def peer_closes_with_what_may_not_be_sent(self, code: int) -> None:
        self.peer.close(code, "cheating")
        self.settle()

    @precondition(lambda self: self.wire.closes)
    @rule()
    def peer_answers_the_close(self) -> None:
        self.peer.close(self.wire.closes[0].code, self.wire.closes[0].reason)
        self.settle()

    @ending
    @rule(code=st.sampled_from([1002, 1007, 1009]))
    def peer_breaks_the_protocol(self, code: int) -> None:
        self.peer.violation(code)
        self.settle()

    @rule()
    def peer_stops_taking(self) -> None:
        self.peer.stop()

    @rule(frames=st.sampled_from([None, None, 0, 1, 3]))
    def peer_takes(self, frames: int | None) -> None:
        self.peer.go(frames)
        self.settle()

    @rule()
    def peer_falls_silent(self) -> None:
        self.alive = not self.alive

    @ending
    @rule(how=st.sampled_from(["fin", "send_lost", "reset"]))
    def tcp_is_lost(self, how: str) -> None:
        wire: FakeTransport = self.wire
        lose: dict[str, Callable[[], None]] = {
            "fin": self.peer.lost,
            "send_lost": wire.sever,
            "reset": wire.lose,
        }
        lose[how]()
        self.settle()

    @rule(seconds=st.sampled_from([0.25, 1.9, 3.2, 6.3, 11.1, 14.9]))
    def time_passes(self, seconds: float) -> None:
        self.clock.run(seconds)
        self.settle()

    # --- invariants

    @property
    def kept(self) -> int:
        """The messages that wait for the end of a pause, or for a subscriber."""
        return self.session.incoming.waiting

    @property
    def kept_size(self) -> int:
        """The size of these messages."""
        ahead = self.session.incoming._ahead
        return 0 if ahead is None else ahead._size

    @property
    def dropped_unobserved(self) -> int:
        """The messages that were dropped because nobody subscribed."""
        return (self.conn.flow.stats.dropped or {}).get("unobserved", 0)

    def drops(self) -> bool:
        """Return whether a message that arrives now is dropped because nobody subscribes."""
        timed_out = self.dropped_unobserved > self.unobserved_before
        return not self.taken and (self.discards or timed_out)

    @property
    def taken(self) -> bool:
        """Whether `incoming` has a subscriber."""
        return self.mapping or any(taker.last is None for taker in self.takers)

    @invariant()
    def stands_as_the_table_says(self) -> None:
        ledger, verdict = self.ledger, self.ledger.verdict
        assert self.session.state.name == ledger.phase.name
        if verdict is None:
            assert not self.closed.values
            assert not any(taker.ends for taker in self.takers)
            return
        assert [round(time, 6) for time in self.closed.times] == [ledger.ended_at]
        late_to_closed = self.watch(self.conn.closed)
        self.late_to_closed.add(late_to_closed)
        self.late_to_closed.check()
        for closed in (self.closed, late_to_closed):
            [close] = closed.values
            assert (close.code, close.reason, close.by) == verdict_of(verdict)
            assert closed.ends == ([] if closed in self.late_to_closed.waiting else [None])
        if self.kept:  # the messages and the end wait for a subscriber
            assert not self.taken
            assert not self.session.errors._ended
            return
        late = self.watch(self.conn.incoming)
        assert not late.values
        self.late.add(late)
        self.late.check()
        for taker in [late, *(taker for taker in self.takers if taker.last is None)]:
            if taker in self.late.waiting:
                continue
            [error] = taker.ends
            assert (type(error).__name__ if error else "") == verdict.error
            assert getattr(error, "close", close) == close
            assert getattr(error, "close", close).by == verdict.by
        if self.wire.writable and not self.wire.send_lost and verdict.wire != -1:
            [frame] = self.wire.closes
            assert frame.code == verdict.wire

    @invariant()
    def each_message_that_came_is_accounted_for(self) -> None:
        ledger, stats = self.ledger, self.conn.flow.stats
        unobserved = self.dropped_unobserved
        assert stats.received_messages == len(ledger.came)
        assert stats.received_bytes == sum(len(text) for text in ledger.came)
        told = [text for text in ledger.came if not text.startswith("undecodable")]
        gone = self.kept + unobserved + ledger.late
        assert len(ledger.came) == len(ledger.delivered) + ledger.undecodable + gone
        order = {text: place for place, text in enumerate(told)}
        places = [order[text] for text in ledger.delivered]
        assert places == sorted(places)
        for taker in self.takers:
            assert taker.values == taker.due
        if unobserved > self.unobserved:
            untaken = self.clock.time - self.untaken_since
            assert not self.taken or self.was_untaken, "dropped under the eyes of a taker"
            assert (
                ledger.phase is not Phase.OPEN
                or self.discards
                or untaken >= self.terms.hold_timeout
            )
            self.unobserved = unobserved

    @invariant()
    def what_can_be_delivered_is(self) -> None:
        ledger, waits = self.ledger, len(self.peer._in_flight)
        limit = self.terms.high_water
        assert self.kept_size < limit + 200 * (1 + self.overrun)
        held = ledger.holds and ledger.phase is Phase.OPEN
        behind = self.conn.flow.buffered > self.terms.high_water // 2
        if ledger.phase is not Phase.OPEN:
            assert not waits
        elif ledger.pending is None and self.kept_size <= limit // 2:
            assert not waits, "reading is paused although there is room"
        if ledger.phase is not Phase.OPEN:
            pass
        elif self.taken and not held and not behind:
            assert not waits
            assert not self.kept
            assert ledger.pending is None, "an end is withheld from a subscriber"
        elif not self.taken and not held:
            assert ledger.pending is None, "an end is pending although nothing holds it"
        self.was_untaken = not self.taken
        if self.taken:
            self.untaken_since = self.clock.time
        if self.kept and not self.taken and not held:
            self.kept_since = self.clock.time if self.kept_since is None else self.kept_since
            assert self.clock.time - self.kept_since < self.terms.hold_timeout
        else:
            self.kept_since = None

    @invariant()
    def each_message_that_goes_is_accounted_for(self) -> None:
        ledger, stats = self.ledger, self.conn.flow.stats
        dropped = {
            reason: n for reason, n in (stats.dropped or {}).items() if reason != "unobserved"
        }
        ledger.dropped["closed"] += ledger.late  # both count as closed
        assert dropped == {reason: n for reason, n in ledger.dropped.items() if n}
        ledger.dropped["closed"] -= ledger.late
        assert not ledger.offered
        assert ledger.direct is None
        assert stats.sent_messages == len(ledger.written)
        assert stats.sent_bytes == sum(len(text) for text in ledger.written)
        lost = sum(ledger.dropped.values()) + ledger.encode_failures
        assert ledger.pushed == len(ledger.written) + len(ledger.waiting) + lost
        waits = sum(len(text) for _, text in ledger.waiting)
        assert self.conn.flow.buffered == waits + self.wire.buffered
        assert not (ledger.waiting and self.wire.writable and not self.wire.send_lost)
        assert waits + 128 * len(ledger.waiting) <= self.terms.max_buffer + 2000 + 128
        assert abs(self.session.gate.paused_seconds - ledger.paused_by_now) < 1e-6
        assert stats.paused > ledger.paused_by_now - 1e-6

    @invariant()
    def faults_are_told(self) -> None:
        self.check_errors()

    def check_errors(self) -> None:
        for one in self.hearers:
            told = [type(error).__name__ for error in one.values]
            for name, must in self.ledger.errors_reported:
                if told[:1] == [name]:
                    told.pop(0)
                else:
                    assert not must, f"{name} was not emitted, but {one.values}"
            assert not told

    @invariant()
    def who_watches_knows_whether_the_peer_keeps_up(self) -> None:
        values = self.writable.values
        assert all(one != other for one, other in itertools.pairwise(values))
        if self.ledger.phase is Phase.CLOSED:
            assert self.writable.ends == [None]
        else:
            assert values[-1] == self.wire.writable

    @invariant()
    def nothing_is_left_of_a_lost_connection(self) -> None:
        if self.wire.over and self.ledger.phase is Phase.CLOSED and not self.kept:
            ends = len(self.late.waiting) + len(self.late_to_closed.waiting)
            assert self.clock.pending == ends
            assert not self.ledger.waiting

    def teardown(self) -> None:
        try:
            if hasattr(self, "session"):
                self.end()
        finally:
            logging.disable(logging.NOTSET)

    def end(self) -> None:
        """End the connection; check that nothing is left."""
        self.ending = True
        for hold in self.ledger.holds:
            hold.dispose()
        self.ledger.holds.clear()
        self.settle()
        self.clock.run(60)
        self.settle()
        if self.ledger.phase is Phase.CLOSED:
            if self.wire.send_lost:  # reading comes to the end of TCP, if nothing holds it any more
                self.peer.lost()
                self.settle()
            assert self.wire.over, "the session leaves a wire open"
        self.peer.lost()
        self.clock.run(60)
        self.settle()
        if not self.wire.over:  # data from before the end of TCP is lost
            self.take()
            self.clock.run(60)
            self.settle()
        self.was_untaken = True
        self.untaken_since = -100.0
        for check in (
            self.stands_as_the_table_says,
            self.each_message_that_came_is_accounted_for,
            self.what_can_be_delivered_is,
            self.each_message_that_goes_is_accounted_for,
            self.check_errors,
        ):
            check()
        conn: Any = self.conn
        assert self.ledger.phase is Phase.CLOSED
        assert not self.ledger.waiting
        assert self.kept == 0
        assert self.clock.pending == 0
        streams = conn.incoming, conn.outgoing, conn.errors, conn.closed, conn.flow.writable
        assert [stream.subscriptions for stream in streams] == [0] * 5
        assert len(self.outgoing.ends) == 1


def verdict_of(verdict: Any) -> tuple[int, str, str]:
    return verdict.code, verdict.reason, verdict.by
