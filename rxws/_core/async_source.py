"""Run async iterators in tasks, as fast as their items are taken."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from .connection import Close
from .errors import ConnectionClosed, RxwsError
from .schedulers.connection_scheduler import ConnectionScheduler, scheduler_of_chain
from .schedulers.loop_scheduler import running_loop
from .schedulers.timers import call_and_report, raise_soon, seconds_of
from .streams.coroutines import never_used
from .streams.scheduled import LoopObservable
from .upstream import UpstreamMembers, forget_upstreams

__all__ = ["Pull", "PullTask", "call_on_loop", "from_async_iterable"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Seconds for which an iterator that never waits may keep the event loop from other work.
_SLICE = 0.001


def from_async_iterable(factory: Callable[[], AsyncIterable[T]]) -> Observable[T]:
    """Make an Observable of an async generator function, or of another async iterable.

    Each subscription calls `factory` and iterates in a task of its own. The next item is requested
    when the last one has been taken:

    - `on_next` of the subscriber has returned;
    - no operator behind holds its source, as `map_async`, `rate_limit` and `iterate` do;
    - if the chain uses the scheduler of a connection, as one that a handler returns: the peer of
      that connection is not behind (`conn.flow.writable` is True). An item also waits for that
      itself, as other subscriptions may have sent since it was requested.

    Disposing the subscription cancels the task and awaits `aclose()` in it, so the `finally` blocks
    of a generator run.

    ```
    generator           yield 1--yield 2-------return
    from_async_iterable ------1--------2-------|
    ```

    Args:
        factory: Called without arguments by each subscription, on the event loop. It returns an
            async iterable, as an async generator function does.

    Returns:
        A cold Observable. It completes when the iteration ends, and fails with what it raises: also
        with a TypeError if `factory` returns something else. `subscribe` must be called on an
        event loop.

    Raises:
        TypeError: `factory` is not callable.

    Examples:
        ```python
        async def lines():
            async with await anyio.open_file("log.txt") as file:
                async for line in file:
                    yield line

        @rxws.websocket
        def handler(conn):
            return rxws.from_async_iterable(lines).pipe(ops.filter(bool))
        ```
    """
    if not callable(factory):
        hint = "pass the function, not its result" if isinstance(factory, AsyncIterable) else ""
        raise TypeError(
            f"from_async_iterable takes a function that returns an async iterable, not {factory!r}"
            + (hint and f": {hint}")
        )

    def subscribe(
        observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        subscription = _Subscription(factory, observer, scheduler_of_chain(scheduler))
        subscription.start(subscription.run())
        return subscription

    return LoopObservable(subscribe)


class Pull(Generic[T]):
    """Passes on the items of an async iterator as fast as they are taken; it can be paused.

    Create and use it on the event loop; only the result of `pause` may be disposed on any thread.
    """

    __slots__ = ("_holds", "_owner", "_waiter", "busy", "scheduler")

    def __init__(self, scheduler: SchedulerBase) -> None:
        self.scheduler = scheduler
        self._owner = scheduler.owner if isinstance(scheduler, ConnectionScheduler) else None
        self.busy = False  # whether an item is being passed on, or the iterator is being closed
        self._holds = 0
        self._waiter: asyncio.Future[None] | None = None  # set while it waits for the last hold

    @abstractmethod
    def is_stopped(self) -> bool:
        """Whether to request no more items."""

    @abstractmethod
    def take(self, item: T) -> None:
        """Pass on an item."""

    def clock(self) -> Callable[[], float]:
        """Return a function that returns the time in seconds."""
        return seconds_of(self.scheduler)

    def pause(self) -> DisposableBase:
        """See `Pausable.pause`."""
        self._holds += 1
        return Disposable(self._release)

    def _release(self) -> None:
        self._holds -= 1
        waiter = self._waiter
        if self._holds or waiter is None:
            return
        call_on_loop(waiter.get_loop(), _wake, waiter)

    async def pull(self, items: AsyncIterable[T]) -> None:
        """Pass on the items until the iterator ends or the pull is stopped, and close it.

        An iterator that never waits lets the event loop run from time to time.
        """
        iterator = aiter(items)
        seconds = self.clock()
        since = seconds()
        try:
            while not self.is_stopped():
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    break
                if self._owner is not None and (drained := self._owner.drained()) is not None:
                    await drained  # others have sent since the item was requested
                self.pass_on(item)
                if await self.until_taken():
                    since = seconds()
                elif seconds() - since > _SLICE:
                    await asyncio.sleep(0)
                    since = seconds()
        finally:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                self.busy = True
                if self._owner is not None and running_loop() is not None:
                    self._owner.let_finish(asyncio.current_task())
                await aclose()

    def pass_on(self, item: T) -> None:
        """Call `take`; the task must not be cancelled meanwhile."""
        self.busy = True
        try:
            self.take(item)
        finally:
            self.busy = False

    async def until_taken(self) -> bool:
        """Wait while a hold is active or the peer is behind; return whether there was one."""
        waited = False
        while not self.is_stopped():
            if self._holds:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            elif self._owner is not None and (drained := self._owner.drained()) is not None:
                await drained
            else:
                break
            waited = True
        return waited


def call_on_loop(
    loop: asyncio.AbstractEventLoop, callback: Callable[[Unpack[Ts]], object], *args: *Ts
) -> None:
    """Call now on the loop, or soon from another thread; do nothing if the loop is closed."""
    if running_loop() is loop:
        callback(*args)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class PullTask(Pull[T], DisposableBase):
    """A `Pull` with a task of its own, as an `Upstream` of the operators behind.

    The task is cancelled once at most, and not while it closes the iterator: that would interrupt
    the `finally` blocks of a generator.
    """

    __slots__ = ("_cancelled", "_members", "_task", "stopped")

    closing = False  # it never ignores a pause

    def __init__(self, scheduler: SchedulerBase) -> None:
        super().__init__(scheduler)
        self.stopped = False
        self._task: asyncio.Task[Any] | None = None
        self._members: UpstreamMembers | None = None
        self._cancelled = False  # whether it was stopped while the task was running

    def is_stopped(self) -> bool:
        return self.stopped

    def clock(self) -> Callable[[], float]:
        return asyncio.get_running_loop().time  # also if the connection is in virtual time

    def enter(self, observer: ObserverBase[Any]) -> None:
        """Let the active collections list this as an upstream, until the task ends or `dispose`."""
        self._members = UpstreamMembers(self)
        self._members.enter(observer)

    def _leave(self) -> None:
        members, self._members = self._members, None  # otherwise the two would form a cycle
        if members is not None:
            members.clear()

    def start(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine as the task.

        Raises:
            RuntimeError: No event loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            coroutine.close()
            raise
        context = copy_context()
        context.run(forget_upstreams)  # a connection that the task uses is not behind its items
        self._task = loop.create_task(coroutine, context=context)
        self._task.add_done_callback(self._on_done, context=context)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._task = None  # its exception refers to frames that refer to this object
        self._leave()
        error: Exception | None = None
        if task.cancelled():
            error = None if self.stopped else RxwsError(f"{self.what} was cancelled")
        elif (raised := task.exception()) is not None:
            # asyncio has also raised a KeyboardInterrupt or SystemExit from the event loop.
            error = raised if isinstance(raised, Exception) else RxwsError(repr(raised))
        if self.stopped and not self._cancelled:  # it had failed before
            error = None
        self.on_done(error)

    @property
    def running(self) -> bool:
        """Whether there is a task that has not ended."""
        return self._task is not None and not self._task.done()

    def dispose(self) -> None:
        """Cancel the task, which may still clean up."""
        self._leave()
        stopped, self.stopped = self.stopped, True
        task = self._task
        if stopped or task is None or task.done():
            return
        call_on_loop(task.get_loop(), self._cancel, task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        self._cancelled = True
        if self._owner is not None:
            self._owner.let_finish(task)
        if not self.busy:
            task.cancel()

    @property
    def delivering(self) -> bool:
        """See `Upstream.delivering`."""
        return self.busy

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """See `Upstream.count_dropped`."""
        if self._owner is not None:
            self._owner.count_dropped(reason, count)

    def fail(self, code: int, reason: str) -> None:
        """See `Upstream.fail`."""
        self.fail_with(ConnectionClosed(Close(code, reason)))

    @property
    @abstractmethod
    def what(self) -> str:
        """What runs, for error messages."""

    @abstractmethod
    def on_done(self, error: Exception | None) -> None:
        """The task has ended; after `dispose`, an error is one of the cleanup."""

    def fail_with(self, error: Exception) -> None:
        """Stop; a subclass fails its stream, too."""
        self.dispose()


class _Subscription(PullTask[T]):
    """A subscription of `from_async_iterable`."""

    __slots__ = ("_factory", "_observer")

    def __init__(
        self,
        factory: Callable[[], AsyncIterable[T]],
        observer: ObserverBase[T],
        scheduler: SchedulerBase,
    ) -> None:
        super().__init__(scheduler)
        self._factory = factory
        self._observer = observer
        self.enter(observer)

    async def run(self) -> None:
        items = self._factory()
        if not isinstance(items, AsyncIterable):
            never_used(items)  # closes a coroutine
            raise TypeError(
                "from_async_iterable takes a function that returns an async iterable, such as an "
                f"async generator function: {self._factory!r:.100} returned "
                f"{type(items).__name__} {items!r:.80}"
            )
        await self.pull(items)

    def take(self, item: T) -> None:
        if not self.stopped:
            call_and_report(self.scheduler, self._observer.on_next, item)

    @property
    def what(self) -> str:
        return f"the task of {self._factory!r}"

    def on_done(self, error: Exception | None) -> None:
        observer = self._observer
        del self._observer  # operators behind may still refer to this object: a cycle
        if not self.stopped:
            self.stopped = True
            end = observer.on_completed if error is None else partial(observer.on_error, error)
            call_and_report(self.scheduler, end)
        elif error is not None:
            raise_soon(self.scheduler, error)

    def fail_with(self, error: Exception) -> None:
        super().fail_with(error)
        self._observer.on_error(error)
