"""Observables of a hub."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.streams.scheduled import SchedulerCarrier

__all__ = ["HubObservable"]

T = TypeVar("T")


class HubObservable(SchedulerCarrier[T]):
    """An Observable whose chains use the scheduler of a hub, which is known once the hub runs."""

    __slots__ = ("_scheduler_of_hub", "_subscribe_observer")

    def __init__(
        self,
        default_scheduler: Callable[[], SchedulerBase],
        subscribe: Callable[[ObserverBase[T]], DisposableBase],
    ) -> None:
        self.lock = RLock()  # some operators of RxPY need it
        self._scheduler_of_hub = default_scheduler
        self._subscribe_observer = subscribe

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self._subscribe_observer(observer)

    def _default_scheduler(self) -> SchedulerBase:
        return self._scheduler_of_hub()
