"""`connect`: a client of hubs, and of all servers that speak Centrifugo's protocol."""

from __future__ import annotations

from typing import Any, Self, Unpack

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxws._core.connection import Connection
from rxws._reconnect.offline_queue import Dropped
from rxws._reconnect.options import SubjectOptions, Url
from rxws.hub._names import check_name
from rxws.status import Status

from .registry import ClientRegistry, ClientStats
from .token import Token, TokenSource
from .topic import ClientTopic

__all__ = ["HubClient", "connect"]


class HubClient(DisposableBase):
    """A client of a hub, made by `rxws.hub.connect`.

    It opens a connection for the first subscriber of a topic or the first message to publish. It
    closes it with 1000 when there are no more subscribers, and 5 s after the last message. If the
    connection is lost, it reconnects, subscribes again, and continues after the last position of
    each topic.

    At the end of `async with`, it waits up to `close_timeout` seconds until all messages are
    confirmed, and then closes.

    Attributes:
        status: The current `rxws.Status` of the connection, and each one that follows.
        errors: Errors after which the client goes on, such as a message that the server has
            refused. If nobody subscribes to it, they are logged.
        drops: Each message that will never be sent, as a `rxws.Dropped`; those that `publish`
            awaits raise `NotPublished` instead.
        messages: The messages to this user, which belong to no topic; see `rxws.Hub.user`. They are
            not kept for later subscribers.
    """

    def __init__(self, url: Any, token: Token, options: dict[str, Any]) -> None:
        self._registry = ClientRegistry(url, token, options)
        self.status: Observable[Status] = self._registry.status
        self.errors: Observable[Exception] = self._registry.errors
        self.drops: Observable[Dropped[Any]] = self._registry.drops
        self.messages: Observable[Any] = self._registry.messages

    def topic(self, name: str, *, token: Token = None) -> ClientTopic[Any]:
        """Return a topic.

        Args:
            name: The topic's name.
            token: A token that allows this topic, if the server wants one; or a function or
                coroutine function that returns a fresh one, and is called again when it expires.

        Raises:
            TypeError: `name` is no str, or the token is neither.
            ValueError: `name` is empty, or no valid Unicode.

        Examples:
            ```python
            client.topic("news:42").subscribe(print)
            ```
        """
        return ClientTopic(self._registry, check_name("topic", name), TokenSource(token))

    @property
    def connection(self) -> Connection[Any, Any] | None:
        """The open connection, or None."""
        return self._registry.connection

    @property
    def stats(self) -> ClientStats:
        """The counts so far."""
        return self._registry.stats

    def dispose(self) -> None:
        """Remove all subscribers without notifying them, drop the queue, and close with 1000."""
        self._registry.dispose()

    async def __aenter__(self) -> Self:
        await self._registry.enter()
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        await self._registry.exit(kind, exc, traceback)

    def __repr__(self) -> str:
        return f"<HubClient{self._registry.describe()}>"


def connect(
    url: Url | Observable[Connection[str | bytes, str | bytes]],
    token: Token = None,
    **options: Unpack[SubjectOptions],
) -> HubClient:
    """Return a client of `Hub.serve`, or of another server with Centrifugo's protocol in JSON.

    It connects when you first subscribe to a topic, or publish.

    Args:
        url: A `ws://` or `wss://` URL, or a function (or coroutine function) that returns one for
            each attempt. Or a cold Observable that opens one connection per subscription, as for
            `rxws.WebSocketSubject`.
        token: Identifies the user: a str, or a function or coroutine function that returns a fresh
            one. The function is called before the first attempt, and again when the token expires.
        **options: See `rxws.SubjectOptions`: `queue`, `queue_overflow` and `ttl` bound the messages
            that wait to be published. By default `retryable` follows the protocol: it is False
            after the close codes 3500 to 3999, 4500 to 4999 and 1009.

    Raises:
        TypeError: An option is unknown, has the wrong type, or is one that the client sets itself.
        ValueError: An option is out of range.

    Examples:
        ```python
        async def fresh():
            async with session.post("https://example.com/token") as response:
                return await response.text()

        async with rxws.hub.connect("wss://example.com/hub", token=fresh) as client:
            async for message in client.topic("news:42").messages():
                print(message)
        ```
    """
    return HubClient(url, token, dict(options))
