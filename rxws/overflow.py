"""What happens to a message that finds the peer too far behind: the policies to choose from."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = ["OVERHEAD", "REFUSING", "Latest", "Overflow", "check", "latest"]

OVERHEAD = 128
"""Bytes that each message counts besides its payload, so that tiny ones are bounded too."""

REFUSING = ("close", "drop_newest")
"""The policies by which what waits already stays."""

Named = Literal["close", "drop_oldest", "drop_newest"]


@dataclass(frozen=True, slots=True)
class Latest:
    """The policy that `latest` makes."""

    key: Callable[[Any], Hashable] | None = None

    def of(self, value: object) -> Hashable:
        """Return what a value replaces: the waiting one for which this is the same."""
        return None if self.key is None else self.key(value)


Overflow = Named | Latest
"""What happens to a message that would lift the outbound buffer above `max_buffer`.

`"close"`: the connection ends with 1013 "Try Again Later", as nothing may be lost unseen.
`"drop_oldest"`: the messages that wait longest make room, and are counted.
`"drop_newest"`: it is dropped itself, and counted.
`latest(key)`: a message that has to wait replaces the one that waits already, so that a peer that
is behind gets what is new instead of what is old.
"""


def latest(key: Callable[[Any], Hashable] | None = None) -> Latest:
    """Conflate: while the peer is behind, only the newest message waits, or the newest of each key.

    A replaced message is counted as dropped (`"conflated"`). The new one takes its place in the
    order, so that a key that changes often does not wait for ever.

    Args:
        key: What tells messages apart; given the value as it was pushed, not yet encoded.

    Returns:
        A policy for the option `overflow`.

    Raises:
        TypeError: The key is not callable.

    Examples:
        ```python
        rxws.websocket(handler, overflow=rxws.overflow.latest(lambda tick: tick["symbol"]))
        ```
    """
    if key is not None and not callable(key):
        raise TypeError(f"key={key!r} is not callable: use a function of the message, or None")
    return Latest(key)


def check(policy: object) -> None:
    """Refuse a policy that does not exist.

    Raises:
        ValueError: There is no such policy.
    """
    if not isinstance(policy, Latest) and policy not in get_args(Named):
        raise ValueError(
            f"overflow={policy!r} is unknown: use one of {get_args(Named)} or overflow.latest()"
        )
