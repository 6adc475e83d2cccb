"""The items of one stream, queued while its subscriber is busy."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase, ObserverBase

from rxws._core.schedulers.timers import call_later
from rxws._core.streams.stream import end_observer
from rxws._core.upstream import Upstreams, collectors
from rxws._session.read_gate import Hold

from ._calls import Call, Calls
from ._endpoint import Endpoint
from ._errors import StreamOverflow
from ._options import CallOptions

__all__ = ["StreamSubscription"]

# Seconds for which a full queue pauses the connection before it fails the stream. One read of a
# socket may bring more items than the queue takes, to a subscriber that has had no turn yet.
_PATIENCE = 0.5


class _State(enum.Enum):
    RUNNING = enum.auto()
    ENDING = enum.auto()  # answered or failed: the subscriber is busy, or items wait for it
    OVER = enum.auto()  # ended or disposed


class StreamSubscription(DisposableBase):
    """One subscription of a stream: receives its answer, and is what operators pause.

    Operators such as `map_async` pause the stream, not the connection: other calls go on.
    """

    def __init__(
        self,
        calls: Calls,
        endpoint: Endpoint,
        options: CallOptions,
        convert: Callable[[Any], Any],
        observer: ObserverBase[Any],
    ) -> None:
        self._calls = calls
        self._endpoint = endpoint
        self._options = options
        self._convert = convert
        self._observer: ObserverBase[Any] | None = observer  # None at the end
        self._call: Call | None = None
        self._queue: deque[tuple[Any, int]] = deque()  # items and their sizes
        self._bytes = 0
        self._holds: set[object] = set()
        self._pause: DisposableBase | None = None  # of the connection, if the queue is full
        self._patience: DisposableBase | None = None  # the timer of `_overflow`
        self._emitted = False
        self._state = _State.RUNNING
        self._error: Exception | None = None  # with which it ends
        self._collections: tuple[Upstreams, ...] = ()

    def start(self, method: str, params: dict[str, Any]) -> None:
        """Send the request."""
        self._collections = collectors()
        for upstreams in self._collections:
            upstreams.add(self)
        self._call = self._calls.start_stream(method, params, self, self._options)

    def dispose(self) -> None:
        """Cancel the request, and drop the queue; operators may do so on another thread."""
        self._endpoint.run(self._dispose)

    def _dispose(self) -> None:
        if self._state is not _State.OVER:
            self._state = _State.OVER
            if self._call is not None:
                self._calls.cancel(self._call)
            self._release()

    def _release(self) -> None:
        self._observer = self._call = self._error = None
        self._queue.clear()
        self._resume_connection()
        collections, self._collections = self._collections, ()
        for upstreams in collections:
            upstreams.discard(self)

    # --- CallObserver -------------------------------------------------------------------------

    @property
    def may_repeat(self) -> bool:
        """See `CallObserver.may_repeat`: not if the subscriber would get items twice."""
        return not self._emitted

    def on_items(self, items: list[Any], size: int) -> None:
        self._emitted = True
        each = size // (len(items) or 1)
        for item in items:
            if self._state is not _State.RUNNING:
                return
            if self._holds or self._queue:
                self._keep(item, each)
            else:
                self._emit(item)

    def on_result(self, result: Any) -> None:
        """End; a server without partial results answers with all items."""
        if isinstance(result, list):
            self.on_items(result, 0)  # pyright: ignore[reportUnknownArgumentType]
        elif result is not None:
            self.on_items([result], 0)
        self._finish(None)

    def on_error(self, error: Exception) -> None:
        self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        if self._state is _State.RUNNING:
            self._state, self._error = _State.ENDING, error
            self._resume_connection()  # it brings no more items of this stream
            self._end_if_empty()

    def _keep(self, item: Any, size: int) -> None:
        limits = self._endpoint.options
        self._queue.append((item, size))
        self._bytes += size
        if len(self._queue) <= limits.queue_items and self._bytes <= limits.queue_bytes:
            return
        if self._pause is None:
            wire = self._endpoint.wire
            self._pause = wire.upstream.pause()
            if self._options.when_full == "fail":
                self._patience = call_later(wire.scheduler, _PATIENCE, self._overflow)

    def _overflow(self) -> None:
        """Fail, as the subscriber has not taken half of a full queue in time."""
        assert self._call is not None
        self._calls.cancel(self._call)
        self._finish(StreamOverflow(self._call.method, len(self._queue), self._bytes))

    def _emit(self, item: Any) -> None:
        try:
            value = self._convert(item)
        except Exception as exc:
            self._fail(exc)
            return
        try:
            if self._observer is not None:
                self._observer.on_next(value)
        except Exception as exc:
            self._endpoint.wire.fault(exc)

    def _fail(self, error: Exception) -> None:
        assert self._call is not None
        self._calls.cancel(self._call)
        self._queue.clear()
        self._state = _State.RUNNING  # an answer before has not ended it
        self._finish(error)

    def _flush(self) -> None:
        limits = self._endpoint.options
        while self._queue and not self._holds:
            item, size = self._queue.popleft()
            self._bytes -= size
            self._emit(item)
        if len(self._queue) <= limits.queue_items // 2 and self._bytes <= limits.queue_bytes // 2:
            self._resume_connection()
        self._end_if_empty()

    def _resume_connection(self) -> None:
        disposables = self._pause, self._patience
        self._pause = self._patience = None
        for disposable in disposables:
            if disposable is not None:
                disposable.dispose()

    def _end_if_empty(self) -> None:
        """End, unless items wait, or the subscriber is still busy with the last one."""
        if self._state is not _State.ENDING or self._queue or self._holds:
            return
        error, observer = self._error, self._observer
        assert observer is not None
        self._state = _State.OVER
        self._release()
        end_observer(observer, error, self._endpoint.wire.fault)

    # --- Upstream -----------------------------------------------------------------------------

    def pause(self) -> DisposableBase:
        """See `Upstream.pause`."""
        hold = Hold(self._unhold)
        self._holds.add(hold)
        return hold

    def _unhold(self, hold: object) -> None:
        # In the loop's next turn: the code that ends a pause does not call subscribers.
        if hold in self._holds:
            self._holds.discard(hold)
            if not self._holds:
                call_later(self._endpoint.wire.scheduler, 0, self._flush)

    @property
    def closing(self) -> bool:
        """See `Upstream.closing`: a stream keeps its items to the end."""
        return False

    @property
    def delivering(self) -> bool:
        """See `Upstream.delivering`: a pause holds the other items of a message back, too."""
        return False

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """See `Upstream.count_dropped`."""
        self._endpoint.wire.upstream.count_dropped(reason, count)

    def fail(self, code: int, reason: str) -> None:
        """See `Upstream.fail`."""
        self._endpoint.wire.upstream.fail(code, reason)
