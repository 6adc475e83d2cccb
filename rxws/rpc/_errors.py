"""The exceptions and error codes of `rxws.rpc`."""

from __future__ import annotations

import enum
from typing import Any

from rxws._core.errors import RxwsError

__all__ = [
    "CallLost",
    "CallTimeout",
    "ErrorCode",
    "InvalidParams",
    "ResponseError",
    "StreamOverflow",
    "TooManyCalls",
]


class ErrorCode(enum.IntEnum):
    """The error codes that `rxws.rpc` sends.

    Your own errors may have any code outside -32768 to -32000, which JSON-RPC reserves.
    """

    PARSE_ERROR = -32700
    """The message is not JSON."""
    INVALID_REQUEST = -32600
    """The message is JSON, but no valid request, or its id is that of a request that runs."""
    METHOD_NOT_FOUND = -32601
    """There is no such method."""
    INVALID_PARAMS = -32602
    """The arguments do not match the parameters of the method."""
    INTERNAL_ERROR = -32603
    """The method raised an exception, or its result cannot be sent."""
    TOO_MANY_REQUESTS = -32000
    """As many requests as `max_requests` allows are running."""
    REQUEST_CANCELLED = -32800
    """The request was cancelled (Language Server Protocol)."""


class ResponseError(RxwsError):
    """An error that answers a call.

    `Caller.call` raises the error that the other side has sent. Raise one in a method to answer
    with your own code: the other side sees the text of no other exception.

    Args:
        code: The error code, an `int`. See `ErrorCode` for those that `rxws.rpc` sends.
        message: A short description.
        data: More about the error: any value that JSON can represent. None is not sent.

    Raises:
        TypeError: `code` is not an `int`, or `message` is not a `str`.

    Examples:
        ```python
        @methods.add
        def divide(a: float, b: float) -> float:
            if not b:
                raise rxws.rpc.ResponseError(1, "division by zero", {"a": a})
            return a / b
        ```
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        if not isinstance(code, int) or isinstance(code, bool):
            raise TypeError(f"the code of a ResponseError is an int, not {code!r}")
        if not isinstance(message, str):
            raise TypeError(f"the message of a ResponseError is a str, not {message!r}")
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class InvalidParams(RxwsError):
    """The arguments of a request do not match the parameters of the method."""


class CallLost(RxwsError):
    """The connection ended before a call was answered.

    Args:
        method: The method that was called.
        may_have_run: Whether the request was sent, so that the method may have run. If False, it
            has not run.

    Examples:
        ```python
        try:
            await caller.call("pay", 10)
        except rxws.rpc.CallLost as error:
            if error.may_have_run:
                print("look up whether it was paid")
        ```
    """

    def __init__(self, method: str, may_have_run: bool) -> None:
        super().__init__(method, may_have_run)
        self.method = method
        self.may_have_run = may_have_run

    def __str__(self) -> str:
        if not self.may_have_run:
            return (
                f"the connection ended before {self.method!r} was sent: it has not run; call it on "
                "a new connection"
            )
        return (
            f"the connection ended before {self.method!r} was answered: it may have run; "
            "a WebSocketSubject sends a call again with_options(idempotent=True), and a stream if "
            "it has emitted nothing"
        )


class CallTimeout(RxwsError, TimeoutError):
    """A call was not answered within its timeout, and is cancelled.

    Args:
        method: The method that was called.
        seconds: The timeout.
    """

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__(method, seconds)
        self.method = method
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.method!r} was not answered within {self.seconds:g} s"


class TooManyCalls(RxwsError):
    """A call was not sent, because too many calls are unanswered.

    Args:
        method: The method that was called.
        limit: The option `max_calls`.
    """

    def __init__(self, method: str, limit: int) -> None:
        super().__init__(method, limit)
        self.method = method
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.method!r} was not sent: {self.limit} calls are unanswered; wait for some of "
            "them, or raise max_calls"
        )


class StreamOverflow(RxwsError):
    """A stream was cancelled, because its subscriber took the items too slowly.

    The subscriber gets the queued items before this error.

    Args:
        method: The method that was called.
        items: The number of items in the queue.
        size: Their size in bytes.
    """

    def __init__(self, method: str, items: int, size: int) -> None:
        super().__init__(method, items, size)
        self.method = method
        self.items = items
        self.size = size

    def __str__(self) -> str:
        return (
            f"the stream of {self.method!r} was cancelled: {self.items} items of {self.size} bytes "
            'wait for its subscriber; with_options(when_full="hold") pauses the connection instead'
        )
