"""Close the open connections when an aiohttp application shuts down."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from aiohttp import web

from rxws import closing
from rxws._core.checks import check_seconds
from rxws._core.log import logger
from rxws._session.session import Session

__all__ = ["CONNECTIONS", "Application", "OpenConnections", "connections_of", "setup"]

Application = web.Application
"""For packages that must not import aiohttp."""


def setup(app: web.Application, drain: float = 2.0) -> None:
    """Close open connections with 1001 when an application shuts down.

    This includes the connections of its subapplications. Without `setup`, aiohttp cuts connections
    off at shutdown.

    Args:
        app: The application; it must not be running yet.
        drain: Seconds to wait for the peers' close frames, and for handlers that clean up.
            Connections that are still open after that are aborted.

    Raises:
        RuntimeError: The application is already running, or `setup` was already called for it.
        TypeError: `drain` is not a number.
        ValueError: `drain` is negative or infinite.

    Examples:
        ```python
        app = web.Application()
        app.router.add_get("/", rxws.websocket(handler))
        rxws.setup(app)
        web.run_app(app)
        ```
    """
    check_seconds("drain", drain, "use a number of seconds, 0 or more", zero=True)
    if CONNECTIONS in app:
        raise RuntimeError("rxws.setup was already called for this application")
    connections = OpenConnections(drain)
    app.on_shutdown.append(connections.shut_down)  # this raises if the application is running
    app[CONNECTIONS] = connections


class OpenConnections:
    """The open connections of an application.

    Attributes:
        close: The code and reason with which they are closed at shutdown.
    """

    def __init__(self, drain: float) -> None:
        self.close = closing.GOING_AWAY
        self._drain = drain
        self._open: set[Session[Any, Any]] = set()
        self._empty = asyncio.Event()
        self.closing = False

    def add(self, session: Session[Any, Any]) -> None:
        self._open.add(session)

    def remove(self, session: Session[Any, Any]) -> None:
        self._open.discard(session)
        if not self._open:
            self._empty.set()

    async def shut_down(self, _: web.Application) -> None:
        """Close all connections, and abort those that stay open."""
        self.closing = True
        for session in list(self._open):
            session.shutdown(self._drain, self.close)
        if not await self._wait_until_empty(self._drain):
            self.abort()
            await self._wait_until_empty(1.0)  # aborting takes a few turns of the loop

    def abort(self) -> None:
        for session in list(self._open):
            session.terminate()

    async def _wait_until_empty(self, seconds: float) -> bool:
        if self._open:
            self._empty.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                return False
        return True


CONNECTIONS = web.AppKey("rxws.connections", OpenConnections)
_WARNED: weakref.WeakSet[web.Application] = weakref.WeakSet()


def connections_of(request: web.Request) -> OpenConnections | None:
    """Return the open connections of a request's application; warn once if it has no `setup`."""
    apps = request.match_info.apps
    for app in reversed(apps):
        if (connections := app.get(CONNECTIONS)) is not None:
            return connections
    if apps and apps[-1] not in _WARNED:
        _WARNED.add(apps[-1])
        logger.warning(
            "a connection was opened in an application without rxws.setup(app): without it, the "
            "application's shutdown cuts connections off instead of closing them with 1001"
        )
    return None
