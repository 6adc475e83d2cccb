"""The policies behind the close table."""

from __future__ import annotations

import pytest

from rxws import Close, ConnectionClosed, DecodeError, EncodeError
from rxws.closing import (
    GOING_AWAY,
    UNEXPECTED,
    check_sendable,
    for_exception,
    for_fault,
    is_clean,
    is_wire_code,
    violation,
)

# DESIGN, section 4: what a close frame may not carry.
ILLEGAL = {*range(1000), 1004, 1005, 1006, 1015, *range(1016, 3000), *range(5000, 6000)}
ALL = range(6000)


def test_three_codes_are_clean() -> None:
    """1000, 1001 and no code; all other ends are errors unless `completes` says otherwise."""
    assert {code for code in range(1000, 5000) if is_clean(Close(code))} == {1000, 1001, 1005}
    assert is_clean(Close(1000, "bye", by="peer"))


def test_the_codes_of_the_wire_are_those_of_the_rfc() -> None:
    """All others are illegal in a close frame, in either direction."""
    assert {code for code in ALL if not is_wire_code(code)} == ILLEGAL
    assert not is_wire_code(65535)


def test_what_may_not_be_sent_is_refused_and_the_rest_returned() -> None:
    """The error names the code and those that may be sent."""
    for code in range(1000, 5000):
        close = Close(code)
        if code in ILLEGAL:
            with pytest.raises(ValueError, match=rf"{code} must not be sent .* 3000\.\.4999"):
                check_sendable(close)
        else:
            assert check_sendable(close) is close


def test_an_exception_is_told_as_1011_without_its_text() -> None:
    """What went wrong inside is nobody's business outside."""
    assert for_exception(ValueError("secret")) == Close(1011, "Unexpected Error")


def test_a_connection_closed_says_itself_how_to_close() -> None:
    """Its code and reason are taken, and the close is ours from then on."""
    close = for_exception(ConnectionClosed(Close(4003, "no", by="peer")))
    assert close == Close(4003, "no")
    assert close.by == "local"


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015, 2000])
def test_a_connection_closed_that_may_not_be_sent_becomes_1011(code: int) -> None:
    """As when a proxy passes on the 1006 of the far side."""
    assert for_exception(ConnectionClosed(Close(code, "text"))) == UNEXPECTED


def test_faults_have_the_code_of_their_kind() -> None:
    """1007 for what cannot be decoded, 1003 for the wrong kind of frame, 1011 for the rest."""
    assert for_fault(DecodeError("x", "x")).code == 1007
    assert for_fault(DecodeError("x", b"x", 1003)).code == 1003
    assert for_fault(EncodeError("x", "x")) == UNEXPECTED
    assert for_fault(ValueError("secret")) == UNEXPECTED


@pytest.mark.parametrize("code", [0, 1006, 2000, 99999])
def test_a_decode_error_with_a_code_that_may_not_be_sent_is_told_otherwise(code: int) -> None:
    """No verdict of ours puts an illegal code on the wire."""
    assert is_wire_code(for_fault(DecodeError("x", "x", code)).code)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009])
def test_a_violation_is_named(code: int) -> None:
    """The peer's developer reads what was wrong."""
    assert violation(code).code == code
    assert violation(code).reason
    assert violation(code).by == "local"


def test_a_violation_without_a_name_has_no_reason() -> None:
    """The code alone says enough."""
    assert violation(1010) == Close(1010)


def test_the_closes_of_the_table() -> None:
    """What the design spells out, word by word."""
    assert Close(1001, "Going Away") == GOING_AWAY
    assert Close(1011, "Unexpected Error") == UNEXPECTED
