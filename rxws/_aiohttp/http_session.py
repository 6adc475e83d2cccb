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

__all__ = ["SharedClientSession"]

# The part of a refusal's body that is kept, in bytes, and the time to wait for it, in seconds.
_MAX_BODY = 64 << 10
_BODY_TIMEOUT = 1.0


class SharedClientSession:
    """A reference-counted `aiohttp.ClientSession`; the last `release` closes it.

    It is created by the first dial, which runs on the event loop. Only one dial at a time may use
    it.

    Attributes:
        refusal_body: The body of the latest response, if that was not an upgrade.
    """

    def __init__(self) -> None:
        self.refusal_body = b""
        self._session: ClientSession | None = None
        self._users = 0

    def acquire(self) -> None:
        """Keep the session open until `release` is called as often."""
        self._users += 1

    async def release(self) -> None:
        """Undo one `acquire`; close the session if nobody else uses it."""
        self._users -= 1
        if not self._users and self._session is not None:
            await self._session.close()

    def session_for_dial(self) -> ClientSession:
        """Return the session for one dial."""
        self.refusal_body = b""
        if self._session is None:
            self._session = ClientSession(
                # Each dial gets a new TCP connection, whatever the server answered before.
                connector=TCPConnector(force_close=True),
                middlewares=[self._request_once],
            )
        return self._session

    async def _request_once(
        self,
        request: ClientRequest,
        handler: Callable[[ClientRequest], Awaitable[ClientResponse]],
    ) -> ClientResponse:
        """Act as a client middleware: keep a refusal's body, and stop aiohttp from retrying.

        aiohttp sends a request again if the server closes the connection without a response. How
        often to dial is for the user's backoff to decide.
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
                pass  # the body is incomplete: keep what was read, the status says the rest
            except BaseException:
                response.close()
                raise
        return response

    async def _read_body(self, response: ClientResponse) -> None:
        self.refusal_body = b""  # drop the body of an earlier redirect
        while len(self.refusal_body) < _MAX_BODY and (chunk := await response.content.readany()):
            self.refusal_body = (self.refusal_body + chunk)[:_MAX_BODY]
