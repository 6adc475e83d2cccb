"""The close table as a pure function: a state and an event give the next state.

It implements the design and RFC 6455 without importing rxws, so that tests can compare rxws
with it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Completes = Callable[[int], bool]
Event = tuple[Any, ...]

RESERVED = {1004, 1005, 1006, 1015, *range(1016, 3000)}
NO_CLOSE_FRAME = -1  # no close frame is written
REASONS = {
    1002: "Protocol Error",
    1003: "Unsupported Data",
    1007: "Invalid Data",
    1009: "Message Too Big",
}


def is_legal(code: int) -> bool:
    """Whether a close frame may carry a code."""
    return 1000 <= code < 5000 and code not in RESERVED


class Phase(enum.Enum):
    """The phase of a connection."""

    OPEN = enum.auto()
    DRAINING = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


@dataclass(frozen=True)
class Verdict:
    """How a connection ended.

    Args:
        code: The code that `closed` emits.
        reason: The reason that `closed` emits.
        by: Who closed, as `closed` emits it.
        error: The name of the error that ends `incoming`; empty for completion.
        wire: The code of the close frame that is sent; None for a frame without a code.
    """

    code: int
    reason: str
    by: str
    error: str
    wire: int | None


@dataclass(frozen=True)
class CloseState:
    """The phase, the close that we sent, and the verdict."""

    phase: Phase = Phase.OPEN
    ours: tuple[int, str] | None = None
    verdict: Verdict | None = None


def next_state(now: CloseState, event: Event, completes: Completes) -> CloseState:
    """Return the state after an event.

    Args:
        now: The state before.
        event: Its name and arguments.
        completes: Which codes complete `incoming`, for closes that `outgoing` did not cause.
    """

    def ended(
        code: int, reason: str, by: str, wire: int | None, error: str = "ConnectionClosed"
    ) -> CloseState:
        fails = "" if completes(code) else error
        return replace(now, phase=Phase.CLOSED, verdict=Verdict(code, reason, by, fails, wire))

    def ended_as_said(wire: bool) -> CloseState:
        if now.ours is None:  # the application ends
            return ended(1001, "Going Away", "local", 1001 if wire else NO_CLOSE_FRAME)
        code, reason = now.ours
        sent = wire or now.phase is Phase.CLOSING
        verdict = Verdict(code, reason, "local", "", code if sent else NO_CLOSE_FRAME)
        return replace(now, phase=Phase.CLOSED, verdict=verdict)

    match now.phase, event:
        case Phase.CLOSED, _:
            return now
        case Phase.OPEN, ("we close", code, reason):
            return replace(now, phase=Phase.DRAINING, ours=(code, reason))
        case Phase.OPEN, ("we fail",):
            return replace(now, phase=Phase.DRAINING, ours=(1011, "Unexpected Error"))
        case _, ("we close", _, _) | ("we fail",):
            return now
        case Phase.DRAINING, ("our close leaves",):
            return replace(now, phase=Phase.CLOSING)
        case _, ("a send is stuck",):
            return ended(1006, "", "local", NO_CLOSE_FRAME, "SendTimeout")
        case _, ("shutdown",):
            return ended_as_said(wire=True)
        case _, ("kill",):
            return ended_as_said(wire=False)
        case Phase.CLOSING, ("peer closes", _, _) | ("violation", _) | ("lost", True) | (
            "overdue",
        ):
            return ended_as_said(wire=True)
        case _, ("peer closes", None, _):
            return ended(1005, "", "peer", None)
        case _, ("peer closes", code, reason) if is_legal(code):
            return ended(code, reason, "peer", code)
        case _, ("peer closes", _, _):
            return ended(1002, REASONS[1002], "local", 1002)
        case _, ("violation", code):
            return ended(code, REASONS[code], "local", code)
        case _, ("lost", _):  # and, if we had closed, before the kernel took that
            written = now.ours[0] if now.ours and now.phase is Phase.CLOSING else NO_CLOSE_FRAME
            return ended(1006, "", "network", written)
        case Phase.OPEN, ("no sign of life",):
            return ended(1006, "", "network", NO_CLOSE_FRAME)
        case Phase.OPEN, ("overflow",):
            return ended(1013, "Try Again Later", "local", 1013, "BufferOverflow")
        case Phase.OPEN, ("unheard fault", code):
            reason = REASONS.get(code, "Unexpected Error")
            return ended(code, reason, "local", code)
        case _, ("no sign of life",) | ("overflow",) | ("unheard fault", _):
            return now
        case _:
            raise AssertionError(f"{event} cannot happen in {now}")
