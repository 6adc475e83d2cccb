"""A request of the other side that runs."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import AsyncIterator
from types import CoroutineType
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxws._core.async_iteration import iterate
from rxws._core.async_source import PullTask
from rxws._core.connection import Connection
from rxws._core.errors import ConnectionClosed, EncodeError, short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.loop_scheduler import running_loop
from rxws._core.schedulers.timers import call_later_shared
from rxws._core.streams.coroutines import never_used

from ._endpoint import Answers, Endpoint
from ._errors import ErrorCode, ResponseError
from ._messages import Id, encode, error_answer, progress, result_answer

__all__ = ["RequestTask", "RunningRequests", "is_stream"]

_REMEMBERED = 256  # answered requests: a cancellation of one has crossed its answer
_MAX_REMEMBERED = 128  # characters of an id


class _State(enum.Enum):
    RUNNING = enum.auto()
    ANSWERED = enum.auto()
    CANCELLED = enum.auto()  # answered, or the connection has ended


def is_stream(result: Any) -> bool:
    # The check for an AsyncIterator is slow.
    return not isinstance(result, CoroutineType) and isinstance(result, (Observable, AsyncIterator))


class RunningRequests:
    """The requests that have a task, and the ids of those that were answered."""

    __slots__ = ("_answered", "_stuck", "by_id", "endpoint", "tasks")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.tasks: set[RequestTask] = set()
        self.by_id: dict[Id, RequestTask] = {}  # those that are not answered
        self._answered: deque[Id] = deque(maxlen=_REMEMBERED)
        self._stuck: frozenset[str] = frozenset()  # methods that have ignored a cancellation

    def was_answered(self, id_: Id) -> bool:
        return id_ in self._answered

    def remember(self, id_: Id) -> None:
        """Note that a request was answered, unless its id takes much memory."""
        if not isinstance(id_, str) or len(id_) <= _MAX_REMEMBERED:
            self._answered.append(id_)

    def answer_all(self) -> None:
        """Answer all requests that run: they will be cancelled."""
        for task in list(self.tasks):
            task.answer_cancelled()

    def cancel_all(self) -> None:
        self.by_id.clear()
        self._answered.clear()
        for task in list(self.tasks):
            task.cancel()

    # --- called by the tasks ------------------------------------------------------------------

    def add(self, task: RequestTask) -> None:
        self.tasks.add(task)
        if task.answers is not None and task.id is not None:
            self.by_id[task.id] = task

    def discard(self, task: RequestTask) -> None:
        self.tasks.discard(task)
        self._forget_id(task)

    def on_answered(self, task: RequestTask) -> None:
        self._forget_id(task)
        if task.id is not None:
            self.remember(task.id)

    def _forget_id(self, task: RequestTask) -> None:
        if self.by_id.get(task.id) is task:
            del self.by_id[task.id]

    def on_stuck(self, task: RequestTask, seconds: float) -> None:
        """Let other requests run instead of a method that ignores its cancellation."""
        self.discard(task)
        level = logging.DEBUG if task.method in self._stuck else logging.WARNING
        self._stuck |= {task.method}
        logger.log(
            level,
            "rpc, %s: %s has not ended within %g s of its cancellation: it no longer counts in "
            "max_requests",
            self.endpoint.where,
            task.what,
            seconds,
        )


class RequestTask(PullTask[Any]):
    """A request or a notification that runs, in a task if its result is awaited or a stream.

    A request that is cancelled is answered at once. Its task counts until it has ended, but for
    `close_timeout` at most.
    """

    __slots__ = (
        "_items",
        "_requests",
        "_result",
        "_size",
        "_state",
        "_timer",
        "_token",
        "answers",
        "connection",
        "id",
        "method",
    )

    def __init__(
        self,
        requests: RunningRequests,
        connection: Connection[Any, Any],
        method: str,
        id_: Id,
        answers: Answers | None,
    ) -> None:
        super().__init__(connection.scheduler)
        self._requests = requests
        self.connection = connection
        self.method = method
        self.id = id_
        self.answers = answers  # None for a notification
        self._state = _State.RUNNING
        self._timer: DisposableBase | None = None  # since a request of the other side cancelled it

    # --- running ------------------------------------------------------------------------------

    def run(self, result: Any, token: Any) -> None:
        """Answer with the items of a stream, or with the result of an awaitable.

        Raises:
            RuntimeError: There is no event loop, in virtual time.
        """
        self._result = result
        self._token = None if self.answers is None else token  # of a caller that wants a stream
        self._items: list[Any] = []  # that are not sent
        self._size = 0
        self._requests.add(self)
        try:
            self.start(self._run())
        except RuntimeError:
            self._requests.discard(self)
            never_used(result)  # closes a coroutine
            raise

    async def _run(self) -> None:
        try:
            result = self._result
            if not is_stream(result):
                result = await result
            if is_stream(result):
                await self.pull(iterate(result) if isinstance(result, Observable) else result)  # pyright: ignore[reportUnknownArgumentType]
                result = self._items if self._token is None else None
            await self._drained()
            self.answer(result)
        except Exception as exc:
            if isinstance(exc, ResponseError):  # its data may be large
                await self._drained()
            self.answer_exception(exc)
        except GeneratorExit as exc:
            if running_loop() is None or asyncio.current_task() is not self._task:
                raise  # the loop has ended: Python closes this coroutine
            self.answer_exception(exc)

    def is_stopped(self) -> bool:
        return self._state is not _State.RUNNING

    def is_cancelled(self) -> bool:
        return self._state is _State.CANCELLED

    def take(self, item: Any) -> None:
        """Keep an item: to send it, or for the answer to a caller that has not asked for a stream.

        Raises:
            ResponseError: The answer would be too long.
        """
        if self.answers is None or self._state is not _State.RUNNING:
            return
        self._items.append(item)
        if self._token is None:
            self._size += len(encode(item))
            options = self._requests.endpoint.options
            if len(self._items) > options.queue_items or self._size > options.queue_bytes:
                raise ResponseError(
                    ErrorCode.INTERNAL_ERROR,
                    f"the result has more than {options.queue_items} items or "
                    f"{options.queue_bytes} bytes: ask for a stream, with a partialResultToken",
                )

    async def until_taken(self) -> bool:
        """Send an item of a stream as soon as the connection takes it."""
        if self._token is not None:
            await self._drained()  # again: others may have sent meanwhile
            items, self._items = self._items, []
            if self._state is _State.RUNNING:  # the generator may ignore its cancellation
                self.connection.outgoing.on_next(progress(self._token, items))
                await self._drained()
        return False

    async def _drained(self) -> None:
        """Wait until the other side is not behind, or the connection has ended."""
        try:
            await self.connection.flow.drained()
        except ConnectionClosed:
            self._state = _State.CANCELLED

    # --- the end ------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the task at the end of the connection, which waits for it, and logs that."""
        self._stop_timer()
        self._state = _State.CANCELLED
        self.dispose()

    def cancel_request(self) -> None:
        """Answer, and cancel the task, which no longer counts after `close_timeout`."""
        self.answer_cancelled()
        self.dispose()
        if self._owner is not None:
            seconds = self._owner.cleanup_timeout
            self._timer = call_later_shared(
                self.scheduler, seconds, lambda: self._requests.on_stuck(self, seconds)
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    @property
    def what(self) -> str:
        return f"method {short_repr(self.method)}"

    def on_done(self, error: Exception | None) -> None:
        self._requests.discard(self)
        self._stop_timer()
        never_used(self._result)  # closes a coroutine whose task was cancelled before it began
        self.answer_cancelled()  # unless it is answered

    # --- answers ------------------------------------------------------------------------------

    def answer(self, result: Any) -> None:
        """Answer unless that was done, or is not needed; raise an EncodeError if it cannot be."""
        if self._state is _State.RUNNING:
            self._send(None if self.answers is None else result_answer(self.id, result))

    def answer_error(self, error: ResponseError) -> None:
        """Do the same with an error."""
        if self._state is _State.RUNNING:
            self._send(None if self.answers is None else error_answer(self.id, error))

    def _send(self, answer: str | None) -> None:
        self._state = _State.ANSWERED
        if self.answers is not None and answer is not None:
            self._requests.on_answered(self)
            self.answers(answer)

    def answer_cancelled(self) -> None:
        if self._state is _State.RUNNING:
            error = ResponseError(ErrorCode.REQUEST_CANCELLED, "Request cancelled")
            self.answer_error(error)
        self._state = _State.CANCELLED

    def answer_exception(self, error: Exception | GeneratorExit) -> None:
        """Answer with an error: that of the method, or one that does not show what happened."""
        if isinstance(error, ResponseError):
            try:
                self.answer_error(error)
                return
            except Exception as exc:  # its data, or a subclass without `super().__init__`
                error = exc
        self._log(error)
        self.answer_error(ResponseError(ErrorCode.INTERNAL_ERROR, "Internal error"))

    def _log(self, error: Exception | GeneratorExit) -> None:
        """Log in one line where a method failed, with the traceback at the level DEBUG only."""
        problem = "has a result that cannot be sent" if isinstance(error, EncodeError) else "raised"
        logger.warning(
            "rpc, %s: %s %s%s: %s: %s",
            self._requests.endpoint.where,
            self.what,
            problem,
            _place(error),
            type(error).__name__,
            one_line(error),
            exc_info=error if logger.isEnabledFor(logging.DEBUG) else None,
        )


def _place(error: BaseException) -> str:
    """Return the line that raised an exception, for a log."""
    traceback = error.__traceback__
    if traceback is None or isinstance(error, EncodeError):
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f" at {code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} in {code.co_name}"
