"""The operator `map_async`: coroutines in a pipeline, bounded by holding the flow."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.connection import Flow, Pausable
from rxws._core.errors import RxwsError
from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import ConnectionScheduler
from rxws._core.upstream import collect_upstreams, no_upstreams

__all__ = ["Backlog", "map_async"]

T = TypeVar("T")
R = TypeVar("R")

_MAX_WAITING = 1024


class Backlog(RxwsError):
    """Too many values wait for `map_async`, from a source that it cannot hold back.

    Args:
        waiting: How many wait.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return (
            f"{self.waiting} values wait for map_async, and their source cannot be held back: "
            "pass flow=conn.flow, raise max_concurrent, or thin them out before (sample, debounce)"
        )


def map_async(
    fn: Callable[[T], Awaitable[R]],
    max_concurrent: int = 1,
    ordered: bool = True,
    flow: Flow | None = None,
) -> Callable[[Observable[T]], Observable[R]]:
    """Map each value by a coroutine function, and read no further while enough of them run.

    While `max_concurrent` calls are under way the flow of the connection that the values come from
    is held, so that the peer waits, and not memory. The connection is found by itself, however
    deep in the chain its `incoming` stands. Values from elsewhere (a timer, a hub topic) wait,
    1024 of them at the most, after which the stream fails with a `Backlog`.

    ```
    in        --1--2-------3--|
    map_async -----1'---2'----3'|   max_concurrent=1, fn takes a while
    ```

    Args:
        fn: Called with each value, and awaited. An exception of it ends the stream with it.
        max_concurrent: How many calls may be under way at once.
        ordered: Whether results come in the order of the values, or as they are ready.
        flow: The flow to hold, where it is not that of the source.

    Returns:
        An operator. Disposing its subscription cancels what is under way; its completion waits
        for it.

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
            # As everywhere in rxws: what is above stays on the loop, and is found from there.
            scheduler = scheduler or LoopScheduler.running()
            with collect_upstreams() as flows:
                if flow is not None:
                    flows.append(flow)
                mapping = _Mapping(fn, max_concurrent, ordered, observer, flows, scheduler)
                mapping.source = source.subscribe(
                    mapping.on_next, mapping.on_error, mapping.on_completed, scheduler=scheduler
                )
            if mapping.over:  # within the subscription already
                mapping.source.dispose()
            return mapping

        return Observable(subscribe)

    return operator


class _Call(Generic[R]):
    """One call of `fn`, or what came of it."""

    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = False
        self.result: R | None = None


class _Mapping(DisposableBase, Generic[T, R]):
    """One subscription of `map_async`."""

    def __init__(
        self,
        fn: Callable[[T], Awaitable[R]],
        max_concurrent: int,
        ordered: bool,
        observer: ObserverBase[R],
        flows: Sequence[Pausable],
        scheduler: SchedulerBase | None,
    ) -> None:
        self.source: DisposableBase | None = None
        self.over = False
        self._fn = fn
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._observer = observer
        self._flows = flows
        self._scheduler = scheduler
        self._waiting: deque[T] = deque()
        self._calls: deque[_Call[R]] = deque()  # in the order of their values
        self._tasks: set[asyncio.Task[R]] = set()
        self._inside = 0  # values that are called for, or whose results wait for their turn
        self._holds: list[DisposableBase] = []
        self._completed = False

    def on_next(self, value: T) -> None:
        """Call, or let the value wait for its turn."""
        if self.over:
            return
        self._hold_if_full()
        if self._inside < self._max_concurrent and not self._waiting:
            self._call(value)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(value)
        else:
            self.on_error(Backlog(len(self._waiting)))

    def on_error(self, error: Exception) -> None:
        """End with an error, at once, as every operator does."""
        if not self.over:
            self.dispose()
            self._observer.on_error(error)

    def on_completed(self) -> None:
        """End when what is under way has come."""
        self._completed = True
        self._complete_if_done()

    def dispose(self) -> None:
        """Cancel what is under way, and let the flow go."""
        self.over = True
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        self._let_go()
        if self.source is not None:
            self.source.dispose()

    def _call(self, value: T) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as exc:
            self.on_error(exc)
            return
        call: _Call[R] = _Call()
        if self._ordered:
            self._calls.append(call)
        with no_upstreams():  # what fn subscribes is no source of ours
            task = loop.create_task(_await(self._fn, value))
            task.add_done_callback(lambda task: self._on_done(task, call))
        self._inside += 1
        self._tasks.add(task)
        self._hold_if_full()

    def _hold_if_full(self) -> None:
        """Hold every flow that is known by now; a `concat` may have come to another."""
        if self._inside >= self._max_concurrent:
            for flow in self._flows[len(self._holds) :]:
                self._holds.append(flow.pause())

    def _on_done(self, task: asyncio.Task[R], call: _Call[R]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.on_error(RxwsError(f"a call of {self._fn!r} was cancelled"))
        elif (error := task.exception()) is not None:
            # A BaseException, like KeyboardInterrupt, has left through the event loop already.
            self.on_error(error if isinstance(error, Exception) else RxwsError(repr(error)))
        elif not self.over:
            call.result, call.done = task.result(), True
            self._emit(call)
            while self._waiting and self._inside < self._max_concurrent and not self.over:
                self._call(self._waiting.popleft())
            if self._inside < self._max_concurrent:
                self._let_go()
            self._complete_if_done()

    def _emit(self, call: _Call[R]) -> None:
        if not self._ordered:
            self._tell(call)
        while self._calls and self._calls[0].done and not self.over:
            self._tell(self._calls.popleft())

    def _tell(self, call: _Call[R]) -> None:
        """Pass a result on; what a subscriber raises over it is a fault of the connection."""
        self._inside -= 1
        try:
            self._observer.on_next(call.result)  # type: ignore[arg-type] # None is an R's then
        except Exception as exc:
            if isinstance(self._scheduler, ConnectionScheduler):
                self._scheduler.fault(exc)
            else:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a subscriber of map_async raised", "exception": exc}
                )

    def _complete_if_done(self) -> None:
        if self._completed and not (self._inside or self._waiting or self.over):
            self.over = True
            self._observer.on_completed()

    def _let_go(self) -> None:
        holds, self._holds = self._holds, []
        for hold in holds:
            hold.dispose()


async def _await(fn: Callable[[T], Awaitable[R]], value: T) -> R:
    result: Any = fn(value)
    if not inspect.isawaitable(result):
        raise TypeError(
            f"map_async takes a coroutine function: {fn!r} returned {type(result).__name__}; "
            "use ops.map for a plain one"
        )
    return await result  # type: ignore[no-any-return] # of an Any that was checked
