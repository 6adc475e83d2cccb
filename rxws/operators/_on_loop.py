"""The operator `on_loop`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.schedulers.connection_scheduler import scheduler_of_chain
from rxws._core.schedulers.threads import runs_here
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.scheduled import (
    LoopObservable,
    ScheduledObservable,
    SchedulerCarrier,
)

__all__ = ["on_loop"]

T = TypeVar("T")


def on_loop() -> Callable[[Observable[T]], Observable[T]]:
    """Run a chain of operators on the event loop; place it at the end of the chain.

    A chain that begins with a stream of rxws, such as `conn.incoming`, does not need it. In a chain
    that begins with `rx.merge` or `rx.interval`, the time operators above `on_loop` use the loop's
    timers instead of RxPY's timer threads. Values that another thread emits are moved to the loop,
    in order.

    ```
    thread  --1-----2--|
    on_loop ---1-----2-|   on the loop's thread
    ```

    Returns:
        An operator. It uses the scheduler passed to `subscribe`, or else that of the connection at
        the start of the chain, or else the event loop that is running at that time.

    Raises:
        RuntimeError: Raised by `subscribe` if no event loop is running and no scheduler is passed.

    Examples:
        ```python
        both = rx.merge(first.incoming, second.incoming)
        both.pipe(ops.debounce(0.3), rxws.operators.on_loop()).subscribe(print)
        ```
    """

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: ObserverBase[T], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            loop = scheduler_of_chain(scheduler)
            thread = get_ident()

            waiting: deque[Callable[[], None]] = deque()  # calls of other threads

            def run(call: Callable[[], None]) -> None:
                if runs_here(loop, thread) and not waiting:
                    call()
                else:
                    waiting.append(call)
                    call_later(loop, 0, lambda: waiting.popleft()())

            return source.subscribe(
                lambda value: run(lambda: observer.on_next(value)),
                lambda error: run(lambda: observer.on_error(error)),
                lambda: run(observer.on_completed),
                scheduler=loop,
            )

        if isinstance(source, SchedulerCarrier):  # it begins with a stream of rxws
            return ScheduledObservable(Observable(subscribe), source)
        return LoopObservable(subscribe)

    return operator
