"""Overflow policies: what happens to a message when the outgoing buffer is full."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = ["OVERHEAD", "REFUSING", "Latest", "Overflow", "check", "latest"]

OVERHEAD = 128
"""Bytes that each message counts besides its payload, so that small messages are bounded too."""

REFUSING = ("close", "drop_newest")
"""The policies that keep the messages that are already queued."""

Named = Literal["close", "drop_oldest", "drop_newest"]


@dataclass(frozen=True, slots=True)
class Latest:
    """The policy that `latest` returns."""

    key: Callable[[Any], Hashable] | None = None

    def of(self, value: object) -> Hashable:
        """Return the key of a message. A new message replaces the queued one with its key."""
        return None if self.key is None else self.key(value)


Overflow = Named | Latest
"""What happens to a message that would exceed `max_buffer`.

`"close"`: close the connection with 1013 "Try Again Later" instead of dropping messages silently.
`"drop_oldest"`: drop the oldest queued messages, and count them.
`"drop_newest"`: drop the new message, and count it.
`latest(key)`: replace the queued message by the new one, so that a slow peer gets current data.
"""


def latest(key: Callable[[Any], Hashable] | None = None) -> Latest:
    """Keep only the newest queued message, or the newest for each key (conflation).

    A replaced message counts as dropped (`"conflated"`). The new message takes its position in the
    queue, so messages with a key that changes often are still sent.

    Args:
        key: Returns the key of a message, given the value before it is encoded. Without it, all
            messages share one key.

    Returns:
        A policy for the option `overflow`.

    Raises:
        TypeError: `key` is not callable.

    Examples:
        ```python
        rxws.websocket(handler, overflow=rxws.overflow.latest(lambda tick: tick["symbol"]))
        ```
    """
    if key is not None and not callable(key):
        raise TypeError(f"key={key!r} is not callable: use a function of the message, or None")
    return Latest(key)


def check(policy: object) -> None:
    """Raise `ValueError` for an unknown policy."""
    if not isinstance(policy, Latest) and policy not in get_args(Named):
        raise ValueError(
            f"overflow={policy!r} is unknown: use one of {get_args(Named)} or overflow.latest()"
        )
