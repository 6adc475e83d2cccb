"""The requests of the other side that are running."""

from __future__ import annotations

import asyncio
import enum
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxws._core.async_iteration import iterate
from rxws._core.connection import Connection
from rxws._core.errors import ConnectionClosed, EncodeError, short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler, SchedulerOwner
from rxws._core.schedulers.timers import call_later_shared
from rxws._core.streams.coroutines import never_used

from ._caller import Caller
from ._endpoint import Answers, Endpoint
from ._errors import ErrorCode, InvalidParams, ResponseError
from ._messages import (
    CANCEL,
    Id,
    Notification,
    Params,
    Request,
    encode,
    error_answer,
    is_id,
    progress,
    result_answer,
)
from ._methods import Context, Method, Methods

__all__ = ["Requests"]

# The results of most plain functions: they need no check for what is to be awaited.
_PLAIN = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})

_YIELD_AFTER = 0.01  # seconds

_REMEMBERED = 256  # answered requests: a cancellation of one has crossed its answer
_MAX_REMEMBERED = 128  # characters of an id


class _State(enum.Enum):
    RUNNING = enum.auto()
    ANSWERED = enum.auto()
    CANCELLED = enum.auto()  # answered, or the connection has ended


class _Running:
    """A request or a notification that runs."""

    __slots__ = ("answers", "connection", "id", "method", "state", "task", "timer")

    def __init__(
        self, method: str, connection: Connection[Any, Any], id_: Id, answers: Answers | None
    ) -> None:
        self.method = method
        self.connection = connection
        self.id = id_
        self.answers = answers  # None for a notification
        self.state = _State.RUNNING
        self.task: asyncio.Task[None] | None = None  # if there is one that may be cancelled
        self.timer: DisposableBase | None = None  # since a request of the other side cancelled it

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.dispose()
            self.timer = None

    def is_cancelled(self) -> bool:
        return self.state is _State.CANCELLED

    def answer(self, result: Any) -> None:
        """Answer unless that was done, or is not needed; raise an EncodeError if it cannot be."""
        if self.state is _State.RUNNING:
            answer = None if self.answers is None else result_answer(self.id, result)
            self._send(answer)

    def answer_error(self, error: ResponseError) -> None:
        """Do the same with an error."""
        if self.state is _State.RUNNING:
            self._send(None if self.answers is None else error_answer(self.id, error))

    def _send(self, answer: str | None) -> None:
        self.state = _State.ANSWERED
        if self.answers is not None and answer is not None:
            self.answers.send(answer)

    @property
    def owner(self) -> SchedulerOwner | None:
        scheduler = self.connection.scheduler
        return scheduler.owner if isinstance(scheduler, ConnectionScheduler) else None

    def let_finish(self) -> asyncio.Task[None] | None:
        """Let the connection wait for the task at its end instead of cancelling it here."""
        task, self.task = self.task, None
        if task is not None and (owner := self.owner) is not None:
            owner.let_finish(task)
        return task

    def cancel(self) -> None:
        """Cancel the task, once: a second time would interrupt its `finally` blocks."""
        self.state = _State.CANCELLED
        if (task := self.let_finish()) is not None:
            task.cancel()


class _Turns:
    """Gives the event loop a turn now and then, as a generator may never wait itself."""

    def __init__(self) -> None:
        self._seconds = asyncio.get_running_loop().time
        self._due = self._seconds() + _YIELD_AFTER

    async def pause_if_due(self) -> None:
        if self._seconds() > self._due:
            await asyncio.sleep(0)
            self._due = self._seconds() + _YIELD_AFTER


def _cancelled() -> ResponseError:
    return ResponseError(ErrorCode.REQUEST_CANCELLED, "Request cancelled")


def _items_of(result: Any) -> AsyncIterator[Any] | None:
    """Return the items of a stream; None if a result is no stream."""
    if isinstance(result, Observable):  # before Awaitable, as it is one, too
        source: Observable[Any] = result  # pyright: ignore[reportUnknownVariableType]
        return iterate(source)
    return result if isinstance(result, AsyncIterator) else None  # pyright: ignore[reportUnknownVariableType]


class Requests:
    """Calls methods for the other side, and answers.

    A request that is cancelled is answered at once. Its task counts until it has ended, but for
    `close_timeout` at most.
    """

    def __init__(self, endpoint: Endpoint, methods: Methods, caller: Caller[Any]) -> None:
        endpoint.requests = self
        self._endpoint = endpoint
        self._methods = methods
        self._caller = caller
        self._running: set[_Running] = set()  # those that have a task
        self._by_id: dict[Id, _Running] = {}  # those that are not answered
        self._answered: deque[Id] = deque(maxlen=_REMEMBERED)
        self._stuck: frozenset[str] = frozenset()  # methods that have ignored a cancellation
        self._turn = asyncio.Lock()  # of the task that may send next

    @property
    def running(self) -> int:
        return len(self._running)

    def answer_all(self) -> None:
        for running in list(self._running):
            running.answer_error(_cancelled())

    def cancel_all(self) -> None:
        self._by_id.clear()
        self._answered.clear()
        for running in list(self._running):
            running.stop_timer()  # the connection waits for it, and logs that
            running.cancel()

    # --- RequestHandler: called by the endpoint -----------------------------------------------

    def on_request(self, request: Request, answers: Answers) -> None:
        endpoint = self._endpoint
        if request.id is not None and request.id in self._by_id:
            # With null: its own id would answer the request that runs.
            again = request._replace(id=None)
            detail = f"the id {short_repr(request.id)} is in use"
            endpoint.refuse(again, answers, ErrorCode.INVALID_REQUEST, detail)
            return
        method = self._methods.find(request.method)
        if method is None:
            endpoint.refuse(request, answers, ErrorCode.METHOD_NOT_FOUND)
            return
        limit = endpoint.options.max_requests
        if len(self._running) >= limit:
            endpoint.refused += 1
            endpoint.refuse(
                request, answers, ErrorCode.TOO_MANY_REQUESTS, f"at most {limit} may run"
            )
            return
        try:
            self._call(request.method, method, request.params, request.id, answers)
        except InvalidParams as exc:
            endpoint.refuse(request, answers, ErrorCode.INVALID_PARAMS, str(exc))

    def on_notification(self, notification: Notification) -> bool:
        if notification.method == CANCEL:
            self._on_cancel(notification.params)
            return True
        method = self._methods.find(notification.method)
        if method is None:
            return False
        if len(self._running) >= self._endpoint.options.max_requests:
            self._endpoint.refused += 1
            text = f"notification {short_repr(notification.method)}: dropped"
            self._endpoint.mistake("too many requests", text)
            return True
        try:
            self._call(notification.method, method, notification.params, None, None)
        except InvalidParams as exc:
            text = f"notification {short_repr(notification.method)}: {exc}"
            self._endpoint.mistake("wrong arguments", text)
        return True

    def _on_cancel(self, params: Params) -> None:
        id_: Any = params.get("id") if isinstance(params, dict) else None
        valid = id_ is not None and is_id(id_)
        running = self._by_id.pop(id_, None) if valid else None
        if running is None:
            if not valid or id_ not in self._answered:
                text = f"a cancellation of id {short_repr(id_)}, which does not run"
                self._endpoint.mistake("unknown cancellation", text)
            return
        self._remember(id_)
        running.answer_error(_cancelled())
        running.cancel()
        if (owner := running.owner) is not None:
            seconds = owner.cleanup_timeout
            running.timer = call_later_shared(
                running.connection.scheduler, seconds, lambda: self._give_up(running, seconds)
            )

    def _give_up(self, running: _Running, seconds: float) -> None:
        """Let other requests run instead of a method that ignores its cancellation."""
        running.timer = None
        self._running.discard(running)
        level = logging.DEBUG if running.method in self._stuck else logging.WARNING
        self._stuck |= {running.method}
        logger.log(
            level,
            "rpc, %s: method %s has not ended within %g s of its cancellation: it no longer counts "
            "in max_requests",
            self._endpoint.where,
            short_repr(running.method),
            seconds,
        )

    # --- running ------------------------------------------------------------------------------

    def _call(
        self, name: str, method: Method, params: Params, id_: Id, answers: Answers | None
    ) -> None:
        """Call a method, and answer with its result now or later.

        Raises:
            InvalidParams: The arguments do not match the parameters.
        """
        connection = self._endpoint.wire.connection  # now, as the method may dispose the peer
        assert connection is not None
        running: _Running | None = None
        try:
            args, named, token = method.bind(params)
            if method.takes_context:
                running = _Running(name, connection, id_, answers)
                context = Context(running.connection, self._caller, name, running.is_cancelled)
                method.add_context(args, named, context)
            result: Any = method.function(*args, **named)
            if result.__class__ in _PLAIN and running is None:
                if answers is not None:
                    answers.send(result_answer(id_, result))
                    self._remember(id_)
                return
            running = running or _Running(name, connection, id_, answers)
            if (items := _items_of(result)) is not None:
                self._spawn(running, items, token)
            elif inspect.isawaitable(result):
                self._spawn(running, result, token)
            else:
                self._answer(running, result)
        except InvalidParams:
            raise
        except asyncio.CancelledError:  # of a future that a plain function asked for its result
            self._answer_cancelled(running or _Running(name, connection, id_, answers))
        except Exception as exc:
            self._answer_exception(running or _Running(name, connection, id_, answers), exc)

    def _spawn(self, running: _Running, result: Any, token: Any) -> None:
        """Run a task that answers with the items of a stream, or the result of an awaitable.

        Raises:
            RuntimeError: There is no event loop, in virtual time.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            never_used(result)  # closes a coroutine
            raise

        if self._endpoint.requests is not self:  # the method has disposed the peer
            never_used(result)
            self._answer_cancelled(running)
            return

        def on_done(_: asyncio.Task[None]) -> None:
            self._running.discard(running)
            running.task = None
            running.stop_timer()
            never_used(result)  # closes a coroutine whose task was cancelled before it began
            self._answer_cancelled(running)  # unless it is answered

        self._running.add(running)
        if running.answers is not None and running.id is not None:
            self._by_id[running.id] = running
        running.task = loop.create_task(self._run(running, result, token))
        running.task.add_done_callback(on_done)

    async def _run(self, running: _Running, result: Any, token: Any) -> None:
        try:
            try:
                items = _items_of(result)
                if items is None:
                    result = await result
                    items = _items_of(result)
                if items is not None:
                    result = await self._take_items(running, items, token)
                await self._drained(running)
                self._answer(running, result)
            except Exception as exc:
                if isinstance(exc, ResponseError):  # its data may be large
                    await self._drained(running)
                self._answer_exception(running, exc)
        except asyncio.CancelledError:
            self._answer_cancelled(running)
            raise

    async def _drained(self, running: _Running) -> None:
        """Wait until the other side is not behind; tasks that wait go on one after the other.

        If all went on at once, their messages together would exceed the send buffer.
        """
        try:
            async with self._turn:
                await running.connection.flow.drained()
        except ConnectionClosed:
            running.state = _State.CANCELLED

    async def _take_items(
        self, running: _Running, items: AsyncIterator[Any], token: Any
    ) -> list[Any] | None:
        """Send the items, or return all of them to a caller that has not asked for a stream."""
        try:
            if token is None or running.answers is None:
                return await self._collect(running, items)
            await self._send_items(running, items, token)
            return None
        finally:
            if (close := getattr(items, "aclose", None)) is not None:
                running.let_finish()
                await close()

    async def _send_items(self, running: _Running, items: AsyncIterator[Any], token: Any) -> None:
        """Send each item as soon as the connection takes it."""
        turns = _Turns()
        async for item in items:
            await turns.pause_if_due()
            await self._drained(running)  # again: others may have sent meanwhile
            if running.state is not _State.RUNNING:  # the generator ignores its cancellation
                return
            running.connection.outgoing.on_next(progress(token, [item]))
            await self._drained(running)

    async def _collect(self, running: _Running, items: AsyncIterator[Any]) -> list[Any]:
        """Return all items, for a caller that has not asked for a stream."""
        options = self._endpoint.options
        turns = _Turns()
        found: list[Any] = []
        size = 0
        async for item in items:
            await turns.pause_if_due()
            if running.state is not _State.RUNNING:
                break
            if running.answers is None:
                continue
            found.append(item)
            size += len(encode(item))
            if len(found) > options.queue_items or size > options.queue_bytes:
                raise ResponseError(
                    ErrorCode.INTERNAL_ERROR,
                    f"the result has more than {options.queue_items} items or "
                    f"{options.queue_bytes} bytes: ask for a stream, with a partialResultToken",
                )
        return found

    # --- answers ------------------------------------------------------------------------------

    def _answer(self, running: _Running, result: Any) -> None:
        self._forget(running)
        running.answer(result)

    def _answer_cancelled(self, running: _Running) -> None:
        self._forget(running)
        running.answer_error(_cancelled())
        running.state = _State.CANCELLED

    def _answer_exception(self, running: _Running, error: Exception) -> None:
        """Answer with an error: that of the method, or one that does not show what happened."""
        self._forget(running)
        if isinstance(error, ResponseError):
            try:
                running.answer_error(error)
                return
            except Exception as exc:  # its data, or a subclass without `super().__init__`
                error = exc
        self._log(running, error)
        running.answer_error(ResponseError(ErrorCode.INTERNAL_ERROR, "Internal error"))

    def _forget(self, running: _Running) -> None:
        if running.answers is None or running.id is None:
            return
        if self._by_id.get(running.id) is running:
            del self._by_id[running.id]
        if running.state is _State.RUNNING:
            self._remember(running.id)

    def _remember(self, id_: Id) -> None:
        """Note that a request was answered, unless its id takes much memory."""
        if not isinstance(id_, str) or len(id_) <= _MAX_REMEMBERED:
            self._answered.append(id_)

    def _log(self, running: _Running, error: Exception) -> None:
        """Log in one line where a method failed, with the traceback at the level DEBUG only."""
        what = "has a result that cannot be sent" if isinstance(error, EncodeError) else "raised"
        logger.warning(
            "rpc, %s: method %s %s%s: %s: %s",
            self._endpoint.where,
            short_repr(running.method),
            what,
            _place(error),
            type(error).__name__,
            one_line(error),
            exc_info=error if logger.isEnabledFor(logging.DEBUG) else None,
        )


def _place(error: Exception) -> str:
    """Return the line that raised an exception, for a log."""
    traceback = error.__traceback__
    if traceback is None or isinstance(error, EncodeError):
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f" at {code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} in {code.co_name}"
