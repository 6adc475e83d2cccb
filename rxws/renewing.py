"""A stream that ends for all who are subscribed then, and begins anew for who comes after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from .streams import Dispatcher, Fault, Stream

__all__ = ["Renewing"]

T = TypeVar("T")


class Renewing(Stream[T]):
    """A hot Observable whose life is that of what its subscribers keep open.

    Args:
        dispatcher: The dispatcher that it shares with others.
        fault: Told of every exception that a subscriber raises.
        on_changed: Called when somebody came or left, be it from another thread. What it raises is
            raised by the subscribing, which is then undone.
    """

    def __init__(
        self, dispatcher: Dispatcher, fault: Fault, on_changed: Callable[[], object]
    ) -> None:
        super().__init__(dispatcher, fault)
        self._on_changed = on_changed

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        subscription = super()._subscribe_core(observer, scheduler)
        try:
            self._on_changed()
        except BaseException:
            super().remove(observer)
            raise
        return subscription

    def remove(self, observer: ObserverBase[T]) -> None:
        """See `Stream.remove`."""
        super().remove(observer)
        self._on_changed()

    def begin_anew(self) -> Callable[[Exception | None], bool]:
        """Let go of all who are subscribed: it ends for them.

        They are let go of before any of them is told, as one may come back at once.

        Returns:
            What tells them of the end; it returns whether one of them raised the error itself, as
            RxPY does where no `on_error` was given.
        """
        told = self.let_all_go()

        def tell(error: Exception | None) -> bool:
            raised = False
            for observer in told:
                try:
                    if error is None:
                        observer.on_completed()
                    else:
                        observer.on_error(error)
                except Exception as exc:
                    if exc is error:
                        raised = True
                    else:
                        self._fault(exc)
            return raised

        return tell
