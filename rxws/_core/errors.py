"""All exceptions of rxws."""

from __future__ import annotations

import copy
import pickle
import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from reactivex.abc import SchedulerBase

from .connection import Close
from .schedulers.timers import raise_soon

__all__ = [
    "BufferOverflow",
    "ConnectError",
    "ConnectionClosed",
    "DecodeError",
    "EncodeError",
    "HandshakeError",
    "OpeningError",
    "RxwsError",
    "SendTimeout",
]

E = TypeVar("E", bound=BaseException)

_safe = reprlib.Repr()  # survives a `__repr__` that fails, and a value that is nested too deeply
_safe.maxother = _safe.maxstring = 200


def short_repr(value: object) -> str:
    """Return the first 80 characters of a value's `repr`, also if that fails."""
    try:
        return f"{value!r:.80}"
    except Exception:
        return f"{_safe.repr(value):.80}"


class RxwsError(Exception):
    """Base class of all exceptions of rxws.

    You can pickle and copy them. The copy keeps the attributes, the notes, and the `__cause__` if
    that can be pickled.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(vars(self))
        if self.__cause__ is not None and _is_picklable(self.__cause__):
            state["__cause__"] = self.__cause__  # BaseException.__setstate__ sets attributes
        return type(self), self.args, state

    def _reduce_with(self, **changed: object) -> tuple[Any, ...]:
        """Reduce with other values of some attributes, which are arguments of `__init__`, too."""
        kind, args, state = RxwsError.__reduce__(self)
        for name, value in changed.items():
            args = tuple(value if arg is state[name] else arg for arg in args)
        return kind, args, {**state, **changed}


class ConnectionClosed(RxwsError):
    """The connection ended abnormally.

    `conn.incoming` fails with it, unless the close code is 1000, 1001 or 1005. You may also raise
    it in a pipeline: the connection then closes with its code and reason.

    Args:
        close: How the connection ended.

    Examples:
        ```python
        def on_error(error):
            if isinstance(error, rxws.ConnectionClosed):
                print("closed with", error.close.code)

        conn.incoming.subscribe(print, on_error)
        ```
    """

    def __init__(self, close: Close) -> None:
        super().__init__(close)
        self.close = close

    def __str__(self) -> str:
        reason = f" {self.close.reason!r}" if self.close.reason else ""
        return f"closed with {self.close.code}{reason} by {self.close.by}"


class BufferOverflow(ConnectionClosed):
    """The peer read too slowly: the send buffer grew beyond `max_buffer` bytes."""


class SendTimeout(ConnectionClosed):
    """The peer read too slowly: buffered data was not sent within `send_timeout` seconds."""


class ConnectError(RxwsError):
    """The connection could not be opened; `__cause__` holds aiohttp's or the system's error."""


class HandshakeError(ConnectError):
    """The server's response to the upgrade request is not a valid WebSocket upgrade.

    Args:
        message: What went wrong.
        status: The HTTP status of the response.
        headers: The headers of the response.
        body: The first 64 KiB of the response's body, or less if it was incomplete. Empty if you
            pass your own `session=`.

    Examples:
        ```python
        try:
            conn = await rxws.connect(url)
        except rxws.HandshakeError as error:
            print(error.status, error.body)
        ```
    """

    def __init__(
        self, message: str, status: int, headers: Mapping[str, str], body: bytes = b""
    ) -> None:
        super().__init__(message, status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body

    def __reduce__(self) -> tuple[Any, ...]:
        # aiohttp's headers are a proxy, which cannot be pickled; the copy of a proxy can.
        copy = getattr(self.headers, "copy", None)
        headers = copy() if copy is not None else dict(self.headers)
        return self._reduce_with(headers=headers)


class OpeningError(RxwsError):
    """The `opening=` callback of a `WebSocketSubject` raised; `__cause__` is its exception."""


class DecodeError(RxwsError):
    """The codec cannot decode a received message.

    Args:
        message: The problem with the received message.
        raw: The message as received.
        code: The close code to use if nobody subscribes to `conn.errors` (RFC 6455, section 7.4.1):
            1003 if the codec expects text and got binary, or the reverse; otherwise 1007.
    """

    def __init__(self, message: str, raw: str | bytes, code: int = 1007) -> None:
        super().__init__(message, raw, code)
        self.raw = raw
        self.code = code


class EncodeError(RxwsError):
    """The codec cannot encode a value.

    Args:
        message: The problem with the value, and what you can send instead.
        value: The value. If it cannot be pickled, a pickled or copied error has its `repr`.

    Attributes:
        pushed_at: The line that pushed the value, such as `app.py:12 in room`; empty if unknown.
        shared: Whether the value came from outside this connection: from another connection, from
            another HTTP request, or from a Subject that has other subscribers, too. Such a value
            never closes the connection.
    """

    pushed_at: str = ""
    shared: bool = False

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message, value)
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        if _is_picklable(self.value):
            return super().__reduce__()
        return self._reduce_with(value=_safe.repr(self.value))


def _is_picklable(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def without_traceback(error: E) -> E:
    """Return an equal exception without a traceback, and with such a `__cause__`.

    A traceback keeps all local variables of its functions. The given exception is not changed. An
    exception that cannot be copied is returned itself.
    """
    cause = error.__cause__
    if error.__traceback__ is None and cause is None:
        return error
    copied: E
    if isinstance(error, RxwsError):  # not `copy`, which may replace a value by its repr
        copied = type(error).__new__(type(error), *error.args)
        vars(copied).update(vars(error))
    else:
        try:
            copied = copy.copy(error)
        except Exception:
            return error
    copied.__cause__ = None if cause is None else without_traceback(cause)
    return copied


def as_exception(scheduler: SchedulerBase, error: BaseException) -> Exception:
    """Return what user code raised, as an error that a stream may fail with.

    An exception that is no `Exception`, such as a KeyboardInterrupt, is also raised in the
    scheduler's next turn.
    """
    if isinstance(error, Exception):
        return error
    raise_soon(scheduler, error)
    wrapped = RxwsError(f"a callback raised {error!r}")
    wrapped.__cause__ = error
    return wrapped
