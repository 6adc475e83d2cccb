"""The messages about a wrong handshake; `conformance/test_rfc.py` has all cases."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from rxws._aiohttp.handshake import (
    complete_answer,
    may_deflate,
    request_violation,
    response_violation,
)

KEY = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
PROTOCOL, EXTENSIONS = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "Sec-WebSocket-Key"),
        ([KEY, (PROTOCOL, "a b")], "without spaces"),
        ([KEY, (PROTOCOL, "chat,chat")], "twice"),
        ([KEY, (EXTENSIONS, "foo;;")], "name; parameter=value"),
        ([KEY, (EXTENSIONS, "a b")], "name; parameter=value"),
    ],
)
def test_a_violation_in_a_request_names_the_header(
    pairs: list[tuple[str, str]], message: str
) -> None:
    """The message about a wrong request names the header and its form."""
    assert message in (request_violation(headers(*pairs)) or "")


def test_a_list_may_have_empty_elements() -> None:
    """A list may have empty elements (RFC 9110, section 5.6.1) and quoted values."""
    offer = (EXTENSIONS, ', foo ; a = "b" ,, bar')
    assert request_violation(headers(KEY, (PROTOCOL, "chat, ,superchat,"), offer)) is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((PROTOCOL, "soap"), "'soap', which protocols= did not offer"),
        ((EXTENSIONS, "x-unheard"), "'x-unheard', which was not offered"),
        ((EXTENSIONS, "foo, foo"), "'foo' twice"),
        ((EXTENSIONS, "permessage-deflate; unheard"), "violates RFC 7692"),
        ((EXTENSIONS, ";"), "cannot be parsed"),
    ],
)
def test_a_violation_in_an_answer_names_the_value(answer: tuple[str, str], message: str) -> None:
    """The message about a wrong answer names the value, and the option if there is one."""
    offered = headers((PROTOCOL, "chat"), (EXTENSIONS, "permessage-deflate, foo"))
    assert message in (response_violation(offered, headers(answer)) or "")


def test_an_extension_offered_by_headers_may_be_answered() -> None:
    """An extension that the user offered in `headers=` may be in the answer."""
    offered = headers((EXTENSIONS, "x-own"))
    assert response_violation(offered, headers((EXTENSIONS, "x-own; a=1"))) is None


@pytest.mark.parametrize(
    ("offer", "may"),
    [
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", True),
        ("x-unheard", True),  # another extension
        ("x-permessage-deflate", False),
        ("permessage-deflate; server_max_window_bits", False),
        ("permessage-deflate; unheard, permessage-deflate", False),
    ],
)
def test_an_invalid_offer_of_compression_is_declined(offer: str, may: bool) -> None:
    """One invalid offer of permessage-deflate declines all, as aiohttp chooses among them."""
    assert may_deflate(headers((EXTENSIONS, offer))) is may


@pytest.mark.parametrize(
    ("offer", "answer", "completed"),
    [
        ("; server_max_window_bits=15", "", "; server_max_window_bits=15"),
        ("; a; server_max_window_bits=15", "; a", "; a; server_max_window_bits=15"),
        (
            ";server_max_window_bits=10",
            "; server_max_window_bits=10",
            "; server_max_window_bits=10",
        ),
        ("; client_max_window_bits=15", "", ""),
        ("", "", ""),
    ],
)
def test_the_answer_repeats_the_limit_of_the_servers_window(
    offer: str, answer: str, completed: str
) -> None:
    """An answer repeats `server_max_window_bits=15` (RFC 7692, section 7.1.2.1)."""
    name = "permessage-deflate"
    offered = headers((EXTENSIONS, f"x-unheard, {name}{offer}"))
    assert complete_answer(offered, f"{name}{answer}") == f"{name}{completed}"
