"""Rules for close codes: which complete a stream, which may be sent, and which errors send."""

from __future__ import annotations

from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, DecodeError

__all__ = [
    "GOING_AWAY",
    "UNEXPECTED",
    "check_sendable",
    "for_exception",
    "for_fault",
    "is_clean",
    "is_wire_code",
    "violation",
]

GOING_AWAY = Close(1001, CLOSE_CODES[1001].reason)
UNEXPECTED = Close(1011, CLOSE_CODES[1011].reason)

_CLEAN = frozenset({1000, 1001, 1005})
_VIOLATIONS = frozenset({1002, 1003, 1007, 1009})

# 3000 to 4999 are for libraries and applications.
_WIRE = frozenset(
    {*(code for code, row in CLOSE_CODES.items() if row.sendable), *range(3000, 5000)}
)


def is_clean(close: Close) -> bool:
    """Return whether `incoming` completes after this close by default, and does not fail.

    It completes after 1000, 1001 and 1005 (no code).

    Examples:
        >>> is_clean(Close(1001)), is_clean(Close(1006)), is_clean(Close(4000))
        (True, False, False)
    """
    return close.code in _CLEAN


def is_wire_code(code: int) -> bool:
    """Return whether a close frame may carry this code (RFC 6455, section 7.4).

    Examples:
        >>> [is_wire_code(code) for code in (999, 1000, 1005, 1014, 2000, 3000, 5000)]
        [False, True, False, True, False, True, False]
    """
    return code in _WIRE


def check_sendable(close: Close) -> Close:
    """Return the close, or raise `ValueError` if its code must not be sent."""
    if not is_wire_code(close.code):
        raise ValueError(
            f"close code {close.code} must not be sent (RFC 6455, section 7.4): "
            "use 1000, 1001, 1002, 1003, 1007..1014 or 3000..4999"
        )
    return close


def for_exception(exc: BaseException) -> Close:
    """Return the close to send for an exception.

    A `ConnectionClosed` keeps its code and reason. Every other exception becomes 1011, without the
    exception's text. So does a `ConnectionClosed` whose code must not be sent, such as a 1006 that
    a proxy passes on from another connection.
    """
    if isinstance(exc, ConnectionClosed) and is_wire_code(exc.close.code):
        return Close(exc.close.code, exc.close.reason)
    return UNEXPECTED


def for_fault(error: Exception) -> Close:
    """Return the close to send for a fault without a subscriber to `errors`."""
    if not isinstance(error, DecodeError):
        return UNEXPECTED
    # A codec may raise a DecodeError with any number.
    return violation(error.code if is_wire_code(error.code) else 1007)


def violation(code: int) -> Close:
    """Return the close to send to a peer that violated the protocol."""
    # int: aiohttp's codes are members of an enum
    return Close(int(code), CLOSE_CODES[code].reason if code in _VIOLATIONS else "")
