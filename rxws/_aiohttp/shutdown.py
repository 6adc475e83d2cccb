"""The end of an application: its connections are closed with 1001 and waited for."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from aiohttp import web

from rxws._core.log import logger
from rxws._session.session import Session

__all__ = ["OpenConnections", "connections_of", "setup"]


def setup(app: web.Application, drain: float = 2.0) -> None:
    """Close the connections of an application and its subapplications with 1001 at its shutdown.

    Args:
        app: The application, before it runs.
        drain: Seconds that peers have to answer; those that do not are aborted.

    Raises:
        RuntimeError: The application has it already, or runs already.
        ValueError: `drain` is negative.

    Examples:
        ```python
        app = web.Application()
        rxws.setup(app)
        ```
    """
    if not drain >= 0:
        raise ValueError(f"drain={drain!r}: use 0 seconds or more")
    if _CONNECTIONS in app:
        raise RuntimeError("rxws.setup was called for this application already")
    connections = OpenConnections(drain)
    app.on_shutdown.append(connections.shut_down)  # raises where the application runs already
    app[_CONNECTIONS] = connections


class OpenConnections:
    """The open connections of an application."""

    def __init__(self, drain: float) -> None:
        self._drain = drain
        self._open: set[Session[Any, Any]] = set()
        self._none_open = asyncio.Event()
        self.closing = False

    def add(self, session: Session[Any, Any]) -> None:
        """Add one."""
        self._open.add(session)

    def remove(self, session: Session[Any, Any]) -> None:
        """Take one away, that is gone."""
        self._open.discard(session)
        if not self._open:
            self._none_open.set()

    async def shut_down(self, _: web.Application) -> None:
        """Close all."""
        self.closing = True
        for session in list(self._open):
            session.shutdown(within=self._drain)
        if not await self._gone(self._drain):
            for session in list(self._open):
                session.kill()
            await self._gone(1.0)  # an aborted transport is gone in the next turns of the loop

    async def _gone(self, seconds: float) -> bool:
        if self._open:
            self._none_open.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._none_open.wait()
            except TimeoutError:
                return False
        return True


_CONNECTIONS = web.AppKey("rxws.connections", OpenConnections)
_WARNED: weakref.WeakSet[web.Application] = weakref.WeakSet()


def connections_of(request: web.Request) -> OpenConnections | None:
    """Return where a request's connection is to be added; warn once where there is nothing."""
    apps = request.match_info.apps
    for app in reversed(apps):
        if _CONNECTIONS in app:
            return app[_CONNECTIONS]
    if apps and apps[-1] not in _WARNED:
        _WARNED.add(apps[-1])
        logger.warning(
            "a connection was opened in an application without rxws.setup(app): "
            "at its shutdown connections are cut off instead of closed with 1001"
        )
    return None
