"""`conn.errors`: the exceptions that need not end a connection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from reactivex.abc import SchedulerBase
from reactivex.internal import noop

from rxws import closing
from rxws._core.connection import Handshake, without_secrets
from rxws._core.errors import DecodeError, EncodeError
from rxws._core.log import logger, name_of, one_line
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.stream import Dispatcher, Stream

__all__ = ["ErrorStream", "ErrorStreamOwner"]

# The values, by identity and line, that were logged in this turn: see `report_encode_error`.
_LOGGED: set[tuple[int, str]] = set()


class ErrorStreamOwner(Protocol):
    """The connection of an `ErrorStream`; see `Session`."""

    @property
    def is_open(self) -> bool: ...
    @property
    def scheduler(self) -> SchedulerBase: ...
    def close_after_fault(self, error: Exception) -> None: ...
    def count_dropped(self, reason: str, count: int = 1) -> None: ...


class ErrorStream(Stream[Exception]):
    """The `errors` of a connection: an exception without a subscriber is logged, and closes it."""

    __slots__ = ("_address", "_owner", "handler")

    def __init__(
        self, dispatcher: Dispatcher, owner: ErrorStreamOwner, handshake: Handshake
    ) -> None:
        super().__init__(dispatcher, noop)
        self._owner = owner
        self._address = (handshake.url, handshake.remote)
        self.handler: object = None  # for its name in logs

    def report(self, error: Exception) -> None:
        """Emit an exception; if nobody subscribes, log it and close the connection."""
        if self._observers:
            self._dispatcher.post(self._emit_or_log, error)
        else:
            self.emit(error)  # for watchers, which are no subscribers
            self._on_fault(error)

    def report_encode_error(self, error: EncodeError) -> None:
        """Report a value that cannot be sent; a shared one never closes, and is logged once."""
        if not error.shared or self._observers:
            self.report(error)
            return
        self._owner.count_dropped("fault")
        self.emit(error)
        shared = (id(error.value), error.pushed_at)
        if shared not in _LOGGED:
            _LOGGED.add(shared)
            call_later(self._owner.scheduler, 0, lambda: _LOGGED.discard(shared))
            self._log("dropped a message", error)

    def log_failure(self, error: Exception) -> None:
        """Log that the handler or its pipeline has failed, which closes the connection."""
        self._log("the handler or its pipeline failed: closing with 1011", error)

    def log_unfinished(self, tasks: Sequence[object], seconds: float) -> None:
        """Log that tasks have not ended after their cancellation."""
        for task in tasks:
            logger.warning(
                "a task has not ended within %g s of its cancellation, %s: rxws no longer waits "
                "for %r",
                seconds,
                self._where(),
                task,
            )

    def _emit_or_log(self, error: Exception) -> None:
        if self._observers:
            self.deliver(error)
        else:  # they have left, or the connection has ended since
            self._on_fault(error)

    def _on_fault(self, error: Exception) -> None:
        # Also called if a subscriber of `errors` raises: that exception is not emitted again.
        if isinstance(error, DecodeError):
            self._log_decode_error(error)
        else:
            self._log("an error without a subscriber to `errors`", error)
        self._owner.close_after_fault(error)

    def _log(self, what: str, error: Exception) -> None:
        pushed_at = getattr(error, "pushed_at", "")
        detail = one_line(error) + (f"; pushed at {pushed_at}" if pushed_at else "")
        logger.error("%s, %s: %s", what, self._where(), detail, exc_info=error)

    def _log_decode_error(self, error: DecodeError) -> None:
        """Log in one line, with the traceback at the level DEBUG only: it is the peer's fault."""
        cause = f" ({type(error.__cause__).__name__})" if error.__cause__ is not None else ""
        code = closing.for_fault(error).code
        what = f"closing with {code}" if self._owner.is_open else "after the end"
        traceback = error if logger.isEnabledFor(logging.DEBUG) else None
        where, text = self._where(), one_line(error)
        logger.warning("%s, %s: %s%s", what, where, text, cause, exc_info=traceback)

    def _where(self) -> str:
        """Return URL, peer and handler for a log."""
        url, remote = self._address
        parts = [f"{without_secrets(url)}"]
        if remote:
            peer = remote if isinstance(remote, str) else ":".join(map(str, remote[:2]))
            parts.append(f"peer {peer}")
        if self.handler is not None:
            parts.append(f"handler {name_of(self.handler)}")
        return ", ".join(parts)
