"""Errors that end a command with a message and an exit code."""

from __future__ import annotations

import click

from rxws._core.errors import ConnectError, HandshakeError, RxwsError

from ._exit_codes import ExitCode
from ._output import printable

__all__ = ["Failure", "as_failure"]

_MAX_BODY = 500  # characters of a refusal's body that are shown


class Failure(click.ClickException):
    """Ends the command: prints `Error: message` and exits with the code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def as_failure(error: Exception) -> Failure | None:
    """Return how an error of rxws ends a command; None if the error is unexpected."""
    match error:
        case Failure():
            return error
        case HandshakeError(body=body) if text := body.decode("utf-8", "replace").strip():
            message = printable(f"{error}\n{text[:_MAX_BODY]}")
            return Failure(message, ExitCode.COULD_NOT_CONNECT)
        case ConnectError():
            return Failure(printable(str(error)), ExitCode.COULD_NOT_CONNECT)
        case TimeoutError():
            return Failure(str(error) or "timed out", ExitCode.TIMED_OUT)
        case RxwsError() | OSError():  # such as a full disk
            return Failure(printable(str(error)), ExitCode.ABNORMAL_CLOSE)
        case _:
            return None
