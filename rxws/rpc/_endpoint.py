"""Passes received messages on: requests to one half of a peer, answers to the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Protocol

from rxws._core.connection import Connection, without_secrets
from rxws._core.errors import RxwsError, short_repr
from rxws._core.log import logger, one_line, text_of
from rxws._core.schedulers.threads import check_here, run_on

from ._errors import ErrorCode, ResponseError
from ._messages import (
    Answer,
    Id,
    Invalid,
    Notification,
    Params,
    Request,
    decode,
    error_answer,
    parse,
)
from ._options import Options
from ._wire import Wire, open_wire

__all__ = ["Answers", "CallHandler", "Endpoint", "RequestHandler", "RpcStats"]


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


class Answers(Protocol):
    """Takes the answers of one frame: they are sent at once, or together for a batch."""

    def send(self, answer: str, /) -> None: ...


class RequestHandler(Protocol):
    """Runs requests of the other side; see `Requests`."""

    @property
    def running(self) -> int: ...
    def on_request(self, request: Request, answers: Answers) -> None: ...
    def on_notification(self, notification: Notification) -> bool:
        """Return whether there is a method for it."""
        ...

    def answer_all(self) -> None:
        """Answer all requests that run: they will be cancelled."""
        ...

    def cancel_all(self) -> None: ...


class CallHandler(Protocol):
    """Keeps the calls of this side; see `Calls`."""

    def __len__(self) -> int: ...
    def on_answer(self, answer: Answer) -> None: ...
    def on_notification(self, method: str, params: Params, size: int) -> bool:
        """Return whether somebody takes it."""
        ...

    def on_open(self) -> None: ...
    def on_lost(self, error: Exception | None) -> None: ...
    def on_end(self, error: Exception | None) -> None: ...
    def cancel_all(self) -> None:
        """Ask the other side to cancel all calls that were sent."""
        ...


class _Direct:
    """Sends answers at once, on the connection that the requests came from."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.send: Callable[[str], None] = connection.outgoing.on_next


class _Batch:
    """Collects the answers of a batch, and sends them together."""

    def __init__(self, direct: Answers) -> None:
        self._direct = direct
        self._answers: list[str] = []
        self.missing = 1  # the answers that are awaited, and one while the batch is read

    def send(self, answer: str, /) -> None:
        self._answers.append(answer)
        self.close_one()

    def close_one(self) -> None:
        self.missing -= 1
        if not self.missing and self._answers:
            self._direct.send(f"[{','.join(self._answers)}]")


class Endpoint:
    """One end of a conversation: it owns `incoming`, and has a half for each direction."""

    def __init__(self, source: Any, options: Options) -> None:
        self.options = options
        self.calls: CallHandler | None = None
        self.requests: RequestHandler | None = None
        self.refused = 0
        self._mistakes: dict[str, int] = {}
        self._direct: tuple[Connection[Any, Any], Answers] | None = None
        self._thread = get_ident()
        self.wire: Wire
        self.wire, self.start = open_wire(source, self)

    @property
    def stats(self) -> RpcStats:
        running = 0 if self.requests is None else self.requests.running
        calls = 0 if self.calls is None else len(self.calls)
        return RpcStats(running, calls, self.refused, dict(self._mistakes))

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

    def dispose(self) -> None:
        """Cancel the running methods, and fail the calls that have no answer."""
        connection = self.wire.connection
        if connection is not None and not connection.outgoing.is_stopped:
            if self.requests is not None:
                self.requests.answer_all()
            if self.calls is not None:
                self.calls.cancel_all()
        self.on_end(None)

    # --- called by the wire -------------------------------------------------------------------

    def on_open(self) -> None:
        if self.calls is not None:
            self.calls.on_open()

    def on_lost(self, error: Exception | None) -> None:
        self._direct = None
        if self.requests is not None:
            self.requests.cancel_all()
        if self.calls is not None:
            self.calls.on_lost(error)

    def on_end(self, error: Exception | None = None) -> None:
        self.on_lost(error)
        self.wire.dispose()
        calls, self.calls, self.requests = self.calls, None, None  # which refer to this
        if calls is not None:
            calls.on_end(error)

    def on_frame(self, frame: str | bytes) -> None:
        """Handle a message or a batch."""
        direct = self._answers()
        try:
            data = decode(frame)
        except (ValueError, RxwsError, RecursionError) as exc:
            self.mistake("parse error", text_of(exc))
            direct.send(error_answer(None, ResponseError(ErrorCode.PARSE_ERROR, "Parse error")))
            return
        if isinstance(data, list) and data:
            self._on_batch(data, direct, len(frame))  # pyright: ignore[reportUnknownArgumentType]
        else:
            self._on_message(data, direct, len(frame))

    def _answers(self) -> Answers:
        connection = self.wire.connection
        assert connection is not None
        if self._direct is None or self._direct[0] is not connection:
            self._direct = connection, _Direct(connection)
        return self._direct[1]

    def _on_batch(self, data: list[Any], direct: Answers, size: int) -> None:
        limit = self.options.max_requests
        if len(data) > limit:
            self.refused += len(data)
            self.mistake(
                "too many requests", f"a batch has {len(data)} messages, more than {limit}"
            )
            text = f"Too many requests: a batch may have {limit} messages"
            error = ResponseError(ErrorCode.TOO_MANY_REQUESTS, text)
            direct.send(error_answer(None, error))
            return
        batch = _Batch(direct)
        for item in data:
            self._on_message(item, batch, size // len(data))
        batch.close_one()

    def _on_message(self, data: Any, answers: Answers, size: int) -> None:
        message = parse(data)
        if isinstance(message, Request):
            if isinstance(answers, _Batch):
                answers.missing += 1
            if self.requests is not None:
                self.requests.on_request(message, answers)
            else:
                self.refuse(message.method, message.id, answers, ErrorCode.METHOD_NOT_FOUND)
        elif isinstance(message, Answer):
            if self.calls is not None:
                self.calls.on_answer(message)
        elif isinstance(message, Notification):
            self._on_notification(message, size)
        else:
            self._on_invalid(message, answers)

    def _on_notification(self, message: Notification, size: int) -> None:
        taken = self.requests is not None and self.requests.on_notification(message)
        if self.calls is not None:
            taken = self.calls.on_notification(message.method, message.params, size) or taken
        if not taken and not message.method.startswith("$/"):  # those may be ignored: LSP
            self.mistake("unknown method", f"notification {short_repr(message.method)}")

    def _on_invalid(self, message: Invalid, answers: Answers) -> None:
        self.mistake("invalid message", message.problem)
        if message.answered:
            if isinstance(answers, _Batch):
                answers.missing += 1
            error = ResponseError(ErrorCode.INVALID_REQUEST, f"Invalid Request: {message.problem}")
            answers.send(error_answer(message.id, error))

    # --- answers and mistakes -------------------------------------------------------------------

    def refuse(
        self, method: str, id_: Id, answers: Answers | None, code: ErrorCode, detail: str = ""
    ) -> None:
        """Count a mistake of the other side, and answer a request; `answers` is else None."""
        kind, text = _REFUSALS[code]
        what = "notification" if answers is None else "method"
        self.mistake(kind, f"{what} {short_repr(method)}{detail and f': {detail}'}")
        if answers is not None:
            error = ResponseError(code, f"{text}{detail and f': {detail}'}")
            answers.send(error_answer(id_, error))

    def mistake(self, kind: str, text: str) -> None:
        """Count a mistake of the other side, and log the first of its kind as a warning."""
        first = kind not in self._mistakes
        self._mistakes[kind] = self._mistakes.get(kind, 0) + 1
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
