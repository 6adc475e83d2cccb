"""The states of a reconnecting client, and the times for which they last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from rxws.status import Connecting, Open, Status, Waiting

from .axis import duration
from .model import Mark

__all__ = ["RecordedStatus", "State", "StatusSpan", "recorded", "status_spans"]

State: TypeAlias = Literal["connecting", "open", "waiting", "closed"]


class RecordedStatus(NamedTuple):
    """What a recording keeps of a `rxws.Status`."""

    state: State
    label: str
    text: str  # the whole status, without secrets
    seconds: float | None = None  # how long the client waits
    failed: bool = False  # whether the client gave up

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StatusSpan:
    """A status, and the times between which it lasted; `stop` is now for the current one."""

    start: float
    stop: float
    status: RecordedStatus
    current: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """The texts to choose from, the longest first."""
        label = self.status.label
        seconds = self.status.seconds
        if seconds is None:
            return label, label.replace(",", "").partition(" ")[0]
        left = self.start + seconds - self.stop
        if self.current and left > 0:
            return f"{label}, {left:.1f} s left", f"{left:.1f} s left"
        waited = self.stop - self.start
        return f"{label} {waited:.1f} s", f"{waited:.1f} s", label

    @property
    def description(self) -> str:
        """The status and its times, for a tooltip."""
        until = "now" if self.current else duration(self.stop)
        return f"{duration(self.start)} to {until}\n{self.status.text}"


def recorded(status: Status) -> RecordedStatus:
    """Return what a recording keeps of a status.

    Examples:
        >>> recorded(Connecting(2)).label
        'Connecting, attempt 2'
    """
    text = repr(status)
    if isinstance(status, Connecting):
        again = f", attempt {status.attempt}" if status.attempt > 1 else ""
        return RecordedStatus("connecting", f"Connecting{again}", text)
    if isinstance(status, Open):
        return RecordedStatus("open", "Open", text)
    if isinstance(status, Waiting):
        return RecordedStatus("waiting", "Waiting", text, status.delay)
    code = "" if status.close is None else f" {status.close.code}"
    return RecordedStatus("closed", f"Closed{code}", text, None, status.error is not None)


def status_spans(marks: Sequence[Mark], start: float, now: float) -> Iterator[StatusSpan]:
    """Yield the statuses of a lane between two times."""
    statuses = [(mark.t, mark.data) for mark in marks if isinstance(mark.data, RecordedStatus)]
    ended = [mark.t for mark in marks if mark.type != "next"]
    stop = min([now, *ended[-1:]])
    ends = [t for t, _ in statuses[1:]] + [math.inf]
    for (began, status), until in zip(statuses, ends, strict=True):
        if until > start and began <= now:
            current = until == math.inf and not ended
            yield StatusSpan(began, min(until, stop), status, current)
