"""The errors: one root, and data for a program to go on with."""

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
    RxwsError("said"),
    ConnectionClosed(CLOSE),
    BufferOverflow(CLOSE),
    SendTimeout(CLOSE),
    ConnectError("said"),
    HandshakeError("said", 403, {"Server": "x"}, b"no"),
    OpeningError("said"),
    DecodeError("said", b"\xff"),
    EncodeError("said", {1: 2}),
]


def test_every_error_has_the_same_root_and_is_public() -> None:
    """`except rxws.RxwsError` catches all that is rxws's."""
    assert {type(error).__name__ for error in EVERY} == set(errors.__all__)
    for error in EVERY:
        assert isinstance(error, RxwsError)
        assert getattr(rxws, type(error).__name__) is type(error)


@pytest.mark.parametrize("kind", [ConnectionClosed, BufferOverflow, SendTimeout])
def test_an_end_carries_how_it_ended(kind: type[ConnectionClosed]) -> None:
    """A program reads the code, and a human the text."""
    error = kind(CLOSE)
    assert isinstance(error, ConnectionClosed)
    assert error.close is CLOSE
    assert str(error) == "closed with 4001 'why' by peer"
    assert str(kind(Close(1006, by="network"))) == "closed with 1006 by network"


def test_a_refused_handshake_carries_the_whole_answer() -> None:
    """Status, headers and body, and it is a kind of ConnectError."""
    error = HandshakeError("said", 403, {"Server": "x"}, b"no")
    assert isinstance(error, ConnectError)
    assert (error.status, error.headers, error.body) == (403, {"Server": "x"}, b"no")
    assert str(error) == "said"
    assert HandshakeError("said", 500, {}).body == b""


def test_a_decode_error_carries_the_frame_and_a_code() -> None:
    """1007 unless it is the frame's kind that is wrong."""
    error = DecodeError("said", b"\xff")
    assert (error.raw, error.code, str(error)) == (b"\xff", 1007, "said")
    assert DecodeError("said", "x", 1003).code == 1003


def test_an_encode_error_carries_the_value() -> None:
    """The value itself, not its text."""
    value = object()
    error = EncodeError("said", value)
    assert error.value is value
    assert str(error) == "said"


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: RxwsError) -> None:
    """So that they pass between processes as any exception does."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


# --- the logger --------------------------------------------------------------------------------


def test_there_is_one_logger_and_it_has_the_name_of_the_library() -> None:
    """A program configures `rxws`; the library adds no handler and no level to it."""
    assert logger is logging.getLogger("rxws")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET
