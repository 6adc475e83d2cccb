"""Reconnect policies: whether to retry, and after how many seconds."""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import repeat
from typing import TypeAlias

from aiohttp import ClientConnectionError, ClientPayloadError, ClientResponseError

from rxws._core.checks import check_seconds
from rxws._core.errors import ConnectError, ConnectionClosed, HandshakeError

__all__ = [
    "DEFAULT",
    "Backoff",
    "constant",
    "exponential",
    "is_retryable",
    "is_retryable_or_clean",
    "retry_after",
]

Backoff: TypeAlias = Callable[[], Iterator[float]]
"""A function that returns the waits before each retry, in seconds.

When the iterator ends, the client gives up with the last error.
"""

# RFC 6455, section 7.4.1; IANA's registry for 1012 to 1014. 1006: lost TCP connection or heartbeat.
_RETRYABLE_CLOSES = frozenset({1001, 1006, 1011, 1012, 1013, 1014})

_CLEAN_CLOSES = frozenset({1000, 1005})  # 1005: no code

# OSErrors that no network causes: of files and processes, and an invalid certificate (ValueError).
_LOCAL_ERRORS = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ChildProcessError,
    ProcessLookupError,
)

# Request Timeout, Too Early, Too Many Requests. All of 5xx are retryable, too.
_RETRYABLE_STATUSES = frozenset({408, 425, 429})

_RETRY_AFTER_STATUSES = frozenset({429, 503})  # RFC 6585, section 4; RFC 9110, section 10.2.3
_MAX_RETRY_AFTER = 3600.0  # seconds; bounds the wait if the server sends a wrong number


def exponential(
    first: float = 1.0,
    factor: float = 2.0,
    cap: float = 60.0,
    random: Callable[[], float] = _random.random,
) -> Backoff:
    """Wait a random time up to a bound that grows with every attempt.

    Each wait is drawn between 0 and the bound ("full jitter"). Clients that lost their connection
    at the same moment therefore do not reconnect at the same moment.

    Args:
        first: The bound of the first wait, in seconds.
        factor: Each bound is this many times the one before.
        cap: The largest bound, in seconds.
        random: Returns uniformly distributed numbers from 0 to 1.

    Returns:
        A backoff that never gives up.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> waits = exponential(first=1, factor=2, cap=5, random=lambda: 0.5)()
        >>> [next(waits) for _ in range(5)]
        [0.5, 1.0, 2.0, 2.5, 2.5]
    """
    if not 0 < first < math.inf:
        raise ValueError(f"first={first!r} must be a number of seconds above 0")
    if not 1 <= factor < math.inf:
        raise ValueError(f"factor={factor!r} must be 1 or more")
    if not first <= cap < math.inf:
        raise ValueError(f"cap={cap!r} must be a number of seconds, at least first={first!r}")

    def waits() -> Iterator[float]:
        bound = float(first)
        while True:
            yield random() * bound
            bound = min(float(cap), bound * factor)

    return waits


DEFAULT = exponential()
"""The default backoff: `exponential()`."""


def constant(seconds: float) -> Backoff:
    """Wait the same time before every attempt, without jitter.

    Use it in tests, or for a single client. Many clients would all reconnect at the same moment:
    use `exponential` for them.

    Args:
        seconds: The time to wait.

    Returns:
        A backoff that never gives up.

    Raises:
        TypeError: `seconds` is not a number.
        ValueError: `seconds` is negative or infinite.

    Examples:
        >>> waits = constant(2.5)()
        >>> next(waits), next(waits)
        (2.5, 2.5)
    """
    check_seconds("seconds", seconds, "use a number of seconds, 0 or more", zero=True)
    return lambda: repeat(float(seconds))


def is_retryable(cause: Exception) -> bool:
    """Return whether another attempt may succeed after this error.

    Network errors and timeouts (`ConnectError`), the HTTP statuses 408, 425, 429 and 5xx
    (`HandshakeError`), and the close codes 1001, 1006, 1011, 1012, 1013 and 1014
    (`ConnectionClosed`) are retryable. So are the network errors and HTTP statuses that your own
    functions for `url` and `headers` raise: aiohttp's `ClientConnectionError`, a `TimeoutError`, or
    an `OSError` that is not about a file. Everything else is final, including an invalid URL and
    an invalid certificate.

    Args:
        cause: The error that ended the attempt or the connection.

    Returns:
        True for a temporary error.

    Examples:
        >>> from rxws import Close, ConnectionClosed, HandshakeError
        >>> is_retryable(ConnectionClosed(Close(1006))), is_retryable(ConnectionClosed(Close(1008)))
        (True, False)
        >>> is_retryable(HandshakeError("no", 503, {})), is_retryable(HandshakeError("no", 401, {}))
        (True, False)
        >>> is_retryable(TimeoutError("of the ticket server")), is_retryable(KeyError("token"))
        (True, False)
    """
    if isinstance(cause, HandshakeError):
        return _is_retryable_status(cause.status)
    if isinstance(cause, ConnectError):
        # Invalid URLs and headers are ValueErrors, and so is ssl.SSLCertVerificationError.
        return not isinstance(cause.__cause__, ValueError)
    if isinstance(cause, ConnectionClosed):
        return cause.close.code in _RETRYABLE_CLOSES
    return _is_network_error(cause)


def is_retryable_or_clean(cause: Exception) -> bool:
    """Return whether to retry, as `is_retryable`, but also after a close with 1000 or no code.

    Use it for a stream that should never end, if the server closes with 1000 when it restarts.
    A close from your own side remains final.

    Args:
        cause: The error that ended the attempt or the connection.

    Returns:
        True for a temporary error, and if the peer closed with 1000 or without a code.

    Examples:
        ```python
        retryable = rxws.backoff.is_retryable_or_clean
        feed = rxws.WebSocketSubject("wss://example.com/prices", retryable=retryable)
        ```
    """
    if isinstance(cause, ConnectionClosed) and cause.close.code in _CLEAN_CLOSES:
        return cause.close.by == "peer"
    return is_retryable(cause)


def _is_retryable_status(status: int) -> bool:
    return status in _RETRYABLE_STATUSES or 500 <= status < 600


def _is_network_error(error: Exception) -> bool:
    """Return whether an error of a user's own HTTP request is temporary."""
    kinds = OSError | ClientConnectionError | ClientPayloadError | ClientResponseError
    if not isinstance(error, kinds) or isinstance(error, _LOCAL_ERRORS):
        return False
    # Some HTTP clients raise an OSError for a status such as 401, as `urllib` and `requests` do.
    response = getattr(error, "response", None)
    status = getattr(error, "status", getattr(response, "status_code", None))
    return _is_retryable_status(status) if isinstance(status, int) else True


def retry_after(cause: Exception, now: float) -> float | None:
    """Return the wait that a server asks for with `Retry-After`, in seconds.

    Other statuses than 429 and 503 are ignored (RFC 9110, section 10.2.3). If the header is a date,
    the wait is counted from the response's `Date`, as both are times of the server's clock.

    Args:
        cause: The error that ended the attempt.
        now: The current time in seconds since 1970, for a response without a `Date`.

    Returns:
        At most 3600 seconds; None without a valid `Retry-After`.

    Examples:
        >>> retry_after(HandshakeError("busy", 503, {"Retry-After": "120"}), 0.0)
        120.0
    """
    if not isinstance(cause, HandshakeError | ClientResponseError):
        return None
    if cause.status not in _RETRY_AFTER_STATUSES or cause.headers is None:
        return None
    value = _header(cause.headers, "retry-after")
    if value.isascii() and value.isdigit():
        return min(float(value), _MAX_RETRY_AFTER)
    until = _seconds(value)
    if until is None:
        return None
    date = _seconds(_header(cause.headers, "date"))
    return min(max(until - (now if date is None else date), 0.0), _MAX_RETRY_AFTER)


def _header(headers: Mapping[str, str], name: str) -> str:
    """Return a header's value, ignoring the case of its name, or an empty string."""
    for each, value in headers.items():
        if each.lower() == name:
            return value.strip()
    return ""


def _seconds(date: str) -> float | None:
    """Parse a date of HTTP (RFC 9110, section 5.6.7) into seconds since 1970."""
    try:
        at = parsedate_to_datetime(date)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (
        ValueError,
        OverflowError,
    ):  # not a date, or a year or zone that datetime does not support
        return None
