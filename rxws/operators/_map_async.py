"""The operator `map_async`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import AbstractContextManager
from types import CoroutineType
from typing import Any, Literal, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.async_source import PullTask, call_on_loop
from rxws._core.checks import check_count
from rxws._core.connection import Flow
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler, scheduler_of_chain
from rxws._core.schedulers.timers import call_and_report, raise_soon
from rxws._core.streams.coroutines import never_used
from rxws._core.upstream import (
    Upstreams,
    collect_upstreams,
    collectors,
)

from ._backlog import MAX_WAITING, Backlog, BacklogSubscription, State
from ._on_loop import on_loop

__all__ = ["map_async"]

T = TypeVar("T")
R = TypeVar("R")

WhenBusy = Literal["hold", "switch", "drop"]


def map_async(
    fn: Callable[[T], Awaitable[R] | AsyncIterable[R] | Observable[R]],
    max_concurrent: int = 1,
    ordered: bool = True,
    flow: Flow | None = None,
    when_busy: WhenBusy = "hold",
) -> Callable[[Observable[T]], Observable[R]]:
    """Map each value with a coroutine function or to a stream, with a limit on concurrent calls.

    `fn` may be a coroutine function, whose result is emitted, or an async generator function, or
    return an Observable: then each of their items is emitted.

    While `max_concurrent` calls are running, the connection that the values come from is paused, so
    a slow `fn` slows down the peer instead of filling memory. `map_async` finds the
    connection through any chain of operators. Values of another source, such as a timer, are
    queued. If more than 1024 are waiting, the stream fails with a `Backlog`.

    ```
    in        --1--2-------3--|
    map_async -----1'---2'----3'|   max_concurrent=1, and fn takes a while
    ```

    With `when_busy` you decide what happens to a value while `max_concurrent` calls are running.
    Here each value `n` is mapped to a stream of the items `na`, `nb` and `nc`:

    ```
    in     --1-----2----------------|
    "hold"   --1a-1b-1c-2a-2b-2c----|   the default: 2 waits, and the connection is paused
    "switch" --1a-1b-2a-2b-2c-------|   the call of 1 is cancelled (RxJS: switchMap)
    "drop"   --1a-1b-1c-------------|   2 is dropped (RxJS: exhaustMap)
    ```

    With `max_concurrent=2`, the streams of two values run at the same time:

    ```
    in              --1--2---------------|
    ordered=True    --1a---1b---1c2a-2b-2c|   2a waits, and the stream of 2 with it
    ordered=False   --1a-2a-1b-2b-1c-2c---|
    ```

    An async generator is resumed as fast as its items are taken, as in `rxws.from_async_iterable`.

    Args:
        fn: Called with each value. It returns an awaitable, an async iterator or an Observable. If
            it raises or the Observable fails, the stream fails. An Observable is subscribed with
            the scheduler of the connection. If it cannot be paused, up to 1024 of its items may
            wait for their turn.
        max_concurrent: How many calls may run at once.
        ordered: Whether to emit the results in the order of the values. If False, each result is
            emitted at once.
        flow: A flow to pause as well, if `map_async` cannot find it. Pass `conn.flow` if your own
            Subject is between the connection and `map_async`.
        when_busy: What happens to a value while `max_concurrent` calls are running. `"hold"`: it
            waits, and the connection is paused meanwhile. `"switch"`: the running call is
            cancelled; when it has ended, with its `finally` blocks, the newest value is next.
            `"drop"`: the value is dropped. Cancelled calls and dropped values are counted in
            `conn.flow.stats` as `"map_async"`.

    Returns:
        An operator. Its result completes after the source when all calls have finished. Disposing
        it cancels the calls that are running; their connection waits for their `finally` blocks at
        its end, for at most `close_timeout`.

    Raises:
        TypeError: `fn` is not callable, or `max_concurrent` is not an int.
        ValueError: `max_concurrent` is less than 1, or is not 1 with `when_busy="switch"`, or
            `when_busy` is unknown.

    Examples:
        ```python
        return conn.incoming.pipe(rxws.operators.map_async(look_up, max_concurrent=8))
        ```

        ```python
        async def tokens(prompt):
            async for token in model.generate(prompt):
                yield token

        newest = rxws.operators.map_async(tokens, when_busy="switch")
        return conn.incoming.pipe(newest)
        ```
    """
    if not callable(fn):
        raise TypeError(
            f"map_async takes a coroutine function or an async generator function, not {fn!r}"
        )
    check_count("max_concurrent", max_concurrent, "calls")
    if when_busy not in ("hold", "switch", "drop"):
        raise ValueError(f'when_busy={when_busy!r} is unknown: use "hold", "switch" or "drop"')
    if when_busy == "switch" and max_concurrent != 1:
        raise ValueError(
            f'max_concurrent={max_concurrent!r} with when_busy="switch", which runs one call: '
            'leave max_concurrent out, or use when_busy="hold" or "drop"'
        )

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(
            observer: ObserverBase[R], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            # Without this default, operators above may subscribe to a connection on RxPY's timer
            # threads, where `collect_upstreams` does not find it.
            used = scheduler_of_chain(scheduler)
            subscription = _Subscription(fn, max_concurrent, ordered, when_busy, observer, used)
            subscription.start(source, flow)
            return subscription

        return Observable(subscribe)

    return operator


class _Subscription(BacklogSubscription[Any, Any]):
    """One subscription of `map_async`."""

    operator = "map_async"

    def __init__(
        self,
        fn: Callable[[Any], Any],
        max_concurrent: int,
        ordered: bool,
        when_busy: WhenBusy,
        observer: ObserverBase[Any],
        scheduler: SchedulerBase,
    ) -> None:
        super().__init__(observer, scheduler)
        self.fn = fn
        self.behind = collectors()  # of the operators behind, which may pause the streams of `fn`
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._when_busy = when_busy
        self._calls: dict[_Call, None] = {}  # in the order of the values
        self._owner = scheduler.owner if isinstance(scheduler, ConnectionScheduler) else None
        self._draining: asyncio.Task[None] | None = None  # waits while the peer is behind

    def dispose(self) -> None:
        """Cancel the calls that are running, and release the flows."""
        self.state = State.OVER
        for call in tuple(self._calls):
            call.dispose()
        if self._draining is not None:
            call_on_loop(self._draining.get_loop(), self._draining.cancel)
        super().dispose()

    def on_next(self, value: Any) -> None:
        if self.over:
            return
        if not self._is_full and not self.waiting:
            self._call(value)
        elif self._when_busy == "hold":
            self.keep(value)
        elif self._when_busy == "drop":
            self.upstreams.count_dropped("map_async")
        else:
            self._switch_to(value)

    def _switch_to(self, value: Any) -> None:
        """Cancel the running call, and let the value wait for its end instead of another one."""
        dropped = len(self.waiting)
        self.waiting.clear()
        self.waiting.append(value)
        for call in self._calls:
            if call.running and not call.stopped:
                call.dispose()
                dropped += 1
        if dropped:
            self.upstreams.count_dropped("map_async", dropped)

    def _call(self, value: Any) -> None:
        call = _Call(self, value)
        self._calls[call] = None
        try:
            call.start(call.run())
        except RuntimeError as exc:
            del self._calls[call]
            self.fail(exc)
            return
        if self._is_full and self._when_busy == "hold":
            self.upstreams.pause()

    def take(self, call: _Call, item: Any) -> None:
        """Emit an item, or let it wait for the calls before."""
        if not call.kept and (not self._ordered or call is next(iter(self._calls))):
            call_and_report(self.scheduler, self.observer.on_next, item)
        else:
            call.keep(item)

    def on_done(self, call: _Call, error: Exception | None) -> None:
        if call.stopped:
            self._calls.pop(call, None)
            if error is not None:
                raise_soon(self.scheduler, error)
        elif error is not None:
            self._calls.pop(call, None)
            call_and_report(self.scheduler, self.fail, error)
        else:
            call.done = True
            self._emit_kept(call)
        self._go_on()

    def _go_on(self) -> None:
        """Start the next calls, or end."""
        if self.over:
            return
        while self.waiting and not self._is_full and not self.over:
            self._call(self.waiting.popleft())
        if not self._is_full:
            self.upstreams.resume()
        call_and_report(self.scheduler, self.end_if_done)

    def _emit_kept(self, call: _Call) -> None:
        """Emit what a call has kept; if ordered, what all up to the first running one have."""
        if not self._ordered:
            self._emit_all(call)
            return
        while self._calls and not self.over:
            first = next(iter(self._calls))
            if not self._emit_all(first):
                return
            if not first.done:
                first.resume()
                return

    def _emit_all(self, call: _Call) -> bool:
        """Emit what a call has kept; return False if the rest waits, as the peer is behind."""
        while call.kept and not self.over:
            if self._is_behind():
                return False
            item = call.kept.pop(0)
            if call.done and not call.kept:
                self._calls.pop(call, None)  # first, as the subscriber may push the next value
            call_and_report(self.scheduler, self.observer.on_next, item)
        if call.done:
            self._calls.pop(call, None)
        return True

    def _is_behind(self) -> bool:
        """Return whether the peer is behind; `_emit_kept` is then called later.

        If the results of many calls were sent at once, they would overflow the send buffer.
        """
        if self._owner is not None and self._draining is None:
            drained = self._owner.drained()
            if drained is not None:
                self._draining = asyncio.get_running_loop().create_task(self._drain(drained))
                # Closes it if the task is cancelled before it begins.
                self._draining.add_done_callback(lambda _: never_used(drained))
        return self._draining is not None

    async def _drain(self, drained: Awaitable[None]) -> None:
        await drained
        self._draining = None
        calls = tuple(self._calls)
        for call in calls[:1] if self._ordered else calls:
            if self._draining is None:
                self._emit_kept(call)
        self._go_on()

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    @property
    def _is_full(self) -> bool:
        return len(self._calls) >= self._max_concurrent


class _Call(PullTask[Any]):
    """A call of `fn`: a task that awaits its result, or passes on the items of a stream."""

    __slots__ = ("_subscription", "_upstreams", "_value", "done", "kept")

    def __init__(self, subscription: _Subscription, value: Any) -> None:
        super().__init__(subscription.scheduler)
        self._subscription = subscription
        self._value = value
        self._upstreams: Upstreams | None = None  # of a stream
        self.kept: list[Any] = []  # its result, or the items that wait for other calls
        self.done = False  # whether it has returned; `kept` may not be emitted yet

    async def run(self) -> None:
        fn = self._subscription.fn
        result: Any = fn(self._value)
        if isinstance(result, CoroutineType):  # the checks below are slow
            self.kept.append(await result)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(result, Observable):
            await self._follow(result)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(result, Awaitable):
            self.kept.append(await result)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(result, AsyncIterable):
            with self._collect():
                self.enter(self._subscription.observer)
            await self.pull(result)  # pyright: ignore[reportUnknownArgumentType]
        else:
            raise TypeError(
                f"map_async takes a function that returns an awaitable, an async iterator or an "
                f"Observable: {fn!r} returned {type(result).__name__}; use ops.map for a plain "
                "function"
            )

    def _collect(self) -> AbstractContextManager[None]:
        """Collect what can pause the stream: for this call, and for the operators behind."""
        self._upstreams = Upstreams()
        return collect_upstreams(self._upstreams, self._subscription.behind)

    async def _follow(self, source: Observable[Any]) -> None:
        """Pass on the items of an Observable until it ends."""
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def end(error: Exception | None = None) -> None:
            if not ended.done():
                ended.set_result(error)

        def on_next(item: Any) -> None:
            self.pass_on(item)
            if self.stopped:  # by its subscriber: the task is not cancelled while it is busy
                end()

        with self._collect():
            following = source.pipe(on_loop()).subscribe(
                on_next, end, end, scheduler=self.scheduler
            )
        try:
            error = await ended
        finally:
            following.dispose()
        if error is not None:
            raise error

    def take(self, item: Any) -> None:
        if not self.stopped:
            self._subscription.take(self, item)

    def keep(self, item: Any) -> None:
        """Let an item of a stream wait for other calls, and hold the stream."""
        assert self._upstreams is not None
        self._upstreams.pause()
        if len(self.kept) < MAX_WAITING:
            self.kept.append(item)
        else:
            self._subscription.fail(Backlog(len(self.kept), "map_async(ordered=True)"))

    def resume(self) -> None:
        """No longer hold the stream."""
        if self._upstreams is not None:
            self._upstreams.resume()

    @property
    def what(self) -> str:
        return f"a call of {self._subscription.fn!r}"

    def on_done(self, error: Exception | None) -> None:
        subscription, self._upstreams = self._subscription, None
        del self._subscription  # operators behind may still refer to this object: a cycle
        subscription.on_done(self, error)

    def fail_with(self, error: Exception) -> None:
        self._subscription.fail(error)
