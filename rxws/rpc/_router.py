"""Passes received messages on: requests to one half of a peer, answers to the other."""

from __future__ import annotations

from typing import Any, Protocol

from rxws._core.errors import RxwsError, short_repr
from rxws._core.log import text_of

from ._calls import Calls
from ._endpoint import Answers, Endpoint, RpcStats
from ._errors import ErrorCode, ResponseError
from ._messages import (
    Answer,
    Invalid,
    Notification,
    Request,
    decode,
    error_answer,
    parse,
)
from ._options import Options
from ._request_task import RunningRequests
from ._wire import open_wire

__all__ = ["Router"]


class RequestHandler(Protocol):
    """Runs requests of the other side; see `Requests`, which imports this module indirectly."""

    @property
    def running(self) -> RunningRequests: ...
    def on_request(self, request: Request, answers: Answers) -> None: ...
    def on_notification(self, notification: Notification) -> bool:
        """Return whether there is a method for it."""
        ...


class _Batch:
    """Collects the answers of a batch, and sends them together."""

    def __init__(self, send: Answers) -> None:
        self._send = send
        self._answers: list[str] = []
        self.missing = 1  # the answers that are awaited, and one while the batch is read

    def __call__(self, answer: str) -> None:
        self._answers.append(answer)
        self.close_one()

    def close_one(self) -> None:
        self.missing -= 1
        if not self.missing and self._answers:
            self._send(f"[{','.join(self._answers)}]")


class Router:
    """Owns `incoming` of a peer, and has a half for each direction."""

    def __init__(self, source: Any, options: Options) -> None:
        wire, self.start = open_wire(source, self)
        self.endpoint = Endpoint(wire, options)
        self.calls = Calls(self.endpoint)
        self.requests: RequestHandler | None = None

    @property
    def stats(self) -> RpcStats:
        endpoint = self.endpoint
        running = 0 if self.requests is None else len(self.requests.running.tasks)
        return RpcStats(running, len(self.calls), endpoint.refused, dict(endpoint.mistakes))

    def dispose(self) -> None:
        """Cancel the running methods, and fail the calls that have no answer."""
        connection = self.endpoint.wire.connection
        if connection is not None and not connection.outgoing.is_stopped:
            if self.requests is not None:
                self.requests.running.answer_all()
            self.calls.cancel_all()
        self.on_end(None)

    # --- called by the wire -------------------------------------------------------------------

    def check_here(self, what: str) -> None:
        self.endpoint.check_here(what)

    def on_open(self) -> None:
        self.calls.on_open()

    def on_lost(self, error: Exception | None) -> None:
        if self.requests is not None:
            self.requests.running.cancel_all()
        self.calls.on_lost(error)

    def on_end(self, error: Exception | None = None) -> None:
        self.on_lost(error)
        self.endpoint.ended = True
        self.requests = None
        self.endpoint.wire.dispose()
        self.calls.on_end(error)

    def on_frame(self, frame: str | bytes) -> None:
        """Handle a message or a batch."""
        connection = self.endpoint.wire.connection
        assert connection is not None
        send: Answers = connection.outgoing.on_next
        try:
            data = decode(frame)
        except (ValueError, RxwsError, RecursionError) as exc:
            self.endpoint.mistake("parse error", text_of(exc))
            send(error_answer(None, ResponseError(ErrorCode.PARSE_ERROR, "Parse error")))
            return
        if isinstance(data, list) and data:
            self._on_batch(data, send, len(frame))  # pyright: ignore[reportUnknownArgumentType]
        else:
            self._on_message(data, send, len(frame))

    def _on_batch(self, data: list[Any], send: Answers, size: int) -> None:
        limit = self.endpoint.options.max_requests
        if len(data) > limit:
            self.endpoint.refused += len(data)
            self.endpoint.mistake(
                "too many requests", f"a batch has {len(data)} messages, more than {limit}"
            )
            text = f"Too many requests: a batch may have {limit} messages"
            error = ResponseError(ErrorCode.TOO_MANY_REQUESTS, text)
            send(error_answer(None, error))
            return
        batch = _Batch(send)
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
            elif self.endpoint.ended:  # the peer was disposed while a batch is read
                error = ResponseError(ErrorCode.REQUEST_CANCELLED, "Request cancelled")
                answers(error_answer(message.id, error))
            else:
                self.endpoint.refuse(
                    message.method, message.id, answers, ErrorCode.METHOD_NOT_FOUND
                )
        elif isinstance(message, Answer):
            if not self.endpoint.ended:
                self.calls.on_answer(message)
        elif isinstance(message, Notification):
            if not self.endpoint.ended:
                self._on_notification(message, size)
        else:
            self._on_invalid(message, answers)

    def _on_notification(self, message: Notification, size: int) -> None:
        taken = self.requests is not None and self.requests.on_notification(message)
        taken = self.calls.on_notification(message.method, message.params, size) or taken
        if not taken and not message.method.startswith("$/"):  # those may be ignored: LSP
            self.endpoint.mistake("unknown method", f"notification {short_repr(message.method)}")

    def _on_invalid(self, message: Invalid, answers: Answers) -> None:
        self.endpoint.mistake("invalid message", message.problem)
        if message.answered:
            if isinstance(answers, _Batch):
                answers.missing += 1
            error = ResponseError(ErrorCode.INVALID_REQUEST, f"Invalid Request: {message.problem}")
            answers(error_answer(message.id, error))
