"""The operator `map_async`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.checks import check_count
from rxws._core.connection import Flow
from rxws._core.errors import RxwsError
from rxws._core.schedulers.connection_scheduler import scheduler_of_chain
from rxws._core.schedulers.timers import raise_soon
from rxws._core.upstream import no_upstreams

from ._backlog import BacklogSubscription, State

__all__ = ["map_async"]

T = TypeVar("T")
R = TypeVar("R")


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
        TypeError: `fn` is not callable, or `max_concurrent` is not an int.
        ValueError: `max_concurrent` is less than 1.

    Examples:
        ```python
        return conn.incoming.pipe(rxws.operators.map_async(look_up, max_concurrent=8))
        ```
    """
    if not callable(fn):
        raise TypeError(f"map_async takes a coroutine function, not {fn!r}")
    check_count("max_concurrent", max_concurrent, "calls")

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(
            observer: ObserverBase[R], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            # Without this default, operators above may subscribe to a connection on RxPY's timer
            # threads, where `collect_upstreams` does not find it.
            used = scheduler_of_chain(scheduler)
            subscription = _Subscription(fn, max_concurrent, ordered, observer, used)
            subscription.start(source, flow)
            return subscription

        return Observable(subscribe)

    return operator


class _Subscription(BacklogSubscription[T, R]):
    """One subscription of `map_async`."""

    operator = "map_async"

    def __init__(
        self,
        fn: Callable[[T], Awaitable[R]],
        max_concurrent: int,
        ordered: bool,
        observer: ObserverBase[R],
        scheduler: SchedulerBase,
    ) -> None:
        super().__init__(observer, scheduler)
        self._fn = fn
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        # In the order of the values. True: the call has finished, its result is not emitted yet.
        self._calls: dict[asyncio.Task[R], bool] = {}

    def dispose(self) -> None:
        """Cancel the calls that are running, and release the flows."""
        self.state = State.OVER
        for task in self._calls:
            task.cancel()
        super().dispose()

    def on_next(self, value: T) -> None:
        if self.over:
            return
        if self._is_full or self.waiting:
            self.keep(value)
        else:
            self._call(value)

    def _call(self, value: T) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as exc:
            self.fail(exc)
            return
        with no_upstreams():  # a connection that fn subscribes to is not behind this source
            task = loop.create_task(_await(self._fn, value))
            task.add_done_callback(self._on_done)
        self._calls[task] = False
        if self._is_full:
            self.upstreams.pause()

    def _on_done(self, task: asyncio.Task[R]) -> None:
        if self.over and task.cancelling():  # asyncio reports what else a cancelled call raises
            del self._calls[task]
            return
        error: Exception | None = None
        if task.cancelled():
            error = RxwsError(f"a call of {self._fn!r} was cancelled")
        elif (raised := task.exception()) is not None:
            # asyncio has also raised a KeyboardInterrupt or SystemExit from the event loop.
            error = raised if isinstance(raised, Exception) else RxwsError(repr(raised))
        if error is not None or self.over:
            del self._calls[task]
            if error is not None:
                self._notify(self.fail, error)
            return
        self._calls[task] = True
        self._emit_after(task)
        while self.waiting and not self._is_full and not self.over:
            self._call(self.waiting.popleft())
        if not self._is_full:
            self.upstreams.resume()
        self._notify(self.end_if_done)

    def _emit_after(self, task: asyncio.Task[R]) -> None:
        """Emit a finished call's result; if ordered, all results up to the first running call."""
        if not self._ordered:
            self._emit(task)
            return
        while self._calls and not self.over:
            first = next(iter(self._calls))
            if not self._calls[first]:
                return
            self._emit(first)

    def _emit(self, task: asyncio.Task[R]) -> None:
        del self._calls[task]
        self._notify(self.observer.on_next, task.result())

    def _notify(self, notify: Callable[..., None], *args: Any) -> None:
        """Notify the subscriber; the scheduler reports what it raises, and the calls go on."""
        try:
            notify(*args)
        except BaseException as exc:
            raise_soon(self.scheduler, exc)

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    @property
    def _is_full(self) -> bool:
        return len(self._calls) >= self._max_concurrent


async def _await(fn: Callable[[T], Awaitable[R]], value: T) -> R:
    result: Any = fn(value)
    if not inspect.isawaitable(result):
        remedy = (
            "loop over it in a coroutine function that pushes its values to conn.outgoing"
            if inspect.isasyncgen(result)
            else "use ops.map for a plain function"
        )
        raise TypeError(
            f"map_async takes a coroutine function: {fn!r} returned {type(result).__name__}; "
            f"{remedy}"
        )
    return await result  # type: ignore[no-any-return] # checked above
