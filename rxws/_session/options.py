"""The options of a connection, checked once, with the same names on both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from rxws import closing, codecs, overflow
from rxws._core.checks import check_count, check_seconds
from rxws._core.connection import Close
from rxws._core.log import logger
from rxws.codecs import Codec

__all__ = ["OPTION_NAMES", "ConnectionOptions", "Options", "Unread"]

Unread = Literal["hold", "discard"]
"""What happens to messages while `incoming` has no subscriber."""

# Data in the kernel cannot be conflated, so it is outdated when it leaves. Smaller values are
# hardly fresher: the kernel fills whole packets. See benchmarks/staleness.py.
_KERNEL_BUFFER_OF_LATEST = 16 << 10


class ConnectionOptions(TypedDict, total=False):
    """The keyword arguments that every entry point takes in addition to `codec`.

    `protocols`: subprotocols (RFC 6455, section 1.9). A client offers them in order of preference.
    A server chooses the first offered one that it lists.
    `heartbeat`: seconds between pings, or None for no pings. If nothing arrives for 1.5 times
        this time, the connection is lost, unless the peer is still taking data sent before a ping.
    `max_message_size`: the size in bytes of the largest accepted message, after decompression.
    `compress`: whether to offer or accept permessage-deflate (RFC 7692).
    `completes`: a function of a `Close` that returns whether `incoming` completes; otherwise it
        fails. If `outgoing` caused the end, it always completes.
    `high_water`: no message is delivered while more than this number of bytes is unsent. Reading
        pauses when received messages of this size wait for your code.
    `max_buffer`: the limit of unsent data in bytes; a message's size is its payload plus 128.
    `overflow`: what happens to messages above `max_buffer`.
    `kernel_buffer`: the number of unsent bytes above which the operating system accepts no more
        data, on Linux and macOS. The rest stays in the buffer that `max_buffer` and `overflow`
        control. With None, the default, it is 16 KiB for `overflow.latest`; otherwise the
        operating system decides, and may take several MiB.
    `send_timeout`: seconds in which buffered data must be sent; otherwise the connection is
        aborted.
    `close_timeout`: seconds to wait for the peer's close frame. Also, after the end, seconds to
        wait for the `finally` blocks of coroutines and generators that were cancelled.
    `hold_timeout`: seconds for which messages wait for a subscriber of `incoming`.
    """

    protocols: Iterable[str]
    heartbeat: float | None
    max_message_size: int
    compress: bool
    completes: Callable[[Close], bool]
    high_water: int
    max_buffer: int
    overflow: overflow.Overflow
    kernel_buffer: int | None
    send_timeout: float
    close_timeout: float
    hold_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All options of one connection, with their defaults; see `ConnectionOptions`.

    Raises:
        ValueError: A value is out of range.
        TypeError: A value is of the wrong type.
    """

    codec: Codec[Any, Any] = codecs.raw
    protocols: tuple[str, ...] = ()
    heartbeat: float | None = 20.0
    max_message_size: int = 1 << 20
    compress: bool = True
    completes: Callable[[Close], bool] = closing.is_clean
    high_water: int = 64 << 10
    max_buffer: int = 1 << 20
    overflow: overflow.Overflow = "close"
    kernel_buffer: int | None = None
    send_timeout: float = 20.0
    close_timeout: float = 5.0
    hold_timeout: float = 30.0
    incoming: Unread = "hold"

    def __post_init__(self) -> None:
        if not isinstance(self.codec, Codec):
            raise TypeError(f"codec={self.codec!r} is not an rxws.Codec: use one of rxws.codecs")
        if isinstance(self.protocols, str):
            raise TypeError(
                f"protocols={self.protocols!r} is a single str: use [{self.protocols!r}]"
            )
        object.__setattr__(self, "protocols", tuple(self.protocols))  # any iterable, kept once
        if not callable(self.completes):
            raise TypeError(
                f"completes={self.completes!r} is not callable: use a function such as "
                "closing.is_clean"
            )
        if self.heartbeat is not None:
            check_seconds(
                "heartbeat", self.heartbeat, "use a number above 0, or None to disable it"
            )
        for name in ("send_timeout", "close_timeout", "hold_timeout"):
            check_seconds(name, getattr(self, name))
        for name in ("max_message_size", "high_water", "max_buffer"):
            check_count(name, getattr(self, name), "bytes")
        overflow.check(self.overflow)
        if self.kernel_buffer is None:
            if isinstance(self.overflow, overflow.Latest):
                object.__setattr__(self, "kernel_buffer", _KERNEL_BUFFER_OF_LATEST)
        else:
            check_count("kernel_buffer", self.kernel_buffer, "bytes")
        if self.incoming not in ("hold", "discard"):
            raise ValueError(f'incoming={self.incoming!r} is unknown: use "hold" or "discard"')

    def is_clean(self, close: Close) -> bool:
        """Return what `completes` says, or `closing.is_clean` if `completes` raises."""
        try:
            return self.completes(close)
        except Exception as exc:
            logger.error(
                "completes= raised for %s; using closing.is_clean instead", close, exc_info=exc
            )
            return closing.is_clean(close)


OPTION_NAMES = frozenset(Options.__dataclass_fields__) - {"incoming"}
"""The names of all options that both servers and clients have."""
