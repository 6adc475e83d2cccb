"""The exceptions: one base class, and attributes for programs."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

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
from rxws._core.errors import without_traceback
from rxws._core.log import logger
from rxws._recording.jsonl import RecordedError
from rxws.hub import BackplaneError, NotPublished, Refused, TokenExpired, Unconfirmed
from rxws.operators import Backlog
from rxws.rpc import CallLost, CallTimeout, ResponseError, StreamOverflow, TooManyCalls
from rxws.rpc._errors import InvalidParams
from rxws.testing.fake_transport import NeedsEventLoop
from rxws.testing.real_time import NotVirtualTime

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


COPIES = pytest.mark.parametrize(
    "copied",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.deepcopy, copy.copy],
    ids=["pickle", "deepcopy", "copy"],
)
Copy = Callable[[Any], Any]


def every_class(base: type[RxwsError] = RxwsError) -> list[type[RxwsError]]:
    return [base, *(kind for sub in base.__subclasses__() for kind in every_class(sub))]


ELSEWHERE = [
    Backlog(1024),
    RecordedError("ValueError: x"),
    NeedsEventLoop("text"),
    NotVirtualTime("text"),
    InvalidParams("text"),
    ResponseError(-32601, "text", {"a": 1}),
    CallLost("add", may_have_run=True),
    CallTimeout("add", 5.0),
    TooManyCalls("add", 1024),
    StreamOverflow("tokens", 1024, 1 << 20),
    BackplaneError("text"),
    Unconfirmed("text"),
    TokenExpired("text"),
    NotPublished("text"),
    Refused("text", "publish", "a", 103, "permission denied"),
]


@COPIES
@pytest.mark.parametrize("error", [*EVERY, *ELSEWHERE], ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: RxwsError, copied: Copy) -> None:
    """Errors can be pickled and copied with their data, so that they pass between processes."""
    again = copied(error)
    assert type(again) is type(error)
    assert (str(again), vars(again), again.args) == (str(error), vars(error), error.args)


def test_every_class_of_errors_is_tested() -> None:
    """The tests above have an instance of each exception class of rxws."""
    kinds = {kind for kind in every_class() if kind.__module__.startswith("rxws.")}
    assert kinds == {type(error) for error in [*EVERY, *ELSEWHERE]}


@COPIES
def test_a_copy_of_an_error_keeps_notes_and_cause(copied: Copy) -> None:
    """A pickled or copied error keeps its notes, `by` of its `Close`, and its cause."""
    error = ConnectionClosed(CLOSE)
    error.add_note("not retried")
    error.__cause__ = DecodeError("text", b"\xff", 1003)
    again = copied(error)
    assert again.__notes__ == ["not retried"]
    assert again.close.by == "peer"
    assert (again.__cause__.raw, again.__cause__.code) == (b"\xff", 1003)


@COPIES
def test_a_cause_that_cannot_be_pickled_is_left_out(copied: Copy) -> None:
    """A cause that cannot be pickled does not prevent its error from being pickled."""
    error = ConnectError("text")
    error.__cause__ = OSError(threading.Lock())
    assert copied(error).__cause__ is None


@COPIES
@pytest.mark.parametrize("frozen", [CIMultiDictProxy, MappingProxyType])
def test_the_headers_of_a_response_can_be_pickled(frozen: Any, copied: Copy) -> None:
    """The headers of a HandshakeError keep repeated names and ignore case in a pickled copy."""
    headers = CIMultiDict([("Set-Cookie", "a"), ("Set-Cookie", "b")])
    again = copied(HandshakeError("text", 401, frozen(headers), b"no"))
    assert (str(again), again.status, again.body) == ("text", 401, b"no")
    assert again.headers == headers
    assert again.headers["set-cookie"] == "a"
    assert again.headers is again.args[2]


class Headers(dict[str, str]):
    copy: Any = None


def test_headers_without_a_method_copy_can_be_pickled() -> None:
    """Headers of any other type become a dict in a pickled copy."""
    again = pickle.loads(pickle.dumps(HandshakeError("text", 401, Headers(a="b"))))
    assert again.headers == {"a": "b"}


@COPIES
def test_a_value_that_cannot_be_pickled_becomes_its_repr(copied: Copy) -> None:
    """An EncodeError can be pickled even if its value cannot: the copy has the value's repr."""
    value = threading.Lock()
    again = copied(EncodeError("text", value))
    assert str(again) == "text"
    assert again.value == again.args[1]
    assert again.value.startswith("<unlocked _thread.lock")


# --- the logger --------------------------------------------------------------------------------


def test_the_logger_is_rxws_without_handler_and_level() -> None:
    """The logger is `rxws`, without a handler and a level."""
    assert logger is logging.getLogger("rxws")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


class Uncopyable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


def test_a_copy_without_a_traceback_keeps_everything_else() -> None:
    """The copy has the attributes and the cause of the error, which itself keeps its traceback."""
    try:
        try:
            raise ValueError("cause")
        except ValueError as cause:
            raise rxws.DecodeError("bad", b"raw", 1003) from cause
    except rxws.DecodeError as exc:
        error = exc
    copied = without_traceback(error)
    assert type(copied) is rxws.DecodeError
    assert (copied.args, copied.raw, copied.code) == (error.args, b"raw", 1003)
    assert copied.__traceback__ is None
    assert isinstance(copied.__cause__, ValueError)
    assert copied.__cause__.__traceback__ is None
    assert error.__traceback__ is not None
    assert error.__cause__ is not copied.__cause__


def test_an_error_that_cannot_be_copied_stays_as_it_is() -> None:
    """An exception whose class cannot copy it, or that has no traceback, is returned itself."""
    with pytest.raises(Uncopyable) as raised:
        raise Uncopyable("first", "second")
    assert without_traceback(raised.value) is raised.value
    plain = OSError("never raised")
    assert without_traceback(plain) is plain
