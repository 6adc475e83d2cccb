"""When a `WebSocketSubject` opens a connection, sends its queue, and closes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from reactivex import Observer

from rxws._core.connection import Connection
from rxws._core.errors import OpeningError
from rxws._core.log import logger
from rxws._core.streams import Dispatcher, ReplayStream
from rxws._core.upstream import no_upstreams
from rxws.status import Closed, Open, Status

from .channels import Channel, ChannelRegistry, PendingMessage
from .diagnostics import DropStream, FaultStream, log_fault
from .link import Link, SharedPause
from .loop_affinity import LoopAffinity
from .offline_queue import Ending, OfflineQueue
from .reconnector import Dialer, Reconnector

__all__ = ["SubjectLifecycle"]

Finish = Callable[[Exception | None], bool]
"""Completes detached subscribers, or fails them; True if one of them has no `on_error`."""


class _Phase(enum.Enum):
    IDLE = enum.auto()  # nothing is open or being opened
    DIALING = enum.auto()  # a connection is being opened, or the wait for that is running
    OPENING = enum.auto()  # it is open, and what goes first on it is being collected
    OPEN = enum.auto()  # the queue is sent as it fills
    DRAINING = enum.auto()  # nobody is subscribed: it closes when the queue is sent


class _Owner(Protocol):
    """The subject whose connections are managed; see `RestartableStream`."""

    @property
    def observed(self) -> bool: ...
    def on_next(self, value: Any) -> None: ...
    def deliver(self, value: Any) -> None: ...
    def finish_subscribers(self) -> Finish: ...


class SubjectLifecycle:
    """Opens, uses and closes the connections of a subject, on the thread of its `affinity`.

    Only the methods in the section "on any thread" may be called on other threads.

    Args:
        dialer: Makes a `Reconnector` for each run, that is from the first subscriber to the last.
        opening: Returns the messages to send first on a connection.
    """

    def __init__(
        self,
        owner: _Owner,
        dispatcher: Dispatcher,
        affinity: LoopAffinity,
        queue: OfflineQueue,
        dialer: Dialer[Any, Any],
        opening: Callable[[Connection[Any, Any]], Iterable[Any]] | None,
    ) -> None:
        self.dispatcher = dispatcher
        self.queue = queue
        self.current_status: Status = Closed(None)  # `status` may emit it later
        self.status: ReplayStream[Status] = ReplayStream(dispatcher, log_fault, Closed(None))
        self.faults = FaultStream(dispatcher, affinity)
        self.drops = DropStream(dispatcher, log_fault, queue)
        self.channels = ChannelRegistry(self)
        self.pauses = SharedPause()
        self._owner = owner
        self._affinity = affinity
        self._dialer = dialer
        self._opening = opening
        self._phase = _Phase.IDLE
        self._run: Reconnector[Any, Any] | None = None  # None while idle
        self._link: Link | None = None  # there while opening, open or draining
        self._reconciling = False
        self._pump_scheduled = False

    @property
    def connection(self) -> Connection[Any, Any] | None:
        """The open connection, None if none is."""
        return None if self._link is None else self._link.connection

    # --- on any thread ------------------------------------------------------------------------

    def on_subscribers_changed(self) -> None:
        """Somebody has subscribed to the subject, or left; raises where no loop is known."""
        self._bind(self._owner.observed)
        self._affinity.run(self._reconcile)

    def on_channel_changed(self, channel: Channel[Any]) -> None:
        """Somebody has subscribed to a channel, or left."""

        def reconcile() -> None:
            self.channels.reconcile(channel)
            self._reconcile()

        self._bind(channel.observed)
        self._affinity.run(reconcile)

    def try_send(self, value: Any) -> bool:
        """Send a message if nothing waits before it and it leaves at once."""
        link = self._link
        return (
            link is not None
            and self._affinity.on_thread
            and self.queue.end is None
            and link.try_send(value)
        )

    def pump_soon(self) -> None:
        """Send the queue and report drops: now if this is the thread, or else soon on it."""
        if self._affinity.on_thread:
            self._pump()
        elif not self._pump_scheduled:  # one call sends all that is queued by then
            self._pump_scheduled = True
            self._affinity.run(self._pump)

    def report_fault(self, error: Exception) -> None:
        """Report a fault that pushing a message has caused."""
        self._affinity.run(lambda: self.faults.report_subscriber(error))

    def end(self, end: Ending) -> None:
        """End once the queue is sent; no effect if nothing is open or queued."""
        self._bind(wanted=False)
        if (self._phase is _Phase.IDLE and not len(self.queue)) or not self.queue.seal(end):
            _log_unsent_error(end)
        else:
            self._affinity.run(self._end_if_empty)

    def dispose(self) -> None:
        """Dispose all channels, and close."""

        def dispose() -> None:
            for channel in self.channels:
                channel.dispose()
            self._reconcile()

        self._bind(wanted=False)
        self._affinity.run(dispose)

    def _bind(self, wanted: bool) -> None:
        """Leave a closed event loop, and find one for the first subscriber."""
        if self._affinity.closed:
            self._detach_from_loop()
        if wanted and self._phase is _Phase.IDLE:
            self._affinity.bind()

    # --- opening and closing ------------------------------------------------------------------

    @property
    def _wanted(self) -> bool:
        return self._owner.observed or bool(self.channels)

    def _reconcile(self) -> None:
        """Open or close the connection to match demand.

        A subscriber notified here may subscribe or leave in turn, so the check repeats until
        nothing changes.
        """
        if self._reconciling:
            return
        self._reconciling = True
        try:
            while self._step():
                pass
        finally:
            self._reconciling = False

    def _step(self) -> bool:
        """Return whether there was anything to do."""
        match self._wanted, self._phase:
            case True, _Phase.IDLE:
                self._start_run()
            case True, _Phase.DRAINING:
                self._phase = _Phase.OPEN
            case False, _Phase.OPEN:
                self._phase = _Phase.DRAINING
                assert self._link is not None
                self._link.pump()
            case False, _Phase.DIALING | _Phase.OPENING:
                self._stop_run()
            case _:
                return False
        return True

    def _start_run(self) -> None:
        observer = Observer(self._on_connection, self._on_end, self._on_end)
        with no_upstreams():
            self._run = self._dialer(observer, self._on_status, self._affinity.scheduler)
            self._phase = _Phase.DIALING
            self._run.start()

    def _stop_run(self) -> None:
        """Close with 1000; the next run sends what is still queued."""
        run, self._run = self._run, None
        self._phase = _Phase.IDLE
        if not len(self.queue):
            self.queue.unseal()
        assert run is not None
        run.dispose()

    def _detach_from_loop(self) -> None:
        """Forget what ran on a closed loop, where nothing can be disposed any more."""
        self._run = None
        self._phase = _Phase.IDLE
        self._pump_scheduled = False
        self._release_link()
        if not isinstance(self.current_status, Closed):
            self._set_status(Closed(None))

    def _end_if_empty(self) -> None:
        if self._link is not None:
            self._pump()
        elif self._run is not None and not len(self.queue):
            assert self.queue.end is not None
            _log_unsent_error(self.queue.end)
            # First: a subscriber that the status `Closed` brings belongs to the next run.
            detached = self._detach_subscribers()
            self._stop_run()
            _finish(detached, None)

    def _detach_subscribers(self) -> list[Finish]:
        return [self._owner.finish_subscribers(), *self.channels.finish_subscribers()]

    # --- sending ------------------------------------------------------------------------------

    @property
    def sending(self) -> bool:
        """Whether channels may send: `subscribe_all` was called for the open connection."""
        return self._link is not None and self._link.active

    def send(self, message: Any) -> None:
        """Send a message of a channel's user, on any connection."""
        self._owner.on_next(message)

    def send_pinned(self, message: Any) -> PendingMessage | None:
        """Send a message on the open connection only; return None if none is open."""
        if self._link is None:
            return None
        pinned = self._link.pin(message)
        self._link.pump()
        return pinned

    def _pump(self) -> None:
        self._pump_scheduled = False
        self.drops.report_new()
        if self._link is not None:
            self._link.pump()
            self.drops.report_new()

    def on_all_sent(self) -> None:
        """Nothing waits any more; called at the end of each `Link.pump`."""
        self.drops.log_unobserved()
        link, end = self._link, self.queue.end
        if link is not None and end is not None and not link.ended:
            assert self._run is not None
            self._run.stop_redialing()
            link.end(end)
        if self._phase is _Phase.DRAINING:
            self._stop_run()

    # --- what a run reports -------------------------------------------------------------------

    def on_value(self, value: Any) -> None:
        """A message came in."""
        self._owner.deliver(value)
        self.channels.deliver(value)

    def on_channel_fault(self, error: Exception, repeated: bool) -> None:
        """A subscriber or a function of a channel has raised, for the first time or again."""
        self.faults.report_channel(error, repeated)

    def _on_status(self, status: Status) -> None:
        if isinstance(status, Open):  # emitted when `connection` is set
            return
        if isinstance(status, Closed):
            self._release_link()
            if self._phase is not _Phase.IDLE:
                self._phase = _Phase.DIALING
        self._set_status(status)
        if isinstance(status, Closed) and self._phase is _Phase.DIALING and not self._wanted:
            self._stop_run()

    def _set_status(self, status: Status) -> None:
        self.current_status = status
        if not isinstance(status, Open):  # then it is logged when the queue was sent
            self.drops.log_unobserved()
        self.status.emit(status)

    def _on_connection(self, connection: Connection[Any, Any]) -> None:
        link = self._link = Link(connection, self)
        self._phase = _Phase.OPENING
        link.attach()
        self._set_status(Open(connection.handshake))
        if not self._is_current(link):
            return
        try:
            first = list(self._opening(connection)) if self._opening is not None else []
        except Exception as exc:
            error = OpeningError(f"opening= failed on a new connection: {exc!r}")
            error.__cause__ = exc
            assert self._run is not None
            self._run.stop_redialing(error)
            connection.outgoing.on_error(error)
            return
        if not self._is_current(link):
            return
        for message in first:
            link.pin(message)
        self.channels.subscribe_all()
        if self._is_current(link):
            self._phase = _Phase.OPEN
            link.start()
            self._pump()

    def _is_current(self, link: Link) -> bool:
        """Whether the callbacks of users have left the link open and wanted."""
        return self._link is link and self._wanted

    def _release_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.stop()
        self.channels.forget_all()

    def _on_end(self, error: Exception | None = None) -> None:
        self._run = None
        self._phase = _Phase.IDLE
        self.queue.unseal()
        _finish(self._detach_subscribers(), error)


def _finish(detached: list[Finish], error: Exception | None) -> None:
    unhandled = [finish(error) for finish in detached]  # not in `any`, which stops at the first
    if any(unhandled):
        logger.error(
            "a WebSocketSubject failed, and no on_error handles it: %s", error, exc_info=error
        )


def _log_unsent_error(end: Ending) -> None:
    if isinstance(end, Exception):
        logger.error("on_error was called with no connection to close: %s", end, exc_info=end)
