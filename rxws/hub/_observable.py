"""Observables of a hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reactivex.abc import SchedulerBase, Subscription

from rxws._core.streams.scheduled import SchedulerCarrier

__all__ = ["HubObservable"]

T = TypeVar("T")


class HubObservable(SchedulerCarrier[T]):
    """An Observable whose chains use the scheduler of a hub, which is known once the hub runs."""

    __slots__ = ("_scheduler_of_hub",)

    def __init__(
        self, default_scheduler: Callable[[], SchedulerBase], subscribe: Subscription[T]
    ) -> None:
        super().__init__(subscribe)
        self._scheduler_of_hub = default_scheduler

    def _default_scheduler(self) -> SchedulerBase:
        return self._scheduler_of_hub()
