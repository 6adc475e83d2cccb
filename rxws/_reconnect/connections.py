"""The client that comes back: `connections`, one dial after the other to one address."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, Unpack, cast, overload

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._aiohttp.client import ConnectCall
from rxws._aiohttp.http_session import SharedClientSession
from rxws._core.connection import Connection
from rxws._core.errors import ConnectError, RxwsError
from rxws._core.loop_scheduler import LoopScheduler
from rxws.backoff import DEFAULT, Backoff, is_retryable
from rxws.codecs import Codec
from rxws.status import Status

from .options import Headers, ReconnectOptions, Url
from .reconnector import Reconnector, ReconnectPolicy

__all__ = ["connections"]

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


@overload
def connections(
    url: Url,
    *,
    backoff: Backoff = DEFAULT,
    retryable: Callable[[Exception], bool] = is_retryable,
    stable_after: float = 10.0,
    status: ObserverBase[Status] | None = None,
    **options: Unpack[ReconnectOptions],
) -> Observable[Connection[str | bytes, str | bytes]]: ...
@overload
def connections(
    url: Url,
    *,
    codec: Codec[In, Out],
    backoff: Backoff = DEFAULT,
    retryable: Callable[[Exception], bool] = is_retryable,
    stable_after: float = 10.0,
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
    """Open a connection, and another whenever it is lost, for as long as somebody subscribes.

    A final end by 1000 or by no code completes the stream. Any other final end fails it, with an
    error whose note says why it is final. Disposing closes the present connection with 1000, and
    stops dialling and waiting; it may be done from any thread.

    A subscriber that raises over a connection closes it with 1011, as a handler on the server does.

    ```
    connections --c#----c'-----c''|    # is a lost connection, | a close with 1000
    ```

    Args:
        url: `ws://` or `wss://`, or a function, also a coroutine function, that is asked for it
            before each attempt, as for a ticket that serves once. What it raises is up to
            `retryable`.
        codec: Between frames and values; `rxws.codecs.raw` if not given.
        backoff: Begins a series of waits, in seconds; its end means to give up with what happened
            last. See `rxws.backoff`. The wait for a `Retry-After` is added to it.
        retryable: Tells whether to dial again after what happened; else it is final.
        stable_after: Seconds that a connection has to stand for the series to begin anew.
        status: Told of every status that follows the first, which is `rxws.status.Closed(None)`.
        **options: See `rxws.ReconnectOptions`. A `session` of yours stays open; without one,
            each subscription has an `aiohttp.ClientSession` of its own for all its connections.

    Returns:
        A cold Observable: each subscription, on a running event loop, dials for itself.

    Raises:
        TypeError: An option is of the wrong type, or one that rxws decides itself.
        ValueError: An option is out of range.
        RuntimeError: From subscribing, where no event loop is running.

    Examples:
        ```python
        feed = rxws.connections("ws://localhost:8080/prices", codec=rxws.codecs.json)
        feed.pipe(ops.flat_map(lambda conn: conn.incoming.pipe(ops.catch(rx.empty()))))
        ```
    """
    policy = ReconnectPolicy(backoff, retryable, stable_after)
    headers: Headers = options.pop("headers", None)
    # What is wrong with the options is told now, not with the first dial.
    ConnectCall("ws://unused.invalid/", **options)
    open_timeout: float = options.get("open_timeout", 10.0)

    def subscribe(
        observer: ObserverBase[Connection[Any, Any]], _: SchedulerBase | None = None
    ) -> DisposableBase:
        own = SharedClientSession() if options.get("session") is None else None

        async def dial() -> Connection[Any, Any]:
            now = partial(_asked, open_timeout)
            dialled: ConnectCall[Any, Any] = ConnectCall(
                await now("url", url), headers=await now("headers", headers), **options
            )
            return await (dialled if own is None else dialled.through(own))

        scheduler = LoopScheduler.running()
        keeper = asyncio.get_running_loop().create_task(_keep(own)) if own is not None else None
        reconnecting = Reconnector(
            _once(dial),
            observer,
            policy,
            scheduler,
            time.time,  # asyncio's loops count from any point
            None if status is None else status.on_next,
            None if keeper is None else keeper.cancel,
        )
        reconnecting.start()
        return reconnecting

    return Observable(subscribe)


def _once(dial: Callable[[], Awaitable[T]]) -> Observable[T]:
    """Emit what a coroutine function returns or raises, in a task that disposing cancels."""

    def subscribe(observer: ObserverBase[T], _: SchedulerBase | None = None) -> DisposableBase:
        def tell(task: asyncio.Task[None]) -> None:
            if task.cancelled():  # by somebody else; who disposed is told nothing
                observer.on_error(RxwsError("the task that dials was cancelled"))

        async def run() -> None:
            try:
                value = await dial()
            except Exception as exc:
                observer.on_error(exc)
            else:
                observer.on_next(value)

        task = asyncio.get_running_loop().create_task(run())
        task.add_done_callback(tell)

        def cancel() -> None:
            task.cancel()

        return Disposable(cancel)

    return Observable(subscribe)


async def _keep(own: SharedClientSession) -> None:
    """Hold an HTTP client until cancelled; as a task, so that the loop's end cancels it, too."""
    own.hold()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await own.let_go()


async def _asked(seconds: float, name: str, value: T | Callable[[], T | Awaitable[T]]) -> T:
    """Return a value, or what a function tells."""
    if not callable(value):
        return value
    told = cast(Callable[[], Any], value)()
    if inspect.isawaitable(told):
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                told = await told
        except TimeoutError as exc:
            if not deadline.expired():  # it is its own
                raise
            raise ConnectError(f"{name}() gave no answer in open_timeout={seconds} s") from exc
    return cast(T, told)
