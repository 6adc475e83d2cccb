"""Counts of one or more connections."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rxws._core.connection import Flow

__all__ = ["Binary", "Figures", "Traffic"]


@dataclass(slots=True)
class Binary:
    """The binary messages of one connection, which its `Stats` do not tell from others."""

    received_messages: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class Traffic:
    """Messages of one type in one direction."""

    messages: int = 0
    bytes: int = 0

    def at_least(self, messages: int, bytes: int) -> Traffic:  # noqa: A002 # as the attribute
        """Return these counts, or the earlier ones where they are lower."""
        return Traffic(max(self.messages, messages), max(self.bytes, bytes))

    def add(self, other: Traffic) -> None:
        self.messages += other.messages
        self.bytes += other.bytes


@dataclass(slots=True)
class Figures:
    """Counts of one or more connections."""

    open: int = 0
    received_text: Traffic = field(default_factory=Traffic)
    received_binary: Traffic = field(default_factory=Traffic)
    sent_text: Traffic = field(default_factory=Traffic)
    sent_binary: Traffic = field(default_factory=Traffic)
    dropped: Counter[str] = field(default_factory=Counter[str])
    paused: float = 0.0
    buffered: int = 0

    def read(self, flow: Flow, binary: Binary, is_open: bool) -> Figures:
        """Read the counts of the connection that had these counts before, on any thread.

        The thread of the connection may be interrupted before it has counted a binary message among
        all messages, or the end of a pause. A count never falls for that.
        """
        stats, before = flow.stats, self
        received = Traffic(binary.received_messages, binary.received_bytes)
        sent = Traffic(binary.sent_messages, binary.sent_bytes)
        return Figures(
            int(is_open),
            before.received_text.at_least(
                stats.received_messages - received.messages, stats.received_bytes - received.bytes
            ),
            received,
            before.sent_text.at_least(
                stats.sent_messages - sent.messages, stats.sent_bytes - sent.bytes
            ),
            sent,
            Counter(stats.dropped),
            max(before.paused, stats.paused),
            flow.buffered,
        )

    def add(self, other: Figures) -> None:
        """Add the counts of other connections."""
        self.open += other.open
        self.received_text.add(other.received_text)
        self.received_binary.add(other.received_binary)
        self.sent_text.add(other.sent_text)
        self.sent_binary.add(other.sent_binary)
        for reason, count in other.dropped.items():
            self.dropped[reason] += count
        self.paused += other.paused
        self.buffered += other.buffered
