"""The `ClientSession` that rxws uses when you do not pass one to `connect`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ServerDisconnectedError,
    TCPConnector,
)
from yarl import URL

__all__ = ["RequestMonitor", "SharedClientSession"]

# Limits for reading the body of a response that is not an upgrade.
_MAX_BODY = 64 << 10  # bytes
_BODY_TIMEOUT = 1.0  # seconds


class RequestMonitor:
    """A client middleware for one dial.

    Attributes:
        response: The latest response, if any.
    """

    response: ClientResponse | None = None

    async def __call__(
        self, request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[ClientResponse]]
    ) -> ClientResponse:
        """Refuse a request that cannot succeed, and keep the response to any other."""
        if request.proxy is not None:
            _check_proxy(request.proxy, request.url)
        self.response = await handler(request)
        return self.response


def _check_proxy(proxy: URL, url: URL) -> None:
    """Raise `ValueError` if aiohttp would send a proxy what that does not understand."""
    if proxy.scheme not in ("http", "https"):
        raise ValueError(
            f"aiohttp has no support for {proxy.scheme}:// proxies. Use an http:// proxy, or a "
            "session with another connector, such as aiohttp_socks.ProxyConnector"
        )
    if url.scheme == "ws":  # aiohttp would send "GET ws://...", but proxies expect CONNECT
        raise ValueError(
            "aiohttp cannot open a tunnel through an HTTP proxy for ws://, only for wss://. "
            "Use wss://, or a session whose connector opens the tunnel, such as "
            "aiohttp_socks.ProxyConnector"
        )


class SharedClientSession:
    """A reference-counted `aiohttp.ClientSession`; the last `release` closes it.

    The first dial creates the `ClientSession`, because that requires a running event loop. Only one
    dial at a time may use it.
    """

    def __init__(self) -> None:
        self.refusal_body = b""  # of the latest response, if that was not an upgrade
        self._session: ClientSession | None = None
        self._users = 0

    def acquire(self) -> None:
        """Keep the session open until the matching call of `release`."""
        self._users += 1

    async def release(self) -> None:
        """Undo one `acquire`; close the session if that was the last one."""
        self._users -= 1
        if not self._users and self._session is not None:
            # aiohttp's session refers to this object by its middleware: a reference cycle.
            session, self._session = self._session, None
            await session.close()

    def session_for_dial(self) -> ClientSession:
        self.refusal_body = b""
        if self._session is None:
            self._session = ClientSession(
                # Always open a new TCP connection, even if the server keeps the last one open.
                connector=TCPConnector(force_close=True),
                middlewares=[self._request_once],
            )
        return self._session

    async def _request_once(
        self,
        request: ClientRequest,
        handler: Callable[[ClientRequest], Awaitable[ClientResponse]],
    ) -> ClientResponse:
        """Send a request without aiohttp's own retry, and keep the body of a refusal.

        This is a client middleware. aiohttp sends a request again if the server closes the
        connection without a response, but the user's backoff must decide about retries.
        """
        try:
            response = await handler(request)
        except ClientConnectorError:  # aiohttp does not retry this one
            raise
        except (ClientOSError, ServerDisconnectedError) as exc:
            raise ClientConnectionError(f"the server closed the connection: {exc!r}") from exc
        if response.status != 101:
            try:
                async with asyncio.timeout(_BODY_TIMEOUT):
                    await self._read_body(response)
            except (ClientError, TimeoutError):
                pass  # keep the part of the body that was read
            except BaseException:
                response.close()
                raise
        return response

    async def _read_body(self, response: ClientResponse) -> None:
        self.refusal_body = b""  # drop the body of an earlier redirect
        while len(self.refusal_body) < _MAX_BODY and (chunk := await response.content.readany()):
            self.refusal_body = (self.refusal_body + chunk)[:_MAX_BODY]
