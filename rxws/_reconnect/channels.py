"""Channels: many streams over one connection, each subscribed at the server while it is observed.

Their host connects, reconnects and queues. With keys, one call of `match` finds the channels of a
value, however many channels there are.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, Protocol

from reactivex.abc import ObserverBase, SchedulerBase
from reactivex.subject import Subject

from rxws._core.connection import Close, In
from rxws._core.errors import as_exception
from rxws._core.hints import CHANNEL, with_hints
from rxws._core.schedulers.timers import call_later, raise_soon
from rxws._core.streams.stream import Dispatcher, EndLimiter, RestartableStream, call_each
from rxws._core.upstream import Upstream

__all__ = ["UNSET", "Channel", "ChannelRegistry", "Finish", "PendingMessage", "pluralize"]

UNSET: Final[Any] = object()
"""The key of a channel without one."""

Finish = Callable[[Exception | None], bool]
"""Completes or fails detached subscribers; returns whether one of them has no `on_error`."""


class PendingMessage(Protocol):
    """A message that a channel gave to its host for sending."""

    @property
    def written(self) -> bool:
        """Whether the message was written to the socket."""
        ...

    def withdraw(self) -> bool:
        """Cancel sending; return False if the message was sent already."""
        ...


class _ChannelHost(Protocol):
    """Connects, and sends for the channels; see `SubjectLifecycle`."""

    dispatcher: Dispatcher

    @property
    def pauses(self) -> Upstream: ...
    @property
    def connection(self) -> object: ...
    @property
    def scheduler(self) -> SchedulerBase: ...
    @property
    def sending(self) -> bool: ...
    def send(self, message: Any) -> None: ...
    def send_pinned(self, message: Any) -> PendingMessage | None: ...
    def on_channel_changed(self, channel: Channel[Any]) -> None: ...
    def on_channel_fault(self, error: Exception, repeated: bool) -> None: ...
    def seconds(self) -> float: ...


class _AtServer(enum.Enum):
    UNSUBSCRIBED = enum.auto()
    SUBSCRIBED = enum.auto()
    UNSUBSCRIBING = enum.auto()  # the function that makes the unsubscribe message runs
    FAILING = enum.auto()  # it cannot be subscribed; the subscribers get the error soon


@with_hints(CHANNEL)
class Channel(RestartableStream[In], Subject[Any]):
    """One of many streams over one connection, made by `WebSocketSubject.channel`.

    The subject sends its subscribe message for the first subscriber, and again on every new
    connection. `on_next` sends a message through the socket. `on_completed` and `on_error` end
    neither the socket nor the channel.

    Examples:
        ```python
        acme = feed.channel({"sub": "ACME"}, {"unsub": "ACME"}, lambda tick: tick["of"] == "ACME")
        acme.subscribe(print)  # sends {"sub": "ACME"}
        ```
    """

    is_stopped = False  # RxPY's Subject has these; a channel never stops
    is_disposed = False
    exception: Exception | None = None

    def __init__(
        self,
        host: _ChannelHost,
        messages: tuple[Any, Any],
        match: Callable[[Any], Any],
        key: Hashable,
    ) -> None:
        super().__init__(host.dispatcher, self._on_fault, lambda: host.on_channel_changed(self))
        self.match = match
        self.key = key
        self.active = False  # whether the registry delivers values to it
        self.at_server = _AtServer.UNSUBSCRIBED  # on the open connection
        self._host = host
        self._subscribe_message, self._unsubscribe_message = messages
        self._pending: PendingMessage | None = None  # the subscribe message
        self._has_failed = False  # whether a fault was reported since it became active
        self._failures = EndLimiter(10)  # a few only: each may call the next

    @property
    def observers(self) -> list[ObserverBase[In]]:  # type: ignore[override] # an attribute in Subject
        """The current subscribers."""
        return list(self._observers)

    def on_next(self, value: Any) -> None:
        """Send a message through the socket.

        Args:
            value: The message, as the subject's codec takes it.

        Raises:
            TypeError: The value is a `Close`, which would close the socket of all channels.
        """
        if isinstance(value, Close):
            raise TypeError("a channel cannot close the socket: push the Close into the subject")
        self._host.send(value)

    def on_error(self, error: Exception) -> None:
        """Report the error on the subject's `errors`; the channel and the socket stay open."""
        self._on_fault(error)

    def on_completed(self) -> None:
        """Do nothing: other pipelines may still push into the channel."""

    def dispose(self) -> None:
        """Remove all subscribers without notifying them, and unsubscribe at the server."""
        self.detach_all()
        self._host.on_channel_changed(self)

    def __repr__(self) -> str:
        unkeyed = getattr(self.match, "__qualname__", "…")
        name = unkeyed if self.key is UNSET else f"{self.key!r:.40}"
        return f"<Channel {name}, {pluralize(self.subscriptions, 'subscriber')}>"

    @property
    def _pausable(self) -> Upstream:
        return self._host.pauses

    # --- for the registry ---------------------------------------------------------------------

    def activate(self) -> None:
        self.active = True
        self._has_failed = False

    def subscribe_at_server(self) -> None:
        connection = self._host.connection
        try:
            message = _resolve(self._subscribe_message)
        except BaseException as exc:
            self._fail(as_exception(self._host.scheduler, exc))
            return
        # The function that made the message may have unsubscribed, or closed the connection.
        if (
            self.active
            and self.at_server is not _AtServer.SUBSCRIBED
            and self._host.connection is connection
        ):
            self.at_server = _AtServer.SUBSCRIBED
            self._pending = None if message is None else self._host.send_pinned(message)

    def unsubscribe_at_server(self) -> None:
        """Withdraw the subscribe message, or send the unsubscribe message."""
        pending, state = self._pending, self.at_server
        self.forget()
        if state is not _AtServer.SUBSCRIBED or (pending is not None and pending.withdraw()):
            return
        connection = self._host.connection
        self.at_server = _AtServer.UNSUBSCRIBING
        try:
            message = _resolve(self._unsubscribe_message)
        except BaseException as exc:
            self._on_fault(as_exception(self._host.scheduler, exc))
            return
        finally:
            if self.at_server is _AtServer.UNSUBSCRIBING:
                self.at_server = _AtServer.UNSUBSCRIBED
        if message is not None and self._host.connection is connection:
            self._host.send_pinned(message)

    def forget(self) -> None:
        """Note that the subscription at the server ended with the connection."""
        self._pending = None
        if self.at_server is not _AtServer.UNSUBSCRIBING:
            self.at_server = _AtServer.UNSUBSCRIBED

    def _fail(self, error: Exception) -> None:
        """Fail all subscribers, now or soon: the server cannot be asked for their values."""
        self.at_server = _AtServer.FAILING
        warning = "%r failed %s times in a row: ops.retry() subscribes to it again each time"
        if self._failures.must_wait(self._host.seconds(), warning, self):
            call_later(self._host.scheduler, EndLimiter.DELAY, lambda: self._fail_now(error))
        else:
            self._fail_now(error)

    def _fail_now(self, error: Exception) -> None:
        if self.at_server is not _AtServer.FAILING:  # the connection was closed meanwhile
            return
        self.at_server = _AtServer.UNSUBSCRIBED
        try:
            if self.finish_subscribers()(error):
                self._on_fault(error)
        except BaseException as exc:
            raise_soon(self._host.scheduler, exc)
        self._host.on_channel_changed(self)
        # Somebody may have subscribed again when notified.
        if self.active and self._host.sending and self.at_server is _AtServer.UNSUBSCRIBED:
            self.subscribe_at_server()

    def _on_fault(self, error: Exception) -> None:
        repeated, self._has_failed = self._has_failed, self.active
        self._host.on_channel_fault(error, repeated)


def _resolve(message: Any) -> Any:
    return message() if callable(message) else message


def pluralize(number: int, noun: str) -> str:
    """Return a number and its noun: "1 channel", "2 channels"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class ChannelRegistry:
    """The channels of one host that have subscribers; they are active."""

    def __init__(self, host: _ChannelHost) -> None:
        self._host = host
        self._active: dict[Channel[Any], None] = {}
        self._unkeyed: tuple[Channel[Any], ...] = ()
        self._keyed: dict[Callable[[Any], Any], dict[Hashable, tuple[Channel[Any], ...]]] = {}
        self._failed: set[object] = set()  # unkeyed channels and `match` functions that raised

    def __len__(self) -> int:
        return len(self._active)

    def __iter__(self) -> Iterator[Channel[Any]]:
        return iter(tuple(self._active))

    def reconcile(self, channel: Channel[Any]) -> None:
        """Subscribe a channel at the server if it has subscribers, unsubscribe it if not."""
        if channel.observed:
            if not channel.active:
                channel.activate()
                self._active[channel] = None
                self._index(channel, present=True)
                if self._host.sending and channel.at_server is not _AtServer.UNSUBSCRIBING:
                    channel.subscribe_at_server()
        elif channel.active:
            self._remove(channel)
            channel.unsubscribe_at_server()
            # The function that made the unsubscribe message may have subscribed again.
            if (
                channel.active
                and self._host.sending
                and channel.at_server is _AtServer.UNSUBSCRIBED
            ):
                channel.subscribe_at_server()

    def subscribe_all(self) -> None:
        """Subscribe all channels on a new connection, including any that are added meanwhile."""
        connection = self._host.connection
        waiting = list(self._active)
        while waiting:
            for channel in waiting:
                if self._host.connection is not connection:
                    return
                if channel.active:  # another channel's message function may have removed it
                    channel.subscribe_at_server()
            done = (_AtServer.SUBSCRIBED, _AtServer.FAILING)
            waiting = [each for each in self._active if each.at_server not in done]

    def forget_all(self) -> None:
        for channel in self:
            channel.forget()

    def finish_subscribers(self) -> list[Finish]:
        """Detach all subscribers; see `RestartableStream.finish_subscribers`."""
        finish: list[Finish] = []
        for channel in self:
            self._remove(channel)
            channel.forget()
            finish.append(channel.finish_subscribers())
        return finish

    def deliver(self, value: Any) -> None:
        call_each(lambda channel: channel.deliver(value), self._channels_of(value))

    def _channels_of(self, value: Any) -> Iterator[Channel[Any]]:
        for match, by_key in tuple(self._keyed.items()) if self._keyed else ():
            try:
                channels = by_key.get(match(value), ())
            except BaseException as exc:
                self._on_fault(match, exc)
            else:
                yield from channels
        for channel in self._unkeyed:
            try:
                matches = channel.match(value)
            except BaseException as exc:
                self._on_fault(channel, exc)
            else:
                if matches:
                    yield channel

    def _on_fault(self, origin: object, error: BaseException) -> None:
        repeated = origin in self._failed
        self._failed.add(origin)
        self._host.on_channel_fault(as_exception(self._host.scheduler, error), repeated)

    def _remove(self, channel: Channel[Any]) -> None:
        channel.active = False
        del self._active[channel]
        self._index(channel, present=False)
        self._failed.discard(channel)

    def _index(self, channel: Channel[Any], *, present: bool) -> None:
        if channel.key is UNSET:
            others = tuple(each for each in self._unkeyed if each is not channel)
            self._unkeyed = (*others, channel) if present else others
            return
        by_key = self._keyed.setdefault(channel.match, {})
        others = tuple(each for each in by_key.get(channel.key, ()) if each is not channel)
        if present:
            by_key[channel.key] = (*others, channel)
        elif others:
            by_key[channel.key] = others
        else:
            del by_key[channel.key]
            if not by_key:
                del self._keyed[channel.match]
                self._failed.discard(channel.match)
