"""What is wrong with a handshake is told in words; `conformance/test_rfc.py` has the cases."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from rxws._aiohttp.handshake import may_deflate, request_violation, response_violation

KEY = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
PROTOCOL, EXTENSIONS = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([], "Sec-WebSocket-Key"),
        ([KEY, (PROTOCOL, "a b")], "without spaces"),
        ([KEY, (PROTOCOL, "chat,chat")], "twice"),
        ([KEY, (EXTENSIONS, "foo;;")], "name; parameter=value"),
        ([KEY, (EXTENSIONS, "a b")], "name; parameter=value"),
    ],
)
def test_what_a_request_lacks_is_named(pairs: list[tuple[str, str]], told: str) -> None:
    """The header, and what it has to be."""
    assert told in (request_violation(headers(*pairs)) or "")


def test_a_list_may_have_empty_elements() -> None:
    """As RFC 9110, section 5.6.1, asks of who reads one; and a value may be quoted."""
    offer = (EXTENSIONS, ', foo ; a = "b" ,, bar')
    assert request_violation(headers(KEY, (PROTOCOL, "chat, ,superchat,"), offer)) is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((PROTOCOL, "soap"), "'soap', which protocols= did not offer"),
        ((EXTENSIONS, "x-unheard"), "'x-unheard', which was not offered"),
        ((EXTENSIONS, "foo, foo"), "'foo' twice"),
        ((EXTENSIONS, "permessage-deflate; unheard"), "violates RFC 7692"),
        ((EXTENSIONS, ";"), "cannot be parsed"),
    ],
)
def test_what_an_answer_may_not_say_is_told(answer: tuple[str, str], told: str) -> None:
    """With the value, and the option where there is one."""
    offered = headers((PROTOCOL, "chat"), (EXTENSIONS, "permessage-deflate, foo"))
    assert told in (response_violation(offered, headers(answer)) or "")


def test_an_extension_of_the_users_own_may_be_answered() -> None:
    """What was offered by `headers=` was offered."""
    offered = headers((EXTENSIONS, "x-own"))
    assert response_violation(offered, headers((EXTENSIONS, "x-own; a=1"))) is None


@pytest.mark.parametrize(
    ("offer", "may"),
    [
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", True),
        ("x-unheard", True),  # nothing of it is taken for permessage-deflate
        ("x-permessage-deflate", False),
        ("permessage-deflate; server_max_window_bits", False),
        ("permessage-deflate; unheard, permessage-deflate", False),
    ],
)
def test_an_illegal_offer_is_declined(offer: str, may: bool) -> None:
    """With all others of the request, as aiohttp chooses among them."""
    assert may_deflate(headers((EXTENSIONS, offer))) is may
