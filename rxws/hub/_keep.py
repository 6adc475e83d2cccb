"""How many messages a topic keeps, chosen by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rxws._core.checks import check_seconds

from ._names import check_pattern

__all__ = ["Keep", "TopicPatterns"]


@dataclass(frozen=True, slots=True)
class Keep:
    """How many messages a topic keeps, and for how long.

    A topic that keeps messages numbers them, so that subscribers can continue after a position.
    `since` may emit older messages, too, if its process still has them.

    Args:
        count: The number of messages, 0 or more.
        seconds: A message is dropped after this time; a topic without new messages expires.

    Raises:
        ValueError: `count` is negative, or `seconds` is not above 0.
        TypeError: `count` is no int, or `seconds` is no number.
    """

    count: int
    seconds: float = 86400.0

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or isinstance(self.count, bool):
            raise TypeError(f"count={self.count!r:.80}: use the number of messages to keep")
        if self.count < 0:
            raise ValueError(f"count={self.count}: use 0 or more messages")
        check_seconds("seconds", self.seconds, "use a number of seconds above 0")

    @classmethod
    def latest(cls, seconds: float = 86400.0) -> Keep:
        """Keep the latest message only."""
        return cls(1, seconds)

    @classmethod
    def nothing(cls) -> Keep:
        """Keep and number nothing: each message reaches current subscribers, at most once."""
        return cls(0)


class TopicPatterns:
    """Finds the `Keep` of a topic: exact names first, then the longest prefix with a `*`."""

    def __init__(self, patterns: Mapping[str, Keep]) -> None:
        self._exact: dict[str, Keep] = {}
        prefixes: dict[str, Keep] = {}
        if not isinstance(patterns, Mapping):
            raise TypeError(f"topics={patterns!r:.80}: use a dict such as {{'room:*': Keep(100)}}")
        for pattern, keep in patterns.items():
            check_pattern(pattern)
            if not isinstance(keep, Keep):
                raise TypeError(f"topics={{{pattern!r:.80}: {keep!r:.80}}}: use a rxws.Keep")
            if pattern.endswith("*"):
                prefixes[pattern[:-1]] = keep
            else:
                self._exact[pattern] = keep
        self._prefixes = sorted(prefixes.items(), key=lambda item: -len(item[0]))

    def find(self, topic: str) -> Keep:
        """Return the `Keep` of a topic, `Keep.nothing()` if no pattern matches."""
        if (keep := self._exact.get(topic)) is not None:
            return keep
        return next((keep for prefix, keep in self._prefixes if topic.startswith(prefix)), _NOTHING)


_NOTHING = Keep.nothing()
