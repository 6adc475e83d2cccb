"""The machine of a client that comes back: opened for who wants it, fed by a queue, and ended.

It is one step away from its users: `WebSocketSubject` counts those, and takes what they push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.internal import noop

from rxws._core.connection import Connection
from rxws._core.errors import ConnectionClosed, OpeningError
from rxws._core.log import logger
from rxws._core.streams import Dispatcher, ReplayStream
from rxws._core.upstream import no_upstreams
from rxws.closing import is_clean
from rxws.status import Closed, Open, Status

from .channels import ChannelRegistry, PendingMessage
from .diagnostics import DropStream, FaultStream, log_fault
from .link import Link, SharedPause
from .loop_affinity import LoopAffinity
from .offline_queue import Ending, OfflineQueue

__all__ = ["SubjectLifecycle"]


class SubjectLifecycle:
    """What a `WebSocketSubject` stands on. All is called on its home's thread.

    Args:
        home: Where it runs.
        unsent: What waits to be sent.
        channels: Its channels.
        dispatcher: For `status` and `drops`.
        faults: Told of each connection, and of what is wrong.
        retryable: Whether to dial again after what happened.
        opening: What is to be sent first on each connection.
        wanted: Whether anybody is subscribed.
        pass_on: Given each value that comes in.
        end: Called at a final end; what it returns tells the subscribers.
    """

    def __init__(
        self,
        home: LoopAffinity,
        unsent: OfflineQueue,
        channels: ChannelRegistry,
        dispatcher: Dispatcher,
        faults: FaultStream,
        retryable: Callable[[Exception], bool],
        opening: Callable[[Connection[Any, Any]], Iterable[Any]] | None,
        wanted: Callable[[], bool],
        pass_on: Callable[[Any], None],
        end: Callable[[], Iterable[Callable[[Exception | None], bool]]],
    ) -> None:
        self._home = home
        self._unsent = unsent
        self._channels = channels
        self._retryable = retryable
        self._opening = opening
        self._wanted = wanted
        self._pass_on = pass_on
        self._let_all_go = end
        self.connections: Observable[Connection[Any, Any]]  # set by who made it, once
        self.present: Status = Closed(None)
        self.status: ReplayStream[Status] = ReplayStream(dispatcher, log_fault, self.present)
        self._faults = faults
        self.drops = DropStream(dispatcher, log_fault, unsent)
        self.holds = SharedPause()
        self.connection: Connection[Any, Any] | None = None
        self.sent = 0
        self.feed: Link | None = None  # there once the first messages of a connection are known
        self._greeting: Link | None = None  # while they are asked for
        self._run: DisposableBase | None = None  # while it is wanted
        self._opened: Open | None = None  # what is told with the connection
        self._leaving = False  # whether nobody wants it any more, but something has yet to leave
        self._ended: Ending | None = None  # what the connection was ended with, by who pushes
        self._failure: OpeningError | None = None
        self._subscribed: DisposableBase | None = None  # to the connection's `incoming`
        self._settling = self._settle_again = False

    # --- what is wanted -----------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is open, nor to be."""
        return self._run is None

    def settle(self) -> None:
        """Open what is wanted, or close what is not.

        Who is told of that may subscribe or leave meanwhile: then it is looked at once more.
        """
        self._settle_again = True
        if self._settling:
            return
        self._settling = True
        try:
            while self._settle_again:
                self._settle_again = False
                if self._wanted():
                    self._leaving = False
                    if self._run is None:
                        self._open()
                elif self._run is not None:
                    self._leave()
        finally:
            self._settling = False

    def abandon(self) -> None:
        """Forget what ran on a loop that is closed: nothing of it can be told or disposed."""
        self._run = None
        self._let_go_of_connection()
        if not isinstance(self.present, Closed):
            self._become(Closed(None))

    def _open(self) -> None:
        run = self._run = SingleAssignmentDisposable()
        self._failure = self._ended = None
        with no_upstreams():
            run.disposable = self.connections.subscribe(
                self._on_connection, self._on_end, self._on_end, scheduler=self._home.scheduler
            )

    def _leave(self) -> None:
        """Close with 1000, after what can leave yet; the rest waits for the next who comes."""
        self._leaving = True
        if self.feed is None:
            self._drop()
        else:
            self.feed.pump()

    def _drop(self) -> None:
        run, self._run = self._run, None
        self._leaving = False
        if not len(self._unsent):
            self._unsent.unseal()
        assert run is not None
        run.dispose()

    # --- what goes out ------------------------------------------------------------------------

    def carry(self, message: Any) -> PendingMessage | None:
        """See `Carrier.carry`."""
        if self._greeting is not None:
            return self._greeting.note(message, first=True)
        if self.feed is None:
            return None
        note = self.feed.note(message)
        self.feed.pump()
        return note

    def pump(self) -> None:
        """Send what waits, and tell of what was dropped."""
        self.drops.report_new()
        if self.feed is not None:
            self.feed.pump()
            self.drops.report_new()

    def end_if_empty(self) -> None:
        """An end was pushed: it comes when nothing waits before it, which may be now."""
        if self.connection is not None:
            self.pump()
        elif self._run is not None and not len(self._unsent):
            end = self._unsent.end
            if isinstance(end, Exception):
                _log_failed(end)
            # Who subscribes over the status that follows comes for the next run, not to this end.
            told = list(self._let_all_go())
            self._drop()
            self._tell_all(told, None)

    def ended_already(self, end: Ending) -> None:
        """An end was pushed where there is none to come, or another one comes."""
        if isinstance(end, Exception):
            _log_failed(end)

    def _on_sent(self) -> None:
        self.sent += 1

    def _on_empty(self) -> None:
        self.drops.log_unobserved()
        if self._unsent.end is not None and self._ended is None and self.feed is not None:
            self._ended = self._unsent.end
            self.feed.end(self._ended)
        if self._leaving:
            self._drop()

    # --- what the connections tell ------------------------------------------------------------

    def asked(self, cause: Exception) -> bool:
        """Ask `retryable`, unless it is over by what was pushed, or `opening` has failed."""
        if self._ended is not None or self._failure is not None:
            return False
        return self._retryable(cause)

    def named(self) -> Callable[[Exception], bool]:
        """Return `asked` under the name that the user's policy has, which errors tell."""

        def retryable(cause: Exception) -> bool:
            return self.asked(cause)

        return update_wrapper(retryable, self._retryable)

    def on_status(self, status: Status) -> None:
        """The status has changed."""
        if isinstance(status, Open):
            self._opened = status  # told when the connection is here
            return
        if isinstance(status, Closed):
            self._let_go_of_connection()
            status = Closed(status.close, self._verdict(status.error))
        self._become(status)
        if isinstance(status, Closed) and self._leaving:
            self._drop()

    def _become(self, status: Status) -> None:
        self.present = status
        if not isinstance(status, Open):  # else when what waits has left, or has expired
            self.drops.log_unobserved()
        self.status.emit(status)

    def _on_connection(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        with no_upstreams():
            self._subscribed = connection.incoming.subscribe(
                self._pass_on, noop, noop, scheduler=connection.scheduler
            )
        self.holds.move(connection.flow)
        self._faults.move(connection)
        assert self._opened is not None
        self._become(self._opened)
        if not self._goes_on(connection):  # who was told of that has left
            return
        try:
            messages = list(self._opening(connection)) if self._opening is not None else []
        except Exception as exc:
            self._failure = OpeningError(f"opening= failed on a new connection: {exc!r}")
            self._failure.__cause__ = exc
            connection.outgoing.on_error(self._failure)
            return
        if not self._goes_on(connection):  # what opens it has left
            return
        feed = Link(connection, self._unsent, self._on_sent, self._on_empty)
        for message in messages:
            feed.note(message, first=True)
        self._greeting = feed
        self._channels.ask_all(lambda: self.connection is connection)
        if not self._goes_on(connection):  # who makes a subscribe message has left
            feed.stop()
            return
        self._greeting, self.feed = None, feed
        self.pump()

    def _goes_on(self, connection: Connection[Any, Any]) -> bool:
        """Whether it is to be used; who leaves while it is being opened is seen to after that."""
        return self.connection is connection and self._wanted()

    def _let_go_of_connection(self) -> None:
        self.connection = self._opened = self._greeting = None
        feed, self.feed = self.feed, None
        if feed is not None:
            feed.stop()
        self.holds.move(None)
        self._faults.move(None)
        subscribed, self._subscribed = self._subscribed, None
        if subscribed is not None:
            subscribed.dispose()
        self._channels.forget_all()

    def _verdict(self, error: Exception | None) -> Exception | None:
        """Return what the subscribers are told: an end that was pushed is not an error to them."""
        if self._failure is not None:
            return self._failure
        if self._ended is not None and isinstance(error, ConnectionClosed):
            return None if error.close.by == "local" or is_clean(error.close) else error
        return error

    def _on_end(self, error: Exception | None = None) -> None:
        self._run = None
        self._leaving = False
        self._tell_end(self._verdict(error))

    def _tell_end(self, error: Exception | None) -> None:
        self._unsent.unseal()
        self._failure = self._ended = None
        # All are let go of before the first is told: who is told may subscribe again at once.
        self._tell_all(list(self._let_all_go()), error)

    def _tell_all(
        self, told: list[Callable[[Exception | None], bool]], error: Exception | None
    ) -> None:
        raised = [tell(error) for tell in told]
        if any(raised):
            logger.error("nobody took the end of the connections: %s", error, exc_info=error)


def _log_failed(error: Exception) -> None:
    logger.error("a pipeline failed, and no connection to close: %s", error, exc_info=error)
