"""Iterate over an Observable with `async for`, pausing its connection while the body runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Generic, Self, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase

from .schedulers.connection_scheduler import DefaultScheduler
from .schedulers.loop_scheduler import running_loop, wrong_loop
from .upstream import MessageSource, Upstream, Upstreams, collect_upstreams

__all__ = ["AsyncIterableObservable", "Iteration", "iterate"]

T = TypeVar("T")


def iterate(observable: Observable[T]) -> Iteration[T]:
    """Iterate over any Observable with `async for`.

    The streams of rxws need no `iterate`: `async for message in conn.incoming` does the same.

    While the body of the loop runs, the connection that the values come from is paused, so a slow
    body slows down the peer. This works through any chain of operators. Values of
    an Observable that has no connection behind it are buffered in memory without limit.

    Leaving the loop, however it happens, unsubscribes and ends the pause. Messages that arrive then
    wait for the next subscriber, which may be another loop.

    Args:
        observable: `conn.incoming`, or an Observable derived from it.

    Returns:
        An async iterator of the values, in order.

    Raises:
        Exception: Raised by the loop: the Observable's error, after the values before it. For
            `conn.incoming` it is a `ConnectionClosed`.

    Examples:
        ```python
        async for word in rxws.iterate(conn.incoming.pipe(ops.map(str.strip))):
            await save(word)
        ```
    """
    return Iteration(observable)


class Iteration(AsyncGenerator[T, None]):
    """An async iterator over an Observable, as `iterate` returns it.

    It subscribes when the first value is requested. If you cancel `anext`, for example by a
    timeout, no value is lost, and you can call it again.

    If you call `anext` without a loop, the connection is also paused between two calls. To end
    that, call `aclose()`, use `async with`, or drop the last reference to the iterator.

    Examples:
        ```python
        async with rxws.iterate(conn.incoming) as messages:
            hello = await asyncio.wait_for(anext(messages), 5)
            async for message in messages:
                await save(message)
        ```
    """

    __slots__ = ("_parent", "_values")

    def __init__(self, observable: Observable[T], _parent: Iteration[T] | None = None) -> None:
        # `async for` calls `__aiter__`, and is the only one to refer to the object that it gets.
        # So that object is deleted when the loop is left. Its parent lives at least as long.
        self._parent = _parent
        self._values: _Values[T] = _Values(observable) if _parent is None else _parent._values
        if _parent is not None:
            self._values.loops += 1

    def __aiter__(self) -> Iteration[T]:
        return Iteration(self._values.observable, self)

    async def __anext__(self) -> T:
        try:
            return await self._values.next()
        finally:
            del self  # otherwise a traceback that refers to this frame would keep the iterator

    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        """Do as `anext`."""
        return self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> T:
        """Close, and raise an exception."""
        self._values.close()
        error = typ if val is None else val
        raise (error() if isinstance(error, type) else error).with_traceback(tb)

    async def aclose(self) -> None:
        """Unsubscribe and end the pause. The iterator has no more values then."""
        self._values.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._values.close()

    def __del__(self) -> None:
        values = self._values
        if self._parent is not None:
            values.call_soon(values.leave_loop)
        elif values.in_use:
            values.call_soon(values.close)


class AsyncIterableObservable(Observable[T]):
    """An Observable that `async for` iterates over, as `iterate` does."""

    __slots__ = ()

    def __aiter__(self) -> Iteration[T]:
        return Iteration(self)


class _Item(Generic[T]):
    """A value, and the message that it was made from, if that is known."""

    __slots__ = ("is_first", "message", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self.message: tuple[MessageSource, Any] | None = None
        self.is_first = False  # of the values of the message


class _Values(Upstreams, Generic[T]):
    """The values of a subscription that wait for the loop; it pauses the connection meanwhile."""

    __slots__ = (
        "_closed",
        "_delivered",
        "_end",
        "_idle",
        "_items",
        "_loop",
        "_subscription",
        "_waiter",
        "loops",
        "observable",
    )

    tracks_delivery = True

    def __init__(self, observable: Observable[T]) -> None:
        super().__init__()
        self.observable = observable
        self.loops = 0  # `async for` loops that have not been left
        self._idle = False  # whether all loops have been left, and nothing was requested since
        self._items: deque[_Item[T]] = deque()
        self._delivered: list[_Item[T]] | None = None  # of the message that is being delivered
        self._end: tuple[Exception | None] | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscription: DisposableBase | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def in_use(self) -> bool:
        """Whether there is something to close."""
        return self._subscription is not None or bool(self._items)

    async def next(self) -> T:
        """Return the next value.

        Raises:
            StopAsyncIteration: There is none.
            RuntimeError: Another task is waiting for it, or the subscription belongs to another
                event loop.
        """
        if self._waiter is not None:
            raise RuntimeError("another task is waiting for the next value of this iterator")
        self._idle = False
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            if self._end is not None:
                [error] = self._end
                self.close()
                if error is None:
                    raise StopAsyncIteration
                try:
                    raise error
                finally:
                    del error  # it refers to this frame
            await self._wait()
        return self._items.popleft().value

    async def _wait(self) -> None:
        running = asyncio.get_running_loop()
        if self._subscription is None:
            self._subscribe()
        elif self._loop is not None and self._loop is not running:
            raise wrong_loop(self._loop, running, "this iterator")
        else:
            self.resume()
        if self._items or self._end is not None:
            return
        self._waiter = running.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _subscribe(self) -> None:
        # It runs actions without a delay at once. Otherwise `rx.merge` within a `flat_map` would
        # subscribe to a group too late for its first value.
        scheduler = DefaultScheduler.of_loop()
        self._loop = asyncio.get_running_loop()
        with collect_upstreams(self):
            self._subscription = self.observable.subscribe(
                self._on_next, self._on_end, self._on_end, scheduler=scheduler
            )

    # --- the subscription; also on other threads ----------------------------------------------

    def _on_next(self, value: T) -> None:
        item = _Item(value)
        self._items.append(item)
        if self._delivered is not None:
            self._delivered.append(item)
        self.pause()
        self._wake()

    def _on_end(self, error: Exception | None = None) -> None:
        self._end = (error,)
        self._wake()

    def _wake(self) -> None:
        if running_loop() is self._loop:
            self._wake_on_loop()
        else:
            self.call_soon(self._wake_on_loop)

    def _wake_on_loop(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- Upstreams ----------------------------------------------------------------------------

    def add(self, flow: Upstream) -> None:
        super().add(flow)
        if self._idle:  # a source that an operator subscribes to after the loop
            self.call_soon(self._suspend_if_idle)

    def begin_delivery(self) -> None:
        self._delivered = []

    def end_delivery(self, source: MessageSource, data: Any) -> None:
        items, self._delivered = self._delivered or [], None
        message = source, data
        for item in items:
            item.message = message
            item.is_first = item is items[0]

    # --- ends -----------------------------------------------------------------------------------

    def leave_loop(self) -> None:
        """A loop has been left: unless another one goes on, unsubscribe and end the pause."""
        self.loops -= 1
        self._idle = not self.loops
        self._suspend_if_idle()

    def _suspend_if_idle(self) -> None:
        # A source without a connection has nothing to pause, and would start from the beginning.
        if self._idle and len(self):
            self._unsubscribe()
        elif self._idle:
            self.resume()

    def close(self) -> None:
        """Unsubscribe, end the pause, and drop and count the values that cannot be put back."""
        self._closed = True
        self._unsubscribe()
        if self._items:
            self.count_dropped("unobserved", len(self._items))
            self._items.clear()
        self._wake_on_loop()

    def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.dispose()
        self._put_back()
        self.resume()

    def _put_back(self) -> None:
        """Put back the messages of which no value was taken, and drop their values."""
        untouched: list[tuple[MessageSource, Any]] = []
        for item in list(self._items):  # a copy, as other threads may append
            if item.is_first and item.message is not None:
                untouched.append(item.message)
            if untouched and item.message is untouched[-1]:
                self._items.remove(item)
        for source, data in reversed(untouched):
            source.put_back(data)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back on the event loop, unless it is closed: the garbage collector may be running.

        It may run at any point, also where the caller holds a lock.
        """
        if self._loop is None:  # nothing was requested
            callback()
        elif self._loop.is_closed():
            return
        elif running_loop() is self._loop:
            self._loop.call_soon(callback)
        else:
            self._loop.call_soon_threadsafe(callback)
