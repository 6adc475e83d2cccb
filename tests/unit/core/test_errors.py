"""The exceptions: one base class, and attributes for programs."""

from __future__ import annotations

import logging
import pickle

import pytest

import rxws
from rxws import (
    BufferOverflow,
    Close,
    ConnectError,
    ConnectionClosed,
    DecodeError,
    EncodeError,
    HandshakeError,
    OpeningError,
    RxwsError,
    SendTimeout,
)
from rxws._core import errors
from rxws._core.log import logger

CLOSE = Close(4001, "why", by="peer")
EVERY: list[RxwsError] = [
    RxwsError("text"),
    ConnectionClosed(CLOSE),
    BufferOverflow(CLOSE),
    SendTimeout(CLOSE),
    ConnectError("text"),
    HandshakeError("text", 403, {"Server": "x"}, b"no"),
    OpeningError("text"),
    DecodeError("text", b"\xff"),
    EncodeError("text", {1: 2}),
]


def test_every_error_is_public_and_an_rxws_error() -> None:
    """Every error is public and a subclass of RxwsError."""
    assert {type(error).__name__ for error in EVERY} == set(errors.__all__)
    for error in EVERY:
        assert isinstance(error, RxwsError)
        assert getattr(rxws, type(error).__name__) is type(error)


@pytest.mark.parametrize("kind", [ConnectionClosed, BufferOverflow, SendTimeout])
def test_errors_of_an_end_have_the_close(kind: type[ConnectionClosed]) -> None:
    """ConnectionClosed and its subclasses have the `Close`, and show it in their text."""
    error = kind(CLOSE)
    assert isinstance(error, ConnectionClosed)
    assert error.close is CLOSE
    assert str(error) == "closed with 4001 'why' by peer"
    assert str(kind(Close(1006, by="network"))) == "closed with 1006 by network"


def test_a_handshake_error_has_status_headers_and_body() -> None:
    """A HandshakeError has status, headers and body, and is a ConnectError."""
    error = HandshakeError("text", 403, {"Server": "x"}, b"no")
    assert isinstance(error, ConnectError)
    assert (error.status, error.headers, error.body) == (403, {"Server": "x"}, b"no")
    assert str(error) == "text"
    assert HandshakeError("text", 500, {}).body == b""


def test_a_decode_error_has_the_frame_and_a_code() -> None:
    """A DecodeError has the frame, and the code 1007 or that of a wrong frame type."""
    error = DecodeError("text", b"\xff")
    assert (error.raw, error.code, str(error)) == (b"\xff", 1007, "text")
    assert DecodeError("text", "x", 1003).code == 1003


def test_an_encode_error_has_the_value() -> None:
    """An EncodeError has the value itself."""
    value = object()
    error = EncodeError("text", value)
    assert error.value is value
    assert str(error) == "text"


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: RxwsError) -> None:
    """Errors can be pickled, so that they pass between processes."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


# --- the logger --------------------------------------------------------------------------------


def test_the_logger_is_rxws_without_handler_and_level() -> None:
    """The logger is `rxws`, without a handler and a level."""
    assert logger is logging.getLogger("rxws")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET
