"""The hub: topics that connections, processes and machines share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Self, Unpack

from reactivex import Observable
from reactivex.abc import SchedulerBase

from rxws import codecs
from rxws._aiohttp.route import RouteHandler
from rxws._aiohttp.shutdown import Application
from rxws._core.checks import check_scheduler
from rxws._core.connection import Connection
from rxws._core.errors import short_repr
from rxws.codecs import Codec

from ._backplane import Backplane
from ._keep import Keep, TopicPatterns
from ._local import LocalBackplane
from ._names import check_topic
from ._publisher import PublishOverflow
from ._registry import TopicRegistry
from ._server import Allow, Identify, ServedTopics, ServeOptions, serve
from ._stats import HubStats
from ._status import HubStatus
from ._topic import Topic
from ._user import User

__all__ = ["Hub"]


class Hub:
    """Topics that connections, processes and machines share.

    Args:
        codec: Encodes the messages of all topics: once at the publisher, and decodes them once in
            each process.
        backplane: Connects the hubs of several processes, such as a `RedisBackplane`; by default
            a `LocalBackplane`, which works within this process.
        topics: How many messages topics keep, by name or by prefix with a trailing `*`: exact names
            first, then the longest prefix. Others keep nothing.
        max_buffer: The limit in bytes of messages that wait to be published, because the backplane
            is away; a message's size is its payload plus 128.
        overflow: Which message is dropped above it: `"drop_oldest"`, `"drop_newest"`, or
            `rxws.overflow.latest(key)`.
        scheduler: By default the event loop that is running when the hub is used first; in tests a
            `rxws.testing.Clock`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Examples:
        ```python
        hub = rxws.Hub(codec=rxws.codecs.json, topics={"room:*": rxws.Keep(100, seconds=600)})
        hub.setup(app)

        @rxws.websocket(codec=rxws.codecs.json)
        def room(conn):
            topic = hub.topic("room:" + conn.handshake.url.query["room"])
            conn.incoming.subscribe(topic)
            return topic.rewind(20)
        ```
    """

    def __init__(
        self,
        *,
        codec: Codec[Any, Any] = codecs.raw,
        backplane: Backplane | None = None,
        topics: Mapping[str, Keep] | None = None,
        max_buffer: int = 1 << 20,
        overflow: PublishOverflow = "drop_oldest",
        scheduler: SchedulerBase | None = None,
    ) -> None:
        if not isinstance(codec, Codec):
            raise TypeError(f"codec={short_repr(codec)}: use one such as rxws.codecs.json")
        check_scheduler(scheduler)
        if backplane is None:
            backplane = LocalBackplane(scheduler)
        elif not isinstance(backplane, Backplane) or isinstance(backplane, type):
            raise TypeError(
                f"backplane={short_repr(backplane)}: use one such as RedisBackplane('redis://...')"
            )
        self._registry = TopicRegistry(
            codec,
            backplane,
            TopicPatterns({} if topics is None else topics),
            max_buffer,
            overflow,
            scheduler,
        )

        self._served: ServedTopics | None = None  # shared by all routes

    def setup(self, app: Application) -> None:
        """Start with an aiohttp application, and stop after its connections are closed.

        If the backplane cannot be reached, the application fails to start with a `BackplaneError`.
        If the hub runs already, it fails with a `RuntimeError`.

        Raises:
            RuntimeError: The application is running already.
        """
        app.cleanup_ctx.append(self._run)

    async def _run(self, _: Application) -> AsyncIterator[None]:
        async with self:
            yield

    async def __aenter__(self) -> Self:
        await self._registry.start()
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        await self._registry.stop()

    def topic(self, name: str) -> Topic[Any]:
        """Return a topic.

        Args:
            name: Any text that does not begin with `$rxws:`.

        Raises:
            TypeError: `name` is no str.
            ValueError: `name` is empty, reserved, or no valid Unicode.
        """
        return Topic(self._registry, check_topic(name))

    def user(self, name: str) -> User[Any]:
        """Return the connections of a user, in every process, as one object.

        They are the connections of `serve` whose user has this name, and those of `attach`.

        Args:
            name: Any text.

        Raises:
            TypeError: `name` is no str.
            ValueError: `name` is empty, or no valid Unicode.

        Examples:
            ```python
            hub.user("42").on_next({"type": "invitation", "room": 7})
            hub.user("42").close(rxws.Close(4001, "logged out"))
            ```
        """
        return User(self._registry.users, name)

    def attach(self, conn: Connection[Any, Any], name: str) -> Observable[Any]:
        """Return an Observable that emits the messages to a user, and never ends.

        While it is subscribed, the connection is one of the user's: `hub.user(name).close(...)`
        closes it.

        Args:
            conn: The connection that the handler got.
            name: The user's name, any text.

        Raises:
            TypeError: `conn` is no connection, or `name` is no str.
            ValueError: `name` is empty, or no valid Unicode.

        Examples:
            ```python
            def room(conn):
                user = conn.handshake.request["user"]
                return rx.merge(hub.topic("room:1"), hub.attach(conn, user))
            ```
        """
        return self._registry.users.attach(conn, name)

    def serve(
        self,
        *,
        allow: Allow,
        user: Identify | None = None,
        origins: str | Iterable[str] | None = None,
        **options: Unpack[ServeOptions],
    ) -> RouteHandler[str | bytes, str | bytes]:
        """Serve topics to browsers and other clients, with the client protocol of Centrifugo.

        Its clients, such as centrifuge-js and centrifuge-python, and `rxws.hub.connect` subscribe,
        publish, and continue after a lost connection. They can do only what `allow` permits.

        Args:
            allow: Called with the user's name, the topic and the action: `"subscribe"`,
                `"publish"`, `"presence"` or `"history"`. It returns True, False, or the seconds for
                which a subscription is allowed. It may be a coroutine function.
            user: Called with the request of the handshake and the token of the client, which may be
                empty. It returns the user's name or `Credentials`, or None to refuse the
                connection; it raises `TokenExpired` if the client should get a new token. It may be
                a coroutine function. Without it, all users are anonymous: their name is empty.
            origins: The web pages that may connect; see `rxws.websocket`.
            **options: See `rxws.hub.ServeOptions` and `rxws.ConnectionOptions`.

        Returns:
            A route handler for `web.get`.

        Raises:
            TypeError: An argument or option has the wrong type or is unknown, or the hub has
                `codecs.binary`.
            ValueError: An option is out of range.

        Examples:
            ```python
            async def login(request, token):
                return await user_of_session(request.cookies.get("session"))

            def allow(user, topic, action):
                return topic.startswith("news:") and action in ("subscribe", "history")

            app.add_routes([web.get("/hub", hub.serve(user=login, allow=allow))])
            ```
        """
        if self._served is None:
            self._served = ServedTopics(self._registry)
        return serve(self._served, user=user, allow=allow, origins=origins, **options)

    @property
    def status(self) -> Observable[HubStatus]:
        """Emit `Connected` or `Away`: now and whenever it changes."""
        return self._registry.status

    @property
    def stats(self) -> HubStats:
        """The counts of this hub in this process; you may read them from any thread."""
        return self._registry.stats

    def __repr__(self) -> str:
        topics = self._registry.stats.topics
        return f"<Hub {topics} topic{'' if topics == 1 else 's'}>"
