"""The streams `drops` and `errors` of a `WebSocketSubject`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase

from rxws._core.connection import Connection
from rxws._core.log import logger
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.timers import raise_soon
from rxws._core.streams.stream import Dispatcher, Fault, RestartableStream, Stream

from .loop_affinity import LoopAffinity
from .offline_queue import Dropped, OfflineQueue

__all__ = ["DropStream", "FaultStream", "SubjectDispatcher", "log_fault"]


class SubjectDispatcher(Dispatcher):
    """The dispatcher of `status`, `errors` and `drops`: no subscriber of theirs stops the subject.

    If they raise an exception that is no `Exception`, it is raised in the loop's next turn.
    """

    __slots__ = ("_affinity",)

    def __init__(self, affinity: LoopAffinity) -> None:
        super().__init__(affinity)
        self._affinity = affinity

    def post(self, notify: Callable[..., object], *args: Any) -> None:
        try:
            super().post(notify, *args)
        except BaseException as exc:
            if self._affinity.scheduler is None or self._affinity.closed:
                raise
            raise_soon(self._affinity.scheduler, exc)


class DropStream(Stream[Dropped[Any]]):
    """Emits the messages that a queue dropped; logs how many of them had no observer."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        queue: OfflineQueue,
        owner: str = "a WebSocketSubject",
    ) -> None:
        super().__init__(dispatcher, fault)
        self._owner = owner
        self._queue = queue
        self._reported: dict[str, int] = {}  # by reason: emitted to subscribers, or logged

    def report_new(self) -> dict[str, int]:
        """Emit the messages dropped since the last call; return the counts of all by reason."""
        messages, counts = self._queue.take_dropped()
        for dropped in messages:
            self.emit(dropped)
        return counts

    def deliver(self, value: Dropped[Any]) -> None:
        if self.observed:
            self._reported[value.reason] = self._reported.get(value.reason, 0) + 1
        super().deliver(value)

    def log_unobserved(self) -> None:
        """Log the number of messages dropped since the last call that no subscriber received."""
        self._dispatcher.post(self._log_unobserved, self.report_new())  # once they are delivered

    def _log_unobserved(self, dropped: dict[str, int]) -> None:
        unreported = {why: count - self._reported.get(why, 0) for why, count in dropped.items()}
        self._reported = dropped
        counts = ", ".join(f"{count} {why}" for why, count in unreported.items() if count > 0)
        if counts:
            text = "%s dropped messages, and no subscriber of `drops` got them: %s"
            logger.warning(text, self._owner, counts)


class FaultStream(RestartableStream[Exception]):
    """Emits the errors of the open connection and of channels.

    It subscribes to the connection's `errors` only while it has subscribers itself: without any,
    the connection must log an error and close.
    """

    def __init__(self, dispatcher: Dispatcher, affinity: LoopAffinity) -> None:
        super().__init__(dispatcher, log_fault, lambda: affinity.run(self._resubscribe))
        self._connection: Connection[Any, Any] | None = None
        self._subscription: DisposableBase | None = None

    def switch_to(self, connection: Connection[Any, Any] | None) -> None:
        """Emit the errors of a new connection; None if there is none."""
        self._connection = connection
        self._resubscribe()

    def report_subscriber(self, error: Exception) -> None:
        """Report what a subscriber raised as an error of the open connection, or log it."""
        scheduler = None if self._connection is None else self._connection.scheduler
        if isinstance(scheduler, ConnectionScheduler):
            scheduler.fault(error)
        else:
            log_fault(error)

    def report_channel(self, error: Exception, repeated: bool) -> None:
        """Emit the error of a channel; without subscribers, log it at the first time only."""
        if self.observed:
            self.emit(error)
        elif repeated:
            logger.debug("a channel failed again: %r", error)
        else:
            logger.error("a channel failed: %s", error, exc_info=error)

    def _resubscribe(self) -> None:
        previous, self._subscription = self._subscription, None
        if self._connection is not None and self.observed:
            self._subscription = self._connection.errors.subscribe(self.emit)
        if previous is not None:  # last: an unobserved error would close the connection
            previous.dispose()


def log_fault(error: Exception) -> None:
    logger.error("a subscriber of a WebSocketSubject raised: %s", error, exc_info=error)
