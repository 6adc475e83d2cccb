"""`connections`: one URL, dialed again whenever its connection is lost."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, Unpack, cast, overload

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws import codecs
from rxws._aiohttp.client import ConnectCall, check_client_options
from rxws._aiohttp.http_session import SharedClientSession
from rxws._core.connection import Connection, In, Out
from rxws._core.errors import ConnectError, RxwsError, as_exception
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws.backoff import DEFAULT, Backoff, is_retryable
from rxws.codecs import Codec
from rxws.status import Status

from .options import Headers, ReconnectOptions, Url
from .reconnector import (
    FailurePacing,
    OnStatus,
    Reconnector,
    ReconnectorFactory,
    ReconnectPolicy,
    factory_for_dial,
    to_observable,
)

__all__ = ["connections", "factory_for"]

T = TypeVar("T")


@overload
def connections(
    url: Url,
    *,
    status: ObserverBase[Status] | None = None,
    **options: Unpack[ReconnectOptions],
) -> Observable[Connection[str | bytes, str | bytes]]: ...
@overload
def connections(
    url: Url,
    *,
    codec: Codec[In, Out],
    status: ObserverBase[Status] | None = None,
    **options: Unpack[ReconnectOptions],
) -> Observable[Connection[In, Out]]: ...
def connections(
    url: Url,
    *,
    backoff: Backoff = DEFAULT,
    retryable: Callable[[Exception], bool] = is_retryable,
    stable_after: float = 10.0,
    status: ObserverBase[Status] | None = None,
    **options: Any,
) -> Observable[Connection[Any, Any]]:
    """Open a connection, and a new one whenever it is lost.

    Each subscription emits one connection after the other. It completes when a connection closes
    with 1000 or without a code. It fails when an attempt or a close is not `retryable`, or when
    `backoff` ends; a note on the error has the reason. Disposing it, which any thread may do,
    closes the open connection with 1000 and stops reconnecting. To reconnect after 1000, too, pass
    `retryable=rxws.backoff.is_retryable_or_clean`.

    Above this, `ops.retry()` ignores why the stream gave up. If several subscriptions fail in a
    row, the next one waits as long as `backoff` says.

    If a subscriber raises in `on_next`, that connection closes with 1011.

    ```
    connections --c#----c'-----c''|    # is a lost connection, | a close with 1000
    ```

    Args:
        url: A `ws://` or `wss://` URL, or a function (or coroutine function) that returns one and
            is called before each attempt, for example to fetch a ticket that is valid once. If the
            function raises, `retryable` decides; by default network errors are retried.
        codec: Converts between frames and values; by default `rxws.codecs.raw`.
        backoff: Returns an iterator of waits in seconds before the next attempts. When the iterator
            ends, the stream fails with the last error. See `rxws.backoff`. If the server sends
            `Retry-After`, that time is added.
        retryable: Returns whether to try again after an error: a `ConnectError`, a
            `ConnectionClosed`, or what a function for `url` or `headers` raised.
        stable_after: Seconds that a connection must stay open for `backoff` to start over.
        status: An observer of the status. The first status, `rxws.status.Closed(None)`, is not
            emitted.
        **options: See `rxws.ReconnectOptions`. If you pass a `session`, it stays open. Otherwise
            each subscription creates one `aiohttp.ClientSession` for all its connections.

    Returns:
        A cold Observable, to be subscribed while an event loop is running. Each subscription opens
        its own connections.

    Raises:
        TypeError: An option is unknown, has the wrong type, or is one that rxws sets itself.
        ValueError: An option is out of range.
        RuntimeError: Raised by `subscribe` if no event loop is running.

    Examples:
        ```python
        feed = rxws.connections("ws://localhost:8080/prices", codec=rxws.codecs.json)
        feed.pipe(ops.flat_map(lambda conn: conn.incoming.pipe(ops.catch(rx.empty()))))
        ```
    """
    check_client_options("rxws.connections", options, {*ReconnectOptions.__annotations__, "status"})
    policy = ReconnectPolicy(backoff, retryable, stable_after)
    return to_observable(_factory_for_url(url, policy, options), status)


def factory_for(
    url: Any,
    policy: ReconnectPolicy,
    codec: Codec[Any, Any] | None,
    scheduler: SchedulerBase | None,
    options: dict[str, Any],
) -> ReconnectorFactory[Any, Any]:
    """Return a factory for a URL, or for an Observable that dials once per subscription."""
    if not isinstance(url, Observable):
        options["codec"] = codecs.raw if codec is None else codec
        return _factory_for_url(url, policy, options)
    if options:
        raise TypeError(f"{', '.join(options)}: not with an Observable, which connects by itself")
    return factory_for_dial(cast(Observable[Connection[Any, Any]], url), policy, scheduler)


def _factory_for_url(
    url: Url, policy: ReconnectPolicy, options: dict[str, Any]
) -> ReconnectorFactory[Any, Any]:
    headers: Headers = options.pop("headers", None)
    ConnectCall("ws://unused.invalid/", **options)  # check the options now, not when subscribed
    open_timeout: float = options.get("open_timeout", 10.0)
    pacing = FailurePacing(policy)

    def make(
        observer: ObserverBase[Connection[Any, Any]], on_status: OnStatus, _: SchedulerBase | None
    ) -> Reconnector[Any, Any]:
        shared = SharedClientSession() if options.get("session") is None else None

        async def dial() -> Connection[Any, Any]:
            call: ConnectCall[Any, Any] = ConnectCall(
                await _resolve("url", url, open_timeout),
                headers=await _resolve("headers", headers, open_timeout),
                **options,
            )
            return await (call if shared is None else call.through(shared))

        loop = LoopScheduler.running()
        on_end = None
        if shared is not None:
            on_end = asyncio.get_running_loop().create_task(_keep_open(shared)).cancel
        source = _from_coroutine(dial)
        return Reconnector(source, observer, policy, pacing, loop, on_status, on_end)

    return make


def _from_coroutine(function: Callable[[], Awaitable[T]]) -> Observable[T]:
    """Emit the result of a coroutine function; disposing cancels it.

    RxPY's `from_future` emits one loop turn after the result. If a subscriber disposes in between,
    the connection would stay open.
    """

    def subscribe(observer: ObserverBase[T], _: SchedulerBase | None = None) -> DisposableBase:
        def on_done(task: asyncio.Task[None]) -> None:
            if task.cancelled():  # not by `dispose`: then the observer ignores this
                observer.on_error(RxwsError("the task that opens a connection was cancelled"))

        async def run() -> None:
            try:
                value = await function()
            except asyncio.CancelledError:  # `on_done` reports it
                raise
            except BaseException as exc:
                observer.on_error(as_exception(LoopScheduler.running(), exc))
            else:
                observer.on_next(value)

        task = asyncio.get_running_loop().create_task(run())
        task.add_done_callback(on_done)
        return Disposable(cast(Callable[[], None], task.cancel))

    return Observable(subscribe)


async def _keep_open(shared: SharedClientSession) -> None:
    """Keep a session open until cancelled; a task, because `asyncio.run` cancels it at the end."""
    shared.acquire()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await shared.release()


async def _resolve(name: str, value: T | Callable[[], T | Awaitable[T]], timeout: float) -> T:
    """Return a value, or the result of a function; await a coroutine for `timeout` seconds."""
    if not callable(value):
        return value
    result = cast(Callable[[], Any], value)()
    if inspect.isawaitable(result):
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                result = await result
        except TimeoutError as exc:
            if not deadline.expired():  # raised by the function itself
                raise
            raise ConnectError(f"{name}() did not return in open_timeout={timeout} s") from exc
    return cast(T, result)
