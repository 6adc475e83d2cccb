"""What both directions of a peer share: the wire, the options, the counters and the thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import get_ident
from typing import TypeAlias

from rxws._core.connection import without_secrets
from rxws._core.errors import RxwsError, short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.threads import check_here, run_on

from ._errors import ErrorCode, ResponseError
from ._messages import Id, error_answer
from ._options import Options
from ._wire import Wire

__all__ = ["Answers", "Endpoint", "RpcStats"]


@dataclass(frozen=True, slots=True)
class RpcStats:
    """A snapshot of one peer's counters.

    Args:
        running: The number of requests of the other side that are running.
        calls: The number of your calls and streams that are unanswered.
        refused: The number of requests that were refused with -32000, and of notifications that
            were dropped, because `max_requests` were running.
        mistakes: The number of mistakes of the other side by kind, such as `"unknown method"`.
    """

    running: int = 0
    calls: int = 0
    refused: int = 0
    mistakes: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)


Answers: TypeAlias = Callable[[str], None]
"""Takes the answers of one frame: they are sent at once, or together for a batch."""


class Endpoint:
    """One end of a conversation."""

    __slots__ = ("_thread", "ended", "mistakes", "options", "refused", "wire")

    def __init__(self, wire: Wire, options: Options) -> None:
        self.wire = wire
        self.options = options
        self.ended = False  # there will be no connection
        self.refused = 0
        self.mistakes: dict[str, int] = {}
        self._thread = get_ident()

    def check_here(self, what: str = "this caller") -> None:
        """Raise a RuntimeError unless this is the event loop of the connection."""
        check_here(
            self.wire.scheduler,
            self._thread,
            what,
            "use it in its own event loop only; from another thread, call "
            "asyncio.run_coroutine_threadsafe(caller.call(...), loop) or "
            "loop.call_soon_threadsafe(caller.notify, ...)",
        )

    def run(self, action: Callable[[], object]) -> None:
        """Call now on the event loop of the connection, or soon from another thread."""
        run_on(self.wire.scheduler, self._thread, action)

    def refuse(
        self, method: str, id_: Id, answers: Answers | None, code: ErrorCode, detail: str = ""
    ) -> None:
        """Count a mistake of the other side, and answer a request; `answers` is else None."""
        kind, text = _REFUSALS[code]
        what = "notification" if answers is None else "method"
        self.mistake(kind, f"{what} {short_repr(method)}{detail and f': {detail}'}")
        if answers is not None:
            error = ResponseError(code, f"{text}{detail and f': {detail}'}")
            answers(error_answer(id_, error))

    def mistake(self, kind: str, text: str) -> None:
        """Count a mistake of the other side, and log the first of its kind as a warning."""
        first = kind not in self.mistakes
        self.mistakes[kind] = self.mistakes.get(kind, 0) + 1
        level = logging.WARNING if first else logging.DEBUG
        logger.log(level, "rpc, %s: %s: %s", self.where, kind, one_line(RxwsError(text)))

    @property
    def where(self) -> str:
        """The URL and the peer for a log."""
        connection = self.wire.connection
        if connection is None:
            return "no connection"
        handshake = connection.handshake
        where, remote = str(without_secrets(handshake.url)), handshake.remote
        if remote:
            where += f", peer {remote if isinstance(remote, str) else f'{remote[0]}:{remote[1]}'}"
        return where


_REFUSALS = {
    ErrorCode.INVALID_REQUEST: ("id in use", "Invalid Request"),
    ErrorCode.METHOD_NOT_FOUND: ("unknown method", "Method not found"),
    ErrorCode.INVALID_PARAMS: ("wrong arguments", "Invalid params"),
    ErrorCode.TOO_MANY_REQUESTS: ("too many requests", "Too many requests"),
}
