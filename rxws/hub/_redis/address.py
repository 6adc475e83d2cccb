"""Where Redis is, and how to say so without its password."""

from __future__ import annotations

import re
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio.connection as redis_connection
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

__all__ = ["Address", "without_password"]

_SENTINEL_SCHEME = "redis+sentinel"
_SENTINEL_PORT = 26379


def without_password(url: str) -> str:
    """Replace the passwords in a URL, which may be invalid."""
    # A password may contain anything if somebody has forgotten to quote it.
    url = re.sub(r"(?<=://)([^:/?#@]*):.*(?=@)", r"\1:***", url, flags=re.DOTALL)
    return re.sub(r"(?<=password=)[^&]*", "***", url)


class Address(Protocol):
    """Where a Redis server is."""

    shown: str
    database: int

    async def resolve(self) -> dict[str, Any]:
        """Return the arguments of redis-py's connection."""
        ...


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        TypeError: It is no string.
        ValueError: It is no URL of Redis.
    """
    if not isinstance(url, str):
        raise TypeError(f"url={url!r:.80}: use a string such as 'redis://localhost:6379/0'")
    try:
        if urlsplit(url).scheme == _SENTINEL_SCHEME:
            return _SentinelAddress(url)
        return _ServerAddress(url)
    except ValueError as exc:
        # The text of the exception may have a part of the password.
        reason = "write p%40ss for the password p@ss" if "@" in url else exc
        raise ValueError(
            f"url={without_password(url)!r:.200} ({reason}): use redis://host:port/0, "
            "rediss:// for TLS, unix:///path, or redis+sentinel://host:port,host:port/name"
        ) from None


class _ServerAddress:
    def __init__(self, url: str) -> None:
        self.shown = without_password(url)
        self._arguments = _arguments(url)
        parts = urlsplit(url)
        database = parts.path.strip("/")
        if parts.scheme != "unix" and database and not database.isdecimal():
            raise ValueError(f"{database!r} is no number of a database")  # redis-py would use 0
        self.database = int(self._arguments.get("db", 0))

    async def resolve(self) -> dict[str, Any]:
        return self._arguments


class _SentinelAddress:
    """`redis+sentinel://:password@host:port,host:port/name/database?sentinel_password=…`."""

    def __init__(self, url: str) -> None:
        self.shown = without_password(url)
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        name, _, database = parts.path.strip("/").partition("/")
        if not name:
            raise ValueError("no name of a master")
        self._name = name
        self.database = int(database or 0)
        # The same options as in the URL of a server.
        at = f"{credentials}@" if credentials else ""
        options = dict(parse_qsl(parts.query))
        sentinel = {
            key.removeprefix("sentinel_"): options.pop(key)
            for key in ("sentinel_username", "sentinel_password")
            if key in options
        }
        self._arguments = _arguments(f"redis://{at}host/{self.database}?{urlencode(options)}")
        self._sentinels = [_host_and_port(each) for each in hosts.split(",")]
        self._options = sentinel

    async def resolve(self) -> dict[str, Any]:
        make: Any = Sentinel
        sentinel = make(self._sentinels, sentinel_kwargs=self._options)
        try:
            host, port = await sentinel.discover_master(self._name)
        finally:
            for each in sentinel.sentinels:
                await each.aclose()
        return self._arguments | {"host": host, "port": port}


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(_SENTINEL_PORT)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _arguments(url: str) -> dict[str, Any]:
    arguments = cast("dict[str, Any]", redis_connection.parse_url(url))
    options = dict(arguments)
    try:
        options.pop("connection_class", redis_connection.Connection)(**options)
    except (TypeError, RedisError) as exc:
        raise ValueError(str(exc).rpartition("() ")[2]) from None
    return arguments
