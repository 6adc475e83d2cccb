"""The options of a peer and of calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypedDict, get_args

from rxws._core.checks import check_count, check_seconds
from rxws._session.option_names import check_names

__all__ = ["CALL_OPTIONS", "CallOptions", "Options", "PeerOptions", "WhenFull"]

WhenFull = Literal["fail", "hold"]
"""What happens when the queue of a stream is full; see `Caller.with_options`."""


class PeerOptions(TypedDict, total=False):
    """The keyword arguments of `Peer`, `Caller` and `serve`: limits for one connection.

    `max_requests` (256): how many requests and notifications of the other side may run at once, and
        how many messages a batch may have. A request above that is answered with -32000, and a
        notification is dropped.
    `max_calls` (1024): how many of your calls and streams may wait for an answer. A call above that
        raises `TooManyCalls`.
    `queue_items` (1024): how many items of one stream may wait for its subscriber, and how many
        items a method may yield if its caller has not asked for a stream.
    `queue_bytes` (1 MiB): the size of these items in bytes.
    """

    max_requests: int
    max_calls: int
    queue_items: int
    queue_bytes: int


@dataclass(frozen=True, slots=True)
class Options:
    """The checked values of `PeerOptions`."""

    max_requests: int = 256
    max_calls: int = 1024
    queue_items: int = 1024
    queue_bytes: int = 1 << 20

    @classmethod
    def of(cls, function: str, given: PeerOptions) -> Self:
        """Check the keyword arguments of a function."""
        for name in given:
            if name in CALL_OPTIONS:
                raise TypeError(
                    f"{name}= is an option of calls, not of {function}: use "
                    f"caller.with_options({name}=…)"
                )
        check_names(function, given, PeerOptions.__annotations__)
        return cls(**given)

    def __post_init__(self) -> None:
        check_count("max_requests", self.max_requests, "requests")
        check_count("max_calls", self.max_calls, "calls")
        check_count("queue_items", self.queue_items, "items")
        check_count("queue_bytes", self.queue_bytes, "bytes")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of one `Caller`; see `Caller.with_options`."""

    timeout: float | None = None
    idempotent: bool = False
    when_full: WhenFull = "fail"
    result: Any = field(default=Any)

    def __post_init__(self) -> None:
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, "use a number above 0, or None for no timeout")
        if not isinstance(self.idempotent, bool):
            raise TypeError(f"idempotent={self.idempotent!r} is not a bool: use True or False")
        if self.when_full not in get_args(WhenFull):
            raise ValueError(
                f"when_full={self.when_full!r} is unknown: use one of {get_args(WhenFull)}"
            )


CALL_OPTIONS = frozenset(CallOptions.__slots__)
