"""The states of a `WebSocketSubject`: when it dials, sends its queue, and closes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from reactivex import Observer
from reactivex.abc import SchedulerBase

from rxws._core.connection import Connection
from rxws._core.errors import OpeningError, as_exception
from rxws._core.log import logger
from rxws._core.streams.stream import Dispatcher, ReplayStream, call_each
from rxws._core.upstream import no_upstreams
from rxws.status import Closed, Open, Status

from .channels import Channel, ChannelRegistry, Finish, PendingMessage
from .diagnostics import DropStream, FaultStream, log_fault
from .link import Link, SharedPause
from .loop_affinity import LoopAffinity
from .offline_queue import Ending, OfflineQueue
from .reconnector import Reconnector, ReconnectorFactory

__all__ = ["SubjectLifecycle"]


class _Phase(enum.Enum):
    IDLE = enum.auto()  # no reconnector runs
    DIALING = enum.auto()  # the reconnector dials, or waits before it dials again
    OPENING = enum.auto()  # a connection is open; `opening` and channels add their first messages
    OPEN = enum.auto()  # queued messages are sent
    DRAINING = enum.auto()  # nobody is subscribed: close when the queue is sent


class _Owner(Protocol):
    """The subject whose connections are managed; see `RestartableStream`."""

    @property
    def observed(self) -> bool: ...
    def on_next(self, value: Any) -> None: ...
    def deliver(self, value: Any) -> None: ...
    def finish_subscribers(self) -> Finish: ...


class SubjectLifecycle:
    """Opens, uses and closes the connections of a subject, on the thread of its `affinity`.

    On other threads, call only the methods of the section "on any thread".
    """

    def __init__(
        self,
        owner: _Owner,
        dispatcher: Dispatcher,
        affinity: LoopAffinity,
        queue: OfflineQueue,
        factory: ReconnectorFactory[Any, Any],
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
        self._factory = factory
        self._opening = opening
        self._phase = _Phase.IDLE
        self._reconnector: Reconnector[Any, Any] | None = None  # None while idle
        self._link: Link | None = None  # set while opening, open or draining
        self._reconciling = False
        self._pump_scheduled = False

    @property
    def connection(self) -> Connection[Any, Any] | None:
        return None if self._link is None else self._link.connection

    @property
    def active(self) -> bool:
        """Whether a connection is open, or is being opened."""
        return self._phase is not _Phase.IDLE

    # --- on any thread ------------------------------------------------------------------------

    def on_subscribers_changed(self) -> None:
        """Open or close to match demand; raise a RuntimeError if no event loop is known."""
        self._bind(self._owner.observed)
        self._affinity.run(self._reconcile)

    def on_channel_changed(self, channel: Channel[Any]) -> None:
        """Do the same after a channel's subscribers changed."""

        def reconcile() -> None:
            self.channels.reconcile(channel)
            self._reconcile()

        self._bind(channel.observed)
        self._affinity.run(reconcile)

    def try_send(self, value: Any) -> bool:
        """Send a message now, or return False if it must be queued."""
        if not self._affinity.on_thread:
            self._check_loop()
            return False
        link = self._link
        return link is not None and self.queue.end is None and link.try_send(value)

    def pump_soon(self) -> None:
        """Send the queue and report drops: now if on the thread, else soon."""
        if self._affinity.on_thread:
            self._pump()
        elif not self._pump_scheduled:  # that call sends everything queued until it runs
            self._pump_scheduled = True
            self._affinity.run(self._pump)

    def report_fault(self, error: Exception) -> None:
        self._affinity.run(lambda: self.faults.report_subscriber(error))

    def end(self, end: Ending) -> None:
        """End after the queue is sent, unless the subject is idle and empty, or ends already."""
        self._bind(wanted=False)
        self._check_loop()
        if (self._phase is _Phase.IDLE and not len(self.queue)) or not self.queue.seal(end):
            _log_if_error(end)
        else:
            self._affinity.run(self._end_if_all_sent)

    def dispose(self) -> None:
        def dispose() -> None:
            for channel in self.channels:
                channel.dispose()
            self._reconcile()
            self.drops.log_unobserved()

        self._bind(wanted=False)
        self._affinity.run(dispose)

    def _bind(self, wanted: bool) -> None:
        """Forget a closed event loop; for the first subscriber, move to the running one."""
        if self._affinity.closed:
            self._detach_from_loop()
        if wanted and self._phase is _Phase.IDLE:
            self._affinity.bind()
        elif wanted:
            self._affinity.check()

    def _check_loop(self) -> None:
        """Move to the running event loop if it keeps the old one from running, and nothing is open.

        Raises:
            RuntimeError: A connection is open, or is being opened, in the old loop.
        """
        if self._phase is not _Phase.IDLE:
            self._affinity.check()
        elif self._affinity.is_elsewhere:
            self._pump_scheduled = False
            self._affinity.bind()

    # --- opening and closing ------------------------------------------------------------------

    @property
    def _wanted(self) -> bool:
        return self._owner.observed or bool(self.channels)

    def _reconcile(self) -> None:
        """Open or close the connection to match demand.

        A subscriber notified here may subscribe or unsubscribe in turn, so the check repeats until
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
        """Take one step; return False if the connection matches demand already."""
        match self._wanted, self._phase:
            case True, _Phase.IDLE:
                self._start_reconnector()
            case True, _Phase.DRAINING:
                self._phase = _Phase.OPEN
            case False, _Phase.OPEN:
                self._phase = _Phase.DRAINING
                assert self._link is not None
                self._link.pump()
            case False, _Phase.DIALING | _Phase.OPENING:
                self._stop_reconnector()
            case _:
                return False
        return True

    def _start_reconnector(self) -> None:
        observer = Observer(self._on_connection, self._on_end, self._on_end)
        with no_upstreams():
            self._reconnector = self._factory(observer, self._on_status, self._affinity.scheduler)
            self._phase = _Phase.DIALING
            self._reconnector.start()

    def _stop_reconnector(self) -> None:
        """Close with 1000; messages still queued are sent on the next connection."""
        reconnector, self._reconnector = self._reconnector, None
        self._phase = _Phase.IDLE
        if not len(self.queue):
            self.queue.unseal()
        assert reconnector is not None
        reconnector.dispose()

    def _detach_from_loop(self) -> None:
        """Forget the reconnector and the link: their loop is closed, so they cannot be disposed."""
        self._reconnector = None
        self._phase = _Phase.IDLE
        self._pump_scheduled = False
        self._release_link()
        if not isinstance(self.current_status, Closed):
            self._set_status(Closed(None))

    def _end_if_all_sent(self) -> None:
        if self._link is not None:
            self._pump()
        elif self._reconnector is not None and not len(self.queue):
            assert self.queue.end is not None
            _log_if_error(self.queue.end)
            # Before `Closed` is emitted: an observer of `status` may then subscribe again.
            detached = self._detach_subscribers()
            self._stop_reconnector()
            _finish(detached, None)

    def _detach_subscribers(self) -> list[Finish]:
        return [self._owner.finish_subscribers(), *self.channels.finish_subscribers()]

    # --- sending ------------------------------------------------------------------------------

    @property
    def sending(self) -> bool:
        """Whether `subscribe_all` has run for the open connection; until then, channels wait."""
        return self._link is not None and self._link.active

    def send(self, message: Any) -> None:
        """Send a message that a user pushed into a channel, or queue it."""
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
        """Close if the subject ends or nobody is subscribed; called when `Link.pump` sent all."""
        self.drops.log_unobserved()
        link, end = self._link, self.queue.end
        if link is not None and end is not None and not link.closing:
            assert self._reconnector is not None
            self._reconnector.stop_redialing()
            link.close(end)
        if self._phase is _Phase.DRAINING:
            self._stop_reconnector()

    # --- called by the link, the channels and the reconnector ---------------------------------

    def on_value(self, value: Any) -> None:
        call_each(lambda deliver: deliver(value), (self._owner.deliver, self.channels.deliver))

    def on_channel_fault(self, error: Exception, repeated: bool) -> None:
        self.faults.report_channel(error, repeated)

    def seconds(self) -> float:
        """Return the time."""
        return self._affinity.seconds()

    @property
    def scheduler(self) -> SchedulerBase:
        """The scheduler of the subject; only while there is a connection."""
        assert self._affinity.scheduler is not None
        return self._affinity.scheduler

    def _on_status(self, status: Status) -> None:
        if isinstance(status, Open):  # `_on_connection` emits it, once `connection` is set
            return
        if isinstance(status, Closed):
            self._release_link()
            if self._phase is not _Phase.IDLE:
                self._phase = _Phase.DIALING
        self._set_status(status)
        if isinstance(status, Closed) and self._phase is _Phase.DIALING and not self._wanted:
            self._stop_reconnector()

    def _set_status(self, status: Status) -> None:
        self.current_status = status
        if not isinstance(status, Open):  # if open, `on_all_sent` logs them
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
        except BaseException as exc:
            error = OpeningError(f"opening= failed on a new connection: {exc!r}")
            error.__cause__ = as_exception(self.scheduler, exc)
            assert self._reconnector is not None
            self._reconnector.stop_redialing(error)
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
        """Whether the link is still open and wanted after a user's callback ran."""
        return self._link is link and self._wanted

    def _release_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.stop()
        self.channels.forget_all()

    def _on_end(self, error: Exception | None = None) -> None:
        self._reconnector = None
        self._phase = _Phase.IDLE
        self.queue.unseal()
        _finish(self._detach_subscribers(), error)


def _finish(detached: list[Finish], error: Exception | None) -> None:
    if any(call_each(lambda finish: finish(error), detached)):
        logger.error(
            "a WebSocketSubject failed, and no on_error handles it: %s", error, exc_info=error
        )


def _log_if_error(end: Ending) -> None:
    if isinstance(end, Exception):
        logger.error("on_error could not close a connection with this error: %s", end, exc_info=end)
