"""One connection to Redis, with the fence that tells one server's life from the next."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, cast

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)

from rxws.hub._errors import BackplaneError

from .address import Address
from .scripts import Script

__all__ = ["Argument", "FencedConnection", "describe"]

Argument: TypeAlias = str | bytes | int

_OLDEST_VERSION = 7


class _RawConnection(Protocol):
    """The part of redis-py's connection that is used here."""

    async def connect(self) -> None: ...
    async def on_connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_command(self, *arguments: Argument) -> None: ...
    async def send_packed_command(self, command: Sequence[bytes]) -> None: ...
    def pack_commands(self, commands: Sequence[Sequence[Argument]]) -> list[bytes]: ...
    async def read_response(self) -> Any: ...


class FencedConnection:
    """A connection that is used until it breaks, and never reconnects.

    redis-py reconnects silently, and may then talk to a server that has lost its data. Here the
    server's identity is read once per connection.

    Attributes:
        fence: Differs after every restart and failover of the server.
        id: The connection's number at the server.
    """

    def __init__(self, raw: _RawConnection, address: Address, scripts: Sequence[Script]) -> None:
        self._raw = raw
        self._address = address
        self._scripts = scripts
        self._used = False
        self.fence = ""
        self.id = 0

    @property
    def shown(self) -> str:
        """The server's URL without its password."""
        return self._address.shown

    @classmethod
    async def open(
        cls, address: Address, timeout: float, scripts: Sequence[Script] = ()
    ) -> FencedConnection:
        """Connect, authenticate, read the fence, and load scripts.

        Raises:
            BackplaneError: That failed.
        """
        try:
            async with asyncio.timeout(timeout):
                arguments = dict(await address.resolve())
                raw: Any = arguments.pop("connection_class", Connection)(
                    **arguments
                    | {
                        "protocol": 2,
                        "retry": Retry(NoBackoff(), 0),
                        "health_check_interval": 0,
                        "socket_timeout": None,
                        "socket_connect_timeout": timeout,
                        "decode_responses": False,
                    }
                )
                self = cls(cast("_RawConnection", raw), address, scripts)
                raw.redis_connect_func = self._on_connect
                try:
                    await self._raw.connect()
                except BaseException:
                    await self.close()
                    raise
        except (BackplaneError, RedisError, OSError) as exc:
            lost = f"cannot be reached ({exc}): start it, or correct the URL"
            raise describe(address.shown, exc, lost) from exc
        return self

    async def _on_connect(self, _: object) -> None:
        if self._used:
            raise RedisError("the connection was lost")
        self._used = True
        await self._raw.on_connect()
        text = await self.call("INFO", "server", "replication")
        info = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        self._check(info)
        self.id = await self.call("CLIENT", "ID")
        for script in self._scripts:
            await self.call("SCRIPT", "LOAD", script.text)
        # The run id changes with every start of the server. The replication id changes as well
        # when a server is degraded to a replica and promoted again without a restart.
        identity = f"{info['run_id']}:{info.get('master_replid', '')}"
        self.fence = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def _check(self, info: dict[str, str]) -> None:
        version = info.get("redis_version", "0")
        if int(version.partition(".")[0]) < _OLDEST_VERSION:
            raise BackplaneError(
                f"Redis at {self._address.shown} has version {version}: use Redis 7 or newer, or "
                "Valkey"
            )
        if not info.get("run_id"):
            raise BackplaneError(
                f"Redis at {self._address.shown} reports no run_id in INFO: use a server that "
                "does, as restarts could not be detected"
            )
        if info.get("redis_mode") == "cluster":
            raise BackplaneError(
                f"Redis at {self._address.shown} is part of a cluster: use one server without "
                "cluster-enabled, or a list of URLs of independent servers"
            )
        if info.get("role", "master") != "master":
            raise BackplaneError(
                f"Redis at {self._address.shown} is a replica: use the URL of the master, or "
                "redis+sentinel://host:port/name"
            )

    async def call(self, *arguments: Argument) -> Any:
        """Send a command and wait for its answer; nothing else may be reading."""
        await self._raw.send_command(*arguments)
        return await self._raw.read_response()

    async def send(self, commands: Sequence[Sequence[Argument]]) -> None:
        """Send commands, and wait while the socket's buffer is full."""
        await self._raw.send_packed_command(self._raw.pack_commands(commands))

    async def read(self) -> Any:
        """Return the next answer or published message; an answer that is an error is returned.

        Raises:
            RedisError: The connection is lost.
        """
        try:
            return await self._raw.read_response()
        except ResponseError as exc:
            return exc

    async def close(self) -> None:
        """Close the socket without waiting for the server."""
        # redis-py would wait until the server has read what is buffered, which it may never do.
        writer: asyncio.StreamWriter | None = getattr(self._raw, "_writer", None)
        if writer is not None:
            writer.transport.abort()
        with suppress(RedisError):
            await self._raw.disconnect(nowait=True)


def describe(shown: str, error: Exception, lost: str = "") -> BackplaneError:
    """Say why a server is of no use, and what to do about it; `lost` is the text for the rest."""
    if isinstance(error, BackplaneError):
        return error
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        text = (
            f"refuses the password ({error}): put the right one into the URL, "
            "redis://:password@host:port, or redis://user:password@host:port"
        )
    elif isinstance(error, BusyLoadingError):
        text = f"is not ready ({error}): wait until it has loaded its data"
    elif isinstance(error, ResponseError) and str(error).startswith("BUSY "):
        text = f"is busy ({error}): end the script, and let long scripts run on another server"
    elif isinstance(error, ResponseError):
        text = (
            f"refuses what a hub needs ({error}): correct its configuration, or give the user the "
            "rights that the page 'Many machines' of the documentation lists"
        )
    elif isinstance(error, TimeoutError):
        text = "did not answer in time: start it, correct the URL, or raise timeout="
    else:
        text = lost or f"has closed the connection ({error})"
    result = BackplaneError(f"Redis at {shown} {text}")
    result.__cause__ = error
    return result
