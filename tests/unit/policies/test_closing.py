"""The rules about close codes."""

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

# codes that a close frame must not have (RFC 6455, section 7.4)
ILLEGAL = {*range(1000), 1004, 1005, 1006, 1015, *range(1016, 3000), *range(5000, 6000)}
ALL = range(6000)


def test_three_codes_are_clean() -> None:
    """A close with 1000, 1001 or no code is clean by default; all others are errors."""
    assert {code for code in range(1000, 5000) if is_clean(Close(code))} == {1000, 1001, 1005}
    assert is_clean(Close(1000, "bye", by="peer"))


def test_wire_codes_are_those_of_the_rfc() -> None:
    """`is_wire_code` accepts the codes that RFC 6455 allows in a close frame."""
    assert {code for code in ALL if not is_wire_code(code)} == ILLEGAL
    assert not is_wire_code(65535)


def test_check_sendable_refuses_illegal_codes() -> None:
    """`check_sendable` returns a legal close, else raises a ValueError with the legal codes."""
    for code in range(1000, 5000):
        close = Close(code)
        if code in ILLEGAL:
            with pytest.raises(ValueError, match=rf"{code} must not be sent .* 3000\.\.4999"):
                check_sendable(close)
        else:
            assert check_sendable(close) is close


def test_an_exception_closes_with_1011_without_its_text() -> None:
    """An exception closes with 1011; the reason does not have its text."""
    assert for_exception(ValueError("secret")) == Close(1011, "Unexpected Error")


def test_a_connection_closed_closes_with_its_code_and_reason() -> None:
    """A ConnectionClosed closes with its code and reason, by "local"."""
    close = for_exception(ConnectionClosed(Close(4003, "no", by="peer")))
    assert close == Close(4003, "no")
    assert close.by == "local"


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015, 2000])
def test_a_connection_closed_with_an_unsendable_code_closes_with_1011(code: int) -> None:
    """A ConnectionClosed with an unsendable code closes with 1011, as in a proxy."""
    assert for_exception(ConnectionClosed(Close(code, "text"))) == UNEXPECTED


def test_faults_close_with_the_code_of_their_kind() -> None:
    """A DecodeError closes with 1007 or 1003, any other fault with 1011."""
    assert for_fault(DecodeError("x", "x")).code == 1007
    assert for_fault(DecodeError("x", b"x", 1003)).code == 1003
    assert for_fault(EncodeError("x", "x")) == UNEXPECTED
    assert for_fault(ValueError("secret")) == UNEXPECTED


@pytest.mark.parametrize("code", [0, 1006, 2000, 99999])
def test_a_decode_error_with_an_illegal_code_closes_with_a_legal_one(code: int) -> None:
    """A DecodeError with an illegal code closes with a legal one."""
    assert is_wire_code(for_fault(DecodeError("x", "x", code)).code)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009])
def test_a_violation_has_a_reason(code: int) -> None:
    """A violation closes with its code and a reason, by "local"."""
    assert violation(code).code == code
    assert violation(code).reason
    assert violation(code).by == "local"


def test_an_unknown_violation_has_no_reason() -> None:
    """A violation with another code has no reason."""
    assert violation(1010) == Close(1010)


def test_the_constants() -> None:
    """The constants have the documented codes and reasons."""
    assert Close(1001, "Going Away") == GOING_AWAY
    assert Close(1011, "Unexpected Error") == UNEXPECTED
