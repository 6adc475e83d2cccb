"""The schedulers of a connection and of the chains of operators that begin with its streams."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from datetime import datetime
from typing import Any, Protocol, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from .loop_scheduler import LoopScheduler
from .timers import seconds_of

__all__ = [
    "ConnectionScheduler",
    "DefaultScheduler",
    "Fault",
    "ForwardingScheduler",
    "SchedulerOwner",
    "scheduler_of_chain",
]

S = TypeVar("S")

Fault = Callable[[Exception], None]
"""A callback that reports an exception which need not end the connection."""


class ForwardingScheduler(PeriodicScheduler):
    """Runs actions on another scheduler."""

    @abstractmethod
    def _target(self) -> SchedulerBase:
        """Return the scheduler for the next action."""

    def _wrap(self, action: typing.ScheduledAction[S]) -> typing.ScheduledAction[S]:
        """Return what to run for an action."""
        return action

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        return self._target().schedule(self._wrap(action), state)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        return self._target().schedule_relative(duetime, self._wrap(action), state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        return self._target().schedule_absolute(duetime, self._wrap(action), state)


class SchedulerOwner(Protocol):
    """The connection of a `ConnectionScheduler`; see `Session`."""

    def on_interrupt(self, error: BaseException) -> None:
        """A subscriber raised an exception that is no fault, such as a KeyboardInterrupt."""
        ...

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """Count dropped messages."""
        ...

    def drained(self) -> Awaitable[None] | None:
        """Return an awaitable that ends when the peer is not behind; None if it is not now."""
        ...

    @property
    def cleanup_timeout(self) -> float:
        """The time in seconds that `let_finish` waits."""
        ...

    def let_finish(self, task: Any) -> None:
        """Wait for a task at the end, for a limited time, without cancelling it."""
        ...


class ConnectionScheduler(ForwardingScheduler):
    """Runs actions on another scheduler, and calls `fault` with the exceptions that they raise.

    Operators such as `debounce` and `delay` call their subscriber from a timer. If the subscriber
    raises, the exception must go to `conn.errors`, not to the event loop's exception handler.
    The owner gets what is not an `Exception`, such as a KeyboardInterrupt, before it propagates.
    """

    def __init__(
        self,
        scheduler: SchedulerBase,
        fault: Fault,
        owner: SchedulerOwner | None = None,
    ) -> None:
        super().__init__()
        self.inner = scheduler
        self.fault = fault
        self.owner = owner

    @property
    def now(self) -> datetime:
        return self.inner.now

    @property
    def seconds(self) -> Callable[[], float]:
        """See `seconds_of`."""
        return seconds_of(self.inner)

    def as_default(self) -> DefaultScheduler:
        """Return the same as the default scheduler of a chain."""
        return DefaultScheduler(self.inner, self.fault, self.owner)

    def _target(self) -> SchedulerBase:
        return self.inner

    def _wrap(self, action: typing.ScheduledAction[S]) -> typing.ScheduledAction[S]:
        def run(_: SchedulerBase, state: S | None = None) -> DisposableBase | None:
            try:
                return action(self, state)
            except Exception as exc:
                self.fault(exc)
                return None
            except BaseException as exc:
                if self.owner is not None:
                    self.owner.on_interrupt(exc)
                raise

        return run


class DefaultScheduler(ConnectionScheduler):
    """The scheduler of a chain whose `subscribe` gets none.

    Actions without a delay run as they do without a scheduler in RxPY: at once, or when the
    actions that are running on this thread have returned. So `rx.of`, `start_with` or `concat` emit
    during `subscribe`. All other actions run on another scheduler.
    """

    @classmethod
    def of_loop(cls, scheduler: SchedulerBase | None = None) -> DefaultScheduler:
        """Return one that uses an event loop, by default the running one.

        The loop gets the exceptions of subscribers.
        """
        return cls(LoopScheduler.thread_safe(scheduler), _raise)

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        context = copy_context()  # as asyncio does: see `collect_upstreams`

        def run(_: SchedulerBase, state: S | None = None) -> DisposableBase | None:
            return context.run(action, self, state)

        return CurrentThreadScheduler.singleton().schedule(run, state)


def _raise(error: Exception) -> None:
    raise error


def scheduler_of_chain(scheduler: SchedulerBase | None) -> SchedulerBase:
    """Return a scheduler for the operators above: the one passed to `subscribe`, or a default."""
    if scheduler is None:
        return DefaultScheduler.of_loop()
    return LoopScheduler.thread_safe(scheduler)
