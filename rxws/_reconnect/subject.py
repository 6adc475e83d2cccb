"""`WebSocketSubject`: one Subject over all the connections of a client that comes back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any, Generic, Unpack, cast, overload

import reactivex
from reactivex import Observable
from reactivex.abc import ObserverBase, SchedulerBase
from reactivex.subject import Subject
from yarl import URL

from rxws import codecs
from rxws._core.connection import Close, Connection, In, Out, without_secrets
from rxws._core.errors import EncodeError
from rxws._core.streams import Dispatcher, RestartableStream
from rxws._core.upstream import register_upstream
from rxws._session.encoding import encode, size
from rxws.backoff import DEFAULT, Backoff, is_retryable
from rxws.closing import check_sendable
from rxws.codecs import Codec
from rxws.status import Status

from .channels import UNSET, Channel, ChannelHost, ChannelRegistry
from .connections import connections
from .diagnostics import FaultStream
from .lifecycle import SubjectLifecycle
from .loop_affinity import LoopAffinity
from .offline_queue import Dropped, Ending, OfflineQueue, QueueOverflow, SubjectStats
from .options import SubjectOptions, Url
from .reconnector import ReconnectPolicy, redial

__all__ = ["WebSocketSubject"]


class WebSocketSubject(RestartableStream[In], Subject[Any], Generic[In, Out]):
    """A Subject that survives the network: who subscribes gets what comes in, on any connection.

    The first subscriber opens a connection, the last one leaving closes it with 1000. A lost
    connection is dialled again. A final end completes or fails all subscribers; who subscribes
    then dials anew.

    What is pushed is sent, or waits while nothing is open, in a bounded queue. A message is sent
    at most once: what had not left for the socket when a connection died goes with the next one,
    in its order, and what had left is not sent again. What is dropped is counted in `stats` and
    told by `drops`, or by one warning on the log for each connection.

    `on_completed`, and a `Close` pushed, end it for good, after what waits; to its subscribers
    that is a completion. `on_error` does so with 1011. All may be called from any thread.

    Args:
        url: The address, or a function that tells it for each attempt, as with `connections`; or a
            cold Observable that dials once for each subscription.
        codec: Between frames and values; `rxws.codecs.raw` if not given. With an Observable it
            only measures what waits.
        **options: See `rxws.SubjectOptions`.

    Attributes:
        status: Where it stands, an `rxws.Status`; replays the present.
        errors: Faults that are not the end, of whichever connection, and of channels. Where nobody
            subscribes it, a fault closes the connection; one of a channel is logged.
        drops: Each message that will never be sent, and why.

    Raises:
        TypeError: An option is of the wrong type, unknown, or one that rxws decides itself.
        ValueError: An option is out of range.
        RuntimeError: From subscribing first, where no event loop is known.

    Examples:
        ```python
        feed = rxws.WebSocketSubject("wss://example.com/prices", codec=rxws.codecs.json)
        feed.status.subscribe(print)
        feed.on_next({"subscribe": "ACME"})  # waits until there is a connection
        feed.pipe(ops.filter(lambda tick: tick["symbol"] == "ACME")).subscribe(show)
        ```
    """

    is_stopped = False  # as Subject has them: this one can always be subscribed again
    is_disposed = False
    exception: Exception | None = None

    @overload
    def __init__(
        self: WebSocketSubject[str | bytes, str | bytes],
        url: Url,
        **options: Unpack[SubjectOptions],
    ) -> None: ...
    @overload
    def __init__(
        self, url: Url, *, codec: Codec[In, Out], **options: Unpack[SubjectOptions]
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: Observable[Connection[In, Out]],
        *,
        codec: Codec[In, Out] | None = None,
        **options: Unpack[SubjectOptions],
    ) -> None: ...
    def __init__(
        self,
        url: Any,
        *,
        codec: Codec[Any, Any] | None = None,
        backoff: Backoff = DEFAULT,
        retryable: Callable[[Exception], bool] = is_retryable,
        stable_after: float = 10.0,
        queue: int = 1 << 20,
        queue_overflow: QueueOverflow = "drop_oldest",
        ttl: float | None = None,
        opening: Callable[[Connection[Any, Any]], Iterable[Any]] | None = None,
        scheduler: SchedulerBase | None = None,
        **options: Any,
    ) -> None:
        if opening is not None and not callable(opening):
            raise TypeError(f"opening={opening!r} is not callable: use a function of a connection")
        dispatcher = Dispatcher()
        self._home = LoopAffinity(scheduler)
        self._url = url
        self._codec = codecs.raw if codec is None else codec
        self._unsent = OfflineQueue(queue, queue_overflow, ttl, self._home.seconds)
        faults = self._faults = FaultStream(dispatcher, self._home)
        self.errors: Observable[Exception] = faults
        self._channels = ChannelRegistry(faults.of_channel)
        machine = self._machine = SubjectLifecycle(
            self._home,
            self._unsent,
            self._channels,
            dispatcher,
            faults,
            retryable,
            opening,
            lambda: self.observed or bool(self._channels),
            self._pass_on,
            lambda: [self.finish_subscribers(), *self._channels.finish_subscribers()],
        )
        super().__init__(dispatcher, faults.of_subscriber, self._on_changed)
        machine.connections = _connections(
            url,
            options,
            codec=codec,
            scheduler=scheduler,
            backoff=backoff,
            retryable=machine.named() if callable(retryable) else retryable,
            stable_after=stable_after,
            status=reactivex.Observer(machine.on_status),
        )
        self.status: Observable[Status] = machine.status
        self.drops: Observable[Dropped[Out]] = machine.drops
        self._pump_is_due = False
        self._carrier = ChannelHost(
            machine.carry,
            lambda: machine.connection,
            self._on_channel_changed,
            self.on_next,
            faults.of_channel,
            machine.holds,
            dispatcher,
        )

    # --- the incoming side --------------------------------------------------------------------

    @property
    def observers(self) -> list[ObserverBase[In]]:  # type: ignore[override] # an attribute in Subject
        """Who is subscribed."""
        return list(self._observers)

    @property
    def connection(self) -> Connection[In, Out] | None:
        """The connection that is open now, None if none is."""
        return self._machine.connection

    @property
    def stats(self) -> SubjectStats:
        """What became of the messages that were pushed so far."""
        unsent = self._unsent
        return SubjectStats(self._machine.sent, len(unsent), unsent.bytes, unsent.dropped)

    def channel(
        self,
        subscribe: Any,
        unsubscribe: Any,
        match: Callable[[In], Any],
        key: Hashable = UNSET,
    ) -> Channel[In]:
        """Make a stream of what concerns one subscription at the server.

        However many subscribe it, the server is asked once: by `subscribe` when the first comes,
        and again on every new connection, ahead of what waits; by `unsubscribe` when the last
        leaves. Who subscribes it keeps the socket open. What is pushed into it is sent.

        A subscriber that raises, or `match`, is told by `errors` (or the log), and leaves the
        socket, the other channels and the channel itself running.

        Args:
            subscribe: The message, or a function that makes it; None for none. If the function
                raises, the channel's subscribers are told that as an error.
            unsubscribe: Likewise.
            match: Tells of a value whether it is this channel's.
            key: What `match` returns for values of this channel, where it returns a key. Channels
                with the same function share one look-up, however many they are.

        Returns:
            The channel, a Subject.

        Raises:
            TypeError: `match` is not callable, or the key not hashable.

        Examples:
            ```python
            def symbol(tick):
                return tick.get("symbol")

            acme = feed.channel({"sub": "ACME"}, {"unsub": "ACME"}, symbol, key="ACME")
            acme.subscribe(show)
            ```
        """
        if not callable(match):
            raise TypeError(f"match={match!r} is not callable: use a function of a value")
        if key is not UNSET:
            hash((key, match))
        return Channel(self._carrier, (subscribe, unsubscribe), match, key)

    def _on_subscribe(self, observer: ObserverBase[In]) -> None:
        register_upstream(self._machine.holds)

    def _pass_on(self, value: In) -> None:
        if self._all_observers:
            self.deliver(value)
        self._channels.pass_on(value)

    def _on_changed(self) -> None:
        self._look_for_home(self.observed)
        self._home.run(self._machine.settle)

    def _on_channel_changed(self, channel: Channel[Any]) -> None:
        self._look_for_home(channel.observed)

        def settle() -> None:
            self._channels.settle(channel, lambda: self._machine.feed is not None)
            self._machine.settle()

        self._home.run(settle)

    def _look_for_home(self, wanted: bool) -> None:
        """Find where to run, for the first who comes; he is told if there is no such place."""
        if self._home.gone:
            self._pump_is_due = False  # that one never comes
            self._machine.abandon()
        if wanted and self._machine.idle:
            self._home.find()

    # --- the outgoing side --------------------------------------------------------------------

    def on_next(self, value: Out | Close) -> None:
        """Send a message, or let it wait; with a `Close`, end with its code after what waits.

        Raises:
            ValueError: The code of the `Close` may not be sent.
        """
        if isinstance(value, Close):
            self._end(check_sendable(value))
            return
        if self._home.here and self._unsent.end is None:
            feed = self._machine.feed
            if feed is not None and feed.offer(value):
                return
        try:
            self._unsent.put(value, _measure(self._codec, value))
        except EncodeError as exc:  # of the key
            self._unsent.drop(value, "fault")
            self._home.run(partial(self._faults.of_subscriber, exc))
        if self._home.here:
            self._pump()
        elif not self._pump_is_due:  # one call takes all that waits by then
            self._pump_is_due = True
            self._home.run(self._pump)

    def on_error(self, error: Exception) -> None:
        """End with 1011, or with the code of a `ConnectionClosed`, after what waits."""
        self._end(error)

    def on_completed(self) -> None:
        """End with 1000, after what waits."""
        self._end(Close())

    def dispose(self) -> None:
        """Let go of all subscribers without a word, drop what waits, and close with 1000."""
        self.detach_all()
        self._unsent.clear()
        self._look_for_home(wanted=False)
        self._home.run(self._dispose_channels)

    def _dispose_channels(self) -> None:
        for channel in self._channels:
            channel.dispose()
        self._machine.settle()

    def _end(self, end: Ending) -> None:
        machine = self._machine
        self._look_for_home(wanted=False)
        # Where nothing is open and nothing waits, there is nothing to end.
        if (machine.idle and not len(self._unsent)) or not self._unsent.seal(end):
            machine.ended_already(end)
        else:
            self._home.run(machine.end_if_empty)

    def _pump(self) -> None:
        self._pump_is_due = False
        self._machine.pump()

    def __repr__(self) -> str:
        where = _address(self._url, self.connection)
        present = type(self._machine.present).__name__
        subscribers = _counted(self.subscriptions, "subscriber")
        channels = _counted(len(self._channels), "channel")
        return (
            f"<WebSocketSubject{where} {present}, {subscribers}, {channels}, "
            f"{len(self._unsent)} queued>"
        )


def _connections(
    url: Any,
    options: dict[str, Any],
    *,
    codec: Codec[Any, Any] | None,
    scheduler: SchedulerBase | None,
    status: ObserverBase[Status],
    **policy: Any,
) -> Observable[Connection[Any, Any]]:
    """Return what opens a connection, and another whenever it is lost.

    Args:
        url: An address, or a function that tells it, or an Observable that dials once.
        options: What is left for `connections`.
        codec: The codec of an address.
        scheduler: The time of an Observable.
        status: Receives every status.
        **policy: When to dial again: the arguments of `ReconnectPolicy`.

    Raises:
        TypeError: There are options, and an Observable for which they come too late.
    """
    if not isinstance(url, Observable):
        given = codecs.raw if codec is None else codec
        return connections(url, codec=given, status=status, **policy, **options)
    if options:
        raise TypeError(f"{', '.join(options)}: not with an Observable, which dials by itself")
    dial: Observable[Connection[Any, Any]] = cast(Any, url)
    return redial(dial, ReconnectPolicy(**policy), status=status, scheduler=scheduler)


def _address(url: object, connection: Connection[Any, Any] | None) -> str:
    """Return where a subject goes, after a blank, without what is often secret; empty if unknown.

    Args:
        url: What the subject was made with.
        connection: The connection that is open, if any.
    """
    if connection is not None:
        url = connection.handshake.url
    elif isinstance(url, Observable):
        return ""
    elif callable(url):
        return f" {getattr(url, '__qualname__', '…')}()"
    try:
        return f" {without_secrets(URL(str(url)))}"
    except ValueError:  # none that can be dialled
        return f" {url!r:.40}"


def _measure(codec: Codec[Any, Any], value: Any) -> int:
    """Return the bytes of a message's payload, or what is near to that."""
    if isinstance(value, str | bytes):
        return size(value)
    try:
        return len(encode(codec, value)[1])
    except EncodeError:  # a fault when it is sent, if its connection's codec is of that opinion
        return sys.getsizeof(value)


def _counted(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"
