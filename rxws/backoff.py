"""When to dial again, and after how long: the policies behind every reconnect.

They know no timer and no socket: a policy is asked with what happened, and answers a number.
"""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import repeat
from typing import TypeAlias

from rxws._core.errors import ConnectError, ConnectionClosed, HandshakeError

__all__ = ["DEFAULT", "Backoff", "constant", "exponential", "is_retryable", "retry_after"]

Backoff: TypeAlias = Callable[[], Iterator[float]]
"""Begins a series of waits, in seconds, the first of them before the second attempt.

The end of the series means: give up, with what happened last.
"""

# RFC 6455, section 7.4.1, and the IANA registry for 1012 to 1014: ends that say nothing against
# another attempt. 1006 is a lost TCP connection or heartbeat.
_RETRYABLE_CLOSES = frozenset({1001, 1006, 1011, 1012, 1013, 1014})

# Request Timeout, Too Early, Too Many Requests; of 5xx all are.
_RETRYABLE_STATUSES = frozenset({408, 425, 429})

_TELLING_WHEN = frozenset({429, 503})  # RFC 6585, section 4; RFC 9110, section 10.2.3

# A typing error at the other end must not keep a client away for a year.
_LONGEST = 3600.0


def exponential(
    first: float = 1.0,
    factor: float = 2.0,
    cap: float = 60.0,
    random: Callable[[], float] = _random.random,
) -> Backoff:
    """Wait anything up to a bound that grows with every attempt, up to a cap.

    Each wait is drawn anew from 0 to the bound ("full jitter"), at the cap as well: clients that
    were cut off at once do not come back at once, however often they try.

    Args:
        first: The bound of the first wait, in seconds.
        factor: How much larger each bound is than the one before.
        cap: The largest bound, in seconds.
        random: Returns numbers from 0 to 1, equally distributed.

    Returns:
        A backoff without an end.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> waits = exponential(first=1, factor=2, cap=5, random=lambda: 0.5)()
        >>> [next(waits) for _ in range(5)]
        [0.5, 1.0, 2.0, 2.5, 2.5]
    """
    if not 0 < first < math.inf:
        raise ValueError(f"first={first!r}: use a number of seconds above 0")
    if not 1 <= factor < math.inf:
        raise ValueError(f"factor={factor!r}: use a number of 1 or more")
    if not first <= cap < math.inf:
        raise ValueError(f"cap={cap!r}: use a number of seconds, of first={first!r} or more")

    def waits() -> Iterator[float]:
        bound = float(first)
        while True:
            yield random() * bound
            bound = min(float(cap), bound * factor)

    return waits


DEFAULT = exponential()
"""What is used where no other is asked for."""


def constant(seconds: float) -> Backoff:
    """Wait the same time before every attempt, without jitter.

    For tests, and for one client with a server of its own. Many clients come back as a herd with
    it: use `exponential`.

    Args:
        seconds: The time.

    Returns:
        A backoff without an end.

    Raises:
        ValueError: The number is out of range.

    Examples:
        >>> waits = constant(2.5)()
        >>> next(waits), next(waits)
        (2.5, 2.5)
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds={seconds!r}: use a number of seconds, 0 or more")
    return lambda: repeat(float(seconds))


def is_retryable(cause: Exception) -> bool:
    """Tell whether what happened may be over with the next attempt; all else is final.

    It may with network errors and time-outs (`ConnectError`), with the HTTP statuses 408, 425, 429
    and 5xx (`HandshakeError`), and with the close codes 1001, 1006, 1011, 1012, 1013 and 1014
    (`ConnectionClosed`). A `ConnectError` over an address that is none, or over a certificate that
    does not hold, is final: asking again does not change that.

    Examples:
        >>> from rxws import Close, ConnectionClosed, HandshakeError
        >>> is_retryable(ConnectionClosed(Close(1006))), is_retryable(ConnectionClosed(Close(1008)))
        (True, False)
        >>> is_retryable(HandshakeError("no", 503, {})), is_retryable(HandshakeError("no", 401, {}))
        (True, False)
    """
    if isinstance(cause, HandshakeError):
        return cause.status in _RETRYABLE_STATUSES or 500 <= cause.status < 600
    if isinstance(cause, ConnectError):
        # Bad addresses and headers are ValueErrors, and so is ssl.SSLCertVerificationError.
        return not isinstance(cause.__cause__, ValueError)
    return isinstance(cause, ConnectionClosed) and cause.close.code in _RETRYABLE_CLOSES


def retry_after(cause: Exception, now: float) -> float | None:
    """Return how long the server asks to be left alone, in seconds.

    It does so by `Retry-After` (RFC 9110, section 10.2.3) with the statuses 429 and 503. A date
    there is one of the server's clock, so it is compared with the answer's own `Date` where there
    is one.

    Args:
        cause: What happened.
        now: The present, in seconds since 1970, for an answer without a `Date`.

    Returns:
        At most an hour; None if the server does not ask, or not in a way that makes sense.

    Examples:
        >>> retry_after(HandshakeError("busy", 503, {"Retry-After": "120"}), 0.0)
        120.0
    """
    if not isinstance(cause, HandshakeError) or cause.status not in _TELLING_WHEN:
        return None
    asked = _header(cause.headers, "retry-after")
    if asked.isascii() and asked.isdigit():
        # A number of that many digits is above the bound, and too long a one no int to Python.
        return _LONGEST if len(asked.lstrip("0")) > 9 else min(float(asked), _LONGEST)
    until = _seconds(asked)
    if until is None:
        return None
    date = _seconds(_header(cause.headers, "date"))
    return min(max(until - (now if date is None else date), 0.0), _LONGEST)


def _header(headers: Mapping[str, str], name: str) -> str:
    """Return a header's value, whatever the case of its name; empty if there is none."""
    for each, value in headers.items():
        if each.lower() == name:
            return value.strip()
    return ""


def _seconds(date: str) -> float | None:
    """Return the seconds since 1970 of a date in HTTP (RFC 9110, section 5.6.7), None if none."""
    try:
        at = parsedate_to_datetime(date)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # garbage; a year or zone that no datetime has
        return None
