"""Errors that end a command with a message and an exit code."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import click
from aiohttp import ServerDisconnectedError

from rxws._core.errors import ConnectError, HandshakeError, RxwsError

from ._exit_codes import ExitCode
from ._output import printable

__all__ = ["Failure", "as_failure", "cannot_listen"]

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
            message = printable(f"{error}{_remedy(error)}")
            return Failure(message, ExitCode.COULD_NOT_CONNECT)
        case TimeoutError():
            return Failure(str(error) or "timed out", ExitCode.TIMED_OUT)
        case OSError(filename=None, errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG | errno.EIO):
            return Failure(f"cannot write the output: {error.strerror}", ExitCode.ABNORMAL_CLOSE)
        case RxwsError() | OSError():
            return Failure(printable(str(error)), ExitCode.ABNORMAL_CLOSE)
        case _:
            return None


def _remedy(error: ConnectError) -> str:
    """Return a line that says what to do about an error of TLS."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return "\nUse --ca FILE to trust the certificate, or -k to accept any."
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
                return "\nA server without TLS has an address that begins with ws://."
            case ServerDisconnectedError():
                return "\nIf the server uses TLS, its address begins with wss://."
            case _:
                pass
        cause = cause.__cause__
    return ""


def cannot_listen(host: str, port: int, error: OSError) -> Failure:
    """Return how an address that cannot be used ends a command that serves."""
    reason = str(error.args[-1])
    if error.errno and not isinstance(error, socket.gaierror):  # asyncio's text has no reason
        reason = os.strerror(error.errno)
    is_taken = error.errno == errno.EADDRINUSE
    remedy = "; use another --port, or 0 for a free one" if is_taken else ""
    message = f"cannot listen on {host} port {port}: {reason}{remedy}"
    return Failure(message, ExitCode.COULD_NOT_CONNECT)
