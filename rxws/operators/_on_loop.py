"""Keep a chain on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import call_later

__all__ = ["on_loop"]

T = TypeVar("T")


def on_loop() -> Callable[[Observable[T]], Observable[T]]:
    """Keep a chain on the event loop of who subscribes it; it goes to the chain's end.

    Time operators above it (`debounce`, `delay`, `interval`) use the loop's timers instead of
    RxPY's timer threads, and what another thread emits is brought onto the loop, in its order.

    ```
    thread  --1-----2--|
    on_loop ---1-----2-|   on the loop's thread
    ```

    Returns:
        An operator.

    Raises:
        RuntimeError: From subscribing, where no event loop runs and no scheduler is passed.

    Examples:
        ```python
        conn.incoming.pipe(ops.debounce(0.3), rxws.operators.on_loop()).subscribe(print)
        ```
    """

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: ObserverBase[T], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            loop = scheduler or LoopScheduler.running()
            thread = threading.get_ident()

            def bring(call: Callable[[], None]) -> None:
                if threading.get_ident() == thread:
                    call()
                else:
                    call_later(loop, 0, call)

            return source.subscribe(
                lambda value: bring(lambda: observer.on_next(value)),
                lambda error: bring(lambda: observer.on_error(error)),
                lambda: bring(observer.on_completed),
                scheduler=loop,
            )

        return Observable(subscribe)

    return operator
