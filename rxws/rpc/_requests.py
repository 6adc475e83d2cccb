"""Calls methods for the other side."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from rxws._core.errors import short_repr
from rxws._core.streams.coroutines import never_used

from ._caller import Caller
from ._endpoint import Answers, Endpoint
from ._errors import ErrorCode, InvalidParams
from ._messages import CANCEL, Id, Notification, Params, Request, is_id, result_answer
from ._methods import Context, Methods
from ._request_task import RequestTask, RunningRequests, is_stream

__all__ = ["Requests"]

# The results of most plain functions: they need no check for what is to be awaited.
_PLAIN = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})


class Requests:
    """Calls methods for the other side, and answers."""

    __slots__ = ("_caller", "_endpoint", "_methods", "running")

    def __init__(self, endpoint: Endpoint, methods: Methods, caller: Caller[Any]) -> None:
        self._endpoint = endpoint
        self._methods = methods
        self._caller = caller
        self.running = RunningRequests(endpoint)

    # --- RequestHandler: called by the router -------------------------------------------------

    def on_request(self, request: Request, answers: Answers) -> None:
        [id_, name, params] = request
        if id_ is not None and id_ in self.running.by_id:
            # With null: its own id would answer the request that runs.
            detail = f"the id {short_repr(id_)} is in use"
            self._endpoint.refuse(name, None, answers, ErrorCode.INVALID_REQUEST, detail)
            return
        refusal = self._call(name, params, id_, answers)
        if refusal is not None:
            self._endpoint.refuse(name, id_, answers, *refusal)

    def on_notification(self, notification: Notification) -> bool:
        [name, params] = notification
        if name == CANCEL:
            self._on_cancel(params)
            return True
        refusal = self._call(name, params, None, None)
        if refusal is None:
            return True
        [code, detail] = refusal
        if code is ErrorCode.METHOD_NOT_FOUND:
            return False
        self._endpoint.refuse(name, None, None, code, detail)
        return True

    def _on_cancel(self, params: Params) -> None:
        id_: Any = params.get("id") if isinstance(params, dict) else None
        valid = id_ is not None and is_id(id_)
        if valid and (task := self.running.by_id.get(id_)) is not None:
            task.cancel_request()
        elif not valid or not self.running.was_answered(id_):
            text = f"a cancellation of id {short_repr(id_)}, which does not run"
            self._endpoint.mistake("unknown cancellation", text)

    def _call(
        self, name: str, params: Params, id_: Id, answers: Answers | None
    ) -> tuple[ErrorCode, str] | None:
        """Call a method, and answer with its result now or later; return why it cannot run."""
        method = self._methods.find(name)
        if method is None:
            return ErrorCode.METHOD_NOT_FOUND, ""
        limit = self._endpoint.options.max_requests
        if len(self.running.tasks) >= limit:
            self._endpoint.refused += 1
            return ErrorCode.TOO_MANY_REQUESTS, f"at most {limit} may run"
        connection = self._endpoint.wire.connection  # now, as the method may dispose the peer
        assert connection is not None
        task: RequestTask | None = None
        try:
            args, named, token = method.bind(params)
            if method.takes_context:
                task = RequestTask(self.running, connection, name, id_, answers)
                context = Context(connection, self._caller, name, task.is_cancelled)
                method.add_context(args, named, context)
            result: Any = method.function(*args, **named)
            if result.__class__ in _PLAIN and task is None:
                if answers is not None:
                    answers(result_answer(id_, result))
                    self.running.remember(id_)
                return None
            task = task or RequestTask(self.running, connection, name, id_, answers)
            if not (is_stream(result) or inspect.isawaitable(result)):
                task.answer(result)
            elif not self._endpoint.ended:
                task.run(result, token)
            else:  # the method has disposed the peer
                never_used(result)
                task.answer_cancelled()
        except InvalidParams as exc:
            return ErrorCode.INVALID_PARAMS, str(exc)
        except (asyncio.CancelledError, Exception, GeneratorExit) as exc:
            task = task or RequestTask(self.running, connection, name, id_, answers)
            if isinstance(exc, asyncio.CancelledError):
                task.answer_cancelled()  # a plain function asked a cancelled future for its result
            else:
                task.answer_exception(exc)
        return None
