"""Channels: many streams over one connection, each subscribed at the server while it is here.

They know neither queue nor reconnect: who carries them says when there is a connection, and hands
them what comes in. A value finds its channels by one look-up for each `match` with keys.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from reactivex.abc import ObserverBase
from reactivex.subject import Subject

from rxws._core.connection import Close, In, Pausable
from rxws._core.streams import Dispatcher, RestartableStream
from rxws._core.upstream import register_upstream

__all__ = ["UNSET", "Channel", "ChannelHost", "ChannelRegistry", "PendingMessage"]

UNSET: Final[Any] = object()
"""No key is given."""

ChannelFault: TypeAlias = Callable[[Exception, bool], None]
"""Told of an exception of one channel, and whether one of the same origin was told before."""


class PendingMessage(Protocol):
    """A message of a channel that was handed to its carrier."""

    def take_back(self) -> bool:
        """Do not send it; tell whether that comes in time."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelHost:
    """What channels are carried by.

    Args:
        carry: Sends a message on the present connection only; returns None where there is none.
        connection: Returns the present connection, to be compared.
        changed: Called when somebody has come to a channel, or left it, on any thread.
        send: Sends a message of a channel's user.
        fault: Told of what raises.
        holds: Holds the reading of whatever brings the values.
        dispatcher: The dispatcher of the channels.
    """

    carry: Callable[[Any], PendingMessage | None]
    connection: Callable[[], object]
    changed: Callable[[Channel[Any]], None]
    send: Callable[[Any], None]
    fault: ChannelFault
    holds: Pausable
    dispatcher: Dispatcher


class Channel(RestartableStream[In], Subject[Any]):
    """One stream of many over one connection, as `WebSocketSubject.channel` returns it.

    It is subscribed at the server while somebody is subscribed here, and again on every new
    connection. What is pushed into it is sent. Its end by those who push is not the socket's.
    """

    is_stopped = False  # as Subject has them: a channel can always be pushed into
    is_disposed = False
    exception: Exception | None = None

    def __init__(
        self,
        carrier: ChannelHost,
        messages: tuple[Any, Any],
        match: Callable[[Any], Any],
        key: Hashable,
    ) -> None:
        super().__init__(carrier.dispatcher, self._on_fault, lambda: carrier.changed(self))
        self.match = match
        self.key = key
        self.active = False  # whether it is among those that are handed what comes in
        self._carrier = carrier
        self._subscribe_message, self._unsubscribe_message = messages
        self._carried: PendingMessage | None = (
            None  # the subscribe message, on the present connection
        )
        self.asked = False  # whether the present connection was asked, be it by no message
        self.parting = False  # whether its unsubscribe message is being made
        self._failing = False  # whether a fault was told of since it became active

    @property
    def observers(self) -> list[ObserverBase[In]]:  # type: ignore[override] # an attribute in Subject
        """Who is subscribed."""
        return list(self._observers)

    def on_next(self, value: Any) -> None:
        """Send a message through the socket.

        Raises:
            TypeError: It is a `Close`, which a channel cannot send.
        """
        if isinstance(value, Close):
            raise TypeError("a channel does not close the socket: push the Close into its subject")
        self._carrier.send(value)

    def on_error(self, error: Exception) -> None:
        """Tell of a pipeline that has failed; neither the socket nor the channel ends."""
        self._on_fault(error)

    def on_completed(self) -> None:
        """Do nothing: one who pushes has no more, others may."""

    def dispose(self) -> None:
        """Let go of all subscribers, without a word to them."""
        self.detach_all()
        self._carrier.changed(self)

    def __repr__(self) -> str:
        name = (
            f"{self.key!r:.40}"
            if self.key is not UNSET
            else getattr(self.match, "__qualname__", "…")
        )
        many = "" if self.subscriptions == 1 else "s"
        return f"<Channel {name}, {self.subscriptions} subscriber{many}>"

    def _on_subscribe(self, observer: ObserverBase[In]) -> None:
        register_upstream(self._carrier.holds)

    # --- what the carrier's side does -------------------------------------------------------

    def become_active(self) -> None:
        """What comes in is handed here from now on."""
        self.active = True
        self._failing = False

    def ask(self) -> None:
        """Subscribe at the server, on a connection that has not been asked."""
        connection = self._carrier.connection()
        try:
            message = _made(self._subscribe_message)
        except Exception as exc:
            self._end(exc)
            return
        # Who made it may have left meanwhile, or come back, which asked, or lost the connection.
        if not self.active or self.asked or self._carrier.connection() is not connection:
            return
        self.asked = True
        self._carried = None if message is None else self._carrier.carry(message)

    def unask(self) -> None:
        """Unsubscribe at the server, unless it was never asked."""
        carried, asked = self._carried, self.asked
        self.forget()
        if not asked or (carried is not None and carried.take_back()):
            return
        connection = self._carrier.connection()
        self.parting = True
        try:
            message = _made(self._unsubscribe_message)
        except Exception as exc:
            self._on_fault(exc)
            return
        finally:
            self.parting = False
        if message is not None and self._carrier.connection() is connection:
            self._carrier.carry(message)

    def forget(self) -> None:
        """The connection is over, and with it what it was asked."""
        self._carried, self.asked = None, False

    def _end(self, error: Exception) -> None:
        """Fail its subscribers, who cannot be subscribed at the server."""
        if self.finish_subscribers()(error):
            self._on_fault(error)
        self._carrier.changed(self)

    def _on_fault(self, error: Exception) -> None:
        again, self._failing = self._failing, self.active
        self._carrier.fault(error, again)


def _made(message: Any) -> Any:
    return message() if callable(message) else message


class ChannelRegistry:
    """All channels of one carrier.

    Args:
        fault: Told of a `match` that raises.
    """

    def __init__(self, fault: ChannelFault) -> None:
        self._fault = fault
        self._active: dict[Channel[Any], None] = {}
        self._unkeyed: tuple[Channel[Any], ...] = ()
        self._keyed: dict[Callable[[Any], Any], dict[Hashable, tuple[Channel[Any], ...]]] = {}
        self._failing: set[object] = set()  # what has raised since it became active

    def __len__(self) -> int:
        return len(self._active)

    def __iter__(self) -> Iterator[Channel[Any]]:
        return iter(tuple(self._active))

    def settle(self, channel: Channel[Any], connected: Callable[[], bool]) -> None:
        """Take a channel in or out, as somebody is subscribed to it or nobody is."""
        if channel.observed:
            if not channel.active:
                channel.become_active()
                self._active[channel] = None
                self._index(channel, present=True)
                if connected() and not channel.parting:
                    channel.ask()
        elif channel.active:
            self._remove(channel)
            channel.unask()
            # Who came while it was asked to end: that is said first.
            if channel.active and not channel.asked and connected():
                channel.ask()

    def ask_all(self, here: Callable[[], bool]) -> None:
        """There is a new connection: subscribe all on it, also who comes while that is here."""
        unasked = list(self._active)
        while unasked:
            for channel in unasked:
                if not here():
                    return
                if channel.active:  # who was asked for before may have made it leave
                    channel.ask()
            unasked = [channel for channel in self._active if not channel.asked]

    def forget_all(self) -> None:
        """The connection is over."""
        for channel in self:
            channel.forget()

    def finish_subscribers(self) -> list[Callable[[Exception | None], bool]]:
        """Let go of all who are subscribed; each of what is returned tells some of them the end."""
        tell: list[Callable[[Exception | None], bool]] = []
        for channel in self:
            self._remove(channel)
            channel.forget()
            tell.append(channel.finish_subscribers())
        return tell

    def pass_on(self, value: Any) -> None:
        """Hand a value that came in to the channels whose it is."""
        for match, by_key in tuple(self._keyed.items()) if self._keyed else ():
            try:
                channels = by_key.get(match(value), ())
            except Exception as exc:
                self._on_fault(match, exc)
            else:
                for channel in channels:
                    channel.deliver(value)
        for channel in self._unkeyed:
            try:
                matches = channel.match(value)
            except Exception as exc:
                self._on_fault(channel, exc)
            else:
                if matches:
                    channel.deliver(value)

    def _on_fault(self, origin: object, error: Exception) -> None:
        again = origin in self._failing
        self._failing.add(origin)
        self._fault(error, again)

    def _remove(self, channel: Channel[Any]) -> None:
        channel.active = False
        del self._active[channel]
        self._index(channel, present=False)
        self._failing.discard(channel)

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
                self._failing.discard(channel.match)
