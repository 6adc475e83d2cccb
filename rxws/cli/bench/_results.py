"""The results of a load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close

__all__ = ["Histogram", "Results", "as_json", "as_text"]

_STEP = math.log(1.01)
_SHOWN = (50.0, 90.0, 99.0, 99.9)


class Histogram:
    """Durations, counted in classes that are 1 % wide: memory does not grow with their number."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self._sum = 0.0
        self.count = 0
        self.min = math.inf
        self.max = 0.0

    def add(self, seconds: float) -> None:
        seconds = max(seconds, 1e-9)
        self._classes[math.floor(math.log(seconds) / _STEP)] += 1
        self._sum += seconds
        self.count += 1
        self.min = min(self.min, seconds)
        self.max = max(self.max, seconds)

    @property
    def mean(self) -> float:
        return self._sum / self.count

    def percentile(self, percent: float) -> float:
        """Return the duration that so many percent do not exceed, to 1 %.

        Examples:
            >>> durations = Histogram()
            >>> for milliseconds in range(1, 101):
            ...     durations.add(milliseconds / 1000)
            >>> round(durations.percentile(90), 3)
            0.09
        """
        rank = math.ceil(self.count * percent / 100)
        for number, count in sorted(self._classes.items()):
            rank -= count
            if rank <= 0:
                middle = math.exp((number + 0.5) * _STEP)
                return min(max(middle, self.min), self.max)
        return self.max

    def as_dict(self) -> dict[str, float] | None:
        """Return the figures in milliseconds; None if there are none."""
        if not self.count:
            return None
        shown = {f"p{percent:g}": self.percentile(percent) for percent in _SHOWN}
        figures = {"min": self.min, "mean": self.mean, **shown, "max": self.max}
        return {name: round(seconds * 1000, 4) for name, seconds in figures.items()}


@dataclass(slots=True)
class Results:
    """The counts and durations of all connections.

    Args:
        opening: How long the handshakes took.
        failures: The connections that failed to open, by error.
        sent: Messages that were sent.
        received: Messages that were received.
        answered: Messages whose answer was received.
        unexpected: Messages that were received, and are no answer.
        sent_bytes: The payloads of all messages that were sent.
        received_bytes: The payloads of all messages that were received.
        latency: From the time at which a message was due to its answer.
        closes: How the connections ended, by code and by who has closed.
        seconds: From the first message until the load has ended.
        cpu: The share of this time for which this process was busy, 1.0 for one core.
        interrupted: Whether Ctrl-C has ended it.
    """

    opening: Histogram = field(default_factory=Histogram)
    failures: Counter[str] = field(default_factory=Counter[str])
    sent: int = 0
    received: int = 0
    answered: int = 0
    unexpected: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    latency: Histogram = field(default_factory=Histogram)
    closes: Counter[tuple[int, str]] = field(default_factory=Counter[tuple[int, str]])
    seconds: float = 0.0
    cpu: float = 0.0
    interrupted: bool = False

    def on_closed(self, close: Close) -> None:
        self.closes[close.code, close.by] += 1

    def rate(self, count: int) -> float:
        """Return a count per second."""
        return count / self.seconds if self.seconds else 0.0


def as_json(results: Results, *, one_way: bool) -> dict[str, Any]:
    """Return the results for a program; durations are in milliseconds."""
    per_second = results.sent if one_way else results.answered
    return {
        "seconds": round(results.seconds, 3),
        "interrupted": results.interrupted,
        "connections": {
            "opened": results.opening.count,
            "failed": dict(results.failures),
            "opening_ms": results.opening.as_dict(),
            "closed": [
                {"code": code, "by": by, "count": count}
                for (code, by), count in sorted(results.closes.items())
            ],
        },
        "messages": {
            "sent": results.sent,
            "received": results.received,
            "answered": None if one_way else results.answered,
            "unexpected": None if one_way else results.unexpected,
            "per_second": round(results.rate(per_second), 1),
        },
        "bytes": {"sent": results.sent_bytes, "received": results.received_bytes},
        "latency_ms": results.latency.as_dict(),
        "client_cpu": round(results.cpu, 3),
    }


def as_text(results: Results, *, one_way: bool) -> str:
    """Return the results for a person."""
    failed = f", {results.failures.total():,} failed" if results.failures else ""
    opening = _durations(results.opening, ("p50", "p99", "max"))
    rows = [
        ("connections", f"{results.opening.count:,} opened{failed}{opening and f'; {opening}'}")
    ]
    if one_way:
        rate = results.rate(results.sent)
        counts = f"{results.sent:,} sent, {results.received:,} received"
    else:
        rate = results.rate(results.answered)
        counts = f"{results.sent:,} sent, {results.answered:,} answered"
        if results.unexpected:
            counts += f", {results.unexpected:,} other messages received"
    rows.append(("messages", f"{counts} in {results.seconds:.1f} s: {rate:,.0f}/s"))
    sent, received = results.sent_bytes, results.received_bytes
    per_second = _size(results.rate(sent + received))
    rows.append(("bytes", f"{_size(sent)} sent, {_size(received)} received: {per_second}/s"))
    if latency := _durations(results.latency):
        rows.append(("latency", latency))
    for (code, by), count in sorted(results.closes.items()):
        known = CLOSE_CODES.get(code)
        name = f" ({known.name})" if known else ""
        rows.append(("closed", f"{count:,} with {code}{name} by {_BY[by]}"))
    for error, count in results.failures.most_common(5):
        rows.append(("failed", f"{count:,}: {error}"))
    return "".join(f"{name:<12} {text}\n" for name, text in rows)


_BY = {"local": "this client", "peer": "the server", "network": "the network"}


def _durations(
    durations: Histogram, names: Sequence[str] = ("p50", "p90", "p99", "p99.9", "max")
) -> str:
    figures = durations.as_dict()
    return "  ".join(f"{name} {_milliseconds(figures[name])}" for name in names if figures)


def _milliseconds(number: float) -> str:
    if number >= 10_000:
        return f"{number / 1000:.1f} s"
    return f"{number:.3g} ms" if number < 100 else f"{number:.0f} ms"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
