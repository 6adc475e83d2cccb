"""The calls and streams of this side that have no answer yet."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.errors import short_repr
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.scheduled import ScheduledObservable
from rxws._core.streams.stream import Dispatcher, RestartableStream
from rxws._core.upstream import Upstream

from ._endpoint import Endpoint
from ._errors import CallLost, CallTimeout, TooManyCalls
from ._messages import PROGRESS, TOKEN, Answer, Id, Params, cancel, notification, request, to_error
from ._options import CallOptions
from ._wire import Sent

__all__ = ["Call", "CallObserver", "Calls"]

_MAX_CANCELLED = 1024  # cancelled calls whose answers may still arrive


class CallObserver(Protocol):
    """Gets the answer of a call."""

    def on_result(self, result: Any) -> None: ...
    def on_error(self, error: Exception) -> None: ...
    def on_items(self, items: list[Any], size: int) -> None:
        """Get items of a stream; `size` is that of their message in bytes."""
        ...

    @property
    def may_repeat(self) -> bool:
        """Whether the request may be sent again, if it is idempotent."""
        ...


class _State(enum.Enum):
    UNSENT = enum.auto()  # waits for a connection
    SENT = enum.auto()  # given to the wire; `Call.sent` says whether it was written
    DONE = enum.auto()


class Call:
    """One request or notification of this side."""

    __slots__ = (
        "frame",
        "id",
        "idempotent",
        "may_have_run",
        "method",
        "observer",
        "sent",
        "state",
        "timer",
    )

    def __init__(
        self, id_: int, method: str, frame: str, observer: CallObserver | None, idempotent: bool
    ) -> None:
        self.id = id_
        self.method = method
        self.frame = frame
        self.observer = observer  # None for a notification, and at the end
        self.idempotent = idempotent
        self.state = _State.UNSENT
        self.may_have_run = False  # on an earlier connection
        self.sent: Sent | None = None
        self.timer: DisposableBase | None = None

    @property
    def written(self) -> bool:
        """Whether the frame was written to the connection."""
        return self.sent is not None and self.sent.written

    def withdraw(self) -> bool:
        """Return whether the connection never wrote the frame; then it never will."""
        return self.sent is None or self.sent.withdraw()

    def finish(self) -> CallObserver:
        """End the call, and return its observer, which no longer belongs to it."""
        observer, self.observer = self.observer, None
        assert observer is not None
        self.state = _State.DONE
        if self.timer is not None:
            self.timer.dispose()
            self.timer = None
        return observer


class Calls:
    """The calls by id, and the streams of notifications by method.

    A frame stays in `_outbox` until it is written, so that the next connection gets it if this one
    is lost before that.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ids = count(1)
        self._calls: dict[Id, Call] = {}
        self._outbox: deque[Call] = deque()
        self._cancelled: dict[Id, None] = {}  # in the order of their cancellation
        self._notifications: dict[str, _Notifications] = {}
        self._connected = False
        self._end: tuple[Exception | None] | None = None

    def __len__(self) -> int:
        return len(self._calls)

    # --- for callers --------------------------------------------------------------------------

    def start(self, method: str, params: Any, observer: CallObserver, options: CallOptions) -> Call:
        """Send a request, or keep it until there is a connection.

        Raises:
            TooManyCalls: `max_calls` are unanswered.
            CallLost: There will be no connection.
            RuntimeError: This is not the event loop of the connection.
        """
        return self._start(next(self._ids), method, params, observer, options)

    def start_stream(
        self, method: str, params: dict[str, Any], observer: CallObserver, options: CallOptions
    ) -> Call:
        """Do the same for a request whose answer may come in parts; its id is the token, too."""
        id_ = next(self._ids)
        return self._start(id_, method, {**params, TOKEN: id_}, observer, options)

    def _start(
        self, id_: int, method: str, params: Any, observer: CallObserver, options: CallOptions
    ) -> Call:
        self._endpoint.check_here()
        self._check(method, len(self._calls))
        call = Call(id_, method, request(id_, method, params), observer, options.idempotent)
        self._calls[id_] = call
        if (seconds := options.timeout) is not None:
            scheduler = self._endpoint.wire.scheduler
            call.timer = call_later(scheduler, seconds, lambda: self._on_timeout(call, seconds))
        self._send(call)
        return call

    def notify(self, method: str, params: Any) -> None:
        """Send a notification, or keep it until there is a connection; raise as `start` does."""
        self._endpoint.check_here()
        self._forget_written()
        self._check(method, len(self._outbox))
        frame = notification(method, params)
        self._send(Call(next(self._ids), method, frame, None, idempotent=False))

    def cancel(self, call: Call) -> None:
        """Withdraw a call, or ask the other side to cancel it; its answer is then ignored."""
        if call.state is _State.DONE:
            return
        del self._calls[call.id]
        written = not call.withdraw()
        call.finish()
        if not written:
            self._outbox = deque(each for each in self._outbox if each is not call)
            return
        self._cancelled[call.id] = None
        if len(self._cancelled) > _MAX_CANCELLED:
            del self._cancelled[next(iter(self._cancelled))]
        self._endpoint.wire.send(cancel(call.id))

    def notifications(self, method: str) -> Observable[Any]:
        """Return the stream of one kind of notification."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            self._endpoint.check_here()
            if self._end is None:
                return self._stream(method).subscribe(observer, scheduler=scheduler)
            [error] = self._end
            if error is None:
                observer.on_completed()
            else:
                observer.on_error(error)
            return Disposable()

        return ScheduledObservable(Observable(subscribe), self._endpoint.wire.carrier)

    def _stream(self, method: str) -> RestartableStream[Any]:
        stream = self._notifications.get(method)
        if stream is None:
            stream = _Notifications(self._endpoint, lambda: self._on_observed(method))
            self._notifications[method] = stream
        return stream

    def _check(self, method: str, count: int) -> None:
        if self._end is not None:
            raise CallLost(method, may_have_run=False) from self._end[0]
        limit = self._endpoint.options.max_calls
        if count >= limit:
            raise TooManyCalls(method, limit)

    # --- sending ------------------------------------------------------------------------------

    def _send(self, call: Call) -> None:
        self._forget_written()
        outbox = self._outbox
        if self._connected and not (outbox and outbox[-1].state is _State.UNSENT):
            self._give(call)
        if not call.written:
            outbox.append(call)

    def _give(self, call: Call) -> bool:
        """Give a frame to the wire, unless it takes none now."""
        wire = self._endpoint.wire
        # Notifications do not wait: a full send buffer is up to the `overflow` of the connection.
        call.sent = (wire.send if call.observer is None else wire.send_if_writable)(call.frame)
        if call.sent is not None:
            call.state = _State.SENT
        return call.sent is not None

    def _forget_written(self) -> None:
        outbox = self._outbox
        while outbox and outbox[0].written:
            outbox.popleft()

    def _on_timeout(self, call: Call, seconds: float) -> None:
        observer = call.observer
        self.cancel(call)
        assert observer is not None
        observer.on_error(CallTimeout(call.method, seconds))

    # --- called by the router ---------------------------------------------------------------

    def on_open(self) -> None:
        self._connected = True
        for call in list(self._outbox):
            if call.state is _State.UNSENT and not self._give(call):
                return

    def on_lost(self, error: Exception | None) -> None:
        """Fail the calls that may have run; the others wait for the next connection."""
        self._connected = False
        self._cancelled.clear()
        waiting: deque[Call] = deque()
        lost: list[Call] = []
        every = {call.id: call for call in (*self._outbox, *self._calls.values())}
        for _, call in sorted(every.items()):
            observer = call.observer
            unsent = call.withdraw()
            call.may_have_run = call.may_have_run or not unsent
            if unsent or (call.idempotent and observer is not None and observer.may_repeat):
                call.state, call.sent = _State.UNSENT, None
                waiting.append(call)
            elif observer is not None:
                lost.append(call)
        self._outbox = waiting
        self._fail(lost, error)

    def on_end(self, error: Exception | None) -> None:
        if self._end is not None:
            return
        self._end = (error,)
        self._outbox.clear()
        self._fail(list(self._calls.values()), error)
        streams, self._notifications = self._notifications, {}
        for stream in streams.values():
            stream.finish_subscribers()(error)

    def cancel_all(self) -> None:
        for call in self._calls.values():
            if not call.withdraw():
                self._endpoint.wire.send(cancel(call.id))

    def _fail(self, calls: list[Call], cause: Exception | None) -> None:
        for call in calls:
            if self._calls.pop(call.id, None) is None:  # cancelled by a subscriber of another one
                continue
            observer = call.finish()
            error = CallLost(call.method, call.may_have_run)
            error.__cause__ = cause
            observer.on_error(error)

    def on_answer(self, answer: Answer) -> None:
        call = self._find(answer)
        if call is None:
            return
        del self._calls[call.id]
        observer = call.finish()
        self._forget_written()
        if answer.error is None:
            observer.on_result(answer.result)
        else:
            observer.on_error(to_error(answer.error))

    def _find(self, answer: Answer) -> Call | None:
        """Return the call that is answered; None if there is none, which may be a mistake."""
        call = self._calls.get(answer.id)
        if call is not None and call.written:
            return call
        if answer.id is None:
            text = f"it could not read a message of ours: {to_error(answer.error)}"
            self._endpoint.mistake("unknown answer", text)
        elif answer.id in self._cancelled:
            del self._cancelled[answer.id]
        else:
            text = f"an answer with id {short_repr(answer.id)}, which nobody awaits"
            self._endpoint.mistake("unknown answer", text)
        return None

    def on_notification(self, method: str, params: Params, size: int) -> bool:
        if method == PROGRESS and isinstance(params, dict) and self._on_progress(params, size):
            return True
        stream = self._notifications.get(method)
        if stream is None:
            return False
        stream.emit(params)
        return True

    def _on_progress(self, params: dict[str, Any], size: int) -> bool:
        """Deliver items of a stream; return False if this is progress of another kind."""
        token, items = params.get("token"), params.get("value")
        if not isinstance(token, int) or isinstance(token, bool):
            return False
        call = self._calls.get(token)
        if call is None:
            return token in self._cancelled
        if not call.written or call.observer is None:
            return False
        listed: list[Any] = items if isinstance(items, list) else [items]  # pyright: ignore[reportUnknownVariableType]
        call.observer.on_items(listed, size)
        return True

    def _on_observed(self, method: str) -> None:
        stream = self._notifications.get(method)
        if stream is not None and not stream.observed:
            self._notifications.pop(method, None)


class _Notifications(RestartableStream[Any]):
    """The notifications of one method, which end with the connection."""

    def __init__(self, endpoint: Endpoint, on_changed: Callable[[], object]) -> None:
        wire = endpoint.wire
        super().__init__(Dispatcher(wire.scheduler), wire.fault, on_changed)
        self._wire = wire

    @property
    def _pausable(self) -> Upstream:
        return self._wire.upstream
