"""The policies of dialling again, without any dialling."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import islice
from typing import Any

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


def because(error: ConnectError, cause: BaseException) -> ConnectError:
    error.__cause__ = cause
    return error


def test_each_bound_is_larger_than_the_one_before_up_to_the_cap() -> None:
    """Where random says 1, waits are the bounds: first, times factor, then the cap for ever."""
    waits = backoff.exponential(first=0.5, factor=3.0, cap=10.0, random=lambda: 1.0)()
    assert list(islice(waits, 6)) == [0.5, 1.5, 4.5, 10.0, 10.0, 10.0]


@pytest.mark.promise("jitter")
def test_every_wait_is_drawn_anew_also_at_the_cap() -> None:
    """Each is the bound times a number of its own."""
    numbers = iter([0.1, 0.2, 0.3, 0.4, 0.5])
    waits = backoff.exponential(first=1.0, factor=2.0, cap=4.0, random=lambda: next(numbers))()
    assert list(islice(waits, 5)) == pytest.approx([0.1, 0.4, 1.2, 1.6, 2.0])


def test_the_default_starts_at_a_second_doubles_and_ends_at_a_minute() -> None:
    """As documented: 1, 2, 4 ... 60."""
    waits = backoff.exponential(random=lambda: 1.0)()
    assert list(islice(waits, 8)) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_each_series_begins_anew() -> None:
    """Two series of one backoff know nothing of each other."""
    series = backoff.exponential(random=lambda: 1.0)
    one, other = series(), series()
    assert list(islice(one, 3)) == [1.0, 2.0, 4.0]
    assert next(other) == 1.0


def test_it_goes_on_for_ever() -> None:
    """No bound overflows, after any number of attempts."""
    waits = backoff.exponential(factor=1e300, random=lambda: 1.0)()
    assert list(islice(waits, 5000))[-1] == 60.0


def test_at_the_cap_waits_are_spread_over_all_of_it() -> None:
    """Of 10000 waits at the cap each tenth of it has about a tenth, and the default is random."""
    seed = 7
    rng = random.Random(seed)
    waits = list(islice(backoff.exponential(random=rng.random)(), 7, 10007))
    for tenth in range(10):
        share = sum(6.0 * tenth <= wait < 6.0 * (tenth + 1) for wait in waits) / len(waits)
        assert 0.08 < share < 0.12, f"seed {seed}: {share} of the waits in the {tenth}th tenth"
    by_default = list(islice(backoff.exponential()(), 20))
    assert len(set(by_default)) == 20


def test_a_constant_one_waits_the_same_for_ever() -> None:
    """No jitter, and 0 is allowed."""
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
def test_numbers_that_make_no_sense_are_refused(options: dict[str, Any], name: str) -> None:
    """By the name of the argument."""
    with pytest.raises(ValueError, match=f"^{name}="):
        backoff.exponential(**options)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_constant_that_makes_no_sense_is_refused(seconds: float) -> None:
    """Below 0, no number, or never."""
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
        (because(ConnectError("reset"), ConnectionResetError()), True),
        (because(ConnectError("slow"), TimeoutError()), True),
        (because(ConnectError("no address"), ValueError()), False),
        (refusal(600), False),
        (DecodeError("no json", ""), False),
        (ValueError(), False),
        (OSError(), False),
    ],
    ids=repr,
)
def test_which_errors_are_dialled_again(error: Exception, expected: bool) -> None:
    """Network errors and time-outs; not an address that is none, nor what is not of the net."""
    assert backoff.is_retryable(error) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "3601"}, HOUR),
        ({"Retry-After": "9" * 5000}, HOUR),
        ({"Retry-After": "0" * 5000 + "5"}, 5.0),
        ({"Retry-After": DATE}, 30.0),  # of now, which is half a minute before
        ({"Retry-After": DATE, "Date": "Wed, 21 Oct 2015 07:27:50 GMT"}, 10.0),
        ({"Retry-After": DATE, "Date": "garbage"}, 30.0),
        ({"Retry-After": "Wednesday, 21-Oct-15 07:28:00 GMT"}, 30.0),  # RFC 850's
        ({"Retry-After": "Wed Oct 21 07:28:00 2015"}, 30.0),  # asctime's
        ({"Retry-After": "Wed, 21 Oct 2015 07:26:00 GMT"}, 0.0),  # passed
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
def test_how_long_the_server_asks_to_wait(headers: dict[str, str], expected: float | None) -> None:
    """Seconds or a date, an hour at the most; what makes no sense is ignored."""
    for status in (429, 503):
        assert backoff.retry_after(refusal(status, headers), AT - 30.0) == expected


def test_other_answers_do_not_ask_to_wait() -> None:
    """`Retry-After` means something with 429 and 503 only; a close has no headers."""
    for status in (301, 404, 500, 502):
        assert backoff.retry_after(refusal(status, {"Retry-After": "5"}), 0.0) is None
    assert backoff.retry_after(ConnectError("nobody"), 0.0) is None
    assert backoff.retry_after(ConnectionClosed(Close(1013)), 0.0) is None


@given(asked=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ [+-]?\w+"))
def test_no_header_is_a_fault(asked: str) -> None:
    """Whatever a server sends, the answer is a number of seconds up to an hour, or none."""
    for headers in ({"Retry-After": asked}, {"Retry-After": DATE, "Date": asked}):
        told = backoff.retry_after(refusal(503, headers), AT)
        assert told is None or 0.0 <= told <= HOUR
