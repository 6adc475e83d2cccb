"""`Caller`: calls methods of the other side."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Generic, Never, Unpack, cast, overload

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.async_iteration import AsyncIterableObservable
from rxws._core.errors import DecodeError
from rxws._core.streams.scheduled import ScheduledObservable

from ._calls import Calls
from ._endpoint import Endpoint
from ._messages import build, encode
from ._options import CallOptions, Options, PeerOptions, WhenFull
from ._router import Router
from ._stream import StreamSubscription
from ._wire import Source

if sys.version_info >= (3, 13):  # pragma: no cover # each Python takes one of the two
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

__all__ = ["Caller"]

R = TypeVar("R", default=Any)
T = TypeVar("T")


class _Unset:
    """Stands for an option that `with_options` does not change."""

    def __repr__(self) -> str:
        return "…"


_UNSET: Any = _Unset()


class _Result:
    """Passes the answer of a call to a future."""

    __slots__ = ("_future",)

    may_repeat = True

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def on_result(self, result: Any) -> None:
        if not self._future.done():
            self._future.set_result(result)

    def on_error(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def on_items(self, items: list[Any], size: int) -> None:
        """Ignore them: this side has not asked for a stream."""


class Caller(Generic[R]):
    """Call methods of the other side, by JSON-RPC 2.0.

    A `Caller` of a connection or of a `WebSocketSubject` owns its `incoming`: do not subscribe to
    it yourself. To also answer requests of the other side, use `Peer` and its `caller`. Use a
    caller on the event loop of its connection only; streams may be disposed on any thread.

    If the connection of a `WebSocketSubject` is lost, calls that were sent fail with a `CallLost`
    that says that they may have run. Calls that were not sent yet go with the next connection.

    Args:
        source: The connection, or the subject. Its codec is `raw` or `text`.
        **options: See `PeerOptions`.

    Raises:
        TypeError: `source` is neither a `Connection` nor a `WebSocketSubject`, or has another
            codec; or an option is unknown or has the wrong type.
        ValueError: An option is out of range.
        RuntimeError: The source has another peer or caller, or belongs to another event loop.

    Examples:
        ```python
        async with rxws.connect("ws://localhost:8080/rpc") as conn:
            caller = rxws.rpc.Caller(conn)
            print(await caller.call("add", 1, 2))
            async for token in caller.stream("tokens", prompt="Why?"):
                print(token, end="")
        ```
    """

    _endpoint: Endpoint
    _calls: Calls
    _options: CallOptions

    def __init__(self, source: Source, **options: Unpack[PeerOptions]) -> None:
        router = Router(source, Options.of("rxws.rpc.Caller", options))
        self._bind(router.endpoint, router.calls, CallOptions())
        router.start()

    @classmethod
    def of(cls, endpoint: Endpoint, calls: Calls, options: CallOptions) -> Caller[Any]:
        """Return a further caller of an endpoint."""
        caller = cls.__new__(cls)
        caller._bind(endpoint, calls, options)
        return caller

    def _bind(self, endpoint: Endpoint, calls: Calls, options: CallOptions) -> None:
        self._endpoint = endpoint
        self._calls = calls
        self._options = options
        self._convert = _converter(options.result)

    @overload
    def with_options(
        self,
        *,
        timeout: float | None = ...,
        idempotent: bool = ...,
        when_full: WhenFull = ...,
        result: type[T],
    ) -> Caller[T]: ...
    @overload
    def with_options(
        self,
        *,
        timeout: float | None = ...,
        idempotent: bool = ...,
        when_full: WhenFull = ...,
    ) -> Caller[R]: ...
    @overload
    def with_options(
        self,
        *,
        timeout: float | None = ...,
        idempotent: bool = ...,
        when_full: WhenFull = ...,
        result: Any,
    ) -> Caller[Any]: ...
    def with_options(
        self,
        *,
        timeout: float | None = _UNSET,
        idempotent: bool = _UNSET,
        when_full: WhenFull = _UNSET,
        result: Any = _UNSET,
    ) -> Caller[Any]:
        """Return a caller with other options, which shares the connection with this one.

        Args:
            timeout: Seconds until a call or a whole stream fails with `CallTimeout` and is
                cancelled, including the time that it waits for a connection. None, the default,
                is no limit.
            idempotent: Whether calling a method twice does no harm. If the connection of a
                `WebSocketSubject` is lost, such a call is sent again on the next one, and so is a
                stream that has not emitted an item.
            when_full: What happens to a stream whose queue is full (see `PeerOptions`), because its
                subscriber takes the items too slowly. Both pause the connection, and with it all
                other calls. `"fail"` cancels the stream if the queue is not half empty after 0.5
                seconds; it then fails with `StreamOverflow`. `"hold"` goes on waiting: do not await
                another call between two items.
            result: The type of results, of the items of streams, and of the params of
                notifications. msgspec checks and converts them; a mismatch is an
                `rxws.DecodeError`. By default they are what JSON contains.

        Raises:
            ImportError: `result` needs msgspec: `pip install 'path/to/rxws[typed]'`.
            TypeError: An option has the wrong type, or msgspec does not support `result`.
            ValueError: An option is out of range.

        Examples:
            ```python
            prices = caller.with_options(timeout=5, idempotent=True, result=float)
            price = await prices.call("price", "ACME")
            ```
        """
        given: dict[str, Any] = {
            "timeout": timeout,
            "idempotent": idempotent,
            "when_full": when_full,
            "result": result,
        }
        changes = {name: value for name, value in given.items() if value is not _UNSET}
        return self.of(self._endpoint, self._calls, replace(self._options, **changes))

    async def call(self, method: str, /, *args: Any, **named: Any) -> R:
        """Call a method and return its result.

        If you cancel the call, or its timeout passes, the other side is asked to cancel the method.

        Args:
            method: The name of the method.
            *args: The arguments by position.
            **named: The arguments by name.

        Returns:
            The result.

        Raises:
            TypeError: There are arguments by position and by name: JSON-RPC has only one of them.
            EncodeError: An argument cannot be sent as JSON.
            ResponseError: The other side answered with an error.
            CallLost: The connection ended before the answer.
            CallTimeout: There was no answer in time.
            TooManyCalls: Too many calls are unanswered.
            RuntimeError: This is not the event loop of the connection.
            DecodeError: The result is not of the type `result` of `with_options`.
        """
        params = _params(method, args, named)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = self._calls.start(method, params, _Result(future), self._options)
        try:
            result = await future
        except asyncio.CancelledError:
            self._calls.cancel(call)
            raise
        finally:
            del future, call  # an exception refers to this frame, and the future to it
        return cast(R, self._convert(result))

    def stream(self, method: str, /, *args: Never, **named: Any) -> AsyncIterableObservable[R]:
        """Return the stream of a method's results.

        Each subscription calls the method, and disposing it asks the other side to cancel it. The
        request carries a `partialResultToken`, as in the Language Server Protocol: the other side
        sends the items with it as they are made. If the other side does not do so, its whole array
        is emitted at the end. Any other result is emitted as one item.

        If the subscriber is an operator or a loop that pauses its source, such as `map_async` or
        `async for`, the items wait in a queue, not the connection.

        Args:
            method: The name of the method.
            *args: Not allowed, as the token is an argument by name.
            **named: The arguments, by name.

        Returns:
            A cold Observable, over which you may loop with `async for`. It fails as `call` does.

        Raises:
            TypeError: There are arguments by position.
            EncodeError: An argument cannot be sent as JSON.

        Examples:
            ```python
            caller.stream("tokens", prompt="Why?").subscribe(print)
            ```
        """
        _check_method(method)
        if args:
            raise TypeError(
                f"{method!r} was called as a stream with arguments by position: pass them by name, "
                "as the token of a stream is an argument by name"
            )
        build(named, named)  # or raise now, not when somebody subscribes

        def subscribe(
            observer: ObserverBase[Any], _: SchedulerBase | None = None
        ) -> DisposableBase:
            subscription = StreamSubscription(
                self._calls, self._endpoint, self._options, self._convert, observer
            )
            try:
                subscription.start(method, named)
            except Exception as exc:
                observer.on_error(exc)
            return subscription

        return ScheduledObservable(Observable(subscribe), self._endpoint.wire.carrier)

    def notify(self, method: str, /, *args: Any, **named: Any) -> None:
        """Call a method without an answer: whether it runs remains unknown.

        Args:
            method: The name of the method.
            *args: The arguments by position.
            **named: The arguments by name.

        Raises:
            TypeError: There are arguments by position and by name.
            EncodeError: An argument cannot be sent as JSON.
            CallLost: The connection has ended.
            TooManyCalls: Too many notifications wait for a connection.
            RuntimeError: This is not the event loop of the connection.
        """
        self._calls.notify(method, _params(method, args, named))

    def notifications(self, method: str, /) -> AsyncIterableObservable[R]:
        """Return the stream of one kind of notification of the other side.

        Args:
            method: The name of the method that the other side notifies.

        Returns:
            A hot Observable of their params: a list, a dict, or None if there are none. It ends
            with the connection. You may loop over it with `async for`.

        Examples:
            ```python
            caller.notifications("price").subscribe(lambda price: print(price["symbol"]))
            ```
        """
        _check_method(method)
        stream = self._calls.notifications(method)
        if self._options.result is Any:
            return cast("AsyncIterableObservable[R]", stream)
        return cast("AsyncIterableObservable[R]", stream.pipe(ops.map(self._convert)))

    def __repr__(self) -> str:
        options = {
            name: value
            for name, value in asdict(self._options).items()
            if value != getattr(CallOptions(), name)
        }
        text = "".join(f" {name}={value!r}" for name, value in options.items())
        return f"<Caller {self._endpoint.where}{text}>"


def _check_method(method: object) -> None:
    if not isinstance(method, str):
        raise TypeError(f"the name of a method is a str, not {method!r:.100}")


def _params(method: object, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    _check_method(method)
    if args and named:
        raise TypeError(
            f"{method!r} was called with arguments by position and by name: use one of them, as "
            "JSON-RPC has no calls with both; options are set by with_options"
        )
    return named or args


def _converter(type_: Any) -> Callable[[Any], Any]:
    """Return the function that checks and converts results."""
    if type_ is Any:
        return _unchanged
    try:
        import msgspec
    except ImportError as exc:
        raise ImportError("result= needs msgspec: pip install 'path/to/rxws[typed]'") from exc
    msgspec.json.Decoder(type_)  # raises a TypeError if it is not supported

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, type_)
        except msgspec.ValidationError as exc:
            name = type_.__name__ if isinstance(type_, type) else repr(type_)
            problem = f"a result does not match result={name:.100}: {exc}"
            raise DecodeError(problem, encode(value)) from exc

    return convert


def _unchanged(value: Any) -> Any:
    return value
