"""The operator `map_async`."""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SingleAssignmentDisposable

from rxws._core.connection import Flow
from rxws._core.errors import RxwsError
from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import ConnectionScheduler
from rxws._core.upstream import Upstreams, collect_upstreams, no_upstreams

__all__ = ["Backlog", "map_async"]

T = TypeVar("T")
R = TypeVar("R")

_MAX_WAITING = 1024


class Backlog(RxwsError):
    """Too many values are waiting for `map_async`, whose source cannot be paused.

    Args:
        waiting: The number of values that are waiting.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return (
            f"{self.waiting} values are waiting for map_async, whose source cannot be paused: pass "
            "flow=conn.flow, raise max_concurrent, or reduce them first (ops.sample, ops.debounce)"
        )


def map_async(
    fn: Callable[[T], Awaitable[R]],
    max_concurrent: int = 1,
    ordered: bool = True,
    flow: Flow | None = None,
) -> Callable[[Observable[T]], Observable[R]]:
    """Map each value with a coroutine function, and pause the source while too many calls run.

    While `max_concurrent` calls are running, the connection that the values come from is paused, so
    a slow `fn` slows down the peer instead of filling memory. `map_async` finds the
    connection through any chain of operators. Values of another source, such as a timer, are
    queued. If more than 1024 are waiting, the stream fails with a `Backlog`.

    ```
    in        --1--2-------3--|
    map_async -----1'---2'----3'|   max_concurrent=1, and fn takes a while
    ```

    Args:
        fn: A coroutine function, called with each value. If it raises, the stream fails.
        max_concurrent: How many calls may run at once.
        ordered: Whether to emit the results in the order of the values. If False, each result is
            emitted as soon as its call has finished.
        flow: A flow to pause as well, if `map_async` cannot find it. Pass `conn.flow` if your own
            Subject is between the connection and `map_async`.

    Returns:
        An operator. Its result completes after the source when all calls have finished. Disposing
        it cancels the calls that are running.

    Raises:
        TypeError: `fn` is not callable.
        ValueError: `max_concurrent` is less than 1.

    Examples:
        ```python
        return conn.incoming.pipe(rxws.operators.map_async(look_up, max_concurrent=8))
        ```
    """
    if not callable(fn):
        raise TypeError(f"map_async takes a coroutine function, not {fn!r}")
    if max_concurrent < 1:
        raise ValueError(f"max_concurrent={max_concurrent!r}: use 1 or more")

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(
            observer: ObserverBase[R], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            # Without this default, operators above may subscribe to a connection on RxPY's timer
            # threads, where `collect_upstreams` does not find it.
            used = LoopScheduler.thread_safe(scheduler)
            subscription = _Subscription(fn, max_concurrent, ordered, observer, used)
            subscription.start(source, flow)
            return subscription

        return Observable(subscribe)

    return operator


class _State(enum.Enum):
    RUNNING = enum.auto()
    SOURCE_COMPLETED = enum.auto()
    OVER = enum.auto()


class _Subscription(DisposableBase, Generic[T, R]):
    """One subscription of `map_async`."""

    def __init__(
        self,
        fn: Callable[[T], Awaitable[R]],
        max_concurrent: int,
        ordered: bool,
        observer: ObserverBase[R],
        scheduler: SchedulerBase,
    ) -> None:
        self._fn = fn
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._observer = observer
        self._scheduler = scheduler
        self._source = SingleAssignmentDisposable()
        self._state = _State.RUNNING
        self._upstreams = Upstreams()
        self._waiting: deque[T] = deque()
        # In the order of the values. True: the call has finished, its result is not emitted yet.
        self._calls: dict[asyncio.Task[R], bool] = {}

    def start(self, source: Observable[T], flow: Flow | None) -> None:
        """Subscribe to the source, and collect the flows behind it."""
        if flow is not None:
            self._upstreams.add(flow)
        with collect_upstreams(self._upstreams):
            self._source.disposable = source.subscribe(
                self._on_next, self._on_error, self._on_completed, scheduler=self._scheduler
            )

    def dispose(self) -> None:
        """Cancel the calls that are running, and release the flows."""
        self._state = _State.OVER
        self._waiting.clear()
        for task in self._calls:
            task.cancel()
        self._upstreams.resume()
        self._source.dispose()

    def _on_next(self, value: T) -> None:
        if self._over:
            return
        if not (self._is_full or self._waiting):
            self._call(value)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(value)
        else:
            self._on_error(Backlog(len(self._waiting)))

    def _on_error(self, error: Exception) -> None:
        if not self._over:
            self.dispose()
            self._observer.on_error(error)

    def _on_completed(self) -> None:
        if self._state is _State.RUNNING:
            self._state = _State.SOURCE_COMPLETED
            self._complete_if_done()

    def _complete_if_done(self) -> None:
        if self._state is _State.SOURCE_COMPLETED and not (self._calls or self._waiting):
            self._state = _State.OVER
            self._observer.on_completed()

    def _call(self, value: T) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as exc:
            self._on_error(exc)
            return
        with no_upstreams():  # a connection that fn subscribes to is not behind this source
            task = loop.create_task(_await(self._fn, value))
            task.add_done_callback(self._on_done)
        self._calls[task] = False
        if self._is_full:
            self._upstreams.pause()

    def _on_done(self, task: asyncio.Task[R]) -> None:
        error: Exception | None = None
        if task.cancelled():
            error = RxwsError(f"a call of {self._fn!r} was cancelled")
        elif (raised := task.exception()) is not None:
            # asyncio has also raised a KeyboardInterrupt or SystemExit from the event loop.
            error = raised if isinstance(raised, Exception) else RxwsError(repr(raised))
        if error is not None or self._over:
            del self._calls[task]
            if error is not None:
                self._on_error(error)
            return
        self._calls[task] = True
        self._emit_after(task)
        while self._waiting and not self._is_full and not self._over:
            self._call(self._waiting.popleft())
        if not self._is_full:
            self._upstreams.resume()
        self._complete_if_done()

    def _emit_after(self, task: asyncio.Task[R]) -> None:
        """Emit a finished call's result; if ordered, all results up to the first running call."""
        if not self._ordered:
            self._emit(task)
            return
        while self._calls and not self._over:
            first = next(iter(self._calls))
            if not self._calls[first]:
                return
            self._emit(first)

    def _emit(self, task: asyncio.Task[R]) -> None:
        """Emit a result. An exception of the subscriber is a fault of the connection, if any."""
        del self._calls[task]
        try:
            self._observer.on_next(task.result())
        except Exception as exc:
            if isinstance(self._scheduler, ConnectionScheduler):
                self._scheduler.fault(exc)
            else:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a subscriber of map_async raised", "exception": exc}
                )

    @property
    def _over(self) -> bool:
        return self._state is _State.OVER

    @property
    def _is_full(self) -> bool:
        return len(self._calls) >= self._max_concurrent


async def _await(fn: Callable[[T], Awaitable[R]], value: T) -> R:
    result: Any = fn(value)
    if not inspect.isawaitable(result):
        raise TypeError(
            f"map_async takes a coroutine function: {fn!r} returned {type(result).__name__}; "
            "use ops.map for a plain function"
        )
    return await result  # type: ignore[no-any-return] # checked above
