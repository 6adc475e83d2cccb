"""The ledger of one session: what goes in and out, and what must follow from that.

The transport and the codec of a session report events in order. From them the ledger computes where
each message is and the phase of the connection (`close_table`), without looking into the session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rxws._core.errors import DecodeError
from rxws._core.frames import Opcode
from rxws._session.session import Session
from rxws._session.transport import Delivery
from rxws.codecs import Codec
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport, Sent
from support.model.close_table import (
    NO_CLOSE_FRAME,
    CloseState,
    Completes,
    Phase,
    Verdict,
    next_state,
)

EACH = 128  # bytes that a waiting message counts besides its payload

REFUSED = object()
"""A value that the codec cannot encode."""


class Refused(Exception):
    """The codec refuses a value."""


@dataclass(frozen=True)
class LedgerOptions:
    """The options of a session that the ledger needs."""

    policy: str  # "close", "drop_oldest", "drop_newest", "latest"
    key: Callable[[str], Any] | None
    completes: Completes
    heartbeat: float | None
    max_buffer: int = 4096
    high_water: int = 1024
    send_timeout: float = 10.0
    close_timeout: float = 3.1
    hold_timeout: float = 13.7


@dataclass
class Backlog:
    """The data before a ping; while the peer takes it, the ping needs no answer.

    The peer may take nothing for two half intervals in a row, the first of which has begun before
    it last took something.
    """

    taken: int
    end: int
    blocked: bool  # whether the data waits on this side, not in the kernel
    idle: int  # checks until the peer is dead

    @classmethod
    def before_ping(cls, delivery: Delivery, taken_before: int | None) -> Backlog | None:
        """Return the data before a ping, if there is any."""
        taken, pending, blocked = delivery
        progressed = taken_before is not None and taken > taken_before
        idle = 2 if blocked and progressed else 0
        return cls(taken, taken + pending, blocked, idle) if pending else None

    def excuses(self, taken: int) -> bool:
        """Return whether the peer may be silent for another half interval."""
        progressed = self.taken < min(taken, self.end)
        counts = self.blocked or taken < self.end
        self.taken = taken
        self.idle = 2 if counts and progressed else self.idle - 1
        return self.idle > 0


class Ledger:
    """The messages that were sent, received and dropped, and the end of the connection.

    Attributes:
        state: The state of the connection.
        waiting: Messages in the send buffer, with their keys.
        written: Messages that were sent.
        dropped: Messages that will never be sent, by reason.
        delivered: Messages that were received and decoded.
        faults: The names of the faults.
    """

    def __init__(self, terms: LedgerOptions, clock: Clock) -> None:
        self.terms = terms
        self.clock = clock
        self.wire: LedgerTransport
        self.state = CloseState()
        self.closing_since = self.draining_since = 0.0
        self.ended_at: float | None = None
        self.offered: list[Any] = []  # pushed, but not encoded yet
        self.waiting: list[tuple[Any, str]] = []
        self.written: list[str] = []
        self.direct: str | None = None  # the message that must be sent next
        self.dropped: Counter[str] = Counter()
        self.pushed = self.encode_failures = 0
        self.came: list[str] = []
        self.delivered: list[str] = []
        self.undecodable = self.late = 0
        self.observed = False  # whether `errors` has a subscriber
        self.faults: list[str] = []
        self.errors_reported: list[tuple[str, bool]] = []  # whether `errors` must emit it
        self.send_lost = False  # whether the session was notified
        self.pending: tuple[Any, ...] | None = None  # the end that waits behind messages
        self.holds: list[Any] = []  # pauses of the flow that are not disposed
        # The send deadline, and whether the transport became writable since it was set.
        self.due: float | None = None
        self.queued = 0  # messages that were ever buffered
        self.left = self.mark = 0  # how many had left then, and must have left by the deadline
        self.relieved = True
        # The heartbeat: its next ping, its next check, and the signs of life at the ping.
        self.beat_at = terms.heartbeat
        self.look_at: float | None = None
        self.seen: tuple[int, float] = (0, 0.0)
        # The bytes delivered half an interval before a ping, and the data before it.
        self.taken_before: int | None = None
        self.backlog: Backlog | None = None
        self.paused = 0.0
        self.paused_since: float | None = None

    # --- the state

    @property
    def phase(self) -> Phase:
        """The phase of the connection."""
        return self.state.phase

    @property
    def verdict(self) -> Verdict | None:
        """How the connection ended."""
        return self.state.verdict

    def happens(self, *event: Any) -> None:
        """Apply an event."""
        self.catch_up()
        if event[0] in ("shutdown", "kill") and self.pending is not None:
            event = self.pending  # what the peer did first is how it ended
        before = self.phase
        self.state = next_state(self.state, event, self.terms.completes)
        if before is not self.phase:
            match self.phase:
                case Phase.DRAINING:
                    self.draining_since = self.clock.time
                case Phase.CLOSING:
                    self.closing_since = self.clock.time
                case _:
                    self.ended_at = round(self.clock.time, 6)
                    self.due = self.pending = None

    def resolve(self) -> None:
        """Apply the end that waited: the session acts on it now."""
        if self.pending is not None:
            assert not (self.holds and self.phase is Phase.OPEN), "an end passes a hold"
            event, self.pending = self.pending, None
            self.happens(*event)

    def catch_up(self) -> None:
        """Apply the deadlines that have passed, the earliest first."""
        while self.phase is not Phase.CLOSED:
            due = [(at, what) for at, what in self._deadlines() if at <= self.clock.time]
            if not due:
                return
            at, what = min(due, key=lambda one: one[0])
            if what == "a send is due":
                if self.relieved and self.left >= self.mark:
                    self._start(at)
                    continue
                what = "a send is stuck"
            elif what == "ping":
                self.beat_at, self.look_at = None, at + (self.terms.heartbeat or 0) / 2
                self.seen = self._signs(at)
                self.backlog = Backlog.before_ping(self.wire.delivery(), self.taken_before)
                if not (self.send_lost and not self.wire.reading):
                    continue
                what = "lost"
            elif what == "look":
                later = at + (self.terms.heartbeat or 0) / 2
                if self._signs(at) != self.seen:
                    self.beat_at, self.look_at = later, None
                    self.taken_before = self.wire.delivered
                    continue
                if self.backlog is not None and self.backlog.excuses(self.wire.delivered):
                    self.look_at = later
                    continue
                self.look_at = None
                what = "no sign of life"
                if self.phase is not Phase.OPEN:  # the answer has its own deadline
                    continue
            event = (what, self.wire.writable) if what == "lost" else (what,)
            if what in ("lost", "a send is stuck") and self.pending is not None:
                event = self.pending
            self.state = next_state(self.state, event, self.terms.completes)
            self.ended_at, self.due, self.pending = at, None, None

    def _deadlines(self) -> list[tuple[float, str]]:
        found: list[tuple[float | None, str]] = [
            (self.due, "a send is due"),
            (self.beat_at, "ping"),
            (self.look_at, "look"),
        ]
        if self.phase is Phase.DRAINING:
            found.append((self.draining_since + self.terms.send_timeout, "a send is stuck"))
        if self.phase is Phase.CLOSING:
            found.append((self.closing_since + self.terms.close_timeout, "overdue"))
        # The clock counts microseconds.
        return [(round(at, 6), what) for at, what in found if at is not None]

    def _signs(self, at: float) -> tuple[int, float]:
        paused = 0.0 if self.paused_since is None else at - self.paused_since
        return self.wire.received, round(self.paused + paused, 6)

    def reading(self, goes_on: bool) -> None:
        """Record that reading was paused or resumed."""
        self.catch_up()
        now = self.clock.time
        if not goes_on:
            self.paused_since = now
        elif self.paused_since is not None:
            self.paused += now - self.paused_since
            self.paused_since = None

    @property
    def paused_by_now(self) -> float:
        """The seconds for which reading was paused."""
        since = self.paused_since
        return self.paused + (0.0 if since is None else self.clock.time - since)

    # --- outgoing

    def push(self, value: Any) -> None:
        """Record that a message was pushed into `outgoing`, from any thread."""
        self.catch_up()
        if self.phase is Phase.OPEN and self.send_lost and not self.wire.reading:
            # While reading is paused, a send that fails reveals the loss.
            self.happens(*(self.pending or ("lost", self.wire.writable)))
        self.pushed += 1
        self.offered.append(value)

    def drop_pushed(self) -> None:
        """Drop the messages that were pushed but not encoded."""
        self.dropped["closed"] += len(self.offered)
        self.offered.clear()

    def encode(self, value: Any) -> str:
        """Encode a message and record it; the codec of the session."""
        self.catch_up()
        assert self.phase is Phase.OPEN, f"{value!r} is sent though the connection is {self.phase}"
        assert not self.send_lost, f"{value!r} is sent into a lost TCP"
        assert any(value is each for each in self.offered), f"{value!r} was not pushed"
        while self.offered[0] is not value:  # pushed before, and dropped
            self.offered.pop(0)
            self.dropped["closed"] += 1
        self.offered.pop(0)
        if value is REFUSED:
            self.encode_failures += 1
            self.fault("EncodeError", 1011)
            raise Refused
        self._offer(value)
        text: str = value
        return text

    def _offer(self, text: str) -> None:
        terms = self.terms
        if self.wire.writable and not self.waiting and not self.wire.send_lost:
            self.direct = text
            return
        if terms.policy in ("close", "drop_newest"):
            if self._cost() + len(text) + EACH > terms.max_buffer:
                self.dropped["overflow"] += 1
                if terms.policy == "close":
                    self.drop_waiting()
                    self.happens("overflow")
                return
            self.waiting.append((None, text))
            self.queued += 1
            return
        self.queued += 1
        key = terms.key(text) if terms.key else None
        keys = [key for key, _ in self.waiting]
        if terms.policy == "latest" and key in keys:
            self.waiting[keys.index(key)] = (key, text)
            self.dropped["conflated"] += 1
        else:
            self.waiting.append((key, text))
        while len(self.waiting) > 1 and self._cost() > terms.max_buffer:
            if terms.policy == "latest" and self.waiting[0][0] == key:
                self.waiting.append(self.waiting.pop(0))
            self.waiting.pop(0)
            self.dropped["overflow"] += 1

    def _cost(self) -> int:
        return sum(len(text) + EACH for _, text in self.waiting) + self.wire.buffered

    def drop_waiting(self) -> None:
        """Drop the messages in the send buffer."""
        self.dropped["closed"] += len(self.waiting)
        self.waiting.clear()
        self.due = None

    def write(self, sent: Sent) -> None:
        """Check and record a frame that was sent."""
        self.catch_up()
        assert not self.wire.closes, f"{sent} follows a close frame"
        if sent.kind is Opcode.CLOSE:
            self._write_close(sent)
        elif sent.kind in (Opcode.PING, Opcode.PONG):
            pass
        else:
            expected = self.direct or (self.waiting.pop(0)[1] if self.waiting else None)
            assert sent.message == expected, f"{sent} is written where {expected!r:.40} is next"
            self.direct = None
            self.written.append(str(sent.message))

    def _write_close(self, sent: Sent) -> None:
        assert sent.code is None or (1000 <= sent.code < 5000)
        assert not self.waiting, f"{sent} overtakes messages"
        if self.phase is Phase.DRAINING:
            assert (sent.code, sent.reason) == self.state.ours
            self.happens("our close leaves")
        else:
            assert self.verdict is not None, f"{sent} though nobody has closed"
            assert sent.code == self.verdict.wire
            if sent.code is not None:
                assert sent.reason == self.verdict.reason

    def full(self, full: bool) -> None:
        """Record that the transport is full, or writable again."""
        self.catch_up()
        if not full:
            self.relieved = True
            self.left = self.queued - len(self.waiting)
        elif self.due is None and self.phase is not Phase.CLOSED:
            self._start(self.clock.time)

    def _start(self, at: float) -> None:
        self.due = at + self.terms.send_timeout if not self.wire.writable else None
        self.mark = self.queued
        self.relieved = False

    # --- incoming

    def arrive(self, text: str) -> None:
        """Record a received message."""
        self.catch_up()
        self.came.append(text)
        if self.phase is Phase.CLOSED:
            self.late += 1

    def decode(self, text: str | bytes) -> str:
        """Decode a message and record it; the codec of the session."""
        assert isinstance(text, str)
        self.catch_up()
        assert not (self.holds and self.phase is Phase.OPEN), f"{text!r} passes a hold"
        if text.startswith("undecodable"):
            self.undecodable += 1
            code = 1003 if "kind" in text else 1007
            self.fault("DecodeError", code)
            raise DecodeError("as it says", text, code)
        self.delivered.append(text)
        return text

    def fault(self, name: str, code: int = 1011) -> None:
        """Record a fault; it ends the connection if `errors` has no subscriber."""
        self.faults.append(name)
        if self.observed:
            # A fault during the end may be too late for `errors`.
            self.errors_reported.append((name, self.phase is not Phase.CLOSED))
        elif self.phase is Phase.OPEN:
            self.happens("unheard fault", code)

    # --- settled

    def settled(self) -> None:
        """Record that nothing more happens without time passing."""
        self.drop_pushed()
        if self.wire.writable and not self.waiting:
            self.due = None
        self.catch_up()


class LedgerTransport(FakeTransport):
    """A transport that reports all that crosses it to the ledger."""

    def __init__(self, ledger: Ledger, answers: Callable[[Sent], None]) -> None:
        super().__init__(ledger.clock, self._carried)
        self.ledger = ledger
        ledger.wire = self
        self.answers = answers
        self.closes: list[Sent] = []

    def _carried(self, sent: Sent) -> None:
        self.ledger.write(sent)
        self.sent.append(sent)
        if sent.kind is Opcode.CLOSE:
            self.closes.append(sent)
        self.answers(sent)

    def pause_reading(self) -> None:
        self.ledger.reading(False)
        super().pause_reading()

    def resume_reading(self) -> None:
        self.ledger.reading(True)
        super().resume_reading()

    def finish(self, linger: bool) -> bool:
        self.ledger.resolve()
        return super().finish(linger)

    def abort(self) -> None:
        self.ledger.catch_up()
        self.ledger.drop_waiting()
        super().abort()

    def set_writable(self, writable: bool, buffered: int = 0) -> None:
        self.ledger.catch_up()
        self.writable = writable  # the ledger looks at it
        self.ledger.full(not writable)
        super().set_writable(writable, buffered)


class LedgerReceiver:
    """A receiver that reports to the ledger what the transport delivers."""

    def __init__(
        self, session: Session[Any, Any], ledger: Ledger, drops: Callable[[], bool]
    ) -> None:
        self.session = session
        self.drops = drops
        self.ledger = ledger
        self.take = session.take
        self.on_writable = session.on_writable
        self.on_ping = session.on_ping
        self.on_pong = session.on_pong
        self.when_over = session.when_over
        self.on_unfinished = session.on_unfinished
        self.cleanup_timeout = session.cleanup_timeout

    @property
    def end_deferred(self) -> bool:
        return self.session.end_deferred

    @property
    def over(self) -> bool:
        return self.session.over

    def on_message(self, data: str | bytes, size: int) -> None:
        self.ledger.arrive(str(data))
        self.session.on_message(data, size)

    def on_close(self, code: int | None, reason: str) -> None:
        self._end(("peer closes", code, reason), partial(self.session.on_close, code, reason))

    def on_violation(self, code: int) -> None:
        self._end(("violation", code), partial(self.session.on_violation, code))

    def _end(self, event: tuple[Any, ...], report: Callable[[], None]) -> None:
        """Report an end; it waits if messages or a pause of the user come before it.

        Where messages would be dropped, it waits for nothing.
        """
        ledger = self.ledger
        waits = self.session.incoming.waiting or self.session.gate.holds
        if waits and not self.drops() and ledger.phase is Phase.OPEN:
            ledger.pending = ledger.pending or event
        else:
            ledger.happens(*event)
        report()
        if not self.end_deferred:
            ledger.resolve()

    def on_unsendable(self) -> None:
        self.ledger.catch_up()
        self.ledger.send_lost = True
        self.ledger.drop_waiting()
        self.session.on_unsendable()

    def on_lost(self) -> None:
        self.ledger.drop_waiting()
        self._end(("lost", self.ledger.wire.writable), self.session.on_lost)

    def on_released(self) -> None:
        self.session.on_released()

    def on_cancelled(self) -> None:
        self.ledger.happens("shutdown")
        self.session.on_cancelled()


def ledger_codec(ledger: Ledger) -> Codec[Any, Any]:
    """Return a codec that reports to the ledger."""
    return Codec(ledger.encode, ledger.decode)


__all__ = [
    "NO_CLOSE_FRAME",
    "REFUSED",
    "Ledger",
    "LedgerOptions",
    "LedgerReceiver",
    "LedgerTransport",
    "ledger_codec",
]
