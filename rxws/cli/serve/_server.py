"""Run an application until the command is stopped."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from aiohttp import web
from yarl import URL

from rxws._aiohttp.shutdown import CONNECTIONS
from rxws._core.connection import Close
from rxws._core.errors import RxwsError
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure, cannot_listen
from rxws.cli._output import printable

from ._application import RouteOptions
from ._load import user_failure

__all__ = ["Settings", "listen", "run_application", "url_of"]

_BACKLOG = 128
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What to serve, and how.

    Args:
        target: A handler's name, see `load`; or the name of one of `rxws.cli.serve._builtin`.
        routes: The options for handlers.
        certificate: A PEM file, to serve `wss://`.
        key: The file of its key, if that is another one.
        verbose: Whether to print a line about each connection.
    """

    target: str
    routes: RouteOptions = field(default_factory=RouteOptions)
    certificate: Path | None = None
    key: Path | None = None
    verbose: bool = False

    def tls(self) -> ssl.SSLContext | None:
        """Load the certificate.

        Raises:
            Failure: The files are no certificate and its key.
        """
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            files = f"{self.certificate}{f' and {self.key}' if self.key else ''}"
            message = f"{files}: no PEM file with a certificate and its key: {error}"
            raise Failure(message, ExitCode.USAGE) from error
        return context


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        Failure: The address is in use, or not one of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise cannot_listen(host, port, error) from error


def url_of(sock: socket.socket, settings: Settings) -> str:
    """Return the URL for clients on this machine."""
    host: str
    host, port = sock.getsockname()[:2]
    scheme = "ws" if settings.certificate is None else "wss"
    path = settings.routes.path or "/"
    return str(URL.build(scheme=scheme, host=_WILDCARDS.get(host, host), port=port, path=path))


async def run_application(
    app: web.Application,
    settings: Settings,
    sock: socket.socket,
    until: Callable[[], Awaitable[Close]],
) -> None:
    """Serve an application.

    Args:
        app: The application.
        settings: How to serve it.
        sock: The listening socket.
        until: Called when clients can connect. When it returns, the server stops, and closes open
            connections with this code.

    Raises:
        Failure: The user's application has failed to start.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.routes.drain)
    try:
        try:
            await runner.setup()
            await web.SockSite(runner, sock, ssl_context=settings.tls()).start()
        except Failure:
            raise
        except RxwsError as error:  # such as a hub's without its Redis
            raise Failure(printable(str(error)), ExitCode.COULD_NOT_CONNECT) from error
        except Exception as error:
            raise user_failure(f"{settings.target} has failed to start:", error) from error
        close = await until()
        for each in _applications(app):
            if CONNECTIONS in each:
                each[CONNECTIONS].close = close
    finally:
        await runner.cleanup()


def _applications(app: web.Application) -> Iterator[web.Application]:
    yield app
    for resource in app.router.resources():
        if isinstance(resource, web.PrefixedSubAppResource):
            yield from _applications(cast("web.Application", resource.get_info().get("app")))
