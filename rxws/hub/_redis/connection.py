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
    RedisError,
    ResponseError,
)

from rxws.hub._errors import BackplaneError

from .address import Address
from .scripts import Script

__all__ = ["Argument", "FencedConnection"]

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
                kind: Any = arguments.pop("connection_class", Connection)
                raw: Any = kind(
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
        except BackplaneError:
            raise
        except TimeoutError as exc:
            raise BackplaneError(
                f"Redis at {address.shown} did not answer within {timeout:g} s"
            ) from exc
        except (AuthenticationError, AuthenticationWrongNumberOfArgsError) as exc:
            raise BackplaneError(
                f"Redis at {address.shown} refuses the password ({exc}): put the right one into "
                "the URL, redis://:password@host:port, or redis://user:password@host:port"
            ) from exc
        except (RedisError, OSError) as exc:
            raise BackplaneError(
                f"Redis at {address.shown} cannot be reached ({exc}): start it, or correct the URL"
            ) from exc
        return self

    async def _on_connect(self, _: object) -> None:
        if self._used:
            raise RedisError("the connection was lost")
        self._used = True
        await self._raw.on_connect()
        try:
            text = await self.call("INFO", "server", "replication")
            info = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
            self._check(info)
            self.id = await self.call("CLIENT", "ID")
            for script in self._scripts:
                await self.call("SCRIPT", "LOAD", script.text)
        except ResponseError as exc:
            raise BackplaneError(
                f"Redis at {self._address.shown} refuses what the hub needs ({exc}): allow the "
                "user INFO, CLIENT, SCRIPT, EVALSHA, and what its scripts use"
            ) from exc
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
