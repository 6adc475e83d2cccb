"""The backoff and the rules for retries, without any dialling."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Mapping
from itertools import islice
from typing import Any, cast
from urllib.error import HTTPError, URLError

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws import backoff
from rxws._core.connection import Close
from rxws._core.errors import ConnectError, ConnectionClosed, DecodeError, HandshakeError

HOUR = 3600.0
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"  # the example of RFC 9110, section 10.2.3
AT = 1445412480.0


def refusal(status: int, headers: Mapping[str, str] | None = None) -> HandshakeError:
    return HandshakeError(f"status {status}", status, headers or {})


def with_cause(error: ConnectError, cause: BaseException) -> ConnectError:
    error.__cause__ = cause
    return error


def test_exponential_delays_grow_up_to_the_cap() -> None:
    """The upper bound of the delays grows from `first` by `factor` up to `cap`."""
    delays = backoff.exponential(first=0.5, factor=3.0, cap=10.0, random=lambda: 1.0)()
    assert list(islice(delays, 6)) == [0.5, 1.5, 4.5, 10.0, 10.0, 10.0]


@pytest.mark.promise("jitter")
def test_each_delay_has_its_own_random_factor() -> None:
    """Each delay is its upper bound times a new random number, also at the cap."""
    numbers = iter([0.1, 0.2, 0.3, 0.4, 0.5])
    delays = backoff.exponential(first=1.0, factor=2.0, cap=4.0, random=lambda: next(numbers))()
    assert list(islice(delays, 5)) == pytest.approx([0.1, 0.4, 1.2, 1.6, 2.0])


def test_the_default_bounds_go_from_1_to_60_seconds() -> None:
    """By default the bounds are 1, 2, 4 ... 60 seconds."""
    delays = backoff.exponential(random=lambda: 1.0)()
    assert list(islice(delays, 8)) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_each_series_is_independent() -> None:
    """Each series of a backoff starts with the first delay."""
    series = backoff.exponential(random=lambda: 1.0)
    one, other = series(), series()
    assert list(islice(one, 3)) == [1.0, 2.0, 4.0]
    assert next(other) == 1.0


def test_a_series_never_ends_or_overflows() -> None:
    """A series neither ends nor overflows."""
    delays = backoff.exponential(factor=1e300, random=lambda: 1.0)()
    assert list(islice(delays, 5000))[-1] == 60.0


def test_delays_at_the_cap_are_uniformly_random() -> None:
    """Delays at the cap are spread evenly over 0 to `cap`, by default at random."""
    seed = 7
    rng = random.Random(seed)
    delays = list(islice(backoff.exponential(random=rng.random)(), 7, 10007))
    for tenth in range(10):
        share = sum(6.0 * tenth <= delay < 6.0 * (tenth + 1) for delay in delays) / len(delays)
        assert 0.08 < share < 0.12, f"seed {seed}: {share} of the delays in the {tenth}th tenth"
    default_delays = list(islice(backoff.exponential()(), 20))
    assert len(set(default_delays)) == 20


def test_a_constant_backoff_has_equal_delays() -> None:
    """A constant backoff always has the same delay, which may be 0."""
    assert list(islice(backoff.constant(2)(), 3)) == [2.0, 2.0, 2.0]
    assert next(backoff.constant(0)()) == 0.0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"first": 0.0}, "first"),
        ({"first": float("inf")}, "first"),
        ({"factor": 0.5}, "factor"),
        ({"factor": float("nan")}, "factor"),
        ({"first": 2.0, "cap": 1.0}, "cap"),
        ({"cap": float("inf")}, "cap"),
    ],
)
def test_invalid_arguments_of_exponential_are_refused(options: dict[str, Any], name: str) -> None:
    """An invalid argument of `exponential` raises a ValueError with its name."""
    with pytest.raises(ValueError, match=f"^{name}="):
        backoff.exponential(**options)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_an_invalid_constant_delay_is_refused(seconds: float) -> None:
    """A negative, infinite or NaN constant delay raises a ValueError."""
    with pytest.raises(ValueError, match=r"^seconds="):
        backoff.constant(seconds)


RETRIED_CODES = {1001, 1006, 1011, 1012, 1013, 1014}


@pytest.mark.parametrize("code", [*range(1000, 1020), 2999, 3000, 4000, 4001, 4999])
def test_which_closes_are_dialled_again(code: int) -> None:
    """Those that say nothing against another attempt, and no others."""
    assert backoff.is_retryable(ConnectionClosed(Close(code))) == (code in RETRIED_CODES)


@pytest.mark.parametrize("status", [101, 200, 301, *range(400, 432), *range(499, 512), 599])
def test_which_statuses_are_dialled_again(status: int) -> None:
    """408, 425, 429 and 5xx, and no others."""
    expected = status in {408, 425, 429} or status >= 500
    assert backoff.is_retryable(refusal(status)) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectError("nobody"), True),
        (with_cause(ConnectError("reset"), ConnectionResetError()), True),
        (with_cause(ConnectError("slow"), TimeoutError()), True),
        (with_cause(ConnectError("no address"), ValueError()), False),
        (refusal(600), False),
        (DecodeError("no json", ""), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_which_errors_are_retried(error: Exception, expected: bool) -> None:
    """Network errors and timeouts are retried; an invalid URL and other exceptions are not."""
    assert backoff.is_retryable(error) is expected


REQUEST = cast(Any, None)  # what aiohttp's errors have as the request


class ResponseOfRequests:
    """The response of an HTTP client that raises OSErrors, as `requests` does."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


def with_response(status: int) -> OSError:
    error = OSError(f"status {status}")
    cast(Any, error).response = ResponseOfRequests(status)
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(101, "network is unreachable"), True),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (socket.gaierror(-3, "try again"), True),
        (ssl.SSLError("EOF"), True),
        (URLError(ConnectionRefusedError()), True),
        (aiohttp.ClientConnectionError("reset"), True),
        (aiohttp.ClientOSError(104, "reset"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ServerTimeoutError(), True),
        (aiohttp.ClientPayloadError("cut"), True),
        (aiohttp.ClientResponseError(REQUEST, (), status=503), True),
        (HTTPError("http://a/", 502, "", cast(Any, None), None), True),
        (with_response(429), True),
        (aiohttp.ClientResponseError(REQUEST, (), status=401), False),
        (aiohttp.TooManyRedirects(REQUEST, ()), False),
        (HTTPError("http://a/", 401, "", cast(Any, None), None), False),
        (with_response(403), False),
        (aiohttp.InvalidURL("nonsense"), False),
        (ssl.SSLCertVerificationError(), False),
        (FileNotFoundError("token"), False),
        (PermissionError("token"), False),
        (KeyError("token"), False),
        (RuntimeError("Session is closed"), False),
    ],
    ids=repr,
)
@pytest.mark.promise("ticket")
def test_which_errors_of_the_users_functions_are_retried(error: Exception, expected: bool) -> None:
    """Network errors and temporary HTTP statuses of a `url` or `headers` function are retried."""
    assert backoff.is_retryable(error) is expected
    assert backoff.is_retryable_or_clean(error) is expected


@pytest.mark.parametrize("code", [*range(1000, 1020), 3000, 4001])
@pytest.mark.parametrize("by", ["peer", "network", "local"])
def test_a_clean_close_may_be_retried(code: int, by: Any) -> None:
    """`is_retryable_or_clean` also retries after 1000 or no code, if the peer closed."""
    cause = ConnectionClosed(Close(code, by=by))
    expected = by == "peer" if code in {1000, 1005} else code in RETRIED_CODES
    assert backoff.is_retryable_or_clean(cause) == expected


def test_retry_after_of_the_users_own_request() -> None:
    """The `Retry-After` of an aiohttp error that a user's function raises counts, too."""
    headers = cast(Any, {"Retry-After": "7"})
    busy = aiohttp.ClientResponseError(REQUEST, (), status=503, headers=headers)
    assert backoff.retry_after(busy, 0.0) == 7.0
    assert backoff.retry_after(aiohttp.ClientResponseError(REQUEST, (), status=503), 0.0) is None
    final = aiohttp.ClientResponseError(REQUEST, (), status=401, headers=headers)
    assert backoff.retry_after(final, 0.0) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "3601"}, HOUR),
        ({"Retry-After": "9" * 5000}, HOUR),
        ({"Retry-After": "0" * 5000 + "5"}, 5.0),
        ({"Retry-After": DATE}, 30.0),  # from now, half a minute before
        ({"Retry-After": DATE, "Date": "Wed, 21 Oct 2015 07:27:50 GMT"}, 10.0),
        ({"Retry-After": DATE, "Date": "garbage"}, 30.0),
        ({"Retry-After": "Wednesday, 21-Oct-15 07:28:00 GMT"}, 30.0),  # the format of RFC 850
        ({"Retry-After": "Wed Oct 21 07:28:00 2015"}, 30.0),  # the format of asctime
        ({"Retry-After": "Wed, 21 Oct 2015 07:26:00 GMT"}, 0.0),  # in the past
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, HOUR),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 99999999 07:28:00 GMT"}, None),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.promise("retry-after")
def test_retry_after_is_parsed(headers: dict[str, str], expected: float | None) -> None:
    """`Retry-After` is read as seconds or a date, up to an hour; invalid values are ignored."""
    for status in (429, 503):
        assert backoff.retry_after(refusal(status, headers), AT - 30.0) == expected


def test_retry_after_counts_with_429_and_503_only() -> None:
    """`Retry-After` counts with a 429 and a 503 only."""
    for status in (301, 404, 500, 502):
        assert backoff.retry_after(refusal(status, {"Retry-After": "5"}), 0.0) is None
    assert backoff.retry_after(ConnectError("nobody"), 0.0) is None
    assert backoff.retry_after(ConnectionClosed(Close(1013)), 0.0) is None


@given(text=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ [+-]?\w+"))
def test_any_retry_after_is_handled(text: str) -> None:
    """Any text in `Retry-After` gives seconds up to an hour, or None."""
    for headers in ({"Retry-After": text}, {"Retry-After": DATE, "Date": text}):
        delay = backoff.retry_after(refusal(503, headers), AT)
        assert delay is None or 0.0 <= delay <= HOUR
