"""`WebSocketSubject`: one Subject over all connections of a client that reconnects."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, Self, Unpack, overload

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.subject import Subject
from yarl import URL

from rxws import closing, codecs
from rxws._aiohttp.client import check_client_options
from rxws._core.connection import Close, Connection, In, Out, without_secrets
from rxws._core.errors import EncodeError
from rxws._core.hints import SUBJECT, with_hints
from rxws._core.streams.stream import RestartableStream
from rxws._session.options import Options
from rxws.backoff import DEFAULT, Backoff, is_retryable
from rxws.closing import check_sendable
from rxws.codecs import Codec
from rxws.status import Open, Status

from .channels import UNSET, Channel, pluralize
from .connections import factory_for
from .diagnostics import SubjectDispatcher
from .lifecycle import SubjectLifecycle
from .link import SharedPause
from .loop_affinity import LoopAffinity
from .offline_queue import Dropped, OfflineQueue, QueueOverflow, SubjectStats, snapshot_of
from .options import SubjectOptions, Url
from .reconnector import ReconnectPolicy

__all__ = ["WebSocketSubject", "codec_of", "describe_url", "lifecycle_of"]

_CLOSE_TIMEOUT = Options().close_timeout


@with_hints(SUBJECT)
class WebSocketSubject(RestartableStream[In], Subject[Any], Generic[In, Out]):
    """Send and receive messages over one connection at a time, reconnecting when it is lost.

    The subject opens a connection for its first subscriber, and closes it with 1000 when the last
    one unsubscribes. If the connection is lost, the subject reconnects, as `connections` does.
    Subscribers receive the messages of all connections as one stream. When the subject gives up,
    that stream completes or fails; if you then subscribe again, the subject connects again.
    If several subscriptions fail in a row, as with `ops.retry()`, the next one waits as long as
    `backoff` says.

    `on_next` sends a message, or queues it until there is a connection. Each message is sent at
    most once: after a loss, only messages that were not yet written to the socket are sent on the
    next connection, in order. Messages that were dropped are counted in `stats` and emitted by
    `drops`; if nobody observes `drops`, the log gets one summary per connection.

    `on_completed`, or a `Close` given to `on_next`, closes the connection after the queue is sent;
    subscribers then complete. `on_error` does the same with code 1011. You may call all of these
    from any thread.

    At its end, `async with` closes with 1000, or with 1011 if the body raised, and waits until the
    connection is closed. Queued messages are sent first; after `close_timeout` seconds they are
    dropped. Entering the block does not connect.

    Args:
        url: A `ws://` or `wss://` URL, or a function that returns one for each attempt, as for
            `connections`. Or a cold Observable that opens one connection per subscription.
        codec: Converts between frames and values; by default `rxws.codecs.raw`. The connections of
            an Observable have their own codec: then this one only measures queued messages.
        **options: See `rxws.SubjectOptions`.

    Attributes:
        status: The current `rxws.Status`, and each one that follows.
        errors: Errors that need not end the subject. If nobody subscribes to `errors`, the error of
            a connection is logged and closes it, and the error of a channel is only logged.
        drops: Each message that will never be sent, as a `Dropped` with the reason.

    Raises:
        TypeError: An option is unknown, has the wrong type, or is one that rxws sets itself.
        ValueError: An option is out of range.
        RuntimeError: Raised by `subscribe` if no event loop is known.

    Examples:
        ```python
        feed = rxws.WebSocketSubject("wss://example.com/prices", codec=rxws.codecs.json)
        feed.status.subscribe(print)
        feed.on_next({"subscribe": "ACME"})  # waits until there is a connection
        feed.pipe(ops.filter(lambda tick: tick["symbol"] == "ACME")).subscribe(show)
        ```

        ```python
        async with rxws.WebSocketSubject("wss://example.com/prices") as feed:
            async for message in feed:  # goes on after a reconnect
                print(message)
        ```
    """

    is_stopped = False  # RxPY's Subject has these; this one never stops
    is_disposed = False
    exception: Exception | None = None

    @overload
    def __init__(
        self, url: Url, *, codec: Codec[In, Out] = ..., **options: Unpack[SubjectOptions]
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
        check_client_options("rxws.WebSocketSubject", options, SubjectOptions.__annotations__)
        self._url = url
        self._close_timeout: float = options.get("close_timeout", _CLOSE_TIMEOUT)
        # For each `async with`: the connections that were opened in it, and what adds them.
        self._blocks: list[tuple[weakref.WeakSet[Connection[Any, Any]], DisposableBase]] = []
        self._codec = codecs.raw if codec is None else codec
        self._codec_is_used = not isinstance(url, Observable)
        affinity = LoopAffinity(scheduler)
        self._queue = OfflineQueue(queue, queue_overflow, ttl, affinity.seconds)
        policy = ReconnectPolicy(backoff, retryable, stable_after)
        factory = factory_for(url, policy, codec, scheduler, options)
        dispatcher = SubjectDispatcher(affinity)
        lifecycle = self._lifecycle = SubjectLifecycle(
            self, dispatcher, affinity, self._queue, factory, opening
        )
        super().__init__(
            dispatcher, lifecycle.faults.report_subscriber, lifecycle.on_subscribers_changed
        )
        self.status: Observable[Status] = lifecycle.status
        self.errors: Observable[Exception] = lifecycle.faults
        self.drops: Observable[Dropped[Out]] = lifecycle.drops

    @property
    def observers(self) -> list[ObserverBase[In]]:  # type: ignore[override] # an attribute in Subject
        """The current subscribers."""
        return list(self._observers)

    @property
    def connection(self) -> Connection[In, Out] | None:
        """The open connection, or None."""
        return self._lifecycle.connection

    @property
    def stats(self) -> SubjectStats:
        """Counts of the messages pushed so far."""
        return self._queue.stats

    def channel(
        self,
        subscribe: Any,
        unsubscribe: Any,
        match: Callable[[In], Any],
        key: Hashable = UNSET,
    ) -> Channel[In]:
        """Create a stream of the messages of one subscription at the server.

        The server gets the `subscribe` message when the channel's first subscriber comes, and again
        on every new connection, ahead of queued messages. It gets the `unsubscribe` message when
        the last subscriber leaves. Subscribers of a channel keep the socket open.

        If a subscriber or `match` raises, `errors` (or the log) reports it; the socket, the other
        channels and the channel itself keep running.

        Args:
            subscribe: The message that subscribes at the server, or a function that returns it; or
                None for no message. If the function raises, the channel's subscribers fail with
                that error.
            unsubscribe: The message that unsubscribes at the server, a function, or None.
            match: Called with a received value. Without `key`, it returns whether the value belongs
                to this channel; with `key`, it returns the value's key.
            key: The key of this channel. However many channels share a `match` function, it is
                called once per value.

        Returns:
            The channel, a Subject: what you push into it is sent through the socket.

        Raises:
            TypeError: `match` is not callable, or `key` is not hashable.

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
        return Channel(self._lifecycle, (subscribe, unsubscribe), match, key)

    def on_next(self, value: Out | Close) -> None:
        """Send a message, or queue it until there is a connection, from any thread.

        Args:
            value: The message, as the codec takes it. A `Close` ends the subject with its code
                after the queue is sent.

        Raises:
            ValueError: The code of the `Close` may not be sent.
        """
        lifecycle = self._lifecycle
        if isinstance(value, Close):
            lifecycle.end(check_sendable(value))
        elif not lifecycle.try_send(value):
            try:
                self._queue.put(value, snapshot_of(self._codec, value, self._codec_is_used))
            except EncodeError as exc:  # by the key function of `queue_overflow`
                self._queue.drop(value, "fault")
                lifecycle.report_fault(exc)
            lifecycle.pump_soon()

    def on_error(self, error: Exception) -> None:
        """Close with 1011, or the code of a `ConnectionClosed`, after the queue is sent."""
        self._lifecycle.end(error)

    def on_completed(self) -> None:
        """Close with 1000 after the queue is sent."""
        self._lifecycle.end(Close())

    def dispose(self) -> None:
        """Remove all subscribers without notifying them, drop the queue, and close with 1000."""
        self.detach_all()
        self._queue.clear()
        self._lifecycle.dispose()

    async def __aenter__(self) -> Self:
        opened: weakref.WeakSet[Connection[Any, Any]] = weakref.WeakSet()

        def on_status(status: Status) -> None:
            if isinstance(status, Open) and self.connection is not None:
                opened.add(self.connection)

        self._blocks.append((opened, self.status.subscribe(on_status)))
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        opened, tracking = self._blocks.pop()
        try:
            if self._lifecycle.active or len(self._queue):
                await self._send_all_and_end(Close() if exc is None else closing.UNEXPECTED)
        finally:
            self.dispose()  # what is still queued was not sent in time
            self._lifecycle.drops.log_unobserved()
            tracking.dispose()
        for connection in list(opened):
            await connection.closed

    async def _send_all_and_end(self, end: Close) -> None:
        """Send the queue and close; stop waiting after `close_timeout` seconds."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def on_end(_: Exception | None = None) -> None:
            loop.call_soon_threadsafe(ended.set)

        self.subscribe(on_error=on_end, on_completed=on_end)  # connects if it must
        self.on_next(end)
        try:
            async with asyncio.timeout(self._close_timeout):
                await ended.wait()
        except TimeoutError:
            pass

    @property
    def _pausable(self) -> SharedPause:
        return self._lifecycle.pauses

    def __repr__(self) -> str:
        connection, lifecycle = self.connection, self._lifecycle
        where = describe_url(self._url if connection is None else connection.handshake.url)
        status = type(lifecycle.current_status).__name__
        subscribers = pluralize(self.subscriptions, "subscriber")
        channels = pluralize(len(lifecycle.channels), "channel")
        return (
            f"<WebSocketSubject{where} {status}, {subscribers}, {channels}, "
            f"{len(self._queue)} queued>"
        )


def lifecycle_of(subject: WebSocketSubject[Any, Any]) -> SubjectLifecycle:
    """Return what opens and uses the connections of a subject, for code that extends it."""
    return subject._lifecycle  # pyright: ignore[reportPrivateUsage]


def codec_of(subject: WebSocketSubject[Any, Any]) -> Codec[Any, Any] | None:
    """Return the codec of all connections of a subject; None if each has its own."""
    used = subject._codec_is_used  # pyright: ignore[reportPrivateUsage]
    return subject._codec if used else None  # pyright: ignore[reportPrivateUsage]


def describe_url(url: object) -> str:
    """Return a space and the URL without its secrets; nothing for an Observable."""
    if isinstance(url, Observable):
        return ""
    if callable(url):
        return f" {getattr(url, '__qualname__', '…')}()"
    try:
        return f" {without_secrets(URL(str(url)))}"
    except ValueError:  # not a valid URL
        return f" {url!r:.40}"
