"""The HTTP client below a dial, where the user brings none: it keeps what a refusal says."""

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

# What of a refusal's body is worth keeping, in bytes, and worth waiting for, in seconds.
_MAX_BODY = 64 << 10
_BODY_TIMEOUT = 1.0


class SharedClientSession:
    """An `aiohttp.ClientSession` of rxws's own, closed by the last who lets go of it.

    It is made with the first dial, which runs on the loop. One dial at a time may use it.

    Attributes:
        refusal: The body of the answer to the latest dial, where that was no upgrade.
    """

    def __init__(self) -> None:
        self.refusal = b""
        self._session: ClientSession | None = None
        self._users = 0

    def hold(self) -> None:
        """Use it, until as many calls of `let_go`."""
        self._users += 1

    async def let_go(self) -> None:
        """Use it no more."""
        self._users -= 1
        if not self._users and self._session is not None:
            await self._session.close()

    def session_for_dial(self) -> ClientSession:
        """Return the session, to dial once."""
        self.refusal = b""
        if self._session is None:
            self._session = ClientSession(
                # A server's answer to one dial is no reason to have the next on the same TCP.
                connector=TCPConnector(force_close=True),
                middlewares=[self._ask_once],
            )
        return self._session

    async def _ask_once(
        self,
        request: ClientRequest,
        handler: Callable[[ClientRequest], Awaitable[ClientResponse]],
    ) -> ClientResponse:
        """Be a client middleware: keep what aiohttp would throw away, and let it not ask again.

        It does so, on a new connection, where a server hangs up on a request. How often a server is
        dialled is not its to say.
        """
        try:
            response = await handler(request)
        except ClientConnectorError:  # after which it does not
            raise
        except (ClientOSError, ServerDisconnectedError) as exc:
            raise ClientConnectionError(f"the server hung up: {exc!r}") from exc
        if response.status != 101:
            try:
                async with asyncio.timeout(_BODY_TIMEOUT):
                    await self._read(response)
            except (ClientError, TimeoutError):
                pass  # cut off within its body: what came is kept, the status tells the rest
            except BaseException:
                response.close()
                raise
        return response

    async def _read(self, response: ClientResponse) -> None:
        self.refusal = b""  # of a redirect before
        while len(self.refusal) < _MAX_BODY and (chunk := await response.content.readany()):
            self.refusal = (self.refusal + chunk)[:_MAX_BODY]
